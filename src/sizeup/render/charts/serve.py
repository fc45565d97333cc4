"""The pictures of serving: memory, users and context that fit, latency against throughput, a decode step."""

from __future__ import annotations

import math

from sizeup.render.charts.chart import Chart, short_name
from sizeup.render.charts.memory_bar import memory_bar
from sizeup.render.charts.memory_curve import crossing, memory_curve
from sizeup.render.charts.pareto import Point, front_chart
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
    if _reached(answer):
        found.append(pareto_picture(answer, paint))
        if answer.instance and any(row.usd_per_million for row in _reached(answer)):
            found.append(price_picture(answer, paint))
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


def _own(answer: ServingAnswer, value: float) -> Point | None:
    """Return the load that was asked for, drawn at ``value``."""
    if answer.speed is None:
        return None
    return Point(
        per_user=1 / answer.speed.tpot.value, value=value, layout=layout_words(answer.plan),
        concurrency=in_flight(answer), meets=answer.meets_targets,
    )  # fmt: skip


def _targets(answer: ServingAnswer) -> tuple[tuple[float, str] | None, str]:
    """Return the target for the time per token as a rate with its words, and what hollow points mean."""
    tpot, ttft = answer.targets.tpot_seconds, answer.targets.ttft_seconds
    least = (1 / tpot, f"target: TPOT {format_seconds(tpot)}") if tpot else None
    missed = [f"{name} above {format_seconds(at)}" for name, at in (("TTFT", ttft), ("TPOT", tpot)) if at]
    return least, f"; hollow: {' or '.join(missed)}" if missed else ""


def pareto_picture(answer: ServingAnswer, theme: Theme) -> Chart:
    """Return throughput per GPU against speed per user, with the load that was asked for and the targets."""
    points = [_point(row, row.per_gpu, significant(row.per_gpu)) for row in _reached(answer)]
    own = _own(answer, answer.speed.output_rate.value / answer.plan.layout.gpus) if answer.speed else None
    least, hollow = _targets(answer)
    fast, wide = max(points, key=lambda p: p.per_user), max(points, key=lambda p: p.value)
    ends = (
        f"from {significant(fast.per_user)} tokens/s per user at {significant(fast.value)} per GPU to "
        f"{significant(wide.value)} per GPU at {significant(wide.per_user)} per user"
    )
    asked = f"; the load asked for is at {significant(own.per_user)} and {significant(own.value)}" if own else ""
    return front_chart(
        "pareto", points, axis="tokens/s per GPU", corner="right", own=own, theme=theme, least_per_user=least,
        title="Speed for each user against throughput of each GPU",
        subtitle=f"{_where(answer)}; numbers: requests in flight{hollow}",
        description=f"The front of {_where(answer)} goes {ends}{asked}.",
    )  # fmt: skip


def price_picture(answer: ServingAnswer, theme: Theme) -> Chart:
    """Return dollars per million output tokens against speed per user along the same front."""
    assert answer.instance is not None
    points = [
        _point(row, row.usd_per_million, format_dollars(row.usd_per_million))
        for row in _reached(answer)
        if row.usd_per_million
    ]
    own = _own(answer, answer.usd_per_million_output_tokens) if answer.usd_per_million_output_tokens else None
    least, hollow = _targets(answer)
    fast, cheap = max(points, key=lambda p: p.per_user), min(points, key=lambda p: p.value)
    rented = f"{answer.instance.cloud} {answer.instance.name}, {answer.instance.date}"
    asked = f"; the load asked for costs {format_dollars(own.value)}" if own else ""
    return front_chart(
        "price-against-speed", points, axis="dollars per million output tokens", corner="left", own=own, theme=theme,
        least_per_user=least, by_factors=True, title="What speed for each user costs",
        subtitle=f"{_where(answer)}, rented as {rented}; numbers: requests in flight{hollow}",
        description=f"A million output tokens of {_where(answer)} cost from {cheap.shown} at "
        f"{significant(cheap.per_user)} tokens/s per user to {fast.shown} at {significant(fast.per_user)}{asked}.",
    )  # fmt: skip


def _reached(answer: ServingAnswer) -> list[Row]:
    return [row for row in answer.pareto if math.isfinite(row.tpot_seconds)]


def _point(row: Row, value: float, shown: str) -> Point:
    return Point(
        per_user=row.per_user, value=value, layout=layout_words(row.plan), concurrency=round(row.concurrency),
        shown=shown, ttft=format_seconds(row.ttft_seconds), meets=row.meets,
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
