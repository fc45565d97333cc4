"""The cache as each engine allocates it: pages, groups of layers, windows and states, for one rank of a stage."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from sizeup.errors import UserError
from sizeup.estimate import Estimate, leaf, total
from sizeup.llm.architecture import Architecture, Cache, Layer, StateCache, TokenCache
from sizeup.llm.cache import CACHE_DTYPE_BITS, cache_dtype, cache_size, kept_tokens
from sizeup.physics.numeric import ceil_div
from sizeup.physics.serving_memory import full_pages, heads_per_rank, llama_window_tokens, window_pages
from sizeup.plan.engines import Engine, engine

CACHE_ENGINES = ("transformers", "vllm", "sglang", "llama.cpp", "tensorrt-llm")
"""Engines whose cache rule is known; a version may follow: ``vllm==0.10``."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What layers of one kind take for a sequence: ``layers`` x ``units`` (pages or tokens) x ``unit_bytes``.

    ``padding`` are layers that do not exist, but for which a group of fewer than the others has pages too.
    """

    kind: LayerCache
    layers: int
    units: int
    unit_bytes: float
    padding: int = 0

    @property
    def size_bytes(self) -> float:
        """The product, padding included."""
        return (self.layers + self.padding) * self.units * self.unit_bytes


def sequence_bytes(kinds: dict[LayerCache, int], length: int, rules: CacheRules) -> float:
    """Return what a sequence of ``length`` tokens takes of one rank's cache [bytes], whole pages."""
    return float(sum(share.size_bytes for share in sequence_shares(kinds, length, rules)))


def sequence_shares(kinds: dict[LayerCache, int], length: int, rules: CacheRules) -> list[Share]:
    """Return what a sequence of ``length`` tokens takes of one rank's cache, by kind of layer."""
    if rules.engine.hybrid and len(kinds) > 1 and rules.engine.budget not in ("context", "grows"):
        return _grouped(kinds, length, rules)
    each = {"context": _llama_units, "grows": _grown_units}.get(rules.engine.budget, _page_units)
    found = []
    for kind, count in kinds.items():
        units, unit_bytes = each(kind, length, rules)
        found.append(Share(kind=kind, layers=count, units=units, unit_bytes=unit_bytes))
    return found


def state_bytes(kinds: dict[LayerCache, int], rules: CacheRules) -> float:
    """Return the states of one sequence where they are not pages of the pool [bytes]."""
    if rules.engine.budget in ("context", "grows") or (rules.engine.hybrid and len(kinds) > 1):
        return 0.0
    return sum(kind.state_bytes * count for kind, count in kinds.items())


def _page_units(kind: LayerCache, length: int, rules: CacheRules) -> tuple[int, float]:
    """Every layer keeps every token, in pages of the pool; states are beside it (:func:`state_bytes`)."""
    block = rules.engine.block_tokens
    return int(full_pages(tokens=length, block=block)), block * kind.token_bytes


def _grown_units(kind: LayerCache, length: int, rules: CacheRules) -> tuple[int, float]:
    if not kind.token_bytes:
        return 1, kind.state_bytes
    window = TokenCache(heads=1, key_dim=1, value_dim=0, window=kind.window)
    return kept_tokens(window, length), kind.token_bytes


def _llama_units(kind: LayerCache, length: int, rules: CacheRules) -> tuple[int, float]:
    if not kind.token_bytes:
        return 1, kind.state_bytes
    tokens = length
    if kind.window and rules.engine.hybrid:
        tokens = int(llama_window_tokens(tokens=length, window=kind.window, micro_batch=rules.engine.micro_batch))
    return tokens, kind.token_bytes


def group_size(counts: Iterable[int]) -> int:
    """Return how many layers share a page table: the rarest kind's count, or the most frequent's if they are close.

    >>> group_size([10, 50]), group_size([12, 12]), group_size([20, 24])
    (10, 12, 24)

    Source: [vllm_code] kv_cache_utils
    """
    numbers = list(counts)
    return max(numbers) if max(numbers) < GROUP_SLACK * min(numbers) else min(numbers)


