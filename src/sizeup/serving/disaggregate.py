"""Prefill and decode on cards of their own: pools of each, the cache sent between them, the best ratio by search.

A prefill replica runs prompts and nothing else, a decode replica decodes and nothing else; the cache of every prompt
crosses the link between them before its second token. Rates balance: what one pool lets through the other has to take.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from sizeup.engine_cache import sequence_bytes
from sizeup.errors import UserError
from sizeup.fitted.kernels import curves_for
from sizeup.machine import Cluster, cluster_of
from sizeup.physics.collectives import point_to_point_seconds
from sizeup.physics.numeric import Column, ceil_div
from sizeup.physics.queueing import poisson_wait_seconds
from sizeup.physics.serving_operators import StepShape
from sizeup.plan.serving import ServingPlan
from sizeup.serving.answer import priced, requests_of, usd_per_million
from sizeup.serving.results import Pools
from sizeup.serving.search import Question
from sizeup.serving.space import Option, layouts, option, possible, powers

RATES = 200
"""Rates at which a pair of pools is evaluated, from nearly none to saturation."""

FULLEST = 0.999
"""Share of saturation up to which the queue is computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prefill:
    """One prefill replica: the time of a prompt alone, and prompts per second when batches are full."""

    option: Option
    alone_seconds: float
    rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decode:
    """One decode replica by sequences in flight: time per token and requests per second, columns."""

    option: Option
    tpot_seconds: Column
    rates: Column

    @property
    def rate(self) -> float:
        """The most requests per second that leave."""
        return float(self.rates[-1])


def _prefill(one: Option, asked: Question) -> _Prefill:
    assert one.made is not None
    made, requests = one.made, requests_of(asked.load)
    limit, fresh = float(made.scheduler.limit), float(requests.fresh)
    steps = ceil_div(fresh, limit)
    alone = steps * float(made.seconds(StepShape(decodes=0, context=1, chunk=fresh / steps, prompt=fresh)))
    full = max(limit, fresh / steps)
    batch = float(made.seconds(StepShape(decodes=0, context=1, chunk=full, prompt=fresh)))
    return _Prefill(option=one, alone_seconds=alone, rate=max(full / fresh / batch, 1 / alone))


def _decode(one: Option, asked: Question) -> _Decode:
    import numpy as np

    assert one.made is not None
    made, requests = one.made, requests_of(asked.load)
    flying = np.geomspace(1, max(float(made.room) * made.replicas, 1 + 1e-9), 100)
    shape = StepShape(decodes=flying / made.replicas, context=requests.mean_context)
    tpot = np.asarray(made.seconds(shape), dtype=float) / made.tokens_per_step
    tokens = max(asked.load.output_tokens - 1, 1)
    return _Decode(option=one, tpot_seconds=tpot, rates=np.maximum.accumulate(flying / (tokens * tpot)))


def _transfer(asked: Question, prefill: Option, decode: Option, cluster: Cluster) -> tuple[float, float]:
    """Return the time and the size of one prompt's cache on its way [s, bytes]: every rank sends its own share.

    Source: [distserve]
    """
    memory, layout = prefill.memory, prefill.plan.layout
    # pipeline stages hold other layers, tensor ranks other heads (or the same latent, sent once)
    size = sequence_bytes(memory.kinds, asked.load.input_tokens, memory.rules) * layout.pp
    latent = any(mixer.latent_dim for layer, _ in asked.architecture.distinct_layers() for mixer in layer.mixers)
    copies = 1 if latent else layout.tp
    lanes = 1 if latent else min(layout.tp, decode.plan.layout.tp)
    curves = curves_for(cluster.gpu)
    inside = cluster.nodes == 1
    link = (curves.inside("all_reduce", gpus=2) if inside else curves.between()).link
    return float(point_to_point_seconds(message_bytes=size * copies / lanes, link=link)), size * copies


