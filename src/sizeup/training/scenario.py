"""A scenario - flags from the command line, a file, Python or a page - answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sizeup.errors import UserError
from sizeup.llm.architecture import Architecture
from sizeup.machine import Cluster, parse_machine
from sizeup.plan.training import TrainingPlan
from sizeup.scenario import checked
from sizeup.sizing import model as load
from sizeup.training.answer import Largest, TrainingAnswer
from sizeup.training.base import FINE_TUNING, base_plan
from sizeup.training.best import train as best_plan
from sizeup.training.cheapest import Rented, cheapest
from sizeup.training.flags import KINDS, LAYOUT
from sizeup.training.inverse import (
    Offer,
    fewest_gpus,
    largest_micro_batch,
    largest_model,
    largest_rank,
    largest_sequence,
    meets,
    offers,
    pareto,
)
from sizeup.training.optimal import compute_optimal
from sizeup.training.totals import RunTerms, priced_instance
from sizeup.units import SECONDS_PER_MINUTE, format_dollars

COMPARED_BATCH = 2048
"""Sequences per step where numbers of cards are compared and nobody says (a power of two, so that they divide it)."""
MOST_GPUS = 2**14
HOURS_PER_DAY = 24


def train(model: str, **flags: Any) -> TrainingAnswer:
    """Return memory, time, plan and price of training ``model``; ``flags`` are those of the command line.

    >>> import sizeup
    >>> answer = sizeup.train("llama-3.1-8b", gpu="rtx-4090", method="qlora", sequence_length="4k")
    >>> answer.fits, answer.plan.micro_batch
    (True, 1)

    Raises:
        UserError: something needed is missing or unknown, or no plan is valid.
    """
    return answer_of({"model": model, **flags})


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A scenario read: what is trained, on what, what is decided and what is asked."""

    values: Mapping[str, Any]
    name: str
    architecture: Architecture
    tokens: float | None
    terms: RunTerms

    @property
    def method(self) -> str:
        """What is trained."""
        return str(self.values.get("method", "pretrain"))

    @property
    def fixed(self) -> dict[str, Any]:
        """Parts of the layout that are decided."""
        return {key: self.values[key] for key in LAYOUT if self.values.get(key) is not None}

    @property
    def free_batch(self) -> bool:
        """Whether the global batch follows the micro-batch."""
        return self.method in FINE_TUNING and not self.values.get("global_batch")

    @property
    def limits(self) -> dict[str, float]:
        """Deadline and budget of the run, where the budget is not for a compute-optimal model."""
        if self.values.get("compute_optimal"):
            return {}
        names = {"within_days": "within_days", "budget": "budget_usd"}
        return {limit: self.values[flag] for flag, limit in names.items() if self.values.get(flag) is not None}

    def plan(self, cluster: Cluster, architecture: Architecture | None = None) -> TrainingPlan:
        """Return the plan with its layout left open."""
        values = self.values
        return base_plan(
            architecture or self.architecture, cluster, method=self.method, framework=values.get("framework"),
            sequence_length=values.get("sequence_length"), global_batch=values.get("global_batch"), options=values,
        )  # fmt: skip


def answer_of(scenario: Mapping[str, Any]) -> TrainingAnswer:
    """Return the answer to a scenario, questions asked backwards included.

    Raises:
        UserError: something needed is missing or unknown, or no plan is valid.
    """
    question = question_of(checked(scenario, KINDS))
    values = question.values
    rented = _rented(question) if values.get("cheapest") else []
    cluster = _cluster(values, rented)
    base = question.plan(cluster)
    front: list[Offer] = []
    unmet = ""
    if not values.get("gpu"):
        unmet = _over_budget(question, rented)
    elif question.limits or values.get("pareto"):
        if not values.get("global_batch"):
            # the same batch for every number of cards, so that their times compare
            base = replace(base, global_batch=COMPARED_BATCH)
        front, cluster, unmet = _offers(question, base, cluster)
    found = best_plan(
        question.name, question.architecture, cluster, base, fixed=question.fixed, tokens=question.tokens,
        free_batch=question.free_batch and not front, terms=question.terms,
    )  # fmt: skip
    largest = _largest(values["largest"], question, cluster) if "largest" in values else None
    hours = _gpu_hours(values, found) if values.get("compute_optimal") else None
    optimal = compute_optimal(found, gpu_hours=hours) if hours else ()
    return replace(
        found, largest=largest, offers=tuple(pareto(front)), unmet=unmet, cheapest=tuple(rented), optimal=optimal
    )


def question_of(values: Mapping[str, Any]) -> Question:
    """Return the question that checked flags ask.

    Raises:
        UserError: something needed is missing or unknown.
    """
    tokens = _tokens(values)
    asks = [name for name in ("within_days", "budget", "pareto") if values.get(name)]
    if asks and not tokens and not values.get("compute_optimal"):
        option = "--" + asks[0].replace("_", "-")
        raise UserError(f"{option} needs the tokens of the run", hint="--tokens 1T")
    for needed, hint in (("model", "sizeup train llama-3.1-8b --gpu a100"), ("gpu", "--gpu h100 --gpus 64")):
        if not values.get(needed) and not (needed == "gpu" and values.get("cheapest")):
            raise UserError(f"{needed} is missing", hint=hint)
    known = load(values["model"])
    if known.architecture is None or not known.has_layers:
        raise UserError(f"{known.name} has no layers to train: a configuration is needed, not a size")
    usual = RunTerms()
    terms = RunTerms(
        gpu_hours_per_failure=values.get("failure_gpu_hours", usual.gpu_hours_per_failure),
        checkpoint_seconds=values.get("checkpoint_minutes", usual.checkpoint_seconds / SECONDS_PER_MINUTE)
        * SECONDS_PER_MINUTE,
        pause_seconds=values.get("checkpoint_pause", usual.pause_seconds),
    )
    return Question(values=values, name=known.name, architecture=known.architecture, tokens=tokens, terms=terms)


