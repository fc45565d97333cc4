"""State space models, linear attention and hybrids beyond the oracle: published models, old spellings, laws."""

from __future__ import annotations

from typing import Any

import pytest

from sizeup.catalog.lookup import find_model
from sizeup.errors import UserError
from sizeup.llm.architecture import Architecture
from sizeup.llm.cache import cache_size, growth_per_token
from sizeup.llm.families import build
from sizeup.llm.parameters import count_active_parameters, count_multi_token_prediction, count_parameters

GRANITE: dict[str, Any] = {
    "model_type": "granitemoehybrid", "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4,
    "intermediate_size": 24, "shared_intermediate_size": 32, "mamba_n_heads": 8, "mamba_d_state": 16, "vocab_size": 100,
}  # fmt: skip
NEMOTRON: dict[str, Any] = {"model_type": "nemotron_h", "hidden_size": 64, "vocab_size": 100}
ZAMBA2: dict[str, Any] = {
    "model_type": "zamba2", "hidden_size": 64, "num_hidden_layers": 6, "num_attention_heads": 4, "vocab_size": 100,
    "adapter_rank": 4, "layers_block_type": ["mamba", "hybrid", "hybrid", "mamba", "hybrid", "hybrid"],
}  # fmt: skip
KIMI: dict[str, Any] = {"model_type": "kimi_linear", "num_hidden_layers": 4}


def published(name: str) -> Architecture:
    """Return the architecture of a catalogued model."""
    return build(find_model(name).config())


def gibibytes(architecture: Architecture, tokens: int) -> dict[str, float]:
    """Return the cache of one sequence in bf16 by kind of state [GiB]."""
    sizes: dict[str, float] = {}
    for part in cache_size(architecture, tokens=tokens).parts:
        kind = part.name.split(",")[0]
        sizes[kind] = sizes.get(kind, 0.0) + part.value / 2**30
    return {kind: round(size, 2) for kind, size in sizes.items()}


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("state-spaces/mamba-130m-hf", 129_135_360),
        ("state-spaces/mamba-2.8b-hf", 2_768_345_600),
        ("state-spaces/mamba2-1.3b", 1_343_757_312),
        ("state-spaces/mamba2-2.7b", 2_702_599_680),
        ("tiiuae/falcon-mamba-7b", 7_272_665_088),
        ("ai21labs/Jamba-v0.1", 51_570_323_328),
        ("ai21labs/AI21-Jamba-1.5-Large", 398_555_145_696),
        ("nvidia/Nemotron-H-56B-Base-8K", 56_324_350_464),
        ("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", 31_577_937_344),
        ("nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-FP8", 120_668_687_360),
        ("nvidia/NVIDIA-Nemotron-3-Ultra-550B-A55B-BF16", 549_308_968_960),
        ("Qwen/Qwen3-Next-80B-A3B-Instruct", 79_674_391_296),
        ("MiniMaxAI/MiniMax-Text-01", 456_089_655_296),
        ("RWKV/rwkv-5-world-3b", 3_062_999_040),
    ],
)
def test_published_models_have_the_parameters_of_a_real_build(name: str, parameters: int) -> None:
    assert count_parameters(published(name)) == parameters


def test_qwen3_next_keeps_little_beside_its_keys_and_values() -> None:
    sizes = gibibytes(published("Qwen/Qwen3-Next-80B-A3B-Instruct"), 32_768)
    assert sizes == {"key value": 0.75, "recurrent state": 0.07, "convolution state": 0.0}


def test_jamba_keeps_keys_and_values_in_four_layers() -> None:
    architecture = published("ai21labs/Jamba-v0.1")
    attends = [layer for layer in architecture.layers if layer.mixers[0].kind == "attention"]
    assert len(attends) == 4
    assert gibibytes(architecture, 32_768)["key value"] == 0.5


@pytest.mark.parametrize("model_type", ["mamba", "mamba2", "falcon_mamba", "rwkv", "xlstm"])
def test_a_pure_recurrence_keeps_the_same_whatever_the_context(model_type: str) -> None:
    architecture = build({"model_type": model_type})
    assert cache_size(architecture, tokens=9).value == cache_size(architecture, tokens=90_000).value > 0
    assert growth_per_token(architecture) == 0


