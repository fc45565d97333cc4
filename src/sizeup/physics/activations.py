"""Which tensors a layer keeps for its backward pass, as numbers of one token, by how parallelism divides them.

The tensors have one vocabulary for all frameworks; how many bytes of each a framework keeps is its record
(``plan/frameworks.toml``). Korthikanti's ``s b h (34 + 5 a s / h)`` is the sum of one such list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sizeup.llm.architecture import Layer, Mixer, Tensor
from sizeup.physics.numeric import Column

WEIGHT_ONLY = frozenset({"linear_input", "product", "expert_input", "expert_product", "norm_normalized"})
"""Tensors that only a weight's gradient needs: a frozen weight does not keep them."""

DROPOUT = ("residual_mask", "score_mask", "dropped_scores")
"""What dropout leaves. Models with RMSNorm are trained without it."""

EXPANDED = ("query", "key", "value")
"""What latent attention makes of its latents; one name there, because it is recomputed as a whole."""

_HIDDEN_READERS = frozenset({"query", "key", "value", "qkv", "query_down", "latent_down"})
_MLP_PARTS = frozenset({"mlp", "shared_experts"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """How one rank sees a micro-batch: its tokens, how many tokens each may attend to, and who divides what.

    ``sequence_ways`` is the tensor-parallel size under sequence parallelism, else 1. All may be columns.
    """

    tokens: Column
    visible: Column
    tp: Column = 1
    sequence_ways: Column = 1
    etp: Column = 1


@dataclass(frozen=True, slots=True)
class Shares:
    """Amounts for one token, by what divides them (bytes, or elements before a dtype is known).

    ``sequence`` is whole on every tensor-parallel rank unless sequence parallelism splits it; ``tensor`` is always
    divided; ``scores`` is for each visible token; ``expert_*`` belong to the copies of a token that experts work on;
    ``whole`` is never divided (a gathered sequence).
    """

    sequence: float = 0
    tensor: float = 0
    scores: float = 0
    expert_sequence: float = 0
    expert_tensor: float = 0
    whole: float = 0

    def __add__(self, other: Shares) -> Shares:
        return Shares(
            self.sequence + other.sequence,
            self.tensor + other.tensor,
            self.scores + other.scores,
            self.expert_sequence + other.expert_sequence,
            self.expert_tensor + other.expert_tensor,
            self.whole + other.whole,
        )

    def __mul__(self, factor: float) -> Shares:
        return Shares(*(factor * value for value in self.values()))

    def values(self) -> tuple[float, ...]:
        """Return the amounts in the order of the fields."""
        return self.sequence, self.tensor, self.scores, self.expert_sequence, self.expert_tensor, self.whole

    def on_rank(self, split: Split) -> Column:
        """Return the total of one micro-batch on one rank.

        Source: [korthikanti2022] sections 4.1 and 4.2.2
        """
        return amount_on_rank(*self.values(), split=split)


def amount_on_rank(
    sequence: Column,
    tensor: Column,
    scores: Column,
    expert_sequence: Column,
    expert_tensor: Column,
    whole: Column,
    *,
    split: Split,
) -> Column:
    """Return what one rank holds of amounts per token; each may be a column.

    With expert-tensor parallelism a rank sees the rows of ``etp`` ranks and a slice of the inner dimension of each.

    Source: [korthikanti2022] section 4.2
    """
    divided = (tensor + scores * split.visible + expert_tensor + expert_sequence * split.etp) / split.tp
    return split.tokens * (sequence / split.sequence_ways + divided + whole)


def layer_tensors(layer: Layer, *, hidden_size: int, expands_kv: bool = False) -> dict[str, Shares]:
    """Return the elements per token of every tensor that a framework may keep in ``layer``."""
    found: dict[str, Shares] = {}
    weights = [t for t in (*layer.tensors, *layer.shared) if t.kind in ("linear", "norm", "conv")]
    found.update(_residual_stream(weights, hidden_size))
    found.update(_norms(layer.tensors, layer.mixers, hidden_size))
    for mixer in layer.mixers:
        for name, elements in _mixing(mixer, expands_kv=expands_kv).items():
            found[name] = found.get(name, Shares()) + elements
    if any(mixer.latent_dim for mixer in layer.mixers):
        found["expanded"] = _sum(found, EXPANDED)
        found.update(dict.fromkeys(EXPANDED, Shares()))
    found.update(_mlp(weights))
    found.update(_experts(weights, hidden_size))
    inner = sum(t.shape[0] for t in weights if t.use == "ssm_in") + sum(
        _inputs(t) for t in weights if t.use == "ssm_out"
    )
    found["recurrent"] = Shares(tensor=inner)
    if not _shifted(layer.tensors, hidden_size):
        found.update(dict.fromkeys(DROPOUT, Shares()))
    return found


def _shifted(tensors: tuple[Tensor, ...], hidden: int) -> bool:
    """Whether the stream's norms have a shift: LayerNorm, as in the models that were trained with dropout."""
    return any(t.kind == "bias" and t.use == "norm" and t.shape == (hidden,) for t in tensors)


def _inputs(tensor: Tensor) -> int:
    return tensor.shape[-1]


def _residual_stream(weights: list[Tensor], hidden: int) -> dict[str, Shares]:
    """Block input, inputs of the products that read the normed stream, dropout masks and the output of the MLP."""
    attends = any(t.use in _HIDDEN_READERS or t.use == "ssm_in" for t in weights)
    has_mlp = any(t.part in (*_MLP_PARTS, "experts") for t in weights)
    blocks = attends + has_mlp
    readers = min(blocks, max(1, sum(1 for t in weights if t.kind == "norm" and t.shape == (hidden,))))
    return {
        "block_input": Shares(sequence=hidden),
        "linear_input": Shares(sequence=hidden * readers),
        "residual_mask": Shares(sequence=hidden * blocks),
        "mlp_output": Shares(sequence=hidden * has_mlp),
    }


def _norms(tensors: tuple[Tensor, ...], mixers: tuple[Mixer, ...], hidden: int) -> dict[str, Shares]:
    """Inputs of the norms: of the residual stream (LayerNorm has a shift, RMSNorm none), of heads, of latents."""
    norms = [t for t in tensors if t.kind == "norm"]
    stream = hidden * sum(t.copies for t in norms if t.shape == (hidden,) and not _is_head_norm(t))
    latents = sum(t.shape[0] for t in norms if t.shape != (hidden,) and not _is_head_norm(t))
    mixer = next((m for m in mixers if m.kind == "attention"), None)
    heads = (mixer.heads + mixer.kv_heads) * mixer.key_dim if mixer and any(_is_head_norm(t) for t in norms) else 0
    root_mean_square = 0 if _shifted(tensors, hidden) else stream
    return {
        "layer_norm_input": Shares(sequence=stream - root_mean_square),
        "norm_input": Shares(sequence=root_mean_square),
        "norm_upcast": Shares(sequence=root_mean_square),
        "norm_normalized": Shares(sequence=root_mean_square),
        "latent": Shares(sequence=latents),
        "query_key_norm_input": Shares(tensor=heads),
    }


def _is_head_norm(tensor: Tensor) -> bool:
    return tensor.name.rsplit(".", 1)[-1] in ("q_norm", "k_norm", "q_layernorm", "k_layernorm", "query_layernorm")


def _mixing(mixer: Mixer, *, expands_kv: bool) -> dict[str, Shares]:
    """Queries, keys, values, output and what the softmax leaves; recurrent mixers keep their projections elsewhere."""
    if mixer.kind != "attention":
        return {}
    kv_heads = mixer.heads if expands_kv else mixer.kv_heads
    return {
        "query": Shares(tensor=mixer.heads * mixer.key_dim),
        "key": Shares(tensor=kv_heads * mixer.key_dim),
        "value": Shares(tensor=kv_heads * mixer.value_dim),
        "attention_output": Shares(tensor=mixer.heads * mixer.value_dim),
        "logsumexp": Shares(tensor=mixer.heads),
        "scores": Shares(scores=mixer.heads),
        "score_mask": Shares(scores=mixer.heads),
        "dropped_scores": Shares(scores=mixer.heads),
    }


def _mlp(weights: list[Tensor]) -> dict[str, Shares]:
    """Inputs of the activation function, its output where a second factor follows, input of the down product."""
    dense = [t for t in weights if t.part in _MLP_PARTS and t.kind == "linear"]
    ins = sum(t.shape[0] for t in dense if t.use in ("gate", "up", "gate_up"))
    product = sum(_inputs(t) for t in dense if t.use == "down")
    return {
        "gate_up": Shares(tensor=ins),
        "activated": Shares(tensor=ins - product),
        "product": Shares(tensor=product),
    }


def _experts(weights: list[Tensor], hidden: int) -> dict[str, Shares]:
    """The same for the copies of a token that routed experts work on, and the router's logits."""
    routed = [t for t in weights if t.part == "experts" and t.kind == "linear"]
    active = max((t.active or t.copies for t in routed), default=0)
    ins = sum(t.shape[-2] * (t.active or t.copies) for t in routed if t.use in ("gate", "up", "gate_up"))
    product = sum(_inputs(t) * (t.active or t.copies) for t in routed if t.use == "down")
    return {
        "router": Shares(sequence=sum(t.shape[0] for t in weights if t.use == "router")),
        "expert_input": Shares(expert_sequence=active * hidden),
        "expert_output": Shares(expert_sequence=active * hidden),
        "expert_gate_up": Shares(expert_tensor=ins),
        "expert_activated": Shares(expert_tensor=ins - product),
        "expert_product": Shares(expert_tensor=product),
    }


def kept_bytes(tensors: Mapping[str, Shares], bytes_kept: Mapping[str, float]) -> Shares:
    """Return the bytes per token that a framework keeps: each tensor's elements times its bytes, summed.

    Source: [korthikanti2022] section 4.1
    """
    total = Shares()
    for name, elements in tensors.items():
        total = total + elements * bytes_kept.get(name, 0)
    return total


def backward_bytes(tensors: Mapping[str, Shares], *, value_bytes: float, score_bytes: float = 0) -> Shares:
    """Return the gradients that live together at the widest point of a layer's backward pass [bytes per token].

    Either of the MLP (gradients of the down product's input and of the activation function's inputs) or of
    attention (of queries, keys, values, output, and of the scores where they exist), beside the stream's gradient
    in and out.
    """
    # the stream's gradient in and out; under sequence parallelism both are gathered while a block works on them
    stream = tensors["block_input"].sequence
    two_streams = Shares(whole=2 * stream)
    mlp = _sum(tensors, ("gate_up", "product", "expert_gate_up", "expert_product", "expert_input"))
    attention = _sum(tensors, (*EXPANDED, "expanded", "attention_output"))
    widest = mlp if sum(mlp.values()) >= sum(attention.values()) else attention
    scores = tensors.get("scores", Shares()) * score_bytes
    return (widest + two_streams) * value_bytes + scores


def _sum(tensors: Mapping[str, Shares], names: tuple[str, ...]) -> Shares:
    total = Shares()
    for name in names:
        total = total + tensors.get(name, Shares())
    return total
