"""How weights lie on the GPUs of a serving layout: what is divided, what every rank holds again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from sizeup.identity_cache import per_object
from sizeup.llm.architecture import Architecture, Layer, Tensor
from sizeup.llm.formats import WeightFormat, format_for, format_named, role_of, tensor_bytes
from sizeup.llm.parameters import PART_NAMES
from sizeup.llm.stored import stored_as
from sizeup.physics.numeric import ceil_div
from sizeup.physics.serving_memory import heads_per_rank
from sizeup.plan.serving import ServingLayout

DIVIDED_USES = frozenset(
    {"query", "query_up", "latent_up", "output", "output_down", "gate", "up", "gate_up", "down", "ssm_in", "ssm_out",
     "head"}
)  # fmt: skip
"""Uses that tensor parallelism divides; keys and values have their own rule, everything else every rank holds."""

EXL2 = re.compile(r"exl2-([0-9.]+)")
"""ExLlamaV2's formats: the average bits per weight is chosen."""

EXL2_HEAD_BITS = 6.0
"""Bits of the head unless told otherwise ([exllamav2])."""

MXFP4_MULTIPLE = 256
"""Engines pad the width of MXFP4 experts to whole tiles of their kernel."""


@dataclass(frozen=True, slots=True)
class Placed:
    """One tensor's bytes in the model, where it lies (layer, -1 before them, their number behind) and what it is."""

    part: str
    use: str
    layer: int
    size: int
    tensor: Tensor | None = None
    mxfp4: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StageWeights:
    """Weights of one rank of one pipeline stage [bytes] by part, and the layers of the stage."""

    first: int
    last: int
    parts: dict[str, int]

    @property
    def total(self) -> int:
        """Bytes of the rank."""
        return sum(self.parts.values())


