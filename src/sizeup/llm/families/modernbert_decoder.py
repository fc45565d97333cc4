"""ModernBERT as a decoder: local layers between global ones, no norm before the first attention, a dense head.

Source: transformers 5.23 ``modeling_modernbert_decoder.py``, ``configuration_modernbert_decoder.py``.
"""

from __future__ import annotations

from sizeup.errors import UserError
from sizeup.llm.architecture import Architecture, Block, Layer, Tensor, layer_of
from sizeup.llm.blocks import attention, check_divides, fused_mlp, head, linear, norm, table
from sizeup.llm.config import Config
from sizeup.llm.families.common import repeated
from sizeup.llm.families.windows import layer_kinds

Place = tuple[int | None, bool]
"""A layer's window (None: sees everything), and whether a norm precedes its attention."""


def build(config: Config) -> Architecture:
    """Return the decoder with its prediction head."""
    hidden, vocabulary = config.integer("hidden_size"), config.integer("vocab_size")
    bias, tied = config.flag("norm_bias"), config.flag("tie_word_embeddings")
    config.ignore("sparse_prediction", "sparse_pred_ignore_index", "repad_logits_with_grad", "sliding_window")
    return Architecture(
        model_type=config.model_type,
        hidden_size=hidden,
        vocabulary_size=vocabulary,
        max_positions=config.optional_integer("max_position_embeddings"),
        embedding=(
            *table("embeddings.tok_embeddings", vocabulary, hidden),
            *norm("embeddings.norm", hidden, bias=bias),
        ),
        layers=repeated(_places(config), lambda place: _layer(config, place)),
        head=(
            *norm("final_norm", hidden, bias=bias),
            *_dense_head(config, hidden),
            *head(hidden, vocabulary, tied=tied, bias=config.flag("decoder_bias"), name="decoder"),
        ),
        tied_embeddings=tied,
    )


def _dense_head(config: Config, hidden: int) -> tuple[Tensor, ...]:
    bias = config.flag("classifier_bias")
    return (
        *linear("lm_head.dense", use="other", part="head", out=hidden, into=hidden, bias=bias),
        *norm("lm_head.norm", hidden, bias=config.flag("norm_bias")),
    )


def _places(config: Config) -> list[Place]:
    layers = config.integer("num_hidden_layers")
    every = config.integer("global_attn_every_n_layers", default=3)
    kinds = layer_kinds(config, layers)
    if kinds is None:
        kinds = ["full_attention" if index % every == 0 else "sliding_attention" for index in range(layers)]
    window = (config.optional_integer("local_attention") or 0) // 2
    if window < 1 and "sliding_attention" in kinds:
        raise UserError(f'{config.where}: sliding layers need a "local_attention" of at least 2')
    return [(window if kind == "sliding_attention" else None, index > 0) for index, kind in enumerate(kinds)]


def _layer(config: Config, place: Place) -> Layer:
    window, normed = place
    hidden, heads = config.integer("hidden_size"), config.integer("num_attention_heads")
    check_divides("attention heads of hidden_size", hidden, heads)
    names = ("attn_norm", "mlp_norm") if normed else ("mlp_norm",)
    around = Block(tuple(t for name in names for t in norm(name, hidden, bias=config.flag("norm_bias"))))
    mixing = attention(
        hidden=hidden,
        heads=heads,
        kv_heads=heads,
        head_dim=hidden // heads,
        bias=config.flag("attention_bias"),
        window=window,
        prefix="attn",
        names=("q_proj", "k_proj", "v_proj", "Wo"),
    )
    mlp = fused_mlp(
        hidden=hidden,
        intermediate=config.integer("intermediate_size"),
        bias=config.flag("mlp_bias"),
        names=("Wi", "Wo"),
    )
    return layer_of("full_attention" if window is None else "sliding_attention", (around, mixing, mlp))
