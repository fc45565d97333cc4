"""What a recipe changes: optimizers, adapters, schedules, offloading, packing, experts, number formats."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import sizeup
from sizeup.errors import UserError
from sizeup.machine import parse_machine
from sizeup.physics.training_facts import training_facts
from sizeup.physics.training_memory import columns_of
from sizeup.physics.training_ranks import moments
from sizeup.plan.training import Adapter, Layout, Precision, TrainingPlan
from sizeup.sizing import model
from sizeup.training.answer import TrainingAnswer, answer, kept_in_layer
from sizeup.training.step import step_parts_of

SMALL = model("llama-3.2-1b").architecture
EXPERTS = model("qwen3-30b-a3b").architecture
CARDS = parse_machine("8xh100")
assert SMALL is not None
assert EXPERTS is not None
BASE = TrainingPlan(framework="generic", sequence_length=2048, global_batch=64, micro_batch=1, layout=Layout(dp=8))
ADAPTED = replace(BASE, method="lora", framework="hf", adapter=Adapter())


def answered(plan: TrainingPlan, architecture: Any = SMALL) -> TrainingAnswer:
    return answer("it", architecture, CARDS, plan)


def device(plan: TrainingPlan, architecture: Any = SMALL) -> float:
    return float(answered(plan, architecture).memory.device.value)


def seconds(plan: TrainingPlan, architecture: Any = SMALL) -> float:
    return float(answered(plan, architecture).step.value)


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("adamw", 8.0),
        ("paged-adamw", 8.0),
        ("adamw8bit", 2 + 8 / 256),
        ("lion", 4.0),
        ("sgd", 0.0),
        ("sgd-momentum", 4.0),
    ],
)
def test_optimizers_keep_their_states(name: str, state: float) -> None:
    """fp32 numbers per parameter: two moments, one, none; two 8-bit moments with an fp32 scale for each 256."""
    assert training_facts(SMALL, replace(BASE, optimizer=name)).state_bytes == pytest.approx(state)


def test_muon_keeps_one_moment_of_matrices_and_adafactor_a_row_and_a_column() -> None:
    by_name = {name: training_facts(SMALL, replace(BASE, optimizer=name)).state_bytes for name in ("muon", "adafactor")}
    share = sum(f.matrices for f in training_facts(SMALL, BASE).distinct) * 16 / model("llama-3.2-1b").parameters
    assert by_name["muon"] == pytest.approx(4 * share + 8 * (1 - share), rel=1e-3)
    assert 0 < by_name["adafactor"] < 0.02


def test_an_optimizer_that_moves_less_takes_less_time() -> None:
    times = [seconds(replace(BASE, optimizer=name)) for name in ("sgd", "lion", "adamw")]
    assert times == sorted(times)
    assert times[0] < times[2]


def test_paged_states_leave_the_card() -> None:
    paged, plain = (answered(replace(BASE, optimizer=name)) for name in ("paged-adamw", "adamw"))
    states = plain.memory.device.part("optimizer states").value
    assert device(paged.plan) <= plain.memory.device.value - states
    assert paged.host is not None
    assert paged.host.value == pytest.approx(8 * states)


def test_dora_adds_a_magnitude_for_each_output() -> None:
    magnitudes = replace(ADAPTED, adapter=Adapter(dora=True))
    plain, more = (training_facts(SMALL, plan).adapter_before[-1] for plan in (ADAPTED, magnitudes))
    # query 2048, key and value 512 each, output 2048, gate and up 8192 each, down 2048, in 16 layers
    assert more - plain == 16 * (2048 + 512 + 512 + 2048 + 8192 + 8192 + 2048)
    assert device(magnitudes) > device(ADAPTED)
    assert seconds(magnitudes) > seconds(ADAPTED)


@pytest.mark.parametrize(("quant", "bits"), [("nf4", 4.5), ("nf4-dq", 4.127), ("gptq-int4", 4.25), ("int8", 8.0)])
def test_frozen_bases_take_their_bits(quant: Any, bits: float) -> None:
    plan = replace(ADAPTED, method="qlora", adapter=Adapter(base_quant=quant))
    assert training_facts(SMALL, plan).frozen_bytes == pytest.approx(bits / 8)
    assert device(plan) < device(ADAPTED)


def test_zero_bubble_waits_less_and_its_second_form_holds_more() -> None:
    layout = Layout(pp=8)
    plans = {name: replace(BASE, layout=layout, schedule=name) for name in ("1f1b", "zb-h1", "zb-h2", "dualpipe")}
    bubble = {name: step_parts_of(SMALL, plan, CARDS).bubble for name, plan in plans.items()}
    assert bubble["zb-h2"] < bubble["zb-h1"] < bubble["1f1b"]
    assert bubble["dualpipe"] < bubble["1f1b"]
    memory = {name: device(plan) for name, plan in plans.items()}
    assert memory["1f1b"] <= memory["zb-h1"] < memory["zb-h2"]
    assert memory["1f1b"] < memory["dualpipe"]


def test_offloaded_states_leave_the_card_and_cost_time() -> None:
    base = replace(BASE, layout=Layout(dp=8, sharding="zero3"), framework="hf-deepspeed")
    for change in ({"offload_optimizer": True}, {"offload_parameters": True}, {"cpu_offload_layers": 8}):
        moved = replace(base, **change)  # type: ignore[arg-type]
        assert device(moved) < device(base)
        found = answered(moved)
        assert found.host is not None
        assert found.host.value > 0
        assert found.step.value >= answered(base).step.value or change == {"offload_optimizer": True}
    assert answered(base).host is None


def test_a_host_that_is_too_small_does_not_fit() -> None:
    found = sizeup.train(
        "llama-3-70b", gpu="g6.48xlarge", framework="hf-deepspeed", method="full", sequence_length=512,
        offload_optimizer=True, offload_parameters=True, micro_batch=1,
    )  # fmt: skip
    assert found.host is not None
    assert found.host_capacity is not None
    assert found.host.value > found.host_capacity
    assert not found.fits


def test_packed_samples_attend_less_and_padded_ones_waste_positions() -> None:
    packed = replace(BASE, packing=True, mean_length=512)
    padded = replace(BASE, mean_length=512)
    assert padded.filled == 0.25
    assert packed.filled == 1.0
    parts = {name: step_parts_of(SMALL, plan, CARDS) for name, plan in (("packed", packed), ("padded", padded))}
    assert parts["packed"].attention < parts["padded"].attention
    assert parts["packed"].matmul == parts["padded"].matmul
    assert answered(padded).useful_tokens_per_second_per_gpu == pytest.approx(
        0.25 * float(answered(padded).tokens_per_second_per_gpu.value)
    )


def test_busier_experts_take_time_and_memory() -> None:
    even = replace(BASE, layout=Layout(dp=8, ep=8, sharding="zero1"))
    busy = replace(even, expert_load=1.5)
    assert seconds(busy, EXPERTS) > seconds(even, EXPERTS)
    assert device(busy, EXPERTS) > device(even, EXPERTS)


def test_expert_tensor_parallelism_divides_experts_as_expert_parallelism_does() -> None:
    halves = {
        name: answered(replace(BASE, layout=Layout(tp=2, dp=4, **axes)), EXPERTS)
        for name, axes in {"ep": {"ep": 4, "etp": 1}, "etp": {"ep": 2, "etp": 2}}.items()
    }
    weights = [found.memory.device.part("weights").value for found in halves.values()]
    assert weights[0] == pytest.approx(weights[1])


def test_recomputing_single_operations_lies_between_nothing_and_everything() -> None:
    memory = [device(replace(BASE, recompute=way, micro_batch=4)) for way in ("full", "per-op", "none")]  # type: ignore[arg-type]
    times = [seconds(replace(BASE, recompute=way)) for way in ("none", "per-op", "full")]  # type: ignore[arg-type]
    assert memory == sorted(memory)
    assert times == sorted(times)
    assert memory[0] < memory[1] < memory[2]


@pytest.mark.parametrize(("gpu", "dtype"), [("a100", "fp8"), ("h100", "mxfp8"), ("h100", "nvfp4"), ("h100", "fp9")])
def test_a_card_without_a_format_is_an_error(gpu: str, dtype: str) -> None:
    with pytest.raises(UserError, match=dtype):
        sizeup.train("llama-3.2-1b", gpu=gpu, dtype=dtype)


@pytest.mark.parametrize(("gpu", "dtype"), [("h100", "fp8"), ("b200", "mxfp8"), ("b200", "nvfp4")])
def test_fewer_bits_are_faster(gpu: str, dtype: Any) -> None:
    cluster = parse_machine(f"8x{gpu}")
    wide, narrow = (
        answer("it", SMALL, cluster, replace(BASE, precision=Precision(compute_dtype=name)))
        for name in ("bf16", dtype)
    )  # fmt: skip
    assert narrow.step.part("matrix products").value < wide.step.part("matrix products").value


@pytest.mark.parametrize("recompute", ["none", "selective", "per-op"])
@pytest.mark.parametrize("framework", ["generic", "hf", "torchtitan", "megatron", "litgpt", "llm-foundry"])
def test_tensors_of_a_layer_sum_to_its_activations(framework: str, recompute: Any) -> None:
    plan = replace(BASE, framework=framework, recompute=recompute, micro_batch=2)
    layers = 16
    kept = kept_in_layer(SMALL, plan)
    assert layers * kept.value == pytest.approx(device_part(plan, "activations"), rel=1e-9)


def device_part(plan: TrainingPlan, name: str) -> float:
    facts, columns = training_facts(SMALL, plan), columns_of(plan)
    return float(moments(facts, columns, stage=0)["loss"][name])


def test_a_batch_that_nobody_gave_is_one_that_the_micro_batch_divides() -> None:
    found = sizeup.train("llama-3.2-1b", gpu="h100", gpus=8, micro_batch=3)
    assert found.plan.micro_batch == 3
    assert found.plan.global_batch % 24 == 0


def test_flags_of_adapters_need_an_adapter() -> None:
    with pytest.raises(UserError, match="dora is for adapters"):
        sizeup.train("llama-3.2-1b", gpu="h100", dora=True)


def test_unknown_words_are_refused() -> None:
    for flag, word in (("optimizer", "adamz"), ("framework", "megatorn"), ("schedule", "zb"), ("lora_targets", "all")):
        with pytest.raises(UserError):
            sizeup.train("llama-3.2-1b", gpu="h100", method="lora", **{flag: word})
