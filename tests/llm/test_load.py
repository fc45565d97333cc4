"""What a SPEC resolves to: sizes, files, folders, catalog names, Hub ids - and JSON that a stranger wrote."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sizeup.errors import UserError
from sizeup.llm import hub
from sizeup.llm.load import load_spec
from sizeup.llm.strict_json import parse_object

CONFIG = {"model_type": "llama", "hidden_size": 64}


@dataclass(frozen=True)
class Record:
    name: str
    source: str = "model_card"
    trust: str = "verified"
    alias_note: str = ""

    def config(self) -> dict[str, Any]:
        return dict(CONFIG)


def catalog(name: str) -> Record:
    if name == "two":
        raise UserError('"two" could be 2 different models')
    if name != "tiny":
        raise UserError(f'no model is called "{name}"', nearest=("tiny",))
    return Record("org/Tiny", alias_note='"tiny" is read as org/Tiny')


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)

    def refuse(repository: str) -> None:
        raise AssertionError(f"asked the Hub about {repository}")

    monkeypatch.setattr(hub, "load_hub", refuse)


def safetensors_bytes() -> bytes:
    raw = json.dumps({"a.weight": {"dtype": "F16", "shape": [2, 2], "data_offsets": [0, 8]}}).encode()
    return struct.pack("<Q", len(raw)) + raw + b"\0" * 8


def safetensors(path: Path) -> Path:
    path.write_bytes(safetensors_bytes())
    return path


@pytest.mark.parametrize(
    ("spec", "count"), [("70b", 70 * 10**9), ("1.5B", 1_500_000_000), ("125m", 125_000_000), ("1T", 10**12)]
)
def test_a_bare_size(spec: str, count: int) -> None:
    found = load_spec(spec, find_model=catalog)
    assert (found.kind, found.bare_parameters, found.config, found.stored) == ("size", count, None, None)


@pytest.mark.parametrize("spec", ["", " ", "0b", "0.0m", "a\0b", "x" * 5000, "99999999999999t"])
def test_what_is_no_name_is_refused(spec: str) -> None:
    with pytest.raises(UserError):
        load_spec(spec, find_model=catalog)


def test_a_config_by_file_and_by_folder(tmp_path: Path) -> None:
    folder = tmp_path / "my-model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    for spec in (str(folder), str(folder / "config.json"), "my-model", "./my-model/"):
        found = load_spec(spec, find_model=catalog)
        assert (found.kind, found.name, found.config, found.stored) == ("config", "my-model", CONFIG, None)
    safetensors(folder / "model.safetensors")
    both = load_spec("my-model", find_model=catalog)
    assert both.config == CONFIG
    assert both.stored is not None
    assert both.stored.parameters == 4


def test_a_folder_with_only_weights(tmp_path: Path) -> None:
    safetensors(tmp_path / "one.safetensors")
    assert load_spec(str(tmp_path), find_model=catalog).kind == "safetensors"
    safetensors(tmp_path / "two.safetensors")
    with pytest.raises(UserError, match=r"2 \.safetensors files"):
        load_spec(str(tmp_path), find_model=catalog)


def test_an_empty_folder_and_an_unknown_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no"):
        load_spec(str(tmp_path), find_model=catalog)
    (tmp_path / "weights.bin").write_bytes(b"\x80\x04")
    with pytest.raises(UserError, match="neither"):
        load_spec(str(tmp_path / "weights.bin"), find_model=catalog)
    with pytest.raises(UserError, match="there is no file"):
        load_spec("gone.gguf", find_model=catalog)


def test_a_catalog_name_keeps_its_source_and_says_how_it_was_read() -> None:
    found = load_spec("tiny", find_model=catalog)
    assert (found.kind, found.name, found.source, found.trust) == ("catalog", "org/Tiny", "model_card", "verified")
    assert found.remarks == ('"tiny" is read as org/Tiny',)


def test_unknown_and_ambiguous_names_are_errors() -> None:
    with pytest.raises(UserError, match="no model is called"):
        load_spec("what", find_model=catalog)
    with pytest.raises(UserError, match="2 different"):
        load_spec("two", find_model=catalog)


def test_a_name_with_an_organisation_goes_to_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(hub, "load_hub", lambda name: asked.append(name))
    load_spec("org/name", find_model=catalog)
    assert asked == ["org/name"]


BAD_JSON = {
    "twice": b'{"a": 1, "a": 2}', "twice inside": b'{"a": {"b": 1, "b": 2}}', "nan": b'{"a": NaN}',
    "infinity": b'{"a": -Infinity}', "list": b"[1]", "text": b'"a"', "nothing": b"", "cut": b'{"a":',
    "not UTF-8": b'{"a": "\xff"}', "deep": b'{"a":' * 200 + b"1" + b"}" * 200, "very deep": b"[" * 10**6,
    "digits": b'{"a": ' + b"1" * 5000 + b"}", "large": b'{"a": "' + b"x" * (17 * 2**20) + b'"}',
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_JSON)
def test_bad_json_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(BAD_JSON[name])
    with pytest.raises(UserError, match=r"config\.json"):
        load_spec(str(path), find_model=catalog)


def test_brackets_in_strings_are_not_depth() -> None:
    value = {"a": "[" * 200, "b": '\\"[[' * 100}
    assert parse_object(json.dumps(value).encode(), where="x") == value


class Hub:
    """A stand-in for huggingface_hub: files by repository, or the error that is raised."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import huggingface_hub

        self.error: Exception | None = None
        self.path: Path | None = None
        self.cached: Path | None = None
        self.downloads: list[str] = []
        monkeypatch.setattr("sizeup.llm.hub._require_reachable", lambda _: None)
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", self.download)
        monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: self.cached and str(self.cached))
        monkeypatch.setattr(huggingface_hub, "get_safetensors_metadata", self.metadata)

    def download(self, repository: str, name: str, **_: Any) -> str:
        self.downloads.append(name)
        if self.error:
            raise self.error
        return str(self.path)

    def metadata(self, repository: str) -> Any:
        from types import SimpleNamespace

        if self.error and type(self.error).__name__ != "RemoteEntryNotFoundError":
            raise self.error
        info = SimpleNamespace(dtype="BF16", shape=[4, 8])
        files = {"model.safetensors": SimpleNamespace(tensors={"a.weight": info, "lm_head.weight": info})}
        return SimpleNamespace(files_metadata=files, metadata=None)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, no_network: None) -> Hub:
    monkeypatch.undo()
    return Hub(monkeypatch)


