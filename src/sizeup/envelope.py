"""The back-of-the-envelope rules of our seed document, reproduced number by number, with remarks where they are loose.

Everything here is arithmetic on :mod:`sizeup.physics.rules`; :func:`envelope` answers the document, and
:func:`sizeup.envelope_model.envelope_of` applies the same rules to any model.
"""

from __future__ import annotations

import csv
import functools
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sizeup.estimate import Estimate, leaf, total
from sizeup.files import read_text
from sizeup.machine import Gpu, Instance, find_gpu, list_gpus, list_instances
from sizeup.physics import rules
from sizeup.units import GB, GIB, MEGA, PETAFLOP_S_DAY, SECONDS_PER_DAY

FP32_BYTES = 4
HALF_BYTES = 2
DOCUMENT_GPU = "v100-sxm2-32gb"
DOCUMENT_GPU_GB = 32
LORA_REDUCTION = 10_000
"""Fewer trainable parameters with LoRA on GPT-3, as the document quotes the paper."""
LORA_TIME_SAVING = 0.25
LORA_MEMORY_SAVING = 3
FAMILIAR_GPUS = (DOCUMENT_GPU, "a100-sxm4-80gb", "h100-sxm5-80gb", "rtx-4090")
"""Whose share of a petaflop/s-day is printed; JSON has every card's."""
GPT3 = "GPT-3"


@dataclass(frozen=True, slots=True)
class GpuCount:
    """GPUs to hold and to train one model, in decimal GB (the document) and in GiB (the card)."""

    model: str
    parameters: int
    inference_gpus: int
    training_gpus: int
    inference_gpus_gib: int
    training_gpus_gib: int
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Pretraining:
    """Work and time of one pre-training run, as stated and as 6ND gives it."""

    model: str
    petaflop_s_days: float
    gpu_days: float
    gpus: int
    days: float
    computed_petaflop_s_days: float
    published_petaflop_s_days: float


@dataclass(frozen=True, slots=True)
class TableD1Row:
    """One row of GPT-3's Table D.1: computed from parameters and tokens, and as published."""

    model: str
    petaflop_s_days: float
    published: float
    parameters: float
    tokens: float
    flops_per_parameter_per_token: float


@dataclass(frozen=True, slots=True)
class ChinchillaRow:
    """One row of Chinchilla's Table 3, with 6ND beside the published compute."""

    model: str
    parameters: float
    tokens: float
    published_flops: float
    computed_flops: float
    tokens_by_rule: float


@dataclass(frozen=True, slots=True)
class InstanceRow:
    """The largest model that one cloud instance holds and trains, in parameters."""

    instance: str
    gpu: str
    gpu_name: str
    common: bool
    gpus: int
    memory_bytes: int
    inference_parameters: int
    inference_half_parameters: int
    training_parameters: int
    usd_per_hour: float | None
    date: str


@dataclass(frozen=True, slots=True)
class Envelope:
    """Every statement of the document, computed."""

    storage_bytes_per_parameter: Estimate
    training_bytes_per_parameter: Estimate
    gpu_counts: tuple[GpuCount, ...]
    unit_equivalents: tuple[tuple[str, str, float], ...]
    pretraining: tuple[Pretraining, ...]
    table_d1: tuple[TableD1Row, ...]
    chinchilla: tuple[ChinchillaRow, ...]
    quantization: dict[str, float]
    lora: dict[str, Any]
    qlora: dict[str, Any]
    instances: tuple[InstanceRow, ...]
    remarks: dict[str, list[str]]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON (the contract of ``sizeup envelope --json``)."""
        return {
            "storage_bytes_per_parameter": self.storage_bytes_per_parameter.to_dict(),
            "training_bytes_per_parameter": self.training_bytes_per_parameter.to_dict(),
            "gpu_counts": [asdict(row) for row in self.gpu_counts],
            "petaflop_s_day": {
                "flops": PETAFLOP_S_DAY,
                "gpus_at_full_efficiency": [
                    {"gpu": gpu, "dtype": dtype, "gpus": count} for gpu, dtype, count in self.unit_equivalents
                ],
            },
            "pretraining": [asdict(row) for row in self.pretraining],
            "table_d1": [asdict(row) for row in self.table_d1],
            "chinchilla": [asdict(row) for row in self.chinchilla],
            "quantization": self.quantization,
            "lora": self.lora,
            "qlora": self.qlora,
            "instances": [asdict(row) for row in self.instances],
            "remarks": self.remarks,
        }


def _read_table(name: str) -> list[dict[str, str]]:
    text = read_text(f"catalog/tables/{name}.csv")
    return list(csv.DictReader(text.splitlines()))


@functools.cache
def document() -> dict[str, Any]:
    return tomllib.loads(read_text("catalog/tables/envelope.toml"))


def training_bytes_per_parameter() -> Estimate:
    """Return the document's 24 bytes: weights 4, Adam 8, gradients 4, activations 8."""
    parts = [
        leaf(
            row["what"],
            row["bytes"],
            "bytes",
            sources=("azad2024",),
            assumptions=[r] if (r := row.get("remark")) else (),
        )
        for row in document()["training_bytes"]
    ]
    return total("to train one parameter", parts, unit="bytes", sources=("azad2024",))


