"""Training answered: (model, cluster, plan or none) to memory, step time, totals and alternatives, with bands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sizeup.errors import UserError
from sizeup.estimate import Band, Estimate, leaf
from sizeup.evidence.bands import band
from sizeup.fitted.kernels import curves_for
from sizeup.fitted.training_memory import shipped_coefficients
from sizeup.llm.architecture import Architecture
from sizeup.machine import Cluster, Instance, list_instances
from sizeup.physics.training_memory import TrainingMemory, training_memory
from sizeup.plan.training import Adapter, Layout, Precision, TrainingPlan
from sizeup.training.memory_case import out_of_memory_probability
from sizeup.training.step import PART_NAMES, hardware_flops_of, model_flops_of, step_time
from sizeup.units import KILO, SECONDS_PER_DAY, SECONDS_PER_HOUR

FINE_TUNING = ("full", "lora", "qlora")
USUAL_BATCH_TOKENS = 4 * 2**20
"""Tokens of one step of pre-training where nobody says: 4M, as Llama 2 ([llama2] section 2.2)."""
USUAL_SEQUENCE = 4096
LLAMA3_GPU_HOURS_PER_FAILURE = 54 * 24 * 16384 / 419
"""419 unexpected interruptions in 54 days on 16,384 GPUs ([llama3] section 3.3.4)."""
RESTART_SECONDS = 900.0
CHECKPOINT_INTERVAL_SECONDS = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """A whole run: tokens, optimizer steps, time with failures, GPU-hours, dollars and energy."""

    tokens: float
    steps: int
    days: float
    gpu_hours: float
    goodput: float
    usd: float | None
    instance: Instance | None
    kilowatt_hours: float | None
    days_band: Band | None
    assumptions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """Another plan: what it needs and takes, and why it is not the first."""

    plan: TrainingPlan
    device_bytes: float
    step_seconds: float | None
    tokens_per_second_per_gpu: float | None
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One step of the ladder: what to change, what memory it then needs, and what it costs in time (a factor)."""

    text: str
    device_bytes: float
    fits: bool
    slower: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Largest:
    """The largest sequence or micro-batch that fits."""

    what: str
    value: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingAnswer:
    """Everything ``sizeup train`` says about one model on one cluster."""

    name: str
    architecture: Architecture
    cluster: Cluster
    plan: TrainingPlan
    memory: TrainingMemory
    fit_probability: float
    step: Estimate
    tokens_per_second_per_gpu: Estimate
    mfu: float
    hfu: float
    ideal_seconds: float
    binds: str
    totals: Totals | None
    alternatives: tuple[Alternative, ...] = ()
    changes: tuple[Change, ...] = ()
    searched: int = 0
    fitting: int = 0
    largest: Largest | None = None
    offers: tuple[Any, ...] = ()
    assumptions: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether the plan more likely fits than not."""
        return self.fit_probability >= 0.5

    def explained(self) -> tuple[Estimate, ...]:
        """Return the estimates that ``--why`` explains."""
        return self.memory.device, self.memory.allocated, self.step, self.tokens_per_second_per_gpu


def base_plan(
    architecture: Architecture,
    cluster: Cluster,
    *,
    method: str = "pretrain",
    framework: str | None = None,
    sequence_length: int | None = None,
    global_batch: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> TrainingPlan:
    """Return a plan with everything but the layout decided; what nobody said is an assumption of the plan.

    ``options`` are further fields of the plan: precision, optimizer, attention, loss, compile, rank, base_quant.
    """
    notes: list[str] = []
    if sequence_length is None:
        sequence_length = min(architecture.max_positions or USUAL_SEQUENCE, USUAL_SEQUENCE)
        notes.append(f"sequence length: {sequence_length}")
    if framework is None:
        framework = "hf" if method in FINE_TUNING else "generic"
        notes.append(f"framework: {framework}")
    if global_batch is None:
        global_batch = _usual_batch(method, sequence_length, cluster.gpus, notes)
    chosen = dict(options or {})
    rank, quant = chosen.pop("rank", None), chosen.pop("base_quant", None)
    adapter = None
    if method in ("lora", "qlora"):
        adapter = Adapter(rank=rank or 16, base_quant=quant or ("nf4-dq" if method == "qlora" else None))
        notes += [] if rank else ["LoRA rank: 16 on all linear layers"]
    plan_method: Any = method
    precision = chosen.pop("precision", None) or _usual_precision(method, cluster, notes)
    return TrainingPlan(
        method=plan_method, framework=framework, sequence_length=sequence_length, global_batch=global_batch,
        adapter=adapter, precision=precision, layout=Layout(sequence_parallel=True), assumptions=tuple(notes), **chosen,
    )  # fmt: skip


def _usual_batch(method: str, sequence: int, gpus: int, notes: list[str]) -> int:
    if method in FINE_TUNING:
        notes.append("global batch: follows the micro-batch (no accumulation)")
        return gpus
    size = max(1, round(USUAL_BATCH_TOKENS / sequence / gpus)) * gpus
    notes.append(f"global batch: {size} sequences (about 4M tokens per step)")
    return size


def _usual_precision(method: str, cluster: Cluster, notes: list[str]) -> Precision:
    peaks = cluster.gpu.peak_flops_per_second
    if not peaks.get("bf16") and peaks.get("fp16"):
        notes.append(f"precision: fp16, because {cluster.gpu.name} has no bf16; fp32 master weights")
        return Precision(compute_dtype="fp16", grad_dtype="fp16")
    if method in ("lora", "qlora"):
        notes.append("precision: bf16 base")
        return Precision(compute_dtype="bf16", master_weights="bf16", grad_dtype="bf16")
    notes.append("precision: bf16 products, fp32 master weights and gradients")
    return Precision()


def fit_probability(device_bytes: float, cluster: Cluster) -> float:
    """Return the probability that a peak by the driver's count stays within one card."""
    spread = shipped_coefficients().device_spread
    return 1 - out_of_memory_probability(device_bytes, capacity_bytes=cluster.node.memory_bytes, spread=spread)