def _tokens(values: Mapping[str, Any]) -> float | None:
    """Return the tokens of the whole run: those given, or samples times their length, times the epochs.

    Raises:
        UserError: samples without a length, both samples and tokens, or epochs of neither.
    """
    tokens = values.get("tokens")
    if values.get("samples"):
        length = values.get("mean_length") or values.get("sequence_length")
        if tokens or not length:
            problem = "give --tokens or --samples" if tokens else "--samples need their length"
            raise UserError(problem, hint="--samples 50k --mean-length 600 --epochs 3")
        tokens = values["samples"] * length
    if values.get("epochs") and not tokens:
        raise UserError("--epochs of what?", hint="--samples 50k --mean-length 600 --epochs 3")
    return tokens * values.get("epochs", 1) if tokens else None


def _cluster(values: Mapping[str, Any], rented: list[Rented]) -> Cluster:
    if values.get("gpu"):
        count = f"{values['gpus']}x" if values.get("gpus") else ""
        return parse_machine(f"{count}{values['gpu']}")
    if not rented:
        raise UserError(
            "no priced cloud machine holds this training in time", hint="--method qlora, a smaller model, or more days"
        )
    best = rented[0]
    return replace(parse_machine(f"{best.instance.cloud} {best.instance.name}"), nodes=best.nodes)


def _rented(question: Question) -> list[Rented]:
    return cheapest(
        question.architecture, question.plan, fixed=question.fixed, free_batch=question.free_batch,
        tokens=question.tokens, within_days=question.limits.get("within_days"), terms=question.terms,
    )  # fmt: skip


def _largest(what: str, question: Question, cluster: Cluster) -> Largest:
    """Return the largest sequence, micro-batch, LoRA rank or model that fits."""
    architecture, base, fixed = question.architecture, question.plan(cluster), question.fixed
    if what == "micro-batch":
        free = {key: value for key, value in fixed.items() if key != "micro_batch"}
        return Largest(what=what, value=largest_micro_batch(architecture, base, cluster, fixed=free))
    free_batch = question.free_batch
    if what == "model":
        found = largest_model(
            lambda other: question.plan(cluster, other), cluster, fixed=fixed, free_batch=free_batch
        )  # fmt: skip
        return Largest(what=what, value=found[1] if found else 0, name=found[0] if found else "")
    largest = largest_rank if what == "rank" else largest_sequence
    return Largest(what=what, value=largest(architecture, base, cluster, fixed=fixed, free_batch=free_batch))


def _offers(question: Question, base: TrainingPlan, cluster: Cluster) -> tuple[list[Offer], Cluster, str]:
    """Return the numbers of cards looked at, the cluster that answers, and which limits nothing meets.

    The fewest cards that meet the limits answer; where none does, the fastest (or, for a budget, the cheapest).

    Raises:
        UserError: the model fits on no number of cards.
    """
    gpu, limits = question.values["gpu"], question.limits
    assert question.tokens is not None
    counts = [2**power for power in range(MOST_GPUS.bit_length())]
    clusters = [each for each in (parse_machine(f"{count}x{gpu}") for count in counts) if each.gpus <= MOST_GPUS]
    found = offers(
        question.name, question.architecture, base, clusters, tokens=question.tokens, fixed=question.fixed,
        terms=question.terms, enough=(lambda offer: meets(offer, **limits)) if limits else None,
    )  # fmt: skip
    if not found:
        raise UserError(f"{question.name} fits on no number of {cluster.gpu.name} up to {MOST_GPUS:,}")
    if not limits:
        return found, cluster, ""
    chosen = fewest_gpus(found, **limits)
    if chosen:
        return found, chosen.answer.cluster, ""
    cheap = "budget_usd" in limits
    closest = min(found, key=lambda offer: (offer.usd or float("inf")) if cheap else offer.days)
    return found, closest.answer.cluster, _limit_words(limits)


def _limit_words(limits: Mapping[str, float]) -> str:
    wanted = [f"within {limits['within_days']:g} days"] if "within_days" in limits else []
    wanted += [f"for {format_dollars(limits['budget_usd'])}"] if "budget_usd" in limits else []
    return " and ".join(wanted)


def _over_budget(question: Question, rented: list[Rented]) -> str:
    """Return the limits that the cheapest machines break; all of them keep a deadline."""
    budget = question.limits.get("budget_usd")
    kept = budget is None or any(row.usd is not None and row.usd <= budget for row in rented)
    return "" if kept else _limit_words(question.limits)


def _gpu_hours(values: Mapping[str, Any], found: TrainingAnswer) -> float:
    """Return the GPU-hours of a budget in hours, dollars or days.

    Raises:
        UserError: no budget, or dollars for a card without a price.
    """
    if values.get("gpu_hours"):
        return float(values["gpu_hours"])
    if values.get("within_days"):
        return float(values["within_days"]) * HOURS_PER_DAY * found.cluster.gpus
    if not values.get("budget"):
        raise UserError(
            "--compute-optimal needs a budget", hint="--gpu-hours 10000, --budget 50000 or --within-days 30"
        )
    instance = priced_instance(found.cluster)
    if instance is None or not instance.usd_per_gpu_hour:
        raise UserError(f"no price of {found.cluster.gpu.name} is known", hint="--gpu-hours 10000")
    return float(values["budget"]) / instance.usd_per_gpu_hour
