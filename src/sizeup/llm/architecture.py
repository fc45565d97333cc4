"""What a model is made of: tensors by layer, what mixes tokens, what each sequence must remember.

Everything else - parameters, weight bytes, cache bytes, FLOPs, activations, LoRA, sharding - is derived from
this one description, so a family file states each fact once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Part = Literal[
    "embedding", "attention", "indexer", "mlp", "experts", "shared_experts", "router", "norms",
    "ssm", "head", "mtp", "tower", "projector", "other",
]  # fmt: skip
"""Which line of the parameter table a tensor is counted in."""

Kind = Literal["linear", "embedding", "norm", "bias", "conv", "vector"]
"""How a tensor is used: only ``linear`` is a matrix product, and only it is quantized by weight-only formats."""

Use = Literal[
    "query", "key", "value", "qkv", "output", "gate", "up", "gate_up", "down", "router",
    "query_down", "query_up", "latent_down", "latent_up", "output_down", "embedding", "position", "head",
    "ssm_in", "ssm_out", "norm", "other",
]  # fmt: skip
"""What the tensor does, in one vocabulary for every family (names differ: q_proj, c_attn, query_key_value)."""

COLUMN_USES = frozenset(
    {"query", "key", "value", "qkv", "gate", "up", "gate_up", "query_up", "latent_up", "output_down", "ssm_in"}
)
ROW_USES = frozenset({"output", "down", "ssm_out"})
VOCABULARY_USES = frozenset({"embedding", "head"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One weight, or ``copies`` identical ones (the experts of a layer).

    Attributes:
        name: module path inside its layer as the checkpoint names it, such as ``self_attn.q_proj``.
        shape: as stored; a linear layer is (out_features, in_features).
        active: copies that one token passes through; None means all.
    """

    name: str
    use: Use
    part: Part
    kind: Kind
    shape: tuple[int, ...]
    copies: int = 1
    active: int | None = None

    @property
    def elements(self) -> int:
        """Numbers in all copies."""
        return math.prod(self.shape) * self.copies

    @property
    def active_elements(self) -> int:
        """Numbers in the copies that one token passes through."""
        return math.prod(self.shape) * (self.copies if self.active is None else self.active)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixer:
    """What moves information between tokens in a layer; FLOPs and activations are derived from it.

    ``attention``: ``heads`` queries of ``key_dim`` over ``kv_heads`` keys, values of ``value_dim``; ``window``
    limits how far back a token looks. ``latent_dim`` > 0 marks multi-head latent attention (what is cached).
    ``over`` "encoder" is cross attention: its keys are an encoder's output, not the running text.
    ``stride`` > 1: keys are ``stride`` tokens compressed into one; ``top_k_tokens`` then counts compressed keys.
    ``recurrent`` and ``convolution``: ``state_elements`` numbers updated by every token.
    """

    kind: Literal["attention", "recurrent", "convolution"]
    heads: int = 0
    kv_heads: int = 0
    key_dim: int = 0
    value_dim: int = 0
    window: int | None = None
    latent_dim: int = 0
    top_k_tokens: int | None = None
    stride: int = 1
    state_elements: int = 0
    causal: bool = True
    over: Literal["tokens", "encoder"] = "tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCache:
    """Numbers that one layer keeps for each token of a sequence.

    Attributes:
        heads: key-value heads that tensor parallelism may divide; 1 for a latent or an indexer (replicated).
        key_dim, value_dim: numbers per head; a latent cache has ``value_dim`` for the rotary part.
        window: most tokens that a query can see, itself included; None for all. ``transformers`` keeps one less.
        chunk: True when ``window`` is a chunk (Llama 4) rather than a sliding window.
        stride: tokens per cached entry (compressed attention).
        remainder: keeps the tokens after the last full ``stride`` instead, which wait to be compressed.
        of: "tokens" for the running text, "encoder" for cross attention (its length is the encoder's).
        after: number of tokens before which nothing is kept yet.
        dtype: fixed storage dtype, or None to follow the cache dtype that was asked for.
    """

    name: str = "key_value"
    heads: int
    key_dim: int
    value_dim: int
    window: int | None = None
    chunk: bool = False
    stride: int = 1
    remainder: bool = False
    of: Literal["tokens", "encoder"] = "tokens"
    after: int = 0
    dtype: str | None = None

    @property
    def elements_per_token(self) -> int:
        """Numbers per cached token."""
        return self.heads * (self.key_dim + self.value_dim)


