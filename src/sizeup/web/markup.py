"""A view as HTML. Widths are SVG attributes, for the page's policy allows no style in markup."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import singledispatchmethod

from sizeup.estimate import Band, Estimate
from sizeup.units import format_gib
from sizeup.web.html import Child, Markup, tag
from sizeup.web.view import (
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
    Table,
    View,
    band_words,
)

COLOURS: dict[str, int] = {
    "weights": 0, "parameters": 0, "model": 0, "cache": 1, "activations": 2, "gradients": 3, "optimizer states": 1,
    "master weights": 4, "logits and loss": 5, "graphs": 3, "CUDA context": 7, "other": 7, "free": 8,
    "communication channels": 6, "allocator fragmentation": 7,
}  # fmt: skip
"""The colour of each kind of memory, the same in every picture; others take the next in turn."""

TURN = 8
BAR_HEIGHT, BAR_TOP, GAP, GHOST_HEIGHT = 56, 26, 16, 22
MARGIN = 1.02
"""Room to the right of the longest thing in a bar."""


class Page:
    """Turns a view into HTML and numbers the estimates that its figures open."""

    def __init__(self) -> None:
        self.whys: list[Estimate] = []
        self.html = Markup("")

    def why(self, estimate: Estimate | None) -> int | None:
        """Return the number under which an estimate is explained."""
        if estimate is None:
            return None
        self.whys.append(estimate)
        return len(self.whys) - 1

    def view(self, view: View) -> Markup:
        """Return the whole answer, and keep it."""
        sign = {"fits": "✓", "no": "✕", "plain": ""}[view.state]
        verdict = tag(
            "header",
            tag(
                "p",
                tag("span", sign, class_="sign", aria_hidden="true") if sign else None,
                view.verdict,
                tag("small", view.aside) if view.aside else None,
                class_="word",
            ),
            tag("h2", view.headline, id="headline", tabindex="-1"),
            tag("p", view.lead, class_="lead") if view.lead else None,
            class_=f"verdict {view.state}",
        )
        figures = tag("ul", [self.figure(item) for item in view.figures], class_="figures") if view.figures else None
        self.html = Markup("".join([verdict, figures or "", *(self.block(block) for block in view.blocks)]))
        return self.html

    def opens(self, children: Child, estimate: Estimate | None, *, class_: str, element: str = "span") -> Markup:
        """Return a button that opens an explanation, or a plain element where there is none."""
        number = self.why(estimate)
        if number is None:
            return tag(element, children, class_=class_)
        return tag("button", children, type="button", class_=f"{class_} why", data_why=number, aria_haspopup="dialog")

    def figure(self, item: Figure) -> Markup:
        """Return one figure as a list item."""
        parts = [
            tag("span", item.label, class_="label"),
            tag("span", item.text, class_="number"),
            tag("span", item.band, class_="band") if item.band else None,
            tag("span", item.note, class_="note") if item.note else None,
        ]
        return tag("li", self.opens(parts, item.why, class_="figure"))

    @singledispatchmethod
    def block(self, item: object) -> Markup:
        """Return one block of an answer."""
        raise TypeError(f"no markup for {type(item).__name__}")

    @block.register
    def _(self, item: MemoryBar) -> Markup:
        return memory_bar(item, self.opens)

    @block.register
    def _(self, item: Table) -> Markup:
        align = item.align.ljust(len(item.head), "<")
        sides = ["right" if side == ">" else "left" for side in align]
        head = [tag("th", text, scope="col", class_=side) for text, side in zip(item.head, sides, strict=True)]
        rows = [
            tag("tr", [tag("td", self.cell(cell), class_=side) for cell, side in zip(row, sides, strict=True)])
            for row in item.rows
        ]
        table = tag("table", tag("thead", tag("tr", head)), tag("tbody", rows))
        scroll = tag("div", table, class_="scroll", tabindex="0", role="region", aria_label=item.title)
        return section(item.title, scroll, tag("p", item.note, class_="note") if item.note else None)

    def cell(self, cell: Cell | str) -> Child:
        """Return what stands in a cell."""
        if isinstance(cell, str):
            return cell
        shown: Child = tag("span", cell.text, class_=f"state {cell.state}") if cell.state else cell.text
        if cell.patch is not None:
            return apply_button(cell.text, cell.patch, class_="link")
        return self.opens(shown, cell.why, class_="cell") if cell.why else shown

    @block.register
    def _(self, item: Changes) -> Markup:
        return section(item.title, tag("ol", [_change(change) for change in item.items], class_="changes"))

    @block.register
    def _(self, item: Shares) -> Markup:
        rows = [self.share(share) for share in item.items]
        note = tag("p", item.note, class_="note") if item.note else None
        shown = tag("ul", rows, class_="shares")
        if item.folded:
            return tag("details", tag("summary", item.title), shown, note, class_="block")
        return section(item.title, shown, note)

    def share(self, item: Share) -> Markup:
        """Return one row of shares."""
        width = f"{max(0.0, min(1.0, item.share)) * 100:.2f}%"
        bar = tag(
            "svg", tag("rect", width="100%", height="100%", class_="track"), tag("rect", width=width, height="100%"),
            class_="thin", aria_hidden="true",
        )  # fmt: skip
        parts = [tag("span", item.label, class_="label"), bar, tag("span", item.text, class_="amount")]
        return tag("li", self.opens(parts, item.why, class_="share"))

    @block.register
    def _(self, item: Pictures) -> Markup:
        return tag("div", id="charts", class_="charts")

    @block.register
    def _(self, item: Notes) -> Markup:
        if not item.items:
            return Markup("")
        shown = tag("ul", [tag("li", text) for text in item.items])
        summary = tag("summary", f"{item.title} ", tag("span", str(len(item.items)), class_="count"))
        return tag("details", summary, shown, class_="notes")

    @block.register
    def _(self, item: Code) -> Markup:
        rows = [
            tag(
                "div", tag("span", name, class_="label"),
                tag("pre", tag("code", text), tabindex="0", aria_label=name),
                tag("button", "Copy", type="button", class_="quiet", data_copy=text, aria_label=f"Copy: {name}"),
                class_="code",
            )
            for name, text in item.items
        ]  # fmt: skip
        return section(item.title, rows)


def section(title: str, *children: Child) -> Markup:
    """Return a titled part of an answer."""
    return tag("section", tag("h3", title), children, class_="block")


def apply_button(text: str, patch: Patch, *, class_: str = "apply") -> Markup:
    """Return a button that sets flags."""
    return tag("button", text, type="button", class_=class_, data_patch=json.dumps(patch))


def _change(change: Change) -> Markup:
    shown: Child = change.text
    if change.patch is not None:
        shown = apply_button(change.text, change.patch)
    brings = tag("span", change.brings, class_=f"brings {change.state}") if change.brings else None
    return tag("li", shown, " ", brings)


def memory_bar(item: MemoryBar, opens: Callable[..., Markup]) -> Markup:
    """Return the bar as SVG with a legend whose entries explain themselves."""
    total = sum(piece.value for piece in item.pieces)
    ends = [total, item.capacity, item.band.high if item.band else 0.0, item.ghost[1] if item.ghost else 0.0]
    scale = _Scale(max(ends) * MARGIN or 1.0)
    colours = [_colour(index, piece.label) for index, piece in enumerate(item.pieces)]
    shapes = [*_pieces(item, colours, scale), *_capacity(item, total, scale)]
    height = BAR_TOP + BAR_HEIGHT + GAP
    if item.band:
        shapes += _whisker(item.band, scale, at=height)
        height += GAP
    if item.ghost:
        shapes += _ghost(item.ghost, scale, at=height)
        height += GHOST_HEIGHT + GAP
    words = f"{item.title}: {format_gib(total)}; {item.capacity_label}"
    svg = tag("svg", shapes, class_="memory", height=height, role="img", aria_label=words)
    legend = [_entry(piece, colour, opens) for piece, colour in zip(item.pieces, colours, strict=True)]
    band = tag("p", f"90 % band: {band_words(item.band, format_gib)}", class_="note") if item.band else None
    return section(item.title, svg, band, tag("ul", legend, class_="legend"))


@dataclass(frozen=True, slots=True)
class _Scale:
    """Where bytes are across the bar."""

    longest: float

    def __call__(self, value: float) -> str:
        return f"{value / self.longest * 100:.3f}%"


def _pieces(item: MemoryBar, colours: list[int], scale: _Scale) -> list[Markup]:
    shapes, position = [], 0.0
    for piece, colour in zip(item.pieces, colours, strict=True):
        title = tag("title", f"{piece.label} {format_gib(piece.value)}")
        place: dict[str, str | int] = {
            "x": scale(position),
            "y": BAR_TOP,
            "width": scale(piece.value),
            "height": BAR_HEIGHT,
        }
        shapes.append(tag("rect", title, class_=f"seg c{colour}", **place))
        position += piece.value
    return shapes


def _capacity(item: MemoryBar, total: float, scale: _Scale) -> list[Markup]:
    """Return the dashed line where the memory ends, and a frame around what is beyond it."""
    end = scale(item.capacity)
    side = "end" if item.capacity > scale.longest / 2 else "start"
    shapes = [
        tag("line", x1=end, x2=end, y1=BAR_TOP - 8, y2=BAR_TOP + BAR_HEIGHT + 8, class_="cap"),
        tag("text", item.capacity_label, x=end, y=BAR_TOP - 12, text_anchor=side, class_="cap"),
    ]
    if total > item.capacity:
        over: dict[str, str | int] = {
            "x": end,
            "y": BAR_TOP,
            "width": scale(total - item.capacity),
            "height": BAR_HEIGHT,
        }
        shapes.append(tag("rect", class_="over", **over))
    return shapes


def _whisker(band: Band, scale: _Scale, *, at: int) -> list[Markup]:
    low, high = scale(band.low), scale(band.high)
    ends = [tag("line", x1=edge, x2=edge, y1=at - 5, y2=at + 5, class_="whisker") for edge in (low, high)]
    return [tag("line", x1=low, x2=high, y1=at, y2=at, class_="whisker"), *ends]


def _ghost(ghost: tuple[str, float], scale: _Scale, *, at: int) -> list[Markup]:
    """Return the rule of thumb as an empty bar with its words in it, or beside it where it is short."""
    label, value = ghost
    inside = value > scale.longest / 2
    text: dict[str, str | int] = {
        "x": "8" if inside else scale(value),
        "dx": 0 if inside else 8,
        "y": at + GHOST_HEIGHT - 6,
    }
    shape = tag("rect", x=0, y=at, width=scale(value), height=GHOST_HEIGHT, class_="ghost")
    return [shape, tag("text", f"{label}: {format_gib(value)}", **text)]


def _entry(piece: Piece, colour: int, opens: Callable[..., Markup]) -> Markup:
    parts = [
        tag("span", class_=f"swatch c{colour}", aria_hidden="true"),
        tag("span", piece.label, class_="label"),
        tag("span", format_gib(piece.value), class_="amount"),
    ]
    return tag("li", opens(parts, piece.why, class_="entry"))


def _colour(index: int, label: str) -> int:
    return COLOURS.get(label, index % TURN)
