"""What the time of a step is made from: the plan's numbers, the hardware's limits, what overlaps, what is learned."""

from __future__ import annotations

from dataclasses import dataclass

from sizeup.physics.collectives import Link
from sizeup.physics.kernels import Curve
from sizeup.physics.numeric import Column


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPlan:
    """What divides and repeats the work; every number may be a column.

    Attributes:
        shards: ranks over which optimizer states (and with ``gathers`` the weights) are split.
        gathers: 1 where weights are gathered for each use (FSDP, ZeRO-3), else 0.
        scatters: 1 where gradients are reduce-scattered in every micro-batch (FSDP, ZeRO-2 and 3), else 0.
        recompute_core, recompute_half, recompute_full: shares of the layers that repeat the attention core, every
            second product, or the whole forward pass.
        frozen: True where linear layers get no weight gradients (adapters); ``adapter_rank`` then adds products.
        dequantized: True where frozen weights are expanded before each use.
        merged: True where each forward pass sums frozen weights and adapters to take the norm (DoRA).
        attended: tokens that attend to each other where samples are packed; None is the sequence.
        expert_load: what the busiest expert rank works on, over the mean.
        depth_share, bubble_input_gradients, bubble_weight_gradients: see ``plan/pipelines.toml``.
    """

    tp: Column = 1
    pp: Column = 1
    vpp: Column = 1
    cp: Column = 1
    ep: Column = 1
    etp: Column = 1
    dp: Column = 1
    shards: Column = 1
    gathers: Column = 0
    scatters: Column = 0
    sequence_parallel: Column = 0
    micro_batch: Column = 1
    micro_batches: Column = 1
    sequence: Column = 2048
    recompute_core: Column = 0.0
    recompute_half: Column = 0.0
    recompute_full: Column = 0.0
    eager_attention: bool = False
    fused_loss: bool = False
    eight_bit: bool = False
    gradient_bytes: float = 4.0
    optimizer_bytes: float = 30.0
    frozen: bool = False
    adapter_rank: int = 0
    trained_share: float = 1.0
    dequantized: bool = False
    merged: bool = False
    cp_all_to_all: bool = False
    attended: Column | None = None
    expert_load: float = 1.0
    depth_share: float = 1.0
    bubble_input_gradients: float = 0.0
    bubble_weight_gradients: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """The limits and measured curves of one card, and its links: inside the fast domain and between nodes.

    ``plain_rate`` is at what products run that cannot use tensor cores [FLOP/s].
    """

    peak: float
    wide_peak: float
    bandwidth: float
    gemm: Curve
    wide_gemm: Curve
    attention: Curve
    modern: bool
    flops_per_watt: float
    plain_rate: float
    streaming: Curve
    inside: Link
    exchange: Link
    between: Link
    domain: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What a framework does at the same time (1) or one after the other (0), and whether it fuses small kernels."""

    fused: float = 0.0
    overlaps_data: float = 1.0
    overlaps_tensor: float = 0.0
    overlaps_experts: float = 0.0
    native_attention: float = 1.0
    graphs: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Coefficients:
    """What training runs teach beyond kernels and links. See ``fitted/training_time.json`` for values and cases.

    Attributes:
        sustained: share of a kernel's measured speed that hours of training keep (clocks under power limits).
        power: how steeply that share falls with the peak per watt of the card, relative to an H100 at 700 W.
        eight_bit: the same for products in 8 bits or fewer, whose kernels were measured in inference engines.
        experts: share of the speed of one large product that grouped products of experts reach, times ``sustained``.
        attention: as ``sustained``, for fused attention; portable_attention: what is left of it on cards from 2022 on
            where the kernels were written for the generation before.
        streaming_eager, streaming_fused: times that the counted bytes of small kernels really move.
        host_seconds, host_routed_seconds: host time per kernel of a pass with the operations around it (views,
            allocations, autograd), and per pass of a layer that routes tokens [s].
        host_modern: the share of that on hosts of cards from 2022 on.
        hidden_data: share of the compute beside it under which gathering and reducing can hide.
        hidden_tensor, hidden_experts: share of the exchange that a framework with overlap hides.
        contention: slowdown of compute while communication runs beside it.
        network: share of the measured inter-node bandwidth that training reaches.
        straggle: added share of the step for each doubling of the ranks.
    """

    sustained: float = 0.9
    power: float = 0.3
    eight_bit: float = 1.2
    experts: float = 0.8
    attention: float = 0.9
    portable_attention: float = 0.7
    streaming_eager: float = 1.5
    streaming_fused: float = 0.8
    casts: float = 1.0
    host_seconds: float = 4.5e-5
    host_routed_seconds: float = 2e-3
    host_modern: float = 0.7
    hidden_data: float = 0.8
    hidden_tensor: float = 0.5
    hidden_experts: float = 0.3
    contention: float = 0.1
    network: float = 0.8
    straggle: float = 0.01
