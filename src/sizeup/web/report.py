"""A report: one HTML file with verdict, tables, still pictures, explanations, assumptions and sources; no scripts.

It is the view of the page without its buttons, so that it reads the same on paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from html import escape
from string import Template

from sizeup import __version__
from sizeup.estimate import Estimate
from sizeup.files import read_text
from sizeup.render.charts import Chart
from sizeup.render.charts.theme import DARK, LIGHT
from sizeup.render.picture import inline_svg, variables
from sizeup.web.html import Child, Markup, tag
from sizeup.web.markup import Page, section
from sizeup.web.view import Block, Cell, Changes, Code, MemoryBar, Notes, Shares, Table, View
from sizeup.web.why import why_trees

DRAWN = (MemoryBar, Shares)
"""Blocks of the page that a report has as pictures."""


class Paper(Page):
    """Turns a view into HTML without anything to press."""

    def opens(self, children: Child, estimate: Estimate | None, *, class_: str, element: str = "span") -> Markup:
        """Return the element as it is: explanations have a part of their own."""
        return tag(element, children, class_=class_)


def report(view: View, charts: Sequence[Chart], *, estimates: Sequence[Estimate], command: str, made: str = "") -> str:
    """Return the report of an answer; ``charts`` are of the light theme, ``made`` is the day that it was made on."""
    paper = Paper()
    notes = [text for block in view.blocks if isinstance(block, Notes) for text in block.items]
    blocks = tuple(_still(block) for block in view.blocks if not isinstance(block, (*DRAWN, Notes, Code)))
    body: list[Child] = [
        paper.view(replace(view, blocks=())),
        [_figure(chart, index) for index, chart in enumerate(charts)],
        [paper.block(block) for block in blocks],
        _list("Assumed and noted", notes),
        section("Every number explained", why_trees(estimates)) if estimates else None,
        section("Ask again", tag("pre", tag("code", command))),
    ]
    day = f", {made}" if made else ""
    return Template(read_text("web/page/report.html")).substitute(
        title=escape(f"{view.verdict}: {view.headline}"), style=read_text("web/page/style.css"),
        light=variables(LIGHT), dark=variables(DARK), body=tag("main", body),
        foot=escape(f"Made by sizeup {__version__}{day}. Bands are 90 % bands from measured runs."),
    )  # fmt: skip


def _still(block: Block) -> Block:
    """Return a block without what its buttons would do."""
    if isinstance(block, Table):
        rows = tuple(
            tuple(replace(cell, patch=None, why=None) if isinstance(cell, Cell) else cell for cell in row)
            for row in block.rows
        )
        pressed = any(isinstance(cell, Cell) and cell.patch for row in block.rows for cell in row)
        return replace(block, rows=rows, note="" if pressed else block.note)
    if isinstance(block, Changes):
        return replace(block, items=tuple(replace(item, patch=None) for item in block.items))
    return block


def _figure(chart: Chart, index: int) -> Markup:
    drawn = Markup(inline_svg(chart, prefix=f"p{index}-"))
    return tag("figure", drawn, tag("figcaption", chart.description), class_="block chart")


def _list(title: str, items: Sequence[str]) -> Markup | None:
    return section(title, tag("ul", [tag("li", text) for text in items], class_="noted")) if items else None
