"""Requests through a continuously batching engine: burst, closed loop and open loop, from the times of its steps.

TTFT is arrival to first token, queueing included; TPOT is (end-to-end - TTFT) / (output tokens - 1); ITL the gap
between two tokens. A scheduler says how prompts enter steps; the times of steps come from
:mod:`sizeup.physics.serving_time`. All functions work on numbers and on NumPy columns.
"""

from __future__ import annotations

from dataclasses import dataclass

from sizeup.physics.numeric import Column, exponential, logarithm, maximum, minimum, where

DEFINITIONS = {
    "TTFT": "time to first token: arrival of a request to its first token, queueing included",
    "TPOT": "time per output token: (end-to-end time - TTFT) / (output tokens - 1)",
    "ITL": "inter-token latency: the gap between two tokens of a request; its mean is TPOT",
    "burst": "N requests arrive together and no others",
    "closed loop": "N requests are in flight; each that ends is replaced at once",
    "open loop": "requests arrive at random (Poisson) at a given rate, whatever the engine does",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduler:
    """How an engine puts prompts into steps.

    ``limit`` is the most tokens of a step; ``mixes`` whether decodes go on in a step with prompts (chunked prefill or
    in-flight batching) or wait for it.
    """

    limit: Column
    mixes: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """Prompt and output lengths of a request [tokens]; ``cached`` is the share of the prompt in a prefix cache."""

    prompt: Column
    output: Column
    cached: Column = 0.0

    @property
    def fresh(self) -> Column:
        """Prompt tokens to compute; at least the last one."""
        return maximum(self.prompt * (1 - self.cached), 1)

    @property
    def mean_context(self) -> Column:
        """Tokens cached by a sequence, averaged over its decode steps."""
        return self.prompt + self.output / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedLoop:
    """Steps of a steady closed loop: one cycle gives every one of ``running`` sequences a new request.

    Attributes:
        running: sequences admitted at the same time (the KV room may hold fewer than are in flight).
        decoding: of these, in an average step, those past their prompt.
        chunk: prompt tokens in a step that has any.
        prompt_steps: steps of a cycle that have prompt tokens.
        decode_steps: steps of a cycle that every sequence decodes in.
        own_steps: steps that a request's own prompt takes.
    """

    running: Column
    decoding: Column
    chunk: Column
    prompt_steps: Column
    decode_steps: Column
    own_steps: Column


def closed_loop(*, concurrency: Column, room: Column, requests: Requests, scheduler: Scheduler) -> ClosedLoop:
    """Return the steps of a closed loop of ``concurrency`` requests of which ``room`` fit the cache at once.

    Prompts enter one by one as requests end; several share a step only where there are more prompts than decode steps.
    """
    running = maximum(minimum(concurrency, room), 1)
    decode_steps = maximum(requests.output - 1, 1)
    chunk = minimum(maximum(requests.fresh, running * requests.fresh / decode_steps), scheduler.limit)
    prompt_steps = running * requests.fresh / chunk
    own_steps = maximum(requests.fresh / chunk, 1)
    decoding = running * decode_steps / maximum(prompt_steps, decode_steps + own_steps) if scheduler.mixes else running
    return ClosedLoop(
        running=running, decoding=minimum(decoding, running), chunk=chunk, prompt_steps=prompt_steps,
        decode_steps=decode_steps, own_steps=own_steps,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Disorder:
    """How requests of a closed loop come: ``together`` is the share that arrives as one burst of all in flight, the
    rest one by one; ``overlap`` how random the latter are (0: evenly spaced, 1: as random arrivals)."""

    together: Column = 0.0
    overlap: Column = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """TTFT and TPOT of the mean request [s], requests completed per second, and the share of time spent on prompts."""

    ttft_seconds: Column
    tpot_seconds: Column
    requests_per_second: Column
    prompt_share: Column


def closed_loop_latency(
    loop: ClosedLoop,
    *,
    concurrency: Column,
    decode_seconds: Column,
    prompt_step_seconds: Column,
    prompt_alone_seconds: Column,
    burst_steps: Column,
    scheduler: Scheduler,
    disorder: Disorder,
    request_seconds: Column = 0.0,
) -> Latency:
    """Return the latency of a closed loop from the times of its steps [s].

    ``decode_seconds`` is a step without prompts, ``prompt_step_seconds`` one with (for an engine that does not mix: the
    prompts alone), ``prompt_alone_seconds`` a full step of prompts and nothing else, as at the start of a burst.
    ``burst_steps`` is how many of those the prompts of all running sequences take.
    Little's law closes the loop: requests in flight = rate x (TTFT + output x TPOT).

    Source: [little1961]
    """
    others = loop.prompt_steps * (loop.running - 1) / loop.running
    # of a burst, half of the other prompts are done before one's own first token
    after = others * (1 - disorder.together / 2)
    if scheduler.mixes:
        mixed = minimum(after / loop.decode_steps, 1)
        tpot = decode_seconds + mixed * maximum(prompt_step_seconds - decode_seconds, 0)
    else:
        tpot = decode_seconds + after / loop.decode_steps * prompt_step_seconds
    own = loop.own_steps * prompt_step_seconds
    # a request waits half of the step that it arrives in
    wait = tpot / 2
    lifetime = loop.decode_steps * tpot + own + wait
    busy = minimum(others * prompt_step_seconds / lifetime, 1)
    crowd = disorder.overlap * busy / 2 * own
    excess = maximum(loop.prompt_steps - loop.decode_steps - loop.own_steps, 0) * prompt_step_seconds
    saturated = excess if scheduler.mixes else 0 * excess
    steady = request_seconds + wait + own + crowd + saturated
    rate = loop.running / (steady + loop.decode_steps * tpot)
    queued = maximum(concurrency - loop.running, 0) / rate
    # the first of a burst waits for one step, the last for all
    burst = request_seconds + (burst_steps + 1) / 2 * prompt_alone_seconds
    ttft = steady + disorder.together * maximum(burst - steady, 0) + queued
    return Latency(ttft_seconds=ttft, tpot_seconds=tpot, requests_per_second=rate, prompt_share=busy)


def burst_latency(
    *,
    requests: Requests,
    together: Column,
    prefill_seconds: Column,
    decode_seconds: Column,
    request_seconds: Column = 0.0,
) -> Latency:
    """Return the mean latency of ``together`` requests that arrive at once [s].

    ``prefill_seconds`` is the time of all prompts; a request's first token waits for half of them on average, and its
    decoding is held up by the other half.
    """
    steps = maximum(requests.output - 1, 1)
    first = prefill_seconds / together
    ttft = request_seconds + first + (prefill_seconds - first) / 2
    tpot = decode_seconds + (prefill_seconds - first) / 2 / steps
    total = request_seconds + prefill_seconds + steps * decode_seconds
    return Latency(
        ttft_seconds=ttft, tpot_seconds=tpot, requests_per_second=together / total, prompt_share=prefill_seconds / total
    )


def static_batch_seconds(*, requests: Requests, prefill_seconds: Column, decode_seconds: Column) -> Column:
    """Return the time of a fixed batch that starts and ends together [s]: all prompts, then every decode step."""
    return prefill_seconds + maximum(requests.output - 1, 0) * decode_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    """Mean, median, 90th and 99th percentile [s]."""

    mean: Column
    p50: Column
    p90: Column
    p99: Column


def waiting_percentiles(*, mean_wait: Column, busy: Column, fixed: Column) -> Percentiles:
    """Return percentiles of ``fixed`` + an exponential-tailed wait that is zero with probability 1 - ``busy`` [s].

    Source: [kingman1961] heavy-traffic limit: the wait of a busy server is exponential
    """
    scale = mean_wait / maximum(busy, 1e-9)

    def at(share: float) -> Column:
        tail = (1 - share) / maximum(busy, 1e-9)
        return fixed + where(tail >= 1, 0 * scale, -scale * logarithm(minimum(tail, 1)))

    return Percentiles(mean=fixed + mean_wait, p50=at(0.5), p90=at(0.9), p99=at(0.99))


def poisson_wait_seconds(*, rate: Column, service_seconds: Column) -> Column:
    """Return the mean wait before a single server of fixed service time under Poisson arrivals [s].

    At or beyond saturation there is no steady state: infinity.

    Source: [pollaczek1930], M/D/1
    """
    busy = rate * service_seconds
    stable = minimum(busy, 1 - 1e-9)
    return where(busy < 1, stable * service_seconds / (2 * (1 - stable)), float("inf"))


def poisson_tail(count: float, share: float) -> float:
    """Return how many are in flight at a percentile of a Poisson number with this mean (normal approximation)."""
    # standard normal quantiles of the shares that are printed
    z = {0.5: 0.0, 0.9: 1.2816, 0.99: 2.3263}[share]
    return float(maximum(count + z * exponential(0.5 * logarithm(maximum(count, 1e-9))), 0))
