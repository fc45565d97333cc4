"""BART and its relatives: the decoder of an encoder-decoder, alone or with its encoder where a class names both.

Source: transformers 5.23 ``modeling_bart.py``, ``modeling_whisper.py``, ``modeling_prophetnet.py`` and those of the
other types in ``TRAITS``. The causal class is the decoder with its cross attention, which then sees no encoder.
"""

from __future__ import annotations

from dataclasses import dataclass

from sizeup.llm.architecture import Architecture, Block, Layer, Tensor, Tower, layer_of
from sizeup.llm.blocks import check_divides, head, linear, norm, norms, table, vector
from sizeup.llm.blocks_encoder import Sight, feed_forward, multi_head_attention
from sizeup.llm.config import Config
from sizeup.llm.families.published import published_class, published_task
from sizeup.llm.towers.parts import relabelled, stacked


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What sets one type apart.

    Attributes:
        offset: unused rows before the first position.
        embedding_norm, final_norm: names of the norms before and after the layers; empty where there is none.
        key_bias: whether the key projection has a bias.
        can_tie: whether the causal head can be the embedding.
        head: name of the language-model head.
        side_keys: how configuration keys name a side's layers, heads and MLP width.
        fixed_encoder: key of the encoder's length where the model fixes it (it then hears, and has no word table).
        always_shared: a word table beside the decoder's exists in the causal class too.
    """

    offset: int = 0
    embedding_norm: str = ""
    final_norm: str = ""
    key_bias: bool = True
    can_tie: bool = True
    head: str = "lm_head"
    side_keys: tuple[str, str, str] = ("{}_layers", "{}_attention_heads", "{}_ffn_dim")
    positions: str = "max_position_embeddings"
    fixed_encoder: str = ""
    attention: tuple[str, str, str, str] = ("q_proj", "k_proj", "v_proj", "out_proj")
    cross: str = "encoder_attn"
    mlp: tuple[str, str, str] = ("fc1", "fc2", "final_layer_norm")
    tables: tuple[str, str] = ("embed_tokens", "embed_positions")
    always_shared: bool = False


BART = Traits(offset=2, embedding_norm="layernorm_embedding")
TRAITS = {
    "bart": BART,
    "plbart": BART,
    "mvp": BART,
    "trocr": Traits(offset=2, head="output_projection"),
    "mbart": Traits(offset=2, embedding_norm="layernorm_embedding", final_norm="layer_norm"),
    "bigbird_pegasus": Traits(embedding_norm="layernorm_embedding", can_tie=False),
    "blenderbot-small": Traits(embedding_norm="layernorm_embedding"),
    "blenderbot": Traits(final_norm="layer_norm"),
    "pegasus": Traits(final_norm="layer_norm"),
    "marian": Traits(),
    "whisper": Traits(
        final_norm="layer_norm",
        key_bias=False,
        head="proj_out",
        positions="max_target_positions",
        fixed_encoder="max_source_positions",
    ),
    "prophetnet": Traits(
        embedding_norm="embeddings_layer_norm",
        side_keys=("num_{}_layers", "num_{}_attention_heads", "{}_ffn_dim"),
        attention=("query_proj", "key_proj", "value_proj", "out_proj"),
        cross="cross_attn",
        mlp=("feed_forward.intermediate", "feed_forward.output", "feed_forward_layer_norm"),
        tables=("word_embeddings", "position_embeddings"),
        always_shared=True,
    ),
}
LEGACY = ("normalize_before", "normalize_embedding", "add_bias_logits", "add_final_layer_norm", "extra_pos_embeddings")
HARMLESS = ("static_position_embeddings", "encoder_no_repeat_ngram_size", "no_repeat_ngram_size", "median_filter_width")
WHOLE = ("ForConditionalGeneration", "MTModel")
UNKNOWN_LENGTH = "the encoder's length is not in the configuration: cross-attention caches are counted as empty"


def build(config: Config) -> Architecture:
    """Return the decoder, and the encoder as a tower where the configuration's class has one."""
    traits = TRAITS[config.model_type]
    config.ignore(*LEGACY, *HARMLESS)
    hidden, vocabulary = config.integer("d_model", "hidden_size"), config.integer("vocab_size")
    whole = bool(published_task(config, WHOLE, default=""))
    tied = config.flag("tie_word_embeddings") and (traits.can_tie or whole)
    final = norm(traits.final_norm, hidden, bias=True) if traits.final_norm else ()
    return Architecture(
        model_type=config.model_type,
        hidden_size=hidden,
        vocabulary_size=vocabulary,
        max_positions=config.optional_integer(traits.positions),
        embedding=(
            *_words(config, traits, hidden, "decoder", tied=tied, whole=whole),
            *_positions(config, traits, hidden, "decoder"),
            *_prompts(config, hidden, whole=whole),
        ),
        layers=(_layer(config, traits, hidden, "decoder"),) * _size(config, traits, "decoder")[0],
        head=(*final, *head(hidden, _head_rows(config, whole=whole), tied=tied, name=traits.head)),
        tied_embeddings=tied,
        towers=(_encoder(config, traits, hidden, tied=tied),) if whole else (),
        encoder_tokens=(config.optional_integer(traits.fixed_encoder) or 0) if whole and traits.fixed_encoder else 0,
        assumptions=_remarks(config, traits, whole=whole),
    )


