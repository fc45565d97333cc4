"""The answer of ``sizeup serve`` as plain data for JSON; the contract that scripts rely on."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import Any

from sizeup.estimate import Band, Estimate
from sizeup.physics.queueing import Percentiles
from sizeup.plan.serving import ServingPlan
from sizeup.serving.results import Pools, Row, Rung, ServingAnswer, Speed

MILLI = 1e3
"""Milliseconds in a second."""


def _band(found: Band | None, scale: float = 1.0) -> dict[str, Any] | None:
    if found is None:
        return None
    return {"low": found.low * scale, "high": found.high * scale, "cases": found.cases, "regime": found.regime}


def plan_dict(plan: ServingPlan) -> dict[str, Any]:
    """Return a plan with its layout in one level; empty fields are left out."""
    data = asdict(plan)
    layout = data.pop("layout")
    return {key: value for key, value in {**data, **layout}.items() if value not in (None, "", (), [])}


def row_dict(row: Row) -> dict[str, Any]:
    """Return one plan of a search."""
    layout = row.plan.layout
    fast = math.isfinite(row.tpot_seconds)
    return {
        "tp": layout.tp, "pp": layout.pp, "dp": layout.dp, "ep": layout.ep, "attention_dp": layout.attention_dp,
        "weight_format": row.plan.weight_format, "kv_dtype": row.plan.kv_dtype, "gpus": row.gpus, "fits": row.fits,
        "meets_targets": row.meets, "concurrency": row.concurrency,
        "ttft_ms": row.ttft_seconds * MILLI if fast else None, "tpot_ms": row.tpot_seconds * MILLI if fast else None,
        "output_tokens_per_second": row.output_tokens_per_second if fast else None,
        "output_tokens_per_second_per_gpu": row.per_gpu if fast else None,
        "output_tokens_per_second_per_user": row.per_user if fast else None,
        "usd_per_million_output_tokens": row.usd_per_million, "why": row.why,
    }  # fmt: skip


def rung_dict(rung: Rung) -> dict[str, Any]:
    """Return one change and what it leads to."""
    return {
        "change": rung.change, "gpu": rung.gpu, "gpus": rung.gpus, "taken_bytes_per_gpu": round(rung.taken_bytes),
        "usd_per_hour": rung.usd_per_hour, "speed": row_dict(rung.row), "plan": plan_dict(rung.plan),
    }  # fmt: skip


def pools_dict(found: Pools) -> dict[str, Any]:
    """Return prefill and decode on cards of their own."""

    def pool(plan: ServingPlan, replicas: int, gpus: int, busy: float) -> dict[str, Any]:
        layout = plan.layout
        return {"replicas": replicas, "gpus": gpus, "tp": layout.tp, "pp": layout.pp, "dp": layout.dp, "ep": layout.ep,
                "busy": busy}  # fmt: skip

    return {
        "prefill": pool(found.prefill, found.prefill_replicas, found.prefill_gpus, found.prefill_busy),
        "decode": pool(found.decode, found.decode_replicas, found.decode_gpus, found.decode_busy),
        "ttft_ms": found.ttft_seconds * MILLI, "tpot_ms": found.tpot_seconds * MILLI,
        "requests_per_second": found.requests_per_second, "output_tokens_per_second": found.output_tokens_per_second,
        "saturation_requests_per_second": found.saturation_rate, "cache_transfer_ms": found.transfer_seconds * MILLI,
        "cache_transfer_bytes": found.transfer_bytes, "meets_targets": found.meets, "binds": found.binds,
        "usd_per_million_output_tokens": found.usd_per_million, "searched_points": found.searched,
    }  # fmt: skip


def _percentiles(found: Percentiles | None) -> dict[str, float] | None:
    if found is None:
        return None
    return {name: float(value) * MILLI for name, value in asdict(found).items()}


def _milli(estimate: Estimate | None) -> float | None:
    return None if estimate is None else estimate.value * MILLI


def _speed(speed: Speed | None, gpus: int) -> dict[str, Any]:
    ttft, tpot = (speed.ttft, speed.tpot) if speed else (None, None)
    rate = speed.output_rate.value if speed else None
    return {
        "ttft_ms": _milli(ttft),
        "tpot_ms": _milli(tpot),
        "output_tokens_per_second": rate,
        "output_tokens_per_second_per_gpu": None if rate is None else rate / gpus,
        "output_tokens_per_second_per_user": 1 / tpot.value if tpot else None,
        "requests_per_second": speed.requests_per_second if speed else None,
        "in_flight": speed.in_flight if speed else None,
        "binds": speed.binds if speed else None,
        "prompt_share": speed.prompt_share if speed else None,
        "peak_share": speed.peak_share if speed else None,
        "bandwidth_share": speed.bandwidth_share if speed else None,
        "decode_step": speed.step.to_dict() if speed else None,
        **{
            f"{name}_ms_percentiles": _percentiles(speed.percentiles.get(name.upper())) if speed else None
            for name in ("ttft", "tpot", "itl", "e2e")
        },
        "bands": {
            "ttft_ms": _band(ttft.band, MILLI) if ttft else None,
            "tpot_ms": _band(tpot.band, MILLI) if tpot else None,
            "output_tokens_per_second": _band(speed.output_rate.band) if speed else None,
        },
    }


def answer_dict(answer: ServingAnswer) -> dict[str, Any]:
    """Return the whole answer."""
    memory, load = answer.memory, answer.load
    return {
        "model": answer.name,
        "gpu": answer.cluster.gpu.key,
        "gpus": answer.plan.layout.gpus,
        "fits": answer.fits,
        "problems": list(answer.problems),
        "meets_targets": answer.meets_targets if answer.targets.any else None,
        "saturated": answer.saturation_rate is not None,
        "saturation_requests_per_second": answer.saturation_rate or (answer.speed and answer.speed.saturation_rate),
        "load": {key: value for key, value in asdict(replace(load, arrivals=())).items() if value},
        "memory": memory.device.to_dict(),
        "cache_tokens": max(memory.cache_tokens, 0),
        "max_concurrency": answer.max_concurrency,
        "largest_context": memory.largest_context,
        "host_bytes": memory.host_bytes,
        **_speed(answer.speed, answer.plan.layout.gpus),
        "usd_per_million_output_tokens": answer.usd_per_million_output_tokens,
        "instance": f"{answer.instance.cloud} {answer.instance.name}" if answer.instance else None,
        "price_date": answer.instance.date if answer.instance else None,
        "joules_per_output_token": answer.joules_per_output_token,
        "engine": memory.limits.engine.name,
        "engine_version": memory.limits.engine.version,
        "plan": plan_dict(answer.plan),
        "flags": dict(answer.flags),
        "alternatives": [row_dict(row) for row in answer.alternatives],
        "pareto": [row_dict(row) for row in answer.pareto],
        "ladder": [rung_dict(rung) for rung in answer.ladder],
        "offers": [rung_dict(rung) for rung in answer.offers],
        "disaggregated": pools_dict(answer.pools) if answer.pools else None,
        "nearest_measured": answer.nearest,
        "passed_over": list(answer.passed_over),
        "searched_points": answer.searched,
        "assumptions": list(answer.assumptions),
        "definitions": dict(answer.definitions),
    }  # fmt: skip
