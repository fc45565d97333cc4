"""Dense decoders: Llama and the many types that change its biases, norms, MLP or sliding layers (``dense_traits``).

Source: transformers 5.23 ``modeling_llama.py`` and the modeling files of the types in ``dense_traits.TRAITS``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sizeup.errors import UserError
from sizeup.llm.architecture import Architecture, Block, Layer, Tensor, Tower, layer_of
from sizeup.llm.blocks import (
    attention,
    fused_attention,
    fused_mlp,
    gated_mlp,
    head,
    mixture,
    norm,
    plain_mlp,
    table,
    vector,
)
from sizeup.llm.config import Config
from sizeup.llm.families.common import attention_dims
from sizeup.llm.families.dense_traits import TRAITS, Switch, Traits
from sizeup.llm.families.windows import layer_windows

ACTIVATION_PARAMETERS = {"xielu": 2, "prelu": 1}
"""Numbers that an activation function learns (transformers ``activations.py``)."""


def build(config: Config) -> Architecture:
    """Return a dense decoder with the traits of its model type."""
    if isinstance(config.values.get("text_config"), Mapping):
        return _wrapped(config)
    return build_with(config, TRAITS[config.model_type])


def _wrapped(config: Config) -> Architecture:
    """Return a wrapper under its text type's name (Ministral 3), with its encoder where we know how it is joined."""
    from sizeup.llm.families import wrappers

    if config.model_type in wrappers.WRAPPERS and isinstance(config.values.get("vision_config"), Mapping):
        return wrappers.build(config)
    text = config.section("text_config", model_type=config.model_type)
    if text.model_type not in TRAITS:
        raise UserError(f'{config.where}: "text_config" of type "{text.model_type}" inside "{config.model_type}"')
    config.ignore("vision_config", "spatial_merge_size", "multimodal_projector_bias", "projector_hidden_act")
    config.ignore("vision_feature_layer", "image_token_index")
    tower = Tower(
        name="vision encoder and projector", not_counted="the configuration wraps a text type in its own name"
    )
    return replace(build_with(text, TRAITS[text.model_type]), towers=(tower,))


def build_with(config: Config, traits: Traits) -> Architecture:
    """Return a dense decoder with given traits."""
    hidden, vocabulary = config.integer("hidden_size"), config.integer("vocab_size")
    tied = config.flag("tie_word_embeddings")
    made: dict[int | None, Layer] = {}
    windows = layer_windows(config, traits.windows, traits.pattern)
    for window in windows:
        if window not in made:
            made[window] = decoder_layer(config, traits, window)
    return Architecture(
        model_type=config.model_type,
        hidden_size=hidden,
        vocabulary_size=vocabulary,
        max_positions=config.optional_integer("max_position_embeddings"),
        embedding=table(traits.ends[0], vocabulary, hidden),
        layers=tuple(made[window] for window in windows),
        head=(
            *(scaled_norm(traits, traits.final_norm, hidden) if traits.final_norm else ()),
            *head(hidden, vocabulary, tied=tied, bias=traits.head_bias, name=traits.ends[1]),
        ),
        tied_embeddings=tied,
    )


def decoder_layer(config: Config, traits: Traits, window: int | None) -> Layer:
    """Return one layer."""
    hidden = config.integer("hidden_size")
    names = traits.norms[:1] if traits.norms_unless and config.flag(traits.norms_unless) else traits.norms
    if traits.norms_if and config.flag(traits.norms_if):
        names += traits.extra_norms
    kind = "full_attention" if window is None else "sliding_attention"
    around = Block(tuple(t for name in names for t in scaled_norm(traits, name, hidden)))
    return layer_of(kind, (around, attention_block(config, traits, window), mlp_block(config, traits)))


def switched(config: Config, switch: Switch) -> bool:
    """Return a fixed switch, or what its key says."""
    return config.flag(switch) if isinstance(switch, str) else switch


def scaled_norm(traits: Traits, name: str, size: int) -> tuple[Tensor, ...]:
    """Return a norm with the weights that this type gives it."""
    return norm(name, size, bias=traits.norm_bias) if traits.norm_scale else ()


