"""Every configuration class of transformers: our counts against models that transformers really built.

``tests/oracle`` holds the results (made by ``scripts/make_oracle.py``); counts must agree to the last digit.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sizeup.llm.cache import cache_size
from sizeup.llm.families import build, model_types
from sizeup.llm.families.wrappers import TEXT_ONLY
from sizeup.llm.parameters import count_parameters

ORACLE = Path(__file__).parent / "oracle"


def cases(name: str) -> list[Any]:
    """Return the oracle's cases of the types that we know."""
    path = ORACLE / name
    lines = path.read_text().splitlines() if path.exists() else []
    records = [json.loads(line) for line in lines]
    return [
        pytest.param(record, id=f"{record['model_type']}-{record['case']}-{record.get('tokens', '')}")
        for record in records
        if record["model_type"] in model_types()
    ]


@pytest.mark.parametrize("case", cases("parameters.jsonl"))
def test_parameters_equal_a_real_build(case: dict[str, Any]) -> None:
    assert count_parameters(build(case["config"])) == case["parameters"]


@pytest.mark.parametrize("case", [c for c in cases("parameters.jsonl") if c.values[0]["case"] == "default"])
def test_class_defaults_fill_an_empty_configuration(case: dict[str, Any]) -> None:
    assert count_parameters(build({"model_type": case["model_type"]})) == case["parameters"]


TEXT_ALONE = {case.values[0]["model_type"] for case in cases("parameters.jsonl")}
"""Multimodal types whose causal class is another one: the whole class has to be named."""


@pytest.mark.parametrize("case", [c for c in cases("multimodal.jsonl") if c.values[0]["model_type"] in TEXT_ONLY])
def test_a_text_model_is_exact_where_its_towers_are_only_named(case: dict[str, Any]) -> None:
    architecture = build(case["config"])
    assert count_parameters(architecture) == case["towers"]["text"]
    assert all(any(tower.name in text for text in architecture.assumptions) for tower in architecture.towers)
    assert all(tower.not_counted for tower in architecture.towers)


@pytest.mark.parametrize("case", [c for c in cases("multimodal.jsonl") if c.values[0]["model_type"] not in TEXT_ONLY])
def test_towers_and_projectors_equal_a_real_build(case: dict[str, Any]) -> None:
    named = {"architectures": ["ForConditionalGeneration"]} if case["model_type"] in TEXT_ALONE else {}
    architecture = build({**case["config"], **named})
    assert [tower.not_counted for tower in architecture.towers if tower.not_counted] == []
    assert count_parameters(architecture) == case["parameters"]


@pytest.mark.parametrize("case", cases("cache.jsonl"))
def test_cache_equals_a_real_forward(case: dict[str, Any]) -> None:
    architecture = build(case["config"])
    size = cache_size(architecture, tokens=case["tokens"], sequences=case["sequences"], dtype=case["dtype"])
    assert size.value == case["cache_bytes"]
