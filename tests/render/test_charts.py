"""Pictures say what the answers say: stacks sum to the total, all compile, ghosts and targets stand where due."""

from __future__ import annotations

import doctest
import functools
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import vl_convert

from sizeup.card import size_card
from sizeup.envelope import table_d1
from sizeup.envelope_model import envelope_of
from sizeup.errors import UserError
from sizeup.machine import parse_machine
from sizeup.plan.serving import Load, ServingPlan
from sizeup.render.charts import Chart, envelope_charts, model_charts, serve_charts, train_charts
from sizeup.serving.results import ServingAnswer, Targets
from sizeup.serving.search import Question, find
from sizeup.sizing import model
from sizeup.training.answer import TrainingAnswer
from sizeup.training.base import base_plan
from sizeup.training.best import train
from sizeup.training.sweeps import gpu_offers
from sizeup.units import GIB


@functools.cache
def trained(spec: str, machine: str, method: str = "pretrain", tokens: float | None = None) -> TrainingAnswer:
    """The best plan."""
    known, cluster = model(spec), parse_machine(machine)
    assert known.architecture is not None
    base = base_plan(known.architecture, cluster, method=method)
    return train(known.name, known.architecture, cluster, base, free_batch=method != "pretrain", tokens=tokens)


@functools.cache
def served(spec: str, machine: str, engine: str = "vllm", tpot: float | None = None, format: str = "") -> ServingAnswer:
    """The best layout for 16 requests in flight."""
    known = model(spec)
    assert known.architecture is not None
    load = Load(input_tokens=1024, output_tokens=128, concurrency=16)
    plan = ServingPlan(engine=engine, weight_format=format)
    targets = Targets(tpot_seconds=tpot)
    asked = Question(name=known.name, architecture=known.architecture, load=load, targets=targets)
    return find(asked, plan, parse_machine(machine))


def pictures(which: str, theme: str = "light") -> tuple[Chart, ...]:
    """The pictures of one case."""
    kind, spec, machine = which.split()
    if kind == "model":
        return model_charts(
            size_card(model(spec), cluster=None if machine == "-" else parse_machine(machine)), theme=theme
        )
    if kind == "envelope":
        known = None if spec == "-" else model(spec)
        return (
            envelope_charts(envelope_of(known), size_card(known), theme=theme)
            if known
            else envelope_charts(theme=theme)
        )
    if kind == "serve":
        return serve_charts(served(spec, machine, tpot=0.02), theme=theme)
    if kind == "train":
        found = trained(spec, machine, tokens=1e11)
        return train_charts(found, offers=gpu_offers(found), theme=theme)
    return train_charts(trained(spec, machine, kind), theme=theme)


CASES = (
    "model llama-3.1-8b -", "model deepseek-v3 -", "model gpt2 -", "model 70b -", "model llama-3.1-70b rtx-4090",
    "model gemma-3-27b 2xa100", "model rwkv-5-world-3b -", "train llama-3.2-1b 8xh100", "qlora llama-3.1-8b rtx-4090",
    "full llama-3.1-8b rtx-4090", "serve llama-3.1-8b h100", "serve deepseek-v3 8xh200", "serve llama-3.1-70b rtx-4090",
    "envelope - -", "envelope gpt2 -",
)  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_every_picture_compiles_names_itself_and_is_plain_json(case: str) -> None:
    found = pictures(case)
    assert len({chart.name for chart in found}) == len(found)
    for chart in found:
        json.dumps(chart.spec, allow_nan=False)
        image = vl_convert.vegalite_to_svg(chart.spec)
        assert chart.title in image.replace("&gt;", ">")
        assert chart.spec["description"] == chart.description
        assert any(digit in chart.description for digit in "0123456789")
        assert chart.description.endswith(".")


def test_themes_differ_in_colours_alone() -> None:
    light, dark = (pictures("model llama-3.1-8b -", theme) for theme in ("light", "dark"))
    for one, other in zip(light, dark, strict=True):
        assert one.description == other.description
        assert one.spec["config"]["background"] != other.spec["config"]["background"]
    with pytest.raises(UserError, match="no theme"):
        pictures("model llama-3.1-8b -", "sepia")


@pytest.mark.parametrize("width", [1, 340, 1200])
def test_a_picture_is_as_wide_as_was_asked_and_its_words_say_the_same(width: int) -> None:
    card = size_card(model("llama-3.1-8b"))
    usual, other = model_charts(card), model_charts(card, width=width)
    assert [chart.description for chart in other] == [chart.description for chart in usual]
    for chart in other:
        image = vl_convert.vegalite_to_svg(chart.spec)
        assert f'width="{max(width, 240)}"' in image
        assert "NaN" not in image


def rows(chart: Chart, mark: str) -> list[list[dict[str, Any]]]:
    """The data of every layer of a mark."""
    return [layer["data"]["values"] for layer in chart.spec["layer"] if layer["mark"]["type"] == mark]


