"""The best plan and its neighbours: search, why near misses lose, and what to change when nothing fits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from sizeup.estimate import Estimate
from sizeup.fitted.training_memory import shipped_coefficients
from sizeup.llm.architecture import Architecture
from sizeup.machine import Cluster
from sizeup.physics.training_memory import training_memory
from sizeup.plan.training import TrainingPlan
from sizeup.training.answer import Alternative, Change, TrainingAnswer, answer, fit_probability
from sizeup.training.base import FINE_TUNING
from sizeup.training.search import Candidate, Found, search
from sizeup.training.step import step_time
from sizeup.units import format_gib

SHOWN = 4


def train(
    name: str,
    architecture: Architecture,
    cluster: Cluster,
    base: TrainingPlan,
    *,
    fixed: Mapping[str, Any] | None = None,
    free_batch: bool = False,
    tokens: float | None = None,
) -> TrainingAnswer:
    """Return the best plan that fits with its alternatives; where none fits, the closest and what to change.

    Raises:
        UserError: no plan is valid.
    """
    found = search(architecture, base, cluster, fixed=fixed, free_batch=free_batch, count=SHOWN + 2)
    if not found.best:
        whole = float(cluster.node.memory_bytes)
        found = search(architecture, base, cluster, fixed=fixed, free_batch=free_batch, count=SHOWN + 2, limit=whole)
    first = found.best[0] if found.best else found.near_misses[0]
    best = answer(name, architecture, cluster, first.plan, tokens=tokens)
    others = _alternatives(architecture, cluster, found, first, best.step)
    ladder = tuple(changes(architecture, cluster, first.plan)) if not found.best else ()
    return replace(best, alternatives=others, changes=ladder, searched=found.evaluated, fitting=found.fitting)


def _alternatives(
    architecture: Architecture, cluster: Cluster, found: Found, first: Candidate, best: Estimate
) -> tuple[Alternative, ...]:
    rows = []
    for candidate in found.best[1 : 1 + SHOWN]:
        step = step_time(architecture, candidate.plan, cluster)
        rows.append(_alternative(candidate, cluster, why_slower(best, step, first.plan, candidate.plan)))
    misses = [candidate for candidate in found.near_misses[:2] if candidate is not first]
    rows += [_alternative(miss, cluster, why_too_big(architecture, miss, cluster), fits=False) for miss in misses]
    return tuple(rows)


def _alternative(candidate: Candidate, cluster: Cluster, why: str, *, fits: bool = True) -> Alternative:
    tokens = candidate.plan.global_batch * candidate.plan.sequence_length
    return Alternative(
        plan=candidate.plan, device_bytes=candidate.device_bytes,
        step_seconds=candidate.step_seconds if fits else None,
        tokens_per_second_per_gpu=tokens / candidate.step_seconds / cluster.gpus if fits else None, why=why,
    )  # fmt: skip


def why_slower(best: Estimate, other: Estimate, best_plan: TrainingPlan, other_plan: TrainingPlan) -> str:
    """Return the part of the step that grew most, per token, from the best plan to another."""
    scale = best_plan.global_batch / other_plan.global_batch
    ours = {part.name: part.value for part in best.parts}
    growth = {part.name: part.value * scale - ours.get(part.name, 0.0) for part in other.parts}
    worst = max(growth, key=lambda name: growth[name])
    if growth[worst] <= 0:
        return "about as fast"
    return f"{worst}: +{growth[worst] / best.value:.1%} of the step"


def why_too_big(architecture: Architecture, candidate: Candidate, cluster: Cluster) -> str:
    """Return by how much a plan does not fit, where, and its largest part."""
    memory = training_memory(architecture, candidate.plan, cluster.gpu, coefficients=shipped_coefficients())
    over = candidate.device_bytes - cluster.node.memory_bytes
    largest = max(memory.allocated.parts, key=lambda part: part.value)
    where = f" on stage {memory.stage}" if memory.stages > 1 else ""
    if over <= 0:
        chance = fit_probability(candidate.device_bytes, cluster)
        return f"fits with {chance:.0%} only{where}; most is {largest.name}"
    return f"does not fit: {format_gib(over)} too much{where}; most is {largest.name}"


Step = tuple[str, Callable[[TrainingPlan], TrainingPlan]]


def _ladder(plan: TrainingPlan) -> Iterator[Step]:
    """Yield what can be changed, cheapest in time and quality first."""
    if plan.loss == "plain":
        yield "chunked cross-entropy", lambda p: replace(p, loss="chunked")
    if plan.attention == "eager":
        yield "flash attention", lambda p: replace(p, attention="flash")
    if plan.micro_batch > 1:
        yield "micro-batch 1", lambda p: replace(p, micro_batch=1)
    if plan.recompute == "none":
        yield "full recomputation", lambda p: replace(p, recompute="full")
    if plan.optimizer == "adamw":
        yield "8-bit AdamW", lambda p: replace(p, optimizer="adamw8bit")
    if not plan.offload_optimizer and plan.method not in ("lora", "qlora"):
        yield "optimizer states in host memory", lambda p: replace(p, offload_optimizer=True)
    if plan.sequence_length > 1:
        yield f"sequences of {plan.sequence_length // 2}", lambda p: replace(p, sequence_length=p.sequence_length // 2)
    if plan.method in FINE_TUNING and plan.method == "full":
        from sizeup.plan.training import Adapter

        yield "LoRA, rank 16", lambda p: replace(p, method="lora", adapter=Adapter())
    if plan.method != "qlora" and plan.method != "pretrain":
        from sizeup.plan.training import Adapter

        yield "QLoRA, 4-bit base", lambda p: replace(p, method="qlora", adapter=Adapter(base_quant="nf4-dq"))


def changes(architecture: Architecture, cluster: Cluster, plan: TrainingPlan) -> Iterator[Change]:
    """Yield changes one after another, each on top of those before, until the plan fits."""
    before = float(step_time(architecture, plan, cluster).value) / plan.sequence_length
    for text, change in _ladder(plan):
        plan = change(plan)
        known = shipped_coefficients()
        needed = float(training_memory(architecture, plan, cluster.gpu, coefficients=known).device.value)
        slower = float(step_time(architecture, plan, cluster).value) / plan.sequence_length / before
        fits = needed <= cluster.node.memory_bytes
        yield Change(text=text, device_bytes=needed, fits=fits, slower=slower)
        if fits:
            return
