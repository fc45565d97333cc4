"""The docs are true: the README's commands are what CI runs, its sample is what the program prints, pages are fresh."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def test_ci_runs_the_readme_s_test_command() -> None:
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    assert ".[test]" in README
    assert ".[test]" in script
    assert '"$venv/bin/pytest"' in script


def test_the_readme_shows_what_the_program_prints() -> None:
    sample = re.search(r"\$ (sizeup llama-3\.1-8b --gpu rtx-4090)\n(.*?)```", README, re.DOTALL)
    assert sample
    words = sample.group(1).split()[1:]
    command = [sys.executable, "-c", "from sizeup.cli import main; main()", *words]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert sample.group(2) == printed


@pytest.mark.parametrize("page", sorted(path.relative_to(ROOT) for path in ROOT.glob("docs/**/*.md")))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    text = (ROOT / page).read_text("utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert ((ROOT / page).parent / target).exists(), target


def test_generated_pages_are_fresh() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "make_docs.py"), "--check"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
