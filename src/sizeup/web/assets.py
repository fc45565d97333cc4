"""The charts' library: Vega-Lite as one script, from the package that also draws charts into files."""

from __future__ import annotations

import os
import tempfile
import threading
from importlib.metadata import version
from pathlib import Path

_LOCK = threading.Lock()


def cache_folder() -> Path:
    """Return where things that are slow to make are kept between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "sizeup"


def charts_bundle() -> str | None:
    """Return the script that defines ``vegaEmbed``, made once (seconds) and kept; None where it cannot be made."""
    try:
        import vl_convert
    except ImportError:
        return None
    kept = cache_folder() / f"charts-{version('vl-convert-python')}.js"
    with _LOCK:
        try:
            return kept.read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
            _keep(kept, bundle)
            return bundle


def _keep(path: Path, text: str) -> None:
    """Write whole or not at all; a cache that cannot be written is no error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as file:
            file.write(text)
        os.replace(file.name, path)
    except OSError:
        return
