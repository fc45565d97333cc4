"""Colours, fonts and axes that every picture shares, for light and for dark pages."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

from sizeup.errors import UserError, nearest_names

FONT = "Helvetica Neue, Arial, Liberation Sans, sans-serif"
WIDTH = 720
"""Width of a picture with its labels [pixels]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Theme:
    """Colours by what they are for. The eight series are Okabe and Ito's, told apart by colour-blind people."""

    name: str
    background: str
    ink: str
    muted: str
    grid: str
    ghost: str
    limit: str
    blue: str
    orange: str
    green: str
    sky: str
    purple: str
    vermillion: str
    gold: str
    grey: str


LIGHT = Theme(
    name="light", background="#ffffff", ink="#1a1d21", muted="#5b6470", grid="#e4e7ec", ghost="#98a1ad",
    limit="#b3261e", blue="#0072b2", orange="#e69f00", green="#009e73", sky="#56b4e9", purple="#cc79a7",
    vermillion="#d55e00", gold="#a88f00", grey="#8b939e",
)  # fmt: skip
DARK = Theme(
    name="dark", background="#14171a", ink="#eef0f3", muted="#a3acb8", grid="#2d333a", ghost="#6f7985",
    limit="#ff8a80", blue="#3d9bd9", orange="#f0b030", green="#1fbf92", sky="#8bcdf2", purple="#dd9cc0",
    vermillion="#f0803c", gold="#f0e442", grey="#9aa3ae",
)  # fmt: skip
THEMES = {theme.name: theme for theme in (LIGHT, DARK)}
COLOURS = tuple(field.name for field in fields(Theme) if field.name != "name")


def theme_named(name: str) -> Theme:
    """Return a theme.

    Raises:
        UserError: no theme is called that.
    """
    if name not in THEMES:
        raise UserError(f'no theme is called "{name}"', nearest=nearest_names(name, THEMES) or tuple(THEMES))
    return THEMES[name]


def config(theme: Theme) -> dict[str, Any]:
    """Return the Vega-Lite configuration of a theme: quiet axes, left titles, no frame."""
    text = {"labelColor": theme.ink, "titleColor": theme.muted, "labelFontSize": 12, "titleFontSize": 12}
    return {
        "background": theme.background,
        "font": FONT,
        "padding": 14,
        "view": {"stroke": None},
        "title": {
            "anchor": "start", "frame": "bounds", "color": theme.ink, "fontSize": 16, "fontWeight": 600, "offset": 12,
            "subtitleColor": theme.muted, "subtitleFontSize": 12.5, "subtitlePadding": 6, "subtitleLineHeight": 17,
        },
        "axis": {
            **text, "titleFontWeight": "normal", "gridColor": theme.grid, "tickColor": theme.grid,
            "domainColor": theme.ghost, "labelPadding": 6, "titlePadding": 8,
        },
        "text": {"color": theme.ink, "font": FONT, "fontSize": 12},
        "rule": {"color": theme.ink},
        "line": {"strokeWidth": 2.5},
        "point": {"filled": True, "size": 60},
    }  # fmt: skip


def factors(low: float, high: float, *, steps: tuple[int, ...] = (1, 2, 5)) -> list[float]:
    """Return round values between two edges of a scale of factors; powers of ten alone where there are many.

    >>> factors(8, 120)
    [10, 20, 50, 100]
    >>> factors(0.5, 2e4, steps=(1,))
    [1, 10, 100, 1000, 10000]
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [step * 10**power if power >= 0 else step / 10**-power for power in powers for step in steps]
    return [value for value in found if low <= value <= high]
