"""Weight formats with their exact bytes: what a number, its scales and its padding take in each of them.

Formats are records in ``formats.toml`` (adding one is one record with its source); llama.cpp's mixtures are in
:mod:`sizeup.llm.gguf_mixtures`. A format says which roles it quantizes; everything else stays in 16 bits.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from sizeup.errors import UserError, nearest_names
from sizeup.estimate import Estimate, leaf, total
from sizeup.files import read_text
from sizeup.llm import gguf_mixtures
from sizeup.llm.architecture import Architecture, Part, Tensor
from sizeup.llm.layouts import FULL, HALF, Layout
from sizeup.llm.parameters import PART_NAMES, count_parameters

Role = Literal["linear", "experts", "head", "embedding", "router", "small", "tower", "rest"]

ROLE_NAMES: dict[Role, str] = {
    "linear": "linear layers", "experts": "routed experts", "head": "the language-model head",
    "embedding": "embeddings", "router": "routers", "small": "small state-space matrices", "tower": "encoder towers",
    "rest": "norms, biases and vectors",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFormat:
    """One way to store the weights of a model.

    Attributes:
        bits_per_weight: bits of one number of a large quantized tensor, scales included; for a GGUF mixture the
            average over Llama-3.1-8B.
        quantizes: roles stored as ``layout`` says; the others are ``kept``.
        compute: dtype of the matrix products that the format is made for.
        compute_capability: least NVIDIA compute capability with hardware for ``compute``; 0 for any.
        mixture: name of the llama.cpp mixture, "" for other formats.
    """

    name: str
    title: str
    bits_per_weight: float
    layout: Layout = HALF
    kept: Layout = HALF
    quantizes: frozenset[str] = frozenset()
    compute: str = "bf16"
    compute_capability: float = 0.0
    mixture: str = ""
    evidence: str = ""
    source: tuple[str, ...] = ()
    aliases: tuple[str, ...] = field(default=(), compare=False)

    @property
    def is_gguf(self) -> bool:
        """Whether this is one of llama.cpp's mixtures."""
        return bool(self.mixture)

    def layout_of(self, tensor: Tensor) -> Layout:
        """Return how ``tensor`` is stored."""
        whole = "all" in self.quantizes
        return self.layout if whole or role_of(tensor) in self.quantizes else self.kept


def role_of(tensor: Tensor) -> Role:
    """Return which of a format's rules ``tensor`` falls under.

    Only matrices of linear layers and token tables have a role of their own; the rest is never quantized.
    """
    if tensor.part in ("tower", "projector"):
        return "tower" if tensor.kind == "linear" else "rest"
    if tensor.kind == "embedding":
        return "embedding" if tensor.use == "embedding" else "rest"
    if tensor.kind != "linear" or len(tensor.shape) < 2:
        return "rest"
    if tensor.use == "head" or tensor.part == "head":
        return "head"
    if tensor.use == "router" or tensor.part == "router":
        return "router"
    if tensor.part == "experts":
        return "experts"
    return "small" if tensor.part == "ssm" and tensor.use == "other" else "linear"


_LAYOUT_KEYS = (
    "bits", "word_bits", "packed_along", "flat_block", "scale_bits", "zero_bits", "zero_word_bits", "second_block",
    "second_bits", "index_bits", "tensor_bytes",
)  # fmt: skip


def _from_record(name: str, record: Mapping[str, Any], group: int | None, *, default: bool) -> WeightFormat:
    tile = record.get("tile", () if group is None else (1, group))
    layout = Layout(tile=tuple(tile), **{key: record[key] for key in _LAYOUT_KEYS if key in record})
    suffix = "" if default or group is None else ("-column" if group == 0 else f"-g{group}")
    title = record["title"] if group is None else f"{record['title']}, {_group_words(group)}"
    aliases = list(record.get("aliases", ())) if default else []
    if default and group:
        aliases.append(f"{name}-g{group}")
    return WeightFormat(
        name=name + suffix, title=title, bits_per_weight=layout.nominal_bits, layout=layout,
        kept=FULL if layout.bits == 32 and not layout.scale_bits else HALF,
        quantizes=frozenset(record["quantizes"]), compute=record["compute"],
        compute_capability=float(record.get("compute_capability", 0.0)), evidence=record.get("evidence", ""),
        source=tuple(record["source"]), aliases=tuple(aliases),
    )  # fmt: skip


def _group_words(group: int) -> str:
    return f"groups of {group}" if group else "one group per output column"


