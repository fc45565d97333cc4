"""Charts drawn: as SVG text, one picture below the other, as PNG, or as a page that answers the mouse.

Drawing needs vl-convert-python, which is imported when a picture is asked for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html import escape
from string import Template
from typing import Any

from sizeup.errors import UserError, nearest_names
from sizeup.files import read_text
from sizeup.render.charts.chart import Chart
from sizeup.render.charts.theme import COLOURS, DARK, FONT, LIGHT, Theme, theme_named

GAP = 10
"""Space between pictures of a sheet [pixels]."""
PIXELS = 2
"""Pixels of a PNG for each one of its width: sharp on dense screens and on paper."""
_SIZE = re.compile(r'width="([\d.]+)" height="([\d.]+)"')
_IDENTIFIER = re.compile(r'(?<= id=")[A-Za-z_][\w-]*(?=")')


def _converter() -> Any:
    try:
        import vl_convert
    except ImportError:
        raise UserError("pictures need vl-convert-python", hint="pip install vl-convert-python") from None
    return vl_convert


def chosen(charts: Sequence[Chart], names: Sequence[str]) -> tuple[Chart, ...]:
    """Return the charts with these names in the order of ``charts``; all of them without names.

    Raises:
        UserError: there is no picture of that name.
    """
    known = dict.fromkeys(chart.name for chart in charts)
    for name in names:
        if name not in known:
            near = nearest_names(name, known)
            hint = "" if near else f"there are {', '.join(known)}"
            raise UserError(f'there is no picture called "{name}" here', nearest=near, hint=hint)
    return tuple(chart for chart in charts if not names or chart.name in names)


def svg(chart: Chart, *, prefix: str = "") -> str:
    """Return one picture as SVG with its description; ``prefix`` keeps identifiers apart where several share a page.

    Identifiers are numbered anew, for the library goes on counting from one picture to the next.
    """
    drawn: str = _converter().vegalite_to_svg(chart.spec)
    for index, name in enumerate(dict.fromkeys(_IDENTIFIER.findall(drawn))):
        drawn = drawn.replace(f' id="{name}"', f' id="{prefix}i{index}"').replace(
            f"url(#{name})", f"url(#{prefix}i{index})"
        )
    return drawn.replace("<svg ", f'<svg role="img" aria-label="{escape(chart.description)}" ', 1)


def sheet(charts: Sequence[Chart], *, theme: str = "light") -> str:
    """Return pictures one below the other as one SVG."""
    drawn = [svg(chart, prefix=f"p{index}-") for index, chart in enumerate(charts)]
    if len(drawn) == 1:
        return drawn[0]
    sizes = [tuple(float(edge) for edge in _size(image)) for image in drawn]
    width, height = max(size[0] for size in sizes), sum(size[1] + GAP for size in sizes) - GAP
    pieces, top = [], 0.0
    for image, size in zip(drawn, sizes, strict=True):
        pieces.append(image.replace("<svg ", f'<svg x="0" y="{top:g}" ', 1))
        top += size[1] + GAP
    paint = theme_named(theme).background
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}"><rect width="100%" height="100%" fill="{paint}"/>{"".join(pieces)}</svg>'
    )


def _size(image: str) -> tuple[str, str]:
    found = _SIZE.search(image)
    assert found is not None
    return found.group(1), found.group(2)


def png(charts: Sequence[Chart], *, theme: str = "light") -> bytes:
    """Return pictures one below the other as PNG."""
    drawn: bytes = _converter().svg_to_png(sheet(charts, theme=theme), scale=PIXELS)
    return drawn


def inline_svg(chart: Chart, *, prefix: str) -> str:
    """Return a picture for a page of ours: its colours are the page's variables, so that it follows light and dark.

    The chart must be of the light theme.
    """
    image = svg(chart, prefix=prefix)
    for name in COLOURS:
        value = getattr(LIGHT, name)
        image = image.replace(f'"{value}"', f'"var(--{name}, {value})"')
    return _SIZE.sub("", image, count=1)


def variables(theme: Theme) -> str:
    """Return the colours of a theme as CSS variables."""
    return ";".join(f"--{name}:{getattr(theme, name)}" for name in COLOURS)


def recoloured(spec: object) -> str:
    """Return a light specification as JSON in the colours of the dark theme."""
    text = json.dumps(spec)
    for name in COLOURS:
        text = text.replace(f'"{getattr(LIGHT, name)}"', f'"{getattr(DARK, name)}"')
    return text


def page(charts: Sequence[Chart], *, title: str) -> str:
    """Return a page with pictures that answer the mouse; it holds all it needs, and shows still ones without scripts.

    The charts must be of the light theme; the page follows the reader's preference.
    """
    figures = "".join(
        f'<figure id="picture-{index}">{inline_svg(chart, prefix=f"p{index}-")}</figure>'
        for index, chart in enumerate(charts)
    )
    pairs = [[chart.spec, json.loads(recoloured(chart.spec))] for chart in charts]
    bundle: str = _converter().javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return Template(read_text("render/templates/pictures.html")).substitute(
        title=escape(title), font=FONT, light=variables(LIGHT), dark=variables(DARK), figures=figures,
        specs=script_json(pairs), bundle=bundle.replace("</script", "<\\/script"),
    )  # fmt: skip


def script_json(value: object) -> str:
    """Return JSON that no text in it can end the script element around it.

    >>> script_json("</script>")
    '"\\\\u003c/script>"'
    """
    return json.dumps(value, allow_nan=False).replace("<", "\\u003c")
