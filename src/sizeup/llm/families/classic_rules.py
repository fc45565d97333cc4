"""What a classic decoder's configuration decides beyond names: key-value heads, norms, extra tables, odd layers.

Source: transformers 5.23, ``modeling_<type>.py`` and ``configuration_<type>.py`` of the types in ``SETTLE``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from sizeup.errors import UserError
from sizeup.llm.config import Config, class_defaults
from sizeup.llm.families.classic_traits import Classic

FALCONS = ("falcon", "RefinedWeb", "RefinedWebModel")
"""Falcon under its present name, and as its 40B and 7B were first published."""


@dataclass(frozen=True, slots=True)
class Place:
    """One layer's variant: how far back it looks, and whether its output projection alone has a bias."""

    window: int | None = None
    output_bias: bool = False


HARMLESS = (
    "n_ctx", "n_special", "predict_special_tokens", "rotary", "rotary_dim", "offset_alibi", "skip_bias_add",
    "skip_bias_add_qkv", "bias_dropout_fusion", "masked_softmax_fusion", "attention_softmax_in_fp32",
    "apply_residual_connection_post_layernorm", "share_inout_emb", "max_vocab", "min_count", "id2lang", "lang2id",
    "pad_key_length", "runner_max_sequence_length", "init_config", "verbose", "tokenizer_name", "from_tf",
    "intermediate_size",
)  # fmt: skip
"""Keys of published configurations of these types that change nothing."""

LAYERS = ("num_hidden_layers", "n_layer")
HEADS = ("num_attention_heads", "n_head")
"""Falcon was first published with BLOOM's names (``RefinedWeb``)."""


def settled(config: Config, traits: Classic) -> Classic:
    """Return ``traits`` with everything that the configuration decides."""
    config.ignore(*HARMLESS)
    rule = SETTLE.get(config.model_type)
    return rule(config, traits) if rule else traits


def places(config: Config) -> list[Place]:
    """Return the variant of every layer."""
    layers = config.integer(*LAYERS)
    if config.model_type == "gpt_neo":
        return [Place(window=window) for window in _neo_windows(config, layers)]
    if config.model_type == "gpt_neox_japanese":
        return [Place(output_bias=index == layers - 1) for index in range(layers)]
    return [Place()] * layers


def hidden_size(config: Config) -> int:
    """Return the hidden size; in BLOOM and Falcon the older ``n_embed`` wins."""
    if config.model_type in ("bloom", *FALCONS):
        return config.optional_integer("n_embed", minimum=1) or config.integer("hidden_size")
    return config.integer("hidden_size")


def mlp_width(config: Config, traits: Classic) -> int:
    """Return the MLP's width: four times the hidden size unless a key says otherwise."""
    hidden = hidden_size(config)
    if config.model_type == "gpt_neox_japanese":
        return int(hidden * config.number("intermediate_multiple_size"))
    own = config.optional_integer(traits.width, minimum=1) if traits.width else None
    return own or 4 * hidden


def _neo_windows(config: Config, layers: int) -> list[int | None]:
    """GPT-Neo: ``attention_types`` lists groups of global and local layers with how often they repeat."""
    groups = config.sequence("attention_types")
    if groups is None:
        groups = [[["global", "local"], 12]]
    kinds: list[str] = []
    for group in groups:
        if not (isinstance(group, list | tuple) and len(group) == 2 and isinstance(group[1], int)):
            raise UserError(f'{config.where}: "attention_types" must list [[kinds], repeats], not {group!r}')
        kinds += list(group[0]) * group[1]
    if len(kinds) != layers or not set(kinds) <= {"global", "local"}:
        raise UserError(
            f'{config.where}: "attention_types" names {len(kinds)} layers, the model has {layers}; '
            'they are "global" or "local"'
        )
    config.ignore("attention_layers")  # the same list, written out
    window = config.integer("window_size")
    return [window if kind == "local" else None for kind in kinds]


def _bigcode(config: Config, traits: Classic) -> Classic:
    config.ignore("num_key_value_heads")  # derived from "multi_query"
    if not config.flag("multi_query"):
        return traits
    if config.flag("add_cross_attention"):
        raise UserError(f'{config.where}: "add_cross_attention" needs "multi_query" to be false')
    return replace(traits, kv_heads=1, cached_heads=1)


def _falcon(config: Config, traits: Classic) -> Classic:
    """Falcon-7B shares one key-value head, Falcon-40B a few; transformers caches the latter once per query head."""
    if config.model_type != "falcon":
        config.assume(class_defaults()["falcon"]["defaults"])
    heads = config.integer(*HEADS)
    newer = config.flag("new_decoder_architecture") or config.model_type == "RefinedWeb"
    listed = config.optional_integer("num_kv_heads", "n_head_kv", minimum=1) or heads
    if newer and heads % listed:
        raise UserError(f'{config.where}: "num_kv_heads" = {listed} does not divide {heads} attention heads')
    shared = 1 if config.flag("multi_query") else heads
    return replace(
        traits,
        kv_heads=listed if newer else shared,
        cached_heads=heads if newer else shared,
        norms=_falcon_norms(config, newer),
    )


def _falcon_norms(config: Config, newer: bool) -> tuple[str, ...]:
    count = config.optional_integer("num_ln_in_parallel_attn")
    if not config.flag("parallel_attn"):
        return ("input_layernorm", "post_attention_layernorm")
    if count == 2 or (count is None and newer):
        return ("ln_attn", "ln_mlp")
    return ("input_layernorm",)


def _mpt(config: Config, traits: Classic) -> Classic:
    """MPT: transformers knows plain multi-head attention, no biases and an MLP four times as wide."""
    section = config.section("attn_config", required=False)
    kind = section.text("attn_type", default="multihead_attention")
    for name in ("attn_type", "kv_n_heads", "qk_ln", "clip_qkv", "prefix_lm", "alibi", "alibi_bias_max"):
        section.ignore(name)
    if kind == "grouped_query_attention":
        raise UserError(
            f'{config.where}: "attn_config.attn_type" = "{kind}" is not an attention that transformers\' mpt has',
            hint='"multihead_attention" and "multiquery_attention" are known (and built alike)',
        )
    return traits


def _opt(config: Config, traits: Classic) -> Classic:
    last = config.flag("do_layer_norm_before") and not config.flag("_remove_final_layer_norm")
    return replace(
        traits,
        final_norm="final_layer_norm" if last else "",
        norm_scale=config.flag("layer_norm_elementwise_affine"),
    )


def _xlm(config: Config, traits: Classic) -> Classic:
    if not config.flag("is_encoder", default=True):
        raise UserError(f'{config.where}: "is_encoder" must be true; transformers has XLM as an encoder only')
    languages = config.integer("n_langs")
    if languages > 1 and config.flag("use_lang_emb"):
        return replace(traits, tables=(("lang_embeddings", languages),))
    return traits


SETTLE: dict[str, Callable[[Config, Classic], Classic]] = {
    "gpt_bigcode": _bigcode,
    **dict.fromkeys(FALCONS, _falcon),
    "mpt": _mpt,
    "opt": _opt,
    "xlm": _xlm,
}
"""Types whose traits depend on more than switches."""
