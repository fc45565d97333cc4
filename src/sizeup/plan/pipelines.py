"""Pipeline schedules as data: idle time and micro-batches in flight. Records are in ``pipelines.toml``."""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from typing import Any

from sizeup.errors import UserError, nearest_names
from sizeup.files import read_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """One schedule: see the head of ``pipelines.toml`` for the fields."""

    name: str
    title: str
    sources: tuple[str, ...]
    interleaves: bool = False
    depth_share: float = 1.0
    input_gradients: float = 0.0
    weight_gradients: float = 0.0
    held_stages: float = 0.0
    held_more: float = 0.0
    weight_copies: int = 1


@functools.cache
def pipelines() -> dict[str, Pipeline]:
    """Return every schedule by name."""
    records: dict[str, dict[str, Any]] = tomllib.loads(read_text("plan/pipelines.toml"))
    return {n: Pipeline(name=n, **{**record, "sources": tuple(record["sources"])}) for n, record in records.items()}


def pipeline(name: str) -> Pipeline:
    """Return the schedule called ``name``.

    Raises:
        UserError: there is none; the message has the nearest names.
    """
    known = pipelines()
    if name not in known:
        hint = f"known: {', '.join(known)}"
        raise UserError(f'no pipeline schedule is called "{name}"', nearest=nearest_names(name, known), hint=hint)
    return known[name]
