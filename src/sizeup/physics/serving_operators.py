"""The kernels of one serving step, each with its two roofline sides: what the slowest rank of a replica runs.

A step advances ``decodes`` sequences by one token and ``chunk`` prompt tokens by one chunk. Operators keep compute and
memory time apart, so that an engine's few coefficients can scale either and so that what binds can be named.
All loads may be numbers or NumPy columns.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from sizeup.physics.collectives import Link, all_reduce_seconds, all_to_all_seconds, point_to_point_seconds
from sizeup.physics.kernels import (
    Curve,
    decode_attention_seconds,
    experts_seconds,
    matmul_seconds,
    prefill_attention_seconds,
    written_scores_seconds,
)
from sizeup.physics.numeric import Column, ceil_div, maximum, minimum, where
from sizeup.physics.serving_work import HALF_BYTES, Attention, ServingWork, Stored

Kind = Literal["products", "experts", "head", "decode attention", "prefill attention", "element-wise", "network"]

FUSED_QUANTIZATION = ("fp8", "mxfp8", "nvfp4")
"""Formats of products whose inputs the kernel before quantizes."""


class KernelCurves(Protocol):
    """The measured kernel curves of one card (:class:`sizeup.fitted.kernels.Curves`)."""

    def peak(self, dtype: str) -> float: ...
    def runs_in(self, dtype: str) -> str: ...
    def gemm(self, dtype: str) -> Curve: ...
    def experts(self, dtype: str) -> Curve: ...
    def prefill_attention(self, dtype: str = "bf16") -> Curve: ...
    def decode_attention(self, cache_dtype: str = "bf16") -> Curve: ...
    def bandwidth(self) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StepShape:
    """What is in one step on one replica.

    Attributes:
        decodes: sequences that get one token each.
        context: tokens that each of them has cached, on average.
        chunk: prompt tokens processed beside them.
        prompt: length of the prompts that the chunk belongs to.
    """

    decodes: Column
    context: Column
    chunk: Column = 0
    prompt: Column = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """How ranks share a replica: tensor, pipeline and expert degrees; ``expert_tp`` divides each expert.

    ``attention_dp`` ranks hold whole attentions for their own share of the sequences. ``link`` joins the tensor ranks,
    ``hop`` the pipeline stages, ``exchange`` the ranks that swap tokens for experts; None where there is one rank.
    """

    tp: int = 1
    pp: int = 1
    ep: int = 1
    expert_tp: int = 1
    attention_dp: int = 1
    link: Link | None = None
    hop: Link | None = None
    exchange: Link | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionStyle:
    """How an engine's attention and products use memory; by default as fused kernels do.

    Attributes:
        shared_heads: most heads that read the keys they share only once; with more, each head reads them.
        copies: the cache is rebuilt with each new token and repeated for every head before it is read.
        writes_scores: scores of prompts go through memory.
        unpacks_prompts: products of many tokens write their weights to memory in 16 bits first.
    """

    shared_heads: float = math.inf
    copies: bool = False
    writes_scores: bool = False
    unpacks_prompts: bool = False


FUSED_ATTENTION = AttentionStyle()
"""Attention in one kernel that reads the cache once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """``count`` equal kernels: their compute side, their memory side [s], launch floor and how the sides join.

    Both sides are at the measured share of the card's limit; ``compute_share`` and ``memory_share`` are those shares.
    ``streamed_bytes`` is what one kernel reads and writes.
    """

    kind: Kind
    compute_seconds: Column
    memory_seconds: Column
    floor_seconds: float
    sharpness: float
    count: float
    compute_share: float = 1.0
    memory_share: float = 1.0
    streamed_bytes: Column = 0.0


def _sides(seconds: Callable[[Curve], Column], curve: Curve) -> tuple[Column, Column]:
    """Return the compute and the memory side of a roofline: each alone, the other limit taken away."""
    bare = replace(curve, floor_seconds=0.0, sharpness=1.0)
    return seconds(replace(bare, bandwidth=math.inf)), seconds(replace(bare, compute=math.inf))


