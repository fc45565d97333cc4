"""Memory of engines that set nothing aside: the cache grows with the sequences, activations come and go."""

from __future__ import annotations

from sizeup.engine_cache import CacheRules, LayerCache, sequence_bytes
from sizeup.llm.architecture import Architecture
from sizeup.physics import serving_memory as physics
from sizeup.plan.engines import Engine
from sizeup.plan.serving import Load, ServingPlan
from sizeup.serving.limits import Shape, shape_of
from sizeup.serving.weights import placed_weights


def _qkv_bytes(architecture: Architecture, plan: ServingPlan) -> float:
    """Return the bytes of separate query, key and value matrices, per stage."""
    wanted = ("query", "key", "value")
    found = sum(one.size for one in placed_weights(architecture, plan.weight_format) if one.use in wanted)
    return found / plan.layout.pp


def growing_parts(
    architecture: Architecture, plan: ServingPlan, used: Engine, kinds: dict[LayerCache, int], load: Load | None,
    *, context: int,
) -> dict[str, float]:  # fmt: skip
    """Return cache and activations [bytes] at the worst of three moments: loading, end of prompt, end of the answer."""
    shape, qkv = shape_of(architecture), _qkv_bytes(architecture, plan)
    rules = CacheRules(engine=used, batched_tokens=0)
    batch = load.concurrency if load else 1
    prompt, end = (load.input_tokens, load.longest) if load else (1, context)
    last = physics.logits_bytes(rows=batch, vocabulary=shape.vocabulary)
    unpacked = shape.largest_matrix * physics.HALF_BYTES if "gptq" in plan.weight_format else 0
    at_prompt = batch * sequence_bytes(kinds, prompt, rules), _prefill_bytes(used, shape, batch, prompt)
    at_end = batch * sequence_bytes(kinds, end, rules), float(last)
    loading = at_end[0], max(0.0, qkv - at_end[0] - unpacked) if used.copies_fused else 0.0
    cache, moment = max(at_prompt, at_end, loading, key=sum)
    return {"cache": float(cache), "activations": moment + unpacked}


def _prefill_bytes(used: Engine, shape: Shape, batch: int, prompt: int) -> float:
    """Return what a prompt holds beside weights and cache: rows of one layer or logits, and scores written out."""
    # gate, up and their product; residual, normalised input, its 32-bit copy counted as two: what eager code keeps
    wide, narrow = 3.0, 4.0
    rows = physics.eager_prefill_bytes(
        tokens=batch * prompt, hidden=shape.hidden, intermediate=shape.widest, wide_copies=wide, hidden_copies=narrow
    )
    last = physics.logits_bytes(rows=batch, vocabulary=shape.vocabulary)
    whole = physics.logits_bytes(rows=batch * prompt, vocabulary=shape.vocabulary)
    widest = max(rows, whole) if used.prompt_logits else rows + last
    scores = used.score_bytes * batch * shape.heads * prompt * prompt if shape.kv_heads < shape.heads else 0
    return float(widest + scores)
