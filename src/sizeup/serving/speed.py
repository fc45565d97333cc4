"""Latency and throughput of one deployment under a load: closed loop, burst or open loop, from its steps.

One model, format, layout, engine and card make a :class:`Deployment`; its load may be a number or a NumPy column.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from sizeup.fitted.kernels import Curves
from sizeup.fitted.serving_time import Learned, learned
from sizeup.llm.architecture import Architecture
from sizeup.llm.cache import CACHE_DTYPE_BITS, cache_dtype
from sizeup.llm.stored import stored_format_name
from sizeup.machine import Gpu
from sizeup.physics.numeric import Column, ceil_div, is_column, maximum, minimum, where
from sizeup.physics.queueing import (
    Latency,
    Requests,
    Scheduler,
    burst_latency,
    closed_loop,
    closed_loop_latency,
)
from sizeup.physics.serving_operators import FUSED_ATTENTION, AttentionStyle, Division, Operator, StepShape, operators
from sizeup.physics.serving_time import operator_seconds, step_parts, step_seconds, step_use
from sizeup.physics.serving_work import ServingWork, serving_work
from sizeup.plan.engines import engine
from sizeup.plan.serving import Drafting, ServingLayout, ServingPlan
from sizeup.serving.drafting import draft_model

WHOLE_BATCH = 1 << 20
"""Tokens of a step of an engine that prefills a whole batch at once."""


CACHE_FULL = 0.8
"""From which share of the room on requests wait for each other now and then: lengths vary."""


def regime_of(flying: float, room: float) -> str:
    """Return the kind of run of a load: with room for all requests in the cache, or nearly or not for all.

    >>> regime_of(64, 512), regime_of(64, 60)
    ('closed loop', 'closed loop, cache full')
    """
    return "closed loop" if flying < CACHE_FULL * room else "closed loop, cache full"


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
        unpacks_prompts=used.unpacks_prompts,
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


HOST_BYTES_PER_SECOND = 89.6e9
"""Host memory where nobody says: two channels of DDR5-5600, 2 x 8 bytes x 5.6e9/s (assumption, printed)."""

HOST_LINK_BYTES_PER_SECOND = 32e9
"""PCIe 4.0 x16 per direction, where the card's link is not known (assumption, printed)."""

