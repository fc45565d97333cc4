"""Memory against context, sequence, micro-batch or users: the line where it stops fitting, and where it is crossed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sizeup.render.charts.chart import Chart, Layer, chart, layer, number, tips
from sizeup.render.charts.theme import Theme
from sizeup.sweep import Sweep
from sizeup.units import GIB, KIB, MIB, format_gib

HEIGHT = 250
HEADROOM = 1.5
"""How far above the limit the axis goes, where a curve goes that far."""
SERIES = ("blue", "orange", "green", "purple", "sky", "vermillion")
TICKS = 8
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
    words = first.what if first.what.endswith(first.unit) else f"{first.what} [{first.unit}]"
    x = number("x", title=words, scale={"domain": [0, right], "nice": False}, axis=_x_axis(right))
    y = number("y", title="GiB per GPU", scale={"domain": [0, top], "nice": False}, axis={"tickCount": 6})
    frame = _Frame(right, top, theme, x, y)
    layers = [*frame.beyond(first), *frame.base(first)]
    for index, sweep in enumerate(sweeps):
        layers += frame.curve(sweep, frame.series(index))
    layers += frame.limits(first)
    for index, sweep in enumerate(sweeps):
        layers += frame.crossing(sweep, frame.series(index), several=len(sweeps) > 1, below=index % 2 == 1)
    return chart(
        name, title=title, subtitle=subtitle, description=description, layers=layers, height=HEIGHT, theme=theme
    )


def _top(sweeps: Sequence[Sweep]) -> float:
    """Return the top of the axis [GiB]: above the limit, but not as far as a curve that runs away."""
    limit = max(max(s.limit_bytes, s.capacity_bytes or 0) for s in sweeps)
    start = max(s.points[0][1] for s in sweeps)
    highest = max(size * (s.high or 1) for s in sweeps for _, size in s.points)
    return 1.02 * max(min(highest, HEADROOM * max(limit, start)), 1.2 * limit) / GIB


def _x_axis(right: int) -> dict[str, Any]:
    """Return an axis with round ticks: multiples of a power of two, the last one left of the edge."""
    step = 1
    while right / step > TICKS:
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
        words = [{"x": 0, "y": self.top, "label": "does not fit"}]
        text = {"align": "left", "baseline": "top", "dx": 6, "dy": 6, "color": self.theme.limit, "fontWeight": 600}
        return [
            layer("rect", [region], style=style, x=self.x, x2={"field": "x2"}, y=self.y, y2={"field": "y2"}),
            layer("text", words, style=text, x=self.x, y=self.y, text=LABEL),
        ]

    def base(self, sweep: Sweep) -> list[Layer]:
        """Return what does not grow, as a block below the curve, and the part that does above it."""
        if sweep.base_bytes is None:
            return []
        base, theme = sweep.base_bytes / GIB, self.theme
        block = [{"x": 0, "x2": self.right, "y": 0, "y2": base}]
        grown = [{"x": at, "y": size / GIB, "y2": base} for at, size in sweep.points]
        words = {"align": "left", "dx": 8, "baseline": "middle", "fontWeight": 600}
        return [
            layer("rect", block, style={"color": theme.blue, "opacity": 0.35}, x=self.x, x2={"field": "x2"}, y=self.y,
                  y2={"field": "y2"}),
            layer("area", grown, style={"color": theme.orange, "opacity": 0.45, "clip": True}, x=self.x, y=self.y,
                  y2={"field": "y2"}),
            layer("text", [{"y": base / 2, "label": f"{sweep.base}, {format_gib(sweep.base_bytes)}"}], style=words,
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
        style = {"color": self.theme.orange if sweep.base_bytes else colour, "clip": True}
        return [*layers, layer("line", points, style=style, x=self.x, y=self.y, tooltip=tooltip)]

    def limits(self, sweep: Sweep) -> list[Layer]:
        """Return the line that must not be crossed, and the whole card where that is more."""
        lines = [(sweep.limit_bytes, f"{sweep.limit}: {format_gib(sweep.limit_bytes)}")]
        if sweep.capacity_bytes:
            lines.append((sweep.capacity_bytes, f"the card: {format_gib(sweep.capacity_bytes)}"))
        layers = []
        for index, (size, words) in enumerate(lines):
            below = len(lines) > 1 and index == 0
            at = [{"y": size / GIB, "label": words}]
            side = {"baseline": "top", "dy": 4} if below else {"baseline": "bottom", "dy": -4}
            rule = {"color": self.theme.limit, "strokeWidth": 1.5, "strokeDash": [5, 4] if below else [1, 0]}
            text = {"align": "left", "dx": 6, "color": self.theme.limit, **side}
            layers.append(layer("rule", at, style=rule, y=self.y))
            layers.append(layer("text", at, style=text, y=self.y, x={"value": 0}, text=LABEL))
        return layers

    def crossing(self, sweep: Sweep, colour: str, *, several: bool, below: bool) -> list[Layer]:
        """Return the last point that fits with its number, and the name of the curve where there are several."""
        layers = self._name(sweep, colour) if several else []
        size = dict(sweep.points).get(sweep.largest)
        if size is None or size / GIB > self.top:
            return layers
        left = sweep.largest > (0.9 if several else 0.5) * self.right
        words = f"{sweep.largest:,}" if several else crossing(sweep)
        at = [{"x": sweep.largest, "y": size / GIB, "label": words}]
        dot = {"color": colour, "size": 90, "opacity": 1, "stroke": self.theme.background, "strokeWidth": 1.5}
        text = {"align": "right" if left else "left", "dx": -9 if left else 9, "fontWeight": 600}
        text |= {"dy": 14 if below else -12, "color": colour} if several else {"dy": 16}
        return [
            *layers,
            layer("point", at, style=dot, x=self.x, y=self.y),
            layer("text", at, style=text, x=self.x, y=self.y, text=LABEL),
        ]

    def _name(self, sweep: Sweep, colour: str) -> list[Layer]:
        start = [{"y": sweep.points[0][1] / GIB, "label": sweep.name}]
        style = {"align": "left", "dx": 8, "dy": 11, "baseline": "middle", "color": colour, "fontWeight": 600}
        return [layer("text", start, style=style, y=self.y, x={"value": 0}, text=LABEL)]
