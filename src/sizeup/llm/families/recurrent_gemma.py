"""RecurrentGemma: gated linear recurrences with local attention in every third layer.

The recurrences keep one number per channel (float32) and the last columns of a convolution; ``transformers`` holds
them inside of the model, not in its cache object.

Source: transformers 5.23 ``modeling_recurrent_gemma.py``; arXiv 2402.19427.
"""

from __future__ import annotations

from sizeup.errors import UserError
from sizeup.llm.architecture import Architecture, Block, Layer, layer_of
from sizeup.llm.blocks import attention, check_divides, gated_mlp, head, linear, norm, norms, table, vector
from sizeup.llm.blocks_ssm import convolution_state, depthwise, recurrent_state
from sizeup.llm.config import Config
from sizeup.llm.families.common import attention_dims, repeated

KINDS = {"recurrent": "recurrent", "attention": "sliding_attention"}


def build(config: Config) -> Architecture:
    """Return the model."""
    hidden, vocabulary = config.integer("hidden_size"), config.integer("vocab_size")
    tied = config.flag("tie_word_embeddings")
    config.ignore("final_w_init_variance_scale", "layers_block_type", "embeddings_scale_by_sqrt_dim")
    kinds = mixer_kinds(config, config.integer("num_hidden_layers"))
    return Architecture(
        model_type=config.model_type,
        hidden_size=hidden,
        vocabulary_size=vocabulary,
        embedding=table("embed_tokens", vocabulary, hidden),
        layers=repeated(kinds, lambda kind: decoder_layer(config, kind)),
        head=(*norm("final_norm", hidden), *head(hidden, vocabulary, tied=tied)),
        tied_embeddings=tied,
    )


def mixer_kinds(config: Config, layers: int) -> list[str]:
    """Return what mixes tokens in each layer: ``block_types`` over and over.

    Raises:
        UserError: a kind that the model does not have.
    """
    pattern = config.sequence("block_types") or ["recurrent", "recurrent", "attention"]
    for kind in pattern:
        if kind not in KINDS:
            raise UserError(f'{config.where}: "block_types" names "{kind}", recurrent_gemma has {", ".join(KINDS)}')
    return [KINDS[pattern[index % len(pattern)]] for index in range(layers)]


def decoder_layer(config: Config, kind: str) -> Layer:
    """Return one layer; the MLP's stated width counts gate and up together."""
    hidden = config.integer("hidden_size")
    width = config.integer("intermediate_size") // 2
    blocks = (
        norms("temporal_pre_norm", "channel_pre_norm", size=hidden),
        recurrent_block(config) if kind == "recurrent" else attention_block(config),
        gated_mlp(hidden=hidden, intermediate=width, bias=True, prefix="mlp_block"),
    )
    return layer_of(kind, blocks)


def attention_block(config: Config) -> Block:
    """Return local attention."""
    hidden = config.integer("hidden_size")
    heads, kv_heads, head_dim = attention_dims(config)
    return attention(
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        bias=config.flag("attention_bias"),
        output_bias=True,
        window=config.integer("attention_window_size"),
        prefix="temporal_block",
    )


def recurrent_block(config: Config) -> Block:
    """Return the gated linear recurrence; its gates are cut into one block per attention head."""
    hidden, heads = config.integer("hidden_size"), config.integer("num_attention_heads")
    width = config.optional_integer("lru_width", minimum=1) or hidden
    kernel = config.integer("conv1d_width")
    check_divides('"num_attention_heads" of "lru_width"', width, heads)
    block = width // heads
    tensors = (
        *linear("temporal_block.linear_y", use="ssm_in", part="ssm", out=width, into=hidden, bias=True),
        *linear("temporal_block.linear_x", use="ssm_in", part="ssm", out=width, into=hidden, bias=True),
        *depthwise("temporal_block.conv_1d", channels=width, kernel=kernel, bias=True),
        *vector("temporal_block.rg_lru.recurrent_param", width, part="ssm"),
        *linear("temporal_block.linear_out", use="ssm_out", part="ssm", out=hidden, into=width, bias=True),
    )
    for gate in ("input_gate", "recurrent_gate"):
        name = f"temporal_block.rg_lru.{gate}"
        tensors += linear(f"{name}_weight", use="other", part="ssm", out=block, into=block, copies=heads)
        tensors += vector(f"{name}_bias", heads, block, part="ssm", kind="bias")
    return Block(tensors) + convolution_state(width, kernel - 1) + recurrent_state(heads=1, key_dim=1, value_dim=width)
