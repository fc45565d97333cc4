"""Encoders, encoder-decoders and multimodal models beyond the oracle: the class a file names, published checkpoints."""

from __future__ import annotations

from typing import Any

import pytest

from sizeup.errors import UserError
from sizeup.llm.cache import cache_size
from sizeup.llm.families import build
from sizeup.llm.parameters import count_parameters

BERT_BASE: dict[str, Any] = {"model_type": "bert", "vocab_size": 30522}
WHISPER_TINY: dict[str, Any] = {"model_type": "whisper"}
T5_SMALL: dict[str, Any] = {"model_type": "t5", "d_model": 512, "d_ff": 2048, "num_layers": 6, "num_heads": 8}
FLAN_T5_SMALL: dict[str, Any] = {
    "model_type": "t5", "d_model": 512, "d_ff": 1024, "d_kv": 64, "num_layers": 8, "num_decoder_layers": 8,
    "num_heads": 6, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "vocab_size": 32128,
}  # fmt: skip
PIXTRAL: dict[str, Any] = {
    "model_type": "pixtral", "head_dim": 64, "hidden_size": 1024, "image_size": 1540, "intermediate_size": 4096,
    "num_attention_heads": 16, "num_channels": 3, "num_hidden_layers": 24, "patch_size": 14,
}  # fmt: skip


