"""``sizeup serve`` as a user meets it: exit codes, the JSON contract, loads, flags, 80 columns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from sizeup.cli.serve import serve
from sizeup.errors import UserError
from sizeup.serving.flags import KINDS
from sizeup.serving.scenario import answer_of

CONTRACT = (
    "fits", "memory", "cache_tokens", "max_concurrency", "ttft_ms", "tpot_ms", "output_tokens_per_second",
    "usd_per_million_output_tokens", "plan", "alternatives", "bands", "definitions",
)  # fmt: skip
MATRIX = (
    ("llama-3.1-8b", "--gpu", "h100", "--gpus", "1", "--format", "bf16"),
    ("llama-3.1-70b", "--gpu", "h100", "--gpus", "4", "--format", "fp8"),
    ("llama-3.1-70b", "--gpu", "h200", "--gpus", "8", "--format", "fp8"),
    ("deepseek-v3", "--gpu", "h200", "--gpus", "8"),
    ("gpt-oss-120b", "--gpu", "h100", "--gpus", "1"),
    ("qwen3-30b-a3b", "--gpu", "rtx-4090", "--gpus", "2", "--format", "q4_k_m"),
    ("llama-3.1-8b", "--gpu", "rtx-4090", "--gpus", "1", "--format", "q4_k_m"),
)


def run(*words: str) -> tuple[int, str]:
    """Run the command; return its exit code and what it printed."""
    runner = CliRunner()
    with runner.isolation() as streams:
        code = serve.main(list(words), standalone_mode=False)
        text = streams[0].getvalue().decode()
    return (code if isinstance(code, int) else 0), text


def run_json(*words: str) -> dict[str, Any]:
    """Run the command with ``--json``."""
    data: dict[str, Any] = json.loads(run(*words, "--json")[1])
    return data


@pytest.mark.parametrize("words", MATRIX, ids=lambda words: " ".join(words))
def test_the_promised_answers(words: tuple[str, ...]) -> None:
    before = 0.0
    for flying in ("1", "16", "64"):
        answer = run_json(*words, "--input", "2048", "--output", "256", "--concurrency", flying)
        assert answer["fits"]
        assert set(CONTRACT) <= set(answer)
        assert answer["tpot_ms"] >= before
        assert answer["ttft_ms"] > 0
        assert answer["flags"]
        before = answer["tpot_ms"]


def test_lines_stay_within_80_columns() -> None:
    code, text = run("llama-3.1-8b", "--gpu", "h100", "--gpus", "2", "--rate", "4")
    assert code == 0
    assert text.startswith("FITS")
    assert max(len(click.unstyle(line)) for line in text.splitlines()) <= 80


def test_too_big_exits_1_and_names_changes() -> None:
    code, text = run("llama-3.1-70b", "--gpu", "rtx-4090", "--gpus", "1")
    assert code == 1
    assert "DOES NOT FIT" in text
    assert "what would do" in text


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        (("--tp", "3"), "32 attention heads do not divide by 3"),
        (("--ep", "2"), "no routed experts"),
        (("--pp", "40"), "only 32 layers"),
    ],
)
def test_a_layout_that_cannot_be_is_an_error_that_says_why(axes: tuple[str, ...], said: str) -> None:
    with pytest.raises(UserError, match=said) as error:
        run("llama-3.1-8b", "--gpu", "h100", *axes)
    assert error.value.hint == "tp may be 1, 2, 4, 8, 16, 32"


def test_missed_target_exits_1() -> None:
    assert run("llama-3.1-8b", "--gpu", "h100", "--gpus", "1", "--concurrency", "64", "--tpot", "1")[0] == 1


def test_unknown_engine_and_two_loads_are_errors() -> None:
    with pytest.raises(UserError, match="no engine"):
        run("llama-3.1-8b", "--gpu", "h100", "--engine", "vlm")
    with pytest.raises(UserError, match="one kind of load"):
        run("llama-3.1-8b", "--gpu", "h100", "--rate", "1", "--burst", "4")


def test_what_cannot_be_served_says_why() -> None:
    with pytest.raises(UserError, match="token by token"):
        run("bert-base-uncased", "--gpu", "h100")
    longer = run_json("llama-3.1-8b", "--gpu", "h100", "--gpus", "1", "--input", "200k")
    assert "longer than the model's context of 131,072" in longer["problems"][0]
    shorter = run_json("llama-3.1-8b", "--gpu", "h100", "--gpus", "1", "--max-model-len", "1k")
    assert "longer than max_model_len" in shorter["problems"][0]
    cache = run_json("llama-3.1-8b", "--gpu", "h100", "--gpus", "1", "--cache-dtype", "q8_0")
    assert "vLLM has no q8_0 cache" in cache["problems"][0]
    assert run_json("llama-3.1-8b", "--gpu", "rtx-4090", "--gpus", "1", "--format", "q4_k_m", "--cache-dtype", "q8_0")[
        "fits"
    ]


def test_a_context_that_the_cache_does_not_hold_is_cut_in_the_command() -> None:
    answer = run_json("llama-3.1-70b", "--gpu", "h100", "--gpus", "1", "--format", "fp8")
    assert f"--max-model-len {answer['largest_context']}" in answer["flags"]["vllm"]
    assert "--max-model-len" not in run_json("llama-3.1-8b", "--gpu", "h100", "--gpus", "1")["flags"]["vllm"]


def test_trace_and_scenario(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("arrival_seconds,input,output\n0,1000,100\n1,2000,200\n2,3000,300\n")
    scenario = tmp_path / "case.toml"
    scenario.write_text(f'model = "llama-3.1-8b"\ngpu = "h100"\ngpus = 1\ntrace = "{trace}"\n')
    answer = run_json("--scenario", str(scenario))
    assert answer["load"] == {"input_tokens": 2000, "output_tokens": 200, "kind": "open", "concurrency": 1, "rate": 1.0}
    assert answer["saturation_requests_per_second"] > 1
    for name in ("ttft", "tpot", "itl", "e2e"):
        found = answer[f"{name}_ms_percentiles"]
        assert 0 < found["p50"] <= found["p90"] <= found["p99"]


def test_the_same_seed_gives_the_same_answer() -> None:
    words = ("llama-3.1-8b", "--gpu", "h100", "--gpus", "1", "--rate", "4", "--seed")
    first, again, other = (run_json(*words, seed) for seed in ("1", "1", "2"))
    assert first == again
    assert first["ttft_ms"] != other["ttft_ms"]


BAD_ROWS = ("0,1,1\n", "0,x,1\n", "0,10,1\n1,0,5\n", "0,10,1\nnan,1,5\n")


@pytest.mark.parametrize(
    "text",
    ["", "arrival_seconds,input\n0,1\n", *(f"arrival_seconds,input,output\n{rows}" for rows in BAD_ROWS)],
)
def test_traces_that_are_none_are_refused(tmp_path: Path, text: str) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text(text)
    with pytest.raises(UserError, match=r"trace\.csv"):
        run("llama-3.1-8b", "--gpu", "h100", "--gpus", "1", "--trace", str(trace))


def test_a_saturating_rate_is_an_answer_that_says_what_would_do() -> None:
    code, text = run("llama-3.1-8b", "--gpu", "h100", "--gpus", "1", "--format", "bf16", "--cache-dtype", "bf16",
                     "--rate", "40")  # fmt: skip
    assert code == 1
    assert text.startswith("SATURATED")
    answer = run_json("llama-3.1-8b", "--gpu", "h100", "--gpus", "1", "--rate", "400")
    assert answer["fits"]
    assert answer["saturated"]
    assert answer["tpot_ms"] is None
    assert answer["ladder"]
    for rung in answer["ladder"]:
        assert rung["speed"]["output_tokens_per_second"] == pytest.approx(400 * 256)


def test_the_weight_format_nearest_to_the_original_that_fits_is_taken() -> None:
    answer = run_json("llama-3.1-70b", "--gpu", "h100", "--gpus", "1")
    assert answer["fits"]
    assert answer["plan"]["weight_format"] == "fp8"
    assert any(reason.startswith("bf16 weights") for reason in answer["passed_over"])
    ampere = run_json("llama-3.1-70b", "--gpu", "a100", "--gpus", "1")
    assert ampere["plan"]["weight_format"] == "awq-int4"
    assert not run_json("llama-3.1-70b", "--gpu", "h100", "--gpus", "1", "--format", "bf16")["fits"]


def test_llama_cpp_leaves_what_does_not_fit_in_host_memory() -> None:
    words = ("--gpu", "rtx-4090", "--gpus", "1", "--format", "q4_k_m", "--concurrency", "1")
    away = run_json("llama-3.1-70b", *words)
    assert away["fits"]
    assert away["host_bytes"] > 10 * 2**30
    assert away["binds"].startswith("host memory")
    # weights in host memory are read once for every token
    assert away["tpot_ms"] > away["host_bytes"] / 89.6e9 * 1e3 * 0.95
    faster = run_json("llama-3.1-70b", *words, "--host-bandwidth", "400")
    assert faster["tpot_ms"] < away["tpot_ms"] / 2
    experts = run_json("qwen3-30b-a3b", "--gpu", "rtx-3060", "--gpus", "1", "--format", "q4_k_m", "--concurrency", "1")
    assert experts["plan"]["offload_experts"] > 0
    assert "--n-cpu-moe" in experts["flags"]["llama.cpp"]


def test_drafts_shorten_tpot_when_they_are_kept_and_lengthen_it_when_not() -> None:
    words = ("llama-3.1-70b", "--gpu", "h100", "--gpus", "4", "--format", "fp8", "--concurrency", "4")
    plain = run_json(*words)
    kept = run_json(*words, "--draft", "llama-3.2-1b", "--draft-tokens", "3", "--acceptance", "0.9")
    lost = run_json(*words, "--draft", "llama-3.2-1b", "--draft-tokens", "3", "--acceptance", "0")
    assert kept["tpot_ms"] < 0.6 * plain["tpot_ms"]
    assert lost["tpot_ms"] > plain["tpot_ms"]
    assert kept["cache_tokens"] < plain["cache_tokens"]
    assert "--speculative-config" in kept["flags"]["vllm"]


def test_a_cached_prefix_shortens_ttft() -> None:
    words = ("llama-3.1-8b", "--gpu", "h100", "--gpus", "1", "--input", "8k", "--concurrency", "8")
    assert run_json(*words, "--prefix-cached", "0.9")["ttft_ms"] < 0.6 * run_json(*words)["ttft_ms"]


def test_a_price_of_ones_own_is_used() -> None:
    words = ("llama-3.1-8b", "--gpu", "rtx-4090", "--gpus", "1", "--format", "q4_k_m", "--concurrency", "1")
    assert run_json(*words)["usd_per_million_output_tokens"] is None
    answer = run_json(*words, "--usd-per-gpu-hour", "0.36")
    dollars = 0.36 / 3600 / answer["output_tokens_per_second"] * 1e6
    assert answer["usd_per_million_output_tokens"] == pytest.approx(dollars)


def test_fewer_sequences_at_once_meet_a_tpot_that_all_of_them_miss() -> None:
    words = ("llama-3.1-8b", "--gpu", "h100", "--gpus", "1", "--format", "bf16", "--cache-dtype", "bf16",
             "--concurrency", "128", "--tpot", "20")  # fmt: skip
    answer = run_json(*words)
    assert answer["meets_targets"]
    assert answer["plan"]["max_num_seqs"] < 128
    assert answer["tpot_ms"] <= 20
    assert f"--max-num-seqs {answer['plan']['max_num_seqs']}" in answer["flags"]["vllm"]


def test_measured_runs_like_it_are_named() -> None:
    near = run_json("llama-3.1-70b", "--gpu", "h100", "--gpus", "4", "--format", "fp8")["nearest_measured"]
    assert "of this model on this card" in near
    far = run_json("qwen3-8b", "--gpu", "gb200", "--gpus", "1", "--format", "bf16")["nearest_measured"]
    assert "on other cards" in far


def test_the_cheapest_card_comes_first() -> None:
    answer = run_json("llama-3.1-8b", "--gpu", "cheapest", "--rate", "2", "--ttft", "2000", "--tpot", "60")
    prices = [offer["usd_per_hour"] for offer in answer["offers"]]
    assert prices == sorted(prices)
    assert answer["gpu"] == answer["offers"][0]["gpu"]
    assert answer["meets_targets"]


def test_every_flag_has_its_key_in_a_scenario() -> None:
    output = ("scenario", "save_scenario", "as_json", "why", "plot", "picture", "dark", "report")
    names = {parameter.name for parameter in serve.params if parameter.name not in output}
    assert {"model" if name == "model_spec" else name for name in names} == set(KINDS)


def test_a_saved_scenario_asks_the_same(tmp_path: Path) -> None:
    saved = tmp_path / "saved.toml"
    words = ("qwen3-8b", "--gpu", "h100", "--tp", "2", "--input", "4k", "--rate", "3", "--format", "fp8")
    first = run_json(*words, "--save-scenario", str(saved))
    assert run_json("--scenario", str(saved)) == first


@pytest.mark.parametrize(
    "line", ['tp = "two"', "tp = 0", "memory_utilization = 1.5", "rate = -1", "input = true", "engin = 1"]
)
def test_wrong_values_of_a_scenario_are_named(tmp_path: Path, line: str) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(f'model = "qwen3-8b"\ngpu = "h100"\n{line}\n')
    with pytest.raises(UserError, match=line.split(" ", maxsplit=1)[0]):
        run("--scenario", str(wrong))


def test_why_explains_each_number() -> None:
    text = run("llama-3.1-8b", "--gpu", "h100", "--gpus", "1", "--why")[1]
    for word in ("decode step", "TTFT", "sources"):
        assert word in text


def test_slots_of_llama_cpp_share_the_cache_that_is_told() -> None:
    answer = run_json("llama-3.1-8b", "--gpu", "rtx-4090", "--gpus", "1", "--format", "q4_k_m", "--concurrency", "16")
    assert answer["cache_tokens"] == 16 * (2048 + 256)


def test_attention_by_data_ranks_is_started_over_all_cards() -> None:
    answer = run_json("deepseek-v3", "--gpu", "h200", "--gpus", "8", "--dp", "8", "--ep", "8")
    assert "--data-parallel-size 8 --enable-expert-parallel" in answer["flags"]["vllm"]
    assert "--tp 8 --dp 8 --enable-dp-attention" in answer["flags"]["sglang"]
    assert "--tp_size 8" in answer["flags"]["trtllm"]


def test_a_reason_is_told_once() -> None:
    reasons = run_json("llama-3.1-70b", "--gpu", "h100", "--gpus", "1")["passed_over"]
    assert len({reason.partition(": ")[2] for reason in reasons}) == len(reasons)


def test_receipts_of_means_add_up_and_every_part_of_memory_has_its_numbers() -> None:
    answer = answer_of({"model": "llama-3.1-8b", "gpu": "h100", "gpus": 1, "concurrency": 16})
    assert answer.speed
    for mean in (answer.speed.ttft, answer.speed.tpot):
        assert sum(float(i.value) for i in mean.inputs) == pytest.approx(mean.value)
    rate = {i.name: float(i.value) for i in answer.speed.output_rate.inputs}
    assert rate["requests per second"] * rate["output tokens"] == pytest.approx(answer.speed.output_rate.value)
    for part in answer.memory.device.parts:
        assert part.inputs or part.name == "free"
        assert part.sources or part.name == "free"
    graphs = next(part for part in answer.memory.device.parts if part.name == "graphs")
    put_in = {i.name: int(i.value) for i in graphs.inputs}
    assert put_in["layers"] * put_in["bytes per layer"] == graphs.value
