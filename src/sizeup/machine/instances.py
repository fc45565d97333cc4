"""Cloud instances with dated prices: finding one by name, and the cheapest that holds so many bytes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sizeup.catalog.loader import gpu_records, instance_records
from sizeup.errors import UserError, nearest_names

DEFAULT_VENDORS = ("nvidia", "amd")
"""Whose cards are offered unless asked otherwise: those that the common engines run on without porting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One rentable machine; prices are on-demand dollars per hour of the whole instance, on ``date``.

    ``gpu_memory_bytes`` is what the cloud states for one card; ``usable_gpu_memory_bytes`` is bounded by what the
    driver gives. ``gpu_fraction`` is below 1 where a slice of a card is rented. An empty ``date`` means that the
    source dates nothing (``read``, where known, is when it was read). ``unverified`` names the doubtful parts;
    "shape" means cards, memory and processors.
    """

    name: str
    cloud: str
    gpu_key: str
    gpus: int
    gpu_memory_bytes: int
    shape_source: str
    gpu_fraction: float = 1.0
    vcpus: int | None = None
    host_memory_bytes: int | None = None
    network_bytes_per_second: float | None = None
    usd_per_hour: float | None = None
    region: str = ""
    spot_usd_per_hour: float | None = None
    spot_region: str = ""
    date: str = ""
    read: str = ""
    price_source: str = ""
    unverified: tuple[str, ...] = ()

    @property
    def memory_bytes(self) -> int:
        """Accelerator memory of the whole instance as the cloud states it [bytes]."""
        return self.gpus * self.gpu_memory_bytes

    @property
    def usable_gpu_memory_bytes(self) -> int:
        """Memory that a program can get on one card [bytes]."""
        card_bytes: int = gpu_records()[self.gpu_key]["memory_bytes"]
        return min(self.gpu_memory_bytes, round(self.gpu_fraction * card_bytes))

    @property
    def usd_per_gpu_hour(self) -> float | None:
        """On-demand price of one card (a slice counts as its part) [dollars per hour]."""
        return None if self.usd_per_hour is None else self.usd_per_hour / (self.gpus * self.gpu_fraction)

    @property
    def inter_node_bytes_per_second(self) -> float | None:
        """Network of the instance divided by its cards, per direction [bytes/s]."""
        return None if self.network_bytes_per_second is None else self.network_bytes_per_second / self.gpus

    @property
    def priced(self) -> bool:
        """Whether there is a price that can be shown with its date."""
        return self.usd_per_hour is not None and bool(self.date)


def _instance(data: Mapping[str, Any]) -> Instance:
    fields: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}
    return Instance(gpu_key=fields.pop("gpu"), **fields)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def instance_called(name: str) -> Instance | None:
    """Return the instance of this name, or None; a cloud may stand in front: "aws p5.48xlarge".

    Azure's "Standard_" may be left out.
    """
    wanted = _plain(name)
    for data in instance_records():
        short = data["name"].removeprefix("Standard_")
        if wanted in {_plain(cloud + known) for known in (data["name"], short) for cloud in ("", data["cloud"])}:
            return _instance(data)
    return None


def find_instance(name: str) -> Instance:
    """Return the instance of this name, with or without its cloud in front: p5.48xlarge, "aws p5.48xlarge".

    Raises:
        UserError: no such instance; the message has the nearest names.
    """
    found = instance_called(name)
    if found is None:
        nearest = nearest_names(name, (data["name"] for data in instance_records()))
        raise UserError(f'no cloud instance is called "{name}"', nearest=nearest)
    return found


SORTS: Mapping[str, Callable[[Instance], Any]] = {
    "name": lambda i: (i.cloud, i.name.lower()),
    "price": lambda i: (i.usd_per_hour is None, i.usd_per_hour or 0, i.name),
    "gpu-price": lambda i: (i.usd_per_gpu_hour is None, i.usd_per_gpu_hour or 0, i.name),
    "memory": lambda i: (-i.memory_bytes, i.name),
}
"""How a list of instances can be sorted; unpriced ones come last."""


def list_instances(
    text: str = "",
    *,
    cloud: str = "",
    gpu: str = "",
    min_memory_bytes: float = 0,
    min_gpus: int = 0,
    max_usd_per_hour: float | None = None,
    max_usd_per_gpu_hour: float | None = None,
    vendor: str = "",
    priced_only: bool = False,
    sort: str = "name",
) -> tuple[Instance, ...]:
    """Return the instances that pass every filter.

    ``text`` is words that must all occur in the name, cloud or card; ``gpu`` is a card's exact key;
    ``min_memory_bytes`` is for the whole instance; ``max_usd_per_hour`` and ``max_usd_per_gpu_hour`` drop unpriced ones
    and ``priced_only`` also those whose price has no date; ``vendor`` makes the card; ``sort`` is a key of
    :data:`SORTS`.

    >>> [i.name for i in list_instances("h200", cloud="aws", priced_only=True)]
    ['p5en.48xlarge']
    """
    if sort not in SORTS:
        raise UserError(f'instances cannot be sorted by "{sort}"', hint=f"sort by {', '.join(SORTS)}")
    words, makers = text.lower().split(), gpu_records()

    def named(data: Mapping[str, Any]) -> bool:
        names = f"{data['name']} {data['cloud']} {data['gpu']}".lower()
        return (
            all(word in names for word in words)
            and (not cloud or data["cloud"] == cloud.lower())
            and (not gpu or data["gpu"] == gpu)
            and (not vendor or makers[data["gpu"]]["vendor"] == vendor.lower())
        )

    def affordable(instance: Instance) -> bool:
        limits = (
            (max_usd_per_hour, instance.usd_per_hour), (max_usd_per_gpu_hour, instance.usd_per_gpu_hour),
        )  # fmt: skip
        return all(most is None or (price is not None and price <= most) for most, price in limits)

    kept = [
        instance
        for instance in map(_instance, filter(named, instance_records()))
        if instance.gpus >= min_gpus
        and instance.gpus * instance.gpu_memory_bytes >= min_memory_bytes
        and (instance.priced or not priced_only)
        and affordable(instance)
    ]
    return tuple(sorted(kept, key=SORTS[sort]))


def cheapest_instances(
    total_bytes: float,
    *,
    gpus: int | None = None,
    per_gpu_bytes: float = 0,
    gpu: str = "",
    clouds: Iterable[str] = (),
    vendors: Iterable[str] = DEFAULT_VENDORS,
    legacy: bool = False,
    undated: bool = False,
) -> tuple[Instance, ...]:
    """Return the single instances whose cards hold ``total_bytes`` together, cheapest first; unpriced ones never.

    ``gpus`` is how many cards the bytes are spread over (an instance with more is used in part); None uses all.
    ``per_gpu_bytes`` is what each card must hold at least. ``gpu`` is a card's exact key, ``clouds`` and ``vendors``
    restrict the offers (no vendors: any); ``legacy`` admits cards that today's engines no longer support and
    ``undated`` prices without a date.
    """
    records, allowed_clouds, allowed_vendors = gpu_records(), tuple(clouds), tuple(vendors)
    kept = []
    for data in instance_records():
        card = records[data["gpu"]]
        if data.get("usd_per_hour") is None or not (undated or data.get("date")) or data["gpus"] < (gpus or 1):
            continue
        if (gpu and data["gpu"] != gpu) or (allowed_clouds and data["cloud"] not in allowed_clouds):
            continue
        if (card.get("legacy") and not legacy) or (allowed_vendors and card["vendor"] not in allowed_vendors):
            continue
        instance = _instance(data)
        each = instance.usable_gpu_memory_bytes
        if each >= per_gpu_bytes and each * (gpus or instance.gpus) >= total_bytes:
            kept.append(instance)
    return tuple(sorted(kept, key=SORTS["price"]))


def cheapest_instance(total_bytes: float, **filters: Any) -> Instance | None:
    """Return the first of :func:`cheapest_instances`, or None where nothing priced holds that much.

    >>> cheapest_instance(20e9, clouds=["aws"]).name
    'g6.xlarge'
    """
    found = cheapest_instances(total_bytes, **filters)
    return found[0] if found else None


def cheapest_by_gpu() -> dict[str, Instance]:
    """Return the cheapest dated offer of every card, by price per card; slices of cards are left out."""
    offers: dict[str, Instance] = {}
    for data in instance_records():
        if data.get("usd_per_hour") is None or not data.get("date") or data.get("gpu_fraction"):
            continue
        best = offers.get(data["gpu"])
        per_gpu = data["usd_per_hour"] / data["gpus"]
        if best is None or per_gpu < (best.usd_per_gpu_hour or 0):
            offers[data["gpu"]] = _instance(data)
    return offers