def named(config: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a configuration as a published file of class ``name`` holds it."""
    return {**config, "architectures": [name]}


@pytest.mark.parametrize(
    ("config", "count"),
    [
        (BERT_BASE, 109_514_298),
        (named(BERT_BASE, "BertForMaskedLM"), 109_514_298),
        (named(BERT_BASE, "BertModel"), 109_482_240),
        (named(BERT_BASE, "BertForPreTraining"), 109_514_298 + 768 * 768 + 768 + 2 * 768 + 2),
        (named({**BERT_BASE, "id2label": {"0": "a", "1": "b", "2": "c"}}, "BertForTokenClassification"), 108_893_955),
        (named(WHISPER_TINY, "WhisperForConditionalGeneration"), 37_760_640),
        (WHISPER_TINY, 29_552_256),
        (T5_SMALL, 60_506_624),
        (FLAN_T5_SMALL, 76_961_152),
    ],
)
def test_the_class_that_a_file_names_is_counted(config: dict[str, Any], count: int) -> None:
    assert count_parameters(build(config)) == count


def test_an_unknown_class_is_said_and_counted_as_the_causal_one() -> None:
    architecture = build(named(BERT_BASE, "BertForSomethingElse"))
    assert count_parameters(architecture) == 109_514_298
    assert "BertForSomethingElse is not known" in " ".join(architecture.assumptions)


@pytest.mark.parametrize(
    ("config", "count"),
    [
        # Qwen/Qwen2-VL-7B-Instruct as first published: the text model's keys beside the tower's section
        (
            {
                "model_type": "qwen2_vl", "hidden_size": 3584, "intermediate_size": 18944, "max_window_layers": 28,
                "num_attention_heads": 28, "num_hidden_layers": 28, "num_key_value_heads": 4, "vocab_size": 152064,
                "sliding_window": 32768, "use_sliding_window": False, "tie_word_embeddings": False,
                "vision_config": {
                    "depth": 32, "embed_dim": 1280, "mlp_ratio": 4, "num_heads": 16, "in_chans": 3,
                    "hidden_size": 3584, "patch_size": 14, "spatial_merge_size": 2, "spatial_patch_size": 14,
                    "temporal_patch_size": 2,
                },
            },
            8_291_375_616,
        ),
        # google/gemma-3-12b-it
        (
            {
                "model_type": "gemma3", "mm_tokens_per_image": 256,
                "text_config": {
                    "head_dim": 256, "hidden_size": 3840, "intermediate_size": 15360, "num_attention_heads": 16,
                    "num_hidden_layers": 48, "num_key_value_heads": 8, "sliding_window": 1024,
                },
                "vision_config": {
                    "model_type": "siglip_vision_model", "hidden_size": 1152, "image_size": 896, "patch_size": 14,
                    "intermediate_size": 4304, "num_attention_heads": 16, "num_hidden_layers": 27,
                    "vision_use_head": False,
                },
            },
            12_187_325_040,
        ),
        # llava-hf/llava-1.5-7b-hf
        (
            {
                "model_type": "llava", "tie_word_embeddings": False, "vision_feature_layer": -2, "vocab_size": 32064,
                "text_config": {"model_type": "llama", "max_position_embeddings": 4096, "vocab_size": 32064},
                "vision_config": {
                    "model_type": "clip_vision_model", "hidden_size": 1024, "image_size": 336,
                    "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 24, "patch_size": 14,
                    "projection_dim": 768, "vocab_size": 32000,
                },
            },
            7_063_427_072,
        ),
        # mistralai/Mistral-Small-3.1-24B: says nothing of a tie, and has a head of its own
        (
            {
                "model_type": "mistral3", "architectures": ["Mistral3ForConditionalGeneration"],
                "multimodal_projector_bias": False, "spatial_merge_size": 2, "vision_feature_layer": -1,
                "text_config": {
                    "model_type": "mistral", "head_dim": 128, "hidden_size": 5120, "intermediate_size": 32768,
                    "num_attention_heads": 32, "num_hidden_layers": 40, "num_key_value_heads": 8,
                    "sliding_window": None, "vocab_size": 131072,
                },
                "vision_config": PIXTRAL,
            },
            24_011_361_280,
        ),
    ],
)  # fmt: skip
def test_published_multimodal_checkpoints(config: dict[str, Any], count: int) -> None:
    assert count_parameters(build(config)) == count


def test_a_causal_class_that_is_the_text_model_says_so() -> None:
    text_alone = build({"model_type": "llama4"})
    whole = build(named({"model_type": "llama4"}, "Llama4ForConditionalGeneration"))
    assert text_alone.towers == ()
    assert "text model alone" in " ".join(text_alone.assumptions)
    towers = sum(tower.elements for tower in whole.towers)
    assert count_parameters(whole) - count_parameters(text_alone) == towers


def test_an_unknown_tower_is_named_and_the_text_model_stays_exact() -> None:
    text = {"model_type": "llama", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2}
    text |= {"num_attention_heads": 4, "vocab_size": 100}
    vision = {"model_type": "dinov2", "hidden_size": 32}
    architecture = build({"model_type": "llava", "text_config": text, "vision_config": vision})
    assert next(tower.not_counted for tower in architecture.towers) == 'no rule for a tower of type "dinov2"'
    projector = architecture.towers[-1].elements
    assert count_parameters(architecture) == count_parameters(build(text)) + projector


def test_cross_attention_keeps_the_encoder_where_the_model_fixes_its_length() -> None:
    architecture = build(named(WHISPER_TINY, "WhisperForConditionalGeneration"))
    layers, heads, head_dim, key_and_value, bytes_per_value = 4, 6, 64, 2, 2
    positions = 10 + architecture.encoder_tokens
    expected = layers * heads * head_dim * key_and_value * bytes_per_value * positions
    assert architecture.encoder_tokens == 1500
    assert cache_size(architecture, tokens=10).value == expected


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "bert", "add_cross_attention": True}, "is_decoder"),
        ({"model_type": "bert", "num_attention_heads": 7}, "num_attention_heads"),
        ({"model_type": "bart", "decoder_attention_heads": 7}, "attention heads"),
        ({"model_type": "llava", "mystery_layers": 3}, "mystery_layers"),
    ],
)
def test_impossible_layouts_name_the_key(config: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(config)


@pytest.mark.parametrize(("whole", "text", "tied"), [(False, True, False), (True, False, True), (None, False, False)])
def test_lfm2_s_older_key_yields_to_the_whole_model(whole: bool | None, text: bool, tied: bool) -> None:
    config: dict[str, Any] = {"model_type": "lfm2_vl", "architectures": ["Lfm2VlForConditionalGeneration"]}
    config |= {"text_config": {"tie_embedding": text}} | ({} if whole is None else {"tie_word_embeddings": whole})
    assert ("head" in {tensor.part for tensor, _ in build(config).counted_tensors()}) != tied


@pytest.mark.parametrize(
    ("model_type", "whole", "text", "tied"),
    [("qwen2_5_vl", False, True, True), ("llava", False, False, False), ("llava", False, True, True),
     ("gemma3", False, True, False), ("internvl", True, False, True)],
)  # fmt: skip
def test_who_ties_the_head_of_a_multimodal_model(model_type: str, whole: bool, text: bool, tied: bool) -> None:
    config = {"model_type": model_type, "tie_word_embeddings": whole, "text_config": {"tie_word_embeddings": text}}
    assert ("head" in {tensor.part for tensor, _ in build(config).counted_tensors()}) != tied
