"""The time of one training step as an Estimate: a plan on a cluster, in parts that sum exactly."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from sizeup.errors import UserError
from sizeup.estimate import Estimate, leaf, total
from sizeup.files import read_text
from sizeup.fitted.kernels import curves_for
from sizeup.llm.architecture import Architecture
from sizeup.machine import Cluster
from sizeup.physics.activations import Shares
from sizeup.physics.collectives import Link
from sizeup.physics.offload import Offload, offload_seconds
from sizeup.physics.training_facts import training_facts
from sizeup.physics.training_time import Coefficients, Hardware, StepParts, StepPlan, Traits, raw_times, step_parts
from sizeup.physics.training_work import StepWork, step_work
from sizeup.plan.optimizers import optimizer
from sizeup.plan.pipelines import pipeline
from sizeup.plan.schedules import schedule
from sizeup.plan.training import TrainingPlan

USUAL_WATTS = 700.0
"""Power of a card whose catalog record has none (assumption: an H100's)."""
PLAIN_SHARE = 0.5
"""Share of the plain fp32 rate that 16-bit products of odd dimensions reach (assumption, from heads of 108 and 150)."""
MODERN_YEAR = 2022
"""First year of cards with asynchronous tensor cores (Hopper), which attention kernels must be written for."""
EIGHT_BIT = ("fp8", "mxfp8", "nvfp4")
GRADIENT_BYTES = {"fp32": 4.0, "bf16": 2.0, "fp16": 2.0}
DDR4_3200_CHANNEL_BYTES_PER_SECOND = 25.6e9
HOST_BYTES_PER_SECOND = 8 * DDR4_3200_CHANNEL_BYTES_PER_SECOND
"""Host memory bandwidth of a node where the optimizer runs there (assumption: one socket, 8 channels of DDR4-3200)."""


@functools.cache
def _fitted() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(read_text("fitted/training_time.json"))
    return data


@functools.cache
def coefficients(left_out: str | None = None) -> Coefficients:
    """Return the fitted coefficients, learned without the group ``left_out`` where it was one of those fitted on."""
    data = _fitted()
    values: Mapping[str, float] = data["without"].get(left_out, data["all"]) if left_out else data["all"]
    return Coefficients(**{f.name: values[f.name] for f in fields(Coefficients)})


@functools.lru_cache(maxsize=256)
def work_of(architecture: Architecture) -> StepWork:
    """Return the work of a model's step, counted once."""
    return step_work(architecture)


def traits_of(plan: TrainingPlan) -> Traits:
    """Return what the plan's framework overlaps and fuses; ``compile`` fuses, async tensor parallelism overlaps."""
    found = schedule(plan.framework)
    return Traits(
        fused=max(found.fused, float(plan.compile)), overlaps_data=found.overlaps_data,
        overlaps_tensor=max(found.overlaps_tensor, float(plan.async_tp)), overlaps_experts=found.overlaps_experts,
        native_attention=found.native_attention, graphs=found.graphs,
    )  # fmt: skip


def shards_of(plan: TrainingPlan) -> int:
    """Return over how many ranks optimizer states are split."""
    layout = plan.layout
    if layout.sharding == "none":
        return 1
    return min(layout.shard_group or layout.dp * layout.cp, layout.dp * layout.cp)


def _recomputed(plan: TrainingPlan, layers: int) -> dict[str, float]:
    if plan.recompute_layers:
        return {"recompute_full": min(1.0, plan.recompute_layers / layers)}
    if plan.recompute == "full":
        return {"recompute_full": 1.0}
    if plan.recompute in ("selective", "per-op"):
        half = plan.recompute == "per-op" or plan.framework in ("torchtitan", "fms-fsdp")
        return {"recompute_half" if half else "recompute_core": 1.0}
    return {}


def update_bytes(plan: TrainingPlan) -> float:
    """Return what the optimizer step moves for each updated weight [bytes].

    Weight, gradient and states are read, weight and states written, and the 16-bit copy beside an fp32 master.
    """
    master = "fp32" if plan.precision.master_weights == "fp32" else "bf16"
    width, copy = (4.0, 2.0) if master == "fp32" else (2.0, 0.0)
    return 3 * width + 2 * optimizer(plan.optimizer).bytes_per_parameter(dtype=master, matrix=True) + copy


def step_plan(plan: TrainingPlan, work: StepWork) -> StepPlan:
    """Return what divides and repeats the work of one step."""
    layout, adapter = plan.layout, plan.adapter
    gathers = layout.sharding in ("zero3", "fsdp", "hsdp")
    frozen = plan.method in ("lora", "qlora")
    rank = adapter.rank if adapter and frozen else 0
    adapters = rank * sum((p.in_features + p.out_features) * p.count for p in work.products)
    pipe = pipeline(plan.schedule)
    return StepPlan(
        tp=layout.tp, pp=layout.pp, vpp=layout.vpp, cp=layout.cp, ep=layout.ep, etp=layout.etp, dp=layout.dp,
        shards=shards_of(plan), gathers=int(gathers), scatters=int(gathers or layout.sharding == "zero2"),
        sequence_parallel=int(layout.sequence_parallel), micro_batch=plan.micro_batch,
        micro_batches=plan.micro_batches, sequence=plan.sequence_length, **_recomputed(plan, work.layers),
        eager_attention=plan.attention == "eager", fused_loss=plan.loss != "plain",
        eight_bit=plan.precision.compute_dtype in EIGHT_BIT,
        gradient_bytes=GRADIENT_BYTES[plan.precision.grad_dtype],
        optimizer_bytes=0.0 if plan.offload_optimizer else update_bytes(plan),
        frozen=frozen, adapter_rank=rank, trained_share=adapters / work.parameters if frozen else 1.0,
        dequantized=bool(adapter and adapter.base_quant and frozen), merged=bool(adapter and adapter.dora and frozen),
        cp_all_to_all=plan.cp_comm == "a2a",
        attended=plan.attended if plan.packing else None, expert_load=plan.expert_load, depth_share=pipe.depth_share,
        bubble_input_gradients=pipe.input_gradients, bubble_weight_gradients=pipe.weight_gradients,
    )  # fmt: skip


def domain_of(cluster: Cluster) -> int:
    """Return how many cards share the fast link: those of a node, or of a rack where the link leaves the node."""
    return max(cluster.node.gpus, cluster.gpu.scale_up_domain if cluster.nodes > 1 else 1)


def hardware_of(cluster: Cluster, compute_dtype: str) -> Hardware:
    """Return the limits, curves and links of a cluster for products in ``compute_dtype``."""
    curves, node = curves_for(cluster.gpu), cluster.node
    dtype = curves.runs_in(compute_dtype)
    domain = domain_of(cluster)
    none = Link(bytes_per_second=1.0, latency_seconds=0.0)
    joined = cluster.gpus > 1 and domain > 1
    return Hardware(
        peak=curves.peak(dtype), wide_peak=curves.peak("fp32" if dtype == "fp32" else "bf16"),
        bandwidth=curves.bandwidth(),
        gemm=curves.gemm(dtype), wide_gemm=curves.gemm("bf16"),
        attention=curves.prefill_attention("bf16"), modern=cluster.gpu.year >= MODERN_YEAR,
        flops_per_watt=curves.peak("bf16") / (cluster.gpu.tdp_watts or USUAL_WATTS),
        plain_rate=PLAIN_SHARE * cluster.gpu.peak_flops_per_second.get("fp32", curves.peak("bf16") / 8),
        streaming=curves.streaming(),
        inside=curves.inside(gpus=node.gpus).link if joined else none,
        exchange=curves.inside("all_to_all", gpus=node.gpus).link if joined else none,
        between=none if cluster.gpus <= domain else curves.between(
            bytes_per_second=cluster.node.inter_node_bytes_per_second
        ).link,
        domain=domain,
    )  # fmt: skip


HOST_BOUND = 0.1
"""Share of the step from which on a plan counts as waiting for the host."""


def regime_of(parts: StepParts, work: StepWork) -> str:
    """Return the kind of step whose band applies: routed experts and waiting hosts are harder to predict."""
    if work.experts:
        return "routed"
    return "host-bound" if parts.host >= HOST_BOUND * parts.seconds() else ""


def far_from_cases(plan: TrainingPlan, cluster: Cluster, *, left_out: str | None = None) -> str:
    """Return why no timed case is like this plan, or "" where one is: its kind of training, its generation of card."""
    seen = [values for group, values in _fitted()["seen"].items() if group != left_out]
    if not any(plan.method in values["kinds"] for values in seen):
        return f"no timed case trains like {plan.method}"
    if not any(cluster.gpu.architecture in values["architectures"] for values in seen):
        return f"no timed case on {cluster.gpu.architecture} cards"
    return ""


PART_NAMES = {
    "matmul": "matrix products", "attention": "attention", "memory_bound": "memory-bound kernels",
    "recompute": "recomputation", "host": "host launches", "tensor_network": "tensor-parallel network",
    "context_network": "context-parallel network", "expert_network": "expert exchange",
    "pipeline_network": "pipeline network", "data_network": "data-parallel network",
    "contention": "contention with hidden communication", "bubble": "pipeline bubble", "optimizer": "optimizer",
    "stragglers": "stragglers", "offload": "host memory and PCIe",
}  # fmt: skip
"""What each part of a step is called."""

PART_FORMULAS: dict[str, tuple[str, tuple[str, ...]]] = {
    "matmul": ("roofline of every linear layer: forward, input gradient, weight gradient", ("roofline",)),
    "attention": ("2 products forward and 5 backward over the causal half", ("flashattention2",)),
    "memory_bound": ("bytes of norms, sums, activations, casts and loss / bandwidth", ("roofline",)),
    "recompute": ("forward work that is repeated in the backward pass", ("korthikanti2022",)),
    "tensor_network": ("ring over tp ranks, 2 sums per layer forward and backward", ("megatron",)),
    "data_network": ("gathers and reductions over dp ranks that compute does not hide", ("zero", "fsdp")),
    "bubble": ("(pp - 1) / vpp micro-batches of a mean stage", ("narayanan2021",)),
    "offload": (
        "bytes to and from the host / PCIe that compute does not hide, and the update there",
        ("zero_offload",),
    ),
    "expert_network": ("tokens to experts and back, once per node", ("deepseek_v3",)),
}


def offload_of(architecture: Architecture, plan: TrainingPlan, cluster: Cluster) -> Offload | None:
    """Return what moves between card and host, None where nothing does.

    Raises:
        UserError: the card's PCIe bandwidth is not known.
    """
    if not (plan.offload_optimizer or plan.offload_parameters or plan.cpu_offload_layers):
        return None
    link = cluster.gpu.pcie_bytes_per_second
    if not link:
        raise UserError(f"the PCIe bandwidth of {cluster.gpu.name} is not known, which offloading needs")
    kept = training_facts(architecture, plan).offloaded if plan.cpu_offload_layers else Shares()
    return Offload(
        optimizer=int(plan.offload_optimizer), parameters=int(plan.offload_parameters),
        activation_bytes_per_token=sum(kept.values()) - kept.scores, update_bytes=update_bytes(plan), link=link,
        host=HOST_BYTES_PER_SECOND / cluster.node.gpus,
    )  # fmt: skip


def step_parts_of(
    architecture: Architecture, plan: TrainingPlan, cluster: Cluster, *, steps: StepPlan | None = None
) -> StepParts:
    """Return the parts of one step [s]: of ``plan``, or of the columns of plans that ``steps`` holds."""
    work, traits, known = work_of(architecture), traits_of(plan), coefficients()
    steps = step_plan(plan, work) if steps is None else steps
    raw = raw_times(work, steps, hardware_of(cluster, plan.precision.compute_dtype))
    parts = step_parts(raw, work, steps, traits=traits, coefficients=known)
    moved = offload_of(architecture, plan, cluster)
    if moved is None:
        return parts
    compute = parts.matmul + parts.attention + parts.memory_bound + parts.recompute
    hidden = known.hidden_data * traits.overlaps_data
    return replace(parts, offload=offload_seconds(work, steps, moved, compute_seconds=compute, hidden=hidden))


def step_time(architecture: Architecture, plan: TrainingPlan, cluster: Cluster) -> Estimate:
    """Return the time of one optimizer step, in parts that sum to it.

    Raises:
        UserError: a link or a rate of the card that the plan needs is not known.
    """
    parts = step_parts_of(architecture, plan, cluster)
    leaves = []
    for name, title in PART_NAMES.items():
        formula, sources = PART_FORMULAS.get(name, ("", ()))
        leaves.append(leaf(title, float(getattr(parts, name)), "seconds", formula=formula, sources=sources))
    curves = curves_for(cluster.gpu)
    known = schedule(plan.framework).known
    notes = () if known else (f"how {plan.framework} overlaps work is not known: taken as the generic framework",)
    return total("step", leaves, unit="seconds", assumptions=(*curves.provenance(), *notes))


def model_flops_of(architecture: Architecture, plan: TrainingPlan) -> float:
    """Return the FLOP that one step of the model needs, without recomputation, attention counted causally.

    Forward is 2 per active parameter and token and the attention products; backward twice that, once for frozen
    weights.

    Source: [palm] appendix B, with causal attention
    """
    work = work_of(architecture)
    tokens = plan.global_batch * plan.sequence_length
    passes = 2 if plan.method in ("lora", "qlora") else 3
    return passes * tokens * (2 * work.active_parameters + attention_flops_per_token(work, plan.attended))


def hardware_flops_of(architecture: Architecture, plan: TrainingPlan) -> float:
    """Return the FLOP of one step with recomputation counted."""
    work = work_of(architecture)
    steps = step_plan(plan, work)
    tokens = plan.global_batch * plan.sequence_length
    attention = attention_flops_per_token(work, plan.attended)
    body = 2 * (work.active_parameters - work.heads * work.head_parameters)
    half = 0.5
    again = steps.recompute_full * (body + attention) + steps.recompute_core * attention
    more: float = tokens * (again + half * steps.recompute_half * body)
    return model_flops_of(architecture, plan) + more


def attention_flops_per_token(work: StepWork, sequence: int) -> float:
    """Return the forward FLOP of attention per token, over the half of the sequence that it may look at."""
    found = 0.0
    for mixing in work.mixings:
        mixer = mixing.mixer
        if mixer.kind == "attention":
            reach = sequence / 2 if mixer.causal else sequence
            reach = min(reach, mixer.window or reach, (mixer.top_k_tokens or sequence) * mixer.stride)
            found += 2 * mixing.count * mixer.heads * (mixer.key_dim + mixer.value_dim) * reach
    return found
