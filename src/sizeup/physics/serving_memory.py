"""Memory of inference, as pure formulas of plain numbers or columns: activations, budgets, cache pages.

Sizes are bytes, lengths are tokens. What an engine chooses (shares, defaults, rules) comes in as arguments.
"""

from __future__ import annotations

from sizeup.physics.numeric import Column, ceil_div, maximum, minimum, where

HALF_BYTES = 2
"""Bytes of an activation in 16 bits."""

FLOAT_BYTES = 4
"""Bytes of an activation in 32 bits, llama.cpp's."""


def gated_layer_bytes(*, tokens: Column, hidden: Column, intermediate: Column, gated: bool = True) -> Column:
    """Return the most that one layer holds while ``tokens`` pass through it, without autograd [bytes].

    At the down projection there are the fused gate and up (2 x intermediate), their product (1 x) and three rows of
    ``hidden``: residual, normalised input, output. Without a gate only the up projection and its activation exist.

    Llama-3.1-8B, 9,000 more profiled tokens took 0.92 GiB:

    >>> round(gated_layer_bytes(tokens=9000, hidden=4096, intermediate=14336) / 2**30, 2)
    0.93

    Source: [vllm_code] models and layers; ``intermediate`` is one rank's share.
    """
    wide = 3 if gated else 2
    three_rows = 3
    return HALF_BYTES * tokens * (wide * intermediate + three_rows * hidden)


def expert_layer_bytes(*, tokens: Column, hidden: Column, expert_width: Column, top_k: Column) -> Column:
    """Return the most that a layer of routed experts holds while ``tokens`` pass through it [bytes].

    The fused kernel keeps gate and up, then reuses that buffer for the outputs, beside the products: each ``top_k``
    rows per token.

    Source: [vllm_code] fused_moe
    """
    three_rows = 3
    first = maximum(2 * expert_width, hidden)
    return HALF_BYTES * tokens * (top_k * (first + expert_width) + three_rows * hidden)


def sampler_bytes(
    *, sequences: Column, vocabulary: Column, bytes_per_logit: float, tokens: Column, hidden: Column
) -> Column:
    """Return what sampling for ``sequences`` holds while the hidden states of ``tokens`` are still there [bytes].

    Logits, their fp32 copy, and what sorting them for top-k and top-p takes; every rank has the whole vocabulary.

    Source: [vllm_code] sampler
    """
    return sequences * vocabulary * bytes_per_logit + HALF_BYTES * tokens * hidden


def split_output_bytes(*, tokens: Column, width: Column, copies: int) -> Column:
    """Return what a product takes that computes ``copies`` partial outputs and adds them up [bytes].

    Source: [vllm_code] awq_gemm before version 0.3
    """
    return HALF_BYTES * copies * tokens * width


def rotary_table_bytes(*, positions: Column, rotary_dim: Column) -> Column:
    """Return the cosine and sine table that an engine keeps beside the weights [bytes], in 16 bits.

    >>> rotary_table_bytes(positions=131072, rotary_dim=128) / 2**20
    32.0

    Source: [vllm_code] rotary_embedding
    """
    return HALF_BYTES * positions * rotary_dim


def share_pool_bytes(*, memory: Column, share: Column, taken: Column) -> Column:
    """Return the cache pool of an engine that takes a share of the whole card: memory x share - everything else.

    Source: [vllm_code]
    """
    return memory * share - taken


def free_pool_bytes(*, memory: Column, share: Column, taken: Column) -> Column:
    """Return the cache pool of an engine that takes a share of what is still free.

    Source: [tensorrt_llm] ``free_gpu_memory_fraction``
    """
    return share * maximum(memory - taken, 0)


