"""Questions asked backwards agree with the same question asked forwards."""

from __future__ import annotations

from dataclasses import replace

from sizeup.machine import parse_machine
from sizeup.sizing import model
from sizeup.training.base import base_plan
from sizeup.training.inverse import fewest_gpus, largest_micro_batch, largest_sequence, offers, pareto
from sizeup.training.search import search

SMALL = model("llama-3.2-1b").architecture


def test_largest_sequence_fits_and_the_next_does_not() -> None:
    cluster = parse_machine("rtx-4090")
    base = base_plan(SMALL, cluster, method="lora")
    longest = largest_sequence(SMALL, base, cluster, free_batch=True)
    for tokens, fits in ((longest, True), (longest + 1024, False)):
        plan = replace(base, sequence_length=tokens)
        assert bool(search(SMALL, plan, cluster, free_batch=True).best) is fits


def test_largest_micro_batch_fits_and_the_next_does_not() -> None:
    cluster = parse_machine("rtx-4090")
    base = base_plan(SMALL, cluster, method="lora")
    size = largest_micro_batch(SMALL, base, cluster)
    for count, fits in ((size, True), (size + 1, False)):
        assert bool(search(SMALL, base, cluster, fixed={"micro_batch": count}, free_batch=True).best) is fits


def test_fewest_gpus_meet_the_deadline_and_fewer_do_not() -> None:
    clusters = [parse_machine(f"{count}xh100") for count in (1, 2, 4, 8, 16)]
    base = base_plan(SMALL, clusters[0], global_batch=256)
    found = offers("1B", SMALL, base, clusters, tokens=1e11)
    days = [offer.days for offer in found]
    assert days == sorted(days, reverse=True)
    chosen = fewest_gpus(found, within_days=days[2])
    assert chosen is found[2]
    assert fewest_gpus(found, within_days=days[-1] / 2) is None
    assert set(map(id, pareto(found))) <= set(map(id, found))
