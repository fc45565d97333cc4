"""Every GPU record: complete, plausible, dense, with its origin."""

import itertools
import json
from dataclasses import fields

import pytest

from sizeup.catalog.loader import GPU_FILES, gpu_records, read_text
from sizeup.machine import Gpu, find_gpu
from sizeup.machine.gpus import MEMORY_BASIS, _plain, gpu
from sizeup.sources import bibliography

KEYS = sorted(gpu_records())
DTYPES = {"fp32", "tf32", "bf16", "fp16", "fp16_accumulate_fp16", "fp8", "int8", "fp4"}
SPARSE = [
    ("mi100", "int8", 369.2e12),
    ("mi210", "int8", 362e12),
    ("mi250x", "int8", 766e12),
    ("h100-sxm5-80gb", "fp16", 1979e12),
    ("h100-sxm5-80gb", "fp8", 3958e12),
    ("h100-pcie-80gb", "fp16", 1513e12),
    ("l40", "fp16", 362e12),
    ("l40s", "fp16", 733e12),
    ("a100-sxm4-80gb", "bf16", 624e12),
    ("gh200-144gb", "fp16", 1979e12),
    ("b100-sxm", "fp16", 3500e12),
    ("b200-sxm-180gb", "bf16", 4500e12),
    ("rtx-4090", "fp16", 661e12),
    ("rtx-a6000", "bf16", 309.7e12),
]
"""What other tables print for these cards: the rate with structured sparsity, twice ours."""


def test_no_key_is_given_twice():
    def once(pairs):
        names = [name for name, _ in pairs]
        assert len(names) == len(set(names)), names
        return dict(pairs)

    files = [json.loads(read_text(f"gpus/{name}.json"), object_pairs_hook=once) for name in GPU_FILES]
    assert sum(map(len, files)) == len(KEYS) >= 94


def test_no_name_means_two_cards():
    owner: dict[str, str] = {}
    for key, record in gpu_records().items():
        for name in (key, record["name"], *record.get("aliases", ())):
            assert owner.setdefault(_plain(name), key) == key, name


@pytest.mark.parametrize("key", KEYS)
def test_record_has_known_fields_and_sources(key):
    record = gpu_records()[key]
    assert set(record) <= {field.name for field in fields(Gpu)} - {"key", "alias_note"}
    cited = [*record["sources"], *([record["memory_source"]] if "memory_source" in record else [])]
    assert record["sources"]
    assert all(source in bibliography() or source.startswith("https://") for source in cited)
    assert set(record.get("unverified", ())) <= set(record), "unverified names a field that is not there"
    assert record["memory_basis"] in MEMORY_BASIS


@pytest.mark.parametrize("key", KEYS)
def test_what_rests_on_an_unread_source_is_marked(key):
    record = gpu_records()[key]
    unread = [s for s in record["sources"] if bibliography()[s].title.startswith("Unread")]
    if unread and record.get("peak_flops_per_second"):
        assert "peak_flops_per_second" in record["unverified"]
    if record["memory_basis"] in ("label", "analogy", "unsourced"):
        assert "memory_bytes" in record["unverified"]


@pytest.mark.parametrize("key", KEYS)
def test_figures_are_plausible(key):
    card = gpu(key)
    assert card.architecture
    assert 2014 <= card.year <= 2026
    assert 0.65 <= card.memory_bytes / (card.label_gb * 1e9) <= 1.075
    assert 50e9 <= card.memory_bandwidth_bytes_per_second <= 10e12
    assert card.tdp_watts is None or 30 <= card.tdp_watts <= 1500
    for link in (card.scale_up_bytes_per_second, card.pcie_bytes_per_second, card.inter_node_bytes_per_second):
        assert link is None or 5e9 <= link <= 2e12
    assert set(card.peak_flops_per_second) <= DTYPES
    assert all(1e12 <= rate <= 20e15 for rate in card.peak_flops_per_second.values())


@pytest.mark.parametrize("key", KEYS)
def test_rates_rise_as_dtypes_shrink(key):
    rates = gpu(key).peak_flops_per_second
    half = rates.get("bf16") or rates.get("fp16")
    if half and "bf16" in rates and "fp16" in rates and key != "mi100":
        assert rates["bf16"] == rates["fp16"]
    if half and "fp8" in rates and key not in ("gaudi3", "trainium1", "inferentia2", "trainium3"):
        assert rates["fp8"] / half == pytest.approx(2, rel=0.03)
    if half and "fp32" in rates:
        assert half >= rates["fp32"]
    bandwidth = gpu(key).memory_bandwidth_bytes_per_second
    if half and not gpu(key).legacy:
        assert 15 <= half / bandwidth <= 1300


@pytest.mark.parametrize(("key", "dtype", "sparse"), SPARSE)
def test_rates_are_dense(key, dtype, sparse):
    assert gpu(key).peak(dtype) <= 0.51 * sparse


@pytest.mark.parametrize("key", KEYS)
def test_every_name_finds_its_card(key):
    record = gpu_records()[key]
    for name in (key, record["name"], key.replace("-", " ").upper(), *record.get("aliases", ())):
        assert find_gpu(name).key == key


def test_families_of_cards_agree_on_bandwidth_order():
    order = ["v100-sxm2-32gb", "a100-sxm4-80gb", "h100-sxm5-80gb", "h200-sxm-141gb", "b200-sxm-180gb"]
    for older, newer in itertools.pairwise(map(gpu, order)):
        assert older.memory_bandwidth_bytes_per_second < newer.memory_bandwidth_bytes_per_second
        assert older.peak("fp16") <= newer.peak("fp16")
