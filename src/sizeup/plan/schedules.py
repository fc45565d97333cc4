"""What a training framework runs at the same time, as data: records in ``schedules.toml``."""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from typing import Any

from sizeup.files import read_text

_LIKE = {"megatron-core": "megatron", "megatron-bridge": "nemo", "composer": "llm-foundry", "trl": "hf",
         "transformers": "hf", "deepspeed": "hf-deepspeed"}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """One framework: see the head of ``schedules.toml`` for the fields; 1 is yes, 0 is no."""

    fused: float
    overlaps_data: float
    overlaps_tensor: float
    overlaps_experts: float
    native_attention: float
    graphs: float
    axes: tuple[str, ...]
    shardings: tuple[str, ...]
    sources: tuple[str, ...]
    recomputes: tuple[str, ...] = ("none", "selective", "full")
    known: bool = True


@functools.cache
def _records() -> dict[str, dict[str, Any]]:
    return tomllib.loads(read_text("plan/schedules.toml"))


@functools.cache
def schedule(framework: str) -> Schedule:
    """Return the schedule of a framework; one without a record gets the generic one, marked as not ``known``."""
    records = _records()
    name = _LIKE.get(framework, framework)
    record = records.get(name, records["generic"])
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in record.items()}
    return Schedule(**fields, known=name in records)
