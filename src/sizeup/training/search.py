"""The best plans: every valid one, pruned by memory and ranked by time, as columns through the formulas of one plan."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sizeup.errors import UserError
from sizeup.fitted.training_memory import shipped_coefficients
from sizeup.llm.architecture import Architecture
from sizeup.machine import Cluster
from sizeup.physics.training_memory import ZERO_STAGES, PeakBytes, peak_bytes
from sizeup.physics.training_ranks import Columns
from sizeup.plan.pipelines import pipeline
from sizeup.plan.training import Layout, TrainingPlan
from sizeup.plan.validity import reasons_against
from sizeup.training.space import AXES, GATHERS, Family, Fixed, families, plan_at, repeats_of, shards_of
from sizeup.training.step import step_parts_of, step_plan, work_of

SAFE = 1.2816
"""Standard deviations between a plan's memory and the card's, for nine chances in ten to fit."""

NEAR = 1.15
"""Plans with up to this many times the memory that fits are near misses, whose time is worked out too."""


ABOUT_LEAST = 1.05
"""Where nothing nearly fits, the fastest plan within this many times the least memory is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Memory [bytes], time [s] and fit of every plan of a family; far from fitting, the time is infinite."""

    device_bytes: Any
    needed_bytes: Any
    step_seconds: Any
    tokens: Any
    fits: Any

    @property
    def seconds_per_token(self) -> Any:
        """What plans are ranked by."""
        return self.step_seconds / self.tokens


def peaks(family: Family, cluster: Cluster, *, repeats: Any, shards: Any) -> PeakBytes:
    """Return the peak of every plan of a family by meter [bytes]."""
    base, columns = family.base, family.columns
    # floating-point columns divide faster than whole ones
    layout = Columns(
        **{name: columns[name] * 1.0 for name in (*AXES, "micro_batch")}, sequence_length=base.sequence_length,
        micro_batches=repeats, zero=family.lookup(ZERO_STAGES), shard=shards,
        sequence_parallel=family.sequence_parallel, offload_optimizer=int(base.offload_optimizer),
        offload_parameters=int(base.offload_parameters), pipeline=pipeline(base.schedule),
    )  # fmt: skip
    known = shipped_coefficients()
    return peak_bytes(family.facts, layout, cluster.gpu, coefficients=known, compiled=base.compile)


def step_seconds(
    architecture: Architecture, family: Family, cluster: Cluster, rows: Any, *, repeats: Any, shards: Any
) -> Any:
    """Return the step time of the plans at ``rows`` [s]."""
    base, work = family.base, work_of(architecture)
    gathers = family.lookup(dict.fromkeys(GATHERS, 1))
    scatters = family.lookup(dict.fromkeys(GATHERS | {"zero2"}, 1))
    # floating-point columns divide faster than whole ones
    columns = {name: values[rows] * 1.0 for name, values in family.columns.items() if name != "sharding"}
    sequence = (columns["tp"] > 1) * int(base.layout.sequence_parallel)
    steps = replace(
        step_plan(base, work), **columns, shards=shards[rows], gathers=gathers[rows], scatters=scatters[rows],
        micro_batches=repeats[rows], sequence_parallel=sequence,
    )  # fmt: skip
    return step_parts_of(architecture, base, cluster, steps=steps).seconds()


def safe_bytes(cluster: Cluster) -> float:
    """Return the need, as predicted, up to which nine in ten plans fit one card [bytes]."""
    return cluster.node.memory_bytes * math.exp(-SAFE * shipped_coefficients().device_spread)


def evaluate(
    architecture: Architecture, family: Family, cluster: Cluster, *, free_batch: bool = False, limit: float
) -> Scores:
    """Return memory and time of every plan of a family; time is only worked out up to ``limit`` bytes of memory."""
    import numpy as np

    columns, base = family.columns, family.base
    repeats, shards = repeats_of(base, columns, free_batch=free_batch), shards_of(family, cluster)
    memory = peaks(family, cluster, repeats=repeats, shards=shards)
    needed = memory.needed
    seconds = np.full(len(needed), np.inf)
    kept = np.flatnonzero(needed <= NEAR * limit)
    if len(kept):
        seconds[kept] = step_seconds(architecture, family, cluster, kept, repeats=repeats, shards=shards)
    tokens = base.sequence_length * columns["micro_batch"] * columns["dp"] * repeats
    return Scores(
        device_bytes=memory.device, needed_bytes=needed, step_seconds=seconds, tokens=tokens, fits=needed <= limit
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One plan of a search with its memory, what it cannot do without [bytes], and step time [s] (or infinite)."""

    plan: TrainingPlan
    device_bytes: float
    needed_bytes: float
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
    import numpy as np

    limit = safe_bytes(cluster) if limit is None else limit
    fitting: list[_Row] = []
    misses: list[_Row] = []
    least: list[_Row] = []
    evaluated = fits = 0
    for family in families(architecture, base, cluster, fixed=fixed or {}, free_batch=free_batch):
        scores = evaluate(architecture, family, cluster, free_batch=free_batch, limit=limit)
        evaluated, fits = evaluated + len(family), fits + int(scores.fits.sum())
        for rows, kept in ((scores.fits, fitting), (~scores.fits, misses)):
            pace = np.where(rows, scores.seconds_per_token, np.inf)
            kept += [_Row(float(pace[i]), family, scores, i) for i in _smallest(pace, 4 * count)]
        if not fitting and not misses:
            least += _least(architecture, family, scores, cluster, free_batch)
    if not evaluated:
        raise no_plan(architecture, base, cluster, fixed or {}, free_batch=free_batch)
    closest = sorted(misses, key=lambda row: row.pace)
    if not fitting:
        lowest = min(row.needed for row in misses + least)
        # of about the same memory the fastest first
        closest = sorted(misses + least, key=lambda row: (row.needed > ABOUT_LEAST * lowest, row.pace))
    best = _diverse(sorted(fitting, key=lambda row: row.pace), count, cluster, free_batch)
    near = _diverse(closest, count, cluster, free_batch)
    return Found(best=best, near_misses=near, evaluated=evaluated, fitting=fits)


