"""Laws of sizes, for any model of the catalog in any format: parts sum, formulas hold, more is never smaller."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sizeup
from sizeup.catalog.lookup import list_models
from sizeup.errors import UserError
from sizeup.estimate import Estimate
from sizeup.llm.cache import cache_total
from sizeup.llm.families import build
from sizeup.llm.formats import weight_bytes, weight_formats
from sizeup.llm.parameters import count_active_parameters, count_parameters

NAMES = [record.name for record in list_models()]
MODELS = st.sampled_from(NAMES)
LEAST_BITS = 1.5
"""Less than any format's bits per weight."""


def leaves(tree: Estimate) -> list[Estimate]:
    return [part for part in tree.walk() if not part.parts]


def put_in(leaf: Estimate) -> float:
    """What a leaf's formula makes of the numbers that it names."""
    numbers = {each.name: float(each.value) for each in leaf.inputs}
    if "block" in numbers:
        return numbers["numbers"] / numbers["block"] * numbers["bytes"]
    if "bits" in numbers:
        return numbers["numbers"] * numbers["bits"] / 8
    return math.prod(numbers.values())


@settings(max_examples=60)
@given(name=MODELS, format=st.sampled_from(list(weight_formats())))
def test_weights_are_the_sum_of_what_their_formulas_say(name: str, format: str) -> None:
    model = sizeup.model(name)
    try:
        weights = model.weight_bytes(format)
    except UserError as error:
        assert "not whole blocks" in error.message  # noqa: PT017
        return
    assert type(weights.value) is int
    assert weights.value == sum(leaf.value for leaf in leaves(weights))
    assert all(put_in(leaf) == pytest.approx(leaf.value, abs=1) for leaf in leaves(weights))
    assert model.architecture
    apart = sum(tower.elements for tower in model.architecture.towers if not tower.of_text)
    held = model.parameters - (apart if weight_formats()[format].is_gguf else 0)
    assert weights.value * 8 >= held * LEAST_BITS


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_the_sum_of_their_shapes(name: str) -> None:
    model = sizeup.model(name)
    tree = model.parameters_by_part
    assert tree.value == model.parameters == sum(leaf.value for leaf in leaves(tree))
    assert all(put_in(leaf) == leaf.value for leaf in leaves(tree))


def waits_for_a_full_block(model: sizeup.Model) -> bool:
    """Whether tokens are kept whole until a block of them is compressed: then one more token can take less."""
    assert model.architecture
    return any(getattr(cache, "remainder", 0) for layer in model.architecture.layers for cache in layer.caches)


@settings(max_examples=60)
@given(name=MODELS, tokens=st.integers(1, 300_000), sequences=st.integers(2, 64))
def test_a_cache_grows_in_proportion_to_its_sequences(name: str, tokens: int, sequences: int) -> None:
    model = sizeup.model(name)
    one = model.cache_bytes(tokens=tokens)
    assert one.value == sum(leaf.value for leaf in leaves(one))
    assert model.cache_bytes(tokens=tokens, sequences=sequences).value == sequences * one.value
    assert waits_for_a_full_block(model) or model.cache_bytes(tokens=2 * tokens).value >= one.value


DENSE = {"hidden_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 4,
         "intermediate_size": 256, "vocab_size": 512}  # fmt: skip
LATENT = {"kv_lora_rank": 32, "q_lora_rank": 32, "qk_nope_head_dim": 16, "qk_rope_head_dim": 16, "v_head_dim": 16,
          "n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64,
          "num_key_value_heads": 4}  # fmt: skip
SMALL: dict[str, dict[str, Any]] = {
    "llama": DENSE,
    "gemma3_text": DENSE,
    "mixtral": {**DENSE, "num_local_experts": 4},
    "gpt_oss": {**DENSE, "num_local_experts": 8, "num_experts_per_tok": 2},
    "deepseek_v3": {**DENSE, **LATENT},
    "qwen3_moe": {**DENSE, "num_experts": 8, "num_experts_per_tok": 2, "mlp_only_layers": [0]},
    "jamba": {**DENSE, "num_experts": 4, "attn_layer_period": 2, "attn_layer_offset": 1},
    "bart": {"d_model": 128, "decoder_layers": 4, "encoder_layers": 4, "vocab_size": 512},
}
GROWS = ("hidden_size", "d_model", "num_hidden_layers", "decoder_layers", "intermediate_size", "vocab_size",
         "num_key_value_heads", "num_local_experts", "n_routed_experts", "num_experts", "kv_lora_rank")  # fmt: skip


@pytest.mark.parametrize(
    ("model_type", "key"), [(kind, key) for kind, config in SMALL.items() for key in GROWS if key in config]
)
def test_a_larger_model_is_never_smaller(model_type: str, key: str) -> None:
    config = {"model_type": model_type, **SMALL[model_type]}
    grown = {**config, key: 2 * config[key]}
    if model_type == "deepseek_v3" and key == "num_key_value_heads":
        grown["num_attention_heads"] = grown[key]
    small, large = build(config), build(grown)
    assert count_parameters(large) > count_parameters(small)
    assert count_active_parameters(large) >= count_active_parameters(small)
    assert cache_total(large, tokens=5000) >= cache_total(small, tokens=5000)
    for name in ("bf16", "fp8-block", "nf4-dq", "gptq-int4", "q4_k_m", "mxfp4", "nvfp4"):
        sizes = [weight_bytes(each, name).value for each in (small, large)]
        assert sizes[0] < sizes[1]
