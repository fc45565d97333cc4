"""The default answer for a model: formats x what holds them, states for fine-tuning, and the verdict on given hardware.

Weights and cache are exact; whether they fit uses one stated share of the card (see :data:`USABLE_SHARE`). What an
engine really takes beside them is the business of serving.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from sizeup.errors import UserError
from sizeup.estimate import Estimate, leaf
from sizeup.llm.cache import cache_dtype as known_cache_dtype
from sizeup.llm.cache import cache_total
from sizeup.llm.formats import format_named, weight_formats
from sizeup.machine import cheapest_instances, list_gpus
from sizeup.machine.gpus import MEMORY_BASIS
from sizeup.sizing import Model
from sizeup.sweep import largest

if TYPE_CHECKING:
    from collections.abc import Callable

    from sizeup.llm.architecture import Architecture
    from sizeup.machine import Cluster, Gpu, Instance

Row = TypeVar("Row")

USABLE_SHARE = 0.9
"""Share of a GPU's memory taken for weights and cache; the rest is for activations and the runtime.
vLLM's default ``gpu_memory_utilization`` ([vllm_engine_args])."""

ENVELOPE_STORE_BYTES = 4
ENVELOPE_TRAIN_BYTES = 24
"""Bytes per parameter by the rules of thumb ([azad2024])."""

CARD_FORMATS = ("bf16", "fp8", "awq-int4", "nf4-dq", "q8_0", "q4_k_m")
MOST_GPUS = 4096
COMMON_GPU = "h100-sxm5-80gb"
CONTEXT = 8192
LEAST_CONTEXT = 512
"""A shorter context is not worth proposing."""
LADDER = ("fp8", "q8_0", "awq-int4", "q4_k_m", "q3_k_m", "q2_k")


