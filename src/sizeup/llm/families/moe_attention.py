"""Attention of the mixtures that differ from a dense decoder: output gates, head counts by layer kind, indexers.

Source: transformers 5.23, ``modeling_afmoe.py``, ``modeling_mimo_v2_flash.py``, ``modeling_step3p7.py``,
``modeling_minimax_m3_vl.py``, ``modeling_llama4.py``.
"""

from __future__ import annotations

from dataclasses import replace

from sizeup.llm.architecture import Block, Mixer, TokenCache
from sizeup.llm.blocks import attention, check_divides, linear, norm, vector
from sizeup.llm.config import Config
from sizeup.llm.families.dense import attention_block, heads_of
from sizeup.llm.families.moe_places import BLOCKS, CHUNKED, SLIDING, Place, sparse_attention
from sizeup.llm.families.moe_traits import Mixture


def attention_of(config: Config, traits: Mixture, place: Place) -> Block:
    """Return the attention of one layer."""
    if traits.attention == "two_heads":
        return _two_heads(config, place)
    if traits.attention == "step":
        return _step(config, place)
    block = attention_block(config, traits.decoder, place.window)
    if traits.attention in ("gated", "biased_gate"):
        heads, _, head_dim = heads_of(config, traits.decoder)
        block += output_gate("gate_proj", config.integer("hidden_size"), heads * head_dim)
        if traits.attention == "biased_gate":
            block += Block(vector("self_attn.gate_bias", heads, part="attention"))
    if place.kind == BLOCKS:
        block = _indexed(config, block)
    return _in_chunks(block) if place.kind == CHUNKED else block


def output_gate(name: str, hidden: int, width: int) -> Block:
    """Return the projection that gates what attention puts out."""
    return Block(linear(f"self_attn.{name}", use="gate", part="attention", out=width, into=hidden))


def _in_chunks(block: Block) -> Block:
    """Return attention whose window is a chunk of the text."""
    caches = tuple(replace(cache, chunk=True) if isinstance(cache, TokenCache) else cache for cache in block.caches)
    return replace(block, caches=caches)


def _two_heads(config: Config, place: Place) -> Block:
    """MiMo-V2: sliding layers have twice the key-value heads, and an attention sink per head."""
    slides = place.kind == SLIDING
    heads = config.integer("num_attention_heads")
    kv_heads = config.integer("num_key_value_heads") * (2 if slides else 1)
    config.ignore("swa_num_key_value_heads", "swa_num_attention_heads", "swa_head_dim", "swa_v_head_dim")
    config.ignore("add_swa_attention_sink_bias", "add_full_attention_sink_bias", "attention_chunk_size")
    check_divides("key-value heads", heads, kv_heads)
    block = attention(
        hidden=config.integer("hidden_size"),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=config.integer("head_dim"),
        value_dim=config.integer("v_head_dim"),
        bias=config.flag("attention_bias"),
        output_bias=False,
        window=place.window,
    )
    return block + Block(vector("self_attn.sinks", heads, part="attention")) if slides else block


def _step(config: Config, place: Place) -> Block:
    """Step, Laguna: some layers may have more heads; a gate per head, or one per feature."""
    hidden, head_dim = config.integer("hidden_size"), config.integer("head_dim")
    heads, kv_heads = config.integer("num_attention_heads"), config.integer("num_key_value_heads")
    other = config.get("attention_other_setting")
    sliding = config.optional_integer("num_sliding_attention_heads", minimum=1)
    if place.kind == SLIDING:
        listed = other.get("num_attention_heads") if isinstance(other, dict) else None
        heads = sliding or listed or heads
    heads = place.heads or heads
    check_divides("key-value heads", heads, kv_heads)
    per_head = config.get("gating", default=True) in (True, "per-head")
    block = attention(
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        bias=config.flag("attention_bias"),
        qk_norm="head",
        window=place.window,
    )
    return block + output_gate("g_proj", hidden, heads if per_head else heads * head_dim)


def _indexed(config: Config, block: Block) -> Block:
    """MiniMax-M3: a small attention picks the blocks of keys that the large one reads."""
    hidden, older = config.integer("hidden_size"), sparse_attention(config)
    heads = older.get("sparse_num_index_heads", config.integer("index_n_heads"))
    dim = older.get("sparse_index_dim", config.integer("index_head_dim"))
    size = older.get("sparse_block_size", config.integer("index_block_size"))
    count = older.get("sparse_topk_blocks", config.integer("index_topk_blocks"))
    tensors = (
        *linear("self_attn.indexer.q_proj", use="other", part="indexer", out=heads * dim, into=hidden),
        *linear("self_attn.indexer.k_proj", use="other", part="indexer", out=dim, into=hidden),
        *norm("self_attn.indexer.q_norm", dim, part="indexer"),
        *norm("self_attn.indexer.k_norm", dim, part="indexer"),
    )
    picking = Mixer(kind="attention", heads=heads, kv_heads=1, key_dim=dim)
    kept = TokenCache(name="indexer", heads=1, key_dim=dim, value_dim=0)
    reading = tuple(replace(mixer, top_k_tokens=size * count) for mixer in block.mixers)
    return replace(block, mixers=reading) + Block(tensors, (picking,), (kept,))
