"""Every valid plan of a model on a cluster as columns: layouts x sharding x micro-batch, by way to recompute."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sizeup.llm.architecture import Architecture
from sizeup.machine import Cluster
from sizeup.physics.training_facts import TrainingFacts, training_facts
from sizeup.plan.frameworks import framework
from sizeup.plan.pipelines import pipeline
from sizeup.plan.schedules import schedule
from sizeup.plan.training import Layout, TrainingPlan

AXES = ("tp", "pp", "vpp", "cp", "ep", "etp", "dp")
GATHERS = frozenset({"zero3", "fsdp", "hsdp"})
LARGEST_MICRO_BATCH = 512
BLOCK = 2**17
"""Plans of one family: a search of millions takes no more memory than one of this many."""

Fixed = Mapping[str, Any]
"""What the user decided, by name; the search leaves it alone."""


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
        return [int(fixed[name])] if int(fixed[name]) in options else []
    return list(options) if name in axes else [1]


def layouts(shape: Shape, base: TrainingPlan, gpus: int, *, fixed: Fixed) -> Iterator[tuple[int, ...]]:
    """Yield every valid (tp, pp, vpp, cp, ep, etp, dp).

    Tensor ranks divide the attention heads, chunks of stages the layers (stages alone may be uneven), context ranks
    the sequence in two halves each, expert and expert-tensor ranks the experts and the ranks of a stage;
    tp x pp x cp x dp is the number of cards.
    """
    axes = schedule(base.framework).axes
    pipe = pipeline(base.schedule)
    tensor = [d for d in divisors(gpus) if all(h % d == 0 for h in shape.heads)]
    stages = [d for d in divisors(gpus) if d <= shape.layers and (pipe.depth_share == 1 or d == 1 or d % 2 == 0)]
    split = base.sequence_length if base.layout.sequence_parallel else 0
    for tp in _allowed("tp", tensor, fixed, axes):
        for pp in _allowed("pp", stages, fixed, axes):
            chunks = _allowed("vpp", _chunks(shape.layers, pp, interleaves=pipe.interleaves), fixed, axes)
            for cp in _allowed("cp", divisors(gpus), fixed, axes):
                if (
                    gpus % (tp * pp * cp)
                    or (cp > 1 and base.sequence_length % (2 * cp))
                    or (tp > 1 and split % (tp * cp))
                ):
                    continue
                dp = gpus // (tp * pp * cp)
                if fixed.get("dp") not in (None, dp):
                    continue
                for ep, etp in _expert_layouts(shape, tp, tp * cp * dp, fixed, axes):
                    for vpp in chunks:
                        yield tp, pp, vpp, cp, ep, etp, dp


def _chunks(layers: int, pp: int, *, interleaves: bool) -> list[int]:
    """Return into how many chunks a stage can be cut; the embedding and the head may take the place of a layer each."""
    if pp == 1 or not interleaves:
        return [1]
    slots = layers + 2
    return sorted({1, *(d for whole in (layers, slots) if whole % pp == 0 for d in divisors(whole // pp))})


def _expert_layouts(shape: Shape, tp: int, ranks: int, fixed: Fixed, axes: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield (ep, etp): without expert parallelism experts are cut as everything is, else whole or cut likewise."""
    for ep in _allowed("ep", [d for d in divisors(shape.experts) if ranks % d == 0], fixed, axes):
        usual = {1, tp} if ep > 1 else {tp}
        for etp in [int(fixed["etp"])] if fixed.get("etp") else sorted(usual):
            if ranks % (ep * etp) == 0:
                yield ep, etp


def micro_batches(base: TrainingPlan, dp: int, fixed: Fixed, *, free_batch: bool) -> list[int]:
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
    """Return the columns tp, pp, vpp, cp, ep, etp, dp and micro_batch of every valid plan.

    An interleaved pipeline needs as many micro-batches as a multiple of its stages.
    """
    import numpy as np

    sizes: dict[int, Any] = {}
    rows, counts, chosen = [], [], []
    for layout in layouts(Shape.of(architecture), base, cluster.gpus, fixed=fixed):
        dp = layout[-1]
        if dp not in sizes:
            sizes[dp] = np.array(micro_batches(base, dp, fixed, free_batch=free_batch), dtype=np.int64)
        rows.append(layout)
        counts.append(len(sizes[dp]))
        chosen.append(sizes[dp])
    table = np.array(rows, dtype=np.int64).reshape(-1, len(AXES)).repeat(np.array(counts, dtype=np.int64), axis=0)
    columns = {name: table[:, i] for i, name in enumerate(AXES)}
    columns["micro_batch"] = np.concatenate(chosen) if chosen else np.zeros(0, dtype=np.int64)
    repeats = repeats_of(base, columns, free_batch=free_batch)
    kept = np.flatnonzero((columns["vpp"] == 1) | (repeats % columns["pp"] == 0))
    return {name: values[kept] for name, values in columns.items()}


