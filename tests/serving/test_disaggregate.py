"""Prefill and decode on cards of their own: rates balance, the cache crosses a link, the best ratio is the best."""

from __future__ import annotations

import itertools

import pytest

from sizeup.errors import UserError
from sizeup.machine import cluster_of, find_gpu
from sizeup.plan.serving import Load, ServingPlan
from sizeup.serving.answer import resolved
from sizeup.serving.disaggregate import disaggregated, ratio_words
from sizeup.serving.results import Pools, Targets
from sizeup.serving.scenario import serve
from sizeup.serving.search import Question
from sizeup.sizing import model


def pools(load: Load, *, name: str = "llama-3.1-8b", gpus: int = 8, prefill: int | None = None, card: str = "h100",
          targets: Targets | None = None) -> Pools:  # fmt: skip
    """The best pools on some cards."""
    architecture = model(name).architecture
    assert architecture is not None
    asked = Question(name=name, architecture=architecture, load=load, targets=targets or Targets())
    found = disaggregated(
        asked, resolved(architecture, ServingPlan()), cluster_of(find_gpu(card), gpus=gpus), prefill_gpus=prefill
    )
    assert found is not None
    return found


def closed(prompt: int, output: int, flying: int = 256) -> Load:
    """A closed loop."""
    return Load(input_tokens=prompt, output_tokens=output, concurrency=flying)


def test_the_best_ratio_is_the_best_of_all_ratios() -> None:
    load = closed(2048, 256)
    every = [pools(load, prefill=count).output_tokens_per_second for count in range(1, 8)]
    assert pools(load).output_tokens_per_second == pytest.approx(max(every))
    assert len(set(every)) > 3


def test_long_prompts_want_more_prefill_and_long_answers_more_decode() -> None:
    prompts, answers = pools(closed(8000, 100)), pools(closed(200, 2000))
    assert prompts.prefill_gpus > answers.prefill_gpus
    assert ratio_words(answers).startswith("1 :")


@pytest.mark.parametrize("flying", [1, 16, 64, 256, 4096])
def test_closed_loops_of_pools_obey_littles_law(flying: int) -> None:
    found = pools(closed(2048, 256, flying))
    lifetime = found.ttft_seconds + 255 * found.tpot_seconds
    assert found.requests_per_second * lifetime == pytest.approx(flying, rel=0.02)
    assert max(found.prefill_busy, found.decode_busy) < 1
    assert found.requests_per_second <= found.saturation_rate


def test_more_in_flight_never_shorten_anything() -> None:
    found = [pools(closed(2048, 256, flying), prefill=4) for flying in (1, 4, 16, 64, 256)]
    for before, after in itertools.pairwise(found):
        assert after.ttft_seconds >= before.ttft_seconds * (1 - 1e-9)
        assert after.output_tokens_per_second >= before.output_tokens_per_second * (1 - 1e-9)


def test_prompts_no_longer_hold_up_decodes() -> None:
    apart = pools(closed(4096, 256, 64), prefill=4)
    together = serve("llama-3.1-8b", gpu="h100", gpus=8, input=4096, output=256, concurrency=64)
    assert together.speed is not None
    assert apart.tpot_seconds < together.speed.tpot.value


def test_the_cache_crosses_slower_links_in_more_time() -> None:
    load = closed(8000, 64, 4)
    assert pools(load, card="l40s", gpus=2).transfer_seconds > 5 * pools(load, gpus=2).transfer_seconds
    assert pools(load, gpus=2).transfer_bytes == 8000 * 128 * 1024


def test_a_latent_cache_is_sent_once_whatever_the_ranks() -> None:
    found = pools(closed(2048, 256), name="deepseek-v3", gpus=16, card="h200")
    assert found.transfer_bytes == 2048 * 61 * 576 * 2


def test_a_rate_that_saturates_does_not_meet() -> None:
    found = pools(Load(input_tokens=2048, output_tokens=256, kind="open", rate=1000.0))
    assert not found.meets
    assert found.saturation_rate < 1000


def test_from_the_outside() -> None:
    answer = serve("llama-3.1-8b", gpu="h100", gpus=4, concurrency=64, disaggregate=True)
    assert answer.pools is not None
    assert answer.pools.gpus <= 4
    assert serve("llama-3.1-8b", gpu="h100", gpus=4, concurrency=64).pools is None
    with pytest.raises(UserError, match="no prefill and decode pool"):
        serve("llama-3.1-8b", gpu="h100", gpus=1, disaggregate=True)
    with pytest.raises(UserError, match="does not prefill"):
        serve("llama-3.1-8b", gpu="rtx-4090", gpus=2, format="q4_k_m", disaggregate=True)
