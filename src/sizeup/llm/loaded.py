"""What a SPEC turned out to be, wherever it was found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pathlib import Path

    from sizeup.llm.headers import StoredWeights

Kind = Literal["size", "config", "safetensors", "gguf", "catalog", "hub"]


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """What a SPEC resolved to; exactly one of ``config``, ``stored`` and ``bare_parameters`` is the description.

    Both ``config`` and ``stored`` are set when a folder or a Hub repository has both; the config describes the model,
    the headers its weights. ``source`` and ``trust`` are those of a catalog record.
    """

    kind: Kind
    name: str
    where: str = ""
    config: Mapping[str, Any] | None = field(default=None, hash=False)
    stored: StoredWeights | None = None
    bare_parameters: int | None = None
    source: str = ""
    trust: str = ""
    remarks: tuple[str, ...] = ()


def read_config(path: Path) -> dict[str, Any]:
    """Return a configuration file's object.

    Raises:
        UserError: unreadable, too large, not JSON, or with repeated keys, NaN or absurd nesting.
    """
    from sizeup.llm.headers import read_bytes
    from sizeup.llm.strict_json import CONFIG_LIMIT_BYTES, parse_object

    return parse_object(read_bytes(path, CONFIG_LIMIT_BYTES), where=path.name)
