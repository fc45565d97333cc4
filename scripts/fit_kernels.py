"""Learn how close kernels come to their rooflines, per GPU and number format: writes ``fitted/kernels.json``.

    python scripts/fit_kernels.py MEASURED_KERNELS.csv

Each curve is fitted to the measured latencies of all engines together (relative error, robust loss) with the very
functions of :mod:`sizeup.physics`. Needs SciPy and NumPy (``pip install -e '.[fit]'``).
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import least_squares

from sizeup.errors import UserError
from sizeup.machine import Gpu, find_gpu
from sizeup.physics import collectives, kernels

OUTPUT = Path(__file__).parents[1] / "src/sizeup/fitted/kernels.json"
WEIGHT_BYTES = {
    "bf16": 2,
    "fp16": 2,
    "fp8": 1,
    "fp8-block": 1.00024,
    "int8": 1,
    "int4": 0.53125,
    "nvfp4": 0.5625,
    "mxfp4": 0.53125,
}
"""Bytes per stored weight with its scales (int4: groups of 128 with 16-bit scale and packed zero)."""
PEAK_DTYPE = {"fp8-block": "fp8", "int4": "bf16", "nvfp4": "fp4", "mxfp4": "bf16"}
"""Which peak the products of a weight format run at; mxfp4 weights are computed in bf16 before Blackwell."""
NAMES = ("compute", "bandwidth", "floor_seconds", "sharpness", "fill", "depth")
MICROSECOND = 1e-6

Row = dict[str, str]


def columns(rows: list[Row], *names: str) -> list[Any]:
    """Return numeric columns of the rows."""
    return [np.array([float(row[name] or 0) for row in rows]) for name in names]


def peak_of(gpu: Gpu, dtype: str) -> float | None:
    """Return the dense peak that products of this format run at [FLOP/s]."""
    if dtype == "mxfp4" and gpu.peak_flops_per_second.get("fp4"):
        dtype = "nvfp4"
    return gpu.peak_flops_per_second.get(PEAK_DTYPE.get(dtype, dtype))


def gemm(rows: list[Row], gpu: Gpu, dtype: str, curve: kernels.Curve) -> Any:
    """Predict matrix products."""
    m, n, k = columns(rows, "m", "n", "k")
    wide = 2.0 if dtype in ("bf16", "fp16", "int4") else WEIGHT_BYTES[dtype]
    return kernels.matmul_seconds(
        m=m, n=n, k=k, peak=peak_of(gpu, dtype), bandwidth=gpu.memory_bandwidth_bytes_per_second, curve=curve,
        weight_bytes_per_value=WEIGHT_BYTES[dtype], input_bytes_per_value=wide,
    )  # fmt: skip


def prefill(rows: list[Row], gpu: Gpu, dtype: str, curve: kernels.Curve) -> Any:
    """Predict causal attention over whole prompts."""
    batch, seq, heads, kv, dim = columns(rows, "batch", "seq", "heads", "kv_heads", "head_dim")
    return kernels.prefill_attention_seconds(
        batch=batch, sequence=seq, heads=heads, kv_heads=kv, key_dim=dim, value_dim=dim, peak=peak_of(gpu, dtype),
        bandwidth=gpu.memory_bandwidth_bytes_per_second, curve=curve, bytes_per_value=WEIGHT_BYTES[dtype],
    )  # fmt: skip


def decode(rows: list[Row], gpu: Gpu, dtype: str, curve: kernels.Curve) -> Any:
    """Predict attention of one new token per sequence; ``dtype`` is that of the cache."""
    batch, seq, heads, kv, dim = columns(rows, "batch", "seq", "heads", "kv_heads", "head_dim")
    return kernels.decode_attention_seconds(
        batch=batch, context=seq, heads=heads, kv_heads=kv, key_dim=dim, value_dim=dim, peak=peak_of(gpu, "bf16"),
        bandwidth=gpu.memory_bandwidth_bytes_per_second, curve=curve, cache_bytes_per_value=WEIGHT_BYTES[dtype],
    )  # fmt: skip


def moe(rows: list[Row], gpu: Gpu, dtype: str, curve: kernels.Curve) -> Any:
    """Predict grouped products of experts, all on one GPU."""
    m, n, k, experts, top_k = columns(rows, "m", "n", "k", "experts", "top_k")
    wide = 1.0 if dtype.startswith("fp8") else 2.0
    return kernels.experts_seconds(
        tokens=m, hidden=k, intermediate=n, experts=experts, top_k=top_k, peak=peak_of(gpu, dtype),
        bandwidth=gpu.memory_bandwidth_bytes_per_second, curve=curve,
        weight_bytes_per_value=WEIGHT_BYTES[dtype], input_bytes_per_value=wide,
    )  # fmt: skip


# start, lower and upper bounds of compute, bandwidth, floor [us], sharpness, fill, depth
BOUNDS: dict[str, tuple[Callable[..., Any], list[float], list[float], list[float]]] = {
    "gemm": (gemm, [0.7, 0.8, 3, 2, 130, 50], [0.1, 0.3, 0.5, 1, 1, 0], [1.05, 1.1, 30, 8, 400, 2000]),
    "prefill_attention": (prefill, [0.5, 0.7, 6, 2, 130, 300], [0.1, 0.1, 0.5, 1, 1, 0], [1, 1, 60, 8, 400, 4000]),
    "decode_attention": (decode, [0.5, 0.8, 8, 2, 1, 1e6], [0.1, 0.3, 0.5, 1, 0.99, 0], [1, 1.1, 60, 8, 1.01, 3e7]),
    "moe_gemm": (moe, [0.5, 0.7, 20, 2, 60, 30], [0.05, 0.1, 1, 1, 1, 0], [1, 1.1, 200, 8, 3000, 500]),
}


def fit_curve(op: str, rows: list[Row], gpu: Gpu, dtype: str) -> dict[str, Any]:
    """Return the curve that fits the rows best, with its own error."""
    predict, start, low, high = BOUNDS[op]
    measured = columns(rows, "latency_us")[0] * MICROSECOND

    def curve_of(values: Any) -> kernels.Curve:
        fields = dict(zip(NAMES, values, strict=True))
        return kernels.Curve(**{**fields, "floor_seconds": fields["floor_seconds"] * MICROSECOND})

    def residuals(values: Any) -> Any:
        return np.log(predict(rows, gpu, dtype, curve_of(values)) / measured)

    scale = np.maximum(np.abs(np.array(start)), 1e-3)
    best = least_squares(residuals, start, bounds=(low, high), loss="soft_l1", f_scale=0.1, x_scale=scale)
    error = np.abs(np.expm1(residuals(best.x)))
    fields = {name: float(f"{value:.4g}") for name, value in zip(NAMES, best.x, strict=True)}
    fields["floor_seconds"] = float(f"{fields['floor_seconds'] * MICROSECOND:.4g}")
    return {
        "curve": fields,
        "kernels": len(rows),
        "median_error": round(float(np.median(error)), 4),
        "p90_error": round(float(np.percentile(error, 90)), 4),
        "sources": sorted({row["source"].split(":")[0] for row in rows}),
    }


def point_to_point(*, message_bytes: Any, ranks: Any, link: collectives.Link) -> Any:
    """Predict a send to one neighbour."""
    return collectives.point_to_point_seconds(message_bytes=message_bytes, link=link)


COLLECTIVES: dict[str, Callable[..., Any]] = {
    "all_reduce": collectives.all_reduce_seconds,
    "all_to_all": collectives.all_to_all_seconds,
    "p2p": point_to_point,
}


def fit_link(op: str, rows: list[Row]) -> dict[str, Any]:
    """Return the link (bandwidth, latency, hop, slow start) that fits collectives of one GPU."""
    message, ranks = columns(rows, "message_bytes", "n_gpus")
    measured = columns(rows, "latency_us")[0] * MICROSECOND
    fastest = float(np.max(2 * (ranks - 1) / ranks * message / measured))

    def link_of(values: Any) -> collectives.Link:
        return collectives.Link(
            bytes_per_second=values[0] * fastest, latency_seconds=values[1] * MICROSECOND,
            hop_seconds=values[2] * MICROSECOND, slow_bytes=values[3] * 1e6,
        )  # fmt: skip

    def residuals(values: Any) -> Any:
        seconds = COLLECTIVES[op](message_bytes=message, ranks=ranks, link=link_of(values))
        return np.log(seconds / measured)

    best = least_squares(
        residuals, [0.9, 10, 1, 1], bounds=([0.2, 0.5, 0, 0], [1.5, 100, 20, 200]), loss="soft_l1", f_scale=0.1
    )
    link, error = link_of(best.x), np.abs(np.expm1(residuals(best.x)))
    fields = {
        "bytes_per_second": float(f"{link.bytes_per_second:.4g}"),
        "latency_seconds": float(f"{link.latency_seconds:.4g}"),
        "hop_seconds": float(f"{link.hop_seconds:.4g}"),
        "slow_bytes": float(f"{link.slow_bytes:.4g}"),
    }
    return {
        "link": fields,
        "kernels": len(rows),
        "median_error": round(float(np.median(error)), 4),
        "p90_error": round(float(np.percentile(error, 90)), 4),
        "sources": sorted({row["source"].split(":")[0] for row in rows}),
    }


def fit_links(op: str, gpu: Gpu, rows: list[Row]) -> list[dict[str, Any]]:
    """Return the links of one GPU by library and scope: inside a node, or one card of each of two nodes.

    Rings through several cards of several nodes are left out: the one cluster measured so had a slow network.
    """
    found = []
    for library in ("nccl", "engine"):
        for scope in ("inside", "between"):
            chosen = [
                row
                for row in rows
                if (row["engine"] == "nccl") == (library == "nccl")
                and (row["gpus_per_node"] in ("", row["n_gpus"])) == (scope == "inside")
                and (scope == "inside" or (op == "p2p" and row["gpus_per_node"] == "1"))
            ]
            if len(chosen) >= 9:
                found.append({"op": op, "gpu": gpu.key, "library": library, "scope": scope, **fit_link(op, chosen)})
    return found


def grouped(rows: list[Row]) -> dict[tuple[str, str, str], list[Row]]:
    """Return rows by operation, GPU and number format (of the cache for decode attention)."""
    groups: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        dtype = row["kv_dtype"] or row["dtype"] if row["op"] == "decode_attention" else row["dtype"]
        groups[row["op"], row["gpu"], dtype].append(row)
    return groups


def main() -> None:
    """Fit every group of the measured kernels and write the curves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kernels", type=Path)
    rows = list(csv.DictReader(parser.parse_args().kernels.open()))
    curves, links = [], []
    for (op, key, dtype), members in sorted(grouped(rows).items()):
        try:
            gpu = find_gpu(key)
        except UserError as error:
            print(f"left out: {op} {key}: {error}")
            continue
        if op in BOUNDS:
            if (op == "gemm" and len(members) < 12) or peak_of(gpu, dtype) is None:
                print(f"left out: {op} {key} {dtype}: too few kernels or no peak")
                continue
            curves.append({"op": op, "gpu": gpu.key, "dtype": dtype, **fit_curve(op, members, gpu, dtype)})
        elif op in COLLECTIVES:
            links += fit_links(op, gpu, members)
    for record in curves + links:
        kind = record.get("dtype") or f"{record['library']} {record['scope']}"
        name = f"{record['op']:18} {record['gpu']:30} {kind:15}"
        print(f"{name} n={record['kernels']:4} median {record['median_error']:.3f} p90 {record['p90_error']:.3f}")
    text = json.dumps({"curves": curves, "links": links}, indent=1)
    OUTPUT.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
