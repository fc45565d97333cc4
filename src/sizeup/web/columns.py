"""Columns without NumPy: numbers side by side in an ``array`` of doubles, with the operators of NumPy's arrays.

Whole numbers are exact up to 2**53. :func:`accelerate` hands the loops over elements to the browser's compiler;
without it they are Python's.
"""

from __future__ import annotations

import math
import operator
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

inf, nan = math.inf, math.nan
Values: TypeAlias = "array[float]"
Loop: TypeAlias = Callable[..., None]

_ZERO = array("d", [0.0])
_FEW = 24
"""Below this length a call into the browser costs more than a loop in Python."""

_LOOP: list[Loop] = []


def accelerate(loop: Loop) -> None:
    """Run loops over many elements by ``loop(code, out, length, *(address or None, number))``, see ``columns.js``."""
    _LOOP[:] = [loop]


def _divide(a: float, b: float) -> float:
    if b:
        return a / b
    return nan if a == 0 or a != a else math.copysign(inf, a)


def _floor_divide(a: float, b: float) -> float:
    return a // b if b else 0.0


def _modulo(a: float, b: float) -> float:
    return a % b if b else 0.0


def _power(a: float, b: float) -> float:
    try:
        return float(a**b)
    except (OverflowError, ZeroDivisionError):
        return inf


def _logarithm(a: float) -> float:
    return math.log(a) if a > 0 else (-inf if a == 0 else nan)


def _exponential(a: float) -> float:
    try:
        return math.exp(a)
    except OverflowError:
        return inf


def _root(a: float) -> float:
    return math.sqrt(a) if a >= 0 else nan


def _whole(a: float) -> float:
    return float(math.trunc(a)) if math.isfinite(a) else a


_ONE: dict[str, Callable[[float], float]] = {
    "negative": operator.neg, "invert": operator.not_, "absolute": abs, "log": _logarithm, "exp": _exponential,
    "sqrt": _root, "isfinite": math.isfinite, "floor": math.floor, "ceil": math.ceil, "trunc": _whole,
    "round": round,
}  # fmt: skip
_TWO: dict[str, Callable[[float, float], float]] = {
    "add": operator.add, "subtract": operator.sub, "multiply": operator.mul, "divide": _divide,
    "floor_divide": _floor_divide, "modulo": _modulo, "power": _power, "minimum": min, "maximum": max,
    "less": operator.lt, "less_equal": operator.le, "greater": operator.gt, "greater_equal": operator.ge,
    "equal": operator.eq, "not_equal": operator.ne, "and": lambda a, b: bool(a) and bool(b),
    "or": lambda a, b: bool(a) or bool(b),
}  # fmt: skip
_TRUTHS = frozenset(
    ["invert", "isfinite", "less", "less_equal", "greater", "greater_equal", "equal", "not_equal", "and", "or"]
)
_FLOATS = frozenset(["divide", "log", "exp", "sqrt"])


class Column:
    """Numbers side by side; ``kind`` is "f", "i" or "b" (numbers, whole numbers, truths)."""

    __slots__ = ("kind", "values")
    __array_priority__ = 1.0
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, values: Values, kind: str) -> None:
        self.values, self.kind = values, kind

    @property
    def shape(self) -> tuple[int, ...]:
        """The length, as NumPy has it."""
        return (len(self.values),)

    @property
    def dtype(self) -> type:
        """What an element is."""
        return {"f": float, "i": int, "b": bool}[self.kind]

    @property
    def size(self) -> int:
        """The number of elements."""
        return len(self.values)

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Any]:
        return map(self.dtype, self.values)

    def __bool__(self) -> bool:
        if len(self.values) != 1:
            raise ValueError("the truth of a column is that of no single element")
        return bool(self.values[0])

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def item(self) -> Any:
        """Return the only element."""
        (value,) = self
        return value

    def __repr__(self) -> str:
        return f"Column({list(self)})"

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Column(self.values[index], self.kind)
        if isinstance(index, (int, float)):
            return self.dtype(self.values[int(index)])
        chosen = _indices(index)
        out = _ZERO * len(chosen)
        _gather(out, self.values, chosen)
        return Column(out, self.kind)

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(index, int):
            self.values[index] = value
            return
        places = array("d", range(*index.indices(len(self.values)))) if isinstance(index, slice) else _indices(index)
        _scatter(self.values, places, value)

    def astype(self, kind: Any) -> Any:
        """Return the elements as int, float or bool."""
        if kind in (int, "int", "int64"):
            return Column(one("trunc", self).values, "i")
        return two("not_equal", self, 0) if kind is bool else Column(self.values[:], "f")

    def sum(self) -> Any:
        """Return the sum."""
        return sum(self.values) if self.kind == "f" else int(sum(self.values))

    def max(self) -> Any:
        """Return the largest element."""
        return self.dtype(max(self.values))

    def min(self) -> Any:
        """Return the smallest element."""
        return self.dtype(min(self.values))

    def any(self) -> bool:
        """Return whether any element is true."""
        return any(self.values)

    def all(self) -> bool:
        """Return whether every element is true."""
        return all(self.values)

    def tolist(self) -> list[Any]:
        """Return the elements as a list."""
        return list(self)

    def ravel(self) -> Column:
        """Return the column itself, which is flat."""
        return self

    def copy(self) -> Column:
        """Return a column of its own."""
        return Column(self.values[:], self.kind)

    def reshape(self, *shape: int) -> Any:
        """Return the column, or an empty table."""
        return self if len(shape) == 1 else Table([], shape[-1])

    def __neg__(self) -> Any:
        return one("negative", self)

    def __invert__(self) -> Any:
        return one("invert", self)

    def __abs__(self) -> Any:
        return one("absolute", self)


