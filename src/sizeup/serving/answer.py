"""(Model, machine, plan, load) -> what serving takes, how fast it answers, what it costs, what limits it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sizeup.errors import UserError
from sizeup.estimate import Band, Estimate, leaf, total
from sizeup.evidence.bands import band
from sizeup.llm.architecture import Architecture
from sizeup.llm.formats import format_named, stored_format_name
from sizeup.machine import Cluster, Gpu
from sizeup.machine.instances import Instance, list_instances
from sizeup.physics.queueing import DEFINITIONS, Percentiles, Requests
from sizeup.physics.serving_time import StepShape
from sizeup.plan.serving import Load, ServingPlan
from sizeup.serving.memory import ServingMemory, serving_memory
from sizeup.serving.speed import (
    Deployment,
    burst_speed,
    closed_speed,
    decode_shape,
    deployment,
    most_in_flight,
    open_speed,
)

SECONDS_PER_HOUR = 3600
MILLION = 1e6
MILLI = 1e-3
PREFILL_BOUND = 0.5
"""Share of the time spent on other requests' prompts from which prompts are what binds."""

BINDS = {
    "products": ("memory bandwidth: streaming the weights", "compute: products of weights"),
    "experts": ("memory bandwidth: streaming the experts", "compute: products of experts"),
    "head": ("memory bandwidth: the language-model head", "compute: the language-model head"),
    "decode attention": ("memory bandwidth: reading the cache", "compute: attention over the cache"),
    "network": ("the links between GPUs", "the links between GPUs"),
    "small kernels": ("launches of small kernels", "launches of small kernels"),
    "element-wise": ("memory bandwidth: norms and activations", "memory bandwidth: norms and activations"),
    "waiting for the host": ("the host, which launches every kernel", "the host, which launches every kernel"),
    "scheduler": ("the engine's scheduler", "the engine's scheduler"),
}
"""What to say where a kind of kernel takes most of a decode step: bound by memory, or by compute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """What the mean request may take [s]; None: no target."""

    ttft_seconds: float | None = None
    tpot_seconds: float | None = None

    def met(self, ttft: float, tpot: float) -> bool:
        """Return whether both hold."""
        return (self.ttft_seconds is None or ttft <= self.ttft_seconds) and (
            self.tpot_seconds is None or tpot <= self.tpot_seconds
        )

    @property
    def any(self) -> bool:
        """Whether there is a target."""
        return self.ttft_seconds is not None or self.tpot_seconds is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """How fast a deployment answers: estimates with bands, and what they follow from."""

    ttft: Estimate
    tpot: Estimate
    output_rate: Estimate
    step: Estimate
    requests_per_second: float
    in_flight: float
    prompt_share: float
    peak_share: float
    bandwidth_share: float
    binds: str
    ttft_percentiles: Percentiles | None = None
    tpot_percentiles: Percentiles | None = None
    saturation_rate: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One plan of a search: its speed at the load, whether it meets the targets, and why it is not first."""

    plan: ServingPlan
    gpus: int
    fits: bool
    meets: bool = True
    concurrency: float = 0.0
    ttft_seconds: float = math.inf
    tpot_seconds: float = math.inf
    output_tokens_per_second: float = 0.0
    usd_per_million: float | None = None
    why: str = ""

    @property
    def per_gpu(self) -> float:
        """Output tokens per second and GPU."""
        return self.output_tokens_per_second / self.gpus

    @property
    def per_user(self) -> float:
        """Output tokens per second that one user sees."""
        return 1 / self.tpot_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One change that makes it fit or meet the targets."""

    change: str
    plan: ServingPlan
    gpu: str
    gpus: int
    usd_per_hour: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingAnswer:
    """Everything that ``sizeup serve`` says."""

    name: str
    architecture: Architecture
    cluster: Cluster
    plan: ServingPlan
    load: Load
    targets: Targets
    memory: ServingMemory
    speed: Speed | None
    fits: bool
    meets_targets: bool
    max_concurrency: int
    instance: Instance | None
    usd_per_million_output_tokens: float | None
    joules_per_output_token: float | None
    flags: Mapping[str, str]
    problems: tuple[str, ...] = ()
    alternatives: tuple[Row, ...] = ()
    pareto: tuple[Row, ...] = ()
    ladder: tuple[Rung, ...] = ()
    searched: int = 0
    assumptions: tuple[str, ...] = ()
    definitions: Mapping[str, str] = field(default_factory=lambda: DEFINITIONS)

    def explained(self) -> tuple[Estimate, ...]:
        """Return the estimates that ``--why`` explains."""
        if self.speed is None:
            return (self.memory.device,)
        return (self.memory.device, self.speed.ttft, self.speed.tpot, self.speed.output_rate, self.speed.step)


def resolved(architecture: Architecture, plan: ServingPlan) -> ServingPlan:
    """Return the plan with its weight and cache formats filled in; what was filled in is noted.

    Raises:
        UserError: unknown format.
    """
    noted = list(plan.assumptions)
    name = format_named(plan.weight_format).name if plan.weight_format else stored_format_name(architecture)
    if not plan.weight_format and name in ("fp32", "float32"):
        name = "bf16"
        noted.append("weights in bf16: the configuration names no dtype that engines serve")
    dtype = plan.kv_dtype
    if not dtype:
        dtype = "fp16" if format_named(name).is_gguf else "bf16"
        noted.append(f"cache in {dtype}")
    return replace(plan, weight_format=name, kv_dtype=dtype, assumptions=tuple(noted))


def check_hardware(gpu: Gpu, plan: ServingPlan) -> list[str]:
    """Return why a card or an engine cannot run the plan's weight format."""
    known, found = format_named(plan.weight_format), []
    llama = plan.engine in ("llamacpp", "llama.cpp")
    if known.is_gguf and not llama and plan.engine != "vllm":
        found.append(f"{plan.engine} does not load GGUF files: use llama.cpp")
    if llama and not known.is_gguf:
        found.append(f"llama.cpp loads GGUF files, not {known.name}: use q4_k_m, q8_0 or gguf-bf16")
    capability = float(gpu.compute_capability or 0)
    # weight-only kernels run 8-bit and 4-bit floats on cards from Ampere on
    unpacks = capability >= 8 and known.name.startswith(("mxfp4", "nvfp4", "fp8", "mxfp8"))
    if capability and known.compute_capability > capability and not unpacks:
        found.append(
            f"{known.name} needs compute capability {known.compute_capability:g}; {gpu.name} has {capability:g}"
        )
    return found


