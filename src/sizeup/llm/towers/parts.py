"""From blocks to the tensors of a tower: one of a kind, repeated for every layer, named and counted apart."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from sizeup.llm.architecture import Block, Part, Tensor


def stacked(blocks: Iterable[Block], *, layers: int = 1, prefix: str = "", part: Part = "tower") -> tuple[Tensor, ...]:
    """Return the tensors of ``layers`` equal layers, counted as a tower."""
    return relabelled((t for block in blocks for t in block.tensors), layers=layers, prefix=prefix, part=part)


def relabelled(
    tensors: Iterable[Tensor], *, layers: int = 1, prefix: str = "", part: Part = "tower"
) -> tuple[Tensor, ...]:
    """Return ``tensors`` under ``prefix``, ``layers`` times, in another line of the parameter table."""
    return tuple(
        replace(
            tensor,
            name=f"{prefix}{tensor.name}",
            part=part,
            copies=tensor.copies * layers,
            active=None if tensor.active is None else tensor.active * layers,
        )
        for tensor in tensors
        if layers
    )
