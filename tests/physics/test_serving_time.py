"""Laws of the operators of a serving step: what an engine's ways cost, whatever the coefficients."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sizeup.fitted.kernels import chip_of, curves_for
from sizeup.fitted.serving_time import STARTS, learned
from sizeup.machine import find_gpu
from sizeup.physics.kernels import Curve, written_scores_seconds
from sizeup.physics.serving_operators import FUSED_ATTENTION, AttentionStyle, Division, Operator, StepShape, operators
from sizeup.physics.serving_time import Speed, operator_seconds, step_seconds
from sizeup.physics.serving_work import ServingWork, serving_work
from sizeup.serving.speed import attention_style
from sizeup.sizing import model

DECODE = StepShape(decodes=4, context=4096)
PROMPT = StepShape(decodes=0, context=0, chunk=512, prompt=8192)


def work_of(name: str, weights: str = "bf16") -> ServingWork:
    architecture = model(name).architecture
    assert architecture is not None
    return serving_work(architecture, weights)


def kernels(name: str, card: str, shape: StepShape, style: AttentionStyle, kind: str) -> list[Operator]:
    found = operators(
        work_of(name), curves_for(find_gpu(card)), Division(), shape, prefill=shape.chunk > 0, decode=shape.decodes > 0,
        style=style,
    )  # fmt: skip
    return [operator for operator in found if operator.kind == kind]


def moved(name: str, style: AttentionStyle) -> float:
    return sum(float(o.memory_seconds) * o.count for o in kernels(name, "h100", DECODE, style, "decode attention"))


def test_heads_that_read_for_themselves_move_the_cache_once_for_each() -> None:
    # Llama-3.1-8B: 32 heads over 8
    assert moved("llama-3.1-8b", AttentionStyle(shared_heads=1)) == pytest.approx(
        4 * moved("llama-3.1-8b", FUSED_ATTENTION)
    )
    assert moved("llama-3.1-8b", AttentionStyle(shared_heads=4)) == moved("llama-3.1-8b", FUSED_ATTENTION)


def test_a_copied_cache_is_moved_for_joining_and_for_repeating() -> None:
    # three times the cache of 8 heads, twice that of 32
    assert moved("llama-3.1-8b", AttentionStyle(copies=True)) == pytest.approx(
        (3 + 2 * 4) * moved("llama-3.1-8b", FUSED_ATTENTION)
    )


def test_scores_through_memory_cost_more_the_longer_the_prompt() -> None:
    def cost(prompt: int, style: AttentionStyle) -> float:
        shape = replace(PROMPT, prompt=prompt)
        found = kernels("llama-3.1-8b", "rtx-4090", shape, style, "prefill attention")
        return sum(float(operator_seconds(o, Speed())) for o in found)

    written = AttentionStyle(writes_scores=True)
    assert cost(8192, written) > cost(8192, FUSED_ATTENTION)
    assert cost(16384, written) - cost(8192, written) > cost(8192, written) - cost(4096, written)


def test_written_scores_move_four_times_four_bytes_each() -> None:
    curve = Curve(compute=1.0, bandwidth=1.0, floor_seconds=0.0, sharpness=2.0)
    seconds = written_scores_seconds(
        sequence=512, batch=1, context=3584, heads=32, key_dim=128, value_dim=128, peak=float("inf"), bandwidth=1e12,
        curve=curve,
    )  # fmt: skip
    assert seconds == pytest.approx(16 * 32 * 512 * 4096 / 1e12)


def test_a_limit_of_loads_in_flight_binds_on_fast_memory_only() -> None:
    limit = Speed(stream_bytes_per_second=1e12)
    work = work_of("llama-3.1-8b")

    def slowdown(card: str) -> float:
        found = operators(work, curves_for(find_gpu(card)), Division(), DECODE, prefill=False)
        return float(step_seconds(found, work, limit, DECODE) / step_seconds(found, work, Speed(), DECODE))

    assert slowdown("rtx-3090") < 1.2 < 2 < slowdown("h200")


def test_formats_with_known_scales_start_as_fast_as_16_bits() -> None:
    curves = curves_for(find_gpu("h200"))
    for weights in ("fp8", "bf16"):
        found = operators(work_of("llama-3.1-8b", weights), curves, Division(), DECODE, prefill=False)
        floors = {o.floor_seconds for o in found if o.kind == "products"}
        assert max(floors) <= curves.gemm("bf16").floor_seconds


def test_eight_bit_gptq_takes_two_kernels_for_each_product() -> None:
    assert work_of("llama-3.1-8b", "gptq-int8").kernels > work_of("llama-3.1-8b", "gptq-int4").kernels


def test_graphics_chips_learn_from_graphics_chips() -> None:
    assert chip_of(find_gpu("rtx-3090")) == chip_of(find_gpu("l40s")) != chip_of(find_gpu("a100"))
    assert curves_for(find_gpu("rtx-3090")).learned("gemm", "bf16").origin != "a100-sxm4-80gb"


def test_an_engine_never_seen_is_like_other_servers_and_says_so() -> None:
    assert "server" in learned("brand-new").origin
    assert learned("brand-new").speed == learned("another").speed


def test_engines_read_their_cache_as_their_version_does() -> None:
    assert attention_style("trtllm", "0.5.0").shared_heads == 1
    assert attention_style("trtllm", "1.1").shared_heads == float("inf")
    assert attention_style("llama.cpp", "b2833").writes_scores
    assert not attention_style("vllm", "").writes_scores
    assert attention_style("transformers", "4.46").copies


def test_a_host_bound_engine_without_cases_of_its_own_starts_host_bound() -> None:
    found = learned("transformers", "4.46", left_out="qwen-docs")
    assert found.speed.launch_seconds == STARTS["transformers"]["launch_seconds"]


def test_weights_are_unpacked_for_prompts_and_not_for_single_tokens() -> None:
    architecture = model("llama-3.1-8b").architecture
    assert architecture is not None
    work, curves = serving_work(architecture, "q4_k_m"), curves_for(find_gpu("rtx-4090"))

    def products(chunk: int, style: AttentionStyle) -> float:
        shape = StepShape(decodes=0, context=0, chunk=chunk, prompt=chunk)
        found = operators(work, curves, Division(), shape, decode=False, style=style)
        return sum(float(operator_seconds(o, Speed())) for o in found if o.kind == "products")

    unpacking = AttentionStyle(unpacks_prompts=True)
    assert products(512, unpacking) > products(512, FUSED_ATTENTION)
    assert products(32, unpacking) == products(32, FUSED_ATTENTION)
    assert attention_style("llama.cpp", "b2833").unpacks_prompts
    assert not attention_style("llama.cpp", "").unpacks_prompts
