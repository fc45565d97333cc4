"""The card: what holds a model, verdicts at their edges, changes that really make it fit."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sizeup
from sizeup.card import Kept, size_card, verdict
from sizeup.catalog.lookup import list_models
from sizeup.holding import USABLE_SHARE, divides, fewest_gpus, gpus_used, usable_bytes
from sizeup.machine import find_gpu, parse_machine
from sizeup.render.card_text import card_lines

LLAMA = sizeup.model("llama-3.1-8b")
GEMMA = sizeup.model("gemma-3-27b")


@pytest.mark.parametrize("machine", ["rtx-4090", "h100", "2xrtx-4090", "8xh100"])
@pytest.mark.parametrize("model", [LLAMA, GEMMA], ids=["llama", "gemma"])
def test_longest_context_and_most_sequences_are_the_last_that_fit(model: sizeup.Model, machine: str) -> None:
    cluster = parse_machine(machine)
    answer = verdict(model, "awq-int4", cluster, Kept(context=4096, sequences=1, dtype="bf16"))
    assert answer.fits
    room = answer.budget_bytes - answer.weights.value
    assert answer.max_context
    assert model.cache_bytes(tokens=answer.max_context).value <= room
    if answer.max_context < (model.architecture.max_positions or 0):  # type: ignore[union-attr]
        assert model.cache_bytes(tokens=answer.max_context + 1).value > room
    assert answer.max_sequences
    assert model.cache_bytes(tokens=4096, sequences=answer.max_sequences).value <= room
    assert model.cache_bytes(tokens=4096, sequences=answer.max_sequences + 1).value > room


@given(need=st.integers(1, 10**13))
@settings(max_examples=50)
def test_fewest_gpus_hold_it_and_divide_the_model(need: int) -> None:
    gpu = find_gpu("h100")
    count = fewest_gpus(LLAMA, need, gpu)
    if count is not None:
        assert usable_bytes(gpu.memory_bytes) * count >= need
        assert divides(LLAMA, count)
        assert count <= gpu.gpus_per_node or count % gpu.gpus_per_node == 0


def test_smaller_formats_never_need_more() -> None:
    placements = {p.format: p for p in size_card(LLAMA).placements}
    assert placements["q4_k_m"].need_bytes < placements["q8_0"].need_bytes < placements["bf16"].need_bytes
    assert all(
        p.smallest_gpu and p.smallest_gpu.memory_bytes * USABLE_SHARE >= p.need_bytes for p in placements.values()
    )


def test_a_verdict_that_fails_offers_a_change_that_fits() -> None:
    card = size_card(sizeup.model("llama-3.1-70b"), cluster=parse_machine("2xrtx-4090"))
    assert card.fits is False
    offered = next(change for change in card.changes if "weights" in change).split()[0]
    assert verdict(card.model, offered, card.cluster, Kept(context=8192, sequences=1, dtype="bf16")).fits  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "machine", "used"),
    [
        ("llama-3.1-8b", "6xh100", 4), ("llama-3.1-8b", "8xh100", 8), ("llama-3.1-8b", "64xh100", 64),
        ("qwen2.5-7b", "8xh100", 8), ("qwen2.5-7b", "p5.48xlarge", 8), ("gpt2", "8xh100", 8),
        ("smollm-135m", "8xh100", 6),
                ("minimax-m3", "8xh100", 8),
        ("deepseek-v3", "16xh100", 16), ("jamba", "8xh100", 8),
    ],
)  # fmt: skip
def test_as_many_gpus_are_used_as_divide_heads_and_layers(name: str, machine: str, used: int) -> None:
    card = size_card(sizeup.model(name), cluster=parse_machine(machine))
    assert card.cluster
    assert gpus_used(card.model, card.cluster) == used
    assert card.verdicts[0].budget_bytes == used * usable_bytes(card.cluster.node.memory_bytes)


def test_absurd_numbers_of_gpus_are_refused() -> None:
    with pytest.raises(sizeup.UserError, match="more than the"):
        size_card(LLAMA, cluster=parse_machine("80000000xh100"))


def test_states_before_activations() -> None:
    full, lora, qlora = size_card(LLAMA).states
    assert full.value == 16 * LLAMA.parameters
    assert lora.value == LLAMA.weight_bytes("bf16").value + 16 * LLAMA.lora_parameters(rank=16)
    assert qlora.value < lora.value < full.value


def test_lora_on_the_real_architecture() -> None:
    # 32 layers, rank 8 on query (4096 -> 4096) and value (4096 -> 1024)
    by_hand = 32 * 8 * ((4096 + 4096) + (4096 + 1024))
    assert LLAMA.lora_parameters(rank=8, targets=frozenset({"query", "value"})) == by_hand == 3_407_872


@pytest.mark.parametrize("spec", ["70b", "1.5B", "0.5b"])
def test_a_bare_size_is_envelope_only_and_says_so(spec: str) -> None:
    card = size_card(sizeup.model(spec))
    assert all(p.cache is None for p in card.placements)
    assert "bare size" in card.model.parameters_by_part.assumptions[0]


ODD = {
    "model_type": "llama", "hidden_size": 48, "intermediate_size": 130, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100,
}  # fmt: skip


def described(tmp_path: Path, **changes: object) -> sizeup.Model:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(ODD | changes))
    return sizeup.model(str(path))


def test_a_format_that_cannot_hold_the_model_is_left_out_of_its_card(tmp_path: Path) -> None:
    model = described(tmp_path, torch_dtype="bfloat16")
    card = size_card(model)
    assert card.placements[0].weights.value == 2 * model.parameters
    assert "q8_0" not in {p.format for p in card.placements}
    assert any("no q8_0" in text and "whole blocks" in text for text in card.left_out)
    verdicts = size_card(model, cluster=parse_machine("rtx-4090"))
    assert verdicts.fits
    with pytest.raises(sizeup.UserError, match="whole blocks"):
        size_card(model, format="q8_0")


@pytest.mark.parametrize(("stated", "width"), [(None, 4), ("float32", 4), ("bfloat16", 2), ("float16", 2)])
def test_weights_and_cache_have_the_dtype_that_transformers_loads(
    tmp_path: Path, stated: str | None, width: int
) -> None:
    model = described(tmp_path, dtype=stated)
    assert model.weight_bytes().value == width * model.parameters
    assert model.cache_bytes(tokens=10, sequences=3).value == 2 * 2 * 2 * 12 * 10 * 3 * width


def test_changes_keep_the_cache_dtype_and_speak_of_sequences() -> None:
    cluster = parse_machine("rtx-4090")
    card = size_card(LLAMA, context=8192, sequences=7, cluster=cluster)
    assert card.fits is False
    assert card.changes[0] == "6 sequences instead of 7"
    # with 8-bit keys and values twice as many fit, so nothing has to change
    assert size_card(LLAMA, context=8192, sequences=7, cache_dtype="fp8", cluster=cluster).fits


def test_no_change_proposes_a_format_that_the_card_cannot_run() -> None:
    card = size_card(sizeup.model("qwen3-32b"), cluster=parse_machine("a100"))
    assert not any(change.startswith("fp8") for change in card.changes)


def test_mxfp4_experts_run_on_ampere() -> None:
    first = size_card(sizeup.model("gpt-oss-20b")).placements[0]
    assert first.format == "mxfp4"
    assert first.smallest_gpu
    assert first.smallest_gpu.compute_capability < "9"


@pytest.mark.parametrize("machine", [None, "8xh100"])
def test_every_catalog_card_fits_the_screen(machine: str | None) -> None:
    cluster = parse_machine(machine) if machine else None
    for record in list_models(sort="parameters")[::7]:
        card = size_card(sizeup.model(record.name), sequences=64, context=32768, cluster=cluster)
        lines = [click.unstyle(line) for line in card_lines(card)]
        # a command to type next is not broken
        assert [line for line in lines if len(line) > 80 and "sizeup " not in line] == []
