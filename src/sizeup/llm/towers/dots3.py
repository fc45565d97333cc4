"""dots3-note's towers: vision with a pyramid of experts in its late layers, and audio with rotary positions.

Source: transformers 5.23 ``modeling_dots3_note.py``, ``configuration_dots3_note.py``.
"""

from __future__ import annotations

from collections.abc import Mapping

from sizeup.llm.blocks import linear, norm
from sizeup.llm.config import Config
from sizeup.llm.towers.parts import relabelled
from sizeup.llm.towers.vit import Tensors, convolution, tower_linear

DENSE_LAYERS, SPARSE_STEP, MOST_EXPERTS = 25, 4, 64
PYRAMID = [-1] * DENSE_LAYERS + list(range(SPARSE_STEP, MOST_EXPERTS + 1, SPARSE_STEP)) + [MOST_EXPERTS]
"""Experts of each layer where the configuration lists none (-1: a plain MLP)."""
WHISPER_NAMES = {
    "d_model": "hidden_size",
    "encoder_attention_heads": "num_attention_heads",
    "encoder_layers": "num_hidden_layers",
    "encoder_ffn_dim": "intermediate_size",
    "num_mel_bins": "feature_size",
}


def vision(config: Config) -> Tensors:
    """Return the vision tower."""
    hidden, bias = config.integer("hidden_size"), config.flag("attention_bias")
    patch, merge = config.integer("patch_size"), config.integer("spatial_merge_size")
    head_dim = hidden // config.integer("num_attention_heads")
    config.ignore("num_experts_per_tok", "adapter_in_dim", "adapter_merge_size", "capacity_factor")
    attention = (
        *tower_linear("attn.qkv", 3 * hidden, hidden, bias=bias),
        *tower_linear("attn.proj", hidden, hidden, bias=bias),
        *(t for name in ("attn.q_norm", "attn.k_norm") for t in norm(name, head_dim, part="tower")),
        *(t for name in ("norm1", "norm2") for t in norm(name, hidden, part="tower")),
    )
    layers = config.integer("num_hidden_layers")
    merged = hidden * merge**2
    return (
        *convolution("patch_embed.proj", hidden, config.integer("num_channels"), patch, patch),
        *norm("patch_embed.norm", hidden, part="tower"),
        *relabelled(attention, layers=layers, prefix="blocks."),
        *(t for index in range(layers) for t in _mlp(config, hidden, index)),
        *norm("norm", hidden, part="tower"),
        *norm("merger.ln_q", hidden, bias=True, part="tower"),
        *tower_linear("merger.mlp.0", merged, merged),
        *tower_linear("merger.mlp.2", config.integer("adapter_out_dim"), merged),
    )


def experts_of(config: Config, index: int) -> int:
    """Return the experts of a layer, 0 for a plain MLP."""
    counts = config.sequence("pyramid_num_routed")
    kinds = config.sequence("mlp_layer_types")
    if counts is None and kinds is None:
        counts = PYRAMID
    if counts is not None:
        return max(0, int(counts[index]))
    return of_layer(config, "num_local_experts", index) if kinds and kinds[index] == "sparse" else 0


def of_layer(config: Config, key: str, index: int) -> int:
    """Return a size of one layer, which may differ from the whole's."""
    every = config.get("per_layer_config")
    own = every.get(str(index), every.get(index)) if isinstance(every, Mapping) else None
    return int(own[key]) if isinstance(own, Mapping) and key in own else config.integer(key)


def _mlp(config: Config, hidden: int, index: int) -> Tensors:
    experts, name = experts_of(config, index), f"blocks.{index}.mlp"
    if not experts:
        width, bias = of_layer(config, "intermediate_size", index), config.flag("mlp_bias")
        return (
            *tower_linear(f"{name}.gate_proj", width, hidden, bias=bias),
            *tower_linear(f"{name}.up_proj", width, hidden, bias=bias),
            *tower_linear(f"{name}.down_proj", hidden, width, bias=bias),
        )
    width = of_layer(config, "moe_intermediate_size", index)
    down = linear(f"{name}.experts.down_proj", use="down", part="tower", out=hidden, into=width, copies=experts)
    both = linear(
        f"{name}.experts.gate_up_proj", use="gate_up", part="tower", out=2 * width, into=hidden, copies=experts
    )
    return (*tower_linear(f"{name}.gate", experts, hidden, bias=False), *both, *down)


def audio(config: Config) -> Tensors:
    """Return the audio tower with its adapter; published files give its sizes in Whisper's names."""
    whisper = config.get("whisper_config")
    config.ignore("num_key_value_heads", "head_dim", "samples_per_token", "adapter_input_size")
    if isinstance(whisper, Mapping):
        config.values = {**config.values, **{new: whisper[old] for old, new in WHISPER_NAMES.items() if old in whisper}}
    config.respell({"whisper_adapter_out_dim": "adapter_out_dim", "adapter_output_size": "adapter_out_dim"})
    hidden, width = config.integer("hidden_size"), config.integer("intermediate_size")
    stem, out, bias = (
        config.integer("downsample_hidden_size"),
        config.integer("adapter_out_dim"),
        config.flag("attention_bias"),
    )
    halved_three_times = 8
    rows = (config.integer("feature_size") + halved_three_times - 1) // halved_three_times
    layer = (
        *tower_linear("self_attn.q_proj", hidden, hidden, bias=bias),
        *tower_linear("self_attn.k_proj", hidden, hidden, bias=False),
        *tower_linear("self_attn.v_proj", hidden, hidden, bias=bias),
        *tower_linear("self_attn.o_proj", hidden, hidden, bias=bias),
        *tower_linear("mlp.gate_up_proj", 2 * width, hidden),
        *tower_linear("mlp.down_proj", hidden, width),
        *(t for name in ("input_layernorm", "post_attention_layernorm") for t in norm(name, hidden, part="tower")),
    )
    return (
        *convolution("conv_stem.convs.0", stem, 1, 3, 3),
        *relabelled(convolution("conv_stem.convs", stem, stem, 3, 3), layers=2),
        *tower_linear(
            "conv_stem.conv_out", hidden, config.optional_integer("conv_output_size") or stem * rows, bias=False
        ),
        *relabelled(layer, layers=config.integer("num_hidden_layers"), prefix="layers."),
        *norm("layer_norm", hidden, part="tower"),
        *norm("adapter.norm", hidden, bias=True, part="tower"),
        *tower_linear("adapter.fc1", out, hidden),
        *tower_linear("adapter.fc2", out, out),
    )
