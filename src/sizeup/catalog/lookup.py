"""Finding a model by name: forgiving about case, separators and the organisation, never about which model it is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from sizeup.catalog.loader import model_config, model_records
from sizeup.errors import UserError, nearest_names

Tokens = tuple[str, ...]

TRUST = {
    "verified": "the published config.json, copied by the named repository",
    "rekeyed": "published sizes under another program's names",
    "transcribed": "a third party's transcription",
    "paper": "sizes given in a paper",
    "unverified": "from memory, checked by the parameter count only",
}
"""What the trust mark of a model's configuration means; only ``verified`` is shown without a mark."""

_NEUTRAL = frozenset(["hf", "base", "instruct", "chat", "it", "pt", "bf16", "v"])
_SHAPE = frozenset(
    ["hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "intermediate_size",
     "vocab_size", "num_local_experts", "num_experts", "n_routed_experts", "moe_intermediate_size", "kv_lora_rank",
     "sliding_window", "layer_types", "n_embd", "n_layer", "n_head", "n_query_groups", "padded_vocab_size",
     "quantization_config"]
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRecord:
    """One model of the catalog: what is known about it and where that comes from.

    ``counted_parameters`` were counted by ``counted_by``; ``published_parameters`` and ``tokens_trained`` are what its
    authors state. ``unverified`` names the fields that nobody read again. ``alias_note`` says how a name was read.
    """

    name: str
    file: str
    model_type: str
    kind: str
    trust: str
    source: str
    origin: str
    aliases: tuple[str, ...] = ()
    counted_parameters: int | None = None
    counted_by: str = ""
    published_parameters: int | None = None
    published_source: str = ""
    tokens_trained: int | None = None
    tokens_source: str = ""
    also_in: tuple[str, ...] = ()
    unverified: tuple[str, ...] = ()
    alias_note: str = field(default="", compare=False)

    def config(self) -> dict[str, Any]:
        """Return the configuration, read now."""
        return model_config(self.file)

    @property
    def organisation(self) -> str:
        """The part of the name before the slash."""
        return self.name.partition("/")[0]

    @property
    def short_name(self) -> str:
        """The part of the name after the slash."""
        return self.name.rpartition("/")[2]

    @property
    def parameters(self) -> int | None:
        """Counted parameters, or the published number where nobody counted."""
        return self.counted_parameters or self.published_parameters


def name_tokens(name: str) -> Tokens:
    """Return the words and numbers of a name, which is all that counts when names are compared.

    >>> name_tokens("Llama-3.1-8B") == name_tokens("llama3.1_8b"), name_tokens("llama-31-8b")
    (True, ('llama', '31', '8b'))
    """
    return tuple(re.findall(r"[a-z]+|[0-9]+[a-z]*", name.lower()))


def joined_name(tokens: Tokens) -> str:
    """Return a name without its separators, which count only between two numbers.

    >>> joined_name(name_tokens("DeepSeek-V3.2")), joined_name(name_tokens("deepseekv3 2")), joined_name(("v", "32"))
    ('deepseekv3-2', 'deepseekv3-2', 'v32')
    """
    apart = ("-" if before[-1:].isdigit() and after[:1].isdigit() else "" for before, after in pairwise(("", *tokens)))
    return "".join(separator + token for separator, token in zip(apart, tokens, strict=True))


def _record(data: dict[str, Any], *, note: str = "") -> ModelRecord:
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    return ModelRecord(**fields, alias_note=note)


def _names(data: dict[str, Any]) -> tuple[str, list[str]]:
    organisation, _, short = data["name"].rpartition("/")
    return organisation, [short, *data.get("aliases", ())]


def _called(name: str, data: dict[str, Any]) -> bool:
    """Return whether one of a record's names is ``name``; an organisation, where given, must be the record's own."""
    wanted, (organisation, names) = joined_name(name_tokens(name)), _names(data)
    prefix, _, short = name.rpartition("/")
    if prefix and name_tokens(prefix) == name_tokens(organisation):
        wanted = joined_name(name_tokens(short))
    return any(joined_name(name_tokens(known)) == wanted for known in names)


def _is_neutral(extra: Tokens) -> bool:
    return all(word in _NEUTRAL or (word.isdigit() and (len(word) == 4 or "v" in extra)) for word in extra)


def _extends(name: str, data: dict[str, Any]) -> bool:
    """Return whether a record's name is ``name`` and words that do not change a size: -Instruct, -hf, -v0.1."""
    organisation, names = _names(data)
    prefix, _, short = name.rpartition("/")
    if prefix and name_tokens(prefix) != name_tokens(organisation):
        return False
    wanted, known = joined_name(name_tokens(short)), name_tokens(names[0])
    return any(joined_name(known[:end]) == wanted and _is_neutral(known[end:]) for end in range(1, len(known)))


def _shape(data: dict[str, Any]) -> dict[str, Any]:
    config = model_config(data["file"])
    text = config.get("text_config")
    both = {**config, **text} if isinstance(text, dict) else config
    found = {key: value for key, value in both.items() if key in _SHAPE}
    return {**found, "model_type": data["model_type"], "count": data.get("counted_parameters")}


def _choose(name: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    """Return one of several records that match equally, if it does not matter which."""
    shapes = [_shape(data) for data in found] if len(found) > 1 else []
    if any(shape != shapes[0] for shape in shapes):
        names = sorted(data["name"] for data in found)
        raise UserError(f'"{name}" could be {len(names)} different models', hint=f"name one: {', '.join(names)}")
    return min(found, key=lambda data: (len(data["name"]), data["name"]))


def _note(name: str, data: dict[str, Any], *, alone: bool) -> str:
    short = name.rpartition("/")[2]
    if joined_name(name_tokens(short)) == joined_name(name_tokens(data["name"].rpartition("/")[2])) and alone:
        return ""
    return f'"{name}" is read as {data["name"]}'


def find_model(name: str) -> ModelRecord:
    """Return the catalog's model of this name; its configuration is read only on :meth:`ModelRecord.config`.

    >>> find_model("llama3.1-8b").name, find_model("llama-3-70b").name
    ('meta-llama/Llama-3.1-8B', 'meta-llama/Meta-Llama-3-70B')

    Raises:
        UserError: no such name (with the nearest ones), or a name that several different models share.
    """
    records = model_records()
    for matches in (_called, _extends):
        found = _matching(records, name, matches)
        if found:
            data = _choose(name, found)
            return _record(data, note=_note(name, data, alone=len(found) == 1))
    raise UserError(f'no model of the catalog is called "{name}"', nearest=_nearest(name, records))


def _matching(
    records: Iterable[dict[str, Any]], name: str, matches: Callable[[str, dict[str, Any]], bool]
) -> list[dict[str, Any]]:
    wanted = "".join(name_tokens(name.rpartition("/")[2]))[:3]
    return [data for data in records if _may_match(wanted, data) and matches(name, data)]


def _may_match(start: str, data: dict[str, Any]) -> bool:
    """Return whether it is worth looking closer: a cheap test that spares splitting 290 names."""
    _, names = _names(data)
    return any(_plain(known).startswith(start) for known in names) or any("/" in known for known in names)


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace(".", "").replace("_", "")


def _nearest(name: str, records: Iterable[dict[str, Any]]) -> tuple[str, ...]:
    wanted = set(name_tokens(name.rpartition("/")[2]))
    short = [data["name"].rpartition("/")[2] for data in records]
    inside = [known for known in short if wanted and wanted <= set(name_tokens(known))]
    return tuple(sorted(inside, key=lambda known: (len(known), known))[:5]) or nearest_names(name, short)


def list_models(
    text: str = "",
    *,
    min_parameters: int = 0,
    max_parameters: int | None = None,
    trust: str = "",
    model_type: str = "",
    sort: str = "name",
) -> tuple[ModelRecord, ...]:
    """Return the models that pass every filter.

    ``text`` is words that must all occur in the name, the aliases or the model type; ``min_parameters`` and
    ``max_parameters`` drop models whose size is not known; ``sort`` is ``name`` or ``parameters``.

    >>> [record.name for record in list_models("gpt oss")]
    ['openai/gpt-oss-120b', 'openai/gpt-oss-20b']
    """
    if sort not in ("name", "parameters"):
        raise UserError(f'models cannot be sorted by "{sort}"', hint="sort by name or parameters")
    if trust and trust not in TRUST:
        raise UserError(f'"{trust}" is no trust mark', nearest=nearest_names(trust, TRUST) or tuple(TRUST))
    words = text.lower().split()
    limit = float("inf") if max_parameters is None else max_parameters

    def passes(data: dict[str, Any]) -> bool:
        size = data.get("counted_parameters") or data.get("published_parameters")
        bounded = bool(min_parameters) or max_parameters is not None
        if bounded and (size is None or not min_parameters <= size <= limit):
            return False
        if (trust and data["trust"] != trust) or (model_type and data["model_type"] != model_type):
            return False
        names = " ".join((data["name"], *data.get("aliases", ()), data["model_type"])).lower()
        return all(word in names for word in words)

    records = [_record(data) for data in model_records() if passes(data)]
    if sort == "parameters":
        return tuple(sorted(records, key=lambda record: (record.parameters or 0, record.name)))
    return tuple(sorted(records, key=lambda record: record.name.lower()))
