"""Every statement of the back-of-the-envelope document, and the tables of the papers behind it."""

from __future__ import annotations

import csv

import click
import pytest

import sizeup
from sizeup.envelope import envelope
from sizeup.envelope_model import envelope_of
from sizeup.files import read_text
from sizeup.physics import rules
from sizeup.units import GB, PETAFLOP_S_DAY

ANSWER = envelope()


def test_storing_and_training_one_parameter() -> None:
    assert ANSWER.storage_bytes_per_parameter.value == 4
    assert ANSWER.training_bytes_per_parameter.value == 24
    assert [part.value for part in ANSWER.training_bytes_per_parameter.parts] == [4, 8, 4, 8]


@pytest.mark.parametrize(
    ("model", "decimal", "binary"),
    [
        ("GPT-2", (1, 2), (1, 2)),
        ("GPT-3", (22, 132), (21, 123)),
        ("PaLM", (68, 405), (63, 378)),
        ("LLaMA", (9, 49), (8, 46)),
        ("BloombergGPT", (7, 38), (6, 35)),
    ],
)
def test_gpu_counts_of_the_document(model: str, decimal: tuple[int, int], binary: tuple[int, int]) -> None:
    row = next(row for row in ANSWER.gpu_counts if row.model == model)
    assert (row.inference_gpus, row.training_gpus) == decimal
    assert (row.inference_gpus_gib, row.training_gpus_gib) == binary


def test_counts_come_in_the_document_s_order() -> None:
    assert [row.model for row in ANSWER.gpu_counts] == ["GPT-2", "GPT-3", "PaLM", "LLaMA", "BloombergGPT"]


def test_pretraining_time() -> None:
    t5, gpt3 = ANSWER.pretraining
    assert (t5.gpu_days, t5.gpus, t5.days) == (800, 100, 8)
    assert (gpt3.gpu_days, gpt3.gpus, gpt3.days) == (29600, 987, 30)


def test_table_d1_of_gpt3_reproduces() -> None:
    assert len(ANSWER.table_d1) == 17
    for row in ANSWER.table_d1:
        assert row.petaflop_s_days == pytest.approx(row.published, rel=0.0035), row.model
    assert max(abs(r.petaflop_s_days / r.published - 1) for r in ANSWER.table_d1 if r.published >= 10) < 0.0023


def test_one_petaflop_s_day_in_v100s() -> None:
    counts = {(gpu, dtype): count for gpu, dtype, count in ANSWER.unit_equivalents}
    assert counts["v100-sxm2-32gb", "fp16"] == 8
    assert round(counts["v100-sxm2-32gb", "fp32"]) == 64


def test_lora_arithmetic() -> None:
    lora = ANSWER.lora
    assert lora["trainable_parameters"] == 17_500_000
    assert lora["adapter_bytes"] == 350_000_000
    assert (lora["additional_gpus"], lora["additional_gpus_full_fine_tuning"]) == (1, 110)
    assert (lora["days"], lora["gpus_same_time"]) == (22.5, 750)
    assert (lora["gpus_by_twice_the_weights"], lora["gpus"]) == (44, 23)
    assert lora["paper_trainable_parameters"] == {"r=1": 4_718_592, "r=4": 18_874_368, "r=8": 37_748_736}


def test_half_precision_halves() -> None:
    assert ANSWER.quantization["saving"] == 0.5


def test_chinchilla_table_3() -> None:
    for row in ANSWER.chinchilla:
        tolerance = 0.05 if row.model == "67B" else 0.012
        assert row.computed_flops == pytest.approx(row.published_flops, rel=tolerance), row.model
    assert rules.chinchilla_tokens(175e9) == 3.5e12


