"""Remembering what was computed of a large immutable object without hashing it again each time."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")

OBJECTS = 256
"""How many objects are remembered; the one not asked for longest goes first."""


def per_object(function: Callable[Concatenate[T, P], R]) -> Callable[Concatenate[T, P], R]:
    """Return ``function`` remembering its answers by the identity of its first argument and the value of the others.

    The object is kept alive with its answers, so that its identity cannot pass to another one.

    >>> calls = []
    >>> size = per_object(lambda whole: calls.append(1) or len(whole))
    >>> rows = [1, 2]
    >>> size(rows), size(rows), len(calls)
    (2, 2, 1)
    """
    known: OrderedDict[int, tuple[T, dict[Any, R]]] = OrderedDict()

    @functools.wraps(function)
    def remembered(first: T, *args: P.args, **kwargs: P.kwargs) -> R:
        held = known.get(id(first))
        if held is None:
            held = known[id(first)] = (first, {})
            while len(known) > OBJECTS:
                known.popitem(last=False)
        answers, key = held[1], (args, tuple(kwargs.items()))
        if key not in answers:
            answers[key] = function(first, *args, **kwargs)
        return answers[key]

    return remembered  # type: ignore[return-value]
