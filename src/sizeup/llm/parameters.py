"""Parameters by part: exact integers, tied and shared weights counted once."""

from __future__ import annotations

import math

from sizeup.estimate import Estimate, leaf, total
from sizeup.llm.architecture import Architecture, Part

PART_NAMES: dict[Part, str] = {
    "embedding": "embedding",
    "attention": "attention",
    "indexer": "sparse-attention indexer",
    "mlp": "mlp",
    "experts": "routed experts",
    "shared_experts": "shared experts",
    "router": "router",
    "norms": "norms",
    "ssm": "state space / recurrent",
    "head": "language-model head",
    "mtp": "multi-token prediction",
    "tower": "encoder towers",
    "projector": "projector",
    "other": "other",
}


def count_parameters(architecture: Architecture) -> int:
    """Return the parameters of the model as ``transformers`` builds it (no multi-token-prediction layers)."""
    return sum(tensor.elements * count for tensor, count in architecture.counted_tensors())


def count_active_parameters(architecture: Architecture) -> int:
    """Return the parameters that one text token passes through.

    Routed experts count ``top_k`` times; reused blocks count each time; token tables and towers are included in full
    (the convention of "671B total, 37B active" counts the embedding; a lookup costs no FLOPs).
    """
    outside = sum(t.active_elements for t in (*architecture.embedding, *architecture.head))
    towers = sum(tower.elements for tower in architecture.towers)
    return outside + towers + sum(layer.active_elements * count for layer, count in architecture.distinct_layers())


def count_multi_token_prediction(architecture: Architecture) -> int:
    """Return the parameters of extra prediction layers that a checkpoint may hold beside the model."""
    return sum(tensor.elements for tensor in architecture.multi_token_prediction)


def parameters_by_part(architecture: Architecture) -> dict[Part, int]:
    """Return exact parameters by part, in the order of the parameter table; empty parts are left out."""
    counts: dict[Part, int] = dict.fromkeys(PART_NAMES, 0)
    for tensor, count in architecture.counted_tensors():
        counts[tensor.part] += tensor.elements * count
    return {part: count for part, count in counts.items() if count}


def parameters(architecture: Architecture) -> Estimate:
    """Return the parameters as a tree by part, and in each part by weight: its shape times how often it occurs."""
    counts: dict[Part, dict[tuple[str, tuple[int, ...], int], int]] = {part: {} for part in PART_NAMES}
    for tensor, count in architecture.counted_tensors():
        key = (f"{tensor.name}.bias" if tensor.kind == "bias" else tensor.name, tensor.shape, tensor.copies)
        counts[tensor.part][key] = counts[tensor.part].get(key, 0) + count
    parts = [
        total(PART_NAMES[part], [_weight(*key, count) for key, count in found.items()], unit="parameters")
        for part, found in counts.items()
        if found
    ]
    return total(
        "parameters", parts, unit="parameters", sources=("transformers",), assumptions=architecture.assumptions
    )


def _weight(name: str, shape: tuple[int, ...], copies: int, count: int) -> Estimate:
    """Return the leaf of equal weights, such as ``32 x 4096 x 4096``."""
    inputs = {"layers": count, "copies": copies, "rows": shape[0] if shape else 1}
    if len(shape) > 1:
        inputs["columns"] = shape[1]
    if len(shape) > 2:
        inputs["further"] = math.prod(shape[2:])
    kept = {key: value for key, value in inputs.items() if value != 1 or key == "rows"}
    return leaf(name, math.prod(shape) * copies * count, "parameters", formula=" x ".join(kept), inputs=kept)
