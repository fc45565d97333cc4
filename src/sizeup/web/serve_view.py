"""What the page shows of serving: the verdict, latency and throughput with bands, memory, the command to start it."""

from __future__ import annotations

import math

from sizeup.render.serve_text import MOST_FRONT, layout_words
from sizeup.serving.results import Row, Rung, ServingAnswer, Speed
from sizeup.units import format_count, format_dollars, format_gib, format_seconds, significant
from sizeup.web.view import (
    Block,
    Cell,
    Change,
    Changes,
    Code,
    Figure,
    MemoryBar,
    Notes,
    Patch,
    Pictures,
    Piece,
    Share,
    Shares,
    State,
    Table,
    View,
    figure,
)
from sizeup.web.whys import tokens_price_why

ENGINES = {"vllm": "vLLM", "sglang": "SGLang", "trtllm": "TensorRT-LLM", "llamacpp": "llama.cpp"}


def serve_view(answer: ServingAnswer) -> View:
    """Return the view of an answer."""
    blocks: list[Block] = [_memory(answer)]
    if answer.ladder:
        blocks.append(_ladder(answer))
    blocks.append(Pictures())
    if answer.speed:
        if answer.speed.percentiles:
            blocks.append(_percentiles(answer.speed))
        blocks.append(_step(answer.speed))
    if answer.alternatives:
        blocks.append(_alternatives(answer))
    if answer.pareto:
        blocks.append(_front(answer))
    if answer.fits:
        named = tuple((ENGINES.get(name, name), command) for name, command in answer.flags.items())
        blocks.append(Code(title="Start it with", items=named))
    blocks.append(Notes(title="Assumed and noted", items=_notes(answer)))
    state, verdict = _verdict(answer)
    plan, used = answer.plan, answer.memory.limits.engine
    lead = f"{layout_words(plan)}; {plan.weight_format} weights, {plan.kv_dtype} cache, {used.title} {used.version}"
    return View(
        state=state, verdict=verdict, headline=f"{answer.name} on {plan.layout.gpus:,} × {answer.cluster.gpu.name}",
        lead="; ".join([lead, *answer.problems[:1]]), figures=_figures(answer), blocks=tuple(blocks),
    )  # fmt: skip


def _notes(answer: ServingAnswer) -> tuple[str, ...]:
    near = (answer.nearest,) if answer.nearest else ()
    return *near, *answer.problems, *answer.passed_over, *answer.assumptions


def _percentiles(speed: Speed) -> Table:
    rows = tuple(
        (name, *(format_seconds(float(value)) for value in (found.mean, found.p50, found.p90, found.p99)))
        for name, found in speed.percentiles.items()
    )
    head = ("", "Mean", "p50", "p90", "p99")
    return Table(title="How requests differ", head=head, rows=rows, align="<>>>>")


def _verdict(answer: ServingAnswer) -> tuple[State, str]:
    if not answer.fits:
        return "no", "Does not fit"
    if answer.saturation_rate is not None:
        return "no", f"Saturates at {significant(answer.saturation_rate)} requests/s"
    if answer.targets.any and answer.speed:
        return ("fits", "Fits and meets the targets") if answer.meets_targets else ("no", "Fits, misses the targets")
    return "fits", "Fits"


def _figures(answer: ServingAnswer) -> tuple[Figure, ...]:
    found: list[Figure] = []
    speed = answer.speed
    if speed:
        found += [
            figure("First token (TTFT)", speed.ttft, show=format_seconds),
            figure("Each further one (TPOT)", speed.tpot, show=format_seconds),
            figure("Output tokens/s", speed.output_rate, note=_rates(speed, answer.plan.layout.gpus), show=significant),
        ]
    if answer.usd_per_million_output_tokens is not None:
        offer = answer.instance
        where = f"{offer.cloud} {offer.name}, {offer.date}" if offer else "at the price given"
        price = format_dollars(answer.usd_per_million_output_tokens)
        found.append(Figure(label="Per million output tokens", text=price, note=where, why=tokens_price_why(answer)))
    length = answer.load.longest
    found.append(
        Figure(label="Room for", text=f"{answer.max_concurrency:,} requests", why=answer.memory.device,
               note=f"of {length:,} tokens; {max(answer.memory.cache_tokens, 0):,} tokens of cache")
    )  # fmt: skip
    return tuple(found)


