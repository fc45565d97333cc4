"""The time of one step as a waterfall: what it is spent on, what binds, what the bare peak would take."""

from __future__ import annotations

from collections.abc import Sequence

from sizeup.estimate import Estimate
from sizeup.render.charts.breakdown import Breakdown, Line, Part, breakdown
from sizeup.render.charts.chart import Chart
from sizeup.render.charts.theme import Theme
from sizeup.units import format_seconds

SMALLEST_SHARE = 0.005
"""Parts below this share of the step are one part, called "other"."""
LEAST_SHOWN = 0.0005
"""Other parts below this share of the step are left out: they would read 0.0%."""
KINDS = {
    "blue": ("matrix products", "attention", "recomputation", "products", "experts", "head"),
    "sky": ("memory-bound kernels", "optimizer", "element-wise", "decode attention", "small kernels"),
    "orange": (
        "tensor-parallel network", "context-parallel network", "expert exchange", "pipeline network",
        "data-parallel network", "contention with hidden communication", "network",
    ),
    "vermillion": ("pipeline bubble",),
}  # fmt: skip
"""Colour by what a part waits for: products, memory, network, the pipeline; grey for the host."""
UNITS = (("min", 60.0), ("s", 1.0), ("ms", 1e-3), ("us", 1e-6))


def waterfall(
    name: str,
    step: Estimate,
    *,
    title: str,
    subtitle: str,
    description: str,
    theme: Theme,
    ideal_seconds: float | None = None,
    ideal_name: str = "",
) -> Chart:
    """Return the picture of a step whose parts are seconds, largest first."""
    whole = float(step.value)
    unit, scale = next((pair for pair in UNITS if whole >= pair[1]), UNITS[-1])
    parts = [_part(part.name, part.value, whole, scale, theme) for part in _large(step.parts, whole)]
    rest = whole - sum(part.value * scale for part in parts)
    if rest >= LEAST_SHOWN * whole:
        parts.append(_part("other", rest, whole, scale, theme))
    band = None
    if step.band:
        words = f"90 % band  {format_seconds(step.band.low)} to {format_seconds(step.band.high)}"
        band = (step.band.low / scale, step.band.high / scale, words)
    shown = Breakdown(
        whole=f"one step  {format_seconds(whole)}", parts=parts, axis=unit, band=band,
        lines=[Line(ideal_seconds / scale, f"{ideal_name} {format_seconds(ideal_seconds)}")] if ideal_seconds else (),
    )  # fmt: skip
    return breakdown(name, shown, title=title, subtitle=subtitle, description=description, theme=theme)


def _large(parts: Sequence[Estimate], whole: float) -> list[Estimate]:
    shown = [part for part in parts if part.value >= SMALLEST_SHARE * whole]
    return sorted(shown, key=lambda part: -part.value)


def _part(name: str, seconds: float, whole: float, scale: float, theme: Theme) -> Part:
    colour = next((colour for colour, names in KINDS.items() if name in names), "grey")
    return Part(name, seconds / scale, f"{seconds / whole:.1%}", getattr(theme, colour))