@functools.cache
def weight_formats() -> dict[str, WeightFormat]:
    """Return every format by its canonical name: ``formats.toml``, then llama.cpp's mixtures."""
    text = read_text("llm/formats.toml")
    found: dict[str, WeightFormat] = {}
    for name, record in tomllib.loads(text).items():
        for index, group in enumerate(record.get("groups", (None,))):
            made = _from_record(name, record, group, default=index == 0)
            found[made.name] = made
    for name, mixture in gguf_mixtures.MIXTURES.items():
        key = f"gguf-{name}" if name in ("f32", "f16", "bf16", "mxfp4") else name
        found[key] = WeightFormat(
            name=key, title=f"GGUF {name.upper()}, llama.cpp's mixture around {mixture.base}",
            bits_per_weight=mixture.typical_bits, compute="fp16", mixture=name, source=("llama_cpp",),
        )  # fmt: skip
    return found


@functools.cache
def _names() -> dict[str, str]:
    """Return the canonical name under every accepted spelling (without separators)."""
    names: dict[str, str] = {}
    for name, known in weight_formats().items():
        spellings = [name, *known.aliases]
        if known.mixture:
            spellings.append(f"gguf{known.mixture}")
        for spelling in spellings:
            names.setdefault(_plain(spelling), name)
    return names


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


_SEVERAL = {
    "q4": ("q4_k_m", "q4_0", "mlx-4bit"), "int4": ("gptq-int4", "awq-int4", "w4a16"),
    "4bit": ("nf4", "gptq-int4", "awq-int4"), "8bit": ("int8", "w8a8", "q8_0"), "q8": ("q8_0", "int8"),
    "q5": ("q5_k_m", "q5_k_s"), "q6": ("q6_k",), "q3": ("q3_k_m", "q3_k_s"), "q2": ("q2_k",),
    "gguf": ("q4_k_m", "q8_0"), "q4k": ("q4_k_m", "q4_k_s"), "q5k": ("q5_k_m", "q5_k_s"), "q3k": ("q3_k_m", "q3_k_s"),
    "bnb": ("nf4", "nf4-dq", "int8"), "4bits": ("nf4", "gptq-int4", "awq-int4"),
}  # fmt: skip
"""Names that several formats share: refused, because their sizes differ."""


def format_named(name: str) -> WeightFormat:
    """Return the format called ``name``; case and separators do not matter, ``gguf:`` may stand in front.

    >>> format_named("bfloat16").name, format_named("gguf:Q4_K_M").name, format_named("AWQ").bits_per_weight
    ('bf16', 'q4_k_m', 4.15625)

    Raises:
        UserError: unknown, or a name that several formats share.
    """
    plain = _plain(name)
    if plain in _SEVERAL:
        raise UserError(f'"{name}" could be several weight formats', nearest=_SEVERAL[plain])
    found = _names().get(plain)
    if found is None:
        raise UserError(f'no weight format is called "{name}"', nearest=nearest_names(name, weight_formats()))
    return weight_formats()[found]


def format_for(architecture: Architecture, format: WeightFormat | str) -> WeightFormat:
    """Return the format as it is used on a model: one for routed experts takes every linear layer where there are none.

    Raises:
        UserError: unknown, or a name that several formats share.
    """
    known = format_named(format) if isinstance(format, str) else format
    if known.quantizes != _EXPERTS_ONLY or any(role_of(t) == "experts" for t, _ in architecture.counted_tensors()):
        return known
    return replace(known, quantizes=_EXPERTS_ONLY | {"linear"})


_EXPERTS_ONLY = frozenset({"experts"})


def tensor_bytes(tensor: Tensor, layout: Layout) -> tuple[int, int]:
    """Return (bytes of the numbers, bytes of scales and padding-free metadata) of all copies of ``tensor``."""
    values, extra = layout.matrix_bytes(tensor.shape)
    return values * tensor.copies, extra * tensor.copies


def weight_bytes(
    architecture: Architecture, format: WeightFormat | str, *, multi_token_prediction: bool = False
) -> Estimate:
    """Return the exact weight bytes in ``format`` as a tree by part; says what stays in 16 bits.

    ``multi_token_prediction`` adds the prediction layers that some checkpoints hold beside the model.

    Raises:
        UserError: unknown format, or one that cannot hold this model.
    """
    known = format_for(architecture, format)
    if known.is_gguf:
        return _mixture_estimate(architecture, known)
    counted = list(architecture.counted_tensors())
    if multi_token_prediction:
        counted += [(tensor, 1) for tensor in architecture.multi_token_prediction]
    tally = Tally(known.title, known.source)
    for tensor, count in counted:
        tally.add(tensor, known.layout_of(tensor), known.layout, count)
    return tally.estimate(assumptions=(*architecture.assumptions, *_kept_remark(known, counted)))


