"""Training memory: worked examples of papers, laws, and measured runs."""

from __future__ import annotations

import csv
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sizeup.files import read_text
from sizeup.llm.architecture import Architecture
from sizeup.llm.families import build
from sizeup.machine.gpus import find_gpu
from sizeup.physics.activations import Split, kept_bytes, layer_tensors
from sizeup.physics.meters import Coefficients
from sizeup.physics.training_facts import training_facts
from sizeup.physics.training_memory import columns_of, peak_bytes, training_memory
from sizeup.physics.training_ranks import Columns, first_layer, held_weights, in_flight, moments
from sizeup.plan.frameworks import framework
from sizeup.plan.training import Adapter, Layout, Precision, TrainingPlan
from sizeup.sizing import model as load

GPU = find_gpu("a100-sxm4-80gb")
KNOWN = Coefficients()
SMALL = {
    "model_type": "llama",
    "hidden_size": 1024,
    "intermediate_size": 2816,
    "num_hidden_layers": 16,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "vocab_size": 32000,
    "tie_word_embeddings": False,
}


def gpt(layers: int = 96, hidden: int = 12288, heads: int = 96) -> Architecture:
    return build(
        {"model_type": "gpt2", "n_embd": hidden, "n_layer": layers, "n_head": heads, "vocab_size": 51200}, where="gpt"
    )


def llama(**changes: Any) -> Architecture:
    return build(SMALL | changes, where="llama")


def plan(**changes: Any) -> TrainingPlan:
    layout = changes.pop("layout", Layout())
    return replace(
        TrainingPlan(framework="megatron", loss="fused", sequence_length=2048, micro_batch=1, global_batch=64),
        layout=layout,
        **changes,
    )


def bytes_of(architecture: Architecture, chosen: TrainingPlan) -> float:
    return float(training_memory(architecture, chosen, GPU, coefficients=KNOWN).allocated.value)


@pytest.mark.parametrize(
    ("tp", "sequence_parallel", "selective", "expected"),
    [
        # Table 2 of [korthikanti2022], in units of s b h, with score = 5 a s / h
        (1, False, False, lambda score, t: 34 + score),
        (8, False, False, lambda score, t: 10 + 24 / t + score / t),
        (8, True, False, lambda score, t: 34 / t + score / t),
        (8, True, True, lambda score, t: 34 / t),
        (8, False, True, lambda score, t: 10 + 24 / t),
    ],
)
def test_a_gpt_layer_keeps_what_korthikanti_counts(
    tp: int, sequence_parallel: bool, selective: bool, expected: Any
) -> None:
    hidden, heads, sequence, batch = 12288, 96, 2048, 1
    layer = gpt().layers[0]
    used = framework("megatron-deepspeed")
    kept = kept_bytes(
        layer_tensors(layer, hidden_size=hidden),
        used.kept(attention="eager", compiled=False, eight_bit=False, selective=selective),
    )
    split = Split(tokens=sequence * batch, visible=sequence, tp=tp, sequence_ways=tp if sequence_parallel else 1)
    score = 5 * heads * sequence / hidden
    assert kept.on_rank(split) == pytest.approx(sequence * batch * hidden * expected(score, tp), rel=1e-12)


def test_full_recomputation_keeps_two_bytes_of_each_layer_input() -> None:
    model = gpt(layers=8, hidden=1024, heads=16)
    facts = training_facts(model, plan(recompute="full", attention="eager"))
    assert facts.kept_before[0][-1] == 8 * 2 * 1024