def _operator(code: str, *, turned: bool = False) -> Callable[[Column, Any], Any]:
    def apply(self: Column, other: Any) -> Any:
        if not isinstance(other, (Column, int, float)):
            return NotImplemented
        return two(code, other, self) if turned else two(code, self, other)

    return apply


_NAMES = {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "floordiv": "floor_divide",
    "mod": "modulo", "pow": "power", "and": "and", "or": "or",
}  # fmt: skip
for _name, _code in _NAMES.items():
    setattr(Column, f"__{_name}__", _operator(_code))
    setattr(Column, f"__r{_name}__", _operator(_code, turned=True))
for _name, _code in (("lt", "less"), ("le", "less_equal"), ("gt", "greater"), ("ge", "greater_equal"),
                     ("eq", "equal"), ("ne", "not_equal")):  # fmt: skip
    setattr(Column, f"__{_name}__", _operator(_code))


class Table:
    """Rows of equal length, from which columns are taken: ``table[:, i]``."""

    def __init__(self, rows: Sequence[Sequence[float]], width: int) -> None:
        self.rows, self.shape = rows, (len(rows), width)

    def reshape(self, *_: int) -> Table:
        """Return the table, which has its shape already."""
        return self

    def repeat(self, times: Any, axis: int = 0) -> Table:
        """Return the table with every row several times."""
        many = [times] * len(self.rows) if isinstance(times, int) else list(times)
        rows = [row for row, count in zip(self.rows, many, strict=True) for _ in range(count)]
        return Table(rows, self.shape[1])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: tuple[slice, int]) -> Any:
        return as_column([row[index[1]] for row in self.rows[index[0]]])


def _indices(index: Any) -> Values:
    column = index if isinstance(index, Column) else as_column(index)
    return array("d", [at for at, value in enumerate(column.values) if value]) if column.kind == "b" else column.values


def _gather(out: Values, values: Values, chosen: Values) -> None:
    if _LOOP and len(out) >= _FEW:
        _LOOP[0]("gather", out.buffer_info()[0], len(out), values.buffer_info()[0], 0.0, chosen.buffer_info()[0], 0.0)
    else:
        out[:] = array("d", [values[int(place)] for place in chosen])


def _scatter(out: Values, places: Values, value: Any) -> None:
    if _LOOP and len(places) >= _FEW:
        given = _operand(value)
        _LOOP[0]("scatter", out.buffer_info()[0], len(places), *given, places.buffer_info()[0], 0.0)
        return
    for place, number in zip(places, _stream(value, len(places)), strict=True):
        out[int(place)] = number


def _operand(value: Any) -> tuple[int | None, float]:
    if isinstance(value, Column) and len(value.values) != 1:
        return value.values.buffer_info()[0], 0.0
    return None, float(value)


def _stream(value: Any, length: int) -> Iterable[float]:
    if isinstance(value, Column) and len(value.values) != 1:
        return value.values
    return [float(value)] * length


def _length(*values: Any) -> int:
    found = {len(value) for value in values if isinstance(value, Column)}
    wide = found - {1}
    if len(wide) > 1:
        raise ValueError(f"columns of {sorted(wide)} elements do not go together")
    return wide.pop() if wide else 1


def run(code: str, function: Callable[..., float], *values: Any) -> Values:
    length = _length(*values)
    if not _LOOP or length < _FEW:
        return array("d", map(function, *(_stream(value, length) for value in values)))
    out = _ZERO * length
    _LOOP[0](code, out.buffer_info()[0], length, *(part for value in values for part in _operand(value)))
    return out


def kind_of(code: str, *values: Any) -> str:
    if code in _TRUTHS:
        return "b"
    if code in _FLOATS:
        return "f"
    kinds = [value.kind if isinstance(value, Column) else "f" if isinstance(value, float) else "i" for value in values]
    return "f" if "f" in kinds else "i"


def one(code: str, value: Any) -> Any:
    if not isinstance(value, Column):
        return _ONE[code](value)
    return Column(run(code, _ONE[code], value), kind_of(code, value))


def two(code: str, first: Any, second: Any) -> Any:
    if not isinstance(first, Column) and not isinstance(second, Column):
        return _TWO[code](first, second)
    return Column(run(code, _TWO[code], first, second), kind_of(code, first, second))


def as_column(values: Any, dtype: Any = None) -> Any:
    """Return a column of ``values``, or a table of rows."""
    if isinstance(values, Column):
        return values.copy() if dtype is None else values.astype(dtype)
    if isinstance(values, (int, float)):
        values = [values]
    listed = list(values)
    if listed and isinstance(listed[0], (tuple, list)):
        return Table(listed, len(listed[0]))
    kind = "f"
    if dtype in (int, bool) or (dtype is None and listed and all(isinstance(v, int) for v in listed)):
        kind = "b" if dtype is bool or (listed and all(isinstance(v, bool) for v in listed)) else "i"
    return Column(array("d", listed), kind)
