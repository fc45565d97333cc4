"""llama.cpp's weight mixtures: which GGML type each tensor gets when a model is quantized to Q4_K_M, IQ2_XS, ...

A mixture is a base type and rules; the first rule whose category and conditions fit a tensor names its type.
Adding one is one record in :data:`MIXTURES`. Sizes are those of the tensors: the file adds its metadata (the
tokenizer, some MB) and a few rotary factors. Source: [llama_cpp] ``src/llama-quant.cpp`` (2026).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from sizeup.errors import UserError
from sizeup.llm.architecture import Architecture, Layer, Mixer, Part, Tensor, TokenCache

GGML_TYPES: dict[str, tuple[int, int]] = {
    "F32": (1, 4), "F16": (1, 2), "BF16": (1, 2), "F64": (1, 8),
    "I8": (1, 1), "I16": (1, 2), "I32": (1, 4), "I64": (1, 8),
    "Q1_0": (128, 18), "Q4_0": (32, 18), "Q4_1": (32, 20), "Q5_0": (32, 22), "Q5_1": (32, 24), "Q8_0": (32, 34),
    "Q8_1": (32, 40), "Q2_K": (256, 84), "Q3_K": (256, 110), "Q4_K": (256, 144), "Q5_K": (256, 176),
    "Q6_K": (256, 210), "Q8_K": (256, 292), "IQ1_S": (256, 50), "IQ1_M": (256, 56), "IQ2_XXS": (256, 66),
    "IQ2_XS": (256, 74), "IQ2_S": (256, 82), "IQ3_XXS": (256, 98), "IQ3_S": (256, 110), "IQ4_NL": (32, 18),
    "IQ4_XS": (256, 136), "TQ1_0": (256, 54), "TQ2_0": (256, 66), "MXFP4": (32, 17), "NVFP4": (64, 36),
}  # fmt: skip
"""Elements and bytes of one block of each GGML type, scales included ([gguf] ``GGML_QUANT_SIZES``)."""

Category = Literal["any", "token", "output", "query", "key", "value", "attention_output", "up", "gate", "down", "other"]

_FALLBACK = {
    "IQ1_S": "IQ4_NL", "IQ1_M": "IQ4_NL", "IQ2_XXS": "IQ4_NL", "IQ2_XS": "IQ4_NL", "IQ2_S": "IQ4_NL",
    "IQ3_XXS": "IQ4_NL", "IQ3_S": "IQ4_NL", "IQ4_XS": "IQ4_NL", "Q2_K": "Q4_0", "Q3_K": "Q4_0", "TQ1_0": "Q4_0",
    "TQ2_0": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0",
}  # fmt: skip
"""What replaces a type of 256-element blocks where a row is not a multiple of 256."""


@dataclass(frozen=True, slots=True)
class Rule:
    """``type`` for tensors of ``category`` where every condition of ``when`` holds (``!`` negates one)."""

    category: Category
    type: str
    when: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """One llama.cpp file type.

    Attributes:
        base: type of every quantized tensor that no rule names.
        output: type of the head (and of tied embeddings); "" for Q6_K.
        typical_bits: bits per weight of Llama-3.1-8B, what stands for the mixture where only a size is known.
        few_bits: the 1 and 2-bit family, which has its own handling of values and keys.
    """

    base: str
    typical_bits: float
    rules: tuple[Rule, ...] = ()
    output: str = ""
    few_bits: bool = False

    @property
    def needs_imatrix(self) -> bool:
        """Whether llama.cpp refuses to make it without an importance matrix."""
        return self.few_bits or self.base in ("IQ3_XXS",)


def _few_bits(base: str, typical_bits: float, *, better: str, attention_output: str = "") -> Mixture:
    rules = [
        Rule("token", better), Rule("value", "Q4_K", "gqa4"), Rule("value", "Q4_K", "experts4"), Rule("value", better),
        Rule("key", "Q4_K", "experts8"), Rule("down", better, "first_downs"),
        Rule("attention_output", "Q5_K", "experts8"),
    ]  # fmt: skip
    if attention_output:
        rules.append(Rule("attention_output", attention_output))
    return Mixture(base=base, typical_bits=typical_bits, rules=tuple(rules), output="Q5_K", few_bits=True)


_EIGHT_OUTPUT = Rule("attention_output", "Q5_K", "experts8 !falcon")
_MIDDLE_XXS = (Rule("gate", "IQ3_XXS", "middle"), Rule("up", "IQ3_XXS", "middle"))

MIXTURES: dict[str, Mixture] = {
    "f32": Mixture(base="F32", typical_bits=32.0),
    "f16": Mixture(base="F16", typical_bits=16.0005),
    "bf16": Mixture(base="BF16", typical_bits=16.0005),
    "q4_0": Mixture(base="Q4_0", typical_bits=4.6358, rules=(Rule("down", "Q4_1", "imatrix first_eighth"),)),
    "q4_1": Mixture(base="Q4_1", typical_bits=5.1031),
    "q5_0": Mixture(base="Q5_0", typical_bits=5.5704, rules=(Rule("down", "Q5_1", "imatrix first_eighth"),)),
    "q5_1": Mixture(base="Q5_1", typical_bits=6.0377),
    "q8_0": Mixture(base="Q8_0", typical_bits=8.5008, output="Q8_0"),
    "q2_k": Mixture(
        base="Q2_K", typical_bits=3.1593,
        rules=(
            Rule("value", "Q4_K", "gqa4"), Rule("value", "Q3_K"), Rule("down", "Q3_K"), _EIGHT_OUTPUT,
            Rule("attention_output", "Q3_K", "!falcon !experts8"),
        ),
    ),
    "q2_k_s": Mixture(
        base="Q2_K", typical_bits=2.9697, rules=(Rule("value", "Q4_K", "gqa4"), Rule("down", "Q4_K", "first_eighth"))
    ),
    "q3_k_s": Mixture(base="Q3_K", typical_bits=3.6429, rules=(_EIGHT_OUTPUT,)),
    "q3_k_m": Mixture(
        base="Q3_K", typical_bits=3.9960,
        rules=(
            Rule("value", "Q5_K", "first_two_values"), Rule("value", "Q4_K"), Rule("down", "Q5_K", "first_sixteenth"),
            Rule("down", "Q4_K", "!falcon"), Rule("down", "Q4_K", "more_bits"), _EIGHT_OUTPUT,
            Rule("attention_output", "Q4_K", "!falcon !experts8"),
        ),
    ),
    "q3_k_l": Mixture(
        base="Q3_K", typical_bits=4.2979,
        rules=(
            Rule("value", "Q5_K"), Rule("down", "Q4_K", "falcon"), Rule("down", "Q5_K"),
            Rule("attention_output", "Q4_K", "falcon"), Rule("attention_output", "Q5_K", "!experts8"),
        ),
    ),
    "q4_k_s": Mixture(
        base="Q4_K", typical_bits=4.6672,
        rules=(
            Rule("value", "Q5_K", "first_four_values"), Rule("down", "Q5_K", "!falcon first_eighth"), _EIGHT_OUTPUT,
        ),
    ),
    "q4_k_m": Mixture(
        base="Q4_K", typical_bits=4.8944,
        rules=(
            Rule("value", "Q6_K", "more_values"), Rule("down", "Q6_K", "falcon first_sixteenth"),
            Rule("down", "Q5_K", "falcon more_bits"), Rule("down", "Q6_K", "!falcon more_bits"), _EIGHT_OUTPUT,
        ),
    ),
    "q5_k_s": Mixture(base="Q5_K", typical_bits=5.5704),
    "q5_k_m": Mixture(
        base="Q5_K", typical_bits=5.7036,
        rules=(Rule("value", "Q6_K", "more_values"), Rule("down", "Q6_K", "more_bits")),
    ),
    "q6_k": Mixture(base="Q6_K", typical_bits=6.5633),
    "iq1_s": _few_bits("IQ1_S", 2.0042, better="Q2_K", attention_output="IQ2_XXS"),
    "iq1_m": _few_bits("IQ1_M", 2.1460, better="Q2_K", attention_output="IQ2_XXS"),
    "iq2_xxs": _few_bits("IQ2_XXS", 2.3824, better="Q2_K"),
    "iq2_xs": _few_bits("IQ2_XS", 2.5882, better="Q2_K"),
    "iq2_s": _few_bits("IQ2_XS", 2.7403, better="IQ3_S", attention_output="IQ3_S"),
    "iq2_m": _few_bits("IQ2_S", 2.9294, better="IQ3_S", attention_output="IQ3_S"),
    "iq3_xxs": Mixture(
        base="IQ3_XXS", typical_bits=3.2548, output="Q5_K",
        rules=(
            Rule("token", "IQ3_S"), Rule("value", "Q4_K", "gqa4"), Rule("value", "IQ3_S", "!imatrix"),
            Rule("key", "IQ2_S", "!experts8"), Rule("query", "IQ2_S"), Rule("down", "Q4_K", "!imatrix first_eighth"),
            Rule("down", "Q3_K", "!imatrix"), _EIGHT_OUTPUT, Rule("attention_output", "IQ3_S", "!falcon !experts8"),
        ),
    ),
    "iq3_xs": Mixture(
        base="IQ3_S", typical_bits=3.4977,
        rules=(
            Rule("value", "Q4_K", "gqa4"), Rule("key", "IQ3_XXS", "!experts8"), Rule("query", "IQ3_XXS"),
            _EIGHT_OUTPUT, *_MIDDLE_XXS,
        ),
    ),
    "iq3_s": Mixture(base="IQ3_S", typical_bits=3.6606, rules=(Rule("value", "Q4_K", "gqa4"), _EIGHT_OUTPUT)),
    "iq3_m": Mixture(
        base="IQ3_S", typical_bits=3.7628,
        rules=(
            Rule("value", "Q4_K"), Rule("down", "Q4_K", "first_eighth"), Rule("down", "Q4_K", "experts8 more_bits"),
            _EIGHT_OUTPUT, Rule("attention_output", "Q4_K", "!falcon !experts8"),
        ),
    ),
    "iq4_nl": Mixture(
        base="IQ4_NL", typical_bits=4.6818,
        rules=(Rule("value", "Q5_K", "gqa4"), Rule("down", "Q5_K", "!imatrix first_eighth"), _EIGHT_OUTPUT),
    ),
    "iq4_xs": Mixture(
        base="IQ4_XS", typical_bits=4.4597,
        rules=(Rule("value", "Q5_K", "gqa4"), Rule("down", "Q5_K", "!imatrix first_eighth"), _EIGHT_OUTPUT),
    ),
    "tq1_0": Mixture(base="TQ1_0", typical_bits=2.1914, rules=(Rule("token", "Q4_K"),)),
    "tq2_0": Mixture(base="TQ2_0", typical_bits=2.5173, rules=(Rule("token", "Q4_K"),)),
    "mxfp4": Mixture(base="Q8_0", typical_bits=8.5008, rules=(Rule("any", "MXFP4", "stacked"),), output="Q8_0"),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """One tensor as the file holds it, with the layer it is in (-1 outside the layers)."""

    category: Category
    part: Part
    layer: int
    rows: int
    columns: int
    quantizable: bool = True
    stacked: bool = False
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    """What the rules ask about a model."""

    layers: int
    gqa: int
    experts: int
    falcon: bool
    seventy: bool
    values: int
    tied: bool
    imatrix: bool


_CATEGORIES: dict[str, Category] = {
    "query": "query", "key": "key", "value": "value", "qkv": "value", "latent_up": "value",
    "output": "attention_output", "gate": "gate", "up": "up", "gate_up": "up", "down": "down",
    "embedding": "token", "head": "output",
}  # fmt: skip
_SEVENTY_TYPES = frozenset({"llama", "mistral", "qwen2", "qwen2_vl", "qwen2_5_vl", "nemotron-nas", "deci"})
"""Model types whose 80 layers llama.cpp takes for "70B" (with grouped-query attention)."""


def row_bytes(columns: int, ggml_type: str) -> int:
    """Return the bytes of one row of ``columns`` numbers; rows are whole blocks.

    >>> row_bytes(4096, "Q4_K"), row_bytes(64, "Q8_0")
    (2304, 68)
    """
    block, size = GGML_TYPES[ggml_type]
    if columns % block:
        raise UserError(f"a row of {columns} is not a whole number of {ggml_type} blocks of {block}")
    return columns // block * size


def _place(tensor: Tensor, layer: int) -> Placed:
    columns, rows = tensor.shape[-1], math.prod(tensor.shape[:-1]) * tensor.copies
    matrix = tensor.kind in ("linear", "embedding") and len(tensor.shape) > 1
    kept = tensor.use in ("router", "position") or tensor.part == "router"
    return Placed(
        category=_CATEGORIES.get(tensor.use, "other"), part=tensor.part, layer=layer, rows=rows, columns=columns,
        quantizable=matrix and not kept, stacked=tensor.copies > 1, name=tensor.name,
    )  # fmt: skip


def _split_latent(tensor: Tensor, layer: int, mixer: Mixer, rope_dim: int) -> tuple[Placed, Placed]:
    """Return latent attention's up-projection as the file holds it: keys transposed per head, and values."""
    latent, nope = tensor.shape[1], mixer.key_dim - rope_dim
    common = {"category": "other", "part": tensor.part, "layer": layer, "stacked": True, "name": tensor.name}
    return (
        Placed(rows=mixer.heads * latent, columns=nope, **common),  # type: ignore[arg-type]
        Placed(rows=mixer.heads * mixer.value_dim, columns=latent, **common),  # type: ignore[arg-type]
    )


