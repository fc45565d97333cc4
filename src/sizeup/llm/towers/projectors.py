"""What joins a tower to the text model: a function for each way, called with the whole configuration.

Source: transformers 5.23, the projector classes in ``modeling_<type>.py`` of the wrappers in ``families/wrappers.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sizeup.llm.blocks import norm, vector
from sizeup.llm.config import Config
from sizeup.llm.towers.vit import Tensors, convolution, tower_linear

Projector = Callable[[Config, int], Tensors]
"""From the wrapper's configuration and the text model's hidden size to tensors."""


def vision_width(config: Config) -> int:
    """Return the hidden size of the vision tower."""
    return config.section("vision_config").integer("hidden_size")


def two_layers(names: tuple[str, str], into: int, middle: int, out: int, *, bias: bool = True) -> Tensors:
    """Return two linear layers with an activation between them."""
    return (*tower_linear(names[0], middle, into, bias=bias), *tower_linear(names[1], out, middle, bias=bias))


LINEARS = ("multi_modal_projector.linear_1", "multi_modal_projector.linear_2")


def feature_layers(config: Config) -> int:
    """Return how many layers of the tower are read side by side."""
    chosen = config.get("vision_feature_layer")
    return len(chosen) if isinstance(chosen, list | tuple) else 1


def llava(config: Config, hidden: int, *, newline: bool = False) -> Tensors:
    """Return LLaVA's projector; later versions learn a line break between rows of patches."""
    bias = config.flag("multimodal_projector_bias", default=True)
    tensors = two_layers(LINEARS, vision_width(config) * feature_layers(config), hidden, hidden, bias=bias)
    return tensors + (vector("image_newline", hidden, part="projector") if newline else ())


def llava_video(config: Config, hidden: int) -> Tensors:
    """Return LLaVA-NeXT-Video's projector; its pooling learns something only as a convolution."""
    tensors = llava(config, hidden, newline=True)
    if config.text("spatial_pool_mode") == "conv":
        stride, width = config.integer("spatial_pool_stride"), vision_width(config)
        out = config.integer("spatial_pool_out_channels", default=width)
        tensors += convolution("vision_resampler.pool", out, width, stride, stride)
    return tensors


def vip_llava(config: Config, hidden: int) -> Tensors:
    """Return ViP-LLaVA's projector, which normalises several layers of the tower first."""
    width = vision_width(config) * feature_layers(config)
    return (
        *norm("multi_modal_projector.projector_layernorm", width, bias=True),
        *two_layers(LINEARS, width, hidden, hidden),
    )


def mistral3(config: Config, hidden: int) -> Tensors:
    """Return Mistral 3's projector, which merges neighbouring patches."""
    width, merge = vision_width(config), config.integer("spatial_merge_size")
    bias = config.flag("multimodal_projector_bias")
    return (
        *norm("multi_modal_projector.norm", width),
        *tower_linear("multi_modal_projector.patch_merger.merging_layer", width, width * merge**2, bias=False),
        *two_layers(LINEARS, width * feature_layers(config), hidden, hidden, bias=bias),
    )


def gemma3(config: Config, hidden: int) -> Tensors:
    """Return Gemma 3's projector: one matrix after a norm."""
    width = vision_width(config)
    return (
        *tower_linear("multi_modal_projector.mm_input_projection_weight", hidden, width, bias=False),
        *norm("multi_modal_projector.mm_soft_emb_norm", width),
    )


def paligemma(config: Config, hidden: int) -> Tensors:
    """Return PaliGemma's projector, as wide as the vision configuration says."""
    vision = config.section("vision_config")
    return tower_linear(
        "multi_modal_projector.linear", vision.integer("projection_dim", default=hidden), vision.integer("hidden_size")
    )


