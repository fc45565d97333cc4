"""Questions asked backwards and what surrounds a plan: budgets, machines, ladders, improvements, likeness."""

from __future__ import annotations

import json
import math

import pytest
from click.testing import CliRunner

import sizeup
from sizeup.cli.train import train
from sizeup.errors import UserError
from sizeup.evidence.likeness import training_likeness
from sizeup.plan.training import Layout, TrainingPlan
from sizeup.training.best import simplest
from sizeup.training.search import Candidate
from sizeup.training.totals import RunTerms

SMALL = "llama-3.2-1b"


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(train, list(words), standalone_mode=False, catch_exceptions=False)
    return int(result.return_value or 0), result.output


def test_largest_rank_fits_and_the_next_does_not() -> None:
    asked = {"gpu": "rtx-4090", "method": "lora", "framework": "hf", "sequence_length": 1024, "micro_batch": 2}
    found = sizeup.train("llama-3.1-8b", **asked, largest="rank").largest
    assert found is not None
    for rank, fits in ((found.value, True), (found.value + 1, False)):
        answer = sizeup.train("llama-3.1-8b", **asked, rank=rank)
        assert (answer.fit_probability >= 0.9) is fits


def test_rank_is_of_adapters() -> None:
    with pytest.raises(UserError, match="rank"):
        sizeup.train(SMALL, gpu="h100", largest="rank")


def test_largest_model_fits_and_is_larger_than_what_was_asked() -> None:
    found = sizeup.train(SMALL, gpu="rtx-4090", method="qlora", sequence_length=1024, largest="model").largest
    assert found is not None
    assert found.value > 8e9
    assert sizeup.train(found.name, gpu="rtx-4090", method="qlora", sequence_length=1024).fits


def test_a_deadline_that_nothing_meets_exits_with_one() -> None:
    code, text = run(SMALL, "--gpu", "h100", "--tokens", "1000T", "--within-days", "0.001")
    assert code == 1
    assert "NOT within 0.001 days" in text


def test_a_budget_is_kept_and_the_front_is_shown() -> None:
    answer = sizeup.train(SMALL, gpu="h100", tokens="20B", budget=2000)
    assert not answer.unmet
    assert answer.totals is not None
    assert answer.totals.usd is not None
    assert answer.totals.usd <= 2000
    assert len(answer.offers) > 1


def test_pareto_front_trades_cards_for_days() -> None:
    answer = sizeup.train(SMALL, gpu="h100", gpus=8, tokens="20B", pareto=True)
    days = [offer.days for offer in answer.offers]
    assert answer.cluster.gpus == 8
    assert len(days) > 3
    assert days == sorted(days, reverse=True)


def test_cheapest_machines_are_sorted_and_hold_the_model() -> None:
    answer = sizeup.train("llama-3.1-8b", method="qlora", sequence_length=1024, cheapest=True)
    prices = [row.usd_per_billion_tokens for row in answer.cheapest]
    assert prices == sorted(prices)
    assert answer.fits
    assert answer.cluster.node.instance == answer.cheapest[0].instance
    for row in answer.cheapest:
        hours = 1e9 / row.tokens_per_second / 3600
        assert row.usd_per_billion_tokens == pytest.approx(hours * row.nodes * (row.instance.usd_per_hour or 0))


def test_cheapest_machines_keep_a_deadline_and_say_when_a_budget_does_not_hold() -> None:
    asked = {"method": "qlora", "sequence_length": 1024, "cheapest": True, "tokens": "1B"}
    loose = sizeup.train("llama-3.1-8b", **asked)
    days = min(row.days for row in loose.cheapest if row.days)
    tight = sizeup.train("llama-3.1-8b", **asked, within_days=1.01 * days)
    assert all(row.days is not None and row.days <= 1.01 * days for row in tight.cheapest)
    assert not tight.unmet
    assert sizeup.train("llama-3.1-8b", **asked, budget=1).unmet == "for $1.00"


def test_compute_optimal_models_spend_the_budget() -> None:
    answer = sizeup.train(SMALL, gpu="h100", gpus=8, compute_optimal=True, gpu_hours=1000)
    first = answer.optimal[0]
    assert first.tokens == pytest.approx(20 * first.parameters)
    work = [row.parameters * row.tokens for row in answer.optimal]
    assert work == pytest.approx([work[0]] * len(work))
    sizes = [row.parameters for row in answer.optimal]
    assert sizes == sorted(sizes, reverse=True)
    more = sizeup.train(SMALL, gpu="h100", gpus=8, compute_optimal=True, gpu_hours=4000).optimal[0]
    assert more.parameters == pytest.approx(2 * first.parameters)
    days = sizeup.train(SMALL, gpu="h100", gpus=8, compute_optimal=True, within_days=1000 / 24 / 8).optimal[0]
    assert days.parameters == pytest.approx(first.parameters)


