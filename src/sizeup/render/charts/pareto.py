"""What a front offers against speed per user: the Pareto front, the load that was asked for, the targets as lines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sizeup.render.charts.chart import Chart, Layer, chart, layer, number, tips, words
from sizeup.render.charts.theme import PIXELS_PER_CHARACTER, Theme, factors

HEIGHT = 300
SERIES = ("blue", "orange", "green", "purple", "sky", "vermillion", "gold")
APART = 26
"""Least distance of labelled points [pixels]."""
NEAR, WORDS = 26, 180
"""Around the load that was asked for, and along its words, other points have no label [pixels]."""
LATE = 0.7
"""A load right of this share of the axis has its words on its left."""
ROW = 17
"""Height of a line of words [pixels]."""
LABEL = {"field": "label", "type": "nominal"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One point: tokens/s per user, what it is drawn at, the layout in words, requests in flight, words to show."""

    per_user: float
    value: float
    layout: str
    concurrency: int
    shown: str = ""
    ttft: str = ""
    meets: bool = True

    @property
    def row(self) -> dict[str, Any]:
        """The data of a layer."""
        return {
            "x": self.per_user, "y": self.value, "layout": self.layout, "flying": f"{self.concurrency:,}",
            "ttft": self.ttft, "shown": self.shown, "label": f"{self.concurrency:,}",
        }  # fmt: skip


def front_chart(
    name: str,
    points: Sequence[Point],
    *,
    axis: str,
    corner: Literal["left", "right"],
    title: str,
    subtitle: str,
    description: str,
    theme: Theme,
    own: Point | None = None,
    least_per_user: tuple[float, str] | None = None,
    by_factors: bool = False,
) -> Chart:
    """Return the picture; ``corner`` is the empty one at the top, where the layouts are named.

    ``least_per_user`` is the target for the time per token as a rate, with its words; ``by_factors`` asks for a scale
    of factors.
    """
    front = _Front(
        [*points, *([own] if own else [])], axis, theme, least_per_user, corner=corner, by_factors=by_factors
    )
    ordered = sorted(points, key=lambda p: p.per_user)
    layouts = list(dict.fromkeys(p.layout for p in points))
    line = {"color": theme.ghost, "strokeWidth": 1.5}
    rows = [p.row for p in ordered]
    layers = [*front.target(), layer("line", rows, style=line, x=front.x, y=front.y, order=number("x"))]
    for index, layout in enumerate(layouts):
        colour = getattr(theme, SERIES[index % len(SERIES)])
        layers += front.series([p for p in ordered if p.layout == layout], colour, axis)
        layers.append(front.layout_name(layout, colour, index))
    layers += front.numbers([p for p in ordered if own is None or not front.covered(p, own)])
    layers += front.own(own) if own else []
    return chart(
        name, title=title, subtitle=subtitle, description=description, layers=layers, height=HEIGHT, theme=theme
    )


