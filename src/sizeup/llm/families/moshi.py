"""Moshi: a text decoder with a gated MLP whose halves share one matrix; the whole model adds a depth decoder.

Source: transformers 5.23 ``modeling_moshi.py``. The depth decoder keeps one matrix for every codebook.
"""

from __future__ import annotations

from dataclasses import replace

from sizeup.llm.architecture import Architecture, Block, Tensor, Tower, layer_of
from sizeup.llm.blocks import attention, head, linear, norm, norms, table
from sizeup.llm.config import Config
from sizeup.llm.families.common import attention_dims
from sizeup.llm.families.published import published_class
from sizeup.llm.towers.parts import relabelled

PROJECTIONS = ("q_proj.linear", "k_proj.linear", "v_proj.linear", "o_proj.linear")
CODEC = "a convolutional codec (Mimi): about 0.1 billion parameters that run beside the model"


def build(config: Config) -> Architecture:
    """Return the text decoder, with the audio parts beside it where the configuration's class has them."""
    hidden, vocabulary = config.integer("hidden_size"), config.integer("vocab_size")
    window = config.optional_integer("sliding_window") or None
    config.ignore("audio_encoder_config", "depth_decoder_config", "num_codebooks", "audio_vocab_size")
    whole = published_class(config) == "MoshiForConditionalGeneration"
    layer = layer_of("sliding_attention" if window else "full_attention", _layer(config, hidden, window))
    return Architecture(
        model_type=config.model_type,
        hidden_size=hidden,
        vocabulary_size=vocabulary,
        max_positions=config.optional_integer("max_position_embeddings"),
        embedding=(*table("embed_tokens", vocabulary + 1, hidden), *(_listened(config, hidden) if whole else ())),
        layers=(layer,) * config.integer("num_hidden_layers"),
        head=(*norm("norm", hidden), *head(hidden, vocabulary, tied=False)),
        towers=(_depth_decoder(config), Tower(name="audio codec", not_counted=CODEC)) if whole else (),
        assumptions=("counted as MoshiForConditionalGeneration: the depth decoder is beside the text model",) * whole,
    )


def _layer(config: Config, hidden: int, window: int | None = None) -> list[Block]:
    heads, kv_heads, head_dim = attention_dims(config)
    ffn = config.integer("ffn_dim", minimum=2)
    mlp = (
        *linear("mlp.fc1", use="gate_up", part="mlp", out=ffn, into=hidden),
        *linear("mlp.fc2", use="down", part="mlp", out=hidden, into=ffn // 2),
    )
    return [
        norms("input_layernorm", "post_attention_layernorm", size=hidden),
        attention(hidden=hidden, heads=heads, kv_heads=kv_heads, head_dim=head_dim, names=PROJECTIONS, window=window),
        Block(mlp),
    ]


def _audio_vocabulary(config: Config) -> int:
    own = config.optional_integer("audio_vocab_size", minimum=1)
    return own or config.section("audio_encoder_config").integer("codebook_size", default=2048)


def _listened(config: Config, hidden: int) -> tuple[Tensor, ...]:
    """Return the audio codes' embeddings: one table for each codebook, heard and spoken."""
    rows, heard_and_spoken = _audio_vocabulary(config) + 1, 2
    whole = table("audio.embed_tokens", rows, hidden)
    return tuple(replace(tensor, copies=heard_and_spoken * config.integer("num_codebooks")) for tensor in whole)


def _depth_decoder(config: Config) -> Tower:
    """Return the small model that writes one audio code after another: every codebook has its own matrices."""
    depth = config.section("depth_decoder_config")
    hidden, layers, codebooks = (
        depth.integer("hidden_size"),
        depth.integer("num_hidden_layers"),
        config.integer("num_codebooks"),
    )
    rows, outer = _audio_vocabulary(config), config.integer("hidden_size")
    blocks = _layer(depth, hidden)
    once = [t for block in blocks for t in block.tensors if t.kind == "norm"]
    many = [t for block in blocks for t in block.tensors if t.kind != "norm"]
    tables = (
        *linear("input_projections", use="other", part="tower", out=hidden, into=outer, copies=codebooks),
        *linear("lm_heads", use="other", part="tower", out=rows, into=hidden, copies=codebooks),
        *table("text_embed_tokens", config.integer("vocab_size") + 1, hidden, part="tower"),
        *relabelled(table("embed_tokens", rows + 1, hidden), layers=codebooks - 1),
    )
    return Tower(
        name="depth decoder",
        tensors=(*tables, *relabelled(once, layers=layers), *relabelled(many, layers=layers * codebooks)),
    )
