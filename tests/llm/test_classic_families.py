"""Classic decoders and later mixtures beyond the oracle: published spellings, real checkpoints, impossible layouts."""

from __future__ import annotations

from typing import Any

import pytest

from sizeup.errors import UserError
from sizeup.llm.cache import cache_size
from sizeup.llm.families import build
from sizeup.llm.parameters import count_active_parameters, count_multi_token_prediction, count_parameters

TINY_GPT2: dict[str, Any] = {
    "model_type": "gpt2", "n_embd": 64, "n_layer": 2, "n_head": 4, "n_inner": None, "n_ctx": 128, "n_positions": 128,
    "vocab_size": 100,
}  # fmt: skip
TINY: dict[str, Any] = {
    "hidden_size": 64, "num_hidden_layers": 6, "num_attention_heads": 8, "num_key_value_heads": 4,
    "intermediate_size": 48, "moe_intermediate_size": 20, "vocab_size": 100, "num_experts": 4,
    "num_experts_per_tok": 2, "head_dim": 8,
}  # fmt: skip
REFORMER: dict[str, Any] = {
    "model_type": "reformer", "is_decoder": True, "hidden_size": 32, "attention_head_size": 8,
    "num_attention_heads": 4, "feed_forward_size": 32, "vocab_size": 50, "axial_pos_embds": False,
    "max_position_embeddings": 512, "num_hashes": 2, "attn_layers": ["lsh", "local"], "lsh_attn_chunk_length": 16,
    "local_attn_chunk_length": 32,
}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "count"),
    [
        # tiiuae/falcon-40b and falcon-7b as first published, with BLOOM's key names
        (
            {
                "model_type": "RefinedWeb", "hidden_size": 8192, "n_head": 128, "n_head_kv": 8, "n_layer": 60,
                "vocab_size": 65024, "parallel_attn": True, "bias": False, "alibi": False,
            },
            41_303_293_952,
        ),
        (
            {
                "model_type": "RefinedWebModel", "hidden_size": 4544, "n_head": 71, "n_layer": 32,
                "vocab_size": 65024, "multi_query": True, "parallel_attn": True, "bias": False,
            },
            6_921_720_704,
        ),
        # tencent/Hunyuan-A13B-Instruct, with its lists by layer
        (
            {
                "model_type": "hunyuan_v1_moe", "hidden_size": 4096, "intermediate_size": 3072, "head_dim": 128,
                "num_attention_heads": 32, "num_key_value_heads": 8, "num_hidden_layers": 32, "num_experts": 64,
                "moe_topk": [8] * 32, "num_shared_expert": [1] * 32, "moe_intermediate_size": [3072] * 32,
                "vocab_size": 128167, "tie_word_embeddings": True,
            },
            80_393_183_232,
        ),
    ],
)  # fmt: skip
def test_published_configurations(config: dict[str, Any], count: int) -> None:
    assert count_parameters(build(config)) == count


def test_old_and_new_key_names_give_the_same_model() -> None:
    new = {
        "model_type": "gpt2", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "max_position_embeddings": 128, "vocab_size": 100,
    }  # fmt: skip
    assert count_parameters(build(TINY_GPT2)) == count_parameters(build(new))
    bloom = {"model_type": "bloom", "n_layer": 2, "n_head": 8, "vocab_size": 100}
    assert count_parameters(build({**bloom, "n_embed": 64, "hidden_size": 128, "skip_bias_add": True})) == 106_624


def test_a_null_width_is_four_times_the_hidden_size() -> None:
    assert count_parameters(build(TINY_GPT2)) == count_parameters(build({**TINY_GPT2, "n_inner": 256}))


