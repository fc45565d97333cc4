"""Projectors that merge neighbouring patches before the text model sees them.

Source: transformers 5.23, the projector classes in ``modeling_<type>.py`` of the wrappers in ``families/wrappers.py``.
"""

from __future__ import annotations

from functools import partial

from sizeup.llm.blocks import norm
from sizeup.llm.config import Config
from sizeup.llm.towers.joints import LINEARS, Projector, feature_layers, two_layers, vision_width
from sizeup.llm.towers.vit import Tensors, convolution, tower_linear


def mistral3(config: Config, hidden: int) -> Tensors:
    """Return Mistral 3's projector, which merges neighbouring patches."""
    width, merge = vision_width(config), config.integer("spatial_merge_size")
    bias = config.flag("multimodal_projector_bias")
    return (
        *norm("multi_modal_projector.norm", width),
        *tower_linear("multi_modal_projector.patch_merger.merging_layer", width, width * merge**2, bias=False),
        *two_layers(LINEARS, width * feature_layers(config), hidden, hidden, bias=bias),
    )


def qwen2_merger(config: Config, hidden: int) -> Tensors:
    """Return Qwen2-VL's merger of neighbouring patches (its tower's ``hidden_size`` is the text model's)."""
    vision = config.section("vision_config")
    second = vision.model_type == "qwen2_vl_vision"
    width = vision.integer("embed_dim" if second else "hidden_size")
    out = vision.integer("hidden_size" if second else "out_hidden_size")
    merged = width * vision.integer("spatial_merge_size") ** 2
    return (
        *norm("visual.merger.ln_q", width, bias=second),
        *two_layers(("visual.merger.mlp.0", "visual.merger.mlp.2"), merged, merged, out),
    )


def qwen3_merger(config: Config, hidden: int) -> Tensors:
    """Return Qwen3-VL's merger, and one for each layer of the tower that text layers read (deepstack)."""
    vision = config.section("vision_config")
    width, out = vision.integer("hidden_size"), vision.integer("out_hidden_size")
    merged = width * vision.integer("spatial_merge_size") ** 2
    names = ("linear_fc1", "linear_fc2")
    tensors = (
        *norm("visual.merger.norm", width, bias=True),
        *two_layers((f"visual.merger.{names[0]}", f"visual.merger.{names[1]}"), merged, merged, out),
    )
    for index in range(len(vision.sequence("deepstack_visual_indexes") or ())):
        prefix = f"visual.deepstack_merger_list.{index}"
        tensors += norm(f"{prefix}.norm", merged, bias=True)
        tensors += two_layers((f"{prefix}.{names[0]}", f"{prefix}.{names[1]}"), merged, merged, out)
    return tensors


def glm4v(config: Config, hidden: int) -> Tensors:
    """Return GLM-4V's merger: a convolution over neighbouring patches, then a gated MLP."""
    vision = config.section("vision_config")
    out, merge = vision.integer("out_hidden_size"), vision.integer("spatial_merge_size")
    ocr = vision.model_type == "glm_ocr_vision"
    middle = out * vision.integer("in_channels") if ocr else vision.integer("intermediate_size")
    return (
        *convolution("visual.downsample", out, vision.integer("hidden_size"), merge, merge),
        *tower_linear("visual.merger.proj", out, out, bias=False),
        *norm("visual.merger.post_projection_norm", out, bias=True),
        *tower_linear("visual.merger.gate_proj", middle, out, bias=False),
        *tower_linear("visual.merger.up_proj", middle, out, bias=False),
        *tower_linear("visual.merger.down_proj", out, middle, bias=False),
    )


def internvl(config: Config, hidden: int) -> Tensors:
    """Return InternVL's projector after a pixel shuffle."""
    width = vision_width(config) * int(1 / config.number("downsample_ratio")) ** 2
    return (
        *norm("multi_modal_projector.layer_norm", width, bias=True),
        *two_layers(LINEARS, width, hidden, hidden),
    )


def cohere(config: Config, hidden: int, *, normed: bool) -> Tensors:
    """Return Aya Vision's (normed) or Command A Vision's projector: a gated activation halves the middle."""
    width = vision_width(config) * config.integer("downsample_factor") ** 2
    middle = config.integer("alignment_intermediate_size", default=hidden)
    return (
        *(norm("multi_modal_projector.layernorm", width, bias=True) if normed else ()),
        *tower_linear(LINEARS[0], middle, width),
        *tower_linear(LINEARS[1], hidden, middle // 2),
    )


def lfm2(config: Config, hidden: int) -> Tensors:
    """Return LFM2-VL's projector."""
    width = vision_width(config) * config.integer("downsample_factor") ** 2
    bias = config.flag("projector_bias", default=True)
    normed = config.flag("projector_use_layernorm", default=True)
    return (
        *(norm("multi_modal_projector.layer_norm", width, bias=True) if normed else ()),
        *two_layers(LINEARS, width, config.integer("projector_hidden_size"), hidden, bias=bias),
    )


def idefics3(config: Config, hidden: int) -> Tensors:
    """Return Idefics 3's projector: one matrix after a pixel shuffle."""
    width = vision_width(config) * config.integer("scale_factor") ** 2
    return tower_linear("connector.modality_projection.proj", hidden, width, bias=False)


def kimi(config: Config, hidden: int) -> Tensors:
    """Return Kimi K2.5's projector."""
    vision = config.section("vision_config")
    high, wide = vision.sequence("merge_kernel_size") or (2, 2)
    merged = vision.integer("hidden_size") * int(high) * int(wide)
    return (
        *norm("mm_projector.pre_norm", config.integer("projection_hidden_size"), bias=True),
        *two_layers(("mm_projector.in_proj", "mm_projector.out_proj"), merged, merged, hidden),
    )


def minimax_m3(config: Config, hidden: int) -> Tensors:
    """Return MiniMax-M3's projector: patches one by one, then merged."""
    merge = config.section("vision_config").integer("spatial_merge_size")
    middle, merged = config.integer("projector_hidden_size"), hidden * merge**2
    config.ignore("merged_hidden_size", "multimodal_projector_bias")
    names = ("multi_modal_projector.merge_linear_1", "multi_modal_projector.merge_linear_2")
    return (
        *two_layers(LINEARS, vision_width(config), middle, hidden),
        *two_layers(names, merged, middle, hidden),
    )


def paddle_ocr(config: Config, hidden: int) -> Tensors:
    """Return PaddleOCR-VL's projector."""
    width = vision_width(config)
    merged = width * config.section("vision_config").integer("spatial_merge_size") ** 2
    return (
        *norm("projector.pre_norm", width, bias=True),
        *two_layers(("projector.linear_1", "projector.linear_2"), merged, merged, hidden),
    )


def hyperclovax(config: Config, hidden: int) -> Tensors:
    """Return HyperCLOVA X's projector after Qwen's merger."""
    out = config.section("vision_config").integer("out_hidden_size")
    return (*qwen2_merger(config, hidden), *tower_linear("projector", hidden, out))


def lfm3(config: Config, hidden: int) -> Tensors:
    """Return LFM3-VL's projector over merged patches."""
    vision = config.section("vision_config")
    width = vision.integer("hidden_size")
    merged, bias = width * vision.integer("spatial_merge_size") ** 2, config.flag("projector_bias", default=True)
    return (
        *norm("multi_modal_projector.layer_norm", width, bias=True),
        *two_layers(LINEARS, merged, config.integer("projector_hidden_size"), hidden, bias=bias),
    )


aya_vision: Projector = partial(cohere, normed=True)
cohere2_vision: Projector = partial(cohere, normed=False)
