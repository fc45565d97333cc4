"""Seconds of one training step: operators at their rooflines, collectives over the topology, and what hides what.

Two steps, both on numbers and on columns of plans. :func:`raw_times` turns work and plan into seconds at the
efficiencies that kernels and links were measured to have; :func:`step_parts` joins them with the few coefficients that
only whole training runs can teach (:class:`Coefficients`): what overlaps, what the host adds, how ranks straggle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from sizeup.physics import collectives as net
from sizeup.physics.collectives import Link
from sizeup.physics.kernels import Curve, matmul_seconds, occupancy, prefill_attention_seconds, roofline_seconds
from sizeup.physics.numeric import Column, ceil_div, logarithm, maximum, minimum, power, where
from sizeup.physics.training_work import Product, StepWork


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
    cp_all_to_all: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """The limits and measured curves of one card, and its links: inside the fast domain and between nodes."""

    peak: float
    wide_peak: float
    bandwidth: float
    gemm: Curve
    wide_gemm: Curve
    attention: Curve
    modern: bool
    flops_per_watt: float
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
        host_seconds, host_routed_seconds: host time per kernel launch, and per pass of a layer that routes tokens [s].
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
    host_seconds: float = 5e-6
    host_routed_seconds: float = 1e-3
    hidden_data: float = 0.8
    hidden_tensor: float = 0.5
    hidden_experts: float = 0.3
    contention: float = 0.1
    network: float = 0.8
    straggle: float = 0.01


# ---- work of one micro-batch on one rank, the whole depth of the model


def _product_seconds(m: Column, n: Column, k: Column, hardware: Hardware, *, eight_bit: bool, written: float) -> Column:
    width = 1.0 if eight_bit else 2.0
    return matmul_seconds(
        m=m, n=n, k=k, bandwidth=hardware.bandwidth, weight_bytes_per_value=width, input_bytes_per_value=width,
        output_bytes_per_value=written, peak=hardware.peak if eight_bit else hardware.wide_peak,
        curve=hardware.gemm if eight_bit else hardware.wide_gemm,
    )  # fmt: skip


def product_times(product: Product, tokens: Column, plan: StepPlan, hardware: Hardware) -> tuple[Column, Column]:
    """Return the forward and backward seconds of one linear layer on one tensor-parallel rank.

    Backward is the gradient of the input and, unless frozen, the gradient of the weights, added to what is there.
    """
    n = product.out_features / plan.tp if product.split == "column" else product.out_features
    k = product.in_features / plan.tp if product.split == "row" else product.in_features
    eight_bit = plan.eight_bit and product.split != "none"
    forward = _product_seconds(tokens, n, k, hardware, eight_bit=eight_bit, written=2)
    backward = _product_seconds(tokens, k, n, hardware, eight_bit=eight_bit, written=2)
    if plan.frozen:
        return forward, backward
    # the sum of gradients is read and written
    return forward, backward + _product_seconds(
        n, k, tokens, hardware, eight_bit=eight_bit, written=2 * plan.gradient_bytes
    )


def attention_times(work: StepWork, plan: StepPlan, hardware: Hardware) -> tuple[Column, Column]:
    """Return the forward and backward seconds of all mixers on one rank.

    Fused attention runs two products forward and five backward ([flashattention2] section 3.2).
    """
    forward: Column = 0.0
    backward: Column = 0.0
    for mixing in work.mixings:
        mixer, count = mixing.mixer, mixing.count
        if mixer.kind == "convolution" or not mixer.heads:
            continue
        # recurrent layers are trained in chunks: attention inside a chunk, states between chunks
        chunk = 256
        window = chunk if mixer.kind == "recurrent" else mixer.window
        if mixer.top_k_tokens is not None:
            window = mixer.top_k_tokens * mixer.stride
        heads = maximum(1, mixer.heads / plan.tp)
        kv_heads = maximum(1, (mixer.kv_heads or mixer.heads) / plan.tp)
        seconds = prefill_attention_seconds(
            batch=plan.micro_batch, sequence=plan.sequence, heads=heads, kv_heads=kv_heads, key_dim=mixer.key_dim,
            value_dim=mixer.value_dim, peak=hardware.wide_peak, bandwidth=hardware.bandwidth,
            curve=hardware.attention, window=window, causal=mixer.causal,
        )  # fmt: skip
        # a ring over context ranks runs one kernel for each half of each neighbour's keys
        pieces = count * 2 * (plan.cp - 1) * hardware.attention.floor_seconds
        forward = forward + count * seconds / plan.cp + pieces
        backward = backward + count * seconds / plan.cp * 5 / 2 + pieces
    return forward, backward


def eager_attention_times(work: StepWork, plan: StepPlan, hardware: Hardware) -> tuple[Column, Column]:
    """Return the seconds of attention that writes its scores: two full products forward, four backward, and softmax.

    Softmax and dropout read and write each 16-bit score twice with one byte of mask: 9 bytes forward, 11 backward.
    """
    forward: Column = 0.0
    backward: Column = 0.0
    forward_bytes, backward_bytes = 9, 11
    for mixing in work.mixings:
        mixer, count = mixing.mixer, mixing.count
        if mixer.kind != "attention":
            continue
        rows = plan.micro_batch * plan.sequence * maximum(1, mixer.heads / plan.tp) / plan.cp
        score = _product_seconds(rows, plan.sequence, mixer.key_dim, hardware, eight_bit=False, written=2)
        value = _product_seconds(rows, mixer.value_dim, plan.sequence, hardware, eight_bit=False, written=2)
        scores = rows * plan.sequence
        move = hardware.bandwidth * hardware.streaming.bandwidth
        forward = forward + count * (score + value + forward_bytes * scores / move)
        backward = backward + count * (2 * (score + value) + backward_bytes * scores / move)
    return forward, backward


def grouped_seconds(rows: Column, n: Column, k: Column, groups: Column, plan: StepPlan, hardware: Hardware) -> Column:
    """Return the time of ``groups`` products of (rows x k) by (k x n) in one kernel, tiles of all groups side by side.

    Each group rounds its rows up to whole tiles of 128.
    """
    tile = 128
    width = 1.0 if plan.eight_bit else 2.0
    curve = hardware.gemm if plan.eight_bit else hardware.wide_gemm
    padded = ceil_div(rows, tile) * tile
    busy = occupancy(groups * padded / tile * ceil_div(n, tile), k, fill=curve.fill) * k / (k + curve.depth)
    moved = groups * (n * k * width + rows * k * width + 2 * rows * n)
    return roofline_seconds(
        flops=2 * groups * padded * n * k, moved_bytes=moved, bandwidth=hardware.bandwidth, curve=curve, busy=busy,
        peak=hardware.peak if plan.eight_bit else hardware.wide_peak,
    )  # fmt: skip


def expert_times(work: StepWork, tokens: Column, plan: StepPlan, hardware: Hardware) -> tuple[Column, Column]:
    """Return the forward and backward seconds of the routed experts on one rank, routing being even.

    The ``tp`` ranks of a group split their tokens; ``ep x etp`` ranks pool theirs and share the experts.
    """
    forward: Column = 0.0
    for group in work.experts:
        local = group.experts / plan.ep
        rows = tokens * plan.ep * plan.etp / plan.tp * group.top_k / group.experts
        inner = group.intermediate / plan.etp
        wide = grouped_seconds(rows, (group.matrices - 1) * inner, group.hidden, local, plan, hardware)
        down = grouped_seconds(rows, group.hidden, inner, local, plan, hardware)
        forward = forward + group.count * (wide + down)
    return forward, (1 if plan.frozen else 2) * forward


# ---- collectives


@dataclass(frozen=True, slots=True)
class Traffic:
    """Seconds of one kind of communication: inside the fast domain, and between nodes at the measured bandwidth."""

    inside: Column = 0.0
    between: Column = 0.0

    def seconds(self, network: Column) -> Column:
        """Return the slower of the two, the network reaching ``network`` of its measured bandwidth."""
        return maximum(self.inside, self.between / network)

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(self.inside + other.inside, self.between + other.between)

    def times(self, factor: Column) -> Traffic:
        """Return ``factor`` such exchanges one after another."""
        return Traffic(self.inside * factor, self.between * factor)


def members_inside(ranks: Column, stride: Column, domain: Column) -> Column:
    """Return how many ranks of a group, ``stride`` apart, share one fast domain."""
    return minimum(ranks, maximum(1, domain // stride))


class _Collective(Protocol):
    def __call__(self, *, message_bytes: Column, ranks: Column, link: Link) -> Column: ...


def ring_traffic(
    kind: _Collective, *, message_bytes: Column, ranks: Column, stride: Column, hardware: Hardware
) -> Traffic:
    """Return the time of a ring collective; between nodes the members inside one domain share their networks."""
    near = members_inside(ranks, stride, hardware.domain)
    inside = kind(message_bytes=message_bytes, ranks=ranks, link=_short_ring(hardware.inside, near, ranks))
    far = Link(
        bytes_per_second=hardware.between.bytes_per_second * near,
        latency_seconds=hardware.between.latency_seconds * ceil_div(ranks, near) / 2,
    )
    between = kind(message_bytes=message_bytes, ranks=ranks, link=far)
    return Traffic(inside, where(near < ranks, between, 0.0))


def _short_ring(link: Link, near: Column, ranks: Column) -> Link:
    """Return the link with only as many hops as there are ranks in one domain (nodes are pipelined beside them)."""
    hops = where(ranks > 2, maximum(near - 2, 0) / maximum(ranks - 2, 1), 1.0)
    return Link(
        bytes_per_second=link.bytes_per_second, latency_seconds=link.latency_seconds,
        hop_seconds=link.hop_seconds * hops, slow_bytes=link.slow_bytes,
    )  # fmt: skip


def distinct(places: Column, draws: Column) -> Column:
    """Return how many of ``places`` are reached by ``draws`` even draws.

    >>> distinct(8, 1)
    1.0

    Source: expectation over independent uniform draws, n (1 - (1 - 1/n)^k)
    """
    return places * (1 - (1 - 1 / places) ** draws)


def exchange_traffic(*, message_bytes: Column, ranks: Column, stride: Column, hardware: Hardware) -> Traffic:
    """Return the time of an all-to-all: the share of the data that leaves the domain passes each card's network."""
    near = members_inside(ranks, stride, hardware.domain)
    inside = net.all_to_all_seconds(message_bytes=message_bytes, ranks=ranks, link=hardware.exchange)
    outside = message_bytes * (ranks - near) / ranks / hardware.between.bytes_per_second
    return Traffic(inside, where(near < ranks, outside + hardware.between.latency_seconds, 0.0))


