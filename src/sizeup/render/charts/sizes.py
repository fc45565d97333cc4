"""Sizes one below the other (weight formats, ways to train): what holds each, and the rule of thumb as a ghost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sizeup.render.charts.chart import Chart, chart, colour, layer, number, tips, words
from sizeup.render.charts.memory_bar import part_colour
from sizeup.render.charts.theme import PIXELS_PER_CHARACTER, Theme
from sizeup.units import GIB, MIB, TIB, format_gib

ROW = 30
PLOT = 0.78
"""Share of a picture's width that its plot has, labels of rows on its left."""
MOST_WORDS = 0.6
"""Words behind a bar may take this share of the plot."""
SIZE_COLUMNS = 12
"""Characters of a size and the gap before it."""
LARGE = 2 * TIB


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
    rows = [replace(row, words="") for row in rows] if theme.narrow else rows
    shown = [*rows, *([SizeRow(ghost[0], (("", ghost[1]),))] if ghost else [])]
    right = _right(shown, limit[0] if limit else 0, theme)
    unit, scale = ("TiB", TIB) if right >= LARGE else ("GiB", GIB) if right >= GIB else ("MiB", MIB)
    names = [row.name for row in shown]
    x = number(
        "start", title=unit, scale={"domain": [0, right / scale], "nice": False}, axis={"tickCount": theme.ticks}
    )
    y = {
        "field": "row", "type": "nominal", "sort": names, "scale": {"domain": names}, "title": None,
        "axis": {
            "ticks": False, "domain": False, "grid": False, "labelFontWeight": 600, "labelLimit": theme.label_limit,
        },
    }  # fmt: skip
    layers = [
        layer("bar", _bars(rows, theme, scale), style={"height": 15}, y=y, x=x, x2={"field": "end"}, color=colour(),
              tooltip=tips(name="part", shown="size")),
    ]  # fmt: skip
    if ghost:
        bar = {"row": ghost[0], "start": 0, "end": ghost[1] / scale}
        style = {"height": 15, "fillOpacity": 0.12, "fill": theme.ghost, "stroke": theme.ghost, "strokeDash": [4, 3]}
        layers.append(layer("bar", [bar], style=style, y=y, x=number("start"), x2={"field": "end"}))
    if limit:
        layers += _limit(limit[0] / scale, limit[1], right / scale, theme)
    layers += _words(shown, scale, theme, y)
    return chart(
        name, title=title, subtitle=subtitle, description=description, layers=layers, height={"step": ROW},
        theme=theme, title_offset=30 if limit else 12,
    )  # fmt: skip


def _right(rows: Sequence[SizeRow], limit: float, theme: Theme) -> float:
    """Return the right edge of the axis [bytes]: every bar has room for its words behind it."""
    plot = PLOT * theme.width / PIXELS_PER_CHARACTER
    ends = [row.bytes / (1 - min(MOST_WORDS, (len(row.words) + SIZE_COLUMNS) / plot)) for row in rows]
    return max([*ends, 1.03 * limit])


def _bars(rows: Sequence[SizeRow], theme: Theme, scale: float) -> list[dict[str, Any]]:
    bars = []
    for row in rows:
        start = 0.0
        for part, size in row.parts:
            ends = {"start": start / scale, "end": (start + size) / scale}
            words = {"name": part, "shown": format_gib(size), "colour": part_colour(part, theme)}
            bars.append({"row": row.name, **ends, **words})
            start += size
    return bars


def _words(rows: Sequence[SizeRow], scale: float, theme: Theme, y: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what is written behind each bar."""
    written = [
        {
            "row": row.name,
            "start": row.bytes / scale,
            "label": ", ".join(w for w in (format_gib(row.bytes), row.words) if w),
        }
        for row in rows
    ]
    return words(written, theme, y=y, x=number("start"), align="left", dx=7)


def _limit(at: float, label: str, right: float, theme: Theme) -> list[dict[str, Any]]:
    value, x = [{"start": at, "label": label}], number("start")
    style = {"align": "right" if at > right / 2 else "left", "baseline": "bottom", "color": theme.limit}
    return [
        layer("rule", value, style={"color": theme.limit, "strokeWidth": 1.5}, x=x),
        layer("text", value, style=style, x=x, y={"value": -6}, text={"field": "label", "type": "nominal"}),
    ]
