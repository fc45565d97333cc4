"""A stand-in for NumPy in the browser: the few of its functions that the searches use, on plain columns.

No registry has a build of NumPy for WebAssembly, and the page asks nobody else; so a search runs the same formulas
there through this module. What is missing raises AttributeError by name: add it here, with a case in
``tests/web/test_columns.py``.
"""

from __future__ import annotations

import math
import sys
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, pairwise, product
from types import ModuleType
from typing import Any

from sizeup.web.columns import Column, as_column, kind_of, one, run, two


def asarray(values: Any, dtype: Any = None) -> Any:
    """Return the column itself, or a column of ``values``."""
    return values if isinstance(values, Column) and dtype is None else as_column(values, dtype)


def full(shape: int | tuple[int], value: Any, dtype: Any = None) -> Column:
    """Return the value so many times."""
    length = shape if isinstance(shape, int) else shape[0]
    number = float(value)
    given = {int: "i", bool: "b"}.get(dtype, "f") if dtype else "f" if isinstance(value, float) else "i"
    return Column(array("d", [number]) * length, given)


def zeros(length: int | tuple[int], dtype: Any = float) -> Column:
    """Return zeros."""
    return full(length, 0, dtype)


def ones(length: int | tuple[int], dtype: Any = float) -> Column:
    """Return ones."""
    return full(length, 1, dtype)


def full_like(column: Column, value: Any, dtype: Any = None) -> Column:
    """Return a column as long, of the value."""
    return full(len(column), value, dtype or column.dtype)


def zeros_like(column: Column, dtype: Any = None) -> Column:
    """Return a column as long, of zeros."""
    return full_like(column, 0, dtype)


def ones_like(column: Column, dtype: Any = None) -> Column:
    """Return a column as long, of ones."""
    return full_like(column, 1, dtype)


def arange(*bounds: int) -> Column:
    """Return whole numbers in order."""
    return Column(array("d", range(*bounds)), "i")


def where(condition: Any, yes: Any, no: Any) -> Any:
    """Return ``yes`` where the condition holds and ``no`` elsewhere."""
    values = run("where", lambda c, a, b: a if c else b, condition, yes, no)
    return Column(values, kind_of("where", yes, no))


def flatnonzero(column: Any) -> Column:
    """Return the places of what is not zero."""
    return Column(array("d", [place for place, value in enumerate(asarray(column).values) if value]), "i")


def argsort(column: Any, kind: str = "stable") -> Column:
    """Return the places in the order of their elements, equals as they stand."""
    values = asarray(column).values
    return Column(array("d", sorted(range(len(values)), key=values.__getitem__)), "i")


def argmin(column: Any) -> int:
    """Return the place of the smallest element."""
    values = asarray(column).values
    return min(range(len(values)), key=values.__getitem__)


def argmax(column: Any) -> int:
    """Return the place of the largest element."""
    values = asarray(column).values
    return max(range(len(values)), key=values.__getitem__)


def sort_(column: Any) -> Column:
    """Return the elements in order."""
    found = asarray(column)
    return Column(array("d", sorted(found.values)), found.kind)


def concatenate(columns: Iterable[Any]) -> Column:
    """Return the columns one after the other."""
    parts = [asarray(column) for column in columns]
    out = array("d")
    for part in parts:
        out.extend(part.values)
    return Column(out, "f" if any(part.kind == "f" for part in parts) else parts[0].kind if parts else "f")


def repeat(column: Any, times: Any) -> Column:
    """Return every element several times."""
    found = asarray(column)
    many = [times] * len(found) if isinstance(times, int) else list(times)
    values = array("d", [v for v, n in zip(found.values, many, strict=True) for _ in range(int(n))])
    return Column(values, found.kind)


def diff(column: Column, prepend: Any = None) -> Column:
    """Return each element less the one before it."""
    values = list(column.values) if prepend is None else [float(prepend), *column.values]
    return Column(array("d", [b - a for a, b in pairwise(values)]), column.kind)


def split(column: Column, places: Any) -> list[Column]:
    """Return the pieces between the places."""
    ends = [0, *(int(place) for place in places), len(column)]
    return [column[start:end] for start, end in pairwise(ends)]


def cumsum(column: Any) -> Column:
    """Return the running sums."""
    found = asarray(column)
    return Column(array("d", accumulate(found.values)), "f" if found.kind == "f" else "i")


