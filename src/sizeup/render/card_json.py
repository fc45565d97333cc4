"""The card as JSON: the stable contract of ``sizeup model --json`` (documented in docs/json.md)."""

from __future__ import annotations

from typing import Any

from sizeup.card import Card, Placement, Verdict
from sizeup.errors import UserError
from sizeup.holding import gpus_used
from sizeup.machine import Instance


def error_dict(spec: str, error: UserError) -> dict[str, Any]:
    """Return the object of a SPEC that could not be read."""
    return {"spec": spec, "error": error.message, "hint": error.hint, "nearest": list(error.nearest)}


def card_dict(spec: str, card: Card) -> dict[str, Any]:
    """Return the object of one model: integer sizes first, then the trees that explain them."""
    model = card.model
    weights, cache = card.first_sizes
    data: dict[str, Any] = {
        "spec": spec,
        "name": model.name,
        "kind": model.provenance.kind,
        "verified": model.provenance.verified,
        "model_type": model.architecture.model_type if model.architecture else None,
        "parameters": model.parameters,
        "active_parameters": model.active_parameters,
        "format": card.first_format,
        "weight_bytes": int(weights.value),
        "context": card.context,
        "sequences": card.sequences,
        "engine": card.engine,
        "cache_dtype": card.cache_dtype if cache else None,
        "cache_bytes": int(cache.value) if cache else None,
        "left_out": list(card.left_out),
        "estimates": {
            "parameters": model.parameters_by_part.to_dict(),
            "weights": weights.to_dict(),
            "cache": cache.to_dict() if cache else None,
            "training_states": {state.name.split()[0]: state.to_dict() for state in card.states},
        },
        "multi_token_prediction_parameters": model.multi_token_prediction_parameters,
    }
    if card.cluster:
        data["gpu"], data["gpus"], data["fits"] = card.cluster.gpu.key, card.cluster.gpus, card.fits
        data["gpus_used"] = gpus_used(model, card.cluster)
        data["verdicts"] = [_verdict(v) for v in card.verdicts]
        data["changes"] = list(card.changes)
    else:
        data["placements"] = [_placement(p) for p in card.placements]
    return data


def _instance(instance: Instance | None) -> dict[str, Any] | None:
    if instance is None:
        return None
    fields = {"cloud": instance.cloud, "instance": instance.name, "gpu": instance.gpu_key, "gpus": instance.gpus}
    return {**fields, "usd_per_hour": instance.usd_per_hour, "date": instance.date}


def _placement(placement: Placement) -> dict[str, Any]:
    return {
        "format": placement.format,
        "weight_bytes": int(placement.weights.value),
        "cache_bytes": int(placement.cache.value) if placement.cache else None,
        "smallest_gpu": placement.smallest_gpu.key if placement.smallest_gpu else None,
        "common_gpus": placement.common_gpus,
        "cheapest_instance": _instance(placement.instance),
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "format": verdict.format,
        "weight_bytes": int(verdict.weights.value),
        "cache_bytes": int(verdict.cache.value) if verdict.cache else None,
        "budget_bytes": verdict.budget_bytes,
        "free_bytes": verdict.free_bytes,
        "fits": verdict.fits,
        "max_context": verdict.max_context,
        "max_sequences": verdict.max_sequences,
    }
