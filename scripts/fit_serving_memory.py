"""Learn the coefficients of serving memory from measured start-up logs: src/sizeup/fitted/serving_memory.json.

Each coefficient is a median, because each log gives it directly: bytes per logit from activation peaks that the sampler
sets, bytes outside the framework by engine era, alone and with other ranks. What no case measures comes from a named
source and says so.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sizeup.evidence.cases import Case, shipped_cases
from sizeup.fitted.serving_memory import Coefficients
from sizeup.machine import find_gpu
from sizeup.physics import serving_memory as physics
from sizeup.plan.engines import engine
from sizeup.serving.limits import shape_of
from sizeup.serving.memory import activation_bytes, resolve
from sizeup.serving.memory_case import case_memory, serving_plan

GIB = 2**30
TARGET = Path(__file__).parent.parent / "src/sizeup/fitted/serving_memory.json"

STATED: dict[str, dict[str, float]] = {
    "sampler": {"sort": 38.5, "triton": 14.9, "none": 6.0},
    "alone": {"vllm v1-triton": 0.25 * GIB},
    "together": {"vllm v1-triton": 1.85 * GIB},
}
"""What no measured case gives. sort: logits (2), fp32 copy (4), sorted values (4), indices (8), their temporaries (12),
probabilities and sums (8). triton, v1-triton: llm-d's figures for vLLM 0.17 and 0.19. none: logits and an fp32 copy."""

UNMEASURED = {"alone": 0.25 * GIB, "together": 0.41 * GIB}
"""Bytes outside the framework for versions that nobody measured: on one GPU (llm-d's figure), and what more ranks add
(used only while no measured case says so)."""

BATCHING = frozenset({"share", "static", "free"})


def _rows(meter: str, left_out: str | None) -> Iterable[tuple[Case, float]]:
    for case in shipped_cases("serving"):
        row = case.row
        wanted = row.get("mem_meter") == meter and row["quality"] == "A" and case.group != left_out
        if wanted and engine(row["engine"], row["engine_version"]).budget in BATCHING:
            yield case, float(row["mem_gib"]) * GIB


def _sampler(left_out: str | None) -> tuple[dict[str, float], list[str]]:
    """Return bytes per logit by kind of sampler, from the peaks that it sets under the default batch."""
    found: dict[str, list[float]] = defaultdict(list)
    used: list[str] = []
    known = Coefficients(sampler=STATED["sampler"], alone={"": 0.0}, together={"": 0.0})
    for case, measured in _rows("activation_peak", left_out):
        plan, gpu = serving_plan(case.row), find_gpu(case.row["gpu"])
        limits, shape = resolve(case.architecture(), plan, gpu), shape_of(case.architecture())
        least = activation_bytes(shape, limits, plan.layout, learned=Coefficients(
            sampler={"sort": 0.0, "triton": 0.0, "none": 0.0}, alone={"": 0.0}, together={"": 0.0}))  # fmt: skip
        if activation_bytes(shape, limits, plan.layout, learned=known) > 2 * least:
            hidden = physics.HALF_BYTES * limits.batched_tokens * shape.hidden
            logits = min(limits.sequences, limits.batched_tokens) * shape.vocabulary
            found[limits.engine.sampler].append((measured - hidden) / logits)
            used.append(case.case_id)
    return STATED["sampler"] | {kind: statistics.median(values) for kind, values in found.items()}, used


def _outside(left_out: str | None) -> tuple[dict[str, float], dict[str, float], list[str]]:
    """Return bytes outside the framework on one GPU, and what more ranks add, by era."""
    one: dict[str, list[float]] = defaultdict(list)
    more: dict[str, list[float]] = defaultdict(list)
    used = []
    for case, measured in _rows("non_torch", left_out):
        era = engine(case.row["engine"], case.row["engine_version"]).era
        (one if serving_plan(case.row).layout.tp == 1 else more)[era].append(measured)
        used.append(case.case_id)
    alone = {era: statistics.median(values) for era, values in one.items()}
    usual = UNMEASURED["alone"]
    together = {era: statistics.median(values) - alone.get(era, usual) for era, values in more.items()}
    added = statistics.median(together.values()) if together else UNMEASURED["together"]
    return {"": usual, **STATED["alone"], **alone}, {"": added, **STATED["together"], **together}, used


def _coefficients(left_out: str | None) -> tuple[dict[str, Any], list[str]]:
    sampler, from_peaks = _sampler(left_out)
    alone, together, from_outside = _outside(left_out)
    values = {
        "sampler": {kind: round(value, 2) for kind, value in sampler.items()},
        "alone": {era: round(value) for era, value in alone.items()},
        "together": {era: round(value) for era, value in together.items()},
        "spread": 0.02,
    }
    return values, [*from_peaks, *from_outside]


def _error(values: dict[str, Any]) -> float:
    """Return the median relative error of cache pools, in sample."""
    errors = []
    for case, measured in _rows("kv_pool", None):
        pool = case_memory(case, coefficients=Coefficients(**values)).pool_bytes
        errors.append(abs(max(pool, 0.0) / measured - 1))
    return statistics.median(errors)


def main() -> None:
    """Fit with every group, and without each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--date", required=True, help="date of the fit, such as 2026-11-24")
    date = parser.parse_args().date
    values, used = _coefficients(None)
    groups = sorted({case.group for case in shipped_cases("serving") if case.case_id in set(used)})
    data = {
        "all": values,
        "without": {group: _coefficients(group)[0] for group in groups},
        "cases": used,
        "n": len(used),
        "date": date,
        "stated": "sampler triton and none, and everything of vllm v1-triton: from [llmd_planner_memory], not learned",
        "in_sample": {"median error of cache pools": round(_error(values), 4)},
    }
    TARGET.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