def _met(
    prefill: _Prefill, decode: _Decode, counts: tuple[int, int], transfer: float, asked: Question
) -> dict[str, Any]:
    """Return what a load meets in pools of so many replicas."""
    import numpy as np

    load, (x, y) = asked.load, counts
    tokens = max(load.output_tokens - 1, 1)
    most = min(x * prefill.rate, y * decode.rate)
    rates = np.linspace(most / RATES, most * FULLEST, RATES)
    wait = poisson_wait_seconds(rate=rates / x, service_seconds=1 / prefill.rate)
    made = prefill.option.made
    assert made is not None
    ttft = float(made.known.speed.request_seconds) + wait + prefill.alone_seconds
    tpot = np.interp(rates / y, decode.rates, decode.tpot_seconds) + transfer / tokens
    flying = rates * (ttft + tokens * tpot)
    if load.kind == "open":
        assert load.rate is not None
        rate = min(load.rate, float(rates[-1]))
    else:
        rate = float(np.interp(load.concurrency, flying, rates)) if load.concurrency >= flying[0] else float(
            load.concurrency / (ttft[0] + tokens * tpot[0]))  # fmt: skip
    first, each = float(np.interp(rate, rates, ttft)), float(np.interp(rate, rates, tpot))
    if load.kind != "open" and load.concurrency > flying[-1]:
        # those beyond what both pools hold wait in front (Little's law)
        first = load.concurrency / rate - tokens * each
    saturated = load.kind == "open" and (load.rate or 0) >= most
    return {
        "ttft_seconds": first, "tpot_seconds": each, "requests_per_second": rate, "saturation_rate": most,
        "output_tokens_per_second": rate * load.output_tokens, "prefill_busy": rate / (x * prefill.rate),
        "decode_busy": rate / (y * decode.rate), "meets": asked.targets.met(first, each) and not saturated,
    }  # fmt: skip


def _units(asked: Question, base: ServingPlan, cluster: Cluster, most: int) -> Iterator[Option]:
    """Yield every single replica on up to ``most`` cards that fits."""
    for count in (n for n in powers(most) if n <= most):
        try:
            machine = cluster_of(cluster.gpu, gpus=count)
        except UserError:
            continue
        every = layouts(asked.architecture, count, machine.node.gpus)
        for layout in possible(asked.architecture, every, base.weight_format):
            if layout.dp == 1 or layout.attention_dp:
                one = option(asked.architecture, replace(base, layout=layout), machine, asked.load)
                if one.made is not None:
                    yield one


def disaggregated(
    asked: Question, base: ServingPlan, cluster: Cluster, *, prefill_gpus: int | None = None
) -> Pools | None:
    """Return the best pools on these cards, all or nearly all of them; None where two replicas do not fit.

    Closed loops: the most throughput that meets the targets. Open loops: the shortest TPOT that does.
    """
    gpus, best, searched = cluster.gpus, None, 0
    singles = list(_units(asked, base, cluster, gpus - 1)) if gpus > 1 else []
    prefills, decodes = [_prefill(one, asked) for one in singles], [_decode(one, asked) for one in singles]
    usd = asked.usd(priced(cluster))
    for prefill in prefills:
        for decode in decodes:
            transfer, size = _transfer(asked, prefill.option, decode.option, cluster)
            for x, y in _splits(gpus, prefill.option.plan.layout.gpus, decode.option.plan.layout.gpus, prefill_gpus):
                searched += 1
                met = _met(prefill, decode, (x, y), transfer, asked)
                found = Pools(
                    prefill=prefill.option.plan, decode=decode.option.plan, prefill_replicas=x, decode_replicas=y,
                    transfer_seconds=transfer, transfer_bytes=size, searched=searched,
                    usd_per_million=usd_per_million(usd, gpus, met["output_tokens_per_second"]), **met,
                )  # fmt: skip
                if best is None or _key(found, asked) < _key(best, asked):
                    best = found
    return replace(best, searched=searched) if best else None


def _key(found: Pools, asked: Question) -> tuple[bool, float, int]:
    score = found.tpot_seconds if asked.load.kind == "open" else -found.output_tokens_per_second
    return not found.meets, score, found.prefill_replicas + found.decode_replicas


def _splits(gpus: int, each_prefill: int, each_decode: int, given: int | None) -> Iterator[tuple[int, int]]:
    """Yield the numbers of replicas that use as many of the cards as can be."""
    for x in range(1, (gpus - each_decode) // each_prefill + 1):
        if given is not None and x * each_prefill != given:
            continue
        y = (gpus - x * each_prefill) // each_decode
        if y >= 1:
            yield x, y


def ratio_words(found: Pools) -> str:
    """Return the ratio of cards in small whole numbers: 3 : 5."""
    common = math.gcd(found.prefill_gpus, found.decode_gpus)
    return f"{found.prefill_gpus // common} : {found.decode_gpus // common}"