def dispatch_traffic(
    *, token_bytes: Column, top_k: Column, ranks: Column, stride: Column, hardware: Hardware
) -> Traffic:
    """Return the time of sending every token to its experts: once to each rank, and once over the network to each node.

    Source: [deepseek_v3] section 3.2.2
    """
    near = members_inside(ranks, stride, hardware.domain)
    nodes = ranks / near
    inside = net.all_to_all_seconds(
        message_bytes=token_bytes * distinct(ranks * 1.0, top_k), ranks=ranks, link=hardware.exchange
    )
    outside = token_bytes * distinct(nodes, top_k) * (nodes - 1) / nodes / hardware.between.bytes_per_second
    return Traffic(inside, where(near < ranks, outside + hardware.between.latency_seconds, 0.0))


def send_traffic(*, message_bytes: Column, stride: Column, hardware: Hardware) -> Traffic:
    """Return the time of sending to the next pipeline stage, ``stride`` ranks away."""
    inside = net.point_to_point_seconds(message_bytes=message_bytes, link=hardware.inside)
    between = net.point_to_point_seconds(message_bytes=message_bytes, link=hardware.between)
    leaves = stride >= hardware.domain
    return Traffic(where(leaves, 0.0, inside), where(leaves, between, 0.0))


# ---- everything at measured efficiencies


