"""Zamba and Zamba2: Mamba layers, and in some of them a transformer block whose weights are used again and again.

The shared block reads the hidden state beside the embedding, so it is twice as wide. Zamba has one; Zamba2 has
``num_mem_blocks`` in turn, with low-rank adapters of their own for each use. ``transformers`` shares the weights only
where ``tie_word_embeddings`` is true.

Source: transformers 5.23 ``modeling_zamba.py``, ``modeling_zamba2.py``; arXiv 2405.16712, 2411.15242.
"""

from __future__ import annotations

from sizeup.errors import UserError
from sizeup.llm.architecture import Architecture, Block, Layer, Tensor, layer_of
from sizeup.llm.blocks import attention, check_divides, fused_mlp, gated_mlp, head, linear, norm, norms, table
from sizeup.llm.blocks_ssm import mamba, mamba2, time_step_rank
from sizeup.llm.config import Config
from sizeup.llm.families.common import attention_dims, layer_types

ZAMBA2_KINDS = [
    "linear_attention",
    *(["linear_attention"] * 5 + ["hybrid"]) * 7,
    *["linear_attention"] * 4, "hybrid",
    *["linear_attention"] * 3, "hybrid",
    *["linear_attention"] * 2,
]  # fmt: skip
"""What Zamba2's configuration class assumes, which fits 54 layers only."""

DERIVED = (
    "hybrid_layer_ids", "kv_channels", "num_query_groups", "mamba_headdim", "use_conv_bias", "ft_lora",
    "use_shared_mlp_adapter", "use_shared_block_adapter", "use_mem_eff_path", "layers_block_type", "conv_dimension",
    "gated_linear_unit", "lora_rank", "ffn_hidden_size", "expansion_factor",
)  # fmt: skip
"""Keys of published files that the classes compute again or do not read."""


def build(config: Config) -> Architecture:
    """Return the model."""
    hidden, vocabulary = config.integer("hidden_size"), config.integer("vocab_size")
    tied = config.flag("tie_word_embeddings", default=True)
    kinds = layer_kinds(config)
    config.ignore(*DERIVED)
    return Architecture(
        model_type=config.model_type,
        hidden_size=hidden,
        vocabulary_size=vocabulary,
        max_positions=config.optional_integer("max_position_embeddings"),
        embedding=table("embed_tokens", vocabulary, hidden),
        layers=tuple(layers_in_order(config, kinds, shares=tied)),
        head=(*norm("final_layernorm", hidden), *head(hidden, vocabulary, tied=tied)),
        tied_embeddings=tied,
    )


def layer_kinds(config: Config) -> list[str]:
    """Return the kind of each layer.

    Raises:
        UserError: a kind that Zamba does not have, or an assumed list that does not fit the number of layers.
    """
    layers = config.integer("num_hidden_layers")
    listed = layer_types(config, layers)
    if listed is None and config.model_type == "zamba":
        listed = by_period(config, layers)
    listed = listed or ZAMBA2_KINDS
    if len(listed) != layers:
        raise UserError(f'{config.where}: without "layers_block_type", {config.model_type} has {len(listed)} layers')
    for kind in listed:
        if kind not in ("linear_attention", "hybrid"):
            raise UserError(f'{config.where}: no layer of {config.model_type} is called "{kind}"')
    return listed


def by_period(config: Config, layers: int) -> list[str]:
    """Return Zamba's own order: a shared block in layer 2, then by period."""
    period, offset = config.integer("attn_layer_period"), config.integer("attn_layer_offset", minimum=0)
    later = ["hybrid" if index % period == offset else "linear_attention" for index in range(layers - 3)]
    return ["linear_attention", "linear_attention", "hybrid", *later]


def layers_in_order(config: Config, kinds: list[str], *, shares: bool) -> list[Layer]:
    """Return the layers; the first use of a shared block owns its weights."""
    plain = layer_of("mamba", (norms("input_layernorm", size=config.integer("hidden_size")), mixer_block(config)))
    uses, blocks = kinds.count("hybrid"), config.integer("num_mem_blocks", default=1)
    owners: list[Layer] = []
    later: list[Layer] = []
    for turn in range(uses):
        # an owner holds the adapters of every turn that uses it
        turns = len(range(turn % blocks, uses, blocks))
        if turn < blocks or not shares:
            owners.append(hybrid_layer(config, turns, owned=True))
        elif len(later) < blocks:
            later.append(hybrid_layer(config, turns, owned=False))
    made = [owners[t] if t < len(owners) else later[t % blocks] for t in range(uses)]
    hybrids = iter(made)
    return [next(hybrids) if kind == "hybrid" else plain for kind in kinds]


