"""Requests replayed through a continuously batching scheduler, step by step: chunked prefill, paged cache, preemption.

The times of steps are those of the deployment, read from a grid. A step with nothing to admit repeats until a request
ends or arrives, so the cost is a few operations for each request and event, not for each token.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from sizeup.physics.queueing import Percentiles
from sizeup.physics.serving_operators import StepShape
from sizeup.plan.serving import Arrival
from sizeup.serving.grid import Grid, spaced
from sizeup.serving.speed import Deployment

LONGEST_RUN = 64
"""Most equal steps taken at once; the context they see is that of their middle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """What one replica's scheduler may hold: ``tokens`` of cache and ``sequences``.

    ``whole`` admits a request only when its whole length has room (TensorRT-LLM, slots); else its prompt is enough, and
    the last one admitted starts again when the cache runs full (vLLM, SGLang).
    """

    tokens: float
    sequences: int
    whole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """What replayed requests met: latency as percentiles [s], rates over the whole replay, requests in flight."""

    ttft: Percentiles
    tpot: Percentiles
    itl: Percentiles
    e2e: Percentiles
    requests: int
    seconds: float
    in_flight: float
    requests_per_second: float
    output_tokens_per_second: float
    prompt_share: float
    preemptions: int
    steps: int


@dataclass(slots=True)
class _Sequence:
    """One request on its way."""

    arrival: float
    prompt: float
    output: float
    todo: float
    kept: float = 0.0
    made: float = 0.0
    first: float = -1.0
    last: float = -1.0


@dataclass(slots=True)
class _Tally:
    """What is written down while the replay runs."""

    ttft: list[float] = field(default_factory=list)
    tpot: list[float] = field(default_factory=list)
    e2e: list[float] = field(default_factory=list)
    gaps: list[tuple[float, float]] = field(default_factory=list)
    tokens: float = 0.0
    prompts: float = 0.0
    area: float = 0.0
    preemptions: int = 0
    steps: int = 0


class StepTimes:
    """The times of a deployment's steps [s] between the points of three grids: decodes, prompts, both."""

    def __init__(self, made: Deployment, *, longest: float, most: float) -> None:
        """Ask the deployment for steps of up to ``most`` sequences of up to ``longest`` tokens."""
        limit = float(made.scheduler.limit)
        top = min(limit, most * longest)
        lengths, prompts = spaced(16, max(longest, 32), 12), spaced(16, max(longest, 32), 6)
        chunks = spaced(1, max(top, 2), 14)
        self._decode = Grid(
            [spaced(1, max(most, 2), 24), lengths], lambda n, c: made.seconds(StepShape(decodes=n, context=c))
        )
        self._prompt = Grid(
            [chunks, prompts], lambda k, p: made.seconds(StepShape(decodes=0, context=1, chunk=k, prompt=p))
        )
        self._both = Grid(
            [spaced(1, max(most, 2), 12), prompts, chunks, prompts],
            lambda n, c, k, p: made.seconds(StepShape(decodes=n, context=c, chunk=k, prompt=p)),
        )

    def __call__(self, decodes: float, context: float, chunk: float, prompt: float) -> float:
        """Return the time of one step [s]."""
        if not chunk:
            return self._decode(decodes, context)
        if not decodes:
            return self._prompt(chunk, prompt)
        return self._both(decodes, context, chunk, prompt)


