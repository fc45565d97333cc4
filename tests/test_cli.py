"""The command line as a user meets it: exit codes, errors with hints, JSON that holds the contract, golden text."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion

CONFIG = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100, "torch_dtype": "bfloat16",
    "max_position_embeddings": 512,
}  # fmt: skip


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    command = [sys.executable, "-c", "from sizeup.cli import main; main()", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def run_json(*words: str) -> Any:
    """Run a command with ``--json`` and return what it printed."""
    return json.loads(run(*words, "--json").stdout)


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    """A small config.json."""
    path = tmp_path / "tiny" / "config.json"
    path.parent.mkdir()
    path.write_text(json.dumps(CONFIG))
    return path


def test_default_card(snapshot: SnapshotAssertion) -> None:
    assert run("llama-3.1-8b").stdout == snapshot


def test_verdict_that_fits(snapshot: SnapshotAssertion) -> None:
    answer = run("llama-3.1-8b", "--gpu", "rtx-4090")
    assert answer.returncode == 0
    assert answer.stdout == snapshot


def test_verdict_that_does_not_fit_names_changes(snapshot: SnapshotAssertion) -> None:
    answer = run("llama-3.1-70b", "--gpu", "rtx-4090")
    assert answer.returncode == 1
    assert "to make it fit, cheapest first" in answer.stdout
    assert answer.stdout == snapshot


def test_envelope(snapshot: SnapshotAssertion) -> None:
    assert run("envelope").stdout == snapshot


def test_explanation_of_every_number(snapshot: SnapshotAssertion) -> None:
    answer = run("llama-3.1-8b", "--why")
    assert "layers x sequences x kept_tokens x heads x (128 + 128) x bytes" in " ".join(answer.stdout.split())
    assert answer.stdout == snapshot


@pytest.mark.parametrize("words", [["llama-3.1-8b"], ["envelope"], ["deepseek-v3", "--gpu", "8xh200"], ["70b"]])
def test_text_is_plain_when_piped_and_80_columns_wide(words: list[str]) -> None:
    text = run(*words).stdout
    assert "\x1b" not in text
    assert max(len(line) for line in text.splitlines()) <= 80


def test_model_json_holds_the_contract(config_file: Path) -> None:
    answer = run_json("model", str(config_file), "--context", "100", "--sequences", "3")
    (tiny,) = answer
    parameters = 2 * 100 * 64 + 64 + 2 * (2 * 64 + 64 * 64 * 2 + 2 * 32 * 64 + 3 * 64 * 128)
    assert tiny["parameters"] == tiny["active_parameters"] == parameters
    assert tiny["weight_bytes"] == 2 * parameters
    assert tiny["cache_bytes"] == 2 * 2 * 2 * 16 * 100 * 3 * 2
    tree = tiny["estimates"]["weights"]
    assert sum(part["value"] for part in tree["parts"]) == tree["value"] == tiny["weight_bytes"]


def test_several_specs_answer_in_order_and_errors_do_not_stop_them(config_file: Path) -> None:
    answer = run("model", str(config_file), "no-such-model-xyz", "7b", "--json")
    first, second, third = json.loads(answer.stdout)
    assert answer.returncode == 2
    assert first["parameters"]
    assert "error" in second
    assert third["parameters"] == 7_000_000_000


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["rtx4900"], "rtx-4090"),
        (["llama-3.1-8x"], "Llama-3.1-8B"),
        (["llama-3.1-8b", "--gpu", "rtx-4900"], "rtx-4090"),
        (["llama-3.1-8b", "--format", "fp7"], "fp8"),
        (["llama-3.1-8b", "--cache-dtype", "fp9"], "fp8"),
        (["llama-3.1-8b", "--context", "lots"], "8192, 8k or 1m"),
        (["llama-3.1-8b", "--engine", "vlm"], "transformers"),
        (["envelope", "--gpus", "8"], "need a MODEL"),
        (["envelope", "--gpu", "h1000"], "h100"),
        (["envelope", "7b", "--tokens", "0"], "at least one token"),
        (["envelope", "7b", "--tokens", ""], "is not a count"),
        (["envelope", "7b", "--mfu", "nan"], "mfu"),
        (["/no/such/config.json"], "there is no file"),
    ],
)
def test_mistakes_are_named_with_a_hint_and_exit_2(words: list[str], says: str) -> None:
    answer = run(*words)
    assert answer.returncode == 2
    assert says in answer.stderr
    assert "Traceback" not in answer.stderr
    assert answer.stdout == ""


def test_a_size_changing_key_that_is_not_understood_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CONFIG | {"num_mystery_layers": 3}))
    answer = run(str(path))
    assert answer.returncode == 2
    assert "num_mystery_layers" in answer.stderr


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"model_type": "llama"', "null", '{"model_type": 3}', '{"a": NaN}', "\x00\x01"]
)
def test_broken_configurations_give_an_error(tmp_path: Path, content: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(content)
    answer = run(str(path))
    assert answer.returncode == 2
    assert answer.stderr.startswith("error:")


@pytest.mark.parametrize(
    "change",
    [
        {"num_key_value_heads": 3}, {"hidden_size": 0}, {"num_hidden_layers": -1}, {"vocab_size": "many"},
        {"num_attention_heads": 0}, {"hidden_size": 1e30}, {"layer_types": ["full_attention"]}, {"hidden_size": None},
    ],
)  # fmt: skip
def test_impossible_layouts_name_the_key(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CONFIG | change))
    answer = run(str(path))
    if change == {"hidden_size": None}:
        assert answer.returncode in (0, 2)
    else:
        assert answer.returncode == 2
    assert "Traceback" not in answer.stderr


def test_envelope_json_holds_the_contract() -> None:
    answer = run_json("envelope")
    assert [row["training_gpus"] for row in answer["gpu_counts"]] == [2, 132, 405, 49, 38]
    assert len(answer["table_d1"]) == 17
    assert {"model", "petaflop_s_days", "gpu_days", "gpus", "days"} <= answer["pretraining"][0].keys()
    assert answer["lora"]["adapter_bytes"] == 350_000_000
    assert answer["instances"]


@pytest.mark.parametrize("command", ["gpus", "instances", "models"])
def test_lists_filter(command: str) -> None:
    everything, some = run_json(command), run_json(command, "h100" if command != "models" else "llama")
    assert 0 < len(some) < len(everything)


def test_help_of_every_command() -> None:
    from sizeup.cli import COMMANDS

    overview = run("--help").stdout
    for name in COMMANDS:
        assert name in overview
        assert "Usage:" in run(name, "--help").stdout


def test_importing_the_package_loads_no_third_party_module() -> None:
    code = (
        "import sys, sizeup; sizeup.model('llama-3.1-8b').weight_bytes('q4_k_m');"
        "print({m.partition('.')[0] for m in sys.modules} & {'click', 'numpy', 'huggingface_hub', 'torch', 'rich'})"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"


def test_public_names_are_what_the_package_lists() -> None:
    import sizeup

    for name in sizeup.__all__:
        assert getattr(sizeup, name) is not None


@pytest.mark.parametrize("words", [["--gpu", ""], ["--format", ""], ["--cache-dtype", ""], ["--engine", ""]])
def test_an_empty_option_is_no_option(words: list[str]) -> None:
    answer = run("llama-3.1-8b", *words)
    assert answer.returncode == 2
    assert answer.stderr.startswith("error:")


def test_the_card_shows_the_cache_dtype_that_was_asked_for() -> None:
    text = run("llama-3.1-8b", "--cache-dtype", "fp8", "--context", "1m").stdout
    assert "64 KiB per token and sequence (fp8)" in text
    assert "1,048,576 tokens are more than the 131,072 positions" in " ".join(text.split())


@pytest.mark.parametrize("spec", ["70b", "gpt2"])
def test_no_context_is_offered_that_the_model_does_not_have(spec: str) -> None:
    assert "--context" not in run(spec).stdout


def test_an_instance_can_be_named_as_the_card_names_it() -> None:
    answer = run("llama-3.1-8b", "--gpu", "azure ND96isr_H100_v5")
    assert answer.returncode == 0
    assert "8 x H100" in answer.stdout


def test_a_short_name_of_a_gpu_says_how_it_was_read() -> None:
    assert '"a100" is read as a100-sxm4-80gb' in " ".join(run("llama-3.1-8b", "--gpu", "a100").stdout.split())


def test_a_latent_cache_on_several_gpus_says_that_it_is_repeated() -> None:
    assert "cannot divide a cache of 1 head" in " ".join(run("deepseek-v3", "--gpu", "8xh200").stdout.split())


def test_a_configuration_without_dtype_says_how_it_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({key: value for key, value in CONFIG.items() if key != "torch_dtype"}))
    answer = run(str(path))
    assert "names no dtype: float32" in answer.stdout
    assert "(fp32)" in answer.stdout


def test_a_defect_is_one_error_among_the_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    from sizeup import sizing
    from sizeup.cli.model import _answer

    def broken(spec: str) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(sizing, "model", broken)
    assert "RuntimeError: boom" in str(_answer("llama-3.1-8b"))


def test_every_line_of_an_explanation_fits_the_screen_and_names_its_numbers() -> None:
    text = run("llama-3.1-8b", "--why", "--format", "nvfp4").stdout
    assert max(len(line) for line in text.splitlines() if "https://" not in line) <= 80
    joined = " ".join(text.split())
    assert "layers x rows x columns with layers = 32, rows = 14,336, columns = 4,096" in joined
    assert "numbers x bits / 8 with numbers = 5,637,144,576, bits = 4" in joined
    assert "24 x parameters with parameters = 8,030,261,248 [azad2024]" in joined
    assert "memory x share" in joined
    assert "not in the bibliography" not in joined


@pytest.mark.parametrize("command", ["gpus", "models"])
def test_lists_fit_the_screen(command: str) -> None:
    assert max(len(line) for line in run(command).stdout.splitlines()) <= 80


def test_prices_of_instances_carry_their_dates() -> None:
    text = " ".join(run("instances", "h100").stdout.split())
    assert "prices of aws 2026-07-20, azure 2026-06-18" in text


def test_a_pipe_is_not_read_for_ever(tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors", "model.gguf"):
        os.mkfifo(tmp_path / name)
        answer = run(str(tmp_path / name))
        assert answer.returncode == 2
        assert "not a regular file" in answer.stderr


def test_output_that_cannot_be_written_is_an_error() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-c", "from sizeup.cli import main; main()", "llama-3.1-8b"]
        answer = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    assert answer.returncode == 2
    assert "cannot write" in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize("words", [("instances",), ("instances", "h100"), ("gpus",), ("models",), ("envelope",)])
def test_lists_fit_80_columns(words: tuple[str, ...]) -> None:
    assert max(map(len, run(*words).stdout.splitlines())) <= 80


def test_instances_filter_by_maker_and_price_of_a_gpu_hour() -> None:
    found = run_json("instances", "--vendor", "amd", "--max-gpu-price", "1")
    assert found
    assert all(one["gpu_key"].startswith("radeon") and one["usd_per_hour"] <= one["gpus"] for one in found)
    prices = [one["usd_per_hour"] / one["gpus"] for one in run_json("instances", "h100", "--sort", "gpu-price")]
    assert prices == sorted(prices)


def test_nothing_found_names_the_nearest() -> None:
    assert "did you mean rtx-4090" in run("gpus", "rtx4900").stdout
    assert "did you mean p5.48xlarge" in run("instances", "q5.48xlarge").stdout
    assert run("models", "--min-parameters", "900T").stdout == "no model passes these filters\n"
    assert run_json("gpus", "zzz") == []


def test_a_long_command_to_ask_next_goes_on_after_a_backslash() -> None:
    lines = run("deepseek-ai/DeepSeek-R1-Distill-Llama-70B", "--gpu", "8xh100", "--engine", "vllm").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.endswith(" \\") for line in lines)
    assert lines[-1].strip().endswith("--engine vllm")
