"""Reformer: local attention and locality-sensitive hashing (query and key are one), axial positions, two streams.

Reversible layers work on two streams, so the final norm and the head are twice as wide; the cache holds hidden states
and, behind the first chunk, the bucket of every token. Source: transformers 5.23 ``modeling_reformer.py``.
"""

from __future__ import annotations

import math

from sizeup.errors import UserError
from sizeup.llm.architecture import Architecture, Block, Cache, Layer, Mixer, Tensor, TokenCache, layer_of
from sizeup.llm.blocks import head, linear, norm, norms, table, vector
from sizeup.llm.blocks_encoder import feed_forward
from sizeup.llm.config import Config
from sizeup.llm.families.common import repeated

KINDS = ("local", "lsh")


def build(config: Config) -> Architecture:
    """Return the language model, causal where ``is_decoder`` says so."""
    hidden, vocabulary = config.integer("hidden_size"), config.integer("vocab_size")
    kinds = config.sequence("attn_layers") or []
    layers = config.optional_integer("num_hidden_layers", minimum=1) or len(kinds)
    if layers > len(kinds):
        raise UserError(f'{config.where}: "attn_layers" names {len(kinds)} layers, the model has {layers}')
    kinds = kinds[:layers]
    if not kinds or not set(kinds) <= set(KINDS):
        raise UserError(f'{config.where}: "attn_layers" must name one or more of "local" and "lsh", not {kinds}')
    config.ignore("num_buckets", "axial_norm_std", "tie_word_embeddings")
    config.ignore("num_chunks_before", "num_chunks_after", "intermediate_size", "sinusoidal_pos_embds")
    return Architecture(
        model_type=config.model_type,
        hidden_size=hidden,
        vocabulary_size=vocabulary,
        max_positions=config.optional_integer("max_position_embeddings"),
        embedding=(*table("word_embeddings", vocabulary, hidden), *_positions(config, hidden)),
        layers=repeated(kinds, lambda kind: _layer(config, kind, set(kinds))),
        head=(
            *norm("encoder.layer_norm", 2 * hidden, bias=True),
            *head(2 * hidden, vocabulary, tied=False, bias=True, name="lm_head.decoder"),
        ),
    )


def _positions(config: Config, hidden: int) -> tuple[Tensor, ...]:
    """Return one table of positions, or one per axis whose sum of widths is the hidden size."""
    dims, shape = config.sequence("axial_pos_embds_dim") or [], config.sequence("axial_pos_shape") or []
    if not config.flag("axial_pos_embds"):
        return table("position_embeddings.embedding", config.integer("max_position_embeddings"), hidden, use="position")
    if sum(dims) != hidden or len(dims) != len(shape):
        raise UserError(f'{config.where}: "axial_pos_embds_dim" {dims} must sum to "hidden_size" = {hidden}')
    return tuple(
        tensor
        for axis, (rows, width) in enumerate(zip(shape, dims, strict=True))
        for tensor in vector(f"position_embeddings.weights.{axis}", rows, width, part="embedding", use="position")
    )


def _layer(config: Config, kind: str, kinds: set[str]) -> Layer:
    hidden = config.integer("hidden_size")
    mlp = feed_forward(
        "feed_forward.dense.dense",
        "feed_forward.output.dense",
        hidden=hidden,
        intermediate=config.integer("feed_forward_size"),
    )
    around = norms("attention.layer_norm", "feed_forward.layer_norm", size=hidden, bias=True)
    return layer_of(f"{kind}_attention", (around, _attention(config, kind, kinds, hidden), mlp))


def _attention(config: Config, kind: str, kinds: set[str], hidden: int) -> Block:
    heads, dim = config.integer("num_attention_heads"), config.integer("attention_head_size")
    into = {"part": "attention", "out": heads * dim, "into": hidden}
    inner = "attention.self_attention"
    first = {"query": "query", "key": "key"} if kind == "local" else {"query_key": "query"}
    tensors: tuple[Tensor, ...] = ()
    for name, use in {**first, "value": "value"}.items():
        tensors += linear(f"{inner}.{name}", use=use, **into)  # type: ignore[arg-type]
    tensors += linear("attention.output.dense", use="output", part="attention", out=hidden, into=heads * dim)
    chunk = config.integer(f"{kind}_attn_chunk_length")
    chunks = 1 + config.integer(f"{kind}_num_chunks_before", minimum=0)
    chunks += config.integer(f"{kind}_num_chunks_after", minimum=0)
    causal = config.flag("is_decoder")
    mixer = Mixer(
        kind="attention", heads=heads, kv_heads=heads, key_dim=dim, value_dim=dim, window=chunk * chunks, causal=causal
    )
    return Block(tensors, (mixer,), _caches(config, kind, kinds, heads, hidden) if causal else ())


def _caches(config: Config, kind: str, kinds: set[str], heads: int, hidden: int) -> tuple[Cache, ...]:
    stored = "fp32" if config.flag("axial_pos_embds") else None  # axial tables are float32 whatever the model is
    states = TokenCache(name="hidden_states", heads=1, key_dim=hidden, value_dim=0, dtype=stored)
    if kind == "local":
        return (states,)
    chunks = [config.integer(f"{name}_attn_chunk_length") for name in sorted(kinds)]
    own = config.integer("lsh_attn_chunk_length")
    first = own if math.lcm(*chunks) == own else min(chunks)  # longer inputs are padded to a common multiple
    halves = 2  # a bucket is an int64: two numbers of 32 bits
    width = halves * config.integer("num_hashes")
    return (states, TokenCache(name="buckets", heads=heads, key_dim=width, value_dim=0, after=first + 1, dtype="fp32"))