def heads_of(config: Config, traits: Traits) -> tuple[int, int, int]:
    """Return (query heads, key-value heads, head dimension), refusing what the configuration class refuses."""
    heads, kv_heads, head_dim = attention_dims(config)
    hidden = config.integer("hidden_size")
    if traits.strict_heads and hidden % heads:
        raise UserError(
            f'{config.where}: "num_attention_heads" = {heads} does not divide "hidden_size" = {hidden}, '
            f"which {config.model_type} needs"
        )
    return heads, kv_heads if traits.own_kv_heads else heads, head_dim if traits.own_head_dim else hidden // heads


def attention_block(config: Config, traits: Traits, window: int | None) -> Block:
    """Return the attention of one layer."""
    hidden = config.integer("hidden_size")
    heads, kv_heads, head_dim = heads_of(config, traits)
    bias = switched(config, traits.bias)
    output_bias = bias if traits.output_bias is None else switched(config, traits.output_bias)
    prefix = traits.attention_prefix
    dims: dict[str, Any] = {
        "hidden": hidden,
        "heads": heads,
        "kv_heads": kv_heads,
        "head_dim": head_dim,
        "window": window,
    }
    if traits.fused_qkv:
        names = (traits.fused_qkv, traits.attention_names[3])
        block = fused_attention(**dims, bias=bias, output_bias=output_bias, prefix=prefix, names=names)
    else:
        block = attention(**dims, bias=bias, output_bias=output_bias, prefix=prefix, names=traits.attention_names)
    if traits.square_output:
        block = replace(block, tensors=tuple(square(tensor, hidden) for tensor in block.tensors))
    extras = qk_norms(config, traits, (heads, kv_heads, head_dim))
    if traits.sub_norm:
        extras += norm(f"{prefix}.{traits.sub_norm}", hidden)
    if traits.sinks:
        extras += vector(f"{prefix}.sinks", heads, part="attention")
    if traits.lambdas:
        for name in ("lambda_q1", "lambda_k1", "lambda_q2", "lambda_k2"):
            extras += vector(f"{prefix}.{name}", head_dim, part="attention")
    return block + Block(extras)


def square(tensor: Tensor, hidden: int) -> Tensor:
    """Return an output projection as hidden x hidden, other tensors as they are."""
    return replace(tensor, shape=(hidden, hidden)) if (tensor.use, tensor.kind) == ("output", "linear") else tensor


def qk_norms(config: Config, traits: Traits, dims: tuple[int, int, int]) -> tuple[Tensor, ...]:
    """Return the norms of query and key, where the type and its key have them."""
    if traits.qk_norm is None or (traits.qk_norm_if and not config.flag(traits.qk_norm_if)):
        return ()
    heads, kv_heads, head_dim = dims
    one = config.integer("hidden_size") // heads if traits.qk_norm == "divided" else head_dim
    sizes = (heads * head_dim, kv_heads * head_dim) if traits.qk_norm == "hidden" else (one, one)
    return tuple(
        tensor
        for name, size in zip(traits.qk_norm_names, sizes, strict=True)
        for tensor in norm(f"{traits.attention_prefix}.{name}", size, bias=traits.qk_norm_bias)
    )


def mlp_block(config: Config, traits: Traits) -> Block:
    """Return the MLP of one layer."""
    hidden, intermediate = config.integer("hidden_size"), config.integer("intermediate_size")
    bias = switched(config, traits.mlp_bias)
    sizes: dict[str, Any] = {"hidden": hidden, "intermediate": intermediate}
    if traits.mlp == "mixture":
        experts, top_k = config.integer("num_experts"), config.integer("num_experts_per_tok")
        block = mixture(**sizes, experts=experts, top_k=top_k, expert_bias=bias)
    elif traits.mlp == "plain":
        block = plain_mlp(**sizes, bias=bias, names=(traits.mlp_names[0], traits.mlp_names[1]))
    elif traits.mlp == "fused":
        block = fused_mlp(**sizes, bias=bias)
    else:
        gate, up, down = traits.mlp_names or ("gate_proj", "up_proj", "down_proj")
        block = gated_mlp(**sizes, bias=bias, names=(gate, up, down))
    if traits.mlp_sub_norm:
        block += Block(norm(f"mlp.{traits.mlp_sub_norm}", intermediate))
    activation = config.text(traits.activation_key, default=traits.activation)
    learned = ACTIVATION_PARAMETERS.get(activation, 0)
    return block + Block(vector("mlp.act_fn", learned, part="mlp") if learned else ())
