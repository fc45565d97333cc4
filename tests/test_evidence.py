"""Evidence: measured cases are read strictly, bands come from other groups, summaries count what they say."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sizeup.errors import UserError
from sizeup.evidence.bands import FAR, factors, factors_for, weighted_quantile
from sizeup.evidence.cases import SERVING_METERS, Table, read_cases, shipped_cases
from sizeup.evidence.validate import Record, predict_case, quantile, summarise, with_bands

TABLES: tuple[Table, ...] = ("training", "serving")

RESIDUALS = st.dictionaries(st.sampled_from("abcd"), st.lists(st.floats(-1, 1), min_size=1, max_size=30), min_size=1)


def record(group: str, measured: float, predicted: float | None, quantity: str = "step_seconds") -> Record:
    """Return one record of a training table."""
    return Record(
        case_id=f"{group}-{measured}", group=group, table="training", quality="A", quantity=quantity, meter="",
        measured=measured, predicted=predicted,
    )  # fmt: skip


@given(RESIDUALS)
def test_a_band_holds_its_prediction_and_nearly_all_residuals(residuals: dict[str, list[float]]) -> None:
    band = factors(residuals)
    assert band
    assert band.low <= 1 <= band.high
    inside = weight = 0.0
    for values in residuals.values():
        for value in values:
            weight += 1 / math.sqrt(len(values))
            if band.low * (1 - 1e-9) <= math.exp(value) <= band.high * (1 + 1e-9):
                inside += 1 / math.sqrt(len(values))
    assert inside / weight >= 0.85


@given(RESIDUALS)
def test_a_group_has_no_say_in_its_own_band(residuals: dict[str, list[float]]) -> None:
    other = factors({**residuals, "judged": [5.0, -5.0]}, without="judged")
    assert other == factors(residuals)


def test_nothing_to_learn_from_is_no_band() -> None:
    assert factors({}) is None
    assert factors({"only": [0.1]}, without="only") is None


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=40), st.floats(0, 1))
def test_quantiles_stay_inside_and_grow(values: list[float], share: float) -> None:
    assert min(values) <= quantile(values, share) <= max(values)
    assert quantile(values, 0.1) <= quantile(values, 0.9)
    assert weighted_quantile([(v, 1.0) for v in values], share) in values


def test_records_get_bands_from_other_groups_only() -> None:
    residuals = {"training/step_seconds/": {"a": [0.5], "b": [-0.5]}}
    (banded,) = with_bands([record("a", 2.0, 1.0)], residuals=residuals)
    assert banded.low == pytest.approx(math.exp(-0.5))
    # one other group, whose miss counts both ways
    assert banded.high == pytest.approx(math.exp(0.5))


def test_summary_counts_errors_bias_and_skips() -> None:
    rows = [record("a", 1.0, 1.1), record("a", 1.0, 0.9), record("b", 1.0, 1.3), record("b", 1.0, None)]
    everything = summarise(rows)[0]
    assert (everything.group, everything.n, everything.skipped) == ("all", 3, 1)
    assert everything.median_error == pytest.approx(0.1)
    assert everything.bias == pytest.approx(0.1)
    assert everything.worst[0] == ("b-1.0", pytest.approx(0.3))


def test_out_of_memory_is_judged_by_more_likely_than_not() -> None:
    rows = [record("a", 1.0, 0.8, "oom"), record("a", 0.0, 0.6, "oom"), record("a", 0.0, 0.1, "oom")]
    assert summarise(rows)[0].right == pytest.approx(2 / 3)


def test_shipped_tables_hold_measured_numbers() -> None:
    for table, least in (("training", 700), ("serving", 2000)):
        cases = shipped_cases(table)  # type: ignore[arg-type]
        assert len(cases) >= least
        assert len({case.case_id for case in cases}) == len(cases)
        measured = [m for case in cases for m in case.measured()]
        assert all(m.value > 0 or m.quantity == "oom" for m in measured)


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", "case_id,group\nx,y\n", "\xff\xfe\x00"])
def test_other_tables_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "cases.csv"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError):
        read_cases(path)


def test_what_a_meter_read_is_kept_apart() -> None:
    read = {
        table: {m.meter for case in shipped_cases(table) for m in case.measured() if m.quantity == "mem_gib"}
        for table in TABLES
    }
    # one group of the training table says no meter; an engine's log always names what it read
    assert read == {"training": {"", "allocated", "reserved", "nvidia-smi"}, "serving": SERVING_METERS}


@pytest.mark.parametrize("table", TABLES)
def test_shipped_cases_are_predicted_not_skipped(table: Table) -> None:
    records = [record for case in shipped_cases(table)[::5] for record in predict_case(case, leave_out=True)]
    assert len(records) > 200
    assert [record for record in records if record.skipped] == []


def test_few_groups_count_their_misses_both_ways() -> None:
    known = {"serving/ttft_ms//full": {"one": [0.5] * 50, "two": [0.4] * 50}}
    found = factors_for(known, table="serving", quantity="ttft_ms", meter="", regime="full")
    assert found is not None
    assert found.low == pytest.approx(1 / found.high)
    known["serving/ttft_ms//full"]["three"] = [0.3] * 50
    found = factors_for(known, table="serving", quantity="ttft_ms", meter="", regime="full")
    assert found is not None
    assert found.low == 1.0


def test_a_regime_of_one_group_takes_the_wider_of_its_own_and_of_all() -> None:
    known = {"serving/ttft_ms//full": {"one": [0.1] * 50}, "serving/ttft_ms//empty": {"two": [-1.0] * 50}}
    found = factors_for(known, table="serving", quantity="ttft_ms", meter="", regime="full")
    assert found is not None
    assert found.low == pytest.approx(math.exp(-1.0))
    assert found.high >= math.exp(0.1)


def test_memory_has_no_regime() -> None:
    case = next(c for c in shipped_cases("serving") if c.row["task"] == "fit" and c.row["mem_gib"])
    assert {record.regime for record in predict_case(case, leave_out=True)} == {""}


def test_a_far_case_is_wider_and_counts_no_cases() -> None:
    known = {"training/step_seconds/": {"a": [0.1, -0.1], "b": [0.2, -0.2], "c": [0.1]}}
    near = factors_for(known, table="training", quantity="step_seconds", meter="")
    far = factors_for(known, table="training", quantity="step_seconds", meter="", far=True)
    assert near
    assert far
    assert math.log(far.high) == pytest.approx(FAR * math.log(near.high))
    assert math.log(far.low) == pytest.approx(FAR * math.log(near.low))
    assert far.cases == 0
