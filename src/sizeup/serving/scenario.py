"""A scenario of serving -> its answer: what the command line, a scenario file, Python and the page have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sizeup.errors import UserError
from sizeup.llm.formats import format_named
from sizeup.machine import Cluster, parse_machine
from sizeup.plan.engines import engine
from sizeup.plan.serving import Load, ServingLayout, ServingPlan
from sizeup.scenario import Kind, checked
from sizeup.serving.answer import ServingAnswer, Targets
from sizeup.serving.search import fewest, find
from sizeup.sizing import Model
from sizeup.sizing import model as load_model

LAYOUT = ("tp", "pp", "ep", "dp")

KINDS: Mapping[str, Kind] = {
    "model": "text", "gpu": "text", "gpus": "count", "engine": "text", "engine_version": "text", "format": "text",
    "cache_dtype": "text", "tp": "count", "pp": "count", "ep": "count", "dp": "count", "input": "tokens",
    "output": "tokens", "concurrency": "count", "rate": "number", "burst": "count", "trace": "text", "ttft": "number",
    "tpot": "number", "max_model_len": "tokens", "memory_utilization": "share", "max_batched_tokens": "count",
    "max_num_seqs": "count", "prefix_cached": "share", "tokens_per_step": "factor",
}  # fmt: skip
"""Every key of a scenario, each the twin of a flag."""

DEFAULT_INPUT, DEFAULT_OUTPUT, DEFAULT_CONCURRENCY = 2048, 256, 16
"""The load where none is given; stated in the answer."""

MILLI = 1e-3


def serve(model: str, *, gpu: str, **flags: Any) -> ServingAnswer:
    """Return what ``sizeup serve`` answers; ``flags`` are those of the command line, with _ for -.

    >>> import sizeup
    >>> answer = sizeup.serve("llama-3.1-8b", gpu="h100", gpus=1, input=2048, output=256, concurrency=16)
    >>> answer.fits, answer.plan.weight_format, answer.max_concurrency > 100
    (True, 'bf16', True)
    >>> answer.speed.tpot.value < 0.02  # seconds
    True

    Raises:
        UserError: a flag that is not there, a wrong value, an unknown model, card, engine or format.
    """
    return answer_of({"model": model, "gpu": gpu, **flags})


def answer_of(scenario: Mapping[str, Any]) -> ServingAnswer:
    """Return the answer to a scenario (see :data:`KINDS`).

    Raises:
        UserError: something needed is missing, unknown or of the wrong kind.
    """
    values = checked(scenario, KINDS)
    for needed, hint in (("model", "sizeup serve llama-3.1-8b --gpu h100"), ("gpu", "--gpu h100 --gpus 4")):
        if not values.get(needed):
            raise UserError(f"{needed} is missing", hint=hint)
    known = _served(values["model"])
    assert known.architecture is not None
    load, noted = load_of(values)
    plan = plan_of(values, noted)
    if plan.max_model_len is None and plan.engine in ("llamacpp", "transformers"):
        plan = replace(plan, max_model_len=load.longest, max_num_seqs=load.concurrency)
    wanted: dict[str, Any] = {
        "targets": targets_of(values), "cached": values.get("prefix_cached", 0.0),
        "tokens_per_step": values.get("tokens_per_step", 1.0),
    }  # fmt: skip
    fixed = any(values.get(axis) for axis in LAYOUT)
    machine = machine_of(values, plan, fixed=fixed)
    if machine is None:
        return fewest(known.name, known.architecture, parse_machine(values["gpu"]).gpu, plan, load, **wanted)
    if fixed:
        plan = filled(plan, machine.gpus)
    return find(known.name, known.architecture, machine, plan, load, fixed=fixed, **wanted)


def _served(spec: str) -> Model:
    known = load_model(spec)
    if known.architecture is None or not known.has_layers:
        raise UserError(f"{known.name} has no layers to serve: a configuration is needed, not a size")
    return known


def machine_of(values: Mapping[str, Any], plan: ServingPlan, *, fixed: bool) -> Cluster | None:
    """Return the machine of a scenario; None where only a card is named and the number of cards is to be found."""
    machine = parse_machine(values["gpu"])
    count = values.get("gpus") or (plan.layout.gpus if fixed and machine.gpus == 1 else 0)
    if count:
        return parse_machine(f"{count}x{values['gpu']}")
    return None if machine.gpus == 1 and machine.node.instance is None else machine


def targets_of(values: Mapping[str, Any]) -> Targets:
    """Return the targets of a scenario, which are in milliseconds."""
    ttft, tpot = (values[name] * MILLI if name in values else None for name in ("ttft", "tpot"))
    return Targets(ttft_seconds=ttft, tpot_seconds=tpot)


def load_of(values: Mapping[str, Any]) -> tuple[Load, tuple[str, ...]]:
    """Return the load of a scenario, and what was assumed.

    Raises:
        UserError: more than one kind of load, or a trace that cannot be read.
    """
    kinds = [key for key in ("concurrency", "rate", "burst", "trace") if values.get(key) is not None]
    if len(kinds) > 1:
        raise UserError(f"one kind of load at a time, not {' and '.join(kinds)}")
    if values.get("trace") is not None:
        return read_trace(Path(values["trace"]))
    noted = []
    sizes = {"input": DEFAULT_INPUT, "output": DEFAULT_OUTPUT}
    for key, default in sizes.items():
        if values.get(key) is None:
            noted.append(f"{key}: {default:,} tokens, not given")
        sizes[key] = values.get(key) or default
    lengths: dict[str, Any] = {"input_tokens": sizes["input"], "output_tokens": sizes["output"]}
    if values.get("rate") is not None:
        return Load(**lengths, kind="open", rate=values["rate"]), tuple(noted)
    if values.get("burst") is not None:
        return Load(**lengths, kind="burst", concurrency=values["burst"]), tuple(noted)
    if values.get("concurrency") is None:
        noted.append(f"{DEFAULT_CONCURRENCY} requests in flight, not given")
    return Load(**lengths, concurrency=values.get("concurrency") or DEFAULT_CONCURRENCY), tuple(noted)


def read_trace(path: Path) -> tuple[Load, tuple[str, ...]]:
    """Return the open loop with the mean rate and lengths of a trace.

    Raises:
        UserError: the file cannot be read, or lacks a column.
    """
    import csv

    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        arrivals = [float(row["arrival_seconds"]) for row in rows]
        prompts, outputs = ([float(row[name]) for row in rows] for name in ("input", "output"))
    except (OSError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is no trace: {error}", hint="a CSV with the columns arrival_seconds,input,output"
        ) from None
    span = max(arrivals, default=0) - min(arrivals, default=0)
    if len(rows) < 2 or span <= 0:
        raise UserError(f"{path} needs at least two requests at different times")
    rate = (len(rows) - 1) / span
    mean_in, mean_out = round(sum(prompts) / len(rows)), round(sum(outputs) / len(rows))
    note = f"trace of {len(rows):,} requests: its mean rate and lengths, arrivals taken as random"
    return Load(input_tokens=max(mean_in, 1), output_tokens=max(mean_out, 1), kind="open", rate=rate), (note,)


def plan_of(values: Mapping[str, Any], noted: tuple[str, ...]) -> ServingPlan:
    """Return the plan of a scenario.

    Raises:
        UserError: unknown format or engine.
    """
    gguf = bool(values.get("format")) and format_named(values["format"]).is_gguf
    name = engine(values.get("engine") or ("llama.cpp" if gguf else "vllm")).name
    tp, ep, dp = values.get("tp") or 1, values.get("ep") or 1, values.get("dp") or 1
    inside = max(1, tp * (dp if ep > tp else 1) // ep) if ep > 1 else None
    return ServingPlan(
        engine=name, engine_version=values.get("engine_version") or "", weight_format=values.get("format") or "",
        kv_dtype=values.get("cache_dtype") or "",
        layout=ServingLayout(tp=tp, pp=values.get("pp") or 1, ep=ep, dp=dp, moe_tp=inside),
        max_model_len=values.get("max_model_len"), max_batched_tokens=values.get("max_batched_tokens"),
        max_num_seqs=values.get("max_num_seqs"), gpu_memory_utilization=values.get("memory_utilization"),
        assumptions=noted,
    )  # fmt: skip


def filled(plan: ServingPlan, gpus: int) -> ServingPlan:
    """Return the plan with replicas on the cards that its axes leave.

    Raises:
        UserError: the axes do not divide the cards.
    """
    used = plan.layout.gpus
    if gpus % used:
        raise UserError(f"tp x pp x dp = {used} does not divide {gpus} GPUs")
    return replace(plan, layout=replace(plan.layout, dp=plan.layout.dp * gpus // used)) if used != gpus else plan
