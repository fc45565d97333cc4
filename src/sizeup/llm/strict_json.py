"""Reading JSON that a stranger wrote: bounded size and depth, no duplicate keys, no NaN, an object on top."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NoReturn

from sizeup.errors import UserError

CONFIG_LIMIT_BYTES = 16 * 2**20
MAX_DEPTH = 64
Pairs = list[tuple[str, Any]]


def unique_keys(pairs: Pairs) -> dict[str, Any]:
    """Return the pairs as a mapping; ValueError when a key occurs twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f'the key "{key[:60]}" occurs twice')
            seen.add(key)
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number that JSON has")


def _too_deep(value: Any) -> bool:
    """Return whether objects and lists nest deeper than any configuration does."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def parse_object(
    raw: bytes,
    *,
    where: str,
    limit_bytes: int = CONFIG_LIMIT_BYTES,
    pairs: Callable[[Pairs], Any] = unique_keys,
    check_depth: bool = True,
) -> dict[str, Any]:
    """Return the object that ``raw`` holds; ``pairs`` turns each object's pairs into a value.

    Raises:
        UserError: too large, not UTF-8, not JSON, nested too deeply, NaN or infinity, a repeated key, or not an object.
    """
    if len(raw) > limit_bytes:
        raise UserError(f"{where} has {len(raw):,} bytes, more than the {limit_bytes:,} that are read")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{where} is not UTF-8 text (byte {error.start})") from None
    try:
        value = json.loads(text, object_pairs_hook=pairs, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise UserError(f"{where} is not JSON: {error.msg} (line {error.lineno}, column {error.colno})") from None
    except RecursionError:
        raise UserError(f"{where} is nested too deeply") from None
    except ValueError as error:
        if "digits" in str(error):
            raise UserError(f"{where} holds a number of thousands of digits") from None
        raise UserError(f"{where}: {str(error)[:120]}") from None
    if not isinstance(value, dict):
        raise UserError(f"{where} holds {_kind(value)}, not an object")
    if check_depth and _too_deep(value):
        raise UserError(f"{where} is nested deeper than {MAX_DEPTH} levels")
    return value


def _kind(value: object) -> str:
    names = {list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
