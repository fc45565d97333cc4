"""Print how soon the page is there and how fast it answers, in a real browser, from both of its homes.

    npm ci && pip install -e '.[web]' && python scripts/benchmark_page.py

The static page starts Python in the browser: "engine ready" is a cold start with nothing in the browser's cache.
"""

from __future__ import annotations

import functools
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RUNS = 5
QUESTIONS = (
    ("size, a slider moved", "#model?model=llama-3.1-8b&gpu=rtx-4090&context={n}"),
    ("serve, a slider moved", "#serve?model=llama-3.1-8b&gpu=h100&gpus=1&input={n}"),
    ("train, plan given", "#train?model=llama-3.1-8b&gpu=h100&gpus=8&tp=1&pp=1&cp=1&micro_batch=1&sharding=fsdp"
     "&recompute=full&sequence_length={n}"),
    ("train, search of 8 H100", "#train?model=llama-3.1-8b&gpu=h100&gpus=8&sequence_length={n}"),
    ("train, search of 64 H100", "#train?model=llama-3-70b&gpu=h100&gpus=64&sequence_length={n}"),
)  # fmt: skip
GO = "hash => { history.pushState(null, '', hash); dispatchEvent(new PopStateEvent('popstate')); }"


class QuietFiles(SimpleHTTPRequestHandler):
    """A plain file server."""

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def served(server: ThreadingHTTPServer) -> Iterator[str]:
    """Run a server for a while; the address it is at."""
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


def milliseconds(start: float) -> float:
    """Return the time since ``start`` [ms]."""
    return (time.perf_counter() - start) * 1e3


def loading(browser: Any, url: str) -> tuple[float, float]:
    """Return when the first answer is on the screen, and when the engine can be asked, in a fresh profile [ms]."""
    context = browser.new_context()
    page = context.new_page()
    start = time.perf_counter()
    page.goto(url, wait_until="commit")
    page.wait_for_selector("#headline")
    shown = milliseconds(start)
    page.wait_for_selector("#engine[data-ready=true]")
    ready = milliseconds(start)
    context.close()
    return shown, ready


def answering(page: Any, question: str) -> float:
    """Return the median time from a changed address to the answer on the screen [ms]."""
    times = []
    for run in range(RUNS + 1):
        before = int(page.get_attribute("#answer", "data-answers") or 0)
        start = time.perf_counter()
        page.evaluate(GO, question.format(n=1024 * (run + 1)))
        page.wait_for_selector(f'#answer[data-answers="{before + 1}"]')
        times.append(milliseconds(start))
    return statistics.median(times[1:])  # the first one also imports


def measure(browser: Any, name: str, url: str) -> None:
    """Print the lines of one home of the page."""
    shown, ready = (
        statistics.median(values) for values in zip(*(loading(browser, url) for _ in range(3)), strict=True)
    )
    print(f"{name + ': first answer shown':44} {shown:9.0f} ms")
    print(f"{name + ': engine ready':44} {ready:9.0f} ms")
    page = browser.new_page()
    page.goto(url)
    page.wait_for_selector("#engine[data-ready=true]")
    for words, question in QUESTIONS:
        print(f"{f'{name}: {words}':44} {answering(page, question):9.0f} ms")
    page.close()


def main() -> None:
    """Print the table."""
    from playwright.sync_api import sync_playwright

    from sizeup.web.server import PageServer

    path = shutil.which("chromium") or sys.exit("needs Chromium: apt-get install chromium")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, str(ROOT / "scripts" / "build_page.py"), folder], check=True)
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        handler = functools.partial(QuietFiles, directory=folder)
        for name, server in (("local", PageServer(0)), ("static", ThreadingHTTPServer(("127.0.0.1", 0), handler))):
            with served(server) as url:
                measure(browser, name, url)
        browser.close()


if __name__ == "__main__":
    main()
