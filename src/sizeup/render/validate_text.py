"""Predicted beside measured: summaries as a table, records as plain data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sizeup.evidence.validate import Record, Summary
from sizeup.render.layout import dim, remark, strong, table


def record_dict(record: Record) -> dict[str, Any]:
    """Return one measured number beside its prediction."""
    data = asdict(record)
    return {**data, "assumptions": list(record.assumptions), "skipped": record.skipped or None}


def summary_dict(summary: Summary) -> dict[str, Any]:
    """Return one line of the summary."""
    worst = [{"case_id": case, "error": error} for case, error in summary.worst]
    return {**asdict(summary), "worst": worst}


def summary_lines(summary: Sequence[Summary], records: Sequence[Record], *, in_sample: bool) -> list[str]:
    """Return the lines of the summary: one block for each kind of number, "all" first."""
    how = "coefficients fitted on all groups" if in_sample else "each group predicted without itself"
    lines = [strong(f"predicted beside measured ({how})")]
    for title, rows in _blocks(summary):
        head = [title, "n", "median", "p90", "bias", "in band", "skipped"]
        lines += ["", *table([_row(row) for row in rows], head=head, align="<>>>>>>", indent=0)]
    skipped = Counter(record.skipped for record in records if record.skipped)
    if skipped:
        lines += ["", dim("skipped:")]
        lines += [line for reason, n in skipped.most_common(8) for line in remark(f"{n} x {reason}")]
    return lines


def _blocks(summary: Sequence[Summary]) -> list[tuple[str, list[Summary]]]:
    blocks: dict[str, list[Summary]] = {}
    for row in summary:
        blocks.setdefault(f"{row.table} {row.quantity} {row.meter}".strip(), []).append(row)
    return list(blocks.items())


def _row(row: Summary) -> list[str]:
    skipped = str(row.skipped) if row.skipped else ""
    if row.right is not None:
        return [row.group, str(row.n), f"{row.right:.1%} right", "", "", "", skipped]
    if row.median_error is None or row.p90_error is None or row.bias is None:
        return [row.group, str(row.n), dim("-"), "", "", "", skipped]
    inside = "" if row.coverage is None else f"{row.coverage:.0%}"
    return [
        row.group,
        str(row.n),
        f"{row.median_error:.1%}",
        f"{row.p90_error:.1%}",
        f"{row.bias:+.1%}",
        inside,
        skipped,
    ]