def failure(name: str) -> Exception:
    """Return an error of huggingface_hub, made without the response that some of them want."""
    from huggingface_hub import errors

    kind = getattr(errors, name)
    error: Exception = kind.__new__(kind, name)
    return error


def test_the_config_of_a_repository(fake: Hub, tmp_path: Path) -> None:
    fake.path = tmp_path / "config.json"
    fake.path.write_text(json.dumps(CONFIG))
    found = hub.load_hub("org/name")
    assert (found.kind, found.config, found.stored) == ("hub", CONFIG, None)
    with_headers = hub.load_hub("org/name", headers=True)
    assert with_headers.stored is not None
    assert with_headers.stored.tensor_bytes == 2 * 2 * 32


def test_what_is_cached_is_not_downloaded(fake: Hub, tmp_path: Path) -> None:
    fake.cached = tmp_path / "config.json"
    fake.cached.write_text(json.dumps(CONFIG))
    assert hub.load_hub("org/name").config == CONFIG
    assert fake.downloads == []


def test_a_repository_without_a_config_is_read_from_its_headers(fake: Hub) -> None:
    fake.error = failure("RemoteEntryNotFoundError")
    found = hub.load_hub("org/name")
    assert found.config is None
    assert found.stored is not None
    assert found.stored.parameters == 64


@pytest.mark.parametrize(
    ("name", "words"),
    [("GatedRepoError", "gated"), ("RepositoryNotFoundError", "not on the Hub"), ("OfflineModeIsEnabled", "OFFLINE"),
     ("LocalEntryNotFoundError", "cache"), ("HFValidationError", "not a repository name")],
)  # fmt: skip
def test_errors_of_the_hub_say_what_to_do(fake: Hub, name: str, words: str) -> None:
    fake.error = failure(name)
    with pytest.raises(UserError, match=words):
        hub.load_hub("org/name")


def test_no_network_is_said_plainly(fake: Hub) -> None:
    fake.error = ConnectionError("nobody there")
    with pytest.raises(UserError, match="could not ask the Hub"):
        hub.load_hub("org/name")


class Handler(BaseHTTPRequestHandler):
    """The few addresses of a Hub that the official client asks for one repository."""

    weights = safetensors_bytes()

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        files = {"config.json": json.dumps(CONFIG).encode(), "model.safetensors": self.weights}
        name = self.path.rpartition("/")[2]
        known = "/resolve/main/" in self.path and name in files and "/org/tiny/" in self.path
        raw = files[name] if known else b"{}"
        self.send_response(200 if known else 404)
        self.send_header("ETag", '"abc"')
        self.send_header("X-Repo-Commit", "0" * 40)
        if not known:
            self.send_header("X-Error-Code", "EntryNotFound" if "/org/tiny/" in self.path else "RepoNotFound")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        if body:
            self.wfile.write(raw)

    def log_message(self, *_: Any) -> None:
        return


ASK = """
import sys
from sizeup.errors import UserError
from sizeup.llm.hub import load_hub
try:
    found = load_hub(sys.argv[1], headers=len(sys.argv) > 2)
    print(dict(found.config or {}), found.stored and found.stored.parameters)
except UserError as error:
    print("UserError", error)
"""


def ask_in_a_fresh_process(*arguments: str, **environment: str) -> str:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", ASK, *arguments], env=kept | environment, capture_output=True, text=True, timeout=60
    )
    return done.stdout + done.stderr[-500:]


def test_the_official_client_asks_a_hub_that_we_serve(tmp_path: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings = {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(tmp_path / "home")}
    try:
        assert str(CONFIG) in ask_in_a_fresh_process("org/tiny", **settings)
        assert f"{CONFIG} 4" in ask_in_a_fresh_process("org/tiny", "headers", **settings)
        assert "UserError org/gone is not on the Hub" in ask_in_a_fresh_process("org/gone", **settings)
    finally:
        server.shutdown()
        server.server_close()
    offline = settings | {"HF_HUB_OFFLINE": "1"}
    assert str(CONFIG) in ask_in_a_fresh_process("org/tiny", **offline)
    assert "not in the local cache" in ask_in_a_fresh_process("org/else", **offline)


def test_a_hub_that_does_not_answer_is_an_error_at_once(tmp_path: Path) -> None:
    # port 9 (discard) of the loopback: nobody listens, and huggingface_hub would retry for half a minute
    answer = ask_in_a_fresh_process("org/tiny", HF_ENDPOINT="http://127.0.0.1:9", HF_HOME=str(tmp_path))
    assert "127.0.0.1:9 was not reached" in answer
    assert "Retrying" not in answer


def test_an_impossible_endpoint_is_an_error_that_names_it(tmp_path: Path) -> None:
    assert "HF_ENDPOINT" in ask_in_a_fresh_process("org/tiny", HF_ENDPOINT="http://[x", HF_HOME=str(tmp_path))
