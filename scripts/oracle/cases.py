"""The cases of a model type: its default, its bare form and random configurations that build and run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from transformers import PreTrainedConfig

from oracle.build import build, forwards, load_config, saved_form
from oracle.common import RANDOM_CASES, CaseError, Json, config_class, last_line
from oracle.configurations import draw_overrides
from oracle.draw import case_draw

ATTEMPTS = 40

DERIVED_KEYS = {"num_hidden_layers": {"hrm_text", "nemotron_h"}}
"""Keys that these types work out from others, whatever was asked for."""


REASONS: dict[str, dict[str, int]] = {}
"""How often each random configuration of a type was turned down, by reason."""


def honoured(wanted: Json, config: PreTrainedConfig) -> bool:
    """Whether every override is still there after the class saw it."""
    for key, value in wanted.items():
        if key == "model_type" or config.model_type in DERIVED_KEYS.get(key, ()):
            continue
        try:
            actual = getattr(config, key, value)
        except Exception:  # values that differ by layer cannot be read for all
            continue
        if isinstance(actual, PreTrainedConfig):
            if not honoured(value, actual):
                return False
        elif isinstance(actual, int):
            if actual != value:
                return False
        elif isinstance(value, list) and isinstance(actual, (list, tuple)) and len(value) != len(actual):
            return False
    return True


def note(model_type: str, reason: str) -> None:
    """Count a reason for which a random config was turned down."""
    counts = REASONS.setdefault(model_type, {})
    counts[reason[:140]] = counts.get(reason[:140], 0) + 1


def random_case(auto: Any, model_type: str, number: int) -> tuple[Json, Any] | None:
    """A random config of a type, and its model on the meta device."""
    cls = config_class(model_type)
    sparse = number > RANDOM_CASES // 2
    fallback: tuple[Json, Any] | None = None
    for attempt in range(ATTEMPTS):
        rng = case_draw(model_type, number, attempt)
        boldness = 0.85 if attempt < 20 else 0.4 if attempt < 30 else 0.0
        overrides = draw_overrides(cls, rng, boldness, attempt < 8)
        try:
            config = cls(**json.loads(json.dumps(overrides)))
            if not honoured(overrides, config):
                note(model_type, "not honoured")
                continue
            record = {**overrides, "model_type": model_type} if sparse else saved_form(model_type, config)
            model = build(auto, load_config(model_type, record), "meta")
        except Exception as error:
            note(model_type, last_line(error))
            continue
        reason = forwards(auto, model_type, record)
        if reason is None:
            return record, model
        note(model_type, "forward " + reason)
        fallback = fallback or (record, model)
        if attempt >= 12:
            break
    return fallback


def parameter_cases(auto: Any, model_type: str, randoms: int) -> Iterator[tuple[str, Json, Any]]:
    """The cases of a type with their models; raises where the default cannot be built."""
    failure: Exception | None = None
    built = 0
    try:
        default = saved_form(model_type, config_class(model_type)())
        yield "default", default, build(auto, load_config(model_type, default), "meta")
        bare = {"model_type": model_type}
        yield "bare", bare, build(auto, load_config(model_type, bare), "meta")
    except Exception as error:
        failure = error
    for number in range(1, randoms + 1):
        found = random_case(auto, model_type, number)
        if found is not None:
            built += 1
            yield f"random-{number}", *found
    if failure is not None:
        raise CaseError(["default"], failure) if built else failure


def print_reasons(model_type: str) -> None:
    """Print the most frequent reasons for which random configs were turned down."""
    for reason, times in sorted(REASONS.pop(model_type, {}).items(), key=lambda item: -item[1])[:4]:
        print(f"    {times} x {reason}")