class _Replica:
    """One scheduler and its device."""

    def __init__(self, times: StepTimes, pool: Pool, made: Deployment, cached: float, tally: _Tally) -> None:
        self.times, self.pool, self.tally = times, pool, tally
        self.limit, self.mixes = float(made.scheduler.limit), made.scheduler.mixes
        self.pace, self.overhead = made.tokens_per_step, float(made.known.speed.request_seconds)
        self.fresh = 1 - cached
        self.clock = 0.0
        self.waiting: deque[_Sequence] = deque()
        self.prefilling: list[_Sequence] = []
        self.decoding: list[_Sequence] = []
        self.used = 0.0

    @property
    def flying(self) -> int:
        """Requests that arrived and have not ended."""
        return len(self.waiting) + len(self.prefilling) + len(self.decoding)

    def take(self, arrival: Arrival) -> None:
        """Let a request arrive."""
        todo = max(arrival.input * self.fresh, 1.0)
        # it came while a step ran
        self.tally.area += max(self.clock - arrival.seconds, 0.0)
        self.waiting.append(
            _Sequence(arrival=arrival.seconds, prompt=arrival.input, output=max(arrival.output, 1), todo=todo)
        )

    def step(self, until: float) -> list[_Sequence]:
        """Run one step, or equal ones up to the next arrival at ``until``; return the requests that ended."""
        chunk, prompt = self._prompts()
        decoding = self.decoding if self.mixes or not chunk else []
        if not chunk:
            decoding = self._make_room()
        context = sum(s.kept for s in decoding) / len(decoding) if decoding else 1.0
        seconds = self.times(len(decoding), context, chunk, prompt)
        count = 1
        if not chunk:
            count = self._equal_steps(seconds, until)
            seconds = self.times(len(decoding), context + count * self.pace / 2, 0, 1)
        self.tally.steps += count
        self.tally.area += self.flying * seconds * count
        self.tally.prompts += seconds if chunk else 0.0
        self.clock += seconds * count
        return self._advance(decoding, seconds, count)

    def _prompts(self) -> tuple[float, float]:
        """Put prompts into the step; return their tokens, and the mean length of the prompts they belong to."""
        budget = self.limit - (len(self.decoding) * self.pace if self.mixes else 0)
        taken: list[tuple[float, float]] = []
        for one in self.prefilling:
            budget -= self._chunk_of(one, budget, taken)
        while self.waiting and budget >= 1 and self._admits(self.waiting[0]):
            one = self.waiting.popleft()
            self.prefilling.append(one)
            budget -= self._chunk_of(one, budget, taken)
        chunk = sum(size for size, _ in taken)
        return chunk, sum(size * length for size, length in taken) / chunk if chunk else 1.0

    def _chunk_of(self, one: _Sequence, budget: float, taken: list[tuple[float, float]]) -> float:
        size = min(one.todo, max(budget, 0.0))
        if size > 0:
            one.todo -= size
            taken.append((size, one.prompt))
            if one.kept == 0:
                one.kept = one.prompt + one.made
                self.used += one.kept
        return size

    def _admits(self, one: _Sequence) -> bool:
        if len(self.prefilling) + len(self.decoding) >= self.pool.sequences:
            return False
        running = self.prefilling + self.decoding
        if self.pool.whole:
            held = sum(other.prompt + other.output for other in running)
            return not running or held + one.prompt + one.output <= self.pool.tokens
        return not running or self.used + one.prompt + one.made + len(self.decoding) <= self.pool.tokens

    def _make_room(self) -> list[_Sequence]:
        """Return the sequences that decode; the last ones start again where one more token of each has no room."""
        while len(self.decoding) > 1 and self.used + len(self.decoding) * self.pace > self.pool.tokens:
            one = self.decoding.pop()
            self.used -= one.kept
            one.todo, one.kept = one.prompt * self.fresh + one.made, 0.0
            self.waiting.appendleft(one)
            self.tally.preemptions += 1
        return self.decoding

    def _equal_steps(self, seconds: float, until: float) -> int:
        count = min(-(-(one.output - one.made) // self.pace) for one in self.decoding)
        if not self.waiting:
            count = min(count, (until - self.clock) // seconds + 1)
        free = (self.pool.tokens - self.used) // (len(self.decoding) * self.pace)
        return int(max(min(count, free, LONGEST_RUN), 1))

    def _advance(self, decoding: list[_Sequence], seconds: float, count: int) -> list[_Sequence]:
        """Give tokens to those that decode, start those whose prompt is done; return those that ended."""
        added = count * self.pace
        for one in decoding:
            one.made += added
            one.kept += added
            if one.last < self.clock - seconds * count - 1e-12:
                self.tally.gaps.append((self.clock - seconds * (count - 1) - one.last, 1.0))
            one.last = self.clock
        if decoding:
            self.used += added * len(decoding)
            self.tally.gaps.append((seconds / self.pace, len(decoding) * added))
        for one in [s for s in self.prefilling if s.todo <= 0]:
            self.prefilling.remove(one)
            one.made += 1
            one.kept += 1
            self.used += 1
            one.first = self.clock if one.first < 0 else one.first
            one.last = self.clock
            self.decoding.append(one)
        ended = [one for one in self.decoding if one.made >= one.output]
        if ended:
            self.decoding = [one for one in self.decoding if one.made < one.output]
            for one in ended:
                self.used -= one.kept
                self._write(one)
        return ended

    def _write(self, one: _Sequence) -> None:
        life = self.clock - one.arrival + self.overhead
        first = one.first - one.arrival + self.overhead
        self.tally.ttft.append(first)
        self.tally.e2e.append(life)
        self.tally.tokens += one.output
        if one.output > 1:
            self.tally.tpot.append((life - first) / (one.output - 1))


def poisson(rate: float, *, prompt: float, output: float, requests: int, seed: int) -> tuple[Arrival, ...]:
    """Return random arrivals at ``rate`` a second, all of the same lengths."""
    dice, clock, found = random.Random(seed), 0.0, []
    for _ in range(requests):
        clock += dice.expovariate(rate)
        found.append(Arrival(clock, prompt, output))
    return tuple(found)


def replay(made: Deployment, arrivals: Sequence[Arrival], pool: Pool, *, cached: float = 0.0) -> Simulated:
    """Return what requests meet that arrive when they do, whatever the engine does; replicas take turns."""
    tally, replicas = _start(made, arrivals, pool, cached)
    first, end = arrivals[0].seconds, arrivals[0].seconds
    for place, one in enumerate(replicas):
        own = arrivals[place :: len(replicas)]
        one.clock = first
        index = 0
        while index < len(own) or one.flying:
            if not one.flying:
                one.clock = max(one.clock, own[index].seconds)
            while index < len(own) and own[index].seconds <= one.clock:
                one.take(own[index])
                index += 1
            one.step(own[index].seconds if index < len(own) else float("inf"))
        end = max(end, one.clock)
    # a request counts as in flight while it is on its way to the engine and back
    tally.area += replicas[0].overhead * len(arrivals)
    return _summary(tally, end - first, len(replicas))


def replay_closed(
    made: Deployment, pool: Pool, *, prompt: float, output: float, flying: int, requests: int, cached: float = 0.0
) -> Simulated:
    """Return what ``flying`` requests always in flight meet: each that ends is replaced at once.

    The first of each start evenly spaced in their answers, so that the replay begins in its steady state.
    """
    tally, replicas = _start(made, [Arrival(0.0, prompt, output)] * flying, pool, cached)
    coming: list[deque[Arrival]] = [deque() for _ in replicas]
    for place in range(flying):
        first = Arrival(0.0, prompt, 1 + (output - 1) * (place + 1) / flying)
        coming[place % len(replicas)].append(first)
    left = [requests // len(replicas)] * len(replicas)
    end = 0.0
    for place, (one, queue) in enumerate(zip(replicas, coming, strict=True)):
        while queue or one.flying:
            if not one.flying:
                one.clock = max(one.clock, queue[0].seconds)
            while queue and queue[0].seconds <= one.clock:
                one.take(queue.popleft())
            for _ in one.step(queue[0].seconds if queue else float("inf")):
                left[place] -= 1
                if left[place] >= 0:
                    # the answer reaches its reader, who asks again
                    queue.append(Arrival(one.clock + one.overhead, prompt, output))
        end = max(end, one.clock)
    tally.area += replicas[0].overhead * len(tally.e2e)
    return _summary(tally, end, len(replicas), skip=2 * flying, drop=flying)


def _start(made: Deployment, arrivals: Sequence[Arrival], pool: Pool, cached: float) -> tuple[_Tally, list[_Replica]]:
    longest = max(one.input + one.output for one in arrivals)
    shortest = min(one.input + one.output for one in arrivals)
    most = min(float(pool.sequences), max(pool.tokens / shortest, 1.0), float(len(arrivals)))
    times, tally = StepTimes(made, longest=longest, most=most), _Tally()
    return tally, [_Replica(times, pool, made, cached, tally) for _ in range(made.replicas)]


def _summary(tally: _Tally, seconds: float, replicas: int, *, skip: int = 0, drop: int = 0) -> Simulated:
    def middle(values: list[float]) -> list[float]:
        kept = values[skip : len(values) - drop]
        return kept or values

    requests = len(tally.e2e)
    span = max(seconds, 1e-12)
    return Simulated(
        ttft=percentiles(middle(tally.ttft)), tpot=percentiles(middle(tally.tpot) or [0.0]),
        itl=weighted_percentiles(tally.gaps or [(0.0, 1.0)]), e2e=percentiles(middle(tally.e2e)), requests=requests,
        seconds=seconds, in_flight=tally.area / span, requests_per_second=requests / span,
        output_tokens_per_second=tally.tokens / span, prompt_share=tally.prompts / span / replicas,
        preemptions=tally.preemptions, steps=tally.steps,
    )  # fmt: skip


def percentiles(values: Sequence[float]) -> Percentiles:
    """Return mean, median, 90th and 99th percentile.

    >>> percentiles([1.0, 2.0, 3.0]).p50
    2.0
    """
    return weighted_percentiles([(value, 1.0) for value in values])


def weighted_percentiles(values: Sequence[tuple[float, float]]) -> Percentiles:
    """Return mean, median, 90th and 99th percentile of values that occur so often."""
    ordered = sorted(values)
    whole = sum(weight for _, weight in ordered)

    def at(share: float) -> float:
        reached = 0.0
        for value, weight in ordered:
            reached += weight
            if reached >= share * whole:
                return value
        return ordered[-1][0]

    mean = sum(value * weight for value, weight in ordered) / whole
    return Percentiles(mean=mean, p50=at(0.5), p90=at(0.9), p99=at(0.99))
