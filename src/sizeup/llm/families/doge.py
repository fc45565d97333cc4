"""Doge: dynamic mask attention, learned residual scales, and experts that are single rows of a table.

Source: transformers 5.23 ``modeling_doge.py``, ``configuration_doge.py``.
"""

from __future__ import annotations

import math

from sizeup.errors import UserError
from sizeup.llm.architecture import Architecture, Block, Layer, Tensor, layer_of
from sizeup.llm.blocks import attention, gated_mlp, head, linear, norm, norms, table, vector
from sizeup.llm.config import Config
from sizeup.llm.families.common import attention_dims, repeated
from sizeup.llm.families.windows import layer_windows


def build(config: Config) -> Architecture:
    """Return the decoder, dense or with cross-domain experts."""
    hidden, vocabulary = config.integer("hidden_size"), config.integer("vocab_size")
    tied = config.flag("tie_word_embeddings")
    return Architecture(
        model_type=config.model_type,
        hidden_size=hidden,
        vocabulary_size=vocabulary,
        max_positions=config.optional_integer("max_position_embeddings"),
        embedding=table("embed_tokens", vocabulary, hidden),
        layers=repeated(layer_windows(config, "every"), lambda window: _layer(config, hidden, window)),
        head=(*norm("norm", hidden), *head(hidden, vocabulary, tied=tied)),
        tied_embeddings=tied,
    )


def _layer(config: Config, hidden: int, window: int | None) -> Layer:
    blocks = (
        norms("input_layernorm", "post_attention_layernorm", size=hidden),
        Block(
            (*vector("input_residual", hidden, part="other"), *vector("post_attention_residual", hidden, part="other"))
        ),
        _attention(config, hidden, window),
        gated_mlp(hidden=hidden, intermediate=config.integer("intermediate_size"), bias=config.flag("mlp_bias")),
        _experts(config, hidden) if config.flag("is_moe") else Block(),
    )
    return layer_of("full_attention" if window is None else "sliding_attention", blocks)


def _attention(config: Config, hidden: int, window: int | None) -> Block:
    heads, kv_heads, head_dim = attention_dims(config)
    bias = config.flag("attention_bias")
    mask = (
        *vector("self_attn.A", kv_heads, part="attention"),
        *linear("self_attn.dt_proj", use="other", part="attention", out=kv_heads, into=kv_heads * head_dim, bias=bias),
    )
    block = attention(
        hidden=hidden, heads=heads, kv_heads=kv_heads, head_dim=head_dim, bias=bias, qk_norm="head", window=window
    )
    return block + Block(mask)


def _experts(config: Config, hidden: int) -> Block:
    """Return the experts, one row down and one row up each, found by two half keys; the MLP is the shared expert."""
    experts, top_k = config.integer("num_experts"), config.integer("num_experts_per_tok")
    keys = math.isqrt(experts)
    if top_k > keys:
        raise UserError(
            f'{config.where}: "num_experts_per_tok" = {top_k} is more than the {keys} half keys of {experts} experts'
        )
    router = linear("mlp.router_gate", use="router", part="router", out=2 * keys, into=hidden)
    rows = tuple(
        Tensor(
            name=f"mlp.{name}",
            use="other",
            part="experts",
            kind="embedding",
            shape=(hidden,),
            copies=experts,
            active=top_k,
        )
        for name in ("down_embed", "up_embed")
    )
    return Block(router + rows)
