"""Random values for the keys of a configuration class.

``SEED`` begins every draw: another seed, other configurations.
"""

from __future__ import annotations

import random
import re
from typing import Any

from transformers import PreTrainedConfig

from oracle.classes import effective, keyword_defaults, layer_count, source_text
from oracle.common import RANDOM_CASES, Json
from oracle.roles import ATTENTION_KINDS, BOOLS, CHOICES, INDEX_LISTS, ROLES

SEED = "sizeup-1"


class Draw(random.Random):
    """A random source that spreads the values of short choices evenly over a type's cases."""

    turn: int | None = None
    model_type = ""

    def spread(self, key: str, values: list[Any]) -> Any:
        """Choose a value, such that the cases of a type take turns in the values."""
        if self.turn is None:
            return self.choice(values)
        turns = (values * RANDOM_CASES)[: max(RANDOM_CASES, len(values))]
        random.Random(f"{SEED}:{self.model_type}:{key}").shuffle(turns)
        return turns[(self.turn - 1) % len(turns)]


def case_draw(model_type: str, number: int, attempt: int) -> Draw:
    """The random source of one attempt at one case of a type."""
    rng = Draw(f"{SEED}:{model_type}:{number}:{attempt}")
    rng.model_type, rng.turn = model_type, number if attempt < 6 else None
    return rng


def divisors(number: int, at_least: int = 1) -> list[int]:
    """The divisors of a number, from a smallest one on."""
    return [d for d in range(at_least, number + 1) if number % d == 0]


def draw_dimensions(rng: Draw) -> Json:
    """Draw one consistent set of small dimensions."""
    heads = rng.choice([2, 4, 4, 6, 8, 8, 12])
    base = rng.choice([8, 16, 16, 24, 32])
    hidden = heads * base
    experts = rng.choice([4, 6, 8, 12])
    linear_keys = rng.choice([2, 4])
    expand = rng.choice([1, 2, 2, 3])
    mamba_dim = rng.choice([d for d in (4, 8, 16) if (expand * hidden) % d == 0])
    mamba_heads = expand * hidden // mamba_dim
    return {
        "heads": heads,
        "base": base,
        "hidden": hidden,
        "kv": rng.choice(divisors(heads)),
        "head_dim": rng.choice([8, 16, 32, 48, 64]),
        "layers": rng.randint(2, 9),
        "inter": rng.choice([48, 64, 96, 160, 352]),
        "moe_inter": rng.choice([16, 24, 40, 64]),
        "shared_inter": rng.choice([16, 32, 56]),
        "vocab": rng.randrange(320, 2000, 8),
        "experts": experts,
        "top_k": rng.randint(1, 3),
        "linear_keys": linear_keys,
        "linear_values": linear_keys * rng.choice([1, 2, 3]),
        "expand": expand,
        "mamba_dim": mamba_dim,
        "mamba_heads": mamba_heads,
        "mamba_groups": rng.choice([g for g in (1, 2, 4) if mamba_heads % g == 0]),
        "window": rng.choice([16, 24, 64, 100]),
        "small": rng.choice([8, 16, 24, 32]),
        "period": rng.randint(2, 4),
    }


def role_value(key: str, dims: Json) -> Any:
    """The drawn value for a key that plays a known role, or None."""
    for role, pattern in ROLES.items():
        if re.fullmatch(pattern, key):
            return dims[role]
    return None


def choice_value(key: str, rng: Draw, dims: Json) -> Any:
    """A value for a key of the choice table, or None."""
    for pattern, values in CHOICES.items():
        if re.fullmatch(pattern, key):
            return rng.spread(key, values) if values else dims["small"] * 2
    return None


def layer_kinds(cls: type[PreTrainedConfig], key: str) -> list[Any]:
    """The layer kinds that a per-layer list may hold."""
    kinds = set(effective(cls).get(key) or [])
    if key == "layer_types":
        text = source_text(cls)
        known = ["hybrid", "hybrid_sliding"]
        if "hybrid" not in kinds:
            known = ["full_attention", "sliding_attention", "chunked_attention", "linear_attention", "conv"]
        kinds |= {kind for kind in known if f'"{kind}"' in text}
    if key == "mlp_layer_types" and not kinds - {"dense", "sparse"}:
        kinds |= {"dense", "sparse"}
    return sorted(kinds, key=str)


def draw_list(kinds: list[Any], length: int, rng: Draw) -> list[Any]:
    """A random per-layer list with at least one attention layer, where there are such."""
    drawn = [rng.choice(kinds) for _ in range(length)]
    attention = [kind for kind in kinds if kind in ATTENTION_KINDS]
    if attention and not set(drawn) & ATTENTION_KINDS:
        drawn[rng.randrange(length)] = rng.choice(attention)
    return drawn


def list_value(cls: type[PreTrainedConfig], key: str, rng: Draw, dims: Json) -> list[Any] | None:
    """A random per-layer list, where the class's own value is one."""
    current = effective(cls).get(key)
    if not isinstance(current, (list, tuple)) or len(current) != layer_count(cls):
        return None
    if any(isinstance(item, (list, dict, tuple)) for item in current):
        return None
    kinds = layer_kinds(cls, key)
    return draw_list(kinds, dims["layers"], rng) if kinds else None


def draw_value(cls: type[PreTrainedConfig], key: str, rng: Draw, dims: Json) -> Any:
    """A random value for one key, or None to leave it alone."""
    current = effective(cls).get(key, keyword_defaults(cls).get(key))
    if isinstance(current, bool):
        return rng.spread(key, [False, True]) if BOOLS.match(key) else None
    if INDEX_LISTS.fullmatch(key):
        return sorted(rng.sample(range(dims["layers"]), rng.randint(1, dims["layers"] - 1)))
    listed = list_value(cls, key, rng, dims)
    if listed is not None:
        return listed
    if isinstance(current, (str, list, tuple, dict)):
        return dims["mamba_dim"] if key == "mamba_d_head" else None
    value = role_value(key, dims)
    return value if value is not None else choice_value(key, rng, dims)
