"""Memory of served models: published start-up logs, worked examples, and laws."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sizeup
from sizeup.engine_cache import CacheRules, layer_caches, sequence_bytes
from sizeup.errors import UserError
from sizeup.evidence.cases import Case, shipped_cases
from sizeup.evidence.validate import quantile
from sizeup.llm.architecture import Architecture
from sizeup.llm.formats import weight_bytes
from sizeup.machine import find_gpu
from sizeup.plan.engines import engine, engine_names
from sizeup.plan.serving import Load, ServingLayout, ServingPlan
from sizeup.serving.limits import layout_problems
from sizeup.serving.memory import ServingMemory, serving_memory
from sizeup.serving.memory_case import predict_memory
from sizeup.serving.weights import stage_weights

GIB = 2**30
MEMORY = ("kv_tokens", "mem_gib", "oom")


def architecture(name: str) -> Architecture:
    found = sizeup.model(name).architecture
    assert found is not None
    return found


def memory(name: str, gpu: str, **fields: Any) -> ServingMemory:
    return serving_memory(architecture(name), ServingPlan(**fields), find_gpu(gpu))


def measured() -> list[Case]:
    return [c for c in shipped_cases("serving") if c.row["quality"] == "A" and any(
        m.quantity in MEMORY for m in c.measured())]  # fmt: skip


def test_cache_of_a_start_up_log_of_vllm_0_11():
    found = memory("llama-3.1-8b", "h100", engine_version="0.11.0", weight_format="bf16", max_model_len=16000)
    assert found.part("weights") / GIB == pytest.approx(14.99, abs=0.01)
    assert found.part("activations") / GIB == pytest.approx(4.76, abs=0.03)
    assert found.pool_bytes / GIB == pytest.approx(51.38, abs=0.05)


def test_profile_of_older_versions_has_as_many_tokens_as_the_context():
    found = [
        memory("llama-3.1-8b", "rtx-3090", engine_version="0.6.4", weight_format="bf16", max_model_len=length)
        for length in (20000, 29000)
    ]
    assert (found[1].part("activations") - found[0].part("activations")) / GIB == pytest.approx(0.92, abs=0.02)


def test_start_is_refused_when_the_cache_holds_less_than_one_context():
    found = memory("llama-3.1-8b", "rtx-3090", engine_version="0.6.4", weight_format="bf16", max_model_len=29000)
    assert not found.fits
    assert "29,000 tokens" in found.reasons[0]


def test_leave_one_group_out_errors_meet_the_goals():
    tokens, right = [], []
    for case in measured():
        values, _ = predict_memory(case, left_out=case.group)
        for number in case.measured():
            if number.quantity == "kv_tokens":
                tokens.append(abs(values["kv_tokens", ""] / number.value - 1))
            if number.quantity == "oom":
                right.append((values["oom", ""] >= 0.5) == (number.value >= 0.5))
    assert quantile(tokens, 0.5) <= 0.02
    assert quantile(tokens, 0.9) <= 0.08
    assert sum(right) / len(right) >= 0.97


def test_llama_cpp_logs_within_two_percent():
    for case in measured():
        if case.group != "xdai-llamacpp" or not case.row["mem_gib"]:
            continue
        values, _ = predict_memory(case)
        predicted = values["mem_gib", case.row["mem_meter"]]
        assert predicted == pytest.approx(float(case.row["mem_gib"]), rel=0.02), case.case_id


def test_llama_cpp_keeps_the_token_embedding_on_the_host():
    found = memory("llama-3.1-8b", "rtx-4090", engine="llamacpp", weight_format="q4_k_m", max_model_len=8192)
    whole = weight_bytes(architecture("llama-3.1-8b"), "q4_k_m").value
    assert found.device_weights + found.host_bytes == whole
    assert found.device_weights / GIB == pytest.approx(4.30, abs=0.01)
    assert found.part("cache") == GIB


def test_layers_in_host_memory_leave_the_card():
    plan = {"engine": "llamacpp", "weight_format": "q4_k_m", "max_model_len": 8192}
    whole, half = (
        memory("llama-3.1-70b", "rtx-4090", **plan),
        memory("llama-3.1-70b", "rtx-4090", offload_layers=48, **plan),
    )
    assert not whole.fits
    assert half.fits
    assert half.host_bytes + half.device_weights == whole.host_bytes + whole.device_weights


def test_experts_in_host_memory_leave_attention_on_the_card():
    plan = {"engine": "llamacpp", "weight_format": "q8_0", "max_model_len": 8192}
    found = memory("qwen3-30b-a3b", "rtx-4090", offload_experts=48, **plan)
    assert found.fits
    assert found.part("weights") < 3 * GIB
    assert found.part("cache") == memory("qwen3-30b-a3b", "rtx-4090", **plan).part("cache")


@pytest.mark.parametrize("name", ["llama-3.1-8b", "qwen3-30b-a3b", "deepseek-v3", "gpt-oss-20b"])
def test_one_rank_holds_every_byte(name: str):
    made = architecture(name)
    assert (
        sum(stage.total for stage in stage_weights(made, "bf16", ServingLayout())) == weight_bytes(made, "bf16").value
    )
    stages = stage_weights(made, "bf16", ServingLayout(pp=4))
    assert sum(stage.total for stage in stages) == weight_bytes(made, "bf16").value


@pytest.mark.parametrize("name", ["llama-3.1-70b", "qwen3-30b-a3b", "deepseek-v3"])
def test_weights_per_rank_never_rise_with_tensor_parallelism(name: str):
    sizes = [stage_weights(architecture(name), "bf16", ServingLayout(tp=tp))[0].total for tp in (1, 2, 4, 8)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[3] >= sizes[0] / 8


@settings(max_examples=30)
@given(
    name=st.sampled_from(["llama-3.1-70b", "qwen3-30b-a3b", "deepseek-v3", "gpt-oss-120b", "google/gemma-3-27b-it"]),
    length=st.integers(128, 32768),
    dtype=st.sampled_from(["bf16", "fp8"]),
)
def test_memory_per_gpu_never_rises_with_tensor_parallelism(name: str, length: int, dtype: str):
    made = architecture(name)
    rules = CacheRules(engine=engine("vllm"), batched_tokens=8192)
    before = math.inf
    for tp in (1, 2, 4, 8):
        weights = stage_weights(made, "", ServingLayout(tp=tp))[0].total
        taken = weights + sequence_bytes(layer_caches(made.layers, dtype=dtype, tp=tp), length, rules)
        assert taken <= before
        before = taken


def test_block_wise_formats_divide_into_whole_blocks():
    made = architecture("qwen3-235b-a22b")
    found = layout_problems(made, ServingLayout(tp=8), "fp8-block")
    assert any("192 of the expert width 1,536" in text for text in found)
    assert not layout_problems(made, ServingLayout(tp=8), "bf16")
    assert not layout_problems(made, ServingLayout(tp=4), "fp8-block")
    assert not layout_problems(made, ServingLayout(tp=8, ep=8, moe_tp=1), "fp8-block")


def test_latent_cache_is_held_by_every_rank():
    made = architecture("deepseek-v3")
    assert layer_caches(made.layers, dtype="bf16", tp=8) == layer_caches(made.layers, dtype="bf16", tp=1)


def test_key_value_heads_divide_down_to_one():
    made, rules = architecture("llama-3.1-8b"), CacheRules(engine=engine("vllm"), batched_tokens=8192)
    size = {
        tp: sequence_bytes(layer_caches(made.layers, dtype="bf16", tp=tp), 8192, rules) for tp in (1, 2, 4, 8, 16, 32)
    }
    assert size[1] == GIB
    assert size[8] == GIB / 8 == size[16] == size[32]


def test_windows_in_groups_of_one_page_size():
    made = architecture("google/gemma-3-27b-it")
    kinds = layer_caches(made.layers, dtype="bf16", tp=1)
    rules = CacheRules(engine=engine("vllm", "0.11.0"), batched_tokens=2048)
    # 10 full layers in 2,048 pages; 52 windows padded to 60 in 193 pages; a page of a layer is 128 KiB
    assert sequence_bytes(kinds, 32768, rules) == (10 * 2048 + 60 * 193) * 128 * 1024
    whole = CacheRules(engine=engine("vllm", "0.6.4"), batched_tokens=2048)
    assert sequence_bytes(kinds, 32768, whole) / GIB == 15.5


def test_impossible_layouts_say_why():
    llama, mixtral = architecture("llama-3.1-8b"), architecture("mixtral-8x7b-v0.1")
    assert any("32 attention heads" in text for text in layout_problems(llama, ServingLayout(tp=3)))
    assert any("no routed experts" in text for text in layout_problems(llama, ServingLayout(tp=2, ep=2)))
    assert any("8 experts do not divide by 3" in text for text in layout_problems(mixtral, ServingLayout(ep=3, dp=3)))
    assert not layout_problems(llama, ServingLayout(tp=8))
    assert not memory("llama-3.1-8b", "h100", weight_format="bf16", layout=ServingLayout(tp=3)).fits


@settings(max_examples=25)
@given(
    used=st.sampled_from(engine_names()),
    gpu=st.sampled_from(["h100", "rtx-4090", "a100", "b200", "mi300x"]),
    tp=st.sampled_from([1, 2, 4, 8]),
    length=st.integers(1, 131072),
)
def test_parts_sum_to_the_card(used: str, gpu: str, tp: int, length: int):
    plan = ServingPlan(engine=used, weight_format="bf16", layout=ServingLayout(tp=tp), max_model_len=length)
    found = serving_memory(architecture("llama-3.1-8b"), plan, find_gpu(gpu))
    assert sum(part.value for part in found.device.parts) == find_gpu(gpu).memory_bytes == found.device.value
    assert all(part.value > 0 for part in found.device.parts if part.name != "free")
    assert found.cache_tokens >= 0


@settings(max_examples=20)
@given(share=st.floats(0.5, 0.95), length=st.integers(256, 65536))
def test_concurrency_of_longer_sequences_is_never_larger(share: float, length: int):
    found = memory("qwen3-8b", "h100", weight_format="bf16", gpu_memory_utilization=share, max_model_len=65536)
    assert found.max_concurrency(length) >= found.max_concurrency(2 * length)
    assert found.max_concurrency(length) * length <= found.cache_tokens + length


def test_larger_shares_and_smaller_caches_hold_more_tokens():
    plans = [
        ServingPlan(weight_format="bf16", max_model_len=8192, gpu_memory_utilization=share) for share in (0.6, 0.8)
    ]
    plans.append(dataclasses.replace(plans[-1], kv_dtype="fp8"))
    tokens = [serving_memory(architecture("qwen3-8b"), plan, find_gpu("h100")).cache_tokens for plan in plans]
    assert tokens[0] < tokens[1] < tokens[2]
    assert tokens[2] == pytest.approx(2 * tokens[1], rel=1e-3)


def test_replicas_multiply_the_cache():
    one, two = (
        memory("llama-3.1-8b", "h100", weight_format="bf16", layout=ServingLayout(dp=dp), max_model_len=8192)
        for dp in (1, 2)
    )
    assert two.cache_tokens == 2 * one.cache_tokens
    assert not ServingLayout(dp=2).attention_dp


def test_data_parallel_attention_divides_the_experts_only():
    made = architecture("deepseek-v3")
    spread = stage_weights(made, "fp8", ServingLayout(dp=8, ep=8))[0].parts
    alone = stage_weights(made, "fp8", ServingLayout())[0].parts
    assert spread["routed experts"] == pytest.approx(alone["routed experts"] / 8, rel=1e-6)
    assert spread["attention"] == alone["attention"]


def test_states_alone_still_have_a_capacity():
    found = memory("falcon-mamba-7b", "h100", weight_format="bf16", max_model_len=8192)
    assert found.fits
    assert found.cache_tokens > 0


def test_a_cache_that_grows_counts_the_load():
    made, gpu = architecture("qwen2.5-7b"), find_gpu("a100")
    plan = ServingPlan(engine="transformers", weight_format="bf16")
    loads = [Load(input_tokens=n, output_tokens=2048) for n in (1, 30720)]
    short, long = (serving_memory(made, plan, gpu, load=load) for load in loads)
    assert short.device_total / GIB == pytest.approx(14.38, rel=0.02)
    assert long.device_total / GIB == pytest.approx(19.97, rel=0.02)


def test_unknown_engines_are_named():
    with pytest.raises(UserError) as error:
        engine("vlm")
    assert "vllm" in error.value.nearest


def test_defaults_follow_the_version():
    assert engine("vllm", "0.11.0").utilization == 0.9
    assert engine("vllm", "0.25.0").utilization == 0.92
    assert engine("vllm", "0.25.0").graphs_in_budget
    assert not engine("vllm", "0.16.0").graphs_in_budget
    assert engine("vllm", "0.16.0").sampler == "sort"
    assert engine("vllm", "0.17.0").sampler == "triton"
    assert engine("vllm").tokens(80e9, "h100-sxm5-80gb") == 8192
    assert engine("vllm").tokens(80e9, "a100-sxm4-80gb") == 2048


def test_assumptions_name_what_was_not_said():
    found = memory("llama-3.1-8b", "h100", weight_format="bf16")
    assert any(text.startswith("max_model_len") for text in found.assumptions)
    assert any("no version was given" in text for text in found.assumptions)


def test_sglang_leaves_its_reserve():
    found = memory("llama-3.1-8b", "h100", engine="sglang", weight_format="bf16", max_model_len=8192)
    left = found.device.value - found.part("weights") - found.part("cache")
    assert left / GIB == pytest.approx(13.1, abs=0.7)
    assert math.isclose(found.pool_bytes, found.part("cache"))


def test_impossible_loads_are_refused():
    for fields in ({"kind": "open"}, {"rate": 2.0}, {"kind": "open", "rate": -1.0}, {"concurrency": 0}):
        with pytest.raises(UserError):
            Load(input_tokens=10, output_tokens=10, **fields)  # type: ignore[arg-type]
