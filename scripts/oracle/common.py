"""What every part of the oracle shares: paths, the JSON form of values, model types, failures."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from transformers import PreTrainedConfig
from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

Json = dict[str, Any]

Made = TypeVar("Made")

ROOT = Path(__file__).resolve().parents[2]

DEFAULTS = ROOT / "src" / "sizeup" / "llm" / "families" / "defaults.json"

ORACLE = ROOT / "tests" / "oracle"

RANDOM_CASES = 6

IRRELEVANT = re.compile(
    r"^(id2label|label2id|return_dict|output_\w*(states|attentions|logits)|_name_or_path|name_or_path"
    r"|transformers_version|architectures|torch_dtype|dtype|problem_type|num_labels|use_cache"
    r"|\w*_token_ids?|\w*_token_index|\w*token_index|forced_\w+|decoder_start_token_id"
    r"|\w*dropout\w*|\w*layerdrop|\w+_pdrop|\w*init(ializer)?_(range|std|factor|cutoff_factor)|init_std"
    r"|initializer_\w+|\w*_eps|eps|\w*_epsilon|norm_eps|summary_\w+|hidden_act|hidden_activation"
    r"|activation_function|\w*loss_coef\w*|\w*jitter_noise|router_aux\w*|chunk_size_feed_forward"
    r"|keys_to_ignore\w*|gradient_checkpointing|auto_map|task_specific_params"
    r"|apply_spec_augment|mask_(time|feature)_\w+|(begin_)?suppress_tokens|encoder_no_repeat_ngram_size"
    r"|median_filter_width|ctc_\w+|classifier_(dropout|activation)\w*|chunk_size_lm_head|tie_last_hidden_states|pretraining_tp|_\w+)$"
)

KEEP = {"pad_token_id", "_remove_final_layer_norm"}


def jsonable(value: Any) -> Any:
    """The JSON form of a value, or raise TypeError."""
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    if isinstance(value, PreTrainedConfig):
        return value.to_dict()
    if isinstance(value, dict):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise TypeError("not finite")
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise TypeError(type(value).__name__)


class CaseError(Exception):
    """Some cases of a type failed, the others did not."""

    def __init__(self, cases: list[str], reason: Exception) -> None:
        """Keep the cases and the reason of the last."""
        super().__init__(f"{', '.join(cases)}: {last_line(reason)}")


def last_line(error: BaseException) -> str:
    """The type and the last meaningful line of an exception, without machine paths."""
    if isinstance(error, CaseError):
        return str(error)
    lines = [line for line in str(error).strip().splitlines() if line.strip()] or [""]
    text = re.sub(r"(/[\w.+-]+){2,}", "<path>", lines[-1].strip())
    text = re.sub(r"0x[0-9a-f]+", "0x", text)
    return f"{type(error).__name__}: {text}"[:300]


def causal_types() -> list[str]:
    """Model types with a causal language model class."""
    return sorted(modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def multimodal_types() -> list[str]:
    """Model types with an own multimodal class, outside the causal mapping."""
    names = set(modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)
    names |= set(modeling_auto.MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES)
    names |= {"gemma3", "llama4", "qwen3_5", "qwen3_5_moe", "mllama", "gemma4"}
    causal = {
        name
        for name, target in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items()
        if target == modeling_auto.MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES.get(name)
    }
    return sorted(names - causal)


def config_class(model_type: str) -> type[PreTrainedConfig]:
    """The configuration class of a model type."""
    return CONFIG_MAPPING[model_type]


def per_class(make: Callable[[type[PreTrainedConfig]], Made]) -> Callable[[type[PreTrainedConfig]], Made]:
    """Remember what a function makes of each configuration class."""
    return cast("Callable[[type[PreTrainedConfig]], Made]", cache(cast("Callable[..., Made]", make)))
