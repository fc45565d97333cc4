"""The pictures of training: memory, where it stops fitting, the step, days and dollars against cards, the work."""

from __future__ import annotations

from collections.abc import Sequence

from sizeup.card import ENVELOPE_TRAIN_BYTES
from sizeup.envelope import table_d1
from sizeup.estimate import Estimate
from sizeup.render.charts.chart import Chart, short_name
from sizeup.render.charts.memory_bar import memory_bar
from sizeup.render.charts.memory_curve import crossing, memory_curve
from sizeup.render.charts.scaling import ScalePoint, scaling_chart
from sizeup.render.charts.theme import WIDTH, Theme, theme_named
from sizeup.render.charts.waterfall import waterfall
from sizeup.render.charts.work import Work, work_chart
from sizeup.render.train_text import plan_words
from sizeup.sweep import Sweep
from sizeup.training.answer import TrainingAnswer
from sizeup.training.inverse import Offer
from sizeup.training.sweeps import micro_batch_sweep, rule_bytes, run_petaflop_s_days, sequence_sweep
from sizeup.units import format_count, format_gib, format_seconds, significant


def train_charts(
    answer: TrainingAnswer, *, offers: Sequence[Offer] = (), theme: str = "light", width: int = WIDTH
) -> tuple[Chart, ...]:
    """Return the pictures of an answer; days and dollars against cards where there are ``offers`` of several counts.

    Raises:
        UserError: no theme is called that.
    """
    paint = theme_named(theme, width=width)
    found = [memory_picture(answer, paint), step_picture(answer, paint)]
    found += [_curve(answer, sweep, paint) for sweep in (sequence_sweep(answer), micro_batch_sweep(answer))]
    if len(offers) > 1:
        found += _scaling(answer, offers, paint)
    if answer.totals:
        found.append(work_picture(answer, paint))
    return tuple(found)


def memory_picture(answer: TrainingAnswer, theme: Theme) -> Chart:
    """Return memory of the worst rank against the card, with the rule of thumb shared by all cards as a ghost."""
    memory, capacity = answer.memory, float(answer.cluster.node.memory_bytes)
    leaves = [part for part in memory.device.walk() if not part.parts]
    used, whole = format_gib(memory.device.value), format_gib(capacity)
    rule = rule_bytes(answer)
    ghost = (f"rule: {ENVELOPE_TRAIN_BYTES} B/parameter", rule)
    chance = _chance(answer.fit_probability)
    verdict = f"{'Fits' if answer.fits else 'Does not fit'} (chance {chance})"
    place = f"stage {memory.stage} of {memory.stages}" if memory.stages > 1 else "every rank"
    return memory_bar(
        "memory", leaves, title=f"{verdict}: {used} of {whole} per GPU",
        subtitle=f"{_where(answer)}; {plan_words(answer.plan)}\n{place}, as nvidia-smi counts", band=memory.device.band,
        lines=[(capacity, f"{answer.cluster.gpu.name}: {whole}")], ghost=ghost, theme=theme,
        description=f"Training {_where(answer)} takes {used} of {whole} per GPU and fits with a chance of {chance}; "
        f"the largest part is {_largest(leaves)}; the rule of {ENVELOPE_TRAIN_BYTES} bytes per parameter says "
        f"{format_gib(rule)}.",
    )  # fmt: skip


def _chance(share: float) -> str:
    return "over 99 %" if share > 0.99 else "under 1 %" if share < 0.01 else f"{share * 100:.0f} %"


def _where(answer: TrainingAnswer) -> str:
    return f"{short_name(answer.name)} on {answer.cluster.gpus} x {answer.cluster.gpu.name}"


def _largest(leaves: Sequence[Estimate]) -> str:
    part = max(leaves, key=lambda leaf: leaf.value)
    return f"{part.name} with {format_gib(part.value)}"


