"""Names of machines, instances and their prices, lists and filters."""

import re

import pytest

from sizeup import machine
from sizeup.catalog.loader import gpu_records, instance_records
from sizeup.errors import UserError
from sizeup.machine import (
    cheapest_instance,
    cheapest_instances,
    find_gpu,
    find_instance,
    list_gpus,
    list_instances,
    parse_machine,
)
from sizeup.sources import bibliography
from sizeup.units import GIB

NAMES = [f"{record['cloud']} {record['name']}" for record in instance_records()]


def test_instances_are_named_once():
    assert len(NAMES) == len(set(NAMES)) >= 160


@pytest.mark.parametrize("name", NAMES)
def test_instance_is_complete(name):
    instance = find_instance(name)
    assert f"{instance.cloud} {instance.name}" == name
    card = gpu_records()[instance.gpu_key]
    assert 1 <= instance.gpus <= 36
    assert 0 < instance.gpu_fraction <= 1
    assert 0.9 <= instance.gpu_memory_bytes / (instance.gpu_fraction * card["memory_bytes"]) <= 1.16
    assert instance.shape_source in bibliography()
    assert (instance.usd_per_hour is None) == (instance.price_source == "")
    assert not instance.price_source or instance.price_source in bibliography()


@pytest.mark.parametrize("name", NAMES)
def test_a_price_has_a_date_or_says_that_it_has_none(name):
    instance = find_instance(name)
    if instance.usd_per_hour is None:
        return
    assert instance.region
    assert 0.05 <= (instance.usd_per_gpu_hour or 0) <= 30
    if instance.date:
        assert re.fullmatch(r"20\d\d-[01]\d-[0-3]\d", instance.date)
    else:
        assert "price_date" in instance.unverified


def test_a_slice_of_a_card_costs_and_holds_its_part():
    slice_ = find_instance("g6f.2xlarge")
    assert (slice_.gpus, slice_.gpu_fraction) == (1, 0.25)
    assert slice_.usd_per_gpu_hour == pytest.approx(0.475 * 4)
    assert slice_.usable_gpu_memory_bytes == 6_000_000_000


def test_reported_memory_is_kept_in_bytes():
    assert find_gpu("l4").memory_bytes == find_gpu("a10g").memory_bytes == 24_000_000_000
    assert find_gpu("l40s").memory_bytes == 48_000_000_000
    assert find_instance("p5.48xlarge").memory_bytes == 8 * 80 * GIB
    assert find_instance("p5.48xlarge").usable_gpu_memory_bytes == find_gpu("h100").memory_bytes


@pytest.mark.parametrize(
    ("text", "nodes", "gpus", "key"),
    [
        ("8xh100", 1, 8, "h100-sxm5-80gb"),
        ("64xh100", 8, 8, "h100-sxm5-80gb"),
        ("12 x a100", 2, 6, "a100-sxm4-80gb"),
        ("rtx-4090", 1, 1, "rtx-4090"),
        ("2xRTX4090", 1, 2, "rtx-4090"),
        ("p5.48xlarge", 1, 8, "h100-sxm5-80gb"),
        ("2x p5.48xlarge", 2, 8, "h100-sxm5-80gb"),
        ("aws p5.48xlarge", 1, 8, "h100-sxm5-80gb"),
        ("4x8xmi300x", 4, 8, "mi300x"),
        ("72xgb200", 18, 4, "gb200-186gb"),
        ("1x_A100-80GB_SECURE", 1, 1, "a100-pcie-80gb"),
    ],
)
def test_machines_are_read(text, nodes, gpus, key):
    cluster = parse_machine(text)
    assert (cluster.nodes, cluster.node.gpus, cluster.gpu.key) == (nodes, gpus, key)
    assert cluster.gpus == nodes * gpus
    assert cluster.memory_bytes == nodes * gpus * cluster.gpu.memory_bytes