@dataclass(frozen=True, slots=True, kw_only=True)
class RawTimes:
    """Seconds at measured efficiencies. Compute and its traffic are of one micro-batch and the whole depth."""

    products_forward: Column
    products_backward: Column
    experts_forward: Column
    experts_backward: Column
    attention_forward: Column
    attention_backward: Column
    streaming_forward: Column
    casts_forward: Column
    casts_backward: Column
    head_products: Column
    head_streaming: Column
    kernels: Column
    routed_layers: int
    eight_bit: float
    eager: float
    modern: float
    flops_per_watt: float
    tensor: Traffic
    context: Traffic
    expert_exchange: Traffic
    stage: Traffic
    gather: Traffic
    reduce: Traffic
    optimizer: Column


def _cast_bytes(work: StepWork, tokens: Column, plan: StepPlan) -> tuple[Column, Column]:
    """Return the bytes that casting to 8 bits moves: 2 read, 1 written straight and 1 transposed for each value."""
    if not plan.eight_bit:
        return 0.0, 0.0
    inputs: Column = 0.0
    outputs: Column = 0.0
    weights: Column = 0.0
    for p in work.products:
        n = p.out_features / plan.tp if p.split == "column" else p.out_features
        k = p.in_features / plan.tp if p.split == "row" else p.in_features
        inputs, outputs, weights = inputs + p.count * k, outputs + p.count * n, weights + p.count * n * k
    for e in work.experts:
        each = (e.hidden + e.intermediate / plan.etp) * e.top_k * e.count
        inputs, outputs = inputs + each, outputs + each
        weights = weights + e.matrices * e.hidden * e.intermediate / plan.etp * e.experts / plan.ep * e.count
    bytes_per_value = 4
    # weights are cast once for all micro-batches of a step
    forward = bytes_per_value * (tokens * inputs + weights / plan.micro_batches)
    return forward, bytes_per_value * tokens * outputs


