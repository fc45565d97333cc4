"""Whole random configurations: values for every key, repaired where no model would have them together."""

from __future__ import annotations

from dataclasses import fields

from transformers import PreTrainedConfig

from oracle.classes import effective, keyword_defaults, sub_config_classes
from oracle.common import Json
from oracle.constraints import fix_type
from oracle.draw import Draw, draw_dimensions, draw_value
from oracle.roles import CORE, OPTIONAL_LISTS, TEXT_KEYS
from oracle.wrappers import fix_wrapper, join_towers


def draw_overrides(cls: type[PreTrainedConfig], rng: Draw, boldness: float, towers_too: bool = True) -> Json:
    """Random values for the size-relevant keys of a class."""
    dims = draw_dimensions(rng)
    overrides: Json = {}
    sub_configs = sub_config_classes(cls)
    names = [field.name for field in fields(cls) if field.name not in sub_configs]
    for key in [*names, *(key for key in keyword_defaults(cls) if key not in names)]:
        value = draw_value(cls, key, rng, dims)
        if OPTIONAL_LISTS.fullmatch(key):
            kept = rng.spread(f"{key} given", [False, True])
        else:
            kept = CORE.fullmatch(key) or rng.random() < boldness
        if value is None or not kept:
            continue
        overrides[key] = value
    constrain(cls, overrides, dims, rng)
    for key, (model_type, sub) in sub_configs.items():
        spec = cls.sub_configs_defaults.get(key)
        if spec is None or spec.optional or "backbone" in key:
            continue
        if towers_too or TEXT_KEYS.fullmatch(key):
            overrides[key] = {"model_type": model_type, **draw_overrides(sub, rng, boldness)}
    join_towers(cls, overrides)
    fix_wrapper(cls.model_type, overrides, dims, rng)
    return overrides


def constrain(cls: type[PreTrainedConfig], values: Json, dims: Json, rng: Draw) -> None:
    """Repair combinations of drawn values that no model would have."""
    if "qk_rope_head_dim" in values or "kv_lora_rank" in values:
        values.pop("head_dim", None)
        if "num_key_value_heads" in values:
            values["num_key_value_heads"] = values.get("num_attention_heads", dims["heads"])
    for key in ("n_group", "topk_group"):
        if key in effective(cls) or key in {field.name for field in fields(cls)}:
            values[key] = 1
    if values.get("add_cross_attention"):
        values["is_decoder"] = True
    for key in ("encoder_layers", "num_encoder_layers"):
        if key in values:  # caches are laid out for as many layers as the encoder has
            values[key] += rng.choice([0, 1, 2])
            values["encoder_ffn_dim"] = rng.choice([40, 72])
    fix_type(cls.model_type, values, dims, rng)
