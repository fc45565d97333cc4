"""Sizes one below the other (weight formats, ways to train): what holds each, and the rule of thumb as a ghost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sizeup.render.charts.chart import Chart, chart, colour, layer, number, tips
from sizeup.render.charts.memory_bar import part_colour
from sizeup.render.charts.theme import Theme
from sizeup.units import GIB, format_gib

ROW = 30


@dataclass(frozen=True, slots=True)
class SizeRow:
    """One row: its parts [bytes] by name, and what is written at its end after the sum."""

    name: str
    parts: tuple[tuple[str, float], ...]
    words: str = ""

    @property
    def bytes(self) -> float:
        """Sum of the parts."""
        return sum(size for _, size in self.parts)


def sizes_chart(
    name: str,
    rows: Sequence[SizeRow],
    *,
    title: str,
    subtitle: str,
    description: str,
    theme: Theme,
    limit: tuple[float, str] | None = None,
    ghost: tuple[str, float] | None = None,
) -> Chart:
    """Return the picture of the rows; ``limit`` is usable memory [bytes], ``ghost`` another's estimate [bytes]."""
    shown = [*rows, *([SizeRow(ghost[0], (("", ghost[1]),))] if ghost else [])]
    largest = max([row.bytes for row in shown] + ([limit[0]] if limit else [])) / GIB
    names = [row.name for row in shown]
    x = number("start", title="GiB", scale={"domain": [0, 1.04 * largest], "nice": False}, axis={"tickCount": 8})
    y = {
        "field": "row", "type": "nominal", "sort": names, "scale": {"domain": names}, "title": None,
        "axis": {"ticks": False, "domain": False, "grid": False, "labelFontWeight": 600, "labelLimit": 220},
    }  # fmt: skip
    layers = [
        layer("bar", _bars(rows, theme), style={"height": 15}, y=y, x=x, x2={"field": "end"}, color=colour(),
              tooltip=tips(name="part", shown="size")),
    ]  # fmt: skip
    if ghost:
        bar = {"row": ghost[0], "start": 0, "end": ghost[1] / GIB}
        style = {"height": 15, "fillOpacity": 0.12, "fill": theme.ghost, "stroke": theme.ghost, "strokeDash": [4, 3]}
        layers.append(layer("bar", [bar], style=style, y=y, x=number("start"), x2={"field": "end"}))
    layers += _words(shown, rows, 1.04 * largest, theme, y)
    if limit:
        layers += _limit(limit, 1.04 * largest, theme)
    return chart(
        name, title=title, subtitle=subtitle, description=description, layers=layers, height={"step": ROW},
        theme=theme, title_offset=30 if limit else 12,
    )  # fmt: skip


def _bars(rows: Sequence[SizeRow], theme: Theme) -> list[dict[str, Any]]:
    bars = []
    for row in rows:
        start = 0.0
        for part, size in row.parts:
            ends = {"start": start / GIB, "end": (start + size) / GIB}
            words = {"name": part, "shown": format_gib(size), "colour": part_colour(part, theme)}
            bars.append({"row": row.name, **ends, **words})
            start += size
    return bars


def _words(
    rows: Sequence[SizeRow], solids: Sequence[SizeRow], right: float, theme: Theme, y: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return what is written at the end of each bar: inside it where there is no room beyond."""
    layers = []
    for row in rows:
        inside = row.bytes / GIB > 0.55 * right
        solid = inside and row in solids
        words = f"{format_gib(row.bytes)}{', ' + row.words if row.words else ''}"
        at = [{"row": row.name, "start": row.bytes / GIB, "label": words}]
        style: dict[str, Any] = {"align": "right" if inside else "left", "dx": -7 if inside else 7}
        style["color"] = theme.background if solid else theme.ink
        if solid:
            style["fontWeight"] = 600
        layers.append(
            layer("text", at, style=style, y=y, x=number("start"), text={"field": "label", "type": "nominal"})
        )
    return layers


def _limit(limit: tuple[float, str], right: float, theme: Theme) -> list[dict[str, Any]]:
    at = [{"start": limit[0] / GIB, "label": limit[1]}]
    x = number("start")
    align = "right" if limit[0] / GIB > right / 2 else "left"
    style = {"align": align, "baseline": "bottom", "color": theme.limit}
    return [
        layer("rule", at, style={"color": theme.limit, "strokeWidth": 1.5}, x=x),
        layer("text", at, style=style, x=x, y={"value": -6}, text={"field": "label", "type": "nominal"}),
    ]