def _remarks(config: Config, traits: Traits, *, whole: bool) -> tuple[str, ...]:
    named = published_class(config)
    if not whole:
        unknown = named and not named.endswith("ForCausalLM")
        return (f"{named} is not known: counted as the causal language model (the decoder alone)",) if unknown else ()
    counted = f'counted as {named}, which "architectures" names: encoder and decoder'
    return (counted,) if traits.fixed_encoder else (counted, UNKNOWN_LENGTH)


def _size(config: Config, traits: Traits, side: str) -> tuple[int, int, int]:
    """Return a side's layers, attention heads and MLP width."""
    layers, heads, intermediate = (key.format(side) for key in traits.side_keys)
    return config.integer(layers, minimum=0), config.integer(heads), config.integer(intermediate)


def _head_rows(config: Config, *, whole: bool) -> int:
    """Return the rows of an untied head; Marian's whole model may have a vocabulary for each side."""
    vocabulary = config.integer("vocab_size")
    if whole and config.model_type == "marian" and not config.flag("share_encoder_decoder_embeddings", default=True):
        return config.optional_integer("decoder_vocab_size", minimum=1) or vocabulary
    return vocabulary


def _words(config: Config, traits: Traits, hidden: int, side: str, *, tied: bool, whole: bool) -> tuple[Tensor, ...]:
    """Return the word tables that one side owns: with tied embeddings both sides and the head share one."""
    rows = config.integer("vocab_size")
    name, shared = traits.tables[0], config.flag("share_encoder_decoder_embeddings", default=True)
    if side == "encoder":
        heard = bool(traits.fixed_encoder)
        return () if heard or (tied and shared) else table(name, rows, hidden)
    own = config.optional_integer("decoder_vocab_size", minimum=1) or rows
    untied_spare = not tied and ((whole and shared and not traits.fixed_encoder) or traits.always_shared)
    return (*table(name, own, hidden), *(table("shared", rows, hidden) if untied_spare else ()))


def _positions(config: Config, traits: Traits, hidden: int, side: str) -> tuple[Tensor, ...]:
    """Return the position table of one side and the norm after it."""
    tensors: tuple[Tensor, ...] = ()
    if config.flag("use_learned_position_embeddings", default=True):
        key = traits.fixed_encoder if side == "encoder" and traits.fixed_encoder else traits.positions
        tensors += table(traits.tables[1], config.integer(key) + traits.offset, hidden, use="position")
    if config.model_type == "prophetnet" and side == "decoder":
        tensors += table("ngram_embeddings", config.integer("ngram"), hidden, use="position")
        config.ignore("relative_max_distance", "disable_ngram_loss")
    normed = traits.embedding_norm
    if config.model_type == "trocr" and config.flag("layernorm_embedding"):
        normed = "layernorm_embedding"
    return tensors + (norm(normed, hidden, bias=True) if normed else ())


