"""CPM-Ant: prompt tokens with rows of their own that every sequence starts with, relative positions, gated MLP.

Source: transformers 5.23 ``modeling_cpmant.py``, ``configuration_cpmant.py``; its head is never tied.
"""

from __future__ import annotations

from sizeup.llm.architecture import Architecture, Layer, StateCache, layer_of
from sizeup.llm.blocks import attention, gated_mlp, head, norm, norms, table, vector
from sizeup.llm.config import Config


def build(config: Config) -> Architecture:
    """Return the model; its encoder is a causal decoder by its masks."""
    hidden, vocabulary = config.integer("hidden_size"), config.integer("vocab_size")
    segments, length = config.integer("segment_types"), config.integer("prompt_length", minimum=0)
    rows = vocabulary + config.integer("prompt_types", minimum=0) * length
    biases = segments * segments + config.integer("position_bias_num_buckets")
    heads = config.integer("num_attention_heads")
    config.ignore("position_bias_max_distance", "tie_word_embeddings")
    layer = _layer(config, hidden, heads, length)
    return Architecture(
        model_type=config.model_type,
        hidden_size=hidden,
        vocabulary_size=vocabulary,
        embedding=(
            *table("input_embedding", rows, hidden),
            *table("segment_embedding", segments, hidden),
            *vector("position_bias.relative_attention_bias", biases, heads, part="embedding", use="position"),
        ),
        layers=(layer,) * config.integer("num_hidden_layers"),
        head=(*norm("encoder.output_layernorm", hidden), *head(hidden, vocabulary, tied=False)),
    )


def _layer(config: Config, hidden: int, heads: int, prompt: int) -> Layer:
    dim = config.integer("dim_head")
    mixing = attention(
        hidden=hidden,
        heads=heads,
        kv_heads=heads,
        head_dim=dim,
        prefix="self_att.self_attention",
        names=("project_q", "project_k", "project_v", "attention_out"),
    )
    mlp = gated_mlp(
        hidden=hidden,
        intermediate=config.integer("dim_ff"),
        prefix="ffn.ffn",
        names=("w_in.w_0", "w_in.w_1", "w_out"),
    )
    around = norms("self_att.layernorm_before_attention", "ffn.layernorm_before_ffn", size=hidden)
    layer = layer_of("full_attention", (around, mixing, mlp))
    kept = StateCache(name="prompt", elements=prompt * heads * 2 * dim)
    return Layer(kind=layer.kind, tensors=layer.tensors, mixers=layer.mixers, caches=(*layer.caches, kept))
