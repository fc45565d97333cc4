"""Every way to serve a model on some GPUs: layouts and loads, loads as columns; the best, and why not the others.

A point is one layout and one number of requests in flight. The Pareto front is throughput per GPU against speed per
user; with targets, the fewest GPUs or the most throughput that meet them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sizeup.errors import UserError
from sizeup.llm.architecture import Architecture
from sizeup.llm.formats import format_named, weight_formats
from sizeup.machine import Cluster, Gpu, cluster_of
from sizeup.plan.serving import Load, ServingLayout, ServingPlan
from sizeup.serving.answer import (
    Row,
    Rung,
    ServingAnswer,
    Targets,
    check_hardware,
    priced,
    requests_of,
    resolved,
    room_of,
    serve,
    usd_per_million,
)
from sizeup.serving.memory import ServingMemory, serving_memory
from sizeup.serving.speed import Deployment, closed_speed, deployment, open_speed
from sizeup.units import format_gib

MOST_GPUS = 128
"""Most cards that a search for the fewest tries."""

CONCURRENCIES = tuple(sorted({round(2 ** (i / 2)) for i in range(27)}))
"""Requests in flight on a front: powers of the square root of two up to 8,192."""

SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One layout with its memory and, if it fits, what computes its speed."""

    plan: ServingPlan
    memory: ServingMemory
    made: Deployment | None
    problems: tuple[str, ...]


def powers(most: int) -> list[int]:
    """Return the powers of two up to ``most``, and ``most``.

    >>> powers(6)
    [1, 2, 4, 6]
    """
    return sorted({2**i for i in range(most.bit_length()) if 2**i <= most} | {most})


