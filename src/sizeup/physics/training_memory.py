"""Peak memory of training, by three meters: live tensors, the allocator's pool, and what the driver counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sizeup.estimate import Estimate, leaf, total
from sizeup.llm.architecture import Architecture
from sizeup.machine.gpus import Gpu
from sizeup.physics.meters import (
    Coefficients,
    communicators,
    driver_bytes,
    fragmented_bytes,
    within_card,
    workspace_bytes,
)
from sizeup.physics.numeric import Column, maximum, where
from sizeup.physics.training_facts import TrainingFacts, training_facts
from sizeup.physics.training_ranks import IDLE, Columns, Moment, allocated, held_weights, in_flight, moments
from sizeup.plan.pipelines import pipeline
from sizeup.plan.training import TrainingPlan

ZERO_STAGES = {"none": 0, "zero1": 1, "zero2": 2, "zero3": 3, "fsdp": 3, "hsdp": 3}
"""Which ZeRO stage each word for sharding is ([zero] section 5; FSDP shards as stage 3, HSDP within a group)."""

PART_FORMULAS = {
    "weights": ("weights of the rank x bytes, / shards under ZeRO-3", ("zero",)),
    "master weights": ("fp32 copy: 4 x weights / shards from ZeRO-1 on", ("zero", "mixed_precision")),
    "optimizer states": ("state bytes x weights / shards from ZeRO-1 on", ("zero",)),
    "gradients": ("gradient bytes x weights, / shards from ZeRO-2 on", ("zero",)),
    "activations": ("tensors kept for backward x tokens x micro-batches in flight", ("korthikanti2022",)),
    "recomputed layer": ("all tensors of one layer, made again", ("korthikanti2022",)),
    "logits and loss": ("tokens x vocabulary / tp x bytes of logits, their fp32 copy and gradients", ()),
    "gathered weights": ("units gathered from all shards", ("fsdp",)),
    "adapters": ("rank x (inputs + outputs) of each target", ("lora",)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingMemory:
    """The peak on the worst rank by meter, and where and when it happens (of the live tensors)."""

    allocated: Estimate
    reserved: Estimate
    device: Estimate
    stage: int
    stages: int
    moment: str

    @property
    def needed_bytes(self) -> float:
        """What the run cannot do without, see :attr:`PeakBytes.needed` [bytes]."""
        return float(self.allocated.value) + float(self.device.value) - float(self.reserved.value)

    def meter(self, name: str) -> Estimate:
        """Return the estimate of a meter: allocated, reserved, or nvidia-smi (device)."""
        return {"allocated": self.allocated, "reserved": self.reserved}.get(name, self.device)


@dataclass(frozen=True, slots=True, kw_only=True)
class PeakBytes:
    """The peak of each layout by meter [bytes]; numbers or columns."""

    allocated: Column
    reserved: Column
    device: Column

    @property
    def needed(self) -> Column:
        """What a run cannot do without: live tensors and what lies outside the allocator's pool.

        Before it gives up, the allocator hands unused blocks back, so fragmentation alone seldom ends a run.
        """
        return self.allocated + self.device - self.reserved


def columns_of(plan: TrainingPlan) -> Columns:
    """Return the layout and the batch of one plan as plain numbers."""
    layout = plan.layout
    return Columns(
        sequence_length=plan.sequence_length,
        micro_batch=plan.micro_batch,
        micro_batches=plan.micro_batches,
        tp=layout.tp,
        pp=layout.pp,
        vpp=layout.vpp,
        cp=layout.cp,
        ep=layout.ep,
        etp=layout.etp,
        dp=layout.dp,
        zero=ZERO_STAGES[layout.sharding],
        shard=layout.shard_group or layout.dp * layout.cp,
        sequence_parallel=int(layout.sequence_parallel),
        offload_optimizer=int(plan.offload_optimizer),
        offload_parameters=int(plan.offload_parameters),
        pipeline=pipeline(plan.schedule),
    )


def worst_stages(columns: Columns) -> tuple[Column, Column, Column]:
    """Return the pipeline ranks that can be worst: the first, the second (full of layers), the last."""
    return 0, where(columns.pp > 2, 1, 0), columns.pp - 1


def peak_bytes(
    facts: TrainingFacts, columns: Columns, gpu: Gpu, *, coefficients: Coefficients, compiled: bool = False
) -> PeakBytes:
    """Return the peak over stages and moments of every layout at once; the same formulas as for one plan."""
    share = fragmentation_share(coefficients, compiled=compiled)
    live: Column = 0
    pool: Column = 0
    for stage in worst_stages(columns):
        for moment in moments(facts, columns, stage=stage).values():
            bytes_now = allocated(moment)
            live = maximum(live, bytes_now)
            pool = maximum(pool, bytes_now + fragmented_bytes(moment, share=share, idle=coefficients.idle))
    workspace = workspace_bytes(gpu)
    outside = driver_bytes(columns, coefficients=coefficients)
    reserved = within_card(pool + workspace, live=live + workspace, outside=outside, capacity=gpu.memory_bytes)
    device = reserved + outside
    return PeakBytes(allocated=live + workspace, reserved=reserved, device=device)


def fragmentation_share(coefficients: Coefficients, *, compiled: bool) -> float:
    """Return unused pool bytes for each live byte that comes and goes."""
    return coefficients.compiled_fragmentation if compiled else coefficients.fragmentation


def training_memory(
    architecture: Architecture,
    plan: TrainingPlan,
    gpu: Gpu,
    *,
    coefficients: Coefficients,
    rank: str = "max",
) -> TrainingMemory:
    """Return the peak memory of ``plan`` as trees, on its worst rank (``rank`` "last": on the last pipeline stage).

    Raises:
        UserError: unknown framework or optimizer.
    """
    known = coefficients
    facts, columns = training_facts(architecture, plan), columns_of(plan)
    stages = (columns.pp - 1,) if rank == "last" else sorted({int(stage) for stage in worst_stages(columns)})
    found = [(stage, name, moment) for stage in stages for name, moment in moments(facts, columns, stage=stage).items()]
    share = fragmentation_share(known, compiled=bool(plan.compile))
    live = max(found, key=lambda item: allocated(item[2]))
    outside = float(driver_bytes(columns, coefficients=known))
    room = gpu.memory_bytes - outside - workspace_bytes(gpu)

    def reserved_bytes(moment: Moment) -> float:
        live_bytes = float(allocated(moment))
        loose = float(fragmented_bytes(moment, share=share, idle=known.idle))
        return float(within_card(live_bytes + loose, live=live_bytes, outside=0, capacity=room))

    pool = max(found, key=lambda item: reserved_bytes(item[2]))
    setting = _Setting(
        gpu=gpu, stages=columns.pp,
        inputs={stage: _inputs(facts, columns, stage) for stage in {live[0], pool[0]}},
    )  # fmt: skip
    reserved = _reserved(pool, setting, share=share, idle=known.idle, room=gpu.memory_bytes - outside)
    return TrainingMemory(
        allocated=replace(_tree("allocated", live, setting), assumptions=plan.assumptions),
        reserved=reserved,
        device=replace(_device(reserved, columns, coefficients=known), assumptions=plan.assumptions),
        stage=live[0],
        stages=columns.pp,
        moment=live[1],
    )


def _inputs(facts: TrainingFacts, columns: Columns, stage: int) -> dict[str, dict[str, float]]:
    """Return the numbers that go into each part of a rank's memory."""
    held, split = held_weights(facts, stage=stage, columns=columns), columns.split
    own = held.sharded(columns) if columns.zero else held.total
    gathered = columns.zero >= ZERO_STAGES["zero3"]
    owned = {"weights of the rank": float(held.total), "updated here": float(own)}
    flying = float(in_flight(stage=stage, columns=columns))
    adapters = facts.adapter_before[-1] / columns.pp
    frozen = {"weights of the rank": float(held.total), "bytes each": facts.frozen_bytes}
    whole = {"weights": float(own if gathered else held.total), "bytes each": facts.resident_bytes}
    return {
        "weights": whole if facts.trains_all else frozen,
        "master weights": {**owned, "bytes each": facts.master_bytes},
        "optimizer states": {**(owned if facts.trains_all else {"weights": adapters}), "bytes each": facts.state_bytes},
        "gradients": {**owned, "bytes each": facts.gradient_bytes} if facts.trains_all else {"weights": adapters},
        "adapters": {"weights": adapters, "bytes each": facts.adapter_bytes},
        "activations": {"tokens": float(split.tokens), "micro-batches in flight": flying},
        "logits and loss": {
            "tokens": float(split.tokens), "vocabulary": facts.vocabulary, "tp": columns.tp,
            "bytes each": facts.logit_peak_bytes,
        },
    }  # fmt: skip


