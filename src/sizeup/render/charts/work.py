"""The work of pre-training in petaflop/s-days: well-known models, and the user's own run among them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from sizeup.render.charts.chart import Chart, chart, colour, layer, number, tips
from sizeup.render.charts.theme import WIDTH, Theme, factors
from sizeup.units import significant

ROOM = 0.085
"""Axis beyond the largest value, as a share of its powers of ten: the number behind the dot stands there."""


@dataclass(frozen=True, slots=True)
class Work:
    """The work of one model [petaflop/s-days], computed, and as published where it was."""

    name: str
    computed: float
    published: float | None = None
    own: bool = False


def work_chart(name: str, rows: Sequence[Work], *, title: str, subtitle: str, description: str, theme: Theme) -> Chart:
    """Return the picture, least work first, on a scale of factors of ten."""
    ordered = sorted(rows, key=lambda row: row.computed)
    names = [row.name for row in ordered]
    low = 10 ** math.floor(math.log10(ordered[0].computed))
    high = 10 ** (
        math.log10(ordered[-1].computed)
        + ROOM * (1 + math.log10(ordered[-1].computed / ordered[0].computed)) * WIDTH / theme.width
    )
    x = number(
        "x", title="petaflop/s-days", scale={"type": "log", "domain": [low, high], "nice": False},
        axis={"values": factors(low, high, steps=(1,)), "format": "~s"},
    )  # fmt: skip
    bold = " || ".join(f"datum.value === {json.dumps(row.name)}" for row in ordered if row.own) or "false"
    axis = {
        "ticks": False, "domain": False, "grid": False, "labelLimit": theme.label_limit,
        "labelFontWeight": {"condition": {"test": bold, "value": "bold"}, "value": "normal"},
    }  # fmt: skip
    y = {"field": "row", "type": "nominal", "sort": names, "scale": {"domain": names}, "title": None, "axis": axis}
    bars = [
        {
            "row": row.name, "x": row.computed, "start": low, "colour": theme.vermillion if row.own else theme.blue,
            "shown": significant(row.computed), "published": significant(row.published) if row.published else "-",
        }
        for row in ordered
    ]  # fmt: skip
    words = {"align": "left", "dx": 9}
    layers = [
        layer("bar", bars, style={"height": 4, "opacity": 0.55}, y=y, x=x, x2={"field": "start"}, color=colour()),
        layer("point", bars, style={"size": 85, "opacity": 1}, y=y, x=x, color=colour(),
              tooltip=tips(row="model", shown="computed", published="published")),
        layer("text", bars, style=words, y=y, x=x, text={"field": "shown", "type": "nominal"}),
    ]  # fmt: skip
    return chart(
        name, title=title, subtitle=subtitle, description=description, layers=layers, height={"step": 21}, theme=theme
    )
