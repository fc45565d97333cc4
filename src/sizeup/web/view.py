"""What the page shows of an answer, before it is HTML: a verdict, figures with bands, bars, tables, changes, notes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from sizeup.estimate import Band, Estimate
from sizeup.units import format_value

State = Literal["fits", "no", "plain"]
Patch: TypeAlias = Mapping[str, Any]
"""Flags that a button sets; None takes one back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number that matters: what it is, how it reads, its band, what explains it."""

    label: str
    text: str
    band: str = ""
    note: str = ""
    why: Estimate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One part of a bar [bytes]."""

    label: str
    value: float
    why: Estimate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryBar:
    """The memory of one GPU: stacked pieces against the capacity, the band and a rule of thumb as a ghost [bytes]."""

    title: str
    pieces: tuple[Piece, ...]
    capacity: float
    capacity_label: str
    band: Band | None = None
    ghost: tuple[str, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell of a table: text, perhaps what explains it, perhaps flags that a press sets, perhaps a verdict."""

    text: str
    why: Estimate | None = None
    patch: Patch | None = None
    state: State | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table with a caption; ``align`` holds ``<`` or ``>`` for each column."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell | str, ...], ...]
    align: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing to change, with what it brings and the flags that a press sets."""

    text: str
    brings: str = ""
    patch: Patch | None = None
    state: State = "plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What to change, cheapest first."""

    title: str
    items: tuple[Change, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One part of a whole, as a row with a thin bar."""

    label: str
    share: float
    text: str
    why: Estimate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """How a whole divides: the parameters by part, a step by kind of work."""

    title: str
    items: tuple[Share, ...]
    note: str = ""
    folded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """Where the charts of the answer go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notes:
    """Assumptions and remarks."""

    title: str
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """Commands to copy."""

    title: str
    items: tuple[tuple[str, str], ...]


Block: TypeAlias = Pictures | MemoryBar | Table | Changes | Shares | Notes | Code


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A whole answer: ``verdict`` in a word or two, an ``aside``, the ``headline``, then figures and blocks."""

    state: State
    verdict: str
    headline: str
    aside: str = ""
    lead: str = ""
    figures: tuple[Figure, ...] = ()
    blocks: tuple[Block, ...] = field(default_factory=tuple)

    @property
    def short(self) -> str:
        """The answer in a few words, for a narrow screen."""
        return " · ".join([self.verdict, *(f"{figure.label} {figure.text}" for figure in self.figures[:1])])

    @property
    def summary(self) -> str:
        """The answer in one sentence, for screen readers and titles."""
        first = ", ".join(f"{figure.label} {figure.text}" for figure in self.figures[:3])
        return f"{self.verdict}: {self.headline}. {first}."


Show: TypeAlias = Callable[[float], str]


def band_words(found: Band | None, show: Show) -> str:
    """Return a band with what stands behind it.

    >>> band_words(Band(1.0, 2.0, cases=12), "{:.0f} s".format)
    '1 s to 2 s in 9 of 10 cases; 12 measured'
    """
    if found is None:
        return ""
    stands = f"{found.cases:,} measured" if found.cases else "none measured like this"
    return f"{show(found.low)} to {show(found.high)} in 9 of 10 cases; {stands}"


def figure(label: str, estimate: Estimate, *, note: str = "", show: Show | None = None) -> Figure:
    """Return the figure of an estimate, in the words of its unit or of ``show``."""

    def words(value: float) -> str:
        return show(value) if show else format_value(value, estimate.unit)

    return Figure(
        label=label, text=words(estimate.value), band=band_words(estimate.band, words), note=note, why=estimate
    )
