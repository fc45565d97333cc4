"""The pictures of the envelope: petaflop/s-days of well-known models, and its rules as ghosts beside exact sizes."""

from __future__ import annotations

from sizeup.card import Card
from sizeup.envelope import table_d1, training_bytes_per_parameter
from sizeup.envelope_model import ModelEnvelope
from sizeup.render.charts.breakdown import Breakdown, Part, breakdown
from sizeup.render.charts.chart import Chart, short_name
from sizeup.render.charts.model import formats_picture, states_picture
from sizeup.render.charts.theme import WIDTH, Theme, theme_named
from sizeup.render.charts.work import Work, work_chart
from sizeup.units import format_count, significant

COLOURS = ("blue", "green", "purple", "orange")


def envelope_charts(
    applied: ModelEnvelope | None = None, card: Card | None = None, *, theme: str = "light", width: int = WIDTH
) -> tuple[Chart, ...]:
    """Return the pictures of the document, or of its rules applied to a model with the model's ``card`` beside them.

    Raises:
        UserError: no theme is called that.
    """
    paint = theme_named(theme, width=width)
    found = [work_picture(applied, paint)]
    if card is None:
        return (*found, bytes_picture(paint))
    found.append(formats_picture(card, paint))
    return (*found, *((states_picture(card, paint),) if card.states else ()))


def work_picture(applied: ModelEnvelope | None, theme: Theme) -> Chart:
    """Return the work of GPT-3's Table D.1, and of one more model where its rules were applied."""
    rows = [Work(row.model, row.petaflop_s_days, row.published) for row in table_d1()]
    title, words = "The work of well-known models", f"GPT-3 175B takes {significant(rows[-1].computed)} petaflop/s-days"
    if applied:
        own = applied.active_petaflop_s_days
        name = f"{short_name(applied.name)}, {format_count(applied.tokens)} tokens"
        rows.append(Work(short_name(applied.name) if theme.narrow else name, own, own=True))
        title = f"Pre-training it: {significant(own)} petaflop/s-days"
        words = f"pre-training {name} takes {significant(own)} petaflop/s-days; {words}"
    return work_chart(
        "work", rows, title=title, theme=theme, description=f"By 6 x parameters x tokens, {words}.",
        subtitle="GPT-3's Table D.1, computed from parameters and tokens",
    )  # fmt: skip


def bytes_picture(theme: Theme) -> Chart:
    """Return what the 24 bytes per parameter are made of."""
    tree = training_bytes_per_parameter()
    parts = [
        Part(part.name, part.value, f"{part.value} B", getattr(theme, colour))
        for part, colour in zip(tree.parts, COLOURS, strict=True)
    ]
    shown = Breakdown(whole=f"to train one parameter  {tree.value} B", parts=parts, axis="bytes per parameter")
    facts = ", ".join(f"{part.name} {part.shown}" for part in parts)
    return breakdown(
        "bytes-per-parameter", shown, title=f"The rule of {tree.value} bytes per parameter", theme=theme,
        subtitle="as the document counts; Adam in mixed precision holds 16 and activations follow the batch",
        description=f"The rule counts {tree.value} bytes per trained parameter: {facts}.",
    )  # fmt: skip
