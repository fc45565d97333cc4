"""The envelope as text: each statement of the document, computed, with the remarks where it is loose."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sizeup.envelope import FAMILIAR_GPUS, Envelope, InstanceRow, TableD1Row
from sizeup.envelope_model import ModelEnvelope
from sizeup.machine.gpus import MEMORY_BASIS
from sizeup.render.card_text import short
from sizeup.render.layout import dim, number, offers, remark, strong, table, wrap
from sizeup.units import (
    GB,
    SECONDS_PER_DAY,
    TERA,
    format_count,
    format_dollars,
    format_gb,
    format_gib,
    format_seconds,
    significant,
)


def envelope_lines(envelope: Envelope, *, gpu: str = "") -> list[str]:
    """Return the whole envelope, section by section; ``gpu`` is the key of one more card for the unit."""
    sections = (
        ("memory for one billion parameters", _bytes(envelope), "storage", "training"),
        ("GPUs of 32 GB (V100)", _counts(envelope), "gpu_counts"),
        ("what AWS instances hold (computed from the catalog)", _instances(envelope.instances)),
        ("the unit: one petaflop/s-day = 8.64e19 FLOP, at full efficiency", _units(envelope, gpu), "unit"),
        ("pre-training time on V100 (fp16, full efficiency)", _pretraining(envelope), "pretraining"),
        ("petaflop/s-days of well-known models (GPT-3, Table D.1; log scale)", _chart(envelope.table_d1)),
        (
            "compute-optimal tokens: 20 per parameter (Chinchilla, Table 3 beside it)",
            _chinchilla(envelope),
            "chinchilla",
        ),
        ("quantization, as the document means it", _quantization(envelope), "quantization"),
        ("LoRA on GPT-3", _lora(envelope), "lora"),
        ("QLoRA on GPT-3: a 4-bit base (NF4, double quantization)", _qlora(envelope)),
    )
    title = "Back of the envelope"
    source = "every statement of Azad (2024), computed, and where it is loose"
    lines = [strong(title), dim(source)]
    for heading, body, *keys in sections:
        lines += ["", strong(heading), *body]
        lines += [line for key in keys for text in envelope.remarks.get(key, []) for line in remark(text)]
    return [*lines, "", *offers(["sizeup envelope llama-3.1-8b --gpu h100 --gpus 64", "sizeup gpus"])]


def _bytes(envelope: Envelope) -> list[str]:
    train, store = envelope.training_bytes_per_parameter, envelope.storage_bytes_per_parameter
    half, lora = envelope.quantization["fp16_bytes"], envelope.lora
    rows = [["to store (fp32)", f"{store.value} B", number(format_gb(store.value * GB))]]
    rows += [["to store in half precision", f"{half:.0f} B", format_gb(half * GB)]]
    rows += [[f"  {part.name}", f"{part.value} B", format_gb(part.value * GB)] for part in train.parts]
    times = train.value / store.value
    rows += [["to train", f"{train.value} B", f"{number(format_gb(train.value * GB))} = {times:g} x storing"]]
    width, less = lora["training_bytes_per_parameter"], lora["memory_reduction"]
    rows += [["to train with LoRA", f"{width} B", f"{format_gb(width * GB)}, {less} times less"]]
    return table(rows, head=["", "each", "1B parameters"], align="<>")


def _counts(envelope: Envelope) -> list[str]:
    rows = [
        [
            row.model,
            format_count(row.parameters),
            number(f"{row.inference_gpus} / {row.training_gpus}"),
            f"{row.inference_gpus_gib} / {row.training_gpus_gib}",
        ]
        for row in envelope.gpu_counts
    ]
    remarks = [f"{row.model}: {row.remark}" for row in envelope.gpu_counts if row.remark]
    lines = table(rows, head=["inference / training", "size", "32e9 bytes", "32 GiB"], align="<>>>")
    return lines + [line for text in remarks for line in remark(text)]


def _instances(instances: Sequence[InstanceRow]) -> list[str]:
    rows = []
    for row in _one_per_shape([row for row in instances if row.common]):
        price = format_dollars(row.usd_per_hour) if row.usd_per_hour else dim("-")
        rows.append(
            [
                row.instance,
                f"{row.gpus} x {short(row.gpu_name)}",
                format_gib(row.memory_bytes),
                number(format_count(row.inference_parameters)),
                number(format_count(row.training_parameters)),
                price,
            ]
        )
    head = ["", "GPUs", "memory", "store 4 B", "train 24 B", "$/h"]
    dates = ", ".join(sorted({row.date for row in instances if row.usd_per_hour}))
    note = f"current NVIDIA cards, the cheapest of each count; us-east-1, {dates}; all {len(instances)}: --json"
    return [*table(rows, head=head, align="<<>>>>", gap=1), *remark(note)]


def _one_per_shape(instances: Sequence[InstanceRow]) -> list[InstanceRow]:
    best: dict[tuple[str, int], InstanceRow] = {}
    for row in instances:
        key = (row.gpu, row.gpus)
        if key not in best or (row.usd_per_hour or math.inf) < (best[key].usd_per_hour or math.inf):
            best[key] = row
    return sorted(best.values(), key=lambda row: (row.memory_bytes, row.instance))


def _units(envelope: Envelope, gpu: str) -> list[str]:
    shown = {*FAMILIAR_GPUS, gpu}
    rows = [[key, dtype, number(significant(count))] for key, dtype, count in envelope.unit_equivalents if key in shown]
    more = remark("any other card: sizeup envelope --gpu mi300x, or --json for all")
    return [*table(rows, head=["GPU", "format", "GPUs for a day"], align="<<>"), *more]


def _pretraining(envelope: Envelope) -> list[str]:
    rows = [
        [
            row.model,
            f"{row.petaflop_s_days:,.0f}",
            f"{row.gpu_days:,.0f}",
            number(f"{row.gpus:,} GPUs for {row.days:g} days"),
            f"{row.computed_petaflop_s_days:,.1f}",
            f"{row.published_petaflop_s_days:,.0f}",
        ]
        for row in envelope.pretraining
    ]
    head = ["", "petaflop/s-days", "GPU-days", "so", "by 6ND", "published"]
    return table(rows, head=head, align="<>><>>")


def _chart(rows: Sequence[TableD1Row], *, width: int = 34) -> list[str]:
    low = math.log10(min(row.petaflop_s_days for row in rows)) - 0.1
    high = math.log10(max(row.petaflop_s_days for row in rows))
    shown = []
    for row in rows:
        cells = max(1, round((math.log10(row.petaflop_s_days) - low) / (high - low) * width))
        shown.append([row.model, number(significant(row.petaflop_s_days)), significant(row.published), "#" * cells])
    return table(shown, head=["", "computed", "published", ""], align="<>><")


def _chinchilla(envelope: Envelope) -> list[str]:
    rows = [
        [row.model, number(format_count(row.tokens_by_rule)), format_count(row.tokens), f"{row.computed_flops:.3g}",
         f"{row.published_flops:.3g}"]
        for row in envelope.chinchilla
    ]  # fmt: skip
    return table(rows, head=["", "20 x N", "paper's tokens", "6ND FLOP", "paper's FLOP"], align="<>>>>")


def _quantization(envelope: Envelope) -> list[str]:
    q = envelope.quantization
    text = f"fp32 {q['fp32_bytes']:.0f} B to fp16 {q['fp16_bytes']:.0f} B per parameter: {q['saving']:.0%} saved"
    return wrap(text)


def _lora(envelope: Envelope) -> list[str]:
    x = envelope.lora
    paper = ", ".join(f"{rank}: {format_count(count)}" for rank, count in x["paper_trainable_parameters"].items())
    rows = [
        ["trainable parameters", number(format_count(x["trainable_parameters"])), "175B / 10,000"],
        ["their training memory", number(format_gb(x["adapter_bytes"])), f"x {x['bytes_per_trainable_parameter']} B"],
        ["GPUs beside the weights", number(str(x["additional_gpus"])),
         f"instead of {x['additional_gpus_full_fine_tuning']}"],
        ["days with 25 % less time", number(f"{x['days']:g}"), f"instead of {x['days_full']:g}"],
        ["or GPUs", number(f"{x['gpus_same_time']:,}"), f"instead of {x['gpus_full']:,}"],
    ]  # fmt: skip
    note = f"the paper's own trainable counts for W_q and W_v: {paper}"
    return [*table(rows, align="<>"), *remark(note)]


def _qlora(envelope: Envelope) -> list[str]:
    q = envelope.qlora
    text = (
        f"{q['bits_per_weight']:.3f} bits per weight: {format_gb(q['base_bytes'])} instead of "
        f"{format_gb(q['base_bytes_fp16'])} (fp16) or {format_gb(q['base_bytes_fp32'])} (fp32); "
        f"{q['gpus']} GPUs of 32 GB with the adapters"
    )
    return wrap(text)


def model_lines(answer: ModelEnvelope) -> list[str]:
    """Return the envelope's rules applied to one model."""
    gpu = answer.gpu
    counts = [
        (answer.inference_gpus, answer.inference_gpus_driver),
        (answer.training_gpus, answer.training_gpus_driver),
        (answer.lora_gpus, answer.lora_gpus_driver),
    ]
    by_label, by_driver = ([number(f"{pair[0]:,}") for pair in counts], [f"{pair[1]:,}" for pair in counts])
    rows = [
        ["store, 4 B", format_gb(answer.store_bytes), by_label[0], by_driver[0], answer.exact_store],
        ["train, 24 B", format_gb(answer.train_bytes), by_label[1], by_driver[1], answer.exact_train],
        ["LoRA, 2 x store", format_gb(2 * answer.store_bytes), by_label[2], by_driver[2], answer.exact_lora],
    ]
    lines = [f"{strong(answer.name)}   {number(f'{answer.parameters:,} parameters')}"]
    usable = f"{format_gib(gpu.memory_bytes)} usable ({MEMORY_BASIS[gpu.memory_basis]})"
    lines += wrap(f"on {gpu.name}: {gpu.label_gb:g} GB by its label, {usable}")
    head = ["rule", "memory", "GPUs", "of usable", "first principles"]
    lines += ["", *table(rows, head=head, align="<>>><"), "", *_work(answer)]
    lines += [""] + [line for text in answer.remarks for line in remark(text)]
    return [*lines, "", *offers([f"sizeup {answer.spec}", "sizeup envelope"])]