def _layer_tensors(layer: Layer, index: int) -> Iterator[Placed]:
    latent = next((mixer for mixer in layer.mixers if mixer.latent_dim), None)
    kept = next((c for c in layer.caches if isinstance(c, TokenCache) and c.name == "latent"), None)
    routed_first = sorted(layer.tensors, key=lambda tensor: tensor.part == "shared_experts")
    for tensor in routed_first:
        if tensor.use == "latent_up" and latent and kept and tensor.kind == "linear":
            yield from _split_latent(tensor, index, latent, kept.value_dim)
        else:
            yield _place(tensor, index)


def _text_encoder(architecture: Architecture) -> Iterator[Placed]:
    """Yield the tensors of an encoder-decoder's encoder, each layer by itself."""
    for tensor in (tensor for tower in architecture.towers if tower.of_text for tensor in tower.tensors):
        for index in range(tensor.copies):
            yield _place(replace(tensor, copies=1, active=None), index)


def placed_tensors(architecture: Architecture) -> Iterator[Placed]:
    """Yield the tensors of the text model in the order in which llama.cpp meets them."""
    for tensor in (*architecture.embedding, *architecture.head):
        yield _place(tensor, -1)
    yield from _text_encoder(architecture)
    for index, layer in enumerate(architecture.layers):
        yield from _layer_tensors(layer, index)


