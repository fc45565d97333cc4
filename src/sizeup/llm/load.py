"""From what a user types to what is known about a model: a size, a file, a folder, a catalog name or a Hub id."""

from __future__ import annotations

import os.path
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from sizeup.errors import UserError
from sizeup.llm.loaded import Kind, LoadedModel, read_config
from sizeup.units import parse_count

if TYPE_CHECKING:
    from pathlib import Path

    from sizeup.llm.headers import StoredWeights

INDEX_NAME = "model.safetensors.index.json"
_BARE_SIZE = re.compile(r"[0-9]+(\.[0-9]+)?[kmbt]", re.IGNORECASE)
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_SUFFIXES = (".json", ".safetensors", ".gguf")


NO_HUB = "paste its config.json, or use the command line"


@dataclass(frozen=True, kw_only=True)
class Reach:
    """What a SPEC may name: contents that are held in memory, files of this machine, the Hub."""

    contents: Mapping[str, LoadedModel] = field(default_factory=dict)
    paths: bool = True
    hub: bool = True


EVERYTHING = Reach()
_REACH: ContextVar[Reach] = ContextVar("reach")


@contextmanager
def within(reach: Reach) -> Iterator[None]:
    """Load SPECs within ``reach`` inside the block: a page must not name files of the machine that answers it."""
    token = _REACH.set(reach)
    try:
        yield
    finally:
        _REACH.reset(token)


class CatalogRecord(Protocol):
    """What a catalog hands out for a name."""

    @property
    def name(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def trust(self) -> str: ...
    @property
    def alias_note(self) -> str: ...
    def config(self) -> dict[str, Any]: ...


Lookup = Callable[[str], CatalogRecord]


def load_spec(spec: str, *, find_model: Lookup | None = None) -> LoadedModel:
    """Return what ``spec`` names.

    Tried in this order: a bare size (``70b``), a path, a catalog name (``find_model``, the package's own if None),
    a Hub id (``org/name``).

    Raises:
        UserError: nothing is called that, or what is there cannot be read; the message says which.
    """
    text = spec.strip()
    if not text or len(text) > 4096 or "\0" in text:
        raise UserError(f"{spec[:60]!r} does not name a model")
    if _BARE_SIZE.fullmatch(text):
        return LoadedModel(kind="size", name=text, bare_parameters=_positive(parse_count(text), text))
    if text in (reach := _REACH.get(EVERYTHING)).contents:
        return reach.contents[text]
    if reach.paths and os.path.exists(os.path.expanduser(text)):
        from pathlib import Path

        return load_path(Path(text).expanduser())
    if text.endswith(_SUFFIXES) or text.startswith(("./", "../", "/", "~")):
        if not reach.paths:
            raise UserError(f"{text} would be a file of the machine, which is not read here", hint=NO_HUB)
        raise UserError(f"there is no file {text}")
    return _named(text, find_model or _package_catalog())


def _positive(count: int, text: str) -> int:
    if not 0 < count <= 10**16:
        raise UserError(f'"{text}" is not the size of a model')
    return count


def _package_catalog() -> Lookup:
    import importlib

    found: Lookup = importlib.import_module("sizeup.catalog.lookup").find_model
    return found


def _named(text: str, find_model: Lookup) -> LoadedModel:
    """Return the catalog's model of this name, else what the Hub has under it."""
    try:
        record = find_model(text)
    except UserError as error:
        if not _HUB_ID.fullmatch(text) or "could be" in error.message:
            raise
        if not _REACH.get(EVERYTHING).hub:
            raise UserError(f"{text} is not in the catalog, and the Hub is not asked here", hint=NO_HUB) from None
        from sizeup.llm.hub import load_hub

        return load_hub(text)
    return LoadedModel(
        kind="catalog", name=record.name, where=text, config=record.config(), source=record.source, trust=record.trust,
        remarks=(record.alias_note,) if record.alias_note else (),
    )  # fmt: skip


def load_path(path: Path) -> LoadedModel:
    """Return what a file or a folder describes.

    Raises:
        UserError: nothing that describes a model, or something malformed.
    """
    from sizeup.llm.gguf import read_gguf
    from sizeup.llm.headers import read_safetensors, read_safetensors_index

    if path.is_dir():
        return _load_folder(path)
    name = path.name
    if not path.is_file():  # a pipe or a device would be read without end
        raise UserError(f"{path} is not a regular file")
    if name.endswith(".safetensors.index.json"):
        return _stored(path, "safetensors", read_safetensors_index(path))
    if name.endswith(".safetensors"):
        return _stored(path, "safetensors", read_safetensors(path))
    if name.endswith(".gguf"):
        return _stored(path, "gguf", read_gguf(path))
    if name.endswith(".json"):
        return LoadedModel(kind="config", name=_file_title(path), where=str(path), config=read_config(path))
    raise UserError(f"{name} is neither a config.json nor a weight file", hint=f"read are {', '.join(_SUFFIXES)}")


def _file_title(path: Path) -> str:
    if path.name == "config.json":
        return path.absolute().parent.name or "config.json"
    return path.name.removesuffix(".json")


def _stored(path: Path, kind: Kind, stored: StoredWeights) -> LoadedModel:
    return LoadedModel(kind=kind, name=path.name, where=str(path), stored=stored, remarks=stored.remarks)


def _load_folder(path: Path) -> LoadedModel:
    """Prefer the configuration; beside it the headers of the weights, if they are there and can be read."""
    config, weights = path / "config.json", _weights_in(path)
    if config.is_file():
        stored = weights.stored if weights else None
        return LoadedModel(
            kind="config", name=path.absolute().name, where=str(path), config=read_config(config), stored=stored,
            remarks=weights.remarks if weights else (),
        )  # fmt: skip
    if weights is None:
        raise UserError(f"{path} holds no config.json, no .safetensors and no .gguf file")
    return weights


def _weights_in(path: Path) -> LoadedModel | None:
    index, single = path / INDEX_NAME, path / "model.safetensors"
    if index.is_file():
        return load_path(index)
    if single.is_file():
        return load_path(single)
    return _only_file(path, ".safetensors") or _only_file(path, ".gguf")


def _only_file(path: Path, suffix: str) -> LoadedModel | None:
    """Return the one weight file with this suffix; of a split GGUF, its first file."""
    found = sorted(file for file in path.glob(f"*{suffix}") if file.is_file())
    firsts = [
        file for file in found if not re.search(r"-\d{5}-of-\d{5}\.gguf$", file.name) or "-00001-of-" in file.name
    ]
    if len(firsts) > 1:
        names = ", ".join(file.name for file in firsts[:4])
        raise UserError(f"{path} holds {len(firsts)} {suffix} files", hint=f"name one: {names}")
    return load_path(firsts[0]) if firsts else None
