"""Encoders beside the text model: exact tensors of vision and audio towers, and of what joins them to the text."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sizeup.llm.architecture import Tower
from sizeup.llm.config import Config
from sizeup.llm.towers import audio, dots3, gemma, vision
from sizeup.llm.towers.vit import Tensors, vit

SPECIAL: Mapping[str, Callable[[Config], Tensors | None]] = {
    "internvl_vision": vision.internvl,
    "exaone4_5_vision": vision.exaone45,
    "glm4v_vision": vision.glm4v,
    "glm4v_moe_vision": vision.glm4v,
    "ovis2_vision": vision.ovis2,
    "mllama_vision_model": vision.mllama,
    "got_ocr2_vision": vision.sam,
    "pp_chart2table_vision": vision.sam,
    "qianfan_ocr_vision": vision.internvl,
    "glm_ocr_vision": vision.glm_ocr,
    "lfm3_vl_vision": vision.lfm3,
    "gemma4_vision": gemma.gemma4_vision,
    "gemma4_audio": gemma.gemma4_audio,
    "gemma4_unified_vision": gemma.unified_vision,
    "gemma4_unified_audio": gemma.nothing,
    "gemma3n_vision": gemma.mobilenet,
    "gemma3n_audio": gemma.gemma3n_audio,
    "phi4_multimodal_audio": audio.phi4_audio,
    "dots3_note_vision_encoder": dots3.vision,
    "dots3_note_audio_encoder": dots3.audio,
    "qwen2_5_omni_audio_encoder": audio.qwen_omni,
    "qwen3_omni_moe_audio_encoder": audio.qwen3_audio,
    "qwen3_asr_encoder": audio.qwen3_audio,
    "glmasr_encoder": audio.glm_asr,
    "voxtral_encoder": audio.whisper_encoder,
    "qwen2_audio_encoder": audio.whisper_encoder,
    "moss_transcribe_diarize_audio": audio.whisper_encoder,
}
"""Towers that are no plain vision transformer, by the model type of their configuration."""

WITHOUT_EFFECT = (
    "head_dim", "vocab_size", "projection_dim", "num_image_tokens", "window_size", "fullatt_block_indexes",
    "spatial_patch_size", "in_chans", "tokens_per_second", "num_attention_heads", "num_heads", "attention_heads",
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
    if kind in vision.VITS:
        return Tower(name=name, tensors=vit(config, vision.VITS[kind]))
    tensors = SPECIAL[kind](config) if kind in SPECIAL else None
    if tensors is not None:
        return Tower(name=name, tensors=tensors)
    config.ignore(*config.values)
    return Tower(name=name, not_counted=f'no rule for a tower of type "{kind}"')
