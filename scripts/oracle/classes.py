"""What a configuration class of transformers says about itself: defaults, undeclared keys, sub-configs, source."""

from __future__ import annotations

import ast
import inspect
import textwrap
from dataclasses import MISSING
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig

from oracle.common import Json, config_class, per_class


def field_default(field: Any) -> Any:
    """The declared default of a dataclass field."""
    if field.default is not MISSING:
        return field.default
    if field.default_factory is not MISSING:
        return field.default_factory()
    return None


@per_class
def keyword_defaults(cls: type[PreTrainedConfig]) -> Json:
    """Constants in ``kwargs.pop("key", constant)`` of the class: undeclared keys."""
    found: Json = {}
    for base in reversed(cls.__mro__):
        if base is PreTrainedConfig or not issubclass(base, PreTrainedConfig):
            continue
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
        except (OSError, TypeError, SyntaxError):
            continue
        for node in ast.walk(tree):
            found.update(keyword_default(node))
    return found


def keyword_default(node: ast.AST) -> Json:
    """The key and constant of one ``kwargs.get/pop`` call, if the node is one."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
        return {}
    owner = node.func.value
    if node.func.attr not in ("get", "pop") or not isinstance(owner, ast.Name):
        return {}
    if owner.id != "kwargs" or len(node.args) != 2:
        return {}
    try:
        key, value = (ast.literal_eval(arg) for arg in node.args)
    except ValueError:
        return {}
    return {key: value} if isinstance(key, str) else {}


def sub_config_classes(cls: type[PreTrainedConfig]) -> dict[str, tuple[str, type[PreTrainedConfig]]]:
    """The name and the class of every sub-config."""
    found: dict[str, tuple[str, type[PreTrainedConfig]]] = {}
    for key, target in cls.sub_configs.items():
        spec = cls.sub_configs_defaults.get(key)
        sub = target if spec is None else spec_class(spec)
        if isinstance(sub, type) and issubclass(sub, PreTrainedConfig):
            name = spec.model_type if spec is not None else sub.model_type
            found[key] = (name or f"{cls.model_type}.{key}", sub)
    return found


def spec_class(spec: Any) -> type[PreTrainedConfig] | None:
    """The configuration class that a sub-config specification stands for."""
    if isinstance(spec.config_class, type) and issubclass(spec.config_class, PreTrainedConfig):
        return spec.config_class
    try:
        return config_class(spec.model_type)
    except KeyError:
        return None


@per_class
def source_text(cls: type[PreTrainedConfig]) -> str:
    """The sources of a configuration class and of the models beside it."""
    path = Path(inspect.getfile(cls))
    return "\n".join(
        p.read_text(encoding="utf-8") for p in sorted(path.parent.glob("*.py")) if p.name[:2] in ("co", "mo")
    )


@per_class
def effective(cls: type[PreTrainedConfig]) -> Json:
    """The values of the class instantiated without arguments."""
    try:
        return cls().to_dict()
    except Exception:
        return {}


def layer_count(cls: type[PreTrainedConfig]) -> int | None:
    """The default number of layers of a class."""
    values = effective(cls)
    for key in ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers"):
        value = values.get(key)
        if isinstance(value, int):
            return value
    return None