def _work(answer: ModelEnvelope) -> list[str]:
    """Return the lines of the pre-training work, with all parameters and with those that one token uses."""
    lines = wrap(f"pre-training on {format_count(answer.tokens)} tokens ({answer.tokens_note}), {_peak(answer)}:")
    rule = answer.rule
    lines += _run(rule, answer.petaflop_s_days, answer.gpu_days, answer)
    if answer.active_parameters != answer.parameters:
        name = f"{rule} with the {format_count(answer.active_parameters)} parameters that work for each token"
        lines += _run(name, answer.active_petaflop_s_days, answer.active_gpu_days, answer)
    if answer.flops_per_parameter_per_token == 3:
        lines += remark("3ND: a token passes through the encoder or the decoder (GPT-3, Table D.1)", indent=4)
    return lines


def _peak(answer: ModelEnvelope) -> str:
    return f"at {answer.utilization:.0%} of {answer.peak_flops_per_second / TERA:,.0f} TFLOP/s ({answer.dtype})"


def _run(name: str, work: float, gpu_days: float, answer: ModelEnvelope) -> list[str]:
    text = f"{name} = {significant(work)} petaflop/s-days = {number(significant(gpu_days))} {answer.gpu.name}-days"
    if answer.gpus:
        text += f" = {number(format_seconds(gpu_days / answer.gpus * SECONDS_PER_DAY))} on {answer.gpus:,} GPUs"
    return wrap(text, indent=4, hang=2)
