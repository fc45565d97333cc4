"""Liquid's models: short gated convolutions with attention in some layers (LFM2, LFM2 with experts, LFM3).

Source: transformers 5.23 ``modeling_lfm2.py``, ``modeling_lfm2_moe.py``, ``modeling_lfm3.py``.
"""

from __future__ import annotations

from sizeup.errors import UserError
from sizeup.llm.architecture import Architecture, Block, Layer, layer_of
from sizeup.llm.blocks import attention, gated_mlp, head, linear, mixture, norm, norms, table
from sizeup.llm.blocks_ssm import convolution_state, depthwise
from sizeup.llm.config import Config
from sizeup.llm.families.common import attention_dims, layer_types, repeated

KINDS = {
    "lfm2": ("conv", "full_attention"),
    "lfm2_moe": ("conv", "full_attention"),
    "lfm3": ("conv", "full_attention", "sliding_attention"),
}


def build(config: Config) -> Architecture:
    """Return the model."""
    hidden, vocabulary = config.integer("hidden_size"), config.integer("vocab_size")
    tied = config.flag("tie_embedding", "tie_word_embeddings", default=True)
    layers = config.integer("num_hidden_layers")
    dense = config.integer("num_dense_layers", default=layers, minimum=0)
    keys = [(kind, index >= dense) for index, kind in enumerate(mixer_kinds(config, layers))]
    config.ignore("block_dim", "conv_dim", "conv_dim_out", "num_heads", "block_mlp_init_scale", "block_out_init_scale")
    config.ignore(
        "block_use_swiglu", "block_use_xavier_init", "conv_use_xavier_init", "block_norm_eps", "full_attn_idxs"
    )
    return Architecture(
        model_type=config.model_type,
        hidden_size=hidden,
        vocabulary_size=vocabulary,
        max_positions=config.optional_integer("max_position_embeddings"),
        embedding=table("embed_tokens", vocabulary, hidden),
        layers=repeated(keys, lambda key: decoder_layer(config, *key)),
        head=(*norm("embedding_norm", hidden), *head(hidden, vocabulary, tied=tied)),
        tied_embeddings=tied,
    )


def mixer_kinds(config: Config, layers: int) -> list[str]:
    """Return what each layer is: as listed, by the indices of attention layers, or by LFM3's rule.

    Raises:
        UserError: a kind that the model does not have, or no list where its class has no rule.
    """
    listed = layer_types(config, layers)
    for kind in listed or ():
        if kind not in KINDS[config.model_type]:
            raise UserError(f'{config.where}: "layer_types" names "{kind}", which {config.model_type} does not have')
    if listed:
        return listed
    if config.model_type == "lfm3":
        rule = {2: "full_attention", 0: "sliding_attention"}
        return [rule.get(index % 4, "conv") if index else "conv" for index in range(layers)]
    attends = config.sequence("full_attn_idxs")
    if attends is None and config.model_type == "lfm2_moe":
        raise UserError(f'{config.where} has no "layer_types"', hint="name each layer: conv or full_attention")
    return ["full_attention" if attends is None or index in attends else "conv" for index in range(layers)]


def decoder_layer(config: Config, kind: str, sparse: bool) -> Layer:
    """Return one layer."""
    names = ["operator_norm", "ffn_norm"]
    if config.flag("use_sandwich_norm"):
        names += ["post_operator_norm", "post_ffn_norm"]
    blocks = (
        norms(*names, size=config.integer("hidden_size")),
        convolution_block(config) if kind == "conv" else attention_block(config, kind),
        experts(config) if sparse else mlp(config),
    )
    return layer_of(f"{kind}_moe" if sparse else kind, blocks)


def convolution_block(config: Config) -> Block:
    """Return the gated short convolution; it keeps ``conv_L_cache`` columns."""
    hidden, bias = config.integer("hidden_size"), config.flag("conv_bias")
    kernel = config.integer("conv_L_cache")
    tensors = (
        *linear("conv.in_proj", use="ssm_in", part="ssm", out=3 * hidden, into=hidden, bias=bias),
        *depthwise("conv.conv", channels=hidden, kernel=kernel, bias=bias),
        *linear("conv.out_proj", use="ssm_out", part="ssm", out=hidden, into=hidden, bias=bias),
    )
    return Block(tensors) + convolution_state(hidden, kernel)


def attention_block(config: Config, kind: str) -> Block:
    """Return attention with norms on queries and keys; LFM3 gates each head and may slide."""
    hidden = config.integer("hidden_size")
    heads, kv_heads, head_dim = attention_dims(config)
    third = config.model_type == "lfm3"
    block = attention(
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        bias=third and config.flag("attention_bias"),
        qk_norm="head",
        window=config.optional_integer("sliding_window", minimum=1) if kind == "sliding_attention" else None,
        names=("q_proj", "k_proj", "v_proj", "o_proj" if third else "out_proj"),
        norm_names=("q_norm", "k_norm") if third else ("q_layernorm", "k_layernorm"),
    )
    if config.flag("use_attention_gate"):
        block += Block(linear("self_attn.g_proj", use="other", part="attention", out=heads, into=hidden))
    return block


def mlp(config: Config) -> Block:
    """Return the gated MLP; LFM2 shrinks the stated width by a third and rounds it up to a multiple."""
    width = config.integer("block_ff_dim", "intermediate_size")
    if config.flag("block_auto_adjust_ff_dim"):
        width = int(2 * width / 3)
        if config.get("block_ffn_dim_multiplier") is not None:
            width = int(config.number("block_ffn_dim_multiplier") * width)
            multiple = config.integer("block_multiple_of")
            width = -(-width // multiple) * multiple
    names = ("w1", "w3", "w2")
    return gated_mlp(hidden=config.integer("hidden_size"), intermediate=width, prefix="feed_forward", names=names)


def experts(config: Config) -> Block:
    """Return the experts of LFM2-MoE."""
    return mixture(
        hidden=config.integer("hidden_size"),
        experts=config.integer("num_experts"),
        top_k=config.integer("num_experts_per_tok"),
        intermediate=config.integer("moe_intermediate_size"),
        prefix="feed_forward",
        names=("w1", "w3", "w2"),
    )
