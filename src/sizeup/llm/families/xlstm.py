"""xLSTM: every layer is an mLSTM cell, whose state is one matrix per head, and a gated MLP.

Source: transformers 5.23 ``modeling_xlstm.py``; arXiv 2503.13427.
"""

from __future__ import annotations

from sizeup.llm.architecture import Architecture, Block, Mixer, StateCache, layer_of
from sizeup.llm.blocks import fused_mlp, gated_mlp, linear, norm, norms, table
from sizeup.llm.config import Config


def build(config: Config) -> Architecture:
    """Return the model; its head is never tied."""
    hidden, vocabulary = config.integer("hidden_size", "embedding_dim"), config.integer("vocab_size")
    config.ignore("add_out_norm", "max_inference_chunksize", "num_hidden_layers", "num_blocks", "embedding_dim")
    config.ignore("weight_mode", "add_embedding_dropout", "add_forward_backend_padding", "add_post_blocks_norm")
    config.ignore("add_qk_norm", "add_post_norm", "head_dim", "cell_norm_eps", "force_bos_token_insert")
    layers = config.optional_integer("num_blocks", minimum=1) or config.integer("num_hidden_layers")
    around = norms("norm_mlstm", "norm_ffn", size=hidden, bias=config.flag("use_bias"))
    layer = layer_of("recurrent", (around, cell(config, hidden), feed_forward(config, hidden)))
    return Architecture(
        model_type=config.model_type,
        hidden_size=hidden,
        vocabulary_size=vocabulary,
        embedding=table("embeddings", vocabulary, hidden),
        layers=(layer,) * layers,
        head=(*norm("out_norm", hidden), *linear("lm_head", use="head", part="head", out=vocabulary, into=hidden)),
    )


def fused(config: Config) -> bool:
    """Return whether projections that read the same input are stored as one matrix."""
    return config.text("weight_mode", default="single") == "fused"


def round_up(size: float, multiple: int) -> int:
    """Return ``size`` rounded up to a multiple the way that the model does (sizes may be fractions)."""
    return int((size + multiple - 1) // multiple * multiple)


def cell(config: Config, hidden: int) -> Block:
    """Return the mLSTM cell: it keeps a matrix, a vector and a number per head, in the cache's dtype."""
    heads, bias = config.integer("num_heads"), config.flag("use_bias")
    keys, values = int(hidden * config.number("qk_dim_factor")), int(hidden * config.number("v_dim_factor"))
    if fused(config):
        tensors = linear(
            "mlstm_layer.qkv_opreact", use="qkv", part="ssm", out=2 * (keys + values), into=hidden, bias=bias
        )
        tensors += linear("mlstm_layer.ifgate_preact", use="other", part="ssm", out=2 * heads, into=hidden, bias=True)
    else:
        tensors = (
            *linear("mlstm_layer.q", use="query", part="ssm", out=keys, into=hidden, bias=bias),
            *linear("mlstm_layer.k", use="key", part="ssm", out=keys, into=hidden, bias=bias),
            *linear("mlstm_layer.v", use="value", part="ssm", out=values, into=hidden, bias=bias),
            *linear("mlstm_layer.ogate_preact", use="ssm_in", part="ssm", out=values, into=hidden, bias=bias),
            *linear("mlstm_layer.igate_preact", use="ssm_in", part="ssm", out=heads, into=hidden, bias=True),
            *linear("mlstm_layer.fgate_preact", use="ssm_in", part="ssm", out=heads, into=hidden, bias=True),
        )
    tensors += norm("mlstm_layer.multihead_norm", values // heads * heads, bias=bias, part="ssm")
    tensors += linear("mlstm_layer.out_proj", use="ssm_out", part="ssm", out=hidden, into=values, bias=bias)
    return Block(tensors) + state(config, hidden, heads)


def state(config: Config, hidden: int, heads: int) -> Block:
    """Return the recurrence and its state; the cache rounds the widths up to multiples of 64."""
    key_dim = round_up(hidden * config.number("qk_dim_factor"), 64) // heads
    value_dim = round_up(hidden * config.number("v_dim_factor"), 64) // heads
    elements = heads * (key_dim * value_dim + key_dim + 1)
    mixer = Mixer(kind="recurrent", heads=heads, key_dim=key_dim, value_dim=value_dim, state_elements=elements)
    return Block(mixers=(mixer,), caches=(StateCache(name="recurrent_state", elements=elements),))


def feed_forward(config: Config, hidden: int) -> Block:
    """Return the gated MLP, its width rounded up."""
    width = round_up(hidden * config.number("ffn_proj_factor"), config.integer("ffn_round_up_to_multiple_of"))
    bias = config.flag("use_bias")
    if fused(config):
        names = ("proj_up_gate_z", "proj_down")
        return fused_mlp(hidden=hidden, intermediate=width, bias=bias, prefix="ffn", names=names)
    gated = ("proj_up_gate", "proj_up", "proj_down")
    return gated_mlp(hidden=hidden, intermediate=width, bias=bias, prefix="ffn", names=gated)
