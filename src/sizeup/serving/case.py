"""Predict one measured serving case: memory here, latency and throughput beside it. What evidence calls."""

from __future__ import annotations

from sizeup.errors import UserError
from sizeup.evidence.cases import Case
from sizeup.evidence.validate import Predicted
from sizeup.serving.case_row import readable
from sizeup.serving.latency_case import predict_latency
from sizeup.serving.memory_case import predict_memory

MEMORY_TASKS = frozenset({"kv_capacity", "fit"})
"""Tasks that measure no speed."""


def predict(case: Case, *, left_out: str | None) -> Predicted:
    """Return what is predicted of a case, with coefficients learned without a group when asked to."""
    values: dict[tuple[str, str], float] = {}
    case, assumptions = readable(case)
    reasons: list[str] = []
    regime = ""
    if _measures_memory(case):
        try:
            values, noted = predict_memory(case, left_out=left_out)
            assumptions += noted
        except UserError as error:
            reasons.append(str(error))
    if case.row["task"] not in MEMORY_TASKS:
        try:
            speed, noted, regime = predict_latency(case, left_out=left_out)
            values |= {(name, ""): value for name, value in speed.items()}
            assumptions += noted
        except UserError as error:
            reasons.append(str(error))
    if not values and reasons:
        return Predicted(skipped="; ".join(reasons))
    return Predicted(
        values=values, assumptions=tuple(dict.fromkeys(assumptions)), regime=regime, missing="; ".join(reasons)
    )


def _measures_memory(case: Case) -> bool:
    return any(measured.quantity in ("kv_tokens", "mem_gib", "oom") for measured in case.measured())