def llama4(config: Config, hidden: int) -> Tensors:
    """Return Llama 4's projector: the tower's adapter after a pixel shuffle, and one matrix to the text model."""
    vision = config.section("vision_config")
    middle, out = vision.integer("projector_input_dim"), vision.integer("projector_output_dim")
    name = "vision_model.vision_adapter.mlp"
    return (
        *tower_linear(f"{name}.fc1", middle, vision.integer("intermediate_size"), bias=False),
        *tower_linear(f"{name}.fc2", out, out, bias=False),
        *tower_linear(LINEARS[0], hidden, vision.integer("vision_output_dim"), bias=False),
    )


def mllama(config: Config, hidden: int) -> Tensors:
    """Return Llama 3.2's projector: one matrix from several layers of the tower."""
    width = config.section("vision_config").integer("vision_output_dim")
    return tower_linear("multi_modal_projector", hidden, width)


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
    middle = vision.integer("intermediate_size")
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


def idefics2(config: Config, hidden: int) -> Tensors:
    """Return Idefics 2's connector: a gated MLP, then a perceiver that asks a few learned questions."""
    perceiver, middle = config.section("perceiver_config"), config.section("text_config").integer("intermediate_size")
    width, heads = perceiver.integer("hidden_size"), perceiver.integer("resampler_n_heads")
    head_dim, kv_heads = perceiver.integer("resampler_head_dim"), perceiver.integer("num_key_value_heads")
    quadrupled = 4 * width
    tensors = _gated("connector.modality_projection", vision_width(config), middle, hidden)
    tensors += vector("connector.latents", perceiver.integer("resampler_n_latents"), width, part="projector")
    tensors += norm("connector.norm", width)
    for index in range(perceiver.integer("resampler_depth")):
        prefix = f"connector.perceiver_resampler.layers.{index}"
        tensors += _gated(f"{prefix}.mlp", width, quadrupled, width)
        for name in ("input_latents_norm", "input_context_norm", "post_attention_layernorm"):
            tensors += norm(f"{prefix}.{name}", width)
        tensors += tower_linear(f"{prefix}.q_proj", heads * head_dim, width, bias=False)
        tensors += tower_linear(f"{prefix}.k_proj", kv_heads * head_dim, width, bias=False)
        tensors += tower_linear(f"{prefix}.v_proj", kv_heads * head_dim, width, bias=False)
        tensors += tower_linear(f"{prefix}.o_proj", width, heads * head_dim, bias=False)
    return tensors


def _gated(prefix: str, into: int, middle: int, out: int) -> Tensors:
    return (
        *tower_linear(f"{prefix}.gate_proj", middle, into, bias=False),
        *tower_linear(f"{prefix}.up_proj", middle, into, bias=False),
        *tower_linear(f"{prefix}.down_proj", out, middle, bias=False),
    )


def ovis2(config: Config, hidden: int) -> Tensors:
    """Return Ovis 2's table of visual words."""
    words = config.section("vision_config").integer("vocab_size")
    return vector("visual_embeddings_table", words, config.integer("hidden_size"), part="projector", kind="embedding")


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


def got_ocr2(config: Config, hidden: int) -> Tensors:
    """Return GOT-OCR 2's projector: two convolutions that halve the image, then one matrix."""
    width = config.section("vision_config").integer("output_channels")
    return (
        *convolution("multi_modal_projector.conv_upsampler1", 2 * width, width, 3, 3, bias=False),
        *convolution("multi_modal_projector.conv_upsampler2", hidden, 2 * width, 3, 3, bias=False),
        *tower_linear("multi_modal_projector.multimodal_projector", hidden, hidden),
    )


def fuyu(config: Config, hidden: int) -> Tensors:
    """Return Fuyu's whole vision: one matrix from the pixels of a patch."""
    pixels = config.integer("patch_size") ** 2 * config.integer("num_channels")
    return tower_linear("vision_embed_tokens", hidden, pixels)