def test_multi_query_attention_caches_one_head() -> None:
    base = {"model_type": "gpt_bigcode", "n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 100}
    one = cache_size(build({**base, "multi_query": True}), tokens=10).value
    assert cache_size(build({**base, "multi_query": False}), tokens=10).value == 4 * one


def test_falcon_with_few_key_value_heads_is_cached_once_per_query_head() -> None:
    """As transformers does it: it spreads keys and values over the query heads before it caches them."""
    base = {"model_type": "falcon", "hidden_size": 64, "num_attention_heads": 8, "num_hidden_layers": 1}
    model = build({**base, "num_kv_heads": 2, "new_decoder_architecture": True, "vocab_size": 100})
    assert model.layers[0].mixers[0].kv_heads == 2
    assert cache_size(model, tokens=10).value == 10 * 2 * 64 * 2


@pytest.mark.parametrize(("tokens", "buckets"), [(16, 0), (17, 17 * 4 * 2 * 8), (100, 100 * 4 * 2 * 8)])
def test_reformer_keeps_hidden_states_and_buckets_behind_the_first_chunk(tokens: int, buckets: int) -> None:
    """Measured with a forward pass of ``ReformerModelWithLMHead``: buckets are int64, four heads and two hashes."""
    states = 2 * tokens * 32 * 2
    assert cache_size(build(REFORMER), tokens=tokens).value == states + buckets


def test_laguna_layers_may_have_their_own_heads() -> None:
    model = build({**TINY, "model_type": "laguna", "num_attention_heads_per_layer": [4, 8] * 3})
    assert [layer.mixers[0].heads for layer in model.layers] == [4, 8] * 3


def test_hunyuan_layers_may_have_their_own_active_experts() -> None:
    base = {"model_type": "hunyuan_v1_moe", **TINY}
    del base["num_experts_per_tok"]
    active = [count_active_parameters(build({**base, "moe_topk": k})) for k in (1, [1, 2] * 3, 2)]
    assert active[1] - active[0] == active[2] - active[1] == 3 * 3 * 64 * 48


def test_flint_has_dense_layers_first_unless_they_are_named() -> None:
    def sparse(**keys: Any) -> list[bool]:
        model = build({**TINY, "model_type": "flint", **keys})
        return [any(tensor.part == "experts" for tensor in layer.tensors) for layer in model.layers]

    assert sparse() == [False, False, True, True, True, True]
    assert sparse(mlp_only_layers=[]) == [True] * 6


def test_mellum_prediction_layer_stands_beside_the_model() -> None:
    base = {**TINY, "model_type": "mellum"}
    model = build({**base, "num_nextn_predict_layers": 1})
    assert count_parameters(model) == count_parameters(build(base))
    assert count_multi_token_prediction(model) > 0


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({**TINY_GPT2, "n_head": 5}, "num_attention_heads"),
        ({"model_type": "gpt_neo", "num_layers": 3}, "attention_types"),
        ({"model_type": "falcon", "num_kv_heads": 3, "new_decoder_architecture": True}, "num_kv_heads"),
        ({"model_type": "mpt", "attn_config": {"attn_type": "grouped_query_attention"}}, "attn_type"),
        ({"model_type": "xlm", "is_encoder": False}, "is_encoder"),
        ({**REFORMER, "attn_layers": ["lsh", "full"]}, "attn_layers"),
        ({"model_type": "jetmoe", "num_experts_per_tok": 9}, "num_experts_per_tok"),
        ({**TINY, "model_type": "laguna", "num_attention_heads_per_layer": [8]}, "num_attention_heads_per_layer"),
        ({"model_type": "inkling_text", "layer_types": ["full_attention"] * 66}, "layer_types"),
        ({"model_type": "modernbert-decoder", "local_attention": 0}, "local_attention"),
    ],
)
def test_impossible_layouts_are_refused_by_name(config: dict[str, Any], key: str) -> None:
    with pytest.raises(UserError, match=key):
        build(config)


def test_reformer_s_layers_are_the_first_of_its_list() -> None:
    config = {"model_type": "reformer", "is_decoder": True}
    assert len(build({**config, "num_hidden_layers": 3}).layers) == 3
    assert len(build(config).layers) == 6
    with pytest.raises(UserError, match="names 6 layers"):
        build({**config, "num_hidden_layers": 7})
