"""Models that exist as papers only: Gopher, Chinchilla, PaLM; sizes as their tables count them."""

from __future__ import annotations

from sizeup.llm.architecture import Architecture, Block, layer_of
from sizeup.llm.blocks import attention, gated_mlp, linear, norms, plain_mlp, table
from sizeup.llm.config import Config
from sizeup.llm.families.common import attention_dims


def build(config: Config) -> Architecture:
    """Return the decoder of the paper that the model type names."""
    hidden, vocabulary = config.integer("hidden_size"), config.integer("vocab_size")
    palm = config.model_type == "palm"
    config.ignore("tie_word_embeddings", "parallel_attn", "mlp")
    layer = layer_of("full_attention", (_palm if palm else _gopher)(config, hidden))
    return Architecture(
        model_type=config.model_type,
        hidden_size=hidden,
        vocabulary_size=vocabulary,
        max_positions=config.optional_integer("max_position_embeddings"),
        embedding=table("embed_tokens", vocabulary, hidden),
        layers=(layer,) * config.integer("num_hidden_layers"),
        tied_embeddings=True,
        assumptions=("the final norm is left out" if palm else "the weights of the norms are left out",),
    )


def _palm(config: Config, hidden: int) -> tuple[Block, ...]:
    """PaLM (arXiv 2204.02311, section 2): parallel block, one norm, one key-value head, SwiGLU, no biases."""
    heads, kv_heads, head_dim = attention_dims(config)
    return (
        norms("norm", size=hidden),
        attention(hidden=hidden, heads=heads, kv_heads=kv_heads, head_dim=head_dim),
        gated_mlp(hidden=hidden, intermediate=config.integer("intermediate_size")),
    )


def _gopher(config: Config, hidden: int) -> tuple[Block, ...]:
    """Gopher and Chinchilla (arXiv 2112.11446, table 1; 2203.15556): a fifth projection for relative positions."""
    heads, kv_heads, head_dim = attention_dims(config)
    relative = linear("self_attn.relative_proj", use="other", part="attention", out=heads * head_dim, into=hidden)
    return (
        attention(hidden=hidden, heads=heads, kv_heads=kv_heads, head_dim=head_dim),
        Block(relative),
        plain_mlp(hidden=hidden, intermediate=config.integer("intermediate_size")),
    )
