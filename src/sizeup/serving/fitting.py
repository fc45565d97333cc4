"""Which catalog models run on given hardware: best format, context and speed of each, the most capable first."""

from __future__ import annotations

import functools
import re
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sizeup.catalog.lookup import ModelRecord, list_models
from sizeup.engine_cache import sequence_bytes
from sizeup.errors import UserError
from sizeup.estimate import Band
from sizeup.evidence.bands import band
from sizeup.holding import runs
from sizeup.llm.architecture import Architecture, StateCache, TokenCache
from sizeup.llm.stored import stored_format_name
from sizeup.physics.capability import loss_of
from sizeup.physics.serving_operators import StepShape
from sizeup.plan.serving import ServingLayout, ServingPlan
from sizeup.serving.answer import check_hardware
from sizeup.serving.memory import ServingMemory, serving_memory
from sizeup.serving.speed import deployment
from sizeup.serving.weights import active_bytes

if TYPE_CHECKING:
    from sizeup.machine import Gpu

CONTEXT = 8192
"""Tokens that a format must leave room for, unless asked otherwise; less where a model ends before."""

LONG_CONTEXT = 32768
"""Positions from which on a model counts as recent."""

GGUF_LADDER = ("q8_0", "q6_k", "q5_k_m", "q4_k_m")
"""llama.cpp's formats from the nearest to the original down to about 4.5 bits; below that quality falls quickly."""

SERVER_LADDER = ("", "fp8", "awq-int4")
"""vLLM's formats: as published, then formats that are made of it."""

SERVER_CARD_GB = 40
"""Cards from this label on are taken for servers (vLLM); smaller ones for one person's (llama.cpp)."""

