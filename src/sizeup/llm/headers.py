"""Sizes from the headers of weight files: exact bytes and parameters without reading a single weight.

This file holds the safetensors side ([safetensors]: an 8-byte length, a JSON header, the tensors without holes) and
what every kind of weight file results in. Headers come from strangers: everything is checked before it is believed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from sizeup.errors import UserError
from sizeup.estimate import Estimate, leaf, total
from sizeup.llm.architecture import Architecture, Part
from sizeup.llm.parameters import PART_NAMES
from sizeup.llm.strict_json import Pairs, parse_object, unique_keys
from sizeup.llm.tensor_names import Entry, logical_parameters, part_named

HEADER_LIMIT_BYTES = 100_000_000
"""Longest header that the safetensors library accepts, and this reader too."""
INDEX_LIMIT_BYTES = 64 * 2**20
MAX_TENSORS = 2_000_000
MAX_ELEMENTS = 2**63 - 1

DTYPE_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64,
    "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip
"""Bits of one stored number of each safetensors dtype."""


@dataclass(frozen=True, kw_only=True)
class StoredWeights:
    """What the headers of weight files say.

    Attributes:
        kind: "safetensors", "safetensors index" or "gguf".
        parameters: exact where ``parameters_exact``; packed numbers are counted as the weights that they stand for,
            scales are not counted; 0 when the files do not tell (an index without its shards).
        tensor_bytes: bytes of all tensors.
        file_bytes: bytes of the files, headers included; 0 when they are not there.
        bytes_by_dtype, parameters_by_part, bytes_by_part: sums of the above.
        metadata: what the file says of itself (a GGUF's keys; arrays that are longer than a layer list only by length).
        architecture: layers and caches, as far as a GGUF's metadata tells them.
    """

    name: str
    kind: str
    parameters: int
    tensor_bytes: int
    file_bytes: int = 0
    tensors: int = 0
    parameters_exact: bool = True
    bytes_by_dtype: Mapping[str, int] = field(default_factory=dict, hash=False)
    parameters_by_part: Mapping[Part, int] = field(default_factory=dict, hash=False)
    bytes_by_part: Mapping[Part, int] = field(default_factory=dict, hash=False)
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)
    remarks: tuple[str, ...] = ()
    architecture: Architecture | None = field(default=None, hash=False)

    def estimate(self) -> Estimate:
        """Return the bytes of the tensors as a tree by part."""
        source = "gguf" if self.kind == "gguf" else "safetensors"
        parts = [
            leaf(PART_NAMES[part], size, "bytes", formula="read from the header", sources=(source,))
            for part, size in self.bytes_by_part.items()
        ]
        if not parts:
            parts = [leaf("tensors", self.tensor_bytes, "bytes", formula="total_size of the index", sources=(source,))]
        return total("weights", parts, unit="bytes", sources=(source,), assumptions=self.remarks)


def stored_weights(
    tensors: Mapping[str, Entry],
    *,
    name: str,
    kind: str,
    file_bytes: int = 0,
    remarks: tuple[str, ...] = (),
    **fields: Any,
) -> StoredWeights:
    """Return the sums over ``tensors``, with a remark for everything that the names did not settle."""
    dtypes: dict[str, int] = {}
    parameters: dict[Part, int] = {}
    sizes: dict[Part, int] = {}
    notes: dict[str, None] = {}
    for tensor, entry in tensors.items():
        part, count = part_named(tensor), logical_parameters(tensor, tensors)
        dtypes[entry.dtype] = dtypes.get(entry.dtype, 0) + entry.size
        parameters[part] = parameters.get(part, 0) + count.parameters
        sizes[part] = sizes.get(part, 0) + entry.size
        if count.remark:
            notes[count.remark] = None
    if any(sizes.get(part) for part in ("mtp",)):
        notes["multi-token-prediction layers of the files are counted"] = None
    ordered: tuple[Part, ...] = tuple(part for part in PART_NAMES if part in sizes)
    return StoredWeights(
        name=name, kind=kind, parameters=sum(parameters.values()), tensor_bytes=sum(dtypes.values()),
        file_bytes=file_bytes, tensors=len(tensors), parameters_exact=not any("taken" in note for note in notes),
        bytes_by_dtype=dict(sorted(dtypes.items())), parameters_by_part={part: parameters[part] for part in ordered},
        bytes_by_part={part: sizes[part] for part in ordered}, remarks=(*remarks, *notes), **fields,
    )  # fmt: skip


def _entry_or_object(pairs: Pairs) -> Any:
    """Keep a tensor's three fields in little memory; every other object becomes a mapping."""
    if len(pairs) == 3 and {key for key, _ in pairs} == {"dtype", "shape", "data_offsets"}:
        values = dict(pairs)
        return (values["dtype"], values["shape"], values["data_offsets"])
    return unique_keys(pairs)


def _whole_numbers(value: Any, *, where: str, most: int) -> tuple[int, ...]:
    if not isinstance(value, list) or len(value) > most:
        raise UserError(f"{where} must be a short list of whole numbers")
    for number in value:
        if type(number) is not int or not 0 <= number <= MAX_ELEMENTS:
            raise UserError(f"{where} holds {str(number)[:40]}, which is not a size")
    return tuple(value)


def _entry(name: str, value: Any, *, where: str) -> tuple[Entry, int, int]:
    """Return (entry, begin, end) of one tensor; its offsets must span exactly its shape."""
    label = f'{where}: tensor "{name[:80]}"'
    if not isinstance(value, tuple):
        raise UserError(f"{label} needs dtype, shape and data_offsets")
    dtype, raw_shape, raw_offsets = value
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        raise UserError(f"{label} has the unknown dtype {str(dtype)[:40]!r}")
    shape = _whole_numbers(raw_shape, where=f"{label}, shape", most=64)
    offsets = _whole_numbers(raw_offsets, where=f"{label}, data_offsets", most=2)
    elements = 1
    for length in shape:
        elements *= length
    if elements > MAX_ELEMENTS:
        raise UserError(f"{label} has more elements than a file can hold")
    bits = elements * DTYPE_BITS[dtype]
    if len(offsets) != 2 or bits % 8 or offsets[1] - offsets[0] != bits // 8:
        raise UserError(f"{label}: {dtype} of shape {list(shape)} needs {bits // 8:,} bytes, not {list(offsets)}")
    return Entry(dtype, shape, bits // 8), offsets[0], offsets[1]


def _check_cheap(raw: bytes, *, where: str) -> None:
    """Refuse headers that would take far more memory to parse than a real one of their length."""
    tensors, lists = raw.count(b"{"), raw.count(b"[")
    if tensors > MAX_TENSORS or lists > 2 * tensors + 1_000_000 or raw.count(b",") > 100 * tensors + 1_000_000:
        raise UserError(f"{where}: the header is not that of a model")


def parse_safetensors_header(raw: bytes, *, where: str, data_bytes: int) -> tuple[dict[str, Entry], dict[str, str]]:
    """Return (tensors, metadata) of a safetensors header whose tensors fill ``data_bytes`` without holes.

    Raises:
        UserError: whatever the format does not allow.
    """
    _check_cheap(raw, where=where)
    header = parse_object(
        raw, where=f"{where}: the header", limit_bytes=HEADER_LIMIT_BYTES, pairs=_entry_or_object, check_depth=False
    )
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise UserError(f"{where}: __metadata__ must map names to strings")
    tensors: dict[str, Entry] = {}
    spans = []
    for name, value in header.items():
        tensors[name], begin, end = _entry(name, value, where=where)
        spans.append((begin, end, name))
    position = 0
    for begin, end, name in sorted(spans):
        if begin != position:
            what = "overlaps the one before it" if begin < position else "leaves a hole before it"
            raise UserError(f'{where}: tensor "{name[:80]}" {what}')
        position = end
    if position != data_bytes:
        what = "is cut short or has bytes that no tensor owns"
        raise UserError(f"{where} {what}: its header describes {position:,} bytes of tensors, it holds {data_bytes:,}")
    return tensors, metadata


def safetensors_stream(file: BinaryIO, size: int, where: str) -> tuple[dict[str, Entry], dict[str, str]]:
    """Return (tensors, metadata) of a safetensors file of ``size`` bytes; only its header is read.

    Raises:
        UserError: whatever the format does not allow.
    """
    length = int.from_bytes(file.read(8), "little")
    if size < 10:
        raise UserError(f"{where} has {size} bytes, too few for a safetensors file")
    if length > min(HEADER_LIMIT_BYTES, size - 8):
        raise UserError(f"{where} is not a safetensors file: it announces a header of {length:,} bytes")
    raw = file.read(length)
    if not raw.startswith(b"{"):
        raise UserError(f"{where} is not a safetensors file: its header is not JSON")
    return parse_safetensors_header(raw, where=where, data_bytes=size - 8 - length)


def read_safetensors_file(path: Path) -> tuple[dict[str, Entry], dict[str, str], int]:
    """Return (tensors, metadata, bytes of the file) of one safetensors file; only its header is read."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            return *safetensors_stream(file, size, path.name), size
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None


def read_safetensors(path: Path) -> StoredWeights:
    """Return what the header of one safetensors file says.

    Raises:
        UserError: unreadable or malformed.
    """
    tensors, metadata, size = read_safetensors_file(path)
    if not tensors:
        raise UserError(f"{path.name} holds no tensors")
    return stored_weights(tensors, name=path.name, kind="safetensors", file_bytes=size, metadata=metadata)


def read_safetensors_index(path: Path) -> StoredWeights:
    """Return what an index and the shards beside it say; without the shards only the bytes are known.

    Raises:
        UserError: unreadable or malformed, or shards that do not hold what the index says.
    """
    index = parse_object(read_bytes(path, INDEX_LIMIT_BYTES), where=path.name, limit_bytes=INDEX_LIMIT_BYTES)
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise UserError(f'{path.name} has no "weight_map"')
    shards = sorted({_shard_name(shard, where=path.name) for shard in weight_map.values()})
    here = [path.parent / shard for shard in shards if (path.parent / shard).is_file()]
    if len(here) == len(shards):
        return _read_shards(path, weight_map, here)
    return _index_only(path, index, len(here), len(shards))


def _shard_name(value: object, *, where: str) -> str:
    if not isinstance(value, str) or not value or len(value) > 255 or "/" in value or "\\" in value or value == "..":
        raise UserError(f"{where}: {str(value)[:60]!r} is not the name of a shard")
    return value


def _read_shards(path: Path, weight_map: Mapping[str, Any], shards: list[Path]) -> StoredWeights:
    tensors: dict[str, Entry] = {}
    size = 0
    for shard in shards:
        found, _, bytes_here = read_safetensors_file(shard)
        for name in found:
            if name in tensors:
                raise UserError(f'{path.name}: tensor "{name[:80]}" is in two shards')
            if weight_map.get(name) != shard.name:
                raise UserError(f'{path.name} does not say that "{name[:80]}" is in {shard.name}')
        tensors |= found
        size += bytes_here
    missing = next((name for name in weight_map if name not in tensors), None)
    if missing is not None:
        raise UserError(f'{path.name}: tensor "{missing[:80]}" is in none of its shards')
    return stored_weights(tensors, name=path.name, kind="safetensors index", file_bytes=size)


def _index_only(path: Path, index: Mapping[str, Any], here: int, shards: int) -> StoredWeights:
    metadata = index.get("metadata")
    known = metadata if isinstance(metadata, dict) else {}
    size, count = known.get("total_size"), known.get("total_parameters")
    size = int(size) if isinstance(size, float) and size == int(size) else size
    if type(size) is not int or not 0 < size < MAX_ELEMENTS:
        raise UserError(f"{path.name}: {shards - here} of {shards} shards are missing, and it has no total_size")
    counted = count if type(count) is int and 0 < count < MAX_ELEMENTS else 0
    remark = f"{here} of {shards} shards are here; bytes are the index's total_size"
    return StoredWeights(
        name=path.name, kind="safetensors index", parameters=counted, tensor_bytes=size, parameters_exact=counted > 0,
        tensors=len(index["weight_map"]), metadata=known,
        remarks=(remark, *(() if counted else ("the parameter count is not known",))),
    )  # fmt: skip


def read_bytes(path: Path, limit_bytes: int) -> bytes:
    """Return the content of a small file.

    Raises:
        UserError: unreadable, or larger than ``limit_bytes``.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(limit_bytes + 1)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    if len(raw) > limit_bytes:
        raise UserError(f"{path.name} has more than {limit_bytes:,} bytes")
    return raw
