"""Transformers whose layers are Mamba, attention or both: Jamba, Bamba, Granite 4 hybrid, Falcon-H1.

Every layer also has a feed-forward part. Source: transformers 5.23 ``modeling_jamba.py``, ``modeling_bamba.py``,
``modeling_granitemoehybrid.py``, ``modeling_falcon_h1.py`` and their configuration classes.
"""

from __future__ import annotations

from dataclasses import dataclass

from sizeup.errors import UserError
from sizeup.llm.architecture import Architecture, Block, Layer, layer_of
from sizeup.llm.blocks import attention, check_divides, fused_mlp, gated_mlp, head, mixture, norm, norms, table
from sizeup.llm.blocks_ssm import mamba, mamba2, time_step_rank
from sizeup.llm.config import Config
from sizeup.llm.families.common import attention_dims, layer_types, repeated

KINDS = ("linear_attention", "full_attention", "hybrid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What differs between the types: norm names, which biases are keys, which keys have no effect."""

    second_norm: str = "pre_ff_layernorm"
    final_norm: str = "final_layernorm"
    attention_bias: bool = True
    first_version: bool = False
    harmless: tuple[str, ...] = ()


TRAITS = {
    "jamba": Traits(
        attention_bias=False,
        first_version=True,
        harmless=("mamba_inner_layernorms", "n_ctx", "sliding_window", "num_logits_to_keep"),
    ),
    "bamba": Traits(harmless=("attn_rotary_emb", "layers_block_type")),
    "granitemoehybrid": Traits(second_norm="post_attention_layernorm", final_norm="norm"),
    "falcon_h1": Traits(harmless=("attn_layer_indices", "mamba_use_mlp", "mlp_expansion_factor", "layers_block_type")),
}


def build(config: Config) -> Architecture:
    """Return a hybrid with the traits of its model type."""
    traits = TRAITS[config.model_type]
    hidden, vocabulary = config.integer("hidden_size"), config.integer("vocab_size")
    tied = config.flag("tie_word_embeddings")
    config.ignore("time_step_rank", "sliding_window", *traits.harmless)
    layers = config.integer("num_hidden_layers")
    keys = list(zip(mixer_kinds(config, layers), sparse_layers(config, layers), strict=True))
    return Architecture(
        model_type=config.model_type,
        hidden_size=hidden,
        vocabulary_size=vocabulary,
        max_positions=config.optional_integer("max_position_embeddings"),
        embedding=table("embed_tokens", vocabulary, hidden),
        layers=repeated(keys, lambda key: decoder_layer(config, traits, *key)),
        head=(*norm(traits.final_norm, hidden), *head(hidden, vocabulary, tied=tied)),
        tied_embeddings=tied,
    )


def mixer_kinds(config: Config, layers: int) -> list[str]:
    """Return what mixes tokens in each layer: by list (Granite), by indices (Bamba), by period (Jamba), or both.

    Raises:
        UserError: a kind that these models do not have.
    """
    if config.model_type == "falcon_h1":
        return ["hybrid"] * layers
    if config.model_type == "bamba":
        indices = config.sequence("attn_layer_indices") or []
        return ["full_attention" if index in indices else "linear_attention" for index in range(layers)]
    listed = layer_types(config, layers)
    if listed is None and config.model_type == "jamba":
        attends = by_period(config, "attn_layer", layers)
        return ["full_attention" if here else "linear_attention" for here in attends]
    for kind in listed or ():
        if kind not in KINDS[:2]:
            raise UserError(f'{config.where}: "layer_types" names "{kind}", which {config.model_type} does not have')
    return listed or ["linear_attention"] * layers


def by_period(config: Config, name: str, layers: int) -> list[bool]:
    """Return which layers stand at ``<name>_offset`` of every ``<name>_period`` layers.

    Raises:
        UserError: the offset lies outside of the period.
    """
    period, offset = config.integer(f"{name}_period"), config.integer(f"{name}_offset", minimum=0)
    if offset >= period:
        raise UserError(f'{config.where}: "{name}_offset" = {offset} must be smaller than "{name}_period" = {period}')
    return [index % period == offset for index in range(layers)]


def sparse_layers(config: Config, layers: int) -> list[bool]:
    """Return which layers have experts: some of Jamba, all of Granite if it has any."""
    if config.model_type == "jamba":
        places = by_period(config, "expert_layer", layers)
        many = config.integer("num_experts") > 1
        return [many and here for here in places]
    if config.model_type == "granitemoehybrid":
        return [config.integer("num_local_experts", minimum=0) > 0] * layers
    return [False] * layers


def decoder_layer(config: Config, traits: Traits, kind: str, sparse: bool) -> Layer:
    """Return one layer."""
    blocks = [norms("input_layernorm", traits.second_norm, size=config.integer("hidden_size"))]
    if kind != "full_attention":
        blocks.append(mamba_block(config) if traits.first_version else mamba2_block(config))
    if kind != "linear_attention":
        blocks.append(attention_block(config, traits))
    name = {"linear_attention": "mamba"}.get(kind, kind)
    return layer_of(f"{name}_moe" if sparse else name, (*blocks, feed_forward(config, sparse)))


def attention_block(config: Config, traits: Traits) -> Block:
    """Return the attention of one layer."""
    heads, kv_heads, head_dim = attention_dims(config)
    bias = traits.attention_bias and config.flag("attention_bias")
    return attention(hidden=config.integer("hidden_size"), heads=heads, kv_heads=kv_heads, head_dim=head_dim, bias=bias)


def mamba_block(config: Config) -> Block:
    """Return the mixer of Jamba: Mamba with norms on the time step and the state projections."""
    hidden = config.integer("hidden_size")
    return mamba(
        hidden=hidden,
        inner=config.integer("mamba_expand") * hidden,
        state=config.integer("mamba_d_state"),
        kernel=config.integer("mamba_d_conv"),
        rank=time_step_rank(config, "mamba_dt_rank", hidden=hidden),
        bias=config.flag("mamba_proj_bias"),
        conv_bias=config.flag("mamba_conv_bias"),
        norms=("dt_layernorm", "b_layernorm", "c_layernorm"),
        prefix="mamba",
    )


def mamba2_block(config: Config) -> Block:
    """Return a Mamba-2 mixer; Falcon-H1 names its inner size and may leave out the gated norm."""
    hidden, heads = config.integer("hidden_size"), config.integer("mamba_n_heads")
    falcon = config.model_type == "falcon_h1"
    inner = config.optional_integer("mamba_d_ssm", minimum=1) if falcon else None
    inner = inner or config.integer("mamba_expand") * hidden
    check_divides('"mamba_n_heads"', inner, heads)
    head_dim = inner // heads if config.get("mamba_d_head") in ("auto", None) else config.integer("mamba_d_head")
    if head_dim * heads != inner:
        raise UserError(f'{config.where}: "mamba_d_head" x "mamba_n_heads" = {head_dim} x {heads} is not {inner}')
    return mamba2(
        hidden=hidden,
        heads=heads,
        head_dim=head_dim,
        groups=config.integer("mamba_n_groups"),
        state=config.integer("mamba_d_state"),
        kernel=config.integer("mamba_d_conv"),
        bias=config.flag("mamba_proj_bias"),
        output_bias=config.flag("projectors_bias") if falcon else None,
        conv_bias=config.flag("mamba_conv_bias"),
        gated_norm=config.flag("mamba_rms_norm") if falcon else True,
        prefix="mamba",
    )


def feed_forward(config: Config, sparse: bool) -> Block:
    """Return the feed-forward part: gated MLP, experts, or Granite's shared MLP beside its experts."""
    hidden, intermediate = config.integer("hidden_size"), config.integer("intermediate_size")
    granite = config.model_type == "granitemoehybrid"
    block = Block()
    if sparse:
        block = mixture(
            hidden=hidden,
            experts=config.integer("num_local_experts", "num_experts"),
            top_k=config.integer("num_experts_per_tok"),
            intermediate=intermediate,
            fused=True,
            prefix="block_sparse_moe" if granite else "feed_forward",
            router="router",
        )
    if granite:
        shared = config.integer("shared_intermediate_size", minimum=0)
        names = ("input_linear", "output_linear")
        block += fused_mlp(
            hidden=hidden,
            intermediate=shared,
            prefix="shared_mlp",
            part="shared_experts" if sparse else "mlp",
            names=names,
        )
    elif not sparse:
        block = gated_mlp(hidden=hidden, intermediate=intermediate, bias=config.flag("mlp_bias"), prefix="feed_forward")
    return block
