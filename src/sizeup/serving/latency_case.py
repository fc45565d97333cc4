"""Predict the speed of a measured serving case: TTFT, TPOT, output and prefill rates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sizeup.errors import UserError
from sizeup.evidence.cases import Case
from sizeup.fitted.kernels import Curves
from sizeup.fitted.serving_time import learned, together
from sizeup.llm.architecture import Architecture
from sizeup.machine import Gpu, find_gpu
from sizeup.physics.numeric import ceil_div, maximum
from sizeup.physics.queueing import (
    ClosedLoop,
    Disorder,
    Requests,
    Scheduler,
    closed_loop,
    closed_loop_latency,
    static_batch_seconds,
)
from sizeup.physics.serving_operators import FUSED_ATTENTION, AttentionStyle, Division, Operator, StepShape, operators
from sizeup.physics.serving_time import step_seconds
from sizeup.physics.serving_work import ServingWork, serving_work
from sizeup.serving.memory import serving_memory
from sizeup.serving.memory_case import serving_layout, serving_plan
from sizeup.serving.speed import attention_style, cache_bytes, division_of, engine_curves, regime_of, scheduler_of

TASKS = ("decode", "prefill", "static_batch", "online", "max_load")
SHORT_PROMPT = 64
"""Prompt and output taken where a case says only that they are short (assumption)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One kind of step of a case."""

    shape: StepShape
    operators: tuple[Operator, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A case with everything computed that no coefficient changes: its steps and how often each runs."""

    task: str
    engine: str
    version: str
    work: ServingWork
    division: Division
    requests: Requests
    scheduler: Scheduler
    batch: float
    replicas: int
    steps: Mapping[str, Step]
    prefill_steps: float = 0.0
    loop: ClosedLoop | None = None
    regime: str = ""
    fixed_lengths: bool = True
    style: AttentionStyle = FUSED_ATTENTION
    assumptions: tuple[str, ...] = ()


def _number(row: Mapping[str, str], name: str, default: int) -> int:
    return int(float(row[name])) if row.get(name) else default


def _lengths(row: Mapping[str, str]) -> tuple[Requests, list[str]]:
    notes = []
    prompt = _number(row, "input_tokens", SHORT_PROMPT)
    output = _number(row, "output_tokens", 2 * SHORT_PROMPT)
    if not row.get("input_tokens"):
        notes.append(f"prompt length not stated: {SHORT_PROMPT} tokens assumed")
    share = 1.0
    if "lengths drawn from 80-100 %" in row.get("notes", ""):
        share = (0.8 + 1) / 2
        notes.append("lengths are drawn from 80-100 % of the nominal ones: their means are used")
    return Requests(prompt=max(prompt * share, 1), output=max(output * share, 1)), notes


