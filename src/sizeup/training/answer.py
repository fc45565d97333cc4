"""Training answered: (model, cluster, plan or none) to memory, step time, totals and alternatives, with bands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from sizeup.errors import UserError
from sizeup.estimate import Estimate, leaf, total
from sizeup.evidence.bands import band
from sizeup.evidence.likeness import training_likeness
from sizeup.fitted.kernels import curves_for
from sizeup.fitted.training_memory import shipped_coefficients
from sizeup.llm.architecture import Architecture
from sizeup.machine import Cluster
from sizeup.physics.offload import host_moment
from sizeup.physics.training_facts import kept_tensors, training_facts
from sizeup.physics.training_memory import TrainingMemory, columns_of, training_memory
from sizeup.plan.frameworks import framework
from sizeup.plan.optimizers import optimizer
from sizeup.plan.training import TrainingPlan
from sizeup.training.memory_case import out_of_memory_probability
from sizeup.training.step import (
    HOST_BYTES_PER_SECOND,
    PART_NAMES,
    hardware_flops_of,
    model_flops_of,
    regime_of,
    step_parts_of,
    step_time,
    work_of,
)
from sizeup.training.totals import RunTerms, Totals, priced_instance, totals
from sizeup.units import GIGA


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """Another plan: what it needs and takes, and why it is not the first."""

    plan: TrainingPlan
    device_bytes: float
    step_seconds: float | None
    tokens_per_second_per_gpu: float | None
    why: str
    days: float | None = None
    usd: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What to change, what memory it then needs and saves, and what it costs (a factor of the time per token)."""

    text: str
    device_bytes: float
    fits: bool
    slower: float | None
    saves_bytes: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Largest:
    """The largest sequence [tokens], micro-batch, LoRA rank or model [parameters, and its name] that fits."""

    what: str
    value: int
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingAnswer:
    """Everything ``sizeup train`` says about one model on one cluster.

    ``changes`` are the ladder of a plan that does not fit, ``improvements`` single changes that make one faster;
    ``fewest_gpus`` is on how many cards it would fit. ``unmet`` says which deadline or budget nothing meets.
    """

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
    host: Estimate | None
    host_capacity: int | None
    totals: Totals | None
    alternatives: tuple[Alternative, ...] = ()
    changes: tuple[Change, ...] = ()
    improvements: tuple[Change, ...] = ()
    fewest_gpus: int | None = None
    searched: int = 0
    fitting: int = 0
    largest: Largest | None = None
    offers: tuple[Any, ...] = ()
    optimal: tuple[Any, ...] = ()
    cheapest: tuple[Any, ...] = ()
    unmet: str = ""
    assumptions: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether the plan more likely fits than not, and the host holds what is offloaded where its size is known."""
        return self.fit_probability >= 0.5 and not self.host_short

    @property
    def useful_tokens_per_second_per_gpu(self) -> float:
        """Tokens per second and GPU without padding."""
        return self.plan.filled * float(self.tokens_per_second_per_gpu.value)

    @property
    def host_short(self) -> bool:
        """Whether the hosts are known to have less memory than is offloaded to them."""
        return bool(self.host and self.host_capacity and self.host.value > self.host_capacity)

    def explained(self) -> tuple[Estimate, ...]:
        """Return the estimates that ``--why`` explains."""
        rate = self.tokens_per_second_per_gpu
        return self.memory.device, self.memory.allocated, kept_in_layer(self.architecture, self.plan), self.step, rate


def fit_probability(needed_bytes: float, cluster: Cluster) -> float:
    """Return the probability that what a run cannot do without stays within one card."""
    spread = shipped_coefficients().device_spread
    return 1 - out_of_memory_probability(needed_bytes, capacity_bytes=cluster.node.memory_bytes, spread=spread)


def _banded(
    estimate: Estimate, plan: TrainingPlan, cluster: Cluster, *, quantity: str, meter: str = "", regime: str = ""
) -> Estimate:
    """Return an estimate with its 90 % band, wider where no measured case is like the plan."""
    asked = "mem_gib" if quantity == "mem_gib" else "step_seconds"
    like = training_likeness(plan, generation=cluster.gpu.architecture, quantity=asked)
    found = band(
        estimate.value, table="training", quantity=quantity, meter=meter, regime=regime, far=bool(like.far)
    )  # fmt: skip
    return estimate.with_band(replace(found, regime=like.words)) if found else estimate


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
    terms: RunTerms | None = None,
) -> TrainingAnswer:
    """Return the answer for one given plan; ``terms`` are those of a whole run over ``tokens``.

    Raises:
        UserError: the plan does not fill the cluster, or something that it needs is not known.
    """
    if plan.layout.gpus != cluster.gpus:
        raise UserError(
            f"the layout uses {plan.layout.gpus} GPUs, the cluster has {cluster.gpus}",
            hint="tp x pp x cp x dp must be the number of GPUs",
        )
    memory = training_memory(architecture, plan, cluster.gpu, coefficients=shipped_coefficients())
    banded = partial(_banded, plan=plan, cluster=cluster)
    regime = regime_of(step_parts_of(architecture, plan, cluster), work_of(architecture))
    step = banded(step_time(architecture, plan, cluster), quantity="step_seconds", regime=regime)
    seconds = float(step.value)
    per_gpu = plan.global_batch * plan.sequence_length / seconds / cluster.gpus
    rate = leaf(
        "tokens per second and GPU", per_gpu, "tokens/s", formula="global batch x sequence / step / GPUs",
        inputs={"global batch": plan.global_batch, "sequence": plan.sequence_length, "step": seconds},
    )  # fmt: skip
    ideal = ideal_seconds(architecture, plan, cluster)
    hardware = hardware_flops_of(architecture, plan) / model_flops_of(architecture, plan)
    device = banded(memory.device, quantity="mem_gib", meter="nvidia-smi")
    memory = replace(
        memory, device=device, allocated=banded(memory.allocated, quantity="mem_gib", meter="allocated"),
        reserved=banded(memory.reserved, quantity="mem_gib", meter="reserved"),
    )  # fmt: skip
    return TrainingAnswer(
        name=name, architecture=architecture, cluster=cluster, plan=plan, memory=memory, step=step, ideal_seconds=ideal,
        fit_probability=fit_probability(memory.needed_bytes, cluster), mfu=ideal / seconds,
        tokens_per_second_per_gpu=banded(rate, quantity="tokens_per_second_per_gpu", regime=regime),
        hfu=hardware * ideal / seconds, host=host_memory(architecture, plan, cluster),
        host_capacity=host_capacity(cluster), binds=binds(memory, step, cluster),
        totals=totals(plan, cluster, step, tokens, terms=terms or RunTerms()) if tokens else None,
        assumptions=(*plan.assumptions, *cluster.notes, *step.assumptions, *_offload_notes(plan, cluster)),
    )  # fmt: skip


def _offload_notes(plan: TrainingPlan, cluster: Cluster) -> Iterator[str]:
    if plan.offload_optimizer:
        speed = HOST_BYTES_PER_SECOND / GIGA
        yield f"the host updates weights at {speed:.0f} GB/s, 8 channels of DDR4-3200 for a node's GPUs"
    if optimizer(plan.optimizer).paged:
        yield "paged states are counted in host memory; the traffic of pages that move is not"


def kept_in_layer(architecture: Architecture, plan: TrainingPlan) -> Estimate:
    """Return what one layer keeps of one micro-batch on one rank, tensor by tensor, as its framework does."""
    split = columns_of(plan).split
    again = "makes again" if plan.recompute == "full" else "keeps for its backward pass"
    leaves = [
        leaf(
            name.replace("_", " "), float((shares * each).on_rank(split)), "bytes", formula="elements x bytes of each",
            inputs={"elements": float(shares.on_rank(split)), "bytes of each": each},
        )
        for name, (each, shares) in kept_tensors(architecture, plan).items()
    ]  # fmt: skip
    return total(
        f"what a layer {again}, one micro-batch", leaves, unit="bytes",
        formula=f"tensors that {framework(plan.framework).title} keeps", sources=framework(plan.framework).sources,
    )  # fmt: skip


def host_memory(architecture: Architecture, plan: TrainingPlan, cluster: Cluster) -> Estimate | None:
    """Return what the ranks of one node keep in host memory, by part; None where nothing does."""
    facts, columns = training_facts(architecture, plan), columns_of(plan)
    ranks = min(cluster.node.gpus, plan.layout.gpus)
    stages = (host_moment(facts, columns, stage=stage) for stage in (0, plan.layout.pp - 1))
    worst = max(stages, key=lambda moment: sum(moment.values()))
    note = "bytes of the worst rank x ranks of a node"
    found = total(
        "host memory of a node", [leaf(name, float(value) * ranks, "bytes") for name, value in worst.items()],
        unit="bytes", formula=note, sources=("zero_offload", "zero_infinity"),
    )  # fmt: skip
    return found if found.value else None


def host_capacity(cluster: Cluster) -> int | None:
    """Return the memory of a node's host [bytes], where the machine or the instance that prices it says."""
    if cluster.node.host_memory_bytes:
        return cluster.node.host_memory_bytes
    instance = priced_instance(cluster)
    return instance.host_memory_bytes if instance else None


def binds(memory: TrainingMemory, step: Estimate, cluster: Cluster) -> str:
    """Return what limits the run: memory where it does not fit, else the largest part of the step."""
    if memory.needed_bytes > cluster.node.memory_bytes:
        largest = max((part for part in memory.allocated.parts), key=lambda part: part.value)
        return f"memory: {largest.name}"
    part = max(step.parts, key=lambda part: part.value)
    kind = {
        PART_NAMES["matmul"]: "compute", PART_NAMES["attention"]: "compute", PART_NAMES["recompute"]: "compute",
        PART_NAMES["memory_bound"]: "memory bandwidth", PART_NAMES["optimizer"]: "memory bandwidth",
        PART_NAMES["host"]: "the host", PART_NAMES["offload"]: "the host", PART_NAMES["bubble"]: "the pipeline",
    }.get(part.name, "the network")  # fmt: skip
    return f"{kind}: {part.name}, {part.value / step.value:.0%} of the step"
