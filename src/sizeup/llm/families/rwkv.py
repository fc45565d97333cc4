"""RWKV-4 and RWKV-5: recurrences without attention; each layer keeps the last token and a state.

RWKV-5 has a matrix state per head and an output gate, and never ties its head to the embedding.
Source: transformers 5.23 ``modeling_rwkv.py``; for RWKV-5 (no transformers class) the checkpoint layout of
RWKV/rwkv-5-world-3b as ``mlc-ai/mlc-llm`` ``rwkv5_model.py`` loads it, and arXiv 2404.05892.
"""

from __future__ import annotations

from sizeup.llm.architecture import Architecture, Block, Layer, Mixer, StateCache, Tensor, layer_of
from sizeup.llm.blocks import check_divides, head, linear, norm, norms, table, vector
from sizeup.llm.blocks_ssm import recurrent_state
from sizeup.llm.config import Config


def build(config: Config) -> Architecture:
    """Return the model; layer 0 has one more norm."""
    hidden, vocabulary = config.integer("hidden_size"), config.integer("vocab_size")
    tied = config.model_type == "rwkv" and config.flag("tie_word_embeddings")
    layer = decoder_layer(config)
    entry = norms("pre_ln", size=hidden, bias=True)
    first = Layer(kind=layer.kind, tensors=entry.tensors + layer.tensors, mixers=layer.mixers, caches=layer.caches)
    config.ignore("rescale_every", "model_version")
    return Architecture(
        model_type=config.model_type,
        hidden_size=hidden,
        vocabulary_size=vocabulary,
        max_positions=config.optional_integer("context_length", "max_position_embeddings"),
        embedding=table("embeddings", vocabulary, hidden),
        layers=(first, *(layer,) * (config.integer("num_hidden_layers") - 1)),
        head=(*norm("ln_out", hidden, bias=True), *head(hidden, vocabulary, tied=tied, name="head")),
        tied_embeddings=tied,
    )


def decoder_layer(config: Config) -> Layer:
    """Return one layer: time mixing and channel mixing, each remembering the last token."""
    hidden = config.integer("hidden_size")
    last_tokens = StateCache(name="last_tokens", elements=2 * hidden)
    mixer = time_mixing(config) if config.model_type == "rwkv" else gated_time_mixing(config)
    blocks = (norms("ln1", "ln2", size=hidden, bias=True), mixer, channel_mixing(config), Block(caches=(last_tokens,)))
    return layer_of("recurrent", blocks)


def mixes(prefix: str, hidden: int, *names: str) -> tuple[Tensor, ...]:
    """Return the vectors that mix a token with the one before it."""
    return tuple(t for name in names for t in vector(f"{prefix}.time_mix_{name}", hidden, part="ssm"))


def time_mixing(config: Config) -> Block:
    """Return RWKV-4's time mixing; its state is a numerator, a denominator and a maximum per channel."""
    hidden = config.integer("hidden_size")
    width = config.optional_integer("attention_hidden_size", minimum=1) or hidden
    tensors = projections(hidden, width, "key", "value", "receptance")
    tensors += mixes("attention", hidden, "key", "value", "receptance")
    tensors += vector("attention.time_decay", width, part="ssm") + vector("attention.time_first", width, part="ssm")
    mixer = Mixer(kind="recurrent", heads=1, key_dim=1, value_dim=width, state_elements=3 * width)
    state = StateCache(name="recurrent_state", elements=3 * hidden, dtype="fp32")
    return Block(tensors, (mixer,), (state,))


def gated_time_mixing(config: Config) -> Block:
    """Return RWKV-5's time mixing: one matrix state per head, a norm per head, an output gate."""
    hidden = config.integer("hidden_size")
    width = config.optional_integer("attention_hidden_size", minimum=1) or hidden
    size = config.integer("head_size", default=64)
    check_divides('"head_size"', width, size)
    names = ("key", "value", "receptance", "gate")
    tensors = projections(hidden, width, *names) + mixes("attention", hidden, *names)
    tensors += vector("attention.time_decay", width, part="ssm") + vector("attention.time_faaaa", width, part="ssm")
    tensors += norm("attention.ln_x", width, bias=True, part="ssm")
    return Block(tensors) + recurrent_state(heads=width // size, key_dim=size, value_dim=size)


def projections(hidden: int, width: int, *names: str) -> tuple[Tensor, ...]:
    """Return the input projections of time mixing and its output projection."""
    into = tuple(
        tensor
        for name in names
        for tensor in linear(f"attention.{name}", use="ssm_in", part="ssm", out=width, into=hidden)
    )
    return into + linear("attention.output", use="ssm_out", part="ssm", out=hidden, into=width)


def channel_mixing(config: Config) -> Block:
    """Return the feed-forward part: 4 times the hidden size where it is not stated, for RWKV-5 3.5 times in 32s."""
    hidden = config.integer("hidden_size")
    assumed = 4 * hidden if config.model_type == "rwkv" else int(3.5 * hidden) // 32 * 32
    width = config.optional_integer("intermediate_size", minimum=1) or assumed
    return Block(
        (
            *mixes("feed_forward", hidden, "key", "receptance"),
            *linear("feed_forward.key", use="up", part="mlp", out=width, into=hidden),
            *linear("feed_forward.receptance", use="gate", part="mlp", out=hidden, into=hidden),
            *linear("feed_forward.value", use="down", part="mlp", out=hidden, into=width),
        )
    )
