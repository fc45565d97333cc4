"""Which kernel curves and links a GPU has: measured on it, or inherited from the card most like it, and that is said.

A curve holds shares of the card's own peak and bandwidth, so a card that was never measured takes the shares of a
measured one and keeps its own limits. The order of inheritance: the card itself; the card of its generation whose
peak-to-bandwidth ratio is closest; the median of every measured card.
"""

from __future__ import annotations

import functools
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import median
from typing import Any

from sizeup.errors import UserError
from sizeup.files import read_text
from sizeup.machine import Gpu, find_gpu
from sizeup.physics.collectives import Link
from sizeup.physics.kernels import Curve

PEAK_DTYPE: Mapping[str, tuple[str, ...]] = {
    "fp32": ("tf32", "fp32"), "bf16": ("bf16", "fp16"), "fp16": ("fp16", "bf16"), "int8": ("int8", "bf16", "fp16"),
    "int4": ("bf16", "fp16"), "fp8": ("fp8", "bf16", "fp16"), "fp8-block": ("fp8", "bf16", "fp16"),
    "mxfp8": ("fp8", "bf16", "fp16"), "nvfp4": ("fp4", "bf16", "fp16"), "mxfp4": ("bf16", "fp16"),
}  # fmt: skip
"""At which peak products of a format run, best first: a card without the format computes in 16 bits."""

CURVE_DTYPE: Mapping[str, tuple[str, ...]] = {
    "fp32": ("bf16",), "bf16": ("bf16",), "fp16": ("bf16",), "int8": ("int8", "bf16"), "int4": ("int4", "bf16"),
    "fp8": ("fp8", "fp8-block", "bf16"), "fp8-block": ("fp8-block", "fp8", "bf16"),
    "mxfp8": ("fp8", "fp8-block", "bf16"), "nvfp4": ("nvfp4", "fp8", "bf16"), "mxfp4": ("mxfp4", "bf16"),
}  # fmt: skip
"""Whose measured curve a format uses, best first."""

