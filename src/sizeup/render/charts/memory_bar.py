"""Memory per GPU as a stacked bar against the card, with its 90 % band and the rule of thumb as a ghost."""

from __future__ import annotations

from collections.abc import Sequence

from sizeup.estimate import Band, Estimate
from sizeup.render.charts.breakdown import Breakdown, Line, Part, breakdown
from sizeup.render.charts.chart import Chart
from sizeup.render.charts.theme import Theme
from sizeup.units import GIB, format_gib

SMALLEST_SHARE = 0.004
"""Parts below this share of the whole are one part, called "other"."""

COLOURS = {
    "weights": "blue", "parameters": "blue", "frozen weights": "blue", "cache": "orange", "activations": "orange",
    "optimizer states": "green", "adapter states": "green", "master weights": "sky", "gradients": "purple",
    "working gradients": "purple", "logits": "vermillion", "logits and loss": "vermillion", "graphs": "sky",
    "allocator fragmentation": "gold", "gathered weights": "sky", "autocast copies": "sky", "adapters": "green",
}  # fmt: skip
"""The colour of each part, the same in every picture."""


def part_colour(name: str, theme: Theme) -> str:
    """Return the colour of a part of memory; grey for the many small ones."""
    found: str = getattr(theme, COLOURS.get(name, "grey"))
    return found


def memory_parts(leaves: Sequence[Estimate], theme: Theme) -> tuple[Part, ...]:
    """Return the parts that a picture shows, those too small to be seen as one."""
    whole = sum(leaf.value for leaf in leaves)
    large = [leaf for leaf in leaves if leaf.value >= SMALLEST_SHARE * whole and leaf.name != "other"]
    rest = whole - sum(leaf.value for leaf in large)
    parts = [memory_part(leaf.name, leaf.value, theme) for leaf in large]
    return (*parts, memory_part("other", rest, theme)) if rest > 0 else tuple(parts)


def memory_part(name: str, size_bytes: float, theme: Theme) -> Part:
    """Return one part of memory [bytes]."""
    return Part(name, size_bytes / GIB, format_gib(size_bytes), part_colour(name, theme))


def memory_bar(
    name: str,
    leaves: Sequence[Estimate],
    *,
    title: str,
    subtitle: str,
    description: str,
    lines: Sequence[tuple[float, str]],
    theme: Theme,
    band: Band | None = None,
    ghost: tuple[str, float] | None = None,
) -> Chart:
    """Return the picture of memory made of ``leaves`` [bytes]; ``lines`` are capacities with their names."""
    parts = memory_parts(leaves, theme)
    whole = sum(leaf.value for leaf in leaves)
    shown = Breakdown(
        whole=f"in all  {format_gib(whole)}",
        parts=parts,
        axis="GiB per GPU",
        band=(band.low / GIB, band.high / GIB, _band_words(band)) if band else None,
        lines=[Line(size / GIB, label) for size, label in lines],
        ghost=memory_part(ghost[0], ghost[1], theme) if ghost else None,
    )
    return breakdown(name, shown, title=title, subtitle=subtitle, description=description, theme=theme)


def _band_words(band: Band) -> str:
    low, high = format_gib(band.low).removesuffix(" GiB"), format_gib(band.high)
    return f"90 % band  {low} to {high}"
