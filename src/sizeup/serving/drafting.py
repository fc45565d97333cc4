"""What drafts tokens for speculative decoding: which model, its weights and its cache on the same ranks."""

from __future__ import annotations

import functools

from sizeup.engine_cache import LayerCache, layer_caches
from sizeup.errors import UserError
from sizeup.llm.architecture import Architecture
from sizeup.plan.serving import ServingLayout, ServingPlan
from sizeup.serving.weights import StageWeights, stage_weights
from sizeup.sizing import model as load_model


@functools.lru_cache(maxsize=16)
def _loaded(spec: str) -> Architecture:
    known = load_model(spec)
    if known.architecture is None or not known.has_layers:
        raise UserError(f"{known.name} has no layers to draft with: a configuration is needed, not a size")
    return known.architecture


def draft_model(plan: ServingPlan) -> Architecture | None:
    """Return the smaller model that drafts, or None.

    Raises:
        UserError: there is no such model.
    """
    drafting = plan.drafting
    return _loaded(drafting.model) if drafting and drafting.method == "model" else None


def drafted(
    plan: ServingPlan, stage: StageWeights, kinds: dict[LayerCache, int]
) -> tuple[float, dict[LayerCache, int]]:
    """Return the weights that draft tokens on a rank [bytes], and the kinds of caches with theirs.

    A prediction module counts as one more layer of the mean size; a smaller model is divided like the large one.
    """
    if plan.drafting is None or plan.drafting.method == "ngram":
        return 0.0, kinds
    found = dict(kinds)
    smaller = draft_model(plan)
    if smaller is None:
        last = next(reversed(kinds), None)
        if last is not None:
            found[last] += 1
        layers = max(1, stage.last - stage.first)
        ends = sum(stage.parts.get(name, 0) for name in ("embedding", "language-model head"))
        return (stage.total - ends) / layers, found
    for kind, count in layer_caches(smaller.layers, dtype=plan.kv_dtype or "bf16", tp=plan.layout.tp).items():
        found[kind] = found.get(kind, 0) + count
    return float(stage_weights(smaller, "", ServingLayout(tp=plan.layout.tp))[0].total), found
