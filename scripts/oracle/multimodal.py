"""``multimodal.jsonl``: the parameter counts of multimodal types, language model and towers apart."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers import AutoModelForMultimodalLM

from oracle.build import count
from oracle.cases import parameter_cases, print_reasons
from oracle.common import Json, last_line
from oracle.parameters import parameter_record
from oracle.records import write_json, write_lines

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
