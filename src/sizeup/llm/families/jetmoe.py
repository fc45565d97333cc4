"""JetMoE: experts in the MLP and in the attention, where each active expert has its own queries and output.

Keys and values are common to all experts, so a token has ``num_key_value_heads`` heads for each active one.
Source: transformers 5.23 ``modeling_jetmoe.py``, ``configuration_jetmoe.py``.
"""

from __future__ import annotations

from sizeup.errors import UserError
from sizeup.llm.architecture import Architecture, Block, Layer, Part, Use, layer_of
from sizeup.llm.blocks import head, linear, norm, norms, table, token_mixing, vector
from sizeup.llm.config import Config

EXPERTS = ("num_local_experts", "moe_num_experts")
ATTENTION = "self_attention.experts"
TOP_K = ("num_experts_per_tok", "moe_top_k")


def build(config: Config) -> Architecture:
    """Return the decoder."""
    hidden, vocabulary = config.integer("hidden_size"), config.integer("vocab_size")
    tied = config.flag("tie_word_embeddings")
    config.ignore("num_attention_heads", "bias", "glu", "num_layers", "rotary_percent")  # the code has them fixed
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
    kv_heads, dim = config.integer("num_key_value_heads"), config.integer("kv_channels")
    width, top_k = kv_heads * dim, config.integer(*TOP_K)
    mixing = Block(
        linear("self_attention.kv_proj", use="key", part="attention", out=2 * width, into=hidden),
        *token_mixing(kv_heads * top_k, kv_heads, dim, dim),
    )
    intermediate = config.integer("intermediate_size", "ffn_hidden_size")
    return layer_of(
        "full_attention",
        (
            norms("input_layernorm", "post_attention_layernorm", size=hidden),
            mixing,
            _experts(
                config, "self_attention.experts", part="attention", uses=("query", "output"), inner=(width, width)
            ),
            _experts(config, "mlp", part="experts", uses=("gate_up", "down"), inner=(2 * intermediate, intermediate)),
        ),
    )


def _experts(config: Config, prefix: str, *, part: Part, uses: tuple[Use, Use], inner: tuple[int, int]) -> Block:
    """Return experts of two matrices, their router and the bias of what they put out."""
    hidden, experts, top_k = config.integer("hidden_size"), config.integer(*EXPERTS), config.integer(*TOP_K)
    if top_k > experts:
        raise UserError(f'{config.where}: "num_experts_per_tok" = {top_k} is more than the {experts} experts')
    first, second = f"{prefix}.input_linear", f"{prefix}.output_linear"
    return Block(
        (
            *linear(f"{prefix}.router.layer", use="router", part="router", out=experts, into=hidden),
            *linear(first, use=uses[0], part=part, out=inner[0], into=hidden, copies=experts, active=top_k),
            *linear(second, use=uses[1], part=part, out=hidden, into=inner[1], copies=experts, active=top_k),
            *vector(prefix, hidden, part=part, kind="bias"),
        )
    )
