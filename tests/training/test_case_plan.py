"""Plans of measured cases: what a row leaves open is filled so that it could have run, and is said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from sizeup.evidence.cases import Case, shipped_cases
from sizeup.evidence.validate import predict_case
from sizeup.plan.training import TrainingPlan
from sizeup.training.case_plan import USUAL_BATCH_TOKENS, USUAL_NETWORK, case_cluster, plan_of_case

BLANKS = ("micro_batch", "global_batch", "sharding", "seq_len", "framework", "kind", "vpp", "dp", "attention")


def a_case(case_id: str, **cells: str) -> Case:
    """Return a shipped case with other cells."""
    found = next(case for case in shipped_cases("training") if case.case_id == case_id)
    return replace(found, row={**found.row, **cells})


def plan_of(case: Case) -> TrainingPlan:
    """Return its plan."""
    return plan_of_case(case.row, case.architecture())


def open_cells(**cells: str) -> Mapping[str, str]:
    """Return cells that say nothing, and some that do."""
    return {**dict.fromkeys(BLANKS, ""), **cells}


def test_an_open_batch_is_a_usual_number_of_tokens_in_micro_batches_that_fit() -> None:
    plan = plan_of(a_case("hours-0014"))
    assert plan.micro_batch > 1
    assert plan.global_batch * plan.sequence_length == USUAL_BATCH_TOKENS
    assert any(note.startswith("micro_batch:") for note in plan.assumptions)
    assert any(note.startswith("global_batch:") for note in plan.assumptions)


def test_an_open_micro_batch_is_smaller_on_a_smaller_card() -> None:
    large = plan_of(a_case("hours-0014", gpu="h200"))
    small = plan_of(a_case("hours-0014", gpu="rtx-3090"))
    assert small.micro_batch <= large.micro_batch


def test_an_open_sharding_shards_what_would_not_fit() -> None:
    cells = open_cells(framework="hf", model="meta-llama--Llama-3.1-8B", gpu="h100", n_gpus="8", seq_len="2048")
    plan = plan_of(a_case("hours-0014", **cells))
    assert plan.layout.sharding == "fsdp"
    small = plan_of(a_case("hours-0014", **{**cells, "model": "TinyLlama--TinyLlama-1.1B-Chat-v1.0"}))
    assert small.layout.sharding == "none"


def test_the_micro_batch_that_megatron_states_is_never_split() -> None:
    plan = plan_of(a_case("seqsel-0003", micro_batch="16", global_batch="32", vpp="1"))
    assert plan.micro_batch == 16


def test_a_card_without_a_known_network_gets_a_usual_one() -> None:
    case = a_case("hours-0014", gpu="rtx-4090")
    assert case_cluster(case.row, plan_of(case)).node.inter_node_bytes_per_second == USUAL_NETWORK
    assert "network: 100 Gbit/s per card" in plan_of(case).assumptions


@pytest.mark.parametrize("case_id", ["titan-0011", "bloom-0001", "litgpt-0001", "bridge-0001", "foundry-0001"])
def test_a_row_with_every_optional_cell_open_is_still_predicted(case_id: str) -> None:
    keep = {"case_id", "group", "model", "gpu", "step_seconds", "mem_gib", "tokens_per_second_per_gpu", "oom"}
    found = a_case(case_id)
    bare = replace(found, row={k: v if k in keep else "" for k, v in found.row.items()})
    for record in predict_case(bare, leave_out=True):
        assert not record.skipped
        assert record.predicted is not None


@pytest.mark.parametrize("cells", [{"tp": "-1"}, {"micro_batch": "half"}, {"gpu": "no-such"}, {"model": "no-such"}])
def test_a_row_that_cannot_be_read_is_skipped_with_its_reason(cells: dict[str, str]) -> None:
    (name, value), records = *cells.items(), predict_case(a_case("titan-0011", **cells), leave_out=True)
    assert records
    assert all(value.strip("-") in record.skipped and record.predicted is None for record in records), name
