"""Kimi delta attention with multi-head latent attention in every few layers: Kimi-Linear, Ling/Ring hybrid ("bailing").

Source: transformers 5.23 ``modeling_kimi_linear.py``, ``modeling_bailing_hybrid.py`` and configuration classes;
published files of Kimi keep the sizes in ``linear_attn_config`` and count layers from one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sizeup.errors import UserError
from sizeup.llm.architecture import Architecture, Block, Layer, layer_of
from sizeup.llm.blocks import (
    check_divides,
    gated_mlp,
    latent_attention,
    linear,
    mixture,
    norm,
    norms,
    table,
)  # fmt: skip
from sizeup.llm.blocks_ssm import kimi_delta_attention
from sizeup.llm.config import Config
from sizeup.llm.families.common import layer_types, repeated
from sizeup.llm.families.prediction import predicted_layers, prediction_layers

LINEAR_SIZES = {
    "kimi_linear": (("linear_num_heads",), ("linear_head_dim",), ("linear_conv_kernel_dim",)),
    "bailing_hybrid": (
        ("linear_num_heads", "num_attention_heads"),
        ("linear_head_dim", "head_dim"),
        ("linear_conv_kernel_dim", "short_conv_kernel_size"),
    ),
}
"""Where heads, head dimension and kernel of the linear layers stand; the later name is used if the first is absent."""

HARMLESS = (
    "head_dim",
    "qk_head_dim",
    "moe_layer_freq",
    "linear_num_heads",
    "linear_head_dim",
    "linear_conv_kernel_dim",
)
"""Keys that have no effect where no layer reads them, and those that nobody reads."""


def build(config: Config) -> Architecture:
    """Return the model; its head is never tied."""
    hidden, vocabulary = config.integer("hidden_size"), config.integer("vocab_size")
    layers = config.integer("num_hidden_layers")
    keys = list(zip(mixer_kinds(config, layers), feed_forward_kinds(config, layers), strict=True))
    config.ignore(*HARMLESS)
    prediction = [decoder_layer(config, "full_attention", "sparse") for _ in range(predicted_layers(config))]
    return Architecture(
        model_type=config.model_type,
        hidden_size=hidden,
        vocabulary_size=vocabulary,
        max_positions=config.optional_integer("max_position_embeddings"),
        embedding=table("embed_tokens", vocabulary, hidden),
        layers=repeated(keys, lambda key: decoder_layer(config, *key)),
        head=(*norm("norm", hidden), *linear("lm_head", use="head", part="head", out=vocabulary, into=hidden)),
        multi_token_prediction=prediction_layers(config, prediction, copies_tables=False),
    )


def linear_settings(config: Config) -> Mapping[str, Any]:
    """Return the mapping in which published Kimi files describe their linear attention."""
    settings = config.get("linear_attn_config", default={}) or {}
    if not isinstance(settings, Mapping):
        raise UserError(f'{config.where}: "linear_attn_config" must be a mapping, not {settings!r}')
    if settings.get("use_full_rank_gate"):
        raise UserError(f'{config.where}: "linear_attn_config.use_full_rank_gate" is not known for kimi_linear')
    return settings


def mixer_kinds(config: Config, layers: int) -> list[str]:
    """Return which layers attend fully: as listed, else by the rule of the configuration class.

    Raises:
        UserError: a layer without a kind, or of a kind that these models do not have.
    """
    listed = layer_types(config, layers)
    settings = linear_settings(config)
    if config.model_type == "bailing_hybrid":
        group = config.integer("layer_group_size")
        full = [(index + 1) % group == 0 for index in range(layers)]
    elif {"full_attn_layers", "kda_layers"} <= set(settings):
        full = [index + 1 in settings["full_attn_layers"] for index in range(layers)]
        missing = [n for n in range(1, layers + 1) if n not in {*settings["full_attn_layers"], *settings["kda_layers"]}]
        if missing and listed is None:
            raise UserError(f'{config.where}: "linear_attn_config" does not say what layer {missing[0]} is')
    else:
        full = [index > 0 and index % 4 == 0 for index in range(layers)]
    for kind in listed or ():
        if kind not in ("linear_attention", "full_attention"):
            raise UserError(f'{config.where}: "layer_types" names "{kind}", which {config.model_type} does not have')
    return listed or ["full_attention" if here else "linear_attention" for here in full]


def feed_forward_kinds(config: Config, layers: int) -> list[str]:
    """Return "dense" or "sparse" for each layer.

    Raises:
        UserError: the list is not as long as there are layers, or holds another word.
    """
    dense = config.integer("first_k_dense_replace", default=1, minimum=0)
    listed = config.sequence("mlp_layer_types")
    if listed is None:
        return ["dense" if index < dense else "sparse" for index in range(layers)]
    if len(listed) != layers or not {*listed} <= {"dense", "sparse"}:
        raise UserError(f'{config.where}: "mlp_layer_types" must name "dense" or "sparse" for each of {layers} layers')
    return [str(kind) for kind in listed]


def decoder_layer(config: Config, mixer: str, feed_forward: str) -> Layer:
    """Return one layer."""
    hidden = config.integer("hidden_size")
    mlp = experts(config) if feed_forward == "sparse" else None
    blocks = (
        norms("input_layernorm", "post_attention_layernorm", size=hidden),
        latent_block(config) if mixer == "full_attention" else delta_block(config),
        mlp or gated_mlp(hidden=hidden, intermediate=config.integer("intermediate_size")),
    )
    return layer_of(f"{mixer}_moe" if mlp else mixer, blocks)


def delta_block(config: Config) -> Block:
    """Return Kimi delta attention."""
    settings = linear_settings(config)
    heads, head_dim, kernel = (config.integer(*names) for names in LINEAR_SIZES[config.model_type])
    return kimi_delta_attention(
        hidden=config.integer("hidden_size"),
        heads=int(settings.get("num_heads", heads)),
        head_dim=int(settings.get("head_dim", head_dim)),
        kernel=int(settings.get("short_conv_kernel_size", kernel)),
        low_rank_gates=config.model_type == "kimi_linear",
    )


def latent_block(config: Config) -> Block:
    """Return multi-head latent attention; the hybrid of Ling gates each head's output."""
    hidden, heads = config.integer("hidden_size"), config.integer("num_attention_heads")
    bailing = config.model_type == "bailing_hybrid"
    check_divides("key-value heads", heads, config.optional_integer("num_key_value_heads", minimum=1) or heads)
    block = latent_attention(
        hidden=hidden,
        heads=heads,
        q_rank=None if bailing else config.optional_integer("q_lora_rank", minimum=1),
        kv_rank=config.integer("kv_lora_rank"),
        nope_dim=config.integer("qk_nope_head_dim"),
        rope_dim=config.integer("qk_rope_head_dim"),
        value_dim=config.integer("v_head_dim"),
        bias=config.flag("attention_bias"),
    )
    gate = linear("self_attn.g_proj", use="other", part="attention", out=heads, into=hidden) if bailing else ()
    return block + Block(gate)


def experts(config: Config) -> Block:
    """Return the experts and their shared expert."""
    width = config.integer("moe_intermediate_size")
    return mixture(
        hidden=config.integer("hidden_size"),
        experts=config.integer("num_local_experts"),
        top_k=config.integer("num_experts_per_tok"),
        intermediate=width,
        shared_intermediate=width * config.integer("n_shared_experts", minimum=0),
    )
