"""Parameters by part: exact integers, tied and shared weights counted once."""

from __future__ import annotations

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
    """Return the parameters as a tree by part."""
    parts = [
        leaf(PART_NAMES[part], count, "parameters", formula="sum of the elements of every tensor of this part")
        for part, count in parameters_by_part(architecture).items()
    ]
    return total(
        "parameters", parts, unit="parameters", sources=("transformers",), assumptions=architecture.assumptions
    )