def repeats_of(base: TrainingPlan, columns: Mapping[str, Any], *, free_batch: bool) -> Any:
    """Return how many micro-batches a rank runs in each step: one where the batch is free."""
    each = columns["dp"] * columns["micro_batch"]
    return each // each if free_batch else base.global_batch // each


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
        import numpy as np

        return np.array([values.get(name, default) for name in self.shardings])[self.columns["sharding"]]

    @property
    def sequence_parallel(self) -> Any:
        """Column of 1 where tensor ranks also split the sequence."""
        return (self.columns["tp"] > 1) * int(self.base.layout.sequence_parallel)


def shard_ranks(sharding: str, base: TrainingPlan, *, ranks: Any, tp: Any, per_node: int) -> Any:
    """Return over how many ranks states are split: all data and context ranks, or those of one node (HSDP)."""
    import numpy as np

    if sharding == "none":
        return np.ones_like(ranks)
    if sharding == "hsdp":
        return np.minimum(ranks, np.maximum(1, (base.layout.shard_group or per_node) // tp))
    return np.minimum(ranks, base.layout.shard_group or ranks)


def shards_of(family: Family, cluster: Cluster) -> Any:
    """Return the column of ranks over which each plan's states are split."""
    import numpy as np

    columns, found = family.columns, np.ones(len(family), dtype=np.int64)
    for code, name in enumerate(family.shardings):
        rows = columns["sharding"] == code
        found[rows] = shard_ranks(
            name, family.base, ranks=columns["dp"][rows] * columns["cp"][rows], tp=columns["tp"][rows],
            per_node=cluster.node.gpus,
        )  # fmt: skip
    return found


def families(
    architecture: Architecture, base: TrainingPlan, cluster: Cluster, *, fixed: Fixed, free_batch: bool = False
) -> Iterator[Family]:
    """Yield the families of a search, in blocks: every way to recompute, with every sharding that is offered."""
    import numpy as np

    offered = schedule(base.framework)
    shardings = (fixed["sharding"],) if fixed.get("sharding") else offered.shardings
    ways: Sequence[Any] = [fixed["recompute"]] if fixed.get("recompute") else offered.recomputes
    if base.recompute_layers:
        # the first layers are made again, whatever else could be
        ways = ["none"]
    every = enumerate_plans(architecture, base, cluster, fixed=fixed, free_batch=free_batch)
    valid = [np.flatnonzero(_makes_sense(name, every, cluster, fixed)) for name in shardings]
    columns = {name: np.concatenate([values[rows] for rows in valid]) for name, values in every.items()}
    columns["sharding"] = np.repeat(np.arange(len(shardings)), [len(rows) for rows in valid])
    for way in ways:
        plan = replace(base, recompute=way)
        for rows, facts in _facts_by_tensor(architecture, plan, columns):
            for start in range(0, len(rows), BLOCK):
                chosen = {name: values[rows[start : start + BLOCK]] for name, values in columns.items()}
                yield Family(base=plan, columns=chosen, shardings=shardings, facts=facts)


def _facts_by_tensor(
    architecture: Architecture, plan: TrainingPlan, columns: Mapping[str, Any]
) -> Iterator[tuple[Any, TrainingFacts]]:
    """Yield the rows with and without tensor parallelism where its loss keeps other bytes, else all rows at once."""
    import numpy as np

    if framework(plan.framework).parallel_logit_bytes is None:
        if len(columns["tp"]):
            yield np.arange(len(columns["tp"])), training_facts(architecture, plan)
        return
    single, several = (training_facts(architecture, replace(plan, layout=replace(plan.layout, tp=tp))) for tp in (1, 2))
    alone = columns["tp"] == 1
    groups = [(alone, single), (~alone, several)] if single != several else [(np.ones(len(alone), bool), single)]
    for rows, facts in groups:
        if rows.any():
            yield np.flatnonzero(rows), facts


def _makes_sense(sharding: str, columns: Mapping[str, Any], cluster: Cluster, fixed: Fixed) -> Any:
    """Return which layouts a sharding makes sense for: more than one rank to share, no pipeline with gathered weights.

    A sharding that was asked for is taken as it is.
    """
    import numpy as np

    ranks = columns["dp"] * columns["cp"]
    everything = np.ones(len(ranks), bool)
    if fixed.get("sharding") or sharding == "none":
        return everything
    alone = (columns["pp"] == 1) if sharding in GATHERS | {"zero2"} else everything
    enough = ranks * columns["tp"] > cluster.node.gpus if sharding == "hsdp" else ranks > 1
    return alone & enough


def plan_at(family: Family, index: int, cluster: Cluster, *, free_batch: bool = False) -> TrainingPlan:
    """Return one plan of a family as an object."""
    import numpy as np

    row = {name: int(values[index]) for name, values in family.columns.items()}
    sharding: Any = family.shardings[row["sharding"]]
    ranks = np.array([row["dp"] * row["cp"]])
    shards = int(shard_ranks(sharding, family.base, ranks=ranks, tp=row["tp"], per_node=cluster.node.gpus)[0])
    layout = Layout(
        **{name: row[name] for name in AXES}, sharding=sharding,
        shard_group=shards if sharding == "hsdp" else family.base.layout.shard_group,
        sequence_parallel=family.base.layout.sequence_parallel and row["tp"] > 1,
    )  # fmt: skip
    batch = row["micro_batch"] * row["dp"] if free_batch else family.base.global_batch
    return replace(family.base, layout=layout, micro_batch=row["micro_batch"], global_batch=batch)
