"""The time of one training step as an Estimate: a plan on a cluster, in parts that sum exactly."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from sizeup.files import read_text
from sizeup.fitted.kernels import curves_for
from sizeup.llm.architecture import Architecture
from sizeup.machine import Cluster
from sizeup.physics.collectives import Link
from sizeup.physics.training_time import Coefficients, Hardware, StepPlan, Traits
from sizeup.physics.training_work import StepWork, step_work
from sizeup.plan.schedules import schedule
from sizeup.plan.training import TrainingPlan

MODERN_YEAR = 2022
"""First year of cards with asynchronous tensor cores (Hopper), which attention kernels must be written for."""
EIGHT_BIT = ("fp8", "mxfp8", "nvfp4")
GRADIENT_BYTES = {"fp32": 4.0, "bf16": 2.0, "fp16": 2.0}
# read weight, two moments and gradient, write weight and moments in fp32, write the 16-bit copy
ADAM_STEP_BYTES = {"fp32": 4 * 4 + 3 * 4 + 2.0, "bf16": 4 * 2 + 3 * 2.0, "none": 4 * 2 + 3 * 2.0}


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
    if plan.recompute == "selective":
        half = plan.framework in ("torchtitan", "fms-fsdp")
        return {"recompute_half" if half else "recompute_core": 1.0}
    return {}


def step_plan(plan: TrainingPlan, work: StepWork) -> StepPlan:
    """Return what divides and repeats the work of one step."""
    layout, adapter = plan.layout, plan.adapter
    gathers = layout.sharding in ("zero3", "fsdp", "hsdp")
    frozen = plan.method in ("lora", "qlora")
    rank = adapter.rank if adapter and frozen else 0
    adapters = rank * sum((p.in_features + p.out_features) * p.count for p in work.products)
    return StepPlan(
        tp=layout.tp, pp=layout.pp, vpp=layout.vpp, cp=layout.cp, ep=layout.ep, etp=layout.etp, dp=layout.dp,
        shards=shards_of(plan), gathers=int(gathers), scatters=int(gathers or layout.sharding == "zero2"),
        sequence_parallel=int(layout.sequence_parallel), micro_batch=plan.micro_batch,
        micro_batches=plan.micro_batches, sequence=plan.sequence_length, **_recomputed(plan, work.layers),
        eager_attention=plan.attention == "eager", fused_loss=plan.loss != "plain",
        eight_bit=plan.precision.compute_dtype in EIGHT_BIT,
        gradient_bytes=GRADIENT_BYTES[plan.precision.grad_dtype],
        optimizer_bytes=ADAM_STEP_BYTES[plan.precision.master_weights],
        frozen=frozen, adapter_rank=rank, trained_share=adapters / work.parameters if frozen else 1.0,
        dequantized=bool(adapter and adapter.base_quant and frozen), cp_all_to_all=plan.cp_comm == "a2a",
    )  # fmt: skip


def domain_of(cluster: Cluster) -> int:
    """Return how many cards share the fast link: those of a node, or of a rack where the card's link leaves the node."""
    return max(cluster.node.gpus, cluster.gpu.scale_up_domain if cluster.nodes > 1 else 1)


def hardware_of(cluster: Cluster, compute_dtype: str) -> Hardware:
    """Return the limits, curves and links of a cluster for products in ``compute_dtype``."""
    curves, node = curves_for(cluster.gpu), cluster.node
    dtype = curves.runs_in(compute_dtype)
    domain = domain_of(cluster)
    none = Link(bytes_per_second=1.0, latency_seconds=0.0)
    joined = cluster.gpus > 1 and domain > 1
    return Hardware(
        peak=curves.peak(dtype), wide_peak=curves.peak("bf16"), bandwidth=curves.bandwidth(),
        gemm=curves.gemm(dtype), wide_gemm=curves.gemm("bf16"),
        attention=curves.prefill_attention("bf16"), modern=cluster.gpu.year >= MODERN_YEAR, streaming=curves.streaming(),
        inside=curves.inside(gpus=node.gpus).link if joined else none,
        exchange=curves.inside("all_to_all", gpus=node.gpus).link if joined else none,
        between=none if cluster.gpus <= domain else curves.between(
            bytes_per_second=cluster.node.inter_node_bytes_per_second
        ).link,
        domain=domain,
    )  # fmt: skip
