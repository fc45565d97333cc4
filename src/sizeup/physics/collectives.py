"""Seconds of collective communication by message size: a latency and a bandwidth per link, ring volumes.

Volumes are those of ring algorithms; every function works on numbers and columns. A group of one costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from sizeup.physics.numeric import Column, minimum, where


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What one rank sees of a network: bytes/s per direction that a large message reaches, and latencies [s].

    Attributes:
        bytes_per_second: per rank and direction, efficiency included.
        latency_seconds: of the smallest collective on two ranks.
        hop_seconds: added for each further rank of a ring.
        slow_bytes: what a message sends at half of the bandwidth before it reaches all of it.
    """

    bytes_per_second: Column
    latency_seconds: Column
    hop_seconds: Column = 0.0
    slow_bytes: Column = 0.0


def _ring(volume: Column, ranks: Column, link: Link) -> Column:
    # messages below ``slow_bytes`` run at half of the bandwidth; larger ones pay that once
    latency = link.latency_seconds + link.hop_seconds * (ranks - 2)
    seconds = latency + (volume + minimum(volume, link.slow_bytes)) / link.bytes_per_second
    return where(ranks > 1, seconds, 0.0)


def all_reduce_seconds(*, message_bytes: Column, ranks: Column, link: Link) -> Column:
    """Return the time to sum ``message_bytes`` over ``ranks`` ranks [s]: each sends 2 (n-1)/n of it."""
    return _ring(2 * (ranks - 1) / ranks * message_bytes, ranks, link)


def all_gather_seconds(*, message_bytes: Column, ranks: Column, link: Link) -> Column:
    """Return the time until every rank holds the whole ``message_bytes`` [s]: each receives (n-1)/n of it."""
    return _ring((ranks - 1) / ranks * message_bytes, ranks, link)


def reduce_scatter_seconds(*, message_bytes: Column, ranks: Column, link: Link) -> Column:
    """Return the time to sum ``message_bytes`` and leave each rank one share [s]: (n-1)/n of it sent."""
    return _ring((ranks - 1) / ranks * message_bytes, ranks, link)


def all_to_all_seconds(*, message_bytes: Column, ranks: Column, link: Link) -> Column:
    """Return the time to exchange ``message_bytes`` held by each rank, evenly, with all others [s]."""
    return _ring((ranks - 1) / ranks * message_bytes, ranks, link)


def point_to_point_seconds(*, message_bytes: Column, link: Link) -> Column:
    """Return the time to send ``message_bytes`` to one neighbour [s]."""
    return link.latency_seconds + message_bytes / link.bytes_per_second