def room_of(memory: ServingMemory, load: Load, plan: ServingPlan) -> float:
    """Return the sequences that one replica runs at once: what its cache holds at the lengths of the load."""
    mean = load.input_tokens + load.output_tokens // 2
    length = load.longest if plan.engine in ("trtllm", "llamacpp", "llama.cpp", "transformers") else mean
    replicas = max(memory.replicas, 1)
    spread = 1 if plan.layout.attention_dp else replicas
    return max(min(memory.max_concurrency(length) / spread, float(memory.limits.sequences * replicas / spread)), 1.0)


def requests_of(load: Load, *, cached: float = 0.0) -> Requests:
    """Return the lengths of a load."""
    return Requests(prompt=load.input_tokens, output=load.output_tokens, cached=cached)


def serve(
    name: str,
    architecture: Architecture,
    cluster: Cluster,
    plan: ServingPlan,
    load: Load,
    *,
    targets: Targets | None = None,
    cached: float = 0.0,
    tokens_per_step: float = 1.0,
) -> ServingAnswer:
    """Return memory, speed, price and flags of one plan.

    ``cached`` is the share of each prompt found in a prefix cache; ``tokens_per_step`` what speculative decoding
    accepts, its own cost not counted.

    Raises:
        UserError: unknown format, engine or links.
    """
    plan, wanted = resolved(architecture, plan), targets or Targets()
    memory = serving_memory(architecture, plan, cluster.gpu, load=load)
    problems = [*memory.reasons, *check_hardware(cluster.gpu, plan)]
    speed = None
    if not problems:
        made = deployment(
            architecture, plan, cluster.gpu, room=room_of(memory, load, plan), gpus_per_node=cluster.node.gpus
        )
        try:
            speed = speed_of(made, plan, load, cached=cached, tokens_per_step=tokens_per_step)
        except UserError as error:
            problems.append(str(error))
    gpus = plan.layout.gpus
    instance = priced(cluster)
    dollars = usd_per_million(instance, gpus, speed.output_rate.value) if speed else None
    watts = cluster.gpu.tdp_watts
    met = speed is not None and wanted.met(speed.ttft.value, speed.tpot.value)
    from sizeup.serving.flags import flags

    noted = (*plan.assumptions, *memory.assumptions, *_noted(cluster, instance, speed, cached, tokens_per_step))
    return ServingAnswer(
        name=name, architecture=architecture, cluster=cluster, plan=plan, load=load, targets=wanted, memory=memory,
        speed=speed, fits=not problems, meets_targets=met, max_concurrency=memory.max_concurrency(load.longest),
        instance=instance, usd_per_million_output_tokens=dollars,
        joules_per_output_token=watts * gpus / speed.output_rate.value if watts and speed else None,
        flags=flags(name, plan, load), problems=tuple(problems),
        assumptions=tuple(dict.fromkeys(noted)),
    )  # fmt: skip


def _noted(
    cluster: Cluster, instance: Instance | None, speed: Speed | None, cached: float, tokens_per_step: float
) -> list[str]:
    notes = list(cluster.notes)
    if speed:
        notes.append(speed.note)
    if instance:
        notes.append(f"price: {instance.cloud} {instance.name}, on demand, {instance.date}")
    if cluster.gpu.tdp_watts:
        notes.append("energy: cards at their TDP; hosts and cooling are not counted")
    if cached:
        notes.append(f"{cached:.0%} of every prompt is found in the prefix cache (given)")
    if tokens_per_step != 1:
        notes.append(f"speculative decoding accepts {tokens_per_step:g} tokens a step (given); drafting costs nothing")
    return notes