def _operator(
    kind: Kind, seconds: Callable[[Curve], Column], curve: Curve, count: float, *, floors: int = 1,
    bandwidth: float = 0.0,
) -> Operator:  # fmt: skip
    compute, memory = _sides(seconds, curve)
    streamed = memory * curve.bandwidth * bandwidth if kind in ("products", "experts", "head") else 0.0
    return Operator(
        kind=kind, compute_seconds=compute, memory_seconds=memory, floor_seconds=floors * curve.floor_seconds,
        sharpness=curve.sharpness, count=count, compute_share=curve.compute, memory_share=curve.bandwidth,
        streamed_bytes=streamed,
    )  # fmt: skip


def native_dtype(curves: KernelCurves, dtype: str) -> str:
    """Return the format that products of ``dtype`` run in on this card: with 4-bit units MXFP4 runs like NVFP4."""
    if dtype == "mxfp4" and curves.runs_in("nvfp4") == "nvfp4":
        return "nvfp4"
    return curves.runs_in(dtype)


def _matmul(
    kind: Kind, curves: KernelCurves, stored: Stored, *, m: Column, n: Column, k: Column, count: float
) -> Operator:
    dtype = native_dtype(curves, stored.dtype)
    # native formats quantize the input as well; weight-only formats keep it in 16 bits
    input_bytes = stored.bytes_per_value if dtype.startswith(("fp8", "nvfp4", "int8", "mxfp8")) else 2.0
    return _operator(
        kind,
        lambda curve: matmul_seconds(
            m=m, n=n, k=k, peak=curves.peak(dtype), bandwidth=curves.bandwidth(), curve=curve,
            weight_bytes_per_value=stored.bytes_per_value, input_bytes_per_value=input_bytes,
        ),
        _gemm_curve(curves, dtype), count, bandwidth=curves.bandwidth(),
    )  # fmt: skip


def _gemm_curve(curves: KernelCurves, dtype: str) -> Curve:
    """Return the curve of products; formats whose scales are known beforehand start as fast as 16-bit ones.

    Engines quantize such inputs inside the kernel before; what was measured ran a quantization kernel of its own.
    """
    curve = curves.gemm(dtype)
    if dtype not in FUSED_QUANTIZATION:
        return curve
    return replace(curve, floor_seconds=min(curve.floor_seconds, curves.gemm("bf16").floor_seconds))


def _products(work: ServingWork, curves: KernelCurves, division: Division, tokens: Column) -> Iterator[Operator]:
    for product in work.products:
        n, k = product.out_features, product.in_features
        n = ceil_div(n, division.tp) if product.split == "column" else n
        k = ceil_div(k, division.tp) if product.split == "row" else k
        yield _matmul("products", curves, product.stored, m=tokens, n=n, k=k, count=product.count)


def _unpacking(work: ServingWork, curves: KernelCurves, division: Division, tokens: Column) -> Iterator[Operator]:
    """Yield what writes weights of few bits to memory in 16 bits, and reads them again."""
    least, written_and_read = 64, 4.0
    packed = [p for p in work.products if p.stored.bytes_per_value < HALF_BYTES]
    size = sum(written_and_read * p.out_features * p.in_features * p.count for p in packed) / division.tp
    curve = curves.gemm("bf16")
    seconds = where(tokens > least, size, 0.0) / (curves.bandwidth() * curve.bandwidth)
    if packed:
        yield Operator(
            kind="products", compute_seconds=0 * seconds, memory_seconds=seconds, floor_seconds=0.0, sharpness=1.0,
            count=1, memory_share=curve.bandwidth,
        )  # fmt: skip


