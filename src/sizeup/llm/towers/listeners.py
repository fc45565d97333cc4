"""Projectors of audio towers.

Source: transformers 5.23, the projector classes in ``modeling_<type>.py`` of the wrappers in ``families/wrappers.py``.
"""

from __future__ import annotations

from sizeup.llm.blocks import norm
from sizeup.llm.config import Config
from sizeup.llm.towers.joints import LINEARS, two_layers
from sizeup.llm.towers.vit import Tensors, tower_linear


def audio_linear(config: Config, hidden: int) -> Tensors:
    """Return Qwen2-Audio's projector: one matrix."""
    return tower_linear(
        "multi_modal_projector.linear", hidden, config.section("audio_config").integer("d_model", "hidden_size")
    )


def voxtral(config: Config, hidden: int) -> Tensors:
    """Return Voxtral's projector, which takes four audio frames at once."""
    width = config.section("audio_config").integer("intermediate_size")
    return two_layers(LINEARS, width, hidden, hidden, bias=False)


def moss(config: Config, hidden: int) -> Tensors:
    """Return MOSS Transcribe's projector over merged audio frames."""
    width = config.section("audio_config").integer("hidden_size", "d_model") * config.integer("audio_merge_size")
    bias = config.flag("projector_bias", default=True)
    return (
        *two_layers(LINEARS, width, hidden, hidden, bias=bias),
        *norm("multi_modal_projector.norm", hidden, bias=True),
    )


def qwen3_asr(config: Config, hidden: int) -> Tensors:
    """Return Qwen3-ASR's projector."""
    sound = config.section("audio_config")
    config.ignore("token_classification_bias")
    return two_layers(LINEARS, sound.integer("d_model"), sound.integer("d_model"), sound.integer("output_dim"))


def glm_asr(config: Config, hidden: int) -> Tensors:
    """Return GLM-ASR's projector, which takes four audio frames at once."""
    return two_layers(LINEARS, config.section("audio_config").integer("intermediate_size"), 2 * hidden, hidden)