def layouts(architecture: Architecture, gpus: int, gpus_per_node: int) -> list[ServingLayout]:
    """Return every layout of ``gpus`` cards: tp within a node, pp over the rest, replicas or data-parallel attention.

    Mixtures also get their experts divided by expert, inside each replica or over all cards.
    """
    routed = any(tensor.part == "experts" for layer, _ in architecture.distinct_layers() for tensor in layer.tensors)
    found = []
    for tp in (t for t in powers(min(gpus, gpus_per_node)) if gpus % t == 0):
        for pp in (p for p in powers(gpus // tp) if gpus // tp % p == 0):
            dp = gpus // (tp * pp)
            found.append(ServingLayout(tp=tp, pp=pp, dp=dp))
            if routed and tp > 1:
                found.append(ServingLayout(tp=tp, pp=pp, dp=dp, ep=tp, moe_tp=1))
            if routed and dp > 1 and pp == 1:
                found.append(ServingLayout(tp=tp, pp=pp, dp=dp, ep=tp * dp, moe_tp=1))
    return found


def option(architecture: Architecture, plan: ServingPlan, gpu: Gpu, load: Load, *, gpus_per_node: int) -> Option:
    """Return a layout with its memory; a layout that cannot be says why."""
    memory = serving_memory(architecture, plan, gpu, load=load)
    problems = [*memory.reasons, *check_hardware(gpu, plan)]
    made = None
    if not problems:
        try:
            made = deployment(architecture, plan, gpu, room=room_of(memory, load, plan), gpus_per_node=gpus_per_node)
        except UserError as error:
            problems.append(str(error))
    return Option(plan=plan, memory=memory, made=made, problems=tuple(problems))


def options(architecture: Architecture, base: ServingPlan, cluster: Cluster, load: Load) -> list[Option]:
    """Return every layout of the cluster's cards."""
    return [
        option(architecture, replace(base, layout=layout), cluster.gpu, load, gpus_per_node=cluster.node.gpus)
        for layout in layouts(architecture, cluster.gpus, cluster.node.gpus)
    ]


def front_points(found: Iterable[Option], cluster: Cluster, load: Load, targets: Targets) -> list[Row]:
    """Return a closed loop at every concurrency for every layout that fits, one column for each layout."""
    requests, instance, rows = requests_of(load), priced(cluster), []
    for one in found:
        if one.made is None:
            continue
        most = one.made.room * one.made.replicas
        flying = np.array([c for c in CONCURRENCIES if c <= most] or [1], dtype=float)
        speed = closed_speed(one.made, requests, flying)
        rates = speed.requests_per_second * load.output_tokens
        for n, ttft, tpot, rate in zip(flying, speed.ttft_seconds, speed.tpot_seconds, rates, strict=True):
            rows.append(
                Row(
                    plan=one.plan, gpus=cluster.gpus, fits=True, meets=targets.met(float(ttft), float(tpot)),
                    concurrency=float(n), ttft_seconds=float(ttft), tpot_seconds=float(tpot),
                    output_tokens_per_second=float(rate),
                    usd_per_million=usd_per_million(instance, cluster.gpus, float(rate)),
                )
            )  # fmt: skip
    return rows


def pareto(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that no other beats in both tokens per GPU and tokens per user, the fastest user first."""
    best, kept = -math.inf, []
    for row in sorted(rows, key=lambda row: (-row.per_user, -row.per_gpu)):
        if row.per_gpu > best:
            kept.append(row)
            best = row.per_gpu
    return kept


def at_load(one: Option, cluster: Cluster, load: Load, targets: Targets) -> Row:
    """Return a layout at the load that was asked for; at a rate that saturates it, it does not meet it."""
    if one.made is None:
        return Row(plan=one.plan, gpus=cluster.gpus, fits=False, meets=False, why=one.problems[0])
    requests = requests_of(load)
    if load.kind == "open":
        assert load.rate is not None
        try:
            latency = open_speed(one.made, requests, load.rate).latency
        except UserError as error:
            return Row(plan=one.plan, gpus=cluster.gpus, fits=True, meets=False, why=str(error).split(":")[0])
    else:
        latency = closed_speed(one.made, requests, load.concurrency)
    rate = float(latency.requests_per_second) * load.output_tokens
    ttft, tpot = float(latency.ttft_seconds), float(latency.tpot_seconds)
    return Row(
        plan=one.plan, gpus=cluster.gpus, fits=True, meets=targets.met(ttft, tpot), concurrency=load.concurrency,
        ttft_seconds=ttft, tpot_seconds=tpot, output_tokens_per_second=rate,
        usd_per_million=usd_per_million(priced(cluster), cluster.gpus, rate),
    )  # fmt: skip


def ranked(rows: Iterable[Row], load: Load) -> list[Row]:
    """Return rows best first: those that fit and meet the targets, by throughput; at a given rate by TPOT."""

    def key(row: Row) -> tuple[bool, bool, float]:
        score = row.tpot_seconds if load.kind == "open" else -row.output_tokens_per_second
        return (not row.fits, not row.meets, score)

    return sorted(rows, key=key)


def find(
    name: str,
    architecture: Architecture,
    cluster: Cluster,
    base: ServingPlan,
    load: Load,
    *,
    targets: Targets | None = None,
    fixed: bool = False,
    cached: float = 0.0,
    tokens_per_step: float = 1.0,
) -> ServingAnswer:
    """Return the best plan on these cards with its rivals and the Pareto front; ``fixed`` keeps the base's layout.

    Raises:
        UserError: unknown format or engine.
    """
    wanted, base = targets or Targets(), resolved(architecture, base)
    found = options(architecture, base, cluster, load)
    rows = ranked((at_load(one, cluster, load, wanted) for one in found), load)
    plan = base if fixed else rows[0].plan
    answer = serve(
        name, architecture, cluster, plan, load, targets=wanted, cached=cached, tokens_per_step=tokens_per_step
    )
    points = front_points(found, cluster, load, wanted)
    rest = [row for row in rows if row.plan.layout != plan.layout]
    shown = tuple(replace(row, why=row.why or _why(row, rows[0], wanted)) for row in rest[:SHOWN])
    rungs = () if answer.fits else tuple(ladder(architecture, cluster, plan, load))
    return replace(answer, alternatives=shown, pareto=tuple(pareto(points)), ladder=rungs, searched=len(points))


def _why(row: Row, best: Row, targets: Targets) -> str:
    if targets.ttft_seconds is not None and row.ttft_seconds > targets.ttft_seconds:
        return "TTFT above the target"
    if targets.tpot_seconds is not None and row.tpot_seconds > targets.tpot_seconds:
        return "TPOT above the target"
    if not best.output_tokens_per_second:
        return ""
    less = 1 - row.output_tokens_per_second / best.output_tokens_per_second
    return f"{less:.0%} fewer tokens/s" if less >= 0.005 else "as fast, but not simpler"


def counts(gpu: Gpu) -> list[int]:
    """Return the numbers of cards that a search for the fewest tries: powers of two, then whole nodes."""
    node = gpu.gpus_per_node
    return [n for n in powers(node) if n <= node] + list(range(2 * node, MOST_GPUS + 1, node))


def fewest(
    name: str,
    architecture: Architecture,
    gpu: Gpu,
    base: ServingPlan,
    load: Load,
    *,
    targets: Targets | None = None,
    cached: float = 0.0,
    tokens_per_step: float = 1.0,
) -> ServingAnswer:
    """Return the best plan on the fewest cards that fit the model and meet the targets.

    Where nothing up to :data:`MOST_GPUS` does, the answer of the smallest count that fits, or of the last.

    Raises:
        UserError: unknown format or engine.
    """
    wanted, base = targets or Targets(), resolved(architecture, base)
    first: int | None = None
    for count in counts(gpu):
        cluster = cluster_of(gpu, gpus=count)
        rows = [at_load(one, cluster, load, wanted) for one in options(architecture, base, cluster, load)]
        first = first or (count if any(row.fits for row in rows) else None)
        if any(row.fits and row.meets for row in rows):
            first = count
            break
        if first and not wanted.any and load.kind != "open":
            break
    cluster = cluster_of(gpu, gpus=first or gpu.gpus_per_node)
    return find(name, architecture, cluster, base, load, targets=wanted, cached=cached, tokens_per_step=tokens_per_step)


def ladder(architecture: Architecture, cluster: Cluster, plan: ServingPlan, load: Load) -> list[Rung]:
    """Return changes that make it fit, cheapest first: cache dtype, context, weight format, more cards, other cards."""
    changes: list[tuple[str, ServingPlan, Cluster]] = []
    if plan.kv_dtype in ("bf16", "fp16"):
        dtype = "q8_0" if format_named(plan.weight_format).is_gguf else "fp8"
        changes.append((f"cache in {dtype}", replace(plan, kv_dtype=dtype), cluster))
    if (plan.max_model_len or 0) == 0 or (plan.max_model_len or 0) > load.longest:
        changes.append((f"--max-model-len {load.longest}", replace(plan, max_model_len=load.longest), cluster))
    for name in _smaller(plan):
        smaller = replace(plan, weight_format=name, max_model_len=load.longest)
        changes.append((f"weights in {name}, --max-model-len {load.longest}", smaller, cluster))
    for count in counts(cluster.gpu):
        if count > cluster.gpus:
            wider = cluster_of(cluster.gpu, gpus=count)
            whole = [one for one in layouts(architecture, count, wider.node.gpus) if one.dp == 1]
            changes += [(f"{count} x {cluster.gpu.name}", replace(plan, layout=one), wider) for one in whole]
    rungs: dict[str, Rung] = {}
    for words, changed, machine in changes:
        if words not in rungs and _works(architecture, machine, changed, load):
            instance = priced(machine)
            price = instance.usd_per_gpu_hour * machine.gpus if instance and instance.usd_per_gpu_hour else None
            rungs[words] = Rung(change=words, plan=changed, gpu=machine.gpu.key, gpus=machine.gpus, usd_per_hour=price)
        if len(rungs) >= SHOWN:
            break
    return list(rungs.values())


def _smaller(plan: ServingPlan) -> list[str]:
    known = format_named(plan.weight_format)
    names = ("q8_0", "q6_k", "q4_k_m", "q3_k_m", "q2_k") if known.is_gguf else ("fp8", "awq-int4")
    return [name for name in names if weight_formats()[name].bits_per_weight < known.bits_per_weight]


def _works(architecture: Architecture, cluster: Cluster, plan: ServingPlan, load: Load) -> bool:
    return not serving_memory(architecture, plan, cluster.gpu, load=load).reasons and not check_hardware(
        cluster.gpu, plan
    )


def shortfall(answer: ServingAnswer) -> str:
    """Return by how much it misses, in words."""
    return format_gib(-answer.memory.shortfall) if answer.memory.shortfall < 0 else ""
