"""Laws of the Estimate: parts sum exactly, explanations name every number and source."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sizeup.estimate import Band, Estimate, leaf, total
from sizeup.render.why import explain


@given(st.lists(st.integers(0, 2**60), min_size=1, max_size=20))
def test_parts_of_integers_sum_exactly(values: list[int]) -> None:
    tree = total("whole", [leaf(f"p{i}", v, "bytes") for i, v in enumerate(values)], unit="bytes")
    assert tree.value == sum(values)
    assert isinstance(tree.value, int)
    assert sum(part.value for part in tree.parts) == tree.value


@given(st.lists(st.floats(0, 1e12), min_size=1, max_size=20))
def test_parts_of_floats_sum_exactly(values: list[float]) -> None:
    tree = total("whole", [leaf(f"p{i}", v, "seconds") for i, v in enumerate(values)], unit="seconds")
    assert Estimate(name="again", value=tree.value, unit="seconds", parts=tree.parts).value == tree.value


def test_parts_that_do_not_sum_are_refused() -> None:
    with pytest.raises(AssertionError, match="sum to 3, not 4"):
        Estimate(name="wrong", value=4, unit="bytes", parts=(leaf("a", 1, "bytes"), leaf("b", 2, "bytes")))


def test_part_is_found_at_any_depth() -> None:
    inner = total("inner", [leaf("deep", 2, "bytes")], unit="bytes")
    assert total("outer", [inner, leaf("b", 1, "bytes")], unit="bytes").part("deep").value == 2


def test_explanation_shows_formula_numbers_assumption_and_source() -> None:
    part = leaf(
        "cache", 8, "bytes", formula="layers x bytes", inputs={"layers": 4, "bytes": 2.0}, sources=["pope2022"],
        assumptions=["nobody said the dtype"],
    )  # fmt: skip
    text = "\n".join(explain(total("whole", [part], unit="bytes").with_band(Band(7, 9, 12, "like this"))))
    for words in ("layers x bytes", "layers = 4", "nobody said the dtype", "[pope2022]", "Pope", "12 measured cases"):
        assert words in text


def test_json_leaves_out_what_is_empty() -> None:
    assert leaf("a", 1, "bytes").to_dict() == {"name": "a", "value": 1, "unit": "bytes"}
