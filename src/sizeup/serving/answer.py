"""(Model, machine, plan, load) -> what serving takes, how fast it answers, what it costs, what limits it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sizeup.engine_cache import sequence_bytes
from sizeup.errors import UserError
from sizeup.estimate import Band, Estimate, leaf, total
from sizeup.evidence.bands import band
from sizeup.llm.architecture import Architecture
from sizeup.llm.formats import format_named
from sizeup.llm.stored import stored_format_name
from sizeup.machine import Cluster, Gpu
from sizeup.machine.instances import Instance, list_instances
from sizeup.physics.queueing import Requests
from sizeup.physics.serving_operators import StepShape
from sizeup.plan.engines import engine
from sizeup.plan.serving import Load, ServingPlan
from sizeup.serving.commands import Start, commands
from sizeup.serving.memory import ServingMemory, serving_memory
from sizeup.serving.open_loop import Saturated, open_speed, steady_states
from sizeup.serving.results import ServingAnswer, Speed, Targets
from sizeup.serving.simulate import Pool, replay
from sizeup.serving.speed import (
    HOST_BYTES_PER_SECOND,
    HOST_LINK_BYTES_PER_SECOND,
    Deployment,
    burst_speed,
    closed_speed,
    decode_shape,
    deployment,
    most_in_flight,
    prompt_alone_seconds,
    regime_of,
)

SECONDS_PER_HOUR = 3600
MILLION = 1e6
GIGA = 1e9
LLAMA_CACHES = ("q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")
"""Cache formats in blocks, which llama.cpp alone has ([llama_cpp])."""

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
    "drafting": ("drafting of speculative tokens", "drafting of speculative tokens"),
    "host memory": ("host memory and the link to it", "host memory and the link to it"),
}
"""What to say where a kind of kernel takes most of a decode step: bound by memory, or by compute."""


def resolved(architecture: Architecture, plan: ServingPlan) -> ServingPlan:
    """Return the plan with its weight and cache formats filled in; what was filled in is noted.

    Raises:
        UserError: unknown format.
    """
    noted = list(plan.assumptions)
    name = format_named(plan.weight_format).name if plan.weight_format else stored_format_name(architecture)
    if not plan.weight_format and plan.engine == "llamacpp" and not format_named(name).is_gguf:
        name = "gguf-mxfp4" if name == "mxfp4" else "gguf-bf16"
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
    nvidia = gpu.vendor == "nvidia"
    llama = plan.engine in ("llamacpp", "llama.cpp")
    if known.is_gguf and not llama and plan.engine != "vllm":
        found.append(f"{plan.engine} does not load GGUF files: use llama.cpp")
    if llama and not known.is_gguf:
        found.append(f"llama.cpp loads GGUF files, not {known.name}: use q4_k_m, q8_0 or gguf-bf16")
    capability = float(gpu.compute_capability or 0) if nvidia else 0.0
    blocks = plan.kv_dtype in LLAMA_CACHES
    if plan.kv_dtype and (blocks if not llama else plan.kv_dtype.startswith("fp8")):
        others = "fp16, q8_0 or q4_0" if llama else "bf16, fp8"
        found.append(f"{engine(plan.engine).title} has no {plan.kv_dtype} cache: {others}")
    if not nvidia and known.name.startswith(("fp8", "nvfp4")) and not gpu.peak_flops_per_second.get(known.compute):
        found.append(f"{gpu.name} has no {known.compute} units for {known.name} weights")
    # weight-only kernels run 8-bit and 4-bit floats on cards from Ampere on
    unpacks = capability >= 8 and known.name.startswith(("mxfp4", "nvfp4", "fp8", "mxfp8"))
    if capability and known.compute_capability > capability and not unpacks:
        found.append(
            f"{known.name} needs compute capability {known.compute_capability:g}; {gpu.name} has {capability:g}"
        )
    return found


def problems_of(
    architecture: Architecture, gpu: Gpu, plan: ServingPlan, memory: ServingMemory, load: Load
) -> list[str]:
    """Return why a plan cannot serve a load: memory, layout, formats, or requests longer than it takes."""
    found = [*memory.reasons, *check_hardware(gpu, plan)]
    longest = architecture.max_positions
    if plan.max_model_len and load.longest > plan.max_model_len:
        found.append(f"requests of {load.longest:,} tokens are longer than max_model_len {plan.max_model_len:,}")
    elif longest and load.longest > longest:
        found.append(f"requests of {load.longest:,} tokens are longer than the model's context of {longest:,}")
    return found


def room_of(memory: ServingMemory, load: Load, plan: ServingPlan) -> float:
    """Return the sequences that one replica runs at once: what its cache holds at the lengths of the load."""
    mean = load.input_tokens + load.output_tokens // 2
    length = load.longest if plan.engine in ("trtllm", "llamacpp", "llama.cpp", "transformers") else mean
    replicas = max(memory.replicas, 1)
    spread = 1 if plan.layout.attention_dp else replicas
    held = memory.max_concurrency(length, decoding=True)
    return max(min(held / spread, float(memory.limits.sequences * replicas / spread)), 1.0)


def requests_of(load: Load) -> Requests:
    """Return the lengths of a load."""
    return Requests(prompt=load.input_tokens, output=load.output_tokens, cached=load.prefix_cached)


def serve(
    name: str,
    architecture: Architecture,
    cluster: Cluster,
    plan: ServingPlan,
    load: Load,
    *,
    targets: Targets | None = None,
    usd_per_gpu_hour: float | None = None,
) -> ServingAnswer:
    """Return memory, speed, price and flags of one plan. ``usd_per_gpu_hour`` is a price of one's own.

    Raises:
        UserError: unknown format, engine or links.
    """
    plan, wanted = resolved(architecture, plan), targets or Targets()
    gpu = card_of(cluster)
    plan = within_room(architecture, plan, gpu, load)
    memory = serving_memory(architecture, plan, gpu, load=load)
    problems = problems_of(architecture, gpu, plan, memory, load)
    speed, most = None, None
    if not problems:
        room = room_of(memory, load, plan)
        try:
            made = deployment(architecture, plan, gpu, room=room, gpus_per_node=cluster.node.gpus)
            speed = speed_of(made, load, pool_of(memory, plan, load))
            if load.arrivals and load.rate and speed.saturation_rate and load.rate >= speed.saturation_rate:
                most = speed.saturation_rate
        except Saturated as error:
            most = error.most
        except UserError as error:
            problems.append(str(error))
    gpus, instance = plan.layout.gpus, priced(cluster)
    rate = speed.output_rate.value if speed else 0.0
    hourly = usd_per_gpu_hour or (instance.usd_per_gpu_hour if instance else None)
    watts = cluster.gpu.tdp_watts
    start = Start(
        model=name, plan=plan, load=load, layers=len(architecture.layers), checkpoint=stored_format_name(architecture)
    )
    noted = (*plan.assumptions, *memory.assumptions, *_noted(cluster, instance, speed, plan, load, usd_per_gpu_hour))
    return ServingAnswer(
        name=name, architecture=architecture, cluster=cluster, plan=plan, load=load, targets=wanted, memory=memory,
        speed=speed, fits=not problems, max_concurrency=memory.max_concurrency(load.longest), saturation_rate=most,
        meets_targets=speed is not None and wanted.met(speed.ttft.value, speed.tpot.value),
        instance=None if usd_per_gpu_hour else instance,
        usd_per_million_output_tokens=usd_per_million(hourly, gpus, rate),
        joules_per_output_token=watts * gpus / rate if watts and rate else None,
        flags=commands(start), problems=tuple(problems),
        assumptions=tuple(dict.fromkeys(noted)),
    )  # fmt: skip


def card_of(cluster: Cluster) -> Gpu:
    """Return the card of a machine with the memory that a program gets there; an instance may bound it."""
    gpu, memory = cluster.gpu, cluster.node.memory_bytes
    return gpu if memory == gpu.memory_bytes else replace(gpu, memory_bytes=memory)


def within_room(architecture: Architecture, plan: ServingPlan, gpu: Gpu, load: Load) -> ServingPlan:
    """Return the plan with the longest sequence that its cache holds where the model's own context does not fit.

    vLLM refuses to start otherwise.
    """
    if plan.max_model_len is not None or plan.engine != "vllm":
        return plan
    memory = serving_memory(architecture, plan, gpu, load=load)
    longest = memory.largest_context
    if not memory.fits or longest >= memory.limits.context:
        return plan
    note = f"max_model_len: {longest:,}, all that the cache holds; the model's is {memory.limits.context:,}"
    return replace(plan, max_model_len=longest, assumptions=(*plan.assumptions, note))


def _noted(
    cluster: Cluster, instance: Instance | None, speed: Speed | None, plan: ServingPlan, load: Load,
    usd_per_gpu_hour: float | None,
) -> list[str]:  # fmt: skip
    notes = list(cluster.notes)
    if speed:
        notes += speed.notes
    if usd_per_gpu_hour:
        notes.append(f"price: ${usd_per_gpu_hour:g} per card and hour (given)")
    elif instance:
        notes.append(f"price: {instance.cloud} {instance.name}, on demand, {instance.date}, by the card")
    else:
        notes.append(f"no dated price of {cluster.gpu.name} is in the catalog: --usd-per-gpu-hour gives one")
    if cluster.gpu.tdp_watts:
        notes.append("energy: cards at their TDP; hosts and cooling are not counted")
    if load.prefix_cached:
        notes.append(f"{load.prefix_cached:.0%} of every prompt is found in the prefix cache (given)")
    if plan.drafting:
        drafted = plan.drafting
        notes.append(
            f"speculative decoding ({drafted.model or drafted.method}): {drafted.tokens} drafted, each kept with "
            f"{drafted.acceptance:.0%}: {drafted.tokens_per_step:.2f} tokens a step [leviathan2023]"
        )
    if plan.offload_layers or plan.offload_experts:
        notes += _host_notes(cluster.gpu, plan)
    return notes


def _host_notes(gpu: Gpu, plan: ServingPlan) -> list[str]:
    memory, link = plan.host_bytes_per_second, plan.host_link_bytes_per_second
    given = "(given)" if memory else "(two channels of DDR5-5600, assumed: --host-bandwidth)"
    found = [f"host memory {(memory or HOST_BYTES_PER_SECOND) / GIGA:.3g} GB/s {given}"]
    rate = link or gpu.pcie_bytes_per_second or HOST_LINK_BYTES_PER_SECOND
    said = "(given)" if link else "(the card's PCIe)" if gpu.pcie_bytes_per_second else "(PCIe 4.0 x16, assumed)"
    return [*found, f"link to host memory {rate / GIGA:.3g} GB/s {said}"]


def pool_of(memory: ServingMemory, plan: ServingPlan, load: Load) -> Pool:
    """Return what the scheduler of one replica may hold."""
    each = sequence_bytes(memory.kinds, load.longest, memory.rules)
    ranks = plan.layout.dp if plan.layout.attention_dp else 1
    tokens = max(memory.pool_bytes, 0.0) / each * load.longest * ranks if each else float("inf")
    whole = plan.engine not in ("vllm", "sglang")
    return Pool(tokens=tokens, sequences=memory.limits.sequences * ranks, whole=whole)


def simulated_speed(made: Deployment, load: Load, pool: Pool) -> Speed:
    """Return what the arrivals of a load meet one by one: means with bands, and percentiles of the replay."""
    found = replay(made, load.arrivals, pool, cached=load.prefix_cached)
    note = f"{found.requests:,} requests replayed in {found.seconds:,.0f} s of the engine's time, "
    note += f"{found.steps:,} steps, {found.preemptions:,} preempted"
    speed = speed_from(
        made, load, ttft=found.ttft.mean, tpot=found.tpot.mean, requests_per_second=found.requests_per_second,
        flying=found.in_flight, prompt_share=found.prompt_share,
        percentiles={"TTFT": found.ttft, "TPOT": found.tpot, "ITL": found.itl, "E2E": found.e2e},
        saturation_rate=steady_states(made, requests_of(load)).saturation_rate,
    )  # fmt: skip
    return replace(speed, notes=(*speed.notes, note))


def speed_of(made: Deployment, load: Load, pool: Pool) -> Speed:
    """Return how fast a deployment answers a load, with bands.

    Raises:
        Saturated: an open loop at or beyond saturation, unless it is replayed.
    """
    if load.arrivals:
        return simulated_speed(made, load, pool)
    requests, more = requests_of(load), {}
    if load.kind == "open":
        assert load.rate is not None
        found = open_speed(made, requests, load.rate)
        latency, flying = found.latency, found.in_flight
        more = {"percentiles": {"TTFT": found.ttft, "TPOT": found.tpot}, "saturation_rate": found.saturation_rate}
    else:
        run = closed_speed if load.kind == "closed" else burst_speed
        latency, flying = run(made, requests, load.concurrency), float(load.concurrency)
    return speed_from(
        made, load, ttft=float(latency.ttft_seconds), tpot=float(latency.tpot_seconds),
        requests_per_second=float(latency.requests_per_second), flying=flying,
        prompt_share=float(latency.prompt_share), **more,
    )  # fmt: skip


def speed_from(
    made: Deployment, load: Load, *, ttft: float, tpot: float, requests_per_second: float, flying: float,
    prompt_share: float, **more: Any,
) -> Speed:  # fmt: skip
    """Return latency and rates [s, 1/s] with their bands, what a decode step is made of, and what binds."""
    shape = decode_shape(made, requests_of(load), max(flying, 1.0))
    step = _step_estimate(made, shape)
    peak, bandwidth = made.use(shape)
    regime = regime_of(flying, most_in_flight(made))

    def shown(estimate: Estimate, quantity: str, scale: float) -> Estimate:
        value = float(estimate.value)
        found = band(value * scale, table="serving", quantity=quantity, regime=regime, far=made.far)
        return estimate.with_band(_scaled(found, 1 / scale)) if found else estimate

    first, further, rate = _means(made, load, step, ttft, tpot, requests_per_second, flying)
    return Speed(
        ttft=shown(first, "ttft_ms", 1e3),
        tpot=shown(further, "tpot_ms", 1e3),
        output_rate=shown(rate, "output_tokens_per_second", 1.0),
        step=step, requests_per_second=requests_per_second, in_flight=flying, prompt_share=prompt_share,
        peak_share=float(peak), bandwidth_share=float(bandwidth),
        binds=_binds(made, step, shape, load, prompt_share, flying), notes=(made.known.origin,), **more,
    )  # fmt: skip


def _means(
    made: Deployment, load: Load, step: Estimate, ttft: float, tpot: float, requests_per_second: float, flying: float
) -> tuple[Estimate, Estimate, Estimate]:
    """Return TTFT, TPOT [s] and output tokens per second with the numbers behind them."""
    own, before = float(prompt_alone_seconds(made, requests_of(load))), made.known.speed.request_seconds
    rest = max(ttft - own - before, 0.0)
    waited = {"own prompt alone": own, "before the first step": before, "waiting and sharing steps": rest}
    decode = float(step.value) / made.tokens_per_step
    held = {"decode step": decode, "held up by prompts of others": max(tpot - decode, 0.0)}
    rated = {"requests per second": requests_per_second, "output tokens": load.output_tokens, "in flight": flying}
    cited = ("little1961",)
    return (
        leaf("TTFT", ttft, "s", formula=" + ".join(waited), inputs=waited, sources=cited),
        leaf("TPOT", tpot, "s", formula=" + ".join(held), inputs=held, sources=cited),
        leaf("output tokens per second", requests_per_second * load.output_tokens, "tokens/s",
             formula="requests per second x output tokens", inputs=rated, sources=cited),
    )  # fmt: skip


def _scaled(found: Band, factor: float) -> Band:
    return replace(found, low=found.low * factor, high=found.high * factor)


def _step_estimate(made: Deployment, shape: StepShape) -> Estimate:
    """Return a decode step by kind of kernel, each with its two sides at the rates that kernels reach."""
    sides: dict[str, dict[str, float]] = {}
    for kernel in made.operators(shape):
        found = sides.setdefault(kernel.kind, {"kernels": 0.0, "computing": 0.0, "moving bytes": 0.0})
        found["kernels"] += kernel.count
        found["computing"] += kernel.count * float(kernel.compute_seconds)
        found["moving bytes"] += kernel.count * float(kernel.memory_seconds)
    leaves = [
        leaf(name, float(value), "s", inputs=sides.get(name), sources=("roofline",),
             formula="computing and moving bytes joined, at the engine's share, + starts" if name in sides else "")
        for name, value in made.parts(shape).items()
    ]  # fmt: skip
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


def usd_per_million(usd_per_gpu_hour: float | None, gpus: int, tokens_per_second: float) -> float | None:
    """Return dollars per million output tokens of ``gpus`` cards rented by the hour."""
    if usd_per_gpu_hour is None or tokens_per_second <= 0:
        return None
    return usd_per_gpu_hour * gpus / (tokens_per_second * SECONDS_PER_HOUR) * MILLION
