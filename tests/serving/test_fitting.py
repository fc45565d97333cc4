"""Which models run on given hardware."""

from __future__ import annotations

import json

from click.testing import CliRunner

from sizeup.cli import cli
from sizeup.machine import find_gpu
from sizeup.physics.capability import loss_of
from sizeup.serving.fitting import distinct_models, models_for


def test_everything_listed_fits_and_the_best_comes_first():
    found = models_for(find_gpu("rtx-4090"))
    assert len(found.found) > 50
    assert all(fit.memory.fits for fit in found.found)
    assert [fit.loss for fit in found.found] == sorted(fit.loss for fit in found.found)
    assert found.found[0].parameters > 20e9


def test_conversions_are_listed_once():
    names = [record.name for record in distinct_models()]
    assert "Qwen/Qwen3-32B" in names
    assert not [name for name in names if name.startswith("Qwen/Qwen3-32B-FP8")]
    assert len(names) == len(set(names))


def test_larger_cards_take_better_formats():
    small, large = ({f.record.name: f.format for f in models_for(find_gpu(g)).found} for g in ("rtx-3070", "rtx-4090"))
    assert set(small) - set(large) == set()
    assert large["Qwen/Qwen3-8B"] == "q8_0" != small["Qwen/Qwen3-8B"]


def test_speed_stays_below_the_bandwidth():
    card = find_gpu("rtx-4090")
    for fit in models_for(card).found[:20]:
        active = fit.memory.device_weights * fit.active_parameters / fit.parameters
        assert fit.tokens_per_second * 0.5 * active < card.memory_bandwidth_bytes_per_second


def test_more_data_and_more_parameters_lower_the_loss():
    assert loss_of(parameters=8e9, tokens=15e12) < loss_of(parameters=8e9, tokens=2e12)
    assert loss_of(parameters=70e9, tokens=2e12) < loss_of(parameters=8e9, tokens=2e12)


def test_command_prints_text_and_json():
    text = CliRunner().invoke(cli, ["fit", "--gpu", "rtx-3070", "--top", "3"])
    assert text.exit_code == 0
    assert "models run" in text.output
    answer = CliRunner().invoke(cli, ["fit", "--gpu", "rtx-3070", "--json"])
    data = json.loads(answer.output)
    assert data["engine"] == "llamacpp"
    first = data["models"][0]
    assert {"name", "format", "memory", "largest_context", "tokens_per_second"} <= set(first)
    assert sum(part["value"] for part in first["memory"]["parts"]) == first["memory"]["value"]
