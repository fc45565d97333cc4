"""The cheapest cloud machines on which a model trains: every priced one, with as many of it as are needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sizeup.errors import UserError
from sizeup.llm.architecture import Architecture
from sizeup.machine import Cluster, Instance, list_instances, parse_machine
from sizeup.machine.gpus import gpu
from sizeup.plan.training import TrainingPlan
from sizeup.training.search import Candidate, search
from sizeup.training.totals import RunTerms, whole_run
from sizeup.units import SECONDS_PER_HOUR

MOST_NODES = 64
MAKERS = ("nvidia", "amd")
"""Whose cards the training frameworks run on (CUDA and ROCm); chips made for inference are left out with the rest."""
BILLION = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Rented:
    """A number of equal instances with their best plan, and what it costs; days and usd are of a whole run."""

    instance: Instance
    nodes: int
    plan: TrainingPlan
    tokens_per_second: float
    usd_per_billion_tokens: float
    days: float | None = None
    usd: float | None = None

    @property
    def gpus(self) -> int:
        """Cards of all nodes."""
        return self.nodes * self.instance.gpus


def machines() -> Iterator[Instance]:
    """Yield the cheapest priced instance of each card and number of cards; parts of cards are left out."""
    seen = set()
    for instance in list_instances(priced_only=True, sort="price"):
        key = (instance.gpu_key, instance.gpus)
        if key not in seen and instance.gpu_fraction == 1 and gpu(instance.gpu_key).vendor in MAKERS:
            seen.add(key)
            yield instance


def cheapest(
    architecture: Architecture,
    plan_for: Callable[[Cluster], TrainingPlan],
    *,
    fixed: Mapping[str, Any] | None = None,
    free_batch: bool = False,
    tokens: float | None = None,
    within_days: float | None = None,
    terms: RunTerms | None = None,
) -> list[Rented]:
    """Return every machine on which the model trains, the cheapest per token first.

    Each is taken as few times (1, 2, 4 ...) as hold the model and keep the deadline. ``plan_for`` gives the plan, its
    layout left open; machines whose cards lack its number format are passed over.
    """

    def offer(instance: Instance, nodes: int) -> Rented | None:
        cluster = replace(parse_machine(f"{instance.cloud} {instance.name}"), nodes=nodes)
        plan = plan_for(cluster)
        best = search(architecture, plan, cluster, fixed=fixed or {}, free_batch=free_batch, count=1).best
        return _rented(best[0], cluster, instance, tokens, terms) if best else None

    rows = (_fewest(offer, instance, within_days) for instance in machines())
    return sorted((row for row in rows if row), key=lambda row: row.usd_per_billion_tokens)


def _fewest(
    offer: Callable[[Instance, int], Rented | None], instance: Instance, within_days: float | None
) -> Rented | None:
    nodes = 1
    while nodes <= MOST_NODES:
        try:
            rented = offer(instance, nodes)
        except UserError:
            return None
        if rented and (within_days is None or rented.days is None or rented.days <= within_days):
            return rented
        nodes *= 2
    return None


def _rented(
    best: Candidate, cluster: Cluster, instance: Instance, tokens: float | None, terms: RunTerms | None
) -> Rented:
    plan = best.plan
    rate = plan.global_batch * plan.sequence_length * plan.filled / best.step_seconds
    run = whole_run(plan, cluster, best.step_seconds, tokens, terms=terms) if tokens else None
    assert cluster.usd_per_hour is not None
    return Rented(
        instance=instance, nodes=cluster.nodes, plan=plan, tokens_per_second=rate,
        usd_per_billion_tokens=cluster.usd_per_hour / SECONDS_PER_HOUR / rate * BILLION,
        days=run.days if run else None, usd=run.usd if run else None,
    )  # fmt: skip
