"""Changes to one plan: what would make it fit or meet what is asked, or make it faster, the cheapest first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from sizeup.errors import UserError
from sizeup.machine import Cluster, cluster_of
from sizeup.machine.gpus import gpu
from sizeup.machine.instances import cheapest_by_gpu
from sizeup.plan.serving import ServingPlan
from sizeup.serving.answer import priced, resolved
from sizeup.serving.results import Row, Rung, ServingAnswer
from sizeup.serving.search import Question, at_load, choose, fewest_cards, options, ranked
from sizeup.serving.space import cache_choices, offloaded, option, weight_choices

SHOWN = 6
OTHER_CARDS = 3
"""Other cards that are tried: those whose cheapest offers cost least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    """A change before it is judged; ``free`` lets the layout change with it."""

    words: str
    plan: ServingPlan
    cluster: Cluster
    free: bool = False


def ladder(asked: Question, answer: ServingAnswer) -> tuple[Rung, ...]:
    """Return changes that make it fit and meet what is asked, cheapest first: what costs nothing before other cards.

    Where nothing is wrong: what would make it faster on the same cards.
    """
    wrong = not answer.answered
    found: list[Rung] = []
    for change in _changes(asked, answer, wrong=wrong):
        rung = _judged(asked, change)
        if rung is None or any(rung.plan == other.plan and rung.gpus == other.gpus for other in found):
            continue
        if wrong or _faster(rung.row, answer):
            found.append(rung)
    free = [rung for rung in found if rung.gpu == answer.cluster.gpu.key and rung.gpus <= answer.cluster.gpus]
    paid = [rung for rung in found if rung not in free]
    paid.sort(key=lambda rung: (rung.usd_per_hour is None, rung.usd_per_hour or 0, rung.gpus))
    return tuple((*free, *paid)[:SHOWN])


def _faster(row: Row, answer: ServingAnswer) -> bool:
    speed = answer.speed
    if speed is None:
        return True
    if answer.load.kind == "open":
        return row.tpot_seconds < 0.95 * speed.tpot.value
    return row.output_tokens_per_second > 1.05 * speed.output_rate.value


def _changes(asked: Question, answer: ServingAnswer, *, wrong: bool) -> Iterator[_Change]:
    plan, cluster, load = answer.plan, answer.cluster, asked.load
    if wrong and asked.fixed:
        yield _Change(words="another layout", plan=plan, cluster=cluster, free=True)
    if wrong and plan.max_model_len is not None and plan.max_model_len > load.longest:
        yield _Change(
            words=f"context {load.longest:,}", plan=replace(plan, max_model_len=load.longest), cluster=cluster
        )
    dtypes, names = cache_choices(plan, cluster.gpu), weight_choices(plan, cluster.gpu)
    for name in names:
        for dtype in dtypes:
            words = [
                f"{name} weights" if name != plan.weight_format else "",
                f"{dtype} cache" if dtype != plan.kv_dtype else "",
            ]
            if any(words):
                changed = replace(plan, weight_format=name, kv_dtype=dtype)
                yield _Change(words=", ".join(w for w in words if w), plan=changed, cluster=cluster, free=True)
    if wrong:
        yield from _llama(asked, answer)
        yield from _more_cards(asked, answer)


def _llama(asked: Question, answer: ServingAnswer) -> Iterator[_Change]:
    """Yield llama.cpp with 4.5-bit weights, where layers may stay in host memory."""
    if answer.plan.engine == "llamacpp" or not asked.weights or answer.fits:
        return
    kept = {"max_model_len": asked.load.longest, "max_num_seqs": asked.load.concurrency}
    plan = ServingPlan(engine="llamacpp", weight_format="q4_k_m", kv_dtype="fp16", **kept)  # type: ignore[arg-type]
    plan = replace(plan, layout=replace(plan.layout, pp=answer.cluster.gpus))
    moved = offloaded(asked.architecture, plan, answer.cluster, asked.load)
    if moved is None:
        return
    words = "llama.cpp, q4_k_m weights"
    if moved.offload_layers:
        words += f", {moved.offload_layers} layers on the host"
    elif moved.offload_experts:
        words += f", experts of {moved.offload_experts} layers on the host"
    yield _Change(words=words, plan=moved, cluster=answer.cluster)


