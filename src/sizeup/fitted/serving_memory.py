"""Learned coefficients of serving memory, with and without each group of measured cases."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sizeup.files import read_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Coefficients:
    """What was learned from start-up logs.

    Attributes:
        sampler: bytes per logit of the sampler's largest moment, by kind of sampler.
        alone, together: bytes outside the framework on one GPU, and what communicating ranks add, by engine era; the
            entry "" is for eras that nobody measured.
        spread: standard deviation of log(needed / predicted), for the probability of running out of memory.
    """

    sampler: Mapping[str, float] = field(hash=False)
    alone: Mapping[str, float] = field(hash=False)
    together: Mapping[str, float] = field(hash=False)
    spread: float = 0.02

    def logit_bytes(self, kind: str) -> float:
        """Return the bytes per logit of a kind of sampler."""
        return self.sampler.get(kind, self.sampler["none"])

    def non_torch_bytes(self, era: str, ranks: int) -> float:
        """Return what lies outside the framework's allocator on one of ``ranks`` GPUs [bytes]."""
        one = self.alone.get(era, self.alone[""])
        return one if ranks == 1 else one + self.together.get(era, self.together[""])


@functools.cache
def _data() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(read_text("fitted/serving_memory.json"))
    return found


@functools.cache
def shipped_coefficients(*, without: str | None = None) -> Coefficients:
    """Return the coefficients learned from every group, or from every group but ``without``."""
    data = _data()
    values = data["without"].get(without, data["all"]) if without else data["all"]
    return Coefficients(**values)
