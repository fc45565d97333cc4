"""Multi-token-prediction layers: in published checkpoints, but not in the model that transformers builds.

Source: DeepSeek-V3 ``README_WEIGHTS.md`` and the checkpoints' tensor names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sizeup.llm.architecture import Layer, Tensor
from sizeup.llm.blocks import linear, norm, table
from sizeup.llm.config import Config

COUNT_KEYS = ("num_nextn_predict_layers", "num_mtp_layers")


def predicted_layers(config: Config) -> int:
    """Return the number of extra prediction layers that the checkpoint holds."""
    return config.optional_integer(*COUNT_KEYS) or 0


def prediction_layers(config: Config, layers: Sequence[Layer], *, copies_tables: bool = True) -> tuple[Tensor, ...]:
    """Return the tensors of the prediction layers: two norms, a merging projection, a decoder layer, a last norm.

    ``copies_tables``: the checkpoint stores the token table and the head again in each (DeepSeek-V3, GLM-4.5).
    """
    hidden, vocabulary = config.integer("hidden_size"), config.integer("vocab_size")
    around = entry(hidden)
    if copies_tables:
        around += table("embed_tokens", vocabulary, hidden)
        around += linear("shared_head.head", use="head", part="mtp", out=vocabulary, into=hidden)
    return as_prediction([(*around, *layer.tensors) for layer in layers])


def entry(
    hidden: int,
    *,
    norms: tuple[str, str] = ("enorm", "hnorm"),
    join: str = "eh_proj",
    last_norm: str = "shared_head.norm",
) -> tuple[Tensor, ...]:
    """Return what joins the next token's embedding to the hidden state before the layer, and the norm after it."""
    return (
        *norm(norms[0], hidden),
        *norm(norms[1], hidden),
        *linear(join, use="other", part="mtp", out=hidden, into=2 * hidden),
        *norm(last_norm, hidden),
    )


def as_prediction(layers: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """Return the tensors of prediction layers, named and counted as such."""
    return tuple(
        replace(tensor, name=f"mtp.{index}.{tensor.name}", part="mtp")
        for index, tensors in enumerate(layers)
        for tensor in tensors
    )