def raw_times(work: StepWork, plan: StepPlan, hardware: Hardware) -> RawTimes:
    """Return the seconds of every kind of work of one step, nothing overlapped."""
    tokens = plan.micro_batch * plan.sequence / plan.cp
    products_forward: Column = 0.0
    products_backward: Column = 0.0
    for product in work.products:
        forward, backward = product_times(product, tokens, plan, hardware)
        products_forward = products_forward + product.count * forward
        products_backward = products_backward + product.count * backward
    if plan.adapter_rank:
        extra = _adapter_seconds(work, tokens, plan, hardware)
        products_forward, products_backward = products_forward + extra, products_backward + 2 * extra
    attend = eager_attention_times if plan.eager_attention else attention_times
    attention_forward, attention_backward = attend(work, plan, hardware)
    experts_forward, experts_backward = expert_times(work, tokens, plan, hardware)
    move = hardware.bandwidth * hardware.streaming.bandwidth
    whole = where(plan.sequence_parallel > 0, plan.tp, 1)
    values = work.hidden_values / whole + work.inner_values / plan.tp + work.routed_values / whole
    cast_forward, cast_backward = _cast_bytes(work, tokens, plan)
    expanded = 0.0
    if plan.dequantized:
        # 4 bits read and 16 written for each frozen weight, forward and backward
        expanded = 2.5 * (work.dense_parameters + work.expert_parameters) / plan.tp / move
    head_products, head_streaming = _head_times(work, tokens, plan, hardware)
    return RawTimes(
        products_forward=products_forward, products_backward=products_backward,
        experts_forward=experts_forward, experts_backward=experts_backward,
        attention_forward=attention_forward, attention_backward=attention_backward,
        streaming_forward=2 * tokens * values / move + expanded,
        casts_forward=cast_forward / move, casts_backward=cast_backward / move,
        head_products=head_products, head_streaming=head_streaming, kernels=work.kernels,
        eight_bit=float(plan.eight_bit), eager=float(plan.eager_attention), modern=float(hardware.modern), flops_per_watt=hardware.flops_per_watt,
        routed_layers=sum(e.count for e in work.experts),
        optimizer=_optimizer_seconds(work, plan, move),
        **_traffic(work, tokens, plan, hardware),
    )  # fmt: skip


def _adapter_seconds(work: StepWork, tokens: Column, plan: StepPlan, hardware: Hardware) -> Column:
    """Return the seconds of all adapters forward: in x rank, then rank x out."""
    seconds: Column = 0.0
    for p in work.products:
        down = _product_seconds(
            tokens, plan.adapter_rank, p.in_features / plan.tp, hardware, eight_bit=False, written=2
        )
        up = _product_seconds(tokens, p.out_features / plan.tp, plan.adapter_rank, hardware, eight_bit=False, written=4)
        seconds = seconds + p.count * (down + up)
    return seconds