def paddle_ocr(config: Config, hidden: int) -> Tensors:
    """Return PaddleOCR-VL's projector."""
    width = vision_width(config)
    merged = width * config.section("vision_config").integer("spatial_merge_size") ** 2
    return (
        *norm("projector.pre_norm", width, bias=True),
        *two_layers(("projector.linear_1", "projector.linear_2"), merged, merged, hidden),
    )


def plain(config: Config, hidden: int, *, names: tuple[str, str]) -> Tensors:
    """Return two biased layers from the tower's width."""
    return two_layers(names, vision_width(config), hidden, hidden)


def audio_linear(config: Config, hidden: int) -> Tensors:
    """Return Qwen2-Audio's projector: one matrix."""
    return tower_linear(
        "multi_modal_projector.linear", hidden, config.section("audio_config").integer("d_model", "hidden_size")
    )


def voxtral(config: Config, hidden: int) -> Tensors:
    """Return Voxtral's projector, which takes four audio frames at once."""
    width = config.section("audio_config").integer("intermediate_size")
    return two_layers(LINEARS, width, hidden, hidden, bias=False)


def moss(config: Config, hidden: int) -> Tensors:
    """Return MOSS Transcribe's projector over merged audio frames."""
    width = config.section("audio_config").integer("hidden_size", "d_model") * config.integer("audio_merge_size")
    bias = config.flag("projector_bias", default=True)
    return (
        *two_layers(LINEARS, width, hidden, hidden, bias=bias),
        *norm("multi_modal_projector.norm", hidden, bias=True),
    )


def gemma4(config: Config, hidden: int) -> Tensors:
    """Return one matrix for each kind of input that the configuration has."""
    tensors: Tensors = ()
    unified = config.model_type == "gemma4_unified"
    keys = ("output_proj_dims", "audio_embed_dim") if unified else ("hidden_size", "output_proj_dims")
    for kind, key in zip(("vision", "audio"), keys, strict=True):
        if config.get(f"{kind}_config") is not None:
            width = config.section(f"{kind}_config").integer(key)
            tensors += tower_linear(f"embed_{kind}.embedding_projection", hidden, width, bias=False)
    return tensors


def gemma3n(config: Config, hidden: int) -> Tensors:
    """Return Gemma 3n's embedders: hard tokens of each kind of input, norms, one matrix."""
    tensors: Tensors = ()
    for kind in ("vision", "audio"):
        section, name = config.section(f"{kind}_config"), f"embed_{kind}"
        width = section.integer("hidden_size")
        tensors += vector(f"{name}.embedding", section.integer("vocab_size"), width, part="projector", kind="embedding")
        tensors += norm(f"{name}.hard_embedding_norm", width) + norm(f"{name}.soft_embedding_norm", width)
        tensors += tower_linear(f"{name}.embedding_projection", hidden, width, bias=False)
    return tensors


def phi4(config: Config, hidden: int) -> Tensors:
    """Return Phi-4-multimodal's projectors: images, and speech with or without images beside it."""
    image, sound = vision_width(config), config.section("audio_config")
    frames = sound.integer("hidden_size") * sound.integer("downsample_rate")
    return (
        *two_layers(("img_projection_up", "img_projection_down"), image, hidden, hidden),
        *vector("global_img_feature_extensor", image, part="projector"),
        *vector("sub_img_feature_extensor", image, part="projector"),
        *two_layers(("up_proj_for_speech", "down_proj_for_speech"), frames, hidden, hidden),
        *two_layers(("up_proj_for_vision_speech", "down_proj_for_vision_speech"), frames, hidden, hidden),
    )


def nothing(config: Config, hidden: int) -> Tensors:
    """Return no tensors: the towers end in the text model's width."""
    return ()


llava_next: Projector = partial(llava, newline=True)
aya_vision: Projector = partial(cohere, normed=True)
cohere2_vision: Projector = partial(cohere, normed=False)
deepseek_vl: Projector = partial(plain, names=("aligner.linear1", "aligner.linear2"))
video_llama3: Projector = partial(plain, names=("projector.readout.0", "projector.readout.2"))