def _more_cards(asked: Question, answer: ServingAnswer) -> Iterator[_Change]:
    """Yield the fewest cards of this kind, in this format and in the smallest, and of cheap other kinds."""
    free = replace(asked, fixed=False)
    own, own_plan = answer.cluster.gpu, answer.plan
    offers = cheapest_by_gpu()
    prices = {key: offer.usd_per_gpu_hour or 0 for key, offer in offers.items() if key != own.key}
    names = list(dict.fromkeys((own_plan.weight_format, weight_choices(own_plan, own)[-1])))
    tried = [(own.key, name) for name in names]
    tried += [(key, own_plan.weight_format) for key in sorted(prices, key=lambda key: prices[key])]
    others = 0
    for key, name in tried:
        card = gpu(key)
        if key != own.key and (others >= OTHER_CARDS or card.memory_bytes < 0.9 * own.memory_bytes or card.legacy):
            continue
        try:
            base = replace(resolved(asked.architecture, replace(own_plan, weight_format=name)), max_model_len=None)
            count = fewest_cards(free, base, card)
        except UserError:
            continue
        if count is None or (key == own.key and count <= answer.cluster.gpus):
            continue
        others += key != own.key
        words = f"{count} x {card.name}" + (f", {name} weights" if name != own_plan.weight_format else "")
        yield _Change(words=words, plan=base, cluster=cluster_of(card, gpus=count), free=True)


def _judged(asked: Question, change: _Change) -> Rung | None:
    """Return the change with its memory, price and speed; None where it mends nothing."""
    cluster = change.cluster
    try:
        if change.free:
            free = replace(asked, fixed=False, weights=False, cache=False)
            found = options(free, change.plan, cluster)
        else:
            found = [option(asked.architecture, change.plan, cluster, asked.load)]
    except UserError:
        return None
    rows = ranked((at_load(one, cluster, asked) for one in found), asked.load)
    row = rows[0]
    if not row.fits or not row.meets:
        return None
    one = next(one for one in found if one.plan == row.plan)
    usd = asked.usd(priced(cluster))
    return Rung(
        change=change.words, plan=row.plan, gpu=cluster.gpu.key, gpus=cluster.gpus, row=row,
        taken_bytes=float(one.memory.device.value) - one.memory.part("free"),
        usd_per_hour=usd * cluster.gpus if usd else None,
    )  # fmt: skip


def offers(asked: Question, base: ServingPlan) -> tuple[Rung, ...]:
    """Return the fewest cards of every kind with a dated price that meet what is asked, the cheapest first."""
    found: list[Rung] = []
    for key, instance in cheapest_by_gpu().items():
        card = gpu(key)
        if card.legacy or card.vendor not in ("nvidia", "amd"):
            continue
        try:
            count = fewest_cards(asked, resolved(asked.architecture, base), card)
            if count is None:
                continue
            cluster = cluster_of(card, gpus=count)
            chosen = choose(replace(asked, weights=False, cache=False), resolved(asked.architecture, base), cluster)
        except UserError:
            continue
        row = chosen.rows[0]
        if row.fits and row.meets:
            one = next(o for o in chosen.options if o.plan == row.plan)
            found.append(
                Rung(
                    change=f"{count} x {card.name}", plan=row.plan, gpu=key, gpus=count, row=row,
                    taken_bytes=float(one.memory.device.value) - one.memory.part("free"),
                    usd_per_hour=(instance.usd_per_gpu_hour or 0) * count,
                )
            )  # fmt: skip
    return tuple(sorted(found, key=lambda rung: rung.usd_per_hour or 0))
