"""LitGPT's own schema: the keys of ``litgpt/config.py`` (Lightning-AI/litgpt), some under transformers' names.

The vocabulary that is stored is ``padded_vocab_size``; LayerNorm always has a shift; the head is tied only where a
``tie_word_embeddings`` key (which LitGPT itself has not) says so.
"""

from __future__ import annotations

from typing import Any

from sizeup.errors import UserError
from sizeup.llm.architecture import Architecture
from sizeup.llm.config import Config
from sizeup.llm.families.dense import build_with
from sizeup.llm.families.dense_traits import Traits


def build(config: Config) -> Architecture:
    """Return the dense decoder, or mixture of experts, that a LitGPT configuration describes."""
    return build_with(Config(_values(config), model_type=config.model_type, where=config.where), _traits(config))


def _values(config: Config) -> dict[str, Any]:
    """Return the sizes under transformers' names."""
    absent = (
        "n_shared_expert",
        "first_k_dense_replace",
        "n_expert_groups",
        "q_lora_rank",
        "kv_lora_rank",
        "latent_attention",
    )
    for key in absent:
        if config.get(key):
            raise UserError(f'{config.where}: "{key}" of a LitGPT configuration is not supported')
    config.ignore("vocab_size", "parallel_residual", "rotary_percentage", "rope_base")
    keys = ["num_hidden_layers", "num_attention_heads", "hidden_size"]
    values: dict[str, Any] = {key: config.integer(key) for key in keys}
    values["vocab_size"] = config.integer("padded_vocab_size")
    values["sliding_window"] = config.optional_integer("sliding_window_size")
    values["max_position_embeddings"] = config.optional_integer("max_position_embeddings")
    values["num_key_value_heads"] = config.optional_integer("num_key_value_heads")
    values["head_dim"] = config.optional_integer("head_dim")
    values["tie_word_embeddings"] = config.flag("tie_word_embeddings")
    values["num_experts"] = config.optional_integer("n_expert") or 0
    values["num_experts_per_tok"] = config.optional_integer("n_expert_per_token") or 0
    narrow = config.optional_integer("moe_intermediate_size")
    wide = config.integer("intermediate_size")
    values["intermediate_size"] = narrow if narrow and values["num_experts"] else wide
    return values


def _traits(config: Config) -> Traits:
    bias, attention_bias = config.flag("bias"), config.flag("attn_bias")
    kinds = {"GptNeoxMLP": "plain", "LLaMAMLP": "gated", "GemmaMLP": "gated", "LLaMAMoE": "mixture"}
    kind = config.text("mlp_class_name", default="GptNeoxMLP")
    if kind not in kinds:
        raise UserError(f'{config.where}: "mlp_class_name" = "{kind}" is not known')
    extra = [name for name in ("post_attention_norm", "post_mlp_norm") if config.flag(name)]
    first = ["norm_1"] if config.flag("shared_attention_norm") else ["norm_1", "norm_2"]
    return Traits(
        bias=bias or attention_bias,
        output_bias=bias,
        fused_qkv="qkv",
        attention_prefix="attn",
        attention_names=("", "", "", "proj"),
        qk_norm="head" if config.flag("norm_qk") else None,
        qk_norm_names=("norm_q", "norm_k"),
        mlp=kinds[kind],  # type: ignore[arg-type]
        mlp_bias=bias,
        mlp_names=("fc", "proj") if kind == "GptNeoxMLP" else ("fc_1", "fc_2", "proj"),
        norms=(*first, *extra),
        norm_bias=config.text("norm_class_name", default="LayerNorm") == "LayerNorm",
        final_norm="ln_f",
        head_bias=config.flag("lm_head_bias"),
        ends=("wte", "lm_head"),
    )
