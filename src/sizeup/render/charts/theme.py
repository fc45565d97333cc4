"""Colours, fonts, axes and the width that every picture shares, for light and for dark pages."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any

from sizeup.errors import UserError, nearest_names

FONT = "Helvetica Neue, Arial, Liberation Sans, sans-serif"
WIDTH = 720
"""Width of a picture with its labels where nobody says [pixels]."""
NARROW = 500
"""Below this width pictures say less beside their marks [pixels]."""
LEAST_WIDTH = 240
PIXELS_PER_CHARACTER = 6.4
PIXELS_PER_TICK = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Theme:
    """Colours by what they are for, and the width. Series are Okabe and Ito's, told apart by colour-blind people."""

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
    width: int = WIDTH

    @property
    def narrow(self) -> bool:
        """Whether there is room for little but the marks."""
        return self.width < NARROW

    @property
    def ticks(self) -> int:
        """How many ticks a horizontal axis has room for, labels of rows on its left."""
        return max(2, round(0.75 * self.width / PIXELS_PER_TICK))

    @property
    def label_limit(self) -> float:
        """Most pixels for the label of a row."""
        return 0.58 * self.width

    def columns(self, pixels_per_character: float = PIXELS_PER_CHARACTER) -> int:
        """Return the characters of a line."""
        return int(self.width / pixels_per_character)


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
COLOURS = tuple(field.name for field in fields(Theme) if field.name not in ("name", "width"))


def theme_named(name: str, *, width: int = WIDTH) -> Theme:
    """Return a theme for pictures of this width [pixels], no less than :data:`LEAST_WIDTH`.

    Raises:
        UserError: no theme is called that.
    """
    if name not in THEMES:
        raise UserError(f'no theme is called "{name}"', nearest=nearest_names(name, THEMES) or tuple(THEMES))
    return replace(THEMES[name], width=max(width, LEAST_WIDTH))


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
