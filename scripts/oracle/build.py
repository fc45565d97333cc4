"""Models built from configurations, mostly on the ``meta`` device, and what can be counted on them."""

from __future__ import annotations

import inspect
import json
from typing import Any

import torch
from transformers import PreTrainedConfig

from oracle.common import IRRELEVANT, KEEP, Json, config_class, jsonable, last_line

CPU_LIMIT = 40_000_000


def prune(config: Json) -> Json:
    """Drop the keys of a config.json that cannot matter."""
    kept: Json = {}
    for key, value in config.items():
        if IRRELEVANT.match(key) and key not in KEEP:
            continue
        if isinstance(value, dict):
            value = prune(value)
        try:
            kept[key] = jsonable(value)
        except TypeError:
            continue
    return kept


def load_config(model_type: str, config: Json) -> PreTrainedConfig:
    """The configuration object that a config.json stands for."""
    cls = config_class(model_type)
    plain = {key: value for key, value in json.loads(json.dumps(config)).items() if key != "model_type"}
    return cls.from_dict(plain)


def saved_form(model_type: str, config: PreTrainedConfig) -> Json:
    """What config.json would hold, less the irrelevant keys."""
    return {**prune(config.to_diff_dict()), "model_type": model_type}


def build(auto: Any, config: PreTrainedConfig, device: str, dtype: torch.dtype | None = None) -> Any:
    """Build a model on a device."""
    extra = {} if dtype is None else {"dtype": dtype}
    with torch.device(device):
        model = auto.from_config(config, attn_implementation="eager", **extra)
    return model.eval()


def pattern_of(name: str) -> str:
    """A tensor name with the numbers in its path replaced."""
    return ".".join("*" if part.isdigit() else part for part in name.split("."))


def tensor_table(model: Any) -> dict[str, list[Any]]:
    """Total, number and example shape of the parameters by name pattern."""
    table: dict[str, list[Any]] = {}
    for name, tensor in model.named_parameters():
        row = table.setdefault(pattern_of(name), [0, 0, list(tensor.shape)])
        row[0] += tensor.numel()
        row[1] += 1
    return table


def count(model: Any) -> int:
    """Number of parameters, tied ones once."""
    return sum(p.numel() for p in model.parameters())


def buffer_bytes(model: Any) -> int:
    """Bytes of the buffers that a checkpoint would hold."""
    known = set(model.state_dict(keep_vars=True)) & {name for name, _ in model.named_buffers()}
    return sum(b.numel() * b.element_size() for name, b in model.named_buffers() if name in known)


def scalar_on_meta(tensor: torch.Tensor) -> bool | int | float:
    """Stand-in for a value that a meta tensor does not have: true, or one."""
    return True if tensor.dtype is torch.bool else 1.0 if tensor.is_floating_point() else 1


def allow_scalars_on_meta() -> torch.library.Library:
    """Let models read scalars, for their checks of inputs, off meta tensors."""
    registry: Any = torch.library
    library: torch.library.Library = registry.Library("aten", "IMPL")
    implement: Any = library.impl
    implement("_local_scalar_dense", scalar_on_meta, "Meta", allow_override=True)
    return library


def run_forward(model: Any, tokens: int, sequences: int, device: str, past: Any = None) -> Any:
    """Run a prefill and return the model's output."""
    ids = torch.ones((sequences, tokens), dtype=torch.long, device=device)
    accepted = inspect.signature(model.forward).parameters
    extra: Json = {"use_cache": True} if "use_cache" in accepted else {}
    if "use_mems" in accepted:
        extra["use_mems"] = True
    if past is not None:
        extra["past_key_values"] = past
    with torch.no_grad(), torch.device(device):
        return model(input_ids=ids, **extra)


def forwards(auto: Any, model_type: str, config: Json) -> str | None:
    """None where a small forward pass works, else the reason it does not."""
    model = None
    try:
        model = build(auto, load_config(model_type, config), "meta", torch.bfloat16)
        run_forward(model, 7, 1, "meta")
        return None
    except Exception as error:
        reason = last_line(error)
        if model is None or count(model) > CPU_LIMIT:
            return reason
    try:
        run_forward(build(auto, load_config(model_type, config), "cpu", torch.float32), 7, 1, "cpu")
        return None
    except Exception as error:
        return last_line(error)
