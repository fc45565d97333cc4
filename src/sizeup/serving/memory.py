"""Memory of a served model, per GPU: weights, cache pool, activation peak, graphs, the rest, and what is free.

:func:`serving_memory` answers for one plan on one card; formulas are in :mod:`sizeup.physics.serving_memory`, the
rules of each engine in :mod:`sizeup.plan.engines`, the few learned numbers in :mod:`sizeup.fitted.serving_memory`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sizeup.engine_cache import (
    CacheRules,
    LayerCache,
    layer_caches,
    longest_sequence,
    pool_tokens,
    sequence_bytes,
    state_bytes,
)
from sizeup.estimate import Estimate, leaf, total
from sizeup.fitted.serving_memory import Coefficients, shipped_coefficients
from sizeup.identity_cache import per_object
from sizeup.llm.architecture import Architecture
from sizeup.physics import serving_memory as physics
from sizeup.plan.engines import Engine, engine
from sizeup.plan.serving import Load, ServingLayout, ServingPlan
from sizeup.serving.drafting import drafted
from sizeup.serving.growing import growing_parts
from sizeup.serving.limits import Shape, largest_graph_batch, layout_problems, shape_of
from sizeup.serving.weights import StageWeights, host_embedding_bytes, placed_weights, stage_weights

if TYPE_CHECKING:
    from sizeup.machine import Gpu

DEFAULT_CONTEXT = 8192
"""Tokens of a sequence where neither the plan nor the model says a limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """A plan with every default filled in."""

    engine: Engine
    context: int
    batched_tokens: int
    sequences: int
    utilization: float | None
    cache_dtype: str
    assumptions: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ServingMemory:
    """What one deployment takes of each GPU (the fullest stage) and how much it can serve.

    ``device`` is the whole card: its parts are weights, cache, activations, graphs, other and free (below zero when
    it does not fit). ``cache_tokens`` is of the whole deployment. ``device_weights`` and ``device_cache`` are sums
    over all cards. ``reasons`` say why it does not fit; empty when it does.
    """

    device: Estimate
    limits: Limits
    stage: StageWeights
    kinds: dict[LayerCache, int]
    pool_bytes: float
    cache_tokens: int
    replicas: int
    most_tokens: int
    device_weights: float
    device_total: float
    host_bytes: float
    shortfall: float
    reasons: tuple[str, ...]
    assumptions: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether it starts and holds one sequence of the plan's context."""
        return not self.reasons

    def part(self, name: str) -> float:
        """Return bytes per GPU of ``weights``, ``cache``, ``activations``, ``graphs``, ``other`` or ``free``."""
        return next((float(part.value) for part in self.device.parts if part.name == name), 0.0)

    @property
    def rules(self) -> CacheRules:
        """What decides how much a sequence takes."""
        return CacheRules(engine=self.limits.engine, batched_tokens=self.limits.batched_tokens)

    @functools.cached_property
    def largest_context(self) -> int:
        """The longest single sequence that fits, up to what the model was made for."""
        return longest_sequence(self.kinds, self.pool_bytes, self.rules, most=self.most_tokens)

    def max_concurrency(self, length: int, *, decoding: bool = False) -> int:
        """Return how many sequences of ``length`` tokens the deployment holds at once.

        ``decoding``: all are past their prompts, so that layers with a window keep no more than it. Engines count on
        a whole batch of prompt tokens beside it.
        """
        rules = replace(self.rules, batched_tokens=1) if decoding else self.rules
        each = sequence_bytes(self.kinds, length, rules)
        if not each:
            return self.limits.sequences * self.replicas
        return int(max(0.0, self.pool_bytes) / each) * self.replicas


def resolve(architecture: Architecture, plan: ServingPlan, gpu: Gpu) -> Limits:
    """Return the plan's limits with the engine's defaults for its version and the card; each default is noted.

    Raises:
        UserError: no such engine.
    """
    used = engine(plan.engine, plan.engine_version)
    noted = list(plan.assumptions)
    if not plan.engine_version:
        noted.append(f"{used.title} {used.version}: no version was given")
    context = plan.max_model_len or architecture.max_positions or DEFAULT_CONTEXT
    if not plan.max_model_len:
        noted.append(f"max_model_len: {context:,}, " + ("the model's" if architecture.max_positions else "assumed"))
    batched = plan.max_batched_tokens or used.tokens(gpu.memory_bytes, gpu.key)
    if not plan.max_batched_tokens and used.batches_whole_context:
        batched = max(context, batched) if context <= 32768 else batched
    sequences = plan.max_num_seqs or used.sequences(gpu.memory_bytes, gpu.key)
    if used.divides == "tensor" and used.budget != "grows":
        if not plan.max_batched_tokens:
            noted.append(f"max_batched_tokens: {batched:,}, the default of {used.title} {used.version}")
        if not plan.max_num_seqs:
            noted.append(f"max_num_seqs: {sequences:,}, the default of {used.title} {used.version}")
    share = plan.gpu_memory_utilization if plan.gpu_memory_utilization is not None else used.utilization
    return Limits(
        engine=used, context=context, batched_tokens=batched, sequences=sequences, utilization=share,
        cache_dtype=plan.kv_dtype or "bf16", assumptions=(*noted, *used.unsourced),
    )  # fmt: skip


