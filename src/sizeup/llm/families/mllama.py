"""Llama 3.2 Vision's text model: Llama, with some layers that look at the image only, behind learned gates.

Source: transformers 5.23 ``modeling_mllama.py``.
"""

from __future__ import annotations

from dataclasses import replace

from sizeup.llm.architecture import Architecture, Block, Layer, TokenCache, layer_of
from sizeup.llm.blocks import attention, gated_mlp, head, norm, norms, table, vector
from sizeup.llm.config import Config
from sizeup.llm.families.common import attention_dims, repeated

EXTRA_ROWS = 8
"""Special image tokens that the embedding holds beyond the vocabulary."""
CROSS_LAYERS = (3, 8, 13, 18, 23, 28, 33, 38)
"""What the class assumes."""


def build(config: Config) -> Architecture:
    """Return the text model; its head is never the embedding, which has more rows."""
    hidden, vocabulary = config.integer("hidden_size"), config.integer("vocab_size")
    listed = config.sequence("cross_attention_layers")
    crossing = set(CROSS_LAYERS if listed is None else listed)
    config.ignore("tie_word_embeddings")
    layers = config.integer("num_hidden_layers")
    return Architecture(
        model_type=config.model_type,
        hidden_size=hidden,
        vocabulary_size=vocabulary,
        max_positions=config.optional_integer("max_position_embeddings"),
        embedding=table("embed_tokens", vocabulary + EXTRA_ROWS, hidden),
        layers=repeated(
            [index in crossing for index in range(layers)], lambda crossed: _layer(config, hidden, crossed)
        ),
        head=(*norm("norm", hidden), *head(hidden, vocabulary, tied=False)),
    )


def _layer(config: Config, hidden: int, crossed: bool) -> Layer:
    heads, kv_heads, _ = attention_dims(config)
    prefix, qk_norm = ("cross_attn", "head") if crossed else ("self_attn", None)
    block = attention(
        hidden=hidden, heads=heads, kv_heads=kv_heads, head_dim=hidden // heads, qk_norm=qk_norm, prefix=prefix
    )
    blocks = [
        norms("input_layernorm", "post_attention_layernorm", size=hidden),
        _looking(block) if crossed else block,
        gated_mlp(hidden=hidden, intermediate=config.integer("intermediate_size")),
    ]
    return layer_of("cross_attention" if crossed else "full_attention", blocks)


def _looking(block: Block) -> Block:
    """Return attention over the image instead of the text, with its two gates."""
    gates = (t for name in ("cross_attn_attn_gate", "cross_attn_mlp_gate") for t in vector(name, 1, part="attention"))
    mixers = tuple(replace(mixer, causal=False, over="encoder") for mixer in block.mixers)
    caches = (
        replace(cache, name="cross_attention", of="encoder") for cache in block.caches if isinstance(cache, TokenCache)
    )
    return Block((*block.tensors, *gates), mixers, tuple(caches))
