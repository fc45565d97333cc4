"""Reading the catalog's files: plain records, each part only when somebody asks for it.

``gpus/*.json`` hold a record per card by key, ``instances/*.jsonl`` an instance per line, ``models/index.jsonl`` a
model per line beside one config.json each. The architecture of a card is derived from its key. Units are SI: bytes,
bytes/s, FLOP/s; only ``label_gb`` is what the vendor prints on the box.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from sizeup import files

GPU_FILES = ("nvidia", "amd", "apple", "other")
INSTANCE_FILES = ("aws", "azure", "gcp", "lambda", "nebius", "runpod")


def read_text(name: str) -> str:
    """Return the text of a catalog file, such as ``gpus/nvidia.json``; works from a folder and from a zip."""
    return files.read_text(f"catalog/{name}")


def read_lines(name: str) -> list[dict[str, Any]]:
    """Return the records of a file that holds one JSON object per line."""
    lines = read_text(name).splitlines()
    records: list[dict[str, Any]] = json.loads(f"[{','.join(line for line in lines if line)}]")
    return records


@functools.cache
def gpu_records() -> Mapping[str, dict[str, Any]]:
    """Return every accelerator by key."""
    records: dict[str, dict[str, Any]] = {}
    for name in GPU_FILES:
        records.update(json.loads(read_text(f"gpus/{name}.json")))
    return records


@functools.cache
def instance_records() -> tuple[dict[str, Any], ...]:
    """Return every cloud instance."""
    return tuple(record for name in INSTANCE_FILES for record in read_lines(f"instances/{name}.jsonl"))


@functools.cache
def model_records() -> tuple[dict[str, Any], ...]:
    """Return the index of the models; their configurations stay unread."""
    return tuple(read_lines("models/index.jsonl"))


def model_config(file: str) -> dict[str, Any]:
    """Return one model's configuration, unchanged."""
    config: dict[str, Any] = json.loads(read_text(f"models/{file}"))
    return config
