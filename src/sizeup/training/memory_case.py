"""Predict the memory of one measured training case, and whether it fits: what evidence and fitting call."""

from __future__ import annotations

import math
from collections.abc import Mapping

from sizeup.fitted.training_memory import shipped_coefficients
from sizeup.llm.architecture import Architecture
from sizeup.machine.gpus import Gpu
from sizeup.physics.meters import Coefficients
from sizeup.physics.training_memory import TrainingMemory, training_memory
from sizeup.plan.from_case import training_plan
from sizeup.plan.training import TrainingPlan


def plan_of_case(row: Mapping[str, str], architecture: Architecture) -> TrainingPlan:
    """Return the plan of a row; its model tells LoRA targets from a trainable count.

    Raises:
        UserError: the row leaves open what no assumption can fill.
    """
    matrices: dict[str, int] = {}
    for layer, count in architecture.distinct_layers():
        for tensor in layer.tensors:
            if tensor.kind == "linear" and tensor.part != "experts":
                matrices[tensor.use] = matrices.get(tensor.use, 0) + count * sum(tensor.shape[-2:])
    return training_plan(row, matrices=matrices)


def case_memory(
    row: Mapping[str, str], architecture: Architecture, gpu: Gpu, *, coefficients: Coefficients
) -> TrainingMemory:
    """Return the memory of a row, on the ranks over which it was measured.

    Raises:
        UserError: the row leaves open what no assumption can fill.
    """
    rank = "last" if row.get("mem_rank") == "last" else "max"
    return training_memory(architecture, plan_of_case(row, architecture), gpu, coefficients=coefficients, rank=rank)


def out_of_memory_probability(device_bytes: float, *, capacity_bytes: float, spread: float) -> float:
    """Return the probability that a run needs more than the card has, when log(needed) is normal around the estimate.

    >>> out_of_memory_probability(80e9, capacity_bytes=80e9, spread=0.1)
    0.5
    """
    if capacity_bytes <= 0 or device_bytes <= 0:
        return 1.0 if capacity_bytes <= 0 else 0.0
    # the distance in standard deviations of a two-sided normal law
    distance = math.log(device_bytes / capacity_bytes) / (spread * math.sqrt(2))
    return (1 + math.erf(distance)) / 2


def needed_bytes(memory: TrainingMemory) -> float:
    """Return what a run cannot do without [bytes]: live tensors and what lies outside the allocator's pool.

    Before it gives up, the allocator hands unused blocks back, so fragmentation alone seldom ends a run.
    """
    outside = float(memory.device.value) - float(memory.reserved.value)
    return float(memory.allocated.value) + outside


def predict_memory(
    row: Mapping[str, str], architecture: Architecture, gpu: Gpu, *, left_out: str | None = None
) -> tuple[dict[str, float], float, tuple[str, ...]]:
    """Return the predicted peak [bytes] by meter, the probability of running out of memory, and what was assumed.

    Raises:
        UserError: the row leaves open what no assumption can fill.
    """
    known = shipped_coefficients(without=left_out)
    memory = case_memory(row, architecture, gpu, coefficients=known)
    meters = {name: float(memory.meter(name).value) for name in ("allocated", "reserved", "nvidia-smi")}
    chance = out_of_memory_probability(
        needed_bytes(memory), capacity_bytes=gpu.memory_bytes, spread=known.device_spread
    )
    return meters, chance, memory.allocated.assumptions
