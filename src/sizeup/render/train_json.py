"""The answer of ``sizeup train`` as plain data for JSON; the contract that scripts rely on."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sizeup.estimate import Band, Estimate
from sizeup.plan.training import TrainingPlan
from sizeup.training.answer import Alternative, Change, TrainingAnswer, kept_in_layer
from sizeup.training.cheapest import Rented
from sizeup.training.totals import Totals

DEFINITIONS = {
    "mfu": "FLOP of the model (6 per active parameter and token, causal attention, no recomputation) / (step x GPUs x "
    "dense peak of the compute dtype)",
    "hfu": "as mfu, with recomputed FLOP counted",
    "tokens_per_second_per_gpu": "global batch x sequence length / step / GPUs",
    "useful_tokens_per_second_per_gpu": "tokens_per_second_per_gpu without padding",
    "device_bytes": "what nvidia-smi shows: the allocator's pool, CUDA context, communication buffers",
    "needed_bytes": "allocated and what lies outside the allocator's pool: what decides whether a run fits",
    "reserved_bytes": "the caching allocator's pool, fragmentation included",
    "allocated_bytes": "live tensors at the worst moment of the worst rank",
}


def _band(band: Band | None) -> dict[str, Any] | None:
    if band is None:
        return None
    return {"low": band.low, "high": band.high, "cases": band.cases, "regime": band.regime}


def plan_dict(plan: TrainingPlan) -> dict[str, Any]:
    """Return a plan with its layout in one level; empty fields are left out."""
    data = asdict(plan)
    layout, precision = data.pop("layout"), data.pop("precision")
    data = {**data, **layout, **precision, "micro_batches": plan.micro_batches}
    return {key: value for key, value in data.items() if value not in (None, "", ())}


def answer_dict(answer: TrainingAnswer) -> dict[str, Any]:
    """Return the whole answer."""
    memory, rate = answer.memory, answer.tokens_per_second_per_gpu
    return {
        "model": answer.name,
        "gpu": answer.cluster.gpu.key,
        "gpus": answer.cluster.gpus,
        "fits": answer.fits,
        "fit_probability": answer.fit_probability,
        "memory": {
            "capacity_bytes": answer.cluster.node.memory_bytes,
            **_meter("allocated", memory.allocated),
            **_meter("reserved", memory.reserved),
            **_meter("device", memory.device),
            "needed_bytes": memory.needed_bytes,
            "stage": memory.stage,
            "moment": memory.moment,
            "tree": memory.device.to_dict(),
        },
        "step_seconds": answer.step.value,
        "step_seconds_band": _band(answer.step.band),
        "step": answer.step.to_dict(),
        "tokens_per_second_per_gpu": rate.value,
        "tokens_per_second_per_gpu_band": _band(rate.band),
        "useful_tokens_per_second_per_gpu": answer.useful_tokens_per_second_per_gpu,
        "mfu": answer.mfu,
        "hfu": answer.hfu,
        "ideal_step_seconds": answer.ideal_seconds,
        "binds": answer.binds,
        "host": _host(answer),
        "kept_in_layer": kept_in_layer(answer.architecture, answer.plan).to_dict(),
        "total": _totals(answer.totals) if answer.totals else None,
        "plan": plan_dict(answer.plan),
        "alternatives": [_alternative(item) for item in answer.alternatives],
        "changes": [_change(item) for item in answer.changes],
        "improvements": [_change(item) for item in answer.improvements],
        "fewest_gpus": answer.fewest_gpus,
        "searched": {"plans": answer.searched, "fitting": answer.fitting},
        "assumptions": list(answer.assumptions),
        "definitions": DEFINITIONS,
        **_backwards(answer),
    }


def _backwards(answer: TrainingAnswer) -> dict[str, Any]:
    """Return the answers to questions asked backwards, where there were any."""
    data: dict[str, Any] = {}
    if answer.largest:
        data["largest"] = {"what": answer.largest.what, "value": answer.largest.value, "name": answer.largest.name}
    if answer.offers:
        data["pareto"] = [
            {"gpus": o.gpus, "days": o.days, "usd": o.usd, "plan": plan_dict(o.answer.plan)} for o in answer.offers
        ]
        data["unmet"] = answer.unmet
    if answer.cheapest:
        data["cheapest"] = [_rented(row) for row in answer.cheapest]
    if answer.optimal:
        data["compute_optimal"] = [asdict(row) for row in answer.optimal]
    return data


def _rented(row: Rented) -> dict[str, Any]:
    return {
        "instance": f"{row.instance.cloud} {row.instance.name}", "price_date": row.instance.date, "nodes": row.nodes,
        "gpu": row.instance.gpu_key, "gpus": row.gpus, "tokens_per_second": row.tokens_per_second,
        "usd_per_billion_tokens": row.usd_per_billion_tokens, "days": row.days, "usd": row.usd,
        "plan": plan_dict(row.plan),
    }  # fmt: skip


def _host(answer: TrainingAnswer) -> dict[str, Any] | None:
    if answer.host is None:
        return None
    return {"node_bytes": answer.host.value, "capacity_bytes": answer.host_capacity, "tree": answer.host.to_dict()}


def _meter(name: str, estimate: Estimate) -> dict[str, Any]:
    return {f"{name}_bytes": estimate.value, f"{name}_band": _band(estimate.band)}


def _totals(totals: Totals) -> dict[str, Any]:
    instance = totals.instance
    return {
        "tokens": totals.tokens,
        "steps": totals.steps,
        "days": totals.days,
        "days_band": _band(totals.days_band),
        "gpu_hours": totals.gpu_hours,
        "goodput": totals.goodput,
        "usd": totals.usd,
        "instance": f"{instance.cloud} {instance.name}" if instance else None,
        "price_date": instance.date if instance else None,
        "kilowatt_hours": totals.kilowatt_hours,
        "assumptions": list(totals.assumptions),
    }


def _alternative(item: Alternative) -> dict[str, Any]:
    return {
        "plan": plan_dict(item.plan), "device_bytes": item.device_bytes, "step_seconds": item.step_seconds,
        "tokens_per_second_per_gpu": item.tokens_per_second_per_gpu, "why": item.why,
        "days": item.days, "usd": item.usd,
    }  # fmt: skip


def _change(item: Change) -> dict[str, Any]:
    return {
        "change": item.text, "device_bytes": item.device_bytes, "saves_bytes": item.saves_bytes, "fits": item.fits,
        "time_factor": item.slower,
    }  # fmt: skip
