"""Memory of one rank as a replay: what lives at each moment of a training step. Numbers or columns of layouts alike.

A moment is a mapping from part to bytes. The peak of a rank is the largest moment, that of a job the largest rank.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import TypeAlias

from sizeup.physics.activations import Split, amount_on_rank
from sizeup.physics.numeric import Column, ceil_div, distinct_rows, is_column, maximum, minimum, take, where
from sizeup.physics.training_facts import TrainingFacts
from sizeup.plan.pipelines import Pipeline

Moment: TypeAlias = dict[str, Column]
"""Bytes by part at one moment."""

IDLE = "idle blocks"
"""Not live at a moment: large blocks of another moment of the step, which the allocator keeps for it."""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Layouts and batches; every field but ``pipeline`` a number or a column.

    ``zero`` is the stage: 0 none, 1 optimizer, 2 and gradients, 3 and weights (FSDP, HSDP). ``shard`` is over how many
    ranks; ``sequence_parallel`` 0 or 1. ``micro_batches`` is per optimizer step and rank. ``pipeline`` is
    the schedule of all of them, None is 1F1B.
    """

    sequence_length: Column
    micro_batch: Column
    micro_batches: Column
    tp: Column = 1
    pp: Column = 1
    vpp: Column = 1
    cp: Column = 1
    ep: Column = 1
    etp: Column = 1
    dp: Column = 1
    zero: Column = 0
    shard: Column = 1
    sequence_parallel: Column = 0
    offload_optimizer: Column = 0
    offload_parameters: Column = 0
    pipeline: Pipeline | None = None

    @functools.cached_property
    def split(self) -> Split:
        """How one rank sees a micro-batch."""
        return Split(
            tokens=self.micro_batch * self.sequence_length / self.cp,
            visible=self.sequence_length,
            tp=self.tp,
            sequence_ways=where(self.sequence_parallel == 1, self.tp, 1),
            etp=self.etp,
        )

    @functools.cached_property
    def expert_shard(self) -> Column:
        """Ranks that hold the same experts, over which their states may be divided."""
        return maximum(1, self.dp * self.cp * self.tp // (self.ep * self.etp))


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Weights of one rank: dense and expert ones, divided by tensor and expert parallelism but not yet sharded."""

    dense: Column
    expert: Column

    def sharded(self, columns: Columns) -> Column:
        """Return the weights whose states this rank owns."""
        return self.dense / columns.shard + self.expert / minimum(columns.expert_shard, maximum(columns.shard, 1))

    @property
    def total(self) -> Column:
        """Return the weights of the rank."""
        return self.dense + self.expert


def first_layer(stage: Column, *, layers: int, stages: Column) -> Column:
    """Return the index of the first layer of ``stage``.

    Layers that do not divide evenly are balanced; where they would with one more slot at either end, the embedding
    and the head take those slots.

    >>> [first_layer(i, layers=126, stages=8) for i in range(9)]
    [0, 15, 31, 47, 63, 79, 95, 111, 126]
    """
    # two slots: the embedding's and the head's
    slots = layers + 2
    with_slots = minimum(maximum(stage * slots // stages - 1, 0), layers)
    return where((layers % stages != 0) & (slots % stages == 0), with_slots, ceil_div(stage * layers, stages))


Spans: TypeAlias = tuple[tuple[int, int], ...]
"""First layer and layer after the last of each chunk of a pipeline rank."""


@dataclass(frozen=True, slots=True)
class SpanColumn:
    """The spans of many ranks: each different one once, and which of them every row has."""

    different: tuple[Spans, ...]
    which: Column


def layer_spans(*, stage: Column, columns: Columns, layers: int) -> Spans | SpanColumn:
    """Return which layers a pipeline rank holds, chunk by chunk.

    Source: [narayanan2021] section 2.2
    """
    if not is_column(stage, columns.pp, columns.vpp):
        return _spans(int(stage), int(columns.pp), int(columns.vpp), layers)
    rows, which = distinct_rows(stage, columns.pp, columns.vpp)
    return SpanColumn(tuple(_spans(*row, layers) for row in rows), which)


@functools.lru_cache(maxsize=8192)
def _spans(stage: int, pp: int, vpp: int, layers: int) -> Spans:
    found, stages = [], pp * vpp
    for chunk in range(vpp):
        virtual = chunk * pp + stage
        low, high = (int(first_layer(place, layers=layers, stages=stages)) for place in (virtual, virtual + 1))
        found.append((low, high))
    return tuple(found)


def of_spans(before: tuple[float, ...], spans: Spans | SpanColumn) -> Column:
    """Return the sum over the layers of ``spans``."""
    if before[-1] == 0:
        return 0
    if isinstance(spans, SpanColumn):
        return take(tuple(of_spans(before, each) for each in spans.different), spans.which)
    return sum(before[high] - before[low] for low, high in spans)


def in_flight(*, stage: Column, columns: Columns) -> Column:
    """Return how many micro-batches a pipeline rank holds at most, in units of all its layers.

    1F1B holds as many as there are stages from this one on; interleaving holds
    ``2 (p - i - 1) + (v - 1) p + 1`` chunks of ``1 / v`` of the rank's layers. Never more than there are.

    >>> in_flight(stage=0, columns=Columns(sequence_length=1, micro_batch=1, micro_batches=64, pp=8))
    8.0

    Zero-bubble schedules bound it by a count of stages, on every rank.

    Source: [narayanan2021] section 2.2, [korthikanti2022] section 4.2.3, [zero_bubble] Table 2
    """
    bounded = columns.pipeline
    if bounded and bounded.held_stages:
        most = where(columns.pp > 1, columns.pp * bounded.held_stages + bounded.held_more, 1)
        return minimum(most, columns.micro_batches)
    deep = (columns.pp - stage - 1) * 2 + (columns.vpp - 1) * columns.pp + 1
    chunks = where(columns.vpp > 1, deep, columns.pp - stage)
    return minimum(chunks, columns.micro_batches * columns.vpp) / columns.vpp


def held_weights(
    facts: TrainingFacts, *, stage: Column, columns: Columns, spans: Spans | SpanColumn | None = None
) -> Held:
    """Return the weights of a pipeline rank; a tied table lives on the first and on the last stage.

    Where a rank holds two stages (DualPipe), the other one is its mirror image.
    """
    if columns.pipeline and columns.pipeline.weight_copies > 1:
        single = replace(columns, pipeline=None)
        here = held_weights(facts, stage=stage, columns=single, spans=spans)
        there = held_weights(facts, stage=columns.pp - 1 - stage, columns=single)
        several = where(columns.pp > 1, 1, 0)
        return Held(dense=here.dense + several * there.dense, expert=here.expert + several * there.expert)
    first, last = stage == 0, stage == columns.pp - 1
    # prediction layers embed tokens on the last stage too
    tied_copy = facts.embedding if facts.tied or facts.predictions else 0
    tables = where(first, facts.embedding, 0) + where(last, facts.head + where(first, 0, tied_copy), 0)
    prediction = facts.prediction
    spans = layer_spans(stage=stage, columns=columns, layers=facts.layers) if spans is None else spans
    dense = of_spans(facts.replicated_before, spans) + where(last, prediction.replicated, 0)
    split = of_spans(facts.tensor_before, spans) + where(last, prediction.tensor, 0)
    expert = of_spans(facts.expert_before, spans) + where(last, prediction.expert, 0)
    return Held(dense=dense + (split + tables) / columns.tp, expert=expert / (columns.ep * columns.etp))


def _states(facts: TrainingFacts, held: Held, columns: Columns) -> Moment:
    """Weights and optimizer states, as ZeRO divides them.

    Source: [zero] section 5
    """
    zero, own = columns.zero, held.sharded(columns)
    if not facts.trains_all:
        return _adapter_states(facts, held, columns)
    weights = where(zero >= 3, own, held.total) * facts.resident_bytes
    updated = where(zero >= 1, own, held.total)
    on_gpu = 1 - columns.offload_optimizer
    unpaged = 0 if facts.optimizer.paged else on_gpu
    return {
        "weights": weights * where(columns.offload_parameters == 1, where(zero >= 3, 0, 1), 1),
        "quantized weight copies": held.total * facts.eight_bit_copies,
        "autocast copies": _autocast_copies(facts, held, columns),
        "master weights": updated * facts.master_bytes * on_gpu,
        "optimizer states": updated * facts.state_bytes * unpaged,
    }


def _autocast_copies(facts: TrainingFacts, held: Held, columns: Columns) -> Column:
    """Return the 16-bit copies that autocast makes of unsharded fp32 weights."""
    computes_smaller = facts.resident_bytes > facts.compute_bytes
    return where(columns.zero >= 3, 0, held.total * facts.compute_bytes) if computes_smaller else 0


def _adapter_states(facts: TrainingFacts, held: Held, columns: Columns) -> Moment:
    """Frozen weights in their storage format, and adapters with their optimizer states.

    Source: [lora] section 4.2, [qlora] section 3
    """
    tables = (facts.embedding + facts.head) / columns.tp
    shard = where(columns.zero >= 3, columns.shard, 1)
    layers = (held.total - tables) * facts.frozen_bytes + tables * facts.frozen_table_bytes
    adapters = facts.adapter_before[-1] / columns.pp / shard
    return {
        "weights": layers / shard,
        "adapters": adapters * facts.adapter_bytes,
        "optimizer states": adapters * facts.state_bytes * (not facts.optimizer.paged),
    }


def _gradients(facts: TrainingFacts, held: Held, columns: Columns) -> Column:
    """Return the gradients of a whole step."""
    if not facts.trains_all:
        return facts.adapter_before[-1] / columns.pp * facts.adapter_gradient_bytes
    # an optimizer on the host takes each sharded gradient as soon as it is reduced
    sharded = held.sharded(columns) * (1 - columns.offload_optimizer)
    return where(columns.zero >= 2, sharded, held.total) * facts.gradient_bytes


def _early_gradients(facts: TrainingFacts, gradients: Column, columns: Columns) -> Column:
    """Return the gradients that are there before the backward pass: buffers, or sums of earlier micro-batches."""
    if facts.framework.gradients == "buffer":
        return gradients
    return where(columns.micro_batches > 1, gradients, 0)


def _unit(facts: TrainingFacts, columns: Columns) -> Column:
    """Return the weights of the largest layer on one rank: the unit that FSDP gathers."""
    sizes = [
        f.weights.replicated + f.weights.tensor / columns.tp + f.weights.expert / (columns.ep * columns.etp)
        for f in facts.distinct
    ]
    return maximum(*sizes)


def _gathered(facts: TrainingFacts, held: Held, columns: Columns, *, units: float, head: bool) -> Column:
    """Return gathered weights under ZeRO-3: ``units`` layers, and the head where it works."""
    used = facts.framework
    table = maximum(facts.head, facts.embedding) / columns.tp if head else 0
    weights = units * _unit(facts, columns) + table
    if used.keeps_units_with_pipeline:
        weights = where(columns.pp > 1, held.total, weights)
    if used.keeps_units_with_adapters and not facts.trains_all:
        weights = held.total
    bytes_each = facts.compute_bytes if facts.trains_all else facts.frozen_bytes
    return where((columns.zero >= 3) & (columns.dp * columns.cp > 1), weights * bytes_each, 0)


def _reducing(facts: TrainingFacts, held: Held, columns: Columns) -> Column:
    """Return the unsharded gradients of the unit that is being reduced, or of the whole stage in a pipeline."""
    used = facts.framework
    if not facts.trains_all and not used.keeps_units_with_adapters:
        return 0
    unit = _unit(facts, columns) * used.unit_gradient_bytes
    if used.keeps_units_with_pipeline:
        unit = unit + where(columns.pp > 1, held.total * facts.gradient_bytes, 0)
    bucket = _bucket(facts, held, columns)
    several = columns.dp * columns.cp > 1
    return where(columns.zero >= 3, where(several, unit, 0), where(several, bucket, 0))


def _bucket(facts: TrainingFacts, held: Held, columns: Columns) -> Column:
    """Return the copy of gradients that one reduction takes; a table larger than the bucket goes alone in fp32 sums."""
    elements = facts.framework.bucket_elements
    if not elements:
        return 0
    full_precision = 4
    if facts.gradient_bytes < full_precision:
        return minimum(elements, held.total) * facts.compute_bytes
    return minimum(maximum(elements, facts.embedding / columns.tp), held.total) * full_precision


def _kept(facts: TrainingFacts, *, stage: Column, columns: Columns, spans: Spans | SpanColumn) -> Column:
    """Return the activations of all micro-batches in flight."""
    amounts = [of_spans(before, spans) for before in facts.kept_before]
    one = amount_on_rank(*amounts, split=columns.split)
    prediction = facts.predictions * facts.last_layer.on_rank(columns.split) if facts.predictions else 0
    return one * in_flight(stage=stage, columns=columns) + where(stage == columns.pp - 1, prediction, 0)


def _stage_outputs(facts: TrainingFacts, *, stage: Column, columns: Columns) -> Column:
    """Return the block outputs that a pipeline stage receives or sends [bytes]."""
    one = columns.split.tokens * facts.hidden_size * facts.compute_bytes / columns.split.sequence_ways
    times = in_flight(stage=stage, columns=columns) if facts.framework.stage_buffers else 1
    return where(columns.pp > 1, one * times, 0)


def _working(facts: TrainingFacts, columns: Columns) -> Moment:
    """Return what the widest layer needs on its way back: its activations made again, gradients, plain weights."""
    split = columns.split
    copies = facts.quantized + facts.merged_copies
    plain = max(f.widest_linear for f in facts.distinct) * facts.compute_bytes * copies
    return {
        "recomputed layer": maximum(*[f.whole.on_rank(split) for f in facts.distinct]) if facts.recomputes else 0,
        "working gradients": maximum(*[f.backward.on_rank(split) for f in facts.distinct]),
        "dequantized weights": plain,
    }


def _logits(facts: TrainingFacts, columns: Columns, *, stage: Column) -> Column:
    """Return the logits of one micro-batch on the last stage; every prediction layer has its own."""
    logits = columns.split.tokens * facts.vocabulary * (1 + facts.predictions) / columns.tp
    return where(stage == columns.pp - 1, logits, 0)


def _placeholders(facts: TrainingFacts, columns: Columns, *, stage: Column, at_head: bool) -> Column:
    """Return 16-bit stand-ins for gradients that were already added to the fp32 buffer: of the head, of an MLP."""
    if not facts.framework.weight_gradient_placeholders or not facts.trains_all:
        return 0
    head = where(stage == columns.pp - 1, maximum(facts.head, facts.embedding * facts.tied) / columns.tp, 0)
    mlp = maximum(
        *[f.mlp_linears.tensor / columns.tp + f.mlp_linears.expert / (columns.ep * columns.etp) for f in facts.distinct]
    )
    return (head if at_head else head + mlp) * facts.compute_bytes


def moments(facts: TrainingFacts, columns: Columns, *, stage: Column) -> dict[str, Moment]:
    """Return what lives on a rank of pipeline ``stage`` at each moment that can be the peak [bytes by part].

    Source: [korthikanti2022] section 4, [zero] section 5, [narayanan2021] section 2.2
    """
    spans = layer_spans(stage=stage, columns=columns, layers=facts.layers)
    held = held_weights(facts, stage=stage, columns=columns, spans=spans)
    states, gradients = _states(facts, held, columns), _gradients(facts, held, columns)
    early = _early_gradients(facts, gradients, columns)
    flat = _flat_gradients(facts, held, columns)
    working, reducing = _working(facts, columns), _reducing(facts, held, columns)
    passing = {
        **states,
        "gradients": early,
        "activations": _kept(facts, stage=stage, columns=columns, spans=spans),
        "pipeline buffers": _stage_outputs(facts, stage=stage, columns=columns),
        IDLE: flat + gradients - early,
    }
    # the 16-bit copies that autocast made are gone once the backward pass has used them
    late = {**states, "autocast copies": 0, "gradients": gradients}
    return {
        **{name: passing | parts for name, parts in _head_moments(facts, held, columns, stage=stage).items()},
        "layer backward": passing
        | working
        | {
            "logits and loss": _logits(facts, columns, stage=stage) * facts.logit_kept_bytes,
            "gathered weights": _gathered(facts, held, columns, units=2, head=False),
            "weight gradients in flight": reducing + _placeholders(facts, columns, stage=stage, at_head=False),
        },
        "end of backward": late
        | {
            "working gradients": working["working gradients"],
            "gathered weights": _gathered(facts, held, columns, units=1, head=False),
            "weight gradients in flight": reducing + _table_gradient(facts, columns, stage=stage),
            IDLE: flat,
        },
        "optimizer step": late | {"temporaries": _temporaries(facts, held, columns)},
    }


def _head_moments(facts: TrainingFacts, held: Held, columns: Columns, *, stage: Column) -> dict[str, Moment]:
    """Return what the loss and the head's backward add on the last stage."""
    stream = columns.split.tokens * facts.hidden_size / columns.split.sequence_ways
    kept = where(stage == columns.pp - 1, stream * facts.head_bytes, 0)
    logits = _logits(facts, columns, stage=stage)
    gathered = _gathered(facts, held, columns, units=1, head=True)
    return {
        "loss": {"logits and loss": logits * facts.logit_peak_bytes + kept, "gathered weights": gathered},
        "head backward": {
            "logits and loss": logits * facts.logit_backward_bytes + kept,
            "gathered weights": gathered,
            "weight gradients in flight": _placeholders(facts, columns, stage=stage, at_head=True),
        },
    }


def _table_gradient(facts: TrainingFacts, columns: Columns, *, stage: Column) -> Column:
    """Return the dense gradient of the embedding table on the first stage."""
    return where((stage == 0) & facts.trains_all, facts.embedding / columns.tp * facts.compute_bytes, 0)


def _temporaries(facts: TrainingFacts, held: Held, columns: Columns) -> Column:
    """Return what the optimizer step allocates: foreach copies, fp32 gradients of the shard."""
    if not facts.trains_all:
        return facts.adapter_before[-1] / columns.pp * facts.temporary_bytes
    updated = where(columns.zero >= 1, held.sharded(columns), held.total)
    return updated * (facts.temporary_bytes + facts.step_gradient_bytes) * (1 - columns.offload_optimizer)


def _flat_gradients(facts: TrainingFacts, held: Held, columns: Columns) -> Column:
    """Return the flat fp32 gradients that only the optimizer step has: one block too large to be made of others."""
    if not facts.trains_all:
        return 0
    updated = where(columns.zero >= 1, held.sharded(columns), held.total)
    return updated * facts.step_gradient_bytes * (1 - columns.offload_optimizer)


def allocated(moment: Moment) -> Column:
    """Return the live bytes of a moment."""
    total: Column = 0
    for name, part in moment.items():
        if name != IDLE:
            total = total + part
    return total
