"""The pictures of serving: memory, users and context that fit, latency against throughput, a decode step."""

from __future__ import annotations

import math

from sizeup.render.charts.chart import Chart, short_name
from sizeup.render.charts.memory_bar import memory_bar
from sizeup.render.charts.memory_curve import crossing, memory_curve
from sizeup.render.charts.pareto import Point, pareto_chart
from sizeup.render.charts.theme import WIDTH, Theme, theme_named
from sizeup.render.charts.waterfall import waterfall
from sizeup.render.serve_text import layout_words
from sizeup.serving.results import Row, ServingAnswer
from sizeup.serving.sweeps import concurrency_sweep, context_sweep, in_flight
from sizeup.sweep import Sweep
from sizeup.units import format_dollars, format_gib, format_seconds, significant


def serve_charts(answer: ServingAnswer, *, theme: str = "light", width: int = WIDTH) -> tuple[Chart, ...]:
    """Return the pictures of an answer; those of speed are left out where it does not fit.

    Raises:
        UserError: no theme is called that.
    """
    paint = theme_named(theme, width=width)
    found = [memory_picture(answer, paint)]
    if answer.pareto:
        found.append(pareto_picture(answer, paint))
    requests, context = concurrency_sweep(answer), context_sweep(answer)
    found += [_curve(answer, sweep, paint) for sweep in (requests, *((context,) if context.largest else ()))]
    if answer.speed:
        found.append(step_picture(answer, paint))
    return tuple(found)


def _where(answer: ServingAnswer) -> str:
    return f"{short_name(answer.name)} on {answer.plan.layout.gpus} x {answer.cluster.gpu.name}"


def _how(answer: ServingAnswer) -> str:
    plan, used = answer.plan, answer.memory.limits.engine
    return f"{layout_words(plan)}, {plan.weight_format} weights, {plan.kv_dtype} cache, {used.title} {used.version}"


def memory_picture(answer: ServingAnswer, theme: Theme) -> Chart:
    """Return one GPU: weights, cache, activations and the rest against the card."""
    memory, capacity = answer.memory, float(answer.memory.device.value)
    leaves = [part for part in memory.device.parts if part.name != "free"]
    used = format_gib(sum(leaf.value for leaf in leaves))
    most = f"{answer.max_concurrency:,} requests of {answer.load.longest:,} tokens"
    verdict = f"Fits: room for {most}" if answer.fits else f"Does not fit: {answer.problems[0].split(':')[0]}"
    return memory_bar(
        "memory", leaves, title=verdict, subtitle=f"{_where(answer)}; {_how(answer)}", theme=theme,
        lines=[(capacity, f"{answer.cluster.gpu.name}: {format_gib(capacity)}")], band=memory.device.band,
        description=f"Serving {_where(answer)} takes {used} of {format_gib(capacity)} per GPU, "
        f"{format_gib(memory.part('weights'))} of it weights; the cache has room for {most}.",
    )  # fmt: skip


def _point(row: Row) -> Point:
    return Point(
        per_user=row.per_user, per_gpu=row.per_gpu, layout=layout_words(row.plan), concurrency=round(row.concurrency),
        ttft=format_seconds(row.ttft_seconds), meets=row.meets,
        price=format_dollars(row.usd_per_million) if row.usd_per_million is not None else "no price",
    )  # fmt: skip


def pareto_picture(answer: ServingAnswer, theme: Theme) -> Chart:
    """Return throughput per GPU against speed per user, with the load that was asked for and the targets."""
    points = [_point(row) for row in answer.pareto if math.isfinite(row.tpot_seconds)]
    own = None
    if answer.speed:
        rate = answer.speed.output_rate.value / answer.plan.layout.gpus
        own = Point(
            per_user=1 / answer.speed.tpot.value, per_gpu=rate, layout=layout_words(answer.plan),
            concurrency=in_flight(answer), meets=answer.meets_targets,
        )  # fmt: skip
    tpot, ttft = answer.targets.tpot_seconds, answer.targets.ttft_seconds
    slow = (
        f"; hollow: TTFT above {format_seconds(ttft)} or TPOT above its target" if answer.targets.any and ttft else ""
    )
    fast, wide = max(points, key=lambda p: p.per_user), max(points, key=lambda p: p.per_gpu)
    ends = (
        f"from {significant(fast.per_user)} tokens/s per user at {significant(fast.per_gpu)} per GPU to "
        f"{significant(wide.per_gpu)} per GPU at {significant(wide.per_user)} per user"
    )
    asked = f"; the load asked for is at {significant(own.per_user)} and {significant(own.per_gpu)}" if own else ""
    return pareto_chart(
        "pareto", points, title="Speed for each user against throughput of each GPU", own=own, theme=theme,
        subtitle=f"{_where(answer)}; numbers: requests in flight{slow}",
        least_per_user=(1 / tpot, f"target: TPOT {format_seconds(tpot)}") if tpot else None,
        description=f"The front of {_where(answer)} goes {ends}{asked}.",
    )  # fmt: skip


def _curve(answer: ServingAnswer, sweep: Sweep, theme: Theme) -> Chart:
    name = "requests" if sweep.unit == "requests" else "context"
    title = "Requests that fit at once" if name == "requests" else "Tokens that each of them may have"
    return memory_curve(
        f"memory-against-{name}", [sweep], title=f"{title}: {sweep.largest:,}", theme=theme,
        subtitle=f"{_where(answer)}; {_how(answer)}; {sweep.held}",
        description=f"Memory per GPU against {sweep.what}, {sweep.held}: it {crossing(sweep)}.",
    )  # fmt: skip


def step_picture(answer: ServingAnswer, theme: Theme) -> Chart:
    """Return a decode step as a waterfall."""
    assert answer.speed is not None
    step = answer.speed.step
    return waterfall(
        "step", step, title=f"One decode step: {format_seconds(step.value)}", theme=theme,
        subtitle=f"{_where(answer)}; {_how(answer)}; {in_flight(answer):,} in flight\nbinds: {answer.speed.binds}",
        description=f"One decode step of {_where(answer)} takes {format_seconds(step.value)}; "
        f"it is bound by {answer.speed.binds}.",
    )  # fmt: skip
