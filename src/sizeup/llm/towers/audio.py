"""Audio towers: Whisper's encoder (two convolutions, positions, keys without a bias) and Phi-4's conformer.

Source: transformers 5.23 ``modeling_whisper.py``, ``modeling_voxtral.py``, ``modeling_phi4_multimodal.py``.
"""

from __future__ import annotations

import math

from sizeup.llm.blocks import norm, table, vector
from sizeup.llm.config import Config
from sizeup.llm.towers.parts import relabelled
from sizeup.llm.towers.vit import Tensors, convolution, tower_linear, vit_layers


def whisper_encoder(config: Config) -> Tensors:
    """Return Whisper's encoder."""
    hidden = config.integer("d_model", "hidden_size")
    return (
        *convolution("conv1", hidden, config.integer("num_mel_bins"), 3),
        *convolution("conv2", hidden, hidden, 3),
        *table("embed_positions", config.integer("max_source_positions"), hidden, use="position", part="tower"),
        *vit_layers(
            hidden=hidden,
            intermediate=config.integer("encoder_ffn_dim", "intermediate_size"),
            layers=config.integer("encoder_layers", "num_hidden_layers"),
            key_bias=False,
            prefix="layers.",
        ),
        *norm("layer_norm", hidden, bias=True, part="tower"),
    )


def phi4_audio(config: Config) -> Tensors:
    """Return Phi-4-multimodal's audio tower: a conformer behind convolutions that halve the frames three times."""
    hidden, channels = config.integer("hidden_size"), config.integer("nemo_conv_channels")
    halvings = int(math.log2(config.integer("time_reduction")))
    rows = config.integer("input_size")
    for _ in range(halvings):
        rows = math.floor((rows - 1) / 2 + 1)
    buckets = config.integer("bias_max_distance") * (1 if config.flag("bias_symmetric") else 2)
    config.ignore("chunk_size", "left_chunk", "feature_layer", "downsample_rate", "nemo_final_size")
    narrowing = (*convolution("embed.conv", channels, 1, 3, 3), *convolution("embed.conv", channels, channels, 1, 1))
    return (
        *convolution("embed.conv.0", channels, 1, 3, 3),
        *relabelled(narrowing, layers=halvings - 1),
        *tower_linear("embed.out", hidden, channels * rows),
        *table(
            "relative_attention_bias_layer.bias_values",
            buckets,
            config.integer("num_attention_heads"),
            use="position",
            part="tower",
        ),
        *relabelled(_phi4_layer(config, hidden), layers=config.integer("num_blocks"), prefix="encoders."),
    )


def _phi4_layer(config: Config, hidden: int) -> Tensors:
    width, out = config.integer("intermediate_size"), config.integer("ext_pw_out_channel")
    middle, separable = (
        hidden * config.integer("depthwise_multiplier"),
        config.integer("depthwise_separable_out_channel"),
    )
    tensors: Tensors = ()
    for name in ("feed_forward_in", "feed_forward_out"):
        tensors += norm(f"{name}.layer_norm", hidden, bias=True, part="tower")
        tensors += tower_linear(f"{name}.gate_up_proj", 2 * width, hidden)
        tensors += tower_linear(f"{name}.down_proj", hidden, width)
    for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
        tensors += tower_linear(f"self_attn.{name}", hidden, hidden)
    for name in ("layer_norm_att", "layer_norm", "conv.layer_norm"):
        tensors += norm(name, hidden, bias=True, part="tower")
    return (
        *tensors,
        *convolution("conv.glu.ext_pw_conv_1d", 2 * out, hidden, 1),
        *vector("conv.glu.b", 2, out, part="tower"),
        *convolution("conv.dw_sep_conv_1d.dw_conv", middle, 1, config.integer("kernel_size")),
        *convolution("conv.dw_sep_conv_1d.pw_conv", separable, middle, 1),
        *convolution("conv.ext_pw_conv_1d", out, hidden, 1),
    )