def _experts(work: ServingWork, curves: KernelCurves, division: Division, tokens: Column) -> Iterator[Operator]:
    stored, dtype = work.expert_stored, native_dtype(curves, work.expert_stored.dtype)
    for layer in work.experts:
        held = layer.experts / division.ep
        seconds = functools.partial(
            experts_seconds, tokens=tokens, hidden=layer.hidden, experts=held,
            intermediate=ceil_div(layer.intermediate, division.expert_tp),
            top_k=min(layer.top_k / division.ep, held), peak=curves.peak(dtype), bandwidth=curves.bandwidth(),
            weight_bytes_per_value=stored.bytes_per_value, matrices=layer.matrices,
        )  # fmt: skip
        yield _operator(
            "experts", _of_curve(seconds), _experts_curve(curves, dtype), layer.count, bandwidth=curves.bandwidth()
        )


def _experts_curve(curves: KernelCurves, dtype: str) -> Curve:
    """Return the curve of experts; weight-only kernels start as fast as 16-bit ones, whatever their host measured:
    two grouped products and an activation between them, three launches."""
    curve = curves.experts(dtype)
    if dtype not in ("mxfp4", "int4"):
        return curve
    launches = 3 * curves.gemm("bf16").floor_seconds
    return replace(curve, floor_seconds=min(curve.floor_seconds, curves.experts("bf16").floor_seconds, launches))


def _of_curve(seconds: Callable[..., Column]) -> Callable[[Curve], Column]:
    return lambda curve: seconds(curve=curve)


def _cache_streams(heads: Column, kv_heads: Column, style: AttentionStyle) -> Column:
    """Return how many heads' worth of cache a decode step moves."""
    if style.copies:
        # joined with the new token (read, written), repeated for every head (read, written), read
        return 3 * kv_heads + where(heads > kv_heads, 2 * heads, 0)
    return where(heads > style.shared_heads * kv_heads, heads, kv_heads)


def _decode_attention(
    attention: Attention, curves: KernelCurves, division: Division, shape: StepShape, cache_bytes: float,
    style: AttentionStyle,
) -> Operator:  # fmt: skip
    dtype = "fp8" if cache_bytes <= 1 else "bf16"
    reach = shape.context / attention.stride
    reach = reach if attention.window is None else minimum(reach, attention.window)
    heads = ceil_div(attention.heads, division.tp)
    if attention.absorbed_dim:
        kv_heads, key, value = 1, attention.cache_dim, attention.absorbed_dim
        # the latent is read once although scores and values both use it
        cache_bytes = cache_bytes * attention.cache_dim / (attention.cache_dim + attention.absorbed_dim)
    else:
        kv_heads = _cache_streams(heads, ceil_div(attention.kv_heads, division.tp), style)
        key, value = attention.key_dim, attention.value_dim
    curve = curves.decode_attention(dtype)
    return _operator(
        "decode attention",
        lambda curve: decode_attention_seconds(
            batch=maximum(shape.decodes, 1e-9), context=maximum(reach, 1), heads=heads, kv_heads=kv_heads,
            key_dim=key, value_dim=value, peak=curves.peak("bf16"), bandwidth=curves.bandwidth(), curve=curve,
            cache_bytes_per_value=cache_bytes,
        ),
        curve, attention.count,
    )  # fmt: skip


def _prefill_attention(
    attention: Attention, curves: KernelCurves, division: Division, shape: StepShape, style: AttentionStyle
) -> Operator:
    new = maximum(1, minimum(shape.chunk, shape.prompt))
    whole = shape.chunk / new
    if style.writes_scores:
        return _written_scores(attention, curves, division, new, whole, shape.prompt)
    curve = curves.prefill_attention("bf16")
    return _operator(
        "prefill attention",
        lambda curve: prefill_attention_seconds(
            batch=whole, sequence=new, heads=ceil_div(attention.heads, division.tp),
            kv_heads=ceil_div(attention.kv_heads, division.tp), key_dim=attention.key_dim,
            value_dim=attention.value_dim, peak=curves.peak("bf16"), bandwidth=curves.bandwidth(), curve=curve,
            context=(shape.prompt - new) / 2, window=attention.window,
        ),
        curve, attention.count,
    )  # fmt: skip


