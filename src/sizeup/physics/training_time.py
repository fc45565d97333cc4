"""Seconds of one training step: operators at their rooflines, collectives over the topology, and what hides what.

Two steps, both on numbers and on columns of plans. :func:`raw_times` turns work and plan into seconds at the
efficiencies that kernels and links were measured to have; :func:`step_parts` joins them with the few coefficients that
only whole training runs can teach (:class:`Coefficients`): what overlaps, what the host adds, how ranks straggle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sizeup.physics.numeric import Column, ceil_div, logarithm, maximum, minimum, power, where
from sizeup.physics.training_inputs import Coefficients, Hardware, StepPlan, Traits
from sizeup.physics.training_network import Traffic, distinct, traffic
from sizeup.physics.training_operators import (
    adapter_seconds,
    attention_times,
    cast_bytes,
    eager_attention_times,
    expert_times,
    head_times,
    optimizer_seconds,
    product_times,
)
from sizeup.physics.training_work import StepWork

__all__ = [
    "Coefficients", "Hardware", "RawTimes", "StepParts", "StepPlan", "Traffic", "Traits", "distinct", "raw_times",
    "step_parts",
]  # fmt: skip


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
    domain: float
    tensor: Traffic
    context: Traffic
    expert_exchange: Traffic
    stage: Traffic
    gather: Traffic
    reduce: Traffic
    optimizer: Column


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
        extra = adapter_seconds(work, tokens, plan, hardware)
        products_forward, products_backward = products_forward + extra, products_backward + 2 * extra
    if plan.merged:
        # the adapter's product written and read, weight read, sum written and read, at 2 bytes
        ten = 10
        products_forward = products_forward + ten * work.dense_parameters / plan.tp / hardware.bandwidth
    attend = eager_attention_times if plan.eager_attention else attention_times
    attention_forward, attention_backward = attend(work, plan, hardware)
    experts_forward, experts_backward = expert_times(work, tokens, plan, hardware)
    move = hardware.bandwidth * hardware.streaming.bandwidth
    whole = where(plan.sequence_parallel > 0, plan.tp, 1)
    values = work.hidden_values / whole + work.inner_values / plan.tp + work.routed_values / whole
    cast_forward, cast_backward = cast_bytes(work, tokens, plan)
    expanded = 0.0
    if plan.dequantized:
        # 4 bits read and 16 written for each frozen weight, forward and backward
        expanded = 2.5 * (work.dense_parameters + work.expert_parameters) / plan.tp / move
    head_products, head_streaming = head_times(work, tokens, plan, hardware)
    return RawTimes(
        products_forward=products_forward, products_backward=products_backward,
        experts_forward=experts_forward, experts_backward=experts_backward,
        attention_forward=attention_forward, attention_backward=attention_backward,
        streaming_forward=2 * tokens * values / move + expanded,
        casts_forward=cast_forward / move, casts_backward=cast_backward / move,
        head_products=head_products, head_streaming=head_streaming,
        kernels=work.kernels + where(plan.tp > 1, work.reductions, 0),
        eight_bit=float(plan.eight_bit), eager=float(plan.eager_attention),
        modern=float(hardware.modern), flops_per_watt=hardware.flops_per_watt, domain=float(hardware.domain),
        routed_layers=sum(e.count for e in work.experts),
        optimizer=optimizer_seconds(work, plan, move),
        **traffic(work, tokens, plan, hardware),
    )  # fmt: skip


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
    offload: Column = 0.0

    def seconds(self) -> Column:
        """Return the whole step [s]."""
        total: Column = 0.0
        for name in self.__slots__:
            total = total + getattr(self, name)
        return total


@dataclass(frozen=True, slots=True)
class _Once:
    """Compute of one micro-batch, the whole depth of the model, and the head apart [s]."""

    matmul: Column
    attention: Column
    memory: Column
    again: Column
    head_matmul: Column
    head_memory: Column

    def layers(self) -> Column:
        """Return the seconds of all layers."""
        return self.matmul + self.attention + self.memory + self.again

    def head(self) -> Column:
        """Return the seconds of head and loss."""
        return self.head_matmul + self.head_memory


def _one_micro_batch(raw: RawTimes, plan: StepPlan, traits: Traits | Any, c: Coefficients | Any) -> _Once:
    """Return the compute of one micro-batch at the speed that training sustains, recomputation apart."""
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
    return _Once(
        matmul_forward + matmul_backward, attention_forward + attention_backward, memory_forward + memory_backward,
        again, head_matmul, head_memory,
    )  # fmt: skip


def _slowest_stage(once: _Once, layers: Column, plan: StepPlan) -> tuple[Column, Column]:
    """Return which share of the layers, and of the head, the slowest pipeline stage computes.

    Layers that divide evenly are spread evenly, and the last stage has the head on top. Where they do not, embedding
    and head take the place of a layer, so that the stage with the head holds one less.
    """
    chunks = plan.pp * plan.vpp
    depth = ceil_div(layers, chunks) * plan.vpp / layers
    two_tables = 2
    last = (ceil_div(layers + two_tables, chunks) * plan.vpp - 1) / layers
    beyond = (last - depth) * once.layers() + once.head()
    return depth, where(layers % chunks == 0, 1.0, maximum(0.0, beyond) / once.head())


def step_parts(
    raw: RawTimes, work: StepWork, plan: StepPlan, *, traits: Traits | Any, coefficients: Coefficients | Any
) -> StepParts:
    """Return the parts of one step: micro-batches of the slowest stage, then what does not repeat with them.

    The pipeline bubble is (p - 1) / v micro-batches of a mean stage ([narayanan2021] section 2.2).
    """
    c = coefficients
    once = _one_micro_batch(raw, plan, traits, c)
    depth, head_share = _slowest_stage(once, work.layers, plan)
    matmul, attention = depth * once.matmul + head_share * once.head_matmul, depth * once.attention
    memory, recompute = depth * once.memory + head_share * once.head_memory, depth * once.again
    half = 0.5
    passes = 3 + plan.recompute_full + half * plan.recompute_half
    launches = depth * raw.kernels * passes
    busy = matmul + attention + memory + recompute
    routing = c.host_routed_seconds * depth * raw.routed_layers * passes
    # hosts of cards from 2022 on are faster
    host_speed = 1 - raw.modern * (1 - c.host_modern)
    waiting = (1 - traits.graphs) * host_speed * (c.host_seconds * launches + routing)
    # network of one micro-batch
    tensor = depth * raw.tensor.seconds(c.network) * (2 + plan.recompute_full)
    tensor = tensor * (1 - traits.overlaps_tensor * c.hidden_tensor)
    context = depth * raw.context.seconds(c.network) * (3 if plan.cp_all_to_all else 2)
    exposed_context = context if plan.cp_all_to_all else maximum(0.0, context - c.hidden_data * attention)
    expert = depth * raw.expert_exchange.seconds(c.network) * (2 + plan.recompute_full)
    expert = expert * (1 - traits.overlaps_experts * c.hidden_experts)
    send = where(plan.pp > 1, 2 * plan.vpp * raw.stage.seconds(c.network), 0.0)
    running = busy + tensor + exposed_context + expert
    # the card waits for the host, computing and communicating alike; the slower one decides, with a soft corner
    sharp = 4
    host = power(power(running, sharp) + power(waiting, sharp), 1 / sharp) - running
    slow = running + host + send
    data, beside = _exposed_data(raw, plan, traits, c, slow * plan.micro_batches, slow, work.layers)
    mean = slow - busy + (once.layers() + once.head()) / plan.pp
    bubble = _bubble(mean, once, plan, depth)
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
    ranks = plan.tp * plan.pp * plan.cp * plan.dp
    # the cards of one fast domain keep step; what differs is the nodes, their networks and hosts
    doublings = logarithm(maximum(1.0, ranks / raw.domain)) / logarithm(two)
    return StepParts(**parts, stragglers=c.straggle * doublings * whole)


def _bubble(mean: Column, once: _Once, plan: StepPlan, depth: Column) -> Column:
    """Return the seconds that a rank waits for others: (p - 1) / v micro-batches, less where work fills the gap.

    Weight gradients are a third of the products; of attention five sevenths are backward, of small kernels two thirds.

    Source: [narayanan2021] section 2.2, [zero_bubble] Table 2, [deepseek_v3] Table 2
    """
    weights = where(plan.frozen, 0.0, (depth * once.matmul + once.head_matmul / plan.pp) / 3)
    inputs = depth * (once.matmul / 3 + once.attention * 5 / 7 + once.memory * 2 / 3)
    waits = mean + plan.bubble_input_gradients * inputs - plan.bubble_weight_gradients * weights
    return maximum(0.0, plan.pp * plan.depth_share - 1) / plan.vpp * maximum(0.0, waits)


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
    # interleaved chunks finish one after the other, each with its last micro-batches in flight
    window = slow * where(plan.vpp > 1, minimum(plan.pp, plan.micro_batches), 1)
    beside = where(plan.gathers > 0, work_seconds, window) * c.hidden_data * traits.overlaps_data
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
