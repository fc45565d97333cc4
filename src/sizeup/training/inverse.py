"""Questions asked backwards: the largest sequence or micro-batch that fits, the fewest GPUs for a deadline."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sizeup.catalog.lookup import list_models
from sizeup.errors import UserError
from sizeup.llm.architecture import Architecture
from sizeup.llm.families import build
from sizeup.machine import Cluster
from sizeup.plan.training import TrainingPlan
from sizeup.sweep import largest
from sizeup.training.answer import TrainingAnswer, answer
from sizeup.training.search import Candidate, search
from sizeup.training.space import LARGEST_MICRO_BATCH
from sizeup.training.totals import RunTerms

SEQUENCE_STEP = 1024
LONGEST_SEQUENCE = 2**22
BEYOND_ENOUGH = 2
"""Further numbers of cards that are shown beside the fewest that meets a limit."""


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


def largest_rank(
    architecture: Architecture, base: TrainingPlan, cluster: Cluster, *, fixed: Mapping[str, Any] | None = None,
    free_batch: bool = False,
) -> int:  # fmt: skip
    """Return the largest LoRA rank for which some plan fits, at most the model's width; 0 if none does.

    Raises:
        UserError: the plan trains no adapters.
    """
    adapter = base.adapter
    if adapter is None:
        raise UserError("only adapters have a rank", hint="--method lora")

    def works(rank: int) -> bool:
        plan = replace(base, adapter=replace(adapter, rank=rank))
        return _best(architecture, plan, cluster, fixed or {}, free_batch=free_batch) is not None

    return largest(works, most=architecture.hidden_size)


def largest_model(
    plan_for: Callable[[Architecture], TrainingPlan], cluster: Cluster, *, fixed: Mapping[str, Any] | None = None,
    free_batch: bool = False,
) -> tuple[str, int] | None:  # fmt: skip
    """Return name and parameters of the largest model of the catalog for which some plan fits; None if none does.

    ``plan_for`` gives the plan, its layout left open, of a model. Conversions to fewer bits are passed over.
    """
    records = [(record.parameters, record) for record in list_models() if record.parameters]
    seen = set()
    for parameters, record in sorted(records, key=lambda item: -item[0]):
        # fewer than half a byte for each weight no recipe takes
        if parameters in seen or parameters / 2 > cluster.memory_bytes:
            continue
        seen.add(parameters)
        try:
            architecture = build(record.config(), where=record.name)
            if architecture.quantization is not None or not architecture.vocabulary_size:
                continue
            plan = plan_for(architecture)
        except UserError:
            continue
        if _best(architecture, plan, cluster, fixed or {}, free_batch=free_batch):
            return record.name, parameters
    return None


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
    terms: RunTerms | None = None,
    enough: Callable[[Offer], bool] | None = None,
) -> list[Offer]:
    """Return the best plan of every cluster on which one fits, fewest cards first.

    Clusters beyond the first that is ``enough`` are looked at once more each, for comparison, then no further.
    """
    found: list[Offer] = []
    more = BEYOND_ENOUGH
    for cluster in sorted(clusters, key=lambda cluster: cluster.gpus):
        best = _best(architecture, base, cluster, fixed or {}, free_batch=False)
        if best is None:
            continue
        found.append(Offer(answer=answer(name, architecture, cluster, best.plan, tokens=tokens, terms=terms)))
        if enough and any(enough(offer) for offer in found):
            more -= 1
            if more < 0:
                break
    return found


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


def meets(offer: Offer, *, within_days: float | None = None, budget_usd: float | None = None) -> bool:
    """Return whether an offer keeps a deadline and a budget; an unknown price keeps no budget."""
    in_time = within_days is None or offer.days <= within_days
    return in_time and (budget_usd is None or (offer.usd is not None and offer.usd <= budget_usd))


def fewest_gpus(
    found: Iterable[Offer], *, within_days: float | None = None, budget_usd: float | None = None
) -> Offer | None:
    """Return the offer with the fewest cards that meets a deadline and a budget; None if none does."""
    ordered = sorted(found, key=lambda offer: offer.gpus)
    return next((o for o in ordered if meets(o, within_days=within_days, budget_usd=budget_usd)), None)
