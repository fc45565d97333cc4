"""Values between the points of a grid: for a function that is smooth but too slow to ask a hundred thousand times."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections.abc import Callable, Sequence

from sizeup.physics.numeric import Column


def spaced(low: float, high: float, count: int) -> list[float]:
    """Return ``count`` numbers from ``low`` to ``high`` in equal ratios; one where both are the same.

    >>> spaced(1, 8, 4)
    [1.0, 2.0, 4.0, 8.0]
    """
    if high <= low:
        return [float(low)]
    ratio = math.log(high / low) / (count - 1)
    return [round(low * math.exp(ratio * place), 9) for place in range(count)]


class Grid:
    """A function known at the points of a grid; between them it is taken as linear along each axis.

    >>> double = Grid([[0.0, 10.0], [0.0, 1.0]], lambda x, y: x + 5 * y)
    >>> double(4, 0.5)
    6.5
    """

    def __init__(self, axes: Sequence[Sequence[float]], function: Callable[..., Column]) -> None:
        """Ask ``function`` for every point at once: it takes one column for each axis."""
        import numpy as np

        self._axes = [list(axis) for axis in axes]
        columns = [column.ravel() for column in np.meshgrid(*self._axes, indexing="ij")]
        self._values: list[float] = [float(value) for value in function(*columns) + 0 * columns[0]]
        self._strides = [math.prod(len(axis) for axis in self._axes[place + 1 :]) for place in range(len(self._axes))]

    def __call__(self, *point: float) -> float:
        """Return the value at a point; outside the grid, that of the nearest point on its edge."""
        start, parts = 0, []
        for axis, stride, value in zip(self._axes, self._strides, point, strict=True):
            place = min(max(bisect_right(axis, value) - 1, 0), len(axis) - 1)
            start += place * stride
            if place + 1 < len(axis) and value > axis[place]:
                share = (value - axis[place]) / (axis[place + 1] - axis[place])
                parts.append(((0, 1 - share), (stride, share)))
        total = 0.0
        for corner in itertools.product(*parts):
            weight, at = 1.0, start
            for offset, share in corner:
                weight *= share
                at += offset
            total += weight * self._values[at]
        return total
