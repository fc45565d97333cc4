"""Why layouts are impossible, and plans from measured rows."""

from __future__ import annotations

from typing import Any

import pytest

from sizeup.errors import UserError
from sizeup.llm.architecture import Architecture
from sizeup.llm.families import build
from sizeup.plan.frameworks import framework, frameworks
from sizeup.plan.from_case import training_plan
from sizeup.plan.optimizers import optimizer, optimizers
from sizeup.plan.training import Layout, TrainingPlan
from sizeup.plan.validity import is_valid, reasons_against
from sizeup.sources import source


def llama() -> Architecture:
    values = {"model_type": "llama", "hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 30,
              "num_attention_heads": 16, "num_key_value_heads": 4, "vocab_size": 32000}  # fmt: skip
    return build(values, where="llama")


def plan(**layout: Any) -> TrainingPlan:
    return TrainingPlan(framework="megatron", sequence_length=2048, global_batch=64, layout=Layout(**layout))


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        ({"tp": 3}, "16 attention heads do not divide by tp 3"),
        ({"pp": 31}, "30 layers cannot fill pp 31 stages"),
        ({"pp": 4, "vpp": 3}, "do not divide into pp 4 x vpp 3 chunks"),
        ({"vpp": 2}, "needs a pipeline"),
        ({"ep": 2, "dp": 2}, "the model has none"),
        ({"dp": 3}, "a global batch of 64 does not divide"),
        ({"pp": 2, "sharding": "zero3"}, "zero3"),
        ({"dp": 8, "shard_group": 3}, "a shard group of 3"),
        ({"dp": 0}, "dp is 0"),
        ({"cp": 3}, "does not divide into 6 chunks"),
    ],
)
def test_reasons_name_the_numbers(layout: dict[str, Any], words: str) -> None:
    assert any(words in reason for reason in reasons_against(llama(), plan(**layout)))


def test_a_sound_layout_has_no_reason_against_it() -> None:
    assert is_valid(llama(), plan(tp=2, pp=2, dp=4, sharding="zero1", sequence_parallel=True), gpus=16)
    assert reasons_against(llama(), plan(tp=2), gpus=4) == ["tp 2 x pp 1 x cp 1 x dp 1 = 2, not 4 GPUs"]


def test_every_record_cites_known_sources() -> None:
    for record in (*frameworks().values(), *optimizers().values()):
        assert record.sources
        for key in record.sources:
            assert source(key).title


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(UserError) as caught:
        framework("torchtitn")
    assert "torchtitan" in caught.value.nearest
    with pytest.raises(UserError):
        optimizer("adamz")


def test_what_a_row_leaves_open_is_an_assumption() -> None:
    row = {"framework": "megatron", "seq_len": "4096", "n_gpus": "16", "tp": "8", "year": "2024"}
    chosen = training_plan(row)
    assert chosen.layout == Layout(tp=8, etp=8, dp=2, sharding="zero1", sequence_parallel=True)
    assert any(text.startswith("recompute: selective") for text in chosen.assumptions)
    assert any(text.startswith("seq_len:") for text in training_plan({"framework": "megatron"}).assumptions)


def test_targets_follow_from_a_stated_number_of_trainable_parameters() -> None:
    row = {"framework": "hf", "seq_len": "768", "n_gpus": "1", "kind": "lora", "lora_rank": "10"}
    chosen = training_plan(row | {"trainable_params": "900"}, matrices={"query": 10, "gate": 40, "down": 50})
    assert chosen.adapter
    assert chosen.adapter.targets == "mlp"
