"""Questions asked backwards: the largest sequence or micro-batch that fits, the fewest GPUs for a deadline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sizeup.errors import UserError
from sizeup.llm.architecture import Architecture
from sizeup.machine import Cluster
from sizeup.plan.training import TrainingPlan
from sizeup.sweep import largest
from sizeup.training.answer import TrainingAnswer, answer
from sizeup.training.search import Candidate, search
from sizeup.training.space import LARGEST_MICRO_BATCH

SEQUENCE_STEP = 1024
LONGEST_SEQUENCE = 2**22


def _best(
    architecture: Architecture, base: TrainingPlan, cluster: Cluster, fixed: Mapping[str, Any], *, free_batch: bool
) -> Candidate | None:
    try:
        found = search(architecture, base, cluster, fixed=fixed, free_batch=free_batch, count=1)
    except UserError:
        return None
    return found.best[0] if found.best else None


def largest_sequence(
    architecture: Architecture, base: TrainingPlan, cluster: Cluster, *, fixed: Mapping[str, Any] | None = None,
    free_batch: bool = False,
) -> int:  # fmt: skip
    """Return the longest sequence, in steps of 1,024 tokens, for which some plan fits; 0 if none does."""

    def works(thousands: int) -> bool:
        plan = replace(base, sequence_length=thousands * SEQUENCE_STEP)
        return _best(architecture, plan, cluster, fixed or {}, free_batch=free_batch) is not None

    return SEQUENCE_STEP * largest(works, most=LONGEST_SEQUENCE // SEQUENCE_STEP)


def largest_micro_batch(
    architecture: Architecture, base: TrainingPlan, cluster: Cluster, *, fixed: Mapping[str, Any] | None = None
) -> int:
    """Return the largest micro-batch for which some plan fits, the global batch following it; 0 if none does."""

    def works(size: int) -> bool:
        chosen = {**(fixed or {}), "micro_batch": size}
        return _best(architecture, base, cluster, chosen, free_batch=True) is not None

    return largest(works, most=LARGEST_MICRO_BATCH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One number of cards with its best plan."""

    answer: TrainingAnswer

    @property
    def gpus(self) -> int:
        """Cards."""
        return self.answer.cluster.gpus

    @property
    def days(self) -> float:
        """Days of the whole run."""
        assert self.answer.totals is not None
        return self.answer.totals.days

    @property
    def usd(self) -> float | None:
        """Price of the whole run."""
        assert self.answer.totals is not None
        return self.answer.totals.usd


def offers(
    name: str,
    architecture: Architecture,
    base: TrainingPlan,
    clusters: Iterable[Cluster],
    *,
    tokens: float,
    fixed: Mapping[str, Any] | None = None,
) -> list[Offer]:
    """Return the best plan of every cluster on which one fits, fewest cards first."""
    found = []
    for cluster in clusters:
        best = _best(architecture, base, cluster, fixed or {}, free_batch=False)
        if best is not None:
            found.append(Offer(answer=answer(name, architecture, cluster, best.plan, tokens=tokens)))
    return sorted(found, key=lambda offer: offer.gpus)


def pareto(found: Iterable[Offer]) -> list[Offer]:
    """Return the offers that no other one beats in cards, days and dollars at once."""
    every = list(found)

    def cost(offer: Offer) -> tuple[float, float, float]:
        return offer.gpus, offer.days, offer.usd or 0.0

    def beaten(offer: Offer) -> bool:
        mine = cost(offer)
        return any(
            all(a <= b for a, b in zip(cost(other), mine, strict=True)) and cost(other) != mine for other in every
        )

    return [offer for offer in every if not beaten(offer)]


def fewest_gpus(
    found: Iterable[Offer], *, within_days: float | None = None, budget_usd: float | None = None
) -> Offer | None:
    """Return the offer with the fewest cards that meets a deadline and a budget; None if none does."""
    for offer in sorted(found, key=lambda offer: offer.gpus):
        if within_days is not None and offer.days > within_days:
            continue
        if budget_usd is not None and (offer.usd is None or offer.usd > budget_usd):
            continue
        return offer
    return None
