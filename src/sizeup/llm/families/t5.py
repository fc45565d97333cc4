"""T5 and its multilingual relatives: no biases, RMSNorm, a head width of its own, a table of relative positions.

Source: transformers 5.23 ``modeling_t5.py``, ``modeling_umt5.py``. T5 v1.1 and FLAN checkpoints hold a head of their
own, which ``tie_word_embeddings`` false says; transformers 5.23 ties it all the same.
"""

from __future__ import annotations

from sizeup.llm.architecture import Architecture, Block, Layer, Tensor, Tower, layer_of
from sizeup.llm.blocks import head, linear, norm, norms, table
from sizeup.llm.blocks_encoder import Sight, feed_forward, multi_head_attention
from sizeup.llm.config import Config
from sizeup.llm.families.published import published_class
from sizeup.llm.towers.parts import stacked

ATTENTION = ("q", "k", "v", "o")
UNKNOWN_LENGTH = "the encoder's length is not in the configuration: cross-attention caches are counted as empty"
OWN_HEAD = (
    'the checkpoint has a head of its own ("tie_word_embeddings" is false); transformers 5.23 ties it to the embedding'
)


def build(config: Config) -> Architecture:
    """Return the decoder with the encoder as a tower, or the encoder alone where the class is one."""
    hidden, vocabulary = config.integer("d_model"), config.integer("vocab_size")
    config.ignore("n_positions", "relative_attention_max_distance", "output_past", "num_decoder_layers", "head_dim")
    tied = config.flag("tie_word_embeddings", default=True)
    if published_class(config).endswith("EncoderModel"):
        return _encoder_alone(config, hidden, vocabulary, _layers(config, hidden, "encoder"))
    return Architecture(
        model_type=config.model_type,
        hidden_size=hidden,
        vocabulary_size=vocabulary,
        embedding=table("shared", vocabulary, hidden),
        layers=_layers(config, hidden, "decoder"),
        head=(*norm("decoder.final_layer_norm", hidden), *head(hidden, vocabulary, tied=tied)),
        tied_embeddings=tied,
        towers=(encoder_tower(config),),
        assumptions=(UNKNOWN_LENGTH,) if tied else (OWN_HEAD, UNKNOWN_LENGTH),
    )


def encoder_tower(config: Config, *, prefix: str = "encoder", words: bool = False) -> Tower:
    """Return the encoder, with its word table where nothing else holds it."""
    hidden = config.integer("d_model")
    layers = _counted(_layers(config, hidden, "encoder"))
    return Tower(
        name=prefix,
        of_text=not words,
        tensors=(
            *(table(f"{prefix}.shared", config.integer("vocab_size"), hidden, part="tower") if words else ()),
            *(t for layer, count in layers for t in stacked([layer], layers=count, prefix=f"{prefix}.block.")),
            *norm(f"{prefix}.final_layer_norm", hidden, part="tower"),
        ),
    )


def _encoder_alone(config: Config, hidden: int, vocabulary: int, layers: tuple[Layer, ...]) -> Architecture:
    return Architecture(
        model_type=config.model_type,
        hidden_size=hidden,
        vocabulary_size=vocabulary,
        embedding=table("shared", vocabulary, hidden),
        layers=layers,
        head=norm("encoder.final_layer_norm", hidden),
        tied_embeddings=True,
        assumptions=(f'counted as {published_class(config)}, which "architectures" names: no decoder, no head',),
    )


def _counted(layers: tuple[Layer, ...]) -> list[tuple[Block, int]]:
    """Return the distinct layers, each with how many there are of it."""
    distinct = {id(layer): layer for layer in layers}
    return [(Block(layer.tensors), sum(other is layer for other in layers)) for layer in distinct.values()]


def _layers(config: Config, hidden: int, side: str) -> tuple[Layer, ...]:
    count = config.integer("num_layers")
    if side == "decoder":
        count = config.optional_integer("num_decoder_layers", minimum=1) or count
    first = _layer(config, hidden, side, positions=True)
    later = first if config.model_type == "umt5" else _layer(config, hidden, side, positions=False)
    return (first, *[later] * (count - 1))


def _layer(config: Config, hidden: int, side: str, *, positions: bool) -> Layer:
    heads, head_dim, intermediate = config.integer("num_heads"), config.integer("d_kv"), config.integer("d_ff")
    sights: list[tuple[str, Sight]] = [("layer.0.SelfAttention", "bidirectional" if side == "encoder" else "causal")]
    if side == "decoder":
        sights.append(("layer.1.EncDecAttention", "encoder"))
    blocks = [
        multi_head_attention(
            hidden=hidden, heads=heads, head_dim=head_dim, prefix=prefix, names=ATTENTION, sight=sight,
            bias=False, output_bias=False,
        )
        for prefix, sight in sights
    ]  # fmt: skip
    if positions:
        buckets = config.integer("relative_attention_num_buckets", default=32)
        name = "layer.0.SelfAttention.relative_attention_bias"
        blocks.append(Block(table(name, buckets, heads, use="position", part="attention")))
    mlp = f"layer.{len(sights)}.DenseReluDense"
    blocks.append(_mlp(mlp, hidden, intermediate, gated=config.text("feed_forward_proj").startswith("gated")))
    blocks.append(norms(*(f"layer.{index}.layer_norm" for index in range(len(sights) + 1)), size=hidden))
    return layer_of("decoder" if side == "decoder" else "encoder", blocks)


def _mlp(prefix: str, hidden: int, intermediate: int, *, gated: bool) -> Block:
    if not gated:
        return feed_forward(f"{prefix}.wi", f"{prefix}.wo", hidden=hidden, intermediate=intermediate, bias=False)
    gate: tuple[Tensor, ...] = linear(f"{prefix}.wi_0", use="gate", part="mlp", out=intermediate, into=hidden)
    rest = feed_forward(f"{prefix}.wi_1", f"{prefix}.wo", hidden=hidden, intermediate=intermediate, bias=False)
    return Block(gate) + rest