_CONVERTED = re.compile(r"-(NVFP4|MXFP4|FP8|FP4|BF16|AWQ|GPTQ|INT8|INT4|GGUF)(-.*)?$", re.IGNORECASE)
_OPEN = ("verified", "rekeyed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """One model on the hardware, in the best format that leaves room for the context.

    ``tokens_per_second`` is what one user sees, ``bound`` what memory bandwidth allows at most. ``others`` are models
    of the same maker and size: other versions, of the same shape or older.
    """

    record: ModelRecord
    format: str
    engine: str
    memory: ServingMemory
    parameters: int
    active_parameters: int
    context: int
    sequences: int
    tokens_per_second: float
    band: Band | None
    bound: float
    loss: float
    tokens_assumed: bool
    layout: ServingLayout
    cache_bytes: float
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fits:
    """What runs, best first; ``tried`` models were looked at, ``too_large`` did not fit in any format."""

    gpu: Gpu
    gpus: int
    engine: str
    context: int
    found: tuple[Fit, ...]
    tried: int
    too_large: tuple[str, ...]
    assumptions: tuple[str, ...]


def base_name(name: str) -> str:
    """Return the name of the model without the format that a re-upload was converted to.

    >>> base_name("Qwen3-32B-FP8"), base_name("GLM-5.1-NVFP4"), base_name("Llama-3.1-8B")
    ('Qwen3-32B', 'GLM-5.1', 'Llama-3.1-8B')
    """
    return _CONVERTED.sub("", name)


def _plain(name: str) -> str:
    words = re.sub(r"-(hf|Base|it|Instruct|Chat|Thinking|v[0-9.]+|[0-9]{4})(?=-|$)", "", base_name(name), flags=re.I)
    return re.sub(r"[^a-z0-9]", "", words.lower()).removeprefix("meta")


def _preference(record: ModelRecord) -> tuple[bool, bool, int, str]:
    converted = base_name(record.short_name) != record.short_name
    return converted, record.trust != "verified", len(record.name), record.name


def distinct_models() -> list[ModelRecord]:
    """Return one record for each openly published model: originals before conversions, verified before re-keyed."""
    chosen: dict[str, ModelRecord] = {}
    for record in sorted((r for r in list_models() if r.trust in _OPEN), key=_preference):
        chosen.setdefault(_plain(record.short_name), record)
    return list(chosen.values())


def generates(architecture: Architecture) -> bool:
    """Return whether a model writes text token by token: it keeps something of the running text."""
    caches = [c for layer, _ in architecture.distinct_layers() for c in layer.caches]
    own = any(isinstance(c, StateCache) or c.of == "tokens" for c in caches)
    crossed = any(isinstance(c, TokenCache) and c.of == "encoder" for c in caches)
    return bool(architecture.vocabulary_size) and own and not crossed


def engine_for(gpu: Gpu) -> str:
    """Return the engine that people run on such a card."""
    server = gpu.vendor in ("nvidia", "amd") and gpu.label_gb >= SERVER_CARD_GB and not gpu.unified_memory
    return "vllm" if server else "llamacpp"


def _ladder(architecture: Architecture, engine: str, gpu: Gpu) -> Iterator[str]:
    if engine == "llamacpp":
        if stored_format_name(architecture) == "mxfp4":
            yield "gguf-mxfp4"
        yield from GGUF_LADDER
        return
    quantized = architecture.quantization is not None
    for name in SERVER_LADDER:
        if name and quantized:
            continue
        wanted = name or stored_format_name(architecture)
        plan = ServingPlan(engine=engine, weight_format=wanted, kv_dtype="bf16")
        if runs(gpu, wanted) if gpu.vendor == "nvidia" else not check_hardware(gpu, plan):
            yield name


def _layouts(engine: str, gpus: int) -> list[ServingLayout]:
    if engine == "llamacpp":
        return [ServingLayout(pp=gpus)]
    layouts = [ServingLayout(tp=gpus)]
    layouts += [ServingLayout(tp=tp, pp=gpus // tp) for tp in range(gpus - 1, 0, -1) if gpus % tp == 0]
    return layouts


def decode_seconds(
    architecture: Architecture, memory: ServingMemory, plan: ServingPlan, gpu: Gpu, *, context: int
) -> float:
    """Return the least time of one token of one user [s]: active weights and the cache are read once.

    Ranks that compute together each read their share; cards that hold layers work one after the other.

    Source: [pope2022] section 2
    """
    weights = active_bytes(architecture, plan.weight_format, plan.layout)
    cache = sequence_bytes(memory.kinds, context, memory.rules) * plan.layout.pp
    return (weights + cache) / gpu.memory_bandwidth_bytes_per_second


def expected_tokens_per_second(
    architecture: Architecture, plan: ServingPlan, gpu: Gpu, *, context: int
) -> float | None:
    """Return what one user sees while ``context`` tokens are cached; None where the links of the card are not known."""
    resolved = replace(
        plan, weight_format=plan.weight_format or stored_format_name(architecture), kv_dtype=plan.kv_dtype or "bf16"
    )
    try:
        made = deployment(architecture, resolved, gpu, room=1, gpus_per_node=gpu.gpus_per_node)
    except UserError:
        return None
    return 1 / float(made.seconds(StepShape(decodes=1, context=context)))


def _try(record: ModelRecord, architecture: Architecture, gpu: Gpu, gpus: int, engine: str, context: int) -> Fit | None:
    limit = min(context, architecture.max_positions or context)
    for name in _ladder(architecture, engine, gpu):
        for layout in _layouts(engine, gpus):
            plan = ServingPlan(engine=engine, weight_format=name, layout=layout, max_model_len=limit, max_num_seqs=1)
            try:
                memory = serving_memory(architecture, plan, gpu)
            except UserError:
                continue
            if memory.fits:
                return _fit(record, architecture, gpu, plan, memory, limit)
    return None


def _fit(
    record: ModelRecord, architecture: Architecture, gpu: Gpu, plan: ServingPlan, memory: ServingMemory, context: int
) -> Fit:
    from sizeup.llm.parameters import count_active_parameters, count_parameters

    total, active = count_parameters(architecture), count_active_parameters(architecture)
    tokens = training_tokens(record)
    # a mixture is taken for a dense model of the geometric mean of all and of active parameters
    effective = (total * active) ** (1 / 2)
    bound = 1 / decode_seconds(architecture, memory, plan, gpu, context=context // 2)
    speed = min(expected_tokens_per_second(architecture, plan, gpu, context=context // 2) or bound, bound)
    found = band(1 / speed, table="serving", quantity="tpot_ms")
    return Fit(
        record=record, format=plan.weight_format or stored_format_name(architecture), engine=plan.engine,
        memory=memory, parameters=total, active_parameters=active, context=memory.largest_context,
        sequences=memory.max_concurrency(context),
        tokens_per_second=speed, bound=bound,
        band=replace(found, low=1 / found.high, high=min(1 / found.low, bound)) if found else None,
        loss=loss_of(parameters=effective, tokens=tokens or usual_tokens(recent=_is_recent(record.config()))),
        tokens_assumed=tokens is None, layout=plan.layout,
        cache_bytes=sequence_bytes(memory.kinds, context, memory.rules),
    )  # fmt: skip


@functools.cache
def _known_tokens() -> dict[str, int]:
    return {record.name: record.tokens_trained for record in list_models() if record.tokens_trained}


@functools.cache
def usual_tokens(*, recent: bool) -> float:
    """Return a cautious guess for models that do not say their training tokens: a quarter of those that do had fewer.

    Models with room for long texts are recent and saw far more: they have a median of their own.
    """
    known = [(record, record.tokens_trained) for record in list_models() if record.tokens_trained]
    alike = [tokens for record, tokens in known if _is_recent(record.config()) == recent]
    return float(statistics.quantiles(alike, n=4)[0])


def _is_recent(config: Mapping[str, Any]) -> bool:
    text = config.get("text_config")
    positions = {**config, **(text if isinstance(text, dict) else {})}.get("max_position_embeddings") or 0
    return isinstance(positions, int) and positions >= LONG_CONTEXT


def training_tokens(record: ModelRecord) -> float | None:
    """Return the tokens a model was trained on: its own, or those of the same maker's model of the same line."""
    if record.tokens_trained:
        return float(record.tokens_trained)
    line = _line(record.short_name)
    family = [
        tokens for name, tokens in _known_tokens().items() if line and _line(name.rpartition("/")[2]).startswith(line)
    ]
    return float(max(family)) if family else None


def _line(name: str) -> str:
    """Return the words of a name up to its first whole number: DeepSeek-V3, Qwen3, GLM-5."""
    found = re.match(r"[A-Za-z]+(?:-[A-Za-z]+)*-?[A-Za-z]?[0-9]+", name)
    return found.group(0).lower() if found else ""


def models_for(gpu: Gpu, *, gpus: int = 1, context: int = CONTEXT, engine: str = "") -> Fits:
    """Return the models of the catalog that ``gpus`` cards run, the most capable first.

    Capability is the loss that the scaling law of Hoffmann et al. gives a model's parameters and training tokens.
    """
    used = engine or engine_for(gpu)
    records, found, large = distinct_models(), [], []
    room = gpu.memory_bytes * gpus
    # four bits for each parameter is less than any format here takes
    fitting = [record for record in records if (record.parameters or 0) / 2 <= room]
    large += [record.name for record in records if record not in fitting]
    tried = 0
    for record in fitting:
        architecture = _architecture(record)
        if architecture is None or not generates(architecture):
            continue
        tried += 1
        one = _try(record, architecture, gpu, gpus, used, context)
        if one is None:
            large.append(record.name)
        else:
            found.append(one)
    kept = _latest_of_size(_one_per_shape(found))
    ranked = tuple(sorted(kept, key=lambda fit: (fit.loss, fit.record.name)))
    return Fits(
        gpu=gpu, gpus=gpus, engine=used, context=context, found=ranked, tried=tried + len(records) - len(fitting),
        too_large=tuple(large), assumptions=_assumptions(ranked),
    )  # fmt: skip


def _one_per_shape(found: list[Fit]) -> list[Fit]:
    """Return one model of each shape, naming the others: later versions and fine-tunings differ in their weights only.

    The verified one, trained longest, of the highest version.
    """
    shapes: dict[tuple[int, int, float], list[Fit]] = {}
    for fit in found:
        shapes.setdefault((fit.parameters, fit.active_parameters, fit.cache_bytes), []).append(fit)
    return [_first_of(alike) for alike in shapes.values()]


def _first_of(alike: list[Fit]) -> Fit:
    def preference(fit: Fit) -> tuple[bool, bool, float, list[float], int]:
        name = fit.record.short_name
        version = [-float(number) for number in re.findall(r"\d+(?:\.\d+)?", name)]
        return fit.record.trust != "verified", base_name(name) != name, fit.loss, version, len(name)

    first, *others = sorted(alike, key=preference)
    return replace(first, others=tuple(fit.record.name for fit in others))


SIMILAR = 1.15
"""Sizes that differ by less than this factor are alike."""


def generation(name: str) -> tuple[str, float]:
    """Return the family that a name begins with and its generation; 0 where only a size is named.

    >>> generation("Qwen2.5-32B"), generation("gemma-3-27b-pt"), generation("Qwen-72B")
    (('qwen', 2.5), ('gemma', 3.0), ('qwen', 0.0))
    """
    match = re.match(r"([A-Za-z]+)[-_]?(?:(\d+(?:[._]\d+)?)(?![\d.]*[BbMm]))?", name)
    return (match[1].lower(), float((match[2] or "0").replace("_", "."))) if match else (name.lower(), 0.0)


def _latest_of_size(found: list[Fit]) -> list[Fit]:
    """Return the latest model of every maker, family and size; it names the earlier ones and its sisters."""

    def order(fit: Fit) -> tuple[float, bool, int, float, str]:
        name = fit.record.short_name
        return -generation(name)[1], fit.record.trust != "verified", len(name), fit.loss, name

    kept: list[Fit] = []
    for fit in sorted(found, key=order):
        place = next((index for index, one in enumerate(kept) if _alike(one, fit)), None)
        if place is None:
            kept.append(fit)
        else:
            kept[place] = replace(kept[place], others=(*kept[place].others, fit.record.name, *fit.others))
    return kept


def _alike(one: Fit, other: Fit) -> bool:
    same = one.record.organisation == other.record.organisation
    same = same and generation(one.record.short_name)[0] == generation(other.record.short_name)[0]
    sizes = ((one.parameters, other.parameters), (one.active_parameters, other.active_parameters))
    return same and all(max(pair) < SIMILAR * min(pair) for pair in sizes)


def _assumptions(found: tuple[Fit, ...]) -> tuple[str, ...]:
    noted = ["a mixture counts as a dense model of the geometric mean of all and of active parameters"]
    if any(fit.tokens_assumed for fit in found):
        recent, older = (usual_tokens(recent=long) / 1e12 for long in (True, False))
        noted.append(
            f"models marked * do not say their training tokens: {recent:.1f}T assumed, {older:.1f}T where the context "
            f"is below {LONG_CONTEXT:,}"
        )
    return tuple(noted)


@functools.cache
def _architecture(record: ModelRecord) -> Architecture | None:
    from sizeup.llm.families import build

    try:
        made = build(record.config(), where=record.name)
    except UserError:
        return None
    return made if made.dtype_stated else replace(made, dtype="bfloat16", dtype_stated=True)
