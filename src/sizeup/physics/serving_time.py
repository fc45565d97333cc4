"""Seconds of one serving step: its operators under what an engine makes of the kernels, then the engine's overheads."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sizeup.physics.numeric import Column, maximum, power
from sizeup.physics.serving_operators import Operator, StepShape
from sizeup.physics.serving_work import ServingWork

LIMITS_JOIN = 4
"""The p of the p-norm that joins what the memory gives and what a kernel can ask for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """What an engine makes of the kernels: shares of the measured efficiency, and its own overheads [s].

    Attributes:
        compute, bandwidth, attention, network: share of the measured kernels' rates that the engine reaches in the
            compute and memory sides of products, in attention, and in collectives.
        stream_bytes_per_second: most that a product's kernel can ask for, whatever the memory gives: matrix-vector
            kernels that keep few loads in flight starve on HBM.
        floor: how much of a kernel's launch floor is left when a whole step is launched as one graph.
        layer_seconds: small kernels of one layer beside those counted.
        launch_seconds: host time of one kernel; the step lasts no less than all of them (0: launched as a graph).
        step_seconds: scheduling, sampling and bookkeeping of one step.
        sequence_seconds: the same for each sequence in a step.
        token_seconds: the same for each prompt token.
        request_seconds: from the arrival of a request to its first step and from its token to the reader.
    """

    compute: float = 1.0
    bandwidth: float = 1.0
    attention: float = 1.0
    network: float = 1.0
    stream_bytes_per_second: float = math.inf
    floor: float = 1.0
    layer_seconds: float = 0.0
    launch_seconds: float = 0.0
    step_seconds: float = 0.0
    sequence_seconds: float = 0.0
    token_seconds: float = 0.0
    request_seconds: float = 0.0


def operator_seconds(operator: Operator, speed: Speed) -> Column:
    """Return the time of all kernels of one operator under an engine's shares [s]: a p-norm of both sides.

    Source: [roofline]
    """
    shares = {"network": speed.network, "decode attention": speed.attention}
    # no engine moves more than the whole bandwidth or computes beyond the peak
    whole = math.inf if operator.kind == "network" else 1 / operator.memory_share
    memory = operator.memory_seconds / min(shares.get(operator.kind, speed.bandwidth), whole)
    asked = operator.streamed_bytes / speed.stream_bytes_per_second
    memory = power(power(memory, LIMITS_JOIN) + power(asked, LIMITS_JOIN), 1 / LIMITS_JOIN)
    slower = speed.attention if operator.kind == "prefill attention" else 1.0
    compute = operator.compute_seconds / min(speed.compute * slower, 1 / operator.compute_share)
    p = operator.sharpness
    joined = power(power(compute, p) + power(memory, p), 1 / p)
    return operator.count * (speed.floor * operator.floor_seconds + joined)


def step_seconds(
    found: tuple[Operator, ...], work: ServingWork, speed: Speed, shape: StepShape, *, pp: int = 1
) -> Column:
    """Return the time of one step [s]: the device's kernels or, if longer, the host's launches, + overheads."""
    device = sum(operator_seconds(operator, speed) for operator in found) + work.layers * speed.layer_seconds
    host = work.kernels * speed.launch_seconds
    overhead = speed.step_seconds + speed.sequence_seconds * shape.decodes / pp + speed.token_seconds * shape.chunk
    return maximum(device, host) + overhead


def step_parts(
    found: tuple[Operator, ...], work: ServingWork, speed: Speed, shape: StepShape, *, pp: int = 1
) -> dict[str, Column]:
    """Return the time of one step by kind of kernel and overhead [s]; they sum to :func:`step_seconds`."""
    parts: dict[str, Column] = {}
    for operator in found:
        parts[operator.kind] = parts.get(operator.kind, 0) + operator_seconds(operator, speed)
    small = work.layers * speed.layer_seconds
    device = sum(parts.values()) + small
    parts["small kernels"] = small
    parts["waiting for the host"] = maximum(work.kernels * speed.launch_seconds - device, 0)
    parts["scheduler"] = (
        speed.step_seconds + speed.sequence_seconds * shape.decodes / pp + speed.token_seconds * shape.chunk
    )
    return parts


def step_use(found: tuple[Operator, ...], seconds: Column) -> tuple[Column, Column]:
    """Return the shares of the dense peak and of the memory bandwidth that a step of ``seconds`` keeps busy."""
    device = [operator for operator in found if operator.kind != "network"]
    compute = sum(operator.count * operator.compute_seconds * operator.compute_share for operator in device)
    memory = sum(operator.count * operator.memory_seconds * operator.memory_share for operator in device)
    return compute / seconds, memory / seconds
