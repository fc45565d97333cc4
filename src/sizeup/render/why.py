"""``--why``: an Estimate as a tree, each formula with the numbers put in, and the sources behind it."""

from __future__ import annotations

from collections.abc import Iterable

from sizeup.estimate import Estimate, Input
from sizeup.render.layout import WIDTH, dim, number, strong, wrap
from sizeup.sources import bibliography
from sizeup.units import format_value, significant


def explain(*estimates: Estimate) -> list[str]:
    """Return the lines that explain estimates: trees, formulas, assumptions, then the sources that they cite."""
    lines = [line for estimate in estimates for line in (*_node(estimate, depth=0), "")][:-1]
    every = {key for estimate in estimates for part in _everything(estimate) for key in part.sources}
    cited = sorted(key for key in every if not key.startswith("https://"))
    if cited:
        lines += ["", strong("sources")]
        for key in cited:
            source = bibliography().get(key)
            lines += wrap(f"[{key}] {source if source else 'not in the bibliography'}", hang=4)
    return lines


def _everything(estimate: Estimate) -> Iterable[Estimate]:
    for part in estimate.walk():
        yield part
        for reason in part.because:
            yield from _everything(reason)


def _node(estimate: Estimate, *, depth: int) -> list[str]:
    indent = 2 * depth
    value = format_value(estimate.value, estimate.unit)
    exact = f" = {estimate.value:,} bytes" if estimate.unit == "bytes" and isinstance(estimate.value, int) else ""
    cites = dim(f" [{'] ['.join(estimate.sources)}]") if estimate.parts and estimate.sources else ""
    name = strong(estimate.name) if depth == 0 else estimate.name
    lines = wrap(f"{name}  {number(value)}{dim(exact)}{cites}", indent=indent, hang=2)
    if estimate.band:
        band = estimate.band
        low, high = (format_value(edge, estimate.unit) for edge in (band.low, band.high))
        text = f"90 % band {low} to {high}, {band.cases} measured cases ({band.regime})"
        lines += [dim(line) for line in wrap(text, indent=indent + 2, hang=2)]
    if estimate.formula and not estimate.parts:
        lines += [dim(line) for line in wrap(_formula(estimate), indent=indent + 2, hang=2, width=WIDTH)]
    for assumption in estimate.assumptions:
        lines += [dim(line) for line in wrap(f"assumed: {assumption}", indent=indent + 2, hang=2)]
    for part in (*estimate.parts, *estimate.because):
        lines += _node(part, depth=depth + 1)
    return lines


def _formula(estimate: Estimate) -> str:
    cites = " ".join(f"[{key}]" for key in estimate.sources)
    if not estimate.inputs:
        return f"{estimate.formula} {cites}".strip()
    numbers = ", ".join(f"{i.name} = {_input(i)}" for i in estimate.inputs)
    return f"{estimate.formula}  with {numbers} {cites}".strip()


def _input(item: Input) -> str:
    if isinstance(item.value, str):
        text = item.value
    else:
        text = f"{item.value:,}" if isinstance(item.value, int) else significant(item.value)
    cite = f"[{item.source}]" if item.source else ""
    return " ".join(word for word in (text, item.unit, cite) if word)
