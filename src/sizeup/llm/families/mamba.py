"""Pure state space models: Mamba, Falcon-Mamba and Mamba-2. Nothing that they keep grows with the context.

Source: transformers 5.23 ``modeling_mamba.py``, ``modeling_falcon_mamba.py``, ``modeling_mamba2.py``; the keys of the
original ``state-spaces`` repositories (``d_model``, ``n_layer``) are read too.
"""

from __future__ import annotations

import math

from sizeup.errors import UserError
from sizeup.llm.architecture import Architecture, Block, layer_of
from sizeup.llm.blocks import head, norm, norms, table
from sizeup.llm.blocks_ssm import mamba, mamba2, time_step_rank
from sizeup.llm.config import Config


def build(config: Config) -> Architecture:
    """Return a stack of state space mixers."""
    hidden, vocabulary = hidden_size(config), vocabulary_size(config)
    tied = config.flag("tie_word_embeddings", "tie_embeddings")
    mixer = mamba2_mixer(config, hidden) if config.model_type == "mamba2" else mamba_mixer(config, hidden)
    layer = layer_of("mamba", (norms("norm", size=hidden), mixer))
    config.ignore("d_inner", "d_intermediate", "ssm_cfg", "attn_cfg", "attn_layer_idx", "pad_vocab_size_multiple")
    config.ignore("intermediate_size", "rms_norm", "fused_add_norm", "norm_before_gate", "layer_types")
    return Architecture(
        model_type=config.model_type,
        hidden_size=hidden,
        vocabulary_size=vocabulary,
        embedding=table("embeddings", vocabulary, hidden),
        layers=(layer,) * config.integer("num_hidden_layers", "n_layer"),
        head=(*norm("norm_f", hidden), *head(hidden, vocabulary, tied=tied)),
        tied_embeddings=tied,
    )


def hidden_size(config: Config) -> int:
    """Return the hidden size under its present or its original name."""
    return config.integer("hidden_size", "d_model")


def vocabulary_size(config: Config) -> int:
    """Return the rows of the embedding; the original configurations give a multiple to round them up to."""
    vocabulary = config.integer("vocab_size")
    if config.present("hidden_size"):
        return vocabulary
    multiple = config.optional_integer("pad_vocab_size_multiple", minimum=1) or 1
    return math.ceil(vocabulary / multiple) * multiple


def mamba_mixer(config: Config, hidden: int) -> Block:
    """Return the mixer of Mamba; a stated ``intermediate_size`` wins over ``expand`` (Falcon-Mamba states both)."""
    expanded = int(config.number("expand") * hidden)
    return mamba(
        hidden=hidden,
        inner=config.optional_integer("intermediate_size", minimum=1) or expanded,
        state=config.integer("state_size"),
        kernel=config.integer("conv_kernel"),
        rank=time_step_rank(config, "time_step_rank", hidden=hidden),
        bias=config.flag("use_bias"),
        conv_bias=config.flag("use_conv_bias"),
    )


def mamba2_mixer(config: Config, hidden: int) -> Block:
    """Return the mixer of Mamba-2.

    Raises:
        UserError: the heads do not fill the expanded hidden size.
    """
    heads, head_dim = config.integer("num_heads"), config.integer("head_dim")
    inner = config.number("expand") * hidden
    if heads * head_dim != inner:
        raise UserError(
            f'{config.where}: "num_heads" x "head_dim" = {heads} x {head_dim} must equal '
            f'"expand" x "hidden_size" = {inner:.0f}'
        )
    return mamba2(
        hidden=hidden,
        heads=heads,
        head_dim=head_dim,
        groups=config.integer("n_groups"),
        state=config.integer("state_size"),
        kernel=config.integer("conv_kernel"),
        bias=config.flag("use_bias"),
        conv_bias=config.flag("use_conv_bias"),
    )