@dataclass(frozen=True, slots=True, kw_only=True)
class StateCache:
    """Numbers that one layer keeps for a sequence whatever its length: convolution and recurrent states.

    ``dtype`` None follows the cache dtype; recurrent states are often float32 whatever the model's dtype.
    ``after`` is the number of tokens before which nothing is kept yet.
    """

    name: str
    elements: int
    after: int = 0
    dtype: str | None = None


Cache = TokenCache | StateCache


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One repeated block. Equal layers of a model are one object, so counting them is cheap.

    ``shared`` are weights that an earlier layer owns and this one uses again: work, but no storage.
    """

    kind: str
    tensors: tuple[Tensor, ...]
    shared: tuple[Tensor, ...] = ()
    mixers: tuple[Mixer, ...] = ()
    caches: tuple[Cache, ...] = ()

    @property
    def elements(self) -> int:
        """Parameters that this layer owns."""
        return sum(tensor.elements for tensor in self.tensors)

    @property
    def active_elements(self) -> int:
        """Parameters that one token passes through, reused ones included."""
        return sum(tensor.active_elements for tensor in (*self.tensors, *self.shared))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tower:
    """An encoder beside the text model (vision, audio): counted, or named with the reason why it is not.

    ``of_text`` is the encoder of an encoder-decoder, one model with its decoder.
    """

    name: str
    tensors: tuple[Tensor, ...] = ()
    not_counted: str = ""
    of_text: bool = False

    @property
    def elements(self) -> int:
        """Parameters of the tower."""
        return sum(tensor.elements for tensor in self.tensors)


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A model as its configuration describes it.

    Attributes:
        embedding: token, position and per-layer embeddings, with what is done to them before layer 0.
        layers: in order; equal layers are the same object.
        head: final norm and language-model head; a tied head is absent and ``tied_embeddings`` is True.
        multi_token_prediction: extra prediction layers that a checkpoint holds and ``transformers`` drops.
        dtype: what the configuration says the weights are stored in; float32 where it says nothing (``dtype_stated``).
        encoder_tokens: length of what cross-attention caches keep, where the model fixes it.
    """

    model_type: str
    hidden_size: int
    vocabulary_size: int
    layers: tuple[Layer, ...]
    embedding: tuple[Tensor, ...] = ()
    head: tuple[Tensor, ...] = ()
    tied_embeddings: bool = False
    max_positions: int | None = None
    dtype: str = "float32"
    dtype_stated: bool = False
    multi_token_prediction: tuple[Tensor, ...] = ()
    towers: tuple[Tower, ...] = ()
    encoder_tokens: int = 0
    quantization: Mapping[str, Any] | None = field(default=None, hash=False)
    assumptions: tuple[str, ...] = ()

    def distinct_layers(self) -> list[tuple[Layer, int]]:
        """Return each distinct layer with the number of times it occurs, in order of first use."""
        counts: dict[int, list[Any]] = {}
        for layer in self.layers:
            counts.setdefault(id(layer), [layer, 0])[1] += 1
        return [(layer, count) for layer, count in counts.values()]

    def counted_tensors(self) -> Iterator[tuple[Tensor, int]]:
        """Yield every owned tensor with the number of layers that hold one like it (towers included, MTP not)."""
        for tensor in (*self.embedding, *self.head):
            yield tensor, 1
        for layer, count in self.distinct_layers():
            for tensor in layer.tensors:
                yield tensor, count
        for tower in self.towers:
            for tensor in tower.tensors:
                yield tensor, 1


@dataclass(frozen=True, slots=True)
class Block:
    """Tensors, mixers and caches of one piece of a layer; blocks add up to a layer."""

    tensors: tuple[Tensor, ...] = ()
    mixers: tuple[Mixer, ...] = ()
    caches: tuple[Cache, ...] = ()

    def __add__(self, other: Block) -> Block:
        return Block(self.tensors + other.tensors, self.mixers + other.mixers, self.caches + other.caches)


def layer_of(kind: str, blocks: Iterable[Block], *, shared: tuple[Tensor, ...] = ()) -> Layer:
    """Return one layer made of ``blocks``."""
    whole = Block()
    for block in blocks:
        whole = whole + block
    return Layer(kind=kind, tensors=whole.tensors, mixers=whole.mixers, caches=whole.caches, shared=shared)
