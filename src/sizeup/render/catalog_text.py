"""Lists of the catalog as text: GPUs, instances, models. A ``?`` marks a figure that rests on no source read."""

from __future__ import annotations

from collections.abc import Sequence

from sizeup.catalog.lookup import ModelRecord
from sizeup.machine import Gpu, GpuRow, Instance, list_gpus
from sizeup.render.card_text import short
from sizeup.render.layout import UNVERIFIED, cut, dim, number, pad, table, wrap
from sizeup.units import GIB, GIGA, TERA, format_count, format_dollars, format_gib, significant


def gpu_lines(rows: Sequence[GpuRow]) -> list[str]:
    """Return a table of cards: memory, bandwidth, dense peaks, link, cheapest dated offer per card."""
    shown = [_gpu(row) for row in rows]
    head = ["key", "GiB", "GB/s", "bf16", "fp8", "link", "$/h", "at"]
    lines = table(shown, head=head, align="<>>>>>><", gap=1, indent=0)
    return [*lines, "", *_legend(f"{len(rows)} GPUs; memory a program can get; dense TFLOP/s; link GB/s one way")]


def _legend(text: str) -> list[str]:
    note = "? marks an unverified figure; prices are on-demand and dated: sizeup instances; more: --json"
    return [dim(line) for words in (text, note) for line in wrap(words, indent=0)]


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
        number(f"{gpu.memory_bytes / GIB:,.2f}") + _mark(gpu, "memory_bytes"),
        f"{gpu.memory_bandwidth_bytes_per_second / GIGA:,.0f}" + _mark(gpu, "memory_bandwidth_bytes_per_second"),
        (significant(half / TERA) if half else dim("-")) + _mark(gpu, "peak_flops_per_second"),
        significant(peaks["fp8"] / TERA) + _mark(gpu, "peak_flops_per_second") if peaks.get("fp8") else dim("-"),
        f"{link / GIGA:,.0f}" if link else dim("-"),
        format_dollars(price) if price else dim("-"),
        offer.cloud if offer else "",
    ]


def instance_lines(instances: Sequence[Instance]) -> list[str]:
    """Return a table of instances: cards, memory, prices; the dates of the prices below, by cloud."""
    names = {row.gpu.key: row.gpu.name for row in list_gpus()}
    rows = [_instance(one, names[one.gpu_key]) for one in instances]
    head = ["cloud", f"{pad('instance', NAME_WIDTH)} GPUs", "memory", "$/h", "$/GPU-h"]
    lines = table(rows, head=head, align="<<>>>", gap=1, indent=0)
    dates = {(i.cloud, i.date or "undated"): None for i in instances if i.usd_per_hour}
    told = f"; prices of {', '.join(f'{cloud} {date}' for cloud, date in sorted(dates))}" if dates else ""
    return [*lines, "", *_legend(f"{len(rows)} instances{told}")]


NAME_WIDTH = 22
"""Columns of an instance's name; a longer one pushes its cards aside, whose name is then cut to the first word."""


def _instance(instance: Instance, card: str) -> list[str]:
    name = instance.name.removeprefix("Standard_") + (UNVERIFIED if instance.unverified else "")
    held = f"{instance.gpus} x {short(card, width=18 if len(name) <= NAME_WIDTH else 1)}"
    return [
        instance.cloud,
        f"{pad(name, NAME_WIDTH)} {held}" + (" (a slice)" if instance.gpu_fraction < 1 else ""),
        number(format_gib(instance.memory_bytes)),
        format_dollars(instance.usd_per_hour) if instance.usd_per_hour else dim("-"),
        format_dollars(instance.usd_per_gpu_hour) if instance.usd_per_gpu_hour else dim("-"),
    ]


def model_lines(records: Sequence[ModelRecord]) -> list[str]:
    """Return a table of named models: parameters, trust, type, and as many of its other names as fit."""
    wide = min(40, max((len(record.name) for record in records), default=0))
    lines = [dim(_model_line("model", "size", "trust", "type, also called", wide))]
    for record in records:
        size = format_count(record.parameters) if record.parameters else "-"
        trust = record.trust if record.trust != "verified" else ""
        kind = ", ".join((record.model_type, *record.aliases))
        lines.append(cut(_model_line(record.name, number(f"{size:>5}"), trust, kind, wide)))
    return [*lines, "", dim(f"{len(records)} models; sizeup NAME sizes one; all their names: --json")]


def _model_line(name: str, size: str, trust: str, kind: str, wide: int) -> str:
    """Return one line; a name that is longer than ``wide`` pushes the rest aside."""
    return f"{pad(name, wide)} {pad(size, 5, '>')} {pad(trust, 11)} {kind}".rstrip()
