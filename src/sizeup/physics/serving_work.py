"""What one serving step has to do, read off an Architecture and a weight format once: products, attention, bytes.

Everything is per model, before a layout divides it; :mod:`sizeup.physics.serving_time` divides it.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from sizeup.errors import UserError
from sizeup.llm.architecture import Architecture, TokenCache
from sizeup.llm.formats import WeightFormat, format_named
from sizeup.llm.gguf_mixtures import mixture_bytes
from sizeup.llm.parameters import parameters_by_part
from sizeup.physics.training_work import Experts, Split, step_work

HALF_BYTES = 2.0
"""Bytes of a number that a format keeps: 16 bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """How weights of one role lie in memory and in which format their products run."""

    bytes_per_value: float
    dtype: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightRoles:
    """How the weights of linear layers, experts and the head are stored."""

    linear: Stored
    experts: Stored
    head: Stored
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """``count`` equal linear layers: (out x in) weights divided along ``split``."""

    out_features: int
    in_features: int
    split: Split
    count: int
    stored: Stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """``count`` equal attentions: as prefill computes them, and as a decode step reads their cache.

    A latent cache (``absorbed_dim`` > 0) is read once for all heads: ``cache_dim`` numbers per token, products over
    ``cache_dim`` for scores and ``absorbed_dim`` for values.
    """

    heads: int
    kv_heads: int
    key_dim: int
    value_dim: int
    count: int
    window: int | None = None
    stride: int = 1
    absorbed_dim: int = 0
    cache_dim: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingWork:
    """The work of a model in one weight format, per token where it says so; names as in ``StepWork``."""

    hidden: int
    vocabulary: int
    layers: int
    products: tuple[Product, ...]
    experts: tuple[Experts, ...]
    expert_stored: Stored
    head_stored: Stored
    attentions: tuple[Attention, ...]
    state_values: int
    hidden_values: float
    inner_values: float
    routed_values: float
    reductions: int
    kernels: int
    weight_only: bool
    notes: tuple[str, ...] = ()


TWO_KERNELS = ("awq-int4", "gptq-int8")
"""Formats whose products take two kernels outside of servers: AWQ adds up partial sums, 8-bit GPTQ unpacks first.

Source: [autoawq], [gptq]
"""

_BITS_NAME = re.compile(r"exl2-(?P<exl>[\d.]+)|int(?P<int>\d+)-g(?P<group>\d+)")


def _product_dtype(known: WeightFormat) -> str:
    """Return the name of the kernels that compute with a format."""
    if known.is_gguf or known.bits_per_weight >= 16:
        return "bf16"
    if known.name.startswith(("fp8-block", "nvfp4", "mxfp4")):
        return known.name
    if known.compute in ("fp8", "int8") and known.name != "int8":
        return known.compute
    # 8-bit GPTQ runs in the same kernels as 4-bit: unpacked on the way to the tensor cores
    return "int4" if known.bits_per_weight < 6 or known.name.startswith("gptq") else "bf16"


def weight_roles(architecture: Architecture, name: str) -> WeightRoles:
    """Return how ``name`` stores the weights; "exl2-4.0" and "int4-g32" are read from their names.

    Raises:
        UserError: no such format.
    """
    half = Stored(bytes_per_value=HALF_BYTES, dtype="bf16")
    match = _BITS_NAME.fullmatch(name)
    if match:
        # a group of int4 shares a 16-bit scale and a 16-bit zero point
        bits = float(match["exl"]) if match["exl"] else float(match["int"]) + 2 * 16 / float(match["group"])
        stored = Stored(bytes_per_value=bits / 8, dtype="int4")
        head = stored if match["exl"] else half
        return WeightRoles(linear=stored, experts=stored, head=head, notes=(f"{name}: {bits:g} bits per weight",))
    known = format_named(name)
    if known.is_gguf:
        return _mixture_roles(architecture, known)
    stored = Stored(bytes_per_value=known.layout.nominal_bits / 8, dtype=_product_dtype(known))
    kept = Stored(bytes_per_value=known.kept.nominal_bits / 8, dtype="bf16")
    whole = "all" in known.quantizes
    return WeightRoles(
        linear=stored if whole or "linear" in known.quantizes else kept,
        experts=stored if whole or "experts" in known.quantizes else kept,
        head=stored if whole or "head" in known.quantizes else kept,
    )


