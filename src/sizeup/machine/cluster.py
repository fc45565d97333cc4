"""Machines made of GPUs: a node, several nodes, and the short way to write them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sizeup.errors import UserError, nearest_names
from sizeup.machine.gpus import Gpu, find_gpu, gpu, gpu_names
from sizeup.machine.instances import Instance, instance_called, list_instances


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One machine: ``gpus`` equal cards, the link between them and its share of the network per card.

    Bandwidths are bytes/s per card and direction; None means not known. ``memory_bytes`` is what a program can get on
    one card, which an instance may bound below the card's own.
    """

    gpu: Gpu
    gpus: int
    memory_bytes: int
    intra_node_bytes_per_second: float | None = None
    inter_node_bytes_per_second: float | None = None
    host_memory_bytes: int | None = None
    instance: Instance | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Equal nodes. ``notes`` say how a short name or a bare number of cards was read."""

    node: Node
    nodes: int
    notes: tuple[str, ...] = ()

    @property
    def gpu(self) -> Gpu:
        """The card."""
        return self.node.gpu

    @property
    def gpus(self) -> int:
        """Cards in all nodes."""
        return self.nodes * self.node.gpus

    @property
    def memory_bytes(self) -> int:
        """Memory that programs can get on all cards together [bytes]."""
        return self.gpus * self.node.memory_bytes

    @property
    def usd_per_hour(self) -> float | None:
        """Price of all nodes where the machine is a priced cloud instance [dollars per hour]."""
        price = self.node.instance.usd_per_hour if self.node.instance else None
        return None if price is None else self.nodes * price


def node_of(card: Gpu, *, gpus: int) -> Node:
    """Return a usual machine with ``gpus`` of this card."""
    return Node(
        gpu=card,
        gpus=gpus,
        memory_bytes=card.memory_bytes,
        intra_node_bytes_per_second=card.link_bytes_per_second(gpus) if gpus > 1 else None,
        inter_node_bytes_per_second=card.inter_node_bytes_per_second,
    )


def instance_node(instance: Instance) -> Node:
    """Return the machine behind a cloud instance."""
    card = gpu(instance.gpu_key)
    return Node(
        gpu=card,
        gpus=instance.gpus,
        memory_bytes=instance.usable_gpu_memory_bytes,
        intra_node_bytes_per_second=card.link_bytes_per_second(instance.gpus) if instance.gpus > 1 else None,
        inter_node_bytes_per_second=instance.inter_node_bytes_per_second or card.inter_node_bytes_per_second,
        host_memory_bytes=instance.host_memory_bytes,
        instance=instance,
    )


def cluster_of(card: Gpu, *, gpus: int) -> Cluster:
    """Return ``gpus`` cards in usual machines: one if they fit, else full ones, else equal ones at least half full.

    Raises:
        UserError: the cards fill no equal machines; the message says what would.
    """
    full = card.gpus_per_node
    notes = (card.alias_note,) if card.alias_note else ()
    if gpus <= full:
        return Cluster(node=node_of(card, gpus=gpus), nodes=1, notes=notes)
    per_node = next((count for count in range(full, full // 2, -1) if gpus % count == 0), 0)
    if not per_node:
        raise UserError(
            f"{gpus} x {card.key} fill no equal nodes of up to {full} GPUs",
            hint=f"use {gpus - gpus % full} or {gpus - gpus % full + full}, or say the layout: 3x4x{card.key}",
        )
    if per_node != full:
        notes = (*notes, f"{gpus} GPUs are taken as {gpus // per_node} nodes of {per_node}")
    return Cluster(node=node_of(card, gpus=per_node), nodes=gpus // per_node, notes=notes)


def _counts(text: str) -> tuple[list[int], str]:
    """Return the leading counts and the name of ``2 x 8 x h100``."""
    counts, rest = [], text.strip()
    while match := re.match(r"(\d+)\s*[x×*]\s*(?=\S)", rest):
        counts.append(int(match.group(1)))
        rest = rest[match.end() :]
    return counts, rest


def parse_machine(text: str) -> Cluster:
    """Return the machine that ``text`` names: a card or a cloud instance, with counts in front.

    ``8xh100`` is eight cards, ``4x8xh100`` four nodes of eight, ``2x p5.48xlarge`` two instances.

    >>> parse_machine("64xh100").nodes, parse_machine("2x p5.48xlarge").gpus, parse_machine("rtx-4090").gpus
    (8, 16, 1)

    Raises:
        UserError: nothing is called that, or a count is impossible.
    """
    counts, name = _counts(text)
    if len(counts) > 2 or 0 in counts:
        raise UserError(f'"{text}" is not a machine', hint="write it like 8xh100, 4x8xh100 or 2x p5.48xlarge")
    instance = instance_called(name)
    if instance is None and (instance := instance_called(text)):
        counts = []
    if instance is None:
        return _cards(text, counts, name)
    if len(counts) > 1:
        raise UserError(f'"{text}" gives {instance.name} two counts', hint=f"write {counts[0]}x {instance.name}")
    return Cluster(node=instance_node(instance), nodes=counts[0] if counts else 1)


def _cards(text: str, counts: list[int], name: str) -> Cluster:
    try:
        card = find_gpu(name)
    except UserError:
        known = (*gpu_names(), *(instance.name for instance in list_instances()))
        raise UserError(f'no GPU or instance is called "{name}"', nearest=nearest_names(name, known)) from None
    if len(counts) < 2:
        return cluster_of(card, gpus=counts[0] if counts else 1)
    notes = (card.alias_note,) if card.alias_note else ()
    return Cluster(node=node_of(card, gpus=counts[1]), nodes=counts[0], notes=notes)