def test_zero_table_1() -> None:
    rows = list(csv.DictReader(read_text("catalog/tables/zero_table1.csv").splitlines()))
    assert len(rows) == 18
    for row in rows:
        for stage in (1, 2, 3):
            computed = rules.zero_model_state_bytes(
                float(row["model_billions"]) * 1e9, data_parallel=int(row["data_parallel"]), stage=stage
            )
            assert computed / GB == pytest.approx(float(row[f"stage_{stage}_gb"]), rel=0.003)


def test_instances_hold_memory_over_bytes() -> None:
    p4d = next(row for row in ANSWER.instances if row.instance == "p4d.24xlarge")
    assert p4d.memory_bytes == 8 * 40 * 2**30
    assert p4d.inference_parameters == p4d.memory_bytes // 4
    assert p4d.training_parameters == p4d.memory_bytes // 24
    assert p4d.usd_per_hour
    assert p4d.date


def test_every_remark_section_is_shown() -> None:
    from sizeup.render.envelope_text import envelope_lines

    text = "\n".join(envelope_lines(ANSWER))
    for remarks in ANSWER.remarks.values():
        for remark in remarks:
            assert remark.split()[0] in text
    assert "296 days" in text


def test_rules_apply_to_any_model() -> None:
    import sizeup

    llama = sizeup.model("llama-3.1-8b")
    answer = envelope_of(llama, gpu="h100", gpus=64, tokens=15e12, utilization=0.4)
    assert answer.store_bytes == 4 * llama.parameters
    assert answer.flops == 6 * llama.parameters * 15e12
    assert answer.petaflop_s_days == answer.flops / PETAFLOP_S_DAY
    assert answer.pretraining_days == answer.gpu_days / 64


def test_the_document_s_counts_for_any_model_and_the_driver_s_beside_them() -> None:
    import sizeup

    answer = envelope_of(sizeup.model("175b"))
    assert (answer.inference_gpus, answer.training_gpus, answer.lora_gpus) == (22, 132, 44)
    assert answer.inference_gpus_driver == 21


def test_a_mixture_s_work_is_also_told_with_its_active_parameters() -> None:
    import sizeup
    from sizeup.render.envelope_text import model_lines

    model = sizeup.model("deepseek-v3")
    answer = envelope_of(model, gpu="h100", gpus=2048, tokens=14.8e12, utilization=0.4)
    assert answer.active_gpu_days / answer.gpu_days == pytest.approx(model.active_parameters / model.parameters)
    lines = model_lines(answer)
    assert any("37.6B parameters that work for each token" in line for line in lines)
    assert max(map(len, map(click.unstyle, lines))) <= 80


def test_every_card_with_a_known_rate_has_its_share_of_the_unit_and_applies_to_models() -> None:
    import sizeup
    from sizeup.machine import list_gpus

    model, shares = sizeup.model("7b"), {gpu for gpu, _, _ in ANSWER.unit_equivalents}
    for row in list_gpus():
        rates = row.gpu.peak_flops_per_second
        if rates.get("bf16") or rates.get("fp16") or rates.get("fp32"):
            assert row.gpu.key in shares
            answer = envelope_of(model, gpu=row.gpu.key)
            assert 0 < answer.gpu_days < float("inf")


def test_lora_takes_a_third_and_half_precision_half() -> None:
    from sizeup.render.envelope_text import envelope_lines

    assert ANSWER.lora["training_bytes_per_parameter"] == 8
    text = "\n".join(map(click.unstyle, envelope_lines(ANSWER, gpu="mi300x")))
    assert "8 GB, 3 times less" in text
    assert "to store in half precision           2 B  2 GB" in text
    assert "mi300x" in text


def test_an_encoder_decoder_works_half_as_table_d1_counts_it() -> None:
    answer = envelope_of(sizeup.model("t5-3b"), tokens=1e12)
    assert answer.flops_per_parameter_per_token == 3
    assert answer.petaflop_s_days == pytest.approx(104, rel=0.06)  # the published T5-3B is 2.8 billion parameters
    assert envelope_of(sizeup.model("llama-3.1-8b"), tokens=1e12).flops_per_parameter_per_token == 6
