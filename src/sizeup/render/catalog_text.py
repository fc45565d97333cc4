"""Lists of the catalog as text: GPUs, instances, models. A ``?`` marks a figure that rests on no source read."""

from __future__ import annotations

from collections.abc import Sequence

from sizeup.catalog.lookup import ModelRecord
from sizeup.machine import Gpu, GpuRow, Instance
from sizeup.render.layout import UNVERIFIED, dim, number, table
from sizeup.units import GIGA, TERA, format_count, format_dollars, format_gib, significant


def gpu_lines(rows: Sequence[GpuRow]) -> list[str]:
    """Return a table of cards: memory, bandwidth, dense peaks, link, power, cheapest dated offer."""
    shown = [_gpu(row) for row in rows]
    head = ["key", "memory", "GB/s", "bf16", "fp8", "link", "W", "$/h", "cheapest at"]
    lines = table(shown, head=head, align="<>>>>>>><", gap=1, indent=0)
    return [*lines, "", *_legend(f"{len(rows)} GPUs; memory a program can get; dense TFLOP/s; link GB/s one way")]


def _legend(text: str) -> list[str]:
    return [
        dim(text),
        dim("? marks an unverified figure; prices are on-demand and dated: sizeup instances; more: --json"),
    ]


def _mark(gpu: Gpu, field: str) -> str:
    return UNVERIFIED if gpu.is_unverified(field) else ""


def _gpu(row: GpuRow) -> list[str]:
    gpu, offer = row.gpu, row.cheapest
    peaks = gpu.peak_flops_per_second
    half = peaks.get("bf16") or peaks.get("fp16")
    price = row.usd_per_gpu_hour
    link = gpu.scale_up_bytes_per_second or gpu.pcie_bytes_per_second
    return [
        gpu.key,
        number(format_gib(gpu.memory_bytes)) + _mark(gpu, "memory_bytes"),
        f"{gpu.memory_bandwidth_bytes_per_second / GIGA:,.0f}" + _mark(gpu, "memory_bandwidth_bytes_per_second"),
        (significant(half / TERA) if half else dim("-")) + _mark(gpu, "peak_flops_per_second"),
        significant(peaks["fp8"] / TERA) if peaks.get("fp8") else dim("-"),
        f"{link / GIGA:,.0f}" if link else dim("-"),
        f"{gpu.tdp_watts:,.0f}" if gpu.tdp_watts else dim("-"),
        format_dollars(price) if price else dim("-"),
        f"{offer.cloud} {offer.name}" if offer else "",
    ]


def instance_lines(instances: Sequence[Instance]) -> list[str]:
    """Return a table of instances: cards, memory, host, network, dated prices."""
    rows = [
        [
            instance.cloud,
            instance.name + (UNVERIFIED if instance.unverified else ""),
            f"{instance.gpus} x {instance.gpu_key}",
            number(format_gib(instance.memory_bytes)),
            format_dollars(instance.usd_per_hour) if instance.usd_per_hour else dim("-"),
            format_dollars(instance.usd_per_gpu_hour) if instance.usd_per_gpu_hour else dim("-"),
            instance.date or dim("undated"),
        ]
        for instance in instances
    ]
    head = ["cloud", "instance", "GPUs", "memory", "$/h", "$/GPU-h", "date"]
    return [*table(rows, head=head, align="<<<>>>", gap=1, indent=0), "", *_legend(f"{len(rows)} instances")]


def model_lines(records: Sequence[ModelRecord]) -> list[str]:
    """Return a table of named models: parameters, type, trust."""
    rows = [
        [
            record.name,
            number(format_count(record.counted_parameters)) if record.counted_parameters else dim("-"),
            record.model_type,
            record.trust if record.trust != "verified" else "",
            ", ".join(record.aliases),
        ]
        for record in records
    ]
    head = ["model", "parameters", "type", "trust", "also called"]
    return [
        *table(rows, head=head, align="<><<<", gap=1, indent=0),
        "",
        dim(f"{len(rows)} models; sizeup NAME sizes one"),
    ]