def _kept_remark(known: WeightFormat, counted: list[tuple[Tensor, int]]) -> tuple[str, ...]:
    if "all" in known.quantizes:
        return ()
    kept = dict.fromkeys(role_of(tensor) for tensor, _ in counted if role_of(tensor) not in known.quantizes)
    return (f"kept in 16 bits: {', '.join(ROLE_NAMES[role] for role in kept)}",) if kept else ()


class Tally:
    """Adds up bytes by part, quantized numbers, scales and kept tensors apart."""

    def __init__(self, title: str, sources: tuple[str, ...]) -> None:
        self._title = title
        self._sources = sources
        self._sums: dict[tuple[Part, str], int] = {}
        self._elements: dict[tuple[Part, str], int] = {}

    def add(self, tensor: Tensor, layout: Layout, quantized: Layout, count: int) -> None:
        """Count ``count`` tensors like ``tensor`` stored as ``layout``; ``quantized`` is the format's own layout."""
        values, extra = tensor_bytes(tensor, layout)
        whole = layout is quantized or layout.scale_bits > 0
        self._put((tensor.part, "numbers" if whole else layout.plain_name), values * count, tensor.elements * count)
        self._put((tensor.part, "scales"), extra * count, 0)

    def _put(self, key: tuple[Part, str], size: int, elements: int) -> None:
        self._sums[key] = self._sums.get(key, 0) + size
        self._elements[key] = self._elements.get(key, 0) + elements

    def estimate(self, *, name: str = "weights", assumptions: tuple[str, ...] = ()) -> Estimate:
        """Return the tree: parts, each with its quantized numbers, their scales, and what is kept."""
        parts = []
        for part, words in PART_NAMES.items():
            leaves = [self._leaf(key, size) for key, size in self._sums.items() if key[0] == part]
            if leaves:
                parts.append(total(words, leaves, unit="bytes"))
        return total(
            name, parts, unit="bytes", formula="sum over tensors of numbers + scales + zero points, rounded up to"
            " whole words and blocks", sources=self._sources, assumptions=assumptions,
        )  # fmt: skip

    def _leaf(self, key: tuple[Part, str], size: int) -> Estimate:
        part, what = PART_NAMES[key[0]], key[1]
        scales = what == "scales"
        numbers = self._elements.get((key[0], "numbers"), 0) if scales else self._elements[key]
        words = "scales and zero points" if scales else self._title if what == "numbers" else what
        bits = size * 8 / numbers if numbers else 0
        return leaf(
            f"{part}: {words}", size, "bytes",
            formula=f"numbers x bits{' of scales for each, on average,' if scales else ''} / 8",
            inputs={"numbers": numbers, "bits": int(bits) if bits == int(bits) else bits},
        )  # fmt: skip


IN_ANOTHER_FILE = "a GGUF leaves out encoder towers: llama.cpp keeps them in a file of their own (mmproj)"


def _blocks(name: str, ggml: str, size: int) -> Estimate:
    block, width = gguf_mixtures.GGML_TYPES[ggml]
    inputs = {"numbers": size // width * block, "block": block, "bytes": width}
    return leaf(name, size, "bytes", formula="numbers / block x bytes", inputs=inputs, sources=("llama_cpp",))


def _mixture_estimate(architecture: Architecture, known: WeightFormat) -> Estimate:
    sizes = gguf_mixtures.mixture_bytes(architecture, known.mixture)
    parts = []
    for part, words in PART_NAMES.items():
        leaves = [_blocks(f"{words}: {ggml}", ggml, size) for (where, ggml), size in sizes.items() if where == part]
        if leaves:
            parts.append(total(words, leaves, unit="bytes"))
    remarks = ["tensors only: a GGUF file adds its metadata, mostly the tokenizer (some MB)"]
    if any(tower.tensors and not tower.of_text for tower in architecture.towers):
        remarks.append(IN_ANOTHER_FILE)
    return total(
        "weights", parts, unit="bytes", formula="sum over tensors of rows x blocks x bytes of a block",
        sources=known.source, assumptions=(*architecture.assumptions, *remarks),
    )  # fmt: skip


def bits_per_weight(architecture: Architecture, format: WeightFormat | str) -> float:
    """Return the average bits of one parameter of this model in ``format``, everything included."""
    return weight_bytes(architecture, format).value * 8 / count_parameters(architecture)
