"""Estimate: a named number with unit, formula, sources, assumptions and parts that sum exactly to the whole."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

Number = int | float


@dataclass(frozen=True, slots=True)
class Band:
    """A 90 % band around a value, with how many measured cases stand behind it (0: none like this)."""

    low: float
    high: float
    cases: int = 0
    regime: str = ""


@dataclass(frozen=True, slots=True)
class Input:
    """One number that a formula used: its symbol, value, unit and where it came from."""

    name: str
    value: Number | str
    unit: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number that can explain itself.

    ``parts`` sum exactly to ``value`` (checked); ``inputs`` are the numbers put into ``formula``;
    ``because`` are estimates that led here without adding up (the two sides of a max, say).
    """

    name: str
    value: Number
    unit: str
    formula: str = ""
    inputs: tuple[Input, ...] = ()
    sources: tuple[str, ...] = ()
    assumptions: tuple[str, ...] = ()
    parts: tuple[Estimate, ...] = ()
    because: tuple[Estimate, ...] = ()
    band: Band | None = None

    def __post_init__(self) -> None:
        if self.parts:
            whole = _sum(part.value for part in self.parts)
            if whole != self.value:
                raise AssertionError(f"parts of {self.name} sum to {whole}, not {self.value}")

    def part(self, name: str) -> Estimate:
        """Return the part with this name, at any depth; KeyError if there is none."""
        for found in self.walk():
            if found.name == name:
                return found
        raise KeyError(name)

    def walk(self) -> Iterator[Estimate]:
        """Yield this estimate and every part below it, depth first."""
        yield self
        for part in self.parts:
            yield from part.walk()

    def with_band(self, band: Band) -> Estimate:
        """Return the same estimate carrying this band."""
        return replace(self, band=band)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON; empty fields are left out."""
        data: dict[str, Any] = {"name": self.name, "value": self.value, "unit": self.unit}
        if self.formula:
            data["formula"] = self.formula
        if self.inputs:
            data["inputs"] = [
                {
                    k: v
                    for k, v in (("name", i.name), ("value", i.value), ("unit", i.unit), ("source", i.source))
                    if v != ""
                }
                for i in self.inputs
            ]
        if self.sources:
            data["sources"] = list(self.sources)
        if self.assumptions:
            data["assumptions"] = list(self.assumptions)
        if self.band:
            data["band"] = {
                "low": self.band.low,
                "high": self.band.high,
                "cases": self.band.cases,
                "regime": self.band.regime,
            }
        if self.parts:
            data["parts"] = [part.to_dict() for part in self.parts]
        if self.because:
            data["because"] = [reason.to_dict() for reason in self.because]
        return data


def _sum(values: Iterable[Number]) -> Number:
    numbers = list(values)
    return sum(numbers) if all(isinstance(n, int) for n in numbers) else math.fsum(numbers)


def total(name: str, parts: Iterable[Estimate], *, unit: str, **fields: Any) -> Estimate:
    """Return the estimate whose value is the exact sum of ``parts``; parts of zero are dropped.

    >>> total("weights", [leaf("a", 2, "bytes"), leaf("b", 3, "bytes")], unit="bytes").value
    5
    """
    kept = tuple(part for part in parts if part.value != 0)
    return Estimate(name=name, value=_sum(part.value for part in kept), unit=unit, parts=kept, **fields)


def leaf(
    name: str,
    value: Number,
    unit: str,
    *,
    formula: str = "",
    inputs: Mapping[str, Number | str] | None = None,
    sources: Iterable[str] = (),
    assumptions: Iterable[str] = (),
) -> Estimate:
    """Return an estimate without parts; ``inputs`` maps each symbol of ``formula`` to the number put in."""
    return Estimate(
        name=name,
        value=value,
        unit=unit,
        formula=formula,
        inputs=tuple(Input(key, number) for key, number in (inputs or {}).items()),
        sources=tuple(sources),
        assumptions=tuple(assumptions),
    )
