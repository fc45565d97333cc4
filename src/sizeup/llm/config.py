"""Reading a config.json: class defaults, aliases, and a memory of which keys were understood."""

from __future__ import annotations

import copy
import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sizeup.errors import UserError, nearest_names
from sizeup.files import read_text

_SIZE_WORDS = (
    r"(^|_)(n|num|dim|dims|size|sizes|rank|layers?|heads?|experts?|expand|groups?|width|depth|hidden|intermediate|"
    r"vocab|kernel|state|ffn|mlp|blocks?|window|period|offset|interval|pattern|bias|tied?|shared?|conv|mtp|nextn|"
    r"embed|embeddings?|channels?|stride|sparse|lora|adapter|latent|head_dim|replace|index)(_|$)"
)
_NEVER_SIZES = (
    r"(_token_id|_token_ids|_token|_tokens|_token_index|_eps|_epsilon|_dropout|_prob|_std|_range|_factor|_scale|_scaling|_theta|"
    r"_multiplier|_multipliers|_coef|_coeff|_loss|_act|_activation|_version|_implementation|_dtype|_temperature|_alpha|_beta|"
    r"_id|_ids|_limit|_softcap|_softcapping|_clip|_base|_url|_format|_strategy|_mode|_chunk_size|_jitter|_jitter_noise)$"
)


_REPEATED = r"(^|_)(layers?|depth|num_blocks)(_per_stack)?$"
MOST_LAYERS = 10_000
MOST_OF_ANYTHING = 10**13
"""Bounds that no model reaches; a layer costs time and memory here, any other number none."""


@functools.cache
def harmless_keys() -> frozenset[str]:
    """Return the keys that never change a size, seen in published configurations (``harmless_keys.txt``)."""
    return frozenset(read_text("llm/harmless_keys.txt").split())


class _ClassDefaults(Mapping[str, dict[str, Any]]):
    """The records of ``defaults.json``, one model type a line; a record is parsed when it is asked for."""

    def __init__(self) -> None:
        self._text = read_text("llm/families/defaults.json")
        self._parsed: dict[str, dict[str, Any]] = {}

    def __getitem__(self, model_type: str) -> dict[str, Any]:
        if model_type not in self._parsed:
            start = self._text.find(f'\n"{model_type}":')
            if start < 0:
                raise KeyError(model_type)
            line = self._text[start + 1 : self._text.index("\n", start + 1)].rstrip(",")
            self._parsed.update(json.loads(f"{{{line}}}"))
        return self._parsed[model_type]

    def __iter__(self) -> Iterator[str]:
        return iter(json.loads(self._text))

    def __len__(self) -> int:
        return len(json.loads(self._text))


@functools.cache
def class_defaults() -> Mapping[str, dict[str, Any]]:
    """Return what each model type assumes when a key is absent (generated from transformers' configuration classes)."""
    return _ClassDefaults()


