"""Reading the data files of the package, from a folder or a zip, without the import cost of importlib.resources."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from importlib.abc import ResourceLoader


def read_text(name: str) -> str:
    """Return the text of a file of the package, such as ``llm/families/index.json``."""
    loader = cast("ResourceLoader", __spec__.loader)
    path = os.path.join(os.path.dirname(__file__), *name.split("/"))
    return bytes(loader.get_data(path)).decode("utf-8")
