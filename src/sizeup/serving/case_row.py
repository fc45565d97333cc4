"""Rows of measured serving cases as people write them: words brought to known ones, gaps filled, both said in notes."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import replace

from sizeup.errors import UserError
from sizeup.evidence.cases import Case, architecture_named
from sizeup.llm.formats import format_named
from sizeup.machine import find_gpu
from sizeup.plan.engines import engine
from sizeup.serving.weights import EXL2

NOTHING = frozenset({"", "-", "n/a", "na", "nan", "null", "none", "unknown", "?", "auto", "not stated"})
"""What people write where they know nothing."""

COUNTS = (
    "n_gpus", "gpus_per_node", "tp", "pp", "ep", "dp", "moe_tp", "input_tokens", "output_tokens", "concurrency",
    "max_model_len", "max_batched_tokens", "year",
)  # fmt: skip
"""Columns that hold whole numbers."""

TASKS: Mapping[str, str] = {
    "serving": "online", "closed_loop": "online", "closed loop": "online", "online_serving": "online",
    "offline": "max_load", "throughput": "max_load", "batch": "static_batch", "static": "static_batch",
    "latency": "static_batch", "generation": "decode", "generate": "decode", "tg": "decode", "pp": "prefill",
    "prompt": "prefill", "memory": "kv_capacity", "startup": "kv_capacity", "capacity": "kv_capacity",
}  # fmt: skip
"""Other words for the tasks."""

KNOWN_TASKS = frozenset({"kv_capacity", "decode", "prefill", "static_batch", "online", "max_load", "fit"})

SAME_ENGINE: Mapping[str, str] = {
    "trt-llm": "trtllm", "tensorrt_llm": "trtllm", "tensorrtllm": "trtllm", "llamacpp": "llama.cpp",
    "llama-cpp": "llama.cpp", "llama-cpp-python": "llama.cpp", "llama-bench": "llama.cpp",
    "llama-server": "llama.cpp", "ollama": "llama.cpp", "llamafile": "llama.cpp", "koboldcpp": "llama.cpp",
    "lm-studio": "llama.cpp", "lmstudio": "llama.cpp", "huggingface": "transformers", "hf": "transformers",
    "pytorch": "transformers", "accelerate": "transformers", "bitsandbytes": "transformers", "autogptq": "transformers",
    "exllama": "exllamav2", "tabbyapi": "exllamav2", "gptfast": "gpt-fast", "tensorrt-llm": "trtllm",
}  # fmt: skip
"""Other words for an engine, or programs built on it."""

LIKE_ENGINE: Mapping[str, str] = {
    "exllamav3": "exllamav2", "mlx": "llama.cpp", "mlx-lm": "llama.cpp", "unsloth": "transformers",
    "fastertransformer": "trtllm",
}  # fmt: skip
"""Engines without rules of their own and the one whose rules they take; others take vLLM's."""

ADDED = re.compile(
    r"[-_.](awq|gptq|fp8|nvfp4|mxfp4|fp4|bf16|int[48]|w\da\d+|[48]bit|bnb|gguf|quantized(\.\w+)?|dynamic|block|g\d+|marlin"
    r"|instruct|chat|it|hf|base|thinking|\d{4})$", re.IGNORECASE,
)  # fmt: skip
"""Last words of model names that say nothing about a shape."""

MODERN_YEAR: Mapping[str, int] = {"vllm": 2025, "trtllm": 2025, "transformers": 2024}
"""The year from which an engine without a version is the one of today (see ``fitted.serving_time.GRAPHS_SINCE``)."""


def count_of(text: str) -> int | None:
    """Return a whole number from text such as 2048, 2,048, 2k or 2048.0; None where it is none.

    >>> count_of("2,048"), count_of("128k"), count_of("long")
    (2048, 131072, None)
    """
    match = re.fullmatch(r"~?([0-9]+(?:\.[0-9]*)?)\s*(k?)", text.lower().replace(",", ""))
    if match is None:
        return None
    return round(float(match[1]) * (1024 if match[2] else 1))


def readable(case: Case) -> tuple[Case, tuple[str, ...]]:
    """Return the case with words that are known and with its gaps filled, and a note for everything that was decided.

    Raises:
        UserError: no such card.
    """
    row = {name: "" if (text or "").strip().lower() in NOTHING else text.strip() for name, text in case.row.items()}
    notes = [*_counts(row), *_share(row), *_task(row), *_engine(row), *_weights(row), *_card(row), *_layout(row)]
    notes += _model(row, case)
    return replace(case, row=row), tuple(notes)


def _counts(row: dict[str, str]) -> list[str]:
    notes = []
    for name in COUNTS:
        text = row.get(name, "")
        value = count_of(text) if text else None
        if text and value is None:
            notes.append(f'{name} "{text}" is no number: left open')
        row[name] = "" if value is None else str(value)
    return notes


def _share(row: dict[str, str]) -> list[str]:
    """Read the share of the card that an engine may use: 0.9, 90 or 90%."""
    text = row.get("gpu_memory_utilization", "")
    match = re.fullmatch(r"([0-9]*\.?[0-9]+)\s*%?", text)
    share = float(match[1]) if match else 0.0
    share = share / 100 if share > 1 else share
    row["gpu_memory_utilization"] = f"{share:g}" if 0 < share <= 1 else ""
    return [f'gpu_memory_utilization "{text}" is no share: left open'] if text and not 0 < share <= 1 else []


