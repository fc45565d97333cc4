"""Laws of serving speed: load and latency, saturation, Little's law, columns, rooflines; measured cases."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sizeup.errors import UserError
from sizeup.evidence.cases import shipped_cases
from sizeup.machine import cluster_of, find_gpu
from sizeup.physics.queueing import Requests, Scheduler, closed_loop
from sizeup.plan.serving import Load, ServingLayout, ServingPlan
from sizeup.serving.answer import priced, requests_of, resolved, room_of, serve
from sizeup.serving.latency_case import predict_latency
from sizeup.serving.memory import serving_memory
from sizeup.serving.open_loop import open_speed
from sizeup.serving.results import Targets
from sizeup.serving.search import Question, fewest, find, front_points, options, pareto
from sizeup.serving.speed import Deployment, burst_speed, closed_speed, decode_shape, deployment
from sizeup.sizing import model

ENGINES = ("vllm", "sglang", "trtllm")
CASES = (
    ("llama-3.1-8b", "bf16", "h100", 1), ("llama-3.1-8b", "fp8", "h200", 2), ("gpt-oss-120b", "mxfp4", "b200", 4),
    ("deepseek-v3", "fp8-block", "h200", 8), ("llama-3.1-8b", "awq-int4", "rtx-4090", 1),
)  # fmt: skip
lengths = st.integers(min_value=16, max_value=16384)
outputs = st.integers(min_value=2, max_value=4096)


@functools.cache
def made(case: int, engine: str, room: float = 512.0) -> Deployment:
    """A deployment with room for many sequences."""
    name, weights, card, tp = CASES[case]
    architecture = model(name).architecture
    assert architecture is not None
    plan = ServingPlan(engine=engine, weight_format=weights, layout=ServingLayout(tp=tp))
    return deployment(architecture, plan, find_gpu(card), room=room)


def question(name: str, load: Load, targets: Targets | None = None, **may: bool) -> Question:
    """What is asked of a search."""
    architecture = model(name).architecture
    assert architecture is not None
    return Question(name=name, architecture=architecture, load=load, targets=targets or Targets(), **may)


any_case = st.integers(min_value=0, max_value=len(CASES) - 1)
any_engine = st.sampled_from(ENGINES)


@settings(max_examples=60)
@given(case=any_case, engine=any_engine, prompt=lengths, output=outputs)
def test_more_concurrency_never_lowers_tpot_nor_throughput(case: int, engine: str, prompt: int, output: int) -> None:
    flying = np.array([1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377], dtype=float)
    found = closed_speed(made(case, engine), Requests(prompt=prompt, output=output), flying)
    assert np.all(np.diff(found.tpot_seconds) >= -1e-9 * found.tpot_seconds[:-1])
    assert np.all(np.diff(found.ttft_seconds) >= -1e-6 * found.ttft_seconds[:-1])


@settings(max_examples=40)
@given(case=any_case, engine=any_engine, prompt=lengths, output=st.integers(128, 4096))
def test_throughput_never_falls_up_to_saturation(case: int, engine: str, prompt: int, output: int) -> None:
    one = made(case, engine)
    flying = np.geomspace(1, float(one.room), 40)
    rates = closed_speed(one, Requests(prompt=prompt, output=output), flying, steady=True).requests_per_second
    # where the limit of a step sets in, the closed form bends: by less than a hundredth
    assert np.all(np.diff(rates) >= -1e-2 * rates[:-1])
    beyond = closed_speed(one, Requests(prompt=prompt, output=output), 4 * float(one.room), steady=True)
    assert float(beyond.requests_per_second) == pytest.approx(float(rates[-1]))


@settings(max_examples=60)
@given(case=any_case, engine=any_engine, prompt=lengths, output=outputs, flying=st.integers(1, 400))
def test_no_step_beats_peak_or_bandwidth(case: int, engine: str, prompt: int, output: int, flying: int) -> None:
    one = made(case, engine)
    compute, bandwidth = one.use(decode_shape(one, Requests(prompt=prompt, output=output), flying))
    assert 0 < compute <= 1
    assert 0 < bandwidth <= 1


@settings(max_examples=40)
@given(case=any_case, engine=any_engine, prompt=lengths, output=outputs, share=st.floats(0.05, 0.9))
def test_open_loop_obeys_littles_law(case: int, engine: str, prompt: int, output: int, share: float) -> None:
    one, requests = made(case, engine), Requests(prompt=prompt, output=output)
    top = float(closed_speed(one, requests, one.room, steady=True).requests_per_second)
    lowest = float(closed_speed(one, requests, 1, steady=True).requests_per_second)
    rate = max(share * top, lowest)
    if rate >= top:
        return
    found = open_speed(one, requests, rate)
    steady = closed_speed(one, requests, max(found.running, 1), steady=True)
    assert float(steady.tpot_seconds) == pytest.approx(float(found.latency.tpot_seconds), rel=0.02)
    assert float(steady.requests_per_second) == pytest.approx(rate, rel=0.02)
    lifetime = found.latency.ttft_seconds + (output - 1) * found.latency.tpot_seconds
    assert found.in_flight == pytest.approx(rate * lifetime)
    # those that run are in flight, others wait: the closed loop of as many as run has this rate
    assert found.in_flight >= found.running * 0.98


def test_a_rate_above_saturation_is_refused_and_named() -> None:
    with pytest.raises(UserError, match="saturate"):
        open_speed(made(0, "vllm"), Requests(prompt=2048, output=256), 1000.0)


def test_replicas_have_the_percentiles_of_one_at_its_share_of_the_rate() -> None:
    one, requests = made(0, "vllm"), Requests(prompt=2048, output=256)
    eight = replace(one, replicas=8)
    alone, together = open_speed(one, requests, 8.0), open_speed(eight, requests, 64.0)
    assert float(together.tpot.p99) == pytest.approx(float(alone.tpot.p99), rel=0.01)
    assert float(together.ttft.p99) == pytest.approx(float(alone.ttft.p99), rel=0.01)


def test_percentiles_are_in_order() -> None:
    found = open_speed(made(0, "vllm"), Requests(prompt=2048, output=256), 8.0)
    assert found.ttft.p50 <= found.ttft.p90 <= found.ttft.p99
    assert found.tpot.p50 <= found.tpot.p90 <= found.tpot.p99


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", range(len(CASES)))
def test_columns_equal_numbers(case: int, engine: str) -> None:
    one, requests = made(case, engine), Requests(prompt=3000, output=200)
    column = closed_speed(one, requests, np.array([1.0, 7.0, 64.0]))
    for place, flying in enumerate((1, 7, 64)):
        single = closed_speed(one, requests, flying)
        assert float(column.ttft_seconds[place]) == pytest.approx(float(single.ttft_seconds))
        assert float(column.tpot_seconds[place]) == pytest.approx(float(single.tpot_seconds))


def test_parts_of_a_step_sum_to_it() -> None:
    one = made(3, "sglang")
    shape = decode_shape(one, Requests(prompt=4096, output=512), 32)
    assert sum(float(part) for part in one.parts(shape).values()) == pytest.approx(float(one.seconds(shape)))


def test_a_burst_of_one_is_a_closed_loop_of_one() -> None:
    one, requests = made(0, "vllm"), Requests(prompt=2048, output=256)
    alone, loop = burst_speed(one, requests, 1), closed_speed(one, requests, 1)
    assert float(alone.tpot_seconds) == pytest.approx(float(loop.tpot_seconds), rel=1e-3)


def test_prefix_cache_lowers_ttft() -> None:
    one = made(0, "vllm")
    plain, cached = Requests(prompt=8192, output=64), Requests(prompt=8192, output=64, cached=0.9)
    assert closed_speed(one, cached, 8).ttft_seconds < closed_speed(one, plain, 8).ttft_seconds


def test_decode_steps_of_one_cycle() -> None:
    loop = closed_loop(
        concurrency=64, room=1000, requests=Requests(prompt=1000, output=101), scheduler=Scheduler(limit=8192)
    )
    assert loop.decode_steps == 100
    assert loop.prompt_steps * loop.chunk == pytest.approx(64 * 1000)


SMALL = (
    ("llama-3.1-8b", "h100", 2, Load(input_tokens=1024, output_tokens=128, concurrency=32), Targets()),
    ("llama-3.1-8b", "l40s", 4, Load(input_tokens=4096, output_tokens=64, concurrency=8), Targets(tpot_seconds=0.02)),
    ("qwen3-30b-a3b", "h100", 4, Load(input_tokens=512, output_tokens=512, concurrency=128), Targets(ttft_seconds=1)),
    ("llama-3.1-8b", "h100", 2, Load(input_tokens=1024, output_tokens=128, kind="open", rate=6.0), Targets()),
    ("llama-3.1-8b", "h100", 1, Load(input_tokens=1024, output_tokens=128, kind="burst", concurrency=64), Targets()),
)  # fmt: skip


@pytest.mark.parametrize(("name", "card", "gpus", "load", "targets"), SMALL)
def test_search_equals_brute_force(name: str, card: str, gpus: int, load: Load, targets: Targets) -> None:
    asked, cluster = question(name, load, targets, weights=False, cache=False), cluster_of(find_gpu(card), gpus=gpus)
    # fewer sequences at once are a choice of the search, but not of this enumeration
    base = ServingPlan(max_num_seqs=256)
    answer = find(asked, base, cluster)
    every = [
        ServingLayout(tp=tp, pp=pp, dp=gpus // (tp * pp), ep=ep, moe_tp=1 if ep > 1 else None)
        for tp in range(1, gpus + 1)
        for pp in range(1, gpus + 1)
        for ep in (1, tp, gpus // pp)
        if gpus % (tp * pp) == 0 and (ep == 1 or "a3b" in name) and not (ep > tp and pp > 1)
    ]
    singles = [
        serve(name, asked.architecture, cluster, replace(base, layout=one), load, targets=targets) for one in every
    ]
    able = [one.speed for one in singles if one.speed is not None and one.meets_targets]
    assert answer.speed is not None
    if load.kind == "open":
        assert answer.speed.tpot.value == pytest.approx(min(one.tpot.value for one in able))
    elif able:
        assert answer.speed.output_rate.value == pytest.approx(max(one.output_rate.value for one in able))
    else:
        assert not answer.meets_targets


def test_front_has_no_point_beaten_in_both() -> None:
    asked = question("llama-3.1-8b", Load(input_tokens=1024, output_tokens=128))
    cluster = cluster_of(find_gpu("h100"), gpus=4)
    rows = front_points(options(asked, resolved(asked.architecture, ServingPlan()), cluster), cluster, asked)
    front = pareto(rows)
    for kept in front:
        assert not any(row.per_user > kept.per_user and row.per_gpu > kept.per_gpu for row in rows)
    for row in rows:
        # each that is not on it is beaten, or equalled in both
        assert any(kept.per_user >= row.per_user and kept.per_gpu >= row.per_gpu for kept in front)


def test_fewest_cards_meet_targets_and_fewer_do_not() -> None:
    targets = Targets(ttft_seconds=2.0, tpot_seconds=0.05)
    for load in (
        Load(input_tokens=1024, output_tokens=128, concurrency=16),
        Load(input_tokens=2000, output_tokens=300, kind="open", rate=40.0),
    ):
        asked = question("llama-3.1-8b", load, targets, weights=False, cache=False)
        answer = fewest(asked, ServingPlan(), find_gpu("h100"))
        assert answer.answered
        for count in range(1, answer.cluster.gpus):
            assert not find(asked, ServingPlan(), cluster_of(find_gpu("h100"), gpus=count)).answered


def test_room_is_at_least_one_and_price_is_dated() -> None:
    architecture = model("llama-3.1-8b").architecture
    assert architecture is not None
    plan = resolved(architecture, ServingPlan())
    load = Load(input_tokens=2048, output_tokens=256)
    memory = serving_memory(architecture, plan, find_gpu("h100"), load=load)
    assert room_of(memory, load, plan) > 1
    instance = priced(cluster_of(find_gpu("h100"), gpus=1))
    assert instance is not None
    assert instance.date
    assert requests_of(load).prompt == 2048


def test_measured_cases_are_predicted_within_a_factor_of_three() -> None:
    cases = [case for case in shipped_cases("serving") if case.row["task"] == "online" and case.row["quality"] == "A"]
    off = []
    for case in cases[::40]:
        values, *_ = predict_latency(case)
        off.append(abs(np.log(values["tpot_ms"] / float(case.row["tpot_ms"]))))
    assert np.median(off) < np.log(1.15)
    assert max(off) < np.log(3)
