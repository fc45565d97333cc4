"""A real browser on the page, once from the local server and once from plain files."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
SLOW_MS = 60_000


@pytest.fixture(scope="session")
def same() -> Callable[[Any, Any], None]:
    """Compare plain data: every key and word, and numbers up to rounding."""

    def check(first: Any, second: Any, where: str = "") -> None:
        if isinstance(first, dict) and isinstance(second, dict):
            assert list(first) == list(second), where
            for key in first:
                check(first[key], second[key], f"{where}.{key}")
        elif isinstance(first, list) and isinstance(second, list):
            assert len(first) == len(second), where
            for index, (one, other) in enumerate(zip(first, second, strict=True)):
                check(one, other, f"{where}[{index}]")
        elif isinstance(first, float) or isinstance(second, float):
            assert second == pytest.approx(first, rel=1e-9), where
        else:
            assert first == second, where

    return check


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, or why there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install -e '.[web]'")
    path = os.environ.get("SIZEUP_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no browser is called {', '.join(NAMES)}: apt-get install chromium")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def local_site() -> Iterator[str]:
    """The page as ``sizeup web`` serves it."""
    from sizeup.web.server import PageServer

    with PageServer(0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.url
        server.shutdown()


class QuietFiles(SimpleHTTPRequestHandler):
    """A plain file server."""

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="session")
def static_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page as plain files, built now."""
    if not (ROOT / "node_modules" / "pyodide").is_dir() or shutil.which("node") is None:
        pytest.skip("the static page is built with node and Pyodide: npm ci")
    folder = tmp_path_factory.mktemp("page")
    subprocess.run([sys.executable, str(ROOT / "scripts" / "build_page.py"), str(folder)], check=True)
    handler = functools.partial(QuietFiles, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(params=["local", "static"])
def site(request: pytest.FixtureRequest) -> str:
    """The address of the page, served in either way."""
    found: str = request.getfixturevalue(f"{request.param}_site")
    return found


class Visit:
    """One tab that remembers what went wrong in it."""

    def __init__(self, page: Any, site: str) -> None:
        self.page, self.site = page, site
        self.faults: list[str] = []
        page.set_default_timeout(SLOW_MS)
        page.on("console", lambda message: self.faults.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("request", self._asked)

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self.site, "blob:", "data:")):
            self.faults.append(f"asked {request.url}")

    def open(self, question: str = "") -> Any:
        """Open the page at a question and wait for its answer."""
        self.page.goto(self.site + question)
        self.page.wait_for_selector("html[data-started]")
        self.settle()
        return self.page

    def go(self, question: str) -> Any:
        """Ask something else in the same tab, as following a link does."""
        before = int(self.page.get_attribute("#answer", "data-answers") or 0)
        self.page.evaluate("hash => { location.hash = hash; }", question)
        self.page.wait_for_selector(f'#answer[data-answers="{before + 1}"]')
        self.settle()
        return self.page

    def settle(self) -> None:
        """Wait until the last question is answered."""
        self.page.wait_for_timeout(80)
        self.page.wait_for_selector("#answer[aria-busy=false]")

    def json(self) -> Any:
        """Return the JSON that the page offers to copy."""
        return json.loads(self.page.get_attribute('[aria-label="Copy as JSON"]', "data-copy"))


def visiting(browser: Any, site: str) -> Iterator[Visit]:
    """A fresh tab; nothing may have gone wrong in it in the end."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    made = Visit(context.new_page(), site)
    yield made
    context.close()
    assert made.faults == []


@pytest.fixture
def visit(browser: Any, local_site: str) -> Iterator[Visit]:
    """A tab on the page of the local server."""
    yield from visiting(browser, local_site)


@pytest.fixture
def visit_both(browser: Any, site: str) -> Iterator[Visit]:
    """A tab on the page in either of its homes; Python starts anew in the browser for each."""
    yield from visiting(browser, site)