def _grouped(kinds: dict[LayerCache, int], length: int, rules: CacheRules) -> list[Share]:
    """Every kind of layer in groups of equal size, every page of a group as large as the largest."""
    block = rules.engine.block_tokens
    widest = max(kind.token_bytes for kind in kinds)
    states = max(kind.state_bytes for kind in kinds)
    if states and widest:
        block = int(ceil_div(ceil_div(states, widest), block) * block)
    page = max(block * widest, states)
    size = group_size(kinds.values())
    return [
        Share(
            kind=kind, layers=count, padding=-count % size, unit_bytes=page,
            units=_pages(kind, length, page, rules.batched_tokens),
        )
        for kind, count in kinds.items()
    ]  # fmt: skip


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


def cache_engine(name: str) -> Engine:
    """Return the rules of the engine that ``name`` names, at its default version or the one after ``==``.

    >>> cache_engine("vllm").version == cache_engine("vllm==0.10").version
    False

    Raises:
        UserError: an engine whose cache rule is not known.
    """
    word, _, version = name.partition("==")
    known = {engine(one).name for one in CACHE_ENGINES}
    try:
        found = engine(word.strip(), version.strip())
    except UserError:
        found = None
    if found is None or found.name not in known:
        raise UserError(f'no cache rule for engine "{name[:60]}"', hint=f"known: {', '.join(CACHE_ENGINES)}")
    return found


def cache_rules(name: str, batched_tokens: int | None = None) -> CacheRules:
    """Return the rules of the engine that ``name`` names, with its own batch where none is given."""
    used = cache_engine(name)
    return CacheRules(engine=used, batched_tokens=batched_tokens or used.batched_tokens)


def engine_cache_size(
    architecture: Architecture, *, rules: CacheRules, tokens: int, sequences: int = 1, dtype: str = "bf16"
) -> Estimate:
    """Return what an engine allocates for ``sequences`` sequences of ``tokens`` tokens [bytes], by kind of layer.

    One card that holds the whole model; transformers' own rule is :func:`sizeup.llm.cache.cache_size`.

    Raises:
        UserError: a cache that depends on an encoder, or a dtype that the engine does not keep.
    """
    used = rules.engine
    if used.budget == "grows":
        return cache_size(architecture, tokens=tokens, sequences=sequences, dtype=dtype)
    dtype = _kept_in(used, dtype)
    if any(getattr(cache, "of", "tokens") != "tokens" for layer in architecture.layers for cache in layer.caches):
        raise UserError(f"the rule of {used.title} for a cache of an encoder's states is not known")
    kinds = layer_caches(architecture.layers, dtype=dtype, tp=1)
    parts = [part for share in sequence_shares(kinds, tokens, rules) for part in _parts(share, sequences, used)]
    beside = math.ceil(state_bytes(kinds, rules) * sequences)
    if beside:
        parts.append(leaf("states beside the pages", beside, "bytes", sources=used.sources))
    noted = f"as {used.title} {used.version} allocates it"
    if used.hybrid and used.budget == "share" and len(kinds) > 1:
        noted += f", with {rules.batched_tokens:,} tokens in a batch"
    return total("cache", [part for part in parts if part.value], unit="bytes", assumptions=(noted,))


def _kept_in(used: Engine, dtype: str) -> str:
    """Return the dtype's canonical name; llama.cpp alone keeps blocks of its own, and no fp8 or int8."""
    known = cache_dtype(dtype)
    blocks = known.startswith(("q", "iq"))
    if blocks != (used.budget == "context") and (blocks or known in ("fp8", "int8")):
        raise UserError(f"{used.title} keeps no cache in {known}")
    return known


def _parts(share: Share, sequences: int, used: Engine) -> list[Estimate]:
    """Return the leaves of one kind of layer: its layers, and the padding of its last group."""
    kind = share.kind
    window = f", window of {kind.window:,}" if kind.window else ""
    name = f"{share.layers} layers{window}" if kind.token_bytes else f"{share.layers} states"
    found = [_leaf(name, share, share.layers, sequences, used)]
    if share.padding:
        found.append(_leaf(f"padding of the last group{window}", share, share.padding, sequences, used))
    return found


def _leaf(name: str, share: Share, layers: int, sequences: int, used: Engine) -> Estimate:
    size = share.unit_bytes
    unit = "tokens" if used.budget == "context" else "pages"
    inputs = {
        "sequences": sequences, "layers": layers, unit: share.units,
        "bytes": int(size) if float(size).is_integer() else size,
    }  # fmt: skip
    value = math.ceil(layers * share.units * size * sequences)
    return leaf(name, value, "bytes", formula=" x ".join(inputs), inputs=inputs, sources=used.sources)
