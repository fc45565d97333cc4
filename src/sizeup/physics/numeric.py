"""Numbers and columns alike: the few operations that formulas need beyond + - x /, for one plan or a million.

A formula written with these works on ``int``/``float`` and on NumPy arrays. NumPy is imported only when a column
arrives, so the core runs without it.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

Column: TypeAlias = Any
"""A number, or a NumPy array of them (one element per plan)."""


def is_column(*values: Column) -> bool:
    """Return whether any of ``values`` is a NumPy array."""
    # plain numbers first: this runs for every operation of every formula
    for value in values:
        if not isinstance(value, (int, float)) and (hasattr(value, "__array_priority__") or hasattr(value, "dtype")):
            return True
    return False


def maximum(first: Column, *others: Column) -> Column:
    """Return the largest, element by element for columns.

    >>> maximum(1, 3, 2)
    3
    """
    if not is_column(first, *others):
        return max(first, *others) if others else first
    import numpy as np

    result = first
    for other in others:
        result = np.maximum(result, other)
    return result


def minimum(first: Column, *others: Column) -> Column:
    """Return the smallest, element by element for columns.

    >>> minimum(1, 3, 2)
    1
    """
    if not is_column(first, *others):
        return min(first, *others) if others else first
    import numpy as np

    result = first
    for other in others:
        result = np.minimum(result, other)
    return result


def where(condition: Column, yes: Column, no: Column) -> Column:
    """Return ``yes`` where ``condition`` holds and ``no`` elsewhere.

    >>> where(2 > 1, "a", "b")
    'a'
    """
    if not is_column(condition, yes, no):
        return yes if condition else no
    import numpy as np

    return np.where(condition, yes, no)


def ceil_div(whole: Column, by: Column) -> Column:
    """Return ``whole / by`` rounded up; exact for integers.

    >>> ceil_div(7, 2)
    4
    """
    return -(-whole // by)


def power(base: Column, exponent: float) -> Column:
    """Return ``base`` to ``exponent``, element by element.

    >>> power(4, 0.5)
    2.0
    """
    return base**exponent


def logarithm(value: Column) -> Column:
    """Return the natural logarithm.

    >>> logarithm(1)
    0.0
    """
    if not is_column(value):
        return math.log(value)
    import numpy as np

    return np.log(value)


def exponential(value: Column) -> Column:
    """Return e to ``value``.

    >>> exponential(0)
    1.0
    """
    if not is_column(value):
        return math.exp(value)
    import numpy as np

    return np.exp(value)


def take(before: tuple[float, ...], index: Column) -> Column:
    """Return ``before[index]``, for a number or a column of indices."""
    if not is_column(index):
        return before[int(index)]
    import numpy as np

    return np.asarray(before)[index.astype(int)]


def distinct_rows(*columns: Column) -> tuple[list[tuple[int, ...]], Column]:
    """Return the different rows of columns of small whole numbers, and which one each row is."""
    import numpy as np

    rows = np.broadcast_arrays(*columns)
    key = np.zeros(rows[0].shape, dtype=np.int64)
    for column in rows:
        # numbers by their place among those that occur, so that keys stay small
        values, places = _places(column.astype(np.int64))
        key = key * len(values) + places
    _, which = _places(key)
    first = np.zeros(int(which.max()) + 1, dtype=np.int64)
    first[which[::-1]] = np.arange(len(which))[::-1]
    return list(zip(*(column[first].astype(int).tolist() for column in rows), strict=True)), which


def _places(column: Column) -> tuple[Column, Column]:
    import numpy as np

    occurs = np.zeros(int(column.max()) + 1, dtype=bool)
    occurs[column] = True
    return np.flatnonzero(occurs), (np.cumsum(occurs) - 1)[column]