def _written_scores(
    attention: Attention, curves: KernelCurves, division: Division, new: Column, whole: Column, prompt: Column
) -> Operator:
    curve = replace(curves.gemm("bf16"), sharpness=1.0)
    return _operator(
        "prefill attention",
        lambda curve: written_scores_seconds(
            batch=whole, sequence=new, context=(prompt - new) / 2, heads=ceil_div(attention.heads, division.tp),
            key_dim=attention.key_dim, value_dim=attention.value_dim, peak=curves.peak("bf16"),
            bandwidth=curves.bandwidth(), curve=curve,
        ),
        curve, attention.count, floors=3,
    )  # fmt: skip


def _streams(work: ServingWork, curves: KernelCurves, division: Division, shape: StepShape) -> Operator:
    """Return what only moves bytes: norms, residual sums, activations, routing, recurrent states."""
    tokens = shape.decodes + shape.chunk
    values = work.hidden_values + (work.inner_values + work.routed_values / division.ep) / division.tp
    # recurrent states are read and written in 32 bits
    states = 2 * 4 * work.state_values * shape.decodes / division.tp
    curve = curves.gemm("bf16")
    seconds = (2 * values * tokens + states) / (curves.bandwidth() * curve.bandwidth)
    return Operator(
        kind="element-wise", compute_seconds=0 * seconds, memory_seconds=seconds, floor_seconds=0.0, sharpness=1.0,
        count=1, memory_share=curve.bandwidth,
    )  # fmt: skip


def _network(work: ServingWork, division: Division, tokens: Column) -> Iterator[Operator]:
    # activations travel in 16 bits
    message = 2 * work.hidden * tokens
    if division.link is not None and division.tp > 1:
        seconds = all_reduce_seconds(message_bytes=message, ranks=division.tp, link=division.link)
        yield _moved(seconds, work.reductions)
    if division.hop is not None and division.pp > 1:
        yield _moved(point_to_point_seconds(message_bytes=message, link=division.hop), division.pp)
    if division.exchange is not None and division.attention_dp > 1:
        for layer in work.experts:
            # each token goes to the experts that it uses and comes back
            routed = message * min(layer.top_k, division.ep)
            seconds = all_to_all_seconds(message_bytes=routed, ranks=division.ep, link=division.exchange)
            yield _moved(seconds, 2 * layer.count)


def _moved(seconds: Column, count: float) -> Operator:
    return Operator(
        kind="network", compute_seconds=0 * seconds, memory_seconds=seconds, floor_seconds=0.0, sharpness=1.0,
        count=count,
    )  # fmt: skip


def operators(
    work: ServingWork,
    curves: KernelCurves,
    division: Division,
    shape: StepShape,
    *,
    cache_bytes_per_value: float = 2.0,
    prefill: bool = True,
    decode: bool = True,
    style: AttentionStyle = FUSED_ATTENTION,
) -> tuple[Operator, ...]:
    """Return the kernels of one step as its slowest rank runs them.

    With pipeline stages a step is one micro-batch of 1/pp of the sequences through all stages: all stages are busy with
    others meanwhile, and each sequence waits for the whole way.
    """
    share = division.pp * division.attention_dp
    decodes = maximum(shape.decodes / share, where(shape.decodes > 0, 1, 0))
    local = replace(shape, decodes=decodes, chunk=shape.chunk / division.attention_dp)
    tokens = local.decodes + local.chunk
    found = [*_products(work, curves, division, tokens)]
    if prefill and style.unpacks_prompts:
        found += _unpacking(work, curves, division, tokens)
    found += _experts(work, curves, division, tokens * division.attention_dp)
    sampled = local.decodes + local.chunk / shape.prompt
    found.append(
        _matmul(
            "head", curves, work.head_stored, m=maximum(sampled, 1), n=ceil_div(work.vocabulary, division.tp),
            k=work.hidden, count=1,
        )
    )  # fmt: skip
    for attention in work.attentions:
        if decode:
            found.append(_decode_attention(attention, curves, division, local, cache_bytes_per_value, style))
        if prefill:
            found.append(_prefill_attention(attention, curves, division, local, style))
    found.append(_streams(work, curves, division, local))
    found += _network(work, division, tokens)
    return tuple(found)