def _facts(architecture: Architecture, placed: list[Placed], *, imatrix: bool) -> _Facts:
    mixers = (m for layer in architecture.layers for m in layer.mixers if m.kind == "attention" and m.kv_heads)
    first = next(mixers, None)
    kv_heads = (1 if first.latent_dim else first.kv_heads) if first else 0
    gqa = first.heads // kv_heads if first else 0
    routed = [t.copies for layer, _ in architecture.distinct_layers() for t in layer.tensors if t.part == "experts"]
    return _Facts(
        layers=len(architecture.layers), gqa=gqa, experts=max(routed, default=0),
        falcon=architecture.model_type in ("falcon", "RefinedWeb", "RefinedWebModel"),
        seventy=architecture.model_type in _SEVENTY_TYPES and len(architecture.layers) == 80 and gqa > 1,
        values=sum(p.category == "value" and p.quantizable for p in placed),
        tied=not any(p.category == "output" and p.quantizable for p in placed), imatrix=imatrix,
    )  # fmt: skip


def _more_bits(index: int, count: int) -> bool:
    """Return whether a layer is in the first or last eighth, or every third one between."""
    return index < count // 8 or index >= 7 * count // 8 or (index - count // 8) % 3 == 2


def _conditions(facts: _Facts, tensor: Placed, *, value: int, down: int) -> dict[str, bool]:
    layer, layers = tensor.layer, facts.layers
    return {
        "gqa4": facts.gqa >= 4, "experts4": facts.experts >= 4, "experts8": facts.experts == 8,
        "falcon": facts.falcon, "imatrix": facts.imatrix, "stacked": tensor.stacked,
        "first_downs": down < layers // 8, "first_eighth": layer < layers // 8, "first_sixteenth": layer < layers // 16,
        "middle": layers // 8 <= layer < 7 * layers // 8, "more_bits": _more_bits(layer, layers),
        "more_values": _more_bits(value, facts.values), "first_two_values": value < 2, "first_four_values": value < 4,
    }  # fmt: skip


