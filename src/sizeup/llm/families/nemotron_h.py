"""Nemotron-H and Nemotron 3: a layer is one Mamba-2 mixer, one attention, one plain MLP or one mixture of experts.

The order is ``layers_block_type`` or, in published files, a string such as "M-M*ME" (``hybrid_override_pattern``).
Source: transformers 5.23 ``modeling_nemotron_h.py``; prediction layers after the checkpoints of Nemotron 3.
"""

from __future__ import annotations

from sizeup.errors import UserError
from sizeup.llm.architecture import Architecture, Block, Layer, Tensor, layer_of
from sizeup.llm.blocks import attention, linear, mixture, norm, norms, plain_mlp, table
from sizeup.llm.blocks_ssm import mamba2
from sizeup.llm.config import Config
from sizeup.llm.families.common import LEGACY_LAYER_TYPES, attention_dims, repeated
from sizeup.llm.families.prediction import as_prediction, entry, predicted_layers

LETTERS = {"M": "linear_attention", "E": "moe", "*": "full_attention", "-": "mlp"}
DEFAULT_KINDS = ["linear_attention", "moe", "full_attention", "mlp"]
DEFAULT_PREDICTION_KINDS = ["full_attention", "moe"]


def build(config: Config) -> Architecture:
    """Return the model; its head is never tied, and ``num_hidden_layers`` has no effect."""
    hidden, vocabulary = config.integer("hidden_size"), config.integer("vocab_size")
    config.ignore("num_hidden_layers", "n_shared_experts", "mamba_proj_bias", "attention_bias", "sliding_window")
    config.ignore("expand", "time_step_rank", "intermediate_size", "norm_eps", "rms_norm")
    keys = kinds(config, "layers_block_type", "hybrid_override_pattern", DEFAULT_KINDS)
    return Architecture(
        model_type=config.model_type,
        hidden_size=hidden,
        vocabulary_size=vocabulary,
        max_positions=config.optional_integer("max_position_embeddings"),
        embedding=table("embeddings", vocabulary, hidden),
        layers=repeated(keys, lambda kind: block_layer(config, kind)),
        head=(
            *norm("norm_f", hidden),
            *linear("lm_head", use="head", part="head", out=vocabulary, into=hidden),
        ),
        multi_token_prediction=prediction_tensors(config, hidden),
    )


def kinds(config: Config, listed_name: str, pattern_name: str, default: list[str]) -> list[str]:
    """Return the kind of each layer, from a list or from a string of letters.

    Raises:
        UserError: a kind or letter that the model does not have.
    """
    listed, pattern = config.sequence(listed_name), config.text(pattern_name)
    if listed is None and not pattern:
        return default
    found = (
        [str(kind) for kind in listed] if listed is not None else [LETTERS.get(letter, letter) for letter in pattern]
    )
    found = [LEGACY_LAYER_TYPES.get(kind, kind) for kind in found]
    for kind in found:
        if kind not in MIXERS:
            raise UserError(f'{config.where}: no layer of nemotron_h is called "{kind}"')
    return found


def block_layer(config: Config, kind: str) -> Layer:
    """Return one layer: a norm and a mixer."""
    return layer_of(kind, (norms("norm", size=config.integer("hidden_size")), MIXERS[kind](config)))


def mamba_block(config: Config) -> Block:
    """Return the Mamba-2 mixer; its inner size is heads x head dimension, whatever ``expand`` says."""
    return mamba2(
        hidden=config.integer("hidden_size"),
        heads=config.integer("mamba_num_heads"),
        head_dim=config.integer("mamba_head_dim"),
        groups=config.integer("n_groups"),
        state=config.integer("ssm_state_size"),
        kernel=config.integer("conv_kernel"),
        bias=config.flag("use_bias"),
        conv_bias=config.flag("use_conv_bias"),
    )


def attention_block(config: Config) -> Block:
    """Return the attention, which never has biases; older files call its head dimension ``attention_head_dim``."""
    heads, kv_heads, _ = attention_dims(config)
    return attention(
        hidden=config.integer("hidden_size"),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=config.integer("head_dim", "attention_head_dim"),
        prefix="mixer",
    )


def mlp_block(config: Config) -> Block:
    """Return the plain MLP."""
    hidden, intermediate = config.integer("hidden_size"), config.integer("intermediate_size")
    return plain_mlp(hidden=hidden, intermediate=intermediate, bias=config.flag("mlp_bias"), prefix="mixer")


def moe_block(config: Config) -> Block:
    """Return the experts; with ``moe_latent_size`` they work in a narrower space than the model.

    One shared expert is always there; its width is the dense one where its own is zero.
    """
    hidden, bias = config.integer("hidden_size"), config.flag("mlp_bias")
    latent = config.optional_integer("moe_latent_size", minimum=1)
    shared = config.integer("moe_shared_expert_intermediate_size", minimum=0) or config.integer("intermediate_size")
    block = mixture(
        hidden=latent or hidden,
        experts=config.integer("n_routed_experts"),
        top_k=config.integer("num_experts_per_tok"),
        intermediate=config.integer("moe_intermediate_size"),
        gated=False,
        prefix="mixer",
    )
    experts = Block(tuple(tensor for tensor in block.tensors if tensor.use != "router"))
    block = (
        Block(linear("mixer.gate", use="router", part="router", out=block.tensors[0].shape[0], into=hidden)) + experts
    )
    block += plain_mlp(
        hidden=hidden, intermediate=shared, bias=bias, prefix="mixer.shared_experts", part="shared_experts"
    )
    if latent:
        down = linear("mixer.fc1_latent_proj", use="other", part="experts", out=latent, into=hidden, bias=bias)
        up = linear("mixer.fc2_latent_proj", use="other", part="experts", out=hidden, into=latent, bias=bias)
        block += Block((*down, *up))
    return block


MIXERS = {
    "linear_attention": mamba_block,
    "full_attention": attention_block,
    "mlp": mlp_block,
    "moe": moe_block,
}


def prediction_tensors(config: Config, hidden: int) -> tuple[Tensor, ...]:
    """Return the multi-token-prediction steps of a checkpoint, each of one or more layers."""
    order = kinds(config, "mtp_layers_block_type", "mtp_hybrid_override_pattern", DEFAULT_PREDICTION_KINDS)
    layers = (tensor for kind in order for tensor in block_layer(config, kind).tensors)
    return as_prediction([(*entry(hidden, last_norm="final_layernorm"), *layers)] * predicted_layers(config))
