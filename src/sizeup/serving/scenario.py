"""A scenario of serving -> its answer: what the command line, a scenario file, Python and the page have in common."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sizeup.errors import UserError
from sizeup.llm.formats import format_named
from sizeup.machine import Cluster, parse_machine
from sizeup.plan.engines import engine
from sizeup.plan.serving import Arrival, Drafting, DraftMethod, Load, ServingLayout, ServingPlan
from sizeup.scenario import checked
from sizeup.serving.answer import resolved
from sizeup.serving.disaggregate import disaggregated
from sizeup.serving.fitting import generates
from sizeup.serving.flags import KINDS, LAYOUT
from sizeup.serving.ladder import ladder, offers
from sizeup.serving.limits import refuse_impossible
from sizeup.serving.results import Pools, ServingAnswer, Targets
from sizeup.serving.search import Question, fewest, find
from sizeup.serving.simulate import poisson
from sizeup.sizing import Model
from sizeup.sizing import model as load_model

DEFAULT_INPUT, DEFAULT_OUTPUT, DEFAULT_CONCURRENCY = 2048, 256, 16
"""The load where none is given; stated in the answer."""

DEFAULT_DRAFT_TOKENS, DEFAULT_ACCEPTANCE = {"mtp": 1, "ngram": 4, "model": 4}, 0.7
"""Speculative decoding where nobody says; stated in the answer."""

SLOTTED = ("llamacpp", "transformers")
"""Engines that set aside as many sequences as they are told."""

OPEN_SLOTS = 16
"""Slots of such an engine under an open loop, where nobody says; stated in the answer."""

CHEAPEST = "cheapest"
"""Instead of a card: the one that costs least."""

RANDOM_REQUESTS = 2000
"""Random arrivals that are simulated with a seed."""

MILLI, GIGA = 1e-3, 1e9


def serve(model: str, *, gpu: str, **flags: Any) -> ServingAnswer:
    """Return what ``sizeup serve`` answers; ``flags`` are those of the command line, with _ for -.

    >>> import sizeup
    >>> answer = sizeup.serve("llama-3.1-8b", gpu="h100", gpus=1, input=2048, output=256, concurrency=16)
    >>> answer.fits, answer.plan.weight_format, answer.max_concurrency > 100
    (True, 'bf16', True)
    >>> answer.speed.tpot.value < 0.02  # seconds
    True

    Raises:
        UserError: a flag that is not there, a wrong value, an unknown model, card, engine or format.
    """
    return answer_of({"model": model, "gpu": gpu, **flags})


def answer_of(scenario: Mapping[str, Any]) -> ServingAnswer:
    """Return the answer to a scenario (see :data:`sizeup.serving.flags.FLAGS`).

    Raises:
        UserError: something needed is missing, unknown or of the wrong kind.
    """
    values = checked(scenario, KINDS)
    for needed, hint in (("model", "sizeup serve llama-3.1-8b --gpu h100"), ("gpu", "--gpu h100 --gpus 4")):
        if not values.get(needed):
            raise UserError(f"{needed} is missing", hint=hint)
    known = _served(values["model"])
    assert known.architecture is not None
    load, noted = load_of(values)
    plan = plan_of(values, noted)
    if plan.engine in SLOTTED:
        plan = slotted(plan, load)
    fixed = any(values.get(axis) for axis in LAYOUT)
    asked = Question(
        name=known.name, architecture=known.architecture, load=load, targets=targets_of(values), fixed=fixed,
        weights="format" not in values, cache="cache_dtype" not in values,
        usd_per_gpu_hour=values.get("usd_per_gpu_hour"),
    )  # fmt: skip
    answer = _found(asked, plan, values)
    return replace(answer, ladder=ladder(asked, answer), pools=_pools(asked, answer, values))


def _pools(asked: Question, answer: ServingAnswer, values: Mapping[str, Any]) -> Pools | None:
    """Return prefill and decode apart on the same cards, where that is asked for.

    Raises:
        UserError: the cards hold no two replicas, or an engine that does not divide tensors.
    """
    if not values.get("disaggregate") and not values.get("prefill_gpus"):
        return None
    cluster = answer.cluster
    if answer.memory.limits.engine.divides != "tensor" or answer.memory.limits.engine.budget == "grows":
        raise UserError(f"{answer.memory.limits.engine.title} does not prefill and decode apart", hint="--engine vllm")
    found = disaggregated(asked, answer.plan, cluster, prefill_gpus=values.get("prefill_gpus"))
    if found is None:
        raise UserError(
            f"{cluster.gpus} x {cluster.gpu.name} hold no prefill and decode pool of this model", hint="more --gpus"
        )
    return found


def _found(asked: Question, plan: ServingPlan, values: Mapping[str, Any]) -> ServingAnswer:
    if values["gpu"] == CHEAPEST:
        return cheapest(asked, plan)
    machine = machine_of(values, plan, fixed=asked.fixed)
    if machine is None:
        return fewest(asked, plan, parse_machine(values["gpu"]).gpu)
    if asked.fixed:
        refuse_impossible(asked.architecture, plan.layout, resolved(asked.architecture, plan).weight_format)
    return find(asked, filled(plan, machine.gpus) if asked.fixed else plan, machine)


def cheapest(asked: Question, plan: ServingPlan) -> ServingAnswer:
    """Return the answer of the card with a dated price that meets what is asked for the fewest dollars an hour.

    Raises:
        UserError: no such card does.
    """
    found = offers(asked, plan)
    if not found:
        raise UserError("no card with a dated price meets this", hint="name a card: --gpu h100")
    answer = fewest(asked, plan, parse_machine(found[0].gpu).gpu)
    return replace(answer, offers=found)


def slotted(plan: ServingPlan, load: Load) -> ServingPlan:
    """Return the plan of an engine that sets slots aside: one for every request at once, as long as the longest."""
    slots = load.concurrency
    notes = plan.assumptions
    if load.kind == "open" and plan.max_num_seqs is None:
        slots = OPEN_SLOTS
        notes = (*notes, f"{OPEN_SLOTS} slots: --max-num-seqs says another number")
    return replace(
        plan, max_model_len=plan.max_model_len or load.longest, max_num_seqs=plan.max_num_seqs or slots,
        assumptions=notes,
    )  # fmt: skip


def _served(spec: str) -> Model:
    known = load_model(spec)
    if known.architecture is None or not known.has_layers:
        raise UserError(f"{known.name} has no layers to serve: a configuration is needed, not a size")
    if not generates(known.architecture):
        raise UserError(f"{known.name} writes no text token by token: there is nothing to decode")
    return known


def machine_of(values: Mapping[str, Any], plan: ServingPlan, *, fixed: bool) -> Cluster | None:
    """Return the machine of a scenario; None where only a card is named and the number of cards is to be found."""
    machine = parse_machine(values["gpu"])
    count = values.get("gpus") or (plan.layout.gpus if fixed and machine.gpus == 1 else 0)
    if count:
        return parse_machine(f"{count}x{values['gpu']}")
    return None if machine.gpus == 1 and machine.node.instance is None else machine


def targets_of(values: Mapping[str, Any]) -> Targets:
    """Return the targets of a scenario, which are in milliseconds."""
    ttft, tpot = (values[name] * MILLI if name in values else None for name in ("ttft", "tpot"))
    return Targets(ttft_seconds=ttft, tpot_seconds=tpot)


def load_of(values: Mapping[str, Any]) -> tuple[Load, tuple[str, ...]]:
    """Return the load of a scenario, and what was assumed.

    Raises:
        UserError: more than one kind of load, or a trace that cannot be read.
    """
    kinds = [key for key in ("concurrency", "rate", "burst", "trace") if values.get(key) is not None]
    if len(kinds) > 1:
        raise UserError(f"one kind of load at a time, not {' and '.join(kinds)}")
    if "seed" in values and "rate" not in values:
        raise UserError("a seed is for random arrivals: --rate is missing", hint="--rate 5 --seed 1")
    if values.get("trace") is not None:
        return read_trace(Path(values["trace"]), prefix_cached=values.get("prefix_cached", 0.0))
    noted = []
    sizes = {"input": DEFAULT_INPUT, "output": DEFAULT_OUTPUT}
    for key, default in sizes.items():
        if values.get(key) is None:
            noted.append(f"{key}: {default:,} tokens, not given")
        sizes[key] = values.get(key) or default
    lengths: dict[str, Any] = {
        "input_tokens": sizes["input"], "output_tokens": sizes["output"],
        "prefix_cached": values.get("prefix_cached", 0.0),
    }  # fmt: skip
    if values.get("seed") is not None:
        return random_load(values, lengths), tuple(noted)
    if values.get("rate") is not None:
        return Load(**lengths, kind="open", rate=values["rate"]), tuple(noted)
    if values.get("burst") is not None:
        return Load(**lengths, kind="burst", concurrency=values["burst"]), tuple(noted)
    if values.get("concurrency") is None:
        noted.append(f"{DEFAULT_CONCURRENCY} requests in flight, not given")
    return Load(**lengths, concurrency=values.get("concurrency") or DEFAULT_CONCURRENCY), tuple(noted)


def random_load(values: Mapping[str, Any], lengths: Mapping[str, Any]) -> Load:
    """Return random arrivals at the rate of a scenario, the same for the same seed."""
    arrivals = poisson(
        values["rate"], prompt=lengths["input_tokens"], output=lengths["output_tokens"], requests=RANDOM_REQUESTS,
        seed=values["seed"],
    )  # fmt: skip
    return open_load(arrivals, rate=values["rate"], prefix_cached=lengths["prefix_cached"])


def open_load(arrivals: tuple[Arrival, ...], **fields: Any) -> Load:
    """Return the open loop of these arrivals; its rate and lengths are their means."""
    span = arrivals[-1].seconds - arrivals[0].seconds
    count = len(arrivals)
    return Load(
        input_tokens=max(round(sum(one.input for one in arrivals) / count), 1),
        output_tokens=max(round(sum(one.output for one in arrivals) / count), 1), kind="open",
        rate=fields.pop("rate", (count - 1) / span), arrivals=arrivals, **fields,
    )  # fmt: skip


def read_trace(path: Path, **fields: Any) -> tuple[Load, tuple[str, ...]]:
    """Return the open loop of a trace: a CSV with the columns arrival_seconds, input, output.

    Raises:
        UserError: the file cannot be read, lacks a column, or has a value that cannot be.
    """
    import csv

    hint = "a CSV with the columns arrival_seconds,input,output"
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        found = [Arrival(*(float(row[name]) for name in ("arrival_seconds", "input", "output"))) for row in rows]
    except (OSError, UnicodeDecodeError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise UserError(f"{path} is no trace: {error}", hint=hint) from None
    for line, one in enumerate(found, start=2):
        if not math.isfinite(sum(one)) or one.input < 1 or one.output < 1:
            raise UserError(f"{path}, line {line}: a request has at least one token in and out", hint=hint)
    found.sort()
    if len(found) < 2 or found[-1].seconds == found[0].seconds:
        raise UserError(f"{path} needs at least two requests at different times")
    note = f"trace of {len(found):,} requests, replayed; plans are compared at its mean rate and lengths"
    return open_load(tuple(found), **fields), (note,)


def plan_of(values: Mapping[str, Any], noted: tuple[str, ...]) -> ServingPlan:
    """Return the plan of a scenario.

    Raises:
        UserError: unknown format or engine.
    """
    gguf = bool(values.get("format")) and format_named(values["format"]).is_gguf
    name = engine(values.get("engine") or ("llama.cpp" if gguf else "vllm")).name
    tp, ep, dp = values.get("tp") or 1, values.get("ep") or 1, values.get("dp") or 1
    inside = max(1, tp * (dp if ep > tp else 1) // ep) if ep > 1 else None
    drafting, said = drafting_of(values)
    host, link = (values[key] * GIGA if key in values else None for key in ("host_bandwidth", "host_link"))
    return ServingPlan(
        engine=name, engine_version=values.get("engine_version") or "", weight_format=values.get("format") or "",
        kv_dtype=values.get("cache_dtype") or "",
        layout=ServingLayout(tp=tp, pp=values.get("pp") or 1, ep=ep, dp=dp, moe_tp=inside),
        max_model_len=values.get("max_model_len"), max_batched_tokens=values.get("max_batched_tokens"),
        max_num_seqs=values.get("max_num_seqs"), gpu_memory_utilization=values.get("memory_utilization"),
        offload_layers=values.get("offload_layers", 0), offload_experts=values.get("offload_experts", 0),
        host_bytes_per_second=host, host_link_bytes_per_second=link, drafting=drafting, assumptions=(*noted, *said),
    )  # fmt: skip


def drafting_of(values: Mapping[str, Any]) -> tuple[Drafting | None, tuple[str, ...]]:
    """Return the speculative decoding of a scenario, and what was assumed.

    Raises:
        UserError: tokens or acceptance without a draft.
    """
    draft = values.get("draft")
    if draft is None:
        for key in ("draft_tokens", "acceptance"):
            if key in values:
                raise UserError(f"{key} needs a draft", hint="--draft mtp, --draft ngram or --draft MODEL")
        return None, ()
    method: DraftMethod = draft if draft in ("mtp", "ngram") else "model"
    noted = []
    if "draft_tokens" not in values:
        noted.append(f"{DEFAULT_DRAFT_TOKENS[method]} drafted tokens, not given")
    if "acceptance" not in values:
        noted.append(f"a drafted token is kept with {DEFAULT_ACCEPTANCE:.0%}: assumed, --acceptance says yours")
    return Drafting(
        method=method, tokens=values.get("draft_tokens", DEFAULT_DRAFT_TOKENS[method]),
        acceptance=values.get("acceptance", DEFAULT_ACCEPTANCE), model=draft if method == "model" else "",
    ), tuple(noted)  # fmt: skip


def filled(plan: ServingPlan, gpus: int) -> ServingPlan:
    """Return the plan with replicas on the cards that its axes leave.

    Raises:
        UserError: the axes do not divide the cards.
    """
    used = plan.layout.gpus
    if gpus % used:
        raise UserError(f"tp x pp x dp = {used} does not divide {gpus} GPUs")
    return replace(plan, layout=replace(plan.layout, dp=plan.layout.dp * gpus // used)) if used != gpus else plan