def _head_times(work: StepWork, tokens: Column, plan: StepPlan, hardware: Hardware) -> tuple[Column, Column]:
    """Return the seconds of the head's three products, and of the loss over its logits.

    A plain loss moves about 24 bytes per logit: cast to fp32 (2 + 4), log-softmax (4 + 4), its gradient (4 + 4) and
    the cast back (4 + 2, less what is fused); a fused one reads and writes the 16-bit logits twice.
    """
    n = work.vocabulary / plan.tp
    forward = _product_seconds(tokens, n, work.hidden, hardware, eight_bit=False, written=2)
    backward = _product_seconds(tokens, work.hidden, n, hardware, eight_bit=False, written=2)
    if not plan.frozen:
        backward = backward + _product_seconds(n, work.hidden, tokens, hardware, eight_bit=False, written=8)
    plain, fused = 24, 8
    moved = tokens * n * (fused if plan.fused_loss else plain)
    move = hardware.bandwidth * hardware.streaming.bandwidth
    return work.heads * (forward + backward), work.heads * moved / move


def rank_parameters(work: StepWork, plan: StepPlan) -> tuple[Column, Column]:
    """Return the dense and the expert parameters of one rank, with its share of embedding and head."""
    ends = work.vocabulary_parameters / plan.tp / minimum(plan.pp, 2)
    return work.dense_parameters / plan.tp / plan.pp + ends, work.expert_parameters / plan.ep / plan.etp / plan.pp


def _optimizer_seconds(work: StepWork, plan: StepPlan, move: float) -> Column:
    """Return the seconds of the optimizer step: every state read and written once."""
    dense, expert = rank_parameters(work, plan)
    expert_shards = where(plan.shards > 1, maximum(1, plan.shards * plan.tp / (plan.ep * plan.etp)), 1)
    return plan.optimizer_bytes * plan.trained_share * (dense / plan.shards + expert / expert_shards) / move


def _traffic(work: StepWork, tokens: Column, plan: StepPlan, hardware: Hardware) -> dict[str, Traffic]:
    """Return the communication of every axis. Ranks are laid out tensor, context, data, pipeline, innermost first."""
    stream = 2 * tokens * work.hidden
    reduce = ring_traffic(
        net.all_reduce_seconds, message_bytes=stream, ranks=plan.tp, stride=1, hardware=hardware
    )  # an all-gather and a reduce-scatter (sequence parallel) move as much
    kv = _context_bytes(work, plan)
    context = (
        exchange_traffic(message_bytes=kv, ranks=plan.cp, stride=plan.tp, hardware=hardware)
        if plan.cp_all_to_all
        else ring_traffic(
            net.all_gather_seconds, message_bytes=kv * plan.cp, ranks=plan.cp, stride=plan.tp, hardware=hardware
        )
    )
    share = where(plan.sequence_parallel > 0, plan.tp, 1)
    exchange = Traffic()
    for group in work.experts:
        one_way = dispatch_traffic(
            token_bytes=2 * tokens * group.hidden / share, top_k=group.top_k, ranks=plan.ep, stride=1,
            hardware=hardware,
        )  # fmt: skip
        exchange = exchange + one_way.times(2 * group.count)
    stride = plan.tp * plan.cp * plan.dp
    stage = send_traffic(message_bytes=stream / plan.tp, stride=stride, hardware=hardware)
    return {
        "tensor": reduce.times(work.reductions),
        "context": context,
        "expert_exchange": exchange,
        "stage": stage,
        **_data_traffic(work, plan, hardware),
    }


def _context_bytes(work: StepWork, plan: StepPlan) -> Column:
    """Return the bytes of keys and values (all layers) that one context rank holds."""
    values: Column = 0.0
    for mixing in work.mixings:
        m = mixing.mixer
        if m.kind == "attention":
            heads = m.heads + m.kv_heads if plan.cp_all_to_all else m.kv_heads
            values = values + mixing.count * maximum(1, heads / plan.tp) * (m.key_dim + m.value_dim)
    return 2 * values * plan.micro_batch * plan.sequence / plan.cp


