"""Gemma 3n: alternating updates (AltUp), low-rank residuals (LAuReL), per-layer embeddings, shared keys and values.

Source: transformers 5.23 ``modeling_gemma3n.py``, ``configuration_gemma3n.py``.
"""

from __future__ import annotations

from sizeup.errors import UserError
from sizeup.llm.architecture import Architecture, Block, Layer, Tensor, layer_of
from sizeup.llm.blocks import gated_mlp, head, linear, norm, norms, table, vector
from sizeup.llm.config import Config
from sizeup.llm.families.common import repeated
from sizeup.llm.families.dense_traits import GEMMA_NORMS
from sizeup.llm.families.gemma4 import Shape, owners, per_layer_block, per_layer_embedding, sharing_attention
from sizeup.llm.families.windows import layer_kinds


def build(config: Config) -> Architecture:
    """Return the text model of Gemma 3n."""
    hidden, vocabulary = config.integer("hidden_size"), config.integer("vocab_size")
    tied = config.flag("tie_word_embeddings")
    _check_sparsity(config)
    return Architecture(
        model_type=config.model_type,
        hidden_size=hidden,
        vocabulary_size=vocabulary,
        max_positions=config.optional_integer("max_position_embeddings"),
        embedding=(
            *table("embed_tokens", vocabulary, hidden),
            *per_layer_embedding(config),
            *_copies(config, "altup_projections"),
        ),
        layers=repeated(_shapes(config), lambda shape: _layer(config, shape)),
        head=(
            *_copies(config, "altup_unembed_projections"),
            *norm("norm", hidden),
            *head(hidden, vocabulary, tied=tied),
        ),
        tied_embeddings=tied,
    )


def _copies(config: Config, name: str) -> tuple[Tensor, ...]:
    """Return the projections to or from the other AltUp streams."""
    hidden, streams = config.integer("hidden_size"), config.integer("altup_num_inputs")
    return linear(name, use="other", part="other", out=hidden, into=hidden, copies=streams - 1) if streams > 1 else ()


def _check_sparsity(config: Config) -> None:
    pattern, layers = config.get("activation_sparsity_pattern"), config.integer("num_hidden_layers")
    if isinstance(pattern, list) and len(pattern) != layers:
        raise UserError(
            f'{config.where}: "activation_sparsity_pattern" has {len(pattern)} entries, the model {layers} layers'
        )


def _widths(config: Config, layers: int) -> list[int]:
    """Return the MLP width of every layer; one number means all."""
    value = config.get("intermediate_size")
    if not isinstance(value, list):
        return [config.integer("intermediate_size")] * layers
    if len(value) != layers or not all(isinstance(width, int) and width > 0 for width in value):
        raise UserError(f'{config.where}: "intermediate_size" must be one number or {layers} of them')
    return value


def _shapes(config: Config) -> list[Shape]:
    layers = config.integer("num_hidden_layers")
    kinds = layer_kinds(config, layers) or [
        "full_attention" if (index + 1) % 5 == 0 else "sliding_attention" for index in range(layers)
    ]
    shared = config.optional_integer("num_kv_shared_layers") or 0
    return [
        Shape(
            kind=kind,
            owns_cache=owns,
            head_dim=config.integer("head_dim"),
            kv_heads=config.integer("num_key_value_heads"),
            intermediate=width,
        )
        for kind, owns, width in zip(kinds, owners(config, kinds, shared=shared), _widths(config, layers), strict=True)
    ]


def _layer(config: Config, shape: Shape) -> Layer:
    hidden, small = config.integer("hidden_size"), config.integer("hidden_size_per_layer_input", minimum=0)
    blocks = (
        norms(*GEMMA_NORMS, size=hidden),
        sharing_attention(config, shape),
        gated_mlp(hidden=hidden, intermediate=shape.intermediate),
        _alternating_updates(hidden, config.integer("altup_num_inputs")),
        _low_rank_residual(hidden, config.integer("laurel_rank", minimum=0)),
        per_layer_block(hidden, small),
    )
    return layer_of(shape.kind if shape.owns_cache else f"{shape.kind}_reading_a_cache", blocks)


def _alternating_updates(hidden: int, streams: int) -> Block:
    """Return AltUp (arXiv 2301.13310): predicts and corrects ``streams`` copies of the hidden state."""
    return Block(
        (
            *vector("altup.correct_output_scale", hidden, part="other"),
            *linear("altup.correction_coefs", use="other", part="other", out=streams, into=streams),
            *linear("altup.prediction_coefs", use="other", part="other", out=streams**2, into=streams),
            *linear("altup.modality_router", use="other", part="other", out=streams, into=hidden),
            *norm("altup.router_norm", hidden),
        )
    )


def _low_rank_residual(hidden: int, rank: int) -> Block:
    """Return LAuReL (arXiv 2411.07501): a low-rank path beside attention."""
    return Block(
        (
            *linear("laurel.linear_left", use="other", part="other", out=rank, into=hidden),
            *linear("laurel.linear_right", use="other", part="other", out=hidden, into=rank),
            *norm("laurel.post_laurel_norm", hidden),
        )
    )
