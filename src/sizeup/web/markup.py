"""A view as HTML. Widths are SVG attributes, for the page's policy allows no style in markup."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import singledispatchmethod

from sizeup.estimate import Estimate
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
BAR_HEIGHT, BAR_TOP, LABEL_HEIGHT = 56, 26, 20
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
        return section(item.title, tag("ul", rows, class_="shares"), note)

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
    longest = max(total, item.capacity, item.band.high if item.band else 0.0) * MARGIN or 1.0

    def at(value: float) -> str:
        return f"{value / longest * 100:.3f}%"

    shapes, position = [], 0.0
    colours = [_colour(index, piece.label) for index, piece in enumerate(item.pieces)]
    for piece, colour in zip(item.pieces, colours, strict=True):
        shapes.append(tag("rect", tag_title(piece), x=at(position), y=BAR_TOP, width=at(piece.value),
                          height=BAR_HEIGHT, class_=f"seg c{colour}"))  # fmt: skip
        position += piece.value
    bottom = BAR_TOP + BAR_HEIGHT
    if total > item.capacity:
        shapes.append(tag("rect", x=at(item.capacity), y=BAR_TOP, width=at(total - item.capacity), height=BAR_HEIGHT,
                          class_="over"))  # fmt: skip
    shapes.append(tag("line", x1=at(item.capacity), x2=at(item.capacity), y1=BAR_TOP - 8, y2=bottom + 8, class_="cap"))
    side = "end" if item.capacity > 0.5 * longest else "start"
    shapes.append(tag("text", item.capacity_label, x=at(item.capacity), y=BAR_TOP - 12, text_anchor=side, class_="cap"))
    if item.band:
        middle = bottom + 14
        shapes.append(tag("line", x1=at(item.band.low), x2=at(item.band.high), y1=middle, y2=middle, class_="whisker"))
        shapes += [tag("line", x1=at(edge), x2=at(edge), y1=middle - 5, y2=middle + 5, class_="whisker")
                   for edge in (item.band.low, item.band.high)]  # fmt: skip
    words = f"{item.title}: {format_gib(total)}; {item.capacity_label}"
    svg = tag("svg", shapes, class_="memory", height=bottom + LABEL_HEIGHT + 4, role="img", aria_label=words)
    legend = [
        tag("li", opens(
            [tag("span", class_=f"swatch c{colour}", aria_hidden="true"), tag("span", piece.label, class_="label"),
             tag("span", format_gib(piece.value), class_="amount")],
            piece.why, class_="entry",
        ))
        for piece, colour in zip(item.pieces, colours, strict=True)
    ]  # fmt: skip
    band = tag("p", band_words(item.band, format_gib), class_="note") if item.band else None
    return section(item.title, svg, band, tag("ul", legend, class_="legend"))


def tag_title(piece: object) -> Markup:
    """Return what a pointer over a piece of a bar shows."""
    label, value = getattr(piece, "label", ""), getattr(piece, "value", 0.0)
    return tag("title", f"{label} {format_gib(value)}")


def _colour(index: int, label: str) -> int:
    return COLOURS.get(label, index % TURN)
