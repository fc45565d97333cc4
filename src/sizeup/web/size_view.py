"""What the page shows of a model's size: parameters, weights and cache in every format, the verdict on a machine."""

from __future__ import annotations

from sizeup.card import ENVELOPE_STORE_BYTES, Card, Verdict, usable_memory
from sizeup.estimate import Estimate
from sizeup.holding import USABLE_SHARE, gpus_used
from sizeup.render.card_text import card_remarks, describe, short
from sizeup.units import format_count, format_dollars, format_gib
from sizeup.web.view import (
    Block,
    Cell,
    Change,
    Changes,
    Figure,
    MemoryBar,
    Notes,
    Pictures,
    Piece,
    Share,
    Shares,
    State,
    Table,
    View,
    figure,
)

SMALLEST_SHARE = 0.001
"""Parts of a model below this share are added up."""


def size_view(card: Card) -> View:
    """Return the view of a card."""
    model = card.model
    blocks: list[Block] = []
    if card.cluster:
        blocks += [_bar(card), *_changes(card), _verdict_table(card)]
    else:
        blocks.append(_placement_table(card))
    blocks += [
        Pictures(),
        _parts(model.parameters_by_part),
        Notes(title="Assumed and noted", items=tuple(card_remarks(card))),
    ]
    state, verdict, headline = _verdict(card)
    lead = describe(model.architecture) if model.architecture and model.has_layers else ""
    return View(
        state=state, verdict=verdict, headline=headline, lead=lead, figures=_figures(card), blocks=tuple(blocks)
    )


def _verdict(card: Card) -> tuple[State, str, str]:
    if card.cluster is None:
        return "plain", f"{format_count(card.model.parameters)} parameters", card.model.name
    first, used = card.verdicts[0], gpus_used(card.model, card.cluster)
    many = f"{used} of {card.cluster.gpus}" if used < card.cluster.gpus else str(used)
    headline = f"{card.model.name} in {first.format} on {many} × {card.cluster.gpu.name}"
    return ("fits", "Fits", headline) if first.fits else ("no", "Does not fit", headline)


def _figures(card: Card) -> tuple[Figure, ...]:
    model = card.model
    weights, cache = card.first_sizes
    active = model.active_parameters
    found = [
        Figure(
            label="Parameters", text=f"{model.parameters:,}", why=model.parameters_by_part,
            note=f"{format_count(active)} active for a token" if active != model.parameters else "exact",
        ),
        figure(f"Weights, {card.first_format}", weights, note=f"{weights.value:,} bytes"),
    ]  # fmt: skip
    if cache:
        many = f", {card.sequences:,} sequences" if card.sequences > 1 else ""
        found.append(figure(f"Cache, {card.context:,} tokens{many}", cache, note=f"in {card.cache_dtype}"))
    if card.cluster:
        first = card.verdicts[0]
        usable = usable_memory(card.cluster, gpus=gpus_used(model, card.cluster))
        label = "Free" if first.fits else "Missing"
        note = f"of {format_gib(first.budget_bytes)} usable"
        found.append(Figure(label=label, text=format_gib(abs(first.free_bytes)), note=note, why=usable))
    labels = {"full fine-tuning states": "To fine-tune in full", "lora states": "LoRA, rank 16",
              "qlora states": "QLoRA, rank 16"}  # fmt: skip
    found += [figure(labels.get(e.name, e.name), e, note="before activations, Adam") for e in card.states]
    return tuple(found)


def _bar(card: Card) -> MemoryBar:
    assert card.cluster is not None
    weights, cache = card.first_sizes
    pieces = [Piece(label="weights", value=weights.value, why=weights)]
    if cache:
        pieces.append(Piece(label="cache", value=cache.value, why=cache))
    first, rule = card.verdicts[0], ENVELOPE_STORE_BYTES * card.model.parameters
    used = gpus_used(card.model, card.cluster)
    title = "Weights and cache" + (f" on {used} GPUs together" if used > 1 else "")
    return MemoryBar(
        title=title, pieces=tuple(pieces), capacity=first.budget_bytes,
        capacity_label=f"usable {format_gib(first.budget_bytes)}, {USABLE_SHARE:.0%} of the memory",
        ghost=(f"rule, {ENVELOPE_STORE_BYTES} B per parameter", rule),
    )  # fmt: skip


def _changes(card: Card) -> list[Block]:
    if not card.changes:
        return []
    return [Changes(title="To make it fit, cheapest first", items=tuple(Change(text=text) for text in card.changes))]


def _verdict_table(card: Card) -> Table:
    head = ("Stored as", "Weights", "+ cache", "Free", "", "Largest context", "Sequences")
    rows = tuple(_verdict_row(verdict) for verdict in card.verdicts)
    return Table(title="In every format", head=head, rows=rows, align="<>>><>>")


def _verdict_row(verdict: Verdict) -> tuple[Cell | str, ...]:
    sign = "" if verdict.fits else "-"
    return (
        Cell(text=verdict.format, patch=_format_patch(verdict.format)),
        Cell(text=format_gib(verdict.weights.value), why=verdict.weights),
        Cell(text=format_gib(verdict.cache.value), why=verdict.cache) if verdict.cache else "unknown",
        f"{sign}{format_gib(abs(verdict.free_bytes))}",
        Cell(text="fits", state="fits") if verdict.fits else Cell(text="no", state="no"),
        f"{verdict.max_context:,}" if verdict.max_context else "-",
        f"{verdict.max_sequences:,}" if verdict.max_sequences else "-",
    )


def _format_patch(name: str) -> dict[str, str | None]:
    return {"format": None if name == "as stored" else name}


def _placement_table(card: Card) -> Table:
    head = ("Stored as", "Weights", "+ cache", "Fits on one", "H100", "Cheapest per hour")
    rows = tuple(
        (
            Cell(text=p.format, patch=_format_patch(p.format)),
            Cell(text=format_gib(p.weights.value), why=p.weights),
            Cell(text=format_gib(p.cache.value), why=p.cache) if p.cache else "unknown",
            Cell(text=short(p.smallest_gpu.name, width=24), patch={"gpu": p.smallest_gpu.key})
            if p.smallest_gpu else "none",
            str(p.common_gpus or "-"),
            Cell(text=f"{p.instance.cloud} {p.instance.name}, {format_dollars(p.instance.usd_per_hour or 0)}"
                      f" ({p.instance.date})", patch={"gpu": p.instance.name})
            if p.instance else "none priced",
        )
        for p in card.placements
    )  # fmt: skip
    return Table(title="In every format, and what holds it", head=head, rows=rows, align="<>><><")


def _parts(tree: Estimate) -> Shares:
    parts = sorted(tree.parts, key=lambda part: -part.value) or [tree]
    shown = [part for part in parts if part.value >= SMALLEST_SHARE * tree.value]
    items = tuple(
        Share(label=p.name, share=p.value / tree.value, text=f"{p.value:,}", why=p) for p in shown
    )  # fmt: skip
    return Shares(title="Where the parameters are", items=items)