def test_zero_table_1() -> None:
    # 7.5 B and more in the table's own unit of 10^9 bytes; "zero" is mixed precision Adam, 2 + 2 + 12 bytes
    parameters = 1.0e9
    rows = list(csv.DictReader(read_text("catalog/tables/zero_table1.csv").splitlines()))
    assert rows
    model, precision = llama(), Precision(grad_dtype="bf16")
    for row in rows:
        ranks = int(row["data_parallel"])
        for stage, sharding in (("1", "zero1"), ("2", "zero2"), ("3", "zero3")):
            chosen = plan(layout=Layout(dp=ranks, sharding=sharding), precision=precision, framework="generic")  # type: ignore[arg-type]
            facts, columns = training_facts(model, chosen), columns_of(chosen)
            weights = float(held_weights(facts, stage=0, columns=columns).total)
            step = moments(facts, columns, stage=0)["optimizer step"]
            names = ("weights", "master weights", "optimizer states", "gradients")
            each = sum(float(step[name]) for name in names) / weights
            published = float(row[f"stage_{stage}_gb"]) / float(row["model_billions"])
            assert each * parameters / 1e9 == pytest.approx(published, rel=2e-3)


def test_pipeline_stages_share_all_layers() -> None:
    for layers, stages in ((80, 8), (126, 8), (106, 12), (78, 12), (7, 3)):
        starts = [first_layer(i, layers=layers, stages=stages) for i in range(stages + 1)]
        assert starts[0] == 0
        assert starts[-1] == layers
        assert starts == sorted(starts)


def test_interleaving_holds_more_by_the_published_factor() -> None:
    # [korthikanti2022] section 4.2.3: L (1 + (p - 1) / (p m)) layers instead of L
    p, v = 8, 4
    one = Columns(sequence_length=1, micro_batch=1, micro_batches=512, pp=p)
    many = replace(one, vpp=v)
    assert in_flight(stage=0, columns=one) == p
    assert in_flight(stage=0, columns=many) == pytest.approx(p * (1 + (p - 1) / (p * v)))


def test_fewer_micro_batches_than_stages_hold_fewer() -> None:
    assert in_flight(stage=0, columns=Columns(sequence_length=1, micro_batch=1, micro_batches=3, pp=8)) == 3


layouts = st.builds(
    Layout,
    tp=st.sampled_from([1, 2, 4]),
    pp=st.sampled_from([1, 2, 4]),
    cp=st.sampled_from([1, 2]),
    dp=st.sampled_from([1, 2, 8]),
    sharding=st.sampled_from(["none", "zero1", "zero2", "zero3"]),
    sequence_parallel=st.booleans(),
)
plans = st.builds(
    plan,
    layout=layouts,
    framework=st.sampled_from(["generic", "hf", "hf-deepspeed", "torchtitan", "megatron", "llm-foundry", "litgpt"]),
    micro_batch=st.sampled_from([1, 2, 4]),
    recompute=st.sampled_from(["none", "selective", "full"]),
    attention=st.sampled_from(["flash", "eager"]),
    loss=st.sampled_from(["plain", "fused", "chunked"]),
    optimizer=st.sampled_from(["adamw", "adamw8bit", "muon", "lion", "sgd", "adafactor"]),
)


@settings(max_examples=60)
@given(plans)
def test_parts_sum_and_meters_are_ordered(chosen: TrainingPlan) -> None:
    memory = training_memory(llama(), chosen, GPU, coefficients=KNOWN)
    assert 0 < memory.allocated.value <= memory.reserved.value < memory.device.value


@settings(max_examples=60)
@given(plans)
def test_full_recomputation_never_takes_more(chosen: TrainingPlan) -> None:
    model = llama(num_hidden_layers=32)
    facts = {r: training_facts(model, replace(chosen, recompute=r)) for r in ("none", "full")}
    columns = columns_of(chosen)
    peaks = {r: peak_bytes(f, columns, GPU, coefficients=KNOWN).allocated for r, f in facts.items()}
    assert peaks["full"] <= peaks["none"] * (1 + 1e-9)


@settings(max_examples=60)
@given(plans)
def test_more_sharding_never_takes_more_states(chosen: TrainingPlan) -> None:
    model, sizes = llama(), []
    for sharding in ("none", "zero1", "zero2", "zero3"):
        each = replace(chosen, layout=replace(chosen.layout, sharding=sharding))  # type: ignore[arg-type]
        facts, columns = training_facts(model, each), columns_of(each)
        step = moments(facts, columns, stage=0)["optimizer step"]
        sizes.append(sum(float(step[n]) for n in ("weights", "master weights", "optimizer states", "gradients")))
    assert sizes == sorted(sizes, reverse=True)


