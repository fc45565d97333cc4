"""What one training step has to do, read off an Architecture once: products, attention, bytes, reductions.

Everything is per token or per model, before any plan divides it; :mod:`sizeup.physics.training_time` divides it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Literal

from sizeup.llm.architecture import COLUMN_USES, ROW_USES, VOCABULARY_USES, Architecture, Layer, Mixer, Tensor

Split = Literal["column", "row", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """``count`` equal linear layers of the model: (out x in) weights, divided by tensor parallelism along ``split``."""

    out_features: int
    in_features: int
    split: Split
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """``count`` equal expert layers: ``experts`` of ``matrices`` weights (hidden x intermediate), ``top_k`` used."""

    hidden: int
    intermediate: int
    experts: int
    top_k: int
    matrices: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixing:
    """``count`` equal mixers."""

    mixer: Mixer
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepWork:
    """The work of a model, per token where it says so.

    Attributes:
        products: linear layers outside experts and head.
        hidden_values: values per token that norms and residual sums read and write (whole on every tensor rank
            unless sequence parallel).
        inner_values: values per token that activations and rotations read and write (divided by tensor parallelism).
        routed_values: values per token that dispatching to experts and back moves.
        reductions: sublayers, each ending in a sum over the tensor-parallel ranks.
        kernels: launches of one forward pass of all layers.
        dense_parameters, expert_parameters: of the layers; vocabulary_parameters: embedding and head.
        heads: how often the head runs (more with multi-token prediction).
    """

    hidden: int
    vocabulary: int
    layers: int
    heads: int
    products: tuple[Product, ...]
    experts: tuple[Experts, ...]
    mixings: tuple[Mixing, ...]
    hidden_values: float
    inner_values: float
    routed_values: float
    reductions: int
    kernels: int
    dense_parameters: int
    expert_parameters: int
    vocabulary_parameters: int
    head_parameters: int

    @property
    def parameters(self) -> int:
        """All parameters that are trained."""
        return self.dense_parameters + self.expert_parameters + self.vocabulary_parameters

    @property
    def active_parameters(self) -> float:
        """Parameters that multiply one token: everything but the embedding lookup; the head as often as it runs."""
        dense = sum(p.out_features * p.in_features * p.count for p in self.products)
        used = sum(e.matrices * e.hidden * e.intermediate * e.top_k * e.count for e in self.experts)
        return dense + used + self.heads * self.head_parameters


def split_of(tensor: Tensor) -> Split:
    """Return how tensor parallelism divides a linear layer."""
    if tensor.use in COLUMN_USES or tensor.use in VOCABULARY_USES:
        return "column"
    return "row" if tensor.use in ROW_USES else "none"


def _input_of(tensor: Tensor) -> str:
    """Return what names the input that a column-parallel layer shares with others: frameworks fuse those products."""
    family = {"query": "qkv", "key": "qkv", "value": "qkv", "gate": "gate_up", "up": "gate_up"}
    return f"{tensor.part} {family.get(tensor.use, tensor.use)}"


def _layer_products(layer: Layer) -> dict[tuple[int, int, Split], int]:
    fused: dict[tuple[str, int, Split], int] = defaultdict(int)
    found: dict[tuple[int, int, Split], int] = defaultdict(int)
    for tensor in (*layer.tensors, *layer.shared):
        if tensor.kind != "linear" or tensor.part == "experts" or len(tensor.shape) != 2:
            continue
        rows, columns = tensor.shape
        split = split_of(tensor)
        if split == "column" and tensor.copies == 1:
            fused[_input_of(tensor), columns, split] += rows
        else:
            found[rows, columns, split] += tensor.copies if tensor.active is None else tensor.active
    for (_, columns, split), rows in fused.items():
        found[rows, columns, split] += 1
    return found


def _layer_experts(layer: Layer) -> tuple[int, int, int, int, int] | None:
    linear = [t for t in layer.tensors if t.part == "experts" and t.kind == "linear" and len(t.shape) >= 2]
    downs = [t for t in linear if t.use in ROW_USES]
    if not downs:
        return None
    hidden, intermediate = downs[0].shape[-2:]
    each = sum(t.elements // t.copies for t in linear)
    matrices = round(each / (hidden * intermediate))
    return hidden, intermediate, downs[0].copies, downs[0].active or downs[0].copies, matrices


def _hidden_values(layer: Layer, hidden: int) -> float:
    """Return the values per token read and written by norms (2 each) and residual sums (read two, write one)."""
    norms = sum(t.elements for t in layer.tensors if t.kind == "norm" and t.part == "norms")
    return 2 * norms + 3 * hidden * _sublayers(layer)


def _sublayers(layer: Layer) -> int:
    """Return how many residual sums the layer has: one for what mixes tokens, one for what follows."""
    mixes = bool(layer.mixers)
    feeds = any(t.part in ("mlp", "experts", "shared_experts") for t in (*layer.tensors, *layer.shared))
    return mixes + feeds


UNROTATED = frozenset({"gpt2", "gpt_bigcode", "gpt_neo", "opt", "bloom", "mpt", "xglm", "openai-gpt", "biogpt"})
"""Model types whose queries and keys are not rotated: positions are learned, sinusoids, or biases of the scores."""


def _inner_values(layer: Layer, *, rotates: bool) -> float:
    """Return the values per token of activations (read the wide products, write one) and rotations (read, write)."""
    values = 0.0
    for tensor in (*layer.tensors, *layer.shared):
        if tensor.kind != "linear" or len(tensor.shape) < 2:
            continue
        used = tensor.copies if tensor.active is None else tensor.active
        if tensor.use in ("gate", "up", "gate_up"):
            values += used * tensor.shape[-2]
        if tensor.use in ROW_USES and tensor.part != "attention":
            values += used * tensor.shape[-1]
    for mixer in layer.mixers:
        if mixer.kind == "attention" and rotates:
            values += 2 * (mixer.heads + mixer.kv_heads) * mixer.key_dim
    return values


def _kernels(layer: Layer) -> int:
    """Return the launches of one forward pass: products, norms, and for each part its activation, sum and rotation."""
    products = sum(_layer_products(layer).values())
    norms = sum(1 for t in layer.tensors if t.kind == "norm")
    around_attention, around_mlp = 4, 2
    mixers = sum(around_attention for m in layer.mixers)
    routed = any(t.part == "experts" for t in layer.tensors)
    # routing: top-k, sort, permute, two grouped products, activation, unpermute, weigh
    return products + norms + mixers + around_mlp * _sublayers(layer) + 8 * routed


def _extra_layers(architecture: Architecture) -> int:
    """Return how many multi-token-prediction layers the model trains."""
    names = {t.name.split(".")[1] for t in architecture.multi_token_prediction if t.name.count(".") > 1}
    return len(names)


def step_work(architecture: Architecture, *, multi_token_prediction: bool = True) -> StepWork:
    """Return the work of one step of a model; each prediction layer counts as one more last layer and head."""
    counted = list(architecture.distinct_layers())
    extra = _extra_layers(architecture) if multi_token_prediction else 0
    if extra:
        counted.append((architecture.layers[-1], extra))
    products: dict[tuple[int, int, Split], int] = defaultdict(int)
    experts: dict[tuple[int, int, int, int, int], int] = defaultdict(int)
    mixers: dict[Mixer, int] = defaultdict(int)
    hidden = inner = routed = 0.0
    reductions = kernels = dense = expert = 0
    for layer, count in counted:
        for key, times in _layer_products(layer).items():
            products[key] += times * count
        found = _layer_experts(layer)
        if found:
            experts[found] += count
            # tokens are gathered by expert and scattered back: read and write, twice, for each of the top k
            routed += 2 * 2 * found[0] * found[3] * count
        for mixer in layer.mixers:
            mixers[mixer] += count
        reductions += _sublayers(layer) * count
        hidden += _hidden_values(layer, architecture.hidden_size) * count
        inner += _inner_values(layer, rotates=architecture.model_type not in UNROTATED) * count
        kernels += _kernels(layer) * count
        of_experts = sum(t.elements for t in layer.tensors if t.part == "experts")
        expert += of_experts * count
        dense += (layer.elements - of_experts) * count
    head = architecture.vocabulary_size * architecture.hidden_size
    vocabulary = sum(t.elements for t in (*architecture.embedding, *architecture.head))
    return StepWork(
        hidden=architecture.hidden_size, vocabulary=architecture.vocabulary_size, layers=sum(c for _, c in counted),
        heads=1 + extra, head_parameters=head, vocabulary_parameters=vocabulary,
        products=tuple(Product(out_features=n, in_features=k, split=s, count=c) for (n, k, s), c in products.items()),
        experts=tuple(
            Experts(hidden=h, intermediate=i, experts=e, top_k=t, matrices=m, count=c)
            for (h, i, e, t, m), c in experts.items()
        ),
        mixings=tuple(Mixing(mixer=mixer, count=count) for mixer, count in mixers.items()),
        hidden_values=hidden, inner_values=inner, routed_values=routed, reductions=reductions, kernels=kernels,
        dense_parameters=dense, expert_parameters=expert,
    )  # fmt: skip
