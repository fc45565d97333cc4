"""Learned coefficients of training memory, with and without each group of measured cases."""

from __future__ import annotations

import functools
import json
from dataclasses import fields
from typing import Any

from sizeup.files import read_text
from sizeup.physics.meters import Coefficients


@functools.cache
def _data() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(read_text("fitted/training_memory.json"))
    return found


@functools.cache
def shipped_coefficients(*, without: str | None = None) -> Coefficients:
    """Return the coefficients learned from every group, or from every group but ``without``."""
    data = _data()
    values = data["without"].get(without, data["all"]) if without else data["all"]
    known = {field.name for field in fields(Coefficients)}
    return Coefficients(**{key: value for key, value in values.items() if key in known})
