"""XLNet: relative attention with a projection of positions; it remembers hidden states rather than keys and values.

Source: transformers 5.23 ``modeling_xlnet.py`` (``cache_mem``), ``configuration_xlnet.py``.
"""

from __future__ import annotations

from sizeup.errors import UserError
from sizeup.llm.architecture import Architecture, Block, Layer, Mixer, TokenCache, layer_of
from sizeup.llm.blocks import head, linear, norm, table, vector
from sizeup.llm.blocks_encoder import feed_forward
from sizeup.llm.config import Config


def build(config: Config) -> Architecture:
    """Return the model with its language-model head."""
    hidden, vocabulary = config.integer("d_model"), config.integer("vocab_size")
    tied = config.flag("tie_word_embeddings")
    config.ignore("untie_r", "start_n_top", "end_n_top", "bi_data", "attn_type", "clamp_len", "same_length")
    return Architecture(
        model_type=config.model_type,
        hidden_size=hidden,
        vocabulary_size=vocabulary,
        embedding=(*table("word_embedding", vocabulary, hidden), *vector("mask_emb", 1, 1, hidden, part="embedding")),
        layers=(_layer(config, hidden),) * config.integer("n_layer"),
        head=head(hidden, vocabulary, tied=tied, bias=True, name="lm_loss"),
        tied_embeddings=tied,
    )


def _layer(config: Config, hidden: int) -> Layer:
    heads = config.integer("n_head")
    dim = config.optional_integer("d_head", minimum=1) or hidden // heads
    if hidden % heads or dim != hidden // heads:
        raise UserError(f'{config.where}: "d_head" = {dim} must be "d_model" / "n_head" = {hidden}/{heads}')
    into = {"part": "attention", "out": heads * dim, "into": hidden}
    tensors = (
        *linear("rel_attn.q", use="query", **into),  # type: ignore[arg-type]
        *linear("rel_attn.k", use="key", **into),  # type: ignore[arg-type]
        *linear("rel_attn.v", use="value", **into),  # type: ignore[arg-type]
        *linear("rel_attn.r", use="other", **into),  # type: ignore[arg-type]
        *linear("rel_attn.o", use="output", part="attention", out=hidden, into=heads * dim),
        *vector("rel_attn.r_r_bias", heads, dim, part="attention"),
        *vector("rel_attn.r_s_bias", heads, dim, part="attention"),
        *vector("rel_attn.r_w_bias", heads, dim, part="attention"),
        *vector("rel_attn.seg_embed", 2, heads, dim, part="attention"),
        *norm("rel_attn.layer_norm", hidden, bias=True),
        *norm("ff.layer_norm", hidden, bias=True),
    )
    mixer = Mixer(kind="attention", heads=heads, kv_heads=heads, key_dim=dim, value_dim=dim, causal=False)
    mlp = feed_forward("ff.layer_1", "ff.layer_2", hidden=hidden, intermediate=config.integer("d_inner"))
    return layer_of("full_attention", (Block(tensors, (mixer,), _memory(config, hidden)), mlp))


def _memory(config: Config, hidden: int) -> tuple[TokenCache, ...]:
    """Return the hidden states that a layer keeps: the last ``mem_len``, of at most ``reuse_len`` new ones."""
    if not config.flag("use_mems_eval", "use_cache", default=True):
        return ()
    limits = [limit for key in ("mem_len", "reuse_len") if (limit := config.optional_integer(key))]
    window = min(limits) + 1 if limits else None
    return (TokenCache(name="memory", heads=1, key_dim=hidden, value_dim=0, window=window),)
