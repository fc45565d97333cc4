"""Compute-optimal models for a budget: how large, on how many tokens, and what training longer costs in size."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sizeup.catalog.lookup import list_models
from sizeup.physics.capability import loss_of
from sizeup.physics.rules import chinchilla_tokens
from sizeup.training.answer import TrainingAnswer
from sizeup.training.step import model_flops_of, work_of
from sizeup.units import SECONDS_PER_HOUR

OVER_TRAINING = (1, 2, 5, 10, 50, 100)
"""Times the compute-optimal tokens of a model; 100 is Llama 3 8B's 15T tokens ([llama3] section 3.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimal:
    """One way to spend a budget: a model's size and tokens, its expected loss, the nearest model with a name."""

    over_training: float
    parameters: float
    tokens: float
    loss: float
    nearest: str


def compute_optimal(answer: TrainingAnswer, *, gpu_hours: float) -> tuple[Optimal, ...]:
    """Return how to spend ``gpu_hours`` at the speed of ``answer``: compute-optimal first, then longer training.

    The budget buys C = hours x peak x MFU FLOP; a model of N parameters on k x 20 N tokens takes c x N x k x 20 N, with
    c of the answer's own model (6 and its attention).

    Source: [chinchilla] approach 1 and Table 3, equation 10 for the loss
    """
    model_flops = model_flops_of(answer.architecture, answer.plan)
    tokens = answer.plan.global_batch * answer.plan.sequence_length
    per_weight_and_token = model_flops / tokens / work_of(answer.architecture).active_parameters
    rate = model_flops / float(answer.step.value) / answer.cluster.gpus
    flops = gpu_hours * SECONDS_PER_HOUR * rate
    rows = []
    for factor in OVER_TRAINING:
        parameters = math.sqrt(flops / (per_weight_and_token * factor * chinchilla_tokens(1)))
        words = factor * chinchilla_tokens(parameters)
        rows.append(
            Optimal(
                over_training=factor, parameters=parameters, tokens=words,
                loss=loss_of(parameters=parameters, tokens=words), nearest=nearest_model(parameters),
            )
        )  # fmt: skip
    return tuple(rows)


def nearest_model(parameters: float) -> str:
    """Return the model of the catalog whose size is nearest in ratio."""
    known = [(record.parameters, record.short_name) for record in list_models() if record.parameters]
    return min(known, key=lambda item: (abs(math.log(item[0] / parameters)), len(item[1]), item[1]))[1]
