"""Gated delta nets with full attention in every few layers: Qwen3-Next, Qwen3.5 (dense and experts), OLMo hybrid.

Source: transformers 5.23 ``modeling_qwen3_next.py``, ``modeling_qwen3_5.py``, ``modeling_qwen3_5_moe.py``,
``modeling_olmo_hybrid.py``; the prediction layers (``mtp_num_hidden_layers``) after the checkpoints of Qwen3.5.
"""

from __future__ import annotations

from typing import Literal

from sizeup.errors import UserError
from sizeup.llm.architecture import Architecture, Block, Layer, Tensor, layer_of
from sizeup.llm.blocks import attention, gated_mlp, head, mixture, norm, norms, table
from sizeup.llm.blocks_ssm import gated_delta_net
from sizeup.llm.config import Config
from sizeup.llm.families.common import attention_dims, layer_types, repeated
from sizeup.llm.families.prediction import as_prediction, entry

LAYOUTS: dict[str, Literal["fused", "split", "separate"]] = {
    "qwen3_next": "fused",
    "qwen3_5_text": "split",
    "qwen3_5_moe_text": "split",
    "qwen4_exp_text": "split",
    "olmo_hybrid": "separate",
}
"""How each type stores the input projections of its delta nets."""


def build(config: Config) -> Architecture:
    """Return the model."""
    hidden, vocabulary = config.integer("hidden_size"), config.integer("vocab_size")
    tied = config.flag("tie_word_embeddings")
    config.ignore("attn_output_gate", "output_gate_type", "mamba_ssm_dtype", "mlp_only_layers", "intermediate_size")
    config.ignore("use_sliding_window", "sliding_window")
    layers = config.integer("num_hidden_layers")
    keys = list(zip(mixer_kinds(config, layers), sparse_layers(config, layers), strict=True))
    return Architecture(
        model_type=config.model_type,
        hidden_size=hidden,
        vocabulary_size=vocabulary,
        max_positions=config.optional_integer("max_position_embeddings"),
        embedding=table("embed_tokens", vocabulary, hidden),
        layers=repeated(keys, lambda key: decoder_layer(config, *key)),
        head=(*norm("norm", hidden), *head(hidden, vocabulary, tied=tied)),
        tied_embeddings=tied,
        multi_token_prediction=prediction_tensors(config, hidden, vocabulary),
    )


def mixer_kinds(config: Config, layers: int) -> list[str]:
    """Return what mixes tokens in each layer: as listed, else full attention in every fourth layer.

    Raises:
        UserError: a kind that these models do not have.
    """
    interval = config.integer("full_attention_interval", default=4)
    listed = layer_types(config, layers)
    if listed is None:
        listed = ["linear_attention" if (index + 1) % interval else "full_attention" for index in range(layers)]
        if config.model_type == "olmo_hybrid" and "full_attention" not in listed:
            listed[-1] = "full_attention"
    for kind in listed:
        if kind not in ("linear_attention", "full_attention"):
            raise UserError(f'{config.where}: "layer_types" names "{kind}", which {config.model_type} does not have')
    return listed


def sparse_layers(config: Config, layers: int) -> list[bool]:
    """Return which layers have experts: none, all, or every ``decoder_sparse_step``-th that is not excepted."""
    if config.model_type != "qwen3_next":
        return [config.model_type == "qwen3_5_moe_text"] * layers
    step, dense = config.integer("decoder_sparse_step"), config.sequence("mlp_only_layers") or []
    many = config.integer("num_experts", minimum=0) > 0
    return [many and (index + 1) % step == 0 and index not in dense for index in range(layers)]


def decoder_layer(config: Config, kind: str, sparse: bool) -> Layer:
    """Return one layer; OLMo hybrid norms the results of its attention layers instead of their inputs."""
    first, second = "input_layernorm", "post_attention_layernorm"
    if config.model_type == "olmo_hybrid" and kind == "full_attention":
        first, second = second, "post_feedforward_layernorm"
    blocks = (
        norms(first, second, size=config.integer("hidden_size")),
        delta_block(config) if kind == "linear_attention" else attention_block(config),
        feed_forward(config, sparse),
    )
    return layer_of(f"{kind}_moe" if sparse else kind, blocks)


def attention_block(config: Config) -> Block:
    """Return full attention: with an output gate inside of the query projection, but for OLMo hybrid."""
    heads, kv_heads, head_dim = attention_dims(config)
    olmo = config.model_type == "olmo_hybrid"
    return attention(
        hidden=config.integer("hidden_size"),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        bias=config.flag("attention_bias"),
        gated=not olmo,
        qk_norm="hidden" if olmo else "head",
    )


def delta_block(config: Config) -> Block:
    """Return the delta net; OLMo hybrid derives sizes that are not stated from its attention heads."""
    hidden, heads = config.integer("hidden_size"), config.integer("num_attention_heads")
    key_heads = config.optional_integer("linear_num_key_heads", default=heads, minimum=1) or heads
    value_heads = config.optional_integer("linear_num_value_heads", default=heads, minimum=1) or heads
    key_dim = config.optional_integer("linear_key_head_dim", minimum=1) or int(0.75 * hidden / key_heads)
    return gated_delta_net(
        hidden=hidden,
        key_heads=key_heads,
        value_heads=value_heads,
        key_dim=key_dim,
        value_dim=config.optional_integer("linear_value_head_dim", minimum=1) or 2 * key_dim,
        kernel=config.integer("linear_conv_kernel_dim"),
        layout=LAYOUTS[config.model_type],
    )


def feed_forward(config: Config, sparse: bool) -> Block:
    """Return the gated MLP or the experts with their gated shared expert."""
    hidden = config.integer("hidden_size")
    if not sparse:
        return gated_mlp(hidden=hidden, intermediate=config.integer("intermediate_size"))
    return mixture(
        hidden=hidden,
        experts=config.integer("num_experts"),
        top_k=config.integer("num_experts_per_tok"),
        intermediate=config.integer("moe_intermediate_size"),
        shared_intermediate=config.integer("shared_expert_intermediate_size", minimum=0),
        shared_gate=True,
        shared="shared_expert",
    )


def prediction_tensors(config: Config, hidden: int, vocabulary: int) -> tuple[Tensor, ...]:
    """Return the multi-token-prediction layers: full attention, experts where the model has any."""
    count = config.integer("mtp_num_hidden_layers", "num_nextn_predict_layers", default=0, minimum=0)
    own_table = config.flag("mtp_use_dedicated_embeddings")
    if not count:
        return ()
    names = ("pre_fc_norm_embedding", "pre_fc_norm_hidden")
    around = entry(hidden, norms=names, join="fc", last_norm="norm")
    around += table("embed_tokens", vocabulary, hidden) if own_table else ()
    layer = decoder_layer(config, "full_attention", any(sparse_layers(config, 1)))
    return as_prediction([(*around, *layer.tensors * count)])
