"""A whole run: steps, days with failures and checkpoints, GPU-hours, dollars, energy."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from sizeup.estimate import Band, Estimate
from sizeup.machine import Cluster, Instance, list_instances
from sizeup.plan.training import TrainingPlan
from sizeup.units import KILO, SECONDS_PER_DAY, SECONDS_PER_HOUR, SECONDS_PER_MINUTE

LLAMA3_GPU_HOURS_PER_FAILURE = 54 * 24 * 16384 / 419
"""419 unexpected interruptions in 54 days on 16,384 GPUs ([llama3] section 3.3.4)."""
RESTART_SECONDS = 900.0
"""From a failure to the next step (assumption, printed)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTerms:
    """What a long run meets: failures by GPU-hours, checkpoints by interval and by the pause that each makes."""

    gpu_hours_per_failure: float = LLAMA3_GPU_HOURS_PER_FAILURE
    checkpoint_seconds: float = 1800.0
    pause_seconds: float = 0.0

    def goodput(self, gpus: int) -> float:
        """Return the share of the time that is not lost.

        A failure loses the restart and, on average, half of a checkpoint interval.

        >>> round(RunTerms().goodput(16384), 3)
        0.861
        """
        between = self.gpu_hours_per_failure * SECONDS_PER_HOUR / gpus
        lost = RESTART_SECONDS + self.checkpoint_seconds / 2
        saving = self.checkpoint_seconds / (self.checkpoint_seconds + self.pause_seconds)
        return saving * between / (between + lost)


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """Steps, days, GPU-hours and dollars of a run (None without a price)."""

    steps: int
    days: float
    gpu_hours: float
    goodput: float
    usd: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """A whole run: tokens, optimizer steps, time with failures, GPU-hours, dollars and energy."""

    tokens: float
    steps: int
    days: float
    gpu_hours: float
    goodput: float
    usd: float | None
    instance: Instance | None
    kilowatt_hours: float | None
    days_band: Band | None
    assumptions: tuple[str, ...]


def priced_instance(cluster: Cluster) -> Instance | None:
    """Return the machine that the cluster names, else the cheapest dated instance with enough of this card."""
    if cluster.node.instance:
        return cluster.node.instance
    found = list_instances(gpu=cluster.gpu.key, priced_only=True, min_gpus=cluster.node.gpus, sort="gpu-price")
    return found[0] if found else None


def whole_run(
    plan: TrainingPlan, cluster: Cluster, step_seconds: float, tokens: float, *, terms: RunTerms | None = None
) -> Whole:
    """Return a run over ``tokens``; padding is worked on and is no token."""
    steps = math.ceil(tokens / (plan.global_batch * plan.sequence_length * plan.filled))
    goodput = (terms or RunTerms()).goodput(cluster.gpus)
    days = steps * step_seconds / goodput / SECONDS_PER_DAY
    gpu_hours = days * cluster.gpus * SECONDS_PER_DAY / SECONDS_PER_HOUR
    instance = priced_instance(cluster)
    price = instance.usd_per_gpu_hour if instance else None
    usd = None if price is None else price * gpu_hours
    return Whole(steps=steps, days=days, gpu_hours=gpu_hours, goodput=goodput, usd=usd)


def totals(plan: TrainingPlan, cluster: Cluster, step: Estimate, tokens: float, *, terms: RunTerms) -> Totals:
    """Return time, price and energy of a run over ``tokens``, failures and restarts included."""
    seconds, found = float(step.value), step.band
    run = whole_run(plan, cluster, seconds, tokens, terms=terms)
    watts = cluster.gpu.tdp_watts
    scale = run.days / seconds
    return Totals(
        tokens=tokens, steps=run.steps, days=run.days, gpu_hours=run.gpu_hours, goodput=run.goodput, usd=run.usd,
        instance=priced_instance(cluster), kilowatt_hours=watts / KILO * run.gpu_hours if watts else None,
        days_band=replace(found, low=scale * found.low, high=scale * found.high) if found else None,
        assumptions=tuple(_notes(cluster, terms)),
    )  # fmt: skip


def _notes(cluster: Cluster, terms: RunTerms) -> Iterator[str]:
    lost = (RESTART_SECONDS + terms.checkpoint_seconds / 2) / SECONDS_PER_MINUTE
    usual = terms.gpu_hours_per_failure == LLAMA3_GPU_HOURS_PER_FAILURE
    source = ", as Llama 3 on 16,384 H100 [llama3]" if usual else ""
    yield (
        f"one failure per {terms.gpu_hours_per_failure:,.0f} GPU-hours{source}; each loses {lost:.0f} min (restart 15, "
        f"half of a {terms.checkpoint_seconds / SECONDS_PER_MINUTE:.0f}-minute checkpoint interval)"
    )
    yield f"a checkpoint stops training for {terms.pause_seconds:.0f} s" + (
        " (written beside it)" if not terms.pause_seconds else ""
    )
    if cluster.gpu.tdp_watts:
        yield "energy: cards at their TDP; hosts, network and cooling are not counted"
    instance = priced_instance(cluster)
    if instance:
        yield f"price: {instance.cloud} {instance.name}, on demand, {instance.date}; storage and traffic extra"
