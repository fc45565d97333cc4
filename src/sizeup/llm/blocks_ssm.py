"""Blocks of state space models and linear attention: what they weigh and the state that they keep for a sequence.

A convolution keeps its last ``kernel`` columns in the model's dtype; a recurrent state is float32 in ``transformers``.

Source: arXiv 2312.00752 (Mamba), 2405.21060 (Mamba-2), 2412.06464 (gated delta net); transformers 5.23.
"""

from __future__ import annotations

import math
from typing import Literal

from sizeup.llm.architecture import Block, Cache, Mixer, Part, StateCache, Tensor, Use
from sizeup.llm.blocks import check_divides, linear, norm, vector
from sizeup.llm.config import Config


def depthwise(name: str, *, channels: int, kernel: int, bias: bool, part: Part = "ssm") -> tuple[Tensor, ...]:
    """Return a causal convolution with one filter per channel."""
    weight = vector(name, channels, 1, kernel, part=part, kind="conv")
    return weight + (vector(name, channels, part=part, kind="bias") if bias else ())


def convolution_state(channels: int, kernel: int) -> Block:
    """Return the mixer of a causal convolution and the columns that it keeps."""
    elements = channels * kernel
    return Block(
        mixers=(Mixer(kind="convolution", state_elements=elements),),
        caches=(StateCache(name="convolution_state", elements=elements),),
    )


def recurrent_state(*, heads: int, key_dim: int, value_dim: int, dtype: str | None = "fp32") -> Block:
    """Return a recurrence whose state is one ``key_dim`` x ``value_dim`` matrix per head."""
    elements = heads * key_dim * value_dim
    mixer = Mixer(kind="recurrent", heads=heads, key_dim=key_dim, value_dim=value_dim, state_elements=elements)
    kept: tuple[Cache, ...] = (StateCache(name="recurrent_state", elements=elements, dtype=dtype),)
    return Block(mixers=(mixer,), caches=kept)


def time_step_rank(config: Config, name: str, *, hidden: int) -> int:
    """Return the rank of Mamba's time step: "auto" is a sixteenth of the hidden size, rounded up."""
    return math.ceil(hidden / 16) if config.get(name) in ("auto", None) else config.integer(name)


def mamba(
    *,
    hidden: int,
    inner: int,
    state: int,
    kernel: int,
    rank: int,
    heads: int = 1,
    bias: bool = False,
    conv_bias: bool = True,
    prefix: str = "mixer",
    projections: tuple[str, str] = ("x_proj", "dt_proj"),
    norms: tuple[str, ...] = (),
) -> Block:
    """Return a Mamba mixer: a selective state space of ``state`` numbers for each of ``inner`` channels.

    ``heads`` > 1 cuts the inner channels into independent mixers (Zamba); ``norms`` are those of the time step and
    of the two state projections (Jamba).
    """
    check_divides("inner channels and mixer heads", inner, heads)
    width = inner // heads
    select, step = (f"{prefix}.{name}" for name in projections)
    tensors = (
        *linear(f"{prefix}.in_proj", use="ssm_in", part="ssm", out=2 * inner, into=hidden, bias=bias),
        *depthwise(f"{prefix}.conv1d", channels=inner, kernel=kernel, bias=conv_bias),
        *linear(select, use="other", part="ssm", out=rank + 2 * state, into=width, copies=heads),
        *linear(step, use="other", part="ssm", out=width, into=rank, bias=True, copies=heads),
        *vector(f"{prefix}.A_log", inner, state, part="ssm"),
        *vector(f"{prefix}.D", inner, part="ssm"),
        *linear(f"{prefix}.out_proj", use="ssm_out", part="ssm", out=hidden, into=inner, bias=bias),
    )
    for name, size in zip(norms, (rank, state, state), strict=False):
        tensors += norm(f"{prefix}.{name}", size)
    states = convolution_state(inner, kernel) + recurrent_state(heads=1, key_dim=state, value_dim=inner)
    return Block(tensors) + states


def mamba2(
    *,
    hidden: int,
    heads: int,
    head_dim: int,
    groups: int,
    state: int,
    kernel: int,
    bias: bool = False,
    output_bias: bool | None = None,
    conv_bias: bool = True,
    gated_norm: bool = True,
    prefix: str = "mixer",
) -> Block:
    """Return a Mamba-2 mixer: a state of ``head_dim`` x ``state`` per head; ``groups`` of heads share input maps."""
    inner = heads * head_dim
    channels = inner + 2 * groups * state
    output_bias = bias if output_bias is None else output_bias
    tensors = (
        *linear(f"{prefix}.in_proj", use="ssm_in", part="ssm", out=inner + channels + heads, into=hidden, bias=bias),
        *depthwise(f"{prefix}.conv1d", channels=channels, kernel=kernel, bias=conv_bias),
        *vector(f"{prefix}.dt_bias", heads, part="ssm"),
        *vector(f"{prefix}.A_log", heads, part="ssm"),
        *vector(f"{prefix}.D", heads, part="ssm"),
        *(norm(f"{prefix}.norm", inner, part="ssm") if gated_norm else ()),
        *linear(f"{prefix}.out_proj", use="ssm_out", part="ssm", out=hidden, into=inner, bias=output_bias),
    )
    states = convolution_state(channels, kernel) + recurrent_state(heads=heads, key_dim=state, value_dim=head_dim)
    return Block(tensors) + states