@dataclass(frozen=True, slots=True)
class _Row:
    """One plan of a family by its index, and its seconds per token."""

    pace: float
    family: Family
    scores: Scores
    index: int

    @property
    def needed(self) -> float:
        """What the plan cannot do without [bytes]."""
        return float(self.scores.needed_bytes[self.index])

    @property
    def kind(self) -> tuple[int, ...]:
        """How it divides the model."""
        return tuple(int(self.family.columns[name][self.index]) for name in ("tp", "pp", "cp", "ep", "sharding"))


def _least(
    architecture: Architecture, family: Family, scores: Scores, cluster: Cluster, free_batch: bool
) -> list[_Row]:
    """Return the plans of a family that need least memory; the fastest of those that need hardly more."""
    import numpy as np

    rows = np.flatnonzero(scores.needed_bytes <= ABOUT_LEAST * scores.needed_bytes.min())
    repeats = repeats_of(family.base, family.columns, free_batch=free_batch)
    shards = shards_of(family, cluster)
    scores.step_seconds[rows] = step_seconds(architecture, family, cluster, rows, repeats=repeats, shards=shards)
    pace = scores.seconds_per_token
    first = int(rows[np.argmin(pace[rows])])
    return [_Row(float(pace[first]), family, scores, first)]


def _smallest(values: Any, count: int) -> list[int]:
    """Return where the smallest finite values are, smallest first, the earlier of equal ones first."""
    import numpy as np

    if len(values) > count:
        # everything up to the value that is the count-th smallest
        near = np.flatnonzero(values <= np.partition(values, count - 1)[count - 1])
    else:
        near = np.arange(len(values))
    ordered = near[np.argsort(values[near], kind="stable")][:count]
    return [int(i) for i in ordered if np.isfinite(values[i])]


def no_plan(
    architecture: Architecture, base: TrainingPlan, cluster: Cluster, fixed: Fixed, *, free_batch: bool
) -> UserError:
    """Return the error that says why no plan is valid: what speaks against what was asked for, or the batch."""
    asked: dict[str, Any] = {name: int(fixed[name]) for name in AXES if fixed.get(name)}
    rest = math.prod(asked.get(name, 1) for name in ("tp", "pp", "cp"))
    if cluster.gpus % rest == 0 and "dp" not in asked:
        asked["dp"] = cluster.gpus // rest
    layout = Layout(**asked, sharding=fixed.get("sharding") or "none")
    size = int(fixed.get("micro_batch") or 1)
    batch = size * layout.dp if free_batch else base.global_batch
    plan = replace(base, layout=layout, micro_batch=size, global_batch=batch)
    reasons = reasons_against(architecture, plan, gpus=cluster.gpus)
    if reasons:
        return UserError(f"no plan of {cluster.gpus} GPUs is valid: {'; '.join(reasons)}")
    return UserError(
        f"no valid plan of {cluster.gpus} GPUs for a global batch of {base.global_batch}",
        hint="choose a global batch that the GPUs divide, or fewer fixed axes",
    )


def _candidate(row: _Row, cluster: Cluster, free_batch: bool) -> Candidate:
    scores = row.scores
    return Candidate(
        plan=plan_at(row.family, row.index, cluster, free_batch=free_batch), needed_bytes=row.needed,
        device_bytes=float(scores.device_bytes[row.index]), step_seconds=float(scores.step_seconds[row.index]),
    )  # fmt: skip


def _diverse(rows: Sequence[_Row], count: int, cluster: Cluster, free_batch: bool) -> tuple[Candidate, ...]:
    """Return the best plan, then the best of each different way to divide the model."""
    kept: dict[tuple[int, ...], _Row] = {}
    for row in rows:
        if len(kept) < count:
            kept.setdefault(row.kind, row)
    return tuple(_candidate(row, cluster, free_batch) for row in kept.values())
