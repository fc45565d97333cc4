"""Latency and throughput of one deployment under a load: closed loop, burst or open loop, from its steps.

One model, format, layout, engine and card make a :class:`Deployment`; its load may be a number or a NumPy column.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from sizeup.errors import UserError
from sizeup.fitted.kernels import Curves
from sizeup.fitted.serving_time import Learned, learned
from sizeup.llm.architecture import Architecture
from sizeup.llm.cache import CACHE_DTYPE_BITS, cache_dtype
from sizeup.machine import Gpu
from sizeup.physics.numeric import Column, ceil_div, maximum, minimum
from sizeup.physics.queueing import (
    Latency,
    Percentiles,
    Requests,
    Scheduler,
    burst_latency,
    closed_loop,
    closed_loop_latency,
    poisson_tail,
    poisson_wait_seconds,
    waiting_percentiles,
)
from sizeup.physics.serving_time import (
    FUSED_ATTENTION,
    AttentionStyle,
    Division,
    Operator,
    StepShape,
    operators,
    step_parts,
    step_seconds,
    step_use,
)
from sizeup.physics.serving_work import ServingWork, serving_work
from sizeup.plan.engines import engine
from sizeup.plan.serving import ServingLayout, ServingPlan

WHOLE_BATCH = 1 << 20
"""Tokens of a step of an engine that prefills a whole batch at once."""

SEARCH_STEPS = 40
"""Halvings that find how many requests are in flight at a rate."""


@dataclass(frozen=True, slots=True)
class EngineCurves(Curves):
    """The curves of a card as one engine uses them: ``short_accumulate`` sums products in 16 bits."""

    short_accumulate: bool = False

    def peak(self, dtype: str) -> float:
        """Return the peak of a format; GeForce cards sum in 16 bits at twice the rate of 32."""
        found = Curves.peak(self, dtype)
        short = self.gpu.peak_flops_per_second.get("fp16_accumulate_fp16")
        return short if self.short_accumulate and short and dtype in ("bf16", "fp16", "int4") else found


def engine_curves(gpu: Gpu, engine_name: str) -> EngineCurves:
    """Return the curves of a card for an engine; llama.cpp and ExLlama sum products in 16 bits."""
    return EngineCurves(gpu, engine_name in ("llama.cpp", "llamacpp", "exllamav2"))


def scheduler_of(engine_name: str, version: str, gpu: Gpu, limit: int | None) -> Scheduler:
    """Return how an engine puts prompts into steps; SGLang runs prompts apart from decodes unless told otherwise."""
    used = engine(engine_name, version)
    default = {"grows": WHOLE_BATCH, "context": used.micro_batch}.get(
        used.budget, used.tokens(gpu.memory_bytes, gpu.key)
    )
    return Scheduler(limit=limit or default, mixes=used.name != "sglang")


def attention_style(engine_name: str, version: str) -> AttentionStyle:
    """Return how the attention of an engine at a version uses memory."""
    used = engine(engine_name, version)
    return AttentionStyle(
        shared_heads=math.inf if used.cache_reads == "group" else used.shared_heads,
        copies=used.cache_reads == "copy", writes_scores=not used.flash_attention,
    )  # fmt: skip


def division_of(curves: Curves, layout: ServingLayout, *, gpus_per_node: int) -> Division:
    """Return how ranks share a replica, with the links that join them.

    Raises:
        UserError: the links of the card are not known.
    """
    tp, pp, ep = layout.tp, layout.pp, layout.ep
    attention_dp = layout.dp if layout.attention_dp else 1
    link = hop = exchange = None
    if tp > 1:
        inside = tp <= gpus_per_node
        link = (curves.inside("all_reduce", library="engine", gpus=tp) if inside else curves.between()).link
    if pp > 1:
        hop = (curves.inside("all_reduce", gpus=2) if tp * pp <= gpus_per_node else curves.between()).link
    if attention_dp > 1:
        inside = tp * attention_dp <= gpus_per_node
        exchange = (curves.inside("all_to_all", gpus=ep) if inside else curves.between()).link
    return Division(
        tp=tp, pp=pp, ep=ep, expert_tp=layout.expert_tensor_ranks, attention_dp=attention_dp, link=link, hop=hop,
        exchange=exchange,
    )  # fmt: skip


def cache_bytes(dtype: str) -> float:
    """Return the bytes of one cached number."""
    return CACHE_DTYPE_BITS[cache_dtype(dtype)] / 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """Everything that the times of steps depend on. ``replicas`` share the load evenly; ``room`` is of one replica."""

    work: ServingWork
    curves: Curves
    division: Division
    scheduler: Scheduler
    known: Learned
    cache_bytes_per_value: float
    replicas: int
    room: Column
    style: AttentionStyle = FUSED_ATTENTION

    def operators(self, shape: StepShape) -> tuple[Operator, ...]:
        """Return the kernels of a step."""
        prompts = not isinstance(shape.chunk, (int, float)) or shape.chunk > 0
        decodes = not isinstance(shape.decodes, (int, float)) or shape.decodes > 0
        return operators(
            self.work, self.curves, self.division, shape, cache_bytes_per_value=self.cache_bytes_per_value,
            prefill=prompts, decode=decodes, style=self.style,
        )  # fmt: skip

    def seconds(self, shape: StepShape) -> Column:
        """Return the time of a step [s]."""
        return step_seconds(self.operators(shape), self.work, self.known.speed, shape, pp=self.division.pp)

    def parts(self, shape: StepShape) -> dict[str, Any]:
        """Return the time of a step by kind of kernel [s]."""
        return step_parts(self.operators(shape), self.work, self.known.speed, shape, pp=self.division.pp)

    def use(self, shape: StepShape) -> tuple[Column, Column]:
        """Return the shares of peak and bandwidth that a step keeps busy."""
        return step_use(self.operators(shape), self.seconds(shape))


def deployment(
    architecture: Architecture, plan: ServingPlan, gpu: Gpu, *, room: Column, gpus_per_node: int = 8
) -> Deployment:
    """Return a deployment of a plan whose weight format is resolved; ``room`` is sequences that one replica holds.

    Raises:
        UserError: unknown format or engine, or links that are not known.
    """
    curves = engine_curves(gpu, plan.engine)
    name = engine(plan.engine, plan.engine_version).name
    return Deployment(
        work=serving_work(architecture, plan.weight_format), curves=curves,
        division=division_of(curves, plan.layout, gpus_per_node=gpus_per_node),
        scheduler=scheduler_of(plan.engine, plan.engine_version, gpu, plan.max_batched_tokens),
        known=learned("llama.cpp" if name == "llamacpp" else name, plan.engine_version),
        cache_bytes_per_value=cache_bytes(plan.kv_dtype or "bf16"),
        replicas=1 if plan.layout.attention_dp else plan.layout.dp, room=room,
        style=attention_style(plan.engine, plan.engine_version),
    )  # fmt: skip


def decode_shape(made: Deployment, requests: Requests, concurrency: Column) -> StepShape:
    """Return the step without prompts of a closed loop on one replica."""
    loop = closed_loop(
        concurrency=concurrency / made.replicas, room=made.room, requests=requests, scheduler=made.scheduler
    )
    return StepShape(decodes=loop.decoding, context=requests.mean_context)


def closed_speed(made: Deployment, requests: Requests, concurrency: Column, *, steady: bool = False) -> Latency:
    """Return the latency of ``concurrency`` requests in flight over all replicas; the rate is of all replicas.

    ``steady`` leaves out what a measurement sees of its start.
    """
    share = maximum(concurrency / made.replicas, 1)
    scheduler, fresh = made.scheduler, requests.fresh
    loop = closed_loop(concurrency=share, room=made.room, requests=requests, scheduler=scheduler)
    context = requests.mean_context
    prompts = loop.running * fresh
    disorder = made.known.disorder(mixes=scheduler.mixes, fixed_lengths=False)
    if steady:
        disorder = replace(disorder, together=0.0)
    beside = loop.decoding if scheduler.mixes else 0
    full = minimum(scheduler.limit, prompts)
    found = closed_loop_latency(
        loop, concurrency=share, decode_seconds=made.seconds(StepShape(decodes=loop.decoding, context=context)),
        prompt_step_seconds=made.seconds(StepShape(decodes=beside, context=context, chunk=loop.chunk, prompt=fresh)),
        prompt_alone_seconds=made.seconds(StepShape(decodes=0, context=1, chunk=full, prompt=fresh)),
        burst_steps=maximum(prompts / scheduler.limit, 1), scheduler=scheduler, disorder=disorder,
        request_seconds=made.known.speed.request_seconds,
    )  # fmt: skip
    whole = minimum(made.replicas, maximum(concurrency, 1))
    return replace(found, requests_per_second=found.requests_per_second * whole)


def burst_speed(made: Deployment, requests: Requests, together: Column) -> Latency:
    """Return the mean latency of ``together`` requests that arrive at once, spread over the replicas."""
    share = maximum(together / made.replicas, 1)
    running = minimum(share, made.room)
    tokens = running * requests.fresh
    steps = ceil_div(tokens, made.scheduler.limit)
    prefill = steps * made.seconds(StepShape(decodes=0, context=1, chunk=tokens / steps, prompt=requests.fresh))
    decode = made.seconds(StepShape(decodes=running, context=requests.mean_context))
    first = burst_latency(
        requests=requests, together=running, prefill_seconds=prefill, decode_seconds=decode,
        request_seconds=made.known.speed.request_seconds,
    )  # fmt: skip
    # those that find no room wait for whole waves before them
    waves = share / running
    wave = running / first.requests_per_second
    whole = minimum(made.replicas, together)
    return replace(
        first, ttft_seconds=first.ttft_seconds + (waves - 1) / 2 * wave,
        requests_per_second=first.requests_per_second * whole,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenLoop:
    """What a rate of arrivals meets: ``in_flight`` requests on average, and latency as percentiles [s].

    ``saturation_rate`` is the most requests per second that leave; at or above it queues grow without end.
    """

    latency: Latency
    in_flight: float
    saturation_rate: float
    ttft: Percentiles
    tpot: Percentiles


def most_in_flight(made: Deployment) -> float:
    """Return the requests that all replicas run at once."""
    return float(made.room * made.replicas)


def open_speed(made: Deployment, requests: Requests, rate: float) -> OpenLoop:
    """Return latency under Poisson arrivals: the closed loop whose own rate is this one (Little's law).

    Raises:
        UserError: the rate is at or above saturation.
    """
    high = most_in_flight(made)
    top = float(closed_speed(made, requests, high, steady=True).requests_per_second)
    if rate >= top:
        raise UserError(
            f"{rate:g} requests/s saturate it: {top:.3g} requests/s leave at most, so the queue grows without end",
            hint=f"ask for less than {top:.3g} requests/s, or use more GPUs",
        )
    low = 1.0 * made.replicas
    for _ in range(SEARCH_STEPS):
        middle = (low + high) / 2
        enough = float(closed_speed(made, requests, middle, steady=True).requests_per_second) >= rate
        low, high = (low, middle) if enough else (middle, high)
    found = closed_speed(made, requests, high, steady=True)
    flying = min(high, rate * float(found.ttft_seconds + (requests.output - 1) * found.tpot_seconds))
    busy = min(float(found.prompt_share), 0.999)
    own = float(found.ttft_seconds)
    service = busy * made.replicas / rate
    wait = min(float(poisson_wait_seconds(rate=rate / made.replicas, service_seconds=service)), 1e6)
    ttft = waiting_percentiles(mean_wait=wait, busy=busy, fixed=own)
    tpots = {
        share: float(closed_speed(made, requests, max(poisson_tail(high, share), 1), steady=True).tpot_seconds)
        for share in (0.5, 0.9, 0.99)
    }
    mean = float(found.tpot_seconds)
    latency = replace(found, ttft_seconds=own + wait, requests_per_second=rate)
    return OpenLoop(
        latency=latency, in_flight=flying, saturation_rate=top, ttft=ttft,
        tpot=Percentiles(mean=mean, p50=tpots[0.5], p90=tpots[0.9], p99=tpots[0.99]),
    )  # fmt: skip