def cache_format(row: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """Return the cache dtype of a case: as stated, else what checkpoints of its weight format ask for, and a note."""
    if row.get("kv_dtype"):
        return row["kv_dtype"], ()
    if row["weight_format"] in ("fp8", "nvfp4") and row["engine"] in ("vllm", "trtllm"):
        return "fp8", ("cache in fp8: not stated; per-tensor fp8 and nvfp4 checkpoints ask for it",)
    return "bf16", ("cache in 16 bits: not stated",)


def question(case: Case) -> Question:
    """Return the case with its steps worked out.

    Raises:
        UserError: an unknown model, card or format, or a task that is not about speed.
    """
    row = case.row
    if row["task"] not in TASKS:
        raise UserError(f'"{row["task"]}" is not about speed')
    gpu, architecture = find_gpu(row["gpu"]), case.architecture()
    curves, work = engine_curves(gpu, row["engine"]), serving_work(architecture, row["weight_format"])
    layout = serving_layout(row)
    replicas = 1 if layout.attention_dp else layout.dp
    division = division_of(curves, layout, gpus_per_node=_number(row, "gpus_per_node", gpu.gpus_per_node))
    requests, notes = _lengths(row)
    limit = _number(row, "max_batched_tokens", 0) or None
    scheduler = scheduler_of(row["engine"], row.get("engine_version", ""), gpu, limit)
    batch = _number(row, "concurrency", 1) / replicas
    dtype, noted = cache_format(row)
    asked: dict[str, Any] = {
        "task": row["task"], "engine": row.get("coefficients", row["engine"]),
        "version": row.get("engine_version", ""), "work": work,
        "division": division, "requests": requests, "scheduler": scheduler, "batch": batch, "replicas": replicas,
        "style": attention_style(row["engine"], row.get("engine_version", "")),
        "fixed_lengths": "lengths drawn from" not in row.get("notes", ""), "assumptions": (*notes, *noted),
    }  # fmt: skip
    if row["task"] in ("online", "max_load"):
        room = _room(gpu, architecture, row, dtype, requests) / replicas
        asked["regime"] = regime_of(batch, room)
        return _online(asked, curves, cache_bytes(dtype), room)
    asked["regime"] = _regime(row["task"], batch)
    return _static(asked, curves, cache_bytes(dtype))


def _regime(task: str, batch: float) -> str:
    if task == "decode":
        return "decode, batch 1" if batch <= 1 else "decode, batch"
    return task.replace("_", " ")


def _room(gpu: Gpu, architecture: Architecture, row: Mapping[str, str], dtype: str, requests: Requests) -> float:
    """Return how many sequences the deployment runs at once: what its cache holds, and the engine's own limit."""
    plan = replace(serving_plan(row), kv_dtype=dtype)
    memory = serving_memory(architecture, plan, gpu)
    # TensorRT-LLM admits a request when its whole length has room, the others when its prompt has
    length = requests.prompt + requests.output if row["engine"] == "trtllm" else requests.mean_context
    return max(min(memory.max_concurrency(round(length), decoding=True), memory.limits.sequences * memory.replicas), 1)


def _step(asked: Mapping[str, Any], curves: Curves, cache: float, shape: StepShape) -> Step:
    found = operators(
        asked["work"], curves, asked["division"], shape, cache_bytes_per_value=cache,
        prefill=bool(shape.chunk > 0), decode=bool(shape.decodes > 0), style=asked["style"],
    )  # fmt: skip
    return Step(shape=shape, operators=found)


def _static(asked: dict[str, Any], curves: Curves, cache: float) -> Question:
    requests, batch = asked["requests"], asked["batch"]
    limit = asked["scheduler"].limit
    tokens = batch * requests.prompt
    count = ceil_div(tokens, limit)
    steps = {
        "decode": _step(asked, curves, cache, StepShape(decodes=batch, context=requests.mean_context)),
        "prefill": _step(
            asked, curves, cache, StepShape(decodes=0, context=0, chunk=tokens / count, prompt=requests.prompt)
        ),
    }
    return Question(**asked, steps=steps, prefill_steps=count)


def _online(asked: dict[str, Any], curves: Curves, cache: float, room: float) -> Question:
    requests, scheduler = asked["requests"], asked["scheduler"]
    loop = closed_loop(concurrency=asked["batch"], room=room, requests=requests, scheduler=scheduler)
    context, fresh = requests.mean_context, requests.fresh
    beside = loop.decoding if scheduler.mixes else 0
    shapes = {
        "decode": StepShape(decodes=loop.decoding, context=context),
        "prompt": StepShape(decodes=beside, context=context, chunk=loop.chunk, prompt=fresh),
        "alone": StepShape(decodes=0, context=0, chunk=min(scheduler.limit, loop.running * fresh), prompt=fresh),
    }
    steps = {name: _step(asked, curves, cache, shape) for name, shape in shapes.items()}
    return Question(**asked, steps=steps, loop=loop)


def evaluate(
    asked: Question, seconds: Mapping[str, float], request_seconds: float, load: Mapping[str, float]
) -> dict[str, float]:
    """Return every speed that a case of this task can measure, from the times of its steps [s]."""
    if asked.loop is not None:
        return _evaluate_loop(asked, seconds, request_seconds, load)
    requests, batch = asked.requests, asked.batch * asked.replicas
    prefill = asked.prefill_steps * seconds["prefill"]
    whole = static_batch_seconds(requests=requests, prefill_seconds=prefill, decode_seconds=seconds["decode"])
    rate = batch / seconds["decode"] if asked.task == "decode" else batch * requests.output / whole
    return {
        "tpot_ms": 1e3 * seconds["decode"],
        "ttft_ms": 1e3 * prefill,
        "output_tokens_per_second": rate,
        "prefill_tokens_per_second": batch * requests.prompt / prefill,
    }


def _evaluate_loop(
    asked: Question, seconds: Mapping[str, float], request_seconds: float, load: Mapping[str, float]
) -> dict[str, float]:
    assert asked.loop is not None
    mixes = asked.scheduler.mixes
    disorder = Disorder(
        together=together(load, mixes=mixes, fixed_lengths=asked.fixed_lengths), overlap=load["overlap"]
    )
    prompts = asked.loop.running * asked.requests.fresh
    found = closed_loop_latency(
        asked.loop, concurrency=asked.batch, decode_seconds=seconds["decode"], prompt_step_seconds=seconds["prompt"],
        prompt_alone_seconds=seconds["alone"], burst_steps=maximum(prompts / asked.scheduler.limit, 1),
        scheduler=asked.scheduler, disorder=disorder, request_seconds=request_seconds,
    )  # fmt: skip
    return {
        "ttft_ms": 1e3 * found.ttft_seconds,
        "tpot_ms": 1e3 * found.tpot_seconds,
        "output_tokens_per_second": found.requests_per_second * asked.requests.output * asked.replicas,
        "prefill_tokens_per_second": found.requests_per_second * asked.requests.prompt * asked.replicas,
    }


def predict_latency(case: Case, *, left_out: str | None = None) -> tuple[dict[str, float], tuple[str, ...], str]:
    """Return (values by quantity, assumptions, kind of run) of a case, with coefficients learned without ``left_out``.

    Raises:
        UserError: as :func:`question`.
    """
    asked = question(case)
    known = learned(asked.engine, asked.version, left_out=left_out)
    seconds = {
        name: step_seconds(step.operators, asked.work, known.speed, step.shape, pp=asked.division.pp)
        for name, step in asked.steps.items()
    }
    values = evaluate(asked, seconds, known.speed.request_seconds, known.load)
    return values, (*asked.assumptions, known.origin), asked.regime
