"""The answer of ``sizeup train`` as text: 80 columns, the verdict first, the cheapest change next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sizeup.estimate import Band, Estimate
from sizeup.plan.training import TrainingPlan
from sizeup.render.layout import bad, bar, dim, good, number, offers, remark, strong, table, wrap
from sizeup.render.train_asked import asked_lines, change_lines, days_words, improvement_lines
from sizeup.training.answer import Alternative, TrainingAnswer
from sizeup.training.totals import Totals
from sizeup.units import KILO, format_count, format_dollars, format_gib, format_seconds, significant

SMALLEST_SHARE = 0.005
"""Parts of memory below this share of the card are added up as one line."""


def answer_lines(answer: TrainingAnswer, values: Mapping[str, Any]) -> list[str]:
    """Return the lines of the answer."""
    blocks = [
        _verdict(answer), change_lines(answer), _plan(answer), _memory(answer), _time(answer),
        _host(answer, answer.host) if answer.host else [], _totals(answer.totals) if answer.totals else [],
        improvement_lines(answer), _alternatives(answer) if answer.alternatives else [],
    ]  # fmt: skip
    lines = [line for block in blocks if block for line in (*block, "")][:-1]
    return [*lines, *asked_lines(answer, plan_words), "", *_remarks(answer), "", *_next(answer, values)]


def _verdict(answer: TrainingAnswer) -> list[str]:
    chance = answer.fit_probability
    share = "over 99 %" if chance > 0.99 else "under 1 %" if chance < 0.01 else f"{chance:.0%}"
    word = good("FITS") if answer.fits else bad("DOES NOT FIT")
    text = f"{word} (chance {share})   {strong(answer.name)} on {answer.cluster.gpus} x {answer.cluster.gpu.name}"
    if answer.totals and answer.fits:
        totals = answer.totals
        price = f"   {number(format_dollars(totals.usd))}" if totals.usd else ""
        text += f"   {number(days_words(totals.days))}{price}"
    lines = wrap(text, indent=0, hang=2)
    if answer.unmet:
        lines += wrap(f"{bad('NOT')} {answer.unmet}; this comes closest", indent=0, hang=2)
    return lines


def plan_words(plan: TrainingPlan) -> str:
    """Return a layout in a few words: TP8 x PP4 (2 chunks) x DP16 ZeRO-1, micro-batch 2, full recompute."""
    layout = plan.layout
    sizes = [("TP", layout.tp), ("PP", layout.pp), ("CP", layout.cp), ("DP", layout.dp)]
    words = [f"{name}{size}" for name, size in sizes if size > 1]
    if layout.vpp > 1:
        words = [f"{w} ({layout.vpp} chunks)" if w.startswith("PP") else w for w in words]
    text = " x ".join(words) or "one GPU"
    if layout.ep > 1:
        text += f", EP{layout.ep}"
    names = {"zero1": "ZeRO-1", "zero2": "ZeRO-2", "zero3": "ZeRO-3", "fsdp": "FSDP", "hsdp": "HSDP"}
    text += f" {names[layout.sharding]}" if layout.sharding in names else ""
    again = f"{plan.recompute} recompute" if plan.recompute != "none" else "no recompute"
    if plan.recompute_layers:
        again = f"{plan.recompute_layers} layers recomputed"
    return f"{text}, micro-batch {plan.micro_batch}, {again}"


def _plan(answer: TrainingAnswer) -> list[str]:
    plan = answer.plan
    text = f"plan   {plan_words(plan)}; {plan.framework}, {plan.precision.compute_dtype}, {plan.optimizer}, "
    text += ", ".join([f"{plan.attention} attention", f"{plan.loss} loss", *_extras(plan)])
    batch = f"batch  {plan.global_batch:,} x {plan.sequence_length:,} tokens = "
    accumulated = f", {plan.micro_batches:,} micro-batches" if plan.micro_batches > 1 else ""
    batch += f"{format_count(plan.global_batch * plan.sequence_length)} per step{accumulated}"
    return [*wrap(text, indent=0, hang=7), *wrap(batch, indent=0, hang=7)]


def _extras(plan: TrainingPlan) -> Iterator[str]:
    """Yield what is unusual about a plan."""
    if plan.compile:
        yield "torch.compile"
    if plan.adapter:
        base = f" on {plan.adapter.base_quant}" if plan.adapter.base_quant else ""
        yield f"{'DoRA' if plan.adapter.dora else plan.method} rank {plan.adapter.rank}{base}"
    if plan.schedule != "1f1b" and plan.layout.pp > 1:
        yield plan.schedule
    if plan.layout.ep > 1 and plan.layout.etp > 1:
        yield f"experts also cut in {plan.layout.etp}"
    if plan.expert_load != 1:
        yield f"busiest experts {plan.expert_load:g} x the mean"
    if plan.packing:
        yield "packed"
    held = [("optimizer", plan.offload_optimizer), ("weights", plan.offload_parameters)]
    held.append((f"activations of {plan.cpu_offload_layers} layers", plan.cpu_offload_layers > 0))
    if any(there for _, there in held):
        yield f"{' and '.join(name for name, there in held if there)} on the host"


def _band(band: Band | None, show: Any) -> str:
    if band is None:
        return "no band: nothing like it was measured"
    stands = f"{band.cases} measured cases; {band.regime}" if band.cases else "no measured case like this"
    return f"90 % band {show(band.low)} to {show(band.high)}, {stands}"


def _memory(answer: TrainingAnswer) -> list[str]:
    memory, capacity = answer.memory, float(answer.cluster.node.memory_bytes)
    meter = "nvidia-smi" if answer.cluster.gpu.vendor == "nvidia" else "the driver"
    place = f"stage {memory.stage} of {memory.stages}" if memory.stages > 1 else "every rank"
    whole = f"memory  {number(format_gib(memory.device.value))} of {format_gib(capacity)} as {meter} counts, "
    lines = wrap(f"{whole}worst rank ({place}, {memory.moment})", indent=0, hang=8)
    lines += [dim(line) for line in wrap(_band(memory.device.band, format_gib))]
    leaves = [part for part in memory.device.walk() if not part.parts]
    shown = [part for part in leaves if part.value >= SMALLEST_SHARE * capacity]
    rest = sum(part.value for part in leaves) - sum(part.value for part in shown)
    rows = [[part.name, bar(part.value / capacity), format_gib(part.value)] for part in shown]
    if rest > 0:
        rows.append(["other", bar(rest / capacity), format_gib(rest)])
    lines += table(rows, align="<<>")
    meters = f"allocated {format_gib(memory.allocated.value)}, reserved {format_gib(memory.reserved.value)}; "
    meters += f"cannot do without {format_gib(memory.needed_bytes)}"
    return [*lines, dim(f"  {meters}")]


def _host(answer: TrainingAnswer, host: Estimate) -> list[str]:
    """Return the lines of what is offloaded, by node."""
    held = f" of {format_gib(answer.host_capacity)}" if answer.host_capacity else ", host memory not known"
    parts = ", ".join(f"{part.name} {format_gib(part.value)}" for part in host.parts)
    short = f"   {bad('too much')}" if answer.host_short else ""
    return wrap(f"host  {number(format_gib(host.value))} per node{held}: {parts}{short}", indent=0, hang=6)


def _time(answer: TrainingAnswer) -> list[str]:
    step, rate = answer.step, answer.tokens_per_second_per_gpu
    head = f"step  {number(format_seconds(step.value))}   {number(significant(rate.value))} tokens/s per GPU   "
    head += f"MFU {number(f'{answer.mfu:.1%}')}" + (f"   HFU {answer.hfu:.1%}" if answer.hfu > answer.mfu else "")
    parts = sorted(step.parts, key=lambda part: -part.value)
    shares = ", ".join(f"{part.name} {_share(part, step)}" for part in parts if part.value >= 0.005 * step.value)
    if answer.plan.filled < 1:
        useful = significant(answer.useful_tokens_per_second_per_gpu)
        head += f"   {useful} without padding ({answer.plan.filled:.0%} of positions); --packing fills them"
    return [
        *wrap(head, indent=0),
        *(dim(line) for line in wrap(_band(step.band, format_seconds))),
        *wrap(shares),
        *wrap(
            f"binds: {answer.binds}; at the full {answer.plan.precision.compute_dtype} peak, a step of "
            f"{format_seconds(answer.ideal_seconds)}"
        ),
    ]


def _share(part: Estimate, step: Estimate) -> str:
    share = part.value / step.value
    return f"{share:.0%}" if share >= 0.01 else f"{share:.1%}"


def _totals(totals: Totals) -> list[str]:
    pieces = [
        f"{format_count(totals.tokens)} tokens = {totals.steps:,} steps: {number(days_words(totals.days))}",
        f"{format_count(totals.gpu_hours)} GPU-hours",
    ]
    if totals.usd is not None and totals.instance:
        instance = totals.instance
        pieces.append(
            f"{number(format_dollars(totals.usd))} ({instance.cloud} {instance.name}, {instance.date or 'no date'})"
        )
    if totals.kilowatt_hours:
        small = totals.kilowatt_hours < KILO
        energy = totals.kilowatt_hours if small else totals.kilowatt_hours / KILO
        pieces.append(f"{significant(energy)} {'kWh' if small else 'MWh'}")
    lines = wrap("total  " + ", ".join(pieces), indent=0, hang=7)
    spread = f"{_band(totals.days_band, days_words)}; goodput {totals.goodput:.1%}"
    return [*lines, *(dim(line) for line in wrap(spread))]


def _alternatives(answer: TrainingAnswer) -> list[str]:
    lines = [strong("other plans, and why they are not first:")]
    for item in answer.alternatives:
        lines += [f"  {plan_words(item.plan)}", *wrap(_alternative(item, answer), indent=4, hang=2)]
    return lines


def _alternative(item: Alternative, answer: TrainingAnswer) -> str:
    """Return time, price and memory of a plan, and why it is not the first; the rate where steps are not equal."""
    found = [format_seconds(item.step_seconds)] if item.step_seconds else []
    if item.tokens_per_second_per_gpu and item.plan.global_batch != answer.plan.global_batch:
        found = [f"{significant(item.tokens_per_second_per_gpu)} tokens/s per GPU"]
    if item.days:
        found = [days_words(item.days), *([format_dollars(item.usd)] if item.usd else [])]
    return "   ".join([*found, format_gib(item.device_bytes), dim(item.why)])


def _remarks(answer: TrainingAnswer) -> list[str]:
    notes = [f"assumed: {text}" for text in answer.plan.assumptions]
    notes += [text for text in answer.assumptions if text not in answer.plan.assumptions]
    notes += list(answer.totals.assumptions) if answer.totals else []
    bands = [answer.memory.device.band, answer.step.band]
    notes += [f"bands are wider: {band.regime}" for band in bands if band and not band.cases]
    if answer.searched:
        notes.append(f"{answer.searched:,} plans searched, {answer.fitting:,} fit")
    notes.append("MFU counts the model's FLOP with causal attention, HFU also recomputed ones; dense peak")
    return [line for text in dict.fromkeys(notes) for line in remark(text)]


def _next(answer: TrainingAnswer, values: Mapping[str, Any]) -> list[str]:
    start = f"sizeup train {values.get('model')}" + (f" --gpu {values['gpu']}" if values.get("gpu") else "")
    start += f" --gpus {values['gpus']}" if values.get("gpus") else ""
    asks = [f"{start} --why"] + ([] if answer.totals else [f"{start} --tokens 1T"])
    return offers(asks)