def test_samples_and_epochs_give_the_tokens() -> None:
    asked = {"gpu": "h100", "method": "lora", "sequence_length": 1024}
    by_samples = sizeup.train(SMALL, **asked, samples=1000, mean_length=512, epochs=3, packing=True)
    by_tokens = sizeup.train(SMALL, **asked, tokens=1000 * 512 * 3, mean_length=512, packing=True)
    assert by_samples.totals == by_tokens.totals
    padded = sizeup.train(SMALL, **asked, samples=1000, mean_length=512, epochs=3)
    assert padded.totals is not None
    assert by_tokens.totals is not None
    assert padded.totals.steps * padded.plan.micro_batch == pytest.approx(
        2 * by_tokens.totals.steps * by_tokens.plan.micro_batch, rel=0.01
    )


@pytest.mark.parametrize(
    "flags",
    [{"samples": 10}, {"samples": 10, "tokens": 10, "mean_length": 5}, {"epochs": 2}, {"within_days": 3},
     {"pareto": True}, {"compute_optimal": True}],
)  # fmt: skip
def test_half_a_question_is_an_error(flags: dict[str, float]) -> None:
    with pytest.raises(UserError):
        sizeup.train(SMALL, gpu="h100", **flags)


def test_goodput_falls_with_cards_and_pauses() -> None:
    calm, busy = RunTerms().goodput(8), RunTerms().goodput(16384)
    assert 0.99 < calm <= 1
    assert busy < calm
    assert RunTerms(pause_seconds=180, checkpoint_seconds=1620).goodput(8) == pytest.approx(0.9, rel=1e-3)


def test_the_ladder_saves_memory_and_names_enough_cards() -> None:
    answer = sizeup.train("llama-3-70b", gpu="h100", gpus=8, global_batch=1024)
    assert not answer.fits
    assert answer.fewest_gpus is not None
    assert sizeup.train("llama-3-70b", gpu="h100", gpus=answer.fewest_gpus, global_batch=1024).fits
    left = answer.memory.needed_bytes
    for change in answer.changes:
        assert change.saves_bytes == pytest.approx(left - change.device_bytes)
        left = change.device_bytes


def test_improvements_are_faster_and_fit() -> None:
    answer = sizeup.train("llama-3-70b", gpu="h100", gpus=64)
    assert answer.improvements
    assert all(item.fits and item.slower is not None and item.slower < 1 for item in answer.improvements)
    assert any("fp8" in item.text for item in answer.improvements)


def test_near_misses_say_by_how_much() -> None:
    code, text = run("gpt3-175b", "--gpu", "a100-80gb", "--gpus", "1024", "--json")
    whys = [item["why"] for item in json.loads(text)["alternatives"] if item["step_seconds"] is None]
    assert code == 0
    assert whys
    assert all("OOM by" in why or "fits with" in why for why in whys)


def test_of_equally_fast_plans_the_simplest_comes_first() -> None:
    plans = [
        Candidate(
            plan=TrainingPlan(layout=Layout(cp=cp, dp=8 // cp)), device_bytes=1, needed_bytes=1, step_seconds=seconds
        )
        for cp, seconds in ((2, 1.0), (1, 1.005), (1, 1.2))
    ]
    assert simplest(plans) is plans[1]
    assert simplest(plans[::2]) is plans[0]


def test_tensor_parallelism_across_nodes_is_named() -> None:
    from sizeup.machine import parse_machine
    from sizeup.sizing import model
    from sizeup.training.best import why_slower
    from sizeup.training.step import step_time

    architecture, cluster = model("llama-3-70b").architecture, parse_machine("16xh100")
    assert architecture is not None
    plans = [
        TrainingPlan(layout=Layout(tp=tp, pp=16 // tp, etp=tp), global_batch=64, sequence_length=4096) for tp in (8, 16)
    ]
    times = [step_time(architecture, plan, cluster) for plan in plans]
    assert why_slower(times[0], times[1], *plans, cluster).startswith("TP16 crosses nodes: ")


def test_likeness_counts_cases_and_says_what_is_far() -> None:
    near = TrainingPlan(sequence_length=2048, layout=Layout(dp=8))
    found = training_likeness(near, generation="ampere", quantity="step_seconds")
    assert found.cases > 100
    assert not found.far
    long = TrainingPlan(sequence_length=2**24, layout=Layout(dp=8))
    assert any(
        "16,777,216 tokens" in why for why in training_likeness(long, generation="ampere", quantity="mem_gib").far
    )
    strange = training_likeness(near, generation="kepler", quantity="mem_gib")
    assert strange.cases == 0
    assert "kepler" in strange.words


def test_a_band_far_from_all_cases_is_wider_and_says_so() -> None:
    near = sizeup.train(SMALL, gpu="h100", gpus=8, dp=8, micro_batch=1)
    far = sizeup.train(SMALL, gpu="mi300x", gpus=8, dp=8, micro_batch=1)
    widths = []
    for answer in (near, far):
        band = answer.step.band
        assert band is not None
        widths.append(math.log(band.high / band.low))
    assert widths[1] > widths[0]
    assert far.step.band is not None
    assert far.step.band.cases == 0
    assert "no measured case like this" in far.step.band.regime
