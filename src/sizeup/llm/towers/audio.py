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
        *_whisper_layers(config, hidden, key_bias=False),
        *norm("layer_norm", hidden, bias=True, part="tower"),
    )


def qwen_omni(config: Config) -> Tensors:
    """Return Qwen2.5-Omni's encoder: Whisper's without a table of positions, projected to the text model's width."""
    hidden, out = config.integer("d_model"), config.integer("output_dim")
    config.ignore("max_source_positions", "n_window")
    return (
        *convolution("conv1", hidden, config.integer("num_mel_bins"), 3),
        *convolution("conv2", hidden, hidden, 3),
        *table("audio_bos_eos_token", 2, out, part="tower"),
        *_whisper_layers(config, hidden, key_bias=False),
        *norm("ln_post", hidden, bias=True, part="tower"),
        *tower_linear("proj", out, hidden),
    )


def qwen3_audio(config: Config) -> Tensors:
    """Return Qwen3-Omni's and Qwen3-ASR's encoder: three convolutions over time and frequency."""
    hidden, stem = config.integer("d_model"), config.integer("downsample_hidden_size")
    rows = config.integer("num_mel_bins")
    for _ in range(3):
        rows = (rows + 1) // 2
    config.ignore("max_source_positions", "n_window", "n_window_infer", "conv_chunksize", "max_position_embeddings")
    tensors = (
        *convolution("conv2d1", stem, 1, 3, 3),
        *relabelled(convolution("conv2d", stem, stem, 3, 3), layers=2),
        *tower_linear("conv_out", hidden, stem * rows, bias=False),
        *_whisper_layers(config, hidden),
        *norm("ln_post", hidden, bias=True, part="tower"),
    )
    if config.model_type == "qwen3_asr_encoder":
        return tensors
    return (
        *tensors,
        *tower_linear("proj1", hidden, hidden),
        *tower_linear("proj2", config.integer("output_dim"), hidden),
    )


def glm_asr(config: Config) -> Tensors:
    """Return GLM-ASR's encoder: Whisper's with rotary positions and, possibly, fewer key-value heads."""
    hidden, heads = config.integer("hidden_size"), config.integer("num_attention_heads")
    head_dim = config.integer("head_dim", default=hidden // heads)
    kv_heads = config.optional_integer("num_key_value_heads", minimum=1) or heads
    return (
        *convolution("conv1", hidden, config.integer("num_mel_bins"), 3),
        *convolution("conv2", hidden, hidden, 3),
        *vit_layers(
            hidden=hidden,
            intermediate=config.integer("intermediate_size"),
            layers=config.integer("num_hidden_layers"),
            key_bias=False,
            width=heads * head_dim,
            kv_width=kv_heads * head_dim,
            prefix="layers.",
        ),
        *norm("norm", hidden, bias=True, part="tower"),
    )


def _whisper_layers(config: Config, hidden: int, *, key_bias: bool = True) -> Tensors:
    return vit_layers(
        hidden=hidden,
        intermediate=config.integer("encoder_ffn_dim", "intermediate_size"),
        layers=config.integer("encoder_layers", "num_hidden_layers"),
        key_bias=key_bias,
        prefix="layers.",
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