def _data_traffic(work: StepWork, plan: StepPlan, hardware: Hardware) -> dict[str, Traffic]:
    """Return gathering all weights once, and reducing all gradients once, over the data-parallel ranks."""
    dense, expert = rank_parameters(work, plan)
    trained = plan.trained_share
    ranks, stride = plan.dp * plan.cp, plan.tp
    expert_ranks = maximum(1, ranks * plan.tp / (plan.ep * plan.etp))
    shards = minimum(plan.shards, ranks)
    replicas = ranks / maximum(1, shards)
    gather = ring_traffic(
        net.all_gather_seconds, message_bytes=2 * dense * where(plan.gathers > 0, 1.0, trained), ranks=shards,
        stride=stride, hardware=hardware,
    ) + ring_traffic(
        net.all_gather_seconds, message_bytes=2 * expert, ranks=minimum(plan.shards, expert_ranks),
        stride=plan.ep * plan.etp, hardware=hardware,
    )  # fmt: skip
    gradient = plan.gradient_bytes * trained
    scatter = ring_traffic(
        net.reduce_scatter_seconds, message_bytes=gradient * dense, ranks=ranks, stride=stride, hardware=hardware
    ) + ring_traffic(
        net.reduce_scatter_seconds, message_bytes=gradient * expert, ranks=expert_ranks,
        stride=plan.ep * plan.etp, hardware=hardware,
    )  # fmt: skip
    across = ring_traffic(
        net.all_gather_seconds, message_bytes=gradient * (dense + expert) / maximum(1, shards), ranks=replicas,
        stride=stride * shards, hardware=hardware,
    )  # fmt: skip
    return {"gather": gather, "reduce": scatter + across}


# ---- the step


@dataclass(frozen=True, slots=True, kw_only=True)
class StepParts:
    """Seconds of one step by what they are spent on; they sum to the step."""

    matmul: Column
    attention: Column
    memory_bound: Column
    recompute: Column
    host: Column
    tensor_network: Column
    context_network: Column
    expert_network: Column
    pipeline_network: Column
    data_network: Column
    contention: Column
    bubble: Column
    optimizer: Column
    stragglers: Column

    def seconds(self) -> Column:
        """Return the whole step [s]."""
        total: Column = 0.0
        for name in self.__slots__:
            total = total + getattr(self, name)
        return total


