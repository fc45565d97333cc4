"""The small attention that picks which tokens a large one reads (DeepSeek sparse attention)."""

from __future__ import annotations

from sizeup.llm.architecture import Block, Mixer, TokenCache
from sizeup.llm.blocks import linear, norm


def indexer(
    *,
    hidden: int,
    q_rank: int,
    heads: int,
    head_dim: int,
    cache_dtype: str | None = None,
    prefix: str = "self_attn.indexer",
) -> Block:
    """Return the lightning indexer of DeepSeek-V3.2: queries from the low-rank query, one cached key per token.

    ``cache_dtype`` is for a key whose storage does not follow the cache dtype.
    """
    tensors = (
        *linear(f"{prefix}.wq_b", use="other", part="indexer", out=heads * head_dim, into=q_rank),
        *linear(f"{prefix}.wk", use="other", part="indexer", out=head_dim, into=hidden),
        *norm(f"{prefix}.k_norm", head_dim, bias=True, part="indexer"),
        *linear(f"{prefix}.weights_proj", use="other", part="indexer", out=heads, into=hidden),
    )
    mixer = Mixer(kind="attention", heads=heads, kv_heads=1, key_dim=head_dim)
    kept = TokenCache(name="indexer", heads=1, key_dim=head_dim, value_dim=0, dtype=cache_dtype)
    return Block(tensors, (mixer,), (kept,))
