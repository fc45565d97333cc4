"""Hunyuan 4: latent attention with shared indexers, output gates and sinks, between residual streams.

Source: transformers 5.23 ``modeling_hy_v4.py``, ``configuration_hy_v4.py``; the rest is as in ``latent``.
"""

from __future__ import annotations

from dataclasses import replace

from sizeup.llm.architecture import Architecture, Layer, Tensor
from sizeup.llm.blocks import linear, vector
from sizeup.llm.config import Config
from sizeup.llm.families import latent
from sizeup.llm.families.deepseek_v4 import hyper_connection, hyper_head


def build(config: Config) -> Architecture:
    """Return the model: latent attention and experts, with what Hunyuan adds to every layer and to the head."""
    plain = latent.build(config)
    streams = [hyper_connection(config, name, mixes=False) for name in ("attn_hc", "ffn_hc")]
    extras = (*_gate(config), *(tensor for block in streams for tensor in block.tensors))
    made: dict[int, Layer] = {}
    for layer in plain.layers:
        if id(layer) not in made:
            made[id(layer)] = replace(layer, tensors=layer.tensors + extras)
    return replace(
        plain,
        layers=tuple(made[id(layer)] for layer in plain.layers),
        head=(*hyper_head(config), *plain.head),
    )


def _gate(config: Config) -> tuple[Tensor, ...]:
    """Return the gate of what attention puts out, one number per feature, and its sinks, one per head."""
    heads, hidden = config.integer("num_attention_heads"), config.integer("hidden_size")
    width = heads * config.integer("v_head_dim")
    return (
        *linear("self_attn.gate_proj", use="gate", part="attention", out=width, into=hidden),
        *vector("self_attn.sinks", heads, part="attention"),
    )