@dataclass(frozen=True, slots=True)
class Placement:
    """One weight format with everything that holds it."""

    format: str
    weights: Estimate
    cache: Estimate | None
    smallest_gpu: Gpu | None
    common_gpus: int | None
    instance: Instance | None

    @property
    def need_bytes(self) -> int:
        """Weights and cache together."""
        return int(self.weights.value) + int(self.cache.value if self.cache else 0)

    def explained(self) -> list[Estimate]:
        """Return why this card, this many cards and this instance are named."""
        found, need = [], {"weights + cache": self.need_bytes}
        if gpu := self.smallest_gpu:
            found.append(leaf(
                f"{self.format}, usable memory of one {gpu.name}", usable_bytes(gpu.memory_bytes), "bytes",
                formula="memory x share: the least that holds weights + cache and runs the format",
                inputs={"memory": gpu.memory_bytes, "share": USABLE_SHARE, **need},
                sources=(gpu.memory_source or gpu.sources[0], "vllm_engine_args"),
            ))  # fmt: skip
        if self.common_gpus:
            common = common_gpu()
            found.append(leaf(
                f"{self.format}, how many {common.name}", self.common_gpus, "GPUs",
                formula="fewest that hold weights + cache and divide heads or layers",
                inputs={"memory": common.memory_bytes, "share": USABLE_SHARE, **need},
                sources=(common.memory_source or common.sources[0],),
            ))  # fmt: skip
        if offer := self.instance:
            found.append(leaf(
                f"{self.format}, an hour of {offer.cloud} {offer.name}", offer.usd_per_hour or 0, "dollars",
                formula="cheapest dated offer whose GPUs hold weights + cache and run the format",
                inputs={"GPUs": offer.gpus, "memory": offer.usable_gpu_memory_bytes, "share": USABLE_SHARE, **need},
                sources=(offer.price_source, offer.shape_source),
                assumptions=(f"on demand, {offer.region or 'region not stated'}, {offer.date}",),
            ))  # fmt: skip
        return found


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether one format fits given hardware, and how far it goes there."""

    format: str
    weights: Estimate
    cache: Estimate | None
    budget_bytes: int
    fits: bool
    max_context: int | None
    max_sequences: int | None

    @property
    def free_bytes(self) -> int:
        """Bytes left of the budget; negative when it does not fit."""
        return self.budget_bytes - int(self.weights.value) - int(self.cache.value if self.cache else 0)


@dataclass(frozen=True, slots=True)
class Card:
    """Everything the default command shows about one model."""

    model: Model
    context: int
    sequences: int
    placements: tuple[Placement, ...]
    states: tuple[Estimate, ...]
    cluster: Cluster | None = None
    verdicts: tuple[Verdict, ...] = ()
    changes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    cache_dtype: str = ""

    @property
    def fits(self) -> bool | None:
        """The verdict on the format that was asked for (the first); None without hardware."""
        return self.verdicts[0].fits if self.verdicts else None

    @property
    def _first(self) -> Placement | Verdict:
        return self.verdicts[0] if self.verdicts else self.placements[0]

    @property
    def first_format(self) -> str:
        """The format that was asked for, or the stored one."""
        return self._first.format

    @property
    def first_sizes(self) -> tuple[Estimate, Estimate | None]:
        """Weights and cache of the first format."""
        return self._first.weights, self._first.cache

    def explained(self) -> list[Estimate]:
        """Return the trees that ``--why`` shows: parameters, weights, cache, training states, what holds them."""
        weights, cache = self.first_sizes
        sizes = [self.model.parameters_by_part, weights, *([cache] if cache else []), *self.states]
        if self.cluster:
            return [*sizes, usable_memory(self.cluster, gpus=gpus_used(self.model, self.cluster))]
        held = [estimate for placement in self.placements for estimate in placement.explained()]
        return [*sizes, *_envelope(self.model.parameters), *held]


def _envelope(parameters: int) -> list[Estimate]:
    """Return the two rules of thumb that the card shows beside the exact sizes [bytes]."""
    return [
        leaf(
            f"the envelope, to {what}", width * parameters, "bytes", formula=f"{width} x parameters",
            inputs={"parameters": parameters}, sources=("azad2024",),
        )
        for what, width in (("store", ENVELOPE_STORE_BYTES), ("train", ENVELOPE_TRAIN_BYTES))
    ]  # fmt: skip


def usable_memory(cluster: Cluster, *, gpus: int) -> Estimate:
    """Return the bytes that weights and cache may take on ``gpus`` of the cards, with what that rests on."""
    gpu, each = cluster.gpu, cluster.node.memory_bytes
    return leaf(
        f"usable memory of {gpus} x {gpu.name}", usable_bytes(each) * gpus, "bytes",
        formula="GPUs x memory x share", inputs={"GPUs": gpus, "memory": each, "share": USABLE_SHARE},
        sources=(gpu.memory_source or gpu.sources[0], "vllm_engine_args"),
        assumptions=(f"the memory of one card is {MEMORY_BASIS[gpu.memory_basis]}",),
    )  # fmt: skip


def usable_bytes(memory_bytes: int) -> int:
    """Return the bytes of a card's memory that weights and cache may take."""
    return int(memory_bytes * USABLE_SHARE)


def divides(model: Model, gpus: int) -> bool:
    """Return whether a model can be spread over ``gpus``: tensor parallelism divides its heads, pipeline its layers."""
    if gpus == 1 or not model.has_layers or model.architecture is None:
        return True
    heads, layers = shared_heads(model.architecture), len(model.architecture.layers)
    return any(
        heads % tensor == 0 and layers * tensor % gpus == 0 for tensor in range(1, gpus + 1) if gpus % tensor == 0
    )


def shared_heads(architecture: Architecture) -> int:
    """Return what the head counts of all layers have in common; sparse indexes and undivided states do not count."""
    mixers = [mixer for layer, _ in architecture.distinct_layers() for mixer in layer.mixers]
    return math.gcd(*(m.heads for m in mixers if m.value_dim and (m.kind == "attention" or m.heads > 1))) or 1


def gpus_used(model: Model, cluster: Cluster) -> int:
    """Return how many of the cluster's GPUs the model can be spread over evenly."""
    return next(count for count in range(cluster.gpus, 0, -1) if divides(model, count))


def fewest_gpus(model: Model, need_bytes: int, gpu: Gpu, *, most: int = 1024) -> int | None:
    """Return the fewest GPUs, up to ``most``, that hold ``need_bytes`` and divide the model; beyond one machine, whole
    machines only.
    """
    start = max(1, math.ceil(need_bytes / usable_bytes(gpu.memory_bytes)))
    whole = gpu.gpus_per_node
    counts = (count for count in range(start, most + 1) if count <= whole or count % whole == 0)
    return next((count for count in counts if divides(model, count)), None)