def step_picture(answer: TrainingAnswer, theme: Theme) -> Chart:
    """Return the step as a waterfall with the time at the bare peak."""
    seconds = format_seconds(answer.step.value)
    return waterfall(
        "step", answer.step, title=f"One step: {seconds}, {answer.mfu:.1%} of the peak (MFU)",
        subtitle=f"{_where(answer)}; {plan_words(answer.plan)}\nbinds: {answer.binds}", theme=theme,
        ideal_seconds=answer.ideal_seconds,
        ideal_name="at the full peak:",
        description=f"One step of training {_where(answer)} takes {seconds}; at the full peak it would take "
        f"{format_seconds(answer.ideal_seconds)}. It is bound by {answer.binds}.",
    )  # fmt: skip


def _curve(answer: TrainingAnswer, sweep: Sweep, theme: Theme) -> Chart:
    name = sweep.what.split()[0]
    return memory_curve(
        f"memory-against-{name}", [sweep], title=f"Memory against {sweep.what}: {crossing(sweep)}", theme=theme,
        subtitle=f"{_where(answer)}; {plan_words(answer.plan)}\nwhat it cannot do without: the allocator's idle blocks "
        "are left out",
        description=f"Memory per GPU that this plan cannot do without, against {sweep.what}: it {crossing(sweep)} with "
        f"nine chances in ten, and needs {format_gib(dict(sweep.points)[sweep.at])} at the {sweep.at:,} asked for.",
    )  # fmt: skip


def _scaling(answer: TrainingAnswer, offers: Sequence[Offer], theme: Theme) -> list[Chart]:
    def points(value: str) -> list[ScalePoint]:
        return [
            ScalePoint(
                o.gpus, getattr(o, value), _days(o.days) if value == "days" else f"${format_count(o.usd or 0)}",
                plan_words(o.answer.plan), o.answer is answer,
            )
            for o in offers
            if getattr(o, value) is not None
        ]  # fmt: skip

    assert answer.totals is not None
    tokens = f"{format_count(answer.totals.tokens)} tokens"
    subtitle = f"{short_name(answer.name)}, {tokens}; best plan for each number of {answer.cluster.gpu.name}"
    days, dollars = points("days"), points("usd")
    found = [
        scaling_chart(
            "days-against-gpus", days, axis="days", title=_finding("How long it takes", days), theme=theme,
            colour="blue", ideal=True,
            description=f"Training {answer.name} on {tokens}: {_facts(days)}.", subtitle=subtitle,
        )
    ]  # fmt: skip
    if len(dollars) > 1:
        found.append(scaling_chart(
            "dollars-against-gpus", dollars, axis="dollars", title=_finding("What it costs", dollars), theme=theme,
            colour="vermillion",
            description=f"Training {answer.name} on {tokens} costs: {_facts(dollars)}.", subtitle=subtitle,
        ))  # fmt: skip
    return found


def _finding(words: str, points: Sequence[ScalePoint]) -> str:
    own = next((point for point in points if point.own), None)
    return f"{words}: {own.shown} on {own.gpus:,} GPUs" if own else words


def _facts(points: Sequence[ScalePoint]) -> str:
    return ", ".join(f"{point.shown} on {point.gpus:,} GPUs" for point in points)


def _days(days: float) -> str:
    return f"{significant(days)} days" if days >= 1 else f"{significant(days * 24)} h"


def work_picture(answer: TrainingAnswer, theme: Theme) -> Chart:
    """Return the run's work among GPT-3's Table D.1."""
    assert answer.totals is not None
    own = run_petaflop_s_days(answer)
    rows = [Work(row.model, row.petaflop_s_days, row.published) for row in table_d1()]
    words = f"{short_name(answer.name)}, {format_count(answer.totals.tokens)} tokens"
    name = "this run" if theme.narrow else f"this run: {words}"
    return work_chart(
        "work", [*rows, Work(name, own, own=True)], title=f"The work of this run: {significant(own)} petaflop/s-days",
        subtitle="beside the models of GPT-3's Table D.1, computed from their parameters and tokens",
        description=f"This run takes {significant(own)} petaflop/s-days; GPT-3 175B took "
        f"{significant(next(r.computed for r in rows if r.name == 'GPT-3 175B'))}.", theme=theme,
    )  # fmt: skip
