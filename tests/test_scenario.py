"""Scenarios: what is typed becomes a value or an error that names the flag; a table and its TOML are twins."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sizeup.errors import UserError
from sizeup.scenario import Kind, checked, scenario_text
from sizeup.serving.scenario import KINDS as SERVING
from sizeup.training.flags import KINDS as TRAINING

EXAMPLES = {
    "text": st.text(st.characters(codec="utf-8", exclude_categories=("C",)), min_size=1),
    "count": st.integers(1, 10**6), "amount": st.integers(1, 10**14), "tokens": st.integers(1, 10**7),
    "number": st.floats(0.01, 1e9), "flag": st.booleans(), "share": st.floats(0, 1), "factor": st.floats(1, 9),
}  # fmt: skip


def values_of(kinds: Mapping[str, Kind]) -> Any:
    """Any choice of values for some of the flags."""
    one = {name: st.sampled_from(kind) if isinstance(kind, tuple) else EXAMPLES[kind] for name, kind in kinds.items()}
    return st.fixed_dictionaries({}, optional=one)


@pytest.mark.parametrize("kinds", [TRAINING, SERVING], ids=["training", "serving"])
def test_a_scenario_file_reads_back_as_the_same_flags(kinds: Mapping[str, Kind]) -> None:
    @given(values_of(kinds))
    def same(values: dict[str, Any]) -> None:
        assert checked(tomllib.loads(scenario_text(values, kinds)), kinds) == values

    same()


@pytest.mark.parametrize(
    ("kind", "typed", "value"),
    [("amount", "2T", 2 * 10**12), ("tokens", "8k", 8192), ("number", "1.5", 1.5), ("count", "7", 7)],
)
def test_words_are_read_by_kind(kind: Any, typed: str, value: float) -> None:
    assert checked({"f": typed}, {"f": kind}) == {"f": value}


@pytest.mark.parametrize(
    ("kind", "typed"),
    [("count", 0), ("count", 1.5), ("count", True), ("number", float("nan")), ("number", "x"), ("text", ""),
     ("flag", "yes"), ("tokens", "4q"), ("amount", float("inf")), ("text", 3), ("count", [1]), (("a", "b"), "c"),
     (("a", "b"), 1)],
)  # fmt: skip
def test_what_is_no_value_names_the_flag(kind: Any, typed: Any) -> None:
    with pytest.raises(UserError, match="wide"):
        checked({"wide": typed}, {"wide": kind})


def test_unknown_names_list_the_nearest() -> None:
    with pytest.raises(UserError, match="modle") as caught:
        checked({"modle": "x"}, TRAINING, where="run.toml")
    assert "model" in caught.value.nearest
    assert caught.value.message.startswith("run.toml")
