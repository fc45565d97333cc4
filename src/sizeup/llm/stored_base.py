"""What the readers of ``quantization_config`` share: groups of modules, their layouts, and checked look-ups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sizeup.errors import UserError
from sizeup.estimate import Estimate
from sizeup.llm.architecture import Architecture, Tensor
from sizeup.llm.formats import ROLE_NAMES, Tally, role_of
from sizeup.llm.layouts import HALF, Layout
from sizeup.llm.module_names import ModuleMatcher

Settings = Mapping[str, Any]
LINEAR_ROLES = frozenset({"linear", "experts", "small", "tower"})
WITH_HEAD = LINEAR_ROLES | {"head"}
BLOCKS_ONLY = frozenset({"linear", "experts"})
LIST_LIMIT = 200_000


@dataclass(frozen=True, slots=True)
class Group:
    """Modules that share a layout: those that ``names`` matches, or all (None)."""

    layout: Layout
    names: ModuleMatcher | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFormat:
    """What a ``quantization_config`` says: groups of modules (the first that matches counts) and what is left alone.

    Attributes:
        name: nearest format by name, for display.
        roles: roles that can be quantized at all; a module named outright by a group may have any.
        kept: modules that stay as they are.
    """

    name: str
    method: str
    groups: tuple[Group, ...]
    roles: frozenset[str] = LINEAR_ROLES
    kept: ModuleMatcher | None = None
    sources: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def layout_of(self, tensor: Tensor, path: str) -> Layout:
        """Return how the module at ``path`` (such as ``model.layers.3.mlp.up_proj``) is stored."""
        role = role_of(tensor)
        if role in ("rest", "embedding") or (self.kept is not None and path in self.kept):
            return HALF
        for group in self.groups:
            if group.names is None:
                if role in self.roles:
                    return group.layout
            elif path in group.names:
                return group.layout
        return HALF

    def weight_bytes(self, architecture: Architecture, *, multi_token_prediction: bool = False) -> Estimate:
        """Return the exact bytes of the checkpoint's tensors by part."""
        tally = Tally(self.name, self.sources)
        kept: dict[str, None] = {}
        for tensor, path in _paths(architecture, multi_token_prediction=multi_token_prediction):
            layout = self.layout_of(tensor, path)
            tally.add(tensor, layout, layout, 1) if layout is not HALF else tally.add(tensor, HALF, Layout(bits=0), 1)
            if layout is HALF:
                kept[ROLE_NAMES[role_of(tensor)]] = None
        notes = (f"stored as quantization_config says ({self.method})", *self.remarks)
        if kept:
            notes += (f"in 16 bits, wholly or partly: {', '.join(kept)}",)
        return tally.estimate(assumptions=(*architecture.assumptions, *notes))


def _paths(architecture: Architecture, *, multi_token_prediction: bool) -> list[tuple[Tensor, str]]:
    """Return every owned tensor with its module path, layers numbered."""
    found = [(t, t.name) for t in (*architecture.embedding, *architecture.head)]
    for index, layer in enumerate(architecture.layers):
        found += [(t, f"model.layers.{index}.{t.name}") for t in layer.tensors]
    found += [(t, f"{tower.name}.{t.name}") for tower in architecture.towers for t in tower.tensors]
    if multi_token_prediction:
        depth = len(architecture.layers)
        found += [(t, f"model.layers.{depth}.{t.name}") for t in architecture.multi_token_prediction]
    return found


def listed_modules(settings: Settings, *keys: str) -> list[Any]:
    """Return the module patterns under the first of ``keys`` that holds a list."""
    for key in keys:
        value = settings.get(key)
        if value is None:
            continue
        if isinstance(value, str):
            return [value]
        if not isinstance(value, Sequence) or len(value) > LIST_LIMIT:
            raise UserError(f'quantization_config: "{key}" must be a list of module names')
        return list(value)
    return []


def whole_number(settings: Settings, key: str, default: int) -> int:
    """Return a whole number from -1 to a million; null means the default."""
    value = settings.get(key, default)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int) or not -1 <= value <= 10**6:
        raise UserError(f'quantization_config: "{key}" must be a whole number, not {value!r:.60}')
    return value


def section(settings: Settings, key: str) -> Settings:
    """Return a nested mapping, empty where there is none."""
    value = settings.get(key) or {}
    if not isinstance(value, Mapping):
        raise UserError(f'quantization_config: "{key}" must be a mapping')
    return value


def group_tile(group_size: int) -> tuple[int, int]:
    """Return the tile of groups along the inputs; 0 or less is one group per output."""
    return (1, max(group_size, 0))
