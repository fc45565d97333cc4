"""Scenarios: the values of a command's flags by name, checked once; read from and written to TOML files.

A command says which keys it knows and of what kind each is. The command line, a scenario file and a call from Python or
from the page all pass through :func:`checked`, so a wrong value ends in the same words everywhere.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from sizeup.errors import UserError, nearest_names
from sizeup.units import parse_count, parse_tokens

Kind: TypeAlias = Literal["text", "tokens", "amount", "count", "number", "share", "factor", "flag"] | tuple[str, ...]
"""text; tokens: 8192 or "8k"; amount: 15000000 or "2T"; count: whole, 1 or more; number: above 0; share: 0 to 1;
factor: 1 or more; flag; a tuple of words: one of them."""


class Flag(NamedTuple):
    """What a flag takes, its line in the help, and how the help calls its value."""

    kind: Kind
    help: str
    metavar: str = ""


def checked(values: Mapping[str, Any], kinds: Mapping[str, Kind], *, where: str = "") -> dict[str, Any]:
    """Return the values that are given (not None), each as its kind has it.

    >>> checked({"input": "2k", "tp": 2, "ttft": None}, {"input": "tokens", "tp": "count", "ttft": "number"})
    {'input': 2048, 'tp': 2}

    Raises:
        UserError: a key that is no flag, or a value of the wrong kind; ``where`` stands in front of the message.
    """
    start = f"{where}: " if where else ""
    found = {}
    for key, value in values.items():
        if key not in kinds:
            raise UserError(f'{start}no flag is called "{key}"', nearest=nearest_names(key, kinds))
        if value is None:
            continue
        try:
            found[key] = _as_kind(value, kinds[key])
        except (TypeError, ValueError, OverflowError, UserError) as error:
            raise UserError(f"{start}{key} = {value!r}: {error}") from None
    return found


def _as_kind(value: Any, kind: Kind) -> Any:
    if kind == "flag":
        if not isinstance(value, bool):
            raise ValueError("true or false is expected")
        return value
    if isinstance(kind, tuple):
        return _word(value, kind)
    if kind == "text":
        if not isinstance(value, (str, Path)) or not str(value):
            raise ValueError("a text is expected")
        return str(value)
    if isinstance(value, bool) or value == "":
        raise ValueError("a number is expected")
    if kind in ("tokens", "amount", "count"):
        return _whole(value, kind)
    number = float(value)
    low, high = {"share": (0.0, 1.0), "factor": (1.0, math.inf)}.get(kind, (0.0, math.inf))
    if not math.isfinite(number) or not low <= number <= high or (kind == "number" and number == 0):
        raise ValueError({"share": "a share is from 0 to 1", "factor": "1 or more is expected"}.get(
            kind, "a number above 0 is expected"))  # fmt: skip
    return number


def _word(value: Any, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise UserError(f"it is one of {', '.join(choices)}")
    return str(value)


def _whole(value: Any, kind: Kind) -> int:
    readers: Mapping[Kind, Any] = {"tokens": parse_tokens, "amount": parse_count}
    number = readers.get(kind, int)(value) if isinstance(value, str) else int(value)
    if number < 1 or (isinstance(value, float) and value != number):
        raise ValueError("a whole number of at least 1 is expected")
    return number


def read_scenario(path: Path, kinds: Mapping[str, Kind]) -> dict[str, Any]:
    """Return the flags of a scenario file.

    Raises:
        UserError: the file cannot be read, is no TOML, or has a key or a value that is wrong.
    """
    import tomllib

    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    return checked(values, kinds, where=str(path))


def scenario_text(values: Mapping[str, Any], kinds: Mapping[str, Kind]) -> str:
    """Return the values as TOML, in the order of ``kinds``.

    >>> print(scenario_text({"tp": 2, "model": "qwen3-8b"}, {"model": "text", "tp": "count"}), end="")
    model = "qwen3-8b"
    tp = 2
    """
    # a JSON text, number or boolean is a TOML one
    given = {key: json.dumps(values[key], ensure_ascii=False) for key in kinds if values.get(key) is not None}
    return "".join(f"{key} = {text}\n" for key, text in given.items())


def write_scenario(path: Path, values: Mapping[str, Any], kinds: Mapping[str, Kind]) -> None:
    """Write the values to a scenario file.

    Raises:
        UserError: the file cannot be written.
    """
    try:
        path.write_text(scenario_text(values, kinds), encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error}") from None