def test_nemotron_letters_mean_its_layer_names() -> None:
    named = {**NEMOTRON, "layers_block_type": ["mamba", "attention", "moe", "mlp"]}
    lettered = {**NEMOTRON, "hybrid_override_pattern": "M*E-", "num_hidden_layers": 4}
    assert build(named).layers == build(lettered).layers


def test_nemotron_super_holds_one_prediction_step_beside_its_120_billion() -> None:
    extra = count_multi_token_prediction(published("nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-FP8"))
    assert round(extra / 1e9, 2) == 2.94


def test_granite_takes_old_names_of_layers() -> None:
    old = build({**GRANITE, "layers_block_type": ["mamba", "attention", "mamba"]})
    new = build({**GRANITE, "layer_types": ["linear_attention", "full_attention", "linear_attention"]})
    assert old.layers == new.layers


def test_granite_without_experts_has_a_dense_mlp() -> None:
    parts = {tensor.part for tensor, _ in build({**GRANITE, "num_local_experts": 0}).counted_tensors()}
    assert "mlp" in parts
    assert not parts & {"experts", "shared_experts", "router"}


def test_original_mamba_keys_round_the_vocabulary_up() -> None:
    original = {"d_model": 64, "n_layer": 2, "vocab_size": 50277, "pad_vocab_size_multiple": 8, "ssm_cfg": {}}
    converted = {"hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 50280}
    first, second = (build({"model_type": "mamba", **keys}) for keys in (original, converted))
    assert count_parameters(first) == count_parameters(second)


def test_minimax_takes_its_first_name_and_list() -> None:
    sizes = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 8, "vocab_size": 100}
    old = build({**sizes, "model_type": "minimax_text_01", "attn_type_list": [0, 0, 0, 1]})
    kinds = ["linear_attention"] * 3 + ["full_attention"]
    assert old.layers == build({**sizes, "model_type": "minimax", "layer_types": kinds}).layers


def test_zamba2_owns_a_shared_block_once_and_works_it_every_time() -> None:
    shared = build(ZAMBA2)
    owners = [layer for layer in shared.layers if layer.kind == "hybrid"]
    users = [layer for layer in shared.layers if layer.kind == "hybrid_reused"]
    assert (len(owners), len(users)) == (1, 3)
    assert count_active_parameters(shared) > count_parameters(shared)
    assert owners[0].active_elements == users[0].active_elements


def test_zamba2_copies_its_shared_block_where_weights_are_not_tied() -> None:
    copied = build({**ZAMBA2, "tie_word_embeddings": False})
    assert [layer.kind for layer in copied.layers].count("hybrid") == 4
    assert not any(layer.shared for layer in copied.layers)


def test_kimi_settings_count_layers_from_one() -> None:
    settings = {"full_attn_layers": [2, 4], "kda_layers": [1, 3], "head_dim": 128, "num_heads": 32}
    kinds = [layer.kind.removesuffix("_moe") for layer in build({**KIMI, "linear_attn_config": settings}).layers]
    assert kinds == ["linear_attention", "full_attention"] * 2


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({**GRANITE, "layer_types": ["mamba", "attention"]}, "layer_types"),
        ({**GRANITE, "layer_types": ["mamba", "attention", "retention"]}, "retention"),
        ({**GRANITE, "mamba_n_heads": 7}, "mamba_n_heads"),
        ({**NEMOTRON, "hybrid_override_pattern": "MX"}, "X"),
        ({**ZAMBA2, "layers_block_type": None}, "layers_block_type"),
        ({**KIMI, "linear_attn_config": {"full_attn_layers": [4], "kda_layers": [1, 2]}}, "layer 3"),
        ({"model_type": "mamba2", "head_dim": 60}, "num_heads"),
        ({"model_type": "jamba", "attn_layer_offset": 8}, "attn_layer_offset"),
        ({"model_type": "jamba", "num_experts_per_tok": 17}, "17"),
        ({"model_type": "lfm2_moe"}, "layer_types"),
        ({"model_type": "recurrent_gemma", "block_types": ["recurrent", "mamba"]}, "block_types"),
        ({"model_type": "zaya", "num_experts_per_tok": 2}, "num_experts_per_tok"),
        ({"model_type": "qwen3_next", "num_delta_layers": 3}, "num_delta_layers"),
    ],
)
def test_an_impossible_layout_is_refused_by_name(values: dict[str, Any], key: str) -> None:
    with pytest.raises(UserError, match=key):
        build(values)
