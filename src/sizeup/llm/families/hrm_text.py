"""HRM-Text: a fast and a slow stack of layers that run again and again; each run keeps its own cache.

Source: transformers 5.23 ``modeling_hrm_text.py``, ``configuration_hrm_text.py``.
"""

from __future__ import annotations

from dataclasses import replace

from sizeup.errors import UserError
from sizeup.llm.architecture import Architecture, Block, Layer, layer_of
from sizeup.llm.blocks import attention, check_divides, gated_mlp, head, linear, table, vector
from sizeup.llm.config import Config


def build(config: Config) -> Architecture:
    """Return every run of every layer, in the order in which they happen."""
    hidden, vocabulary = config.integer("hidden_size"), config.integer("vocab_size")
    tied = config.flag("tie_word_embeddings")
    config.ignore("L_bp_cycles", "embedding_scale", "prefix_lm")
    return Architecture(
        model_type=config.model_type,
        hidden_size=hidden,
        vocabulary_size=vocabulary,
        max_positions=config.optional_integer("max_position_embeddings"),
        embedding=(*table("embed_tokens", vocabulary, hidden), *vector("z_L_init", hidden, part="other")),
        layers=_runs(config),
        head=head(hidden, vocabulary, tied=tied),
        tied_embeddings=tied,
    )


def _runs(config: Config) -> tuple[Layer, ...]:
    slow, fast = config.integer("H_cycles"), config.integer("L_cycles")
    runs = slow * (fast + 1)
    total = config.integer("num_hidden_layers")
    depth = config.optional_integer("num_layers_per_stack", minimum=1)
    if depth is None:  # an original configuration counts the layers of one stack
        depth = total
    elif total != depth * runs:
        raise UserError(
            f'{config.where}: "num_hidden_layers" = {total} is not {runs} runs of "num_layers_per_stack" = {depth}'
        )
    stacks = {name: _layer(config, name) for name in ("L_module", "H_module")}
    order = (["L_module"] * fast + ["H_module"]) * slow
    layers: list[Layer] = []
    for index, name in enumerate(order):
        owned, again = stacks[name]
        layers += [again if name in order[:index] else owned] * depth
    return tuple(layers)


def _layer(config: Config, name: str) -> tuple[Layer, Layer]:
    """Return a layer of a stack at its first run, which owns the weights, and at later runs."""
    hidden, heads = config.integer("hidden_size"), config.integer("num_attention_heads")
    check_divides(f'{config.where}: "hidden_size" by "num_attention_heads"', hidden, heads)
    head_dim = config.optional_integer("head_dim", minimum=1) or hidden // heads
    config.ignore("num_key_value_heads")  # the class has none: as many as queries
    bias = config.flag("attention_bias")
    gate = linear("self_attn.gate_proj", use="gate", part="attention", out=heads * head_dim, into=hidden, bias=bias)
    blocks = (
        attention(hidden=hidden, heads=heads, kv_heads=heads, head_dim=head_dim, bias=bias),
        Block(gate),
        gated_mlp(hidden=hidden, intermediate=config.integer("intermediate_size"), bias=config.flag("mlp_bias")),
    )
    owned = layer_of(name, blocks)
    return owned, replace(owned, kind=f"{name}_again", tensors=(), shared=owned.tensors)
