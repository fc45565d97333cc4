"""The cache that each engine allocates, as ``sizeup model --engine`` tells it."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import sizeup
from sizeup.catalog.lookup import list_models
from sizeup.cli import cli
from sizeup.engine_cache import CACHE_ENGINES
from sizeup.errors import UserError

GIB = 2**30
PAGED = ("vllm", "sglang", "tensorrt-llm")


def reads_an_encoder(model: sizeup.Model) -> bool:
    assert model.architecture
    caches = [cache for layer in model.architecture.layers for cache in layer.caches]
    return any(getattr(cache, "of", "") == "encoder" for cache in caches)


def waits_for_a_full_block(model: sizeup.Model) -> bool:
    assert model.architecture
    return any(getattr(cache, "remainder", 0) for layer in model.architecture.layers for cache in layer.caches)


def gemma(engine: str, batched_tokens: int | None = None) -> sizeup.Estimate:
    model = sizeup.model("gemma-3-27b")
    return model.cache_bytes(tokens=32768, engine=engine, batched_tokens=batched_tokens)


@pytest.mark.parametrize(("batched_tokens", "gib"), [(2048, 3.73), (8192, 6.16)])
def test_vllm_keeps_a_window_and_a_batch_in_pages(batched_tokens: int, gib: float) -> None:
    cache = gemma("vllm", batched_tokens)
    padding = [part for part in cache.parts if "padding" in part.name]
    # 52 layers with windows are six groups of ten, the last with eight layers that do not exist
    assert [part.inputs[1].value for part in padding] == [8]
    assert (cache.value - padding[0].value) / GIB == pytest.approx(gib, abs=0.006)


def test_vllm_before_hybrid_caches_keeps_every_token_of_every_layer() -> None:
    assert gemma("vllm==0.10").value == gemma("sglang").value == 15.5 * GIB


def test_llama_cpp_keeps_a_window_and_a_micro_batch() -> None:
    sizes = gemma("transformers"), gemma("llama.cpp")
    each = 16 * (128 + 128) * 2
    assert sizes[0].value < sizes[1].value == (52 * (1024 + 512) + 10 * 32768) * each


@pytest.mark.parametrize("engine", CACHE_ENGINES)
def test_engines_agree_where_every_layer_keeps_every_token(engine: str) -> None:
    model = sizeup.model("llama-3.1-8b")
    assert model.cache_bytes(tokens=8192, sequences=3, engine=engine).value == 3 * GIB


def test_a_latent_cache_is_one_in_every_engine() -> None:
    model = sizeup.model("deepseek-v3")
    sizes = {model.cache_bytes(tokens=32768, engine=engine).value for engine in CACHE_ENGINES}
    assert sizes == {61 * 576 * 2 * 32768}


@settings(max_examples=60)
@given(
    name=st.sampled_from([record.name for record in list_models()]),
    engine=st.sampled_from([*CACHE_ENGINES, "vllm==0.10"]),
    tokens=st.integers(1, 200_000),
    sequences=st.integers(1, 9),
)
def test_parts_sum_and_more_tokens_or_sequences_never_take_less(
    name: str, engine: str, tokens: int, sequences: int
) -> None:
    model = sizeup.model(name)
    assume(engine == "transformers" or not reads_an_encoder(model))
    cache = model.cache_bytes(tokens=tokens, sequences=sequences, engine=engine)
    assert isinstance(cache.value, int)
    assert cache.value == sum(part.value for part in cache.parts)
    if not waits_for_a_full_block(model):
        assert cache.value <= model.cache_bytes(tokens=tokens + 1000, sequences=sequences, engine=engine).value
    one = model.cache_bytes(tokens=tokens, engine=engine).value
    assert abs(cache.value - sequences * one) < sequences * max(1, len(cache.parts))


@pytest.mark.parametrize("engine", PAGED)
def test_pages_are_whole(engine: str) -> None:
    model = sizeup.model("llama-3.1-8b")
    assert len({model.cache_bytes(tokens=tokens, engine=engine).value for tokens in range(65, 81)}) in (1, 16)


def test_each_engine_keeps_its_own_number_formats() -> None:
    model = sizeup.model("llama-3.1-8b")
    assert model.cache_bytes(tokens=8192, engine="llama.cpp", dtype="q8_0").value == GIB * 17 // 32
    assert model.cache_bytes(tokens=8192, engine="vllm", dtype="fp8").value == GIB // 2
    for engine, dtype in (("vllm", "q8_0"), ("llama.cpp", "fp8")):
        with pytest.raises(UserError, match="keeps no cache in"):
            model.cache_bytes(tokens=8192, engine=engine, dtype=dtype)


def test_an_encoder_s_states_are_not_guessed() -> None:
    with pytest.raises(UserError, match="encoder"):
        sizeup.model("t5-3b").cache_bytes(tokens=100, engine="vllm")


@pytest.mark.parametrize("engine", ["foo", "", "gpt-fast", "vllm " * 99])
def test_other_engines_are_refused(engine: str) -> None:
    result = CliRunner().invoke(cli, ["model", "llama-3.1-8b", "--engine", engine])
    assert result.exit_code != 0
    assert isinstance(result.exception, UserError)
    assert "known: transformers, vllm" in result.exception.hint


def test_the_command_line_names_the_engine_and_its_batch() -> None:
    arguments = ["model", "gemma-3-27b", "--context", "32768", "--engine", "vllm", "--json"]
    small, large = (
        json.loads(CliRunner().invoke(cli, [*arguments, *more]).output)[0] for more in ([], ["--gpu", "8xh100"])
    )
    assert small["engine"] == large["engine"] == "vllm"
    assert small["cache_bytes"] == gemma("vllm", 2048).value < large["cache_bytes"] == gemma("vllm", 8192).value
    assert "vLLM" in small["estimates"]["cache"]["assumptions"][0]