def stage_bounds(layers: int, stages: int) -> list[tuple[int, int]]:
    """Return the layers [first, last) of every stage; what does not divide goes to the later inner ones.

    >>> stage_bounds(10, 4)
    [(0, 2), (2, 5), (5, 8), (8, 10)]

    Source: [vllm_code] get_pp_indices
    """
    sizes = [layers // stages] * stages
    for index in range(2, layers % stages + 2):
        sizes[-index] += 1
    firsts = [sum(sizes[:index]) for index in range(stages)]
    return [(first, first + size) for first, size in zip(firsts, sizes, strict=True)]


@per_object
def placed_weights(architecture: Architecture, format: str) -> tuple[Placed, ...]:
    """Return every tensor with its bytes in ``format`` ("" is the checkpoint's own).

    Raises:
        UserError: unknown format.
    """
    mixed = EXL2.fullmatch(format)
    if mixed:
        return tuple(_exl2(architecture, float(mixed.group(1))))
    if format and format_named(format).is_gguf:
        return tuple(_gguf(architecture, format_named(format)))
    return tuple(_plain(architecture, format))


def _exl2(architecture: Architecture, bits: float) -> list[Placed]:
    """Return tensors at ExLlamaV2's average ``bits`` per weight of linear layers, a head of 6 bits, the rest in 16."""
    found = []
    for tensor, _, layer in _paths(architecture):
        role = role_of(tensor)
        each = {"linear": bits, "experts": bits, "head": EXL2_HEAD_BITS}.get(role, 16.0)
        found.append(Placed(tensor.part, tensor.use, layer, ceil(tensor.elements * each / 8), tensor))
    return found


def _plain(architecture: Architecture, format: str) -> Iterator[Placed]:
    stored = None if format else stored_as(architecture)
    known = None if stored else format_for(architecture, format or architecture.dtype)
    for tensor, path, layer in _paths(architecture):
        layout = stored.layout_of(tensor, path) if stored else known.layout_of(tensor)  # type: ignore[union-attr]
        mxfp4 = tensor.part == "experts" and layout.bits == 4 and (known.name if known else stored.name) == "mxfp4"  # type: ignore[union-attr]
        yield Placed(tensor.part, tensor.use, layer, sum(tensor_bytes(tensor, layout)), tensor, mxfp4)


def _paths(architecture: Architecture) -> Iterator[tuple[Tensor, str, int]]:
    depth = len(architecture.layers)
    for tensor in architecture.embedding:
        yield tensor, tensor.name, -1
    for tensor in architecture.head:
        yield tensor, tensor.name, depth
    for index, layer in enumerate(architecture.layers):
        for tensor in layer.tensors:
            yield tensor, f"model.layers.{index}.{tensor.name}", index
    for tower in architecture.towers:
        for tensor in tower.tensors:
            yield tensor, f"{tower.name}.{tensor.name}", -1


def _gguf(architecture: Architecture, known: WeightFormat) -> list[Placed]:
    from sizeup.llm.gguf_mixtures import row_bytes, tensor_types

    depth, found = len(architecture.layers), []
    for tensor, ggml_type in tensor_types(architecture, known.mixture):
        layer = depth if tensor.layer < 0 and tensor.part == "head" else tensor.layer
        use = {"token": "embedding", "output": "head"}.get(tensor.category, tensor.category)
        found.append(Placed(tensor.part, use, layer, tensor.rows * row_bytes(tensor.columns, ggml_type)))
    return found


def kv_heads_of(layer: Layer) -> int:
    """Return the key-value heads of a layer's attention (1 if it has none)."""
    return max((mixer.kv_heads for mixer in layer.mixers if mixer.kind == "attention"), default=1) or 1


def rank_bytes(placed: Placed, architecture: Architecture, layout: ServingLayout) -> int:
    """Return the bytes of one rank of a stage: divided, replicated, or divided down to one key-value head.

    Source: [vllm_code] parallel layers
    """
    if placed.part == "experts":
        return int(ceil_div(_padded(placed, layout), layout.expert_ranks))
    if layout.tp == 1:
        return placed.size
    if placed.use == "embedding" or placed.use in DIVIDED_USES:
        return int(ceil_div(placed.size, layout.tp))
    if placed.use in ("key", "value", "qkv") and 0 <= placed.layer < len(architecture.layers):
        return _attention_rank(placed, architecture.layers[placed.layer], layout.tp)
    return placed.size


def _padded(placed: Placed, layout: ServingLayout) -> int:
    if not placed.mxfp4 or placed.tensor is None or placed.tensor.kind != "linear":
        return placed.size
    shape, use = placed.tensor.shape, placed.tensor.use
    width = shape[-1] if use == "down" else shape[-2] // (2 if use == "gate_up" else 1)
    share = ceil_div(width, layout.expert_tensor_ranks)
    return int(placed.size * ceil_div(share, MXFP4_MULTIPLE) * MXFP4_MULTIPLE // share)


def _attention_rank(placed: Placed, layer: Layer, tp: int) -> int:
    kv_heads = kv_heads_of(layer)
    each = heads_per_rank(heads=kv_heads, tp=tp) / kv_heads
    if placed.use != "qkv":
        return int(placed.size * each)
    heads = max((mixer.heads for mixer in layer.mixers), default=1)
    query = heads / (heads + 2 * kv_heads)
    return int(placed.size * (query / tp + (1 - query) * each))


def stage_weights(architecture: Architecture, format: str, layout: ServingLayout) -> list[StageWeights]:
    """Return the weights of one rank of every pipeline stage: embedding on the first, head on the last."""
    placed = placed_weights(architecture, format)
    depth = len(architecture.layers)
    bounds = stage_bounds(depth, layout.pp)
    stages: list[dict[str, int]] = [{} for _ in bounds]
    where_of = {index: stage for stage, (first, last) in enumerate(bounds) for index in range(first, last)}
    for one in placed:
        stage = where_of.get(one.layer, 0 if one.layer < 0 else len(bounds) - 1)
        name = PART_NAMES.get(one.part, one.part)  # type: ignore[call-overload]
        stages[stage][name] = stages[stage].get(name, 0) + rank_bytes(one, architecture, layout)
        if one.use == "embedding" and architecture.tied_embeddings and layout.pp > 1 and one.layer < 0:
            head = stages[-1]
            head["language-model head"] = head.get("language-model head", 0) + rank_bytes(one, architecture, layout)
    return [
        StageWeights(first=first, last=last, parts=parts) for (first, last), parts in zip(bounds, stages, strict=True)
    ]


def host_embedding_bytes(architecture: Architecture, format: str) -> int:
    """Return the token embedding that llama.cpp keeps in host memory; 0 where the head shares it."""
    if architecture.tied_embeddings:
        return 0
    return sum(one.size for one in placed_weights(architecture, format) if one.use == "embedding")


def active_bytes(architecture: Architecture, format: str, layout: ServingLayout) -> float:
    """Return the weights that one token of one sequence reads, on the ranks of one pipeline in turn [bytes].

    Of the experts of a layer only the active ones are read; of the embedding one row, unless it is the head as well.
    """
    size = 0.0
    for one in placed_weights(architecture, format):
        if one.use == "embedding" and not architecture.tied_embeddings:
            continue
        share = _active_share(architecture, one) if one.part == "experts" else 1.0
        size += rank_bytes(one, architecture, layout) * share
    return size


def _active_share(architecture: Architecture, placed: Placed) -> float:
    if placed.tensor is not None:
        tensor = placed.tensor
        return (tensor.copies if tensor.active is None else tensor.active) / tensor.copies
    experts = [t for t in architecture.layers[placed.layer].tensors if t.part == "experts"]
    return (experts[0].active or experts[0].copies) / experts[0].copies if experts else 1.0
