"""Blocks of encoders and of the decoders that listen to one: biased attention, cross attention, towers' layers."""

from __future__ import annotations

from typing import Literal

from sizeup.llm.architecture import Block, Mixer, Part, TokenCache
from sizeup.llm.blocks import linear

Sight = Literal["causal", "bidirectional", "encoder"]
"""What a query looks at: earlier tokens (cached), the whole input (nothing cached), or an encoder's output."""


def multi_head_attention(
    *,
    hidden: int,
    heads: int,
    prefix: str,
    names: tuple[str, str, str, str] = ("q_proj", "k_proj", "v_proj", "out_proj"),
    sight: Sight = "causal",
    bias: bool = True,
    key_bias: bool | None = None,
    output_bias: bool = True,
    head_dim: int | None = None,
    kv_hidden: int | None = None,
    cache: bool = True,
) -> Block:
    """Return attention with as many key-value heads as query heads.

    ``key_bias`` defaults to ``bias`` (Whisper has none); ``kv_hidden`` is the encoder's width where it differs.
    """
    q, k, v, o = (f"{prefix}.{name}" for name in names)
    head_dim = head_dim or hidden // heads
    width, seen = heads * head_dim, kv_hidden or hidden
    key_bias = bias if key_bias is None else key_bias
    tensors = (
        *linear(q, use="query", part="attention", out=width, into=hidden, bias=bias),
        *linear(k, use="key", part="attention", out=width, into=seen, bias=key_bias),
        *linear(v, use="value", part="attention", out=width, into=seen, bias=bias),
        *linear(o, use="output", part="attention", out=hidden, into=width, bias=output_bias),
    )
    mixer = mixing(heads, head_dim, sight)
    kept = kept_for(heads, head_dim, sight) if cache else None
    return Block(tensors, (mixer,), (kept,) if kept else ())


def mixing(heads: int, head_dim: int, sight: Sight) -> Mixer:
    """Return the mixer of multi-head attention."""
    return Mixer(
        kind="attention",
        heads=heads,
        kv_heads=heads,
        key_dim=head_dim,
        value_dim=head_dim,
        causal=sight == "causal",
        over="encoder" if sight == "encoder" else "tokens",
    )


def kept_for(heads: int, head_dim: int, sight: Sight) -> TokenCache | None:
    """Return what such attention keeps: nothing when it sees its whole input at once."""
    if sight == "bidirectional":
        return None
    if sight == "encoder":
        return TokenCache(name="cross_attention", heads=heads, key_dim=head_dim, value_dim=head_dim, of="encoder")
    return TokenCache(heads=heads, key_dim=head_dim, value_dim=head_dim)


def feed_forward(up: str, down: str, *, hidden: int, intermediate: int, bias: bool = True, part: Part = "mlp") -> Block:
    """Return a two-matrix MLP whose layers have unrelated paths (``fc1``, ``fc2``)."""
    return Block(
        (
            *linear(up, use="up", part=part, out=intermediate, into=hidden, bias=bias),
            *linear(down, use="down", part=part, out=hidden, into=intermediate, bias=bias),
        )
    )
