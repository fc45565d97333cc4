"""Gemma 4: wide heads in the full layers, late layers that read earlier layers' keys and values, per-layer embeddings,
optional experts beside the MLP. Source: transformers 5.23 ``modeling_gemma4.py``, ``configuration_gemma4.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sizeup.errors import UserError
from sizeup.llm.architecture import Architecture, Block, Layer, Tensor, layer_of
from sizeup.llm.blocks import fused_mlp, gated_mlp, head, linear, norm, norms, table, token_mixing, vector
from sizeup.llm.config import Config
from sizeup.llm.families.common import repeated
from sizeup.llm.families.dense_traits import GEMMA_NORMS
from sizeup.llm.families.windows import layer_kinds, window_size

HEADS_IN_FULL_LAYERS = 512
"""Head dimension of the full layers where the configuration says nothing (``Gemma4TextConfig.__post_init__``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What differs between the layers of one model."""

    kind: str
    owns_cache: bool
    head_dim: int
    kv_heads: int
    intermediate: int
    value_projection: bool = True


def build(config: Config) -> Architecture:
    """Return the text model, or the drafting model around it."""
    return _assistant(config) if config.model_type.endswith("_assistant") else _text(config)


def _text(config: Config, *, all_shared: bool = False) -> Architecture:
    hidden, vocabulary = config.integer("hidden_size"), config.integer("vocab_size")
    tied = config.flag("tie_word_embeddings")
    per_layer = config.model_type == "gemma4_text" and config.integer("hidden_size_per_layer_input", minimum=0)
    embedding = table("embed_tokens", vocabulary, hidden)
    if per_layer:
        embedding += per_layer_embedding(config)
    return Architecture(
        model_type=config.model_type,
        hidden_size=hidden,
        vocabulary_size=vocabulary,
        max_positions=config.optional_integer("max_position_embeddings"),
        embedding=embedding,
        layers=repeated(_shapes(config, all_shared), lambda shape: _layer(config, shape)),
        head=(*norm("norm", hidden), *head(hidden, vocabulary, tied=tied)),
        tied_embeddings=tied,
    )


def _assistant(config: Config) -> Architecture:
    """Return the model that drafts tokens for a Gemma 4: every layer reads the target's cache."""
    text = config.section("text_config")
    for key in ("hidden_size_per_layer_input", "enable_moe_block", "use_double_wide_mlp"):
        if text.get(key):
            raise UserError(f'{text.where}: "{key}" must be off in a "{config.model_type}"')
    model = _text(text, all_shared=True)
    hidden, target = model.hidden_size, config.integer("backbone_hidden_size")
    tied = config.flag("tie_word_embeddings")
    ends = (
        *linear("pre_projection", use="other", part="projector", out=hidden, into=2 * target),
        *linear("post_projection", use="other", part="projector", out=target, into=hidden),
    )
    config.ignore("centroid_intermediate_top_k")
    centroids = config.integer("num_centroids")
    if config.flag("use_ordered_embeddings"):
        ends += linear("masked_embedding.centroids", use="other", part="head", out=centroids, into=hidden)
    last = (*norm("norm", hidden), *head(hidden, model.vocabulary_size, tied=tied), *ends)
    return replace(model, model_type=config.model_type, head=last, tied_embeddings=tied)


def per_layer_embedding(config: Config) -> tuple[Tensor, ...]:
    """Return the second token table, which feeds every layer its own small vector (Gemma 3n)."""
    hidden, small = config.integer("hidden_size"), config.integer("hidden_size_per_layer_input", minimum=0)
    wide = config.integer("num_hidden_layers") * small
    return (
        *table("embed_tokens_per_layer", config.integer("vocab_size_per_layer_input", minimum=0), wide),
        *linear("per_layer_model_projection", use="other", part="embedding", out=wide, into=hidden),
        *norm("per_layer_projection_norm", small),
    )


def per_layer_block(hidden: int, small: int) -> Block:
    """Return what a layer does with its own small embedding."""
    return Block(
        (
            *linear("per_layer_input_gate", use="other", part="other", out=small, into=hidden),
            *linear("per_layer_projection", use="other", part="other", out=hidden, into=small),
            *norm("post_per_layer_input_norm", hidden),
        )
    )


def owners(config: Config, kinds: list[str], *, shared: int) -> list[bool]:
    """Return which layers own keys and values: the last ``shared`` layers read those of an earlier layer of their kind.

    Raises:
        UserError: a sharing layer has no earlier layer of its kind.
    """
    first_shared = max(len(kinds) - shared, 0)
    missing = set(kinds[first_shared:]) - set(kinds[:first_shared])
    if shared and missing:
        raise UserError(
            f'{config.where}: "num_kv_shared_layers" = {shared} leaves no earlier layer of type "{sorted(missing)[0]}"'
        )
    return [index < first_shared for index in range(len(kinds))]


def _shapes(config: Config, all_shared: bool) -> list[Shape]:
    layers = config.integer("num_hidden_layers")
    kinds = layer_kinds(config, layers) or [
        "full_attention" if (index + 1) % 6 == 0 else "sliding_attention" for index in range(layers)
    ]
    kinds[-1] = "full_attention"  # the class forces it
    shared = config.optional_integer("num_kv_shared_layers") or 0
    owning = [False] * layers if all_shared else owners(config, kinds, shared=shared)
    wide = 2 if config.flag("use_double_wide_mlp") else 1
    intermediate = config.integer("intermediate_size")
    same = config.flag("attention_k_eq_v")
    return [
        Shape(
            kind=kind,
            owns_cache=owns,
            head_dim=_layer_value(config, index, kind, "head_dim"),
            kv_heads=_layer_value(config, index, kind, "num_key_value_heads"),
            intermediate=intermediate * (1 if owns else wide),
            value_projection=not (same and kind == "full_attention"),
        )
        for index, (kind, owns) in enumerate(zip(kinds, owning, strict=True))
    ]


def _layer_value(config: Config, index: int, kind: str, key: str) -> int:
    """Return a layer's ``key``: from ``per_layer_config``, from the keys for full layers, or the common one."""
    full = {"head_dim": "global_head_dim", "num_key_value_heads": "num_global_key_value_heads"}[key]
    special = config.optional_integer(full, minimum=1)
    if config.present("per_layer_config"):
        value = _overrides(config, index).get(key)
        return value if isinstance(value, int) else config.integer(key)
    if key == "head_dim":
        special = special or HEADS_IN_FULL_LAYERS
    elif not config.flag("attention_k_eq_v"):
        special = None
    return special if special and kind == "full_attention" else config.integer(key)


def _overrides(config: Config, index: int) -> dict[str, Any]:
    """Return what ``per_layer_config`` says about one layer ("05" and 5 are the same layer).

    Raises:
        UserError: it overrides a key that the model reads only once.
    """
    listed = config.get("per_layer_config") or {}
    if not isinstance(listed, Mapping):
        raise UserError(f'{config.where}: "per_layer_config" must be a mapping')
    found = {
        str(key): value for layer, values in listed.items() if int(layer) == index for key, value in values.items()
    }
    unknown = sorted(set(found) - {"head_dim", "num_key_value_heads"})
    if unknown:
        raise UserError(
            f'{config.where}: "per_layer_config" sets "{unknown[0]}", which {config.model_type} does not read'
        )
    return found


def _layer(config: Config, shape: Shape) -> Layer:
    hidden = config.integer("hidden_size")
    blocks = [
        norms(*GEMMA_NORMS, size=hidden),
        sharing_attention(config, shape),
        gated_mlp(hidden=hidden, intermediate=shape.intermediate),
    ]
    if config.model_type == "gemma4_text":
        small = config.integer("hidden_size_per_layer_input", minimum=0)
        if small:
            blocks.append(per_layer_block(hidden, small))
        if config.flag("enable_moe_block"):
            blocks.append(_experts(config, hidden))
    return layer_of(shape.kind if shape.owns_cache else f"{shape.kind}_reading_a_cache", blocks)


def sharing_attention(config: Config, shape: Shape) -> Block:
    """Return attention with normed queries and keys; a layer that reads another's cache has neither keys nor values."""
    hidden, heads = config.integer("hidden_size"), config.integer("num_attention_heads")
    if heads % shape.kv_heads:
        raise UserError(f"{config.where}: {shape.kv_heads} key-value heads do not divide {heads} attention heads")
    bias, queries, keys = config.flag("attention_bias"), heads * shape.head_dim, shape.kv_heads * shape.head_dim
    tensors = linear("self_attn.q_proj", use="query", part="attention", out=queries, into=hidden, bias=bias)
    tensors += norm("self_attn.q_norm", shape.head_dim)
    if shape.owns_cache:
        tensors += linear("self_attn.k_proj", use="key", part="attention", out=keys, into=hidden, bias=bias)
        tensors += norm("self_attn.k_norm", shape.head_dim)
        if shape.value_projection:
            tensors += linear("self_attn.v_proj", use="value", part="attention", out=keys, into=hidden, bias=bias)
    tensors += linear("self_attn.o_proj", use="output", part="attention", out=hidden, into=queries, bias=bias)
    window = _window(config) if shape.kind == "sliding_attention" else None
    return Block(
        tensors,
        *token_mixing(heads, shape.kv_heads, shape.head_dim, shape.head_dim, window=window, cache=shape.owns_cache),
    )


def _window(config: Config) -> int | None:
    window = window_size(config, "every")
    both_ways = config.get("use_bidirectional_attention") == "all"
    return window // 2 + 1 if window and both_ways else window


def _experts(config: Config, hidden: int) -> Block:
    """Return the experts that run beside the MLP, with their router and norms."""
    experts, top_k = config.integer("num_experts"), config.integer("top_k_experts")
    if top_k > experts:
        raise UserError(f'{config.where}: "top_k_experts" = {top_k} is more than "num_experts" = {experts}')
    router = (
        *linear("router.proj", use="router", part="router", out=experts, into=hidden),
        *vector("router.scale", hidden, part="router"),
        *vector("router.per_expert_scale", experts, part="router"),
    )
    routed = fused_mlp(
        hidden=hidden,
        intermediate=config.integer("moe_intermediate_size"),
        prefix="experts",
        part="experts",
        copies=experts,
        active=top_k,
    )
    names = ("post_feedforward_layernorm_1", "post_feedforward_layernorm_2", "pre_feedforward_layernorm_2")
    return Block(router) + routed + norms(*names, size=hidden)
