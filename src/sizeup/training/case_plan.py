"""The complete plan and machine of one measured case: what the row says, and stated assumptions for the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sizeup.llm.architecture import Architecture
from sizeup.machine import Cluster, cluster_of, find_gpu, node_of
from sizeup.machine.gpus import Gpu
from sizeup.physics.meters import Coefficients
from sizeup.physics.training_facts import training_facts
from sizeup.physics.training_memory import columns_of, peak_bytes
from sizeup.plan.frameworks import framework
from sizeup.plan.from_case import training_plan
from sizeup.plan.training import TrainingPlan

USUAL_BATCH_TOKENS = 2**20
"""Tokens per optimizer step of pre-training where nothing is said ([gpt3] table 2.1: 0.5 to 3.2 million)."""
MICRO_BATCHES = (8, 4, 2, 1)
"""Micro-batches that are tried where nothing is said, best first."""
USUAL_CHUNKS = (4, 3, 5, 2, 6, 7, 1)
"""Chunks of an interleaved pipeline where nothing is said, best first; layers must divide into them (assumption)."""
USUAL_NETWORK = 12.5e9
"""Network of a node, per card, where the catalog has none [bytes/s] (assumption: 100 Gbit/s)."""
SHARE_OF_CARD = 0.9
"""Share of the card that a guessed micro-batch may fill (assumption)."""


def case_cluster(row: Mapping[str, str], plan: TrainingPlan) -> Cluster:
    """Return the machine of a row: nodes of ``gpus_per_node`` cards, or usual ones where the row does not say."""
    card, gpus = find_gpu(row["gpu"]), plan.layout.gpus
    stated = row.get("gpus_per_node", "")
    per_node = min(gpus, int(float(stated))) if stated.replace(".", "").isdigit() else 0
    if not per_node and gpus > card.gpus_per_node and gpus % card.gpus_per_node:
        per_node = card.gpus_per_node
    if per_node:
        cluster = Cluster(node=node_of(card, gpus=per_node), nodes=max(1, -(-gpus // per_node)))
    else:
        cluster = cluster_of(card, gpus=gpus)
    network = cluster.node.inter_node_bytes_per_second or USUAL_NETWORK
    return replace(cluster, node=replace(cluster.node, inter_node_bytes_per_second=network))


def plan_of_case(row: Mapping[str, str], architecture: Architecture) -> TrainingPlan:
    """Return the plan of a row with every open cell filled; its model tells LoRA targets from a trainable count.

    Raises:
        UserError: a cell holds what cannot be.
    """
    matrices: dict[str, int] = {}
    for layer, count in architecture.distinct_layers():
        for tensor in layer.tensors:
            if tensor.kind == "linear" and tensor.part != "experts":
                matrices[tensor.use] = matrices.get(tensor.use, 0) + count * sum(tensor.shape[-2:])
    plan = training_plan(row, matrices=matrices)
    stated = {name for name in ("micro_batch", "global_batch", "vpp", "seq_len") if row.get(name)}
    if "seq_len" not in stated and architecture.max_positions:
        plan = _noted(plan, "seq_len", min(plan.sequence_length, architecture.max_positions), "sequence_length")
    card = find_gpu(row["gpu"])
    if plan.layout.gpus > card.gpus_per_node and not card.inter_node_bytes_per_second:
        plan = replace(plan, assumptions=(*plan.assumptions, "network: 100 Gbit/s per card"))
    if "micro_batch" not in stated:
        plan = _usual_batches(plan, architecture, card, batch_stated="global_batch" in stated)
    if not row.get("sharding"):
        plan = _sharded_to_fit(plan, architecture, card)
    if "vpp" in stated:
        return _split_for_pipeline(plan)
    return _with_chunks(plan, len(architecture.layers))


def _noted(plan: TrainingPlan, column: str, value: int, field: str = "", why: str = "") -> TrainingPlan:
    """Return the plan with another number for an open column, and the note about it replaced."""
    kept = tuple(text for text in plan.assumptions if not text.startswith(f"{column}:"))
    notes = (*kept, f"{column}: {value}{f' ({why})' if why else ''}")
    changed: dict[str, Any] = {field or column: value}
    return replace(plan, **changed, assumptions=notes)


def _usual_batches(plan: TrainingPlan, architecture: Architecture, gpu: Gpu, *, batch_stated: bool) -> TrainingPlan:
    """Return the plan with the micro-batch people choose, and the global batch where that is open too.

    The largest that fits the card while the pipeline bubble stays below 1/8; pre-training steps take a usual number of
    tokens, fine-tuning one micro-batch per rank.
    """
    dp, pp = plan.layout.dp, plan.layout.pp
    whole = plan.global_batch
    if not batch_stated and plan.method == "pretrain":
        whole = max(dp, USUAL_BATCH_TOKENS // plan.sequence_length // dp * dp)
    each = max(1, whole // dp)
    allowed = [b for b in MICRO_BATCHES if b == 1 or (each % b == 0 and each // b >= 8 * (pp - 1))]
    if not batch_stated and plan.method != "pretrain":
        allowed = list(MICRO_BATCHES)
    size = next((b for b in allowed if b == 1 or _fits(plan, architecture, gpu, micro_batch=b)), 1)
    if not batch_stated:
        whole = whole if plan.method == "pretrain" else size * dp
        plan = _noted(plan, "global_batch", max(whole, size * dp), why="a usual number of tokens")
    return _noted(plan, "micro_batch", size, why=f"fits, a bubble below 1/8, at most {MICRO_BATCHES[0]}")


def _sharded_to_fit(plan: TrainingPlan, architecture: Architecture, gpu: Gpu) -> TrainingPlan:
    """Return the plan with weights sharded too where nobody said how, and it would not fit otherwise."""
    layout = plan.layout
    whole = layout.sharding in ("none", "zero1", "zero2") and layout.dp * layout.cp > 1
    if not whole or layout.pp > 1 or _fits(plan, architecture, gpu, micro_batch=plan.micro_batch):
        return plan
    notes = (*(n for n in plan.assumptions if not n.startswith("sharding:")), "sharding: fsdp (to fit the card)")
    return replace(plan, layout=replace(layout, sharding="fsdp"), assumptions=notes)


def _fits(plan: TrainingPlan, architecture: Architecture, gpu: Gpu, *, micro_batch: int) -> bool:
    tried = replace(plan, micro_batch=micro_batch)
    # what nobody fitted: a group must not help to choose its own micro-batch
    facts, known = training_facts(architecture, tried), Coefficients()
    peak = peak_bytes(facts, columns_of(tried), gpu, coefficients=known, compiled=bool(plan.compile))
    return float(peak.device) <= SHARE_OF_CARD * gpu.memory_bytes


def _with_chunks(plan: TrainingPlan, layers: int) -> TrainingPlan:
    """Return a Megatron pipeline interleaved, which its recipes do, where the row does not say."""
    layout = plan.layout
    if plan.framework not in ("megatron", "nemo") or layout.pp < 2 or plan.micro_batches % layout.pp:
        return _split_for_pipeline(plan)
    chunks = next((v for v in USUAL_CHUNKS if layers % (layout.pp * v) == 0), 1)
    notes = (*plan.assumptions, f"vpp: {chunks} (interleaved)")
    return replace(plan, layout=replace(layout, vpp=chunks), assumptions=notes)


def _split_for_pipeline(plan: TrainingPlan) -> TrainingPlan:
    """Return the plan with at least as many micro-batches as stages where what a rank gets is split by the pipeline.

    Megatron's micro-batch is what one forward pass takes; other frameworks state what a rank gets.
    """
    stages = plan.layout.pp * plan.layout.vpp
    if framework(plan.framework).name in ("megatron", "megatron-deepspeed"):
        return plan
    if plan.micro_batches >= stages or plan.micro_batch * plan.micro_batches < stages:
        return plan
    size = max(1, plan.micro_batch * plan.micro_batches // stages)
    return replace(plan, micro_batch=size, assumptions=(*plan.assumptions, f"micro_batch: {size} (fills the stages)"))
