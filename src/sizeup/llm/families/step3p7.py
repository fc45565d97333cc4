"""Step 3.7: a mixture of experts with head counts by layer kind, and a vision tower with scaled layers.

Source: transformers 5.23 ``modeling_step3p7.py``, ``configuration_step3p7.py``; files without sections describe the
text model alone.
"""

from __future__ import annotations

from dataclasses import replace

from sizeup.llm.architecture import Architecture, Tower
from sizeup.llm.blocks import linear, norm, table, vector
from sizeup.llm.config import Config, class_defaults
from sizeup.llm.families.moe import build_with
from sizeup.llm.families.moe_traits import MIXTURES
from sizeup.llm.towers.vit import Tensors, convolution, vit_layers


def build(config: Config) -> Architecture:
    """Return the text model with its tower, or the text model alone where the file is flat."""
    flat = "text_config" not in config.values and "hidden_size" in config.values
    if flat:
        config.assume(class_defaults()["step3p5"]["defaults"])
        tower = Tower(name="vision", not_counted='the configuration has no "vision_config"')
        return replace(build_with(config, MIXTURES["step3p5"]), towers=(tower,))
    tied = config.flag("tie_word_embeddings")  # the whole model decides
    text = config.section("text_config", changes={"tie_word_embeddings": tied})
    text.model_type = "step3p5"  # whatever the file says, as in the class
    vision = config.section("vision_config")
    model = build_with(text, MIXTURES["step3p5"])
    bias = config.flag("projector_bias")
    width = _width(vision)
    projector = linear(
        "multi_modal_projector", use="other", part="projector", out=model.hidden_size, into=4 * width, bias=bias
    )
    towers = (Tower(name="vision", tensors=_tower(vision)), Tower(name="projector", tensors=projector))
    return replace(model, model_type=config.model_type, towers=towers)


def _width(vision: Config) -> int:
    return vision.integer("width", "hidden_size")


def _tower(vision: Config) -> Tensors:
    """Return the tower: learned positions, two learned scales per layer, two convolutions that halve the image."""
    hidden, patch = _width(vision), vision.integer("patch_size")
    rows = (vision.integer("image_size") // patch) ** 2
    vision.ignore("intermediate_size", "max_position_embeddings")  # the class computes the width from the ratio
    layers = vision.integer("layers", "num_hidden_layers")
    scales = (*vector("lambda_1", hidden, part="tower"), *vector("lambda_2", hidden, part="tower"))
    return (
        *convolution("embeddings.patch_embedding", hidden, vision.integer("num_channels"), patch, patch, bias=False),
        *table("embeddings.position_embedding", rows, hidden, use="position", part="tower"),
        *norm("pre_layernorm", hidden, bias=True, part="tower"),
        *vit_layers(hidden=hidden, intermediate=int(hidden * vision.number("mlp_ratio")), layers=layers, extra=scales),
        *convolution("downsampler1", 2 * hidden, hidden, 3, 3),
        *convolution("downsampler2", 4 * hidden, 2 * hidden, 3, 3),
    )
