"""Inference engines as data: what each takes of a card, by version. Records are in ``engines.toml``."""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from sizeup.errors import UserError, nearest_names
from sizeup.files import read_text

Budget = Literal["share", "static", "free", "context", "grows"]
CacheReads = Literal["group", "head", "copy"]

_RENAMED = {"llama.cpp": "llamacpp", "llama-cpp": "llamacpp", "tensorrt-llm": "trtllm", "hf": "transformers",
            "gptfast": "gpt-fast", "awq": "autoawq", "exllama": "exllamav2", "autogptq": "transformers"}  # fmt: skip

LARGE_CARD_BYTES = 70 * 2**30
"""Cards from this size on get vLLM's and SGLang's larger batches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """One engine at one version.

    Attributes:
        era: name of the versions that share these rules; learned coefficients belong to an era.
        budget: how the card is divided (see ``engines.toml``).
        utilization: default share of the card, or of what is free; None: computed (SGLang) or none.
        block_tokens: tokens of a cache page.
        batches_whole_context: the profile run has as many tokens as a context may have.
        sampler: what the largest sampling moment does: "sort", "triton" or "none".
        hybrid: layers with windows or states have pages of their own.
        counts_context: the CUDA context lies within the budget.
        context_bytes: CUDA context on each card.
        graph_bytes_per_layer: CUDA graphs, for every layer of a rank.
        rotary_table: a table of rotary angles is kept beside the weights.
        prompt_logits, score_bytes, copies_fused, cache_reads, shared_heads, unpacks_prompts: see ``engines.toml``.
        awq_split: copies of an output that the AWQ kernel makes and adds up; 0 where it does not.
    """

    name: str
    title: str
    version: str
    era: str
    budget: Budget
    divides: Literal["tensor", "layers"]
    sources: tuple[str, ...]
    unsourced: tuple[str, ...] = ()
    utilization: float | None = None
    block_tokens: int = 16
    max_num_seqs: int = 256
    batched_tokens: int = 2048
    large_card_seqs: int | None = None
    large_card_batched_tokens: int | None = None
    batches_whole_context: bool = False
    graphs_in_budget: bool = False
    sampler: str = "none"
    hybrid: bool = False
    counts_context: bool = True
    context_gib: float = 0.0
    graph_mib_per_layer: float = 0.0
    rotary_table: bool = False
    awq_split: int = 0
    prompt_logits: bool = False
    score_bytes: int = 0
    copies_fused: bool = False
    micro_batch: int = 512
    flash_attention: bool = True
    cache_reads: CacheReads = "group"
    shared_heads: int = 1
    unpacks_prompts: bool = False

    @property
    def context_bytes(self) -> int:
        """CUDA context on each card [bytes]."""
        return int(self.context_gib * 2**30)

    @property
    def graph_bytes_per_layer(self) -> int:
        """CUDA graphs for each layer of a rank [bytes]."""
        return int(self.graph_mib_per_layer * 2**20)

    def sequences(self, memory_bytes: float, card: str = "") -> int:
        """Return the default limit of sequences in a batch."""
        return self.large_card_seqs if self.large_card_seqs and is_large(memory_bytes, card) else self.max_num_seqs

    def tokens(self, memory_bytes: float, card: str = "") -> int:
        """Return the default limit of tokens in a batch."""
        if self.large_card_batched_tokens and is_large(memory_bytes, card):
            return self.large_card_batched_tokens
        return self.batched_tokens


def is_large(memory_bytes: float, card: str) -> bool:
    """Return whether a card gets the larger default batches: 70 GiB and more, and not an A100."""
    return memory_bytes >= LARGE_CARD_BYTES and "a100" not in card.lower()


@functools.cache
def _records() -> dict[str, dict[str, Any]]:
    records: dict[str, dict[str, Any]] = tomllib.loads(read_text("plan/engines.toml"))
    return {
        name: {**records[record["like"]], **record} if "like" in record else record for name, record in records.items()
    }


def engine_names() -> tuple[str, ...]:
    """Return every engine that has a record."""
    return tuple(_records())


def version_key(version: str) -> tuple[int, ...]:
    """Return what versions are compared by: their numbers; words after them do not count.

    >>> version_key("0.6.4.post1") > version_key("0.6.3"), version_key("b2836")
    (True, (2836,))
    """
    return tuple(int(number) for number in re.findall(r"\d+", version))[:3]


@functools.cache
def engine(name: str, version: str = "") -> Engine:
    """Return an engine's rules at ``version`` (its default version if none is given).

    >>> engine("vllm", "0.11.0").utilization, engine("vllm", "0.6.4").batches_whole_context
    (0.9, True)

    Raises:
        UserError: there is no such engine; the message has the nearest names.
    """
    key = _RENAMED.get(name.lower(), name.lower())
    records = _records()
    if key not in records:
        raise UserError(f'no engine is called "{name}"', nearest=nearest_names(name, records))
    record = records[key]
    wanted = version if version_key(version) else record["default_version"]
    values: dict[str, Any] = {k: v for k, v in record.items() if k not in ("era", "like", "default_version")}
    for era in record["era"]:
        if version_key(era["since"]) <= version_key(wanted):
            values |= {k: v for k, v in era.items() if k not in ("name", "since")} | {"era": era["name"]}
    return _engine(key, wanted, values)


def _engine(name: str, version: str, values: Mapping[str, Any]) -> Engine:
    known = {field.name for field in fields(Engine)}
    lists = {key: tuple(values.get(key, ())) for key in ("sources", "unsourced")}
    made = Engine(name=name, version=version, **{**{k: v for k, v in values.items() if k in known}, **lists})
    return replace(made, era=f"{name} {made.era}")
