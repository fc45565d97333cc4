"""What a sequence makes the model remember: key-value, latent, indexer and recurrent caches, exact, by layer kind.

How many tokens a layer keeps is the engine's decision; this module holds the rule of ``transformers`` (5.23), which
allocates as it goes. Other engines round and group on top of the same per-token numbers.
"""

from __future__ import annotations

from sizeup.errors import UserError, nearest_names
from sizeup.estimate import Estimate, leaf, total
from sizeup.llm.architecture import Architecture, Cache, StateCache, TokenCache

CACHE_DTYPE_BITS: dict[str, float] = {
    "fp32": 32, "bf16": 16, "fp16": 16, "fp8": 8, "int8": 8,
    "q8_0": 8.5, "q5_1": 6, "q5_0": 5.5, "q4_1": 5, "q4_0": 4.5, "iq4_nl": 4.5,
}  # fmt: skip
"""Bits per cached number; the q-types are llama.cpp's blocks of 32 with their scales."""

CACHE_DTYPE_ALIASES = {
    "float32": "fp32", "f32": "fp32", "bfloat16": "bf16", "float16": "fp16", "f16": "fp16", "half": "fp16",
    "float8_e4m3fn": "fp8", "fp8_e4m3": "fp8", "fp8_e5m2": "fp8", "float8_e5m2": "fp8", "float64": "fp32",
}  # fmt: skip


def cache_dtype(name: str) -> str:
    """Return the canonical name of a cache dtype.

    Raises:
        UserError: unknown dtype.
    """
    key = name.lower()
    key = CACHE_DTYPE_ALIASES.get(key, key)
    if key not in CACHE_DTYPE_BITS:
        raise UserError(f'no cache dtype is called "{name}"', nearest=nearest_names(name, CACHE_DTYPE_BITS))
    return key


def kept_tokens(cache: TokenCache, tokens: int, *, encoder_tokens: int = 0) -> int:
    """Return the entries that ``transformers`` keeps for a sequence of ``tokens``.

    A window of w keeps the last w - 1 tokens (the next query adds itself); a compressed cache one entry per stride,
    or the tokens that wait for the next full stride.
    """
    length = encoder_tokens if cache.of == "encoder" else tokens
    if length < cache.after:
        return 0
    if cache.window is not None:
        length = min(length, cache.window - 1)
    return length % cache.stride if cache.remainder else length // cache.stride


def cache_elements(cache: Cache, tokens: int, *, encoder_tokens: int = 0) -> int:
    """Return the numbers that ``cache`` holds for one sequence of ``tokens``."""
    if isinstance(cache, StateCache):
        return cache.elements if tokens >= cache.after else 0
    return cache.elements_per_token * kept_tokens(cache, tokens, encoder_tokens=encoder_tokens)


def _bits(cache: Cache, dtype: str) -> float:
    return CACHE_DTYPE_BITS[cache_dtype(cache.dtype)] if cache.dtype else CACHE_DTYPE_BITS[dtype]


def _bytes(elements: int, bits: float) -> int:
    """Return whole bytes; every cache dtype has a whole number of half bits."""
    return -(-elements * int(bits * 2) // 16)


def cache_total(architecture: Architecture, *, tokens: int, sequences: int = 1, dtype: str = "bf16") -> int:
    """Return the value of :func:`cache_size` alone [bytes], quickly, for searches."""
    dtype = cache_dtype(dtype)
    return sum(
        _bytes(
            count * sequences * cache_elements(cache, tokens, encoder_tokens=architecture.encoder_tokens),
            _bits(cache, dtype),
        )
        for layer, count in architecture.distinct_layers()
        for cache in layer.caches
    )


def cache_size(architecture: Architecture, *, tokens: int, sequences: int = 1, dtype: str = "bf16") -> Estimate:
    """Return the cache of ``sequences`` sequences of ``tokens`` tokens [bytes], by layer kind.

    Source: [pope2022] section 3.3 for the key-value cache; layer rules from transformers 5.23 ``cache_utils.py``.
    """
    dtype = cache_dtype(dtype)
    parts = []
    for layer, count in architecture.distinct_layers():
        for cache in layer.caches:
            elements = cache_elements(cache, tokens, encoder_tokens=architecture.encoder_tokens)
            parts.append(_cache_part(layer.kind, cache, count, elements, sequences, _bits(cache, dtype)))
    return total("cache", parts, unit="bytes", assumptions=_remarks(architecture, tokens))


def _cache_part(kind: str, cache: Cache, layers: int, elements: int, sequences: int, bits: float) -> Estimate:
    size = _bytes(layers * elements * sequences, bits)
    if isinstance(cache, StateCache):
        formula, inputs = "layers x sequences x elements x bytes", {"elements": elements}
    else:
        width = f"{cache.key_dim} + {cache.value_dim}"
        kept = elements // cache.elements_per_token if cache.elements_per_token else 0
        formula = f"layers x sequences x kept_tokens x heads x ({width}) x bytes"
        inputs = {"kept_tokens": kept, "heads": cache.heads}
    return leaf(
        f"{cache.name.replace('_', ' ')}, {layers} x {kind.replace('_', ' ')}",
        size,
        "bytes",
        formula=formula,
        inputs={
            "layers": layers,
            "sequences": sequences,
            **inputs,
            "bytes": int(bits / 8) if bits % 8 == 0 else bits / 8,
        },
        sources=("pope2022", "transformers"),
    )


def _remarks(architecture: Architecture, tokens: int) -> tuple[str, ...]:
    if architecture.max_positions and tokens > architecture.max_positions:
        return (f"{tokens:,} tokens are more than the {architecture.max_positions:,} positions the model was made for",)
    return ()


def growth_per_token(architecture: Architecture, *, dtype: str = "bf16") -> float:
    """Return the bytes that one more token adds far beyond every window."""
    dtype = cache_dtype(dtype)
    return sum(
        cache.elements_per_token / cache.stride * _bits(cache, dtype) / 8 * count
        for layer, count in architecture.distinct_layers()
        for cache in layer.caches
        if isinstance(cache, TokenCache) and cache.window is None and cache.of == "tokens" and not cache.remainder
    )
