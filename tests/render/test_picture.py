"""Pictures as files: SVG with a description, sheets, PNG, pages; nothing in a name becomes markup."""

from __future__ import annotations

import re
import struct
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from sizeup.card import Card, size_card
from sizeup.cli import cli
from sizeup.errors import UserError
from sizeup.machine import parse_machine
from sizeup.render import picture
from sizeup.render.charts import Chart, model_charts
from sizeup.render.charts.theme import COLOURS, DARK, LIGHT
from sizeup.sizing import model
from sizeup.web.report import report
from sizeup.web.size_view import size_view

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&amp;"


def card(name: str = "llama-3.2-1b") -> Card:
    """A card, perhaps of a model with another name."""
    known = model("llama-3.2-1b")
    return size_card(replace(known, name=name), cluster=parse_machine("rtx-4090"))


def charts(name: str = "llama-3.2-1b", theme: str = "light") -> tuple[Chart, ...]:
    """Its pictures."""
    return model_charts(card(name), theme=theme)


def luminance(colour: str) -> float:
    """The relative luminance of WCAG."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """The contrast of two colours by WCAG."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
def test_words_are_readable_and_every_colour_has_one_purpose(theme: object) -> None:
    background = getattr(theme, "background")  # noqa: B009
    for name in ("ink", "muted", "limit"):
        assert contrast(getattr(theme, name), background) >= 4.5
    values = [getattr(theme, name) for name in COLOURS]
    assert len(set(values)) == len(values)


def test_svg_is_xml_and_says_what_it_shows() -> None:
    for chart in charts():
        root = ElementTree.fromstring(picture.svg(chart))
        assert root.get("role") == "img"
        assert root.get("aria-label") == chart.description


def test_a_sheet_holds_every_picture_one_below_the_other() -> None:
    root = ElementTree.fromstring(picture.sheet(charts()))
    inner = root.findall("{http://www.w3.org/2000/svg}svg")
    assert [image.get("aria-label") for image in inner] == [chart.description for chart in charts()]
    bottoms = [float(image.get("y", 0)) + float(image.get("height", 0)) for image in inner]
    tops = [float(image.get("y", 0)) for image in inner]
    assert all(top > bottom for top, bottom in zip(tops[1:], bottoms[:-1], strict=True))
    assert float(root.get("height", 0)) == bottoms[-1]


def test_identifiers_of_several_pictures_on_one_page_differ() -> None:
    drawn = picture.sheet(charts())
    found = re.findall(r' id="([^"]+)"', drawn)
    assert found
    assert len(found) == len(set(found))
    assert set(re.findall(r"url\(#([^)]+)\)", drawn)) <= set(found)


def test_the_same_picture_is_the_same_text() -> None:
    assert picture.sheet(charts()) == picture.sheet(charts())


def test_png_is_sharp() -> None:
    data = picture.png(charts()[:1])
    assert data.startswith(b"\x89PNG\r\n")
    width, _ = struct.unpack(">II", data[16:24])
    assert width == 2 * charts()[0].spec["width"]


def test_colours_of_an_inline_picture_follow_the_page() -> None:
    image = picture.inline_svg(charts()[0], prefix="p-")
    assert f"var(--blue, {LIGHT.blue})" in image
    assert f'"{LIGHT.ink}"' not in image
    assert picture.recoloured(charts()[0].spec) == picture.recoloured(charts()[0].spec).replace(LIGHT.blue, "")
    assert f'"{DARK.blue}"' in picture.recoloured(charts()[0].spec)


class Tags(HTMLParser):
    """Every element of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note it."""
        self.found.append((tag, dict(attrs)))


def test_a_hostile_name_stays_text_in_a_report() -> None:
    found = card(HOSTILE)
    text = report(size_view(found), model_charts(found), estimates=found.explained(), command=f"sizeup {HOSTILE}")
    tags = Tags(text)
    assert not [tag for tag, _ in tags.found if tag in ("script", "img", "iframe", "object", "link")]
    assert not [name for _, given in tags.found for name in given if name.startswith("on")]
    assert "alert(1)" in text


