"""GPT-2 and the decoders that followed it: GPT-J, GPT-NeoX, BLOOM, Falcon, MPT, OPT, CTRL, XGLM and others.

Learned positions or none, LayerNorm with shifts, biases almost everywhere, two-matrix MLPs, often one fused input
projection. Source: transformers 5.23, the modeling files of the types in ``classic_traits.CLASSICS``.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from sizeup.errors import UserError
from sizeup.llm.architecture import Architecture, Block, Layer, Tensor, TokenCache, layer_of
from sizeup.llm.blocks import fused_attention, head, linear, norm, table
from sizeup.llm.blocks_encoder import feed_forward, kept_for, mixing, multi_head_attention
from sizeup.llm.config import Config
from sizeup.llm.families.classic_rules import HEADS, Place, hidden_size, mlp_width, places, settled
from sizeup.llm.families.classic_traits import CLASSICS, Classic
from sizeup.llm.families.common import repeated
from sizeup.llm.families.dense import switched


def build(config: Config) -> Architecture:
    """Return a classic decoder with the traits of its model type."""
    traits = settled(config, CLASSICS[config.model_type])
    hidden, vocabulary = hidden_size(config), config.integer("vocab_size")
    width = (config.optional_integer(traits.table_width, minimum=1) if traits.table_width else None) or hidden
    tied = config.flag("tie_word_embeddings")
    return Architecture(
        model_type=config.model_type,
        hidden_size=hidden,
        vocabulary_size=vocabulary,
        max_positions=config.optional_integer("max_position_embeddings", "max_seq_len"),
        embedding=_embedding(config, traits, width),
        layers=repeated(places(config), lambda place: _layer(config, traits, place)),
        head=(
            *(_norm(traits, traits.final_norm, hidden) if traits.final_norm else ()),
            *_projection("project_out", out=width, into=hidden),
            *_head(config, traits, width, tied),
        ),
        tied_embeddings=tied and not (config.model_type == "xlm" and config.flag("asm")),
    )


def _norm(traits: Classic, name: str, size: int) -> tuple[Tensor, ...]:
    return norm(name, size, bias=traits.norm_bias) if traits.norm_scale else ()


def _projection(name: str, *, out: int, into: int) -> tuple[Tensor, ...]:
    """OPT: what leads from a narrow token table to the hidden size and back."""
    return linear(name, use="other", part="embedding", out=out, into=into) if out != into else ()


def _head(config: Config, traits: Classic, width: int, tied: bool) -> tuple[Tensor, ...]:
    """Return the head, or XLM's adaptive softmax: frequent words at full width, rarer ones through narrower layers."""
    vocabulary = config.integer("vocab_size")
    if config.model_type != "xlm" or not config.flag("asm"):
        return head(width, vocabulary, tied=tied, bias=traits.head_bias, name=traits.head)
    cutoffs, divisor = config.sequence("asm_cutoffs") or [], config.number("asm_div_value")
    edges = [*cutoffs, vocabulary]
    first = edges[0] + len(cutoffs)
    tensors = linear(f"{traits.head}.head", use="head", part="head", out=first, into=width, bias=True)
    for index, (low, high) in enumerate(pairwise(edges)):
        narrow, name = int(width // divisor ** (index + 1)), f"{traits.head}.tail.{index}"
        tensors += linear(f"{name}.0", use="other", part="head", out=narrow, into=width)
        tensors += linear(f"{name}.1", use="other", part="head", out=high - low, into=narrow)
    return tensors


def _embedding(config: Config, traits: Classic, width: int) -> tuple[Tensor, ...]:
    hidden = hidden_size(config)
    tensors = table(traits.embedding, config.integer("vocab_size"), width)
    tensors += _projection("project_in", out=hidden, into=width)
    if traits.positions:
        rows = config.integer("max_position_embeddings") + traits.position_offset
        tensors += table(traits.positions, rows, hidden, use="position")
    for name, rows in traits.tables:
        tensors += table(name, rows, hidden)
    return tensors + (_norm(traits, traits.embedding_norm, hidden) if traits.embedding_norm else ())


def _layer(config: Config, traits: Classic, place: Place) -> Layer:
    hidden = hidden_size(config)
    heads = config.integer(*HEADS)
    if hidden % heads:
        raise UserError(f'{config.where}: "num_attention_heads" = {heads} does not divide the hidden size {hidden}')
    around = Block(tuple(t for name in traits.norms for t in _norm(traits, name, hidden)))
    mlp = feed_forward(
        *traits.mlp, hidden=hidden, intermediate=mlp_width(config, traits), bias=switched(config, traits.mlp_bias)
    )
    attention = _attention(config, traits, place, hidden, heads)
    kind = "full_attention" if place.window is None else "local_attention"
    return layer_of(kind, (around, attention, _cross(config, traits, hidden, heads), mlp))


def _attention(config: Config, traits: Classic, place: Place, hidden: int, heads: int) -> Block:
    bias = switched(config, traits.bias)
    output_bias = bias if traits.output_bias is None else switched(config, traits.output_bias)
    output_bias = output_bias or place.output_bias
    if not traits.fused:
        block = multi_head_attention(
            hidden=hidden, heads=heads, prefix=traits.attention, names=traits.names, bias=bias, output_bias=output_bias
        )
    else:
        block = fused_attention(
            hidden=hidden,
            heads=heads,
            kv_heads=traits.kv_heads or heads,
            head_dim=hidden // heads,
            bias=bias,
            output_bias=output_bias,
            prefix=traits.attention,
            names=(traits.fused, traits.names[3]),
        )
    mixers = tuple(replace(mixer, window=place.window, causal=traits.causal) for mixer in block.mixers)
    dim = hidden // heads
    kept = TokenCache(heads=traits.cached_heads or heads, key_dim=dim, value_dim=dim)
    return Block(block.tensors, mixers, (kept,) if traits.cached else ())


def _cross(config: Config, traits: Classic, hidden: int, heads: int) -> Block:
    """Return attention to an encoder's output, where the configuration asks for it."""
    module, its_norm = traits.cross
    if not module or not config.flag("add_cross_attention"):
        return Block()
    around = Block(norm(its_norm, hidden, bias=True))
    if not traits.fused:
        return around + multi_head_attention(
            hidden=hidden, heads=heads, prefix=module, names=traits.names, sight="encoder"
        )
    kept = kept_for(heads, hidden // heads, "encoder")
    tensors = (
        *linear(f"{module}.c_attn", use="qkv", part="attention", out=2 * hidden, into=hidden, bias=True),
        *linear(f"{module}.q_attn", use="query", part="attention", out=hidden, into=hidden, bias=True),
        *linear(f"{module}.c_proj", use="output", part="attention", out=hidden, into=hidden, bias=True),
    )
    return around + Block(tensors, (mixing(heads, hidden // heads, "encoder"),), (kept,) if kept else ())
