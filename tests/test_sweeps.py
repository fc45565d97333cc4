"""A curve crosses its limit exactly where the question asked backwards says, and passes through the answer."""

from __future__ import annotations

import functools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sizeup.card import size_card
from sizeup.card_sweep import context_sweeps
from sizeup.machine import parse_machine
from sizeup.plan.serving import Load, ServingPlan
from sizeup.serving.results import ServingAnswer, Targets
from sizeup.serving.search import Question, find
from sizeup.serving.sweeps import concurrency_sweep, context_sweep
from sizeup.sizing import model
from sizeup.sweep import Sweep, largest, reach, spread
from sizeup.training.answer import TrainingAnswer
from sizeup.training.base import base_plan
from sizeup.training.best import train
from sizeup.training.inverse import largest_micro_batch, largest_sequence
from sizeup.training.sweeps import SEQUENCE_STEP, gpu_offers, micro_batch_sweep, needed_bytes, sequence_sweep


@functools.cache
def tuned() -> TrainingAnswer:
    """LoRA of a small model on one card."""
    known, cluster = model("llama-3.2-1b"), parse_machine("rtx-4090")
    base = base_plan(known.architecture, cluster, method="lora", sequence_length=2048)
    return train(known.name, known.architecture, cluster, base, free_batch=True)


@functools.cache
def served(spec: str, machine: str, engine: str, format: str = "") -> ServingAnswer:
    """The best layout for 16 requests in flight."""
    known = model(spec)
    plan = ServingPlan(engine=engine, weight_format=format)
    if engine == "llama.cpp":
        plan = replace(plan, max_model_len=1152, max_num_seqs=16)
    load = Load(input_tokens=1024, output_tokens=128, concurrency=16)
    assert known.architecture is not None
    asked = Question(name=known.name, architecture=known.architecture, load=load, targets=Targets())
    return find(asked, plan, parse_machine(machine))


def crosses(sweep: Sweep) -> None:
    """Every point up to the largest is within the limit, every one beyond is not."""
    for at, size in sweep.points:
        assert (size <= sweep.limit_bytes * (1 + 1e-12)) == (at <= sweep.largest)


@given(most=st.integers(1, 10**6), answer=st.integers(0, 10**6))
def test_the_largest_that_fits_is_found(most: int, answer: int) -> None:
    assert largest(lambda n: n <= answer, most=most) == min(answer, most)


@given(high=st.integers(1, 10**7), extra=st.lists(st.integers(0, 10**7), max_size=3))
def test_a_spread_goes_up_and_holds_what_matters(high: int, extra: list[int]) -> None:
    found = spread(high, extra=extra)
    assert list(found) == sorted(set(found))
    assert {value for value in extra if 1 <= value <= high} <= set(found)
    assert reach(largest=extra[0] if extra else 1, at=1, most=high) <= high


@pytest.mark.parametrize(("spec", "machine"), [("llama-3.1-8b", "rtx-4090"), ("gemma-3-27b", "2xa100"), ("gpt2", "t4")])
def test_a_cards_curves_cross_at_its_largest_contexts(spec: str, machine: str) -> None:
    card = size_card(model(spec), cluster=parse_machine(machine))
    most = {verdict.format: verdict.max_context for verdict in card.verdicts}
    sweeps = context_sweeps(card)
    assert sweeps[0].name == card.first_format
    for sweep in sweeps:
        assert sweep.largest == most[sweep.name]
        crosses(sweep)


def test_a_curve_passes_through_the_card() -> None:
    card = size_card(model("llama-3.1-8b"), cluster=parse_machine("rtx-4090"))
    weights, cache = card.first_sizes
    assert cache is not None
    assert dict(context_sweeps(card)[0].points)[card.context] == weights.value + cache.value


def test_a_size_alone_has_no_curve() -> None:
    assert context_sweeps(size_card(model("70b"))) == ()


def test_sequence_crosses_where_the_longest_sequence_of_the_same_plan_is() -> None:
    answer = tuned()
    sweep = sequence_sweep(answer)
    plan = answer.plan
    fixed = {"tp": 1, "pp": 1, "cp": 1, "micro_batch": plan.micro_batch, "sharding": plan.layout.sharding,
             "recompute": plan.recompute}  # fmt: skip
    base = replace(plan, sequence_length=2048)
    longest = largest_sequence(answer.architecture, base, answer.cluster, fixed=fixed, free_batch=True)
    assert sweep.largest == longest > 0
    assert dict(sweep.points)[plan.sequence_length] == answer.memory.needed_bytes
    assert dict(sweep.points)[sweep.largest] <= sweep.limit_bytes
    longer = replace(plan, sequence_length=sweep.largest + SEQUENCE_STEP)
    assert needed_bytes(answer.architecture, longer, answer.cluster) > sweep.limit_bytes


def test_micro_batch_crosses_where_the_largest_micro_batch_of_the_same_plan_is() -> None:
    answer = tuned()
    fixed = {"sharding": answer.plan.layout.sharding, "recompute": answer.plan.recompute}
    found = largest_micro_batch(answer.architecture, answer.plan, answer.cluster, fixed=fixed)
    sweep = micro_batch_sweep(answer)
    assert sweep.largest == found > 0
    crosses(sweep)


SERVED = [
    ("llama-3.1-8b", "h100", "vllm", ""), ("gemma-3-27b", "2xa100", "vllm", ""), ("llama-3.1-8b", "h100", "sglang", ""),
    ("deepseek-v3", "8xh200", "vllm", ""), ("llama-3.1-8b", "rtx-4090", "llama.cpp", "q4_k_m"),
]  # fmt: skip


@pytest.mark.parametrize("case", SERVED)
def test_requests_cross_where_the_most_requests_are(case: tuple[str, str, str, str]) -> None:
    answer = served(*case)
    sweep = concurrency_sweep(answer)
    assert sweep.largest == answer.max_concurrency
    per_replica = [(at, size) for at, size in sweep.points if at % answer.memory.replicas == 0]
    for at, size in per_replica:
        assert (size <= sweep.limit_bytes * (1 + 1e-12)) == (at <= sweep.largest)


@pytest.mark.parametrize("case", SERVED)
def test_context_of_one_request_crosses_at_the_largest_context(case: tuple[str, str, str, str]) -> None:
    answer = served(*case)
    alone = replace(answer, load=replace(answer.load, concurrency=1))
    sweep = context_sweep(alone)
    assert sweep.largest == answer.memory.largest_context
    crosses(sweep)


def test_more_cards_take_fewer_days() -> None:
    known, cluster = model("llama-3.2-1b"), parse_machine("8xh100")
    base = base_plan(known.architecture, cluster)
    answer = train(known.name, known.architecture, cluster, base, tokens=1e11)
    offers = gpu_offers(answer)
    assert [offer.gpus for offer in offers] == [1, 2, 4, 8, 16, 32, 64]
    assert next(offer for offer in offers if offer.gpus == 8).answer is answer
    days = [offer.days for offer in offers]
    assert days == sorted(days, reverse=True)
