"""What many families read the same way: head counts, which layers slide, which layers are experts."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from sizeup.errors import UserError
from sizeup.llm.architecture import Layer
from sizeup.llm.config import Config

Key = TypeVar("Key", bound=Hashable)

LEGACY_LAYER_TYPES = {
    "mamba": "linear_attention",
    "attention": "full_attention",
    "deepseek_sparse_attention": "indexed_attention",
    "qwen_sparse_attention": "indexed_attention",
}
"""Old names of layer types that published configurations still carry, and transformers' present ones."""


def attention_dims(config: Config) -> tuple[int, int, int]:
    """Return (query heads, key-value heads, head dimension).

    Key-value heads default to the query heads and the head dimension to hidden size / heads.

    Raises:
        UserError: the key-value heads do not divide the query heads.
    """
    heads = config.integer("num_attention_heads")
    kv_heads = config.optional_integer("num_key_value_heads", minimum=1) or heads
    if heads % kv_heads:
        raise UserError(f"{config.where}: {kv_heads} key-value heads do not divide {heads} attention heads")
    head_dim = config.optional_integer("head_dim", minimum=1) or config.integer("hidden_size") // heads
    return heads, kv_heads, head_dim


def layer_types(config: Config, layers: int) -> list[str] | None:
    """Return ``layer_types`` under today's names, or None where the configuration has none.

    Raises:
        UserError: the list is not as long as there are layers.
    """
    listed = config.sequence("layer_types")
    if listed is None:
        return None
    if len(listed) != layers:
        raise UserError(f'{config.where}: "layer_types" names {len(listed)} layers, the model has {layers}')
    return [LEGACY_LAYER_TYPES.get(str(kind), str(kind)) for kind in listed]


def repeated(keys: Sequence[Key], make: Callable[[Key], Layer]) -> tuple[Layer, ...]:
    """Return one layer per key; layers with equal keys are the same object."""
    made = {key: make(key) for key in dict.fromkeys(keys)}
    return tuple(made[key] for key in keys)