@settings(max_examples=40)
@given(st.lists(layouts, min_size=2, max_size=6), st.sampled_from(["generic", "torchtitan", "megatron", "hf"]))
def test_columns_give_what_single_plans_give(chosen: list[Layout], name: str) -> None:
    model, base = llama(), plan(framework=name)
    facts = training_facts(model, base)
    single = [columns_of(replace(base, layout=layout)) for layout in chosen]
    names = [f for f in Columns.__dataclass_fields__ if f not in ("split", "pipeline")]
    together = Columns(**{f: np.array([getattr(one, f) for one in single]) for f in names})
    peaks = peak_bytes(facts, together, GPU, coefficients=KNOWN)
    for index, one in enumerate(single):
        alone = peak_bytes(facts, one, GPU, coefficients=KNOWN)
        assert peaks.allocated[index] == pytest.approx(alone.allocated, rel=1e-12)
        assert peaks.reserved[index] == pytest.approx(alone.reserved, rel=1e-12)
        assert peaks.device[index] == pytest.approx(alone.device, rel=1e-12)


def test_prediction_layers_divide_their_experts_and_share_the_vocabulary() -> None:
    found = load("deepseek-v3").architecture
    assert found is not None
    facts = training_facts(found, plan(framework="megatron"))
    last = next(f for f in facts.distinct if f.weights.expert)
    assert facts.prediction.expert == last.weights.expert
    # the last layer, and the product that joins two streams
    hidden = found.hidden_size
    assert facts.prediction.tensor == last.weights.tensor + 2 * hidden * hidden


def test_trees_equal_columns() -> None:
    chosen = plan(framework="torchtitan", layout=Layout(dp=8, tp=2, sharding="fsdp", sequence_parallel=True))
    memory = training_memory(llama(), chosen, GPU, coefficients=KNOWN)
    peaks = peak_bytes(training_facts(llama(), chosen), columns_of(chosen), GPU, coefficients=KNOWN)
    assert memory.allocated.value == pytest.approx(peaks.allocated)
    assert memory.device.value == pytest.approx(peaks.device)


def test_longer_sequences_and_larger_batches_take_more() -> None:
    base = plan(framework="hf", loss="plain", global_batch=8)
    assert bytes_of(llama(), replace(base, sequence_length=4096)) > bytes_of(llama(), base)
    assert bytes_of(llama(), replace(base, micro_batch=2)) > bytes_of(llama(), base)


def test_an_adapter_takes_less_than_full_training_and_four_bits_less_still() -> None:
    full = plan(method="full", framework="hf", loss="plain", global_batch=1)
    lora = replace(full, method="lora", adapter=Adapter(rank=8))
    qlora = replace(lora, method="qlora", adapter=Adapter(rank=8, base_quant="nf4"))
    assert bytes_of(llama(), qlora) < bytes_of(llama(), lora) < bytes_of(llama(), full)


def test_flash_attention_keeps_no_square_of_the_sequence() -> None:
    flash = training_facts(llama(), plan(attention="flash"))
    eager = training_facts(llama(), plan(attention="eager"))
    assert flash.kept_before[2][-1] == 0 < eager.kept_before[2][-1]


def test_the_last_stage_holds_the_head() -> None:
    chosen = plan(layout=Layout(pp=4))
    facts, columns = training_facts(llama(), chosen), columns_of(chosen)
    first, middle, last = (float(held_weights(facts, stage=i, columns=columns).total) for i in (0, 1, 3))
    assert first - middle == 32000 * 1024
    assert last - middle == 32000 * 1024 + 1024


