"""Write the oracle data: class defaults, parameter counts and cache sizes.

The script needs ``torch`` and ``transformers``; the files that it writes need
neither.  Models are built on the ``meta`` device, so no weight is allocated,
except where a forward pass cannot be traced there: then a tiny model is run on
the CPU.

Subcommands: ``defaults``, ``parameters``, ``multimodal``, ``cache`` and ``all``.
"""

from __future__ import annotations

import argparse
import ast
import gc
import inspect
import json
import logging
import math
import random
import re
import textwrap
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, fields
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoModelForMultimodalLM, DynamicCache, PreTrainedConfig
from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

Json = dict[str, Any]

ROOT = Path(__file__).resolve().parent.parent
DEFAULTS = ROOT / "src" / "sizeup" / "llm" / "families" / "defaults.json"
ORACLE = ROOT / "tests" / "oracle"
SEED = "sizeup-1"
RANDOM_CASES = 6
CACHE_CASES = ("default", "random-1", "random-2", "random-4", "random-5")
CPU_LIMIT = 40_000_000
ATTEMPTS = 40

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


# --------------------------------------------------------------------------- helpers


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


def dumps(value: Any) -> str:
    """Compact JSON with sorted keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


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


def field_default(field: Any) -> Any:
    """The declared default of a dataclass field."""
    if field.default is not MISSING:
        return field.default
    if field.default_factory is not MISSING:
        return field.default_factory()
    return None


# --------------------------------------------------------------------------- defaults


@cache
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


@cache
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


def spec_class(spec: Any) -> type[PreTrainedConfig] | None:
    """The configuration class that a sub-config specification stands for."""
    if isinstance(spec.config_class, type) and issubclass(spec.config_class, PreTrainedConfig):
        return spec.config_class
    try:
        return config_class(spec.model_type)
    except KeyError:
        return None


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


# --------------------------------------------------------------------------- mutation


class Draw(random.Random):
    """A random source that spreads the values of short choices evenly over a type's cases."""

    turn: int | None = None
    model_type = ""

    def spread(self, key: str, values: list[Any]) -> Any:
        """Choose a value, such that the cases of a type take turns in the values."""
        if self.turn is None:
            return self.choice(values)
        turns = (values * RANDOM_CASES)[: max(RANDOM_CASES, len(values))]
        random.Random(f"{SEED}:{self.model_type}:{key}").shuffle(turns)
        return turns[(self.turn - 1) % len(turns)]


def divisors(number: int, at_least: int = 1) -> list[int]:
    """The divisors of a number, from a smallest one on."""
    return [d for d in range(at_least, number + 1) if number % d == 0]


def draw_dimensions(rng: Draw) -> Json:
    """Draw one consistent set of small dimensions."""
    heads = rng.choice([2, 4, 4, 6, 8, 8, 12])
    base = rng.choice([8, 16, 16, 24, 32])
    hidden = heads * base
    experts = rng.choice([4, 6, 8, 12])
    linear_keys = rng.choice([2, 4])
    expand = rng.choice([1, 2, 2, 3])
    mamba_dim = rng.choice([d for d in (4, 8, 16) if (expand * hidden) % d == 0])
    mamba_heads = expand * hidden // mamba_dim
    return {
        "heads": heads,
        "base": base,
        "hidden": hidden,
        "kv": rng.choice(divisors(heads)),
        "head_dim": rng.choice([8, 16, 32, 48, 64]),
        "layers": rng.randint(2, 9),
        "inter": rng.choice([48, 64, 96, 160, 352]),
        "moe_inter": rng.choice([16, 24, 40, 64]),
        "shared_inter": rng.choice([16, 32, 56]),
        "vocab": rng.randrange(320, 2000, 8),
        "experts": experts,
        "top_k": rng.randint(1, 3),
        "linear_keys": linear_keys,
        "linear_values": linear_keys * rng.choice([1, 2, 3]),
        "expand": expand,
        "mamba_dim": mamba_dim,
        "mamba_heads": mamba_heads,
        "mamba_groups": rng.choice([g for g in (1, 2, 4) if mamba_heads % g == 0]),
        "window": rng.choice([16, 24, 64, 100]),
        "small": rng.choice([8, 16, 24, 32]),
        "period": rng.randint(2, 4),
    }


ROLES: dict[str, str] = {
    "heads": r"(num_|n_|decoder_|encoder_|num_decoder_|num_encoder_)?(attention_)?heads?|n_head|n_heads|num_heads",
    "hidden": r"hidden_size|n_embd|d_model|emb_dim|hidden_dim|dim|embed_dim",
    "kv": r"num_key_value_heads|num_kv_heads|num_global_key_value_heads|swa_num_key_value_heads",
    "head_dim": r"head_dim|kv_channels|attention_head_dim|global_head_dim|swa_head_dim|dim_head|swa_v_head_dim",
    "layers": r"num_hidden_layers|n_layers?|num_layers|decoder_layers|encoder_layers|num_decoder_layers"
    r"|num_encoder_layers|depth",
    "inter": r"intermediate_size|ffn_dim|n_inner|decoder_ffn_dim|encoder_ffn_dim|ffn_hidden_size|dff|dim_ff"
    r"|intermediate_size_mlp|dense_intermediate_size|d_inner|prefix_dense_intermediate_size|mlp_dim",
    "moe_inter": r"moe_intermediate_size|expert_ffn_hidden_size|moe_ffn_hidden_size",
    "shared_inter": r"shared_expert_intermediate_size|shared_intermediate_size|moe_shared_expert_intermediate_size"
    r"|shared_experts_intermediate_size|moe_latent_size",
    "vocab": r"vocab_size|n_tokens|vocab_size_per_layer_input|decoder_vocab_size",
    "experts": r"num_experts|n_routed_experts|num_local_experts|moe_num_experts",
    "top_k": r"num_experts_per_tok(en)?|moe_topk|moe_top_k|moe_k|top_k_experts",
    "linear_keys": r"linear_num_key_heads",
    "linear_values": r"linear_num_value_heads",
    "expand": r"expand|mamba_expand",
    "mamba_dim": r"mamba_d_head|mamba_head_dim",
    "mamba_heads": r"mamba_n_heads|mamba_num_heads",
    "mamba_groups": r"mamba_n_groups|mamba_ngroups|n_groups",
    "window": r"sliding_window|sliding_window_size|attention_chunk_size|attention_window_size|local_attention"
    r"|window_size|local_window_size",
}

