"""What engines make of the kernels: a few learned coefficients per engine family, with and without each group."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sizeup.files import read_text
from sizeup.physics.queueing import Disorder
from sizeup.physics.serving_time import Speed

COMMON: Mapping[str, float] = {
    "compute": 0.85, "bandwidth": 0.95, "attention": 0.9, "network": 0.9,
    "stream_bytes_per_second": 1e14, "floor": 0.6, "layer_seconds": 5e-6,
    "launch_seconds": 1e-7, "step_seconds": 1e-3, "sequence_seconds": 1e-5, "token_seconds": 1e-7,
    "request_seconds": 1e-2,
}  # fmt: skip
"""Where the fit starts, for every engine."""

LIMITS: Mapping[str, tuple[float, float]] = {
    "compute": (0.1, 1.1), "bandwidth": (0.2, 1.1), "attention": (0.05, 1.15), "network": (0.1, 1.3),
    "stream_bytes_per_second": (2e11, 2e14),
    "floor": (0.1, 1.0), "layer_seconds": (1e-8, 2e-3), "launch_seconds": (1e-9, 1e-4), "step_seconds": (1e-6, 2e-2),
    "sequence_seconds": (1e-8, 1e-3), "token_seconds": (1e-10, 2e-5), "request_seconds": (1e-4, 0.15),
}  # fmt: skip
"""What is physically possible."""

SPREAD: Mapping[str, float] = {
    "compute": 0.15, "bandwidth": 0.1, "attention": 0.5, "network": 0.3, "floor": 0.3, "launch_seconds": 0.3,
}  # fmt: skip
"""How far a coefficient may be from where the fit starts, in log space (1 for the others): kernels were measured, and
how fast a host launches them is a matter of the host more than of the engine."""

TIME_NAMES = tuple(COMMON)
GLOBAL_NAMES: Mapping[str, float] = {
    "mixed_random": 0.1, "mixed_fixed": 0.2, "apart_random": 0.3, "apart_fixed": 0.8, "overlap": 1.0,
}  # fmt: skip
"""How loads were offered, common to all engines, and where the fit starts: the share of requests that arrive together
where lengths are random or fixed (equal requests stay in step), by whether prompts and decodes mix."""

STARTS: Mapping[str, Mapping[str, float]] = {
    "transformers": {"launch_seconds": 6e-5}, "autoawq": {"launch_seconds": 5e-6},
    "llama.cpp": {"launch_seconds": 3e-6, "stream_bytes_per_second": 2e12}, "exllamav2": {"launch_seconds": 3e-6},
}  # fmt: skip
"""Engines that launch every kernel from the host start the fit with a cost of that, and one with matrix-vector kernels
of its own with a limit of what they ask for."""


def together(load: Mapping[str, float], *, mixes: bool, fixed_lengths: bool) -> float:
    """Return the share of requests that arrive as one burst."""
    return load[f"{'mixed' if mixes else 'apart'}_{'fixed' if fixed_lengths else 'random'}"]


CLASS: Mapping[str, str] = {
    "vllm": "server", "sglang": "server", "trtllm": "server", "llama.cpp": "local", "exllamav2": "local",
    "gpt-fast": "local", "autoawq": "local", "transformers": "eager",
}  # fmt: skip
"""What kind of program an engine is: a server schedules requests step by step, a local one runs a bare loop of kernels,
an eager one launches each kernel from Python. Engines of a class resemble each other more than others."""

CLASSES = tuple(dict.fromkeys(CLASS.values()))

GRAPHS_SINCE = {"vllm": (0, 8), "sglang": (0, 0), "trtllm": (1, 0), "transformers": (4, 36)}
"""From which version on an engine family is the one of today (other schedulers and kernels before)."""


def family_of(engine: str, version: str) -> str:
    """Return the family that shares coefficients: the engine, "-old" behind it before its rewrite.

    >>> family_of("vllm", "0.6.3"), family_of("vllm", ""), family_of("trtllm", "1.2.0rc2")
    ('vllm-old', 'vllm', 'trtllm')
    """
    numbers = tuple(int(n) for n in re.findall(r"\d+", version)[:2])
    since = GRAPHS_SINCE.get(engine)
    return f"{engine}-old" if since and numbers and numbers < since else engine


def engine_of(family: str) -> str:
    """Return the engine of a family."""
    return family.removesuffix("-old")


def coefficients_of(tables: Mapping[str, Mapping[str, float]], family: str) -> tuple[str, dict[str, float]]:
    """Return whose coefficients a family takes, and them: its own, its engine's of today, its class's."""
    for name in (family, engine_of(family)):
        if name in tables:
            return name, dict(tables[name])
    kind = CLASS.get(engine_of(family), "server")
    known = f"all engines of the kind {kind}" if kind in tables else "no particular engine"
    return known, {**tables.get(kind, tables["any"]), **STARTS.get(engine_of(family), {})}


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """The coefficients of an engine family, how loads were offered, and where both come from.

    ``own``: the engine itself was measured, not only others of its class.
    """

    speed: Speed
    load: Mapping[str, float]
    origin: str
    own: bool = True

    def disorder(self, *, mixes: bool, fixed_lengths: bool) -> Disorder:
        """Return how requests come."""
        share = together(self.load, mixes=mixes, fixed_lengths=fixed_lengths)
        return Disorder(together=share, overlap=self.load["overlap"])


@functools.cache
def _record() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(read_text("fitted/serving_time.json"))
    return data


@functools.cache
def learned(engine: str, version: str = "", *, left_out: str | None = None) -> Learned:
    """Return what was learned of an engine; one never measured takes the common coefficients, and that is said."""
    record = _record()
    part = record["without"].get(left_out, record["all"]) if left_out else record["all"]
    family = family_of(engine, version)
    known, values = coefficients_of(part["engines"], family)
    cases = record["cases"] - (record["groups"].get(left_out, 0) if left_out else 0)
    origin = f"coefficients of {known}, from {cases} measured cases"
    return Learned(speed=Speed(**values), load=part["load"], origin=origin, own=known in part["engines"])
