"""What a model's shape allows: why a layout is impossible, and the widths that activations depend on."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sizeup.errors import UserError
from sizeup.identity_cache import per_object
from sizeup.llm.architecture import Architecture, Layer
from sizeup.plan.serving import ServingLayout


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Widths that activations depend on; ``widest`` is the widest feed-forward part whatever its kind."""

    hidden: int
    vocabulary: int
    heads: int
    kv_heads: int
    intermediate: int
    gated: bool
    expert_width: int
    experts: int
    top_k: int
    rotary_dim: int
    largest_matrix: int

    @property
    def widest(self) -> int:
        """Width of the feed-forward part, of one expert where there is no dense one."""
        return self.intermediate or self.expert_width


def _width(layer: Layer, parts: tuple[str, ...]) -> tuple[int, bool]:
    """Return the feed-forward width of a layer and whether it is gated."""
    wide, gated = 0, False
    for tensor in layer.tensors:
        if tensor.part in parts and tensor.kind == "linear" and tensor.use in ("gate", "up", "gate_up"):
            fused = tensor.use == "gate_up"
            gated = gated or tensor.use in ("gate", "gate_up")
            wide = max(wide, tensor.shape[-2] // (2 if fused else 1))
    return wide, gated


@per_object
def shape_of(architecture: Architecture) -> Shape:
    """Return the widths of a model."""
    layers = [layer for layer, _ in architecture.distinct_layers()]
    dense = [_width(layer, ("mlp", "shared_experts")) for layer in layers]
    routed = [(t, layer) for layer in layers for t in layer.tensors if t.part == "experts" and t.kind == "linear"]
    mixers = [m for layer in layers for m in layer.mixers if m.kind == "attention"]
    matrices = [t.shape[-1] * t.shape[-2] for layer in layers for t in layer.tensors if len(t.shape) > 1]
    rotary = max((0 if m.latent_dim else m.key_dim for m in mixers), default=0)
    return Shape(
        hidden=architecture.hidden_size,
        vocabulary=architecture.vocabulary_size,
        heads=max((m.heads for m in mixers), default=0),
        kv_heads=max((m.kv_heads for m in mixers), default=0),
        intermediate=max((wide for wide, _ in dense), default=0),
        gated=any(gated for _, gated in dense),
        expert_width=max((_width(layer, ("experts",))[0] for layer in layers), default=0),
        experts=max((t.copies for t, _ in routed), default=0),
        top_k=max((t.active or 0 for t, _ in routed), default=0),
        rotary_dim=rotary,
        largest_matrix=max(matrices, default=0),
    )


SCALE_BLOCK = 128
"""Numbers along a width that share a scale of block-wise fp8; a rank holds whole blocks ([vllm_code])."""


def _block_problems(shape: Shape, layout: ServingLayout, weight_format: str) -> list[str]:
    if not weight_format.startswith("fp8-block"):
        return []
    dense, experts = (shape.intermediate, layout.tp), (shape.expert_width, layout.expert_tensor_ranks)
    return [
        f"tp {ranks}: {width // ranks:,} of the {name} width {width:,} are no whole blocks of {SCALE_BLOCK} "
        f"of {weight_format}"
        for name, (width, ranks) in (("feed-forward", dense), ("expert", experts))
        if ranks > 1 and width and width % ranks == 0 and width // ranks % SCALE_BLOCK
    ]


@per_object
def layout_problems(architecture: Architecture, layout: ServingLayout, weight_format: str = "") -> tuple[str, ...]:
    """Return why a model cannot be divided this way: heads, key-value heads, experts, layers, widths, blocks of scales.

    A vocabulary that does not divide is padded by the engines, so it is no reason.
    """
    tp = layout.tp
    found: list[str] = []
    layers = [layer for layer, _ in architecture.distinct_layers()]
    for mixer in (m for layer in layers for m in layer.mixers if m.kind == "attention" and m.heads):
        if mixer.heads % tp:
            found.append(f"tp {tp}: {mixer.heads} attention heads do not divide by {tp}")
        elif not mixer.latent_dim and mixer.kv_heads % tp and tp % mixer.kv_heads:
            found.append(f"tp {tp}: {mixer.kv_heads} key-value heads neither divide by {tp} nor divide it")
    shape = shape_of(architecture)
    if shape.intermediate and shape.intermediate % tp:
        found.append(f"tp {tp}: the feed-forward width {shape.intermediate:,} does not divide by {tp}")
    if layout.ep > 1 and not shape.experts:
        found.append(f"ep {layout.ep}: this model has no routed experts")
    elif layout.ep > 1 and shape.experts % layout.ep:
        found.append(f"ep {layout.ep}: {shape.experts} experts do not divide by {layout.ep}")
    inside = layout.expert_tensor_ranks
    if shape.experts and shape.expert_width % inside:
        found.append(f"tp {inside}: the expert width {shape.expert_width:,} does not divide by {inside}")
    found += _block_problems(shape, layout, weight_format)
    if layout.pp > len(architecture.layers):
        found.append(f"pp {layout.pp}: there are only {len(architecture.layers)} layers")
    return tuple(dict.fromkeys(found))


def refuse_impossible(architecture: Architecture, layout: ServingLayout, weight_format: str) -> None:
    """Refuse a layout that was asked for and cannot be.

    Raises:
        UserError: why, and which degrees of tensor parallelism would do.
    """
    problems = layout_problems(architecture, layout, weight_format)
    if not problems:
        return
    rest = replace(layout, pp=1, ep=1, moe_tp=None)
    do = [tp for tp in range(1, 65) if not layout_problems(architecture, replace(rest, tp=tp), weight_format)]
    raise UserError(f"this layout cannot be: {'; '.join(problems)}", hint=f"tp may be {', '.join(map(str, do))}")


def largest_graph_batch(memory_bytes: float, tp: int) -> int:
    """Return the largest batch for which SGLang captures a CUDA graph by default.

    Source: [sglang] server_args: by the card's memory, larger from four ranks on
    """
    gib = memory_bytes / 2**30
    few, many = (8, 8) if gib < 20 else (24, 80) if gib < 35 else (32, 160) if gib < 60 else (256, 512)
    if gib >= 160:
        few = many
    return few if tp < 4 else many
