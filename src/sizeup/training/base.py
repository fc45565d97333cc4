"""The plan before its layout: what flags decide, what the framework usually does, and notes of what nobody said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sizeup.errors import UserError, nearest_names
from sizeup.llm.architecture import Architecture
from sizeup.machine import Cluster, Gpu
from sizeup.plan.frameworks import framework as framework_called
from sizeup.plan.optimizers import optimizer
from sizeup.plan.pipelines import pipeline
from sizeup.plan.training import TARGETS, Adapter, Layout, Precision, TrainingPlan

FINE_TUNING = ("full", "lora", "qlora")
ADAPTERS = ("lora", "qlora")
USUAL_BATCH_TOKENS = 4 * 2**20
"""Tokens of one step of pre-training where nobody says: 4M, as Llama 2 ([llama2] section 2.2)."""
USUAL_SEQUENCE = 4096
USUAL_RANK = 16
DTYPES = ("fp32", "fp16", "bf16", "fp8", "mxfp8", "nvfp4")
RATES = {"fp16": "fp16", "bf16": "bf16", "fp8": "fp8", "mxfp8": "fp4", "nvfp4": "fp4"}
"""The rate that a card must have for products of a format; block-scaled formats came with the 4-bit rate."""

PLAN_FLAGS = {
    "optimizer": "optimizer", "attention": "attention", "loss": "loss", "compile": "compile", "cp_comm": "cp_comm",
    "async_tp": "async_tp", "schedule": "schedule", "packing": "packing", "mean_length": "mean_length",
    "offload_optimizer": "offload_optimizer", "offload_parameters": "offload_parameters",
    "offload_activations": "cpu_offload_layers", "recompute_layers": "recompute_layers", "expert_load": "expert_load",
}  # fmt: skip
"""Flags that are fields of the plan, and the names of those fields."""


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

    ``options`` are further flags by name: those of :data:`PLAN_FLAGS`, of adapters, precision and layout.

    Raises:
        UserError: an unknown framework, optimizer, schedule, format or target, or a format that the card lacks.
    """
    notes: list[str] = []
    given = dict(options or {})
    if framework is None:
        framework = "hf" if method in FINE_TUNING else "generic"
        notes.append(f"framework: {framework}")
    used = framework_called(framework)
    if sequence_length is None:
        sequence_length = min(architecture.max_positions or USUAL_SEQUENCE, USUAL_SEQUENCE)
        notes.append(f"sequence length: {sequence_length}")
    if global_batch is None:
        each = cluster.gpus * int(given.get("micro_batch") or 1)
        global_batch = _usual_batch(method, sequence_length, cluster.gpus, each, notes)
    chosen = {field: given[flag] for flag, field in PLAN_FLAGS.items() if given.get(flag) is not None}
    optimizer(chosen.get("optimizer", "adamw"))
    pipeline(chosen.get("schedule", "1f1b"))
    for name, usual in (("attention", used.attention), ("loss", used.loss)):
        if name not in chosen:
            chosen[name] = usual
            notes.append(f"{name}: {usual}, the default of {used.name}")
    if architecture_routes(architecture) and "expert_load" not in chosen:
        notes.append("experts evenly loaded; --expert-load says by how much the busiest rank has more")
    wanted: Any = method
    return TrainingPlan(
        method=wanted, framework=framework, sequence_length=sequence_length, global_batch=global_batch,
        adapter=_adapter(method, given, notes), precision=_precision(method, given, cluster, notes),
        layout=_layout(given), **chosen, assumptions=tuple(notes),
    )  # fmt: skip


def architecture_routes(architecture: Architecture) -> bool:
    """Return whether a router sends tokens to experts."""
    return any(t.part == "experts" for layer, _ in architecture.distinct_layers() for t in layer.tensors)


def _layout(given: Mapping[str, Any]) -> Layout:
    parallel = given.get("sequence_parallel", "yes") == "yes"
    return Layout(sequence_parallel=parallel, shard_group=given.get("shard_group"))


def _adapter(method: str, given: Mapping[str, Any], notes: list[str]) -> Adapter | None:
    flags = [name for name in ("rank", "lora_targets", "base_quant", "dora") if given.get(name)]
    if method not in ADAPTERS:
        if flags:
            raise UserError(f"{flags[0]} is for adapters, and {method} trains all weights", hint="--method lora")
        return None
    targets = given.get("lora_targets") or "all-linear"
    if targets not in TARGETS:
        known = f"known: {', '.join(TARGETS)}"
        raise UserError(f'no LoRA targets are called "{targets}"', hint=known, nearest=nearest_names(targets, TARGETS))
    if not given.get("rank"):
        notes.append(f"LoRA rank: {USUAL_RANK}")
    if not given.get("lora_targets"):
        notes.append("LoRA targets: all linear layers")
    quant: Any = given.get("base_quant") or ("nf4-dq" if method == "qlora" else None)
    return Adapter(
        rank=given.get("rank") or USUAL_RANK, targets=targets, base_quant=quant, dora=bool(given.get("dora"))
    )


def _usual_batch(method: str, sequence: int, gpus: int, each: int, notes: list[str]) -> int:
    """Return the sequences of one step where nobody says: for pre-training a multiple of ``each``."""
    if method in FINE_TUNING:
        notes.append("global batch: follows the micro-batch (no accumulation)")
        return gpus
    size = max(1, round(USUAL_BATCH_TOKENS / sequence / each)) * each
    notes.append(f"global batch: {size} sequences (about 4M tokens per step)")
    return size


def require_dtype(dtype: str, gpu: Gpu) -> None:
    """Check that ``gpu`` multiplies in ``dtype``.

    Raises:
        UserError: no such format, or the card has no rate for it.
    """
    if dtype not in DTYPES:
        raise UserError(f'no training precision is called "{dtype}"', nearest=nearest_names(dtype, DTYPES))
    rate = RATES.get(dtype)
    if rate and not gpu.peak_flops_per_second.get(rate):
        known = [name for name in DTYPES if gpu.peak_flops_per_second.get(RATES.get(name, "fp32"))]
        raise UserError(f"{gpu.name} does not multiply in {dtype}", hint=f"--dtype {' or '.join(known)}")


def _precision(method: str, given: Mapping[str, Any], cluster: Cluster, notes: list[str]) -> Precision:
    """Return the formats that flags name; else bf16, or fp16 where the card has nothing else."""
    single = "bf16" if method in ADAPTERS else "fp32"
    dtype: Any = given.get("dtype") or _usual_dtype(cluster.gpu, notes)
    require_dtype(dtype, cluster.gpu)
    master: Any = given.get("master_weights") or single
    gradients: Any = given.get("grad_dtype") or ("fp32" if master == "fp32" else "fp16" if dtype == "fp16" else "bf16")
    if not any(given.get(name) for name in ("dtype", "master_weights", "grad_dtype")):
        text = f"{dtype} base" if method in ADAPTERS else f"{dtype} products, fp32 master weights and gradients"
        notes.append(f"precision: {text}")
    return Precision(compute_dtype=dtype, master_weights=master, grad_dtype=gradients)


def _usual_dtype(gpu: Gpu, notes: list[str]) -> str:
    peaks = gpu.peak_flops_per_second
    if peaks.get("bf16") or not peaks.get("fp16"):
        return "bf16"
    notes.append(f"fp16, because {gpu.name} has no bf16")
    return "fp16"
