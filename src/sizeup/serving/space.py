"""What a search for serving looks through: layouts, formats that exist for the card and the engine, batch limits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from sizeup.errors import UserError
from sizeup.holding import runs
from sizeup.llm.architecture import Architecture
from sizeup.llm.formats import format_named, weight_formats
from sizeup.machine import Cluster, Gpu
from sizeup.plan.serving import Load, ServingLayout, ServingPlan
from sizeup.serving.answer import card_of, check_hardware, problems_of, room_of
from sizeup.serving.limits import layout_problems
from sizeup.serving.memory import ServingMemory, serving_memory
from sizeup.serving.speed import Deployment, deployment

SERVER_FORMATS = ("fp8", "nvfp4", "awq-int4")
"""What a checkpoint is turned into for batching engines, nearest to the original first."""

LLAMA_FORMATS = ("q8_0", "q6_k", "q5_k_m", "q4_k_m")
"""llama.cpp's formats down to about 4.5 bits; below that quality falls quickly."""

FLOAT_CACHE_CAPABILITY = 8.9
"""Least NVIDIA compute capability of an 8-bit float cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One plan with its memory and, if it fits, what computes its speed."""

    plan: ServingPlan
    memory: ServingMemory
    made: Deployment | None
    problems: tuple[str, ...]


def powers(most: int) -> list[int]:
    """Return the powers of two up to ``most``, and ``most``.

    >>> powers(6)
    [1, 2, 4, 6]
    """
    return sorted({2**i for i in range(most.bit_length()) if 2**i <= most} | {most})


def layouts(
    architecture: Architecture, gpus: int, gpus_per_node: int, *, divides: str = "tensor"
) -> list[ServingLayout]:
    """Return every layout of ``gpus`` cards: tp within a node, pp over the rest, replicas or data-parallel attention.

    Mixtures also get their experts divided by expert, inside each replica or over all cards. An engine that
    ``divides`` by "layers" has no tensor parallelism. What the model's shape forbids is left out, unless all is.
    """
    if divides == "layers":
        return [ServingLayout(pp=pp, dp=gpus // pp) for pp in powers(gpus) if gpus % pp == 0]
    routed = any(tensor.part == "experts" for layer, _ in architecture.distinct_layers() for tensor in layer.tensors)
    found = []
    for tp in (t for t in powers(min(gpus, gpus_per_node)) if gpus % t == 0):
        for pp in (p for p in powers(gpus // tp) if gpus // tp % p == 0):
            dp = gpus // (tp * pp)
            found.append(ServingLayout(tp=tp, pp=pp, dp=dp))
            if routed and tp > 1:
                found.append(ServingLayout(tp=tp, pp=pp, dp=dp, ep=tp, moe_tp=1))
            if routed and dp > 1 and pp == 1:
                found.append(ServingLayout(tp=tp, pp=pp, dp=dp, ep=tp * dp, moe_tp=1))
    return found


def possible(architecture: Architecture, found: Iterable[ServingLayout], weight_format: str) -> list[ServingLayout]:
    """Return the layouts that the model's shape and the blocks of a weight format allow."""
    return [layout for layout in found if not layout_problems(architecture, layout, weight_format)]


def weight_choices(plan: ServingPlan, gpu: Gpu) -> list[str]:
    """Return the plan's weight format, then smaller ones that exist for the card and the engine, nearest first."""
    known = format_named(plan.weight_format)
    names: tuple[str, ...] = LLAMA_FORMATS if known.is_gguf else SERVER_FORMATS
    if known.bits_per_weight < 6 or "mxfp4" in known.name:
        names = ()
    smaller = [name for name in names if weight_formats()[name].bits_per_weight < known.bits_per_weight - 0.5]
    kept = [name for name in smaller if not check_hardware(gpu, replace(plan, weight_format=name))]
    if gpu.vendor == "nvidia":
        kept = [name for name in kept if known.is_gguf or runs(gpu, name)]
    elif not known.is_gguf:
        # four-bit floats have units on NVIDIA's cards only
        kept = [name for name in kept if name != "nvfp4" and (name != "fp8" or "fp8" in gpu.peak_flops_per_second)]
    return [plan.weight_format, *kept]


def cache_choices(plan: ServingPlan, gpu: Gpu) -> list[str]:
    """Return the plan's cache format and, if that has 16 bits, the 8-bit one of the engine where the card has it."""
    if plan.kv_dtype not in ("bf16", "fp16"):
        return [plan.kv_dtype]
    if plan.engine == "llamacpp":
        return [plan.kv_dtype, "q8_0"]
    if plan.engine not in ("vllm", "sglang", "trtllm"):
        return [plan.kv_dtype]
    capable = "fp8" in gpu.peak_flops_per_second
    if gpu.vendor == "nvidia":
        capable = float(gpu.compute_capability or 0) >= FLOAT_CACHE_CAPABILITY
    return [plan.kv_dtype, "fp8"] if capable else [plan.kv_dtype]


def precisions(base: ServingPlan, gpu: Gpu, *, weights: bool, cache: bool) -> list[ServingPlan]:
    """Return the plan in every precision, nearest to the original first: cache in 8 bits before smaller weights.

    ``weights`` and ``cache`` say which of both may change.
    """
    names = weight_choices(base, gpu) if weights else [base.weight_format]
    dtypes = cache_choices(base, gpu) if cache else [base.kv_dtype]
    return [replace(base, weight_format=name, kv_dtype=dtype) for name in names for dtype in dtypes]


def option(architecture: Architecture, plan: ServingPlan, cluster: Cluster, load: Load) -> Option:
    """Return a plan with its memory; a plan that cannot be says why."""
    gpu = card_of(cluster)
    memory = serving_memory(architecture, plan, gpu, load=load)
    problems = problems_of(architecture, gpu, plan, memory, load)
    made = None
    if not problems:
        try:
            room = room_of(memory, load, plan)
            made = deployment(architecture, plan, gpu, room=room, gpus_per_node=cluster.node.gpus)
        except UserError as error:
            problems.append(str(error))
    return Option(plan=plan, memory=memory, made=made, problems=tuple(problems))


def offloaded(architecture: Architecture, plan: ServingPlan, cluster: Cluster, load: Load) -> ServingPlan | None:
    """Return a llama.cpp plan with the fewest layers in host memory that fits: experts first, then whole layers.

    None where even that does not fit, or where it fits without.
    """
    depth, gpu = len(architecture.layers), card_of(cluster)

    def fits(layers: int, experts: int) -> bool:
        tried = replace(plan, offload_layers=layers, offload_experts=experts)
        return serving_memory(architecture, tried, gpu, load=load).fits

    routed = any(tensor.part == "experts" for layer, _ in architecture.distinct_layers() for tensor in layer.tensors)
    experts = 0
    if routed:
        experts = _least(depth, lambda count: fits(0, count))
        if experts <= depth:
            return replace(plan, offload_experts=experts)
        experts = depth
    layers = _least(depth, lambda count: fits(count, max(experts - count, 0)))
    if layers > depth:
        return None
    return replace(plan, offload_layers=layers, offload_experts=max(experts - layers, 0))


def _least(most: int, works: object) -> int:
    """Return the least count from 0 to ``most`` that works, if more always works as well; ``most`` + 1 if none does."""
    assert callable(works)
    if not works(most):
        return most + 1
    low, high = 0, most
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if works(middle) else (middle + 1, high)
    return low