def stack(chart: Chart) -> float:
    """The length of the stack in the first row of a breakdown."""
    bars = rows(chart, "bar")[0]
    return sum(bar["end"] - bar["start"] for bar in bars if bar["row"] == bars[0]["row"])


def test_the_stack_of_training_memory_sums_to_the_peak() -> None:
    answer = trained("llama-3.2-1b", "8xh100", tokens=1e11)
    memory = train_charts(answer)[0]
    assert stack(memory) == pytest.approx(answer.memory.device.value / GIB)


def test_the_stack_of_serving_memory_and_what_is_free_sum_to_the_card() -> None:
    answer = served("llama-3.1-8b", "h100")
    assert stack(serve_charts(answer)[0]) + answer.memory.part("free") / GIB == pytest.approx(
        answer.cluster.gpu.memory_bytes / GIB
    )


def test_the_waterfall_of_a_step_sums_to_the_step() -> None:
    answer = trained("llama-3.2-1b", "8xh100", tokens=1e11)
    step = next(chart for chart in train_charts(answer) if chart.name == "step")
    scale = {"min": 60, "s": 1, "ms": 1e-3}[step.spec["layer"][0]["encoding"]["x"]["title"]]
    assert stack(step) * scale == pytest.approx(answer.step.value, rel=1e-3)


def test_every_row_of_a_breakdown_starts_where_the_one_above_ended() -> None:
    bars = rows(train_charts(trained("llama-3.2-1b", "8xh100", tokens=1e11))[0], "bar")[0]
    parts = bars[1::2]
    assert [part["start"] for part in parts[1:]] == [part["end"] for part in parts[:-1]]


def test_the_run_stands_among_the_models_of_table_d1() -> None:
    answer = trained("llama-3.2-1b", "8xh100", tokens=1e11)
    bars = rows(train_charts(answer)[-1], "bar")[0]
    values = [bar["x"] for bar in bars]
    assert values == sorted(values)
    assert len(bars) == len(table_d1()) + 1
    own = next(bar["x"] for bar in bars if bar["row"].startswith("this run"))
    assert own * 8.64e19 == pytest.approx(
        answer.mfu * answer.cluster.gpus * 989.4e12 * answer.totals.steps * answer.step.value, rel=0.01
    )  # type: ignore[union-attr]


def test_a_target_is_drawn_where_its_rate_is() -> None:
    answer = served("llama-3.1-8b", "h100", tpot=0.02)
    front = next(chart for chart in serve_charts(answer) if chart.name == "pareto")
    assert [row[0]["x"] for row in rows(front, "rule")] == [50.0]
    without = next(chart for chart in serve_charts(served("llama-3.1-8b", "h100")) if chart.name == "pareto")
    assert rows(without, "rule") == []


def test_price_and_speed_multiply_to_the_price_of_an_hour() -> None:
    answer = served("llama-3.1-8b", "h100")
    charts = {chart.name: chart for chart in serve_charts(answer)}
    (rates,), (prices,) = (rows(charts[name], "line") for name in ("pareto", "price-against-speed"))
    assert answer.instance is not None
    assert answer.instance.usd_per_gpu_hour is not None
    for rate, price in zip(rates, prices, strict=True):
        assert price["x"] == rate["x"]
        assert price["y"] * rate["y"] * 3600 / 1e6 == pytest.approx(answer.instance.usd_per_gpu_hour)


def test_the_ghost_of_the_envelope_is_four_bytes_per_parameter() -> None:
    card = size_card(model("llama-3.1-8b"))
    ghost = rows(model_charts(card)[0], "bar")[1][0]
    assert ghost["end"] * GIB == pytest.approx(4 * card.model.parameters)


def test_days_and_dollars_name_the_answers_own_number_of_cards() -> None:
    answer = trained("llama-3.2-1b", "8xh100", tokens=1e11)
    offers = gpu_offers(answer)
    charts = {chart.name: chart for chart in train_charts(answer, offers=offers)}
    assert [row["x"] for row in rows(charts["days-against-gpus"], "point")[0]] == [offer.gpus for offer in offers]
    (own,) = rows(charts["days-against-gpus"], "point")[1]
    assert (own["x"], own["y"]) == (8, answer.totals.days if answer.totals else None)
    assert "days-against-gpus" not in {chart.name for chart in train_charts(answer)}
    assert gpu_offers(replace(answer, totals=None)) == ()


def test_the_page_about_pictures_names_all_of_them_and_its_examples_hold() -> None:
    page = Path(__file__).parents[2] / "docs" / "pictures.md"
    rows = [line.split("|")[1] for line in page.read_text("utf-8").splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`([\w-]+)`", row)}
    assert named == {chart.name for case in CASES for chart in pictures(case)}
    assert doctest.testfile(str(page), module_relative=False).failed == 0
