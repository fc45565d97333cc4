"""Sweep: bytes against one number that grows, with the line where it stops fitting. What the curves are drawn from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """Memory [bytes] against ``what`` (context, sequences, micro-batch ...), everything else held.

    ``limit_bytes`` is the memory that fits and ``limit`` its name; ``largest`` is the largest number that stays within
    it (0: not even the smallest), at most ``most``, beyond which the question makes no sense. ``capacity_bytes`` is the
    whole card where the limit is less; ``low`` and ``high`` are factors of the 90 % band; ``base_bytes`` is the part
    that does not grow, called ``base``, and ``grows`` names the part that does.
    """

    what: str
    unit: str
    name: str
    points: tuple[tuple[int, float], ...]
    limit: str
    limit_bytes: float
    largest: int
    most: int
    at: int
    capacity_bytes: float | None = None
    low: float | None = None
    high: float | None = None
    held: str = ""
    base_bytes: float | None = None
    base: str = ""
    grows: str = ""

    @property
    def always_fits(self) -> bool:
        """Whether it fits as far as the question makes sense."""
        return self.largest >= self.most


POINTS = 32
"""Points of a curve beside those that matter."""


def spread(high: int, *, low: int = 1, extra: Iterable[int] = ()) -> tuple[int, ...]:
    """Return whole numbers evenly spread from ``low`` to ``high``, both included, and those of ``extra`` between.

    >>> spread(4, extra=[0, 3, 9])
    (1, 2, 3, 4)
    """
    high = max(high, low + 1)
    even = {low + round(i * (high - low) / POINTS) for i in range(POINTS + 1)}
    return tuple(sorted(even | {value for value in extra if low <= value <= high}))


def reach(*, largest: int, at: int, most: int) -> int:
    """Return how far a curve is drawn: twice the largest that fits or what was asked, never beyond ``most``.

    >>> reach(largest=3000, at=4096, most=131072)
    8192
    """
    twice = 2
    return min(most, twice * max(largest, at))


def largest(fits: Callable[[int], bool], *, most: int) -> int:
    """Return the largest whole number up to ``most`` that fits (all below do, none above); 0 if not even 1.

    >>> largest(lambda n: n <= 37, most=1000)
    37
    """
    low, high = 0, 1
    while high <= most and fits(high):
        low, high = high, high * 2
    high = min(high, most + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
