"""GIT: a BERT-like decoder that reads image patches and text in one sequence, with CLIP's vision tower.

Source: transformers 5.23 ``modeling_git.py``.
"""

from __future__ import annotations

from sizeup.llm.architecture import Architecture, Tower, layer_of
from sizeup.llm.blocks import check_divides, head, linear, norm, norms, table, vector
from sizeup.llm.blocks_encoder import feed_forward, multi_head_attention
from sizeup.llm.config import Config
from sizeup.llm.families.bert import NAMES
from sizeup.llm.towers import encoder


def build(config: Config) -> Architecture:
    """Return the text decoder with its vision tower."""
    hidden, vocabulary = config.integer("hidden_size"), config.integer("vocab_size")
    heads, intermediate = config.integer("num_attention_heads"), config.integer("intermediate_size")
    check_divides(f"{config.where}: num_attention_heads", hidden, heads)
    tied = config.flag("tie_word_embeddings")
    layer = layer_of(
        "full_attention",
        [
            multi_head_attention(hidden=hidden, heads=heads, prefix="attention", names=NAMES),
            norms("attention.output.LayerNorm", "output.LayerNorm", size=hidden, bias=True),
            feed_forward("intermediate.dense", "output.dense", hidden=hidden, intermediate=intermediate),
        ],
    )
    return Architecture(
        model_type=config.model_type,
        hidden_size=hidden,
        vocabulary_size=vocabulary,
        max_positions=config.optional_integer("max_position_embeddings"),
        embedding=(
            *table("embeddings.word_embeddings", vocabulary, hidden),
            *table("embeddings.position_embeddings", config.integer("max_position_embeddings"), hidden, use="position"),
            *norm("embeddings.LayerNorm", hidden, bias=True),
        ),
        layers=(layer,) * config.integer("num_hidden_layers"),
        head=head(hidden, vocabulary, tied=tied, bias=True, name="output"),
        tied_embeddings=tied,
        towers=_towers(config, hidden),
    )


def _towers(config: Config, hidden: int) -> tuple[Tower, ...]:
    vision = config.section("vision_config")
    width, name = vision.integer("hidden_size"), "visual_projection.visual_projection"
    projector = (
        *linear(f"{name}.0", use="other", part="projector", out=hidden, into=width, bias=True),
        *norm(f"{name}.1", hidden, bias=True, part="projector"),
    )
    frames = config.optional_integer("num_image_with_embedding") or 0
    if frames:
        projector += vector("img_temporal_embedding", width, part="projector", copies=frames)
    return (encoder(vision, "vision"), Tower(name="projector", tensors=projector))