CHOICES: dict[str, list[Any]] = {
    r"linear_(key|value)_head_dim|linear_head_dim": [8, 16, 24],
    r"linear_num_heads": [2, 4],
    r"linear_conv_kernel_dim|conv_kernel(_size)?|mamba_d_conv|conv1d_width": [2, 3, 4, 5],
    r"short_conv_kernel_size|ple_conv_kernel_size": [2, 3, 4, 5],
    r"conv_L_cache": [2, 3, 5],
    r"mamba_d_state|ssm_state_size|state_size": [8, 16, 32],
    r"chunk_size|mamba_chunk_size": [16, 32],
    r"q_lora_rank": [16, 24, 48],
    r"kv_lora_rank": [16, 24, 32],
    r"o_lora_rank|gated_norm_rank|laurel_rank|adapter_rank|hc_lowrank": [4, 8, 16],
    r"qk_nope_head_dim": [8, 16, 24],
    r"qk_rope_head_dim": [8, 16],
    r"v_head_dim": [8, 16, 24, 32],
    r"index_head_dim": [16, 32],
    r"index_n_heads": [2, 4],
    r"index_topk|index_topk_blocks": [4, 16],
    r"n_shared_experts|num_shared_experts|moe_num_shared_experts": [0, 1, 2, 3],
    r"first_k_dense_replace|num_dense_layers": [0, 1, 2],
    r"decoder_sparse_step|moe_layer_interval|interleave_moe_layer_step|moe_layer_freq|no_rope_layer_interval": [
        1,
        2,
        3,
    ],
    r"num_nextn_predict_layers|num_mtp_layers": [0, 1, 2],
    r"sliding_window_pattern|global_attn_every_n_layers|layer_group_size|full_attention_interval": [1, 2, 3, 4],
    r"attn_layer_period|expert_layer_period": [2, 3, 4],
    r"attn_layer_offset|expert_layer_offset": [0, 1],
    r"hidden_size_per_layer_input": [8, 16],
    r"max_window_layers": [0, 1, 2],
    r"num_kv_shared_layers": [0, 1, 2],
    r"altup_num_inputs": [2, 3, 4],
    r"hc_mult|hc_count": [2, 3, 4],
    r"zero_expert_num": [2, 4],
    r"router_hidden_size": [8, 16, 24],
    r"type_vocab_size": [1, 2, 3],
    r"max_position_embeddings|n_positions|max_seq_len|context_length|max_target_positions|n_ctx": [1024, 1280, 2048],
    r"rotary_dim": [4, 8],
    r"embedding_size|word_embed_proj_dim|lru_width": [],
    r"moe_layer_start_index": [0, 1, 2],
    r"block_multiple_of|ffn_round_up_to_multiple_of": [32, 64],
    r"block_ffn_dim_multiplier": [1.0, 1.5],
    r"intermediate_multiple_size|expansion_ratio": [2, 3, 4],
    r"num_buckets|position_bias_num_buckets": [16, 32],
    r"prompt_(length|types)|segment_types|prompt_mid_dim": [8, 32],
    r"(in|out)put_embedding_size|(pronunciation|shape)_embed_dim": [16, 32, 48],
    r"(pronunciation|shape)_vocab_size|encoder_hash_byte_group_vocab": [300, 500],
    r"encoder_hash_byte_group_nb_functions|adapter_reduction_factor": [1, 2],
    r"cca_time[01]|num_ln_in_parallel_attn|num_codebooks": [1, 2],
    r"d_rel": [8, 16],
    r"rel_extent": [64, 128],
    r"n_layers_per_attn_res_block|n_langs|task_type_vocab_size|[HL]_cycles": [1, 2, 3],
    r"index_block_size": [16, 32],
    r"o_groups": [1, 2],
    r"expert_intermediate_size|swa_intermediate_size": [16, 48],
    r"num_hash_layers|dense_mlp_idx|prefix_dense_sliding_window_pattern|ngram": [1, 2],
    r"mem_len": [32, 128],
    r"qk_dim_factor": [0.5, 1.0],
    r"num_mem_blocks": [1, 2],
    r"pad_token_id": [0],
    r"bos_token_id|eos_token_id|decoder_start_token_id|sep_token_id|cls_token_id": [1],
}

