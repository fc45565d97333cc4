"""``sizeup train`` and ``sizeup validate`` from the outside: exit codes, JSON contract, scenario files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from sizeup.cli.train import train
from sizeup.cli.validate import validate
from sizeup.errors import UserError
from sizeup.evidence.cases import SHIPPED
from sizeup.training.flags import KINDS

FLAGS = ["llama-3.1-8b", "--gpu", "h100", "--gpus", "8", "--tokens", "100B"]


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(train, list(words), standalone_mode=False, catch_exceptions=False)
    return int(result.return_value or 0), result.output


def test_json_holds_the_contract() -> None:
    code, text = run(*FLAGS, "--json")
    data = json.loads(text)
    assert code == 0
    assert data["fits"] is True
    assert 0.5 <= data["fit_probability"] <= 1
    memory = data["memory"]
    assert memory["allocated_bytes"] <= memory["reserved_bytes"] <= memory["device_bytes"]
    assert data["step_seconds_band"]["low"] < data["step_seconds"] < data["step_seconds_band"]["high"]
    assert set(data["total"]) >= {"days", "gpu_hours", "usd"}
    plan = data["plan"]
    assert plan["tp"] * plan["pp"] * plan["cp"] * plan["dp"] == 8
    assert data["alternatives"]


def test_what_does_not_fit_exits_with_one() -> None:
    code, text = run("llama-3-70b", "--gpu", "rtx-4090")
    assert code == 1
    assert text.startswith("DOES NOT FIT")


def test_text_stays_within_the_screen() -> None:
    _, text = run(*FLAGS)
    assert all(len(line) <= 80 for line in text.splitlines())


def test_scenario_is_the_twin_of_the_flags(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    _, first = run(*FLAGS, "--tp", "2", "--json", "--save-scenario", str(path))
    _, second = run("--scenario", str(path), "--json")
    assert json.loads(first) == json.loads(second)


def test_every_flag_is_a_scenario_key() -> None:
    names = {parameter.name for parameter in train.params} - {
        "scenario",
        "save_scenario",
        "as_json",
        "why",
        "plot",
        "picture",
        "dark",
        "report",
    }
    assert {"model" if name == "model_spec" else name for name in names} == set(KINDS)


def test_unknown_scenario_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('modle = "llama-3.1-8b"\n')
    with pytest.raises(UserError, match="modle"):
        run("--scenario", str(path))


@pytest.mark.parametrize("words", [["--gpu", "h100"], ["llama-3.1-8b"], [*FLAGS, "--framework", "megatorn"]])
def test_missing_or_unknown_is_an_error(words: list[str]) -> None:
    with pytest.raises(UserError):
        run(*words)


def test_validate_prints_one_record_per_measured_number(tmp_path: Path) -> None:
    with (SHIPPED / "training.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))[:12]
    path = tmp_path / "some.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    result = CliRunner().invoke(validate, ["--cases", str(path), "--json"], standalone_mode=False)
    data = json.loads(result.output)
    wanted = {"case_id", "group", "quantity", "meter", "measured", "predicted", "low", "high", "skipped", "assumptions"}
    assert all(wanted <= set(record) for record in data["cases"])
    assert {record["quantity"] for record in data["cases"]} <= {
        "mem_gib", "step_seconds", "tokens_per_second_per_gpu", "oom",
    }  # fmt: skip
    assert data["summary"]
