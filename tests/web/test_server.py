"""The local server: loopback, its own pages, its own address, bounded requests."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from sizeup.web.server import LONGEST_REQUEST_BYTES, PageServer


@pytest.fixture(scope="module")
def server() -> Iterator[PageServer]:
    with PageServer(0) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()


def ask(server: PageServer, method: str, path: str, body: bytes | None = None, **headers: str) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, {"Host": f"127.0.0.1:{server.server_port}", **given})
    response = connection.getresponse()
    response.content = response.read()
    connection.close()
    return response


QUESTION = json.dumps({"job": "model", "flags": {"model": "llama-3.1-8b"}}).encode()
JSON = {"Content_Type": "application/json"}


def test_a_link_on_another_page_opens_the_page(server: PageServer) -> None:
    assert ask(server, "GET", "/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate").status == 200


def test_it_listens_on_the_loopback_address_alone(server: PageServer) -> None:
    assert server.server_address[0] == "127.0.0.1"


def test_the_page_has_an_answer_in_it_and_a_strict_policy(server: PageServer) -> None:
    response = ask(server, "GET", "/")
    assert response.status == 200
    assert b"8,030,261,248" in response.content
    policy = response.getheader("Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert b"<style" not in response.content
    assert b" style=" not in response.content
    assert b"http-equiv" not in response.content


def test_every_file_of_the_page_is_there(server: PageServer) -> None:
    from sizeup.web.server import FILES

    for path, kind in FILES.items():
        response = ask(server, "GET", path)
        assert response.status == 200, path
        assert response.getheader("Content-Type") == kind


def test_a_question_is_answered(server: PageServer) -> None:
    response = ask(server, "POST", "/api/ask", QUESTION, **JSON, Origin=f"http://localhost:{server.server_port}")
    assert json.loads(response.content)["ok"]


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example:80", ""])
def test_another_host_is_refused(server: PageServer, host: str) -> None:
    assert ask(server, "GET", "/", Host=host).status == 403
    assert ask(server, "POST", "/api/ask", QUESTION, **JSON, Host=host).status == 403


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1:{port}", "http://127.0.0.1"])
def test_another_page_is_refused(server: PageServer, origin: str) -> None:
    named = origin.format(port=server.server_port)
    assert ask(server, "POST", "/api/ask", QUESTION, **JSON, Origin=named).status == 403
    assert ask(server, "POST", "/api/ask", QUESTION, **JSON, Sec_Fetch_Site="cross-site").status == 403


@pytest.mark.parametrize(
    "path", ["/../server.py", "/%2e%2e/server.py", "/..%2fserver.py", "//etc/passwd", "/index.html/../../server.py",
             "/style.css/", "/page/app.js", "/.git/config", "/worker.js.map"],
)  # fmt: skip
def test_no_other_path_is_served(server: PageServer, path: str) -> None:
    assert ask(server, "GET", path).status == 404


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"])
def test_other_methods_are_refused(server: PageServer, method: str) -> None:
    assert ask(server, method, "/api/ask").status == 501


def test_bodies_are_bounded_and_typed(server: PageServer) -> None:
    # only announced: the server answers without waiting for what it will not read
    assert ask(server, "POST", "/api/ask", None, **JSON, Content_Length=str(LONGEST_REQUEST_BYTES + 1)).status == 413
    assert ask(server, "POST", "/api/ask", QUESTION, Content_Type="text/plain").status == 400
    assert ask(server, "POST", "/api/ask", b"[]", **JSON).status == 400
    assert ask(server, "POST", "/api/ask", b"[" * 100_000, **JSON).status == 400
    assert ask(server, "POST", "/api/ask", b"{", **JSON).status == 400
    assert ask(server, "POST", "/api/ask", None, **JSON, Transfer_Encoding="chunked").status == 411
    assert ask(server, "POST", "/api/hold", b"x", Content_Type="application/octet-stream").status == 400
    assert ask(server, "POST", "/", QUESTION, **JSON).status == 404


@pytest.mark.parametrize("length", ["-1", "1e3", "99999999999999999999", "0x10", "１"])
def test_a_strange_length_is_refused(server: PageServer, length: str) -> None:
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as raw:
        head = f"POST /api/ask HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\nContent-Length: {length}\r\n\r\n"
        raw.sendall(head.encode())
        assert raw.recv(64).split()[1] in (b"411", b"413")


def test_a_busy_engine_is_said_to_be_busy(server: PageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sizeup.web.server.SECONDS_TO_WAIT", 0.01)
    with server.lock:
        assert ask(server, "POST", "/api/ask", QUESTION, **JSON).status == 503
    assert ask(server, "POST", "/api/ask", QUESTION, **JSON).status == 200


def test_a_question_may_not_name_a_file(server: PageServer) -> None:
    body = json.dumps({"job": "model", "flags": {"model": "/etc/hosts.json"}}).encode()
    reply = json.loads(ask(server, "POST", "/api/ask", body, **JSON).content)
    assert not reply["ok"]
    assert "not read here" in reply["error"]
