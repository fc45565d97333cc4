"""Seconds of one kernel by roofline, with efficiencies that depend on size: matrix products, attention, experts.

Each kernel has a :class:`Curve` of five numbers with a physical meaning, fitted per GPU and number format on measured
kernels (``fitted/kernels.json``). All functions work on numbers and on NumPy columns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sizeup.physics.numeric import Column, ceil_div, maximum, minimum, power, where


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """How close one kind of kernel comes to the limits of one GPU.

    Attributes:
        compute: share of the dense peak FLOP/s that large shapes reach.
        bandwidth: share of the memory bandwidth that large transfers reach.
        floor_seconds: time of the smallest kernel: launch, pipeline fill, drain [s].
        sharpness: how abruptly the two limits meet; the p of a p-norm (1: they add, large: the slower one alone).
        fill: independent tiles of 128 x 128 needed to fill the GPU; fewer leave units idle.
        depth: reduction length at which the compute share is halved by prologue and epilogue.
    """

    compute: float
    bandwidth: float
    floor_seconds: float
    sharpness: float
    fill: float = 1.0
    depth: float = 0.0


def roofline_seconds(
    *, flops: Column, moved_bytes: Column, peak: Column, bandwidth: Column, curve: Curve, busy: Column = 1.0
) -> Column:
    """Return the time of a kernel that does ``flops`` and moves ``moved_bytes`` [s].

    ``busy`` is the share of the GPU that the shape can occupy. The two limits are joined by a p-norm.

    Source: [roofline]
    """
    compute = flops / (peak * curve.compute * busy)
    memory = moved_bytes / (bandwidth * curve.bandwidth)
    joined = power(power(compute, curve.sharpness) + power(memory, curve.sharpness), 1 / curve.sharpness)
    return curve.floor_seconds + joined


def occupancy(tiles: Column, depth: Column, *, fill: float) -> Column:
    """Return the share of the GPU that ``tiles`` output tiles keep busy; splitting the reduction makes more of them.

    A split works on at least 512 of the reduction, as split-K kernels do.
    """
    shortest_split = 512
    splits = maximum(1, minimum(depth / shortest_split, fill / tiles))
    return minimum(1.0, tiles * splits / fill)


def matmul_seconds(
    *,
    m: Column,
    n: Column,
    k: Column,
    peak: Column,
    bandwidth: Column,
    curve: Curve,
    weight_bytes_per_value: float = 2.0,
    input_bytes_per_value: float = 2.0,
    output_bytes_per_value: float = 2.0,
) -> Column:
    """Return the time of an (m x k) by (k x n) product [s]; ``peak`` in FLOP/s, ``bandwidth`` in bytes/s.

    Source: [roofline]; efficiencies from measured kernels.
    """
    tile = 128
    half_tile = 64
    tiles = ceil_div(m, where(m <= half_tile, half_tile, tile)) * ceil_div(n, tile)
    busy = occupancy(tiles, k, fill=curve.fill) * k / (k + curve.depth)
    moved = n * k * weight_bytes_per_value + m * k * input_bytes_per_value + m * n * output_bytes_per_value
    return roofline_seconds(
        flops=2 * m * n * k, moved_bytes=moved, peak=peak, bandwidth=bandwidth, curve=curve, busy=busy
    )


def prefill_attention_seconds(
    *,
    batch: Column,
    sequence: Column,
    heads: Column,
    kv_heads: Column,
    key_dim: Column,
    value_dim: Column,
    peak: Column,
    bandwidth: Column,
    curve: Curve,
    context: Column = 0,
    window: Column | None = None,
    causal: bool = True,
    bytes_per_value: float = 2.0,
) -> Column:
    """Return the time of fused attention of ``sequence`` new tokens after ``context`` old ones [s].

    Causal attention does half of the square of the new tokens; a window caps how far each looks back.

    Source: [flashattention]
    """
    reach = context + (sequence / 2 if causal else sequence)
    if window is not None:
        reach = minimum(reach, window)
    flops = 2 * batch * heads * (key_dim + value_dim) * sequence * reach
    queries = batch * sequence * heads * (key_dim + value_dim)
    keys = batch * (context + sequence) * kv_heads * (key_dim + value_dim)
    tile = 128
    tiles = batch * heads * ceil_div(sequence, tile)
    busy = minimum(1.0, tiles / curve.fill) * reach / (reach + curve.depth)
    return roofline_seconds(
        flops=flops, moved_bytes=(queries + keys) * bytes_per_value, peak=peak, bandwidth=bandwidth, curve=curve,
        busy=busy,
    )  # fmt: skip


def written_scores_seconds(
    *,
    sequence: Column,
    batch: Column,
    context: Column,
    heads: Column,
    key_dim: Column,
    value_dim: Column,
    peak: Column,
    bandwidth: Column,
    curve: Curve,
) -> Column:
    """Return the time of attention of ``sequence`` new tokens that writes its scores to memory [s].

    Two products over all ``context`` + ``sequence`` tokens, and 32-bit scores that are written, read and written by the
    softmax, and read again: kernels one after the other, so that their times add.

    Source: [flashattention] section 2.2
    """
    reach, score_bytes, passes = context + sequence, 4, 4
    flops = 2 * batch * heads * (key_dim + value_dim) * sequence * reach
    moved = passes * score_bytes * batch * heads * sequence * reach
    return roofline_seconds(
        flops=flops, moved_bytes=moved, peak=peak, bandwidth=bandwidth, curve=replace(curve, sharpness=1.0)
    )


def decode_attention_seconds(
    *,
    batch: Column,
    context: Column,
    heads: Column,
    kv_heads: Column,
    key_dim: Column,
    value_dim: Column,
    peak: Column,
    bandwidth: Column,
    curve: Curve,
    cache_bytes_per_value: float = 2.0,
) -> Column:
    """Return the time of one new token of each of ``batch`` sequences attending to ``context`` cached tokens [s].

    Source: [pope2022] section 3.3
    """
    flops = 2 * batch * heads * (key_dim + value_dim) * context
    moved = batch * kv_heads * (key_dim + value_dim) * context * cache_bytes_per_value
    busy = moved / (moved + curve.depth)
    return roofline_seconds(flops=flops, moved_bytes=moved / busy, peak=peak, bandwidth=bandwidth, curve=curve)


def experts_hit(*, experts: Column, top_k: Column, tokens: Column) -> Column:
    """Return how many experts at least one of ``tokens`` reaches, routing being uniform.

    >>> round(experts_hit(experts=256, top_k=8, tokens=1), 6)
    8.0

    Source: expectation over independent uniform draws, E (1 - (1 - k/E)^tokens)
    """
    return experts * (1 - power(1 - top_k / experts, tokens))


def experts_seconds(
    *,
    tokens: Column,
    hidden: Column,
    intermediate: Column,
    experts: Column,
    top_k: Column,
    peak: Column,
    bandwidth: Column,
    curve: Curve,
    weight_bytes_per_value: float = 2.0,
    input_bytes_per_value: float = 2.0,
    matrices: int = 3,
) -> Column:
    """Return the time of the grouped products of ``experts`` experts held by one GPU [s].

    ``top_k`` is how many of *these* experts a token reaches on average (it may be a fraction under expert parallelism).

    Source: [roofline]; experts touched by expectation, see :func:`experts_hit`.
    """
    hit = experts_hit(experts=experts, top_k=top_k, tokens=tokens)
    flops = 2 * matrices * tokens * top_k * hidden * intermediate
    activations = tokens * top_k * (2 * hidden + (matrices + 1) * intermediate) * input_bytes_per_value
    moved = matrices * hit * hidden * intermediate * weight_bytes_per_value + activations
    rows = tokens * top_k / hit
    tile = 128
    busy = rows / (rows + curve.depth) * minimum(1.0, hit * ceil_div(intermediate, tile) / curve.fill)
    return roofline_seconds(flops=flops, moved_bytes=moved, peak=peak, bandwidth=bandwidth, curve=curve, busy=busy)
