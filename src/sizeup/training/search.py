"""Every valid plan of a model on a cluster, pruned by memory and ranked by time: columns through the same formulas.

A search enumerates layouts (tensor, pipeline with its chunks, context, expert and data parallelism), sharding,
micro-batch and recomputation; :func:`evaluate` runs memory and time of all of them as NumPy columns.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sizeup.errors import UserError
from sizeup.fitted.training_memory import shipped_coefficients
from sizeup.llm.architecture import Architecture
from sizeup.machine import Cluster
from sizeup.physics.training_facts import TrainingFacts, training_facts
from sizeup.physics.training_memory import ZERO_STAGES, peak_bytes
from sizeup.physics.training_ranks import Columns
from sizeup.physics.training_time import raw_times, step_parts
from sizeup.plan.schedules import schedule
from sizeup.plan.training import Layout, TrainingPlan
from sizeup.training.step import coefficients, hardware_of, step_plan, traits_of, work_of

AXES = ("tp", "pp", "vpp", "cp", "ep", "dp", "micro_batch")
GATHERS = frozenset({"zero3", "fsdp", "hsdp"})
RECOMPUTE = ("none", "selective", "full")
LARGEST_MICRO_BATCH = 512

SAFE = 1.2816
"""Standard deviations between a plan's memory and the card's, for nine chances in ten to fit."""

NEAR = 1.15
"""Plans with up to this many times the memory that fits are near misses, whose time is worked out too."""

Fixed = Mapping[str, Any]


def divisors(number: int) -> list[int]:
    """Return every divisor, smallest first.

    >>> divisors(12)
    [1, 2, 3, 4, 6, 12]
    """
    small = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    return sorted({*small, *(number // d for d in small)})


@dataclass(frozen=True, slots=True)
class Shape:
    """What a model allows: heads for tensor, layers for pipeline, experts for expert parallelism."""

    heads: tuple[int, ...]
    layers: int
    experts: int

    @classmethod
    def of(cls, architecture: Architecture) -> Shape:
        """Return the shape of a model."""
        layers = [layer for layer, _ in architecture.distinct_layers()]
        heads = {m.heads for layer in layers for m in layer.mixers if m.kind == "attention"}
        experts = {t.copies for layer in layers for t in layer.tensors if t.part == "experts"}
        return cls(tuple(sorted(heads)), len(architecture.layers), math.gcd(*experts) if experts else 1)


def _allowed(name: str, options: Sequence[int], fixed: Fixed, axes: Sequence[str]) -> list[int]:
    if fixed.get(name) is not None:
        return [int(fixed[name])]
    return list(options) if name in axes else [1]


def layouts(shape: Shape, base: TrainingPlan, gpus: int, *, fixed: Fixed) -> Iterator[tuple[int, ...]]:
    """Yield every valid (tp, pp, vpp, cp, ep, dp).

    Tensor ranks divide the attention heads, stages and chunks the layers, context ranks the sequence in two halves
    each, expert ranks the experts and the ranks of a stage; the product of tp, pp, cp, dp is the number of cards.
    """
    axes = schedule(base.framework).axes
    pipelines = [d for d in divisors(gpus) if shape.layers % d == 0]
    for tp in _allowed("tp", [d for d in divisors(gpus) if all(h % d == 0 for h in shape.heads)], fixed, axes):
        for pp in _allowed("pp", pipelines, fixed, axes):
            chunks = divisors(shape.layers // pp) if pp > 1 and shape.layers % pp == 0 else [1]
            for cp in _allowed("cp", divisors(gpus), fixed, axes):
                if gpus % (tp * pp * cp) or (cp > 1 and base.sequence_length % (2 * cp)):
                    continue
                dp = gpus // (tp * pp * cp)
                if fixed.get("dp") is not None and dp != fixed["dp"]:
                    continue
                ranks = tp * cp * dp
                experts = [d for d in divisors(shape.experts) if ranks % d == 0]
                for ep in _allowed("ep", experts, fixed, axes):
                    for vpp in _allowed("vpp", chunks, fixed, axes):
                        yield tp, pp, vpp, cp, ep, dp


def _micro_batches(base: TrainingPlan, dp: int, fixed: Fixed, *, free_batch: bool) -> list[int]:
    """Return the micro-batches to try: divisors of what a rank has to do, powers of two where the batch is free."""
    if fixed.get("micro_batch") is not None:
        size = int(fixed["micro_batch"])
        return [size] if free_batch or base.global_batch % (dp * size) == 0 else []
    if free_batch:
        return [2**i for i in range(int(math.log2(LARGEST_MICRO_BATCH)) + 1)]
    if base.global_batch % dp:
        return []
    return [d for d in divisors(base.global_batch // dp) if d <= LARGEST_MICRO_BATCH]


def enumerate_plans(
    architecture: Architecture, base: TrainingPlan, cluster: Cluster, *, fixed: Fixed, free_batch: bool = False
) -> dict[str, Any]:
    """Return the columns tp, pp, vpp, cp, ep, dp and micro_batch of every valid plan.

    An interleaved pipeline needs as many micro-batches as a multiple of its stages.
    """
    rows = []
    for layout in layouts(Shape.of(architecture), base, cluster.gpus, fixed=fixed):
        _, pp, vpp, _, _, dp = layout
        for size in _micro_batches(base, dp, fixed, free_batch=free_batch):
            repeats = 1 if free_batch else base.global_batch // (dp * size)
            if vpp > 1 and repeats % pp:
                continue
            rows.append((*layout, size))
    table = np.array(rows, dtype=np.int64).reshape(-1, len(AXES))
    return {name: table[:, i] for i, name in enumerate(AXES)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Plans that recompute in the same way; the column ``sharding`` counts into ``shardings``."""

    base: TrainingPlan
    columns: Mapping[str, Any]
    shardings: tuple[str, ...]
    facts: TrainingFacts

    def __len__(self) -> int:
        return len(self.columns["tp"])

    def lookup(self, values: Mapping[str, Any], default: int = 0) -> Any:
        """Return the column of what ``values`` says of each plan's sharding."""
        return np.array([values.get(name, default) for name in self.shardings])[self.columns["sharding"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Memory [bytes], time [s] and fit of every plan of a family; far from fitting, the time is infinite."""

    device_bytes: Any
    step_seconds: Any
    tokens: Any
    fits: Any

    @property
    def seconds_per_token(self) -> Any:
        """What plans are ranked by."""
        return self.step_seconds / self.tokens


def shard_ranks(sharding: str, base: TrainingPlan, *, ranks: Any, tp: Any, per_node: int) -> Any:
    """Return over how many ranks states are split: all data and context ranks, or those of one node (HSDP)."""
    if sharding == "none":
        return np.ones_like(ranks)
    if sharding == "hsdp":
        return np.minimum(ranks, np.maximum(1, (base.layout.shard_group or per_node) // tp))
    return np.minimum(ranks, base.layout.shard_group or ranks)


def _shards(family: Family, cluster: Cluster) -> Any:
    columns, found = family.columns, np.ones(len(family), dtype=np.int64)
    for code, name in enumerate(family.shardings):
        rows = columns["sharding"] == code
        found[rows] = shard_ranks(
            name, family.base, ranks=columns["dp"][rows] * columns["cp"][rows], tp=columns["tp"][rows],
            per_node=cluster.node.gpus,
        )  # fmt: skip
    return found


def _by_depth(columns: Mapping[str, Any]) -> Iterator[tuple[int, int, Any]]:
    """Yield each (pp, vpp) with the rows that have it."""
    most = int(columns["vpp"].max()) + 1
    keys = columns["pp"] * most + columns["vpp"]
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
    for rows in np.split(order, starts[1:]):
        key = int(keys[rows[0]])
        yield key // most, key % most, rows


def device_bytes(family: Family, cluster: Cluster, *, repeats: Any, shards: Any) -> Any:
    """Return the driver-visible peak of every plan of a family [bytes]."""
    base, columns = family.base, family.columns
    zero, sequence = family.lookup(ZERO_STAGES), int(base.layout.sequence_parallel)
    found = np.zeros(len(family))
    for pp, vpp, rows in _by_depth(columns):
        c = {name: columns[name][rows] for name in ("tp", "cp", "ep", "dp", "micro_batch")}
        layout = Columns(
            **c, pp=pp, vpp=vpp, sequence_length=base.sequence_length, micro_batches=repeats[rows],
            etp=np.where(c["ep"] > 1, 1, c["tp"]), zero=zero[rows], shard=shards[rows],
            sequence_parallel=np.where(c["tp"] > 1, sequence, 0),
            offload_optimizer=int(base.offload_optimizer), offload_parameters=int(base.offload_parameters),
        )  # fmt: skip
        found[rows] = peak_bytes(
            family.facts, layout, cluster.gpu, coefficients=shipped_coefficients(), compiled=base.compile
        ).device
    return found


def step_seconds(
    architecture: Architecture, family: Family, cluster: Cluster, rows: Any, *, repeats: Any, shards: Any
) -> Any:
    """Return the step time of the plans at ``rows`` [s]."""
    base, work = family.base, work_of(architecture)
    gathers = family.lookup(dict.fromkeys(GATHERS, 1))
    scatters = family.lookup(dict.fromkeys(GATHERS | {"zero2"}, 1))
    c = {name: values[rows] for name, values in family.columns.items() if name != "sharding"}
    plan = replace(
        step_plan(base, work), **c, etp=np.where(c["ep"] > 1, 1, c["tp"]), shards=shards[rows],
        gathers=gathers[rows], scatters=scatters[rows], micro_batches=repeats[rows],
        sequence_parallel=np.where(c["tp"] > 1, int(base.layout.sequence_parallel), 0),
    )  # fmt: skip
    raw = raw_times(work, plan, hardware_of(cluster, base.precision.compute_dtype))
    return step_parts(raw, work, plan, traits=traits_of(base), coefficients=coefficients()).seconds()


def safe_bytes(cluster: Cluster) -> float:
    """Return the predicted peak up to which nine in ten plans fit one card [bytes]."""
    return cluster.node.memory_bytes * math.exp(-SAFE * shipped_coefficients().device_spread)


def evaluate(
    architecture: Architecture, family: Family, cluster: Cluster, *, free_batch: bool = False, limit: float
) -> Scores:
    """Return memory and time of every plan of a family; time is only worked out up to ``limit`` bytes of memory."""
    columns, base = family.columns, family.base
    one = np.ones_like(columns["dp"])
    repeats = one if free_batch else base.global_batch // (columns["dp"] * columns["micro_batch"])
    shards = _shards(family, cluster)
    memory = device_bytes(family, cluster, repeats=repeats, shards=shards)
    seconds = np.full(len(memory), np.inf)
    kept = np.flatnonzero(memory <= NEAR * limit)
    if len(kept):
        seconds[kept] = step_seconds(architecture, family, cluster, kept, repeats=repeats, shards=shards)
    tokens = base.sequence_length * columns["micro_batch"] * columns["dp"] * repeats
    return Scores(device_bytes=memory, step_seconds=seconds, tokens=tokens, fits=memory <= limit)


def families(
    architecture: Architecture, base: TrainingPlan, cluster: Cluster, *, fixed: Fixed, free_batch: bool = False
) -> Iterator[Family]:
    """Yield the families of a search: every way to recompute, with every sharding that the framework offers."""
    shardings = (fixed["sharding"],) if fixed.get("sharding") else schedule(base.framework).shardings
    ways: list[Any] = [fixed["recompute"]] if fixed.get("recompute") else list(RECOMPUTE)
    layouts_ = enumerate_plans(architecture, base, cluster, fixed=fixed, free_batch=free_batch)
    valid = [np.flatnonzero(_valid_sharding(name, layouts_, cluster, fixed)) for name in shardings]
    columns = {name: np.concatenate([values[rows] for rows in valid]) for name, values in layouts_.items()}
    columns["sharding"] = np.repeat(np.arange(len(shardings)), [len(rows) for rows in valid])
    for way in ways:
        plan = replace(base, recompute=way)
        for rows, facts in _facts_by_tensor(architecture, plan, columns):
            chosen = {name: values[rows] for name, values in columns.items()}
            yield Family(base=plan, columns=chosen, shardings=shardings, facts=facts)


def _facts_by_tensor(
    architecture: Architecture, plan: TrainingPlan, columns: Mapping[str, Any]
) -> Iterator[tuple[Any, TrainingFacts]]:
    """Yield the rows with and without tensor parallelism where its loss keeps other bytes, else all rows at once."""
    single, several = (training_facts(architecture, replace(plan, layout=replace(plan.layout, tp=tp))) for tp in (1, 2))
    alone = columns["tp"] == 1
    groups = [(alone, single), (~alone, several)] if single != several else [(np.ones(len(alone), bool), single)]
    for rows, facts in groups:
        if rows.any():
            yield np.flatnonzero(rows), facts


def _valid_sharding(sharding: str, columns: Mapping[str, Any], cluster: Cluster, fixed: Fixed) -> Any:
    """Return which layouts a sharding makes sense for: more than one rank to share, no pipeline with gathered weights.

    A sharding that was asked for is taken as it is.
    """
    ranks = columns["dp"] * columns["cp"]
    everything = np.ones(len(ranks), bool)
    if fixed.get("sharding") or sharding == "none":
        return everything
    alone = (columns["pp"] == 1) if sharding in GATHERS | {"zero2"} else everything
    enough = ranks * columns["tp"] > cluster.node.gpus if sharding == "hsdp" else ranks > 1
    return alone & enough


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One plan of a search with its memory [bytes] and step time [s] (infinite far from fitting)."""

    plan: TrainingPlan
    device_bytes: float
    step_seconds: float

    @property
    def seconds_per_token(self) -> float:
        """Step time over the tokens of the step."""
        return self.step_seconds / (self.plan.global_batch * self.plan.sequence_length)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The result of a search: the fastest plans that fit, the fastest that nearly do, and how many there were."""

    best: tuple[Candidate, ...]
    near_misses: tuple[Candidate, ...]
    evaluated: int
    fitting: int


def plan_at(family: Family, index: int, cluster: Cluster, *, free_batch: bool = False) -> TrainingPlan:
    """Return one plan of a family as an object."""
    row = {name: int(values[index]) for name, values in family.columns.items()}
    sharding: Any = family.shardings[row["sharding"]]
    ranks = np.array([row["dp"] * row["cp"]])
    shards = int(shard_ranks(sharding, family.base, ranks=ranks, tp=row["tp"], per_node=cluster.node.gpus)[0])
    layout = Layout(
        tp=row["tp"], pp=row["pp"], vpp=row["vpp"], cp=row["cp"], ep=row["ep"], dp=row["dp"],
        etp=1 if row["ep"] > 1 else row["tp"], sharding=sharding,
        shard_group=shards if sharding == "hsdp" else family.base.layout.shard_group,
        sequence_parallel=family.base.layout.sequence_parallel and row["tp"] > 1,
    )  # fmt: skip
    batch = row["micro_batch"] * row["dp"] if free_batch else family.base.global_batch
    return replace(family.base, layout=layout, micro_batch=row["micro_batch"], global_batch=batch)


def search(
    architecture: Architecture,
    base: TrainingPlan,
    cluster: Cluster,
    *,
    fixed: Fixed | None = None,
    free_batch: bool = False,
    count: int = 8,
    limit: float | None = None,
) -> Found:
    """Return the plans with the fewest seconds per token that fit, the best of each layout first.

    ``fixed`` holds what the user decided; ``free_batch`` lets the global batch follow the micro-batch; ``limit`` is
    the memory that counts as fitting (nine chances in ten by default) [bytes].

    Raises:
        UserError: no plan is valid, whatever its memory.
    """
    limit = safe_bytes(cluster) if limit is None else limit
    pools: list[Candidate] = []
    misses: list[Candidate] = []
    least: list[Candidate] = []
    evaluated = fitting = 0
    for family in families(architecture, base, cluster, fixed=fixed or {}, free_batch=free_batch):
        scores = evaluate(architecture, family, cluster, free_batch=free_batch, limit=limit)
        evaluated, fitting = evaluated + len(family), fitting + int(scores.fits.sum())
        for rows, kept in ((scores.fits, pools), (~scores.fits, misses)):
            pace = np.where(rows, scores.seconds_per_token, np.inf)
            chosen = [int(i) for i in np.argsort(pace, kind="stable")[: 4 * count] if np.isfinite(pace[i])]
            kept += [_candidate(family, scores, index, cluster, free_batch) for index in chosen]
        if not pools and not misses:
            smallest = int(np.argmin(scores.device_bytes))
            least.append(_candidate(family, scores, smallest, cluster, free_batch))
    if not evaluated:
        raise UserError(
            f"no valid plan of {cluster.gpus} GPUs for a global batch of {base.global_batch}",
            hint="choose a global batch that the GPUs divide, or fewer fixed axes",
        )
    fastest = sorted(pools, key=lambda found: found.seconds_per_token)
    closest = sorted(misses, key=lambda found: found.seconds_per_token) if pools else misses + least
    if not pools:
        closest = sorted(closest, key=lambda found: found.device_bytes)
    return Found(
        best=_diverse(fastest, count), near_misses=_diverse(closest, count), evaluated=evaluated, fitting=fitting
    )


def _candidate(family: Family, scores: Scores, index: int, cluster: Cluster, free_batch: bool) -> Candidate:
    return Candidate(
        plan=plan_at(family, index, cluster, free_batch=free_batch),
        device_bytes=float(scores.device_bytes[index]), step_seconds=float(scores.step_seconds[index]),
    )  # fmt: skip


def _diverse(found: Sequence[Candidate], count: int) -> tuple[Candidate, ...]:
    """Return the best plan, then the best of each different way to divide the model."""
    kept: list[Candidate] = []
    seen = set()
    for candidate in found:
        layout = candidate.plan.layout
        kind = (layout.tp, layout.pp, layout.cp, layout.ep, layout.sharding)
        if kind not in seen:
            seen.add(kind)
            kept.append(candidate)
    return tuple(kept[:count])
