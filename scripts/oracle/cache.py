"""``cache.jsonl``: the bytes that a cache holds after a forward pass, at several lengths."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from transformers import AutoModelForCausalLM, DynamicCache, PreTrainedConfig

from oracle.build import CPU_LIMIT, build, count, load_config, run_forward, saved_form
from oracle.common import CaseError, Json, last_line
from oracle.records import write_json, write_lines
from oracle.roles import ROLES

CACHE_CASES = ("default", "random-1", "random-2", "random-4", "random-5")

SEQUENTIAL = {"falcon_mamba", "jamba", "mamba", "recurrent_gemma", "rwkv", "xlstm", "zamba"}
"""Types that step through the tokens one by one: measured at a shorter length."""

HOLDERS = {"recurrent_gemma"}
"""Types whose modules keep their states to themselves."""

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
