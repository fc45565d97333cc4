"""What a file describes when only its first bytes are at hand: a page that a file was dropped on, say."""

from __future__ import annotations

import io

from sizeup.errors import UserError
from sizeup.llm.gguf import gguf_stream
from sizeup.llm.headers import HEADER_LIMIT_BYTES, safetensors_stream, stored_weights
from sizeup.llm.loaded import LoadedModel
from sizeup.llm.strict_json import CONFIG_LIMIT_BYTES, parse_object


class HeadTooShortError(Exception):
    """More of the file's first bytes are needed than were given."""


class _Head(io.BytesIO):
    """The first bytes of a file of ``size`` bytes; reading beyond them is not the end of the file."""

    def __init__(self, head: bytes, size: int) -> None:
        super().__init__(head)
        self.held, self.size = len(head), size

    def read(self, count: int | None = -1, /) -> bytes:
        end = self.size if count is None or count < 0 else self.tell() + count
        if self.held < end <= self.size:
            raise HeadTooShortError
        return super().read(count)


def load_content(name: str, head: bytes, *, file_bytes: int) -> LoadedModel:
    """Return what the first bytes of a file describe: a whole config.json, or the header of a weight file.

    Raises:
        UserError: nothing that describes a model, or something malformed.
        HeadTooShortError: the header is longer than ``head``.
    """
    if name.endswith(".gguf"):
        stored = gguf_stream(_Head(head, file_bytes), file_bytes, name)
        return LoadedModel(kind="gguf", name=name, stored=stored, remarks=stored.remarks)
    if name.endswith(".safetensors"):
        return _safetensors(name, head, file_bytes)
    if name.endswith(".index.json"):
        raise UserError(f"{name} lists files that are not here", hint="give the config.json, or one of the files")
    if name.endswith(".json"):
        if file_bytes > CONFIG_LIMIT_BYTES:
            raise UserError(f"{name} has more than {CONFIG_LIMIT_BYTES:,} bytes")
        config = parse_object(_Head(head, file_bytes).read(), where=name)
        return LoadedModel(kind="config", name=name.removesuffix(".json"), config=config)
    raise UserError(f"{name} is neither a config.json nor a weight file", hint="read are .json, .safetensors, .gguf")


def _safetensors(name: str, head: bytes, file_bytes: int) -> LoadedModel:
    tensors, metadata = safetensors_stream(_Head(head, file_bytes), file_bytes, name)
    if not tensors:
        raise UserError(f"{name} holds no tensors")
    stored = stored_weights(tensors, name=name, kind="safetensors", file_bytes=file_bytes, metadata=metadata)
    return LoadedModel(kind="safetensors", name=name, stored=stored, remarks=stored.remarks)


LONGEST_HEAD_BYTES = HEADER_LIMIT_BYTES
"""No header that is read needs more of a file than this."""