def storage_bytes_per_parameter() -> Estimate:
    """Return the document's 4 bytes (32-bit floats)."""
    return leaf("to store one parameter, fp32", FP32_BYTES, "bytes", sources=("azad2024",))


def gpu_count(model: str, parameters: int, *, gpu_gb: float = DOCUMENT_GPU_GB, remark: str = "") -> GpuCount:
    """Return the document's GPU counts for a model on cards of ``gpu_gb``, in both readings of "GB"."""
    store, train = FP32_BYTES * parameters, training_bytes_per_parameter().value * parameters
    decimal, binary = gpu_gb * GB, gpu_gb * GIB
    return GpuCount(
        model=model,
        parameters=parameters,
        inference_gpus=rules.gpus_for_bytes(store, gpu_bytes=decimal),
        training_gpus=rules.gpus_for_bytes(train, gpu_bytes=decimal),
        inference_gpus_gib=rules.gpus_for_bytes(store, gpu_bytes=binary),
        training_gpus_gib=rules.gpus_for_bytes(train, gpu_bytes=binary),
        remark=remark,
    )


def table_d1() -> tuple[TableD1Row, ...]:
    """Return GPT-3's Table D.1 computed from its own parameters and tokens [petaflop/s-days]."""
    return tuple(_table_d1_row(row) for row in _read_table("gpt3_table_d1"))


def _table_d1_row(row: dict[str, str]) -> TableD1Row:
    parameters = float(row["parameters_millions"]) * MEGA
    tokens = float(row["tokens_billions"]) * GB
    factor = float(row["flops_per_parameter_per_token"])
    flops = rules.training_flops(parameters=parameters, tokens=tokens, flops_per_parameter_per_token=factor)
    return TableD1Row(
        row["model"], rules.petaflop_s_days(flops), float(row["published_petaflop_s_days"]), parameters, tokens, factor
    )


def chinchilla_table() -> tuple[ChinchillaRow, ...]:
    """Return Chinchilla's Table 3 with 6ND and the rule of 20 tokens per parameter beside it."""
    rows = []
    for row in _read_table("chinchilla_table3"):
        parameters, tokens = float(row["parameters"]), float(row["tokens"])
        computed = rules.training_flops(parameters=parameters, tokens=tokens, flops_per_parameter_per_token=6)
        rows.append(
            ChinchillaRow(
                row["model"], parameters, tokens, float(row["training_flops"]), computed,
                rules.chinchilla_tokens(parameters),
            )
        )  # fmt: skip
    return tuple(rows)


def pretraining() -> tuple[Pretraining, ...]:
    """Return the document's two pre-training runs on V100 tensor cores at full efficiency."""
    gpu = find_gpu(DOCUMENT_GPU)
    table = {row.model: row for row in table_d1()}
    rows = []
    for stated in document()["pretraining"]:
        work = stated["petaflop_s_days"]
        days_of_gpu = rules.gpu_days(
            work * PETAFLOP_S_DAY, peak_flops_per_second=gpu.peak_flops_per_second["fp16"], utilization=1
        )
        reference = table[stated["table_row"]]
        rows.append(
            Pretraining(
                model=stated["model"],
                petaflop_s_days=work,
                gpu_days=days_of_gpu,
                gpus=rules.gpus_for_deadline(days_of_gpu, days=stated["days"]),
                days=stated["days"],
                computed_petaflop_s_days=reference.petaflop_s_days,
                published_petaflop_s_days=reference.published,
            )
        )
    return tuple(rows)


def unit_equivalents(gpus: Sequence[Gpu]) -> tuple[tuple[str, str, float], ...]:
    """Return how many of each GPU deliver one petaflop/s at full efficiency, by number format."""
    petaflop_s = PETAFLOP_S_DAY / SECONDS_PER_DAY
    rows = []
    for gpu in gpus:
        for dtype in ("fp32", "bf16", "fp16", "fp8"):
            peak = gpu.peak_flops_per_second.get(dtype)
            if peak and not (dtype == "fp16" and gpu.peak_flops_per_second.get("bf16")):
                rows.append((gpu.key, dtype, petaflop_s / peak))
    return tuple(rows)


