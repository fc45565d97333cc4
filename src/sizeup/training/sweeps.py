"""What pictures of an answer are drawn from: memory against sequence or micro-batch, days and dollars against cards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sizeup.card import ENVELOPE_TRAIN_BYTES
from sizeup.fitted.training_memory import shipped_coefficients
from sizeup.llm.architecture import Architecture
from sizeup.llm.parameters import count_parameters
from sizeup.machine import Cluster, cluster_of
from sizeup.physics.rules import petaflop_s_days
from sizeup.physics.training_memory import training_memory
from sizeup.plan.training import Layout, TrainingPlan
from sizeup.sweep import Sweep, largest, reach, spread
from sizeup.training.answer import TrainingAnswer
from sizeup.training.inverse import LONGEST_SEQUENCE, SEQUENCE_STEP, Offer, offers
from sizeup.training.search import safe_bytes
from sizeup.training.space import LARGEST_MICRO_BATCH
from sizeup.training.step import model_flops_of

SAFE_WORDS = "9 chances in 10 to fit"
FINE_STEP = 128
"""Step of sequence lengths where the plan's own is below :data:`SEQUENCE_STEP` [tokens]."""
DOUBLINGS = 3
"""How many times the cards are halved and doubled around those of the answer."""


def needed_bytes(architecture: Architecture, plan: TrainingPlan, cluster: Cluster) -> float:
    """Return what a plan cannot do without on its worst rank, which decides whether it fits [bytes]."""
    return training_memory(architecture, plan, cluster.gpu, coefficients=shipped_coefficients()).needed_bytes


def sequence_sweep(answer: TrainingAnswer) -> Sweep:
    """Return the memory of the answer's plan against sequence length, everything else held."""
    step = SEQUENCE_STEP if answer.plan.sequence_length >= SEQUENCE_STEP else FINE_STEP

    def size(tokens: int) -> float:
        return needed_bytes(answer.architecture, replace(answer.plan, sequence_length=tokens), answer.cluster)

    limit = safe_bytes(answer.cluster)
    found = step * largest(lambda steps: size(steps * step) <= limit, most=LONGEST_SEQUENCE // step)
    return _sweep(
        answer, size, what="sequence length", unit="tokens", found=found, at=answer.plan.sequence_length,
        most=LONGEST_SEQUENCE, low=min(step, answer.plan.sequence_length),
        held=f"micro-batch {answer.plan.micro_batch}",
    )  # fmt: skip


def micro_batch_sweep(answer: TrainingAnswer) -> Sweep:
    """Return the memory of the answer's plan against micro-batch; the global batch follows it."""
    plan = answer.plan

    def size(count: int) -> float:
        batch = plan.micro_batches * plan.layout.dp * count
        wider = replace(plan, micro_batch=count, global_batch=batch)
        return needed_bytes(answer.architecture, wider, answer.cluster)

    limit = safe_bytes(answer.cluster)
    found = largest(lambda count: size(count) <= limit, most=LARGEST_MICRO_BATCH)
    return _sweep(
        answer, size, what="micro-batch", unit="sequences", found=found, at=plan.micro_batch,
        most=LARGEST_MICRO_BATCH, low=1, held=f"sequences of {plan.sequence_length:,} tokens",
    )  # fmt: skip


def _sweep(
    answer: TrainingAnswer,
    size: Callable[[int], float],
    *,
    what: str,
    unit: str,
    found: int,
    at: int,
    most: int,
    low: int,
    held: str,
) -> Sweep:
    xs = spread(max(reach(largest=found, at=at, most=most), 4 * low), low=low, extra=(at, found))
    return Sweep(
        what=what, unit=unit, name="this plan", points=tuple((x, size(x)) for x in xs), limit=SAFE_WORDS,
        limit_bytes=safe_bytes(answer.cluster), largest=found, most=most, at=at,
        capacity_bytes=float(answer.cluster.node.memory_bytes), held=held,
    )  # fmt: skip


def gpu_offers(answer: TrainingAnswer) -> tuple[Offer, ...]:
    """Return the best plan for fewer and more of the same cards, the answer's own plan for its own number.

    Empty without a number of tokens. The batch is held, so that times compare; what does not fit has no offer.
    """
    if answer.totals is None:
        return ()
    base = replace(answer.plan, layout=Layout(sequence_parallel=True), micro_batch=1)
    found = offers(answer.name, answer.architecture, base, _clusters(answer.cluster), tokens=answer.totals.tokens)
    own = [Offer(answer=answer)] if answer.fits else []
    return tuple(sorted([*found, *own], key=lambda offer: offer.gpus))


def _clusters(cluster: Cluster) -> list[Cluster]:
    """Return halves and doubles of a cluster: of its cards up to one node, of whole nodes beyond."""
    found = []
    for power in range(-DOUBLINGS, DOUBLINGS + 1):
        gpus = round(cluster.gpus * 2.0**power)
        if power == 0 or gpus != cluster.gpus * 2.0**power:
            continue
        if gpus % cluster.node.gpus == 0:
            found.append(replace(cluster, nodes=gpus // cluster.node.gpus))
        elif cluster.node.instance is None:
            found.append(cluster_of(cluster.gpu, gpus=gpus))
    return found


def rule_bytes(answer: TrainingAnswer) -> float:
    """Return the envelope's bytes per parameter, shared evenly by all cards [bytes per GPU].

    Source: [azad2024]
    """
    return ENVELOPE_TRAIN_BYTES * count_parameters(answer.architecture) / answer.cluster.gpus


def run_petaflop_s_days(answer: TrainingAnswer) -> float:
    """Return the model's own work in the whole run, recomputation left out [petaflop/s-days]; 0 without tokens."""
    steps = answer.totals.steps if answer.totals else 0
    return petaflop_s_days(steps * model_flops_of(answer.architecture, answer.plan))
