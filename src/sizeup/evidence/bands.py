"""90 % bands from residuals: what predictions missed by on groups that they were not fitted on.

A band is a pair of factors around a prediction, per table, quantity and meter, taken from the leave-one-group-out
residuals log(measured / predicted). Each group counts with the square root of its size, so that no single
publication decides. ``fitted/bands.json`` holds the residuals; it is made by ``scripts/fit_bands.py``.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sizeup.estimate import Band
from sizeup.files import read_text

HELD = 0.93
"""Share of the residuals that a 90 % band holds: a little more than it promises, as the next group is a new one."""
FAR = 1.5
"""How much wider, in log space, a band becomes where no measured case is like the one at hand (stated with it)."""

Residuals = Mapping[str, Sequence[float]]
"""Leave-one-group-out residuals log(measured / predicted) by group."""


@dataclass(frozen=True, slots=True)
class Factors:
    """What to multiply a prediction by for the ends of its 90 % band, and the cases behind it."""

    low: float
    high: float
    cases: int
    groups: int


def weighted_quantile(values: Sequence[tuple[float, float]], share: float) -> float:
    """Return the value below which ``share`` of the weight lies; ``values`` are (value, weight).

    >>> weighted_quantile([(1, 1), (2, 1), (3, 1), (4, 1)], 0.5)
    2
    """
    ordered = sorted(values)
    total = sum(weight for _, weight in ordered)
    reached = 0.0
    for value, weight in ordered:
        reached += weight
        if reached >= share * total:
            return value
    return ordered[-1][0]


def factors(residuals: Residuals, *, without: str | None = None, both_ways: bool = False) -> Factors | None:
    """Return the band's factors from the residuals of all groups but one; None where nothing is left.

    ``both_ways``: a miss in one direction counts in the other, too; few groups cannot tell which way the next misses.
    """
    groups = {name: list(values) for name, values in residuals.items() if name != without and values}
    if not groups:
        return None
    weighted = [(r, 1 / math.sqrt(len(values))) for values in groups.values() for r in values]
    if both_ways:
        weighted += [(-r, weight) for r, weight in weighted]
    count = sum(len(values) for values in groups.values())
    # the finite-sample correction of split conformal prediction: (n + 1) / n of the share, at most all
    tail = max(0.0, (1 - min(1.0, HELD * (count + 1) / count)) / 2)
    low, high = weighted_quantile(weighted, tail), weighted_quantile(weighted, 1 - tail)
    return Factors(math.exp(min(low, 0.0)), math.exp(max(high, 0.0)), count, len(groups))


@functools.cache
def shipped_residuals() -> dict[str, dict[str, list[float]]]:
    """Return the residuals by "table/quantity/meter" and group."""
    data: dict[str, dict[str, list[float]]] = json.loads(read_text("fitted/bands.json"))["residuals"]
    return data


ENOUGH_GROUPS = 3
"""Groups that a kind of number needs for a band of its own."""


def factors_for(
    known: Mapping[str, Residuals], *, table: str, quantity: str, meter: str, regime: str = "",
    without: str | None = None, far: bool = False,
) -> Factors | None:  # fmt: skip
    """Return the factors of one kind of number in one regime (what kind of run it is of; "" where there are none).

    With fewer than three groups its misses count both ways. With fewer than two the other meters and regimes of the
    quantity lend theirs, and the wider band holds: what goes wrong below a meter (which tensors live, how fast a step
    is) goes wrong for all of them. ``far`` cases get a band :data:`FAR` times as wide in log space.
    """
    found = _near_factors(known, key_of(table, quantity, meter, regime), key_of(table, quantity, ""), without)
    return Factors(found.low**FAR, found.high**FAR, 0, found.groups) if found and far else found


def _near_factors(known: Mapping[str, Residuals], key: str, prefix: str, without: str | None) -> Factors | None:
    own = known.get(key, {})
    groups = sum(name != without for name in own)
    if groups >= ENOUGH_GROUPS:
        return factors(own, without=without)
    few = factors(own, without=without, both_ways=True)
    if few and groups > 1:
        return few
    pooled: dict[str, list[float]] = {}
    for key, members in known.items():
        if key.startswith(prefix):
            for name, values in members.items():
                pooled.setdefault(name, []).extend(values)
    lent = factors(pooled, without=without)
    if few is None or lent is None:
        return few or lent
    return Factors(min(few.low, lent.low), max(few.high, lent.high), lent.cases, lent.groups)


def key_of(table: str, quantity: str, meter: str, regime: str = "") -> str:
    """Return the name under which residuals are kept."""
    return f"{table}/{quantity}/{meter}" + (f"/{regime}" if regime else "")


def band(
    value: float, *, table: str, quantity: str, meter: str = "", regime: str = "", far: bool = False
) -> Band | None:
    """Return the 90 % band of a prediction, or None where nothing like it was ever measured.

    ``far`` widens it by :data:`FAR` in log space and says so.
    """
    found = factors_for(shipped_residuals(), table=table, quantity=quantity, meter=meter, regime=regime, far=far)
    if found is None:
        return None
    kind = " ".join(word for word in (table, quantity, meter) if word) + (f", {regime}" if regime else "")
    kind += f", {found.groups} groups"
    why = f"no measured case like this; {kind}" if far else kind
    return Band(value * found.low, value * found.high, found.cases, why)
