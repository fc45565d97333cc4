"""From a configuration to an Architecture: one small file per family, found by its model types.

A family file holds ``build(config) -> Architecture`` and reads every size-changing key it knows through the
:class:`~sizeup.llm.config.Config`; what nobody read is refused (see ``refuse_unknown_keys``).
"""

from __future__ import annotations

import functools
import importlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sizeup.errors import UserError, nearest_names
from sizeup.files import read_text
from sizeup.llm.architecture import Architecture, Cache, StateCache
from sizeup.llm.config import Config, refuse_unknown_keys


@functools.cache
def model_types() -> dict[str, str]:
    """Return the family file of every model type we can size (``families/index.json``)."""
    index: dict[str, list[str]] = json.loads(read_text("llm/families/index.json"))
    return {model_type: family for family, types in index.items() for model_type in types}


def build_section(config: Config) -> Architecture:
    """Return the architecture of one (possibly nested) configuration.

    Raises:
        UserError: no family for its model type.
    """
    index = model_types()
    family = index.get(config.model_type)
    if family is None:
        what = f'model type "{config.model_type}"' if config.model_type else 'a configuration without "model_type"'
        raise UserError(f"{config.where}: {what} is not known", nearest=nearest_names(config.model_type, index))
    module = importlib.import_module(f"sizeup.llm.families.{family}")
    architecture: Architecture = module.build(config)
    return architecture


def _quantization(values: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return how the checkpoint is quantized: its own section, or that of the text model (Kimi-K2.5)."""
    text = values.get("text_config")
    places = (values, text if isinstance(text, Mapping) else {})
    if any(not isinstance(p.get("quantization_config") or {}, Mapping) for p in places):
        raise UserError('"quantization_config" must be a mapping')
    found = next((p["quantization_config"] for p in places if isinstance(p.get("quantization_config"), Mapping)), None)
    if found is not None and values.get("expert_dtype"):
        return {**found, "expert_dtype": values["expert_dtype"]}
    return found


MALFORMED = (TypeError, AttributeError, LookupError, ValueError, OverflowError, RecursionError, MemoryError)
"""What a family stumbles over where a configuration holds a list, a string or a mapping in an unforeseen place."""


def _require_sizes(architecture: Architecture, *, where: str) -> None:
    """Refuse tensors and caches whose sizes are not whole numbers."""
    sizes = [(tensor.name, (*tensor.shape, tensor.copies)) for tensor, _ in architecture.counted_tensors()]
    for layer, _ in architecture.distinct_layers():
        sizes += [(f"the {cache.name} cache", _cache_sizes(cache)) for cache in layer.caches]
    for name, numbers in sizes:
        if not all(type(number) is int and number >= 0 for number in numbers):
            raise UserError(f"{where}: impossible layout, the size of {name} would be {str(numbers)[:60]}")


def _cache_sizes(cache: Cache) -> tuple[int, ...]:
    if isinstance(cache, StateCache):
        return (cache.elements,)
    return (cache.heads, cache.key_dim, cache.value_dim, cache.stride, cache.window or 0)


def build(values: Mapping[str, Any], *, where: str = "config.json") -> Architecture:
    """Return the architecture that a parsed config.json describes.

    Raises:
        UserError: unknown model type, a missing or malformed key, an impossible layout, or a size-changing key
            that is not understood; the message names it.
    """
    config = Config(values, where=where)
    try:
        architecture = build_section(config)
        _require_sizes(architecture, where=where)
    except ZeroDivisionError:
        raise UserError(f"{where}: impossible layout, a size is zero") from None
    except MALFORMED as error:
        raise UserError(
            f"{where}: a value has a form that a {config.model_type} model cannot have ({str(error)[:100]})",
            hint="if transformers reads this file, please report it",
        ) from error
    remarks = refuse_unknown_keys(config)
    dtype = values.get("dtype") or values.get("torch_dtype")
    text = values.get("text_config")
    if not dtype and isinstance(text, Mapping):
        dtype = text.get("dtype") or text.get("torch_dtype")
    if isinstance(dtype, str):
        architecture = replace(architecture, dtype=dtype.removeprefix("torch."), dtype_stated=True)
    quantization = _quantization(values)
    if quantization is not None:
        architecture = replace(architecture, quantization=quantization)
    remarks += tuple(
        f"not counted: {tower.name} ({tower.not_counted})" for tower in architecture.towers if tower.not_counted
    )
    return replace(architecture, assumptions=architecture.assumptions + remarks) if remarks else architecture