@pytest.mark.parametrize("text", ["", "0xh100", "13xh100", "2x2x2xh100", "2x2xp5.48xlarge", "h999", "x8"])
def test_impossible_machines_are_refused(text):
    with pytest.raises(UserError):
        parse_machine(text)


def test_a_misspelt_card_gets_the_nearest_names():
    with pytest.raises(UserError) as caught:
        parse_machine("8x rtx4900")
    assert "rtx-4090" in caught.value.nearest


def test_a_short_name_says_what_it_is_read_as():
    assert "a100-sxm4-40gb" in find_gpu("a100").alias_note
    assert parse_machine("8xa100").notes
    assert find_gpu("a100-sxm4-80gb").alias_note == find_gpu("rtx4090").alias_note == ""


def test_cards_are_values():
    assert find_gpu("h100") == find_gpu("h100-sxm5-80gb")
    assert len({find_gpu("h100"), find_gpu("h100-sxm5-80gb"), find_gpu("t4")}) == 2
    assert parse_machine("8xh100") != parse_machine("8xh200")


def test_the_package_offers_what_it_lists():
    assert all(getattr(machine, name).__name__ == name for name in machine.__all__)
    with pytest.raises(AttributeError):
        _ = machine.nothing


def test_links_depend_on_how_many_cards_they_join():
    assert parse_machine("2xa100-pcie-80gb").node.intra_node_bytes_per_second == 300e9
    assert parse_machine("4xa100-pcie-80gb").node.intra_node_bytes_per_second == 32e9
    assert parse_machine("8xh100").node.intra_node_bytes_per_second == 450e9
    assert parse_machine("p4d.24xlarge").node.inter_node_bytes_per_second == 400e9 / 8 / 8
    assert parse_machine("2x p5.48xlarge").usd_per_hour == 2 * 55.04


@pytest.mark.parametrize("size", [1e9, 17e9, 75e9, 150e9, 700e9])
def test_cheapest_instances_hold_the_bytes_and_cost_no_less_than_the_first(size):
    found = cheapest_instances(size)
    assert all(i.gpus * i.usable_gpu_memory_bytes >= size and i.priced for i in found)
    prices = [i.usd_per_hour for i in found]
    assert prices == sorted(prices)
    assert found[0] == cheapest_instance(size)


def test_cheapest_instance_obeys_its_filters():
    assert cheapest_instance(1e15) is None
    assert all(i.gpus >= 4 for i in cheapest_instances(10e9, gpus=4))
    assert all(i.usable_gpu_memory_bytes >= 40e9 for i in cheapest_instances(10e9, per_gpu_bytes=40e9))
    assert {i.cloud for i in cheapest_instances(1e9, clouds=["gcp"])} == {"gcp"}
    assert {i.gpu_key for i in cheapest_instances(1e9, gpu="t4")} == {"t4"}
    assert not {i.gpu_key for i in cheapest_instances(1e9)} & {"k80", "m60", "radeon-pro-v520", "inferentia2"}
    assert "inferentia2" in {i.gpu_key for i in cheapest_instances(1e9, vendors=())}
    assert any(not i.date for i in cheapest_instances(1e9, undated=True))


def test_lists_filter_and_sort():
    assert len(list_gpus()) == len(gpu_records())
    assert len(list_instances()) == len(NAMES)
    big = list_gpus(min_memory_bytes=100 * GIB, vendor="NVIDIA", sort="memory")
    assert [row.gpu.memory_bytes for row in big] == sorted((row.gpu.memory_bytes for row in big), reverse=True)
    assert {row.gpu.key for row in big} >= {"h200-sxm-141gb", "b200-sxm-180gb"}
    cheap = list_gpus(max_usd_per_gpu_hour=1, sort="price")
    assert cheap
    assert all(0 < (row.usd_per_gpu_hour or 0) <= 1 for row in cheap)
    assert not [row for row in list_gpus(legacy=False) if row.gpu.legacy]
    assert all(i.priced for i in list_instances(priced_only=True, sort="price"))
    for function in (list_gpus, list_instances):
        with pytest.raises(UserError):
            function(sort="beauty")
