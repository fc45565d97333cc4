"""What the page shows of training: the verdict with its chance, days and dollars, memory, step, other plans."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sizeup.card import ENVELOPE_TRAIN_BYTES
from sizeup.estimate import Estimate
from sizeup.plan.training import TrainingPlan
from sizeup.render.train_text import SMALLEST_SHARE, plan_words
from sizeup.training.answer import Alternative, TrainingAnswer
from sizeup.training.flags import LAYOUT
from sizeup.training.sweeps import rule_bytes
from sizeup.training.totals import Totals
from sizeup.units import format_count, format_dollars, format_gib, format_seconds, significant
from sizeup.web.view import (
    Block,
    Cell,
    Change,
    Changes,
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
    band_words,
    figure,
)
from sizeup.web.whys import days_why, mfu_why, price_why

HOURS_PER_DAY = 24
MOST_ROWS = 5
LEAST_SHARE = 0.003
"""Parts of a step below this share are not shown."""


def train_view(answer: TrainingAnswer) -> View:
    """Return the view of an answer."""
    blocks: list[Block] = [_memory(answer)]
    if answer.changes:
        blocks.append(_changes(answer))
    if answer.improvements:
        blocks.append(_improvements(answer))
    blocks += [Pictures(), _step(answer), *_asked(answer)]
    if answer.alternatives:
        blocks.append(_alternatives(answer))
    blocks.append(Notes(title="Assumed and noted", items=_notes(answer)))
    chance = answer.fit_probability
    share = "over 99 %" if chance > 0.99 else "under 1 %" if chance < 0.01 else f"{chance:.0%}"
    state: State = "fits" if answer.fits else "no"
    return View(
        state=state, verdict="Fits" if answer.fits else "Does not fit", aside=f"chance {share}",
        headline=f"{answer.name} on {answer.cluster.gpus:,} × {answer.cluster.gpu.name}",
        lead=_plan_words(answer.plan), figures=_figures(answer), blocks=tuple(blocks),
    )  # fmt: skip


def _plan_words(plan: TrainingPlan) -> str:
    text = f"{plan_words(plan)}; {plan.method}, {plan.precision.compute_dtype}, {plan.optimizer}, {plan.framework}; "
    return f"{text}{plan.global_batch:,} × {plan.sequence_length:,} tokens per step"


def _days(days: float) -> str:
    return f"{significant(days)} days" if days >= 1 else f"{significant(days * HOURS_PER_DAY)} h"


def _figures(answer: TrainingAnswer) -> tuple[Figure, ...]:
    found = _total_figures(answer.totals, answer.step) if answer.totals else []
    ideal = f"{format_seconds(answer.ideal_seconds)} at the full {answer.plan.precision.compute_dtype} peak"
    found += [
        figure("Memory, worst rank", answer.memory.device, show=format_gib),
        figure("One step", answer.step, note=ideal, show=format_seconds),
        figure("Tokens/s per GPU", answer.tokens_per_second_per_gpu, show=significant),
        Figure(label="MFU", text=f"{answer.mfu:.1%}", note="share of the dense peak that the model's FLOP use",
               why=mfu_why(answer)),
    ]  # fmt: skip
    return tuple(found)


def _total_figures(totals: Totals, step: Estimate) -> list[Figure]:
    found = [Figure(label=f"Time for {format_count(totals.tokens)} tokens", text=_days(totals.days),
                    band=band_words(totals.days_band, _days), why=days_why(totals, step))]  # fmt: skip
    if totals.usd is not None and totals.instance:
        where = f"{totals.instance.cloud} {totals.instance.name}, {totals.instance.date or 'no date'}"
        found.append(Figure(label="Price", text=format_dollars(totals.usd), note=where, why=price_why(totals)))
    return found


def _memory(answer: TrainingAnswer) -> MemoryBar:
    memory, capacity = answer.memory, float(answer.cluster.node.memory_bytes)
    leaves = [part for part in memory.device.walk() if not part.parts]
    shown = [part for part in leaves if part.value >= SMALLEST_SHARE * capacity]
    pieces = [Piece(label=part.name, value=part.value, why=part) for part in shown]
    rest = sum(part.value for part in leaves) - sum(part.value for part in shown)
    if rest > 0:
        pieces.append(Piece(label="other", value=rest))
    place = f"stage {memory.stage} of {memory.stages}" if memory.stages > 1 else "every rank"
    return MemoryBar(
        title=f"Memory of the worst rank ({place}, {memory.moment})", pieces=tuple(pieces), capacity=capacity,
        capacity_label=f"{answer.cluster.gpu.name}: {format_gib(capacity)}", band=memory.device.band,
        ghost=(f"rule, {ENVELOPE_TRAIN_BYTES} B per parameter", rule_bytes(answer)),
    )  # fmt: skip


def _step(answer: TrainingAnswer) -> Shares:
    step = answer.step
    parts = sorted((part for part in step.parts if part.value >= LEAST_SHARE * step.value), key=lambda p: -p.value)
    items = tuple(
        Share(label=part.name, share=part.value / step.value, why=part,
              text=f"{format_seconds(part.value)}, {part.value / step.value:.1%}")
        for part in parts
    )  # fmt: skip
    return Shares(title="The step in numbers", items=items, note=f"binds: {answer.binds}", folded=True)


def layout_patch(plan: TrainingPlan) -> Patch:
    """Return the flags that fix a plan's layout."""
    fields: dict[str, Any] = {**asdict(plan.layout), "micro_batch": plan.micro_batch, "recompute": plan.recompute}
    return {name: str(fields[name]) for name in LAYOUT}


