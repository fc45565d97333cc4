"""What differs from layer to layer in a mixture of experts: the kind of attention, its window, experts or not.

Source: ``__post_init__`` of the configuration classes (transformers 5.23).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from sizeup.errors import UserError, nearest_names
from sizeup.llm.config import Config
from sizeup.llm.families.common import layer_types
from sizeup.llm.families.moe_layers import MLP_KINDS, sparse_layers
from sizeup.llm.families.moe_traits import Mixture
from sizeup.llm.families.prediction import predicted_layers
from sizeup.llm.families.windows import layer_windows

FULL, SLIDING, CHUNKED, BLOCKS = "full_attention", "sliding_attention", "chunked_attention", "minimax_m3_sparse"


@dataclass(frozen=True, slots=True)
class Place:
    """One layer's variant; layers with equal places are equal.

    ``heads`` and ``top_k`` are its own query heads and active experts, where a configuration lists them by layer.
    """

    kind: str
    window: int | None
    sparse: bool
    heads: int | None = None
    top_k: int | None = None


def places(config: Config, traits: Mixture) -> list[Place]:
    """Return the variant of every layer."""
    layers = config.integer("num_hidden_layers")
    sparse = sparse_layers(config, traits.experts.layers, layers)
    if not traits.kinds:
        windows = layer_windows(config, traits.decoder.windows, traits.decoder.pattern)
        found = [Place(FULL if w is None else SLIDING, w, s) for w, s in zip(windows, sparse, strict=True)]
        return _with_own_sizes(config, found)
    allowed, rule = KINDS[traits.kinds]
    kinds, window = rule(config, layers)
    for kind in kinds:
        if kind not in allowed:
            raise UserError(
                f'{config.where}: "layer_types" names "{kind}", which {config.model_type} does not have',
                nearest=nearest_names(kind, allowed),
            )
    windowed = (SLIDING, CHUNKED)
    return [Place(k, window if k in windowed else None, s) for k, s in zip(kinds, sparse, strict=True)]


def _with_own_sizes(config: Config, found: list[Place]) -> list[Place]:
    """Return places with the query heads (Laguna) and active experts (Hunyuan) that are listed by layer."""
    heads, top_k = config.get("num_attention_heads_per_layer"), config.get("moe_topk")
    for key, values in (("num_attention_heads_per_layer", heads), ("moe_topk", top_k)):
        if isinstance(values, list) and len(values) != len(found):
            raise UserError(f'{config.where}: "{key}" has {len(values)} entries, the model {len(found)} layers')
    if isinstance(heads, list):
        found = [replace(place, heads=own) for place, own in zip(found, heads, strict=True)]
    if isinstance(top_k, list):
        found = [replace(place, top_k=own) for place, own in zip(found, top_k, strict=True)]
    return found


def predicted_places(config: Config, traits: Mixture) -> list[Place]:
    """Return the variants of the extra prediction layers: like the last layer, or as listed (Step, Mellum)."""
    count = predicted_layers(config)
    if not count:
        return []
    kind, mlp = traits.predicted
    if not kind:
        return [places(config, traits)[-1]] * count
    layers, window = config.integer("num_hidden_layers"), config.optional_integer("sliding_window") or None
    padded = config.sequence("layer_types") or []
    kinds = config.sequence("mtp_layer_types") or padded[layers : layers + count] or [kind] * count
    mlps = config.sequence("mtp_mlp_layer_types") or [mlp] * count
    return [
        Place(kind, window if kind == SLIDING else None, MLP_KINDS.get(mlp, False))
        for kind, mlp in zip(kinds, mlps, strict=False)
    ]


Kinds = tuple[list[str], int | None]


def _chunked(config: Config, layers: int) -> Kinds:
    """Llama 4: layers with rotary positions look at one chunk, the others at everything."""
    kinds, listed = layer_types(config, layers), config.sequence("no_rope_layers")
    interval = config.integer("no_rope_layer_interval", default=4)
    if listed and len(listed) != layers:
        raise UserError(f'{config.where}: "no_rope_layers" has {len(listed)} entries, the model {layers} layers')
    rotary = [bool(flag) for flag in listed] if listed else [(index + 1) % interval != 0 for index in range(layers)]
    chunk = config.optional_integer("attention_chunk_size") or None
    return kinds or [CHUNKED if used else FULL for used in rotary], chunk


def _mimo(config: Config, layers: int) -> Kinds:
    """MiMo-V2: the first layer and then each sixth are full; the checkpoint spells that ``hybrid_layer_pattern``."""
    kinds, pattern = layer_types(config, layers), config.sequence("hybrid_layer_pattern")
    size = config.optional_integer("sliding_window_size")
    window = size + 1 if size is not None else config.optional_integer("sliding_window")
    if kinds is None and pattern and len(pattern) == layers:
        kinds = [SLIDING if slides else FULL for slides in pattern]
    return kinds or [FULL if index == 0 or (index + 1) % 6 == 0 else SLIDING for index in range(layers)], window


def _step(config: Config, layers: int) -> Kinds:
    """Step: as listed (prediction layers may follow in the same list), else full."""
    listed = config.sequence("layer_types") or [FULL] * layers
    if len(listed) not in (layers, layers + predicted_layers(config)):
        raise UserError(f'{config.where}: "layer_types" names {len(listed)} layers, the model has {layers}')
    return [str(kind) for kind in listed[:layers]], config.optional_integer("sliding_window") or None


def _minimax(config: Config, layers: int) -> Kinds:
    """MiniMax-M3: layers that pick blocks of keys by an index, as listed."""
    kinds = layer_types(config, layers)
    listed = sparse_attention(config).get("sparse_attention_freq")
    if kinds is None and listed is not None:
        if len(listed) != layers:
            raise UserError(f'{config.where}: "sparse_attention_freq" has {len(listed)} entries for {layers} layers')
        kinds = [BLOCKS if sparse else FULL for sparse in listed]
    return kinds or [FULL] * layers, None


def sparse_attention(config: Config) -> dict[str, Any]:
    """Return MiniMax-M3's older ``sparse_attention_config``, or nothing."""
    value = config.get("sparse_attention_config")
    return value if isinstance(value, dict) else {}


KINDS: dict[str, tuple[tuple[str, ...], Callable[[Config, int], Kinds]]] = {
    "chunked": ((FULL, CHUNKED), _chunked),
    "mimo": ((FULL, SLIDING), _mimo),
    "step": ((FULL, SLIDING), _step),
    "minimax": ((FULL, BLOCKS), _minimax),
}
