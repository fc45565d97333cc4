"""MusicGen: a decoder that writes several audio codes at once, T5 as its reader, a codec beside it.

Source: transformers 5.23 ``modeling_musicgen.py``, ``modeling_musicgen_melody.py``. Its causal class is the decoder.
"""

from __future__ import annotations

from dataclasses import replace

from sizeup.llm.architecture import Architecture, Block, Tensor, Tower, layer_of
from sizeup.llm.blocks import check_divides, linear, norm, norms, table
from sizeup.llm.blocks_encoder import Sight, feed_forward, multi_head_attention
from sizeup.llm.config import Config
from sizeup.llm.families.published import published_class
from sizeup.llm.families.t5 import UNKNOWN_LENGTH, encoder_tower

CODEC = "a convolutional codec (EnCodec) that turns codes into sound"


def build(config: Config) -> Architecture:
    """Return the decoder, and what is beside it unless the configuration names the causal class."""
    melody = config.model_type.startswith("musicgen_melody")
    nested = not config.model_type.endswith("_decoder")
    model = _decoder(config.section("decoder") if nested else config, melody=melody)
    if nested and not published_class(config).endswith("ForCausalLM"):
        model = replace(model, towers=_towers(config, model.hidden_size, melody=melody), assumptions=(UNKNOWN_LENGTH,))
    return replace(model, model_type=config.model_type)


def _decoder(config: Config, *, melody: bool) -> Architecture:
    hidden, vocabulary = config.integer("hidden_size"), config.integer("vocab_size")
    codebooks, padding = config.integer("num_codebooks"), 1
    config.ignore("audio_channels", "add_cross_attention", "cross_attention_hidden_size")
    layer = layer_of("decoder", _layer(config, hidden, melody=melody))
    return Architecture(
        model_type=config.model_type,
        hidden_size=hidden,
        vocabulary_size=vocabulary,
        max_positions=config.optional_integer("max_position_embeddings"),
        embedding=_each(table("embed_tokens", vocabulary + padding, hidden), codebooks),
        layers=(layer,) * config.integer("num_hidden_layers"),
        head=(
            *norm("layer_norm", hidden, bias=True),
            *_each(linear("lm_heads", use="head", part="head", out=vocabulary, into=hidden), codebooks),
        ),
    )


def _each(tensors: tuple[Tensor, ...], codebooks: int) -> tuple[Tensor, ...]:
    return tuple(replace(tensor, copies=codebooks) for tensor in tensors)


def _layer(config: Config, hidden: int, *, melody: bool) -> list[Block]:
    """Return one layer; the melody model puts what it hears before the text and needs no cross attention."""
    heads = config.integer("num_attention_heads")
    check_divides(f"{config.where}: num_attention_heads", hidden, heads)
    sights: dict[str, Sight] = {"self_attn": "causal"} if melody else {"self_attn": "causal", "encoder_attn": "encoder"}
    blocks = [
        multi_head_attention(hidden=hidden, heads=heads, prefix=name, sight=sight, bias=False, output_bias=False)
        + norms(f"{name}_layer_norm", size=hidden, bias=True)
        for name, sight in sights.items()
    ]
    blocks.append(feed_forward("fc1", "fc2", hidden=hidden, intermediate=config.integer("ffn_dim"), bias=False))
    return [*blocks, norms("final_layer_norm", size=hidden, bias=True)]


def _towers(config: Config, hidden: int, *, melody: bool) -> tuple[Tower, ...]:
    config.ignore("audio_encoder", "chroma_length")
    text = config.section("text_encoder")
    reader = (
        encoder_tower(text, prefix="text_encoder", words=True)
        if text.model_type in ("t5", "mt5", "umt5")
        else Tower(name="text encoder", not_counted=f'no rule for a reader of type "{text.model_type}"')
    )
    text.ignore("n_positions", "relative_attention_max_distance", "num_decoder_layers", "feed_forward_proj")
    width = text.integer("d_model", "hidden_size")
    projector: tuple[Tensor, ...] = ()
    if width != hidden:
        projector += linear("enc_to_dec_proj", use="other", part="projector", out=hidden, into=width, bias=True)
    chroma = config.optional_integer("num_chroma") if melody else None
    if chroma and chroma != hidden:
        projector += linear("audio_enc_to_dec_proj", use="other", part="projector", out=hidden, into=chroma, bias=True)
    return (reader, Tower(name="projector", tensors=projector), Tower(name="audio codec", not_counted=CODEC))
