"""Every model of the catalog: readable, named once, counted right; and what names find."""

import json
from collections import Counter
from importlib import resources

import pytest

from sizeup.catalog.loader import model_config, model_records
from sizeup.catalog.lookup import TRUST, ModelRecord, find_model, list_models, name_tokens
from sizeup.errors import UserError
from sizeup.llm.families import build, model_types
from sizeup.llm.parameters import count_parameters
from sizeup.sources import bibliography

RECORDS = list_models()
BY_NAME = {record.name: record for record in RECORDS}


def test_index_and_files_agree():
    folder = resources.files("sizeup").joinpath("catalog/models")
    files = {path.name for path in folder.iterdir() if path.name.endswith(".json")}
    assert files == {record.file for record in RECORDS}
    assert len(RECORDS) == len(BY_NAME) == len(files) >= 290


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_record_is_complete(name):
    record = BY_NAME[name]
    config = record.config()
    assert config["model_type"] == record.model_type
    assert record.trust in TRUST
    assert record.source in bibliography()
    assert record.origin
    for value, source in (
        (record.published_parameters, record.published_source),
        (record.tokens_trained, record.tokens_source),
    ):
        assert (value is None) == (source == "")
        assert not source or source in bibliography()
    assert record.tokens_trained is None or 1e9 <= record.tokens_trained <= 1e14
    for field, source in (("published_parameters", "published_source"), ("tokens_trained", "tokens_source")):
        unread = getattr(record, source) and bibliography()[getattr(record, source)].title.startswith("Unread")
        assert (field in record.unverified) == bool(unread)


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_name_and_aliases_find_it(name):
    record = BY_NAME[name]
    assert find_model(name).name == name
    assert find_model(name.lower().replace("-", "_")).name == name
    for alias in record.aliases:
        assert find_model(alias).name == name


def test_no_alias_is_another_models_name():
    owners: dict[tuple[str, ...], str] = {}
    for record in RECORDS:
        for name in (record.short_name, *record.aliases):
            assert owners.setdefault(name_tokens(name), record.name) == record.name, name


def _published_far_off(record: ModelRecord) -> bool:
    counted, published = record.counted_parameters, record.published_parameters
    return bool(counted and published and abs(counted / published - 1) > 0.06)


def test_published_and_counted_sizes_agree():
    assert not [record.name for record in RECORDS if _published_far_off(record)]


@pytest.mark.parametrize("model_type", sorted({record.model_type for record in RECORDS}))
def test_model_type_has_a_family(model_type):
    assert model_type in model_types()


@pytest.mark.parametrize("name", sorted(n for n, r in BY_NAME.items() if r.counted_parameters))
def test_our_count_is_the_recorded_one(name):
    record = BY_NAME[name]
    if record.model_type not in model_types():
        pytest.skip(f"no family for {record.model_type}: the test above fails for it")
    assert count_parameters(build(record.config(), where=name)) == record.counted_parameters


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("llama-3.1-8b", "meta-llama/Llama-3.1-8B"),
        ("meta-llama-3.1-8b", "meta-llama/Meta-Llama-3.1-8B"),
        ("LLAMA_3.1_8B", "meta-llama/Llama-3.1-8B"),
        ("meta-llama/llama-3.1-8b", "meta-llama/Llama-3.1-8B"),
        ("llama-3-70b", "meta-llama/Meta-Llama-3-70B"),
        ("llama2-7b", "meta-llama/Llama-2-7b-hf"),
        ("deepseek-v3", "deepseek-ai/DeepSeek-V3"),
        ("gemma-3-27b", "google/gemma-3-27b-pt"),
        ("qwen3-30b-a3b", "Qwen/Qwen3-30B-A3B"),
        ("gpt-oss-120b", "openai/gpt-oss-120b"),
        ("mixtral-8x7b", "mistralai/Mixtral-8x7B-v0.1"),
        ("phi-1.5", "microsoft/phi-1_5"),
        ("gpt-2", "openai-community/gpt2"),
        ("gpt-3", "paper/GPT-3-175B"),
        ("qwen3-vl-8b", "Qwen/Qwen3-VL-8B-Instruct"),
        ("DeepSeekV3", "deepseek-ai/DeepSeek-V3"),
        ("gptoss:20b", "openai/gpt-oss-20b"),
        ("deepseekr1", "deepseek-ai/DeepSeek-R1"),
        ("gptj-6b", "EleutherAI/gpt-j-6b"),
    ],
)
def test_everyday_names(asked, found):
    assert find_model(asked).name == found


def test_a_name_read_as_another_says_so():
    assert find_model("llama-3.1-8b").alias_note == ""
    assert "gemma-3-27b-pt" in find_model("gemma-3-27b").alias_note


@pytest.mark.parametrize(
    "name",
    [
        "llama-31-8b",
        "llama31-8b",
        "llama-3.18b",
        "qwen38b",
        "llama-3.1",
        "llama-3.1-9b",
        "someone/llama-3.1-8b",
        "qwen",
        "",
        "8b",
    ],
)
def test_another_identity_is_never_assumed(name):
    with pytest.raises(UserError):
        find_model(name)


def test_an_unknown_name_gets_the_nearest_ones():
    with pytest.raises(UserError) as caught:
        find_model("llama-4")
    assert "Llama-4-Scout-17B-16E-Instruct" in caught.value.nearest


def test_different_models_of_one_name_are_refused(monkeypatch):
    first = dict(model_records()[0], name="one/Same-7B", file="meta-llama--LLaMA-7b.json", counted_parameters=1)
    second = dict(first, name="two/Same-7B", counted_parameters=2)
    monkeypatch.setattr("sizeup.catalog.lookup.model_records", lambda: (first, second))
    with pytest.raises(UserError, match="2 different models"):
        find_model("same-7b")
    monkeypatch.setattr("sizeup.catalog.lookup.model_records", lambda: (first, dict(second, counted_parameters=1)))
    assert find_model("same-7b").name == "one/Same-7B"


def test_lists_filter_and_sort():
    assert all("qwen3" in r.name.lower() for r in list_models("qwen3"))
    sizes = [record.parameters for record in list_models(min_parameters=10**11, sort="parameters")]
    assert sizes == sorted(sizes)
    assert min(sizes) >= 10**11
    assert {record.trust for record in list_models(trust="paper")} == {"paper"}
    assert Counter(record.model_type for record in list_models(model_type="gpt_oss")) == {"gpt_oss": 2}
    for wrong in ({"sort": "beauty"}, {"trust": "rumour"}):
        with pytest.raises(UserError):
            list_models(**wrong)


def test_configurations_are_read_only_when_asked():
    assert json.dumps(find_model("gpt2").config()) == json.dumps(model_config("openai-community--gpt2.json"))