SAVED_BY_AUTOGRAD = [
    # bytes per token and layer that PyTorch 2.13 keeps for one layer of transformers 5.23 in bf16, 256 tokens
    ({"model_type": "llama", "intermediate_size": 1344, "num_key_value_heads": 2}, "sdpa", "", 21544),
    ({"model_type": "llama", "intermediate_size": 1344, "num_key_value_heads": 2}, "sdpa", "qv", 18984),
    ({"model_type": "llama", "intermediate_size": 1344, "num_key_value_heads": 2}, "sdpa", "mlp", 24424),
    ({"model_type": "llama", "intermediate_size": 1344, "num_key_value_heads": 8}, "sdpa", "", 21544 + 2 * 768),
    ({"model_type": "qwen3", "intermediate_size": 1344, "num_key_value_heads": 2, "head_dim": 64}, "sdpa", "", 25424),
    (
        {
            "model_type": "qwen3_moe", "moe_intermediate_size": 256, "num_experts": 8, "num_experts_per_tok": 2,
            "num_key_value_heads": 2, "head_dim": 64, "intermediate_size": 1344,
        },
        "sdpa", "", 22964,
    ),
    ({"model_type": "gpt2", "n_embd": 512, "n_layer": 2, "n_head": 8}, "sdpa", "", 30760),
    ({"model_type": "bloom", "n_layer": 2, "n_head": 8}, "eager", "", 30728),
]  # fmt: skip


@pytest.mark.parametrize(("config", "attention", "targets", "saved"), SAVED_BY_AUTOGRAD)
def test_transformers_keeps_what_autograd_saves(
    config: dict[str, Any], attention: Any, targets: str, saved: int
) -> None:
    common = {"hidden_size": 512, "num_hidden_layers": 2, "num_attention_heads": 8, "vocab_size": 1000}
    model = build((config if "n_embd" in config else common | config) | {"vocab_size": 1000}, where="saved")
    adapter = Adapter(rank=16, targets=targets) if targets else None
    chosen = TrainingPlan(framework="hf", attention=attention, adapter=adapter)
    layer = training_facts(model, chosen).distinct[0]
    tokens = 256
    assert layer.kept.on_rank(Split(tokens=tokens, visible=tokens)) / tokens == pytest.approx(saved, rel=0.01)


@pytest.mark.parametrize(
    ("layout", "sequence", "gib"),
    [
        # Llama-3-70B cut to 12 layers, Megatron on 8 B200: the largest live bytes over ranks as SimuMax printed them
        (Layout(tp=2, dp=4, sharding="zero1", sequence_parallel=True), 4096, 60.68),
        (Layout(tp=8, dp=1, sharding="zero1", sequence_parallel=True), 4096, 28.29),
        (Layout(pp=2, dp=4, sharding="zero1"), 4096, 66.55),
        (Layout(tp=2, cp=4, sharding="zero1", sequence_parallel=True), 32768, 68.43),
    ],
)
def test_live_bytes_of_measured_megatron_runs(layout: Layout, sequence: int, gib: float) -> None:
    model = build(
        {
            "model_type": "llama", "hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 12,
            "num_attention_heads": 64, "num_key_value_heads": 8, "vocab_size": 128256, "tie_word_embeddings": False,
        },
        where="llama",
    )  # fmt: skip
    chosen = plan(layout=layout, sequence_length=sequence, global_batch=16)
    memory = training_memory(model, chosen, find_gpu("b200-sxm-180gb"), coefficients=KNOWN)
    assert memory.allocated.value / 2**30 == pytest.approx(gib, rel=0.02)


def test_a_qlora_of_an_8b_fits_a_card_of_24_gb() -> None:
    model = build(
        {
            "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
            "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "tie_word_embeddings": False,
        },
        where="llama",
    )  # fmt: skip
    card = find_gpu("rtx-4090")
    chosen = TrainingPlan(
        method="qlora", framework="hf", sequence_length=1024, recompute="full", attention="sdpa",
        adapter=Adapter(rank=16, base_quant="nf4-dq"), optimizer="paged-adamw8bit",
    )  # fmt: skip
    small = training_memory(model, chosen, card, coefficients=KNOWN)
    large = training_memory(model, replace(chosen, micro_batch=32, global_batch=32), card, coefficients=KNOWN)
    assert small.device.value < card.memory_bytes < large.allocated.value