COPIED_FROM = 32
"""Rows from which on llama.cpp copies a host weight to the card instead of multiplying on the host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostShare:
    """What lies in host memory: a share of whole layers, and of the others a share whose experts do.

    Rates are of host memory, and of the link between it and the card [bytes/s].
    """

    layers: float
    experts: float
    memory_bytes_per_second: float
    link_bytes_per_second: float

    def of(self, kind: str) -> float:
        """Return the share of the kernels of a kind that work on host memory."""
        if kind in ("head", "network"):
            return 0.0
        return self.layers + (self.experts if kind == "experts" else 0.0)


def host_share(plan: ServingPlan, layers: int, gpu: Gpu) -> HostShare | None:
    """Return what a plan leaves in host memory, or None."""
    if not plan.offload_layers and not plan.offload_experts:
        return None
    link = plan.host_link_bytes_per_second or gpu.pcie_bytes_per_second or HOST_LINK_BYTES_PER_SECOND
    return HostShare(
        layers=min(plan.offload_layers / layers, 1.0),
        experts=min(plan.offload_experts, layers - plan.offload_layers) / layers,
        memory_bytes_per_second=plan.host_bytes_per_second or HOST_BYTES_PER_SECOND, link_bytes_per_second=link,
    )  # fmt: skip


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
    drafting: Drafting | None = None
    drafter: Deployment | None = None
    host: HostShare | None = None

    @property
    def tokens_per_step(self) -> float:
        """Tokens that a sequence gets in a step: one, or what is accepted of a draft on average."""
        return self.drafting.tokens_per_step if self.drafting else 1.0

    @property
    def far(self) -> bool:
        """Whether no measured case is like this one: an engine without cases, or a chip of a kind without kernels."""
        return not self.known.own or self.curves.learned("gemm", "bf16").origin.startswith("median")

    def operators(self, shape: StepShape) -> tuple[Operator, ...]:
        """Return the kernels of a step; with a draft, every sequence has its drafted tokens to verify as well."""
        if self.drafting is None:
            return self._operators(shape)
        rows = self.drafting.tokens + 1
        wide = self._operators(replace(shape, decodes=shape.decodes * rows))
        # the cache is read once for all rows of a sequence
        attention = [
            replace(o, compute_seconds=o.compute_seconds * rows)
            for o in self._operators(shape)
            if o.kind == "decode attention"
        ]
        return (*(o for o in wide if o.kind != "decode attention"), *attention)

    def draft_seconds(self, shape: StepShape) -> Column:
        """Return the time of drafting in one step [s]: a module of one layer and the head, or another model.

        Source: [leviathan2023]
        """
        alone_with_prompts = isinstance(shape.decodes, (int, float)) and shape.decodes <= 0
        if self.drafting is None or self.drafting.method == "ngram" or alone_with_prompts:
            return 0.0
        alone = replace(shape, chunk=0)
        if self.drafter is not None:
            return self.drafting.tokens * self.drafter.seconds(alone)
        layers = self.work.layers
        each = (
            operator_seconds(o, self.known.speed) / (1 if o.kind == "head" else layers) for o in self._operators(alone)
        )
        return self.drafting.tokens * sum(each)

    def _operators(self, shape: StepShape) -> tuple[Operator, ...]:
        prompts = not isinstance(shape.chunk, (int, float)) or shape.chunk > 0
        decodes = not isinstance(shape.decodes, (int, float)) or shape.decodes > 0
        return operators(
            self.work, self.curves, self.division, shape, cache_bytes_per_value=self.cache_bytes_per_value,
            prefill=prompts, decode=decodes, style=self.style,
        )  # fmt: skip

    def seconds(self, shape: StepShape) -> Column:
        """Return the time of a step [s]."""
        device = self._on_device(self.operators(shape))
        found = step_seconds(device, self.work, self.known.speed, shape, pp=self.division.pp)
        return sum(self._beside(shape).values(), found)

    def parts(self, shape: StepShape) -> dict[str, Any]:
        """Return the time of a step by kind of kernel [s]."""
        device = self._on_device(self.operators(shape))
        parts = step_parts(device, self.work, self.known.speed, shape, pp=self.division.pp)
        return {**parts, **self._beside(shape)}

    def _beside(self, shape: StepShape) -> dict[str, Any]:
        """Return what a step waits for beside the device's own kernels [s]."""
        found = {"drafting": self.draft_seconds(shape)} if self.drafting else {}
        return {**found, "host memory": self.host_seconds(shape)} if self.host else found

    def _on_device(self, found: tuple[Operator, ...]) -> tuple[Operator, ...]:
        if self.host is None:
            return found
        return tuple(replace(o, count=o.count * (1 - self.host.of(o.kind))) for o in found)

    def host_seconds(self, shape: StepShape) -> Column:
        """Return the time of what lies in host memory [s]: read there for few rows, copied to the card for many.

        Source: [llama_cpp]
        """
        if self.host is None:
            return 0.0
        rows, total = shape.decodes + shape.chunk, 0 * (shape.decodes + shape.chunk)
        for o in self.operators(shape):
            share = self.host.of(o.kind)
            if not share:
                continue
            size = o.memory_seconds * o.memory_share * self.curves.bandwidth()
            copied = size / self.host.link_bytes_per_second + operator_seconds(replace(o, count=1), self.known.speed)
            here = size / self.host.memory_bytes_per_second
            total = total + o.count * share * where(rows >= COPIED_FROM, minimum(copied, here), here)
        return total

    def use(self, shape: StepShape) -> tuple[Column, Column]:
        """Return the shares of peak and bandwidth that a step keeps busy."""
        return step_use(self._on_device(self.operators(shape)), self.seconds(shape))


def deployment(
    architecture: Architecture, plan: ServingPlan, gpu: Gpu, *, room: Column, gpus_per_node: int = 8
) -> Deployment:
    """Return a deployment of a plan whose weight format is resolved; ``room`` is sequences that one replica holds.

    Raises:
        UserError: unknown format or engine, or links that are not known.
    """
    curves = engine_curves(gpu, plan.engine)
    drafted = draft_model(plan)
    drafter = None
    if drafted is not None:
        alone = replace(plan, drafting=None, weight_format=stored_format_name(drafted))
        drafter = deployment(drafted, alone, gpu, room=room, gpus_per_node=gpus_per_node)
    name = engine(plan.engine, plan.engine_version).name
    return Deployment(
        work=serving_work(architecture, plan.weight_format), curves=curves,
        division=division_of(curves, plan.layout, gpus_per_node=gpus_per_node),
        scheduler=scheduler_of(plan.engine, plan.engine_version, gpu, plan.max_batched_tokens),
        known=learned("llama.cpp" if name == "llamacpp" else name, plan.engine_version),
        cache_bytes_per_value=cache_bytes(plan.kv_dtype or "bf16"),
        replicas=1 if plan.layout.attention_dp else plan.layout.dp, room=room, drafting=plan.drafting, drafter=drafter,
        host=host_share(plan, len(architecture.layers), gpu),
        style=attention_style(plan.engine, plan.engine_version),
    )  # fmt: skip


def decode_shape(made: Deployment, requests: Requests, concurrency: Column) -> StepShape:
    """Return the step without prompts of a closed loop on one replica."""
    share, stepped = concurrency / made.replicas, in_steps(made, requests)
    loop = closed_loop(concurrency=share, room=made.room, requests=stepped, scheduler=made.scheduler)
    return StepShape(decodes=loop.decoding, context=requests.mean_context)