def unique(column: Any) -> Column:
    """Return the different elements in order."""
    found = asarray(column)
    return Column(array("d", sorted(set(found.values))), found.kind)


def interp(at: Any, places: Sequence[float], heights: Sequence[float]) -> Any:
    """Return what straight lines between the points say, the ends carried on."""
    xs, ys = [float(x) for x in places], [float(y) for y in heights]

    def line(x: float) -> float:
        right = bisect_right(xs, x)
        if right == 0 or right == len(xs):
            return ys[0] if right == 0 else ys[-1]
        left = right - 1
        return ys[left] + (ys[right] - ys[left]) / (xs[right] - xs[left]) * (x - xs[left])

    return Column(array("d", map(line, at.values)), "f") if isinstance(at, Column) else line(float(at))


def clip(column: Any, low: Any, high: Any) -> Any:
    """Return the elements kept within bounds."""
    return two("minimum", two("maximum", column, low), high)


def max_(column: Any) -> Any:
    """Return the largest element."""
    return asarray(column).max()


def min_(column: Any) -> Any:
    """Return the smallest element."""
    return asarray(column).min()


def sum_(column: Any) -> Any:
    """Return the sum."""
    return asarray(column).sum()


def any_(column: Any) -> bool:
    """Return whether any element is true."""
    return bool(asarray(column).any())


def all_(column: Any) -> bool:
    """Return whether every element is true."""
    return bool(asarray(column).all())


def broadcast_arrays(*columns: Any) -> list[Column]:
    """Return the columns and numbers as columns of one length."""
    found = [asarray(column) for column in columns]
    length = max(len(column) for column in found)
    return [column if len(column) == length else full(length, column.item(), column.dtype) for column in found]


def partition(column: Any, place: int) -> Column:
    """Return the elements with the one of ``place`` where sorting puts it: sorted, here."""
    return sort_(column)


def geomspace(start: float, stop: float, count: int) -> Any:
    """Return numbers evenly spread by their logarithms, ends included."""
    step = math.log(stop / start) / (count - 1)
    inner = [start * math.exp(step * place) for place in range(1, count - 1)]
    return as_column([float(start), *inner, float(stop)])


def meshgrid(*columns: Any, indexing: str = "ij") -> list[Column]:
    """Return the coordinates of every combination, flat, the last column fastest."""
    if indexing != "ij":
        raise NotImplementedError("rows come first here")
    points = list(product(*(asarray(column) for column in columns)))
    return [as_column([point[at] for point in points]) for at in range(len(columns))]


class _Largest:
    """``maximum`` and its running form."""

    def __call__(self, first: Any, second: Any) -> Any:
        return two("maximum", first, second)

    def accumulate(self, column: Any) -> Column:
        """Return the largest element so far."""
        found = asarray(column)
        return Column(array("d", accumulate(found.values, max)), found.kind)


def _unary(code: str) -> Callable[[Any], Any]:
    return lambda value: one(code, asarray(value) if isinstance(value, (list, tuple)) else value)


def _binary(code: str) -> Callable[[Any, Any], Any]:
    return lambda first, second: two(code, first, second)


NAMES: dict[str, Any] = {
    "inf": math.inf, "nan": math.nan, "pi": math.pi, "int64": int, "float64": float, "bool_": bool,
    "ndarray": Column, "array": as_column, "any": any_, "all": all_, "sort": sort_, "max": max_, "min": min_,
    "sum": sum_, "abs": _unary("absolute"),
    "maximum": _Largest(),
    **{code: _unary(code) for code in ("log", "exp", "sqrt", "isfinite", "floor", "ceil", "round")},
    **{code: _binary(code) for code in ("minimum", "power")},
    **{function.__name__: function for function in (
        asarray, full, zeros, ones, full_like, zeros_like, ones_like, arange, where, flatnonzero, argsort, argmin,
        argmax, concatenate, repeat, diff, split, cumsum, unique, interp, clip,
        partition, geomspace, meshgrid, broadcast_arrays,
    )},
}  # fmt: skip
"""What the module has, by NumPy's names."""


def stand_in() -> ModuleType:
    """Return the module that is imported as ``numpy``."""
    module = ModuleType("numpy")
    module.__dict__.update(NAMES)
    return module


def install() -> None:
    """Have ``import numpy`` find the stand-in from now on."""
    sys.modules["numpy"] = stand_in()