BOOLS = re.compile(
    r"^(tie_word_embeddings|attention_bias|mlp_bias|use_qk_norm|qk_layernorm|qkv_bias|use_qkv_bias|use_bias|bias|use_prompt|is_moe|use_task_id|concat_input|block_auto_adjust_ff_dim"
    r"|multi_query|new_decoder_architecture|alibi|add_cross_attention|is_decoder|lm_head_bias|conv_bias"
    r"|use_conv_bias|mamba_conv_bias|mamba_proj_bias|mamba_rms_norm|projectors?_bias|parallel_attn"
    r"|use_parallel_residual|use_sliding_window|attention_k_eq_v|use_double_wide_mlp|enable_moe_block"
    r"|use_shared_attention_adapter|use_mem_rope|shared_expert_sink|attention_out_bias|norm_bias|decoder_bias"
    r"|learned_pos_emb|no_bias|gating|layernorm_embedding|do_layer_norm_before|use_learned_position_embeddings"
    r"|enable_bias|classifier_bias|add_bias_linear|use_attention_gate|layer_norm_elementwise_affine"
    r"|add_out_norm|use_expert_bias|use_long_context|scale_embedding|mup_enabled|pre_norm|use_post_norm"
    r"|use_sandwich_norm|adapter_layer_norm|_remove_final_layer_norm|share_encoder_decoder_embeddings"
    r"|rotary_value|enable_(shape|pronunciation)|adapter_reuse_layer_norm|ln_before_adapter|use_dsa|axial_pos_embds|use_lang_emb|use_attention_bias|moe_apply_\w+|add_\w*bias\w*|use_\w*bias)$"
)


@cache
def source_text(cls: type[PreTrainedConfig]) -> str:
    """The sources of a configuration class and of the models beside it."""
    path = Path(inspect.getfile(cls))
    return "\n".join(
        p.read_text(encoding="utf-8") for p in sorted(path.parent.glob("*.py")) if p.name[:2] in ("co", "mo")
    )


@cache
def effective(cls: type[PreTrainedConfig]) -> Json:
    """The values of the class instantiated without arguments."""
    try:
        return cls().to_dict()
    except Exception:
        return {}


def role_value(key: str, dims: Json) -> Any:
    """The drawn value for a key that plays a known role, or None."""
    for role, pattern in ROLES.items():
        if re.fullmatch(pattern, key):
            return dims[role]
    return None


def choice_value(key: str, rng: Draw, dims: Json) -> Any:
    """A value for a key of the choice table, or None."""
    for pattern, values in CHOICES.items():
        if re.fullmatch(pattern, key):
            return rng.spread(key, values) if values else dims["small"] * 2
    return None


ATTENTION_KINDS = {
    "full_attention",
    "sliding_attention",
    "indexed_attention",
    "hybrid",
    "hybrid_sliding",
    "attention",
}


def layer_kinds(cls: type[PreTrainedConfig], key: str) -> list[Any]:
    """The layer kinds that a per-layer list may hold."""
    kinds = set(effective(cls).get(key) or [])
    if key == "layer_types":
        text = source_text(cls)
        known = ["hybrid", "hybrid_sliding"]
        if "hybrid" not in kinds:
            known = ["full_attention", "sliding_attention", "chunked_attention", "linear_attention", "conv"]
        kinds |= {kind for kind in known if f'"{kind}"' in text}
    if key == "mlp_layer_types" and not kinds - {"dense", "sparse"}:
        kinds |= {"dense", "sparse"}
    return sorted(kinds, key=str)


def draw_list(kinds: list[Any], length: int, rng: Draw) -> list[Any]:
    """A random per-layer list with at least one attention layer, where there are such."""
    drawn = [rng.choice(kinds) for _ in range(length)]
    attention = [kind for kind in kinds if kind in ATTENTION_KINDS]
    if attention and not set(drawn) & ATTENTION_KINDS:
        drawn[rng.randrange(length)] = rng.choice(attention)
    return drawn


def layer_count(cls: type[PreTrainedConfig]) -> int | None:
    """The default number of layers of a class."""
    values = effective(cls)
    for key in ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers"):
        if isinstance(values.get(key), int):
            return values[key]
    return None


def list_value(cls: type[PreTrainedConfig], key: str, rng: Draw, dims: Json) -> list[Any] | None:
    """A random per-layer list, where the class's own value is one."""
    current = effective(cls).get(key)
    if not isinstance(current, (list, tuple)) or len(current) != layer_count(cls):
        return None
    if any(isinstance(item, (list, dict, tuple)) for item in current):
        return None
    kinds = layer_kinds(cls, key)
    return draw_list(kinds, dims["layers"], rng) if kinds else None


INDEX_LISTS = re.compile(r"mlp_only_layers|moe_layers|local_layer_ids|attn_layer_indices|full_attn_idxs")


def draw_value(cls: type[PreTrainedConfig], key: str, rng: Draw, dims: Json) -> Any:
    """A random value for one key, or None to leave it alone."""
    current = effective(cls).get(key, keyword_defaults(cls).get(key))
    if isinstance(current, bool):
        return rng.spread(key, [False, True]) if BOOLS.match(key) else None
    if INDEX_LISTS.fullmatch(key):
        return sorted(rng.sample(range(dims["layers"]), rng.randint(1, dims["layers"] - 1)))
    listed = list_value(cls, key, rng, dims)
    if listed is not None:
        return listed
    if isinstance(current, (str, list, tuple, dict)):
        return dims["mamba_dim"] if key == "mamba_d_head" else None
    value = role_value(key, dims)
    return value if value is not None else choice_value(key, rng, dims)


CORE = re.compile(
    "|".join(
        [
            *(
                ROLES[r]
                for r in ("heads", "hidden", "kv", "layers", "inter", "vocab", "mamba_heads", "mamba_dim", "expand")
            ),
            r"pad_token_id|bos_token_id|eos_token_id|decoder_start_token_id|mamba_\w+|moe_inter\w+",
        ]
    )
)
OPTIONAL_LISTS = re.compile(
    INDEX_LISTS.pattern + r"|layer_types|mlp_layer_types|layers_block_type|indexer_types|\w+_layer_types|no_rope_layers"
)