def _rates(speed: Speed, gpus: int) -> str:
    per_gpu, per_user = speed.output_rate.value / gpus, 1 / speed.tpot.value
    return f"{significant(per_gpu)} per GPU, {significant(per_user)} for a user"


def _memory(answer: ServingAnswer) -> MemoryBar:
    device = answer.memory.device
    pieces = tuple(Piece(label=part.name, value=part.value, why=part) for part in device.parts if part.value > 0)
    capacity = float(device.value)
    return MemoryBar(
        title="Memory of each GPU", pieces=pieces, capacity=capacity,
        capacity_label=f"{answer.cluster.gpu.name}: {format_gib(capacity)}",
    )  # fmt: skip


def _step(speed: Speed) -> Shares:
    step = speed.step
    parts = sorted((part for part in step.parts if part.value >= 0.005 * step.value), key=lambda part: -part.value)
    items = tuple(
        Share(label=part.name, share=part.value / step.value, why=part,
              text=f"{format_seconds(part.value)}, {part.value / step.value:.0%}")
        for part in parts
    )  # fmt: skip
    return Shares(title=f"A decode step of {format_seconds(step.value)} in numbers", items=items,
                  note=f"binds: {speed.binds}", folded=True)  # fmt: skip


def layout_patch(row: Row) -> Patch:
    """Return the flags that fix a layout."""
    layout = row.plan.layout
    return {"tp": str(layout.tp), "pp": str(layout.pp), "dp": str(layout.dp), "ep": str(layout.ep),
            "gpus": str(row.gpus)}  # fmt: skip


def _alternatives(answer: ServingAnswer) -> Table:
    rows = tuple(_alternative(row) for row in answer.alternatives)
    head = ("Layout", "TTFT", "TPOT", "Tokens/s", "Why it is not first")
    return Table(title="Other layouts", head=head, rows=rows, align="<>>><", note="Press a layout to look at it.")


def _alternative(row: Row) -> tuple[Cell | str, ...]:
    plan = Cell(text=layout_words(row.plan), patch=layout_patch(row))
    if not math.isfinite(row.tpot_seconds):
        return plan, "-", "-", "-", row.why
    times = format_seconds(row.ttft_seconds), format_seconds(row.tpot_seconds)
    return plan, *times, format_count(row.output_tokens_per_second), row.why


def _front(answer: ServingAnswer) -> Table:
    step = max(1, -(-len(answer.pareto) // MOST_FRONT))
    rows = tuple(
        (
            Cell(text=f"{row.concurrency:,.0f}",
                 patch={**layout_patch(row), "concurrency": f"{row.concurrency:.0f}", "rate": None, "burst": None}),
            layout_words(row.plan), significant(row.per_user), significant(row.per_gpu),
            format_seconds(row.ttft_seconds),
            format_dollars(row.usd_per_million) if row.usd_per_million is not None else "-",
        )
        for row in answer.pareto[::step]
    )  # fmt: skip
    head = ("In flight", "Layout", "Tokens/s for a user", "Per GPU", "TTFT", "$ per million")
    return Table(title="Speed for one user against throughput", head=head, rows=rows, align="><>>>>")


def _ladder(answer: ServingAnswer) -> Changes:
    items = tuple(
        Change(text=rung.change, patch=_rung_patch(rung, answer), state="fits", brings=_brings(rung))
        for rung in answer.ladder
    )  # fmt: skip
    title = "If you may change one thing" if answer.answered else "What would do, cheapest first"
    return Changes(title=title, items=items)


def _brings(rung: Rung) -> str:
    speed = f"TPOT {format_seconds(rung.row.tpot_seconds)}, {significant(rung.row.output_tokens_per_second)} tokens/s"
    return f"{speed}, {format_dollars(rung.usd_per_hour)}/h" if rung.usd_per_hour else speed


def _rung_patch(rung: Rung, answer: ServingAnswer) -> Patch:
    plan, before = rung.plan, answer.plan
    found: dict[str, str] = {}
    if plan.engine != before.engine:
        found["engine"] = plan.engine
    if plan.weight_format != before.weight_format:
        found["format"] = plan.weight_format
    if plan.kv_dtype != before.kv_dtype:
        found["cache_dtype"] = plan.kv_dtype
    if plan.max_model_len != before.max_model_len and plan.max_model_len:
        found["max_model_len"] = str(plan.max_model_len)
    if (rung.gpu, rung.gpus) != (answer.cluster.gpu.key, before.layout.gpus):
        found.update(gpu=rung.gpu, gpus=str(rung.gpus))
    return found
