"""The search finds what brute force over single plans finds, and says why others lose."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

from sizeup.errors import UserError
from sizeup.fitted.training_memory import shipped_coefficients
from sizeup.machine import parse_machine
from sizeup.physics.training_memory import training_memory
from sizeup.plan.schedules import schedule as offered_by
from sizeup.plan.training import Layout, TrainingPlan
from sizeup.plan.validity import is_valid
from sizeup.sizing import model
from sizeup.training.base import base_plan
from sizeup.training.best import train
from sizeup.training.search import safe_bytes, search
from sizeup.training.space import divisors
from sizeup.training.step import step_time

SMALL = model("llama-3.2-1b").architecture
CLUSTER = parse_machine("8xa100")
BASE = TrainingPlan(framework="megatron", sequence_length=2048, global_batch=32, layout=Layout(sequence_parallel=True))


def brute_force(base: TrainingPlan, axes: Any, ways: Any) -> list[tuple[float, TrainingPlan]]:
    """Every valid plan of 8 cards that fits, one by one, through the functions of single plans."""
    found = []
    for tp, pp, cp, (vpp, sharding, recompute) in itertools.product(*axes, itertools.product(*ways)):
        if 8 % (tp * pp * cp):
            continue
        dp = 8 // (tp * pp * cp)
        for size in divisors(base.global_batch):
            layout = Layout(tp=tp, pp=pp, vpp=vpp, cp=cp, dp=dp, etp=tp, sharding=sharding, sequence_parallel=tp > 1)
            plan = replace(base, layout=layout, micro_batch=size, recompute=recompute)
            if not is_valid(SMALL, plan, gpus=8) or (sharding != "none" and dp * cp == 1):
                continue
            memory = training_memory(SMALL, plan, CLUSTER.gpu, coefficients=shipped_coefficients()).needed_bytes
            if memory <= safe_bytes(CLUSTER):
                found.append((step_time(SMALL, plan, CLUSTER).value, plan))
    return found


@pytest.mark.parametrize("schedule", ["1f1b", "zb-h1"])
@pytest.mark.parametrize("framework", ["megatron", "hf-deepspeed"])
def test_search_equals_brute_force(framework: str, schedule: str) -> None:
    """Same best plan, same number of plans that fit."""
    base = replace(BASE, framework=framework, schedule=schedule)
    offered = offered_by(framework)
    axes = [(1, 2, 4, 8) if axis in offered.axes else (1,) for axis in ("tp", "pp", "cp")]
    chunks = range(1, 19) if "vpp" in offered.axes else (1,)
    one_by_one = brute_force(base, axes, (chunks, offered.shardings, offered.recomputes))
    best = min(one_by_one, key=lambda item: item[0])
    found = search(SMALL, base, CLUSTER)
    assert found.fitting == len(one_by_one)
    assert found.best[0].step_seconds == pytest.approx(best[0])
    assert step_time(SMALL, found.best[0].plan, CLUSTER).value == pytest.approx(best[0])


def test_fixed_axes_stay_fixed() -> None:
    found = search(SMALL, BASE, CLUSTER, fixed={"tp": 2, "pp": 2, "micro_batch": 1, "recompute": "full"})
    for candidate in found.best:
        layout = candidate.plan.layout
        assert (layout.tp, layout.pp, candidate.plan.micro_batch, candidate.plan.recompute) == (2, 2, 1, "full")


def test_impossible_layout_is_an_error() -> None:
    with pytest.raises(UserError, match="32 attention heads do not divide by tp 3"):
        search(SMALL, BASE, CLUSTER, fixed={"tp": 3})


def test_qlora_of_an_8b_fits_a_24_gb_card() -> None:
    architecture, cluster = model("llama-3.1-8b").architecture, parse_machine("rtx-4090")
    answer = train("8B", architecture, cluster, base_plan(architecture, cluster, method="qlora"), free_batch=True)
    assert answer.fits
    assert answer.plan.global_batch == answer.plan.micro_batch >= 1
    assert answer.memory.needed_bytes < cluster.node.memory_bytes


def test_when_nothing_fits_the_ladder_ends_in_a_plan_that_does() -> None:
    architecture, cluster = model("llama-3-70b").architecture, parse_machine("8xh100")
    answer = train("70B", architecture, cluster, base_plan(architecture, cluster))
    assert not answer.fits
    assert answer.changes[-1].fits
    assert all(not change.fits for change in answer.changes[:-1])
    assert answer.binds.startswith("memory")


def test_totals_follow_from_the_step() -> None:
    architecture, cluster = model("llama-3.2-1b").architecture, parse_machine("8xh100")
    answer = train("1B", architecture, cluster, base_plan(architecture, cluster), tokens=1e12)
    totals = answer.totals
    assert totals is not None
    assert totals.gpu_hours == pytest.approx(totals.days * 24 * 8)
    per_second = answer.tokens_per_second_per_gpu.value * 8
    assert totals.days == pytest.approx(1e12 / per_second / 86400 / totals.goodput, rel=1e-3)
    assert 0 < answer.mfu < 1
    assert answer.mfu <= answer.hfu