def _output_type(mixture: Mixture, columns: int, *, falcon: bool) -> str:
    if mixture.output == "Q8_0" or falcon or columns % GGML_TYPES[mixture.base][0]:
        return "Q8_0"
    return mixture.output or "Q6_K"


def _chosen_type(mixture: Mixture, tensor: Placed, facts: _Facts, *, value: int, down: int) -> str:
    if tensor.category == "output" or (tensor.category == "token" and facts.tied):
        return _output_type(mixture, tensor.columns, falcon=facts.falcon)
    holds = _conditions(facts, tensor, value=value, down=down)
    chosen = mixture.base
    for rule in mixture.rules:
        fits = rule.category in (tensor.category, "any")
        if fits and all(holds[word.lstrip("!")] != word.startswith("!") for word in rule.when.split()):
            chosen = rule.type
            break
    if mixture.few_bits or mixture.base == "Q8_0":
        return chosen
    if tensor.category == "value" and facts.seventy and chosen in ("Q3_K", "Q4_K"):
        chosen = "Q5_K"
    return "Q8_0" if tensor.category in ("value", "key") and facts.experts == 8 else chosen


def _fitting_type(chosen: str, tensor: Placed) -> str:
    """Return ``chosen``, or what llama.cpp falls back to where a row is not a whole number of its blocks."""
    if tensor.columns % GGML_TYPES[chosen][0] == 0:
        return chosen
    fallback = _FALLBACK.get(chosen)
    if fallback is None:
        raise UserError(
            f"llama.cpp cannot store {tensor.name} as {chosen}: its rows of {tensor.columns} are not whole blocks"
        )
    return fallback if tensor.columns % GGML_TYPES[fallback][0] == 0 else "F16"


