"""Dense decoders beyond the oracle: types without a transformers class, old key spellings, layouts that cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from sizeup.errors import UserError
from sizeup.llm.architecture import Architecture
from sizeup.llm.cache import cache_size
from sizeup.llm.families import build
from sizeup.llm.parameters import count_multi_token_prediction, count_parameters

TINY: dict[str, Any] = {
    "hidden_size": 64, "num_hidden_layers": 6, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 96, "vocab_size": 100,
}  # fmt: skip


def windows(architecture: Architecture) -> list[int | None]:
    """Return each layer's window."""
    return [layer.mixers[0].window for layer in architecture.layers]


@pytest.mark.parametrize(
    ("config", "count"),
    [
        # safetensors headers on the Hugging Face Hub: Qwen/Qwen-7B, Baichuan2-7B-Base, chatglm-6b (tied head)
        ({"model_type": "qwen"}, 7_721_324_544),
        ({"model_type": "baichuan"}, 7_505_973_248),
        ({"model_type": "chatglm", "inner_hidden_size": 16384, "position_encoding_2d": True}, 6_173_286_400),
    ],
)
def test_class_defaults_of_types_without_a_class(config: dict[str, Any], count: int) -> None:
    assert count_parameters(build(config)) == count


def test_mimo_prediction_layers_stand_beside_the_model() -> None:
    config = {
        "model_type": "mimo", "hidden_size": 4096, "num_hidden_layers": 36, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 11008, "vocab_size": 151680,
        "num_nextn_predict_layers": 1, "attention_bias": True,
    }  # fmt: skip
    model = build(config)
    assert count_parameters(model) + count_multi_token_prediction(model) == 7_833_409_536  # XiaomiMiMo/MiMo-7B-Base


def test_an_old_pattern_as_letters_or_number_gives_the_same_layers() -> None:
    base = {**TINY, "model_type": "exaone4", "sliding_window": 8}
    assert windows(build({**base, "sliding_window_pattern": "LLG"})) == [8, 8, None] * 2
    assert windows(build({**base, "sliding_window_pattern": 3})) == [8, 8, None] * 2


def test_qwen_slides_only_when_told_and_only_late() -> None:
    base = {**TINY, "model_type": "qwen2", "sliding_window": 8, "max_window_layers": 4}
    assert windows(build(base)) == [None] * 6
    assert windows(build({**base, "use_sliding_window": True})) == [None] * 4 + [8] * 2


def test_layers_that_read_anothers_cache_keep_none() -> None:
    base = {**TINY, "model_type": "gemma4_text", "num_hidden_layers": 12, "head_dim": 16, "global_head_dim": 32}
    whole, shared = build(base), build({**base, "num_kv_shared_layers": 6})
    assert cache_size(shared, tokens=100).value * 2 == cache_size(whole, tokens=100).value


def test_hrm_counts_weights_once_and_caches_every_run() -> None:
    model = build({**TINY, "model_type": "hrm_text", "num_hidden_layers": 2, "H_cycles": 2, "L_cycles": 3})
    assert len(model.layers) == 2 * 2 * 4
    assert sum(bool(layer.tensors) for layer in model.layers) == 2 * 2
    assert all(layer.caches for layer in model.layers)


def test_a_layer_without_attention_has_no_cache() -> None:
    attention = {"n_heads_in_group": 2, "no_op": False}
    blocks = [
        {"attention": attention, "ffn": {"ffn_mult": 1.5}},
        {"attention": {"no_op": True}, "ffn": {"no_op": True}},
    ]
    config = {**TINY, "model_type": "nemotron-nas", "num_hidden_layers": 2, "block_configs": blocks}
    model = build({**config, "intermediate_size": None, "num_key_value_heads": None})
    assert [len(layer.caches) for layer in model.layers] == [1, 0]
    assert model.layers[1].elements == 0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"num_key_value_heads": 3}, "key-value heads"),
        ({"num_attention_heads": 5, "num_key_value_heads": 5}, "num_attention_heads"),
        ({"layer_types": ["full_attention"]}, "layer_types"),
        ({"layer_types": ["full_attention"] * 5 + ["mystery"]}, "mystery"),
        ({"num_mystery_layers": 4}, "num_mystery_layers"),
        ({"hidden_size": None}, "hidden_size"),
    ],
)
def test_impossible_layouts_name_the_key(change: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named):
        build({**TINY, "model_type": "llama", **change})


def test_experts_no_model_can_use_are_refused() -> None:
    config = {**TINY, "model_type": "gemma4_text", "enable_moe_block": True, "moe_intermediate_size": 8}
    with pytest.raises(UserError, match="top_k_experts"):
        build({**config, "num_experts": 4, "top_k_experts": 5})
