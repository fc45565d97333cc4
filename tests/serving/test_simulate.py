"""Replayed requests: they agree with the queueing model and with Little's law, and keep what came in."""

from __future__ import annotations

import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sizeup.machine import find_gpu
from sizeup.physics.queueing import Requests
from sizeup.plan.serving import Arrival, ServingLayout, ServingPlan
from sizeup.serving.grid import Grid, spaced
from sizeup.serving.open_loop import open_speed, steady_states
from sizeup.serving.simulate import Pool, Simulated, poisson, replay, replay_closed, weighted_percentiles
from sizeup.serving.speed import Deployment, closed_speed, deployment
from sizeup.sizing import model

ROOMY = Pool(tokens=450_000, sequences=1024)


@functools.cache
def made(engine: str, dp: int = 1) -> Deployment:
    """Llama-3.1-8B on H100."""
    architecture = model("llama-3.1-8b").architecture
    assert architecture is not None
    plan = ServingPlan(engine=engine, weight_format="bf16", kv_dtype="bf16", layout=ServingLayout(dp=dp))
    return deployment(architecture, plan, find_gpu("h100"), room=192.0)


@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm"])
@pytest.mark.parametrize(("prompt", "output"), [(2048, 256), (256, 512), (8192, 64)])
@pytest.mark.parametrize("flying", [1, 16, 50])
def test_closed_loops_agree_with_the_queueing_model(engine: str, prompt: int, output: int, flying: int) -> None:
    one = made(engine)
    found = replay_closed(one, ROOMY, prompt=prompt, output=output, flying=flying, requests=12 * flying + 60)
    expected = closed_speed(one, Requests(prompt=prompt, output=output), flying, steady=True)
    assert found.tpot.mean == pytest.approx(float(expected.tpot_seconds), rel=0.15)
    assert found.requests_per_second == pytest.approx(float(expected.requests_per_second), rel=0.1)


@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_random_arrivals_agree_with_the_queueing_model(engine: str, share: float) -> None:
    one, requests = made(engine), Requests(prompt=2048, output=256)
    rate = share * steady_states(one, requests).saturation_rate
    found = replay(one, poisson(rate, prompt=2048, output=256, requests=1500, seed=7), ROOMY)
    expected = open_speed(one, requests, rate)
    assert found.tpot.mean == pytest.approx(expected.latency.tpot_seconds, rel=0.12)
    assert found.ttft.mean == pytest.approx(expected.latency.ttft_seconds, rel=0.25)
    assert found.in_flight == pytest.approx(expected.in_flight, rel=0.15)


@settings(max_examples=25)
@given(
    seed=st.integers(1, 10**6), rate=st.floats(0.5, 30), prompt=st.integers(1, 6000), output=st.integers(1, 600),
    tokens=st.integers(8000, 60_000), engine=st.sampled_from(["vllm", "sglang", "trtllm"]),
)  # fmt: skip
def test_every_request_ends_and_littles_law_holds(
    seed: int, rate: float, prompt: int, output: int, tokens: int, engine: str
) -> None:
    pool = Pool(tokens=tokens, sequences=64, whole=engine == "trtllm")
    arrivals = poisson(rate, prompt=prompt, output=output, requests=150, seed=seed)
    found = replay(made(engine), arrivals, pool)
    assert found.requests == len(arrivals)
    # requests in flight, counted step by step = rate x time in the system
    assert found.in_flight == pytest.approx(found.requests_per_second * found.e2e.mean, rel=0.01)
    assert found.e2e.mean == pytest.approx(found.ttft.mean + (output - 1) * found.tpot.mean)
    for one in (found.ttft, found.tpot, found.itl, found.e2e):
        assert one.p50 <= one.p90 <= one.p99


def replayed(rate: float, pool: Pool = ROOMY, *, dp: int = 1) -> Simulated:
    """Random requests of 1,000 in and 200 out at a rate."""
    return replay(made("vllm", dp), poisson(rate, prompt=1000, output=200, requests=400, seed=3), pool)


def test_more_arrivals_wait_longer() -> None:
    times = [replayed(rate).e2e.mean for rate in (1.0, 4.0, 8.0, 16.0)]
    assert times == sorted(times)


def test_a_small_cache_preempts_or_queues() -> None:
    small = replayed(8.0, Pool(tokens=9_000, sequences=1024))
    assert small.preemptions > 0
    assert replayed(8.0).preemptions == 0
    assert small.ttft.mean > 2 * replayed(8.0).ttft.mean
    careful = replayed(8.0, Pool(tokens=9_000, sequences=1024, whole=True))
    assert careful.preemptions == 0


def test_replicas_share_the_arrivals() -> None:
    assert replayed(16.0, dp=2).tpot.mean == pytest.approx(replayed(8.0).tpot.mean, rel=0.15)


def test_prompts_beside_decodes_lengthen_gaps_but_not_the_median() -> None:
    found = replayed(8.0)
    assert found.itl.p99 > 1.5 * found.itl.p50


def test_one_request_alone_takes_its_prompt_and_its_steps() -> None:
    one = made("vllm")
    found = replay(one, [Arrival(5.0, 2048, 256), Arrival(1000.0, 2048, 256)], ROOMY)
    alone = closed_speed(one, Requests(prompt=2048, output=256), 1, steady=True)
    assert found.tpot.mean == pytest.approx(float(alone.tpot_seconds), rel=0.02)


def test_a_grid_is_exact_at_its_points_and_linear_between() -> None:
    grid = Grid([spaced(1, 64, 7), [0.0, 1.0, 5.0]], lambda x, y: x * x + y)
    assert grid(8, 1) == pytest.approx(65)
    assert grid(6, 1) == pytest.approx((17 + 65) / 2)
    assert grid(1000, 9) == grid(64, 5)


def test_weights_count_in_percentiles() -> None:
    found = weighted_percentiles([(1.0, 98.0), (10.0, 2.0)])
    assert (found.p50, found.p90, found.p99) == (1.0, 1.0, 10.0)
    assert found.mean == pytest.approx(1.18)
