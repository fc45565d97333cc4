"""Laws of the time of a training step, and published steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sizeup.machine import parse_machine
from sizeup.physics.training_time import distinct, raw_times, step_parts
from sizeup.plan.training import Layout, TrainingPlan
from sizeup.sizing import model
from sizeup.training.answer import ideal_seconds
from sizeup.training.step import (
    coefficients,
    hardware_flops_of,
    hardware_of,
    model_flops_of,
    step_plan,
    step_time,
    traits_of,
    work_of,
)

LLAMA = model("llama-2-7b").architecture
PLAN = TrainingPlan(framework="megatron", sequence_length=4096, micro_batch=1, global_batch=64)


def plan(**layout: object) -> TrainingPlan:
    return replace(PLAN, layout=Layout(**layout))  # type: ignore[arg-type]


def test_work_is_six_per_parameter_and_token() -> None:
    """6ND and the sum over layers agree, the embedding lookup and the attention apart ([kaplan2020])."""
    work = work_of(LLAMA)
    outside_embedding = 6_738_415_616 - 32000 * 4096
    assert work.active_parameters == pytest.approx(outside_embedding, rel=1e-3)
    assert work.parameters == pytest.approx(6_738_415_616, rel=1e-3)


def test_mixture_counts_only_used_experts() -> None:
    work = work_of(model("mixtral-8x7b").architecture)
    assert work.parameters == pytest.approx(46.7e9, rel=0.01)
    assert work.active_parameters == pytest.approx(12.9e9 - 32000 * 4096, rel=0.01)


@settings(max_examples=25)
@given(
    tp=st.sampled_from([1, 2, 4, 8]),
    pp=st.sampled_from([1, 2, 4]),
    micro_batch=st.sampled_from([1, 2, 4]),
    recompute=st.sampled_from(["none", "selective", "full"]),
    sharding=st.sampled_from(["none", "zero1"]),
)
def test_step_is_the_sum_of_its_parts_and_never_beats_the_roofline(
    tp: int, pp: int, micro_batch: int, recompute: str, sharding: str
) -> None:
    cluster = parse_machine("64xa100")
    chosen = replace(
        plan(tp=tp, pp=pp, dp=64 // tp // pp, sharding=sharding),
        micro_batch=micro_batch, global_batch=256, recompute=recompute,
    )  # fmt: skip
    step = step_time(LLAMA, chosen, cluster)
    assert step.value == pytest.approx(sum(part.value for part in step.parts))
    assert all(part.value > 0 for part in step.parts)
    assert ideal_seconds(LLAMA, chosen, cluster) < step.value
    assert hardware_flops_of(LLAMA, chosen) >= model_flops_of(LLAMA, chosen)


def test_more_recomputation_takes_longer() -> None:
    cluster = parse_machine("8xa100")
    seconds = [step_time(LLAMA, replace(plan(dp=8), recompute=way), cluster).value for way in ("none", "full")]
    assert seconds[0] < seconds[1] < seconds[0] * 4 / 3 * 1.02


def test_twice_the_ranks_never_do_more_each() -> None:
    few = step_time(LLAMA, plan(dp=8), parse_machine("8xa100"))
    many = step_time(LLAMA, plan(dp=16), parse_machine("16xa100"))
    assert many.part("matrix products").value <= few.part("matrix products").value


def test_bubble_is_its_share_of_the_pipeline() -> None:
    """(p - 1) / (v m) of the work of the stages ([narayanan2021] section 2.2)."""
    cluster = parse_machine("32xa100")
    deep = replace(plan(pp=4, dp=8), global_batch=128)
    plain = step_time(LLAMA, deep, cluster).part("pipeline bubble").value
    # chunks send more often, so a little more than a quarter
    chunked = replace(deep, layout=replace(deep.layout, vpp=4))
    assert step_time(LLAMA, chunked, cluster).part("pipeline bubble").value == pytest.approx(plain / 4, rel=0.1)


def test_adapters_skip_weight_gradients() -> None:
    from sizeup.plan.training import Adapter

    cluster, full = parse_machine("a100"), replace(PLAN, global_batch=1)
    lora = replace(full, method="lora", adapter=Adapter(rank=16))
    whole, less = step_time(LLAMA, full, cluster), step_time(LLAMA, lora, cluster)
    assert 2 / 3 < less.part("matrix products").value / whole.part("matrix products").value < 0.85


def test_columns_agree_with_single_plans() -> None:
    """One formula, one plan or many."""
    cluster = parse_machine("64xa100")
    work, hardware = work_of(LLAMA), hardware_of(cluster, "bf16")
    single = [plan(tp=t, pp=p, dp=64 // t // p, sharding="zero1") for t in (1, 2, 8) for p in (1, 4)]
    values = [step_plan(p, work) for p in single]
    names = ("tp", "pp", "dp", "shards", "micro_batches", "sequence_parallel")
    columns = replace(values[0], **{name: np.array([getattr(v, name) for v in values]) for name in names})
    found = step_parts(
        raw_times(work, columns, hardware), work, columns, traits=traits_of(PLAN), coefficients=coefficients()
    ).seconds()
    assert found == pytest.approx([step_time(LLAMA, p, cluster).value for p in single])


def test_tokens_reach_few_distinct_nodes() -> None:
    assert distinct(8, 1) == pytest.approx(1)
    # eight draws from two places miss one of them once in 128
    assert distinct(2, 8) == pytest.approx(2 - 1 / 128)


@pytest.mark.parametrize(
    ("layout", "gpus", "batch", "recompute", "published"),
    [
        ({"tp": 8, "pp": 8, "vpp": 3, "dp": 1, "sequence_parallel": True}, 64, 64, "selective", 13.75),
        ({"tp": 8, "pp": 8, "vpp": 3, "dp": 1}, 64, 64, "full", 18.13),
    ],
)
def test_gpt3_on_64_a100(layout: dict[str, int], gpus: int, batch: int, recompute: str, published: float) -> None:
    """GPT-3 175B as [korthikanti2022] Table 5 trained it; within a quarter, which the band covers."""
    architecture = model("opt-175b").architecture
    chosen = TrainingPlan(
        framework="megatron", sequence_length=2048, micro_batch=1, global_batch=batch, recompute=recompute,
        attention="eager", layout=Layout(**layout),
    )  # type: ignore[arg-type]  # fmt: skip
    assert step_time(architecture, chosen, parse_machine(f"{gpus}xa100")).value == pytest.approx(published, rel=0.25)
