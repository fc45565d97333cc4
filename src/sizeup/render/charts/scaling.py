"""Days and dollars of a run against the number of GPUs, each number with its best plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sizeup.render.charts.chart import Chart, chart, layer, number, tips
from sizeup.render.charts.theme import WIDTH, Theme, factors

HEIGHT = 220
SPREAD = 4
"""Values further apart than this factor are drawn on a scale of factors."""


@dataclass(frozen=True, slots=True)
class ScalePoint:
    """One number of cards: the value, the value in words, the plan in words, whether it is the one asked for."""

    gpus: int
    value: float
    shown: str
    plan: str
    own: bool = False


def scaling_chart(
    name: str, points: Sequence[ScalePoint], *, axis: str, title: str, subtitle: str, description: str, theme: Theme,
    colour: str, ideal: bool = False,
) -> Chart:  # fmt: skip
    """Return the picture of a value against cards, both on scales of factors; ``ideal`` adds the line of 1 / cards."""
    rows = [{"x": p.gpus, "y": p.value, "shown": p.shown, "plan": p.plan, "label": p.shown} for p in points]
    counts = [p.gpus for p in points]
    edge = 1.25 ** (WIDTH / theme.width)
    values = [p.value for p in points]
    x_scale = {"type": "log", "base": 2, "domain": [min(counts) / edge, max(counts) * edge], "nice": False}
    x = number("x", title="GPUs", scale=x_scale, axis={"values": counts, "grid": False, "format": ",d"})
    y = number(
        "y",
        title=axis,
        scale=_y_scale(values, ideal=ideal),
        axis={**_y_ticks(values, ideal=ideal), "format": ",~r" if ideal else "~s"},
    )
    paint = getattr(theme, colour)
    layers = []
    if ideal:
        line = [{"x": p.gpus, "y": points[0].value * points[0].gpus / p.gpus} for p in points]
        layers.append(
            layer("line", line, style={"color": theme.ghost, "strokeDash": [5, 4], "strokeWidth": 1.5}, x=x, y=y)
        )
    layers += [
        layer("line", rows, style={"color": paint}, x=x, y=y),
        layer("point", rows, style={"color": paint, "size": 70, "opacity": 1}, x=x, y=y,
              tooltip=tips(shown=axis, plan="best plan")),
        layer("text", [r for r, p in zip(rows, points, strict=True) if not p.own],
              style={"dy": -12, "baseline": "bottom", "dx": 4}, x=x, y=y, text={"field": "label", "type": "nominal"}),
    ]  # fmt: skip
    own = [r for r, p in zip(rows, points, strict=True) if p.own]
    if own:
        ring = {"size": 190, "filled": False, "stroke": theme.ink, "strokeWidth": 2, "opacity": 1}
        text = {"dy": -14, "dx": 4, "baseline": "bottom", "fontWeight": 700}
        layers += [
            layer("point", own, style=ring, x=x, y=y),
            layer("text", own, style=text, x=x, y=y, text={"field": "label", "type": "nominal"}),
        ]
    return chart(
        name, title=title, subtitle=subtitle, description=description, layers=layers, height=HEIGHT, theme=theme
    )


def _by_factors(values: Sequence[float], *, ideal: bool) -> bool:
    return ideal or max(values) > SPREAD * min(values)


def _y_scale(values: Sequence[float], *, ideal: bool) -> dict[str, Any]:
    """Return factors where values spread over them, else a linear scale from zero."""
    low, high = min(values), max(values)
    if _by_factors(values, ideal=ideal):
        return {"type": "log", "domain": [low / 1.6, high * 1.9], "nice": False}
    return {"domain": [0, 1.25 * high], "nice": False}


def _y_ticks(values: Sequence[float], *, ideal: bool) -> dict[str, Any]:
    if _by_factors(values, ideal=ideal):
        return {"values": factors(min(values) / 1.6, max(values) * 1.9)}
    return {"tickCount": 5}
