"""Rows of serving cases as people write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sizeup.errors import UserError
from sizeup.evidence.cases import Case
from sizeup.serving.case import predict
from sizeup.serving.case_row import readable

PLAIN = {
    "case_id": "x", "group": "someone", "task": "online", "engine": "vllm", "engine_version": "0.11.0",
    "model": "meta-llama--Llama-3.1-8B", "weight_format": "bf16", "gpu": "h100", "n_gpus": "1", "tp": "1",
    "input_tokens": "1024", "output_tokens": "128", "concurrency": "16", "tpot_ms": "10", "quality": "A",
}  # fmt: skip


def case(**changed: str) -> Case:
    return Case("serving", {**PLAIN, **changed}, Path("."))


@pytest.mark.parametrize(
    ("column", "written", "means"),
    [
        ("engine", "TensorRT-LLM", "trtllm"),
        ("engine", "ollama", "llama.cpp"),
        ("engine", "something-new", "vllm"),
        ("weight_format", "", "bf16"),
        ("weight_format", "exl3-4.0bpw", "exl2-4.0"),
        ("weight_format", "int4-marlin", "gptq-int4"),
        ("kv_dtype", "fp8_e4m3", "fp8"),
        ("gpu", "RTX 4090 24GB", "rtx-4090"),
        ("input_tokens", "2k", "2048"),
        ("concurrency", "n/a", "1"),
        ("task", "serving", "online"),
        ("gpu_memory_utilization", "90%", "0.9"),
        ("gpu_memory_utilization", "high", ""),
        ("model", "Qwen/Qwen3-8B-AWQ", "Qwen/Qwen3-8B"),
    ],
)
def test_words_mean_what_people_mean(column: str, written: str, means: str) -> None:
    found, _ = readable(case(**{column: written}))
    assert found.row[column] == means


@pytest.mark.parametrize(
    ("column", "written"),
    [("engine", "something-new"), ("weight_format", "zq-77"), ("input_tokens", "long"), ("task", "unheard of")],
)
def test_what_was_decided_is_said(column: str, written: str) -> None:
    _, notes = readable(case(**{column: written}))
    assert any(written in note for note in notes)


def test_a_plain_row_needs_no_decision() -> None:
    assert readable(case())[1] == ()


def test_gpus_without_a_layout_work_together() -> None:
    assert readable(case(n_gpus="4", tp=""))[0].row["tp"] == "4"
    assert readable(case(n_gpus="2", tp="", engine="llama.cpp"))[0].row["pp"] == "2"


def test_the_year_tells_the_era_of_an_engine_without_a_version() -> None:
    early, notes = readable(case(engine_version="", year="2023"))
    assert early.row["engine_version"] == "0"
    assert any("2023" in note for note in notes)
    assert readable(case(engine_version="", year="2025"))[0].row["engine_version"] == ""


def test_a_model_that_nobody_knows_is_left_to_complain_about() -> None:
    assert readable(case(model="nobody/knows-Instruct"))[0].row["model"] == "nobody/knows-Instruct"


def test_an_unknown_card_is_named() -> None:
    with pytest.raises(UserError, match="abacus"):
        readable(case(gpu="abacus"))


def test_a_sparse_row_is_predicted_and_its_gaps_are_listed() -> None:
    sparse = Case("serving", {k: PLAIN[k] for k in ("case_id", "group", "model", "gpu", "tpot_ms")}, Path("."))
    found = predict(sparse, left_out=None)
    assert found.values["tpot_ms", ""] > 0
    assert len(found.assumptions) >= 3
