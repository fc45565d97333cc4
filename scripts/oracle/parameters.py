"""``parameters.jsonl``: the parameter count of every case of the causal types."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM

from oracle.build import buffer_bytes, count, tensor_table
from oracle.cases import parameter_cases, print_reasons
from oracle.common import RANDOM_CASES, Json
from oracle.records import write_json, write_lines


def parameter_record(model_type: str, case: str, config: Json, model: Any) -> Json:
    """One line of parameters.jsonl."""
    record: Json = {"model_type": model_type, "case": case, "config": config, "parameters": count(model)}
    if case in ("default", "random-1", "random-4"):
        record["tensors"] = tensor_table(model)
    buffers = buffer_bytes(model)
    if buffers:
        record["buffers_bytes"] = buffers
    return record


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