LEAST_CAPABILITY = 7.5
"""Least NVIDIA compute capability that the common engines still support ([vllm_gpu])."""


def runs(gpu: Gpu, format: str) -> bool:
    """Return whether a card has hardware for the format's products and is supported by today's engines.

    Formats whose weights are unpacked before the product (GGUF, 4-bit integers, NF4) run on any such card.
    """
    known = weight_formats().get(format)
    needed = max(LEAST_CAPABILITY, known.compute_capability if known else 0.0)
    return bool(gpu.compute_capability) and float(gpu.compute_capability) >= needed


@functools.cache
def _cards() -> dict[str, Gpu]:
    return {row.gpu.key: row.gpu for row in list_gpus()}


def common_gpu() -> Gpu:
    """Return the card that is counted where one is not enough."""
    return _cards()[COMMON_GPU]


@functools.cache
def _offered_gpus() -> tuple[Gpu, ...]:
    cards = [
        gpu
        for gpu in _cards().values()
        if gpu.vendor == "nvidia" and not gpu.legacy and not gpu.is_unverified("memory_bytes")
    ]
    return tuple(sorted(cards, key=lambda gpu: (gpu.memory_bytes, -gpu.year, gpu.key)))


def smallest_gpu(need_bytes: int, format: str) -> Gpu | None:
    """Return the current NVIDIA card with the least memory that holds ``need_bytes`` alone and runs the format."""
    return next(
        (gpu for gpu in _offered_gpus() if usable_bytes(gpu.memory_bytes) >= need_bytes and runs(gpu, format)), None
    )


@functools.cache
def _offered_instances() -> tuple[tuple[Instance, Gpu], ...]:
    return tuple((instance, _cards()[instance.gpu_key]) for instance in cheapest_instances(0))


def cheapest_holding(model: Model, need_bytes: int, format: str) -> Instance | None:
    """Return the cheapest dated offer whose cards hold ``need_bytes``, divide the model and run the format."""
    return next(
        (
            instance
            for instance, gpu in _offered_instances()
            if usable_bytes(instance.usable_gpu_memory_bytes) * instance.gpus >= need_bytes
            and divides(model, instance.gpus)
            and (gpu.vendor != "nvidia" or runs(gpu, format))
        ),
        None,
    )


def placement(model: Model, format: str | None, *, context: int, sequences: int, cache_dtype: str | None) -> Placement:
    """Return what holds the model in one format."""
    weights = model.weight_bytes(format)
    cache = None
    if model.has_layers:
        cache = model.cache_bytes(tokens=context, sequences=sequences, dtype=cache_dtype)
    need = int(weights.value) + int(cache.value if cache else 0)
    return Placement(
        format=format or model.default_format,
        weights=weights,
        cache=cache,
        smallest_gpu=smallest_gpu(need, format or model.default_format),
        common_gpus=fewest_gpus(model, need, common_gpu()),
        instance=cheapest_holding(model, need, format or model.default_format),
    )


def verdict(
    model: Model, format: str | None, cluster: Cluster, *, context: int, sequences: int, dtype: str | None
) -> Verdict:
    """Return whether one format fits a cluster, the largest context for one sequence and the most sequences."""
    weights = model.weight_bytes(format)
    budget = usable_bytes(cluster.node.memory_bytes) * gpus_used(model, cluster)
    cache, most_context, most_sequences = None, None, None
    if model.has_layers and model.architecture is not None:
        cache = model.cache_bytes(tokens=context, sequences=sequences, dtype=dtype)
        room = budget - int(weights.value)
        architecture, kept_in = model.architecture, model.compute_dtype if dtype is None else dtype
        limit = architecture.max_positions or 2**24

        def holds(tokens: int, count: int) -> bool:
            return cache_total(architecture, tokens=tokens, sequences=count, dtype=kept_in) <= room

        most_context = largest(lambda tokens: holds(tokens, sequences), most=limit) if room > 0 else 0
        most_sequences = largest(lambda count: holds(context, count), most=2**16) if room > 0 else 0
    need = int(weights.value) + int(cache.value if cache else 0)
    return Verdict(format or model.default_format, weights, cache, budget, need <= budget, most_context, most_sequences)