TEXT_KEYS = re.compile(r".*(text|decoder|language|llm|global|thinker|talker|patcher|encoder_config).*")


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
    fix = WRAPPER_FIXES.get(cls.model_type)
    if fix is not None:
        fix(overrides, dims, rng)
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
    fix = FIXES.get(cls.model_type)
    if fix is not None:
        fix(values, dims, rng)


# ------------------------------------------------------------------- constraints by type


def fix_mamba2(values: Json, dims: Json, rng: Draw) -> None:
    """Heads times their size is the expanded width."""
    values.update(num_heads=dims["mamba_heads"], head_dim=dims["mamba_dim"], n_groups=dims["mamba_groups"])


def fix_gpt_neo(values: Json, dims: Json, rng: Draw) -> None:
    """The attention pattern spells out every layer."""
    first, second = rng.randint(1, 3), rng.randint(1, 2)
    values["attention_types"] = [[["global", "local"], first], [["local"], second]]
    values["num_layers"] = 2 * first + second


def fix_falcon_h1(values: Json, dims: Json, rng: Draw) -> None:
    """The state space width is the one of its heads."""
    heads = rng.choice([4, 8, 12])
    free = rng.random() < 0.6
    values["mamba_n_heads"] = heads if free else dims["mamba_heads"]
    values["mamba_d_head"] = dims["mamba_dim"]
    values["mamba_d_ssm"] = heads * dims["mamba_dim"] if free else None
    values["mamba_n_groups"] = rng.choice([1, 2]) if free else dims["mamba_groups"]


def fix_dbrx(values: Json, dims: Json, rng: Draw) -> None:
    """Attention and feed-forward settings live in nested tables."""
    values["tie_word_embeddings"] = False
    values["attn_config"] = {"kv_n_heads": dims["kv"], "rope_theta": 10000.0, "clip_qkv": rng.choice([8.0, None])}
    values["ffn_config"] = {
        "ffn_hidden_size": dims["inter"],
        "moe_num_experts": dims["experts"],
        "moe_top_k": dims["top_k"],
        "hidden_size": dims["hidden"],
    }


def fix_mpt(values: Json, dims: Json, rng: Draw) -> None:
    """Attention settings live in a nested table."""
    values["n_heads"] = rng.choice([2, 4, 8])
    values["d_model"] = values["n_heads"] * dims["base"]
    if rng.random() < 0.6:
        values["attn_config"] = {"alibi": True, "clip_qkv": rng.choice([8.0, None]), "qk_ln": rng.random() < 0.5}


def fix_rope_by_kind(values: Json, dims: Json, rng: Draw) -> None:
    """The rotary settings are keyed by the kind of layer."""
    rope = {"rope_type": "default", "rope_theta": 10000.0}
    values["rope_parameters"] = {"full_attention": dict(rope), "sliding_attention": dict(rope)}
    values["layer_types"] = draw_list(["full_attention", "sliding_attention"], dims["layers"], rng)


def fix_assistant(values: Json, dims: Json, rng: Draw) -> None:
    """Every layer of the draft model reads the target's cache."""
    text = values.setdefault("text_config", {"model_type": "gemma4_text"})
    text.update(hidden_size_per_layer_input=0, vocab_size_per_layer_input=0)
    text.update(enable_moe_block=False, use_double_wide_mlp=False, num_experts=None)
    text["num_kv_shared_layers"] = text.get("num_hidden_layers", 30)
    values["backbone_hidden_size"] = dims["hidden"]
    values["num_centroids"], values["centroid_intermediate_top_k"] = 8, 2
    text["vocab_size"] = 8 * dims["base"]


def fix_lfm2_moe(values: Json, dims: Json, rng: Draw) -> None:
    """The class has no default pattern."""
    values["layer_types"] = draw_list(["conv", "full_attention"], dims["layers"], rng)


def fix_gemma3n(values: Json, dims: Json, rng: Draw) -> None:
    """The feed-forward size may differ by layer."""
    sizes = [rng.choice([48, 64, 96]) for _ in range(values.get("num_hidden_layers", 35))]
    values["intermediate_size"] = rng.spread("intermediate_size", [dims["inter"], sizes])


def fix_minimax_m3(values: Json, dims: Json, rng: Draw) -> None:
    """Some layers select blocks with an index of their own."""
    values["layer_types"] = draw_list(["full_attention", "minimax_m3_sparse"], dims["layers"], rng)


def fix_granitemoehybrid(values: Json, dims: Json, rng: Draw) -> None:
    """Without attention layers the class cannot run."""
    values["layer_types"] = draw_list(["linear_attention", "full_attention"], dims["layers"], rng)


def fix_head_dim(values: Json, dims: Json, rng: Draw) -> None:
    """The class cannot do without a head size."""
    values["head_dim"] = dims["head_dim"]


def fix_helium(values: Json, dims: Json, rng: Draw) -> None:
    """Heads times their size is the hidden size."""
    values["head_dim"] = dims["base"]


def fix_longcat(values: Json, dims: Json, rng: Draw) -> None:
    """The rotary part is the head size."""
    values["head_dim"] = values["qk_rope_head_dim"] = rng.choice([8, 16])


def fix_nemotron(values: Json, dims: Json, rng: Draw) -> None:
    """The class cannot do without key-value heads."""
    values["num_key_value_heads"] = dims["kv"]


