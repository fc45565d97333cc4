"""What ``sizeup serve`` says, as values: targets, speed, plans of a search, changes, and the whole answer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from sizeup.estimate import Estimate
from sizeup.llm.architecture import Architecture
from sizeup.machine import Cluster
from sizeup.machine.instances import Instance
from sizeup.physics.queueing import DEFINITIONS, Percentiles
from sizeup.plan.serving import Load, ServingPlan
from sizeup.serving.memory import ServingMemory


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """What the mean request may take [s]; None: no target."""

    ttft_seconds: float | None = None
    tpot_seconds: float | None = None

    def met(self, ttft: float, tpot: float) -> bool:
        """Return whether both hold."""
        return (self.ttft_seconds is None or ttft <= self.ttft_seconds) and (
            self.tpot_seconds is None or tpot <= self.tpot_seconds
        )

    @property
    def any(self) -> bool:
        """Whether there is a target."""
        return self.ttft_seconds is not None or self.tpot_seconds is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """How fast a deployment answers: estimates with bands, and what they follow from."""

    ttft: Estimate
    tpot: Estimate
    output_rate: Estimate
    step: Estimate
    requests_per_second: float
    in_flight: float
    prompt_share: float
    peak_share: float
    bandwidth_share: float
    binds: str
    percentiles: Mapping[str, Percentiles] = field(default_factory=dict)
    saturation_rate: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One plan of a search: its speed at the load, whether it meets the targets, and why it is not first."""

    plan: ServingPlan
    gpus: int
    fits: bool
    meets: bool = True
    concurrency: float = 0.0
    ttft_seconds: float = math.inf
    tpot_seconds: float = math.inf
    output_tokens_per_second: float = 0.0
    usd_per_million: float | None = None
    why: str = ""

    @property
    def per_gpu(self) -> float:
        """Output tokens per second and GPU."""
        return self.output_tokens_per_second / self.gpus

    @property
    def per_user(self) -> float:
        """Output tokens per second that one user sees."""
        return 1 / self.tpot_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One change, and what it leads to: memory taken of the fullest card [bytes], its price, and its speed."""

    change: str
    plan: ServingPlan
    gpu: str
    gpus: int
    taken_bytes: float
    row: Row
    usd_per_hour: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pools:
    """Pools of prefill and decode replicas, the best split of some cards, and what the load meets there.

    ``transfer_seconds`` is the time that the cache of one prompt takes to the decode pool, ``prefill_busy`` and
    ``decode_busy`` are shares of what each pool lets through at most.
    """

    prefill: ServingPlan
    decode: ServingPlan
    prefill_replicas: int
    decode_replicas: int
    ttft_seconds: float
    tpot_seconds: float
    requests_per_second: float
    output_tokens_per_second: float
    transfer_seconds: float
    transfer_bytes: float
    prefill_busy: float
    decode_busy: float
    saturation_rate: float
    meets: bool
    usd_per_million: float | None
    searched: int

    @property
    def gpus(self) -> int:
        """Cards of both pools."""
        return self.prefill_gpus + self.decode_gpus

    @property
    def prefill_gpus(self) -> int:
        """Cards of the prefill pool."""
        return self.prefill.layout.gpus * self.prefill_replicas

    @property
    def decode_gpus(self) -> int:
        """Cards of the decode pool."""
        return self.decode.layout.gpus * self.decode_replicas

    @property
    def binds(self) -> str:
        """The pool that lets less through."""
        return "prefill" if self.prefill_busy >= self.decode_busy else "decode"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingAnswer:
    """Everything that ``sizeup serve`` says.

    ``fits`` is about memory and layout alone. ``saturation_rate`` is set where the rate asked for is at or above it:
    the queue grows and there is no speed to tell. ``ladder`` are changes that mend what is wrong, or make it faster;
    ``passed_over`` says why formats nearer to the original were not taken; ``offers`` compares cards;
    ``nearest`` names measured runs like it.
    """

    name: str
    architecture: Architecture
    cluster: Cluster
    plan: ServingPlan
    load: Load
    targets: Targets
    memory: ServingMemory
    speed: Speed | None
    fits: bool
    meets_targets: bool
    max_concurrency: int
    instance: Instance | None
    usd_per_million_output_tokens: float | None
    joules_per_output_token: float | None
    flags: Mapping[str, str]
    saturation_rate: float | None = None
    problems: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()
    nearest: str = ""
    offers: tuple[Rung, ...] = ()
    pools: Pools | None = None
    alternatives: tuple[Row, ...] = ()
    pareto: tuple[Row, ...] = ()
    ladder: tuple[Rung, ...] = ()
    searched: int = 0
    assumptions: tuple[str, ...] = ()
    definitions: Mapping[str, str] = field(default_factory=lambda: DEFINITIONS)

    @property
    def answered(self) -> bool:
        """Whether everything that was asked for is met: memory, the rate and the targets."""
        return self.fits and self.saturation_rate is None and (self.meets_targets or not self.targets.any)

    def explained(self) -> tuple[Estimate, ...]:
        """Return the estimates that ``--why`` explains."""
        if self.speed is None:
            return (self.memory.device,)
        return (self.memory.device, self.speed.ttft, self.speed.tpot, self.speed.output_rate, self.speed.step)
