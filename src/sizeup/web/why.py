"""An explanation as HTML: an estimate's formula with the numbers put in, its parts, and the sources behind it."""

from __future__ import annotations

from collections.abc import Iterable

from sizeup.estimate import Estimate, Input
from sizeup.sources import bibliography
from sizeup.units import format_value, significant
from sizeup.web.html import Child, Markup, tag
from sizeup.web.view import band_words

MOST_PARTS = 400
"""A tree with more nodes than this would be no explanation; the rest is in the JSON."""


def why_html(estimate: Estimate) -> Markup:
    """Return the tree of an estimate, then the sources that it cites."""
    found: list[str] = []
    tree = _node(estimate, found, depth=0)
    return Markup(tag("div", tree, class_="tree") + _sources(found))


def why_trees(estimates: Iterable[Estimate]) -> Markup:
    """Return the trees of several estimates with all their parts open, then the sources of all."""
    found: list[str] = []
    trees = "".join(tag("div", _node(estimate, found, depth=0), class_="tree") for estimate in estimates)
    return Markup(trees.replace("<details>", "<details open>") + _sources(found))


def _node(estimate: Estimate, cited: list[str], *, depth: int) -> Markup:
    cited += [key for key in estimate.sources if key not in cited]
    exact = f" = {estimate.value:,} bytes" if estimate.unit == "bytes" and isinstance(estimate.value, int) else ""
    head: list[Child] = [
        tag("span", estimate.name, class_="label"),
        " ",
        tag("span", format_value(estimate.value, estimate.unit), class_="number"),
        tag("span", exact, class_="note"),
    ]
    body: list[Child] = []
    if estimate.band:
        where = f" ({estimate.band.regime})" if estimate.band.regime else ""
        body.append(
            tag("p", band_words(estimate.band, lambda value: format_value(value, estimate.unit)) + where, class_="band")
        )
    if estimate.formula:
        body.append(tag("p", tag("code", estimate.formula), _cites(estimate.sources), class_="formula"))
    if estimate.inputs:
        body.append(tag("dl", [_input(item, cited) for item in estimate.inputs], class_="inputs"))
    body += [tag("p", f"assumed: {text}", class_="note") for text in estimate.assumptions]
    if not estimate.formula:
        body.append(tag("p", _cites(estimate.sources)) if estimate.sources else None)
    below = [_node(part, cited, depth=depth + 1) for part in (*estimate.parts, *estimate.because)][:MOST_PARTS]
    if below:
        body.append(tag("ul", [tag("li", node) for node in below]))
    if depth and below:
        return tag("details", tag("summary", head), body, open=depth < 2)
    return tag("div", tag("p", head, class_="head"), body)


def _input(item: Input, cited: list[str]) -> Markup:
    if isinstance(item.value, str):
        text = item.value
    else:
        text = f"{item.value:,}" if isinstance(item.value, int) else significant(item.value)
    if item.source and item.source not in cited:
        cited.append(item.source)
    sources = _cites((item.source,)) if item.source else None
    return tag("div", tag("dt", item.name), tag("dd", f"{text} {item.unit}".strip(), sources))


def _cites(keys: tuple[str, ...]) -> Markup:
    return Markup("".join(tag("sup", f" [{_short(key)}]", class_="cite") for key in keys))


def _short(key: str) -> str:
    return key if not key.startswith("https://") else key.removeprefix("https://").split("/")[0]


def _sources(keys: list[str]) -> Markup:
    if not keys:
        return Markup("")
    return tag("section", tag("h3", "Sources"), tag("ul", [_source(key) for key in keys], class_="sources"))


def _source(key: str) -> Markup:
    known = bibliography().get(key)
    url = known.url if known else key if key.startswith("https://") else ""
    title = known.title if known else key
    link = tag("a", title, href=url, rel="noreferrer noopener", target="_blank") if url else title
    return tag("li", tag("code", f"[{_short(key)}]"), " ", link, f", {known.date}" if known and known.date else "")
