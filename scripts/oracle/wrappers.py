"""What multimodal configurations must obey, once the text model and its towers are drawn."""

from __future__ import annotations

from dataclasses import fields

from transformers import PreTrainedConfig

from oracle.classes import sub_config_classes
from oracle.common import Json
from oracle.constraints import Fix
from oracle.draw import Draw


def fix_assistant(values: Json, dims: Json, rng: Draw) -> None:
    """Every layer of the draft model reads the target's cache."""
    text = values.setdefault("text_config", {"model_type": "gemma4_text"})
    text.update(hidden_size_per_layer_input=0, vocab_size_per_layer_input=0)
    text.update(enable_moe_block=False, use_double_wide_mlp=False, num_experts=None)
    text["num_kv_shared_layers"] = text.get("num_hidden_layers", 30)
    values["backbone_hidden_size"] = dims["hidden"]
    values["num_centroids"], values["centroid_intermediate_top_k"] = 8, 2
    text["vocab_size"] = 8 * dims["base"]


def fix_moshi(values: Json, dims: Json, rng: Draw) -> None:
    """The depth decoder copies dimensions of the main decoder."""
    values["num_codebooks"] = rng.choice([2, 4, 8])
    values["audio_vocab_size"] = rng.choice([300, 500])
    values.pop("audio_encoder_config", None)
    depth = values.get("depth_decoder_config", {})
    for key in ("audio_vocab_size", "input_size", "vocab_size", "num_codebooks"):
        depth.pop(key, None)


def fix_dots3_note(values: Json, dims: Json, rng: Draw) -> None:
    """The adapters of the towers end in the hidden size of the text model."""
    hidden = values.get("text_config", {}).get("hidden_size", 5120)
    values["vision_config"] = {"adapter_out_dim": hidden}
    values["audio_config"] = {"adapter_out_dim": hidden}


WRAPPER_FIXES: dict[str, Fix] = {
    "moshi": fix_moshi,
    "dots3_note": fix_dots3_note,
    "gemma4_assistant": fix_assistant,
    "gemma4_unified_assistant": fix_assistant,
}
"""Fixes that see the sub-configs too."""


def fix_wrapper(model_type: str, values: Json, dims: Json, rng: Draw) -> None:
    """Apply what the type asks for once its sub-configs are drawn too."""
    if model_type in WRAPPER_FIXES:
        WRAPPER_FIXES[model_type](values, dims, rng)


JOINTS = ("out_hidden_size", "text_hidden_size", "output_hidden_size")


def join_towers(cls: type[PreTrainedConfig], values: Json) -> None:
    """Let every tower end in the hidden size of the text model."""
    text = values.get("text_config")
    if not isinstance(text, dict) or "hidden_size" not in text:
        return
    for key, (model_type, sub) in sub_config_classes(cls).items():
        spec = cls.sub_configs_defaults.get(key)
        if key == "text_config" or spec is None or spec.optional:
            continue
        names = {field.name for field in fields(sub)}
        joints = [name for name in JOINTS if name in names]
        if model_type == "qwen2_vl_vision":
            joints = ["hidden_size"]
        for name in joints:
            values.setdefault(key, {"model_type": model_type})[name] = text["hidden_size"]
