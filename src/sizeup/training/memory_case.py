"""Predict the memory of one measured training case, and whether it fits: what evidence and fitting call."""

from __future__ import annotations

import math

from sizeup.fitted.training_memory import shipped_coefficients
from sizeup.llm.architecture import Architecture
from sizeup.machine.gpus import Gpu
from sizeup.physics.training_memory import training_memory
from sizeup.plan.training import TrainingPlan


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


def predict_memory(
    plan: TrainingPlan, architecture: Architecture, gpu: Gpu, *, rank: str = "max", left_out: str | None = None
) -> tuple[dict[str, float], float]:
    """Return the predicted peak [bytes] by meter, and the probability of running out of memory.

    Raises:
        UserError: unknown optimizer or targets of adapters.
    """
    known = shipped_coefficients(without=left_out)
    memory = training_memory(architecture, plan, gpu, coefficients=known, rank=rank)
    meters = {name: float(memory.meter(name).value) for name in ("allocated", "reserved", "nvidia-smi")}
    chance = out_of_memory_probability(memory.needed_bytes, capacity_bytes=gpu.memory_bytes, spread=known.device_spread)
    return meters, chance