def _mixture_roles(architecture: Architecture, known: WeightFormat) -> WeightRoles:
    sizes, counts = mixture_bytes(architecture, known.mixture), parameters_by_part(architecture)

    def mean(parts: frozenset[str]) -> Stored:
        elements = sum(count for part, count in counts.items() if part in parts)
        size = sum(value for (part, _), value in sizes.items() if part in parts)
        return Stored(bytes_per_value=size / elements if elements else HALF_BYTES, dtype="bf16")

    linear = mean(frozenset({"attention", "mlp", "shared_experts", "ssm"}))
    head = mean(frozenset({"head"})) if counts.get("head") else mean(frozenset({"embedding"}))
    experts = mean(frozenset({"experts"}))
    if experts.bytes_per_value < 1:
        # experts of few bits run like other 4-bit experts: curves of 16-bit ones hold their larger reads
        experts = Stored(bytes_per_value=experts.bytes_per_value, dtype="int4")
    return WeightRoles(linear=linear, experts=experts, head=head)


def _attentions(architecture: Architecture) -> list[Attention]:
    found = []
    for layer, count in architecture.distinct_layers():
        latent = [cache for cache in layer.caches if isinstance(cache, TokenCache) and cache.name == "latent"]
        for mixer in layer.mixers:
            if mixer.kind != "attention" or mixer.over != "tokens":
                continue
            reach = mixer.window
            if mixer.top_k_tokens is not None:
                reach = mixer.top_k_tokens if reach is None else min(reach, mixer.top_k_tokens)
            absorbed = mixer.latent_dim > 0 and bool(latent)
            found.append(
                Attention(
                    heads=mixer.heads, kv_heads=mixer.kv_heads, key_dim=mixer.key_dim, value_dim=mixer.value_dim,
                    count=count, window=reach, stride=mixer.stride,
                    absorbed_dim=latent[0].key_dim if absorbed else 0,
                    cache_dim=latent[0].elements_per_token if absorbed else 0,
                )
            )  # fmt: skip
    return found


@functools.lru_cache(maxsize=512)
def serving_work(architecture: Architecture, weight_format: str) -> ServingWork:
    """Return the work of ``architecture`` with weights stored as ``weight_format``.

    Raises:
        UserError: unknown format, or a model that generates no text.
    """
    if not architecture.vocabulary_size:
        raise UserError(f"{architecture.model_type} has no vocabulary and generates no text")
    work, roles = step_work(architecture, multi_token_prediction=False), weight_roles(architecture, weight_format)
    half = Stored(bytes_per_value=HALF_BYTES, dtype="bf16")
    routers = {e.experts for e in work.experts}
    products = tuple(
        Product(
            out_features=p.out_features, in_features=p.in_features, split=p.split, count=p.count,
            stored=half if p.split == "none" and p.out_features in routers else roles.linear,
        )
        for p in work.products
    )  # fmt: skip
    states = sum(m.mixer.state_elements * m.count for m in work.mixings if m.mixer.kind != "attention")
    return ServingWork(
        hidden=work.hidden, vocabulary=work.vocabulary, layers=work.layers, products=products, experts=work.experts,
        expert_stored=roles.experts, head_stored=roles.head, attentions=tuple(_attentions(architecture)),
        state_values=states, hidden_values=work.hidden_values, inner_values=work.inner_values,
        routed_values=work.routed_values, reductions=work.reductions,
        kernels=work.kernels + (sum(p.count for p in products) if weight_format in TWO_KERNELS else 0),
        weight_only=roles.linear.dtype in ("bf16", "int4") and roles.linear.bytes_per_value < HALF_BYTES,
        notes=roles.notes,
    )  # fmt: skip
