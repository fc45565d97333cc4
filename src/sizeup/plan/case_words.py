"""Cells of measured cases as people write them: synonyms of words, numbers with suffixes, lists of modules.

A cell that says nothing we know is left open, and that is noted; a number that cannot be is an error that names it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from sizeup.errors import UserError, nearest_names

NOTHING = frozenset({"", "-", "n/a", "na", "nan", "null", "unknown", "?", "not stated"})
"""What people write where they know nothing."""

_YES = {"true": "yes", "1": "yes", "on": "yes", "false": "no", "0": "no", "off": "no", "yes": "yes", "no": "no"}
_DTYPES = {
    "fp32": "fp32", "tf32": "fp32", "float32": "fp32", "fp16": "fp16", "float16": "fp16", "half": "fp16",
    "bf16": "bf16", "bfloat16": "bf16",
}  # fmt: skip
_PRODUCTS = {
    **_DTYPES, "fp8": "fp8", "float8": "fp8", "fp8-cs": "fp8", "fp8-ds": "fp8", "fp8-sc": "fp8", "e4m3": "fp8",
    "mxfp8": "mxfp8", "fp8-mx": "mxfp8", "nvfp4": "nvfp4", "fp4": "nvfp4", "mxfp4": "nvfp4",
}  # fmt: skip

WORDS: Mapping[str, Mapping[str, str]] = {
    "kind": {
        "pretrain": "pretrain", "pretraining": "pretrain", "pre-training": "pretrain", "cpt": "pretrain",
        "full": "full", "sft": "full", "finetune": "full", "fine-tuning": "full", "full-finetune": "full",
        "lora": "lora", "dora": "lora", "qlora": "qlora",
    },
    "sharding": {
        "none": "none", "ddp": "none", "zero0": "none", "zero1": "zero1", "zero-1": "zero1",
        "distributed-optimizer": "zero1", "zero2": "zero2", "zero-2": "zero2", "shard_grad_op": "zero2",
        "zero3": "zero3", "zero-3": "zero3", "fsdp": "fsdp", "fsdp1": "fsdp", "fsdp2": "fsdp", "full_shard": "fsdp",
        "hsdp": "hsdp", "hybrid_shard": "hsdp",
    },
    "sequence_parallel": _YES, "compile": _YES, "async_tp": _YES,
    "recompute": {
        "none": "none", "no": "none", "off": "none", "selective": "selective", "full": "full", "yes": "full",
        "block": "full", "on": "full", "gradient-checkpointing": "full",
    },
    "compute_dtype": _PRODUCTS,
    # 16-bit weights without an fp32 copy
    "master_weights": {**_DTYPES, "fp16": "none", "float16": "none", "half": "none", "none": "none"},
    "grad_dtype": _DTYPES,
    "optimizer": {
        "adam": "adamw", "adamw": "adamw", "adamw_torch": "adamw", "fusedadam": "adamw", "adamw_torch_fused": "adamw",
        "paged-adamw": "paged-adamw", "paged_adamw_32bit": "paged-adamw", "adamw8bit": "adamw8bit",
        "adamw_8bit": "adamw8bit", "adam8bit": "adamw8bit", "adamw_bnb_8bit": "adamw8bit",
        "paged-adamw8bit": "paged-adamw8bit", "paged_adamw_8bit": "paged-adamw8bit", "adafactor": "adafactor",
        "muon": "muon", "lion": "lion", "sgd": "sgd", "sgd-momentum": "sgd-momentum",
    },
    "attention": {
        "flash": "flash", "flash2": "flash", "flash3": "flash", "fa2": "flash", "fa3": "flash", "cudnn": "flash",
        "flash_attention_2": "flash", "flash_attention_3": "flash", "flex": "flash", "xformers": "flash",
        "sdpa": "sdpa", "eager": "eager", "unfused": "eager",
    },
    "loss": {
        "plain": "plain", "fused": "fused", "liger": "fused", "chunked": "chunked", "cut": "chunked", "cce": "chunked",
    },
    "base_quant": {
        "nf4": "nf4", "nf4-dq": "nf4-dq", "fp4": "nf4", "gptq-int4": "gptq-int4", "awq-int4": "gptq-int4",
        "int4": "gptq-int4", "int8": "int8",
    },
}  # fmt: skip
"""By column, every word that is understood and the one that it means."""

COUNTS = (
    "seq_len", "n_gpus", "gpus_per_node", "nvlink_domain", "tp", "pp", "vpp", "cp", "ep", "etp", "dp", "micro_batch",
    "global_batch", "lora_rank", "trainable_params", "recompute_layers", "cpu_offload_layers",
)  # fmt: skip
"""Columns that hold whole numbers."""

ABSENT_WHEN_ZERO = frozenset({"vpp", "cp", "ep", "etp", "recompute_layers", "cpu_offload_layers", "nvlink_domain"})
"""Counts whose zero only says that the thing is not used."""

_SUFFIXES = {"": 1, "k": 1024, "m": 10**6, "b": 10**9}


def count_of(text: str, *, column: str) -> int:
    """Return a whole number from text such as ``4096``, ``4k``, ``1,024``, ``2.0`` or ``3.4M``.

    >>> count_of("4k", column="seq_len"), count_of("3.4M", column="trainable_params")
    (4096, 3400000)

    Raises:
        UserError: not a number, or not a whole positive one (a zero of :data:`ABSENT_WHEN_ZERO` is returned).
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?(?:e[0-9]+)?)\s*([kmb]?)", text.lower().replace(",", "").strip())
    if match is None:
        raise UserError(f'{column} is "{text}", not a number')
    value = float(match.group(1)) * _SUFFIXES[match.group(2)]
    if value == 0 and column in ABSENT_WHEN_ZERO:
        return 0
    if value < 1 or value != round(value):
        raise UserError(f"{column} is {text}; it must be a whole number of at least 1")
    return round(value)


