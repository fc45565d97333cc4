"""The answer of ``sizeup serve`` as text: 80 columns, the verdict first, the cheapest change next."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from sizeup.estimate import Band, Estimate
from sizeup.physics.queueing import Percentiles
from sizeup.plan.serving import ServingPlan
from sizeup.render.layout import WIDTH, bad, bar, dim, good, number, offers, remark, strong, table, wrap
from sizeup.serving.results import Pools, Row, Rung, ServingAnswer, Speed
from sizeup.units import format_count, format_dollars, format_gib, format_seconds, significant

MOST_FRONT = 7
"""Points of the Pareto front that are shown."""


def answer_lines(answer: ServingAnswer, values: Mapping[str, Any]) -> list[str]:
    """Return the lines of the answer."""
    lines = [*_verdict(answer), "", *_memory(answer)]
    if answer.speed:
        lines += ["", *_speed(answer, answer.speed)]
    if answer.offers:
        lines += ["", *_offers(answer)]
    if answer.ladder:
        lines += ["", *_ladder(answer)]
    if answer.fits and answer.flags:
        lines += ["", *_flags(answer)]
    if answer.pools:
        lines += ["", *_pools(answer, answer.pools)]
    if answer.alternatives:
        lines += ["", *_alternatives(answer)]
    if answer.pareto:
        lines += ["", *_front(answer)]
    lines += ["", *_remarks(answer), "", *_next(answer, values)]
    return lines


def layout_words(plan: ServingPlan) -> str:
    """Return a layout in a few words: TP4 x 2 replicas, EP8."""
    layout = plan.layout
    words = [f"{name}{size}" for name, size in (("TP", layout.tp), ("PP", layout.pp)) if size > 1]
    if layout.dp > 1:
        words.append(f"DP{layout.dp} attention" if layout.attention_dp else f"{layout.dp} replicas")
    text = " x ".join(words) or "one GPU"
    return f"{text}, EP{layout.ep}" if layout.ep > 1 else text


def _verdict(answer: ServingAnswer) -> list[str]:
    word = good("FITS") if answer.fits else bad("DOES NOT FIT")
    if answer.saturation_rate is not None:
        word = bad("SATURATED")
    plan, used = answer.plan, answer.memory.limits.engine
    text = f"{word}   {strong(answer.name)} on {plan.layout.gpus} x {answer.cluster.gpu.name}, {layout_words(plan)}, "
    text += f"{plan.weight_format} weights, {plan.kv_dtype} cache, {used.title} {used.version}"
    lines = wrap(text, indent=0, hang=2)
    for problem in answer.problems:
        lines += wrap(bad("- ") + problem, indent=2, hang=2)
    for reason in answer.passed_over:
        lines += wrap(f"not {reason}", indent=2, hang=4)
    if answer.saturation_rate is not None:
        text = f"{answer.load.rate:g} requests/s arrive and {significant(answer.saturation_rate)} leave at most: the "
        lines += wrap(text + "queue grows without end", indent=2, hang=2)
    if answer.targets.any and answer.speed:
        met = good("meets the targets") if answer.meets_targets else bad("misses the targets")
        asked = [(n, v) for n, v in (("TTFT", answer.targets.ttft_seconds), ("TPOT", answer.targets.tpot_seconds)) if v]
        lines.append(f"  {met}: " + ", ".join(f"{name} {format_seconds(value)}" for name, value in asked))
    return lines


def _memory(answer: ServingAnswer) -> list[str]:
    memory = answer.memory
    whole = float(memory.device.value)
    rows = [[part.name, bar(part.value / whole), format_gib(part.value)] for part in memory.device.parts]
    lines = [f"per GPU, of {format_gib(whole)} that the driver shows", *table(rows, align="<<>")]
    if memory.host_bytes:
        lines.append(dim(f"  and {format_gib(memory.host_bytes)} in host memory"))
    length = answer.load.longest
    tokens, most = number(f"{max(memory.cache_tokens, 0):,}"), number(f"{answer.max_concurrency:,}")
    text = f"holds  {tokens} tokens of cache = {most} "
    text += f"requests of {length:,} tokens; largest context {memory.largest_context:,}"
    return [*lines, *wrap(text, indent=0, hang=7)]


def _band(found: Band | None, show: Any) -> str:
    if found is None:
        return "no band"
    return f"{show(found.low)} to {show(found.high)}"


def _load_words(answer: ServingAnswer, speed: Speed) -> str:
    load = answer.load
    lengths = f"{load.input_tokens:,} in, {load.output_tokens:,} out"
    if load.kind == "open":
        assert load.rate is not None
        how = "replayed" if load.arrivals else "at random"
        return f"open loop, {load.rate:.3g} requests/s {how}, {lengths}: {speed.in_flight:,.1f} in flight"
    kind = "closed loop" if load.kind == "closed" else "burst"
    flying = "in flight" if load.kind == "closed" else "together"
    return f"{kind}, {load.concurrency:,} requests {flying}, {lengths}"


def _speed(answer: ServingAnswer, speed: Speed) -> list[str]:
    gpus, rate = answer.plan.layout.gpus, float(speed.output_rate.value)
    rows = [
        _row("TTFT", speed.ttft, format_seconds),
        _row("TPOT", speed.tpot, format_seconds),
        _row("output", speed.output_rate, lambda value: f"{significant(value)} tok/s"),
    ]
    lines = [_load_words(answer, speed), *table(rows, head=("", "mean", "90 % band", "measured"), align="<>><")]
    for name, found in speed.percentiles.items():
        lines.append(f"  {name:4} {_percentiles(found)}")
    if speed.saturation_rate:
        lines.append(f"  saturates at {significant(speed.saturation_rate)} requests/s")
    per = f"{significant(rate / gpus)} tok/s per GPU, {significant(1 / speed.tpot.value)} tok/s per user, "
    per += f"{significant(speed.requests_per_second)} requests/s"
    lines += wrap(per)
    money = []
    if answer.usd_per_million_output_tokens is not None and answer.instance:
        price = number(format_dollars(answer.usd_per_million_output_tokens))
        money.append(f"{price} per million output tokens ({answer.instance.cloud} {answer.instance.name})")
    if answer.joules_per_output_token:
        money.append(f"{significant(answer.joules_per_output_token)} J per token")
    if money:
        lines += wrap(", ".join(money))
    parts = sorted(speed.step.parts, key=lambda part: -part.value)
    shares = ", ".join(
        f"{p.name} {p.value / speed.step.value:.0%}" for p in parts if p.value >= 0.01 * speed.step.value
    )
    lines += wrap(f"a decode step of {format_seconds(speed.step.value)}: {shares}")
    return [*lines, *wrap(f"binds: {speed.binds}"), *wrap(answer.nearest)]


def _row(name: str, estimate: Estimate, show: Any) -> list[str]:
    found = estimate.band
    cases = f"{found.cases} cases" if found and found.cases else "none like it"
    return [name, number(show(estimate.value)), _band(found, show), cases]


def _percentiles(found: Percentiles) -> str:
    pairs = (("p50", found.p50), ("p90", found.p90), ("p99", found.p99))
    return ", ".join(f"{name} {format_seconds(float(value))}" for name, value in pairs)


def _flags(answer: ServingAnswer) -> list[str]:
    lines = [strong("start it with")]
    for command in answer.flags.values():
        lines += textwrap.wrap(
            command, WIDTH - 2, initial_indent="  ", subsequent_indent="      ", break_on_hyphens=False,
            break_long_words=False,
        )  # fmt: skip
    return lines


def _ladder(answer: ServingAnswer) -> list[str]:
    title = "if you may change one thing" if answer.answered else "what would do, cheapest first"
    taken = not answer.answered
    head = (title, "layout", "per GPU" if taken else "$/M out", "TPOT", "tok/s", "$/h")
    return table([_rung(rung, taken=taken) for rung in answer.ladder], head=head, align="<<>>>>", shorten=(0, 1))


def _rung(rung: Rung, *, taken: bool) -> list[str]:
    row = rung.row
    price = "-" if row.usd_per_million is None else format_dollars(row.usd_per_million)
    return [
        textwrap.shorten(rung.change, 34, placeholder="..."), layout_words(rung.plan),
        format_gib(rung.taken_bytes) if taken else price,
        format_seconds(row.tpot_seconds), format_count(row.output_tokens_per_second),
        format_dollars(rung.usd_per_hour) if rung.usd_per_hour else "-",
    ]  # fmt: skip


def _offers(answer: ServingAnswer) -> list[str]:
    head = ("cards with a dated price", "layout", "$/M out", "TPOT", "tok/s", "$/h")
    return table(
        [_rung(rung, taken=False) for rung in answer.offers[:MOST_FRONT]], head=head, align="<<>>>>", shorten=(0, 1)
    )


def _alternatives(answer: ServingAnswer) -> list[str]:
    head = ("other layouts", "TTFT", "TPOT", "tok/s", "why not first")
    return table([_alternative(row) for row in answer.alternatives], head=head, align="<>>><", shorten=(4, 0))


def _alternative(row: Row) -> list[str]:
    if not math.isfinite(row.tpot_seconds):
        return [layout_words(row.plan), "-", "-", "-", textwrap.shorten(row.why, 34, placeholder="...")]
    return [
        layout_words(row.plan), format_seconds(row.ttft_seconds), format_seconds(row.tpot_seconds),
        format_count(row.output_tokens_per_second), row.why,
    ]  # fmt: skip


def _pools(answer: ServingAnswer, found: Pools) -> list[str]:
    rows = [
        [
            name, f"{replicas} x {layout_words(plan)}", f"{gpus}", f"{busy:.0%}",
        ]
        for name, plan, replicas, gpus, busy in (
            ("prefill", found.prefill, found.prefill_replicas, found.prefill_gpus, found.prefill_busy),
            ("decode", found.decode, found.decode_replicas, found.decode_gpus, found.decode_busy),
        )
    ]  # fmt: skip
    head = ("prefill and decode apart", "replicas", "GPUs", "busy")
    text = f"TTFT {format_seconds(found.ttft_seconds)}, TPOT {format_seconds(found.tpot_seconds)}, "
    text += f"{significant(found.output_tokens_per_second)} tok/s"
    if answer.speed:
        more = found.output_tokens_per_second / answer.speed.output_rate.value - 1
        text += f" ({more:+.0%} against together)"
    text += f"; saturates at {significant(found.saturation_rate)} requests/s; the cache of a prompt, "
    text += f"{format_gib(found.transfer_bytes)}, takes {format_seconds(found.transfer_seconds)} across"
    return [*table(rows, head=head, align="<<>>"), *wrap(text)]


def _front(answer: ServingAnswer) -> list[str]:
    step = max(1, -(-len(answer.pareto) // MOST_FRONT))
    rows = [
        [
            f"{row.concurrency:,.0f}", layout_words(row.plan), significant(row.per_user), significant(row.per_gpu),
            format_seconds(row.ttft_seconds),
            format_dollars(row.usd_per_million) if row.usd_per_million is not None else "-",
        ]
        for row in answer.pareto[::step]
    ]  # fmt: skip
    head = ("in flight", "layout", "tok/s per user", "per GPU", "TTFT", "$/M out")
    return [
        f"speed per user against throughput, {answer.searched:,} points",
        *table(rows, head=head, align="><>>>>", shorten=(1,)),
    ]


def _remarks(answer: ServingAnswer) -> list[str]:
    words = answer.definitions
    lines = []
    for name in ("TTFT", "TPOT", {"closed": "closed loop", "open": "open loop"}.get(answer.load.kind, "burst")):
        lines += remark(words[name] if name in words[name][:4] else f"{name}: {words[name]}")
    for assumption in answer.assumptions:
        lines += remark(assumption)
    return lines


def _next(answer: ServingAnswer, values: Mapping[str, Any]) -> list[str]:
    start = f"sizeup serve {values.get('model', answer.name)} --gpu {values.get('gpu', answer.cluster.gpu.key)}"
    commands: Sequence[str] = (f"{start} --ttft 1000 --tpot 40 --rate 5", f"{start} --why")
    return offers(commands)
