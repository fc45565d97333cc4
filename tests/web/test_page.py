"""The page in a real browser: every job, files, links, explanations, keyboard, narrow screens, accessibility."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sizeup.cli import cli

pytestmark = pytest.mark.web

ROOT = Path(__file__).resolve().parents[2]
QUESTIONS = {
    "model": "#model?model=qwen3-8b&gpu=rtx-4090&context=16k",
    "train": "#train?model=llama-3.1-8b&gpu=h100&gpus=2&method=lora&tokens=1B",
    "serve": "#serve?model=llama-3.1-8b&gpu=h100&gpus=1&input=1k&output=256&concurrency=8",
    "envelope": "#envelope?model=llama-3.1-8b&gpu=h100&gpus=8",
}
COMMANDS = {
    "model": "qwen3-8b --gpu rtx-4090 --context 16k",
    "train": "train llama-3.1-8b --gpu h100 --gpus 2 --method lora --tokens 1B",
    "serve": "serve llama-3.1-8b --gpu h100 --gpus 1 --input 1k --output 256 --concurrency 8",
    "envelope": "envelope llama-3.1-8b --gpu h100 --gpus 8",
}


def test_the_page_says_what_the_command_line_says(visit_both: Any, same: Callable[..., None]) -> None:
    page = visit_both.open()
    for job, question in QUESTIONS.items():
        visit_both.go(question)
        printed = CliRunner().invoke(cli, [*COMMANDS[job].split(), "--json"]).stdout
        same(json.loads(printed), visit_both.json())
        assert page.inner_text("#line") == f"sizeup {COMMANDS[job]}"
        page.wait_for_selector("#charts:not([data-stale]) .plot[data-drawn]")
        assert page.locator(".plot").count() == page.locator(".plot svg[role=img]").count()


def test_a_first_answer_is_there_without_any_script(browser: Any, site: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(site)
    assert "8,030,261,248" in page.inner_text("#result")
    assert "Fits" in page.inner_text("#result .word")
    context.close()


def config(name: str) -> str:
    from sizeup.catalog.lookup import find_model

    return json.dumps(find_model(name).config())


def test_a_pasted_configuration_and_the_link_to_it(visit_both: Any, same: Callable[..., None]) -> None:
    page = visit_both.open("#train?model=qwen3-8b&gpu=rtx-4090&method=qlora")
    named = visit_both.json()
    page.click("#paste")
    page.fill("#paste-text", config("qwen3-8b"))
    page.click("#paste-use")
    page.wait_for_selector("#given:not([hidden])")
    visit_both.settle()
    pasted = visit_both.json()
    same({**named, "model": ""}, {**pasted, "model": ""})
    shared = page.context.new_page()
    shared.goto(page.url)
    shared.wait_for_selector("#answer[aria-busy=false] #headline")
    assert shared.inner_text(".verdict + .figures") == page.inner_text(".verdict + .figures")


def weights(tmp_path: Path) -> tuple[Path, int]:
    """A safetensors file of 24 MB whose header is all that is read."""
    shape, size = [2000, 6000], 2000 * 6000 * 2
    header = json.dumps({"model.embed_tokens.weight": {"dtype": "BF16", "shape": shape, "data_offsets": [0, size]}})
    path = tmp_path / "tiny.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header.encode())
        file.truncate(8 + len(header) + size)
    return path, size


def test_a_chosen_weight_file_is_sized(visit_both: Any, tmp_path: Path) -> None:
    page = visit_both.open()
    path, size = weights(tmp_path)
    page.click("#paste")
    page.set_input_files("#file", str(path))
    page.wait_for_selector("#given:not([hidden])")
    visit_both.settle()
    assert (visit_both.json()[0]["weight_bytes"], visit_both.json()[0]["parameters"]) == (size, 12_000_000)
    page.click("#given-drop")
    visit_both.settle()
    assert "Llama-3.1-8B" in page.inner_text("#headline")


DROP = """([name, text]) => {
  const data = new DataTransfer();
  data.items.add(new File([text], name));
  const how = { dataTransfer: data, bubbles: true, cancelable: true };
  document.body.dispatchEvent(new DragEvent("dragenter", how));
  document.body.dispatchEvent(new DragEvent("drop", how));
}"""


def test_a_dropped_configuration_and_a_dropped_nonsense(visit: Any) -> None:
    page = visit.open()
    page.evaluate(DROP, ["config.json", config("qwen3-8b")])
    page.wait_for_selector("#given:not([hidden])")
    visit.settle()
    assert visit.json()[0]["parameters"] == 8_190_735_360
    page.evaluate(DROP, ["notes.txt", "hello"])
    page.wait_for_selector(".verdict.error")
    assert "neither a config.json nor a weight file" in page.inner_text("#headline")
    page.evaluate(DROP, ["broken.gguf", "GGUF and then nothing of the kind"])
    page.wait_for_selector("#headline:has-text('broken.gguf')")
    page.evaluate(DROP, ["config.json", '{"model_type": "no-such-model"}'])
    page.wait_for_selector("#headline:has-text('no-such-model')")


def test_a_wrong_name_says_so_and_offers_the_right_one(visit_both: Any) -> None:
    page = visit_both.open("#train?model=llama-3.1-8b&gpu=rtx4900&method=qlora")
    assert "rtx4900" in page.inner_text("#headline")
    assert "did you mean rtx-4090" in page.inner_text("#result .hint")
    assert page.is_hidden("#take")
    page.click("#result button:has-text('rtx-4090')")
    page.wait_for_selector("#result .verdict:not(.error)")
    assert page.input_value("#gpu") == "rtx-4090"


@pytest.mark.parametrize(
    "question",
    [
        "#model?model=<img src=x onerror=alert(1)>",
        "#train?tp=many&model=qwen3-8b&gpu=h100",
        "#serve?model=70b&gpu=h100",
        "#model?config=%%%&model=x",
    ],
)
def test_nonsense_in_the_address_is_an_error_message(visit: Any, question: str) -> None:
    page = visit.open(question)
    assert page.locator("#result .verdict.error").count() == 1
    assert page.locator("#result img").count() == 0


def test_a_shared_link_restores_every_control(visit: Any) -> None:
    page = visit.open("#serve?model=llama-3.1-8b&gpu=h100")
    page.fill("#serve-input", "4k")
    page.focus("input[data-for=serve-concurrency]")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.select_option("#serve-format", "fp8")
    page.wait_for_url("**format=fp8**")
    visit.settle()
    assert "concurrency=128" in page.url
    other = page.context.new_page()
    other.goto(page.url)
    other.wait_for_selector("#answer[aria-busy=false] #headline")
    for identity in ("#model", "#gpu", "#serve-input", "#serve-concurrency", "#serve-format"):
        assert other.input_value(identity) == page.input_value(identity)
    assert other.inner_text(".verdict + .figures") == page.inner_text(".verdict + .figures")


def test_going_back_goes_back(visit: Any) -> None:
    page = visit.open("#model?model=qwen3-8b&gpu=rtx-4090")
    page.click("#jobs >> text=Envelope")
    page.wait_for_selector("#result .word:has-text('envelope')")
    page.go_back()
    page.wait_for_selector("#result .word:has-text('Fits')")
    assert page.get_attribute("#jobs a[data-job=model]", "aria-current") == "page"


def test_a_number_opens_its_formula_and_sources(visit_both: Any) -> None:
    page = visit_both.open("#model?model=llama-3.1-8b&gpu=rtx-4090")
    page.click(".figure:has-text('Cache')")
    page.wait_for_selector("#why-body .sources")
    words = page.inner_text("#why-body")
    assert "layers x sequences x kept_tokens" in words
    assert "128 KiB" in words or "1.00 GiB" in words
    page.keyboard.press("Escape")
    assert page.is_hidden("#why")
    assert page.evaluate("document.activeElement.classList.contains('figure')")


def test_another_plan_can_be_looked_at(visit: Any) -> None:
    page = visit.open("#train?model=llama-3.1-8b&gpu=h100&gpus=8&tokens=1B")
    before = page.inner_text("#result .lead")
    page.click("section:has(h3:text-is('Other plans')) tbody button >> nth=0")
    page.wait_for_url("**tp=**")
    visit.settle()
    assert page.inner_text("#result .lead") != before
    assert page.evaluate("document.activeElement.id") == "headline"


def test_it_works_by_keyboard(visit: Any) -> None:
    page = visit.open()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "skip"
    page.focus("#model")
    page.keyboard.press("Control+A")
    page.keyboard.type("mistral 7b v0.3", delay=5)
    page.keyboard.press("ArrowDown")
    assert page.get_attribute("#model", "aria-activedescendant") == "model-option-0"
    page.keyboard.press("Enter")
    page.wait_for_selector("#headline:has-text('Mistral')")
    assert page.get_attribute("#model", "aria-expanded") == "false"


def test_copying(visit: Any) -> None:
    page = visit.open("#serve?model=llama-3.1-8b&gpu=h100")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    for name, start in (("Command line", "sizeup serve"), ("Python", "import sizeup"), ("Scenario file", "model ="),
                        ("Markdown", "**Fits**")):  # fmt: skip
        page.click(f'[aria-label="Copy as {name}"]')
        page.wait_for_selector(f'[aria-label="Copy as {name}"].copied')
        assert page.evaluate("navigator.clipboard.readText()").startswith(start)
    page.click("#copy-link")
    page.wait_for_selector("#copy-link.copied")
    assert page.evaluate("navigator.clipboard.readText()") == page.url


@pytest.mark.parametrize("job", QUESTIONS)
def test_nothing_is_wider_than_a_phone(browser: Any, local_site: str, job: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto(local_site + QUESTIONS[job])
    page.wait_for_selector(".plot[data-drawn]")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("job", QUESTIONS)
def test_nothing_serious_is_found_by_axe(browser: Any, local_site: str, job: str, theme: str) -> None:
    axe = ROOT / "node_modules" / "axe-core" / "axe.min.js"
    if not axe.is_file():
        pytest.skip("axe is missing: npm ci")
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme=theme, bypass_csp=True)
    page = context.new_page()
    page.goto(local_site + QUESTIONS[job])
    page.wait_for_selector(".plot[data-drawn]")
    for details in page.locator("details").all():
        details.evaluate("element => element.open = true")
    page.evaluate(axe.read_text())
    found = page.evaluate("async () => (await axe.run(document)).violations")
    serious = [(one["id"], [node["html"][:120] for node in one["nodes"]][:3]) for one in found
               if one["impact"] in ("serious", "critical")]  # fmt: skip
    context.close()
    assert serious == []
