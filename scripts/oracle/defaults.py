"""``defaults.json``: the values that a configuration class uses for keys absent from a config.json."""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import fields

from transformers import PreTrainedConfig

from oracle.classes import field_default, keyword_defaults, sub_config_classes
from oracle.common import (
    DEFAULTS,
    IRRELEVANT,
    KEEP,
    Json,
    causal_types,
    config_class,
    jsonable,
    multimodal_types,
    per_class,
)
from oracle.records import dumps

UNDECLARED: dict[str, Json] = {
    "dots3_note_text": {
        "swa_num_attention_heads": 64,
        "swa_num_key_value_heads": 64,
        "swa_q_lora_rank": 1024,
        "swa_kv_lora_rank": 1024,
        "swa_head_dim": 256,
        "swa_qk_nope_head_dim": 192,
        "swa_v_head_dim": 128,
    },
}


def class_defaults(cls: type[PreTrainedConfig]) -> Json:
    """Values that the class uses for keys absent from a config.json."""
    values = {**UNDECLARED.get(cls.model_type, {}), **keyword_defaults(cls)}
    sub_configs = set(cls.sub_configs_defaults)
    values.update({f.name: field_default(f) for f in fields(cls) if f.name not in sub_configs})
    kept: Json = {}
    for key, value in values.items():
        if IRRELEVANT.match(key) and key not in KEEP:
            continue
        try:
            kept[key] = jsonable(value)
        except TypeError:
            continue
    return kept


NOT_CONSTANTS = {"default_config_fields", "default_rope_type", "default_theta"}


def class_constants(cls: type[PreTrainedConfig]) -> Json:
    """Class attributes that stand in for absent keys."""
    found: Json = {}
    for name in dir(cls):
        if name.startswith("default_") and name not in NOT_CONSTANTS and not callable(getattr(cls, name)):
            found[name] = jsonable(getattr(cls, name))
    return {key: value for key, value in found.items() if value is not None}


@per_class
def keyword_aliases(cls: type[PreTrainedConfig]) -> dict[str, str]:
    """Undeclared keys that the class copies into a declared one."""
    found: dict[str, str] = {}
    for base in cls.__mro__:
        if base is PreTrainedConfig or not issubclass(base, PreTrainedConfig):
            continue
        source = inspect.getsource(base)
        found.update(
            {alias: key for key, alias in re.findall(r"self\.(\w+) = kwargs\.pop\(\s*\"(\w+)\", self\.\1\)", source)}
        )
        pattern = r"self\.(\w+) = \(?\s*kwargs\.pop\(\"(\w+)\"\) if \"\2\" in kwargs else self\.\1"
        found.update({alias: key for key, alias in re.findall(pattern, source)})
    return found


def harmless_keys(cls: type[PreTrainedConfig], entry: Json) -> list[str]:
    """Declared keys without effect on sizes, except the ones of the base class and token ids."""
    common = {field.name for field in fields(PreTrainedConfig)}
    names = {field.name for field in fields(cls)} | set(keyword_defaults(cls))
    names -= common | set(entry["defaults"]) | set(entry["sub_configs"])
    return sorted(name for name in names if not re.search(r"token_(id|index)s?$|dropout", name))


def class_entry(cls: type[PreTrainedConfig]) -> Json:
    """The record of one configuration class."""
    aliases = {str(k): str(v) for k, v in cls.attribute_map.items()}
    entry: Json = {
        "defaults": class_defaults(cls),
        "aliases": {**keyword_aliases(cls), **aliases},
        "sub_configs": {key: name for key, (name, _) in sub_config_classes(cls).items()},
    }
    specs = cls.sub_configs_defaults.items()
    sub_defaults = {key: jsonable(spec.init_kwargs) for key, spec in specs if spec.init_kwargs}
    optional = sorted(key for key, spec in specs if spec.optional)
    if sub_defaults:
        entry["sub_defaults"] = sub_defaults
    if optional:
        entry["optional_sub_configs"] = optional
    constants = class_constants(cls)
    if constants:
        entry["constants"] = constants
    harmless = harmless_keys(cls, entry)
    if harmless:
        entry["harmless"] = harmless
    return entry


def reachable_classes() -> dict[str, type[PreTrainedConfig]]:
    """Causal and multimodal classes and, recursively, those of their sub-configs."""
    found: dict[str, type[PreTrainedConfig]] = {}
    pending = [(name, config_class(name)) for name in [*causal_types(), *multimodal_types()]]
    while pending:
        name, cls = pending.pop(0)
        if name in found:
            if found[name] is not cls:
                print(f"  {name}: {found[name].__name__} hides {cls.__name__}")
            continue
        found[name] = cls
        pending.extend(sub_config_classes(cls).values())
    return found


def write_defaults() -> None:
    """Write defaults.json, one model type per line."""
    lines = []
    for name, cls in sorted(reachable_classes().items()):
        lines.append(f"{json.dumps(name)}:{dumps(class_entry(cls))}")
    DEFAULTS.parent.mkdir(parents=True, exist_ok=True)
    DEFAULTS.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"defaults: {len(lines)} model types, {DEFAULTS.stat().st_size} bytes")