def tensor_types(architecture: Architecture, name: str, *, imatrix: bool | None = None) -> Iterator[tuple[Placed, str]]:
    """Yield every tensor of the file with its GGML type under the mixture ``name``.

    ``imatrix``: whether an importance matrix is used, which moves a few layers; None for only where one is required.
    """
    mixture = MIXTURES[name]
    placed = list(placed_tensors(architecture))
    facts = _facts(architecture, placed, imatrix=mixture.needs_imatrix if imatrix is None else imatrix)
    value = down = 0
    for tensor in placed:
        if not tensor.quantizable:
            yield tensor, "F32"
        elif mixture.base in ("F32", "F16", "BF16"):
            yield tensor, mixture.base
        else:
            yield tensor, _fitting_type(_chosen_type(mixture, tensor, facts, value=value, down=down), tensor)
            value += tensor.category == "value"
            down += tensor.category == "down"


def mixture_bytes(architecture: Architecture, name: str, *, imatrix: bool | None = None) -> dict[tuple[Part, str], int]:
    """Return the bytes of the file's tensors by part and GGML type."""
    sizes: dict[tuple[Part, str], int] = {}
    for tensor, ggml_type in tensor_types(architecture, name, imatrix=imatrix):
        key = (tensor.part, ggml_type)
        sizes[key] = sizes.get(key, 0) + tensor.rows * row_bytes(tensor.columns, ggml_type)
    return sizes