def changes(
    model: Model, first: Verdict, cluster: Cluster, *, context: int, sequences: int, dtype: str | None = None
) -> tuple[str, ...]:
    """Return what would make the first format fit, cheapest first: a smaller cache, a smaller format, more GPUs."""
    if first.fits:
        return ()
    found = _smaller_caches(first, context=context, sequences=sequences)
    smaller = _smaller_format(model, first, cluster, context=context, sequences=sequences, dtype=dtype)
    if smaller:
        size, free = (f"{value / 2**30:.1f} GiB" for value in (smaller.weights.value, smaller.free_bytes))
        found.append(f"{smaller.format} weights: {size}, {free} free")
    need = int(first.weights.value) + int(first.cache.value if first.cache else 0)
    count = fewest_gpus(model, need, cluster.gpu)
    if count and count > cluster.gpus:
        found.append(f"{count} x {cluster.gpu.name} instead of {cluster.gpus}")
    instance = cheapest_holding(model, need, first.format)
    if instance:
        found.append(f"{instance.cloud} {instance.name} at ${instance.usd_per_hour:.2f}/h ({instance.date})")
    return tuple(found)


def _smaller_caches(first: Verdict, *, context: int, sequences: int) -> list[str]:
    found = []
    if first.max_sequences and sequences > 1:
        found.append(f"{first.max_sequences:,} sequences instead of {sequences:,}")
    if first.max_context and first.max_context >= LEAST_CONTEXT:
        found.append(f"context {first.max_context:,} instead of {context:,}")
    return found


def _smaller_format(model: Model, first: Verdict, cluster: Cluster, **cache: Any) -> Verdict | None:
    """Return the verdict of the first format of the ladder that fits where the stored one does not."""
    for name in LADDER:
        if cluster.gpu.vendor == "nvidia" and not runs(cluster.gpu, name):
            continue
        try:
            smaller = verdict(model, name, cluster, **cache)
        except UserError:
            continue
        if smaller.fits and smaller.weights.value < first.weights.value:
            return smaller
    return None


def size_card(
    model: Model,
    *,
    format: str | None = None,
    context: int | None = None,
    sequences: int = 1,
    cache_dtype: str | None = None,
    cluster: Cluster | None = None,
) -> Card:
    """Return the card of a model, with a verdict for every format when ``cluster`` is given.

    Raises:
        UserError: unknown format or dtype, or more GPUs than one model is spread over.
    """
    limit = model.architecture.max_positions if model.architecture else None
    context = min(CONTEXT, limit or CONTEXT) if context is None else context
    wanted = _wanted(model, format)
    dtype = model.compute_dtype if cache_dtype is None else known_cache_dtype(cache_dtype)
    if cluster and cluster.gpus > MOST_GPUS:
        raise UserError(f"{cluster.gpus:,} GPUs are more than the {MOST_GPUS:,} that one model is spread over here")
    shared = {"context": context, "sequences": sequences}
    if cluster:
        verdicts, left_out = _each(wanted, lambda name: verdict(model, name, cluster, dtype=dtype, **shared))
        ladder = changes(model, verdicts[0], cluster, dtype=dtype, **shared)
        return Card(model, context, sequences, (), (), cluster, verdicts, ladder, left_out, dtype)
    placements, left_out = _each(wanted, lambda name: placement(model, name, cache_dtype=dtype, **shared))
    states = _training_states(model)
    return Card(model, context, sequences, placements, states, left_out=left_out, cache_dtype=dtype)


def _wanted(model: Model, format: str | None) -> list[str | None]:
    """Return the formats of a card: the one asked for, or the stored one (None) and the usual ones."""
    if format is not None:
        return [format_named(format).name]
    return [None, *(name for name in CARD_FORMATS if name != model.default_format)]


def _each(formats: list[str | None], make: Callable[[str | None], Row]) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """Return a row for each format, the first in any case, and why the others that cannot be have none."""
    rows, left_out = [make(formats[0])], []
    for name in formats[1:]:
        try:
            rows.append(make(name))
        except UserError as error:
            left_out.append(f"no {name}: {error.message}")
    return tuple(rows), tuple(left_out)


def _training_states(model: Model) -> tuple[Estimate, ...]:
    methods = ("full", "lora", "qlora") if model.has_layers and model.stored is None else ("full",)
    return tuple(model.training_states(method) for method in methods)
