"""Predict one measured training case, time and memory: what evidence and fitting call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sizeup.errors import UserError
from sizeup.evidence.cases import Case
from sizeup.evidence.validate import Predicted
from sizeup.machine import find_gpu
from sizeup.physics.training_time import RawTimes, StepPlan, Traits, raw_times, step_parts
from sizeup.physics.training_work import StepWork
from sizeup.plan.training import TrainingPlan
from sizeup.training.case_plan import case_cluster, plan_of_case
from sizeup.training.memory_case import predict_memory
from sizeup.training.step import (
    coefficients,
    far_from_cases,
    hardware_of,
    regime_of,
    step_plan,
    traits_of,
    work_of,
)
from sizeup.units import GIB


def case_step(
    case: Case, plan: TrainingPlan | None = None
) -> tuple[StepWork, StepPlan, RawTimes, Traits, TrainingPlan]:
    """Return everything about a case that no coefficient changes."""
    plan = plan or plan_of_case(case.row, case.architecture())
    work = work_of(case.architecture())
    steps = step_plan(plan, work)
    hardware = hardware_of(case_cluster(case.row, plan), plan.precision.compute_dtype)
    return work, steps, raw_times(work, steps, hardware), traits_of(plan), plan


def predict(case: Case, *, left_out: str | None) -> Predicted:
    """Return the predicted time and memory of a case, with coefficients learned without a group when asked to."""
    plan = plan_of_case(case.row, case.architecture())
    values = _memory(case, plan, left_out) if _asks_memory(case.row) else {}
    if not case.row.get("step_seconds") and not case.row.get("tokens_per_second_per_gpu"):
        return Predicted(values=values, assumptions=plan.assumptions)
    try:
        work, steps, raw, traits, plan = case_step(case, plan)
    except UserError as error:
        return Predicted(values=values, assumptions=plan.assumptions, missing=str(error))
    parts = step_parts(raw, work, steps, traits=traits, coefficients=coefficients(left_out))
    seconds = parts.seconds()
    values["step_seconds", ""] = seconds
    values["tokens_per_second_per_gpu", ""] = plan.sequence_length * plan.global_batch / seconds / plan.layout.gpus
    far = far_from_cases(plan, case_cluster(case.row, plan), left_out=left_out)
    notes = (*plan.assumptions, *([far] if far else []))
    regime = regime_of(parts, work)
    return Predicted(values=values, assumptions=notes, regime=regime, far=bool(far))


def _asks_memory(row: Mapping[str, str]) -> bool:
    return bool(row.get("mem_gib") or row.get("oom"))


def _memory(case: Case, plan: TrainingPlan, left_out: str | None) -> dict[tuple[str, str], float]:
    """Return the peak by meter [GiB] and the probability of running out of memory."""
    gpu = find_gpu(case.row["gpu"])
    rank = "last" if case.row.get("mem_rank") == "last" else "max"
    meters, chance = predict_memory(plan, case.architecture(), gpu, rank=rank, left_out=left_out)
    if not case.row.get("recompute") and not case.row.get("recompute_layers"):
        # what is not stated is taken as what makes it run: people recompute as much as it takes
        most = replace(plan, recompute="full")
        chance = min(chance, predict_memory(most, case.architecture(), gpu, rank=rank, left_out=left_out)[1])
    peaks = {("mem_gib", name): value / GIB for name, value in meters.items()}
    # a row that does not name its meter is taken as what monitoring shows
    return {**peaks, ("mem_gib", ""): peaks["mem_gib", "nvidia-smi"], ("oom", ""): chance}
