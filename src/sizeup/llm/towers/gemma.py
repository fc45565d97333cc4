"""Gemma's own towers: Gemma 4's vision and audio, the unified model's embedders, Gemma 3n's audio and MobileNet.

Source: transformers 5.23 ``modeling_gemma4.py``, ``modeling_gemma4_unified.py``, ``modeling_gemma3n.py``; timm 1.0.
"""

from __future__ import annotations

from sizeup.llm.blocks import norm, vector
from sizeup.llm.config import Config
from sizeup.llm.towers.parts import relabelled
from sizeup.llm.towers.vit import Tensors, convolution, tower_linear

MOBILENET_PARAMETERS = {"mobilenetv5_300m_enc": 294_126_912}
"""Parameters of the image encoders that timm builds under these names (timm 1.0.31)."""


def scales(names: tuple[str, ...], size: int) -> Tensors:
    """Return several RMSNorms."""
    return tuple(t for name in names for t in norm(name, size, part="tower"))


def gemma4_vision(config: Config) -> Tensors:
    """Return Gemma 4's vision tower: two tables of positions, grouped queries, four norms and two per head."""
    hidden, intermediate = config.integer("hidden_size"), config.integer("intermediate_size")
    heads = config.integer("num_attention_heads")
    kv_heads = config.integer("num_key_value_heads", default=heads)
    head_dim = config.integer("head_dim", default=hidden // heads)
    config.ignore("default_output_length", "pooling_kernel_size", "global_head_dim")
    patch, rows, bias = config.integer("patch_size"), config.integer("position_embedding_size"), False
    layer = (
        *tower_linear("self_attn.q_proj", heads * head_dim, hidden, bias=bias),
        *tower_linear("self_attn.k_proj", kv_heads * head_dim, hidden, bias=bias),
        *tower_linear("self_attn.v_proj", kv_heads * head_dim, hidden, bias=bias),
        *tower_linear("self_attn.o_proj", hidden, heads * head_dim, bias=bias),
        *scales(("self_attn.q_norm", "self_attn.k_norm"), head_dim),
        *tower_linear("mlp.gate_proj", intermediate, hidden, bias=bias),
        *tower_linear("mlp.up_proj", intermediate, hidden, bias=bias),
        *tower_linear("mlp.down_proj", hidden, intermediate, bias=bias),
        *scales(("input_layernorm", "post_attention_layernorm"), hidden),
        *scales(("pre_feedforward_layernorm", "post_feedforward_layernorm"), hidden),
    )
    return (
        *vector("patch_embedder.position_embedding_table", 2, rows, hidden, part="tower", kind="embedding"),
        *tower_linear("patch_embedder.input_proj", hidden, 3 * patch**2, bias=bias),
        *relabelled(layer, layers=config.integer("num_hidden_layers"), prefix="encoder.layers."),
    )


def conformer_layer(hidden: int, head_dim: int, kernel: int) -> Tensors:
    """Return a layer of Gemma's audio towers: two MLPs around attention and a short convolution."""
    tensors: Tensors = ()
    for name in ("feed_forward1", "feed_forward2"):
        tensors += scales((f"{name}.pre_layer_norm", f"{name}.post_layer_norm"), hidden)
        tensors += tower_linear(f"{name}.ffw_layer_1", 4 * hidden, hidden, bias=False)
        tensors += tower_linear(f"{name}.ffw_layer_2", hidden, 4 * hidden, bias=False)
    for name in ("q_proj", "k_proj", "v_proj", "post", "relative_k_proj"):
        tensors += tower_linear(f"self_attn.{name}", hidden, hidden, bias=False)
    return (
        *tensors,
        *vector("self_attn.per_dim_scale", head_dim, part="tower"),
        *tower_linear("lconv1d.linear_start", 2 * hidden, hidden, bias=False),
        *tower_linear("lconv1d.linear_end", hidden, hidden, bias=False),
        *convolution("lconv1d.depthwise_conv1d", hidden, 1, kernel, bias=False),
        *scales(("lconv1d.pre_layer_norm", "lconv1d.conv_norm"), hidden),
        *scales(("norm_pre_attn", "norm_post_attn", "norm_out"), hidden),
    )


def gemma4_audio(config: Config) -> Tensors:
    """Return Gemma 4's audio tower."""
    hidden, heads = config.integer("hidden_size"), config.integer("num_attention_heads")
    first, second = (int(size) for size in config.sequence("subsampling_conv_channels") or (128, 32))
    layer = conformer_layer(hidden, hidden // heads, config.integer("conv_kernel_size"))
    stem = "subsample_conv_projection"
    return (
        *convolution(f"{stem}.layer0.conv", first, 1, 3, 3, bias=False),
        *norm(f"{stem}.layer0.norm", first, part="tower"),
        *convolution(f"{stem}.layer1.conv", second, first, 3, 3, bias=False),
        *norm(f"{stem}.layer1.norm", second, part="tower"),
        *tower_linear(f"{stem}.input_proj_linear", hidden, first // 4 * second, bias=False),
        *relabelled(layer, layers=config.integer("num_hidden_layers"), prefix="layers."),
        *tower_linear("output_proj", config.integer("output_proj_dims"), hidden),
    )


def gemma3n_audio(config: Config) -> Tensors:
    """Return Gemma 3n's audio tower: Gemma 4's layers behind convolutions whose strides set the width."""
    hidden, heads = config.integer("hidden_size"), config.integer("conf_num_attention_heads")
    width, channels = config.integer("input_feat_size"), 1
    stem = "subsample_conv_projection"
    tensors: Tensors = ()
    kernels, strides = config.sequence("sscp_conv_kernel_size") or (), config.sequence("sscp_conv_stride_size") or ()
    sizes = config.sequence("sscp_conv_channel_size") or ()
    for index, (out, kernel, stride) in enumerate(zip(sizes, kernels, strides, strict=True)):
        tensors += convolution(f"{stem}.conv_{index}.conv", out, channels, *kernel, bias=False)
        tensors += norm(f"{stem}.conv_{index}.norm", out, part="tower")
        one_each_side = 2
        width, channels = (width + one_each_side - kernel[1]) // stride[1] + 1, out
    layer = conformer_layer(hidden, hidden // heads, config.integer("conf_conv_kernel_size"))
    return (
        *tensors,
        *tower_linear(f"{stem}.input_proj_linear", hidden, channels * width, bias=False),
        *relabelled(layer, layers=config.integer("conf_num_hidden_layers"), prefix="conformer."),
    )


def unified_vision(config: Config) -> Tensors:
    """Return the unified model's vision: no tower, patches of pooled pixels become tokens in one step."""
    out, side = config.integer("mm_embed_dim"), config.integer("patch_size") * config.integer("pooling_kernel_size")
    pixels, shifted = 3 * side**2, {"bias": True}
    return (
        *vector("pos_embedding", config.integer("mm_posemb_size"), 2, out, part="tower", kind="embedding"),
        *norm("patch_ln1", pixels, **shifted, part="tower"),
        *tower_linear("patch_dense", out, pixels),
        *norm("patch_ln2", out, **shifted, part="tower"),
        *norm("pos_norm", out, **shifted, part="tower"),
    )


def nothing(config: Config) -> Tensors:
    """Return no tensors: the unified model's audio is projected as it comes."""
    config.ignore("audio_embed_dim")
    return ()


def mobilenet(config: Config) -> Tensors | None:
    """Return Gemma 3n's image encoder as one number, where we know it."""
    parameters = MOBILENET_PARAMETERS.get(config.text("architecture"))
    return vector("timm_model", parameters, part="tower", kind="conv") if parameters else None
