"""``sizeup web``: the page and its answers from this machine, to this machine.

Listens on the loopback address alone; answers only requests that name it as their host and, where a browser says so,
as their origin, so that no other page can ask through a visitor's browser. Serves the page's own files and nothing
else; limits the size of what it reads and the time it waits for it.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from sizeup.files import read_text
from sizeup.web.assets import charts_bundle
from sizeup.web.bridge import Bridge, Reply
from sizeup.web.document import document, policy

LOOPBACK = "127.0.0.1"
LONGEST_REQUEST_BYTES = 1 * 2**20
LONGEST_HEAD_BYTES = 101 * 10**6
"""The longest safetensors header with room for its length."""
SECONDS_TO_SEND = 20.0
SECONDS_TO_WAIT = 60.0
MOST_ASKS_AT_ONCE = 4

FILES: Mapping[str, str] = {
    "/style.css": "text/css; charset=utf-8",
    "/icon.svg": "image/svg+xml",
    **{
        f"/{name}.js": "text/javascript; charset=utf-8"
        for name in ("app", "answer", "charts", "dialogs", "engine", "files", "form", "picker", "state")
    },
}
"""Every file that is served as it is, with its type."""

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": policy("local") + "; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}


class PageServer(ThreadingHTTPServer):
    """The server with what its requests share."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__((LOOPBACK, port), Handler)
        self.bridge = Bridge(hub=True)
        self.page = document("local").encode()
        self.lock = threading.Lock()
        self.slots = threading.BoundedSemaphore(MOST_ASKS_AT_ONCE)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that went away; anything else is a defect."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    @property
    def hosts(self) -> frozenset[str]:
        """What a request may name as its host."""
        return frozenset(f"{name}:{self.server_port}" for name in (LOOPBACK, "localhost"))

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{LOOPBACK}:{self.server_port}/"


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: PageServer
    server_version, sys_version = "sizeup", ""
    protocol_version = "HTTP/1.1"
    timeout = SECONDS_TO_SEND

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the terminal is the user's."""

    def do_GET(self) -> None:
        """Serve the page or one of its files."""
        if not self._allowed():
            return
        path = self.path.partition("?")[0]
        if path in ("/", "/index.html"):
            self._send(200, self.server.page, "text/html; charset=utf-8")
        elif path in FILES:
            self._send(200, read_text(f"web/page{path}").encode(), FILES[path])
        elif path == "/charts-bundle.js":
            bundle = charts_bundle()
            self._send(200 if bundle else 404, (bundle or "").encode(), "text/javascript; charset=utf-8")
        else:
            self._refuse(404, "there is no such page")

    do_HEAD = do_GET  # noqa: N815 - the base class's name

    def do_POST(self) -> None:
        """Answer a question, or keep the head of a file."""
        if not self._allowed():
            return
        if self.path not in ("/api/ask", "/api/hold"):
            self._refuse(404, "there is no such page")
            return
        limit = LONGEST_REQUEST_BYTES if self.path == "/api/ask" else LONGEST_HEAD_BYTES
        body = self._body(limit)
        if body is None:
            return
        if not self.server.slots.acquire(timeout=SECONDS_TO_SEND):
            self._refuse(503, "too many questions at once")
            return
        try:
            self._ask(body) if self.path == "/api/ask" else self._hold(body)
        finally:
            self.server.slots.release()

    def _ask(self, body: bytes) -> None:
        try:
            request = json.loads(body)
        except (ValueError, RecursionError):
            request = None
        if not isinstance(request, dict) or self.headers.get_content_type() != "application/json":
            self._refuse(400, "a JSON object is expected")
            return
        self._with_bridge(lambda bridge: bridge.answer(request))

    def _hold(self, body: bytes) -> None:
        size = self.headers.get("X-File-Size", "")
        if self.headers.get_content_type() != "application/octet-stream" or not size.isdecimal() or len(size) > 18:
            self._refuse(400, "the first bytes of a file and its size are expected")
            return
        name = unquote(self.headers.get("X-File-Name", ""))
        self._with_bridge(lambda bridge: bridge.hold(name, body, int(size)))

    def _with_bridge(self, answer: Callable[[Bridge], Reply]) -> None:
        """Answer one question at a time; a question that waits too long is told so."""
        if not self.server.lock.acquire(timeout=SECONDS_TO_WAIT):
            self._refuse(503, "another question takes too long")
            return
        try:
            reply = answer(self.server.bridge)
        finally:
            self.server.lock.release()
        self._send(200, json.dumps(reply).encode(), "application/json")

    def _allowed(self) -> bool:
        """Refuse a request for another host, or from another page: names can be made to point here."""
        hosts, origin = self.server.hosts, self.headers.get("Origin")
        if self.headers.get("Host") not in hosts:
            self._refuse(403, "this server answers to its own address only")
            return False
        if origin is not None and origin not in {f"http://{host}" for host in hosts}:
            self._refuse(403, "another page must not ask here")
            return False
        # a link to the page may stand anywhere; its questions come from itself alone
        if self.command == "POST" and self.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
            self._refuse(403, "another page must not ask here")
            return False
        return True

    def _body(self, limit: int) -> bytes | None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or self.headers.get("Transfer-Encoding"):
            self._refuse(411, "the length is missing")
        elif len(length) > 12 or int(length) > limit:
            self._refuse(413, f"more than {limit:,} bytes")
        else:
            try:
                body = self.rfile.read(int(length))
            except OSError:
                body = b""
            if len(body) == int(length):
                return body
            self.close_connection = True
        return None

    def _refuse(self, status: int, message: str) -> None:
        # what was announced may still be on its way: the connection cannot be used again
        self.close_connection = True
        self._send(status, json.dumps({"ok": False, "error": message}).encode(), "application/json")

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def serve_page(port: int, *, announce: Any) -> None:
    """Serve until interrupted; ``announce`` is called with the address once the server listens.

    Raises:
        OSError: the port is taken.
    """
    with PageServer(port) as server:
        # seconds the first time: better before the first picture is asked for
        threading.Thread(target=charts_bundle, daemon=True).start()
        announce(server.url)
        server.serve_forever()
