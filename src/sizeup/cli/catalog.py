"""``sizeup gpus``, ``instances`` and ``models``: list and filter the catalog."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import click

from sizeup.errors import nearest_names
from sizeup.units import parse_bytes, parse_count


def _show(lines: Sequence[str], records: Sequence[Any], *, as_json: bool) -> int:
    click.echo(json.dumps(records, indent=2, default=list) if as_json else "\n".join(lines))
    return 0


def _nothing(what: str, words: Sequence[str], names: Iterable[str], *, as_json: bool) -> int:
    """Say that nothing passes the filters, with the nearest names where words were asked for."""
    near = nearest_names(" ".join(words), names) if words else ()
    hint = f"; did you mean {', '.join(near)}?" if near else ""
    return _show([f"no {what} passes these filters{hint}"], [], as_json=as_json)


@click.command()
@click.argument("words", nargs=-1, metavar="[FILTER]...")
@click.option("--min-memory", metavar="SIZE", help="At least this much on one card, such as 40GiB.")
@click.option("--vendor", default="", help="nvidia, amd, google, ...")
@click.option("--max-price", type=float, help="At most so many dollars per GPU-hour.")
@click.option("--sort", default="name", show_default=True, help="name, memory, bandwidth, flops, price or year.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with sources and notes.")
def gpus(
    words: tuple[str, ...], min_memory: str | None, vendor: str, max_price: float | None, sort: str, as_json: bool
) -> int:
    """List GPUs whose name, maker or generation holds every FILTER word."""
    from sizeup.machine import gpu_names, list_gpus
    from sizeup.render.catalog_text import gpu_lines

    rows = list_gpus(
        " ".join(words),
        min_memory_bytes=parse_bytes(min_memory) if min_memory else 0,
        vendor=vendor,
        max_usd_per_gpu_hour=max_price,
        sort=sort,
    )
    if not rows:
        return _nothing("GPU", words, gpu_names(), as_json=as_json)
    records = [{**asdict(row.gpu), "usd_per_gpu_hour": row.usd_per_gpu_hour} for row in rows] if as_json else []
    return _show([] if as_json else gpu_lines(rows), records, as_json=as_json)


@click.command()
@click.argument("words", nargs=-1, metavar="[FILTER]...")
@click.option("--cloud", default="", help="aws, azure, gcp, ...")
@click.option("--gpu", default="", metavar="G", help="Only with this card.")
@click.option("--min-memory", metavar="SIZE", help="At least this much GPU memory in all, such as 640GiB.")
@click.option("--min-gpus", type=click.IntRange(min=1), default=1, help="At least this many cards.")
@click.option("--vendor", default="", help="Who makes the card: nvidia, amd, google, ...")
@click.option("--max-price", type=float, help="At most so many dollars per hour.")
@click.option("--max-gpu-price", type=float, help="At most so many dollars per GPU-hour.")
@click.option("--sort", default="price", show_default=True, help="name, price, gpu-price or memory.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with sources and notes.")
def instances(
    words: tuple[str, ...],
    cloud: str,
    gpu: str,
    min_memory: str | None,
    min_gpus: int,
    vendor: str,
    max_price: float | None,
    max_gpu_price: float | None,
    sort: str,
    as_json: bool,
) -> int:
    """List cloud instances whose name, cloud or card holds every FILTER word."""
    from sizeup.machine import find_gpu, list_instances
    from sizeup.render.catalog_text import instance_lines

    found = list_instances(
        " ".join(words),
        cloud=cloud,
        gpu=find_gpu(gpu).key if gpu else "",
        min_memory_bytes=parse_bytes(min_memory) if min_memory else 0,
        min_gpus=min_gpus,
        vendor=vendor,
        max_usd_per_hour=max_price,
        max_usd_per_gpu_hour=max_gpu_price,
        sort=sort,
    )
    if not found:
        return _nothing("instance", words, (one.name for one in list_instances()), as_json=as_json)
    records = [asdict(instance) for instance in found] if as_json else []
    return _show([] if as_json else instance_lines(found), records, as_json=as_json)


@click.command()
@click.argument("words", nargs=-1, metavar="[FILTER]...")
@click.option("--min-parameters", metavar="N", help="At least so many, such as 7b.")
@click.option("--max-parameters", metavar="N", help="At most so many.")
@click.option("--trust", default="", help="verified, rekeyed, transcribed, paper or unverified.")
@click.option("--sort", default="name", show_default=True, help="name or parameters.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with sources.")
def models(
    words: tuple[str, ...],
    min_parameters: str | None,
    max_parameters: str | None,
    trust: str,
    sort: str,
    as_json: bool,
) -> int:
    """List models whose name or type holds every FILTER word."""
    from sizeup.catalog.lookup import list_models
    from sizeup.render.catalog_text import model_lines

    found = list_models(
        " ".join(words),
        min_parameters=parse_count(min_parameters) if min_parameters else 0,
        max_parameters=parse_count(max_parameters) if max_parameters else None,
        trust=trust,
        sort=sort,
    )
    if not found:
        return _nothing("model", words, (one.short_name for one in list_models()), as_json=as_json)
    records = [asdict(record) for record in found] if as_json else []
    return _show([] if as_json else model_lines(found), records, as_json=as_json)
