"""The pictures of a card: formats and what holds them, memory against context, parameters, states for training."""

from __future__ import annotations

from sizeup.card import ENVELOPE_STORE_BYTES, ENVELOPE_TRAIN_BYTES, Card, Placement
from sizeup.card_sweep import context_sweeps
from sizeup.render.charts.breakdown import Breakdown, Part, breakdown
from sizeup.render.charts.chart import Chart, short_name
from sizeup.render.charts.memory_curve import crossing, memory_curve
from sizeup.render.charts.sizes import SizeRow, sizes_chart
from sizeup.render.charts.theme import WIDTH, Theme, theme_named
from sizeup.units import GIGA, MEGA, format_count, format_gib, significant

PART_COLOURS = {
    "mlp": "blue", "attention": "orange", "embedding": "green", "language-model head": "sky",
    "routed experts": "purple", "shared experts": "vermillion", "router": "gold",
}  # fmt: skip
SMALLEST_SHARE = 0.002
LEAST_SHOWN = 0.0005


def model_charts(card: Card, *, theme: str = "light", width: int = WIDTH) -> tuple[Chart, ...]:
    """Return the pictures of a card; those that need an architecture are left out where only a size is known.

    Raises:
        UserError: no theme is called that.
    """
    paint = theme_named(theme, width=width)
    found = [formats_picture(card, paint)]
    sweeps = context_sweeps(card)
    shown = [sweep for index, sweep in enumerate(sweeps) if sweep.largest or index == 0]
    if shown:
        words = "; ".join(f"{s.name} {crossing(s)}" for s in sweeps)
        found.append(memory_curve(
            "memory-against-context", shown, title=f"How long a context fits: {shown[0].name} {crossing(shown[0])}",
            subtitle=f"{short_name(card.model.name)}: weights and cache against context; {sweeps[0].held}",
            description=f"Weights and cache of {card.model.name} against context, within {sweeps[0].limit}: {words}.",
            theme=paint,
        ))  # fmt: skip
    if card.states:
        found.append(states_picture(card, paint))
    if card.model.parameters_by_part.parts:
        found.append(parameters_picture(card, paint))
    return tuple(found)


def formats_picture(card: Card, theme: Theme) -> Chart:
    """Return the formats with their cache, what holds each, and 4 bytes per parameter as a ghost."""
    rows = [
        SizeRow(
            row.format,
            (("weights", row.weights.value), *((("cache", row.cache.value),) if row.cache else ())),
            _holder(row) if isinstance(row, Placement) else ("fits" if row.fits else "does not fit"),
        )
        for row in (card.verdicts or card.placements)
    ]
    ghost = (f"rule: {ENVELOPE_STORE_BYTES} B/parameter", ENVELOPE_STORE_BYTES * card.model.parameters)
    first, name = rows[0], short_name(card.model.name)
    cached = f" and a cache of {card.context:,} tokens" if len(first.parts) > 1 else ""
    limit = None
    title = "What the weights take, and what holds them"
    if card.cluster:
        budget = card.verdicts[0].budget_bytes
        limit = (budget, f"usable {format_gib(budget)}")
        title = f"{'Fits' if card.fits else 'Does not fit'} {card.cluster.gpus} x {card.cluster.gpu.name}"
    facts = ", ".join(f"{row.name} {format_gib(row.bytes)}" + (f" ({row.words})" if row.words else "") for row in rows)
    return sizes_chart(
        "formats", rows, title=title, subtitle=f"{name}: weights{cached}, in each format", theme=theme, limit=limit,
        ghost=ghost, description=f"Weights{cached} of {name}: {facts}; the rule of {ENVELOPE_STORE_BYTES} bytes per "
        f"parameter says {format_gib(ghost[1])}.",
    )  # fmt: skip


def _holder(placement: Placement) -> str:
    words = []
    if placement.smallest_gpu:
        words.append(placement.smallest_gpu.name)
    elif placement.common_gpus:
        words.append(f"{placement.common_gpus} x H100")
    if placement.instance and placement.instance.usd_per_hour is not None:
        words.append(f"from ${placement.instance.usd_per_hour:,.2f}/h")
    return ", ".join(words)


def states_picture(card: Card, theme: Theme) -> Chart:
    """Return what training holds before activations, and 24 bytes per parameter as a ghost."""
    rows = [
        SizeRow(
            state.name.removesuffix(" states").replace("lora", "LoRA").replace("qLoRA", "QLoRA"),
            tuple((part.name, part.value) for part in state.parts) or (("optimizer states", state.value),),
        )
        for state in card.states
    ]
    ghost = (f"rule: {ENVELOPE_TRAIN_BYTES} B/parameter", ENVELOPE_TRAIN_BYTES * card.model.parameters)
    facts = ", ".join(f"{row.name} {format_gib(row.bytes)}" for row in rows)
    return sizes_chart(
        "training-states", rows, title="What training holds before activations", theme=theme, ghost=ghost,
        subtitle=f"{short_name(card.model.name)}: weights, gradients and Adam states; activations come on top",
        description=f"States of training {card.model.name}: {facts}; the rule of {ENVELOPE_TRAIN_BYTES} bytes per "
        f"parameter, activations included, says {format_gib(ghost[1])}.",
    )  # fmt: skip


def parameters_picture(card: Card, theme: Theme) -> Chart:
    """Return where the parameters are."""
    tree = card.model.parameters_by_part
    scale, unit = (GIGA, "billion") if tree.value >= GIGA else (MEGA, "million")
    ordered = sorted(tree.parts, key=lambda part: -part.value)
    parts = [
        Part(p.name, p.value / scale, f"{p.value / tree.value:.1%}", getattr(theme, PART_COLOURS.get(p.name, "grey")))
        for p in ordered
        if p.value >= SMALLEST_SHARE * tree.value
    ]
    rest = tree.value - sum(p.value for p in ordered if p.value >= SMALLEST_SHARE * tree.value)
    if rest >= LEAST_SHOWN * tree.value:
        parts.append(Part("other", rest / scale, f"{rest / tree.value:.1%}", theme.grey))
    shown = Breakdown(whole=f"all  {significant(tree.value / scale)} {unit}", parts=parts, axis=f"{unit} parameters")
    facts = ", ".join(f"{part.name} {part.shown}" for part in parts)
    return breakdown(
        "parameters", shown, title="Where the parameters are",
        subtitle=f"{short_name(card.model.name)}: {tree.value:,} parameters",
        description=f"{card.model.name} has {format_count(tree.value)} parameters: {facts}.", theme=theme,
    )  # fmt: skip
