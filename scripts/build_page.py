"""Build the static page: plain files for any file server, Python and all in the browser, no request to anyone else.

    npm ci && python scripts/build_page.py [FOLDER]       (dist/page by default)

The page's own files and the package are copied; Pyodide comes from the npm package that package-lock.json fixes, the
charts' library from vl-convert-python. The package is compiled by the very Python that will run it, so that it starts
sooner. The same sources give the same bytes.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "sizeup"
PAGE = PACKAGE / "web" / "page"
PYODIDE = ROOT / "node_modules" / "pyodide"
RUNTIME = ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "pyodide-lock.json", "python_stdlib.zip")
LEFT_OUT = ("cli", "web/page", "web/server.py", "web/assets.py", "web/document.py", "web/forms.py")
"""What only the command line and the local server need."""
LONG_AGO = (1980, 1, 1, 0, 0, 0)
"""The date of every file in the archive: the earliest that a zip can hold."""


def package_files() -> Iterator[Path]:
    """Yield the files of the package that the browser needs, in order."""
    for path in sorted(PACKAGE.rglob("*")):
        name = path.relative_to(PACKAGE).as_posix()
        skipped = any(name == left or name.startswith(f"{left}/") for left in LEFT_OUT)
        if path.is_file() and not skipped and "__pycache__" not in path.parts:
            yield path


def archive(target: Path) -> None:
    """Write the package as a zip with fixed dates."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        for path in package_files():
            entry = zipfile.ZipInfo(path.relative_to(PACKAGE.parent).as_posix(), LONG_AGO)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            file.writestr(entry, path.read_bytes())


def compile_archive(target: Path) -> None:
    """Add what Pyodide's Python compiles the modules to."""
    script = ROOT / "scripts" / "compile_page.mjs"
    subprocess.run(["node", str(script), str(target)], check=True, cwd=ROOT)


def build(target: Path) -> None:
    """Build the page into a folder, which is emptied first."""
    if not PYODIDE.is_dir():
        sys.exit("Pyodide is missing: npm ci")
    if target.exists():
        shutil.rmtree(target)
    (target / "pyodide").mkdir(parents=True)
    for path in sorted(PAGE.iterdir()):
        if path.suffix in (".js", ".css", ".svg"):
            shutil.copyfile(path, target / path.name)
    for name in RUNTIME:
        shutil.copyfile(PYODIDE / name, target / "pyodide" / name)
    write_generated(target)
    archive(target / "sizeup.zip")
    compile_archive(target / "sizeup.zip")


def write_generated(target: Path) -> None:
    """Write the document, with a first answer in it, and the charts' library."""
    from sizeup.web.assets import charts_bundle
    from sizeup.web.document import document

    bundle = charts_bundle()
    if bundle is None:
        sys.exit("the charts' library is missing: pip install vl-convert-python")
    (target / "index.html").write_text(document("browser"), encoding="utf-8")
    (target / "charts-bundle.js").write_text(bundle, encoding="utf-8")


def main() -> None:
    """Build, and say how large it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "dist" / "page")
    target: Path = parser.parse_args().folder
    build(target)
    files = [path for path in target.rglob("*") if path.is_file()]
    total = sum(path.stat().st_size for path in files)
    print(f"{target}: {len(files)} files, {total / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