def hybrid_layer(config: Config, turns: int, *, owned: bool) -> Layer:
    """Return a layer with the shared block, the projection of its output and its own Mamba mixer."""
    hidden = config.integer("hidden_size")
    own = (
        Block(linear("linear", use="other", part="attention", out=hidden, into=hidden)),
        norms("mamba_decoder.input_layernorm", size=hidden),
        mixer_block(config, prefix="mamba_decoder.mamba"),
    )
    block = shared_block(config)
    if owned:
        adapters = Block(adapter_tensors(config, turns))
        return layer_of("hybrid", (*own, block, adapters))
    used = Block(mixers=block.mixers, caches=block.caches)
    return layer_of("hybrid_reused", (*own, used), shared=(*block.tensors, *adapter_tensors(config, 1)))


def shared_block(config: Config) -> Block:
    """Return the transformer block that is used several times."""
    hidden, name = config.integer("hidden_size"), shared_name(config)
    heads, kv_heads, _ = attention_dims(config)
    wide = attention_width(config)
    head_dim = config.optional_integer("attention_head_dim", minimum=1) or 2 * hidden // heads
    dims = {"heads": heads, "kv_heads": kv_heads, "head_dim": head_dim, "prefix": f"{name}.self_attn"}
    reading = attention(hidden=wide, **dims)  # type: ignore[arg-type]
    narrow = linear(f"{name}.self_attn.o_proj", use="output", part="attention", out=hidden, into=heads * head_dim)
    tensors = tuple(narrow[0] if tensor.use == "output" else tensor for tensor in reading.tensors)
    block = Block(tensors, reading.mixers, reading.caches)
    block += norms(f"{name}.input_layernorm", size=wide) + norms(f"{name}.pre_ff_layernorm", size=hidden)
    return block + feed_forward(config, f"{name}.feed_forward")


def shared_name(config: Config) -> str:
    """Return the module name of the shared block."""
    return "shared_transf" if config.model_type == "zamba" else "shared_transformer"


def attention_width(config: Config) -> int:
    """Return the width that the shared block reads: hidden state and embedding side by side."""
    return config.optional_integer("attention_hidden_size", minimum=1) or 2 * config.integer("hidden_size")


def feed_forward(config: Config, prefix: str) -> Block:
    """Return the MLP of the shared block."""
    hidden = config.integer("hidden_size")
    if config.model_type == "zamba":
        return gated_mlp(hidden=hidden, intermediate=config.integer("intermediate_size"), prefix=prefix)
    intermediate, bias = mlp_width(config), config.flag("add_bias_linear")
    return fused_mlp(hidden=hidden, intermediate=intermediate, bias=bias, prefix=prefix)


def mlp_width(config: Config) -> int:
    """Return the width of Zamba2's MLP, four times the hidden size if it is not stated."""
    return config.optional_integer("intermediate_size") or 4 * config.integer("hidden_size")


def adapter_tensors(config: Config, turns: int) -> tuple[Tensor, ...]:
    """Return the low-rank adapters of ``turns`` uses of one shared block (Zamba2)."""
    if config.model_type == "zamba":
        return ()
    hidden, rank, wide = config.integer("hidden_size"), config.integer("adapter_rank"), attention_width(config)
    name = shared_name(config)
    shapes = [(f"{name}.feed_forward.gate_up_proj_adapter_list", hidden, 2 * mlp_width(config))]
    if config.flag("use_shared_attention_adapter"):
        shapes += [(f"{name}.self_attn.linear_{which}_adapter_list", wide, wide) for which in "qkv"]
    return tuple(
        tensor
        for path, into, out in shapes
        for index, (rows, columns) in enumerate(((rank, into), (out, rank)))
        for tensor in linear(f"{path}.{index}", use="other", part="mlp", out=rows, into=columns, copies=turns, active=1)
    )


def mixer_block(config: Config, prefix: str = "mamba") -> Block:
    """Return the Mamba mixer of Zamba (cut into heads) or the Mamba-2 mixer of Zamba2."""
    hidden = config.integer("hidden_size")
    inner, heads = config.integer("mamba_expand") * hidden, config.integer("n_mamba_heads")
    state, kernel = config.integer("mamba_d_state"), config.integer("mamba_d_conv")
    check_divides('"n_mamba_heads" of the expanded hidden size', inner, heads)
    if config.model_type == "zamba":
        return mamba(
            hidden=hidden,
            inner=inner,
            state=state,
            kernel=kernel,
            rank=time_step_rank(config, "mamba_dt_rank", hidden=hidden),
            heads=heads,
            bias=config.flag("mamba_proj_bias"),
            conv_bias=config.flag("mamba_conv_bias"),
            projections=("x_proj_weight", "dt_proj_weight"),
            prefix=prefix,
        )
    return mamba2(
        hidden=hidden,
        heads=heads,
        head_dim=inner // heads,
        groups=config.integer("mamba_ngroups"),
        state=state,
        kernel=kernel,
        bias=config.flag("add_bias_linear"),
        prefix=prefix,
    )
