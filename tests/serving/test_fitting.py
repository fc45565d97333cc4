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


def test_each_maker_has_one_model_of_a_family_and_size() -> None:
    found = models_for(find_gpu("rtx-4090")).found
    names = [fit.record.name for fit in found]
    assert "Qwen/Qwen3-32B" in names
    for older in ("Qwen/Qwen2.5-32B", "Qwen/Qwen1.5-32B", "Qwen/Qwen3-VL-32B-Instruct"):
        assert older not in names
    latest = next(fit for fit in found if fit.record.name == "Qwen/Qwen3-32B")
    assert "Qwen/Qwen2.5-32B" in latest.others
    listed = [name for fit in found for name in (fit.record.name, *fit.others)]
    assert len(listed) == len(set(listed))


def test_speed_lies_in_its_band_and_below_its_bound() -> None:
    for fit in models_for(find_gpu("h100")).found:
        assert fit.tokens_per_second <= fit.bound
        assert fit.band is not None
        assert fit.band.low <= fit.tokens_per_second <= fit.band.high <= fit.bound * 1.0001


def test_cards_of_other_makers_have_lists() -> None:
    for card, used in (("mi300x", "vllm"), ("m3-max", "llamacpp"), ("rx-7900-xtx", "llamacpp")):
        fits = models_for(find_gpu(card))
        assert fits.engine == used
        assert fits.found


def test_larger_cards_take_better_formats():
    found = {card: models_for(find_gpu(card)).found for card in ("rtx-3070", "rtx-4090")}
    small, large = ({fit.record.name: fit.format for fit in fits} for fits in found.values())
    others = {name for fit in found["rtx-4090"] for name in fit.others}
    assert set(small) - set(large) <= others
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
