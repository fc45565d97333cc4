"""The page's bridge: its numbers are the command line's, its errors the command line's, and it reaches no file."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from click.testing import CliRunner

from sizeup.cli import cli
from sizeup.units import format_gib
from sizeup.web.bridge import Bridge

ASKED = {
    "model": {"model": "llama-3.1-8b", "gpu": "rtx-4090", "context": "32k", "format": "q4_k_m"},
    "train": {"model": "llama-3.1-8b", "gpu": "h100", "gpus": "8", "method": "qlora", "tokens": "1B"},
    "serve": {"model": "qwen3-8b", "gpu": "h100", "gpus": "1", "input": "1k", "output": "256", "concurrency": "8"},
    "envelope": {"model": "70b", "gpu": "h100", "gpus": "64"},
}


@pytest.mark.parametrize("job", ASKED)
def test_the_answer_is_the_object_that_the_command_prints(job: str) -> None:
    reply = Bridge().answer({"job": job, "flags": ASKED[job]})
    words = reply["copies"]["Command line"].split()[1:]
    printed = CliRunner().invoke(cli, [*words, "--json"]).stdout
    assert json.loads(reply["copies"]["JSON"]) == json.loads(printed)
    assert reply["text"] == CliRunner().invoke(cli, words).stdout.rstrip("\n")


def test_the_page_shows_the_bytes_of_the_json() -> None:
    reply = Bridge().answer({"job": "model", "flags": {"model": "llama-3.1-8b"}})
    found = json.loads(reply["copies"]["JSON"])[0]
    assert f"{found['parameters']:,}" in reply["html"]
    assert format_gib(found["weight_bytes"]) in reply["html"]


@pytest.mark.parametrize(
    ("job", "flags", "said"),
    [
        ("train", {"model": "llama-3.1-8b", "gpu": "h100", "gpus": "8"}, "If you may change one thing"),
        ("train", {"model": "llama-3.1-8b", "method": "lora", "tokens": "1B", "cheapest": "true"}, "Cheapest machines"),
        ("train", {"model": "llama-3.1-8b", "gpu": "rtx-3090", "method": "full"}, "or 8 × RTX 3090"),
        ("serve", {"model": "llama-3.1-8b", "gpu": "h100", "rate": "4"}, "How requests differ"),
        ("serve", {"model": "llama-3.1-8b", "gpu": "h100", "gpus": "1"}, "measured runs of this model on this card"),
    ],
)
def test_the_page_says_what_the_screen_says(job: str, flags: dict[str, str], said: str) -> None:
    assert said in Bridge().answer({"job": job, "flags": flags})["html"]


@pytest.mark.parametrize("job", ["model", "train", "serve"])
def test_every_figure_that_can_be_pressed_is_explained(job: str) -> None:
    bridge = Bridge()
    reply = bridge.answer({"job": job, "flags": ASKED[job]})
    numbers = [int(text.split('"')[0]) for text in reply["html"].split('data-why="')[1:]]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) > 3
    for number in numbers:
        why = bridge.answer({"ask": "why", "job": job, "flags": ASKED[job], "number": number})
        assert why["ok"]
        assert 'class="number"' in why["html"]


@pytest.mark.parametrize("job", ASKED)
def test_pictures_come_in_the_width_and_theme_asked_for(job: str) -> None:
    request = {"ask": "charts", "job": job, "flags": ASKED[job], "theme": "dark", "width": 340}
    charts = Bridge().answer(request)["charts"]
    assert len(charts) > 1
    for chart in charts:
        assert chart["spec"]["width"] == 340
        assert "title" not in chart["spec"]
        assert chart["title"]
        assert chart["description"]
    assert charts != Bridge().answer({**request, "theme": "light"})["charts"]


def test_days_and_dollars_against_gpus_come_later() -> None:
    more = Bridge().answer({"ask": "more-charts", "job": "train", "flags": ASKED["train"]})["charts"]
    assert [chart["name"] for chart in more] == ["days-against-gpus", "dollars-against-gpus"]
    assert Bridge().answer({"ask": "more-charts", "job": "model", "flags": ASKED["model"]})["charts"] == []


@pytest.mark.parametrize(
    ("job", "flags", "message"),
    [
        ("model", {"model": "rtx4900"}, "rtx4900"),
        ("train", {"model": "llama-3.1-8b", "gpu": "rtx4900"}, "rtx-4090"),
        ("train", {"model": "llama-3.1-8b", "gpu": "h100", "tpp": "3"}, "tpp"),
        ("serve", {"model": "llama-3.1-8b", "gpu": "h100", "input": "lots"}, "input"),
        ("serve", {"model": "llama-3.1-8b"}, "gpu is missing"),
        ("envelope", {"model": "70b", "mfu": "3"}, "mfu"),
        ("dance", {}, "dance"),
        ("model", [], "flags"),
    ],
)
def test_what_cannot_be_answered_says_why(job: str, flags: object, message: str) -> None:
    reply = Bridge().answer({"job": job, "flags": flags})
    assert not reply["ok"]
    assert message in reply["error"] + reply["hint"]
    assert "defect" not in reply["hint"]


def test_files_and_the_hub_are_out_of_reach(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text('{"model_type": "llama"}')
    trace = {"model": "llama-3.1-8b", "gpu": "h100", "trace": str(config)}
    assert "machine" in Bridge().answer({"job": "model", "flags": {"model": str(config)}})["error"]
    assert "machine" in Bridge().answer({"job": "model", "flags": {"model": str(tmp_path)}})["error"]
    assert "trace" in Bridge().answer({"job": "serve", "flags": trace})["error"]
    assert "Hub" in Bridge().answer({"job": "model", "flags": {"model": "someone/something"}})["error"]


def test_markup_in_a_name_stays_text() -> None:
    reply = Bridge().answer({"job": "model", "flags": {"model": "<img src=x onerror=alert(1)>"}})
    assert "<img" not in reply["html"]


def held(bridge: Bridge, name: str, head: bytes, size: int) -> dict[str, object]:
    reply = bridge.hold(name, head, size)
    assert reply["ok"], reply
    return reply


def safetensors() -> tuple[bytes, int]:
    header = json.dumps({"model.embed_tokens.weight": {"dtype": "BF16", "shape": [10, 4], "data_offsets": [0, 80]}})
    return struct.pack("<Q", len(header)) + header.encode(), 8 + len(header) + 80


def test_a_pasted_configuration_is_the_catalogs_model() -> None:
    from sizeup.catalog.lookup import find_model

    bridge = Bridge()
    text = json.dumps(find_model("qwen3-8b").config()).encode()
    key = held(bridge, "config.json", text, len(text))["model"]
    reply = bridge.answer({"job": "train", "flags": {"model": key, "gpu": "h100", "method": "lora"}})
    known = bridge.answer({"job": "train", "flags": {"model": "qwen3-8b", "gpu": "h100", "method": "lora"}})
    pasted, named = (json.loads(r["copies"]["JSON"]) for r in (reply, known))
    assert {**pasted, "model": ""} == {**named, "model": ""}
    assert reply["copies"]["Command line"].startswith("sizeup train config.json ")


def test_a_weight_file_is_sized_by_its_header_alone() -> None:
    bridge = Bridge()
    head, size = safetensors()
    assert bridge.hold("m.safetensors", head[:20], size) == {"ok": True, "more": True}
    key = held(bridge, "../m.safetensors", head, size)["model"]
    found = json.loads(bridge.answer({"job": "model", "flags": {"model": key}})["copies"]["JSON"])[0]
    assert (found["parameters"], found["weight_bytes"]) == (40, 80)


@pytest.mark.parametrize(
    ("name", "head", "size"),
    [
        ("m.gguf", b"GGUFxxxxxxxxxxxxxxxxxxxxxxxxx", 29),
        ("m.safetensors", b"\xff" * 20, 20),
        ("config.json", b"[1, 2]", 6),
        ("config.json", b"{", 1),
        ("m.exe", b"MZ", 2),
        ("m.safetensors", b"", 0),
        ("m.safetensors", b"12345678901", 5),
    ],
)
def test_other_content_is_refused(name: str, head: bytes, size: int) -> None:
    reply = Bridge().hold(name, head, size)
    assert not reply["ok"]
    assert reply["error"]
