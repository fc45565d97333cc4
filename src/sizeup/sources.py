"""Where numbers and formulas come from: one record per paper, document or measurement set."""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass

from sizeup.errors import UserError
from sizeup.files import read_text


@dataclass(frozen=True, slots=True)
class Source:
    """A citable origin. ``key`` is what formulas and records refer to, such as ``pope2022``."""

    key: str
    title: str
    url: str = ""
    date: str = ""
    note: str = ""

    def __str__(self) -> str:
        return f"{self.title} ({self.url})" if self.url else self.title


@functools.cache
def bibliography() -> dict[str, Source]:
    """Return every known source by key, read from ``catalog/sources.toml``."""
    text = read_text("catalog/sources.toml")
    records = tomllib.loads(text)
    return {key: Source(key=key, **record) for key, record in records.items()}


def source(key: str) -> Source:
    """Return the source with this key.

    Raises:
        UserError: no such source; a formula or record cites something that is not in the bibliography.
    """
    try:
        return bibliography()[key]
    except KeyError:
        raise UserError(f'no source is called "{key}"', hint="add it to catalog/sources.toml") from None
