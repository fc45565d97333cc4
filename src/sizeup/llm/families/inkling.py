"""Inkling: relative positions, short convolutions on keys, values and both branches, head counts by layer kind.

Source: transformers 5.23 ``modeling_inkling.py``, ``configuration_inkling.py``; Inkling 2 is in ``inkling2``.
"""

from __future__ import annotations

from dataclasses import dataclass

from sizeup.errors import UserError, nearest_names
from sizeup.llm.architecture import Architecture, Block, Layer, Mixer, StateCache, Tensor, layer_of
from sizeup.llm.blocks import (
    attention,
    check_divides,
    fused_mlp,
    gated_mlp,
    head,
    linear,
    norm,
    norms,
    table,
    vector,
)
from sizeup.llm.blocks_ssm import depthwise
from sizeup.llm.config import Config
from sizeup.llm.families.common import layer_types, repeated
from sizeup.llm.families.experts import top_k_of
from sizeup.llm.families.moe_layers import listed_kinds
from sizeup.llm.families.prediction import as_prediction, predicted_layers

FULL, SLIDING = "hybrid", "hybrid_sliding"
LOCAL_PERIOD = 6
"""The last of so many layers sees everything where nothing else is said."""


@dataclass(frozen=True, slots=True)
class Place:
    """One layer's variant: its kind of attention, and experts or not."""

    kind: str
    sparse: bool


@dataclass(frozen=True, slots=True)
class Dims:
    """Sizes of one layer's attention; ``reach`` is how many relative positions it knows."""

    heads: int
    kv_heads: int
    head_dim: int
    window: int | None
    reach: int


def build(config: Config) -> Architecture:
    """Return the text model."""
    hidden, vocabulary = config.integer("hidden_size"), config.integer("vocab_size")
    config.ignore("unpadded_vocab_size", "shared_expert_sink", "number_of_conv_states")
    return Architecture(
        model_type=config.model_type,
        hidden_size=hidden,
        vocabulary_size=vocabulary,
        max_positions=config.optional_integer("max_position_embeddings"),
        embedding=normed_table(vocabulary, hidden),
        layers=repeated(_places(config), lambda place: _layer(config, place)),
        head=(*norm("norm", hidden), *head(hidden, vocabulary, tied=False)),
        multi_token_prediction=_prediction(config),
    )


def normed_table(vocabulary: int, hidden: int) -> tuple[Tensor, ...]:
    """Return the token table and its norm."""
    return (*table("embed_tokens", vocabulary, hidden), *norm("embed_tokens.embed_norm", hidden))


def hybrid_kinds(config: Config) -> list[str]:
    """Return each layer's kind: as listed, by ``local_layer_ids``, or every sixth full.

    Raises:
        UserError: a kind that the type does not have.
    """
    layers = config.integer("num_hidden_layers")
    kinds, local = layer_types(config, layers), config.sequence("local_layer_ids")
    if kinds is None:
        if local is None:
            local = [index for index in range(layers) if (index + 1) % LOCAL_PERIOD]
        kinds = [SLIDING if index in local else FULL for index in range(layers)]
    unknown = next((kind for kind in kinds if kind not in (FULL, SLIDING)), None)
    if unknown:
        raise UserError(
            f'{config.where}: "layer_types" names "{unknown}", which {config.model_type} does not have',
            nearest=nearest_names(unknown, (FULL, SLIDING)),
        )
    return kinds


def hybrid_dims(config: Config, kind: str) -> Dims:
    """Return the sizes of a layer's attention; sliding layers have their own."""
    own = "swa_" if kind == SLIDING else ""
    heads, kv_heads = config.integer(f"{own}num_attention_heads"), config.integer(f"{own}num_key_value_heads")
    check_divides("key-value heads", heads, kv_heads)
    window = config.integer("sliding_window_size") if own else None
    return Dims(heads, kv_heads, config.integer(f"{own}head_dim"), window, window or config.integer("rel_extent"))


def relative_positions(config: Config, dims: Dims) -> Block:
    """Return what every query and a table say about the distance to a key."""
    rank, hidden = config.integer("d_rel"), config.integer("hidden_size")
    query = linear("self_attn.r_proj", use="other", part="attention", out=dims.heads * rank, into=hidden)
    return Block((*query, *vector("self_attn.rel_logits_proj.proj", rank, dims.reach, part="attention")))