def step_parts(
    raw: RawTimes, work: StepWork, plan: StepPlan, *, traits: Traits | Any, coefficients: Coefficients | Any
) -> StepParts:
    """Return the parts of one step: micro-batches of the slowest stage, then what does not repeat with them.

    The pipeline bubble is (p - 1) / v micro-batches of a mean stage ([narayanan2021] section 2.2).
    """
    c = coefficients
    small = c.streaming_eager + traits.fused * (c.streaming_fused - c.streaming_eager)
    # an H100 has 989.5 TFLOP/s at 700 W; cards with fewer FLOP/s per watt keep more of their clock, at most all
    cooler = (raw.flops_per_watt / (989.5e12 / 700)) ** -c.power
    keeps = (c.sustained + raw.eight_bit * (c.eight_bit - c.sustained)) * minimum(cooler, 1 / c.sustained)
    matmul_forward = raw.products_forward / keeps + raw.experts_forward / (c.experts * keeps)
    matmul_backward = raw.products_backward / keeps + raw.experts_backward / (c.experts * keeps)
    # attention that writes its scores is made of plain products
    attends = where(raw.eager > 0, c.sustained * minimum(cooler, 1 / c.sustained), c.attention)
    attends = attends * (1 - (1 - raw.eager) * raw.modern * (1 - traits.native_attention) * (1 - c.portable_attention))
    attention_forward, attention_backward = raw.attention_forward / attends, raw.attention_backward / attends
    memory_forward = raw.streaming_forward * small + raw.casts_forward * c.casts
    memory_backward = 2 * raw.streaming_forward * small + raw.casts_backward * c.casts
    half = 0.5
    again = plan.recompute_full * (matmul_forward + attention_forward + memory_forward)
    again = again + plan.recompute_core * where(raw.eager > 0, attention_forward, memory_forward * half)
    again = again + plan.recompute_half * (half * matmul_forward + memory_forward)
    head_matmul, head_memory = raw.head_products / c.sustained, raw.head_streaming * small
    # the deepest stage holds the rounded-up number of layers, and the last one the head
    chunks = plan.pp * plan.vpp
    depth = ceil_div(work.layers, chunks) * plan.vpp / work.layers
    matmul = depth * (matmul_forward + matmul_backward) + head_matmul
    attention = depth * (attention_forward + attention_backward)
    memory = depth * (memory_forward + memory_backward) + head_memory
    recompute = depth * again
    passes = 3 + plan.recompute_full + half * plan.recompute_half
    launches = depth * raw.kernels * passes
    busy = matmul + attention + memory + recompute
    routing = c.host_routed_seconds * depth * raw.routed_layers * passes
    # one kernel per operation where nothing is fused: twice as many
    waiting = (1 - traits.graphs) * (c.host_seconds * launches * (2 - traits.fused) + routing)
    sharp = 4
    host = power(power(busy, sharp) + power(waiting, sharp), 1 / sharp) - busy
    # network of one micro-batch
    tensor = depth * raw.tensor.seconds(c.network) * (2 + plan.recompute_full)
    tensor = tensor * (1 - traits.overlaps_tensor * c.hidden_tensor)
    context = depth * raw.context.seconds(c.network) * (3 if plan.cp_all_to_all else 2)
    exposed_context = context if plan.cp_all_to_all else maximum(0.0, context - c.hidden_data * attention)
    expert = depth * raw.expert_exchange.seconds(c.network) * (2 + plan.recompute_full)
    expert = expert * (1 - traits.overlaps_experts * c.hidden_experts)
    send = where(plan.pp > 1, 2 * plan.vpp * raw.stage.seconds(c.network), 0.0)
    slow = busy + host + tensor + exposed_context + expert + send
    data, beside = _exposed_data(raw, plan, traits, c, slow * plan.micro_batches, slow, work.layers)
    mean = (slow - head_matmul - head_memory) + (head_matmul + head_memory) / plan.pp
    bubble = (plan.pp - 1) / plan.vpp * mean
    n = plan.micro_batches
    parts = {
        "matmul": n * matmul, "attention": n * attention, "memory_bound": n * memory, "recompute": n * recompute,
        "host": n * host, "tensor_network": n * tensor, "context_network": n * exposed_context,
        "expert_network": n * expert, "pipeline_network": n * send, "data_network": data,
        "contention": c.contention * beside, "bubble": bubble, "optimizer": raw.optimizer * 1.0,
    }  # fmt: skip
    whole: Column = 0.0
    for value in parts.values():
        whole = whole + value
    two = 2
    doublings = logarithm(plan.tp * plan.pp * plan.cp * plan.dp * 1.0) / logarithm(two)
    return StepParts(**parts, stragglers=c.straggle * doublings * whole)


def _exposed_data(
    raw: RawTimes,
    plan: StepPlan,
    traits: Traits | Any,
    c: Coefficients | Any,
    work_seconds: Column,
    slow: Column,
    layers: Column,
) -> tuple[Column, Column]:
    """Return the data-parallel seconds that nothing hides, and those that run beside compute.

    Sharded weights are gathered forward and backward in every micro-batch and gradients scattered there; otherwise
    gradients are reduced once under the last backward pass and weights gathered once.
    """
    gather, reduce = raw.gather.seconds(c.network), raw.reduce.seconds(c.network)
    gathers = where(plan.gathers > 0, 2 * plan.micro_batches, where(plan.shards > 1, 1, 0))
    reduces = where(plan.scatters > 0, plan.micro_batches, 1)
    several = plan.dp * plan.cp > 1
    collected = where(several, gathers * gather, 0.0)
    # without shards a ring all-reduce is a reduce-scatter and an all-gather of the same size
    summed = where(several, reduces * reduce * where(plan.shards > 1, 1, 2), 0.0)
    beside = where(plan.gathers > 0, work_seconds, slow) * c.hidden_data * traits.overlaps_data
    # a third of the work is forward, two thirds backward; sharded weights are gathered in both
    backward = 2 / 3
    hides = where(
        plan.gathers > 0,
        minimum(collected + summed, beside),
        minimum(summed, backward * beside) + minimum(collected, (1 - backward) * beside),
    )
    # the first unit gathered and the last one reduced have nothing to hide under
    hidden = hides * (1 - 1 / layers)
    return collected + summed - hidden, hidden
