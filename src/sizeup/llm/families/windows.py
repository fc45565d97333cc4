"""Which layers of a model slide: ``layer_types`` where it is given, else the rule of the configuration class.

Source: ``__post_init__`` of the configuration classes and ``cache_utils.py`` (transformers 5.23).
"""

from __future__ import annotations

from collections.abc import Callable

from sizeup.errors import UserError, nearest_names
from sizeup.llm.config import Config
from sizeup.llm.families.common import layer_types

NEED_A_FLAG = ("late", "used", "early")
"""Rules of classes that forget ``sliding_window`` unless ``use_sliding_window`` is set."""

KINDS = ("full_attention", "sliding_attention")
"""Layer types that a plain decoder can have."""


def layer_windows(config: Config, rule: str, pattern: int = 0) -> list[int | None]:
    """Return each layer's window, None for full attention.

    ``rule`` is for configurations without ``layer_types``: "every" layer slides once a window is set, "late" layers
    do (Qwen), the last or first of each ``pattern`` layers is full, layers without rotary positions slide
    ("no_rope"), or "none" does. Mixtures add: every layer once used, "early" even layers (Qwen2-MoE), layers "from" an
    index on (dots.llm1), all but every n-th layer ("global_every").
    """
    layers = config.integer("num_hidden_layers")
    kinds = layer_kinds(config, layers)
    window = window_size(config, rule)
    slides = RULES[rule](config, pattern)
    if kinds is None:
        return [window if slides(index) else None for index in range(layers)]
    return [window if kind == "sliding_attention" else None for kind in kinds]


def layer_kinds(config: Config, layers: int) -> list[str] | None:
    """Return ``layer_types``, full or sliding attention, or None where the configuration has none.

    Raises:
        UserError: a layer type that a plain decoder cannot have.
    """
    kinds = layer_types(config, layers)
    unknown = [kind for kind in kinds or () if kind not in KINDS]
    if unknown:
        raise UserError(
            f'{config.where}: "layer_types" names "{unknown[0]}", which {config.model_type} does not have',
            nearest=nearest_names(unknown[0], KINDS),
        )
    return kinds


def window_size(config: Config, rule: str) -> int | None:
    """Return the tokens that a query in a sliding layer can see, itself included; None where nothing slides."""
    window = config.optional_integer("sliding_window") or None
    config.ignore("sliding_window_size")  # Gemma 2 publishes both spellings; the class reads "sliding_window"
    if rule in NEED_A_FLAG and not config.flag("use_sliding_window"):
        return None
    if window and config.model_type == "gemma3_text" and config.flag("use_bidirectional_attention"):
        return window // 2 + 1  # half to either side
    return window


Slides = Callable[[int], bool]


def _every(config: Config, pattern: int) -> Slides:
    return lambda index: True


def _none(config: Config, pattern: int) -> Slides:
    config.ignore("sliding_window_pattern")
    return lambda index: False


def _late(config: Config, pattern: int) -> Slides:
    """Qwen: layers from ``max_window_layers`` on, where ``use_sliding_window`` says so."""
    first = config.optional_integer("max_window_layers") or 0
    used = config.flag("use_sliding_window")
    return lambda index: used and index >= first


def _full_last(config: Config, pattern: int) -> Slides:
    """Gemma 3: the last of every ``sliding_window_pattern`` layers is full; EXAONE spells it "LLLG"."""
    if "sliding_window_pattern" not in config.defaults:
        config.ignore("sliding_window_pattern")  # the class has a fixed pattern
        return lambda index: (index + 1) % pattern != 0
    value = config.get("sliding_window_pattern")
    if isinstance(value, str) and value and set(value) <= {"L", "G"}:
        return lambda index: value[index % len(value)] == "L"
    period = config.optional_integer("sliding_window_pattern") or pattern
    return lambda index: (index + 1) % period != 0


def _full_last_and_end(config: Config, pattern: int) -> Slides:
    """Beam: the last of each ``pattern`` layers is full, and the model's last layer."""
    last = config.integer("num_hidden_layers") - 1
    return lambda index: (index + 1) % pattern != 0 and index != last


def _full_second_and_ends(config: Config, pattern: int) -> Slides:
    """Flint: the second of each ``pattern`` layers is full, and the model's first and last layer."""
    ends = (0, config.integer("num_hidden_layers") - 1)
    return lambda index: index % pattern != 1 and index not in ends


def _full_last_after_dense(config: Config, pattern: int) -> Slides:
    """Cohere2-MoE: the pattern starts anew behind the first dense layers, which have one of their own."""
    first = config.optional_integer("first_k_dense_replace") or 0
    dense = config.integer("prefix_dense_sliding_window_pattern")
    period = config.integer("sliding_window_pattern")
    return lambda index: (index + 1) % dense != 0 if index < first else (index - first + 1) % period != 0


def _full_first(config: Config, pattern: int) -> Slides:
    return lambda index: index % pattern != 0


def _no_rope(config: Config, pattern: int) -> Slides:
    """SmolLM3: layers without rotary positions, every ``no_rope_layer_interval``-th or as listed (0 means without)."""
    interval = config.integer("no_rope_layer_interval", default=4)
    listed = config.sequence("no_rope_layers")
    layers = config.integer("num_hidden_layers")
    if listed and len(listed) != layers:
        raise UserError(f'{config.where}: "no_rope_layers" has {len(listed)} entries, the model {layers} layers')
    used = config.flag("use_sliding_window")
    return lambda index: used and (not listed[index] if listed else (index + 1) % interval == 0)


def _used(config: Config, pattern: int) -> Slides:
    used = config.flag("use_sliding_window")
    return lambda index: used


def _early(config: Config, pattern: int) -> Slides:
    last = config.integer("max_window_layers", minimum=0)
    used = config.flag("use_sliding_window")
    return lambda index: used and index % 2 == 0 and index < last


def _from(config: Config, pattern: int) -> Slides:
    first = config.integer("max_window_layers", minimum=0)
    return lambda index: index >= first


def _global_every(config: Config, pattern: int) -> Slides:
    period = config.integer("global_attn_every_n_layers")
    return lambda index: (index + 1) % period != 0


RULES: dict[str, Callable[[Config, int], Slides]] = {
    "every": _every,
    "none": _none,
    "late": _late,
    "full_last": _full_last,
    "full_last_and_end": _full_last_and_end,
    "full_second_and_ends": _full_second_and_ends,
    "full_last_after_dense": _full_last_after_dense,
    "full_first": _full_first,
    "no_rope": _no_rope,
    "used": _used,
    "early": _early,
    "from": _from,
    "global_every": _global_every,
}