def sglang_reserve_bytes(
    *, chunked_prefill: Column, graph_batch: Column, tp: Column, pp: Column, memory: Column, attention_dp: Column = 1
) -> Column:
    """Return what SGLang leaves outside weights and cache when no share is given [bytes].

    In MiB: 512 + 1.5 per prefilled token (at least 2,048) + 2 per sequence of the largest graph + 1,024 for every 8
    ranks, 3 more per sequence and rank with data-parallel attention (4.5 beyond 300); at least 10 GiB on cards above
    60 GiB.

    >>> sglang_reserve_bytes(chunked_prefill=8192, graph_batch=256, tp=1, pp=1, memory=79 * 2**30) / 2**20
    13440.0

    Source: [sglang] server_args
    """
    mib, gib = 2**20, 2**30
    prefill = 1.5 * maximum(chunked_prefill, 2048)
    each = where(graph_batch > 300, 4.5, 3.0)
    attention = where(attention_dp > 1, graph_batch * attention_dp * each, 0)
    reserve = mib * (512 + prefill + 2 * graph_batch + 1024 * tp * pp / 8 + attention)
    return where(memory > 60 * gib, maximum(reserve, 10 * gib), reserve)


def heads_per_rank(*, heads: Column, tp: Column) -> Column:
    """Return the cached heads of one rank: divided down to one, then replicated.

    >>> heads_per_rank(heads=8, tp=4), heads_per_rank(heads=8, tp=16), heads_per_rank(heads=1, tp=8)
    (2, 1, 1)

    Source: [vllm_code]
    """
    return maximum(1, ceil_div(heads, tp))


def full_pages(*, tokens: Column, block: Column) -> Column:
    """Return the pages that ``tokens`` fill in layers that see everything."""
    return ceil_div(tokens, block)


def window_pages(*, tokens: Column, window: Column, batched_tokens: Column, block: Column) -> Column:
    """Return the pages that one sequence needs in layers with a sliding window.

    While a chunk of ``batched_tokens`` is computed the window reaches before it; one more page because the window
    need not start at a page's first token.

    >>> window_pages(tokens=32768, window=1024, batched_tokens=2048, block=16)
    193

    Source: [vllm_code] kv_cache_interface
    """
    return ceil_div(minimum(window - 1 + batched_tokens, tokens), block) + 1


def llama_window_tokens(*, tokens: Column, window: Column, micro_batch: Column) -> Column:
    """Return the tokens that llama.cpp allocates for a layer with a sliding window: window + batch, padded to 256.

    Source: [llama_cpp] llama-kv-cache-iswa
    """
    padding = 256
    return minimum(tokens, ceil_div(window + micro_batch, padding) * padding)


def llama_compute_bytes(
    *, context: Column, micro_batch: Column, heads: Column, hidden: Column, intermediate: Column, vocabulary: Column,
    flash: bool,
) -> Column:  # fmt: skip
    """Return llama.cpp's compute buffer of one device [bytes], all of it fp32: the largest moment of the graph.

    Either the logits of a whole batch, or the feed-forward part (two wide rows, two narrow ones), or the scores of all
    heads; the mask of batch x context is there in the last two.

    LLaMA-30B, 512 tokens: 97 MiB.

    >>> llama_compute_bytes(context=512, micro_batch=512, heads=52, hidden=6656, intermediate=17920,
    ...                     vocabulary=32000, flash=False) / 2**20
    97.0

    Source: [llama_cpp], found from the buffers that it logs
    """
    three_rows = 3
    batch = minimum(micro_batch, context)
    mask = context
    logits = vocabulary + hidden
    feed_forward = 2 * intermediate + 2 * hidden + mask
    scores = 0 if flash else heads * context + mask + three_rows * hidden
    return FLOAT_BYTES * batch * maximum(logits, feed_forward, scores)


def logits_bytes(*, rows: Column, vocabulary: Column) -> Column:
    """Return 16-bit logits of ``rows`` tokens and their 32-bit copy [bytes].

    Source: [transformers] modeling code
    """
    return (HALF_BYTES + FLOAT_BYTES) * rows * vocabulary


def eager_prefill_bytes(
    *, tokens: Column, hidden: Column, intermediate: Column, wide_copies: float, hidden_copies: float
) -> Column:
    """Return what a plain PyTorch forward pass over a prompt holds beside weights and cache [bytes], 16 bits.

    ``wide_copies`` rows as wide as the feed-forward part and ``hidden_copies`` as wide as the model, for all tokens.

    Source: [transformers] modeling code
    """
    return HALF_BYTES * tokens * (wide_copies * intermediate + hidden_copies * hidden)
