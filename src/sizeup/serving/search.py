"""Every way to serve a model on some GPUs, loads as columns: the best plan, and why not the others.

A point is one plan and one number of requests in flight. The Pareto front is throughput per GPU against speed per user;
with targets, the fewest GPUs or the most throughput that meet them. Formats change only where the one nearer to the
original does not fit or misses what is asked.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sizeup.errors import UserError
from sizeup.llm.architecture import Architecture
from sizeup.machine import Cluster, Gpu, cluster_of
from sizeup.machine.instances import Instance
from sizeup.plan.engines import engine
from sizeup.plan.serving import Load, ServingLayout, ServingPlan
from sizeup.serving.answer import priced, requests_of, resolved, serve, usd_per_million
from sizeup.serving.nearest import nearest_words
from sizeup.serving.open_loop import Saturated, most_flying, most_rate, open_speed
from sizeup.serving.results import Row, ServingAnswer, Targets
from sizeup.serving.space import Option, layouts, offloaded, option, possible, powers, precisions
from sizeup.serving.speed import burst_speed, closed_speed, most_in_flight

MOST_GPUS = 4096
"""Most cards that a search for the fewest considers."""

CONCURRENCIES = tuple(sorted({round(2 ** (i / 4)) for i in range(53)}))
"""Requests in flight on a front: powers of the fourth root of two up to 8,192."""

SHOWN = 5

LIMITED = 3
"""Layouts that are tried with fewer sequences at once where TPOT misses its target."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked of a search: the model, the load, the targets, and what a plan may change.

    ``fixed`` keeps the plan's layout; ``weights`` and ``cache`` let the formats change.
    """

    name: str
    architecture: Architecture
    load: Load
    targets: Targets
    fixed: bool = False
    weights: bool = True
    cache: bool = True
    usd_per_gpu_hour: float | None = None

    def usd(self, instance: Instance | None) -> float | None:
        """Return the price of one card and hour [dollars]."""
        return self.usd_per_gpu_hour or (instance.usd_per_gpu_hour if instance else None)


def options(asked: Question, base: ServingPlan, cluster: Cluster) -> list[Option]:
    """Return every layout of the cluster's cards in one precision, or the base's own."""
    found = [base.layout]
    if not asked.fixed:
        divides = engine(base.engine, base.engine_version).divides
        every = layouts(asked.architecture, cluster.gpus, cluster.node.gpus, divides=divides)
        found = possible(asked.architecture, every, base.weight_format) or every
    return [option(asked.architecture, replace(base, layout=one), cluster, asked.load) for one in found]


def front_points(found: Iterable[Option], cluster: Cluster, asked: Question) -> list[Row]:
    """Return a closed loop at every concurrency for every plan that fits, one column for each plan."""
    load, rows = asked.load, []
    requests, usd = requests_of(load), asked.usd(priced(cluster))
    for one in found:
        if one.made is None:
            continue
        most = most_in_flight(one.made)
        flying = np.array([c for c in CONCURRENCIES if c <= most] or [1], dtype=float)
        speed = closed_speed(one.made, requests, flying)
        rates = speed.requests_per_second * load.output_tokens
        for n, ttft, tpot, rate in zip(flying, speed.ttft_seconds, speed.tpot_seconds, rates, strict=True):
            rows.append(
                Row(
                    plan=one.plan, gpus=cluster.gpus, fits=True, meets=asked.targets.met(float(ttft), float(tpot)),
                    concurrency=float(n), ttft_seconds=float(ttft), tpot_seconds=float(tpot),
                    output_tokens_per_second=float(rate),
                    usd_per_million=usd_per_million(usd, cluster.gpus, float(rate)),
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


def at_load(one: Option, cluster: Cluster, asked: Question) -> Row:
    """Return a plan at the load that was asked for; at a rate that saturates it, it does not meet it."""
    load = asked.load
    if one.made is None:
        return Row(plan=one.plan, gpus=cluster.gpus, fits=False, meets=False, why=one.problems[0])
    requests = requests_of(load)
    if load.kind == "open":
        assert load.rate is not None
        try:
            latency = open_speed(one.made, requests, load.rate).latency
        except Saturated as error:
            why = f"saturates at {error.most:.3g} requests/s"
            return Row(plan=one.plan, gpus=cluster.gpus, fits=True, meets=False, why=why)
    else:
        run = closed_speed if load.kind == "closed" else burst_speed
        latency = run(one.made, requests, load.concurrency)
    rate = float(latency.requests_per_second) * load.output_tokens
    ttft, tpot = float(latency.ttft_seconds), float(latency.tpot_seconds)
    return Row(
        plan=one.plan, gpus=cluster.gpus, fits=True, meets=asked.targets.met(ttft, tpot),
        concurrency=load.concurrency, ttft_seconds=ttft, tpot_seconds=tpot, output_tokens_per_second=rate,
        usd_per_million=usd_per_million(asked.usd(priced(cluster)), cluster.gpus, rate),
    )  # fmt: skip


def ranked(rows: Iterable[Row], load: Load) -> list[Row]:
    """Return rows best first: those that fit and meet the targets, by throughput; at a given rate by TPOT.

    Of equals the plainest layout is first.
    """

    def key(row: Row) -> tuple[bool, bool, float, int]:
        score = row.tpot_seconds if load.kind == "open" else -row.output_tokens_per_second
        layout = row.plan.layout
        axes = sum(size > 1 for size in (layout.tp, layout.pp, layout.ep, layout.dp))
        return (not row.fits, not row.meets, score, axes)

    return sorted(rows, key=key)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chosen:
    """The precision that a search stopped at: its options and rows, best first; why earlier ones were passed over."""

    options: tuple[Option, ...]
    rows: tuple[Row, ...]
    passed: tuple[str, ...]


def choose(asked: Question, base: ServingPlan, cluster: Cluster) -> _Chosen:
    """Return the options of the precision nearest to the original that fits and meets what is asked.

    Where none does: of those that fit, else of all, the first. llama.cpp may leave layers in host memory instead.
    """
    tried: list[_Chosen] = []
    passed: list[str] = []
    for plan in precisions(base, cluster.gpu, weights=asked.weights, cache=asked.cache):
        found = options(asked, plan, cluster)
        rows = ranked((at_load(one, cluster, asked) for one in found), asked.load)
        tried.append(_Chosen(options=tuple(found), rows=tuple(rows), passed=tuple(passed)))
        if rows[0].fits and rows[0].meets:
            return tried[-1]
        limited = _limited(asked, rows, cluster)
        if limited:
            return replace(
                tried[-1], options=(*found, *limited[0]), rows=tuple(ranked((*limited[1], *rows), asked.load))
            )
        why = rows[0].why or why_not(rows[0], rows[0], asked.targets)
        if not any(said.startswith(f"{plan.weight_format} ") and said.endswith(why) for said in passed):
            passed.append(f"{plan.weight_format} weights, {plan.kv_dtype} cache: {why}")
    fitting = [one for one in tried if one.rows[0].fits]
    if fitting:
        return replace(fitting[0], passed=())
    return _in_host_memory(asked, base, cluster, tuple(passed)) or replace(tried[0], passed=())


def _limited(asked: Question, rows: list[Row], cluster: Cluster) -> tuple[list[Option], list[Row]] | None:
    """Return the best layouts with fewer sequences at once, where that alone meets a target of TPOT; the rest queue."""
    if asked.targets.tpot_seconds is None or not rows[0].fits or rows[0].plan.max_num_seqs or asked.load.kind == "open":
        return None
    found = [
        option(asked.architecture, replace(row.plan, max_num_seqs=most), cluster, asked.load)
        for row in rows[:LIMITED] if row.fits
        for most in powers(asked.load.concurrency)[:-1]
    ]  # fmt: skip
    judged = [at_load(one, cluster, asked) for one in found]
    good = [(one, row) for one, row in zip(found, judged, strict=True) if row.fits and row.meets]
    return ([one for one, _ in good], [row for _, row in good]) if good else None


def _in_host_memory(asked: Question, base: ServingPlan, cluster: Cluster, passed: tuple[str, ...]) -> _Chosen | None:
    """Return the smallest precision with layers in host memory, where llama.cpp needs that."""
    if base.engine != "llamacpp":
        return None
    smallest = precisions(base, cluster.gpu, weights=asked.weights, cache=False)[-1]
    layout = base.layout if asked.fixed else ServingLayout(pp=cluster.gpus)
    plan = offloaded(asked.architecture, replace(smallest, layout=layout), cluster, asked.load)
    if plan is None:
        return None
    found = option(asked.architecture, plan, cluster, asked.load)
    return _Chosen(options=(found,), rows=(at_load(found, cluster, asked),), passed=passed)


def find(asked: Question, base: ServingPlan, cluster: Cluster) -> ServingAnswer:
    """Return the best plan on these cards with its rivals and the Pareto front.

    Raises:
        UserError: unknown format or engine.
    """
    base = resolved(asked.architecture, base)
    chosen = choose(asked, base, cluster)
    plan = chosen.rows[0].plan
    answer = serve(
        asked.name, asked.architecture, cluster, plan, asked.load, targets=asked.targets,
        usd_per_gpu_hour=asked.usd_per_gpu_hour,
    )  # fmt: skip
    found, rows = list(chosen.options), list(chosen.rows)
    if asked.fixed and not plan.offload_layers + plan.offload_experts:
        # the layouts that were not asked for are told as alternatives
        found = options(replace(asked, fixed=False), replace(plan, layout=ServingLayout()), cluster)
        rows = ranked((at_load(one, cluster, asked) for one in found), asked.load)
    points = front_points(found, cluster, asked)
    rest = [row for row in rows if row.plan.layout != plan.layout]
    best = next((row for row in rows if row.plan.layout == plan.layout), rows[0])
    shown = tuple(
        replace(row, why=row.why or (why_not(row, best, asked.targets) if answer.fits else "it fits"))
        for row in rest[:SHOWN]
    )
    return replace(
        answer,
        alternatives=shown,
        pareto=tuple(pareto(points)),
        searched=len(points) + len(rows),
        passed_over=chosen.passed,
        nearest=nearest_words(asked.name, cluster.gpu.key, plan, asked.load),
    )


def why_not(row: Row, best: Row, targets: Targets) -> str:
    """Return why a plan is not first, in a few words."""
    if targets.ttft_seconds is not None and row.ttft_seconds > targets.ttft_seconds:
        return f"TTFT {row.ttft_seconds / targets.ttft_seconds:.2g}x the target"
    if targets.tpot_seconds is not None and row.tpot_seconds > targets.tpot_seconds:
        return f"TPOT {row.tpot_seconds / targets.tpot_seconds:.2g}x the target"
    if not best.output_tokens_per_second:
        return ""
    less = 1 - row.output_tokens_per_second / best.output_tokens_per_second
    if abs(less) >= 0.005:
        return f"{abs(less):.0%} {'fewer' if less > 0 else 'more'} tokens/s"
    slower = row.tpot_seconds / best.tpot_seconds - 1
    return f"TPOT {slower:.0%} longer" if slower >= 0.005 else "as fast, but not simpler"


def counts(gpu: Gpu) -> list[int]:
    """Return the numbers of cards that one replica may take: powers of two in a node, then up to eight nodes."""
    node = gpu.gpus_per_node
    return powers(node) + [node * nodes for nodes in range(2, 9)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One replica that takes a share of the load: its plan, and how many of them the load needs."""

    plan: ServingPlan
    gpus: int
    replicas: int

    @property
    def total(self) -> int:
        """Cards of all replicas."""
        return self.gpus * self.replicas