def short_convolution(config: Config, name: str, channels: int, *, weights: tuple[Tensor, ...] | None = None) -> Block:
    """Return a causal convolution and its float32 state; ``weights`` where it is more than one filter per channel."""
    kernel = config.integer("conv_kernel_size")
    if weights is None:
        weights = depthwise(f"{name}.conv1d", channels=channels, kernel=kernel, bias=False, part="other")
    elements = channels * kernel
    kept = StateCache(name="convolution_state", elements=elements, dtype="fp32")
    return Block(weights, (Mixer(kind="convolution", state_elements=elements),), (kept,))


def _places(config: Config) -> list[Place]:
    layers = config.integer("num_hidden_layers")
    dense = config.optional_integer("dense_mlp_idx") or 0
    sparse = listed_kinds(config, layers) or [index >= dense for index in range(layers)]
    return [Place(kind, mixture) for kind, mixture in zip(hybrid_kinds(config), sparse, strict=True)]


def _prediction(config: Config) -> tuple[Tensor, ...]:
    """Return the prediction layers: dense, with no norm behind each but perhaps a common one."""
    hidden, local = config.integer("hidden_size"), config.sequence("mtp_local_layer_ids") or []
    entry = (
        *norm("enorm", hidden),
        *norm("hnorm", hidden),
        *linear("eh_proj", use="other", part="mtp", out=hidden, into=2 * hidden),
    )
    places = [Place(SLIDING if index in local else FULL, False) for index in range(predicted_layers(config))]
    layers = [(*entry, *_layer(config, place).tensors) for place in places]
    if layers and config.flag("chain_hidden_post_norm"):
        layers[-1] += norm("shared_post_norm", hidden)
    return as_prediction(layers)


def _layer(config: Config, place: Place) -> Layer:
    hidden = config.integer("hidden_size")
    return layer_of(
        place.kind,
        (
            norms("input_layernorm", "post_attention_layernorm", size=hidden),
            _attention(config, hybrid_dims(config, place.kind)),
            _experts(config) if place.sparse else _dense(config),
            short_convolution(config, "attn_sconv", hidden),
            short_convolution(config, "mlp_sconv", hidden),
        ),
    )


def _attention(config: Config, dims: Dims) -> Block:
    block = attention(
        hidden=config.integer("hidden_size"),
        heads=dims.heads,
        kv_heads=dims.kv_heads,
        head_dim=dims.head_dim,
        qk_norm="head",
        window=dims.window,
    )
    for name in ("k_sconv", "v_sconv"):
        block += short_convolution(config, f"self_attn.{name}", dims.kv_heads * dims.head_dim)
    return block + relative_positions(config, dims)


def _widths(config: Config) -> tuple[int, int]:
    """Return the widths of a dense MLP and of an expert, which has the plain key beside ``dense_intermediate_size``."""
    dense, plain = config.optional_integer("dense_intermediate_size"), config.integer("intermediate_size")
    return (plain, config.integer("moe_intermediate_size")) if dense is None else (dense, plain)


def _dense(config: Config) -> Block:
    mlp = gated_mlp(hidden=config.integer("hidden_size"), intermediate=_widths(config)[0])
    return mlp + Block(vector("mlp.global_scale", 1, part="mlp"))


def _experts(config: Config) -> Block:
    """Return routed and shared experts; the router scores both."""
    hidden, width = config.integer("hidden_size"), _widths(config)[1]
    experts, shared = config.integer("n_routed_experts"), config.integer("n_shared_experts", minimum=0)
    top_k = top_k_of(config, experts)
    if top_k > experts:
        raise UserError(f'{config.where}: "num_experts_per_tok" = {top_k} is more than the {experts} experts')
    many = {"hidden": hidden, "intermediate": width}
    block = Block(linear("mlp.gate", use="router", part="router", out=experts + shared, into=hidden))
    block += Block(vector("mlp.gate.global_scale", 1, part="router"))
    block += fused_mlp(**many, prefix="mlp.experts", part="experts", copies=experts, active=top_k)  # type: ignore[arg-type]
    if shared:
        block += gated_mlp(**many, prefix="mlp.shared_experts", part="shared_experts", copies=shared)  # type: ignore[arg-type]
    return block
