"""ZAYA: attention over queries and keys that two short convolutions compressed, and experts behind an MLP router.

Half of each value comes from the token before, so a layer keeps it beside the columns of the convolutions.
Source: transformers 5.23 ``modeling_zaya.py``; arXiv 2510.04476.
"""

from __future__ import annotations

from sizeup.errors import UserError
from sizeup.llm.architecture import Architecture, Block, Layer, StateCache, Tensor, layer_of
from sizeup.llm.blocks import head, linear, mixture, norm, norms, table, token_mixing, vector
from sizeup.llm.blocks_ssm import convolution_state, depthwise
from sizeup.llm.config import Config
from sizeup.llm.families.common import attention_dims, layer_types, repeated


def build(config: Config) -> Architecture:
    """Return the model; the router of layer 0 has no state of an earlier one."""
    hidden, vocabulary = config.integer("hidden_size"), config.integer("vocab_size")
    tied = config.flag("tie_word_embeddings")
    keys = [(window, index > 0) for index, window in enumerate(windows(config, config.integer("num_hidden_layers")))]
    entry = [vector(f"input_hidden_states_{name}", hidden, part="norms") for name in ("scale", "bias")]
    return Architecture(
        model_type=config.model_type,
        hidden_size=hidden,
        vocabulary_size=vocabulary,
        max_positions=config.optional_integer("max_position_embeddings"),
        embedding=(*table("embed_tokens", vocabulary, hidden), *entry[0], *entry[1]),
        layers=repeated(keys, lambda key: decoder_layer(config, *key)),
        head=(*norm("norm", hidden), *head(hidden, vocabulary, tied=tied, bias=config.flag("lm_head_bias"))),
        tied_embeddings=tied,
    )


def windows(config: Config, layers: int) -> list[int | None]:
    """Return each layer's window.

    Raises:
        UserError: a kind of layer that the model does not have, or no window for those that slide.
    """
    window = config.optional_integer("sliding_window", minimum=1)
    kinds = layer_types(config, layers) or ["hybrid"] * layers
    for kind in kinds:
        if kind not in ("hybrid", "hybrid_sliding"):
            raise UserError(f'{config.where}: "layer_types" names "{kind}", which zaya does not have')
    if "hybrid_sliding" in kinds and window is None:
        raise UserError(f'{config.where}: "layer_types" has sliding layers, so "sliding_window" must be set')
    return [window if kind == "hybrid_sliding" else None for kind in kinds]


def decoder_layer(config: Config, window: int | None, follows: bool) -> Layer:
    """Return one layer."""
    hidden = config.integer("hidden_size")
    blocks = (
        norms("input_layernorm", "post_attention_layernorm", size=hidden),
        Block(residual_scales("post_attention_residual_scale", hidden)),
        Block(residual_scales("post_mlp_residual_scale", hidden)),
        attention_block(config, window),
        experts(config, follows),
    )
    return layer_of("hybrid" if window is None else "hybrid_sliding", blocks)


def residual_scales(prefix: str, hidden: int) -> tuple[Tensor, ...]:
    """Return the learned scales and shifts of a residual connection."""
    names = ("hidden_states_scale", "hidden_states_bias", "residual_scale", "residual_bias")
    return tuple(tensor for name in names for tensor in vector(f"{prefix}.{name}", hidden, part="norms"))


def attention_block(config: Config, window: int | None) -> Block:
    """Return compressed convolutional attention."""
    hidden, bias = config.integer("hidden_size"), config.flag("attention_bias")
    heads, kv_heads, head_dim = attention_dims(config)
    first, second = config.integer("cca_time0"), config.integer("cca_time1")
    queries, keys = heads * head_dim, kv_heads * head_dim
    channels, path = queries + keys, "self_attn.qkv_proj"
    tensors = (
        *linear(f"{path}.q_proj", use="query", part="attention", out=queries, into=hidden, bias=bias),
        *linear(f"{path}.k_proj", use="key", part="attention", out=keys, into=hidden, bias=bias),
        *linear(f"{path}.v_proj_current", use="value", part="attention", out=keys // 2, into=hidden, bias=bias),
        *linear(f"{path}.v_proj_delayed", use="value", part="attention", out=keys // 2, into=hidden, bias=bias),
        *depthwise(f"{path}.conv_qk_depthwise", channels=channels, kernel=first, bias=True, part="attention"),
        *vector(f"{path}.conv_qk_grouped", channels, head_dim, second, part="attention", kind="conv"),
        *vector(f"{path}.conv_qk_grouped", channels, part="attention", kind="bias"),
        *vector("self_attn.qk_norm.temp", kv_heads, part="attention"),
        *linear("self_attn.o_proj", use="output", part="attention", out=hidden, into=queries, bias=bias),
    )
    delayed = StateCache(name="delayed_value", elements=keys // 2)
    mixing = token_mixing(heads, kv_heads, head_dim, head_dim, window=window)
    return Block(tensors, *mixing) + convolution_state(channels, first + second - 2) + Block(caches=(delayed,))


def experts(config: Config, follows: bool) -> Block:
    """Return the experts, one per token or none, and the MLP that routes to them.

    Raises:
        UserError: more than one expert per token, which the model does not know.
    """
    hidden, width = config.integer("hidden_size"), config.integer("router_hidden_size")
    count, top_k = config.integer("num_experts"), config.integer("num_experts_per_tok")
    if top_k != 1:
        raise UserError(f'{config.where}: "num_experts_per_tok" = {top_k}, zaya knows 1 only')
    routed = mixture(
        hidden=hidden, experts=count, top_k=top_k, intermediate=config.integer("moe_intermediate_size"), fused=True
    )
    gate = "mlp.gate"
    tensors = (
        *linear(f"{gate}.down_proj", use="router", part="router", out=width, into=hidden, bias=True),
        *(vector(f"{gate}.router_states_scale", width, part="router") if follows else ()),
        *norm(f"{gate}.router_mlp.norm", width, part="router"),
        *linear(f"{gate}.router_mlp.fc1", use="router", part="router", out=width, into=width, bias=True),
        *linear(f"{gate}.router_mlp.fc2", use="router", part="router", out=width, into=width, bias=True),
        *linear(f"{gate}.router_mlp.out_proj", use="router", part="router", out=count + 1, into=width),
    )
    return Block((*tensors, *(tensor for tensor in routed.tensors if tensor.use != "router")))
