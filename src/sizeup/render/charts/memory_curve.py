"""Memory against context, sequence, micro-batch or users: the line where it stops fitting, and where it is crossed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sizeup.render.charts.chart import Chart, Layer, chart, layer, number, tips, words
from sizeup.render.charts.theme import Theme
from sizeup.sweep import Sweep
from sizeup.units import GIB, KIB, MIB, format_gib

HEIGHT = 250
LEAST_TICKS = 4
HEADROOM = 1.5
"""How far above the limit the axis goes, where a curve goes that far."""
SERIES = ("blue", "orange", "green", "purple", "sky", "vermillion")
FAR = 0.25
"""Curves that stay below this share of their limit are drawn on a scale of their own."""
EARLY = 0.35
"""A crossing left of this share of the axis: the curve is then far above its limit at the right edge."""
FEW = 16
"""Whole numbers up to which every one has a dot."""
CLOSE = 0.25
"""Crossings closer than this share of the axis have their numbers at different heights."""
LOW = 0.15
"""A point below this share of the axis has its words above it."""
LABEL = {"field": "label", "type": "nominal"}


def short_count(value: int) -> str:
    """Return a number of tokens or sequences in short form.

    >>> short_count(131072), short_count(1500), short_count(2**20)
    ('128k', '1,500', '1M')
    """
    if value and value % MIB == 0:
        return f"{value // MIB:,}M"
    return f"{value // KIB:,}k" if value and value % KIB == 0 else f"{value:,}"


def counted(value: int, unit: str) -> str:
    """Return a number with its unit, one without its plural.

    >>> counted(1, "sequences"), counted(5120, "tokens")
    ('1 sequence', '5,120 tokens')
    """
    return f"{value:,} {unit.removesuffix('s') if value == 1 else unit}"


def crossing(sweep: Sweep) -> str:
    """Return where a sweep stops fitting, in words."""
    if sweep.largest == 0:
        return f"no {sweep.what} fits"
    if sweep.always_fits:
        return f"fits up to {counted(sweep.most, sweep.unit)}, all there is"
    return f"fits up to {counted(sweep.largest, sweep.unit)}"


def memory_curve(
    name: str, sweeps: Sequence[Sweep], *, title: str, subtitle: str, description: str, theme: Theme
) -> Chart:
    """Return the picture of sweeps that share their limit."""
    first = sweeps[0]
    right = max(x for sweep in sweeps for x, _ in sweep.points)
    top = _top(sweeps)
    title_x = first.what if first.what.endswith(first.unit) else f"{first.what} [{first.unit}]"
    x = number("x", title=title_x, scale={"domain": [0, right], "nice": False}, axis=_x_axis(right, theme))
    y = number("y", title="GiB per GPU", scale={"domain": [0, top], "nice": False}, axis={"tickCount": 6})
    frame = _Frame(right, top, theme, x, y)
    layers = [*frame.beyond(first), *frame.base(first)]
    for index, sweep in enumerate(sweeps):
        layers += frame.curve(sweep, frame.series(index))
    layers += frame.limits(first, several=len(sweeps) > 1)
    if len(sweeps) == 1:
        layers += frame.crossing(first, frame.series(0))
    else:
        layers += frame.crossings(sweeps)
    return chart(
        name, title=title, subtitle=subtitle, description=description, layers=layers, height=HEIGHT, theme=theme
    )


def _top(sweeps: Sequence[Sweep]) -> float:
    """Return the top of the axis [GiB]: above the limit, but neither as far as a curve runs away nor far above all."""
    limit = max(max(s.limit_bytes, s.capacity_bytes or 0) for s in sweeps)
    start = max(s.points[0][1] for s in sweeps)
    highest = max(size * (s.high or 1) for s in sweeps for _, size in s.points)
    if highest < FAR * limit:
        return 1.6 * highest / GIB
    return max(min(1.02 * highest, HEADROOM * max(limit, start)), 1.2 * limit, 1.15 * start) / GIB


def _x_axis(right: int, theme: Theme) -> dict[str, Any]:
    """Return an axis with round ticks: multiples of a power of two, the last one left of the edge."""
    step = 1
    while right / step > max(LEAST_TICKS, theme.ticks):
        step *= 2
    values = [value for value in range(0, right + 1, step) if value == 0 or value <= right]
    pairs = ", ".join(f"'{value}': '{short_count(value)}'" for value in values)
    return {"values": values, "labelExpr": f"{{{pairs}}}[datum.value]", "grid": False, "labelFlush": 10}


class _Frame:
    """The axes that all layers of a picture share."""

    def __init__(self, right: int, top: float, theme: Theme, x: Mapping[str, Any], y: Mapping[str, Any]) -> None:
        self.right, self.top, self.theme, self.x, self.y = right, top, theme, x, y

    def series(self, index: int) -> str:
        """Return the colour of a curve."""
        found: str = getattr(self.theme, SERIES[index % len(SERIES)])
        return found

    def beyond(self, sweep: Sweep) -> list[Layer]:
        """Return the region that does not fit."""
        edge = (sweep.capacity_bytes or sweep.limit_bytes) / GIB
        if edge >= self.top:
            return []
        region = {"x": 0, "x2": self.right, "y": edge, "y2": self.top}
        style = {"color": self.theme.limit, "opacity": 0.08}
        label = [{"x": 0, "y": self.top, "label": "does not fit"}]
        text = {"align": "left", "baseline": "top", "dx": 6, "dy": 6, "color": self.theme.limit, "fontWeight": 600}
        return [
            layer("rect", [region], style=style, x=self.x, x2={"field": "x2"}, y=self.y, y2={"field": "y2"}),
            layer("text", label, style=text, x=self.x, y=self.y, text=LABEL),
        ]

    def base(self, sweep: Sweep) -> list[Layer]:
        """Return what does not grow, as a block below the curve, and the part that does above it."""
        if sweep.base_bytes is None:
            return []
        base, theme = sweep.base_bytes / GIB, self.theme
        block = [{"x": 0, "x2": self.right, "y": 0, "y2": base}]
        grown = [{"x": at, "y": size / GIB, "y2": base} for at, size in sweep.points]
        text = {"align": "left", "dx": 8, "baseline": "middle", "fontWeight": 600}
        return [
            layer("rect", block, style={"color": theme.blue, "opacity": 0.35}, x=self.x, x2={"field": "x2"}, y=self.y,
                  y2={"field": "y2"}),
            layer("area", grown, style={"color": theme.orange, "opacity": 0.45, "clip": True}, x=self.x, y=self.y,
                  y2={"field": "y2"}),
            layer("text", [{"y": base / 2, "label": f"{sweep.base}, {format_gib(sweep.base_bytes)}"}], style=text,
                  y=self.y, x={"value": 0}, text=LABEL),
        ]  # fmt: skip

    def curve(self, sweep: Sweep, colour: str) -> list[Layer]:
        """Return a curve with its band."""
        points: list[dict[str, Any]] = [
            {"x": at, "y": size / GIB, "shown": format_gib(size), "at": counted(at, sweep.unit), "name": sweep.name}
            for at, size in sweep.points
        ]
        layers = []
        if sweep.low and sweep.high:
            low, high = sweep.low / GIB, sweep.high / GIB
            edges = [{"x": at, "y": size * low, "y2": size * high} for at, size in sweep.points]
            style = {"color": colour, "opacity": 0.18, "clip": True}
            layers.append(layer("area", edges, style=style, x=self.x, y=self.y, y2={"field": "y2"}))
        tooltip = tips(name="", at=sweep.what, shown="memory")
        style = {"color": self.theme.orange if sweep.base_bytes else colour, "clip": True, "point": self.right <= FEW}
        return [*layers, layer("line", points, style=style, x=self.x, y=self.y, tooltip=tooltip)]

    def limits(self, sweep: Sweep, *, several: bool) -> list[Layer]:
        """Return the line that must not be crossed, and the whole card where that is more."""
        words_of_limit = sweep.limit if self.theme.narrow else f"{sweep.limit}: {format_gib(sweep.limit_bytes)}"
        lines = [(sweep.limit_bytes / GIB, words_of_limit)]
        if sweep.capacity_bytes:
            lines.append((sweep.capacity_bytes / GIB, f"the card: {format_gib(sweep.capacity_bytes)}"))
        if lines[-1][0] > self.top:
            at = [{"y": self.top, "label": f"{lines[-1][1]}, far above \u2191"}]
            style = {"align": "left", "dx": 6, "dy": 5, "baseline": "top", "color": self.theme.limit}
            return words(at, self.theme, y=self.y, x={"value": 0}, **style)
        layers = []
        # a curve that starts near its limit leaves the right side free, any other the left
        start = 0 < sweep.largest < EARLY * self.right and not several
        x, side = ({"value": "width"}, "right") if start else ({"value": 0}, "left")
        for index, (size, label) in enumerate(lines):
            below = len(lines) > 1 and index == 0
            at = [{"y": size, "label": label}]
            rule = {"color": self.theme.limit, "strokeWidth": 1.5, "strokeDash": [5, 4] if below else [1, 0]}
            style = {"align": side, "dx": -6 if start else 6, "color": self.theme.limit}
            style |= {"baseline": "top", "dy": 4} if below else {"baseline": "bottom", "dy": -4}
            layers.append(layer("rule", at, style=rule, y=self.y))
            layers += words(at, self.theme, y=self.y, x=x, **style)
        return layers

    def crossing(self, sweep: Sweep, colour: str) -> list[Layer]:
        """Return the last point that fits, and where that is in words."""
        size = dict(sweep.points).get(sweep.largest)
        if size is None:
            return []
        label = f"{sweep.largest:,}" if self.theme.narrow else crossing(sweep)
        at = [{"x": sweep.largest, "y": size / GIB, "label": label}]
        left, low = sweep.largest > 0.5 * self.right, size / GIB < LOW * self.top
        style = {"align": "right" if left else "left", "dx": -9 if left else 9, "dy": -14 if low else 16}
        return [self._dot(at, colour), *words(at, self.theme, x=self.x, y=self.y, fontWeight=600, **style)]

    def crossings(self, sweeps: Sequence[Sweep]) -> list[Layer]:
        """Return the last points of several curves with their numbers, each curve with its name at its start."""
        layers, previous, raised = [], -math.inf, False
        for index, sweep in sorted(enumerate(sweeps), key=lambda pair: pair[1].largest):
            colour = self.series(index)
            name = f"{sweep.name}: all {counted(sweep.most, sweep.unit)}" if sweep.always_fits else sweep.name
            start = [{"y": sweep.points[0][1] / GIB, "label": name}]
            bold = {"fontWeight": 600, "color": colour, "baseline": "middle"}
            layers += words(start, self.theme, y=self.y, x={"value": 0}, align="left", dx=8, dy=11, **bold)
            size = dict(sweep.points).get(sweep.largest)
            if size is None:
                continue
            at = [{"x": sweep.largest, "y": size / GIB, "label": f"{sweep.largest:,}"}]
            layers.append(self._dot(at, colour))
            if sweep.always_fits:
                continue
            raised = not raised and sweep.largest - previous < CLOSE * self.right
            previous, left = sweep.largest, sweep.largest > 0.9 * self.right
            side = {"align": "right" if left else "left", "dx": -4 if left else 4, "dy": -30 if raised else -14}
            layers += words(at, self.theme, x=self.x, y=self.y, **bold, **side)
        return layers

    def _dot(self, at: Sequence[Mapping[str, Any]], colour: str) -> Layer:
        dot = {"color": colour, "size": 90, "opacity": 1, "stroke": self.theme.background, "strokeWidth": 1.5}
        return layer("point", at, style=dot, x=self.x, y=self.y)
