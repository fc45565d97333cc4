"""Memory of one GPU against requests in flight and against context: what the cache needs and where its pool ends."""

from __future__ import annotations

import math
from typing import Any

from sizeup.engine_cache import longest_sequence, sequence_bytes
from sizeup.serving.memory import ServingMemory
from sizeup.serving.results import ServingAnswer
from sizeup.sweep import Sweep, reach, spread

MOST_REQUESTS = 2**20
"""Requests beyond which nobody asks."""


def beside_cache_bytes(memory: ServingMemory) -> float:
    """Return what a GPU holds beside the cache of requests [bytes]: weights, activations, graphs, other, states."""
    kept = sum(memory.part(name) for name in ("weights", "activations", "graphs", "other"))
    if memory.limits.engine.budget in ("context", "grows"):
        return kept
    return kept + memory.part("cache") - max(0.0, memory.pool_bytes)


def concurrency_sweep(answer: ServingAnswer) -> Sweep:
    """Return the memory of one GPU against requests of the load's length in flight over all replicas."""
    memory, length = answer.memory, answer.load.longest
    beside, each = beside_cache_bytes(memory), sequence_bytes(memory.kinds, length, memory.rules)
    most = memory.max_concurrency(length) if each else MOST_REQUESTS
    asked = in_flight(answer)
    xs = spread(max(reach(largest=most, at=asked, most=MOST_REQUESTS), 4), extra=(asked, most))
    return Sweep(
        what="requests in flight", unit="requests", name="", at=asked, largest=most, most=MOST_REQUESTS,
        points=tuple((x, beside + each * x / memory.replicas) for x in xs),
        held=f"{length:,} tokens each",
        **_limit(answer, beside),
    )  # fmt: skip


def context_sweep(answer: ServingAnswer) -> Sweep:
    """Return the memory of one GPU against the length of every request in flight, up to what the model was made for."""
    memory = answer.memory
    beside, share = beside_cache_bytes(memory), math.ceil(in_flight(answer) / memory.replicas)
    longest = longest_sequence(memory.kinds, memory.pool_bytes / share, memory.rules, most=memory.most_tokens)
    asked = answer.load.longest
    xs = spread(reach(largest=longest, at=asked, most=memory.most_tokens), extra=(asked, longest))
    return Sweep(
        what="tokens per request", unit="tokens", name="", at=asked, largest=longest, most=memory.most_tokens,
        points=tuple((x, beside + share * sequence_bytes(memory.kinds, x, memory.rules)) for x in xs),
        held=f"{in_flight(answer):,} in flight",
        **_limit(answer, beside),
    )  # fmt: skip


def in_flight(answer: ServingAnswer) -> int:
    """Return the requests in flight of the load, rounded up; 1 at an open loop that cannot be met."""
    if answer.load.kind == "open":
        return max(1, math.ceil(answer.speed.in_flight)) if answer.speed else 1
    return answer.load.concurrency


def _limit(answer: ServingAnswer, beside: float) -> dict[str, Any]:
    memory, capacity = answer.memory, float(answer.memory.device.value)
    limit = beside + memory.pool_bytes
    words = f"{memory.limits.engine.title}'s budget"
    whole = capacity if limit < 0.995 * capacity else None
    return {
        "limit": words if whole else "the card", "limit_bytes": limit, "capacity_bytes": whole,
        "base_bytes": beside, "base": "weights and the rest", "grows": "cache",
    }  # fmt: skip
