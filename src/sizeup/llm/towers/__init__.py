"""Encoders beside the text model: exact tensors of vision and audio towers, and of what joins them to the text."""

from __future__ import annotations

from sizeup.llm.architecture import Tower
from sizeup.llm.config import Config
from sizeup.llm.towers.audio import WHISPER_ENCODERS, whisper_encoder
from sizeup.llm.towers.vision import SPECIAL, VITS
from sizeup.llm.towers.vit import vit

WITHOUT_EFFECT = (
    "head_dim", "vocab_size", "projection_dim", "num_image_tokens", "window_size", "fullatt_block_indexes",
    "spatial_patch_size", "tokens_per_second", "num_attention_heads", "num_heads", "attention_heads",
)  # fmt: skip
"""Keys of towers that look like sizes and change none: published configurations carry them along."""


PUBLISHED_NAMES = {
    "kimi_k25_vision": {
        "vt_hidden_size": "hidden_size",
        "vt_intermediate_size": "intermediate_size",
        "vt_num_attention_heads": "num_attention_heads",
        "vt_num_hidden_layers": "num_hidden_layers",
        "init_pos_emb_height": "pos_emb_height",
        "init_pos_emb_width": "pos_emb_width",
        "init_pos_emb_time": "",
        "mm_hidden_size": "",
        "text_hidden_size": "",
    },
}
"""Keys of published files whose class in transformers has other names for them."""


def encoder(config: Config, name: str) -> Tower:
    """Return the tower that a vision or audio configuration describes, or one that says why it is not counted."""
    kind = config.model_type
    config.respell(PUBLISHED_NAMES.get(kind, {}))
    config.ignore(*WITHOUT_EFFECT)
    if kind in VITS:
        return Tower(name=name, tensors=vit(config, VITS[kind]))
    if kind in SPECIAL:
        return Tower(name=name, tensors=SPECIAL[kind](config))
    if kind in WHISPER_ENCODERS:
        return Tower(name=name, tensors=whisper_encoder(config))
    config.ignore(*config.values)
    return Tower(name=name, not_counted=f'no rule for a tower of type "{kind}"')
