"""Laws that every answer obeys, whatever the model, the recipe and the layout."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sizeup.estimate import Estimate
from sizeup.llm.architecture import Architecture
from sizeup.machine import parse_machine
from sizeup.physics.training_facts import training_facts
from sizeup.physics.training_memory import columns_of
from sizeup.physics.training_ranks import moments
from sizeup.plan.frameworks import frameworks
from sizeup.plan.optimizers import optimizers
from sizeup.plan.training import Adapter, Layout, Precision, TrainingPlan
from sizeup.plan.validity import is_valid
from sizeup.sizing import model
from sizeup.training.answer import TrainingAnswer, answer
from sizeup.training.step import step_parts_of

MODELS: dict[str, Architecture] = {}
for _name in ("llama-3.2-1b", "gpt2", "qwen3-30b-a3b", "deepseek-v2-lite", "mamba-130m"):
    _found = model(_name).architecture
    assert _found is not None
    MODELS[_name] = _found

layouts = st.builds(
    Layout,
    tp=st.sampled_from([1, 2, 4]), pp=st.sampled_from([1, 2, 4]), vpp=st.sampled_from([1, 2]),
    cp=st.sampled_from([1, 2]), ep=st.sampled_from([1, 2, 4]), dp=st.sampled_from([1, 2, 4, 8]),
    sharding=st.sampled_from(["none", "zero1", "zero2", "zero3", "fsdp"]), sequence_parallel=st.booleans(),
)  # fmt: skip
plans = st.builds(
    TrainingPlan,
    framework=st.sampled_from(sorted(frameworks())), sequence_length=st.sampled_from([512, 1024]),
    micro_batch=st.sampled_from([1, 2, 4]), global_batch=st.just(64), layout=layouts,
    precision=st.sampled_from([Precision(), Precision(compute_dtype="fp8"), Precision(master_weights="bf16")]),
    optimizer=st.sampled_from(sorted(optimizers())), recompute=st.sampled_from(["none", "selective", "per-op", "full"]),
    attention=st.sampled_from(["flash", "sdpa", "eager"]), compile=st.booleans(),
    loss=st.sampled_from(["plain", "fused", "chunked"]),
    adapter=st.sampled_from([None, Adapter(rank=8), Adapter(dora=True), Adapter(base_quant="nf4-dq")]),
    offload_optimizer=st.booleans(), schedule=st.sampled_from(["1f1b", "zb-h1", "zb-h2", "dualpipe"]),
    expert_load=st.sampled_from([1.0, 1.5]), packing=st.booleans(), mean_length=st.sampled_from([None, 200]),
)  # fmt: skip


def answered(name: str, plan: TrainingPlan) -> TrainingAnswer:
    """The answer of a valid plan on as many H100s as it takes."""
    if plan.layout.ep == 1:
        plan = replace(plan, layout=replace(plan.layout, etp=plan.layout.tp))
    plan = replace(plan, method="pretrain" if plan.adapter is None else "lora")
    assume(is_valid(MODELS[name], plan))
    return answer(name, MODELS[name], parse_machine(f"{plan.layout.gpus}xh100"), plan)


def leaves_sum(estimate: Estimate) -> float:
    """Sum of what has no parts."""
    return float(sum(part.value for part in estimate.walk() if not part.parts))


@settings(max_examples=80)
@given(st.sampled_from(sorted(MODELS)), plans)
def test_every_answer_obeys_the_laws(name: str, plan: TrainingPlan) -> None:
    found = answered(name, plan)
    memory, step = found.memory, found.step
    for whole in (memory.allocated, memory.reserved, memory.device, step):
        assert leaves_sum(whole) == pytest.approx(whole.value)
        assert all(part.value >= 0 for part in whole.walk())
    assert 0 < memory.allocated.value <= memory.reserved.value < memory.device.value
    assert 0 < found.mfu <= found.hfu <= 1
    assert step.value >= found.ideal_seconds
    assert 0 <= found.fit_probability <= 1
    assert found.useful_tokens_per_second_per_gpu <= found.tokens_per_second_per_gpu.value


STATES = ("weights", "master weights", "optimizer states", "gradients")


def held(name: str, plan: TrainingPlan, moment: str, parts: tuple[str, ...]) -> float:
    """Bytes of some parts on the first stage at one moment."""
    facts, columns = training_facts(MODELS[name], plan), columns_of(plan)
    found = moments(facts, columns, stage=0)[moment]
    return float(sum(found.get(part, 0) for part in parts))


@settings(max_examples=60)
@given(st.sampled_from(sorted(MODELS)), plans)
def test_more_sharding_and_more_recomputation_never_take_more(name: str, plan: TrainingPlan) -> None:
    states = [
        held(name, replace(plan, layout=replace(plan.layout, sharding=way)), "optimizer step", STATES)
        for way in ("none", "zero1", "zero2", "zero3")
    ]
    assert states == sorted(states, reverse=True)
    kept = [held(name, replace(plan, recompute=way), "loss", ("activations",)) for way in ("none", "full")]
    assert kept == sorted(kept, reverse=True)
    assert kept[0] >= held(name, replace(plan, recompute="selective"), "loss", ("activations",))


@settings(max_examples=40)
@given(st.sampled_from(sorted(MODELS)), plans)
def test_twice_the_data_parallel_ranks_never_compute_more_each(name: str, plan: TrainingPlan) -> None:
    def computes(ranks: int) -> float:
        layout = replace(plan.layout, dp=ranks)
        found = answered(name, replace(plan, layout=layout))
        parts = step_parts_of(MODELS[name], found.plan, found.cluster)
        return float(parts.matmul + parts.attention + parts.memory_bound + parts.recompute)

    assume(plan.layout.dp <= 4)
    assert computes(2 * plan.layout.dp) <= computes(plan.layout.dp) * (1 + 1e-9)