def _banded(estimate: Estimate, *, quantity: str, meter: str = "") -> Estimate:
    found = band(estimate.value, table="training", quantity=quantity, meter=meter)
    return estimate.with_band(found) if found else estimate


def ideal_seconds(architecture: Architecture, plan: TrainingPlan, cluster: Cluster) -> float:
    """Return the time of a step at the full peak of every card, nothing but the model's own products [s]."""
    peak = curves_for(cluster.gpu).peak(plan.precision.compute_dtype)
    return model_flops_of(architecture, plan) / (cluster.gpus * peak)


def answer(
    name: str,
    architecture: Architecture,
    cluster: Cluster,
    plan: TrainingPlan,
    *,
    tokens: float | None = None,
) -> TrainingAnswer:
    """Return the answer for one given plan.

    Raises:
        UserError: the plan does not fill the cluster, or something that it needs is not known.
    """
    if plan.layout.gpus != cluster.gpus:
        raise UserError(
            f"the layout uses {plan.layout.gpus} GPUs, the cluster has {cluster.gpus}",
            hint="tp x pp x cp x dp must be the number of GPUs",
        )
    memory = training_memory(architecture, plan, cluster.gpu, coefficients=shipped_coefficients())
    step = _banded(step_time(architecture, plan, cluster), quantity="step_seconds")
    seconds = float(step.value)
    per_gpu = plan.global_batch * plan.sequence_length / seconds / cluster.gpus
    rate = leaf(
        "tokens per second and GPU", per_gpu, "tokens/s", formula="global batch x sequence / step / GPUs",
        inputs={"global batch": plan.global_batch, "sequence": plan.sequence_length, "step": seconds},
    )  # fmt: skip
    ideal = ideal_seconds(architecture, plan, cluster)
    hardware = hardware_flops_of(architecture, plan) / model_flops_of(architecture, plan)
    device = _banded(memory.device, quantity="mem_gib", meter="nvidia-smi")
    memory = replace(
        memory, device=device, allocated=_banded(memory.allocated, quantity="mem_gib", meter="allocated"),
        reserved=_banded(memory.reserved, quantity="mem_gib", meter="reserved"),
    )  # fmt: skip
    return TrainingAnswer(
        name=name, architecture=architecture, cluster=cluster, plan=plan, memory=memory, step=step, ideal_seconds=ideal,
        fit_probability=fit_probability(float(device.value), cluster), mfu=ideal / seconds,
        tokens_per_second_per_gpu=_banded(rate, quantity="tokens_per_second_per_gpu"),
        hfu=hardware * ideal / seconds, binds=binds(memory, step, cluster),
        totals=totals(plan, cluster, step, tokens) if tokens else None,
        assumptions=(*plan.assumptions, *cluster.notes, *step.assumptions),
    )  # fmt: skip