def tidy(row: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the row with known words and plain numbers only, and a note for each word that was not understood.

    Raises:
        UserError: a count that cannot be, or a kind of training that is not known.
    """
    found = {name: "" if (text or "").strip().lower() in NOTHING else text.strip() for name, text in row.items()}
    for column in COUNTS:
        if found.get(column):
            count = count_of(found[column], column=column)
            found[column] = str(count) if count else ""
    return found, tuple(_words(found))


def _words(row: dict[str, str]) -> Iterator[str]:
    """Replace synonyms in ``row`` and yield a note for each word that is left open."""
    for column, known in WORDS.items():
        text = row.get(column, "")
        if not text:
            continue
        word = known.get(text.lower())
        if word is None and column == "kind":
            raise UserError(f'no kind of training is called "{text}"', nearest=nearest_names(text, known))
        if word is None:
            yield f'{column} "{text}" is not known: left open'
        row[column] = word or ""


MODULES = {
    "q_proj": "query", "k_proj": "key", "v_proj": "value", "o_proj": "output", "out_proj": "output",
    "gate_proj": "gate", "up_proj": "up", "down_proj": "down", "qkv_proj": "qkv", "query_key_value": "qkv",
    "c_attn": "qkv", "wqkv": "qkv", "dense": "output", "gate_up_proj": "gate_up", "fc1": "up", "fc2": "down",
    "dense_h_to_4h": "up", "dense_4h_to_h": "down", "q": "query", "k": "key", "v": "value", "o": "output",
}  # fmt: skip
"""What the modules that adapters are put on do in a layer."""


def targets_of(text: str, known: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """Return the uses that LoRA targets name: one of ``known``, or module names separated by commas or blanks.

    Raises:
        UserError: a word is neither.
    """
    if text in known:
        return known[text]
    uses: set[str] = set()
    for word in re.split(r"[\s,;+|]+", text.strip()):
        if word in known:
            uses |= known[word]
        elif word in MODULES:
            # fused products stand for the ones they fuse
            uses |= {MODULES[word]} | ({"qkv"} if MODULES[word] in ("query", "key", "value") else set())
        else:
            names = (*known, *MODULES)
            raise UserError(f'no LoRA targets are called "{word}"', nearest=nearest_names(word, names))
    return frozenset(uses)
