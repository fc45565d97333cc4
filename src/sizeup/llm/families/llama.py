"""Llama and its many look-alikes: RMSNorm, grouped-query attention, SwiGLU, rotary positions.

Source: transformers 5.23 ``modeling_llama.py`` and the types listed in ``index.json``.
"""

from __future__ import annotations

from sizeup.llm.architecture import Architecture, Layer, layer_of
from sizeup.llm.blocks import attention, gated_mlp, head, norm, norms, table
from sizeup.llm.config import Config
from sizeup.llm.families.common import attention_dims, sliding_windows


def build(config: Config) -> Architecture:
    """Return a dense decoder with Llama's block."""
    hidden, vocabulary = config.integer("hidden_size"), config.integer("vocab_size")
    heads, kv_heads, head_dim = attention_dims(config)
    tied = config.flag("tie_word_embeddings")
    intermediate = config.integer("intermediate_size")
    bias, mlp_bias = config.flag("attention_bias"), config.flag("mlp_bias")
    made: dict[int | None, Layer] = {}
    for window in sliding_windows(config):
        if window not in made:
            made[window] = layer_of(
                "full_attention" if window is None else "sliding_attention",
                (
                    norms("input_layernorm", "post_attention_layernorm", size=hidden),
                    attention(
                        hidden=hidden, heads=heads, kv_heads=kv_heads, head_dim=head_dim, bias=bias, window=window
                    ),
                    gated_mlp(hidden=hidden, intermediate=intermediate, bias=mlp_bias),
                ),
            )
    return Architecture(
        model_type=config.model_type,
        hidden_size=hidden,
        vocabulary_size=vocabulary,
        max_positions=config.optional_integer("max_position_embeddings"),
        embedding=table("embed_tokens", vocabulary, hidden),
        layers=tuple(made[window] for window in sliding_windows(config)),
        head=(*norm("norm", hidden), *head(hidden, vocabulary, tied=tied)),
        tied_embeddings=tied,
    )
