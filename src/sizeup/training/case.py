"""Predict one measured training case, time and memory: what evidence and fitting call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sizeup.errors import UserError
from sizeup.evidence.cases import Case
from sizeup.evidence.validate import Predicted
from sizeup.machine import Cluster, cluster_of, find_gpu, node_of
from sizeup.physics.training_time import RawTimes, StepPlan, Traits, raw_times, step_parts
from sizeup.physics.training_work import StepWork
from sizeup.plan.from_case import training_plan
from sizeup.plan.training import TrainingPlan
from sizeup.training.memory_case import predict_memory
from sizeup.training.step import coefficients, hardware_of, step_plan, traits_of, work_of
from sizeup.units import GIB


def case_cluster(row: Mapping[str, str]) -> Cluster:
    """Return the machine of a row: nodes of ``gpus_per_node`` cards, or usual ones where the row does not say."""
    card, gpus = find_gpu(row["gpu"]), int(row["n_gpus"])
    if not row.get("gpus_per_node"):
        return cluster_of(card, gpus=gpus)
    per_node = min(gpus, int(row["gpus_per_node"]))
    return Cluster(node=node_of(card, gpus=per_node), nodes=max(1, gpus // per_node))


def case_plan(row: Mapping[str, str], layers: int) -> TrainingPlan:
    """Return the plan of a row, under the framework's own name."""
    plan = replace(training_plan(row), framework=row["framework"])
    if not row.get("micro_batch"):
        plan = _usual_micro_batch(plan)
    return _with_chunks(plan, layers) if not row.get("vpp") else _split_for_pipeline(plan)


def _with_chunks(plan: TrainingPlan, layers: int) -> TrainingPlan:
    """Return a Megatron pipeline interleaved in up to 4 chunks, which its recipes do, where the row does not say."""
    layout = plan.layout
    if plan.framework not in ("megatron", "nemo") or layout.pp < 2 or plan.micro_batches % layout.pp:
        return _split_for_pipeline(plan)
    fits = [v for v in (4, 3, 2, 1) if layers % (layout.pp * v) == 0]
    chunks = fits[0] if fits else 1
    notes = (*plan.assumptions, f"vpp: {chunks} (interleaved)")
    return replace(plan, layout=replace(layout, vpp=chunks), assumptions=notes)


def _split_for_pipeline(plan: TrainingPlan) -> TrainingPlan:
    """Return the plan with at least as many micro-batches as stages where its micro-batch can be split."""
    stages = plan.layout.pp * plan.layout.vpp
    if plan.micro_batches >= stages or plan.micro_batch * plan.micro_batches < stages:
        return plan
    size = max(1, plan.micro_batch * plan.micro_batches // stages)
    return replace(plan, micro_batch=size, assumptions=(*plan.assumptions, f"micro_batch: {size} (fills the stages)"))


def _usual_micro_batch(plan: TrainingPlan) -> TrainingPlan:
    """Return the plan with the micro-batch people choose: as large as 4 while the pipeline bubble stays below 1/8."""
    each = plan.global_batch // plan.layout.dp
    fits = [b for b in (4, 2, 1) if each % b == 0 and each // b >= 8 * (plan.layout.pp - 1)]
    size = fits[0] if fits else 1
    kept = tuple(text for text in plan.assumptions if not text.startswith("micro_batch"))
    return replace(plan, micro_batch=size, assumptions=(*kept, f"micro_batch: {size} (a bubble below 1/8, at most 4)"))


def case_step(case: Case) -> tuple[StepWork, StepPlan, RawTimes, Traits, TrainingPlan]:
    """Return everything about a case that no coefficient changes."""
    work = work_of(case.architecture())
    plan = case_plan(case.row, len(case.architecture().layers))
    steps = step_plan(plan, work)
    hardware = hardware_of(case_cluster(case.row), plan.precision.compute_dtype)
    return work, steps, raw_times(work, steps, hardware), traits_of(plan), plan


def predict(case: Case, *, left_out: str | None) -> Predicted:
    """Return the predicted time and memory of a case, with coefficients learned without a group when asked to."""
    plan = case_plan(case.row, len(case.architecture().layers))
    values = _memory(case, left_out) if _asks_memory(case.row) else {}
    if not case.row.get("step_seconds") and not case.row.get("tokens_per_second_per_gpu"):
        return Predicted(values=values, assumptions=plan.assumptions)
    try:
        work, steps, raw, traits, plan = case_step(case)
    except UserError as error:
        return Predicted(values=values, assumptions=(*plan.assumptions, f"no time: {error}"))
    seconds = step_parts(raw, work, steps, traits=traits, coefficients=coefficients(left_out)).seconds()
    values["step_seconds", ""] = seconds
    values["tokens_per_second_per_gpu", ""] = plan.sequence_length * plan.global_batch / seconds / plan.layout.gpus
    return Predicted(values=values, assumptions=plan.assumptions)


def _asks_memory(row: Mapping[str, str]) -> bool:
    return bool(row.get("mem_gib") or row.get("oom"))


def _memory(case: Case, left_out: str | None) -> dict[tuple[str, str], float]:
    """Return the peak by meter [GiB] and the probability of running out of memory."""
    gpu = find_gpu(case.row["gpu"])
    meters, chance, _ = predict_memory(case.row, case.architecture(), gpu, left_out=left_out)
    peaks = {("mem_gib", name): value / GIB for name, value in meters.items()}
    # a row that does not name its meter is taken as what monitoring shows
    return {**peaks, ("mem_gib", ""): peaks["mem_gib", "nvidia-smi"], ("oom", ""): chance}
