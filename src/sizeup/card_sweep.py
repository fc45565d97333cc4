"""Weights and cache of a card against context: how far each format goes on given or named hardware."""

from __future__ import annotations

from collections.abc import Sequence

from sizeup.card import Card, Placement, Verdict
from sizeup.holding import USABLE_SHARE, common_gpu, usable_bytes
from sizeup.sweep import Sweep, largest, reach, spread

DIFFERENT = 0.12
"""Formats whose weights differ by less than this share of the limit would draw the same line twice."""
UNLIMITED_CONTEXT = 2**20
"""Tokens up to which a model without a stated limit is drawn."""


def context_sweeps(card: Card) -> tuple[Sweep, ...]:
    """Return weights and cache [bytes per GPU] against context for the formats of a card that differ enough.

    Without hardware the limit is the smallest card that holds the first format, else as many of the common one as do.
    Empty where nothing is cached or nothing holds the model.
    """
    rows: Sequence[Placement | Verdict] = card.verdicts or card.placements
    found = _limit(card)
    architecture = card.model.architecture
    if not found or architecture is None or not card.model.has_layers:
        return ()
    limit, gpus, words = found
    most = architecture.max_positions or UNLIMITED_CONTEXT

    def cache(tokens: int) -> int:
        return card.kept.size(card.model, tokens=tokens, sequences=card.sequences)

    kept: list[Placement | Verdict] = []
    for row in rows:
        if all(abs(row.weights.value - other.weights.value) > DIFFERENT * limit for other in kept):
            kept.append(row)

    def holds(row: Placement | Verdict) -> int:
        return largest(lambda tokens: int(row.weights.value) + cache(tokens) <= limit, most=most)

    fitting = {row.format: holds(row) for row in kept}
    ends = [reach(largest=fitting[row.format], at=card.context, most=most) for row in kept]
    xs = spread(max(ends), extra=(card.context, *fitting.values()))
    held = f"{card.sequences:,} sequence{'s' if card.sequences > 1 else ''}, cache in {card.cache_dtype}"
    held += f", as {card.engine} allocates it" if card.engine != "transformers" else ""
    return tuple(
        Sweep(
            what="context", unit="tokens", name=row.format, limit=words, limit_bytes=limit / gpus, most=most,
            points=tuple((x, (int(row.weights.value) + cache(x)) / gpus) for x in xs), at=card.context,
            largest=fitting[row.format], held=held,
        )
        for row in kept
    )  # fmt: skip


def _limit(card: Card) -> tuple[int, int, str] | None:
    """Return the usable bytes of the hardware, how many GPUs share them, and what to call that."""
    if card.cluster:
        gpus = card.verdicts[0].budget_bytes // usable_bytes(card.cluster.node.memory_bytes)
        return card.verdicts[0].budget_bytes, gpus, f"{USABLE_SHARE:.0%} of {gpus} x {card.cluster.gpu.name}"
    first = card.placements[0]
    if first.smallest_gpu:
        gpu = first.smallest_gpu
        return usable_bytes(gpu.memory_bytes), 1, f"{USABLE_SHARE:.0%} of one {gpu.name}"
    if first.common_gpus:
        gpu, count = common_gpu(), first.common_gpus
        return usable_bytes(gpu.memory_bytes) * count, count, f"{USABLE_SHARE:.0%} of {count} x {gpu.name}"
    return None
