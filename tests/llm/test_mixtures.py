"""Mixtures of experts and latent attention beyond the oracle: published models, old spellings, impossible layouts."""

from __future__ import annotations

from typing import Any

import pytest

from sizeup.catalog.lookup import find_model
from sizeup.errors import UserError
from sizeup.llm.architecture import Architecture
from sizeup.llm.cache import cache_size
from sizeup.llm.families import build
from sizeup.llm.parameters import count_active_parameters, count_multi_token_prediction, count_parameters

TINY: dict[str, Any] = {
    "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 4,
    "intermediate_size": 96, "moe_intermediate_size": 24, "vocab_size": 100, "num_experts_per_tok": 2,
}  # fmt: skip
LATENT: dict[str, Any] = {
    **TINY, "model_type": "deepseek_v3", "n_routed_experts": 8, "n_shared_experts": 1, "q_lora_rank": 24,
    "kv_lora_rank": 16, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16, "first_k_dense_replace": 1,
}  # fmt: skip


def published(name: str) -> Architecture:
    """Return the architecture of a catalogued model."""
    return build(find_model(name).config())


def gibibytes(architecture: Architecture, tokens: int) -> float:
    """Return the cache of one sequence in bf16 [GiB]."""
    return float(cache_size(architecture, tokens=tokens).value) / 2**30


@pytest.mark.parametrize(
    ("name", "billions", "active"),
    [
        ("mistralai/Mixtral-8x7B-v0.1", 46.70, 12.88),
        ("deepseek-ai/DeepSeek-V2-Lite", 15.75, 2.70),
        ("deepseek-ai/DeepSeek-V3", 671.03, 37.55),
        ("deepseek-ai/DeepSeek-V3.2", 671.88, 38.40),
        ("deepseek-ai/DeepSeek-V4-Flash", 284.33, 13.80),
        ("deepseek-ai/deepseek-moe-16b-base", 16.38, 2.83),
        ("moonshotai/Kimi-K2-Instruct", 1026.41, 32.86),
        ("moonshotai/Kimi-K3", 2779.48, 105.36),
        ("openai/gpt-oss-20b", 20.91, 4.19),
        ("xai-org/grok-1", 315.68, 83.76),
        ("zai-org/GLM-5", 743.91, 41.78),
        ("stepfun-ai/Step-3.7-Flash", 195.84, 10.88),
    ],
)
def test_published_mixtures_have_their_published_size(name: str, billions: float, active: float) -> None:
    architecture = published(name)
    assert round(count_parameters(architecture) / 1e9, 2) == billions
    assert round(count_active_parameters(architecture) / 1e9, 2) == active


def test_prediction_layers_stand_beside_deepseek_v3() -> None:
    # "685B on Hugging Face: 671B of the main model and 14B of the module" (deepseek-ai/DeepSeek-V3, README)
    v3 = published("deepseek-ai/DeepSeek-V3")
    assert round((count_parameters(v3) + count_multi_token_prediction(v3)) / 1e9, 1) == 684.5
    assert count_multi_token_prediction(build({**LATENT, "num_nextn_predict_layers": 0})) == 0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("deepseek-ai/DeepSeek-V3", 2.145),
        ("openai/gpt-oss-20b", 0.753),
        ("deepseek-ai/DeepSeek-V4-Flash", 0.216),
        ("XiaomiMiMo/MiMo-V2-Flash", 0.727),
    ],
)
def test_cache_at_32k(name: str, expected: float) -> None:
    assert round(gibibytes(published(name), 32768), 3) == expected


def test_compressed_cache_keeps_what_waits_for_a_full_stride() -> None:
    config = {**TINY, "model_type": "deepseek_v4", "n_routed_experts": 8, "head_dim": 32, "q_lora_rank": 16}
    config |= {"o_groups": 2, "o_lora_rank": 8, "compress_ratios": [128] * 4, "sliding_window": 16}
    del config["intermediate_size"]
    architecture = build(config)
    # 15 keys of the window, 2 compressed keys, and 44 tokens that wait as key and gate
    assert cache_size(architecture, tokens=300).value == 4 * 2 * 32 * (15 + 2 + 2 * 44)


def test_layers_that_share_an_indexer_store_no_keys_of_their_own() -> None:
    config = {**LATENT, "model_type": "glm_moe_dsa", "index_n_heads": 4, "index_head_dim": 16, "index_topk": 8}
    own, shared = (
        build({**config, "indexer_types": kinds}) for kinds in (["full"] * 4, ["full", "shared", "shared", "full"])
    )
    assert own.layers[1].caches != shared.layers[1].caches
    assert cache_size(own, tokens=10).value - cache_size(shared, tokens=10).value == 2 * 2 * 10 * 16


def test_equal_layers_are_one_object() -> None:
    assert len(published("deepseek-ai/DeepSeek-V3").distinct_layers()) == 2


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({**TINY, "model_type": "mixtral", "num_local_experts": 1}, "num_experts_per_tok"),
        ({**TINY, "model_type": "dots1"}, "n_routed_experts"),
        ({**TINY, "model_type": "gpt_oss", "layer_types": ["full_attention"]}, "layer_types"),
        ({**TINY, "model_type": "minimax_m3_vl_text", "layer_types": ["sliding_attention"] * 4}, "layer_types"),
        ({**LATENT, "model_type": "axk1", "mlp_layer_types": ["sparse"]}, "mlp_layer_types"),
        ({**LATENT, "model_type": "axk1", "mlp_layer_types": ["thick"] * 4}, "thick"),
        ({**LATENT, "model_type": "deepseek_v32", "q_lora_rank": None}, "q_lora_rank"),
        ({**LATENT, "model_type": "glm_moe_dsa", "indexer_types": ["full"]}, "indexer_types"),
        ({**TINY, "model_type": "deepseek_v4", "compress_ratios": [7] * 4}, "compress_ratios"),
        ({**TINY, "model_type": "mimo_v2_flash", "num_key_value_heads": 3}, "key-value heads"),
        ({**LATENT, "num_mystery_layers": 3}, "num_mystery_layers"),
    ],
)
def test_impossible_layouts_name_the_key(config: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named):
        build(config)


def test_unknown_number_of_active_experts_is_said() -> None:
    config = {key: value for key, value in LATENT.items() if key != "num_experts_per_tok"}
    architecture = build({**config, "model_type": "deepseek_v2"})
    assert "every expert is taken as active" in architecture.assumptions[0]


@pytest.mark.parametrize(("biased", "count", "has"), [(True, 0, False), (True, 2, True), (False, 0, False)])
def test_ernie_has_no_shared_module_without_shared_experts(biased: bool, count: int, has: bool) -> None:
    config = {"model_type": "ernie4_5_moe", "use_bias": biased, "moe_num_shared_experts": count}
    parts = {tensor.part for tensor, _ in build(config).counted_tensors()}
    assert ("shared_experts" in parts) == has