def binds(memory: TrainingMemory, step: Estimate, cluster: Cluster) -> str:
    """Return what limits the run: memory where it does not fit, else the largest part of the step."""
    if memory.device.value > cluster.node.memory_bytes:
        largest = max((part for part in memory.allocated.parts), key=lambda part: part.value)
        return f"memory: {largest.name}"
    part = max(step.parts, key=lambda part: part.value)
    kind = {
        PART_NAMES["matmul"]: "compute", PART_NAMES["attention"]: "compute", PART_NAMES["recompute"]: "compute",
        PART_NAMES["memory_bound"]: "memory bandwidth", PART_NAMES["optimizer"]: "memory bandwidth",
        PART_NAMES["host"]: "the host", PART_NAMES["bubble"]: "the pipeline",
    }.get(part.name, "the network")  # fmt: skip
    return f"{kind}: {part.name}, {part.value / step.value:.0%} of the step"


def priced_instance(cluster: Cluster) -> Instance | None:
    """Return the machine that the cluster names, else the cheapest dated instance with enough of this card."""
    if cluster.node.instance:
        return cluster.node.instance
    found = list_instances(gpu=cluster.gpu.key, priced_only=True, min_gpus=cluster.node.gpus, sort="gpu-price")
    return found[0] if found else None


def totals(plan: TrainingPlan, cluster: Cluster, step: Estimate, tokens: float) -> Totals:
    """Return time, price and energy of a run over ``tokens``, failures and restarts included."""
    seconds = float(step.value)
    steps = -(-int(tokens) // (plan.global_batch * plan.sequence_length))
    failure_seconds = LLAMA3_GPU_HOURS_PER_FAILURE * SECONDS_PER_HOUR / cluster.gpus
    lost = RESTART_SECONDS + CHECKPOINT_INTERVAL_SECONDS / 2
    goodput = failure_seconds / (failure_seconds + lost)
    days = steps * seconds / goodput / SECONDS_PER_DAY
    gpu_hours = days * cluster.gpus * 24
    instance = priced_instance(cluster)
    price = instance.usd_per_gpu_hour if instance else None
    notes = [
        f"one failure per {LLAMA3_GPU_HOURS_PER_FAILURE:,.0f} GPU-hours, as Llama 3 on 16,384 H100 [llama3]; "
        f"each loses {lost / 60:.0f} min (restart 15, half of a 30-minute checkpoint interval)",
    ]
    watts = cluster.gpu.tdp_watts
    if watts:
        notes.append("energy: cards at their TDP; hosts, network and cooling are not counted")
    if instance:
        notes.append(f"price: {instance.cloud} {instance.name}, on demand, {instance.date}; storage and traffic extra")
    found = step.band
    return Totals(
        tokens=tokens, steps=steps, days=days, gpu_hours=gpu_hours, goodput=goodput,
        usd=None if price is None else price * gpu_hours, instance=instance,
        kilowatt_hours=watts / KILO * gpu_hours if watts else None,
        days_band=replace(found, low=days * found.low / seconds, high=days * found.high / seconds) if found else None,
        assumptions=tuple(notes),
    )  # fmt: skip
