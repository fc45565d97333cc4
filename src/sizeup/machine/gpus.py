"""Accelerators by name: what one holds, moves and computes."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sizeup.catalog.loader import gpu_records
from sizeup.errors import UserError, nearest_names

if TYPE_CHECKING:
    from sizeup.machine.instances import Instance

_MAKERS = frozenset(["nvidia", "amd", "intel", "apple", "google", "aws", "geforce", "tesla", "instinct"])
"""Words that a name may have in front or not."""

MEMORY_BASIS = {
    "driver": "what the driver gives a program (PyTorch's device total)",
    "nvidia-smi": "what nvidia-smi shows; a program gets about 0.5 % less",
    "ec2": "what EC2 reports",
    "vendor": "what the vendor's documentation says in GiB",
    "metal": "what Metal recommends as the working set",
    "analogy": "as measured on a sister card",
    "label": "the label on the box",
    "unsourced": "commonly printed, without a source here",
}
"""Where ``Gpu.memory_bytes`` comes from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One accelerator as software sees it, in SI units; None means not known or not there.

    ``memory_bytes`` is what a program can get (see ``memory_basis``), ``label_gb`` the vendor's label.
    ``peak_flops_per_second`` maps dtype to dense FLOP/s (int8: operations). ``scale_up_bytes_per_second`` is the fast
    link between GPUs of one ``scale_up_domain``, ``inter_node_bytes_per_second`` a usual network, per GPU; links count
    one direction. ``unverified`` names the fields that rest on nothing that was read. ``alias_note`` says how a short
    name was read.
    """

    key: str
    name: str
    vendor: str
    architecture: str
    year: int
    label_gb: float
    memory_bytes: int
    memory_basis: str
    memory_bandwidth_bytes_per_second: float
    gpus_per_node: int
    sources: tuple[str, ...]
    memory_source: str = ""
    memory_note: str = ""
    compute_capability: str = ""
    peak_flops_per_second: Mapping[str, float] = field(default_factory=dict, hash=False)
    scale_up_bytes_per_second: float | None = None
    scale_up_domain: int = 1
    pcie_bytes_per_second: float | None = None
    inter_node_bytes_per_second: float | None = None
    tdp_watts: float | None = None
    dies: int = 1
    unified_memory: bool = False
    legacy: str = ""
    url: str = ""
    aliases: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    unverified: tuple[str, ...] = ()
    alias_note: str = field(default="", compare=False)

    def peak(self, dtype: str) -> float:
        """Return the dense peak in ``dtype`` [FLOP/s].

        Raises:
            UserError: no such rate is known for this card; the message lists those that are.
        """
        try:
            return self.peak_flops_per_second[dtype]
        except KeyError:
            known = ", ".join(self.peak_flops_per_second) or "none"
            raise UserError(f"{self.name} has no known {dtype} rate", hint=f"known: {known}") from None

    def link_bytes_per_second(self, gpus: int) -> float | None:
        """Return the bandwidth between ``gpus`` cards of one machine, per card and direction [bytes/s].

        The fast link where it joins that many, else PCIe; None where neither is known.
        """
        if self.scale_up_bytes_per_second and gpus <= self.scale_up_domain:
            return self.scale_up_bytes_per_second
        return self.pcie_bytes_per_second

    def is_unverified(self, name: str) -> bool:
        """Return whether the field called ``name`` must be shown with a mark."""
        return name in self.unverified


def _plain(name: str) -> str:
    words = re.findall(r"[a-z0-9]+", name.lower())
    return "".join(word for word in words if word not in _MAKERS)


@functools.cache
def _keys_by_name() -> dict[str, str]:
    """Return the key of every plain name: keys, display names and aliases."""
    names: dict[str, str] = {}
    for key, record in gpu_records().items():
        for name in (key, record["name"], *record.get("aliases", ())):
            names.setdefault(_plain(name), key)
    return names


def gpu(key: str, *, alias_note: str = "") -> Gpu:
    """Return the card with exactly this key; KeyError if there is none."""
    data: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in gpu_records()[key].items()
    }
    return Gpu(key=key, alias_note=alias_note, **data)


def _siblings(name: str, key: str) -> list[str]:
    start = _plain(name)
    return [other for other in gpu_records() if other != key and _plain(other).startswith(start)]


def find_gpu(name: str) -> Gpu:
    """Return the card that ``name`` means, in any spelling: h100, RTX4090, "NVIDIA A100-SXM4-80GB".

    A short name that several cards share means the one the catalog lists it for; ``alias_note`` then says so.

    >>> find_gpu("h100").key, find_gpu("GeForce RTX 4090").key
    ('h100-sxm5-80gb', 'rtx-4090')
    >>> find_gpu("a100").alias_note
    '"a100" is read as a100-sxm4-80gb; there are also a100-pcie-40gb, a100-pcie-80gb, a100-sxm4-40gb'

    Raises:
        UserError: no such card; the message has the nearest names.
    """
    key = _keys_by_name().get(_plain(name))
    if key is None:
        raise UserError(f'no GPU is called "{name}"', nearest=nearest_names(name, gpu_names()))
    others = _siblings(name, key) if _plain(key) != _plain(name) else []
    note = f'"{name}" is read as {key}; there are also {", ".join(others)}' if others else ""
    return gpu(key, alias_note=note)


def gpu_names() -> tuple[str, ...]:
    """Return every name a card answers to, keys first."""
    records = gpu_records()
    return (*records, *(alias for record in records.values() for alias in record.get("aliases", ())))


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuRow:
    """One line of a list of cards: the card and its cheapest dated offer, if any."""

    gpu: Gpu
    cheapest: Instance | None = None

    @property
    def usd_per_gpu_hour(self) -> float | None:
        """Price of the cheapest dated offer [dollars per card and hour]."""
        return self.cheapest.usd_per_gpu_hour if self.cheapest else None


SORTS: Mapping[str, Callable[[GpuRow], Any]] = {
    "name": lambda row: row.gpu.name.lower(),
    "memory": lambda row: -row.gpu.memory_bytes,
    "bandwidth": lambda row: -row.gpu.memory_bandwidth_bytes_per_second,
    "flops": lambda row: -max(row.gpu.peak_flops_per_second.get(dtype, 0) for dtype in ("bf16", "fp16", "fp32")),
    "price": lambda row: row.usd_per_gpu_hour or float("inf"),
    "year": lambda row: -row.gpu.year,
}
"""How a list of cards can be sorted; the best first."""


def list_gpus(
    text: str = "",
    *,
    min_memory_bytes: float = 0,
    vendor: str = "",
    max_usd_per_gpu_hour: float | None = None,
    legacy: bool = True,
    sort: str = "name",
) -> tuple[GpuRow, ...]:
    """Return the cards that pass every filter, each with its cheapest dated offer.

    ``text`` is words that must all occur in the name, key, aliases, vendor or architecture ("blackwell 96gb");
    ``max_usd_per_gpu_hour`` drops cards without a dated price; ``legacy=False`` drops those that today's engines no
    longer support; ``sort`` is a key of :data:`SORTS`.

    >>> [row.gpu.key for row in list_gpus("ada", min_memory_bytes=40e9, vendor="nvidia")]
    ['l40', 'l40s', 'rtx-6000-ada']
    """
    from sizeup.machine.instances import cheapest_by_gpu

    if sort not in SORTS:
        raise UserError(f'GPUs cannot be sorted by "{sort}"', hint=f"sort by {', '.join(SORTS)}")
    offers, words = cheapest_by_gpu(), text.lower().split()
    limit = float("inf") if max_usd_per_gpu_hour is None else max_usd_per_gpu_hour

    def passes(key: str, data: Mapping[str, Any]) -> bool:
        if data["memory_bytes"] < min_memory_bytes or (vendor and data["vendor"] != vendor.lower()):
            return False
        if data.get("legacy") and not legacy:
            return False
        price = offers[key].usd_per_gpu_hour if key in offers else None
        if max_usd_per_gpu_hour is not None and (price is None or price > limit):
            return False
        names = " ".join((key, data["name"], data["vendor"], data["architecture"], *data.get("aliases", ()))).lower()
        return all(word in names for word in words)

    kept = [GpuRow(gpu=gpu(key), cheapest=offers.get(key)) for key, data in gpu_records().items() if passes(key, data)]
    return tuple(sorted(kept, key=SORTS[sort]))
