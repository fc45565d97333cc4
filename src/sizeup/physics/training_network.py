"""Seconds of the collectives of a training step over the topology: inside the fast domain and between nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sizeup.physics import collectives as net
from sizeup.physics.collectives import Link
from sizeup.physics.numeric import Column, ceil_div, maximum, minimum, where
from sizeup.physics.training_inputs import Hardware, StepPlan
from sizeup.physics.training_operators import rank_parameters
from sizeup.physics.training_work import StepWork


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


def traffic(work: StepWork, tokens: Column, plan: StepPlan, hardware: Hardware) -> dict[str, Traffic]:
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
            token_bytes=2 * tokens * group.hidden / share * plan.expert_load, top_k=group.top_k, ranks=plan.ep,
            stride=1, hardware=hardware,
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
