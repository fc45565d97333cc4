"""A scenario - flags from the command line, a file, Python or a page - answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sizeup.errors import UserError
from sizeup.llm.architecture import Architecture
from sizeup.machine import Cluster, parse_machine
from sizeup.plan.training import TrainingPlan
from sizeup.scenario import checked
from sizeup.sizing import Model
from sizeup.sizing import model as load
from sizeup.training.answer import Largest, TrainingAnswer
from sizeup.training.base import FINE_TUNING, base_plan
from sizeup.training.best import train as best_plan
from sizeup.training.flags import KINDS, LAYOUT
from sizeup.training.inverse import fewest_gpus, largest_micro_batch, largest_sequence, offers, pareto

COMPARED_BATCH = 2048
"""Sequences per step where numbers of cards are compared and nobody says (a power of two, so that they divide it)."""


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


def answer_of(scenario: Mapping[str, Any]) -> TrainingAnswer:
    """Return the answer to a scenario, questions asked backwards included.

    Raises:
        UserError: something needed is missing or unknown, or no plan is valid.
    """
    values = checked(scenario, KINDS)
    backwards = values.get("within_days") is not None or values.get("budget") is not None
    if backwards and not values.get("tokens"):
        raise UserError("a deadline or a budget needs --tokens", hint="--tokens 1T")
    for needed, hint in (("model", "sizeup train llama-3.1-8b --gpu a100"), ("gpu", "--gpu h100 --gpus 64")):
        if not values.get(needed):
            raise UserError(f"{needed} is missing", hint=hint)
    count = f"{values['gpus']}x" if values.get("gpus") else ""
    cluster = parse_machine(f"{count}{values['gpu']}")
    known, architecture = trainable(values["model"])
    method = values.get("method", "pretrain")
    base = base_plan(
        architecture, cluster, method=method, framework=values.get("framework"),
        sequence_length=values.get("sequence_length"), global_batch=values.get("global_batch"),
        options=values,
    )  # fmt: skip
    fixed = {key: values[key] for key in LAYOUT if values.get(key) is not None}
    free_batch = method in FINE_TUNING and not values.get("global_batch")
    largest = (
        _largest(values["largest"], architecture, base, cluster, fixed, free_batch) if "largest" in values else None
    )
    front: tuple[Any, ...] = ()
    if backwards and not values.get("global_batch"):
        # the same batch for every number of cards, so that their times compare
        base = replace(base, global_batch=COMPARED_BATCH)
    if backwards:
        front, cluster = _offers(values, known, base, cluster, fixed)
    found = best_plan(
        known.name, architecture, cluster, base, fixed=fixed, tokens=values.get("tokens"), free_batch=free_batch
    )
    return replace(found, largest=largest, offers=front)


def trainable(spec: str) -> tuple[Model, Architecture]:
    """Return a model with its architecture.

    Raises:
        UserError: there is none, or only its size is known.
    """
    known = load(spec)
    if known.architecture is None or not known.has_layers:
        raise UserError(f"{known.name} has no layers to train: a configuration is needed, not a size")
    return known, known.architecture


def _largest(
    what: str,
    architecture: Architecture,
    base: TrainingPlan,
    cluster: Cluster,
    fixed: Mapping[str, Any],
    free_batch: bool,
) -> Largest:
    """Return the largest sequence or micro-batch that fits."""
    if what == "micro-batch":
        free = {key: value for key, value in fixed.items() if key != "micro_batch"}
        return Largest(what=what, value=largest_micro_batch(architecture, base, cluster, fixed=free))
    return Largest(what=what, value=largest_sequence(architecture, base, cluster, fixed=fixed, free_batch=free_batch))


def _offers(
    values: Mapping[str, Any], known: Model, base: TrainingPlan, cluster: Cluster, fixed: Mapping[str, Any]
) -> tuple[tuple[Any, ...], Cluster]:
    """Return the Pareto front over numbers of cards, and the cluster with the fewest that meets the limits.

    Raises:
        UserError: no number of cards meets them.
    """
    assert known.architecture is not None
    counts = [2**power for power in range(15)]
    clusters = [parse_machine(f"{count}x{values['gpu']}") for count in counts]
    found = offers(known.name, known.architecture, base, clusters, tokens=values["tokens"], fixed=fixed)
    chosen = fewest_gpus(found, within_days=values.get("within_days"), budget_usd=values.get("budget"))
    if chosen is None:
        raise UserError(
            f"no number of {cluster.gpu.name} up to {counts[-1]:,} meets this deadline and budget",
            hint="allow more days or dollars, a larger global batch, or another card",
        )
    return tuple(pareto(found)), chosen.answer.cluster
