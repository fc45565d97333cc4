"""The accuracy page: goals are judged by their figures, remarks are about cases that exist."""

from __future__ import annotations

import tomllib
from dataclasses import replace

import pytest

from sizeup.evidence.cases import shipped_cases
from sizeup.evidence.validate import Record, summarise
from sizeup.files import read_text
from sizeup.render.accuracy import GOALS, REMARKS_FILE, Goal, accuracy_page


def record(case_id: str, measured: float, predicted: float, *, quantity: str = "step_seconds") -> Record:
    """Return one record of quality A."""
    return Record(
        case_id=case_id, group=case_id[:1], table="training", quality="A", quantity=quantity, meter="",
        measured=measured, predicted=predicted, low=predicted / 2, high=predicted * 2,
    )  # fmt: skip


@pytest.mark.parametrize(("error", "met"), [(0.05, True), (0.5, False)])
def test_a_goal_is_met_by_small_errors_only(error: float, met: bool) -> None:
    (summary,) = summarise([record("a1", 1.0, 1 + error)], by_group=False)
    assert Goal(median=0.12, p90=0.30).met(summary) is met


def test_a_share_that_must_be_right() -> None:
    rows = [record("a1", 1.0, 0.9, quantity="oom"), record("a2", 0.0, 0.8, quantity="oom")]
    (summary,) = summarise(rows, by_group=False)
    assert Goal(right=0.5).met(summary)
    assert not Goal(right=0.97).met(summary)


def test_the_page_says_no_where_a_goal_is_missed_and_judges_quality_a_only() -> None:
    rows = [record("a1", 1.0, 2.0), replace(record("b1", 1.0, 1.0), quality="B")]
    page = accuracy_page(rows, rows)
    goal = next(line for line in page.splitlines() if line.startswith("| training `step_seconds` | 1 |"))
    assert "**no**" in goal
    assert "100.0 %" in goal


def test_every_goal_names_a_kind_of_number_that_is_measured() -> None:
    cases = [*shipped_cases("training"), *shipped_cases("serving")]
    measured = {(case.table, number.quantity, number.meter) for case in cases for number in case.measured()}
    assert {key[:3] for key in GOALS} <= measured


def test_every_remark_is_about_a_shipped_case() -> None:
    known = {case.case_id for case in shipped_cases("training")} | {case.case_id for case in shipped_cases("serving")}
    assert set(tomllib.loads(read_text(REMARKS_FILE))) <= known
