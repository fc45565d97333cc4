"""The vision transformer that nearly every tower is: patches, positions, equal layers, norms around them."""

from __future__ import annotations

from sizeup.llm.architecture import Block, Tensor
from sizeup.llm.blocks import linear, norm, table, vector
from sizeup.llm.towers.parts import relabelled, stacked

Tensors = tuple[Tensor, ...]


def patches(name: str, hidden: int, *patch: int, channels: int = 3, bias: bool = True, kind: str = "conv") -> Tensors:
    """Return the patch embedding: a convolution whose step is its width, or (kind "linear") the same as a matrix."""
    if kind == "linear":
        volume = channels
        for side in patch:
            volume *= side
        return linear(name, use="other", part="tower", out=hidden, into=volume, bias=bias)
    weight = vector(name, hidden, channels, *patch, part="tower", kind="conv")
    return (*weight, *(vector(name, hidden, part="tower", kind="bias") if bias else ()))


def positions(name: str, rows: int, hidden: int) -> Tensors:
    """Return a table of learned positions."""
    return table(name, rows, hidden, use="position", part="tower")


def tower_norm(name: str, size: int, *, bias: bool = True) -> Tensors:
    """Return a norm outside the layers."""
    return norm(name, size, bias=bias, part="tower")


def tower_linear(name: str, out: int, into: int, *, bias: bool = True, projector: bool = False) -> Tensors:
    """Return a linear layer of a tower, or of the projector between it and the text model."""
    return linear(name, use="other", part="projector" if projector else "tower", out=out, into=into, bias=bias)


def vit_layers(
    *,
    hidden: int,
    intermediate: int,
    layers: int,
    bias: bool = True,
    qkv_bias: bool | None = None,
    key_bias: bool | None = None,
    output_bias: bool | None = None,
    mlp_bias: bool | None = None,
    norm_bias: bool = True,
    gated: bool = False,
    norms: tuple[str, ...] = ("layer_norm1", "layer_norm2"),
    attention_width: int | None = None,
    kv_width: int | None = None,
    extra: tuple[Block, ...] = (),
    prefix: str = "encoder.layers.",
) -> Tensors:
    """Return ``layers`` equal layers of attention and an MLP.

    ``bias`` is for every linear layer unless a finer flag says otherwise. ``attention_width`` is heads x head
    dimension where that is not ``hidden``; ``kv_width`` the same of the keys. ``gated`` adds a third MLP matrix.
    """
    qkv_bias = bias if qkv_bias is None else qkv_bias
    key_bias = qkv_bias if key_bias is None else key_bias
    output_bias = bias if output_bias is None else output_bias
    mlp_bias = bias if mlp_bias is None else mlp_bias
    width = attention_width or hidden
    kv_width = kv_width or width
    tensors = [
        *linear("self_attn.q_proj", use="query", part="tower", out=width, into=hidden, bias=qkv_bias),
        *linear("self_attn.k_proj", use="key", part="tower", out=kv_width, into=hidden, bias=key_bias),
        *linear("self_attn.v_proj", use="value", part="tower", out=kv_width, into=hidden, bias=qkv_bias),
        *linear("self_attn.out_proj", use="output", part="tower", out=hidden, into=width, bias=output_bias),
        *linear("mlp.fc1", use="up", part="tower", out=intermediate, into=hidden, bias=mlp_bias),
        *linear("mlp.fc2", use="down", part="tower", out=hidden, into=intermediate, bias=mlp_bias),
    ]
    if gated:
        tensors += linear("mlp.gate_proj", use="gate", part="tower", out=intermediate, into=hidden, bias=mlp_bias)
    for name in norms:
        tensors += norm(name, hidden, bias=norm_bias, part="tower")
    return (*relabelled(tensors, layers=layers, prefix=prefix), *stacked(extra, layers=layers, prefix=prefix))