@per_object
def _stages(architecture: Architecture, format: str, layout: ServingLayout) -> tuple[StageWeights, ...]:
    return tuple(stage_weights(architecture, format, layout))


@per_object
def _kinds(architecture: Architecture, first: int, last: int, dtype: str, tp: int) -> dict[LayerCache, int]:
    return layer_caches(architecture.layers[first:last], dtype=dtype, tp=tp)


def activation_bytes(shape: Shape, limits: Limits, layout: ServingLayout, *, learned: Coefficients) -> float:
    """Return the activation peak of one rank of a batching engine [bytes]: a full batch, or the sampler."""
    used, tokens, tp = limits.engine, limits.batched_tokens, layout.tp
    dense = physics.gated_layer_bytes(
        tokens=tokens, hidden=shape.hidden, intermediate=shape.intermediate / tp, gated=shape.gated
    )
    experts = 0.0
    if shape.top_k:
        experts = physics.expert_layer_bytes(
            tokens=tokens, hidden=shape.hidden, expert_width=shape.expert_width / layout.expert_tensor_ranks,
            top_k=shape.top_k,
        )  # fmt: skip
    each = learned.logit_bytes(used.sampler)
    sampler = physics.sampler_bytes(
        sequences=min(limits.sequences, tokens), vocabulary=shape.vocabulary, bytes_per_logit=each, tokens=tokens,
        hidden=shape.hidden,
    )  # fmt: skip
    return float(max(dense, experts, sampler))


def serving_memory(
    architecture: Architecture,
    plan: ServingPlan,
    gpu: Gpu,
    *,
    load: Load | None = None,
    coefficients: Coefficients | None = None,
) -> ServingMemory:
    """Return the memory of ``plan`` on each ``gpu``. ``load`` matters to engines that set nothing aside.

    Raises:
        UserError: unknown engine, format or cache dtype.
    """
    limits = resolve(architecture, plan, gpu)
    learned = coefficients or shipped_coefficients()
    stages = _stages(architecture, plan.weight_format, plan.layout)
    answers = [
        _stage(architecture, plan, gpu, limits, stage, load, learned, first=index == 0)
        for index, stage in enumerate(stages)
    ]
    worst = min(answers, key=lambda answer: answer.shortfall_key)
    length = load.longest if load and plan.max_model_len is None else limits.context
    return _answer(architecture, plan, limits, answers, worst, length=min(length, limits.context))


@dataclass(frozen=True, slots=True, kw_only=True)
class _StageMemory:
    """One stage of the pipeline on its card."""

    stage: StageWeights
    kinds: dict[LayerCache, int]
    memory: int
    parts: dict[str, float]
    pool: float
    host: float
    counts_context: float

    @property
    def shortfall_key(self) -> float:
        """What is left beyond the pool's need; the smallest is the worst stage."""
        return self.pool / max(1, sum(self.kinds.values()))

    @property
    def used(self) -> float:
        """Bytes taken on the card."""
        return sum(self.parts.values())


def _stage(
    architecture: Architecture, plan: ServingPlan, gpu: Gpu, limits: Limits, stage: StageWeights, load: Load | None,
    learned: Coefficients, *, first: bool,
) -> _StageMemory:  # fmt: skip
    used, shape = limits.engine, shape_of(architecture)
    kinds = _kinds(architecture, stage.first, stage.last, limits.cache_dtype, plan.layout.tp)
    weights, host = _device_weights(architecture, plan, used, stage, first=first)
    draft, kinds = drafted(plan, stage, kinds)
    weights += draft
    if used.rotary_table and shape.rotary_dim:
        weights += physics.rotary_table_bytes(positions=architecture.max_positions or 0, rotary_dim=shape.rotary_dim)
    parts = {"weights": float(weights)}
    if used.budget == "context":
        parts |= _llama_parts(plan, limits, shape, kinds)
    elif used.budget == "grows":
        parts |= growing_parts(architecture, plan, limits.engine, kinds, load, context=limits.context)
    else:
        parts["activations"] = activation_bytes(shape, limits, plan.layout, learned=learned)
        if used.awq_split and plan.weight_format == "awq-int4":
            parts["activations"] += physics.split_output_bytes(
                tokens=limits.batched_tokens, width=shape.widest, copies=used.awq_split
            )
        parts["graphs"] = 0.0 if plan.eager else float(used.graph_bytes_per_layer * (stage.last - stage.first))
        parts["other"] = learned.non_torch_bytes(used.era, plan.layout.tp * plan.layout.ep)
        states = state_bytes(kinds, CacheRules(engine=used, batched_tokens=limits.batched_tokens)) * limits.sequences
        parts["states"] = states
        parts["cache"] = _pool(gpu, plan, limits, parts)
    outside = float(used.context_bytes)
    parts["other"] = parts.get("other", 0.0) + outside
    pool = parts["cache"]
    parts["cache"] = max(0.0, pool) + parts.pop("states", 0.0)
    return _StageMemory(
        stage=stage, kinds=kinds, memory=gpu.memory_bytes, parts=parts, pool=pool, host=float(host),
        counts_context=outside,
    )  # fmt: skip


