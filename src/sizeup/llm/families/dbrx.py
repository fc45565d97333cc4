"""DBRX: one query-key-value matrix, experts stored side by side, its keys in two nested sections.

Source: transformers 5.23 ``modeling_dbrx.py``, ``configuration_dbrx.py``.
"""

from __future__ import annotations

from sizeup.llm.architecture import Architecture, Layer, layer_of
from sizeup.llm.blocks import check_divides, fused_attention, head, mixture, norm, norms, table
from sizeup.llm.config import Config


def build(config: Config) -> Architecture:
    """Return a DBRX."""
    hidden, vocabulary = config.integer("d_model", "hidden_size"), config.integer("vocab_size")
    tied = config.flag("tie_word_embeddings")
    return Architecture(
        model_type=config.model_type,
        hidden_size=hidden,
        vocabulary_size=vocabulary,
        max_positions=config.optional_integer("max_seq_len"),
        embedding=table("wte", vocabulary, hidden),
        layers=(_layer(config, hidden),) * config.integer("n_layers", "num_hidden_layers"),
        head=(*norm("norm_f", hidden), *head(hidden, vocabulary, tied=tied)),
        tied_embeddings=tied,
    )


def _layer(config: Config, hidden: int) -> Layer:
    attention, experts = config.section("attn_config"), config.section("ffn_config")
    heads, kv_heads = config.integer("n_heads", "num_attention_heads"), attention.integer("kv_n_heads")
    config.ignore("num_key_value_heads")  # a copy of the section's
    experts.ignore("hidden_size")  # the class overwrites it
    check_divides(f'{config.where}: "n_heads"', hidden, heads)
    check_divides(f'{attention.where}: "kv_n_heads"', heads, kv_heads)
    return layer_of(
        "full_attention",
        (
            norms("norm_attn_norm.norm_1", "norm_attn_norm.norm_2", size=hidden),
            fused_attention(
                hidden=hidden,
                heads=heads,
                kv_heads=kv_heads,
                head_dim=hidden // heads,
                prefix="norm_attn_norm.attn",
                names=("Wqkv", "out_proj"),
            ),
            mixture(
                hidden=hidden,
                experts=experts.integer("moe_num_experts"),
                top_k=experts.integer("moe_top_k"),
                intermediate=experts.integer("ffn_hidden_size"),
                prefix="ffn",
                router="router.layer",
                names=("mlp.w1", "mlp.v1", "mlp.w2"),
            ),
        ),
    )
