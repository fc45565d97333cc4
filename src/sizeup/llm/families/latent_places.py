"""What differs from layer to layer under latent attention: head sizes, window, indexer, experts or not.

Source: ``__post_init__`` of ``configuration_deepseek_v32.py``, ``configuration_glm_moe_dsa.py`` and
``configuration_dots3_note.py`` (transformers 5.23).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sizeup.errors import UserError, nearest_names
from sizeup.llm.config import Config
from sizeup.llm.families.common import layer_types
from sizeup.llm.families.moe_layers import sparse_layers

INDEXED, FULL, SLIDING, LATENT = "indexed_attention", "full_attention", "sliding_attention", "latent_attention"
NOTE_KINDS = (INDEXED, FULL, SLIDING)


@dataclass(frozen=True, slots=True)
class Dims:
    """Sizes of latent attention."""

    heads: int
    q_rank: int | None
    kv_rank: int
    nope_dim: int
    rope_dim: int
    value_dim: int


@dataclass(frozen=True, slots=True)
class Place:
    """One layer's variant; layers with equal places are equal.

    ``indexer``: it has one of its own; ``sparse_attention``: it reads the tokens that an indexer picked.
    """

    kind: str
    dims: Dims
    sparse: bool
    window: int | None = None
    indexer: bool = False
    sparse_attention: bool = False


def places(config: Config, rule: str, *, indexed: bool) -> list[Place]:
    """Return the variant of every layer; ``rule`` says which are mixtures, ``indexed`` that the type has indexers."""
    config.ignore("num_key_value_heads", "head_dim", "qk_head_dim")  # every head has its own keys, from the latent
    layers = config.integer("num_hidden_layers")
    sparse = sparse_layers(config, rule, layers)
    if config.model_type == "dots3_note_text":
        return _note_places(config, sparse)
    dims = latent_dims(config)
    if not indexed:
        return [Place(LATENT, dims, mixture) for mixture in sparse]
    layer_types(config, layers)
    own = _own_indexers(config, layers)
    return [
        Place(INDEXED, dims, mixture, indexer=has, sparse_attention=True)
        for mixture, has in zip(sparse, own, strict=True)
    ]


def latent_dims(config: Config) -> Dims:
    """Return the sizes that most layers have; GLM-4.7-Flash's class lets ``head_dim`` win over the rotary size."""
    rotary = ("head_dim", "qk_rope_head_dim") if config.model_type == "glm4_moe_lite" else ("qk_rope_head_dim",)
    return Dims(
        heads=config.integer("num_attention_heads"),
        q_rank=config.optional_integer("q_lora_rank"),
        kv_rank=config.integer("kv_lora_rank"),
        nope_dim=config.integer("qk_nope_head_dim"),
        rope_dim=config.integer(*rotary, minimum=0),
        value_dim=config.integer("v_head_dim"),
    )


def _own_indexers(config: Config, layers: int) -> list[bool]:
    """GLM-5.2: some layers read the tokens that an earlier layer's indexer picked."""
    listed, older = config.get("indexer_types"), config.get("index_topk_pattern")
    pattern = older if listed is None else listed
    frequency = max(config.optional_integer("index_topk_freq", default=1) or 1, 1)
    offset = config.optional_integer("index_skip_topk_offset", default=2) or 0
    if pattern is None:
        return [max(index - offset + 1, 0) % frequency == 0 for index in range(layers)]
    own = [kind in ("full", "F") for kind in pattern]
    unknown = [kind for kind in pattern if kind not in ("full", "shared", "F", "S")]
    if unknown or len(own) != layers:
        what = f"names {unknown[0]!r}" if unknown else f"names {len(own)} layers, the model has {layers}"
        raise UserError(f'{config.where}: "indexer_types" {what}')
    return own


def _note_places(config: Config, sparse: list[bool]) -> list[Place]:
    """dots3: sliding layers have sizes of their own."""
    config.ignore("swa_num_key_value_heads", "swa_qk_rope_head_dim", "sliding_window_size")
    window = config.optional_integer("sliding_window")
    if window is None:
        window = config.optional_integer("sliding_window_size", default=512)
    found = []
    for index, (kind, mixture) in enumerate(zip(_note_kinds(config, len(sparse)), sparse, strict=True)):
        dims = _note_dims(config, index, slides=kind == SLIDING)
        has = kind == INDEXED
        slides = window if kind == SLIDING else None
        found.append(Place(kind, dims, mixture, window=slides or None, indexer=has, sparse_attention=has))
    return found


def _note_kinds(config: Config, layers: int) -> list[str]:
    kinds, slides = layer_types(config, layers), config.flag("use_sliding_window", default=True)
    picks = config.get("use_dsa", default=None if config.present("per_layer_config") else True)
    full = FULL if picks is False else INDEXED
    if kinds is None:
        kinds = [full if not slides or index < 2 or index % 4 == 1 else SLIDING for index in range(layers)]
    unknown = next((kind for kind in kinds if kind not in NOTE_KINDS), None)
    if unknown:
        raise UserError(
            f'{config.where}: "layer_types" names "{unknown}", which {config.model_type} does not have',
            nearest=nearest_names(unknown, NOTE_KINDS),
        )
    return kinds if picks is None else [kind if kind == SLIDING else full for kind in kinds]


def _note_dims(config: Config, index: int, *, slides: bool) -> Dims:
    """Return a layer's sizes: the model's, the ``swa_`` ones, or what ``per_layer_config`` changes."""
    listed = config.get("per_layer_config")
    changes: dict[str, Any] = {}
    if isinstance(listed, dict):
        changes = next((values for key, values in listed.items() if int(key) == index), {})
    prefix = "swa_" if slides and not isinstance(listed, dict) else ""

    def size(name: str) -> int:
        return int(changes[name]) if name in changes else config.integer(f"{prefix}{name}")

    nope = size("qk_nope_head_dim")
    rope = changes.get("qk_rope_head_dim") or config.integer("qk_rope_head_dim")
    if prefix:
        rest = config.integer("swa_head_dim") - nope
        rope = config.optional_integer("swa_qk_rope_head_dim", default=rest, minimum=1) or rest
        if rope != rest or rest < 1:
            raise UserError(f'{config.where}: "swa_head_dim" must be "swa_qk_nope_head_dim" + "swa_qk_rope_head_dim"')
    return Dims(
        heads=size("num_attention_heads"),
        q_rank=size("q_lora_rank"),
        kv_rank=size("kv_lora_rank"),
        nope_dim=nope,
        rope_dim=int(rope),
        value_dim=size("v_head_dim"),
    )
