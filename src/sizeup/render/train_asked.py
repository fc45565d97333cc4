"""Lines of ``sizeup train`` for what was asked beyond the plan: changes, largest, fewest, cheapest, compute-optimal."""

from __future__ import annotations

from collections.abc import Callable

from sizeup.plan.training import TrainingPlan
from sizeup.render.layout import bad, cut, dim, good, number, strong, table, wrap
from sizeup.training.answer import Change, Largest, TrainingAnswer
from sizeup.units import SECONDS_PER_DAY, format_count, format_dollars, format_gib, format_seconds

SHOWN = 8
"""Rows of a long table that are shown; JSON has all."""

Words = Callable[[TrainingPlan], str]


def days_words(days: float) -> str:
    """Return a duration in days, below one in hours, below that in minutes."""
    return format_seconds(days * SECONDS_PER_DAY)


def change_lines(answer: TrainingAnswer) -> list[str]:
    """Return the ladder: what to change until the plan fits, cheapest first, and on how many cards it would."""
    rows = [
        [f"+ {c.text}", format_gib(c.device_bytes), _saved(c), good("fits") if c.fits else bad("no"),
         f"{c.slower:.2f} x the time" if c.slower else ""]
        for c in answer.changes
    ]  # fmt: skip
    title = strong("to make it fit, cheapest first, one on top of the other:")
    lines = [title, *table(rows, align="<>><<", shorten=(0,))] if rows else []
    if answer.fewest_gpus:
        lines += [f"  or {number(format(answer.fewest_gpus, ','))} x {answer.cluster.gpu.name}, the recipe unchanged"]
    return lines


def _saved(change: Change) -> str:
    sign = "-" if change.saves_bytes >= 0 else "+"
    return f"{sign}{format_gib(abs(change.saves_bytes))}"


def improvement_lines(answer: TrainingAnswer) -> list[str]:
    """Return single changes that make a fitting plan faster."""
    if not answer.improvements:
        return []
    days = answer.totals.days if answer.totals else None
    rows = [
        [f"{item.slower or 1:.2f} x the time", *([days_words(days * (item.slower or 1))] if days else []),
         format_gib(item.device_bytes), item.text]
        for item in answer.improvements[:4]
    ]  # fmt: skip
    return [strong("if you may change one thing:"), *(cut(line) for line in table(rows, align=">>>" if days else ">>"))]


def asked_lines(answer: TrainingAnswer, plan_words: Words) -> list[str]:
    """Return the answers to questions asked backwards, each with an empty line before it."""
    lines: list[str] = []
    if answer.largest:
        lines += ["", *_largest(answer.largest)]
    if answer.offers:
        lines += ["", *_offers(answer, plan_words)]
    if answer.cheapest:
        lines += ["", *_cheapest(answer)]
    if answer.optimal:
        lines += ["", *_optimal(answer)]
    return lines


def _largest(found: Largest) -> list[str]:
    if not found.value:
        return [f"largest {found.what} that fits (9 chances in 10): none"]
    if found.what == "model":
        size = f"{found.name}, {format_count(found.value)} parameters"
        return wrap(f"largest model of the catalog that fits (9 chances in 10): {number(size)}", indent=0, hang=2)
    unit = " tokens" if found.what == "sequence" else ""
    return [f"largest {found.what} that fits (9 chances in 10): {number(format(found.value, ','))}{unit}"]


def _offers(answer: TrainingAnswer, plan_words: Words) -> list[str]:
    rows = [
        [f"{o.gpus:,}", days_words(o.days), format_dollars(o.usd) if o.usd else dim("-"), plan_words(o.answer.plan)]
        for o in answer.offers
    ]
    head = ["GPUs", "time", "price", "best plan"]
    title = "numbers of cards that nothing beats in cards, days and dollars at once:"
    return [strong(title), *(cut(line) for line in table(rows, head=head, align=">>><"))]


def _cheapest(answer: TrainingAnswer) -> list[str]:
    rows = []
    for row in answer.cheapest[:SHOWN]:
        total = [days_words(row.days), format_dollars(row.usd or 0)] if row.days else []
        name = f"{row.nodes} x {row.instance.cloud} {row.instance.name.removeprefix('Standard_')}"
        cards = f"{row.gpus} x {row.instance.gpu_key}"
        rows.append([format_dollars(row.usd_per_billion_tokens), *total, cards, name])
    whole = ["time", "price"] if answer.cheapest[0].days else []
    head = ["1B tokens", *whole, "cards", "cheapest machines, on demand"]
    return [cut(line) for line in table(rows, head=head, align=">>>" if whole else ">", indent=0)]


def _optimal(answer: TrainingAnswer) -> list[str]:
    rows = [
        [f"{row.over_training:g} x", format_count(row.parameters), format_count(row.tokens), f"{row.loss:.3f}",
         row.nearest]
        for row in answer.optimal
    ]  # fmt: skip
    head = ["tokens", "parameters", "tokens in all", "loss", "a model of about this size"]
    note = "tokens over Chinchilla's 20 per parameter; the loss is its equation 10, for comparing rows only, whose own "
    note += "optimum is smaller and trained longer"
    return [
        strong("what the budget buys at this speed:"), *(cut(line) for line in table(rows, head=head, align=">>>><")),
        *(dim(line) for line in wrap(note)),
    ]  # fmt: skip