def _parts(moment: Moment, gpu: Gpu, inputs: Mapping[str, Mapping[str, float]]) -> list[Estimate]:
    parts = []
    for name, value in moment.items():
        if name == IDLE:
            continue
        formula, sources = PART_FORMULAS.get(name, ("", ()))
        numbers = inputs.get(name, {})
        parts.append(leaf(name, float(value), "bytes", formula=formula, sources=sources, inputs=numbers))
    return [*parts, leaf("library workspace", workspace_bytes(gpu), "bytes", sources=("pytorch_cublas",))]


def _where(item: tuple[int, str, Moment], stages: int) -> str:
    place = f"pipeline stage {item[0]} of {stages}" if stages > 1 else "every rank"
    return f"live tensors at the worst moment ({item[1]}) of the worst rank ({place})"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Setting:
    """What a tree says beside its numbers: where it is, and what each part is made of."""

    gpu: Gpu
    stages: int
    inputs: Mapping[int, Mapping[str, Mapping[str, float]]]


def _tree(name: str, item: tuple[int, str, Moment], setting: _Setting) -> Estimate:
    parts = _parts(item[2], setting.gpu, setting.inputs[item[0]])
    place = _where(item, setting.stages)
    return total(name, parts, unit="bytes", formula=place)


def _reserved(item: tuple[int, str, Moment], setting: _Setting, *, share: float, idle: float, room: float) -> Estimate:
    live = _tree("live tensors", item, setting)
    loose = float(fragmented_bytes(item[2], share=share, idle=idle))
    kept = within_card(live.value + loose, live=live.value, outside=0, capacity=room) - live.value
    unused = leaf(
        "allocator fragmentation",
        kept,
        "bytes",
        formula="share x tensors that come and go + idle x large blocks of other moments, as far as the card has room",
        inputs={"share": share, "idle": idle},
        sources=("fitted_training_memory",),
    )
    return total("reserved", [live, unused], unit="bytes")


def _device(reserved: Estimate, columns: Columns, *, coefficients: Coefficients) -> Estimate:
    count = int(communicators(columns))
    context = leaf("CUDA context", coefficients.context_bytes, "bytes", sources=("fitted_training_memory",))
    channels = leaf(
        "communication channels",
        float(count * coefficients.channel_bytes),
        "bytes",
        formula="communicators x bytes of one",
        inputs={"communicators": count, "bytes of one": coefficients.channel_bytes},
        sources=("fitted_training_memory",),
    )
    return total("device", [reserved, context, channels], unit="bytes")
