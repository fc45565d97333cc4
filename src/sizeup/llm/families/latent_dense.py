"""Dense decoders with multi-head latent attention: MiniCPM3 and Youtu.

Source: transformers 5.23 ``modeling_minicpm3.py``, ``modeling_youtu.py``.
"""

from __future__ import annotations

from sizeup.llm.architecture import Architecture, Layer, layer_of
from sizeup.llm.blocks import check_divides, gated_mlp, head, latent_attention, norm, norms, table
from sizeup.llm.config import Config


def build(config: Config) -> Architecture:
    """Return a dense decoder whose cache is one latent per token."""
    hidden, vocabulary = config.integer("hidden_size"), config.integer("vocab_size")
    tied = config.flag("tie_word_embeddings")
    return Architecture(
        model_type=config.model_type,
        hidden_size=hidden,
        vocabulary_size=vocabulary,
        max_positions=config.optional_integer("max_position_embeddings"),
        embedding=table("embed_tokens", vocabulary, hidden),
        layers=(_layer(config, hidden),) * config.integer("num_hidden_layers"),
        head=(*norm("norm", hidden), *head(hidden, vocabulary, tied=tied)),
        tied_embeddings=tied,
    )


def _layer(config: Config, hidden: int) -> Layer:
    heads = config.integer("num_attention_heads")
    if config.model_type == "minicpm3":
        check_divides(f'{config.where}: "hidden_size" by "num_attention_heads"', hidden, heads)
    config.ignore("num_key_value_heads", "head_dim", "qk_head_dim")  # every head has its own keys, made from the latent
    mlp_bias = config.model_type == "minicpm3" and config.flag("mlp_bias")
    blocks = (
        norms("input_layernorm", "post_attention_layernorm", size=hidden),
        latent_attention(
            hidden=hidden,
            heads=heads,
            q_rank=config.optional_integer("q_lora_rank"),
            kv_rank=config.integer("kv_lora_rank"),
            nope_dim=config.integer("qk_nope_head_dim"),
            rope_dim=config.integer("qk_rope_head_dim"),
            value_dim=config.optional_integer("v_head_dim", minimum=1) or hidden // heads,
            bias=config.flag("attention_bias"),
        ),
        gated_mlp(hidden=hidden, intermediate=config.integer("intermediate_size"), bias=mlp_bias),
    )
    return layer_of("latent_attention", blocks)
