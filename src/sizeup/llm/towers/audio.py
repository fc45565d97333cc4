"""Audio towers that are Whisper's encoder: two convolutions, positions, layers whose keys have no bias.

Source: transformers 5.23 ``modeling_whisper.py``, ``modeling_voxtral.py``, ``modeling_qwen2_audio.py``.
"""

from __future__ import annotations

from sizeup.llm.blocks import norm, table
from sizeup.llm.config import Config
from sizeup.llm.towers.vit import Tensors, convolution, vit_layers

WHISPER_ENCODERS = frozenset({"voxtral_encoder", "qwen2_audio_encoder", "moss_transcribe_diarize_audio"})


def whisper_encoder(config: Config) -> Tensors:
    """Return Whisper's encoder."""
    hidden = config.integer("d_model", "hidden_size")
    return (
        *convolution("conv1", hidden, config.integer("num_mel_bins"), 3),
        *convolution("conv2", hidden, hidden, 3),
        *table("embed_positions", config.integer("max_source_positions"), hidden, use="position", part="tower"),
        *vit_layers(
            hidden=hidden,
            intermediate=config.integer("encoder_ffn_dim", "intermediate_size"),
            layers=config.integer("encoder_layers", "num_hidden_layers"),
            key_bias=False,
            prefix="layers.",
        ),
        *norm("layer_norm", hidden, bias=True, part="tower"),
    )
