"""The vision transformer that nearly every tower is: patches, positions, equal layers, norms around them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from sizeup.llm.architecture import Tensor
from sizeup.llm.blocks import linear, norm, table, vector
from sizeup.llm.config import Config
from sizeup.llm.towers.parts import relabelled

Tensors = tuple[Tensor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vit:
    """How one tower differs from SigLIP's.

    Attributes:
        patch: a convolution in two dimensions, one that also spans ``temporal_patch_size`` frames, or a matrix.
        places: learned positions: one per patch of the image, the rows that keys give (multiplied), or none.
        width: key of the hidden size.
        qkv_bias, output_bias, mlp_bias: fixed, or the key that decides; ``key_bias`` is Whisper's exception.
        mlp_width: key of the MLP's width, or of its ratio to the hidden size.
        norm_bias: LayerNorm (a shift too) or RMSNorm.
        pool_head: key of SigLIP's attention pooling over the patches.
    """

    patch: Literal["image", "video", "matrix"] = "image"
    patch_bias: bool = True
    class_token: bool = False
    places: tuple[str, ...] = ("image_size",)
    width: str = "hidden_size"
    mlp_width: str = "intermediate_size"
    qkv_bias: bool | str = True
    output_bias: bool | str = True
    mlp_bias: bool | str = True
    norm_bias: bool = True
    gated: bool = False
    pre_norm: bool = False
    post_norm: bool = True
    pool_head: str = ""


def tower_linear(name: str, out: int, into: int, *, bias: bool = True) -> Tensors:
    """Return a linear layer of a tower."""
    return linear(name, use="other", part="tower", out=out, into=into, bias=bias)


def convolution(name: str, *shape: int, bias: bool = True) -> Tensors:
    """Return a convolution of ``shape`` (out, in, kernel...)."""
    weight = vector(name, *shape, part="tower", kind="conv")
    return (*weight, *(vector(name, shape[0], part="tower", kind="bias") if bias else ()))


def sides(config: Config, key: str) -> tuple[int, int]:
    """Return a size that is written as one number or as height and width."""
    value = config.get(key)
    if isinstance(value, list | tuple) and len(value) == 2:
        return int(value[0]), int(value[1])
    return config.integer(key), config.integer(key)


def switched(config: Config, switch: bool | str) -> bool:
    """Return a fixed switch, or what its key says."""
    return config.flag(switch) if isinstance(switch, str) else switch


def vit(config: Config, shape: Vit) -> Tensors:
    """Return the tensors of a vision transformer."""
    hidden = config.integer(shape.width)
    norms = {"bias": shape.norm_bias, "part": "tower"}
    return (
        *_patches(config, shape, hidden),
        *(vector("embeddings.class_embedding", hidden, part="tower") if shape.class_token else ()),
        *_places(config, shape, hidden),
        *(norm("pre_layrnorm", hidden, **norms) if shape.pre_norm else ()),  # type: ignore[arg-type]
        *vit_layers(
            hidden=hidden,
            intermediate=mlp_width(config, shape, hidden),
            layers=config.integer("num_hidden_layers", "depth"),
            qkv_bias=switched(config, shape.qkv_bias),
            output_bias=switched(config, shape.output_bias),
            mlp_bias=switched(config, shape.mlp_bias),
            norm_bias=shape.norm_bias,
            gated=shape.gated,
        ),
        *(norm("post_layernorm", hidden, **norms) if shape.post_norm else ()),  # type: ignore[arg-type]
        *(_pool_head(hidden, mlp_width(config, shape, hidden)) if _pools(config, shape) else ()),
    )


def mlp_width(config: Config, shape: Vit, hidden: int) -> int:
    """Return the width of the MLP."""
    if shape.mlp_width.endswith("ratio"):
        return int(hidden * config.number(shape.mlp_width))
    return config.integer(shape.mlp_width)


def _pools(config: Config, shape: Vit) -> bool:
    return bool(shape.pool_head) and config.flag(shape.pool_head, default=True)


def _patches(config: Config, shape: Vit, hidden: int) -> Tensors:
    channels = config.integer("num_channels", "in_channels", default=3)
    patch = sides(config, "patch_size")
    frames = (config.integer("temporal_patch_size"),) if shape.patch == "video" else ()
    name = "embeddings.patch_embedding"
    if shape.patch == "matrix":
        return tower_linear(name, hidden, channels * patch[0] * patch[1], bias=shape.patch_bias)
    return convolution(name, hidden, channels, *frames, *patch, bias=shape.patch_bias)


def _places(config: Config, shape: Vit, hidden: int) -> Tensors:
    if not shape.places:
        return ()
    if shape.places == ("image_size",):
        image, patch = sides(config, "image_size"), sides(config, "patch_size")
        rows = (image[0] // patch[0]) * (image[1] // patch[1]) + shape.class_token
    else:
        rows = math.prod(config.integer(key) for key in shape.places)
    return table("embeddings.position_embedding", rows, hidden, use="position", part="tower")


def _pool_head(hidden: int, intermediate: int) -> Tensors:
    return (
        *vector("head.probe", hidden, part="tower"),
        *tower_linear("head.attention.in_proj", 3 * hidden, hidden),
        *tower_linear("head.attention.out_proj", hidden, hidden),
        *norm("head.layernorm", hidden, bias=True, part="tower"),
        *tower_linear("head.mlp.fc1", intermediate, hidden),
        *tower_linear("head.mlp.fc2", hidden, intermediate),
    )


def vit_layers(
    *,
    hidden: int,
    intermediate: int,
    layers: int,
    qkv_bias: bool = True,
    key_bias: bool | None = None,
    output_bias: bool = True,
    mlp_bias: bool = True,
    norm_bias: bool = True,
    gated: bool = False,
    width: int | None = None,
    kv_width: int | None = None,
    extra: Tensors = (),
    prefix: str = "encoder.layers.",
) -> Tensors:
    """Return ``layers`` equal layers: two norms, attention, an MLP (``gated`` has a third matrix), and ``extra``.

    ``width`` and ``kv_width`` are heads x head dimension of queries and keys where that is not ``hidden``.
    """
    width = width or hidden
    kv_width = kv_width or width
    key_bias = qkv_bias if key_bias is None else key_bias
    tensors = (
        *linear("self_attn.q_proj", use="query", part="tower", out=width, into=hidden, bias=qkv_bias),
        *linear("self_attn.k_proj", use="key", part="tower", out=kv_width, into=hidden, bias=key_bias),
        *linear("self_attn.v_proj", use="value", part="tower", out=kv_width, into=hidden, bias=qkv_bias),
        *linear("self_attn.out_proj", use="output", part="tower", out=hidden, into=width, bias=output_bias),
        *linear("mlp.fc1", use="up", part="tower", out=intermediate, into=hidden, bias=mlp_bias),
        *linear("mlp.fc2", use="down", part="tower", out=hidden, into=intermediate, bias=mlp_bias),
        *norm("layer_norm1", hidden, bias=norm_bias, part="tower"),
        *norm("layer_norm2", hidden, bias=norm_bias, part="tower"),
        *extra,
    )
    if gated:
        tensors += linear("mlp.gate_proj", use="gate", part="tower", out=intermediate, into=hidden, bias=mlp_bias)
    return relabelled(tensors, layers=layers, prefix=prefix)
