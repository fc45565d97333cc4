"""Encoders beside the text model: exact tensors of vision and audio towers, and of what joins them to the text."""

from __future__ import annotations

from sizeup.llm.architecture import Tower
from sizeup.llm.config import Config
from sizeup.llm.towers.audio import WHISPER_ENCODERS, whisper_encoder
from sizeup.llm.towers.vision import SPECIAL, VITS
from sizeup.llm.towers.vit import vit


def encoder(config: Config, name: str) -> Tower:
    """Return the tower that a vision or audio configuration describes, or one that says why it is not counted."""
    kind = config.model_type
    if kind in VITS:
        return Tower(name=name, tensors=vit(config, VITS[kind]))
    if kind in SPECIAL:
        return Tower(name=name, tensors=SPECIAL[kind](config))
    if kind in WHISPER_ENCODERS:
        return Tower(name=name, tensors=whisper_encoder(config))
    config.ignore(*config.values)
    return Tower(name=name, not_counted=f'no rule for a tower of type "{kind}"')