def _device_weights(
    architecture: Architecture, plan: ServingPlan, used: Engine, stage: StageWeights, *, first: bool
) -> tuple[float, float]:
    """Return the weights on the card and those in host memory [bytes]."""
    if used.name != "llamacpp":
        return stage.total, 0.0
    host = float(host_embedding_bytes(architecture, plan.weight_format)) if first else 0.0
    away = max(0, min(plan.offload_layers, stage.last) - stage.first)
    partly = max(0, min(plan.offload_layers + plan.offload_experts, stage.last) - max(stage.first, plan.offload_layers))
    if away or partly:
        for one in placed_weights(architecture, plan.weight_format):
            whole = stage.first <= one.layer < stage.first + away
            experts = one.part == "experts" and stage.first + away <= one.layer < stage.first + away + partly
            host += one.size if whole or experts else 0
    return stage.total - host, host


def _llama_parts(plan: ServingPlan, limits: Limits, shape: Shape, kinds: dict[LayerCache, int]) -> dict[str, float]:
    flash = limits.engine.flash_attention if plan.flash_attention is None else plan.flash_attention
    rules = CacheRules(engine=limits.engine, batched_tokens=limits.batched_tokens)
    compute = physics.llama_compute_bytes(
        context=limits.context, micro_batch=plan.max_batched_tokens or limits.engine.micro_batch, heads=shape.heads,
        hidden=shape.hidden, intermediate=shape.widest, vocabulary=shape.vocabulary, flash=flash,
    )  # fmt: skip
    on_card = max(0, sum(kinds.values()) - plan.offload_layers) / max(1, sum(kinds.values()))
    return {
        "cache": sequence_bytes(kinds, limits.context, rules) * (plan.max_num_seqs or 1) * on_card,
        "activations": float(compute),
    }


def _pool(gpu: Gpu, plan: ServingPlan, limits: Limits, parts: dict[str, float]) -> float:
    """Return the cache pool of one card by the engine's budget rule [bytes]; below zero if there is none."""
    used, memory = limits.engine, gpu.memory_bytes
    outside = used.context_bytes if used.counts_context and not used.era.startswith("vllm") else 0
    if used.budget == "static":
        if limits.utilization is None:
            graph = largest_graph_batch(memory, plan.layout.tp)
            reserve = physics.sglang_reserve_bytes(
                chunked_prefill=limits.batched_tokens, graph_batch=graph, tp=plan.layout.tp, pp=plan.layout.pp,
                memory=memory, attention_dp=plan.layout.dp if plan.layout.attention_dp else 1,
            )  # fmt: skip
            return float(memory - reserve - outside - parts["weights"] - parts["states"])
        return limits.utilization * (memory - outside) - parts["weights"] - parts["states"]
    counted = ["weights", "activations", "other", "states", *(["graphs"] if used.graphs_in_budget else [])]
    taken = sum(parts[name] for name in counted) + outside
    share = limits.utilization if limits.utilization is not None else 1.0
    if used.budget == "free":
        if taken > memory:
            return memory - taken
        return float(physics.free_pool_bytes(memory=memory, share=share, taken=taken))
    pool: float = physics.share_pool_bytes(memory=memory, share=share, taken=taken)
    return pool


