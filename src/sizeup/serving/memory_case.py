"""Predict the memory of one measured serving case, its cache tokens and whether it fits."""

from __future__ import annotations

import math
from collections.abc import Mapping

from sizeup.errors import UserError
from sizeup.evidence.cases import Case
from sizeup.fitted.serving_memory import Coefficients, shipped_coefficients
from sizeup.llm.formats import format_named
from sizeup.machine import find_gpu
from sizeup.plan.serving import Load, ServingLayout, ServingPlan
from sizeup.serving.memory import ServingMemory, serving_memory
from sizeup.serving.weights import EXL2


def _number(row: Mapping[str, str], name: str) -> int | None:
    text = row.get(name, "")
    try:
        return int(float(text)) if text else None
    except ValueError:
        raise UserError(f'{name} is "{text}", not a number') from None


SAME_SIZE = {"int4-g32": "hqq-int4-g32"}
"""Words of the cases for a format stored like another one: gpt-fast has a 16-bit scale and zero for 32 weights."""


def _format(word: str) -> str:
    if not word or EXL2.fullmatch(word):
        return word
    return format_named(SAME_SIZE.get(word, word)).name


def serving_layout(row: Mapping[str, str]) -> ServingLayout:
    """Return the layout of a case; what is missing follows from the number of GPUs (dp takes what is left)."""
    gpus = _number(row, "n_gpus") or 1
    tp, pp = _number(row, "tp") or 1, _number(row, "pp") or 1
    dp = _number(row, "dp") or max(1, gpus // (tp * pp))
    return ServingLayout(tp=tp, pp=pp, ep=_number(row, "ep") or 1, dp=dp, moe_tp=_number(row, "moe_tp"))


def serving_plan(row: Mapping[str, str]) -> ServingPlan:
    """Return the plan of a measured case; what the row leaves open is the engine's default.

    Raises:
        UserError: a cell that should be a number is none, or the weight format is unknown.
    """
    share = row.get("gpu_memory_utilization", "")
    return ServingPlan(
        engine=row["engine"], engine_version=row.get("engine_version", ""),
        weight_format=_format(row.get("weight_format", "")),
        kv_dtype=row.get("kv_dtype", ""), layout=serving_layout(row), max_model_len=_number(row, "max_model_len"),
        max_batched_tokens=_number(row, "max_batched_tokens"),
        gpu_memory_utilization=float(share) if share else None,
        eager="eager" in row.get("notes", ""),
    )  # fmt: skip


def serving_load(row: Mapping[str, str]) -> Load | None:
    """Return the load of a case, None where it has no lengths."""
    output = _number(row, "output_tokens")
    if output is None:
        return None
    prompt = max(1, _number(row, "input_tokens") or 1)
    return Load(input_tokens=prompt, output_tokens=max(1, output), concurrency=_number(row, "concurrency") or 1)


def case_memory(case: Case, *, coefficients: Coefficients | None = None) -> ServingMemory:
    """Return the memory of a measured case.

    Raises:
        UserError: model, card, engine or format is unknown.
    """
    plan, load = serving_plan(case.row), serving_load(case.row)
    if plan.max_model_len is None and load is not None:
        from dataclasses import replace

        plan = replace(plan, max_model_len=load.longest) if _is_fixed(plan) else plan
    gpu = find_gpu(case.row["gpu"])
    return serving_memory(case.architecture(), plan, gpu, load=load, coefficients=coefficients)


def _is_fixed(plan: ServingPlan) -> bool:
    from sizeup.plan.engines import engine

    return engine(plan.engine, plan.engine_version).budget in ("context", "grows")


def out_of_memory_probability(memory: ServingMemory, *, spread: float) -> float:
    """Return the probability that it does not start: log(needed / there is) is normal around the prediction."""
    room = memory.device.value
    need = room - memory.shortfall
    if need <= 0:
        return 0.0
    return (1 + math.erf(math.log(need / room) / (spread * math.sqrt(2)))) / 2


def meters(memory: ServingMemory) -> dict[str, float]:
    """Return the bytes that each meter of the measured cases would read."""
    used = memory.limits.engine
    cards = memory.device_total
    context = used.context_bytes
    summed = used.divides == "layers" or used.budget == "grows"
    return {
        "weights": memory.device_weights if summed else memory.part("weights"),
        "kv_pool": max(0.0, memory.pool_bytes) if not summed else cards_cache(memory),
        "activation_peak": memory.part("activations"),
        "non_torch": memory.part("other") - context,
        "total_used": memory.part("weights") + memory.part("cache") + memory.part("graphs") + memory.part("other"),
        "llama_total": cards,
        "torch_peak": cards,
    }


def cards_cache(memory: ServingMemory) -> float:
    """Return the cache of all cards together [bytes]; each card of a layer split holds its own layers'."""
    return memory.part("cache")


def predict_memory(case: Case, *, left_out: str | None = None) -> tuple[dict[tuple[str, str], float], tuple[str, ...]]:
    """Return values by (quantity, meter) of a case's memory, and what was assumed.

    Raises:
        UserError: model, card, engine or format is unknown.
    """
    learned = shipped_coefficients(without=left_out)
    memory = case_memory(case, coefficients=learned)
    gib = 2**30
    values = {("mem_gib", name): size / gib for name, size in meters(memory).items()}
    values["kv_tokens", ""] = float(memory.cache_tokens)
    values["oom", ""] = out_of_memory_probability(memory, spread=learned.spread)
    return values, memory.assumptions
