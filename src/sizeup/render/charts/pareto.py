"""Throughput per GPU against speed per user: the Pareto front, the load that was asked for, the targets as lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sizeup.render.charts.chart import Chart, Layer, chart, layer, number, tips
from sizeup.render.charts.theme import Theme

HEIGHT = 300
SERIES = ("blue", "orange", "green", "purple", "sky", "vermillion", "gold")
APART = 26
"""Least distance of labelled points [pixels]."""
NEAR, WORDS = 26, 180
"""Around the load that was asked for, and along its words, other points have no label [pixels]."""
LATE = 0.7
"""A load right of this share of the axis has its words on its left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One point of a front: rates in tokens/s, the layout in words, requests in flight, the tooltip's words."""

    per_user: float
    per_gpu: float
    layout: str
    concurrency: int
    ttft: str = ""
    price: str = ""
    meets: bool = True


def pareto_chart(
    name: str,
    points: Sequence[Point],
    *,
    title: str,
    subtitle: str,
    description: str,
    theme: Theme,
    own: Point | None = None,
    least_per_user: tuple[float, str] | None = None,
) -> Chart:
    """Return the picture; ``least_per_user`` is the target for the time per token as a rate, with its words."""
    shown = [*points, *([own] if own else [])]
    right = 1.08 * max([p.per_user for p in shown] + ([least_per_user[0]] if least_per_user else []))
    top = 1.15 * max(p.per_gpu for p in shown)
    x = number("x", title="tokens/s per user", scale={"domain": [0, right], "nice": False}, axis={"grid": False})
    y = number("y", title="tokens/s per GPU", scale={"domain": [0, top], "nice": False}, axis={"tickCount": 6})
    layers = [*_target(least_per_user, right, theme, x, y, top)]
    layouts = list(dict.fromkeys(p.layout for p in points))
    ordered = sorted(points, key=lambda p: p.per_user)
    line = {"color": theme.ghost, "strokeWidth": 1.5}
    layers.append(layer("line", [_row(p) for p in ordered], style=line, x=x, y=y, order=number("x")))
    for index, layout in enumerate(layouts):
        members = [p for p in ordered if p.layout == layout]
        layers += _series(members, getattr(theme, SERIES[index % len(SERIES)]), theme, x, y)
    away = [p for p in ordered if own is None or not _covered(p, own, right, top, theme.width)]
    layers += _labels(away, right, top, theme, x, y)
    layers += _layout_names(ordered, layouts, theme, right, top)
    if own:
        layers += _own(own, right, theme, x, y)
    return chart(
        name, title=title, subtitle=subtitle, description=description, layers=layers, height=HEIGHT, theme=theme
    )


def _row(point: Point) -> dict[str, Any]:
    return {
        "x": point.per_user, "y": point.per_gpu, "layout": point.layout, "flying": f"{point.concurrency:,}",
        "ttft": point.ttft, "price": point.price,
    }  # fmt: skip


def _series(points: Sequence[Point], colour: str, theme: Theme, x: Any, y: Any) -> list[Layer]:
    tooltip = tips(layout="layout", flying="in flight", ttft="TTFT", price="per million tokens")
    layers = []
    for meets in (True, False):
        rows = [_row(p) for p in points if p.meets is meets]
        fill = {"fill": colour} if meets else {"fill": theme.background}
        style = {**fill, "stroke": colour, "strokeWidth": 1.5, "size": 55, "opacity": 1}
        if rows:
            layers.append(layer("point", rows, style=style, x=x, y=y, tooltip=tooltip))
    return layers


def _near(one: Point, other: Point, right: float, top: float, width: int, pixels: float) -> bool:
    across = abs(one.per_user - other.per_user) / right * width
    up = abs(one.per_gpu - other.per_gpu) / top * HEIGHT
    return max(across, up) <= pixels


def _covered(point: Point, own: Point, right: float, top: float, width: int) -> bool:
    """Return whether the words of the load that was asked for stand where a point's number would."""
    across = (point.per_user - own.per_user) / right * width
    up = (point.per_gpu - own.per_gpu) / top * HEIGHT
    reach = -WORDS if own.per_user > LATE * right else WORDS
    return min(-NEAR, reach) <= across <= max(NEAR, reach) and abs(up) <= NEAR


def _apart(points: Sequence[Point], right: float, top: float, width: int) -> list[Point]:
    """Return points far enough from each other for a label each."""
    kept: list[Point] = []
    for point in points:
        if not any(_near(point, other, right, top, width, APART) for other in kept):
            kept.append(point)
    return kept


def _labels(points: Sequence[Point], right: float, top: float, theme: Theme, x: Any, y: Any) -> list[Layer]:
    rows = [{**_row(p), "label": f"{p.concurrency:,}"} for p in _apart(points, right, top, theme.width)]
    style = {"align": "left", "baseline": "bottom", "dx": 6, "dy": -4, "fontSize": 11, "color": theme.muted}
    return [layer("text", rows, style=style, x=x, y=y, text={"field": "label", "type": "nominal"})]


def _layout_names(
    points: Sequence[Point], layouts: Sequence[str], theme: Theme, right: float, top: float
) -> list[Layer]:
    """Return the names of the layouts with their colours, in the empty corner above the front."""
    layers = []
    for index, layout in enumerate(layouts):
        colour = getattr(theme, SERIES[index % len(SERIES)])
        at = [{"label": f"\u25cf {layout}"}]
        style = {"align": "right", "baseline": "top", "color": colour, "fontWeight": 600}
        x = {"value": "width"}
        layers.append(
            layer("text", at, style=style, x=x, y={"value": 2 + 17 * index}, text={"field": "label", "type": "nominal"})
        )
    return layers


def _own(own: Point, right: float, theme: Theme, x: Any, y: Any) -> list[Layer]:
    at = [{**_row(own), "label": f"your load: {own.concurrency:,} in flight"}]
    left = own.per_user > LATE * right
    ring = {"size": 190, "filled": False, "stroke": theme.ink, "strokeWidth": 2, "opacity": 1}
    text = {
        "align": "right" if left else "left",
        "dx": -13 if left else 13,
        "dy": 18 if left else -15,
        "fontWeight": 600,
    }
    return [
        layer("point", at, style=ring, x=x, y=y),
        layer("text", at, style=text, x=x, y=y, text={"field": "label", "type": "nominal"}),
    ]


def _target(target: tuple[float, str] | None, right: float, theme: Theme, x: Any, y: Any, top: float) -> list[Layer]:
    """Return the region slower than the target, and its edge with the target's name."""
    if not target:
        return []
    least, words = target
    region = {"x": 0, "x2": least, "y": 0, "y2": top}
    at = [{"x": least, "label": words}]
    left = least > 0.5 * right
    text = {
        "align": "right" if left else "left",
        "dx": -5 if left else 5,
        "dy": -4,
        "baseline": "bottom",
        "color": theme.limit,
    }
    return [
        layer(
            "rect",
            [region],
            style={"color": theme.limit, "opacity": 0.07},
            x=x,
            x2={"field": "x2"},
            y=y,
            y2={"field": "y2"},
        ),
        layer("rule", at, style={"color": theme.limit, "strokeWidth": 1.5}, x=x),
        layer("text", at, style=text, x=x, y={"value": "height"}, text={"field": "label", "type": "nominal"}),
    ]