def _layer(config: Config, traits: Traits, hidden: int, side: str) -> Layer:
    _, heads, intermediate = _size(config, traits, side)
    check_divides(f"{config.where}: attention heads", hidden, heads)
    bias = config.flag("use_bias", default=True)
    key_bias = bias and traits.key_bias
    sights: dict[str, Sight] = {"self_attn": "bidirectional" if side == "encoder" else "causal"}
    if side == "decoder" and config.flag("add_cross_attention", default=True):
        sights[traits.cross] = "encoder"
    blocks = [
        multi_head_attention(
            hidden=hidden,
            heads=heads,
            prefix=prefix,
            names=traits.attention,
            sight=sight,
            bias=bias,
            key_bias=key_bias,
            output_bias=bias,
            kv_hidden=config.optional_integer("cross_attention_hidden_size") if sight == "encoder" else None,
        )
        + norms(f"{prefix}_layer_norm", size=hidden, bias=True)
        for prefix, sight in sights.items()
    ]
    up, down, mlp_norm = traits.mlp
    blocks += [
        feed_forward(up, down, hidden=hidden, intermediate=intermediate),
        norms(mlp_norm, size=hidden, bias=True),
    ]
    if config.model_type == "prophetnet" and side == "decoder":
        name, out = "self_attn.relative_pos_embeddings", config.integer("num_buckets") * heads
        blocks.append(Block(linear(name, use="other", part="attention", out=out, into=hidden, bias=True)))
    return layer_of("decoder" if side == "decoder" else "encoder", blocks)


def _encoder(config: Config, traits: Traits, hidden: int, *, tied: bool) -> Tower:
    """Return the encoder: Whisper's listens through two convolutions, the others read words."""
    before = (
        *_words(config, traits, hidden, "encoder", tied=tied, whole=True),
        *(_listening(config, hidden) if traits.fixed_encoder else ()),
        *_positions(config, traits, hidden, "encoder"),
        *(norm(traits.final_norm, hidden, bias=True) if traits.final_norm else ()),
    )
    layer = Block(_layer(config, traits, hidden, "encoder").tensors)
    layers = _size(config, traits, "encoder")[0]
    return Tower(
        name="encoder",
        of_text=not traits.fixed_encoder,
        tensors=(*relabelled(before, prefix="encoder."), *stacked([layer], layers=layers, prefix="encoder.layers.")),
    )


def _listening(config: Config, hidden: int) -> tuple[Tensor, ...]:
    return (
        *vector("conv1", hidden, config.integer("num_mel_bins"), 3, part="tower", kind="conv"),
        *vector("conv1", hidden, part="tower", kind="bias"),
        *vector("conv2", hidden, hidden, 3, part="tower", kind="conv"),
        *vector("conv2", hidden, part="tower", kind="bias"),
    )


def _prompts(config: Config, hidden: int, *, whole: bool) -> tuple[Tensor, ...]:
    """Return MVP's learned prompts for the decoder's two attentions (transformers builds none for the encoder)."""
    if config.model_type != "mvp" or not whole or not config.flag("use_prompt"):
        return ()
    length, middle = config.integer("prompt_length"), config.integer("prompt_mid_dim")
    out = config.integer("decoder_layers") * 2 * hidden
    tensors: tuple[Tensor, ...] = ()
    for name in ("self_attn_prompt", "cross_attn_prompt"):
        tensors += table(f"{name}.prompt_embedding", length, hidden, use="position")
        tensors += linear(f"{name}.prompt_trans.1", use="other", part="other", out=middle, into=hidden, bias=True)
        tensors += linear(f"{name}.prompt_trans.3", use="other", part="other", out=out, into=middle, bias=True)
    return tensors