def _alternatives(answer: TrainingAnswer) -> Table:
    rows = tuple(_alternative(item) for item in answer.alternatives)
    head = ("Plan", "Step", "Memory", "Why it is not first")
    return Table(title="Other plans", head=head, rows=rows, align="<>><", note="Press a plan to look at it.")


def _alternative(item: Alternative) -> tuple[Cell | str, ...]:
    seconds = format_seconds(item.step_seconds) if item.step_seconds else "-"
    plan = Cell(text=plan_words(item.plan), patch=layout_patch(item.plan))
    return plan, seconds, format_gib(item.device_bytes), item.why


def _changes(answer: TrainingAnswer) -> Changes:
    items = tuple(
        Change(text=change.text, state="fits" if change.fits else "no",
               brings=f"{format_gib(change.device_bytes)}, {'fits' if change.fits else 'not yet'}"
                      + (f", {change.slower:.2f} × the time" if change.slower else ""))
        for change in answer.changes
    )  # fmt: skip
    if answer.fewest_gpus:
        patch = {"gpus": str(answer.fewest_gpus)}
        items += (Change(text=f"or {answer.fewest_gpus:,} × {answer.cluster.gpu.name}", patch=patch, state="fits"),)
    return Changes(title="To make it fit, one on top of the other", items=items)


def _improvements(answer: TrainingAnswer) -> Changes:
    items = tuple(
        Change(text=change.text, brings=f"{change.slower or 1:.2f} × the time, {format_gib(change.device_bytes)}")
        for change in answer.improvements[:MOST_ROWS]
    )
    return Changes(title="If you may change one thing", items=items)


def _asked(answer: TrainingAnswer) -> list[Block]:
    """Return what was asked beyond the plan: numbers of cards, cheapest machines, what a budget buys."""
    found: list[Block] = []
    if answer.offers:
        found.append(_offers(answer))
    if answer.cheapest:
        found.append(_cheapest(answer))
    if answer.optimal:
        found.append(_optimal(answer))
    return found


def _cheapest(answer: TrainingAnswer) -> Table:
    rows = tuple(
        (
            f"{row.nodes} × {row.instance.cloud} {row.instance.name}", f"{row.gpus} × {row.instance.gpu_key}",
            format_dollars(row.usd_per_billion_tokens), _days(row.days) if row.days else "-",
            format_dollars(row.usd) if row.usd else "-",
        )
        for row in answer.cheapest[:MOST_ROWS]
    )  # fmt: skip
    head = ("Machines, on demand", "Cards", "1B tokens", "Time", "Price")
    return Table(title="Cheapest machines", head=head, rows=rows, align="<<>>>")


def _optimal(answer: TrainingAnswer) -> Table:
    rows = tuple(
        (f"{row.over_training:g} ×", format_count(row.parameters), format_count(row.tokens), f"{row.loss:.3f}",
         row.nearest)
        for row in answer.optimal
    )  # fmt: skip
    head = ("Over 20 per parameter", "Parameters", "Tokens", "Loss", "A model of about this size")
    note = "The loss is Chinchilla's equation 10, for comparing rows only."
    return Table(title="What the budget buys at this speed", head=head, rows=rows, align=">>>><", note=note)


def _offers(answer: TrainingAnswer) -> Table:
    rows = tuple(
        (
            Cell(text=f"{offer.gpus:,}", patch={"gpus": str(offer.gpus), "within_days": None, "budget": None}),
            _days(offer.days), format_dollars(offer.usd) if offer.usd else "-", plan_words(offer.answer.plan),
        )
        for offer in answer.offers
    )  # fmt: skip
    return Table(title="Numbers of GPUs", head=("GPUs", "Time", "Price", "Best plan"), rows=rows, align=">>><")


def _notes(answer: TrainingAnswer) -> tuple[str, ...]:
    notes = [f"assumed: {text}" for text in answer.plan.assumptions]
    notes += [text for text in answer.assumptions if text not in answer.plan.assumptions]
    notes += list(answer.totals.assumptions) if answer.totals else []
    if answer.largest:
        notes.insert(0, f"largest {answer.largest.what} that fits, 9 chances in 10: {answer.largest.value:,}")
    if answer.searched:
        notes.append(f"{answer.searched:,} plans searched, {answer.fitting:,} fit")
    return tuple(dict.fromkeys(notes))
