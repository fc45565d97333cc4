"""The best plan and its neighbours: why others lose, which single change helps, what to change when nothing fits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sizeup.errors import UserError
from sizeup.estimate import Estimate
from sizeup.fitted.training_memory import shipped_coefficients
from sizeup.llm.architecture import Architecture
from sizeup.machine import Cluster, cluster_of
from sizeup.physics.training_memory import training_memory
from sizeup.plan.training import Adapter, TrainingPlan
from sizeup.training.answer import Alternative, Change, TrainingAnswer, answer, fit_probability
from sizeup.training.base import ADAPTERS, FINE_TUNING, require_dtype
from sizeup.training.search import Candidate, Found, search
from sizeup.training.space import AXES
from sizeup.training.step import PART_NAMES, domain_of, step_time
from sizeup.training.totals import RunTerms, Whole, whole_run
from sizeup.units import format_gib

SHOWN = 4
TIE = 1.01
"""Plans within this many times the time of the fastest count as equally fast: the bands are far wider."""
WORTH_SAYING = 0.99
"""A change that leaves more than this share of the time is not worth a line."""
SHORTEST = 512
"""Sequences are not halved further [tokens]."""
SAVES = 0.99
"""A step of the ladder leaves at most this share of the memory."""
MOST_GPUS = 2**15


def train(
    name: str,
    architecture: Architecture,
    cluster: Cluster,
    base: TrainingPlan,
    *,
    fixed: Mapping[str, Any] | None = None,
    free_batch: bool = False,
    tokens: float | None = None,
    terms: RunTerms | None = None,
) -> TrainingAnswer:
    """Return the best plan that fits with its alternatives; where none fits, the closest and what to change.

    Raises:
        UserError: no plan is valid.
    """
    chosen = dict(fixed or {})
    found = search(architecture, base, cluster, fixed=chosen, free_batch=free_batch, count=SHOWN + 2)
    if not found.best:
        whole = float(cluster.node.memory_bytes)
        found = search(architecture, base, cluster, fixed=chosen, free_batch=free_batch, count=SHOWN + 2, limit=whole)
    first = simplest(found.best) if found.best else found.near_misses[0]
    best = answer(name, architecture, cluster, first.plan, tokens=tokens, terms=terms)
    others = _alternatives(architecture, cluster, found, first, best, tokens)
    if found.best:
        helps = improvements(architecture, cluster, first, free_batch=free_batch)
        return replace(best, alternatives=others, improvements=helps, searched=found.evaluated, fitting=found.fitting)
    ladder = tuple(changes(architecture, cluster, first.plan))
    enough = fewest_that_fit(architecture, base, cluster, fixed=chosen, free_batch=free_batch)
    return replace(
        best, alternatives=others, changes=ladder, fewest_gpus=enough, searched=found.evaluated, fitting=found.fitting
    )


def simplest(best: Sequence[Candidate]) -> Candidate:
    """Return the plan that divides the model in the fewest ways of those as fast as the first (:data:`TIE`)."""

    def ways(found: Candidate) -> int:
        layout = found.plan.layout
        return sum(size > 1 for size in (layout.tp, layout.pp, layout.cp, layout.ep, layout.vpp))

    ties = [found for found in best if found.seconds_per_token <= TIE * best[0].seconds_per_token]
    return min(ties, key=lambda found: (ways(found), found.seconds_per_token))


def _alternatives(
    architecture: Architecture,
    cluster: Cluster,
    found: Found,
    first: Candidate,
    best: TrainingAnswer,
    tokens: float | None,
) -> tuple[Alternative, ...]:
    rows = []
    for candidate in [other for other in found.best if other is not first][:SHOWN]:
        step = step_time(architecture, candidate.plan, cluster)
        why = why_slower(best.step, step, first.plan, candidate.plan, cluster)
        rows.append(_alternative(candidate, cluster, why, tokens=tokens))
    misses = [candidate for candidate in found.near_misses[:2] if candidate is not first]
    rows += [_alternative(miss, cluster, why_too_big(architecture, miss, cluster), fits=False) for miss in misses]
    return tuple(rows)


def _alternative(
    candidate: Candidate, cluster: Cluster, why: str, *, fits: bool = True, tokens: float | None = None
) -> Alternative:
    plan, seconds = candidate.plan, candidate.step_seconds
    run: Whole | None = whole_run(plan, cluster, seconds, tokens) if tokens and fits else None
    per_gpu = plan.global_batch * plan.sequence_length / seconds / cluster.gpus if fits else None
    return Alternative(
        plan=plan, device_bytes=candidate.device_bytes, step_seconds=seconds if fits else None,
        tokens_per_second_per_gpu=per_gpu, why=why, days=run.days if run else None, usd=run.usd if run else None,
    )  # fmt: skip


def why_slower(
    best: Estimate, other: Estimate, best_plan: TrainingPlan, other_plan: TrainingPlan, cluster: Cluster
) -> str:
    """Return the part of the step that grew most, per token, from the best plan to another, and what makes it grow."""
    scale = best_plan.global_batch / other_plan.global_batch
    ours = {part.name: part.value for part in best.parts}
    growth = {part.name: part.value * scale - ours.get(part.name, 0.0) for part in other.parts}
    worst = max(growth, key=lambda name: growth[name])
    if growth[worst] <= 0:
        return "about as fast"
    reason = _reason(worst, other_plan, cluster)
    return f"{reason}{worst} +{growth[worst] / best.value:.1%} of the step"


def _reason(part: str, plan: TrainingPlan, cluster: Cluster) -> str:
    """Return what in a layout makes a part of the step large, where that can be said."""
    layout, domain = plan.layout, domain_of(cluster)
    if part == PART_NAMES["tensor_network"] and layout.tp > domain:
        return f"TP{layout.tp} crosses nodes: "
    if part == PART_NAMES["context_network"] and layout.tp * layout.cp > domain:
        return f"CP{layout.cp} crosses nodes: "
    if part == PART_NAMES["expert_network"] and layout.ep * layout.etp > domain:
        return f"EP{layout.ep} crosses nodes: "
    if part == PART_NAMES["bubble"]:
        return f"{plan.micro_batches} micro-batches for {layout.pp} stages: "
    if part == PART_NAMES["matmul"]:
        return "smaller products or uneven stages: "
    return ""


def why_too_big(architecture: Architecture, candidate: Candidate, cluster: Cluster) -> str:
    """Return by how much a plan runs out of memory, where, and what is largest there."""
    memory = training_memory(architecture, candidate.plan, cluster.gpu, coefficients=shipped_coefficients())
    over = candidate.needed_bytes - cluster.node.memory_bytes
    largest = max(memory.allocated.parts, key=lambda part: part.value)
    where = f" on stage {memory.stage}" if memory.stages > 1 else ""
    if over <= 0:
        chance = fit_probability(candidate.needed_bytes, cluster)
        return f"fits with {chance:.0%} only{where}: most is {largest.name}, {format_gib(largest.value)}"
    return f"OOM by {format_gib(over)}{where}: most is {largest.name}, {format_gib(largest.value)}"


Step = tuple[str, Callable[[TrainingPlan], TrainingPlan]]


def _ladder(plan: TrainingPlan) -> Iterator[Step]:
    """Yield what can be changed, cheapest in time and quality first."""
    if plan.loss == "plain":
        yield "chunked cross-entropy", lambda p: replace(p, loss="chunked")
    if plan.attention == "eager":
        yield "flash attention", lambda p: replace(p, attention="flash")
    if plan.micro_batch > 1:
        yield "micro-batch 1", lambda p: replace(p, micro_batch=1)
    if plan.recompute != "full":
        yield "full recomputation", lambda p: replace(p, recompute="full", recompute_layers=None)
    if plan.optimizer == "adamw":
        yield "8-bit AdamW", lambda p: replace(p, optimizer="adamw8bit")
    if not plan.offload_optimizer and plan.method not in ADAPTERS:
        yield "optimizer states in host memory", lambda p: replace(p, offload_optimizer=True)
    if not plan.offload_parameters and plan.layout.sharding in ("zero3", "fsdp", "hsdp"):
        yield "weights in host memory", lambda p: replace(p, offload_parameters=True)
    if plan.sequence_length > SHORTEST:
        yield f"sequences of {plan.sequence_length // 2}", lambda p: replace(p, sequence_length=p.sequence_length // 2)
    if plan.method == "full":
        yield "LoRA, rank 16", lambda p: replace(p, method="lora", adapter=Adapter(), offload_optimizer=False)
    if plan.method in FINE_TUNING and plan.method != "qlora":
        four_bits = Adapter(base_quant="nf4-dq")
        yield "QLoRA, 4-bit base", lambda p: replace(p, method="qlora", adapter=four_bits, offload_optimizer=False)


def changes(architecture: Architecture, cluster: Cluster, plan: TrainingPlan) -> Iterator[Change]:
    """Yield changes one after another, each on top of those before, until the plan fits.

    The cheapest that saves memory comes next; one that saves nothing yet is tried again later.
    """
    known = shipped_coefficients()

    def score(chosen: TrainingPlan) -> tuple[float, float]:
        memory = training_memory(architecture, chosen, cluster.gpu, coefficients=known)
        seconds = float(step_time(architecture, chosen, cluster).value)
        return memory.needed_bytes, seconds / chosen.sequence_length

    def saving(chosen: TrainingPlan, held: float) -> tuple[str, TrainingPlan, float, float] | None:
        for text, change in _ladder(chosen):
            changed = change(chosen)
            try:
                needed, pace = score(changed)
            except UserError:
                # offloading over a link that is not known
                continue
            if needed <= SAVES * held:
                return text, changed, needed, pace
        return None

    held, start = score(plan)
    while held > cluster.node.memory_bytes:
        found = saving(plan, held)
        if found is None:
            return
        text, plan, needed, pace = found
        fits = needed <= cluster.node.memory_bytes
        yield Change(text=text, device_bytes=needed, saves_bytes=held - needed, fits=fits, slower=pace / start)
        held = needed


def _options(plan: TrainingPlan, cluster: Cluster) -> Iterator[Step]:
    """Yield single changes of a recipe that fits which may make it faster."""
    if plan.precision.compute_dtype in ("bf16", "fp16") and plan.method not in ADAPTERS:
        for dtype in ("fp8", "mxfp8"):
            try:
                require_dtype(dtype, cluster.gpu)
            except UserError:
                continue
            precision: Any = replace(plan.precision, compute_dtype=dtype)
            yield f"{dtype} products", lambda p, precision=precision: replace(p, precision=precision)  # type: ignore[misc]
    if plan.loss == "plain":
        yield "fused cross-entropy", lambda p: replace(p, loss="fused")
    if plan.attention == "eager":
        yield "flash attention", lambda p: replace(p, attention="flash")
    if not plan.compile:
        yield "torch.compile", lambda p: replace(p, compile=True)
    if plan.layout.pp > 1 and plan.layout.vpp == 1 and plan.schedule == "1f1b":
        yield "zero-bubble schedule ZB-H1", lambda p: replace(p, schedule="zb-h1")
    if plan.layout.tp > 1 and not plan.async_tp:
        yield "tensor-parallel collectives beside the products", lambda p: replace(p, async_tp=True)
    if plan.optimizer == "adamw":
        yield "8-bit AdamW", lambda p: replace(p, optimizer="adamw8bit")


def improvements(
    architecture: Architecture, cluster: Cluster, best: Candidate, *, free_batch: bool
) -> tuple[Change, ...]:
    """Return single changes that make a plan faster, the best first.

    Each keeps how the model is divided and chooses micro-batch and recomputation again.
    """
    layout = best.plan.layout
    fixed = {**{axis: getattr(layout, axis) for axis in AXES}, "sharding": layout.sharding}
    rows = []
    for text, change in _options(best.plan, cluster):
        changed = replace(change(best.plan), layout=replace(layout, sequence_parallel=layout.sequence_parallel))
        try:
            found = search(architecture, changed, cluster, fixed=fixed, free_batch=free_batch, count=1).best
        except UserError:
            continue
        if found and found[0].seconds_per_token < WORTH_SAYING * best.seconds_per_token:
            rows.append(_improvement(text, found[0], best))
    return tuple(sorted(rows, key=lambda row: row.slower or 1.0))


def _improvement(text: str, found: Candidate, best: Candidate) -> Change:
    plan = found.plan
    again = [f"micro-batch {plan.micro_batch}"] if plan.micro_batch != best.plan.micro_batch else []
    again += [f"{plan.recompute} recompute"] if plan.recompute != best.plan.recompute else []
    return Change(
        text=", ".join([text, *again]), device_bytes=found.device_bytes, fits=True,
        saves_bytes=best.device_bytes - found.device_bytes, slower=found.seconds_per_token / best.seconds_per_token,
    )  # fmt: skip


def fewest_that_fit(
    architecture: Architecture, base: TrainingPlan, cluster: Cluster, *, fixed: Mapping[str, Any], free_batch: bool
) -> int | None:
    """Return the fewest cards, doubling from those given, on which some plan fits; None up to :data:`MOST_GPUS`."""
    free = {name: value for name, value in fixed.items() if name != "dp"}
    gpus = cluster.gpus
    while (gpus := 2 * gpus) <= MOST_GPUS:
        try:
            larger = _times(cluster, gpus // cluster.gpus)
            batch = base.global_batch if base.global_batch % gpus == 0 else gpus
            plan = replace(base, global_batch=batch)
            if search(architecture, plan, larger, fixed=free, free_batch=free_batch, count=1).best:
                return gpus
        except UserError:
            continue
    return None


def _times(cluster: Cluster, factor: int) -> Cluster:
    """Return ``factor`` times the cards: in one node while they fit there, else in more nodes."""
    if cluster.nodes == 1 and cluster.node.instance is None and cluster.gpus * factor > cluster.gpus:
        return cluster_of(cluster.gpu, gpus=cluster.gpus * factor)
    return replace(cluster, nodes=cluster.nodes * factor)