def lora(counts: Sequence[GpuCount], runs: Sequence[Pretraining]) -> dict[str, Any]:
    """Return the document's LoRA arithmetic for GPT-3, with the paper's own trainable counts beside it."""
    gpt3 = next(row for row in counts if row.model == GPT3)
    run = next(row for row in runs if row.model == GPT3)
    trainable = gpt3.parameters // LORA_REDUCTION
    train = int(training_bytes_per_parameter().value)
    extra = train - FP32_BYTES
    adapter_bytes = trainable * extra
    round_gpus = 1000
    layers, targets, width = 96, 2, 12288
    return {
        "model": GPT3,
        "trainable_parameters": trainable,
        "bytes_per_trainable_parameter": extra,
        "adapter_bytes": adapter_bytes,
        "memory_reduction": LORA_MEMORY_SAVING,
        "training_bytes_per_parameter": train // LORA_MEMORY_SAVING,
        "additional_gpus": rules.gpus_for_bytes(adapter_bytes, gpu_bytes=DOCUMENT_GPU_GB * GB),
        "additional_gpus_full_fine_tuning": gpt3.training_gpus - gpt3.inference_gpus,
        "gpus": gpt3.inference_gpus + 1,
        "gpus_by_twice_the_weights": rules.gpus_for_bytes(
            2 * FP32_BYTES * gpt3.parameters, gpu_bytes=DOCUMENT_GPU_GB * GB
        ),
        "days": run.days * (1 - LORA_TIME_SAVING),
        "days_full": run.days,
        "gpus_same_time": round(round_gpus * (1 - LORA_TIME_SAVING)),
        "gpus_full": round_gpus,
        "paper_trainable_parameters": {
            f"r={rank}": layers * targets * rules.lora_parameters(out_features=width, in_features=width, rank=rank)
            for rank in (1, 4, 8)
        },
    }


def qlora(parameters: int) -> dict[str, Any]:
    """Return what a 4-bit base saves for the document's GPT-3: the frozen weights at NF4 with double quantization."""
    four_bits, first_scale, second_scale = 4, 8 / 64, 32 / (64 * 256)
    bits = four_bits + first_scale + second_scale
    size = round(parameters * bits / 8)
    return {
        "model": GPT3,
        "bits_per_weight": bits,
        "base_bytes": size,
        "base_bytes_fp16": HALF_BYTES * parameters,
        "base_bytes_fp32": FP32_BYTES * parameters,
        "gpus": rules.gpus_for_bytes(size, gpu_bytes=DOCUMENT_GPU_GB * GB) + 1,
        "sources": ["qlora"],
    }


def instance_rows(cloud: str = "aws") -> tuple[InstanceRow, ...]:
    """Return what each instance of a cloud holds: its GPU memory divided by the bytes per parameter."""
    train = int(training_bytes_per_parameter().value)
    return tuple(
        _instance_row(instance, train) for instance in list_instances(cloud=cloud) if instance.memory_bytes > 0
    )


def _instance_row(instance: Instance, training_bytes: int) -> InstanceRow:
    memory, card = instance.memory_bytes, find_gpu(instance.gpu_key)
    return InstanceRow(
        instance=instance.name,
        gpu=instance.gpu_key,
        gpu_name=card.name,
        common=card.vendor == "nvidia" and not card.legacy and instance.gpu_fraction == 1,
        gpus=instance.gpus,
        memory_bytes=memory,
        inference_parameters=memory // FP32_BYTES,
        inference_half_parameters=memory // HALF_BYTES,
        training_parameters=memory // training_bytes,
        usd_per_hour=instance.usd_per_hour,
        date=instance.date,
    )


def envelope() -> Envelope:
    """Return every statement of the document, computed, with remarks."""
    counts = tuple(gpu_count(m["name"], m["parameters"], remark=m.get("remark", "")) for m in document()["models"])
    runs = pretraining()
    gpt3 = next(row for row in counts if row.model == GPT3)
    cards = [*(find_gpu(key) for key in FAMILIAR_GPUS), *(row.gpu for row in list_gpus())]
    every = list({card.key: card for card in cards}.values())
    return Envelope(
        storage_bytes_per_parameter=storage_bytes_per_parameter(),
        training_bytes_per_parameter=training_bytes_per_parameter(),
        gpu_counts=counts,
        unit_equivalents=unit_equivalents(every),
        pretraining=runs,
        table_d1=table_d1(),
        chinchilla=chinchilla_table(),
        quantization={"fp32_bytes": FP32_BYTES, "fp16_bytes": HALF_BYTES, "saving": 1 - HALF_BYTES / FP32_BYTES},
        lora=lora(counts, runs),
        qlora=qlora(gpt3.parameters),
        instances=instance_rows(),
        remarks=document()["remarks"],
    )
