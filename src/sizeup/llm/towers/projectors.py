"""What joins a tower to the text model: a function for each way, called with the whole configuration.

Source: transformers 5.23, the projector classes in ``modeling_<type>.py`` of the wrappers in ``families/wrappers.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from sizeup.llm.blocks import norm, vector
from sizeup.llm.config import Config
from sizeup.llm.towers.joints import LINEARS, Projector, feature_layers, two_layers, vision_width
from sizeup.llm.towers.vit import Tensors, convolution, tower_linear

ARIA_QUESTIONS = 256
"""Most questions of Aria's projector where the configuration lists none."""


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


def gemma3(config: Config, hidden: int) -> Tensors:
    """Return Gemma 3's projector: one matrix after a norm."""
    width = vision_width(config)
    return (
        *tower_linear("multi_modal_projector.mm_input_projection_weight", hidden, width, bias=False),
        *norm("multi_modal_projector.mm_soft_emb_norm", width),
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


def aria(config: Config, hidden: int) -> Tensors:
    """Return Aria's projector: as many learned questions as the largest image asks, attention, an MLP."""
    width, name = vision_width(config), "multi_modal_projector"
    asked = config.get("projector_patch_to_query_dict")
    questions = max(int(count) for count in asked.values()) if isinstance(asked, Mapping) and asked else ARIA_QUESTIONS
    tensors: Tensors = vector(f"{name}.query", questions, width, part="projector")
    for matrix in ("q_proj", "k_proj", "v_proj"):
        tensors += tower_linear(f"{name}.cross_attn.{matrix}", width, width, bias=False)
    return (
        *tensors,
        *tower_linear(f"{name}.cross_attn.multihead_attn.in_proj", 3 * width, width),
        *tower_linear(f"{name}.cross_attn.multihead_attn.out_proj", width, width),
        *tower_linear(f"{name}.cross_attn.linear", width, width),
        *norm(f"{name}.cross_attn.layer_norm", width, bias=True),
        *norm(f"{name}.cross_attn.layer_norm_kv", width, bias=True),
        *norm(f"{name}.layer_norm", width, bias=True),
        *tower_linear(f"{name}.feed_forward.linear_in", hidden, width, bias=False),
        *tower_linear(f"{name}.feed_forward.linear_out", hidden, hidden, bias=False),
    )


def ovis2(config: Config, hidden: int) -> Tensors:
    """Return Ovis 2's table of visual words."""
    words = config.section("vision_config").integer("vocab_size")
    return vector("visual_embeddings_table", words, config.integer("hidden_size"), part="projector", kind="embedding")


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


def plain(config: Config, hidden: int, *, names: tuple[str, str]) -> Tensors:
    """Return two biased layers from the tower's width."""
    return two_layers(names, vision_width(config), hidden, hidden)


def nothing(config: Config, hidden: int) -> Tensors:
    """Return no tensors: the towers end in the text model's width."""
    return ()


llava_next: Projector = partial(llava, newline=True)
deepseek_vl: Projector = partial(plain, names=("aligner.linear1", "aligner.linear2"))
video_llama3: Projector = partial(plain, names=("projector.readout.0", "projector.readout.2"))