class _Front:
    """The axes that all layers share."""

    def __init__(
        self,
        points: Sequence[Point],
        axis: str,
        theme: Theme,
        least: tuple[float, str] | None,
        *,
        corner: str,
        by_factors: bool,
    ) -> None:
        values = [p.value for p in points]
        self.theme, self.least, self.corner, self.by_factors = theme, least, corner, by_factors
        self.right = 1.08 * max([p.per_user for p in points] + ([least[0]] if least else []))
        self.low, self.top = (min(values) / 1.5, max(values) * 1.5) if by_factors else (0.0, 1.15 * max(values))
        scale = {"type": "log" if by_factors else "linear", "domain": [self.low, self.top], "nice": False}
        ticks: dict[str, Any] = {"tickCount": 6}
        if by_factors:
            ticks = {"values": factors(self.low, self.top), "format": ",~r"}
        across = {"domain": [0, self.right], "nice": False}
        self.x = number("x", title="tokens/s per user", scale=across, axis={"grid": False, "tickCount": theme.ticks})
        self.y = number("y", title=axis, scale=scale, axis=ticks)

    def _place(self, point: Point) -> tuple[float, float]:
        """Return where a point is, in pixels from the lower left."""
        share = point.value / self.top
        if self.by_factors:
            share = math.log(point.value / self.low) / math.log(self.top / self.low)
        return point.per_user / self.right * self.theme.width, share * HEIGHT

    def covered(self, point: Point, own: Point) -> bool:
        """Return whether the words of the load that was asked for stand where a point's number would."""
        here, there = self._place(point), self._place(own)
        across = here[0] - there[0]
        along = -WORDS if self._words_left(own) else WORDS
        return min(-NEAR, along) <= across <= max(NEAR, along) and abs(here[1] - there[1]) <= NEAR

    def _words_left(self, own: Point) -> bool:
        """Return whether the words of a load stand on its left: in the empty corner, where there is room for them."""
        share = own.per_user / self.right
        return share > 1 - LATE if self.corner == "left" else share > LATE

    def series(self, points: Sequence[Point], colour: str, axis: str) -> list[Layer]:
        """Return the points of one layout, hollow where they miss a target."""
        tooltip = tips(layout="layout", flying="in flight", shown=axis, ttft="TTFT")
        layers = []
        for meets in (True, False):
            rows = [p.row for p in points if p.meets is meets]
            fill = colour if meets else self.theme.background
            style = {"fill": fill, "stroke": colour, "strokeWidth": 1.5, "size": 55, "opacity": 1}
            if rows:
                layers.append(layer("point", rows, style=style, x=self.x, y=self.y, tooltip=tooltip))
        return layers

    def numbers(self, points: Sequence[Point]) -> list[Layer]:
        """Return the requests in flight of points far enough from each other."""
        kept: list[Point] = []
        for point in points:
            here = self._place(point)
            outside = self.corner == "left" and here[0] < APART + PIXELS_PER_CHARACTER * len(f"{point.concurrency:,}")
            if not outside and all(
                max(abs(a - b) for a, b in zip(here, self._place(k), strict=True)) > APART for k in kept
            ):
                kept.append(point)
        side = {"align": "right", "dx": -6} if self.corner == "left" else {"align": "left", "dx": 6}
        style = {**side, "baseline": "bottom", "dy": -4, "fontSize": 11, "color": self.theme.muted}
        return [layer("text", [p.row for p in kept], style=style, x=self.x, y=self.y, text=LABEL)]

    def layout_name(self, layout: str, colour: str, index: int) -> Layer:
        """Return the name of a layout in its colour, in the corner that is empty."""
        corner = self.corner
        style = {
            "align": corner,
            "baseline": "top",
            "color": colour,
            "fontWeight": 600,
            "dx": 8 if corner == "left" else 0,
        }
        x = {"value": 0 if corner == "left" else "width"}
        return layer(
            "text", [{"label": f"\u25cf {layout}"}], style=style, x=x, y={"value": 2 + ROW * index}, text=LABEL
        )

    def own(self, own: Point) -> list[Layer]:
        """Return the load that was asked for."""
        at = [{**own.row, "label": f"your load: {own.concurrency:,} in flight"}]
        left = self._words_left(own)
        above = left == (self.corner == "left")
        ring = {"size": 190, "filled": False, "stroke": self.theme.ink, "strokeWidth": 2, "opacity": 1}
        side: dict[str, Any] = {"align": "right", "dx": -13} if left else {"align": "left", "dx": 13}
        side["dy"] = -15 if above else 18
        return [
            layer("point", at, style=ring, x=self.x, y=self.y),
            *words(at, self.theme, x=self.x, y=self.y, fontWeight=600, **side),
        ]

    def target(self) -> list[Layer]:
        """Return the region slower than the target, and its edge with the target's name."""
        if not self.least:
            return []
        least, label = self.least
        region = [{"x": 0, "x2": least, "y": self.low, "y2": self.top}]
        at = [{"x": least, "label": label}]
        left = least > 0.5 * self.right
        text = {"align": "right" if left else "left", "dx": -5 if left else 5, "dy": -4, "baseline": "bottom"}
        red = {"color": self.theme.limit}
        return [
            layer("rect", region, style={**red, "opacity": 0.07}, x=self.x, x2={"field": "x2"}, y=self.y,
                  y2={"field": "y2"}),
            layer("rule", at, style={**red, "strokeWidth": 1.5}, x=self.x),
            layer("text", at, style={**red, **text}, x=self.x, y={"value": "height"}, text=LABEL),
        ]  # fmt: skip
