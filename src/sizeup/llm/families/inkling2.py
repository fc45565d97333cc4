"""Inkling 2: Inkling with gated attention, sinks that depend on the token, and attention over earlier residuals.

Full layers norm query, key and value apart, and the filters of their convolutions depend on the token.
Source: transformers 5.23 ``modeling_inkling2.py``, ``configuration_inkling2.py``.
"""

from __future__ import annotations

from sizeup.llm.architecture import Architecture, Block, Layer, Tensor, layer_of
from sizeup.llm.blocks import attention, head, linear, mixture, norm, norms, vector
from sizeup.llm.config import Config
from sizeup.llm.families.common import repeated
from sizeup.llm.families.experts import top_k_of
from sizeup.llm.families.inkling import (
    FULL,
    Dims,
    hybrid_dims,
    hybrid_kinds,
    normed_table,
    relative_positions,
    short_convolution,
)

Place = tuple[str, bool]
"""A layer's kind, and whether it is the first, which has no earlier residuals to look at."""

FULL_NORMS = ("q_input_layernorm", "k_input_layernorm", "v_input_layernorm", "post_attention_layernorm")
SLIDING_NORMS = ("input_layernorm", "post_attention_layernorm")


def build(config: Config) -> Architecture:
    """Return the text model."""
    hidden, vocabulary = config.integer("hidden_size"), config.integer("vocab_size")
    config.ignore("unpadded_vocab_size", "n_layers_per_attn_res_block", "number_of_conv_states")
    places = [(kind, index == 0) for index, kind in enumerate(hybrid_kinds(config))]
    return Architecture(
        model_type=config.model_type,
        hidden_size=hidden,
        vocabulary_size=vocabulary,
        max_positions=config.optional_integer("max_position_embeddings"),
        embedding=normed_table(vocabulary, hidden),
        layers=repeated(places, lambda place: _layer(config, place)),
        head=(
            *vector("final_input.query", hidden, part="other"),
            *norm("norm", hidden),
            *head(hidden, vocabulary, tied=False),
        ),
    )


def _layer(config: Config, place: Place) -> Layer:
    kind, first = place
    hidden, experts = config.integer("hidden_size"), config.integer("n_routed_experts")
    queries = (3, hidden) if kind == FULL else (hidden,)  # one for each of query, key and value
    residuals = vector("mlp_input.query", hidden, part="other")
    residuals += () if first else vector("attention_input.query", *queries, part="other")
    mlp = mixture(
        hidden=hidden,
        experts=experts,
        top_k=top_k_of(config, experts),
        intermediate=config.integer("moe_intermediate_size"),
        fused=True,
    )
    return layer_of(
        kind,
        (
            norms(*(FULL_NORMS if kind == FULL else SLIDING_NORMS), size=hidden),
            Block(residuals),
            _attention(config, kind, hybrid_dims(config, kind), hidden),
            mlp,
            short_convolution(config, "post_attention_convolution", hidden),
            short_convolution(config, "post_mlp_convolution", hidden),
        ),
    )


def _attention(config: Config, kind: str, dims: Dims, hidden: int) -> Block:
    heads, width = dims.heads, dims.kv_heads * dims.head_dim
    block = attention(
        hidden=hidden, heads=heads, kv_heads=dims.kv_heads, head_dim=dims.head_dim, window=dims.window
    ) + relative_positions(config, dims)
    for name in ("self_attn.k_sconv", "self_attn.v_sconv"):
        weights = _dynamic_filters(config, name, dims, hidden) if kind == FULL else None
        block += short_convolution(config, name, width, weights=weights)
    extras = (
        *linear("self_attn.gate_proj", use="gate", part="attention", out=heads * dims.head_dim, into=hidden),
        *linear("self_attn.sink_proj", use="other", part="attention", out=heads, into=hidden),
        *vector("self_attn.q_l2_clip.scale", heads, dims.head_dim, part="attention"),
        *vector("self_attn.rel_l2_clip.scale", heads, config.integer("d_rel"), part="attention"),
    )
    return block + Block(extras)


def _dynamic_filters(config: Config, name: str, dims: Dims, hidden: int) -> tuple[Tensor, ...]:
    """Return the fixed filter of every channel, and the projection that makes one for every head and token."""
    kernel = config.integer("conv_kernel_size")
    fixed = vector(f"{name}.static_weight", kernel, dims.kv_heads * dims.head_dim, part="other", kind="conv")
    return fixed + linear(f"{name}.weight_proj", use="other", part="other", out=dims.kv_heads * kernel, into=hidden)