def _task(row: dict[str, str]) -> list[str]:
    word = row.get("task", "").lower()
    row["task"] = TASKS.get(word, word)
    if row["task"] in KNOWN_TASKS:
        return []
    if row.get("tpot_ms") or row.get("ttft_ms"):
        row["task"] = "online"
    elif row.get("prefill_tokens_per_second"):
        row["task"] = "prefill"
    elif row.get("output_tokens_per_second"):
        row["task"] = "decode" if row["concurrency"] in ("", "1") else "static_batch"
    else:
        row["task"] = "fit" if row.get("outcome") else "kv_capacity"
    return [f'task "{word}" is not known: taken as {row["task"]}, from what was measured']


def _engine(row: dict[str, str]) -> list[str]:
    word = row.get("engine", "").lower().replace(" ", "-")
    name, notes = SAME_ENGINE.get(word, word), []
    row["coefficients"] = name
    try:
        engine(name)
    except UserError:
        name = LIKE_ENGINE.get(word, "vllm")
        notes.append(f'engine "{word}" has no rules of its own: those of {name}')
    row["engine"], year = name, row["year"]
    version = row.setdefault("engine_version", "")
    if not version and year and int(year) < MODERN_YEAR.get(name, 0):
        row["engine_version"] = "0"
        notes.append(f"engine version not stated: an early one, as of {year}")
    return notes


def _weights(row: dict[str, str]) -> list[str]:
    word = row.get("weight_format", "").lower()
    row["weight_format"], notes = word, []
    if not word:
        row["weight_format"] = "bf16"
        notes.append("weight format not stated: 16 bits")
    elif not EXL2.fullmatch(word) and word != "int4-g32":
        try:
            format_named(word)
        except UserError:
            row["weight_format"] = _like_format(word)
            notes.append(f'weight format "{word}" is not known: taken as {row["weight_format"]}')
    cache = row.get("kv_dtype", "").lower()
    row["kv_dtype"] = "fp8" if cache.startswith(("fp8", "e4m3", "e5m2")) else cache
    if row["kv_dtype"] not in ("", "fp8", "bf16", "fp16", "bfloat16", "float16", "int8", "q8_0", "q4_0", "fp32"):
        row["kv_dtype"] = ""
        notes.append(f'cache dtype "{cache}" is not known: left open')
    return notes


def _like_format(word: str) -> str:
    """Return the known format that a word resembles most, by its bits."""
    exl = re.search(r"exl\d?\W*(\d\.?\d*)", word)
    if exl:
        return f"exl2-{exl[1]}"
    for sign, name in (("fp4", "nvfp4"), ("fp8", "fp8"), ("e4m3", "fp8"), ("gguf", "q4_k_m"), ("16", "bf16")):
        if sign in word:
            return name
    if re.match(r"(iq|q|ud-q)\d", word):
        return "q4_k_m"
    bits = re.search(r"(?:int|w|bit)?(\d)", word)
    return {"8": "int8", "3": "exl2-3.0", "2": "exl2-2.0", "4": "gptq-int4"}.get(bits[1] if bits else "", "bf16")


def _card(row: dict[str, str]) -> list[str]:
    word = row.get("gpu", "")
    try:
        row["gpu"] = find_gpu(word).key
    except UserError:
        bare = re.sub(r"[\s_-]*\d+\s*g(i?b)?\b", "", word, flags=re.IGNORECASE)
        if bare == word:
            raise
        row["gpu"] = find_gpu(bare).key
        return [f'GPU "{word}" taken as {row["gpu"]}']
    return []


def _model(row: dict[str, str], case: Case) -> list[str]:
    """Bring a model to one whose shape is known: what quantizers and fine-tuners add to a name changes no shape."""
    name = row.get("model", "")
    bare = name
    while True:
        for candidate in (bare, bare.replace("--", "/").rpartition("/")[2]):
            with contextlib.suppress(UserError):
                architecture_named(candidate, case.folder)
                row["model"] = candidate
                return [] if candidate == name else [f'model "{name}" has the shape of {candidate}']
        shorter = ADDED.sub("", bare)
        if shorter == bare:
            # the name as it was written is the one to complain about
            return []
        bare = shorter


def _layout(row: dict[str, str]) -> list[str]:
    """Fill the layout: GPUs that no degree explains divide tensors or, where an engine does so, layers."""
    notes = []
    if not row["n_gpus"]:
        degrees = [int(row[name] or 1) for name in ("tp", "pp", "dp")]
        row["n_gpus"] = str(degrees[0] * degrees[1] * degrees[2])
    if int(row["n_gpus"]) > 1 and not (row["tp"] or row["pp"] or row["dp"]):
        way = "tp" if engine(row["engine"], row["engine_version"]).divides == "tensor" else "pp"
        row[way] = row["n_gpus"]
        notes.append(f"layout not stated: {way} {row['n_gpus']}")
    if row["concurrency"] in ("", "0") and row["task"] in ("online", "max_load", "static_batch"):
        row["concurrency"] = "1"
        notes.append("requests in flight not stated: one")
    return notes