def fix_nemotron_h(values: Json, dims: Json, rng: Draw) -> None:
    """The pattern is a list or a string, and the heads set the state space width."""
    letters = {"M": "linear_attention", "E": "moe", "*": "full_attention", "-": "mlp"}
    pattern = draw_list(["*", "-", "E", "M", "M"], dims["layers"], rng)
    pattern[rng.randrange(len(pattern))] = "*"
    if rng.random() < 0.5:
        values["hybrid_override_pattern"] = "".join(pattern)
        values.pop("layers_block_type", None)
    else:
        values["layers_block_type"] = [letters[letter] for letter in pattern]
    values["moe_latent_size"] = rng.choice([None, 16])
    values.update(mamba_num_heads=dims["mamba_heads"], mamba_head_dim=dims["mamba_dim"], n_groups=dims["mamba_groups"])


def fix_qwen4(values: Json, dims: Json, rng: Draw) -> None:
    """The sparse attention and the n-gram embeddings need all of their settings."""
    compress = rng.choice([2, 4])
    values.update(
        indexer_n_heads=rng.choice([2, 4]),
        indexer_kv_heads=1,
        indexer_head_dim=64,
        indexer_budget=4 * compress,
        indexer_compress_ratio=compress,
        head_dim=rng.choice([16, 32, 64]),
        eos_token_id=1,
    )
    kinds = draw_list(["indexed_attention", "linear_attention"], dims["layers"], rng)
    kinds[rng.randrange(len(kinds))] = "linear_attention"
    kinds.append("indexed_attention")
    values["layer_types"], values["num_hidden_layers"] = kinds, len(kinds)
    if rng.random() < 0.6:
        linear = [i + 1 for i, kind in enumerate(kinds) if kind == "linear_attention"]
        values["ple_layer_ids"] = sorted(rng.sample(linear, rng.randint(1, len(linear))))
        values.update(heads_per_ngram=rng.choice([2, 4]), ngram_size=rng.choice([2, 3]), ple_embed_dim=48)
        values.update(ngram_vocab_size_base=500, make_ngram_vocab_size_divisible_by=16, split_ngram_parts=4)


