"""Files of records, one JSON object a line."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from oracle.common import Json, last_line


def dumps(value: Any) -> str:
    """Compact JSON with sorted keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


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


def write_json(path: Path, value: Json) -> None:
    """Write a readable JSON file."""
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")
