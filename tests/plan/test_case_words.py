"""Cells of measured cases: synonyms mean one word, numbers are read or refused, what is unknown is noted."""

from __future__ import annotations

import pytest

from sizeup.errors import UserError
from sizeup.plan.case_words import COUNTS, WORDS, count_of, targets_of, tidy
from sizeup.plan.frameworks import is_framework
from sizeup.plan.from_case import training_plan
from sizeup.plan.optimizers import optimizer
from sizeup.plan.training import TARGETS

ROW = {"framework": "hf", "seq_len": "1024", "n_gpus": "8", "micro_batch": "2", "global_batch": "16"}


def test_every_optimizer_word_has_a_record() -> None:
    for word in set(WORDS["optimizer"].values()):
        assert optimizer(word)


@pytest.mark.parametrize("column", sorted(WORDS))
def test_a_meaning_means_itself(column: str) -> None:
    meanings = set(WORDS[column].values())
    assert {WORDS[column].get(word, word) for word in meanings} == meanings


WRITTEN = [("4k", 4096), ("1,024", 1024), ("2.0", 2), ("1e3", 1000), ("7M", 7 * 10**6)]


@pytest.mark.parametrize(("text", "value"), WRITTEN)
def test_counts_are_read_as_people_write_them(text: str, value: int) -> None:
    assert count_of(text, column="seq_len") == value


@pytest.mark.parametrize("text", ["-2", "0", "0.5", "many", "1..2", "inf", "4 k k"])
def test_a_count_that_cannot_be_is_refused_by_name(text: str) -> None:
    with pytest.raises(UserError, match="tp"):
        tidy({"tp": text})


def test_zero_means_absent_only_where_it_can() -> None:
    row, _ = tidy({"vpp": "0", "ep": "0"})
    assert row == {"vpp": "", "ep": ""}


def test_an_unknown_word_is_left_open_and_noted() -> None:
    row, notes = tidy({"attention": "sparse", "optimizer": "FusedAdam", "grad_dtype": "N/A"})
    assert row == {"attention": "", "optimizer": "adamw", "grad_dtype": ""}
    assert notes == ('attention "sparse" is not known: left open',)


def test_an_unknown_kind_of_training_is_refused() -> None:
    with pytest.raises(UserError, match="ppo"):
        tidy({"kind": "ppo"})


def test_modules_and_words_name_the_same_targets() -> None:
    assert targets_of("q_proj,v_proj", TARGETS) == TARGETS["qv"]
    assert targets_of("gate_proj up_proj;down_proj", TARGETS) == TARGETS["mlp"] - {"gate_up"}
    with pytest.raises(UserError, match="w_pack"):
        targets_of("w_pack", TARGETS)


def test_a_framework_without_a_record_is_the_generic_one_and_says_so() -> None:
    assert not is_framework("colossalai")
    plan = training_plan({**ROW, "framework": "colossalai"})
    assert plan.framework == "generic"
    assert "framework: generic (colossalai has no record)" in plan.assumptions


@pytest.mark.parametrize("column", [*COUNTS, *WORDS, "framework", "shard_group"])
def test_any_cell_may_be_empty(column: str) -> None:
    plan = training_plan({**ROW, column: ""})
    assert plan.micro_batch >= 1
    assert plan.layout.gpus >= 1


def test_a_layout_that_contradicts_the_number_of_cards_is_noted() -> None:
    plan = training_plan({**ROW, "tp": "2", "dp": "8"})
    assert plan.layout.gpus == 16
    assert any(note.startswith("n_gpus: 16") for note in plan.assumptions)
