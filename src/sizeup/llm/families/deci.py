"""Nemotron-NAS (DeciLM, "puzzle"): Llama whose every layer has its own key-value heads and MLP width, or none.

Source: ``configuration_decilm.py`` and ``modeling_decilm.py`` of nvidia/Llama-3_3-Nemotron-Super-49B-v1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sizeup.errors import UserError
from sizeup.llm.architecture import Architecture, Block, Layer, layer_of
from sizeup.llm.blocks import attention, check_divides, gated_mlp, head, linear, norm, norms, table
from sizeup.llm.config import Config
from sizeup.llm.families.common import repeated

HARMLESS = frozenset({"num_sink_tokens", "sparsify", "unshifted_sink", "use_prefill_window_in_sink_attention"})
MULTIPLE = 256
"""MLP widths are rounded up to this (``_ffn_mult_to_intermediate_size``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One layer: heads per group or None, the width factor of the MLP or None, and what became one matrix."""

    group: int | None
    window: int | None
    width_factor: float | None
    attention_as_linear: bool
    mlp_as_linear: bool


def build(config: Config) -> Architecture:
    """Return the decoder that ``block_configs`` describes layer by layer."""
    hidden, vocabulary = config.integer("hidden_size"), config.integer("vocab_size")
    tied = config.flag("tie_word_embeddings")
    config.ignore("intermediate_size", "num_key_value_heads")  # null: every layer has its own
    blocks = config.sequence("block_configs") or []
    layers = config.integer("num_hidden_layers", default=len(blocks))
    if len(blocks) != layers:
        raise UserError(f'{config.where}: "block_configs" describes {len(blocks)} layers, the model has {layers}')
    return Architecture(
        model_type=config.model_type,
        hidden_size=hidden,
        vocabulary_size=vocabulary,
        max_positions=config.optional_integer("max_position_embeddings"),
        embedding=table("embed_tokens", vocabulary, hidden),
        layers=repeated([_shape(config, block) for block in blocks], lambda shape: _layer(config, hidden, shape)),
        head=(*norm("norm", hidden), *head(hidden, vocabulary, tied=tied)),
        tied_embeddings=tied,
    )


def _shape(config: Config, block: Any) -> Shape:
    """Read one entry of ``block_configs``.

    Raises:
        UserError: a key of the entry is not known and switched on.
    """
    attention_part, mlp_part = (_part(config, block, name) for name in ("attention", "ffn"))
    return Shape(
        group=None
        if attention_part["no_op"] or attention_part["replace_with_linear"]
        else attention_part["n_heads_in_group"],
        window=attention_part["window_length"],
        width_factor=None if mlp_part["no_op"] or mlp_part["replace_with_linear"] else mlp_part["ffn_mult"],
        attention_as_linear=attention_part["replace_with_linear"],
        mlp_as_linear=mlp_part["replace_with_linear"],
    )


def _part(config: Config, block: Any, name: str) -> dict[str, Any]:
    known = {
        "no_op": False,
        "replace_with_linear": False,
        "n_heads_in_group": None,
        "window_length": None,
        "ffn_mult": None,
    }
    given = block.get(name) if isinstance(block, Mapping) else None
    if not isinstance(given, Mapping):
        raise UserError(f'{config.where}: an entry of "block_configs" has no "{name}"')
    unknown = sorted(key for key, value in given.items() if value and key not in known and key not in HARMLESS)
    if unknown:
        raise UserError(f'{config.where}: "{unknown[0]}" in "block_configs" is not understood')
    return {key: given.get(key, default) for key, default in known.items()}


def _layer(config: Config, hidden: int, shape: Shape) -> Layer:
    blocks = (_attention(config, hidden, shape), _mlp(config, hidden, shape))
    return layer_of("full_attention" if shape.group else "no_attention", blocks)


def _attention(config: Config, hidden: int, shape: Shape) -> Block:
    around = norms("input_layernorm", size=hidden)
    if shape.attention_as_linear:
        name = "self_attn.linear_attn"
        return around + Block(linear(name, use="other", part="attention", out=hidden, into=hidden))
    if shape.group is None:
        return Block()
    heads = config.integer("num_attention_heads")
    check_divides(f'{config.where}: "num_attention_heads" by "n_heads_in_group"', heads, shape.group)
    head_dim = config.optional_integer("head_dim", minimum=1) or hidden // heads
    bias = config.flag("attention_bias")
    return around + attention(
        hidden=hidden,
        heads=heads,
        kv_heads=heads // shape.group,
        head_dim=head_dim,
        bias=bias,
        window=shape.window,
    )


def _mlp(config: Config, hidden: int, shape: Shape) -> Block:
    around = norms("post_attention_layernorm", size=hidden)
    if shape.mlp_as_linear:
        return around + Block(linear("mlp.linear_mlp", use="other", part="mlp", out=hidden, into=hidden))
    if shape.width_factor is None:
        return Block()
    width = int(2 * shape.width_factor * hidden / 3)
    return around + gated_mlp(
        hidden=hidden, intermediate=-(-width // MULTIPLE) * MULTIPLE, bias=config.flag("mlp_bias")
    )
