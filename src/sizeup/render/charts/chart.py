"""Chart: one picture as a complete Vega-Lite specification, with a sentence that says what it shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

from sizeup.render.charts.theme import Theme, config

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
Layer = dict[str, Any]
TITLE_PIXELS = 8.6
"""Width of a character of a title."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture: ``spec`` is Vega-Lite with its data in it, ``description`` the finding in words for those who listen.

    ``spec["width"]`` is the pixels of labels and plot together.
    """

    name: str
    title: str
    description: str
    spec: dict[str, Any]


def chart(
    name: str,
    *,
    title: str,
    subtitle: str,
    description: str,
    layers: Iterable[Layer],
    height: Any,
    theme: Theme,
    title_offset: int = 12,
) -> Chart:
    """Return the chart made of ``layers``."""
    spec = {
        "$schema": SCHEMA,
        "description": description,
        "title": {
            "text": wrap(title, theme.columns(TITLE_PIXELS)),
            "subtitle": [line for part in subtitle.split("\n") for line in wrap(part, theme.columns())],
            "offset": title_offset,
        },
        "width": theme.width,
        "height": height,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "layer": list(layers),
        "config": config(theme),
    }
    return Chart(name, title, description, spec)


def short_name(name: str) -> str:
    """Return a model's name without its owner."""
    return name.rpartition("/")[2]


def layer(
    mark: str, values: Sequence[Mapping[str, Any]], *, style: Mapping[str, Any] | None = None, **encoding: Any
) -> Layer:
    """Return one layer with its own data; an encoding of None is left out."""
    return {
        "data": {"values": [dict(value) for value in values]},
        "mark": {"type": mark, **(style or {})},
        "encoding": {channel: given for channel, given in encoding.items() if given is not None},
    }


def words(values: Sequence[Mapping[str, Any]], theme: Theme, *, x: Any, y: Any, **style: Any) -> list[Layer]:
    """Return the layers that write each value's ``label``, with a halo that keeps it readable over lines and areas."""
    text = {"field": "label", "type": "nominal"}
    halo = {**style, "color": theme.background, "stroke": theme.background, "strokeWidth": 3.5, "strokeJoin": "round"}
    return [layer("text", values, style={**halo, "aria": False}, x=x, y=y, text=text),
            layer("text", values, style=style, x=x, y=y, text=text)]  # fmt: skip


def number(field: str, **more: Any) -> dict[str, Any]:
    """Return the encoding of a field of numbers."""
    return {"field": field, "type": "quantitative", **more}


def colour(field: str = "colour") -> dict[str, Any]:
    """Return the encoding of a field that holds colours."""
    return {"field": field, "type": "nominal", "scale": None}


def tips(**fields: str) -> list[dict[str, str]]:
    """Return a tooltip: what to call each field."""
    return [{"field": field, "type": "nominal", "title": title} for field, title in fields.items()]