def test_a_hostile_name_ends_no_script_of_a_page() -> None:
    text = picture.page(charts(HOSTILE), title=HOSTILE)
    scripts = [tag for tag, _ in Tags(text).found if tag == "script"]
    assert len(scripts) == 2
    assert "<img" not in re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)


def test_a_report_has_no_script_and_asks_for_nothing_from_elsewhere() -> None:
    found = card()
    text = report(size_view(found), charts(), estimates=found.explained(), command="sizeup x", made="2026-01-02")
    tags = Tags(text)
    assert "script" not in {tag for tag, _ in tags.found}
    assert "button" not in {tag for tag, _ in tags.found}
    loaded = [given.get("src") or given.get("href") for tag, given in tags.found if tag != "a"]
    assert not [url for url in loaded if url]
    assert "default-src 'none'" in text
    for words in ("2026-01-02", "sizeup x", found.model.name, *(chart.description for chart in charts())):
        assert words in text


def test_a_report_explains_every_estimate_with_its_sources() -> None:
    found = card()
    text = report(size_view(found), (), estimates=found.explained(), command="sizeup x")
    for estimate in found.explained():
        assert estimate.name in text
        for key in estimate.sources:
            assert key.removeprefix("https://").split("/")[0] in text
    assert "<details>" not in text


def test_an_unknown_picture_names_those_that_there_are() -> None:
    assert picture.chosen(charts(), ["formats"]) == charts()[:1]
    with pytest.raises(UserError) as found:
        picture.chosen(charts(), ["format"])
    assert found.value.nearest[0] == "formats"


COMMANDS = {
    "model": ["llama-3.2-1b"],
    "train": ["train", "llama-3.2-1b", "--gpu", "h100", "--tokens", "10B"],
    "serve": ["serve", "llama-3.2-1b", "--gpu", "h100"],
    "envelope": ["envelope", "gpt2"],
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", ["picture.svg", "picture.PNG", "picture.html"])
def test_every_command_draws(command: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with_picture = CliRunner().invoke(cli, [*COMMANDS[command], "--plot", str(path)])
    without = CliRunner().invoke(cli, COMMANDS[command])
    assert with_picture.stdout == without.stdout
    assert f"wrote {path}" in with_picture.stderr
    start = {".svg": b"<svg", ".png": b"\x89PNG", ".html": b"<!doctype html>"}[path.suffix.lower()]
    assert path.read_bytes().startswith(start)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_reports(command: str, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    CliRunner().invoke(cli, [*COMMANDS[command], "--report", str(path)])
    text = path.read_text()
    assert text.count("<figure") >= 3
    assert "Every number explained" in text


def test_one_picture_and_a_dark_one(tmp_path: Path) -> None:
    path = tmp_path / "a.svg"
    CliRunner().invoke(cli, ["llama-3.2-1b", "--plot", str(path), "--picture", "formats", "--dark"])
    assert path.read_text().count("<svg") == 1
    assert DARK.background in path.read_text()


REFUSED = [
    (["--plot", "a.jpeg"], "what kind of file"), (["--plot", "a"], "what kind of file"),
    (["--plot", "nowhere/a.svg"], "no folder"), (["--report", "a.pdf"], "what kind of file"),
    (["--plot", "a.svg", "--picture", "stp"], "there is no picture"), (["--picture", "step"], "need --plot"),
    (["--plot", "folder.svg"], "is a folder"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "message"), REFUSED)
def test_what_cannot_be_written_is_an_error_and_leaves_nothing(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.svg").mkdir()
    found = CliRunner().invoke(cli, ["llama-3.2-1b", *words])
    assert isinstance(found.exception, UserError)
    assert message in found.exception.message
    assert [path.name for path in tmp_path.iterdir()] == ["folder.svg"]


def test_a_failed_write_leaves_the_old_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.svg"
    path.write_text("old")

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as stream:
            stream.write(data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    found = CliRunner().invoke(cli, ["llama-3.2-1b", "--plot", str(path)])
    assert isinstance(found.exception, UserError)
    assert "No space left" in found.exception.message
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