class Config:
    """One configuration mapping, read by name; remembers which keys were read.

    A value is looked up under its name, then its aliases, then in the class defaults of the model type.
    """

    def __init__(self, values: Mapping[str, Any], *, model_type: str | None = None, where: str = "config") -> None:
        self.values = values
        stated = model_type or values.get("model_type") or ""
        if not isinstance(stated, str):
            raise UserError(f'{where}: "model_type" must be a string, not {str(stated)[:40]}')
        self.model_type: str = stated
        self.where = where
        record = class_defaults().get(self.model_type, {})
        self.defaults: dict[str, Any] = record.get("defaults", {})
        self._aliases: dict[str, list[str]] = {}
        for alias, name in record.get("aliases", {}).items():
            self._aliases.setdefault(name, []).append(alias)
            self._aliases.setdefault(alias, []).append(name)
        self._harmless = frozenset(record.get("harmless", ()))
        self._read: set[str] = set()
        self._children: list[Config] = []

    def _names(self, names: Sequence[str]) -> list[str]:
        found = list(names)
        for name in names:
            found += [alias for alias in self._aliases.get(name, ()) if alias not in found]
        return found

    def get(self, *names: str, default: Any = None) -> Any:
        """Return the raw value under the first of ``names`` (or an alias) that is present, else the class default."""
        candidates = self._names(names)
        self._read.update(candidates)
        for name in candidates:
            if name in self.values:
                return self.values[name]
        for name in candidates:
            if name in self.defaults:
                return self.defaults[name]
        return default

    def present(self, *names: str) -> bool:
        """Return whether the configuration itself holds one of ``names`` (marks them as understood)."""
        candidates = self._names(names)
        self._read.update(candidates)
        return any(name in self.values for name in candidates)

    def integer(self, *names: str, default: int | None = None, minimum: int = 1) -> int:
        """Return a required integer of at least ``minimum``.

        Raises:
            UserError: absent, not an integer, or below ``minimum``; the message names the key.
        """
        value = self.optional_integer(*names, default=default, minimum=minimum)
        if value is None:
            raise UserError(f'{self.where} ({self.model_type or "no model_type"}) has no "{names[0]}"')
        return value

    def optional_integer(self, *names: str, default: int | None = None, minimum: int = 0) -> int | None:
        """Return an integer, or None where the configuration says null or nothing."""
        value = self.get(*names, default=default)
        if value is None:
            return default
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, bool) or not whole:
            raise UserError(f'{self.where}: "{names[0]}" must be an integer, not {str(value)[:60]!r}')
        most = MOST_LAYERS if re.search(_REPEATED, names[0]) else MOST_OF_ANYTHING
        if not minimum <= int(value) <= most:
            raise UserError(f'{self.where}: "{names[0]}" is {str(value)[:24]}, outside of what a model can have')
        return int(value)

    def number(self, *names: str, default: float | None = None) -> float:
        """Return a required number."""
        value = self.get(*names, default=default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UserError(f'{self.where}: "{names[0]}" must be a number, not {value!r}')
        return float(value)

    def flag(self, *names: str, default: bool = False) -> bool:
        """Return a yes or no; null means the default."""
        value = self.get(*names, default=default)
        if value is None:
            return default
        if not isinstance(value, bool | int):
            raise UserError(f'{self.where}: "{names[0]}" must be true or false, not {value!r}')
        return bool(value)

    def text(self, *names: str, default: str = "") -> str:
        """Return a string; null means the default."""
        value = self.get(*names, default=default)
        if value is None:
            return default
        if not isinstance(value, str):
            raise UserError(f'{self.where}: "{names[0]}" must be a string, not {value!r}')
        return value

    def sequence(self, *names: str) -> list[Any] | None:
        """Return a list, or None where the configuration says null or nothing."""
        value = self.get(*names)
        if value is None:
            return None
        if not isinstance(value, list | tuple):
            raise UserError(f'{self.where}: "{names[0]}" must be a list, not {value!r}')
        return list(value)

    def section(
        self,
        name: str,
        *,
        model_type: str | None = None,
        required: bool = True,
        changes: Mapping[str, Any] | None = None,
    ) -> Config:
        """Return a nested configuration, with the class defaults of its own model type; the same one each time.

        ``model_type`` is used where the section does not name one; ``changes`` are what the whole model decides for
        its parts, such as tied embeddings.
        """
        value = self.get(name)
        for child in self._children:
            if child.where == f"{self.where}.{name}":
                return child
        if value is None and required and name not in class_defaults().get(self.model_type, {}).get("sub_configs", {}):
            raise UserError(f'{self.where} has no "{name}"')
        value = {} if value is None else value
        if not isinstance(value, Mapping):
            raise UserError(f'{self.where}: "{name}" must be a mapping, not {value!r}')
        default_type = class_defaults().get(self.model_type, {}).get("sub_configs", {}).get(name)
        found_type = value.get("model_type") or model_type or default_type
        if default_type and default_type.startswith(self.model_type):
            found_type = default_type  # a part of its own class keeps it whatever type a published configuration says
        child = Config({**value, **(changes or {})}, model_type=found_type, where=f"{self.where}.{name}")
        self._children.append(child)
        return child

    def seen_as(self, model_type: str) -> Config:
        """Return the same keys for another type's rules: what it reads counts as read here, class defaults stay."""
        same = copy.copy(self)
        same.model_type = model_type
        same.defaults = {**class_defaults().get(model_type, {}).get("defaults", {}), **self.defaults}
        return same

    def respell(self, older: Mapping[str, str]) -> None:
        """Read each key also under the name that published files of its type use; an empty name is only ignored."""
        for published, name in older.items():
            self._aliases.setdefault(name, []).append(published)
            self._read.add(published)

    def assume(self, defaults: Mapping[str, Any]) -> None:
        """Take ``defaults`` for absent keys, where transformers has no class for the model type."""
        if defaults:
            self.defaults = {**defaults, **self.defaults}

    def ignore(self, *names: str) -> None:
        """Mark keys as understood although they change no size here."""
        self._read.update(self._names(names))

    def unread(self) -> list[str]:
        """Return the keys present that neither the family nor the class defaults know, harmless ones left out."""
        known = self._read | set(self.defaults) | harmless_keys() | self._harmless
        known |= set(self._aliases)
        keys = [key for key in self.values if key not in known and not key.startswith("_")]
        for child in self._children:
            keys += [f"{child.where.split('.')[-1]}.{key}" for key in child.unread()]
        return keys

    def value_at(self, dotted: str) -> Any:
        """Return the raw value of a key as :meth:`unread` names it."""
        if dotted in self.values:  # a key may itself hold a dot
            return self.values[dotted]
        for child in self._children:
            name = child.where.split(".")[-1]
            if dotted.startswith(f"{name}."):
                return child.value_at(dotted.removeprefix(f"{name}."))
        raise KeyError(dotted)


def looks_size_changing(key: str, value: Any) -> bool:
    """Return whether an unknown key may well change a size: named like one, and not switched off.

    >>> looks_size_changing("num_mystery_layers", 4), looks_size_changing("attention_dropout", 0.1)
    (True, False)
    """
    if value in (None, False, 0, "", [], {}) or isinstance(value, str):
        return False
    if isinstance(value, float) and not value.is_integer():
        return False
    name = key.split(".")[-1].lower()
    return bool(re.search(_SIZE_WORDS, name)) and not re.search(_NEVER_SIZES, name)


def refuse_unknown_keys(config: Config) -> tuple[str, ...]:
    """Return a remark for unknown but harmless-looking keys.

    Raises:
        UserError: a key that looks size-changing is not understood; guessing would give a wrong size.
    """
    unread = config.unread()
    suspicious = [key for key in unread if looks_size_changing(key, config.value_at(key))]
    if suspicious:
        known = set(config.defaults) | config._read
        raise UserError(
            f'{config.where}: "{suspicious[0]}" = {str(config.value_at(suspicious[0]))[:60]} may change the size of a '
            f"{config.model_type} model and is not understood",
            hint=f"nearest known keys: {', '.join(nearest_names(suspicious[0], known)) or 'none'}; "
            "remove the key if it has no effect",
        )
    return tuple(f'key "{key}" is not known for {config.model_type}; taken as without effect on size' for key in unread)
