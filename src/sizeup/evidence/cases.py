"""Measured cases: rows of a table of published measurements, with what each of them measured."""

from __future__ import annotations

import csv
import functools
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sizeup.catalog.lookup import find_model
from sizeup.errors import UserError
from sizeup.llm.architecture import Architecture
from sizeup.llm.families import build

Table = Literal["training", "serving"]

SHIPPED = Path(os.path.dirname(__file__)) / "data"
"""The measured cases that come with the package."""

TRAINING_QUANTITIES = ("mem_gib", "step_seconds", "tokens_per_second_per_gpu")
SERVING_QUANTITIES = (
    "kv_tokens", "mem_gib", "ttft_ms", "tpot_ms", "output_tokens_per_second", "prefill_tokens_per_second",
)  # fmt: skip
REQUIRED: Mapping[Table, frozenset[str]] = {
    "training": frozenset({"case_id", "group", "framework", "model", "seq_len", "gpu", "n_gpus", "mem_gib"}),
    "serving": frozenset({"case_id", "group", "task", "engine", "model", "gpu", "n_gpus", "weight_format"}),
}


@dataclass(frozen=True, slots=True)
class Measured:
    """One measured number of a case; ``meter`` says which counter read it, where that matters."""

    quantity: str
    meter: str
    value: float


TRAINING_METERS = {
    "allocated": "allocated", "max_memory_allocated": "allocated", "reserved": "reserved",
    "max_memory_reserved": "reserved", "nvidia-smi": "nvidia-smi", "nvml": "nvidia-smi", "device": "nvidia-smi",
}  # fmt: skip
"""Who counted memory, in the words of a table; a word that is not here is taken as not said."""

SERVING_METERS = frozenset(
    {"weights", "kv_pool", "activation_peak", "non_torch", "total_used", "llama_total", "torch_peak"}
)
"""What of an engine's memory was read."""


def positive_number(text: str) -> float | None:
    """Return a measured number, or None where the cell holds none ("", "OOM", "n/a", 0).

    >>> positive_number("1,024.5"), positive_number("OOM")
    (1024.5, None)
    """
    try:
        value = float(text.replace(",", ""))
    except ValueError:
        return None
    return value if 0 < value < float("inf") else None


@dataclass(frozen=True, slots=True)
class Case:
    """One row of a table; ``folder`` holds the model configurations that its ``model`` column names."""

    table: Table
    row: Mapping[str, str]
    folder: Path

    @property
    def case_id(self) -> str:
        """The stable name of the row."""
        return self.row["case_id"]

    @property
    def group(self) -> str:
        """Who measured; rows of a group are not independent."""
        return self.row["group"]

    def measured(self) -> tuple[Measured, ...]:
        """Return every number that the row measured; out of memory is 1 or 0."""
        quantities = TRAINING_QUANTITIES if self.table == "training" else SERVING_QUANTITIES
        found = [
            Measured(name, self._meter() if name == "mem_gib" else "", value)
            for name in quantities
            if (value := positive_number(self.row.get(name, ""))) is not None
        ]
        ran_out = {"yes": 1.0, "no": 0.0, "oom": 1.0, "fits": 0.0}.get(
            self.row.get("oom", "") or self.row.get("outcome", "")
        )
        if ran_out is not None:
            found.append(Measured("oom", "", ran_out))
        return tuple(found)

    def _meter(self) -> str:
        word = self.row.get("mem_meter", "").strip().lower()
        if self.table == "training":
            return TRAINING_METERS.get(word, "")
        return word if word in SERVING_METERS else ""

    def architecture(self) -> Architecture:
        """Return the architecture of the case's model.

        Raises:
            UserError: no such configuration, or one that cannot be sized.
        """
        return architecture_named(self.row["model"], self.folder)


@functools.cache
def architecture_named(name: str, folder: Path) -> Architecture:
    """Return the architecture of ``folder/models/NAME.json``, else of the catalog's model of that name."""
    for place in (folder, SHIPPED):
        path = place / "models" / f"{name}.json"
        if path.is_file():
            values: dict[str, Any] = json.loads(path.read_text("utf-8"))
            return build(values, where=path.name)
    record = find_model(name.replace("--", "/"))
    return build(record.config(), where=record.name)


def table_of(columns: Iterable[str], *, where: str) -> Table:
    """Return which table these columns are.

    Raises:
        UserError: neither; the message names the missing columns of the closer one.
    """
    have = set(columns)
    missing = {table: sorted(required - have) for table, required in REQUIRED.items()}
    for table, lacking in missing.items():
        if not lacking:
            return table
    closest = min(missing, key=lambda table: len(missing[table]))
    raise UserError(
        f"{where} is no table of measured cases: it lacks {', '.join(missing[closest])}",
        hint="columns are those of the training or the serving table (docs/measured-cases.md)",
    )


def read_cases(path: Path) -> list[Case]:
    """Return the cases of a CSV file.

    Raises:
        UserError: the file cannot be read, or has other columns.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            table = table_of(reader.fieldnames or (), where=str(path))
            return [Case(table, {k: v or "" for k, v in row.items() if k}, path.parent) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read: {error}") from None


def shipped_cases(table: Table) -> list[Case]:
    """Return the measured cases that come with the package."""
    return read_cases(SHIPPED / f"{table}.csv")
