"""Configurations that a stranger wrote: any value anywhere gives a size or a clear error, soon."""

from __future__ import annotations

import contextlib
import copy
import random
from typing import Any

import pytest

from sizeup.catalog.loader import model_config, model_records
from sizeup.errors import UserError
from sizeup.llm.families import build
from sizeup.llm.parameters import count_parameters
from sizeup.llm.stored import stored_weight_bytes

LLAMA = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100,
}  # fmt: skip
HOSTILE: list[Any] = [
    0, -1, 3, 10**12, 10**30, 1e308, float("inf"), 0.5, 2.5, True, None, "", "8", [], [1], ["a"], [None], [[1]], {},
    {"a": 1}, {"0": [1]}, ["full_attention"] * 3, [0] * 5, [1e9, 1e9],
]  # fmt: skip


def mutate(values: dict[str, Any], chance: random.Random) -> None:
    key = chance.choice(list(values))
    if isinstance(values[key], dict) and values[key] and chance.random() < 0.7:
        mutate(values[key], chance)
    else:
        values[key] = chance.choice(HOSTILE)


@pytest.mark.parametrize("seed", range(8))
def test_any_value_anywhere_is_sized_or_refused(seed: int) -> None:
    chance = random.Random(seed)
    published = [model_config(record["file"]) for record in model_records()]
    for _ in range(60):
        config = copy.deepcopy(chance.choice(published))
        mutate(config, chance)
        with contextlib.suppress(UserError):
            architecture = build(config)
            assert count_parameters(architecture) > 0
            assert stored_weight_bytes(architecture).value > 0


@pytest.mark.parametrize(
    "config",
    [
        LLAMA | {"num_hidden_layers": 10**13},
        {"model_type": "gpt2", "n_layer": 10**12},
        {"model_type": "dbrx", "n_layers": 10**13},
        {"model_type": "pegasus", "decoder_layers": 10**13},
    ],
    ids=lambda config: config["model_type"],
)
def test_absurd_numbers_of_layers_are_refused_at_once(config: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="outside of what a model can have"):
        build(config)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"hidden_size": float("inf")}, "hidden_size"),
        ({"hidden_size": "64"}, "must be an integer"),
        ({"model_type": True}, "model_type"),
        ({"model_type": ["llama"]}, "model_type"),
    ],
)
def test_the_key_is_named(change: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        build(LLAMA | change)


def test_a_form_that_no_reader_foresaw_is_an_error_that_says_so() -> None:
    with pytest.raises(UserError, match="form that a deepseek_v4 model cannot have"):
        build({"model_type": "deepseek_v4", "compress_rates": 1.0})


@pytest.mark.parametrize("value", ["x", 5, ["gptq"], True])
def test_a_quantization_config_that_is_no_mapping_is_refused(value: object) -> None:
    with pytest.raises(UserError, match="quantization_config"):
        build(LLAMA | {"quantization_config": value})