def gated_delta_net(
    *,
    hidden: int,
    key_heads: int,
    value_heads: int,
    key_dim: int,
    value_dim: int,
    kernel: int,
    layout: Literal["fused", "split", "separate"] = "fused",
    prefix: str = "linear_attn",
) -> Block:
    """Return a gated delta net: a ``key_dim`` x ``value_dim`` state per value head, after a short convolution.

    ``layout`` is how the input projections are stored: two matrices (Qwen3-Next), four (Qwen3.5), or one for each
    of query, key, value, decay, strength and output gate (OLMo hybrid).
    """
    keys, values = key_heads * key_dim, value_heads * value_dim
    channels = 2 * keys + values
    check_divides("value heads and key heads of linear attention", value_heads, key_heads)
    shapes: dict[str, tuple[tuple[str, Use, int], ...]] = {
        "fused": (("in_proj_qkvz", "ssm_in", channels + values), ("in_proj_ba", "ssm_in", 2 * value_heads)),
        "split": (
            ("in_proj_qkv", "ssm_in", channels),
            ("in_proj_z", "ssm_in", values),
            ("in_proj_b", "ssm_in", value_heads),
            ("in_proj_a", "ssm_in", value_heads),
        ),
        "separate": (
            ("q_proj", "query", keys),
            ("k_proj", "key", keys),
            ("v_proj", "value", values),
            ("a_proj", "ssm_in", value_heads),
            ("b_proj", "ssm_in", value_heads),
            ("g_proj", "ssm_in", values),
        ),
    }
    scale, output = ("o_norm", "o_proj") if layout == "separate" else ("norm", "out_proj")
    tensors = (
        *(
            t
            for n, use, out in shapes[layout]
            for t in linear(f"{prefix}.{n}", use=use, part="ssm", out=out, into=hidden)
        ),
        *depthwise(f"{prefix}.conv1d", channels=channels, kernel=kernel, bias=False),
        *vector(f"{prefix}.dt_bias", value_heads, part="ssm"),
        *vector(f"{prefix}.A_log", value_heads, part="ssm"),
        *norm(f"{prefix}.{scale}", value_dim, part="ssm"),
        *linear(f"{prefix}.{output}", use="ssm_out", part="ssm", out=hidden, into=values),
    )
    states = convolution_state(channels, kernel)
    return Block(tensors) + states + recurrent_state(heads=value_heads, key_dim=key_dim, value_dim=value_dim)


def kimi_delta_attention(
    *, hidden: int, heads: int, head_dim: int, kernel: int, low_rank_gates: bool, prefix: str = "self_attn"
) -> Block:
    """Return Kimi delta attention (arXiv 2510.26692): a delta net that forgets each channel at its own rate.

    ``low_rank_gates``: the forget and output gates go through ``head_dim`` numbers; else they are full matrices.
    """
    width = heads * head_dim
    uses: tuple[tuple[str, Use], ...] = (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value"))
    tensors = tuple(t for n, use in uses for t in linear(f"{prefix}.{n}", use=use, part="ssm", out=width, into=hidden))
    for name in ("forget_gate.f", "g"):
        path = f"{prefix}.{name}"
        if low_rank_gates:
            tensors += linear(f"{path}_a_proj", use="other", part="ssm", out=head_dim, into=hidden)
            tensors += linear(f"{path}_b_proj", use="ssm_in", part="ssm", out=width, into=head_dim)
        else:
            tensors += linear(f"{path}_proj", use="ssm_in", part="ssm", out=width, into=hidden)
    tensors += (
        *depthwise(f"{prefix}.conv1d", channels=3 * width, kernel=kernel, bias=False),
        *vector(f"{prefix}.forget_gate.dt_bias", width, part="ssm"),
        *vector(f"{prefix}.forget_gate.A_log", heads, part="ssm"),
        *linear(f"{prefix}.b_proj", use="ssm_in", part="ssm", out=heads, into=hidden),
        *norm(f"{prefix}.o_norm", head_dim, part="ssm"),
        *linear(f"{prefix}.o_proj", use="ssm_out", part="ssm", out=hidden, into=width),
    )
    states = convolution_state(3 * width, kernel)
    return Block(tensors) + states + recurrent_state(heads=heads, key_dim=head_dim, value_dim=head_dim)
