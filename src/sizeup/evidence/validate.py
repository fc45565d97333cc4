"""Predict every measured case and compare: one mechanism for training and serving.

A predictor turns a case into numbers, with coefficients learned without one group when asked to. What it cannot
predict it says; what it assumed it lists.
"""

from __future__ import annotations

import importlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sizeup.errors import UserError
from sizeup.evidence.bands import Residuals, factors_for, key_of, shipped_residuals
from sizeup.evidence.cases import Case, Measured

PREDICTORS: Mapping[str, str] = {
    "training": "sizeup.training.case:predict",
    "serving": "sizeup.serving.case:predict",
}
"""Which function predicts the cases of a table."""


MEMORY_QUANTITIES = frozenset({"mem_gib", "kv_tokens", "oom"})
"""Quantities that are the same whatever kind of run they are read in."""


@dataclass(frozen=True, slots=True)
class Predicted:
    """What a predictor says of one case: values by (quantity, meter), what it assumed, or why it skips.

    ``missing`` is why some values are not there; ``skipped`` why none are. ``regime`` is the kind of run that speeds
    are of; memory has none. ``far``: no measured case is like this one, and speeds get a wider band.
    """

    values: Mapping[tuple[str, str], float] = field(default_factory=dict)
    assumptions: tuple[str, ...] = ()
    skipped: str = ""
    missing: str = ""
    regime: str = ""
    far: bool = False


Predictor = Callable[..., Predicted]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One measured number beside its prediction."""

    case_id: str
    group: str
    table: str
    quality: str
    quantity: str
    meter: str
    measured: float
    predicted: float | None
    low: float | None = None
    high: float | None = None
    regime: str = ""
    far: bool = False
    skipped: str = ""
    assumptions: tuple[str, ...] = ()

    @property
    def error(self) -> float | None:
        """Relative error of the prediction."""
        return None if self.predicted is None else self.predicted / self.measured - 1

    @property
    def residual(self) -> float | None:
        """log(measured / predicted), what bands are made of."""
        if not self.predicted or self.predicted <= 0 or self.measured <= 0:
            return None
        return math.log(self.measured / self.predicted)


def predictor(table: str) -> Predictor:
    """Return the function that predicts cases of ``table``."""
    module, _, name = PREDICTORS[table].partition(":")
    found: Predictor = getattr(importlib.import_module(module), name)
    return found


def predict_case(case: Case, *, leave_out: bool) -> list[Record]:
    """Return a record for every measured number of a case."""
    try:
        answer = predictor(case.table)(case, left_out=case.group if leave_out else None)
    except UserError as error:
        answer = Predicted(skipped=str(error))
    except (ArithmeticError, LookupError, ValueError) as error:
        # a row nobody foresaw must not end a run over thousands
        answer = Predicted(skipped=f"the row cannot be read: {type(error).__name__}: {error}")
    return [_record(case, measured, answer) for measured in case.measured()]


def _record(case: Case, measured: Measured, answer: Predicted) -> Record:
    value = answer.values.get((measured.quantity, measured.meter))
    skipped = answer.skipped
    if value is None and not skipped:
        kind = f"{measured.quantity} {measured.meter}".strip()
        skipped = answer.missing or f"{kind} of this kind of case is not predicted"
    return Record(
        case_id=case.case_id,
        group=case.group,
        table=case.table,
        quality=case.row.get("quality", ""),
        quantity=measured.quantity,
        meter=measured.meter,
        measured=measured.value,
        predicted=value,
        regime="" if measured.quantity in MEMORY_QUANTITIES else answer.regime,
        far=answer.far and measured.quantity not in MEMORY_QUANTITIES,
        skipped=skipped,
        assumptions=answer.assumptions,
    )


def residuals_of(records: Iterable[Record]) -> dict[str, dict[str, list[float]]]:
    """Return the residuals by kind of number and group; out-of-memory records have none."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        if record.quantity != "oom" and record.residual is not None:
            key = key_of(record.table, record.quantity, record.meter, record.regime)
            found[key][record.group].append(record.residual)
    return {key: dict(groups) for key, groups in found.items()}


def with_bands(records: Iterable[Record], *, residuals: Mapping[str, Residuals] | None = None) -> list[Record]:
    """Return the records with 90 % bands made from the *other* groups' residuals (the shipped ones by default)."""
    from dataclasses import replace

    known = shipped_residuals() if residuals is None else residuals
    banded = []
    for record in records:
        found = None
        if record.quantity != "oom":
            found = factors_for(
                known, table=record.table, quantity=record.quantity, meter=record.meter, regime=record.regime,
                without=record.group, far=record.far,
            )  # fmt: skip
        if found is None or record.predicted is None:
            banded.append(record)
        else:
            banded.append(replace(record, low=record.predicted * found.low, high=record.predicted * found.high))
    return banded


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """How well one kind of number is predicted, over one group or all."""

    table: str
    quantity: str
    meter: str
    group: str
    n: int
    skipped: int
    median_error: float | None
    p90_error: float | None
    bias: float | None
    coverage: float | None
    right: float | None = None
    regime: str = ""
    worst: tuple[tuple[str, float], ...] = ()


def quantile(values: list[float], share: float) -> float:
    """Return a quantile by linear interpolation between order statistics.

    >>> quantile([1.0, 2.0, 3.0], 0.5)
    2.0
    """
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def summarise(records: Iterable[Record], *, by_group: bool = True, by_regime: bool = False) -> list[Summary]:
    """Return summaries by kind of number, for every group and for all together ("all"); ``by_regime`` splits speeds."""
    kinds: dict[tuple[str, str, str, str], list[Record]] = defaultdict(list)
    for record in records:
        regime = record.regime if by_regime else ""
        kinds[record.table, record.quantity, record.meter, regime].append(record)
    rows = []
    for kind, members in sorted(kinds.items()):
        rows.append(_summary(kind, "all", members))
        if by_group:
            groups = sorted({record.group for record in members})
            rows.extend(_summary(kind, group, [r for r in members if r.group == group]) for group in groups)
    return rows


def _summary(kind: tuple[str, str, str, str], group: str, records: list[Record]) -> Summary:
    table, quantity, meter, regime = kind
    done = [record for record in records if record.predicted is not None]
    fields: dict[str, Any] = {"table": table, "quantity": quantity, "meter": meter, "group": group, "regime": regime}
    fields |= {"n": len(done), "skipped": len(records) - len(done)}
    if quantity == "oom" or not done:
        right = [float((record.predicted or 0) >= 0.5) == record.measured for record in done]
        share = sum(right) / len(right) if right else None
        return Summary(**fields, median_error=None, p90_error=None, bias=None, coverage=None, right=share)
    errors = [abs(record.error or 0.0) for record in done]
    banded = [r for r in done if r.low is not None and r.high is not None]
    inside = [(r.low or 0) <= r.measured <= (r.high or 0) for r in banded]
    worst = sorted(done, key=lambda record: -abs(record.residual or 0.0))[:3]
    return Summary(
        **fields,
        median_error=quantile(errors, 0.5),
        p90_error=quantile(errors, 0.9),
        bias=quantile([record.error or 0.0 for record in done], 0.5),
        coverage=sum(inside) / len(inside) if inside else None,
        worst=tuple((record.case_id, record.error or 0.0) for record in worst),
    )


def validate(cases: Iterable[Case], *, leave_out: bool = True) -> list[Record]:
    """Return every measured number of ``cases`` beside its prediction, with bands.

    ``leave_out`` predicts each case with coefficients learned without its group.
    """
    return with_bands([record for case in cases for record in predict_case(case, leave_out=leave_out)])
