"""The default answer for a model: formats x what holds them, states for fine-tuning, and the verdict on given hardware.

Weights and cache are exact; whether they fit is the rule of :mod:`sizeup.holding`. What an engine really takes beside
them is the business of serving.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from sizeup.errors import UserError
from sizeup.estimate import Estimate, leaf
from sizeup.holding import (
    USABLE_SHARE,
    cheapest_holding,
    common_gpu,
    fewest_gpus,
    gpus_used,
    runs,
    smallest_gpu,
    usable_bytes,
)
from sizeup.llm.cache import cache_dtype as known_cache_dtype
from sizeup.llm.cache import cache_total
from sizeup.llm.formats import format_named
from sizeup.machine.gpus import MEMORY_BASIS
from sizeup.sizing import Model
from sizeup.sweep import largest

if TYPE_CHECKING:
    from collections.abc import Callable

    from sizeup.machine import Cluster, Gpu, Instance

Row = TypeVar("Row")

ENVELOPE_STORE_BYTES = 4
ENVELOPE_TRAIN_BYTES = 24
"""Bytes per parameter by the rules of thumb ([azad2024])."""

CARD_FORMATS = ("bf16", "fp8", "awq-int4", "nf4-dq", "q8_0", "q4_k_m")
MOST_GPUS = 4096
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
    engine: str = "transformers"
    batched_tokens: int | None = None

    @property
    def kept(self) -> Kept:
        """What the cache holds, for sizes at other lengths."""
        return Kept(
            context=self.context, sequences=self.sequences, dtype=self.cache_dtype, engine=self.engine,
            batched_tokens=self.batched_tokens,
        )  # fmt: skip

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What a card keeps in the cache: so many sequences of so many tokens, as an engine allocates it."""

    context: int
    sequences: int
    dtype: str
    engine: str = "transformers"
    batched_tokens: int | None = None

    def cache(self, model: Model) -> Estimate:
        """Return the cache as a tree [bytes]."""
        return model.cache_bytes(
            tokens=self.context, sequences=self.sequences, dtype=self.dtype, engine=self.engine,
            batched_tokens=self.batched_tokens,
        )  # fmt: skip

    def size(self, model: Model, *, tokens: int, sequences: int) -> int:
        """Return the cache of another length or number [bytes], quickly where searches ask."""
        if self.engine == "transformers" and model.architecture:
            return cache_total(model.architecture, tokens=tokens, sequences=sequences, dtype=self.dtype)
        return int(replace(self, context=tokens, sequences=sequences).cache(model).value)


def placement(model: Model, format: str | None, kept: Kept) -> Placement:
    """Return what holds the model in one format."""
    weights = model.weight_bytes(format)
    cache = kept.cache(model) if model.has_layers else None
    need = int(weights.value) + int(cache.value if cache else 0)
    return Placement(
        format=format or model.default_format,
        weights=weights,
        cache=cache,
        smallest_gpu=smallest_gpu(need, format or model.default_format),
        common_gpus=fewest_gpus(model, need, common_gpu()),
        instance=cheapest_holding(model, need, format or model.default_format),
    )


def verdict(model: Model, format: str | None, cluster: Cluster, kept: Kept) -> Verdict:
    """Return whether one format fits a cluster, the largest context for one sequence and the most sequences."""
    weights = model.weight_bytes(format)
    budget = usable_bytes(cluster.node.memory_bytes) * gpus_used(model, cluster)
    cache, most_context, most_sequences = None, None, None
    if model.has_layers and model.architecture is not None:
        cache = kept.cache(model)
        room = budget - int(weights.value)
        limit = model.architecture.max_positions or 2**24

        def holds(tokens: int, count: int) -> bool:
            return kept.size(model, tokens=tokens, sequences=count) <= room

        most_context = largest(lambda tokens: holds(tokens, kept.sequences), most=limit) if room > 0 else 0
        most_sequences = largest(lambda count: holds(kept.context, count), most=2**16) if room > 0 else 0
    need = int(weights.value) + int(cache.value if cache else 0)
    return Verdict(format or model.default_format, weights, cache, budget, need <= budget, most_context, most_sequences)


def changes(model: Model, first: Verdict, cluster: Cluster, kept: Kept) -> tuple[str, ...]:
    """Return what would make the first format fit, cheapest first: a smaller cache, a smaller format, more GPUs."""
    if first.fits:
        return ()
    found = _smaller_caches(first, context=kept.context, sequences=kept.sequences)
    smaller = _smaller_format(model, first, cluster, kept)
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


def _smaller_format(model: Model, first: Verdict, cluster: Cluster, kept: Kept) -> Verdict | None:
    """Return the verdict of the first format of the ladder that fits where the stored one does not."""
    for name in LADDER:
        if cluster.gpu.vendor == "nvidia" and not runs(cluster.gpu, name):
            continue
        try:
            smaller = verdict(model, name, cluster, kept)
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
    engine: str = "transformers",
    cluster: Cluster | None = None,
) -> Card:
    """Return the card of a model, with a verdict for every format when ``cluster`` is given.

    Raises:
        UserError: unknown format, dtype or engine, or more GPUs than one model is spread over.
    """
    limit = model.architecture.max_positions if model.architecture else None
    context = min(CONTEXT, limit or CONTEXT) if context is None else context
    wanted = _wanted(model, format)
    dtype = model.compute_dtype if cache_dtype is None else known_cache_dtype(cache_dtype)
    if cluster and cluster.gpus > MOST_GPUS:
        raise UserError(f"{cluster.gpus:,} GPUs are more than the {MOST_GPUS:,} that one model is spread over here")
    card = Card(
        model, context, sequences, (), (), cluster,
        cache_dtype=dtype, engine=engine, batched_tokens=_batched(engine, cluster),
    )  # fmt: skip
    if cluster:
        verdicts, left_out = _each(wanted, lambda name: verdict(model, name, cluster, card.kept))
        ladder = changes(model, verdicts[0], cluster, card.kept)
        return replace(card, verdicts=verdicts, changes=ladder, left_out=left_out)
    placements, left_out = _each(wanted, lambda name: placement(model, name, card.kept))
    return replace(card, placements=placements, states=_training_states(model), left_out=left_out)


def _batched(engine: str, cluster: Cluster | None) -> int | None:
    """Return the most tokens that an engine computes at once on these cards; its own default without any."""
    if engine == "transformers" or cluster is None:
        return None
    from sizeup.engine_cache import cache_engine

    return cache_engine(engine).tokens(cluster.gpu.memory_bytes, cluster.gpu.key)


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
