"""Mixtures of experts with multi-head latent attention: DeepSeek-V2 to V3.2, Kimi K2, GLM-5, A.X K1 and K2, dots3.

Source: transformers 5.23, ``modeling_<type>.py`` and ``configuration_<type>.py`` of the types in ``LATENT``;
``kimi_k2`` is DeepSeek-V3 under another name (``configuration_deepseek.py`` of moonshotai/Kimi-K2-Instruct).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from sizeup.errors import UserError
from sizeup.llm.architecture import Architecture, Block, Layer, layer_of
from sizeup.llm.blocks import head, latent_attention, linear, norm, norms, table
from sizeup.llm.blocks_indexer import indexer
from sizeup.llm.config import Config, class_defaults
from sizeup.llm.families.common import repeated
from sizeup.llm.families.experts import Experts, dense_block, mixture_block, remarks
from sizeup.llm.families.latent_places import Place, places
from sizeup.llm.families.prediction import predicted_layers, prediction_layers


@dataclass(frozen=True, slots=True, kw_only=True)
class Latent:
    """How a type differs from DeepSeek-V3.

    Attributes:
        indexer: layers pick the tokens that they read (DeepSeek sparse attention).
        needs_q_rank: the code has no full-rank query.
        gated: A.X K2's output gate, made with the queries, and its gated norms.
        head_gate: dots3's gate per head and its norm of the rotary key.
        prediction: the checkpoint's prediction layers repeat the token table and head.
        like: the type whose class defaults hold; ``defaults`` are what its class does not name.
        ignored: keys of published configurations that name sizes but have no effect.
    """

    experts: Experts = field(default_factory=lambda: Experts(layers="after_dense", shared="count"))
    indexer: bool = False
    needs_q_rank: bool = False
    gated: bool = False
    head_gate: bool = False
    prediction: bool = True
    like: str = ""
    defaults: dict[str, Any] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()


LISTED = Experts(layers="listed", shared="count")
NOTE_EXPERTS = Experts(layers="listed", shared="shared_experts_intermediate_size", shared_times_count=True)
LATENT: dict[str, Latent] = {
    "deepseek_v2": Latent(experts=Experts(layers="after_dense", shared="count", bias="mlp_bias")),
    "deepseek_v3": Latent(),
    "kimi_k2": Latent(like="deepseek_v3"),
    "deepseek_v32": Latent(experts=LISTED, indexer=True, needs_q_rank=True),
    "glm4_moe_lite": Latent(experts=LISTED, prediction=False, defaults={"first_k_dense_replace": 1}),
    "glm_moe_dsa": Latent(
        experts=LISTED,
        indexer=True,
        needs_q_rank=True,
        prediction=False,
        ignored=("index_share_for_mtp_iteration", "indexer_rope_interleave"),
    ),
    "axk1": Latent(experts=replace(LISTED, after_norm="post_mlp_layernorm"), needs_q_rank=True),
    "axk2": Latent(experts=LISTED, indexer=True, needs_q_rank=True, gated=True),
    "hy_v4": Latent(  # with what ``hy_v4`` adds
        experts=LISTED,
        indexer=True,
        needs_q_rank=True,
        prediction=False,
        defaults={"first_k_dense_replace": 1, "index_topk_freq": 4},
    ),
    "dots3_note_text": Latent(experts=NOTE_EXPERTS, indexer=True, needs_q_rank=True, head_gate=True),
}
"""Every mixture with latent attention in one block per layer."""


def build(config: Config) -> Architecture:
    """Return a mixture of experts whose cache is one latent per token."""
    traits = LATENT[config.model_type]
    config.assume(traits.defaults)
    config.ignore(*traits.ignored)
    config.assume(class_defaults()[traits.like]["defaults"] if traits.like else {})
    hidden, vocabulary = config.integer("hidden_size"), config.integer("vocab_size")
    tied = config.flag("tie_word_embeddings")
    spots = places(config, traits.experts.layers, indexed=traits.indexer)
    last = replace(spots[-1], indexer=spots[-1].sparse_attention)  # a prediction layer has its own indexer
    extra = [last] * predicted_layers(config)
    return Architecture(
        model_type=config.model_type,
        hidden_size=hidden,
        vocabulary_size=vocabulary,
        max_positions=config.optional_integer("max_position_embeddings"),
        embedding=table("embed_tokens", vocabulary, hidden),
        layers=repeated(spots, lambda place: decoder_layer(config, traits, place)),
        head=(*norm("norm", hidden), *head(hidden, vocabulary, tied=tied)),
        tied_embeddings=tied,
        multi_token_prediction=prediction_layers(
            config, [decoder_layer(config, traits, place) for place in extra], copies_tables=traits.prediction
        ),
        assumptions=remarks(config),
    )


def decoder_layer(config: Config, traits: Latent, place: Place) -> Layer:
    """Return one layer."""
    hidden = config.integer("hidden_size")
    names = ("input_layernorm", "post_attention_layernorm")
    around = norms(*names, size=hidden)
    if traits.gated:
        around += _norm_gates(config, names if place.sparse else names[:1])
    mlp = mixture_block(config, traits.experts) if place.sparse else dense_block(config, traits.experts)
    return layer_of(place.kind, (around, attention_of(config, traits, place), mlp))


def attention_of(config: Config, traits: Latent, place: Place) -> Block:
    """Return the latent attention of one layer, with its indexer and gates."""
    dims, hidden = place.dims, config.integer("hidden_size")
    if traits.needs_q_rank and not dims.q_rank:
        raise UserError(f'{config.where}: {config.model_type} needs a "q_lora_rank"')
    block = latent_attention(
        hidden=hidden,
        **asdict(dims),
        bias=config.flag("attention_bias"),
        window=place.window,
        top_k_tokens=config.integer("index_topk") if place.sparse_attention else None,
    )
    if traits.gated:
        block = _with_query_gate(block, dims.heads * dims.value_dim)
    if traits.head_gate:
        gate = linear("self_attn.g_proj", use="gate", part="attention", out=dims.heads, into=hidden)
        block += Block((*gate, *norm("self_attn.k_rope_only_layernorm", dims.rope_dim)))
    if place.indexer:
        block += indexer(
            hidden=hidden,
            q_rank=dims.q_rank or 0,
            heads=config.integer("index_n_heads"),
            head_dim=config.integer("index_head_dim"),
            cache_dtype="fp32" if traits.head_gate else None,  # dots3 rotates the key in float32
        )
    return block


def _with_query_gate(block: Block, gate_width: int) -> Block:
    """Return attention whose queries come with an output gate, from two low-rank queries side by side (A.X K2)."""
    tensors = tuple(
        replace(t, name="self_attn.q_gate_proj", shape=(t.shape[0] + gate_width, 2 * t.shape[1]))
        if t.use == "query_up"
        else t
        for t in block.tensors
    )
    return replace(block, tensors=tensors)


def _norm_gates(config: Config, names: tuple[str, ...]) -> Block:
    """Return the low-rank gates of A.X K2's norms."""
    hidden, rank = config.integer("hidden_size"), config.integer("gated_norm_rank")
    block = Block()
    for name in names:
        block += Block(linear(f"{name}.mlp.fc1", use="other", part="norms", out=rank, into=hidden))
        block += Block(linear(f"{name}.mlp.fc2", use="other", part="norms", out=hidden, into=rank))
    return block
