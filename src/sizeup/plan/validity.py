"""Why a layout is impossible: every reason, naming the numbers. An empty list means that it can run."""

from __future__ import annotations

from collections.abc import Iterator

from sizeup.llm.architecture import Architecture
from sizeup.plan.pipelines import pipeline
from sizeup.plan.training import TrainingPlan


def reasons_against(architecture: Architecture, plan: TrainingPlan, *, gpus: int | None = None) -> list[str]:
    """Return why ``plan`` cannot train ``architecture`` (on ``gpus`` cards, where given); empty when it can.

    Source: [megatron] section 3, [narayanan2021] section 2, [korthikanti2022] section 4.2
    """
    found = [*_counts(plan), *_tensor(architecture, plan), *_pipeline(architecture, plan)]
    found += [*_experts(architecture, plan), *_batch(plan), *_sharding(plan)]
    if gpus is not None and plan.layout.gpus != gpus:
        layout = plan.layout
        product = f"tp {layout.tp} x pp {layout.pp} x cp {layout.cp} x dp {layout.dp} = {layout.gpus}"
        found.append(f"{product}, not {gpus} GPUs")
    return found


def is_valid(architecture: Architecture, plan: TrainingPlan, *, gpus: int | None = None) -> bool:
    """Return whether nothing speaks against ``plan``."""
    return not reasons_against(architecture, plan, gpus=gpus)


def _counts(plan: TrainingPlan) -> Iterator[str]:
    layout = plan.layout
    for name in ("tp", "pp", "vpp", "cp", "ep", "etp", "dp"):
        if getattr(layout, name) < 1:
            yield f"{name} is {getattr(layout, name)}; it must be at least 1"
    for name in ("sequence_length", "micro_batch", "global_batch"):
        if getattr(plan, name) < 1:
            yield f"{name} is {getattr(plan, name)}; it must be at least 1"


def _tensor(architecture: Architecture, plan: TrainingPlan) -> Iterator[str]:
    tp, cp = plan.layout.tp, plan.layout.cp
    heads = {m.heads for layer, _ in architecture.distinct_layers() for m in layer.mixers if m.kind == "attention"}
    for count in sorted(heads):
        if tp > 1 and count % tp:
            yield f"{count} attention heads do not divide by tp {tp}"
        if plan.cp_comm == "a2a" and cp > 1 and count % (tp * cp):
            yield f"{count} attention heads do not divide by tp {tp} x cp {cp}, as an all-to-all exchange needs"
    if plan.layout.sequence_parallel and plan.sequence_length % (tp * cp):
        yield f"a sequence of {plan.sequence_length} tokens does not divide by tp {tp} x cp {cp}"
    # causal load balance gives every rank one early and one late chunk
    chunks = 2 * cp
    if cp > 1 and plan.sequence_length % chunks:
        yield f"a sequence of {plan.sequence_length} tokens does not divide into {chunks} chunks for cp {cp}"


def _pipeline(architecture: Architecture, plan: TrainingPlan) -> Iterator[str]:
    layout, layers = plan.layout, len(architecture.layers)
    stages = layout.pp * layout.vpp
    if layout.pp > layers:
        yield f"{layers} layers cannot fill pp {layout.pp} stages"
    pipe = pipeline(plan.schedule)
    if layout.vpp > 1 and not pipe.interleaves:
        yield f"{pipe.name} has no chunks, and vpp is {layout.vpp}"
    if layout.pp > 1 and layout.pp % 2 and pipe.depth_share != 1:
        yield f"{pipe.name} needs an even number of stages, and pp is {layout.pp}"
    if layout.vpp > 1 and layout.pp == 1:
        yield f"vpp {layout.vpp} needs a pipeline, and pp is 1"
    # the embedding and the head may each take the place of a layer
    slots = layers + 2
    if layout.vpp > 1 and layers % stages and slots % stages:
        yield f"{layers} layers do not divide into pp {layout.pp} x vpp {layout.vpp} chunks"
    if layout.vpp > 1 and plan.micro_batches % layout.pp:
        yield f"{plan.micro_batches} micro-batches do not divide by pp {layout.pp}, as interleaving needs"


def _experts(architecture: Architecture, plan: TrainingPlan) -> Iterator[str]:
    layout = plan.layout
    tensors = [t for layer, _ in architecture.distinct_layers() for t in layer.tensors if t.part == "experts"]
    experts = {t.copies for t in tensors if t.copies > 1} or {t.shape[0] for t in tensors if len(t.shape) > 2}
    if layout.ep > 1 and not experts:
        yield f"ep {layout.ep} needs experts, and the model has none"
    for count in sorted(experts):
        if count % layout.ep:
            yield f"{count} experts do not divide by ep {layout.ep}"
    ranks = layout.tp * layout.cp * layout.dp
    if layout.ep > 1 and ranks % (layout.ep * layout.etp):
        yield f"ep {layout.ep} x etp {layout.etp} does not divide tp x cp x dp = {ranks}"


def _batch(plan: TrainingPlan) -> Iterator[str]:
    at_once = plan.micro_batch * plan.layout.dp
    if at_once > 0 and plan.global_batch % at_once:
        text = f"micro_batch {plan.micro_batch} x dp {plan.layout.dp} = {at_once}"
        yield f"a global batch of {plan.global_batch} does not divide by {text}"


def _sharding(plan: TrainingPlan) -> Iterator[str]:
    layout = plan.layout
    ranks = layout.dp * layout.cp
    if layout.sharding in ("zero2", "zero3") and layout.pp > 1:
        yield f"{layout.sharding} reduces gradients for every micro-batch, which pp {layout.pp} cannot"
    if layout.shard_group is not None and ranks % layout.shard_group:
        yield f"a shard group of {layout.shard_group} does not divide dp x cp = {ranks}"
    if plan.layout.sequence_parallel and layout.tp == 1 and plan.framework == "generic":
        yield "sequence parallelism needs tp of at least 2"
