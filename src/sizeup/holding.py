"""What holds so many bytes: the smallest card, the fewest of a common card, the cheapest instance.

Weights and cache fit a card when they take no more than one stated share of it (:data:`USABLE_SHARE`).
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

from sizeup.llm.formats import weight_formats
from sizeup.machine import cheapest_instances, list_gpus

if TYPE_CHECKING:
    from sizeup.llm.architecture import Architecture
    from sizeup.machine import Cluster, Gpu, Instance
    from sizeup.sizing import Model

USABLE_SHARE = 0.9
"""Share of a GPU's memory taken for weights and cache; the rest is for activations and the runtime.
vLLM's default ``gpu_memory_utilization`` ([vllm_engine_args])."""

COMMON_GPU = "h100-sxm5-80gb"
"""The card that is counted where one is not enough."""


def usable_bytes(memory_bytes: int) -> int:
    """Return the bytes of a card's memory that weights and cache may take."""
    return int(memory_bytes * USABLE_SHARE)


def divides(model: Model, gpus: int) -> bool:
    """Return whether a model can be spread over ``gpus``: tensor parallelism divides its heads, pipeline its layers."""
    if gpus == 1 or not model.has_layers or model.architecture is None:
        return True
    heads, layers = shared_heads(model.architecture), len(model.architecture.layers)
    return any(
        heads % tensor == 0 and layers * tensor % gpus == 0 for tensor in range(1, gpus + 1) if gpus % tensor == 0
    )


def shared_heads(architecture: Architecture) -> int:
    """Return what the head counts of all layers have in common; sparse indexes and undivided states do not count."""
    mixers = [mixer for layer, _ in architecture.distinct_layers() for mixer in layer.mixers]
    return math.gcd(*(m.heads for m in mixers if m.value_dim and (m.kind == "attention" or m.heads > 1))) or 1


def gpus_used(model: Model, cluster: Cluster) -> int:
    """Return how many of the cluster's GPUs the model can be spread over evenly."""
    return next(count for count in range(cluster.gpus, 0, -1) if divides(model, count))


def fewest_gpus(model: Model, need_bytes: int, gpu: Gpu, *, most: int = 1024) -> int | None:
    """Return the fewest GPUs, up to ``most``, that hold ``need_bytes`` and divide the model; beyond one machine, whole
    machines only.
    """
    start = max(1, math.ceil(need_bytes / usable_bytes(gpu.memory_bytes)))
    whole = gpu.gpus_per_node
    counts = (count for count in range(start, most + 1) if count <= whole or count % whole == 0)
    return next((count for count in counts if divides(model, count)), None)


LEAST_CAPABILITY = 7.5
"""Least NVIDIA compute capability that the common engines still support ([vllm_gpu])."""


def runs(gpu: Gpu, format: str) -> bool:
    """Return whether a card has hardware for the format's products and is supported by today's engines.

    Formats whose weights are unpacked before the product (GGUF, 4-bit integers, NF4) run on any such card.
    """
    known = weight_formats().get(format)
    needed = max(LEAST_CAPABILITY, known.compute_capability if known else 0.0)
    return bool(gpu.compute_capability) and float(gpu.compute_capability) >= needed


@functools.cache
def _cards() -> dict[str, Gpu]:
    return {row.gpu.key: row.gpu for row in list_gpus()}


def common_gpu() -> Gpu:
    """Return the card that is counted where one is not enough."""
    return _cards()[COMMON_GPU]


@functools.cache
def _offered_gpus() -> tuple[Gpu, ...]:
    cards = [
        gpu
        for gpu in _cards().values()
        if gpu.vendor == "nvidia" and not gpu.legacy and not gpu.is_unverified("memory_bytes")
    ]
    return tuple(sorted(cards, key=lambda gpu: (gpu.memory_bytes, -gpu.year, gpu.key)))


def smallest_gpu(need_bytes: int, format: str) -> Gpu | None:
    """Return the current NVIDIA card with the least memory that holds ``need_bytes`` alone and runs the format."""
    return next(
        (gpu for gpu in _offered_gpus() if usable_bytes(gpu.memory_bytes) >= need_bytes and runs(gpu, format)), None
    )


@functools.cache
def _offered_instances() -> tuple[tuple[Instance, Gpu], ...]:
    return tuple((instance, _cards()[instance.gpu_key]) for instance in cheapest_instances(0))


def cheapest_holding(model: Model, need_bytes: int, format: str) -> Instance | None:
    """Return the cheapest dated offer whose cards hold ``need_bytes``, divide the model and run the format."""
    return next(
        (
            instance
            for instance, gpu in _offered_instances()
            if usable_bytes(instance.usable_gpu_memory_bytes) * instance.gpus >= need_bytes
            and divides(model, instance.gpus)
            and (gpu.vendor != "nvidia" or runs(gpu, format))
        ),
        None,
    )