def fix_reformer(values: Json, dims: Json, rng: Draw) -> None:
    """Axial positions factor the length and the width."""
    values["is_decoder"] = True
    values["attn_layers"] = [rng.choice(["local", "lsh"]) for _ in range(dims["layers"])]
    values["max_position_embeddings"] = 1024
    values["axial_pos_shape"] = [32, 32]
    values["axial_pos_embds_dim"] = [dims["hidden"] // 4, dims["hidden"] - dims["hidden"] // 4]
    values["attention_head_size"] = rng.choice([8, 16, 32])
    values["feed_forward_size"] = dims["inter"]
    values["num_buckets"] = 8
    values["hash_seed"] = 0


def fix_dots3(values: Json, dims: Json, rng: Draw) -> None:
    """Sliding layers have dimensions of their own."""
    rope = rng.choice([8, 16])
    values.update(n_shared_experts=rng.choice([1, 2]), index_head_dim=32, qk_rope_head_dim=rope)
    values["head_dim"] = values.get("qk_nope_head_dim", 128) + rope
    values["num_key_value_heads"] = values["num_attention_heads"] = dims["heads"]
    nope, swa_rope = rng.choice([8, 24]), rng.choice([8, 16])
    values["swa_num_attention_heads"] = values["swa_num_key_value_heads"] = rng.choice([2, 4])
    values.update(swa_q_lora_rank=16, swa_kv_lora_rank=rng.choice([16, 32]), swa_v_head_dim=rng.choice([8, 16]))
    values.update(swa_qk_nope_head_dim=nope, swa_qk_rope_head_dim=swa_rope, swa_head_dim=nope + swa_rope)


def fix_bamba(values: Json, dims: Json, rng: Draw) -> None:
    """Without attention layers the class cannot run."""
    values["attn_layer_indices"] = sorted(rng.sample(range(dims["layers"]), rng.randint(1, dims["layers"] // 2)))


def fix_zamba(values: Json, dims: Json, rng: Draw) -> None:
    """The shared attention works on twice the hidden size."""
    for key in ("attention_hidden_size", "attention_head_dim"):
        values.pop(key, None)
    values["num_key_value_heads"] = dims["heads"]
    values["n_mamba_heads"] = rng.choice([1, 2])
    values["num_hidden_layers"] = max(dims["layers"], 4)
    if rng.random() < 0.5:
        kinds = draw_list(["hybrid", "linear_attention"], values["num_hidden_layers"], rng)
        values["layers_block_type"] = ["linear_attention", *kinds[:-2], "hybrid"]
    else:
        values.pop("layers_block_type", None)


def fix_zamba2(values: Json, dims: Json, rng: Draw) -> None:
    """The pattern has no rule to derive it from the number of layers."""
    count_of_layers = max(dims["layers"], 4)
    kinds = draw_list(["hybrid", "linear_attention"], count_of_layers, rng)
    values["layers_block_type"] = ["linear_attention", *kinds[:-2], "hybrid"]
    values["num_hidden_layers"] = count_of_layers
    values["n_mamba_heads"] = dims["mamba_heads"]
    values["mamba_ngroups"] = dims["mamba_groups"]
    values["num_key_value_heads"] = dims["heads"]
    values["use_long_context"] = False


def fix_xlstm(values: Json, dims: Json, rng: Draw) -> None:
    """Widths are rounded up to multiples of 64."""
    values["hidden_size"] = rng.choice([128, 256])
    values["num_heads"] = rng.choice([2, 4])
    for key in ("embedding_dim", "num_blocks"):
        values.pop(key, None)


def fix_xmod(values: Json, dims: Json, rng: Draw) -> None:
    """Every language has an adapter."""
    values["languages"] = ["en_XX", "fr_XX", "de_DE"][: rng.randint(1, 3)]
    values["default_language"] = "en_XX"


def fix_zaya(values: Json, dims: Json, rng: Draw) -> None:
    """One expert a token."""
    values["num_experts_per_tok"] = 1
    values["sliding_window"] = dims["window"]


def fix_deepseek_v4(values: Json, dims: Json, rng: Draw) -> None:
    """Shared key-value heads and compressed attention."""
    values["num_key_value_heads"] = 1
    values["head_dim"] = rng.choice([32, 64])
    values["index_head_dim"] = rng.choice([32, 64])
    kinds = ["compressed_sparse_attention", "heavily_compressed_attention", "sliding_attention"]
    values["layer_types"] = [rng.choice(kinds) for _ in range(dims["layers"])]
    if rng.random() < 0.7:
        values["compress_rates"] = {kinds[0]: rng.choice([2, 4]), kinds[1]: rng.choice([8, 16])}


def fix_recurrent_gemma(values: Json, dims: Json, rng: Draw) -> None:
    """The pattern repeats."""
    values["block_types"] = rng.choice(
        [["recurrent", "attention"], ["recurrent", "recurrent", "attention"], ["attention", "recurrent"]]
    )
    values["num_hidden_layers"] = max(dims["layers"], 3)


def fix_mllama_text(values: Json, dims: Json, rng: Draw) -> None:
    """Some layers attend to the image."""
    layers = max(dims["layers"], 3)
    values["num_hidden_layers"] = layers
    values["cross_attention_layers"] = sorted(rng.sample(range(1, layers), rng.randint(1, layers - 2)))


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


Fix = Callable[[Json, Json, Draw], None]
FIXES: dict[str, Fix] = {
    "mamba2": fix_mamba2,
    "gpt_neo": fix_gpt_neo,
    "falcon_h1": fix_falcon_h1,
    "dbrx": fix_dbrx,
    "mpt": fix_mpt,
    "cohere_compass_text": fix_rope_by_kind,
    "gemma3n_text": fix_gemma3n,
    "minimax_m3_vl_text": fix_minimax_m3,
    "granitemoehybrid": fix_granitemoehybrid,
    "lfm2_moe": fix_lfm2_moe,
    "hunyuan_v1_dense": fix_head_dim,
    "hunyuan_v1_moe": fix_head_dim,
    "ministral": fix_head_dim,
    "helium": fix_helium,
    "longcat_flash": fix_longcat,
    "nemotron": fix_nemotron,
    "nemotron_h": fix_nemotron_h,
    "qwen4_exp_text": fix_qwen4,
    "reformer": fix_reformer,
    "dots3_note_text": fix_dots3,
    "bamba": fix_bamba,
    "zamba": fix_zamba,
    "zamba2": fix_zamba2,
    "xlstm": fix_xlstm,
    "xmod": fix_xmod,
    "zaya": fix_zaya,
    "deepseek_v4": fix_deepseek_v4,
    "recurrent_gemma": fix_recurrent_gemma,
    "mllama_text_model": fix_mllama_text,
}
WRAPPER_FIXES: dict[str, Fix] = {
    "moshi": fix_moshi,
    "dots3_note": fix_dots3_note,
    "gemma4_assistant": fix_assistant,
    "gemma4_unified_assistant": fix_assistant,
}
DERIVED_KEYS = {"num_hidden_layers": {"hrm_text", "nemotron_h"}}


# --------------------------------------------------------------------------- models


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
    library = torch.library.Library("aten", "IMPL")
    library.impl("_local_scalar_dense", scalar_on_meta, "Meta", allow_override=True)
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
    try:
        model = build(auto, load_config(model_type, config), "meta", torch.bfloat16)
        size = count(model)
        run_forward(model, 7, 1, "meta")
        return None
    except Exception as error:
        reason = last_line(error)
        if "size" not in locals() or size > CPU_LIMIT:
            return reason
    try:
        run_forward(build(auto, load_config(model_type, config), "cpu", torch.float32), 7, 1, "cpu")
        return None
    except Exception as error:
        return last_line(error)


def honoured(wanted: Json, config: PreTrainedConfig) -> bool:
    """Whether every override is still there after the class saw it."""
    for key, value in wanted.items():
        if key == "model_type" or config.model_type in DERIVED_KEYS.get(key, ()):
            continue
        try:
            actual = getattr(config, key, value)
        except Exception:  # values that differ by layer cannot be read for all
            continue
        if isinstance(actual, PreTrainedConfig):
            if not honoured(value, actual):
                return False
        elif isinstance(actual, int):
            if actual != value:
                return False
        elif isinstance(value, list) and isinstance(actual, (list, tuple)) and len(value) != len(actual):
            return False
    return True


def note(model_type: str, reason: str) -> None:
    """Count a reason for which a random config was turned down."""
    counts = REASONS.setdefault(model_type, {})
    counts[reason[:140]] = counts.get(reason[:140], 0) + 1


def random_case(auto: Any, model_type: str, number: int) -> tuple[Json, Any] | None:
    """A random config of a type, and its model on the meta device."""
    cls = config_class(model_type)
    sparse = number > RANDOM_CASES // 2
    fallback: tuple[Json, Any] | None = None
    for attempt in range(ATTEMPTS):
        rng = Draw(f"{SEED}:{model_type}:{number}:{attempt}")
        rng.model_type, rng.turn = model_type, number if attempt < 6 else None
        boldness = 0.85 if attempt < 20 else 0.4 if attempt < 30 else 0.0
        overrides = draw_overrides(cls, rng, boldness, attempt < 8)
        try:
            config = cls(**json.loads(json.dumps(overrides)))
            if not honoured(overrides, config):
                note(model_type, "not honoured")
                continue
            record = {**overrides, "model_type": model_type} if sparse else saved_form(model_type, config)
            model = build(auto, load_config(model_type, record), "meta")
        except Exception as error:
            note(model_type, last_line(error))
            continue
        reason = forwards(auto, model_type, record)
        if reason is None:
            return record, model
        note(model_type, "forward " + reason)
        fallback = fallback or (record, model)
        if attempt >= 12:
            break
    return fallback


REASONS: dict[str, dict[str, int]] = {}


# --------------------------------------------------------------------------- parameters


def parameter_cases(auto: Any, model_type: str, randoms: int) -> Iterator[tuple[str, Json, Any]]:
    """The cases of a type with their models; raises where the default cannot be built."""
    failure: Exception | None = None
    built = 0
    try:
        default = saved_form(model_type, config_class(model_type)())
        yield "default", default, build(auto, load_config(model_type, default), "meta")
        bare = {"model_type": model_type}
        yield "bare", bare, build(auto, load_config(model_type, bare), "meta")
    except Exception as error:
        failure = error
    for number in range(1, randoms + 1):
        found = random_case(auto, model_type, number)
        if found is not None:
            built += 1
            yield f"random-{number}", *found
    if failure is not None:
        raise CaseError(["default"], failure) if built else failure


def parameter_record(model_type: str, case: str, config: Json, model: Any) -> Json:
    """One line of parameters.jsonl."""
    record: Json = {"model_type": model_type, "case": case, "config": config, "parameters": count(model)}
    if case in ("default", "random-1", "random-4"):
        record["tensors"] = tensor_table(model)
    buffers = buffer_bytes(model)
    if buffers:
        record["buffers_bytes"] = buffers
    return record


def write_lines(path: Path, types: Iterable[str], make: Callable[[str], Iterator[Json]]) -> dict[str, str]:
    """Write the records of every type, flushing after each; returns failures."""
    failures: dict[str, str] = {}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as out:
        for model_type in types:
            start, lines = time.monotonic(), 0
            try:
                for record in make(model_type):
                    out.write(dumps(record) + "\n")
                    lines += 1
            except Exception as error:
                failures[model_type] = last_line(error)
                print(f"  {model_type}: {last_line(error)}")
            out.flush()
            gc.collect()
            print(f"{path.name} {model_type}: {lines} lines, {time.monotonic() - start:.1f} s", flush=True)
    return failures


def print_reasons(model_type: str) -> None:
    """Print the most frequent reasons for which random configs were turned down."""
    for reason, times in sorted(REASONS.pop(model_type, {}).items(), key=lambda item: -item[1])[:4]:
        print(f"    {times} x {reason}")


def write_parameters(types: list[str], directory: Path) -> None:
    """Write parameters.jsonl and not_built.json."""

    def make(model_type: str) -> Iterator[Json]:
        try:
            for case, config, model in parameter_cases(AutoModelForCausalLM, model_type, RANDOM_CASES):
                yield parameter_record(model_type, case, config, model)
        finally:
            print_reasons(model_type)

    failures = write_lines(directory / "parameters.jsonl", types, make)
    write_json(directory / "not_built.json", failures)


def write_json(path: Path, value: Json) -> None:
    """Write a readable JSON file."""
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")


# --------------------------------------------------------------------------- multimodal


TOWER = re.compile(r"\w*(vision|visual|image|audio|speech|perceiver|resampler|projector|connector)\w*")


def towers(model: Any) -> dict[str, int]:
    """Parameters of the language model with its embeddings and head, and of the rest."""
    parts = [model.get_decoder(), model.get_output_embeddings(), model.get_input_embeddings()]
    seen: dict[int, int] = {}
    for part in parts:
        if part is not None and part is not model:
            seen.update({id(p): p.numel() for p in part.parameters()})
    for name, module in parts[0].named_modules():
        if TOWER.fullmatch(name.rpartition(".")[2]):
            for parameter in module.parameters():
                seen.pop(id(parameter), None)
    text = sum(seen.values())
    return {"text": text, "rest": count(model) - text}


def multimodal_records(model_type: str) -> Iterator[Json]:
    """The lines of multimodal.jsonl for one type."""
    for case, config, model in parameter_cases(AutoModelForMultimodalLM, model_type, 1):
        record = parameter_record(model_type, case, config, model)
        if case == "bare":
            record.pop("tensors", None)
        try:
            record["towers"] = towers(model)
        except Exception as error:
            print(f"    towers: {last_line(error)}")
        yield record


def write_multimodal(types: list[str], directory: Path) -> None:
    """Write multimodal.jsonl and not_built_multimodal.json."""

    def make(model_type: str) -> Iterator[Json]:
        try:
            yield from multimodal_records(model_type)
        finally:
            print_reasons(model_type)

    failures = write_lines(directory / "multimodal.jsonl", types, make)
    write_json(directory / "not_built_multimodal.json", failures)


# --------------------------------------------------------------------------- cache

SEQUENTIAL = {"falcon_mamba", "jamba", "mamba", "recurrent_gemma", "rwkv", "xlstm", "zamba"}
HOLDERS = {"recurrent_gemma"}
CACHE_FIELDS = ("past_key_values", "cache_params", "state", "mems", "past_buckets_states")
WINDOW = re.compile(ROLES["window"] + r"|mem_len|local_attention_window_len")


def cache_tensors(value: Any, name: str, seen: set[int]) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors that a cache object holds for each token or sequence: numbers, and Reformer's hash buckets."""
    if id(value) in seen or isinstance(value, (torch.nn.Module, PreTrainedConfig, type)):
        return
    seen.add(id(value))
    if isinstance(value, torch.Tensor):
        if value.dim() and (value.is_floating_point() or name == "buckets_cache"):
            yield name, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from cache_tensors(item, name if isinstance(key, int) else str(key), seen)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from cache_tensors(item, name, seen)
    elif type(value).__module__.startswith("transformers") and hasattr(value, "__dict__"):
        for key, item in vars(value).items():
            cross = key == "cross_attention_cache" or name.startswith("cross.")
            yield from cache_tensors(item, f"cross.{key}" if cross else key, seen)


def held_output(model: Any, tokens: int, sequences: int, device: str) -> Any:
    """The cache of a model that does not return it, with the states that its modules keep to themselves."""
    past = DynamicCache(config=model.config)
    run_forward(model, tokens, sequences, device, past)
    states = [
        {name: getattr(module, name, None)}
        for module in model.modules()
        for name in ("conv1d_state", "recurrent_states")
    ]
    return SimpleNamespace(past_key_values=[past, states])


def cache_summary(output: Any) -> tuple[int, list[list[Any]]]:
    """Bytes of the cache in a model output, and its tensors with their multiplicity."""
    rows: dict[tuple[str, tuple[int, ...], str], int] = {}
    total = 0
    seen: set[int] = set()
    for field in CACHE_FIELDS:
        for name, tensor in cache_tensors(getattr(output, field, None), field, seen):
            total += tensor.numel() * tensor.element_size()
            key = (name, tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
            rows[key] = rows.get(key, 0) + 1
    return total, [[name, list(shape), dtype, times] for (name, shape, dtype), times in rows.items()]


def windows(config: Json) -> list[int]:
    """Window and chunk sizes anywhere in a config."""
    found: set[int] = set()
    for key, value in config.items():
        if isinstance(value, dict):
            found.update(windows(value))
        elif WINDOW.fullmatch(key) and isinstance(value, int) and 0 < value <= 40_000:
            found.add(value)
    return sorted(found)


def cache_points(model_type: str, config: Json) -> list[tuple[int, int]]:
    """The (tokens, sequences) points to measure."""
    full = saved_form(model_type, load_config(model_type, config))
    return [(7, 1), (40 if model_type in SEQUENTIAL else 300, 2), *((window + 37, 1) for window in windows(full)[-2:])]


def cache_model(model_type: str, config: Json) -> tuple[Any, str]:
    """A model that can run, bfloat16 where possible, and the device it is on."""
    failure: Exception | None = None
    for dtype in (torch.bfloat16, torch.float32):
        for device in ("meta", "cpu"):
            model = None
            try:
                model = build(AutoModelForCausalLM, load_config(model_type, config), device, dtype)
                run_forward(model, 7, 1, device)
                return model, device
            except Exception as error:
                failure = failure or error
            if model is None or count(model) > CPU_LIMIT:
                break
    raise failure if failure is not None else RuntimeError("not run")


def cache_records(model_type: str, case: str, config: Json) -> Iterator[Json]:
    """The lines of cache.jsonl for one case."""
    model, device = cache_model(model_type, config)
    for tokens, sequences in cache_points(model_type, config):
        run = held_output if model_type in HOLDERS else run_forward
        total, tensors = cache_summary(run(model, tokens, sequences, device))
        yield {
            "model_type": model_type,
            "case": case,
            "config": config,
            "tokens": tokens,
            "sequences": sequences,
            "cache_bytes": total,
            "dtype": str(next(model.parameters()).dtype).removeprefix("torch."),
            "tensors": tensors,
        }


def write_cache(types: list[str], directory: Path) -> None:
    """Write cache.jsonl and no_cache.json from the cases of parameters.jsonl there."""
    cases: dict[str, list[tuple[str, Json]]] = {}
    for line in (directory / "parameters.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if record["case"] in CACHE_CASES:
            cases.setdefault(record["model_type"], []).append((record["case"], record["config"]))

    def make(model_type: str) -> Iterator[Json]:
        failed: list[str] = []
        for case, config in cases[model_type]:
            try:
                yield from cache_records(model_type, case, config)
            except Exception as error:
                print(f"    {case}: {last_line(error)}")
                failed.append(case)
                problem = error
        if failed:
            raise CaseError(failed, problem)

    failures = write_lines(directory / "cache.jsonl", [name for name in types if name in cases], make)
    write_json(directory / "no_cache.json", failures)


# --------------------------------------------------------------------------- command line


def main() -> None:
    """Parse the command line and write the files asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["defaults", "parameters", "multimodal", "cache", "all"])
    parser.add_argument("--types", nargs="*", help="only these model types (partial files)")
    parser.add_argument("--directory", type=Path, default=ORACLE, help="where the case files go")
    arguments = parser.parse_args()
    logging.disable(logging.ERROR)
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    library = allow_scalars_on_meta()
    wanted = arguments.command
    if wanted in ("defaults", "all"):
        write_defaults()
    if wanted in ("parameters", "all"):
        write_parameters(arguments.types or causal_types(), arguments.directory)
    if wanted in ("multimodal", "all"):
        write_multimodal(arguments.types or multimodal_types(), arguments.directory)
    if wanted in ("cache", "all"):
        write_cache(arguments.types or causal_types(), arguments.directory)
    del library


if __name__ == "__main__":
    main()
