"""From live tensors to the allocator's pool to what the driver counts: fragmentation, workspaces, context, channels.

The coefficients are few and learned (``fitted/training_memory.json``); each stands for one physical thing.
"""

from __future__ import annotations

from dataclasses import dataclass

from sizeup.machine.gpus import Gpu
from sizeup.physics.numeric import Column, maximum, minimum, where
from sizeup.physics.training_ranks import IDLE, Columns, Moment

STEADY_PARTS = frozenset(
    {"weights", "master weights", "optimizer states", "adapters", "quantized weight copies", "pipeline buffers"}
)
"""Parts that are allocated once, in large pieces, and do not fragment the pool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coefficients:
    """What is learned, with its physical meaning.

    Attributes:
        fragmentation: bytes of the pool that lie unused for each live byte that comes and goes.
        compiled_fragmentation: the same where torch.compile plans the buffers of each layer.
        idle: share of large blocks of other moments (late gradients, flat fp32 gradients) that stay in the pool.
        channel_bytes: buffers of one communicator on one rank [bytes].
        context_bytes: CUDA context with its modules and libraries [bytes].
        device_spread: standard deviation of log(measured / predicted) of the device meter.
    """

    fragmentation: float = 0.08
    compiled_fragmentation: float = 0.04
    idle: float = 0.8
    channel_bytes: float = 0.5 * 2**30
    context_bytes: float = 0.6 * 2**30
    device_spread: float = 0.1


def fragmented_bytes(moment: Moment, *, share: float, idle: float) -> Column:
    """Return what the caching allocator holds beyond live tensors [bytes].

    A share of the tensors that come and go, and the large blocks that other moments of the step need.
    """
    moving: Column = 0
    for name, part in moment.items():
        if name not in STEADY_PARTS and name != IDLE:
            moving = moving + part
    return moving * share + moment.get(IDLE, 0) * idle


def workspace_bytes(gpu: Gpu) -> int:
    """Return the cuBLAS workspace that PyTorch allocates for one stream [bytes]: 32 MiB from Hopper on, about 8 before.

    Source: [pytorch_cublas]
    """
    mebibyte = 2**20
    major = gpu.compute_capability.partition(".")[0]
    capability = int(major) if major.isdigit() else 0
    return (32 if capability >= 9 else 8) * mebibyte


def communicators(columns: Columns) -> Column:
    """Return how many communicators a rank opens.

    One for each axis that it is on and one of all ranks. A pipeline adds the pairs with the previous and the next stage
    (sends and receives open one each) and the group of the tied or replicated tables; tensor and pipeline ranks
    together form one more, for norms of gradients.

    Source: [pytorch_nccl]
    """
    count: Column = 0
    for ways in (columns.tp, columns.cp, columns.dp, columns.ep):
        count = count + where(ways > 1, 1, 0)
    pairs_and_tables = 3
    count = count + where(columns.pp > 1, pairs_and_tables, 0) + where((columns.tp > 1) & (columns.pp > 1), 1, 0)
    return count + where(count > 1, 1, 0)


def within_card(pool: Column, *, live: Column, outside: Column, capacity: Column) -> Column:
    """Return the pool as the card allows it [bytes]: short of memory, the allocator hands unused blocks back.

    Never less than the live tensors, so a plan that does not fit still shows by how much.
    """
    return maximum(live, minimum(pool, capacity - outside))


def driver_bytes(columns: Columns, *, coefficients: Coefficients) -> Column:
    """Return what nvidia-smi counts beside the allocator's pool [bytes]: context and communication channels."""
    return coefficients.context_bytes + communicators(columns) * coefficients.channel_bytes
