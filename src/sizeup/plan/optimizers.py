"""Optimizers as data: the bytes that each keeps for a trained parameter. Records are in ``optimizers.toml``."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field

from sizeup.errors import UserError, nearest_names
from sizeup.files import read_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimizer:
    """One optimizer.

    Attributes:
        state_bytes: bytes per trained parameter, by dtype of the weights that it updates (fp32 or bf16).
        matrix_state_bytes: the same for matrices inside layers, where it differs; else empty.
        factored: keeps one fp32 row and column for each matrix, counted apart.
        paged: the states may move to host memory when the GPU is full.
    """

    name: str
    title: str
    sources: tuple[str, ...]
    state_bytes: Mapping[str, float] = field(hash=False)
    matrix_state_bytes: Mapping[str, float] = field(default_factory=dict, hash=False)
    factored: bool = False
    paged: bool = False

    def bytes_per_parameter(self, *, dtype: str, matrix: bool) -> float:
        """Return the state bytes of one parameter of a matrix in a layer, or of any other tensor."""
        return self.matrix_state_bytes.get(dtype, self.state_bytes[dtype]) if matrix else self.state_bytes[dtype]


@functools.cache
def optimizers() -> dict[str, Optimizer]:
    """Return every optimizer by name."""
    records = tomllib.loads(read_text("plan/optimizers.toml"))
    return {n: Optimizer(name=n, **{**record, "sources": tuple(record["sources"])}) for n, record in records.items()}


def optimizer(name: str) -> Optimizer:
    """Return the optimizer called ``name``.

    Raises:
        UserError: there is none; the message has the nearest names.
    """
    known = optimizers()
    found = known.get({"adam": "adamw"}.get(name, name))
    if found is None:
        raise UserError(f'no optimizer is called "{name}"', nearest=nearest_names(name, known))
    return found