def prompt_alone_seconds(made: Deployment, requests: Requests) -> Column:
    """Return the time of one prompt with nobody else in its steps [s]."""
    steps = ceil_div(requests.fresh, made.scheduler.limit)
    return steps * made.seconds(StepShape(decodes=0, context=1, chunk=requests.fresh / steps, prompt=requests.fresh))


def in_steps(made: Deployment, requests: Requests) -> Requests:
    """Return requests with their output counted in decode steps: fewer than tokens where drafts are accepted."""
    if made.drafting is None:
        return requests
    return replace(requests, output=1 + (requests.output - 1) / made.tokens_per_step)


def closed_speed(made: Deployment, requests: Requests, concurrency: Column, *, steady: bool = False) -> Latency:
    """Return the latency of ``concurrency`` requests in flight over all replicas; the rate is of all replicas.

    ``steady`` leaves out what a measurement sees of its start.
    """
    share = maximum(concurrency / made.replicas, 1)
    found = _replica_loop(made, requests, share, steady=steady)
    if is_column(share) or share > 1:
        alone = _replica_loop(made, requests, 1.0, steady=steady)
        found = _no_slower_than(found, alone, minimum(share, made.room))
    whole = minimum(made.replicas, maximum(concurrency, 1))
    return replace(
        found, requests_per_second=found.requests_per_second * whole,
        tpot_seconds=found.tpot_seconds / made.tokens_per_step,
    )  # fmt: skip


def _no_slower_than(found: Latency, alone: Latency, running: Column) -> Latency:
    """Return a loop that lets through what one request alone does, at least: a request more never lowers a rate.

    Prompts in each other's way count in TTFT and in TPOT; where that counts more than all there is, TTFT gives way, so
    that requests in flight stay rate x time in the system.

    Source: [little1961]
    """
    rate = maximum(found.requests_per_second, alone.requests_per_second)
    excess = running * (1 / found.requests_per_second - 1 / rate)
    ttft = maximum(found.ttft_seconds - excess, minimum(found.ttft_seconds, alone.ttft_seconds))
    return replace(found, ttft_seconds=ttft, requests_per_second=rate)


def _replica_loop(made: Deployment, requests: Requests, share: Column, *, steady: bool) -> Latency:
    """Return the latency of ``share`` requests in flight on one replica; TPOT is time per decode step."""
    scheduler, fresh, context = made.scheduler, requests.fresh, requests.mean_context
    stepped = in_steps(made, requests)
    loop = closed_loop(concurrency=share, room=made.room, requests=stepped, scheduler=scheduler)
    prompts = loop.running * fresh
    disorder = made.known.disorder(mixes=scheduler.mixes, fixed_lengths=False)
    if steady:
        disorder = replace(disorder, together=0.0)
    beside = loop.decoding if scheduler.mixes else 0
    full = minimum(scheduler.limit, prompts)
    return closed_loop_latency(
        loop, concurrency=share, decode_seconds=made.seconds(StepShape(decodes=loop.decoding, context=context)),
        prompt_step_seconds=made.seconds(StepShape(decodes=beside, context=context, chunk=loop.chunk, prompt=fresh)),
        prompt_alone_seconds=made.seconds(StepShape(decodes=0, context=1, chunk=full, prompt=fresh)),
        burst_steps=maximum(prompts / scheduler.limit, 1), scheduler=scheduler, disorder=disorder,
        request_seconds=made.known.speed.request_seconds,
    )  # fmt: skip


def burst_speed(made: Deployment, requests: Requests, together: Column) -> Latency:
    """Return the mean latency of ``together`` requests that arrive at once, spread over the replicas."""
    share = maximum(together / made.replicas, 1)
    running = minimum(share, made.room)
    tokens = running * requests.fresh
    steps = ceil_div(tokens, made.scheduler.limit)
    prefill = steps * made.seconds(StepShape(decodes=0, context=1, chunk=tokens / steps, prompt=requests.fresh))
    decode = made.seconds(StepShape(decodes=running, context=requests.mean_context))
    first = burst_latency(
        requests=in_steps(made, requests), together=running, prefill_seconds=prefill, decode_seconds=decode,
        request_seconds=made.known.speed.request_seconds,
    )  # fmt: skip
    # those that find no room wait for whole waves before them
    waves = share / running
    wave = running / first.requests_per_second
    whole = minimum(made.replicas, together)
    return replace(
        first, ttft_seconds=first.ttft_seconds + (waves - 1) / 2 * wave,
        requests_per_second=first.requests_per_second * whole, tpot_seconds=first.tpot_seconds / made.tokens_per_step,
    )  # fmt: skip


def most_in_flight(made: Deployment) -> float:
    """Return the requests that all replicas run at once."""
    return float(made.room * made.replicas)
