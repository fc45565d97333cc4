"""What other calculators get wrong on current models, right here: exact sizes at 32,768 tokens, one sequence."""

from __future__ import annotations

import pytest

import sizeup

GIB = 2**30


def cache_gib(name: str) -> float:
    """Return the cache of one sequence of 32,768 tokens in 16-bit numbers [GiB]."""
    return sizeup.model(name).cache_bytes(tokens=32768, dtype="bf16").value / GIB


def test_llama_keeps_its_head() -> None:
    llama = sizeup.model("llama-3.1-8b")
    assert llama.weight_bytes("bf16").value == 16_060_522_496
    assert cache_gib("llama-3.1-8b") == 4.0


def test_deepseek_v3_caches_latents_and_leaves_mtp_out() -> None:
    deepseek = sizeup.model("deepseek-v3")
    assert round(deepseek.parameters / 1e9, 2) == 671.03
    assert deepseek.active_parameters < deepseek.parameters / 10
    assert round(cache_gib("deepseek-v3"), 2) == 2.14


def test_gemma_3_stops_at_its_windows() -> None:
    assert round(cache_gib("gemma-3-27b"), 2) == 2.91


def test_qwen3_next_keeps_states_instead_of_most_keys() -> None:
    model = sizeup.model("qwen3-next-80b")
    assert round(model.parameters / 1e9, 2) == 79.67
    tree = model.cache_bytes(tokens=32768, dtype="bf16")
    keys = sum(part.value for part in tree.parts if part.name.startswith("key value"))
    assert keys / GIB == pytest.approx(0.75, abs=0.005)
    assert (tree.value - keys) / GIB == pytest.approx(0.07, abs=0.005)


def test_gpt_oss_windows_and_mxfp4() -> None:
    model = sizeup.model("gpt-oss-20b")
    assert round(model.parameters / 1e9, 2) == 20.91
    assert round(cache_gib("gpt-oss-20b"), 3) == 0.753
    assert round(model.weight_bytes().value / 1e9, 2) == 13.76


def test_jamba_has_four_attention_layers() -> None:
    model = sizeup.model("jamba-v0.1")
    assert round(model.parameters / 1e9, 2) == 51.57
    tree = model.cache_bytes(tokens=32768, dtype="bf16")
    assert sum(part.value for part in tree.parts if part.name.startswith("key value")) / GIB == pytest.approx(0.5)