def units(asked: Question, base: ServingPlan, cluster: Cluster) -> list[Unit]:
    """Return every single replica on these cards that fits, with how many of it meet the load."""
    load, found = asked.load, []
    for one in options(asked, base, cluster):
        made = one.made
        if made is None or made.replicas > 1:
            continue
        if load.kind == "open":
            assert load.rate is not None
            most = most_rate(made, requests_of(load), asked.targets)
            replicas = math.ceil(load.rate / most) if most > 0 else 0
        elif asked.targets.any:
            fit = most_flying(made, requests_of(load), asked.targets, most=load.concurrency)
            replicas = math.ceil(load.concurrency / fit) if fit else 0
        else:
            replicas = 1
        if replicas:
            found.append(Unit(plan=one.plan, gpus=cluster.gpus, replicas=replicas))
    return found


def fewest(asked: Question, base: ServingPlan, gpu: Gpu) -> ServingAnswer:
    """Return the best plan on the fewest cards that fit the model and meet the targets, replicas included.

    Where no number does, the smallest that fits, or a whole node.

    Raises:
        UserError: unknown format or engine.
    """
    base = resolved(asked.architecture, base)
    cluster = cluster_of(gpu, gpus=fewest_cards(asked, base, gpu) or gpu.gpus_per_node)
    return find(replace(asked, weights=False, cache=False), base, cluster)


def fewest_cards(asked: Question, base: ServingPlan, gpu: Gpu) -> int | None:
    """Return the fewest cards that meet the load, or the fewest that fit; None where the model fits on none."""
    best: int | None = None
    smallest: int | None = None
    for count in counts(gpu):
        if best is not None and count >= best:
            break
        if best is None and smallest is not None and count > gpu.gpus_per_node:
            # a wider replica than a node answers no sooner
            break
        cluster = cluster_of(gpu, gpus=count)
        found = units(asked, base, cluster)
        if smallest is None and (found or any(o.made for o in options(asked, base, cluster))):
            smallest = count
        totals = [whole_nodes(gpu, unit.total) for unit in found]
        best = min([*(total for total in totals if total <= MOST_GPUS), *([best] if best else [])], default=None)
    return best or smallest


def whole_nodes(gpu: Gpu, count: int) -> int:
    """Return the least number of cards from ``count`` on that equal machines hold.

    >>> from sizeup.machine import find_gpu
    >>> whole_nodes(find_gpu("h100"), 3), whole_nodes(find_gpu("h100"), 11)
    (3, 12)
    """
    while True:
        try:
            return cluster_of(gpu, gpus=count).gpus
        except UserError:
            count += 1