WORST_MEDIAN_ERROR = 0.25
"""A fit with a larger median error describes nothing and is passed over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """A curve, the format it was measured in and where it was measured (a card's key, or "median of ...")."""

    curve: Curve
    dtype: str
    origin: str
    kernels: int
    median_error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedLink:
    """A link and where its numbers come from."""

    link: Link
    origin: str


@functools.cache
def _records() -> dict[str, list[dict[str, Any]]]:
    data: dict[str, list[dict[str, Any]]] = json.loads(read_text("fitted/kernels.json"))
    return data


def _likeness(gpu: Gpu, other: Gpu) -> float:
    """Return how far apart the balance of two cards is: the largest log ratio of their peaks per byte/s of memory."""
    shared = [d for d, peak in gpu.peak_flops_per_second.items() if peak and other.peak_flops_per_second.get(d)]
    memory = math.log(gpu.memory_bandwidth_bytes_per_second / other.memory_bandwidth_bytes_per_second)
    ratios = (math.log(gpu.peak_flops_per_second[d] / other.peak_flops_per_second[d]) for d in shared)
    return max((abs(ratio - memory) for ratio in ratios), default=abs(memory))


_KIN: Mapping[str, tuple[str, ...]] = defaultdict(tuple, {
    "turing": ("turing", "ampere", "ada"), "ampere": ("ampere", "ada"), "ada": ("ada", "ampere"),
    "hopper": ("hopper",), "blackwell": ("blackwell",),
})  # fmt: skip
"""Generations whose tensor cores take the same instructions."""


def chip_of(gpu: Gpu) -> str:
    """Return what kind of chip a card has: graphics chips with GDDR memory, or data-centre chips of one generation.

    Compute capabilities 7.5, 8.6 to 8.9 and 12 are graphics chips; 8.0 is another chip than 8.6, with HBM.
    """
    major, _, minor = gpu.compute_capability.partition(".")
    if not major.isdigit():
        return gpu.architecture
    graphics = major == "12" or (minor != "0" and major in ("7", "8"))
    return "graphics" if graphics else f"data centre {major}"


def _nearest(gpu: Gpu, records: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the record of the card itself, else of the likest card with a chip of its kind, else None."""
    own = [record for record in records if record["gpu"] == gpu.key]
    if own:
        return own[0]
    kin = [record for record in records if chip_of(find_gpu(record["gpu"])) == chip_of(gpu)]
    if kin and kin[0]["op"] == "moe_gemm":
        # kernels of experts are tuned for each generation
        kin = [record for record in kin if find_gpu(record["gpu"]).architecture in _KIN[gpu.architecture]] or kin
    return min(kin, key=lambda record: _likeness(gpu, find_gpu(record["gpu"]))) if kin else None


def _median_curve(records: Sequence[dict[str, Any]]) -> Curve:
    return Curve(**{f.name: median(record["curve"][f.name] for record in records) for f in fields(Curve)})


@dataclass(frozen=True, slots=True)
class Curves:
    """The kernel curves and links of one card."""

    gpu: Gpu

    def peak(self, dtype: str) -> float:
        """Return the dense peak at which products of ``dtype`` run [FLOP/s].

        Raises:
            UserError: unknown format, or a card without a known peak for it.
        """
        if dtype not in PEAK_DTYPE:
            raise UserError(f'no number format of products is called "{dtype}"', hint=", ".join(PEAK_DTYPE))
        for name in PEAK_DTYPE[dtype]:
            if self.gpu.peak_flops_per_second.get(name):
                return self.gpu.peak_flops_per_second[name]
        return self.gpu.peak(dtype)

    def runs_in(self, dtype: str) -> str:
        """Return the format that products of ``dtype`` really run in: fp8 falls back to bf16 where there is none."""
        if dtype.startswith(("fp8", "mxfp8", "nvfp4")) and not self.gpu.peak_flops_per_second.get(PEAK_DTYPE[dtype][0]):
            return "bf16"
        return dtype

    def learned(self, op: str, dtype: str) -> Learned:
        """Return the curve of one operation: gemm, moe_gemm, prefill_attention, decode_attention."""
        return _learned(self.gpu.key, op, self.runs_in(dtype))

    def gemm(self, dtype: str) -> Curve:
        """Return the curve of matrix products."""
        return self.learned("gemm", dtype).curve

    def experts(self, dtype: str) -> Curve:
        """Return the curve of grouped products of experts."""
        return self.learned("moe_gemm", dtype).curve

    def prefill_attention(self, dtype: str = "bf16") -> Curve:
        """Return the curve of fused attention over many new tokens."""
        return self.learned("prefill_attention", dtype).curve

    def decode_attention(self, cache_dtype: str = "bf16") -> Curve:
        """Return the curve of attention of one new token per sequence."""
        return self.learned("decode_attention", cache_dtype).curve

    def streaming(self) -> Curve:
        """Return the curve of element-wise kernels: the bandwidth share and the floor of 16-bit products."""
        return self.gemm("bf16")

    def bandwidth(self) -> float:
        """Return the memory bandwidth of the card [bytes/s]."""
        return self.gpu.memory_bandwidth_bytes_per_second

    def inside(self, op: str = "all_reduce", *, library: str = "nccl", gpus: int = 2) -> LearnedLink:
        """Return the link between ``gpus`` cards of one node: the measured share of the card's own bandwidth."""
        return _inside(self.gpu.key, op, library, gpus)

    def between(self, *, bytes_per_second: float | None = None) -> LearnedLink:
        """Return the link between nodes, per card; ``bytes_per_second`` is the network's if it is known."""
        return _between(self.gpu.key, bytes_per_second)

    def provenance(self, *, operations: Sequence[str] = ("gemm", "prefill_attention")) -> tuple[str, ...]:
        """Return where each 16-bit curve came from, one line each."""
        lines = []
        for op in operations:
            found = self.learned(op, "bf16")
            lines.append(
                f"{op.replace('_', ' ')} efficiency from {found.kernels} kernels on {found.origin} "
                f"(median error {found.median_error:.0%})"
            )
        return tuple(lines)


@functools.cache
def _learned(key: str, op: str, dtype: str) -> Learned:
    gpu, tried = find_gpu(key), CURVE_DTYPE.get(dtype, (dtype, "bf16"))
    usable = [r for r in _records()["curves"] if r["op"] == op and r["median_error"] <= WORST_MEDIAN_ERROR]
    for name in tried:
        found = _nearest(gpu, [record for record in usable if record["dtype"] == name])
        if found:
            return Learned(
                curve=Curve(**found["curve"]), dtype=name, origin=found["gpu"], kernels=found["kernels"],
                median_error=found["median_error"],
            )  # fmt: skip
    for name in tried:
        records = [record for record in usable if record["dtype"] == name]
        if records:
            return Learned(
                curve=_median_curve(records), dtype=name, origin=f"median of {len(records)} cards",
                kernels=sum(record["kernels"] for record in records),
                median_error=median(record["median_error"] for record in records),
            )  # fmt: skip
    raise UserError(f"no measured kernel of {op} in {dtype}")


def _scaled(record: dict[str, Any], share: float, bytes_per_second: float) -> Link:
    link = record["link"]
    return Link(
        bytes_per_second=share * bytes_per_second, latency_seconds=link["latency_seconds"],
        hop_seconds=link["hop_seconds"], slow_bytes=link["slow_bytes"],
    )  # fmt: skip


def _share(record: dict[str, Any], *, scope: str) -> float:
    """Return the share of its card's nominal bandwidth that a measured link reaches."""
    gpu = find_gpu(record["gpu"])
    nominal = gpu.inter_node_bytes_per_second if scope == "between" else gpu.link_bytes_per_second(2)
    measured: float = record["link"]["bytes_per_second"]
    return measured / nominal if nominal else 2.0


@functools.cache
def _inside(key: str, op: str, library: str, gpus: int) -> LearnedLink:
    gpu = find_gpu(key)
    nominal = gpu.link_bytes_per_second(gpus)
    records = [
        r
        for r in _records()["links"]
        if r["op"] == op and r["library"] == library and r["scope"] == "inside"
        and r["median_error"] <= WORST_MEDIAN_ERROR
    ]  # fmt: skip
    joined = bool(gpu.scale_up_bytes_per_second)
    fast = [r for r in records if bool(find_gpu(r["gpu"]).scale_up_bytes_per_second) == joined]
    found = _nearest(gpu, fast)
    if found is None and fast:
        found = min(fast, key=lambda record: _likeness(gpu, find_gpu(record["gpu"])))
    if found is None or not nominal:
        raise UserError(f"the link between cards of {gpu.key} is not known", hint="use one card per node")
    return LearnedLink(link=_scaled(found, _share(found, scope="inside"), nominal), origin=found["gpu"])


@functools.cache
def _between(key: str, bytes_per_second: float | None) -> LearnedLink:
    gpu = find_gpu(key)
    nominal = bytes_per_second or gpu.inter_node_bytes_per_second
    if not nominal:
        raise UserError(f"the network between nodes of {gpu.key} is not known", hint="name a cloud instance instead")
    # two of the measured clusters reach a third of their nominal network: the best one shows what the link allows
    records = [r for r in _records()["links"] if r["scope"] == "between"]
    found = max((r for r in records if _share(r, scope="between") <= 1), key=lambda r: _share(r, scope="between"))
    return LearnedLink(link=_scaled(found, min(1.0, _share(found, scope="between")), nominal), origin=found["gpu"])


@functools.cache
def _curves(key: str) -> Curves:
    return Curves(find_gpu(key))


def curves_for(gpu: Gpu) -> Curves:
    """Return the kernel curves and links of a card; what was inherited says so (:meth:`Curves.provenance`)."""
    return _curves(gpu.key)
