"""How one matrix is laid out in memory: packed numbers, scales per tile, zero points, constants - in whole bytes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


def ceil_div(whole: int, by: int) -> int:
    """Return ``whole / by`` rounded up.

    >>> ceil_div(7, 2)
    4
    """
    return -(-whole // by)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The storage of a matrix of ``out`` rows and ``in`` columns.

    Attributes:
        bits: bits of one number.
        word_bits, packed_along: numbers are packed into words of this size along one axis, or over the whole tensor.
        tile: rows and columns that share a scale; 0 is the whole axis, () means no scales by tile.
        flat_block: numbers that share a scale, counted over the flattened tensor; 0 for none.
        scale_bits, zero_bits: bits of a scale and of its zero point; zero points are packed into ``zero_word_bits``
            along the output axis where that is set.
        second_block, second_bits: scales that share a scale of their own (double quantization), and its bits.
        index_bits: bits per input feature.
        tensor_bytes: constants per tensor.
    """

    bits: int
    word_bits: int = 8
    packed_along: Literal["in", "out", "flat"] = "in"
    tile: tuple[int, ...] = ()
    flat_block: int = 0
    scale_bits: int = 0
    zero_bits: int = 0
    zero_word_bits: int = 0
    second_block: int = 0
    second_bits: int = 0
    index_bits: int = 0
    tensor_bytes: int = 0

    @property
    def plain_name(self) -> str:
        """Name for tensors stored without scales."""
        return f"{self.bits}-bit"

    @property
    def nominal_bits(self) -> float:
        """Bits of one number of a large matrix, scales and zero points included.

        >>> Layout(bits=4, flat_block=64, scale_bits=8, second_block=256, second_bits=32).nominal_bits
        4.126953125
        """
        bits = float(self.bits)
        share = self.flat_block or (math.prod(self.tile) if self.tile else 0)
        if share:
            bits += (self.scale_bits + self.zero_bits) / share
            if self.second_block:
                bits += self.second_bits / (share * self.second_block)
        return bits

    def matrix_bytes(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Return (bytes of the numbers, bytes of everything beside them) of one tensor of ``shape``.

        >>> Layout(bits=8, tile=(128, 128), scale_bits=32).matrix_bytes((576, 7168))
        (4128768, 1120)
        """
        columns = shape[-1] if shape else 1
        rows = math.prod(shape[:-1])
        extra = self._scale_bytes(rows, columns) + ceil_div(columns * self.index_bits, 8) + self.tensor_bytes
        return self._number_bytes(rows, columns), extra

    def _number_bytes(self, rows: int, columns: int) -> int:
        word = self.word_bits // 8
        if self.packed_along == "flat":
            return ceil_div(rows * columns * self.bits, self.word_bits) * word
        if self.packed_along == "in":
            return rows * ceil_div(columns * self.bits, self.word_bits) * word
        return columns * ceil_div(rows * self.bits, self.word_bits) * word

    def _scale_bytes(self, rows: int, columns: int) -> int:
        if self.flat_block:
            scales = ceil_div(rows * columns, self.flat_block)
            seconds = ceil_div(scales, self.second_block) * self.second_bits // 8 if self.second_block else 0
            return ceil_div(scales * (self.scale_bits + self.zero_bits), 8) + seconds
        if not self.tile:
            return 0
        down = ceil_div(rows, self.tile[0] or rows or 1)
        across = ceil_div(columns, self.tile[1] or columns or 1)
        scales = ceil_div(down * across * self.scale_bits, 8)
        if self.zero_word_bits:
            return scales + across * ceil_div(down * self.zero_bits, self.zero_word_bits) * self.zero_word_bits // 8
        return scales + ceil_div(down * across * self.zero_bits, 8)


HALF = Layout(bits=16)
FULL = Layout(bits=32)
