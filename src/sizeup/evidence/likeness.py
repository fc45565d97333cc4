"""Whether anything like a training run was ever measured: its kind, its generation of cards, its reach.

Few plain questions, asked of the shipped cases of the quantity: the same kind of training on the same generation; no
more cards and no longer sequences than a little beyond what was measured; nothing that no case ever did.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterator
from dataclasses import dataclass

from sizeup.catalog.loader import gpu_records
from sizeup.evidence.cases import SHIPPED
from sizeup.plan.training import TrainingPlan

BEYOND = 2.0
"""How many times the largest measured number of cards or tokens still counts as like it (stated where it does not)."""
ADAPTERS = ("lora", "qlora")


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """How many measured cases are of the same kind on the same generation of cards, and why others are far."""

    cases: int
    meters: str = ""
    far: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """One line."""
        if self.far:
            return f"no measured case like this: {'; '.join(self.far)}"
        return f"{self.cases} {'run' if self.cases == 1 else 'runs'} like this" + self.meters


@dataclass(frozen=True, slots=True)
class _Measured:
    adapters: bool
    generation: str
    gpus: int
    sequence: int
    dtype: str
    framework: str


@functools.cache
def _measured(quantity: str) -> tuple[_Measured, ...]:
    cards, found = gpu_records(), []
    with (SHIPPED / "training.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            told = row["mem_gib"] or row["oom"] if quantity == "mem_gib" else row["step_seconds"] or row[quantity]
            if told and row["gpu"] in cards and row["seq_len"]:
                found.append(
                    _Measured(
                        row["kind"] in ADAPTERS, cards[row["gpu"]]["architecture"], int(row["n_gpus"]),
                        int(row["seq_len"]), row["compute_dtype"] or "bf16", row["framework"],
                    )
                )  # fmt: skip
    return tuple(found)


def training_likeness(plan: TrainingPlan, *, generation: str, quantity: str) -> Likeness:
    """Return how far a plan is from the measured cases of ``quantity`` (mem_gib or step_seconds)."""
    adapters = plan.method in ADAPTERS
    word = "adapters" if adapters else "training of all weights"
    kind = [case for case in _measured(quantity) if case.adapters == adapters]
    if not kind:
        return Likeness(cases=0, far=(f"{'memory' if quantity == 'mem_gib' else 'time'} of {word}",))
    same = [case for case in kind if case.generation == generation]
    far = list(_never(plan, kind)) + ([] if same else [f"{word} on {generation} cards"])
    for name, ours, theirs in (
        ("cards", plan.layout.gpus, max(case.gpus for case in kind)),
        ("tokens in a sequence", plan.sequence_length, max(case.sequence for case in kind)),
    ):
        if ours > BEYOND * theirs:
            far.append(f"{ours:,} {name}, at most {theirs:,} measured for {word}")
    return Likeness(cases=len(same), meters=" by any meter" if quantity == "mem_gib" else "", far=tuple(far))


def _never(plan: TrainingPlan, kind: list[_Measured]) -> Iterator[str]:
    """Yield what a plan does that no case of its kind did."""
    if plan.precision.compute_dtype not in {case.dtype for case in kind}:
        yield f"{plan.precision.compute_dtype} products"
    for name, does in (
        ("host offloading", plan.offload_optimizer or plan.offload_parameters),
        ("DoRA", bool(plan.adapter and plan.adapter.dora)),
        (f"the {plan.schedule} schedule", plan.schedule != "1f1b" and plan.layout.pp > 1),
        ("packed samples", plan.packing),
    ):
        if does:
            yield name
