"""The cache as each engine allocates it: pages, groups of layers, windows and states, for one rank of a stage."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sizeup.llm.architecture import Cache, Layer, StateCache, TokenCache
from sizeup.llm.cache import CACHE_DTYPE_BITS, cache_dtype, kept_tokens
from sizeup.physics.numeric import ceil_div
from sizeup.physics.serving_memory import full_pages, heads_per_rank, llama_window_tokens, window_pages
from sizeup.plan.engines import Engine

GROUP_SLACK = 1.25
"""vLLM pads kinds of layers to one group while the most frequent has less than this many times the rarest."""


@dataclass(frozen=True, slots=True)
class LayerCache:
    """What one layer of a rank keeps: bytes per token (none for a state), its window, and bytes of its state."""

    token_bytes: float
    window: int | None
    state_bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheRules:
    """What decides how much an engine sets aside for a sequence."""

    engine: Engine
    batched_tokens: int


def layer_caches(layers: Iterable[Layer], *, dtype: str, tp: int) -> dict[LayerCache, int]:
    """Return the kinds of caches in ``layers`` on one rank, with how many layers have each."""
    counts: dict[LayerCache, int] = {}
    for layer in layers:
        for kind in _layer_kinds(layer.caches, cache_dtype(dtype), tp):
            counts[kind] = counts.get(kind, 0) + 1
    return counts


def _layer_kinds(caches: tuple[Cache, ...], dtype: str, tp: int) -> list[LayerCache]:
    tokens: dict[int | None, float] = {}
    state = 0.0
    for cache in caches:
        bits = CACHE_DTYPE_BITS[cache_dtype(cache.dtype)] if cache.dtype else CACHE_DTYPE_BITS[dtype]
        if isinstance(cache, StateCache):
            state += cache.elements * bits / 8 / tp
        elif cache.of == "tokens" and not cache.remainder:
            tokens[cache.window] = tokens.get(cache.window, 0.0) + _rank_token_bytes(cache, bits, tp)
    found = [LayerCache(size, window, 0.0) for window, size in tokens.items()]
    return found + ([LayerCache(0.0, None, state)] if state else [])


def _rank_token_bytes(cache: TokenCache, bits: float, tp: int) -> float:
    each = heads_per_rank(heads=cache.heads, tp=tp)
    return float(each * (cache.key_dim + cache.value_dim) * bits / 8 / cache.stride)


def sequence_bytes(kinds: dict[LayerCache, int], length: int, rules: CacheRules) -> float:
    """Return what a sequence of ``length`` tokens takes of one rank's cache [bytes], whole pages."""
    if not kinds:
        return 0.0
    if rules.engine.budget == "context":
        return _llama_bytes(kinds, length, rules)
    if rules.engine.budget == "grows":
        return sum(_grown(kind, length) * count for kind, count in kinds.items())
    if rules.engine.hybrid and len(kinds) > 1:
        return _grouped_bytes(kinds, length, rules)
    block = rules.engine.block_tokens
    pages = full_pages(tokens=length, block=block)
    return float(sum(pages * block * kind.token_bytes * count for kind, count in kinds.items()))


def state_bytes(kinds: dict[LayerCache, int], rules: CacheRules) -> float:
    """Return the states of one sequence where they are not pages of the pool [bytes]."""
    if rules.engine.budget in ("context", "grows") or (rules.engine.hybrid and len(kinds) > 1):
        return 0.0
    return sum(kind.state_bytes * count for kind, count in kinds.items())


def _grown(kind: LayerCache, length: int) -> float:
    window = TokenCache(heads=1, key_dim=1, value_dim=0, window=kind.window)
    return kind.token_bytes * kept_tokens(window, length) + kind.state_bytes


def _llama_bytes(kinds: dict[LayerCache, int], length: int, rules: CacheRules) -> float:
    size = 0.0
    for kind, count in kinds.items():
        tokens = length
        if kind.window and rules.engine.hybrid:
            tokens = llama_window_tokens(tokens=length, window=kind.window, micro_batch=rules.engine.micro_batch)
        size += (kind.token_bytes * tokens + kind.state_bytes) * count
    return size


def group_size(counts: Iterable[int]) -> int:
    """Return how many layers share a page table: the rarest kind's count, or the most frequent's if they are close.

    >>> group_size([10, 50]), group_size([12, 12]), group_size([20, 24])
    (10, 12, 24)

    Source: [vllm_code] kv_cache_utils
    """
    numbers = list(counts)
    return max(numbers) if max(numbers) < GROUP_SLACK * min(numbers) else min(numbers)


def _grouped_bytes(kinds: dict[LayerCache, int], length: int, rules: CacheRules) -> float:
    """Every kind of layer in groups of equal size, every page of a group as large as the largest."""
    block = rules.engine.block_tokens
    widest = max(kind.token_bytes for kind in kinds)
    states = max(kind.state_bytes for kind in kinds)
    if states and widest:
        block = int(ceil_div(ceil_div(states, widest), block) * block)
    page = max(block * widest, states)
    size = group_size(kinds.values())
    pages = sum(
        ceil_div(count, size) * _pages(kind, length, page, rules.batched_tokens) for kind, count in kinds.items()
    )
    return float(pages * page * size)


def _pages(kind: LayerCache, length: int, page: float, batched_tokens: int) -> int:
    if not kind.token_bytes:
        return 1
    block = int(page // kind.token_bytes)
    if kind.window:
        return int(window_pages(tokens=length, window=kind.window, batched_tokens=batched_tokens, block=block))
    return int(full_pages(tokens=length, block=block))


def pool_tokens(kinds: dict[LayerCache, int], pool: float, rules: CacheRules, *, length: int) -> int:
    """Return the tokens that a pool holds, as the engine prints it: for mixed layers, at sequences of ``length``."""
    if pool <= 0 or not kinds:
        return 0
    if rules.engine.hybrid and len(kinds) > 1:
        return int(pool / sequence_bytes(kinds, length, rules) * length)
    block = rules.engine.block_tokens
    each = sequence_bytes(kinds, block, rules)
    if not each:
        # nothing grows with the text: as many sequences as there are states
        return int(pool / state_bytes(kinds, rules)) * length
    return int(pool // each) * block


def longest_sequence(kinds: dict[LayerCache, int], pool: float, rules: CacheRules, *, most: int) -> int:
    """Return the longest sequence up to ``most`` tokens that fits in ``pool``."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if sequence_bytes(kinds, middle, rules) <= pool else (low, middle - 1)
    return low
