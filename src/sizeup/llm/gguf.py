"""Reading the header of a GGUF file: metadata and tensor descriptions, never the weights.

Versions 2 and 3, either byte order. Source: [gguf] (ggml ``docs/gguf.md``). Counts and lengths are believed only as
far as the bytes that are really there; long arrays (the tokenizer) are walked over, not kept.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from sizeup.errors import UserError
from sizeup.llm.gguf_architecture import architecture_of
from sizeup.llm.gguf_mixtures import GGML_TYPES
from sizeup.llm.headers import MAX_ELEMENTS, StoredWeights, stored_weights
from sizeup.llm.tensor_names import Entry

MAGIC = b"GGUF"
MAX_KEYS, MAX_TENSORS, MAX_DIMENSIONS = 100_000, 1_000_000, 4
MAX_NAME_BYTES, MAX_TEXT_BYTES, KEPT_ARRAY = 65_535, 2**20, 4096
MAX_WALKED_STRINGS = 20_000_000
MAX_KEPT = 64 * 2**20
"""Bytes, roughly, that metadata or tensor names may take in memory."""
MAX_SPLITS = 1000

TYPE_IDS = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 9: "Q8_1", 10: "Q2_K", 11: "Q3_K",
    12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S",
    20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64",
    29: "IQ1_M", 30: "BF16", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4", 40: "NVFP4", 41: "Q1_0",
}  # fmt: skip
"""GGML type by its number in the file."""

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_SPLIT_NAME = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")


class _Cursor:
    """A position in the file that never reads past its end."""

    def __init__(self, file: BinaryIO, size: int, where: str) -> None:
        self.file, self.size, self.where = file, size, where
        self.position = 0
        self.order = "<"
        self.walked = 0
        self.kept = 0

    @property
    def left(self) -> int:
        return self.size - self.position

    def take(self, count: int) -> bytes:
        data = self.file.read(count) if 0 <= count <= self.left else b""
        if len(data) != count:
            raise UserError(f"{self.where} is cut short in its header (byte {self.position:,})")
        self.position += count
        return data

    def skip(self, count: int) -> None:
        if not 0 <= count <= self.left:
            raise UserError(f"{self.where} is cut short in its header (byte {self.position:,})")
        self.file.seek(count, os.SEEK_CUR)
        self.position += count

    def keep(self, count: int) -> None:
        """Count bytes or elements that stay in memory."""
        self.kept += count
        if self.kept > MAX_KEPT:
            raise UserError(f"{self.where}: the metadata is larger than that of a model")

    def number(self, code: str) -> Any:
        return struct.unpack(self.order + code, self.take(struct.calcsize("=" + code)))[0]

    def text(self, limit: int, what: str) -> str:
        length = self.number("Q")
        if length > limit:
            raise UserError(f"{self.where}: a {what} of {length:,} bytes is not believable")
        self.keep(length + 64)
        try:
            return self.take(length).decode("utf-8")
        except UnicodeDecodeError:
            raise UserError(f"{self.where}: a {what} is not UTF-8 text") from None

    def count(self, least_bytes: int, limit: int, what: str) -> int:
        """Return a 64-bit count of things of at least ``least_bytes`` each that could still be in the file."""
        number: int = self.number("Q")
        if number > limit or number * least_bytes > self.left:
            raise UserError(f"{self.where} announces {number:,} {what}, more than it can hold")
        return number


@dataclass(frozen=True, slots=True)
class LongArray:
    """An array of the metadata that was walked over: only its length is known."""

    length: int

    def __len__(self) -> int:
        return self.length


def _value(cursor: _Cursor, kind: int, depth: int = 0) -> Any:
    if kind in _SCALARS:
        return cursor.number(_SCALARS[kind])
    if kind == _STRING:
        return cursor.text(16 * MAX_TEXT_BYTES, "string")
    if kind == _ARRAY and depth < 2:
        return _array(cursor, depth)
    raise UserError(f"{cursor.where}: metadata type {kind} (nested {depth} deep) is not known")


def _array(cursor: _Cursor, depth: int) -> Any:
    kind = cursor.number("I")
    if kind in _SCALARS:
        width = struct.calcsize("=" + _SCALARS[kind])
        count = cursor.count(width, MAX_ELEMENTS, "array elements")
        if count > KEPT_ARRAY:
            cursor.skip(count * width)
            return LongArray(count)
        cursor.keep(32 * count)
        return list(struct.unpack(f"{cursor.order}{count}{_SCALARS[kind]}", cursor.take(count * width)))
    count = cursor.count(8, MAX_WALKED_STRINGS, "array elements")
    cursor.walked += count
    if cursor.walked > MAX_WALKED_STRINGS:
        raise UserError(f"{cursor.where} has more than {MAX_WALKED_STRINGS:,} strings in its metadata")
    if count <= KEPT_ARRAY:
        cursor.keep(64 * count)
        return [_value(cursor, kind, depth + 1) for _ in range(count)]
    if kind != _STRING:
        raise UserError(f"{cursor.where}: a long array of type {kind} is not known")
    for _ in range(count):
        cursor.skip(cursor.number("Q"))
    return LongArray(count)


def _metadata(cursor: _Cursor, count: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(count):
        key = cursor.text(MAX_NAME_BYTES, "key")
        if key in found:
            raise UserError(f'{cursor.where}: the key "{key[:80]}" occurs twice')
        found[key] = _value(cursor, cursor.number("I"))
    return found


@dataclass(frozen=True, slots=True)
class _Described:
    entry: Entry
    offset: int


def _tensor(cursor: _Cursor) -> tuple[str, _Described]:
    name = cursor.text(MAX_NAME_BYTES, "tensor name")
    label = f'{cursor.where}: tensor "{name[:80]}"'
    dimensions = cursor.number("I")
    if dimensions > MAX_DIMENSIONS:
        raise UserError(f"{label} has {dimensions:,} dimensions, more than {MAX_DIMENSIONS}")
    lengths = [cursor.number("Q") for _ in range(dimensions)]
    kind, offset = cursor.number("I"), cursor.number("Q")
    elements = 1
    for length in lengths:
        elements *= length
    if elements > MAX_ELEMENTS or elements == 0:
        raise UserError(f"{label} has impossible dimensions {lengths}")
    if kind not in TYPE_IDS:
        raise UserError(f"{label} has the unknown type {kind}", hint="it may be newer than this program")
    block, size = GGML_TYPES[TYPE_IDS[kind]]
    if (lengths[0] if lengths else 1) % block:
        raise UserError(f"{label}: rows of {lengths[0]} are not whole blocks of {TYPE_IDS[kind]}")
    # GGUF lists the fastest axis first; shapes here are (rows, columns).
    return name, _Described(Entry(TYPE_IDS[kind], tuple(reversed(lengths)), elements // block * size), offset)


def _check_data(cursor: _Cursor, tensors: Mapping[str, _Described], alignment: int) -> tuple[str, ...]:
    """Refuse tensors that overlap, leave holes or lie outside of the file; say what is behind the last one."""
    start = -(-cursor.position // alignment) * alignment
    expected = 0
    for name, described in sorted(tensors.items(), key=lambda item: item[1].offset):
        if described.offset != expected:
            what = "overlaps the one before it" if described.offset < expected else "leaves a hole before it"
            raise UserError(f'{cursor.where}: tensor "{name[:80]}" {what}')
        end = expected + described.entry.size
        if start + end > cursor.size:
            raise UserError(
                f'{cursor.where} is cut short: tensor "{name[:80]}" ends at byte {start + end:,}, '
                f"the file has {cursor.size:,}"
            )
        expected = -(-end // alignment) * alignment
    extra = cursor.size - start - expected
    return (f"{extra:,} bytes behind the last tensor belong to none",) if extra >= alignment else ()


@dataclass(frozen=True, slots=True)
class _Part:
    tensors: dict[str, Entry]
    metadata: dict[str, Any]
    size: int
    remarks: tuple[str, ...]


def _version(cursor: _Cursor) -> None:
    if cursor.left < 24 or cursor.take(4) != MAGIC:
        raise UserError(f"{cursor.where} is not a GGUF file")
    version = cursor.number("I")
    if version & 0xFFFF == 0:
        cursor.order, version = ">", int.from_bytes(version.to_bytes(4, "little"), "big")
    if version not in (2, 3):
        raise UserError(f"{cursor.where} is GGUF version {version}; versions 2 and 3 are read")


def _read_part(path: Path) -> _Part:
    try:
        with path.open("rb") as file:
            return _part(file, os.fstat(file.fileno()).st_size, path.name)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None


def _part(file: BinaryIO, size: int, where: str) -> _Part:
    cursor = _Cursor(file, size, where)
    _version(cursor)
    tensor_count = cursor.count(24, MAX_TENSORS, "tensors")
    metadata = _metadata(cursor, cursor.count(13, MAX_KEYS, "keys"))
    alignment = metadata.get("general.alignment", 32)
    if type(alignment) is not int or not 0 < alignment <= 2**20 or alignment & (alignment - 1):
        raise UserError(f"{where}: an alignment of {str(alignment)[:40]} is impossible")
    tensors: dict[str, _Described] = {}
    cursor.kept = 0
    for _ in range(tensor_count):
        name, described = _tensor(cursor)
        if name in tensors:
            raise UserError(f'{where}: tensor "{name[:80]}" occurs twice')
        tensors[name] = described
    remarks = _check_data(cursor, tensors, alignment)
    return _Part({name: described.entry for name, described in tensors.items()}, metadata, cursor.size, remarks)


def _split_paths(path: Path) -> tuple[list[Path], str]:
    """Return the files of a split model, and a remark when some of them are not here."""
    match = _SPLIT_NAME.fullmatch(path.name)
    if not match or not 1 <= int(match.group(3)) <= MAX_SPLITS:
        return [path], ""
    count = int(match.group(3))
    paths = [path.parent / f"{match.group(1)}-{index:05d}-of-{count:05d}.gguf" for index in range(1, count + 1)]
    if all(part.is_file() for part in paths):
        return paths, ""
    return [path], f"one of {count} split files: only its own tensors are counted"


def read_gguf(path: Path) -> StoredWeights:
    """Return what the header of a GGUF file says; of a split model, the headers of all files where they are here.

    Raises:
        UserError: unreadable or malformed.
    """
    paths, remark = _split_paths(path)
    return _stored([_read_part(part) for part in paths], path.name, remark)


def gguf_stream(file: BinaryIO, size: int, where: str) -> StoredWeights:
    """Return what the header of one GGUF file of ``size`` bytes says.

    Raises:
        UserError: malformed.
    """
    return _stored([_part(file, size, where)], where, "")


def _stored(parts: list[_Part], name: str, remark: str) -> StoredWeights:
    declared = parts[0].metadata.get("split.count", 1)
    if not remark and len(parts) == 1 and isinstance(declared, int) and declared > 1:
        remark = f"one of {declared} split files: only its own tensors are counted"
    tensors: dict[str, Entry] = {}
    for part in parts:
        twice = next((tensor for tensor in part.tensors if tensor in tensors), None)
        if twice is not None:
            raise UserError(f'{name}: tensor "{twice[:80]}" is in two of the split files')
        tensors |= part.tensors
    if not tensors:
        raise UserError(f"{name} holds no tensors")
    metadata = parts[0].metadata
    remarks = [note for part in parts for note in part.remarks] + ([remark] if remark else [])
    architecture, notes = architecture_of(metadata, tensors, whole=not remark)
    return stored_weights(
        tensors, name=name, kind="gguf", file_bytes=sum(part.size for part in parts), metadata=metadata,
        remarks=(*remarks, *notes), architecture=architecture,
    )  # fmt: skip
