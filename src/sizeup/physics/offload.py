"""What lives in host memory instead of on the card, and the seconds that moving it and updating it there take."""

from __future__ import annotations

from dataclasses import dataclass

from sizeup.physics.numeric import Column, maximum, where
from sizeup.physics.training_facts import TrainingFacts
from sizeup.physics.training_inputs import StepPlan
from sizeup.physics.training_operators import rank_parameters
from sizeup.physics.training_ranks import Columns, Moment, held_weights, in_flight
from sizeup.physics.training_work import StepWork


@dataclass(frozen=True, slots=True, kw_only=True)
class Offload:
    """What moves: the optimizer and its update, the weights (1 or 0), activations [bytes per token, whole depth].

    ``link`` and ``host`` are what one card gets of PCIe (one direction) and of host memory [bytes/s].
    """

    optimizer: int
    parameters: int
    activation_bytes_per_token: float
    update_bytes: float
    link: float
    host: float


def host_moment(facts: TrainingFacts, columns: Columns, *, stage: Column) -> Moment:
    """Return what one rank keeps in host memory [bytes by part].

    Gradients of an offloaded optimizer wait there in their own dtype; paged states are counted whole.

    Source: [zero_offload] section 4, [zero_infinity] section 5
    """
    held = held_weights(facts, stage=stage, columns=columns)
    zero, own = columns.zero, held.sharded(columns)
    updated = where(zero >= 1, own, held.total)
    optimizer, parameters = columns.offload_optimizer, columns.offload_parameters
    states = 1 if facts.optimizer.paged else optimizer
    trained = updated if facts.trains_all else facts.adapter_before[-1] / columns.pp
    split = columns.split
    return {
        "weights": where(zero >= 3, own, 0) * parameters * facts.resident_bytes,
        "master weights": updated * optimizer * facts.master_bytes,
        "optimizer states": trained * states * facts.state_bytes,
        "gradients": where(zero >= 2, own, 0) * optimizer * facts.gradient_bytes * facts.trains_all,
        "activations": facts.offloaded.on_rank(split) / columns.pp * in_flight(stage=stage, columns=columns),
    }


def offload_seconds(
    work: StepWork, plan: StepPlan, offload: Offload, *, compute_seconds: Column, hidden: float
) -> Column:
    """Return the seconds of a step that moving to and from the host adds [s].

    Gradients (2 bytes each) go down under the backward pass, activations go down and come back, sharded weights come
    for each forward and backward pass; up to ``hidden`` of the compute covers them. Then the host updates its share,
    and new 16-bit weights go up.

    Source: [zero_offload] section 4, [zero_infinity] section 5
    """
    dense, expert = rank_parameters(work, plan)
    expert_shards = where(plan.shards > 1, maximum(1, plan.shards * plan.tp / (plan.ep * plan.etp)), 1)
    own = dense / plan.shards + expert / expert_shards
    trained = own * plan.trained_share
    sixteen_bits = 2
    tokens = plan.micro_batch * plan.sequence / plan.cp * plan.micro_batches
    moved = offload.optimizer * sixteen_bits * trained
    moved = moved + offload.parameters * plan.gathers * 2 * sixteen_bits * own * plan.micro_batches
    moved = moved + 2 * offload.activation_bytes_per_token * tokens / plan.tp / plan.pp
    exposed = maximum(0.0, moved / offload.link - hidden * compute_seconds)
    update = trained * (offload.update_bytes / offload.host + sixteen_bits / offload.link)
    return exposed + offload.optimizer * update
