"""Mixtures of experts with ordinary attention: Mixtral, Qwen, gpt-oss, GLM-4.5, Llama 4, MiniMax and their like.

Source: transformers 5.23, the modeling files of the types in ``moe_traits.MIXTURES``.
"""

from __future__ import annotations

from sizeup.llm.architecture import Architecture, Block, Layer, layer_of
from sizeup.llm.blocks import head, norm, table
from sizeup.llm.config import Config, class_defaults
from sizeup.llm.families.common import repeated
from sizeup.llm.families.dense import scaled_norm, switched
from sizeup.llm.families.experts import dense_block, mixture_block, remarks
from sizeup.llm.families.moe_attention import attention_of
from sizeup.llm.families.moe_places import Place, places, predicted_places
from sizeup.llm.families.moe_traits import MIXTURES, Mixture
from sizeup.llm.families.prediction import prediction_layers


def build(config: Config) -> Architecture:
    """Return a mixture of experts with the traits of its model type."""
    return build_with(config, MIXTURES[config.model_type])


def build_with(config: Config, traits: Mixture) -> Architecture:
    """Return a mixture of experts with given traits."""
    config.assume(traits.defaults)
    if config.model_type == "minimax_m3":
        config.assume(class_defaults()["minimax_m3_vl_text"]["defaults"])
        config.ignore("num_mtp_modules", "num_nextn_predict_layers", "qk_norm_type", "moe_intermediate_size")
    config.ignore(*traits.ignored)
    hidden, vocabulary = config.integer("hidden_size"), config.integer("vocab_size")
    tied, bias = config.flag("tie_word_embeddings"), switched(config, traits.head_bias)
    layers = repeated(places(config, traits), lambda place: decoder_layer(config, traits, place))
    extra = repeated(predicted_places(config, traits), lambda place: decoder_layer(config, traits, place))
    return Architecture(
        model_type=config.model_type,
        hidden_size=hidden,
        vocabulary_size=vocabulary,
        max_positions=config.optional_integer("max_position_embeddings"),
        embedding=table("embed_tokens", vocabulary, hidden),
        layers=layers,
        head=(
            *norm(traits.decoder.final_norm, hidden, bias=traits.decoder.norm_bias),
            *head(hidden, vocabulary, tied=tied, bias=bias),
        ),
        tied_embeddings=tied,
        multi_token_prediction=prediction_layers(config, extra, copies_tables=traits.prediction),
        assumptions=remarks(config),
    )


def decoder_layer(config: Config, traits: Mixture, place: Place) -> Layer:
    """Return one layer: norms, attention, and experts or a dense MLP."""
    hidden = config.integer("hidden_size")
    around = Block(tuple(t for name in traits.decoder.norms for t in scaled_norm(traits.decoder, name, hidden)))
    mlp = (
        mixture_block(config, traits.experts, top_k=place.top_k)
        if place.sparse
        else dense_block(config, traits.experts)
    )
    return layer_of(place.kind, (around, attention_of(config, traits, place), mlp))
