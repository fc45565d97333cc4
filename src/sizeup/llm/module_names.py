"""Matching module names against the lists of a quantization config: names, globs, prefixes and ``re:`` patterns.

Checkpoints, engines and families spell one module differently (``model.language_model.layers.3.mlp``,
``layers.3.ffn``), so names and patterns are brought to one spelling first. Patterns come from files that anyone can
write: their number, length and form are limited.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable

from sizeup.errors import UserError

MAX_PATTERNS = 200_000
MAX_PATTERN_LENGTH = 300
MAX_REPEATS = 6
_WRAPPERS = (
    "model.language_model.model.",
    "language_model.model.",
    "model.language_model.",
    "language_model.",
    "model.",
)
_SPELLINGS = {
    "ffn": "mlp", "block_sparse_moe": "mlp", "feed_forward": "mlp", "attn": "self_attn", "attention": "self_attn",
    "w1": "gate_proj", "w2": "down_proj", "w3": "up_proj", "head": "lm_head",
}  # fmt: skip
_EXPERT = re.compile(r"(^|\.)experts\.\d+(?=\.|$)")
_NESTED_REPEAT = re.compile(r"\((?:[^()\\]|\\.)*[*+}](?:[^()\\]|\\.)*\)\s*[*+{]")


def canonical(name: str) -> str:
    """Return one spelling of a module name or glob: no wrapper, no expert number, one word per role.

    >>> canonical("model.layers.3.block_sparse_moe.experts.7.w1")
    'layers.3.mlp.experts.gate_proj'
    """
    for wrapper in _WRAPPERS:
        if name.startswith(wrapper):
            name = name[len(wrapper) :]
            break
    name = _EXPERT.sub(r"\1experts", name)
    return ".".join(_SPELLINGS.get(piece, piece) for piece in name.split("."))


def _checked(pattern: object) -> str:
    if not isinstance(pattern, str) or len(pattern) > MAX_PATTERN_LENGTH:
        raise UserError(f"quantization_config: {str(pattern)[:60]!r} is not a module name")
    return pattern


def _regex(pattern: str) -> re.Pattern[str]:
    repeats = len(re.findall(r"(?<!\\)[*+{]", pattern))
    if repeats > MAX_REPEATS or _NESTED_REPEAT.search(pattern):
        raise UserError(f"quantization_config: the pattern {pattern[:60]!r} is too intricate")
    try:
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        raise UserError(f"quantization_config: {pattern[:60]!r} is not a regular expression") from None


class ModuleMatcher:
    """A set of patterns; ``name in matcher`` says whether one of them names the module or a parent of it.

    A plain pattern matches when its words occur in the name one after the other, a glob when it fits the name or a
    parent, ``re:`` when it matches from the start of any usual spelling.
    """

    def __init__(self, patterns: Iterable[object] = ()) -> None:
        self._words: set[str] = set()
        self._globs: list[re.Pattern[str]] = []
        self._starts: tuple[str, ...] = ()
        self._regexes: list[re.Pattern[str]] = []
        self._known: dict[str, bool] = {}
        starts = []
        for count, raw in enumerate(patterns):
            if count >= MAX_PATTERNS:
                raise UserError(f"quantization_config lists more than {MAX_PATTERNS:,} modules")
            pattern = _checked(raw)
            if pattern.startswith("re:"):
                self._regexes.append(_regex(pattern[3:]))
            elif "*" not in pattern and "?" not in pattern:
                self._words.add(canonical(pattern))
            elif pattern.index("*" if "*" in pattern else "?") == len(pattern) - 1 and pattern[-1] == "*":
                starts.append(canonical(pattern[:-1]))
            else:
                self._globs.append(_glob(canonical(pattern)))
        self._starts = tuple(dict.fromkeys(starts))

    def __bool__(self) -> bool:
        return bool(self._words or self._globs or self._starts or self._regexes)

    def __contains__(self, name: str) -> bool:
        if name not in self._known:
            self._known[name] = self._matches(canonical(name))
        return self._known[name]

    def _matches(self, name: str) -> bool:
        pieces = name.split(".")
        for first in range(len(pieces)):
            for last in range(first + 1, len(pieces) + 1):
                if ".".join(pieces[first:last]) in self._words:
                    return True
        if self._starts and name.startswith(self._starts):
            return True
        if any(glob.match(name) for glob in self._globs):
            return True
        return any(regex.match(spelling) for regex in self._regexes for spelling in _spellings(name))


def _glob(pattern: str) -> re.Pattern[str]:
    """Return a pattern for the named module and whatever is below it."""
    if pattern.count("*") + pattern.count("?") > MAX_REPEATS:
        raise UserError(f"quantization_config: the pattern {pattern[:60]!r} is too intricate")
    return re.compile(f"(?:{fnmatch.translate(pattern)})|(?:{fnmatch.translate(pattern + '.*')})")


def _spellings(name: str) -> tuple[str, ...]:
    numbered = name.replace("experts.", "experts.0.") if "shared" not in name else name
    forms = dict.fromkeys((name, numbered))
    return tuple(wrapper + form for form in forms for wrapper in ("model.", "", *_WRAPPERS[:4]))
