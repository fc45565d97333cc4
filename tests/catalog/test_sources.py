"""The bibliography: every entry complete."""

import re
from pathlib import Path

import pytest

import sizeup.fitted
from sizeup.sources import bibliography

FITTED = Path(sizeup.fitted.__file__).parent


@pytest.mark.parametrize("key", sorted(bibliography()))
def test_source_is_complete(key):
    entry = bibliography()[key]
    assert entry.title
    assert not entry.url or entry.url.startswith("https://")
    assert not entry.date or re.fullmatch(r"\d{4}(-\d\d(-\d\d)?)?", entry.date)
    assert (
        entry.url
        or key in ("azad2024", "vendor_datasheet", "model_card", "unsourced")
        or entry.title.startswith(("Unread", "Derived"))
        or (key.startswith("fitted_") and (FITTED / f"{key.removeprefix('fitted_')}.json").is_file())
    )


def test_the_papers_that_formulas_cite_are_there():
    wanted = "azad2024 gpt3 zero chinchilla lora qlora korthikanti2022 palm kaplan2020 pope2022 deepseek_v2 megatron"
    wanted += " narayanan2021 flashattention gptq awq llm_int8 mx_spec llama_cpp gguf transformers roofline t5 mixtral"
    assert set(wanted.split()) <= set(bibliography())
