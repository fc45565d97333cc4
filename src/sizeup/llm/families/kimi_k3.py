"""Kimi K3: Kimi delta attention and gated latent attention, experts in a narrower space, attention over depth.

Source: ``modeling_kimi_linear.py`` and ``config.json`` of moonshotai/Kimi-K3 (no class in transformers 5.23);
arXiv 2607.24653.
"""

from __future__ import annotations

from dataclasses import asdict, replace

from sizeup.errors import UserError
from sizeup.llm.architecture import Architecture, Block, Layer, Tensor, Tower, layer_of
from sizeup.llm.blocks import gated_mlp, head, latent_attention, linear, norm, norms, table
from sizeup.llm.blocks_ssm import kimi_delta_attention
from sizeup.llm.config import Config
from sizeup.llm.families.common import repeated
from sizeup.llm.families.experts import SHARED_KEYS, top_k_of
from sizeup.llm.families.latent_places import latent_dims
from sizeup.llm.families.moe_layers import sparse_layers

NAMES = ("w1", "w3", "w2")


def build(config: Config) -> Architecture:
    """Return the text model; its vision tower is named and not counted."""
    text = config.section("text_config", model_type="kimi_linear")
    text.ignore("num_key_value_heads", "num_nextn_predict_layers", "num_expert_group", "mlp_layer_types")
    config.ignore("vision_config")
    hidden, vocabulary = text.integer("hidden_size"), text.integer("vocab_size")
    tied = text.flag("tie_word_embeddings")
    over_depth = text.optional_integer("attn_res_block_size", minimum=1) is not None
    last = depth_attention("output_attn_res", hidden) if over_depth else ()
    return Architecture(
        model_type=config.model_type,
        hidden_size=hidden,
        vocabulary_size=vocabulary,
        max_positions=text.optional_integer("max_position_embeddings"),
        embedding=table("embed_tokens", vocabulary, hidden),
        layers=repeated(places(text), lambda place: decoder_layer(text, *place)),
        head=(*last, *norm("norm", hidden), *head(hidden, vocabulary, tied=tied)),
        tied_embeddings=tied,
        towers=(Tower(name="vision", not_counted="the tower's code is not in transformers"),),
    )


def places(text: Config) -> list[tuple[bool, bool]]:
    """Return for each layer whether it attends fully and whether it is a mixture.

    Raises:
        UserError: a layer that the lists of attention kinds name not at all, or twice.
    """
    settings, layers = text.get("linear_attn_config") or {}, text.integer("num_hidden_layers")
    full, linear_ones = set(settings.get("full_attn_layers", ())), set(settings.get("kda_layers", ()))
    for number in range(1, layers + 1):
        if (number in full) == (number in linear_ones):
            raise UserError(f'{text.where}: "linear_attn_config" does not say what layer {number} is')
    return [(index + 1 in full, sparse) for index, sparse in enumerate(sparse_layers(text, "after_dense", layers))]


def depth_attention(name: str, hidden: int) -> tuple[Tensor, ...]:
    """Return what lets a sublayer attend over the outputs of earlier blocks of layers (attention residuals)."""
    score = linear(f"{name}_proj", use="other", part="other", out=1, into=hidden)
    return (*norm(f"{name}_norm", hidden), *score)


def decoder_layer(text: Config, full: bool, sparse: bool) -> Layer:
    """Return one layer."""
    hidden = text.integer("hidden_size")
    around = norms("input_layernorm", "post_attention_layernorm", size=hidden)
    if text.optional_integer("attn_res_block_size") is not None:
        around += Block((*depth_attention("self_attention_res", hidden), *depth_attention("mlp_res", hidden)))
    mixer = gated_latent_attention(text) if full else delta_attention(text)
    dense = gated_mlp(hidden=hidden, intermediate=text.integer("intermediate_size"))
    kind = "latent_attention" if full else "linear_attention"
    return layer_of(kind, (around, mixer, latent_mixture(text) if sparse else dense))


def gated_latent_attention(text: Config) -> Block:
    """Return latent attention without rotary positions (the dimensions stay), with an output gate."""
    dims, hidden = latent_dims(text), text.integer("hidden_size")
    block = latent_attention(
        hidden=hidden,
        **asdict(dims),
    )
    if not text.flag("mla_use_output_gate"):
        return block
    width = dims.heads * dims.value_dim
    return block + Block(linear("self_attn.g_proj", use="gate", part="attention", out=width, into=hidden))


def delta_attention(text: Config) -> Block:
    """Return Kimi delta attention; its output gate has full rank where the settings say so."""
    settings, hidden = text.get("linear_attn_config") or {}, text.integer("hidden_size")
    heads, head_dim = int(settings["num_heads"]), int(settings["head_dim"])
    block = kimi_delta_attention(
        hidden=hidden,
        heads=heads,
        head_dim=head_dim,
        kernel=int(settings["short_conv_kernel_size"]),
        low_rank_gates=True,
    )
    if not settings.get("use_full_rank_gate"):
        return block
    low = ("self_attn.g_a_proj", "self_attn.g_b_proj")
    gate = linear("self_attn.g_proj", use="ssm_in", part="ssm", out=heads * head_dim, into=hidden)
    return replace(block, tensors=(*(t for t in block.tensors if t.name not in low), *gate))


def latent_mixture(text: Config) -> Block:
    """Return the experts, which work in a narrower space between two projections, and the shared experts."""
    hidden, experts = text.integer("hidden_size"), text.integer("num_experts")
    width, top_k = text.integer("moe_intermediate_size"), top_k_of(text, experts)
    narrow = text.optional_integer("routed_expert_hidden_size", minimum=1)
    if top_k > experts:
        raise UserError(f"{text.where}: a token cannot use {top_k} of {experts} experts")
    prefix = "block_sparse_moe"
    tensors: tuple[Tensor, ...] = ()
    if narrow:
        tensors = (
            *linear(f"{prefix}.routed_expert_down_proj", use="other", part="experts", out=narrow, into=hidden),
            *linear(f"{prefix}.routed_expert_up_proj", use="other", part="experts", out=hidden, into=narrow),
            *(norm(f"{prefix}.routed_expert_norm", narrow) if text.flag("latent_moe_use_norm") else ()),
        )
    block = Block((*linear(f"{prefix}.gate", use="router", part="router", out=experts, into=hidden), *tensors))
    block += gated_mlp(
        hidden=narrow or hidden, intermediate=width, prefix=f"{prefix}.experts", part="experts", copies=experts,
        active=top_k, names=NAMES,
    )  # fmt: skip
    shared = width * (text.optional_integer(*SHARED_KEYS) or 0)
    if shared:
        block += gated_mlp(hidden=hidden, intermediate=shared, prefix=f"{prefix}.shared_experts", part="shared_experts")
    return block
