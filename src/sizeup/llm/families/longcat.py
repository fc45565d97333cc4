"""LongCat-Flash: two latent attentions and two dense MLPs per layer, beside one mixture with experts that do nothing.

Source: transformers 5.23 ``modeling_longcat_flash.py``, ``configuration_longcat_flash.py``.
"""

from __future__ import annotations

from dataclasses import asdict, replace

from sizeup.llm.architecture import Architecture, Block, Layer, layer_of
from sizeup.llm.blocks import fused_mlp, gated_mlp, head, latent_attention, linear, norm, norms, table
from sizeup.llm.config import Config
from sizeup.llm.families.experts import TOP_K_KEYS
from sizeup.llm.families.latent_places import latent_dims
from sizeup.llm.families.moe_layers import EXPERT_KEYS
from sizeup.llm.families.prediction import predicted_layers


def build(config: Config) -> Architecture:
    """Return a LongCat-Flash."""
    hidden, vocabulary = config.integer("hidden_size"), config.integer("vocab_size")
    tied = config.flag("tie_word_embeddings")
    idle = config.optional_integer("zero_expert_num") or 0
    both_halves = config.optional_integer("num_hidden_layers")  # what its class calls twice the number of layers
    layers = both_halves // 2 if both_halves else config.integer("num_layers")
    unused = 2 * idle * config.integer("expert_ffn_hidden_size") * hidden * layers
    return Architecture(
        model_type=config.model_type,
        hidden_size=hidden,
        vocabulary_size=vocabulary,
        max_positions=config.optional_integer("max_position_embeddings"),
        embedding=table("embed_tokens", vocabulary, hidden),
        layers=(_layer(config, hidden, idle),) * layers,
        head=(*norm("norm", hidden), *head(hidden, vocabulary, tied=tied)),
        tied_embeddings=tied,
        assumptions=_remarks(idle, unused, predicted_layers(config)),
    )


def _remarks(idle: int, unused: int, predicted: int) -> tuple[str, ...]:
    found = []
    if idle:
        found.append(
            f"transformers makes gate and up projections for the {idle} zero experts too: "
            f"{unused:,} of these parameters are in no published checkpoint"
        )
    if predicted:
        found.append(f"the checkpoint's {predicted} multi-token-prediction layers are not counted")
    return tuple(found)


def _layer(config: Config, hidden: int, idle: int) -> Layer:
    return layer_of("latent_attention", (_half(config, hidden, 0), _half(config, hidden, 1), _mixture(config, idle)))


def _half(config: Config, hidden: int, index: int) -> Block:
    """Return one of the two attentions with its dense MLP."""
    config.ignore("num_key_value_heads", "head_dim", "qk_head_dim")
    dims = latent_dims(config)
    attention = latent_attention(
        hidden=hidden,
        **asdict(dims),
        bias=config.flag("attention_bias"),
        prefix=f"self_attn.{index}",
    )
    mlp = gated_mlp(hidden=hidden, intermediate=config.integer("ffn_hidden_size"), prefix=f"mlps.{index}")
    return norms(f"input_layernorm.{index}", f"post_attention_layernorm.{index}", size=hidden) + attention + mlp


def _mixture(config: Config, idle: int) -> Block:
    """Return the experts; a token may choose zero experts instead of real ones, which give it back unchanged."""
    hidden, experts = config.integer("hidden_size"), config.integer(*EXPERT_KEYS)
    width, bias = config.integer("expert_ffn_hidden_size"), config.flag("router_bias")
    chosen = min(config.integer(*TOP_K_KEYS), experts)
    router = linear("mlp.router.classifier", use="router", part="router", out=experts + idle, into=hidden, bias=bias)
    block = Block(router) + fused_mlp(
        hidden=hidden, intermediate=width, prefix="mlp.experts", part="experts", copies=experts, active=chosen
    )
    unused = next(tensor for tensor in block.tensors if tensor.use == "gate_up")
    return block + Block((replace(unused, copies=idle, active=0),) if idle else ())
