"""Byte Latent Transformer: local layers over bytes around a global transformer over patches of bytes.

Source: transformers 5.23 ``modeling_blt.py``, ``configuration_blt.py``.
"""

from __future__ import annotations

from dataclasses import replace

from sizeup.llm.architecture import Architecture, Layer, Mixer, Tensor, TokenCache, Tower, layer_of
from sizeup.llm.blocks import attention, gated_mlp, linear, norm, norms, table
from sizeup.llm.config import Config
from sizeup.llm.families.common import attention_dims

HASH_GROUP_SIZES = 6
"""Lengths of byte groups that are hashed (3 to 8) where the configuration names none (``BltConfig.__post_init__``)."""


def build(config: Config) -> Architecture:
    """Return encoder, global transformer and decoder as one sequence of layers; the patcher is a tower."""
    encoder, decoder = config.section("encoder_config"), config.section("decoder_config")
    whole = config.section("global_config")
    tied, vocabulary = config.flag("tie_word_embeddings"), config.integer("vocab_size")
    window = config.optional_integer("local_attention_window_len") or None
    encoder.ignore("sliding_window")  # the class copies local_attention_window_len
    layers = (
        *_local_layers(encoder, "local_encoder", window, last=True),
        *(_layer(whole, "global_transformer", _global_cache(config, whole)),) * whole.integer("num_hidden_layers"),
        *_local_layers(decoder, "local_decoder", window, last=False),
    )
    out = decoder.integer("hidden_size")
    head = () if tied else linear("lm_head", use="head", part="head", out=vocabulary, into=out)
    return Architecture(
        model_type=config.model_type,
        hidden_size=whole.integer("hidden_size"),
        vocabulary_size=vocabulary,
        max_positions=config.optional_integer("max_position_embeddings"),
        embedding=_embedding(config, encoder, table("embed_tokens", vocabulary, out) if tied else ()),
        layers=layers,
        head=(*_between(config, encoder, whole, decoder), *norm("local_decoder.norm", out), *head),
        tied_embeddings=tied,
        towers=_patcher(config),
        assumptions=(f"a patch is {config.integer('patch_size')} bytes; a token is a byte",),
    )


def _embedding(config: Config, encoder: Config, tied: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return the byte table (tied, it is the head's) and the table of hashed byte groups."""
    width = encoder.integer("hidden_size")
    groups = len(config.sequence("encoder_hash_byte_group_size") or range(HASH_GROUP_SIZES))
    functions = config.integer("encoder_hash_byte_group_nb_functions")
    rows = config.integer("encoder_hash_byte_group_vocab") * functions * groups
    return (
        *(tied or table("embed_tokens", encoder.integer("vocab_size"), width)),
        *table("encoder_hash_tok_embedding", rows, width),
    )


def _between(config: Config, encoder: Config, whole: Config, decoder: Config) -> tuple[Tensor, ...]:
    """Return the projections between bytes and patches."""
    local, wide, out = (section.integer("hidden_size") for section in (encoder, whole, decoder))
    entering = local * config.integer("cross_attn_k")
    encoder.ignore("hidden_size_global")
    whole.ignore("encoder_cross_output_size")
    into = decoder.integer("hidden_size_global")
    name = "patch_embedding_projection"
    up, down = local * encoder.integer("cross_attn_k"), out * decoder.integer("cross_attn_k")
    tensors = (
        *linear(f"local_encoder.{name}", use="other", part="projector", out=up, into=local),
        *linear(f"local_decoder.{name}", use="other", part="projector", out=down, into=into),
    )
    if entering != wide:
        name = "global_transformer.token_embedding_projection"
        tensors += linear(name, use="other", part="projector", out=wide, into=entering)
    return tensors


def _local_layers(config: Config, kind: str, window: int | None, *, last: bool) -> list[Layer]:
    """Return the layers over bytes; one of them, or all, also attend to patches."""
    plain = _layer(config, kind, None, window=window)
    crossing = _layer(config, f"{kind}_with_patches", None, window=window, crossing=True)
    layers = config.integer("num_hidden_layers")
    if config.flag("cross_attn_all_layers"):
        return [crossing] * layers
    return [plain] * (layers - 1) + [crossing] if last else [crossing] + [plain] * (layers - 1)


def _layer(
    config: Config, kind: str, cache: TokenCache | None, *, window: int | None = None, crossing: bool = False
) -> Layer:
    hidden = config.integer("hidden_size")
    heads, kv_heads, _ = attention_dims(config)
    head_dim = hidden // heads
    dims = {"hidden": hidden, "heads": heads, "kv_heads": kv_heads, "head_dim": head_dim}
    block = attention(**dims, window=window)  # type: ignore[arg-type]
    if cache is not None:
        block = replace(block, caches=(cache,))
    blocks = [
        norms("input_layernorm", "post_attention_layernorm", size=hidden),
        block,
        gated_mlp(hidden=hidden, intermediate=_intermediate(config, hidden)),
    ]
    if crossing:
        other = attention(**dims, cache=False, prefix="cross_attn")  # type: ignore[arg-type]
        mixer = Mixer(
            kind="attention", heads=heads, kv_heads=kv_heads, key_dim=head_dim, value_dim=head_dim, causal=False
        )
        blocks.append(replace(other, mixers=(mixer,)) + norms("cross_attn.q_norm", "cross_attn.k_norm", size=hidden))
    return layer_of(kind, blocks)


def _intermediate(config: Config, hidden: int) -> int:
    return config.optional_integer("intermediate_size") or int(8 * hidden / 3)


def _global_cache(config: Config, whole: Config) -> TokenCache:
    """Return the cache of a global layer: one entry per patch."""
    heads, kv_heads, _ = attention_dims(whole)
    head_dim = whole.integer("hidden_size") // heads
    return TokenCache(heads=kv_heads, key_dim=head_dim, value_dim=head_dim, stride=config.integer("patch_size"))


def _patcher(config: Config) -> tuple[Tower, ...]:
    """Return the small byte model that decides where patches end, if the model runs it itself."""
    patcher = config.section("patcher_config")
    hidden, vocabulary = patcher.integer("hidden_size"), patcher.integer("vocab_size")
    layers = patcher.integer("num_hidden_layers")
    layer = _layer(patcher, "patcher", None)
    if not config.flag("patch_in_forward"):
        return ()
    tensors = (
        *table("patcher.embed_tokens", vocabulary, hidden, part="tower"),
        *(replace(t, name=f"patcher.{t.name}", part="tower", copies=layers) for t in layer.tensors),
        *norm("patcher.norm", hidden, part="tower"),
        *linear("patcher.lm_head", use="other", part="tower", out=vocabulary, into=hidden),
    )
    return (Tower(name="patcher", tensors=tensors),)
