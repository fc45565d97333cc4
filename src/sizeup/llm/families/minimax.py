"""MiniMax-Text-01 and M1: lightning attention, whose state is one matrix per head; softmax attention in some layers.

Source: transformers 5.23 ``modeling_minimax.py``; the first published files (``minimax_text_01``, ``minimax_m1``)
describe the same model and list the softmax layers in ``attn_type_list``.
"""

from __future__ import annotations

from sizeup.errors import UserError
from sizeup.llm.architecture import Architecture, Block, Layer, layer_of
from sizeup.llm.blocks import attention, head, linear, mixture, norm, norms, table
from sizeup.llm.blocks_ssm import recurrent_state
from sizeup.llm.config import Config, class_defaults
from sizeup.llm.families.common import attention_dims, layer_types, repeated


def build(config: Config) -> Architecture:
    """Return the model; ``sliding_window`` has no effect."""
    config.assume(class_defaults()["minimax"]["defaults"])
    hidden, vocabulary = config.integer("hidden_size"), config.integer("vocab_size")
    tied = config.flag("tie_word_embeddings")
    config.ignore("sliding_window", "postnorm", "rotary_dim", "shared_moe_mode")
    kinds = mixer_kinds(config, config.integer("num_hidden_layers"))
    return Architecture(
        model_type=config.model_type,
        hidden_size=hidden,
        vocabulary_size=vocabulary,
        max_positions=config.optional_integer("max_position_embeddings"),
        embedding=table("embed_tokens", vocabulary, hidden),
        layers=repeated(kinds, lambda kind: decoder_layer(config, kind)),
        head=(*norm("norm", hidden), *head(hidden, vocabulary, tied=tied)),
        tied_embeddings=tied,
    )


def mixer_kinds(config: Config, layers: int) -> list[str]:
    """Return what mixes tokens in each layer: as listed, else softmax attention in every second layer.

    Raises:
        UserError: a kind that the model does not have, or a list of another length.
    """
    marks = config.sequence("attn_type_list")
    listed = layer_types(config, layers)
    if listed is None and marks is not None:
        if len(marks) != layers:
            raise UserError(f'{config.where}: "attn_type_list" has {len(marks)} entries, the model {layers} layers')
        listed = ["full_attention" if mark else "linear_attention" for mark in marks]
    for kind in listed or ():
        if kind not in ("linear_attention", "full_attention"):
            raise UserError(f'{config.where}: "layer_types" names "{kind}", which minimax does not have')
    return listed or ["linear_attention" if index % 2 else "full_attention" for index in range(layers)]


def decoder_layer(config: Config, kind: str) -> Layer:
    """Return one layer; every layer has experts."""
    hidden = config.integer("hidden_size")
    heads, kv_heads, head_dim = attention_dims(config)
    softmax = kind == "full_attention"
    blocks = (
        norms("input_layernorm", "post_attention_layernorm", size=hidden),
        attention(hidden=hidden, heads=heads, kv_heads=kv_heads, head_dim=head_dim)
        if softmax
        else lightning_attention(hidden=hidden, heads=heads, head_dim=head_dim),
        mixture(
            hidden=hidden,
            experts=config.integer("num_local_experts"),
            top_k=config.integer("num_experts_per_tok"),
            intermediate=config.integer("intermediate_size"),
        ),
    )
    return layer_of(kind, blocks)


def lightning_attention(*, hidden: int, heads: int, head_dim: int) -> Block:
    """Return linear attention with a norm and an output gate (arXiv 2501.08313); its state has the model's dtype."""
    width = heads * head_dim
    tensors = (
        *linear("self_attn.qkv_proj", use="qkv", part="ssm", out=3 * width, into=hidden),
        *norm("self_attn.norm", width, part="ssm"),
        *linear("self_attn.output_gate", use="ssm_in", part="ssm", out=width, into=hidden),
        *linear("self_attn.out_proj", use="ssm_out", part="ssm", out=hidden, into=width),
    )
    return Block(tensors) + recurrent_state(heads=heads, key_dim=head_dim, value_dim=head_dim, dtype=None)
