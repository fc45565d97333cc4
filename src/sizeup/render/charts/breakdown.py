"""A whole and its parts: the stack on top, each part below where it sits in the stack, lines for what limits it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sizeup.render.charts.chart import Chart, Layer, chart, colour, layer, number, tips
from sizeup.render.charts.theme import PIXELS_PER_CHARACTER, Theme

ROW = 25
"""Height of a row [pixels]."""
ROOM = 1.04
"""Axis beyond the largest value."""
MOST_OF_REAL = 1.5
"""A ghost longer than this many times the real values leaves the picture at its right edge."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part: its value on the axis, the value in words, its colour."""

    name: str
    value: float
    shown: str
    colour: str


@dataclass(frozen=True, slots=True)
class Line:
    """A vertical line over all rows: a capacity, an ideal."""

    value: float
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """What is drawn: rows from top to bottom are the whole, its band, the parts and a ghost (another's estimate)."""

    whole: str
    parts: Sequence[Part]
    axis: str
    band: tuple[float, float, str] | None = None
    lines: Sequence[Line] = ()
    ghost: Part | None = None

    @property
    def total(self) -> float:
        """Sum of the parts."""
        return sum(part.value for part in self.parts)

    @property
    def reach(self) -> float:
        """The largest value on the axis."""
        values = [self.total, *(line.value for line in self.lines)]
        values += [self.band[1]] if self.band else []
        real = max(values)
        ghost = min(self.ghost.value, MOST_OF_REAL * real) if self.ghost else 0.0
        return ROOM * max(real, ghost)


def breakdown(name: str, shown: Breakdown, *, title: str, subtitle: str, description: str, theme: Theme) -> Chart:
    """Return the chart of a whole and its parts."""
    bars = _bars(shown)
    rows = _rows(shown)
    scale = {"domain": [0, shown.reach], "nice": False}
    x = number("start", scale=scale, title=shown.axis, axis={"grid": True, "tickCount": theme.ticks})
    y = {
        "field": "row",
        "type": "nominal",
        "sort": rows,
        "scale": {"domain": rows},
        "title": None,
        "axis": _labels(theme),
    }
    layers = [
        layer(
            "bar", bars, style={"height": 15, "stroke": theme.background, "strokeWidth": 0.6}, y=y, x=x,
            x2={"field": "end"}, color=colour(),
            tooltip=tips(name="part", shown="size"),
        ),
        *_band(shown, theme, y),
        *_ghost(shown, theme, y),
        *_lines(shown, theme),
    ]  # fmt: skip
    offset = 30 if shown.lines else 12
    return chart(
        name, title=title, subtitle=subtitle, description=description, layers=layers, height={"step": ROW},
        theme=theme, title_offset=offset,
    )  # fmt: skip


def _label(part: Part) -> str:
    return f"{part.name}  {part.shown}"


def _rows(shown: Breakdown) -> list[str]:
    band = [shown.band[2]] if shown.band else []
    ghost = [_label(shown.ghost)] if shown.ghost else []
    return [shown.whole, *band, *(_label(part) for part in shown.parts), *ghost]


def _bars(shown: Breakdown) -> list[dict[str, Any]]:
    """Return the bars of the stack and, below, each part at its place in it."""
    bars, start = [], 0.0
    for part in shown.parts:
        bar = {"start": start, "end": start + part.value, "colour": part.colour, "name": part.name, "shown": part.shown}
        bars += [{**bar, "row": shown.whole}, {**bar, "row": _label(part)}]
        start += part.value
    return bars


def _labels(theme: Theme) -> dict[str, Any]:
    whole = {"test": "datum.index === 0", "value": "bold"}
    return {
        "labelFontWeight": {"condition": whole, "value": "normal"}, "labelLimit": theme.label_limit, "ticks": False,
        "domain": False, "grid": False,
    }  # fmt: skip


def _band(shown: Breakdown, theme: Theme, y: dict[str, Any]) -> list[Layer]:
    if not shown.band:
        return []
    low, high, row = shown.band
    ends = [{"row": row, "start": low}, {"row": row, "start": high}]
    x = number("start")
    return [
        layer("rule", [{"row": row, "start": low, "end": high}], style={"strokeWidth": 2, "color": theme.ink},
              y=y, x=x, x2={"field": "end"}),
        layer("tick", ends, style={"thickness": 2, "size": 11, "color": theme.ink}, y=y, x=x),
        layer("point", [{"row": row, "start": shown.total}], style={"color": theme.ink, "size": 45}, y=y, x=x),
    ]  # fmt: skip


def _ghost(shown: Breakdown, theme: Theme, y: dict[str, Any]) -> list[Layer]:
    if not shown.ghost:
        return []
    inside = shown.ghost.value <= shown.reach
    bar = {"row": _label(shown.ghost), "start": 0, "end": shown.ghost.value if inside else shown.reach}
    style = {"height": 15, "fillOpacity": 0.12, "fill": theme.ghost, "stroke": theme.ghost, "strokeDash": [4, 3]}
    layers = [layer("bar", [bar], style=style, y=y, x=number("start"), x2={"field": "end"})]
    if not inside:
        words = {"align": "right", "dx": -6, "color": theme.muted}
        label = {"row": bar["row"], "start": shown.reach, "label": f"{shown.ghost.shown} \u2192"}
        layers.append(
            layer("text", [label], style=words, y=y, x=number("start"), text={"field": "label", "type": "nominal"})
        )
    return layers


def _lines(shown: Breakdown, theme: Theme) -> list[Layer]:
    layers = []
    for line in shown.lines:
        room = 0.6 * theme.width * (1 - line.value / shown.reach)
        left = line.value > shown.reach / 2 or room < PIXELS_PER_CHARACTER * len(line.label)
        text = {
            "align": "right" if left else "left",
            "dx": 1 if left else -1,
            "color": theme.limit,
            "baseline": "bottom",
        }
        at = [{"start": line.value, "label": line.label}]
        x = number("start")
        layers.append(layer("rule", at, style={"color": theme.limit, "strokeWidth": 1.5}, x=x))
        layers.append(layer("text", at, style=text, x=x, y={"value": -6}, text={"field": "label", "type": "nominal"}))
    return layers