def _answer(
    architecture: Architecture, plan: ServingPlan, limits: Limits, answers: list[_StageMemory], worst: _StageMemory,
    *, length: int,
) -> ServingMemory:  # fmt: skip
    rules = CacheRules(engine=limits.engine, batched_tokens=limits.batched_tokens)
    replicas = plan.layout.dp
    fixed = limits.engine.budget in ("context", "grows")
    slots = plan.max_num_seqs or 1
    tokens = limits.context * slots if fixed else pool_tokens(worst.kinds, worst.pool, rules, length=limits.context)
    most = architecture.max_positions or limits.context
    pool = worst.pool + (worst.memory - worst.used if fixed else 0)
    need = sequence_bytes(worst.kinds, length, rules)
    short = min(answer.memory - answer.used for answer in answers) if fixed else worst.pool - need
    problems = layout_problems(architecture, plan.layout, plan.weight_format)
    device = _device(plan, limits, shape_of(architecture), worst)
    return ServingMemory(
        device=device, limits=limits, stage=worst.stage, kinds=worst.kinds, pool_bytes=pool,
        cache_tokens=tokens * (1 if fixed else replicas), replicas=replicas, most_tokens=most,
        device_weights=sum(a.parts["weights"] for a in answers),
        device_total=sum(a.used - a.counts_context for a in answers),
        host_bytes=sum(a.host for a in answers), shortfall=short,
        reasons=(*problems, *_reasons(worst, length, need, short, fixed)),
        assumptions=(*architecture.assumptions, *limits.assumptions),
    )  # fmt: skip


def _reasons(worst: _StageMemory, length: int, need: float, short: float, fixed: bool) -> list[str]:
    gib = 2**30
    if fixed:
        if short >= 0:
            return []
        return [f"needs {worst.used / gib:.1f} GiB on a card of {worst.memory / gib:.1f} GiB"]
    if worst.pool <= 0:
        taken = worst.parts["weights"] / gib
        return [f"no room for a cache: weights of {taken:.1f} GiB and the rest pass the budget by "
                f"{-worst.pool / gib:.1f} GiB"]  # fmt: skip
    if worst.pool < need:
        return [f"a sequence of {length:,} tokens needs {need / gib:.2f} GiB of cache and there are "
                f"{worst.pool / gib:.2f}"]  # fmt: skip
    return []


_FORMULAS = {
    "weights": "tensors of the rank: divided, or held again where they cannot be",
    "activations": "largest moment of a full batch: one layer, or the sampler",
    "graphs": "layers x bytes per layer",
    "other": "CUDA context + outside the framework (communication)",
}


_BUDGETS = {
    "share": "utilization x card - weights - activations - other, and graphs where they count",
    "free": "utilization x (card - weights - activations - other)",
    "static": "utilization x card - weights, or card - reserve - weights",
    "context": "bytes per token of all layers x context x sequences",
    "grows": "bytes per token of all layers x tokens of the load",
}
"""How an engine's budget leaves room for the cache, by the kind of budget."""


def _put_in(
    plan: ServingPlan, limits: Limits, shape: Shape, worst: _StageMemory
) -> dict[str, dict[str, int | float | str]]:
    """Return the numbers behind each part of the card's memory."""
    used, stage, layout = limits.engine, worst.stage, plan.layout
    share = "computed from the card" if limits.utilization is None else limits.utilization
    return {
        "weights": {
            "format": plan.weight_format, "layers": f"{stage.first + 1} to {stage.last}", "tensor ranks": layout.tp,
            "expert ranks": layout.ep,
        },
        "cache": {
            "utilization": share, "card": worst.memory, "context": limits.context, "cache dtype": limits.cache_dtype,
        },
        "activations": {
            "tokens of a batch": limits.batched_tokens, "sequences": limits.sequences, "hidden": shape.hidden,
            "feed-forward width": shape.widest, "vocabulary": shape.vocabulary, "tensor ranks": layout.tp,
        },
        "graphs": {"layers": stage.last - stage.first, "bytes per layer": used.graph_bytes_per_layer},
        "other": {
            "CUDA context": round(worst.counts_context),
            "outside the framework": round(worst.parts["other"] - worst.counts_context),
        },
    }  # fmt: skip


def _device(plan: ServingPlan, limits: Limits, shape: Shape, worst: _StageMemory) -> Estimate:
    """Return the whole card as a tree of whole bytes; what is left is free, below zero when it does not fit."""
    sizes = {name: round(size) for name, size in worst.parts.items()}
    sizes["free"] = worst.memory - sum(sizes.values())
    order = ("weights", "cache", "activations", "graphs", "other", "free")
    formulas = {**_FORMULAS, "cache": _BUDGETS[limits.engine.budget]}
    put_in = _put_in(plan, limits, shape, worst)
    parts = [
        leaf(
            name, sizes[name], "bytes", formula=formulas.get(name, "card - everything else"),
            inputs=put_in.get(name), sources=limits.engine.sources if name in put_in else (),
        )
        for name in order
        if sizes.get(name)
    ]  # fmt: skip
    return total("GPU memory", parts, unit="bytes", formula="what the driver shows")