def speed_of(
    made: Deployment, plan: ServingPlan, load: Load, *, cached: float = 0.0, tokens_per_step: float = 1.0
) -> Speed:
    """Return how fast a deployment answers a load, with bands.

    Raises:
        UserError: an open loop at or beyond saturation.
    """
    requests = requests_of(load, cached=cached)
    if tokens_per_step != 1:
        # fewer steps, each of the same length: what the request sees per token is divided below
        requests = replace(requests, output=max(load.output_tokens / tokens_per_step, 2))
    percentiles: dict[str, Any] = {}
    if load.kind == "open":
        assert load.rate is not None
        found = open_speed(made, requests, load.rate)
        latency, flying = found.latency, found.in_flight
        percentiles = {
            "ttft_percentiles": found.ttft, "tpot_percentiles": found.tpot, "saturation_rate": found.saturation_rate
        }  # fmt: skip
    else:
        run = closed_speed if load.kind == "closed" else burst_speed
        latency, flying = run(made, requests, load.concurrency), float(load.concurrency)
    shape = decode_shape(made, requests, max(flying, 1.0))
    step = _step_estimate(made, shape)
    peak, bandwidth = made.use(shape)
    rate = float(latency.requests_per_second)
    tpot = float(latency.tpot_seconds) / tokens_per_step
    share = float(latency.prompt_share)
    return Speed(
        ttft=_estimate("TTFT", float(latency.ttft_seconds), "s", "wait + own prompt steps + queue", "ttft_ms", 1e3),
        tpot=_estimate("TPOT", tpot, "s", "decode step + prompts of others / output tokens", "tpot_ms", 1e3),
        output_rate=_estimate(
            "output tokens per second", rate * load.output_tokens, "tokens/s", "requests per second x output tokens",
            "output_tokens_per_second", 1.0,
        ),
        step=step, requests_per_second=rate, in_flight=flying, prompt_share=share, peak_share=float(peak),
        bandwidth_share=float(bandwidth), binds=_binds(made, step, shape, load, share, flying),
        note=made.known.origin, **percentiles,
    )  # fmt: skip


def _estimate(name: str, value: float, unit: str, formula: str, quantity: str, scale: float) -> Estimate:
    made = leaf(name, value, unit, formula=formula, sources=("little1961",))
    found = band(value * scale, table="serving", quantity=quantity)
    return made.with_band(_scaled(found, 1 / scale)) if found else made


def _scaled(found: Band, factor: float) -> Band:
    return replace(found, low=found.low * factor, high=found.high * factor)


def _step_estimate(made: Deployment, shape: StepShape) -> Estimate:
    leaves = [
        leaf(name, float(value), "s", formula=f"sum of {name}", sources=("roofline",))
        for name, value in made.parts(shape).items()
    ]
    formula = "kernels of one step, each by its roofline, + overheads"
    return total("decode step", leaves, unit="s", formula=formula, sources=("roofline",))


def _binds(made: Deployment, step: Estimate, shape: StepShape, load: Load, prompt_share: float, flying: float) -> str:
    if flying > most_in_flight(made) * 1.001:
        return f"cache room: {most_in_flight(made):,.0f} of {flying:,.0f} requests run at once, the rest wait"
    if prompt_share > PREFILL_BOUND:
        return f"compute: prompts of other requests take {prompt_share:.0%} of the time"
    part = max(step.parts, key=lambda part: part.value)
    kernels = [o for o in made.operators(shape) if o.kind == part.name]
    compute = sum(float(o.compute_seconds) * o.count for o in kernels)
    memory = sum(float(o.memory_seconds) * o.count for o in kernels)
    words = BINDS[part.name][compute > memory]
    return f"{words}, {part.value / step.value:.0%} of a decode step"


def priced(cluster: Cluster) -> Instance | None:
    """Return the instance that the machine names, else the cheapest dated one per card with enough of these cards."""
    if cluster.node.instance:
        return cluster.node.instance
    for least in (cluster.node.gpus, 1):
        found = list_instances(gpu=cluster.gpu.key, priced_only=True, min_gpus=least, sort="gpu-price")
        if found:
            return found[0]
    return None


def usd_per_million(instance: Instance | None, gpus: int, tokens_per_second: float) -> float | None:
    """Return dollars per million output tokens of ``gpus`` cards rented by the hour."""
    if instance is None or instance.usd_per_gpu_hour is None or tokens_per_second <= 0:
        return None
    return instance.usd_per_gpu_hour * gpus / (tokens_per_second * SECONDS_PER_HOUR) * MILLION
