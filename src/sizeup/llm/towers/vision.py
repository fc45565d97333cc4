"""The vision towers, by the model type of their configuration.

Source: transformers 5.23, ``modeling_<type>.py`` of every type named here.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from sizeup.errors import UserError
from sizeup.llm.blocks import norm, vector
from sizeup.llm.config import Config
from sizeup.llm.towers.parts import relabelled
from sizeup.llm.towers.vit import Tensors, Vit, convolution, sides, tower_linear, vit, vit_layers

SIGLIP = Vit(pool_head="vision_use_head")
CLIP = Vit(class_token=True, patch_bias=False, pre_norm=True)
PLAIN = Vit()
QWEN25 = Vit(patch="video", patch_bias=False, places=(), post_norm=False, norm_bias=False, gated=True)
QWEN3 = Vit(patch="video", places=("num_position_embeddings",), post_norm=False)
VITS: Mapping[str, Vit] = {
    "clip_vision_model": CLIP,
    "git_vision_model": CLIP,
    "phi4_multimodal_vision": SIGLIP,
    "siglip_vision_model": SIGLIP,
    "siglip2_vision_model": Vit(patch="matrix", places=("num_patches",), pool_head="vision_use_head"),
    "idefics2_vision": PLAIN,
    "idefics3_vision": PLAIN,
    "smolvlm_vision": PLAIN,
    "paddleocr_vl_vision": PLAIN,
    "video_llama_3_vision": Vit(places=()),
    "janus_vision_model": Vit(mlp_width="mlp_ratio", qkv_bias="attention_bias"),
    "llama4_vision_model": Vit(class_token=True, patch_bias=False, pre_norm=True),
    "kimi_k25_vision": Vit(places=("pos_emb_height", "pos_emb_width")),
    "minimax_m3_vl_vision": Vit(patch="video", patch_bias=False, places=(), pre_norm=True, post_norm=False),
    "pixtral": Vit(
        patch_bias=False, places=(), pre_norm=True, post_norm=False, norm_bias=False, gated=True,
        qkv_bias=False, output_bias=False, mlp_bias=False,
    ),
    "qwen2_vl_vision": Vit(
        patch="video", patch_bias=False, places=(), post_norm=False, width="embed_dim", mlp_width="mlp_ratio"
    ),
    "qwen2_5_vl_vision": QWEN25,
    "qwen2_5_omni_vision_encoder": QWEN25,
    "qwen3_vl_vision": QWEN3,
    "qwen3_omni_moe_vision_encoder": QWEN3,
    "qwen3_vl_moe_vision": QWEN3,
    "qwen3_5_vision": QWEN3,
    "qwen3_5_moe_vision": QWEN3,
    "qwen4_exp_vision": QWEN3,
}  # fmt: skip


def internvl(config: Config) -> Tensors:
    """Return InternVL's tower: two learned scales in every layer, and optional norms of query and key."""
    hidden, patch, image = config.integer("hidden_size"), sides(config, "patch_size"), sides(config, "image_size")
    shift = config.text("norm_type", default="layer_norm") == "layer_norm"
    extra = tuple(t for name in ("lambda_1", "lambda_2") for t in vector(name, hidden, part="tower"))
    if config.flag("use_qk_norm"):
        extra += (*norm("q_norm", hidden, part="tower"), *norm("k_norm", hidden, part="tower"))
    rows = (image[0] // patch[0]) * (image[1] // patch[1]) + 1
    tensors = (
        *vector("embeddings.cls_token", hidden, part="tower"),
        *convolution("embeddings.patch_embeddings.projection", hidden, config.integer("num_channels"), *patch),
        *vit_layers(
            hidden=hidden,
            intermediate=config.integer("intermediate_size"),
            layers=config.integer("num_hidden_layers"),
            qkv_bias=config.flag("attention_bias"),
            norm_bias=shift,
            extra=extra,
        ),
    )
    if config.flag("use_mask_token"):
        tensors += vector("embeddings.mask_token", hidden, part="tower")
    if config.flag("use_absolute_position_embeddings"):
        tensors += vector("embeddings.position_embeddings", rows, hidden, part="tower")
    return tensors if config.flag("use_mean_pooling") else tensors + norm("layernorm", hidden, bias=True, part="tower")


def exaone45(config: Config) -> Tensors:
    """Return EXAONE 4.5's tower: Qwen2.5-VL's with fewer key-value heads."""
    hidden, heads = config.integer("hidden_size"), config.integer("num_heads")
    kv_heads = config.optional_integer("num_key_value_heads", minimum=1) or heads
    patch = config.integer("patch_size")
    return (
        *convolution(
            "patch_embed.proj",
            hidden,
            config.integer("in_channels"),
            config.integer("temporal_patch_size"),
            patch,
            patch,
            bias=False,
        ),
        *vit_layers(
            hidden=hidden,
            intermediate=config.integer("intermediate_size"),
            layers=config.integer("depth"),
            norm_bias=False,
            gated=True,
            kv_width=hidden // heads * kv_heads,
            prefix="blocks.",
        ),
    )


def glm4v(config: Config) -> Tensors:
    """Return GLM-4V's tower: RMSNorm, a gated MLP as wide as the output, norms after patches and layers."""
    hidden = config.integer("hidden_size")
    rows = (config.integer("image_size") // config.integer("patch_size")) ** 2
    return (
        *vit(config, GLM4V),
        *vector("embeddings.position_embedding", rows, hidden, part="tower"),
        *norm("post_conv_layernorm", hidden, part="tower"),
    )


def glm_ocr(config: Config) -> Tensors:
    """Return GLM-OCR's tower: GLM-4V's with norms of query and key, and no table of positions."""
    head_dim = config.integer("hidden_size") // config.integer("num_heads")
    shape = Vit(
        patch="video", places=(), norm_bias=False, gated=True,
        qkv_bias="attention_bias", output_bias="attention_bias", mlp_bias="attention_bias",
    )  # fmt: skip
    norms = (*norm("q_norm", head_dim, part="tower"), *norm("k_norm", head_dim, part="tower"))
    return (*vit(config, shape), *relabelled(norms, layers=config.integer("depth"), prefix="blocks.attn."))


LFM3_KINDS = ("conv", "full_attention")
"""Where no list says otherwise, every second layer from the third on attends."""


def lfm3(config: Config) -> Tensors:
    """Return LFM3-VL's tower: gated convolutions over the image, attention in some layers."""
    hidden, width = config.integer("hidden_size"), config.integer("intermediate_size")
    heads = config.integer("num_attention_heads")
    head_dim = config.integer("head_dim", default=hidden // heads)
    kv_width = head_dim * (config.optional_integer("num_key_value_heads", minimum=1) or heads)
    kernel, patch = config.integer("conv_kernel_size"), config.integer("patch_size")
    pixels = config.integer("in_channels") * config.integer("temporal_patch_size") * patch**2
    layers = config.integer("num_hidden_layers")
    listed = config.sequence("layer_types") or [LFM3_KINDS[index > 1 and not index % 2] for index in range(layers)]
    if len(listed) != layers:
        raise UserError(f'{config.where}: "layer_types" names {len(listed)} layers, the tower has {layers}')
    attends = sum(kind == "full_attention" for kind in listed)
    return (
        *tower_linear("patch_embed", hidden, pixels, bias=False),
        *norm("embedding_norm", hidden, part="tower"),
        *relabelled(_lfm3_attention(hidden, heads * head_dim, kv_width, head_dim), layers=attends, prefix="layers."),
        *relabelled(_lfm3_mixing(hidden, kernel), layers=layers - attends, prefix="layers."),
        *relabelled(_lfm3_mlp(hidden, width), layers=layers, prefix="layers."),
    )


def _lfm3_attention(hidden: int, width: int, kv_width: int, head_dim: int) -> Tensors:
    return (
        *tower_linear("self_attn.q_proj", width, hidden, bias=False),
        *tower_linear("self_attn.k_proj", kv_width, hidden, bias=False),
        *tower_linear("self_attn.v_proj", kv_width, hidden, bias=False),
        *tower_linear("self_attn.out_proj", hidden, width, bias=False),
        *norm("self_attn.q_norm", head_dim, part="tower"),
        *norm("self_attn.k_norm", head_dim, part="tower"),
    )


def _lfm3_mixing(hidden: int, kernel: int) -> Tensors:
    return (
        *tower_linear("conv.in_proj", 3 * hidden, hidden, bias=False),
        *tower_linear("conv.out_proj", hidden, hidden, bias=False),
        *convolution("conv.spatial_conv", hidden, 1, kernel, kernel, bias=False),
    )


def _lfm3_mlp(hidden: int, width: int) -> Tensors:
    return (
        *tower_linear("feed_forward.w1", width, hidden, bias=False),
        *tower_linear("feed_forward.w2", hidden, width, bias=False),
        *tower_linear("feed_forward.w3", width, hidden, bias=False),
        *norm("ffn_norm", hidden, part="tower"),
        *norm("operator_norm", hidden, part="tower"),
    )


GLM4V = Vit(
    patch="video", places=(), norm_bias=False, gated=True, mlp_width="out_hidden_size",
    qkv_bias="attention_bias", output_bias=False, mlp_bias=False,
)  # fmt: skip


def ovis2(config: Config) -> Tensors:
    """Return Ovis 2's tower, which ends in a vocabulary of visual words."""
    hidden, stride = config.integer("hidden_size"), config.integer("hidden_stride")
    words = config.integer("vocab_size") - config.integer("num_visual_indicator_tokens")
    shape = Vit(
        norm_bias=False, gated=True, pre_norm=True, qkv_bias="qkv_bias", output_bias="qkv_bias", mlp_bias="mlp_bias"
    )
    return (
        *vit(config, shape),
        *tower_linear("head_linear", words, hidden * stride * stride, bias=False),
        *norm("head_norm", words, bias=True, part="tower"),
    )


EIGHT_RATIOS = range(8)
"""How many aspect ratios the class supports where the configuration lists none."""


def mllama(config: Config) -> Tensors:
    """Return Llama 3.2's tower: tiles with positions of their own, and gated layers over all tiles."""
    hidden, tiles = config.integer("hidden_size"), config.integer("max_num_tiles")
    ratios = config.sequence("supported_aspect_ratios") or EIGHT_RATIOS
    rows = (config.integer("image_size") // config.integer("patch_size")) ** 2 + 1
    layers = partial(
        vit_layers, hidden=hidden, intermediate=config.integer("intermediate_size"), qkv_bias=False, output_bias=False
    )
    gates = (*vector("gate_attn", 1, part="tower"), *vector("gate_ffn", 1, part="tower"))
    patch = config.integer("patch_size")
    tensors = (
        *convolution("patch_embedding", hidden, config.integer("num_channels"), patch, patch, bias=False),
        *vector("class_embedding", hidden, part="tower"),
        *vector("gated_positional_embedding.embedding", rows, hidden, part="tower"),
        *vector("gated_positional_embedding.tile_embedding", len(ratios) + 1, tiles * rows * hidden, part="tower"),
        *vector("gated_positional_embedding.gate", 1, part="tower"),
        *norm("layernorm_pre", hidden, bias=True, part="tower"),
        *norm("layernorm_post", hidden, bias=True, part="tower"),
        *layers(layers=config.integer("num_hidden_layers"), prefix="transformer.layers."),
        *layers(layers=config.integer("num_global_layers"), extra=gates, prefix="global_transformer.layers."),
    )
    for name in ("pre_tile_positional_embedding", "post_tile_positional_embedding"):
        tensors += (
            *vector(f"{name}.embedding", len(ratios) + 1, tiles * hidden, part="tower"),
            *vector(f"{name}.gate", 1, part="tower"),
        )
    return tensors


def sam(config: Config) -> Tensors:
    """Return SAM's tower: relative positions per layer (wide in global layers) and a convolutional neck."""
    hidden, heads, layers = (config.integer(k) for k in ("hidden_size", "num_attention_heads", "num_hidden_layers"))
    grid, out = config.integer("image_size") // config.integer("patch_size"), config.integer("output_channels")
    tensors = (
        *vit(config, Vit(places=(), mlp_width="mlp_dim", qkv_bias="qkv_bias", post_norm=False)),
        *convolution("neck.conv1", out, hidden, 1, 1, bias=False),
        *norm("neck.layer_norm1", out, bias=True, part="tower"),
        *convolution("neck.conv2", out, out, 3, 3, bias=False),
        *norm("neck.layer_norm2", out, bias=True, part="tower"),
    )
    if config.flag("use_abs_pos"):
        tensors += vector("pos_embed", grid, grid, hidden, part="tower")
    if config.flag("use_rel_pos"):
        whole, window = set(config.sequence("global_attn_indexes") or ()), config.integer("window_size", minimum=0)
        for index in range(layers):
            span = grid if index in whole or not window else window
            tensors += vector(f"layers.{index}.attn.rel_pos", 2, 2 * span - 1, hidden // heads, part="tower")
    return tensors
