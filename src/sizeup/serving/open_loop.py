"""Requests at a rate, whatever the engine does: the steady closed loops of a deployment read backwards.

A closed loop of n requests leaves at its own rate; by Little's law an open loop of that rate keeps n in flight. A table
of closed loops, one column, therefore answers any rate, the most that leaves (saturation), the most under targets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sizeup.errors import UserError
from sizeup.physics.numeric import Column, maximum, minimum
from sizeup.physics.queueing import (
    Latency,
    Percentiles,
    Requests,
    poisson_tail,
    poisson_wait_seconds,
    waiting_percentiles,
)
from sizeup.serving.speed import Deployment, closed_speed, most_in_flight

POINTS = 160
"""Closed loops in a table, from one request per replica to a full cache."""

LONGEST_WAIT = 1e6
"""Where the queueing formula has no steady state [s]."""


class Saturated(UserError):
    """More requests arrive than leave: the queue grows without end. ``most`` requests/s leave."""

    def __init__(self, rate: float, most: float) -> None:
        """Name both rates."""
        self.most = most
        super().__init__(
            f"{rate:g} requests/s saturate it: {most:.3g} requests/s leave at most, so the queue grows without end",
            hint=f"ask for less than {most:.3g} requests/s, or use more GPUs",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenLoop:
    """What a rate of arrivals meets: ``in_flight`` requests on average, and latency as percentiles [s].

    ``running`` of them are past the queue: the closed loop of so many has this rate. ``saturation_rate`` is the most
    requests per second that leave; at or above it queues grow without end.
    """

    latency: Latency
    in_flight: float
    running: float
    saturation_rate: float
    ttft: Percentiles
    tpot: Percentiles


@dataclass(frozen=True, slots=True, kw_only=True)
class SteadyStates:
    """Closed loops of one deployment by requests in flight: their rates, and the latency at each, columns."""

    flying: Column
    latency: Latency
    replicas: int

    @property
    def saturation_rate(self) -> float:
        """The most requests per second that leave."""
        return float(self.latency.requests_per_second[-1])

    def at(self, flying: Column, values: Column) -> Column:
        """Return ``values`` where so many are in flight."""
        import numpy as np

        return np.interp(flying, self.flying, values)

    def waits(self, rates: Column) -> Column:
        """Return the mean wait of random arrivals for the prompts of others [s].

        Source: [pollaczek1930]
        """
        busy = minimum(self.latency.prompt_share, 0.999)
        service = busy * self.replicas / rates
        return minimum(poisson_wait_seconds(rate=rates / self.replicas, service_seconds=service), LONGEST_WAIT)


def steady_states(made: Deployment, requests: Requests) -> SteadyStates:
    """Return the table of a deployment whose room is one number."""
    import numpy as np

    flying = np.geomspace(made.replicas, max(most_in_flight(made), made.replicas + 1e-6), POINTS)
    found = closed_speed(made, requests, flying, steady=True)
    # a rounding of the last bits must not make a rate fall
    rates = np.maximum.accumulate(np.asarray(found.requests_per_second, dtype=float))
    ones = np.ones_like(flying)
    latency = Latency(
        ttft_seconds=found.ttft_seconds * ones, tpot_seconds=found.tpot_seconds * ones, requests_per_second=rates,
        prompt_share=found.prompt_share * ones,
    )  # fmt: skip
    return SteadyStates(flying=flying, latency=latency, replicas=made.replicas)


def open_speed(made: Deployment, requests: Requests, rate: float) -> OpenLoop:
    """Return latency under Poisson arrivals: the closed loop whose own rate is this one (Little's law).

    Raises:
        Saturated: the rate is at or above saturation.
    """
    import numpy as np

    table = steady_states(made, requests)
    if rate >= table.saturation_rate:
        raise Saturated(rate, table.saturation_rate)
    flying = float(np.interp(rate, table.latency.requests_per_second, table.flying))
    own, tpot, busy = (
        float(table.at(flying, values))
        for values in (table.latency.ttft_seconds, table.latency.tpot_seconds, table.latency.prompt_share)
    )
    busy = min(busy, 0.999)
    service = busy * made.replicas / rate
    wait = min(float(poisson_wait_seconds(rate=rate / made.replicas, service_seconds=service)), LONGEST_WAIT)
    # each replica has its own ups and downs
    each = flying / made.replicas
    tpots = {
        share: float(table.at(made.replicas * max(poisson_tail(each, share), 1), table.latency.tpot_seconds))
        for share in (0.5, 0.9, 0.99)
    }
    ttft = own + wait
    return OpenLoop(
        latency=Latency(ttft_seconds=ttft, tpot_seconds=tpot, requests_per_second=rate, prompt_share=busy),
        in_flight=rate * (ttft + float(maximum(requests.output - 1, 0)) * tpot), running=flying,
        saturation_rate=table.saturation_rate,
        ttft=waiting_percentiles(mean_wait=wait, busy=busy, fixed=own),
        tpot=Percentiles(mean=tpot, p50=tpots[0.5], p90=tpots[0.9], p99=tpots[0.99]),
    )  # fmt: skip


def most_rate(made: Deployment, requests: Requests, targets: Any) -> float:
    """Return the most requests per second that one deployment takes under targets; 0 where not even one does.

    ``targets`` has ``ttft_seconds`` and ``tpot_seconds``, None where there is none.
    """
    import numpy as np

    table = steady_states(made, requests)
    rates = table.latency.requests_per_second
    good = rates < table.saturation_rate * (1 - 1e-9)
    if targets.ttft_seconds is not None:
        good &= table.latency.ttft_seconds + table.waits(rates) <= targets.ttft_seconds
    if targets.tpot_seconds is not None:
        good &= table.latency.tpot_seconds <= targets.tpot_seconds
    if not good.any():
        # fewer than one in flight meet what one alone does
        alone = table.latency.ttft_seconds[0], table.latency.tpot_seconds[0]
        meets = all(
            limit is None or value <= limit
            for value, limit in zip(alone, (targets.ttft_seconds, targets.tpot_seconds), strict=True)
        )
        return float(rates[0]) / 2 if meets and not table.saturation_rate <= rates[0] / 2 else 0.0
    return float(np.max(rates[good]))


def most_flying(made: Deployment, requests: Requests, targets: Any, *, most: int) -> int:
    """Return the most requests of a closed loop, up to ``most``, that one deployment holds under targets."""
    import numpy as np

    flying = np.unique(np.round(np.geomspace(1, most, 200))) if most > 1 else np.array([1.0])
    found = closed_speed(made, requests, flying)
    good = np.ones(len(flying), dtype=bool)
    if targets.ttft_seconds is not None:
        good &= found.ttft_seconds <= targets.ttft_seconds
    if targets.tpot_seconds is not None:
        good &= found.tpot_seconds <= targets.tpot_seconds
    return int(flying[good].max()) if good.any() else 0
