"""Multimodal models: a text model of any family, towers beside it, and what joins them.

A wrapper is a line of ``WRAPPERS``: its towers' sections, its projector, and whether the causal class of
transformers 5.23 is the text model alone. There, the towers count once ``architectures`` names the whole class.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sizeup.files import read_text
from sizeup.llm.architecture import Architecture, Tower
from sizeup.llm.config import Config, class_defaults
from sizeup.llm.families import build_section
from sizeup.llm.families.published import published_class
from sizeup.llm.towers import encoder
from sizeup.llm.towers import listeners as listen
from sizeup.llm.towers import mergers as merge
from sizeup.llm.towers import projectors as join
from sizeup.llm.towers.joints import Projector
from sizeup.llm.towers.parts import relabelled


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrapper:
    """One multimodal type.

    Attributes:
        project: what joins the towers to the text model.
        sections: keys of the towers' configurations; twice the same one for two equal towers.
        causal_is_text: the causal class of this type is the text model without its towers.
        optional: a tower without a section does not exist.
        flat_text: the text model's type where its keys stand in the whole configuration.
        tied_by: whose ``tie_word_embeddings`` decides: the whole model's, either's, the text model's, or nobody's.
    """

    project: Projector
    sections: tuple[str, ...] = ("vision_config",)
    causal_is_text: bool = False
    optional: bool = False
    flat_text: str = ""
    tied_by: str = "whole"


TEXT_ONLY = frozenset(
    {
        "cohere_compass", "cosmos3_omni", "deepseek_vl_hybrid", "fun_asr_nano", "granite_speech", "granite_speech_plus",
        "inkling2", "inkling_mm_model", "janus", "minicpm_ocr", "minicpmv4_6", "minicpmv4_7", "nemo_speechlm",
        "nemotron_h_omni", "vibevoice_asr",
    }
)  # fmt: skip
"""Types whose text model is exact while no rule is known for the rest, which is named and not counted."""
QWEN3 = Wrapper(project=merge.qwen3_merger)
WRAPPERS: Mapping[str, Wrapper] = {
    "gemma3": Wrapper(project=join.gemma3),
    "gemma3n": Wrapper(project=join.gemma3n, sections=("vision_config", "audio_config")),
    "gemma4": Wrapper(project=join.gemma4, sections=("vision_config", "audio_config"), optional=True),
    "gemma4_unified": Wrapper(project=join.gemma4, sections=("vision_config", "audio_config"), optional=True),
    "phi4_multimodal": Wrapper(project=join.phi4, sections=("vision_config", "audio_config"), flat_text="phi3"),
    "dots3_note": Wrapper(project=join.nothing, sections=("vision_config", "audio_config"), causal_is_text=True),
    "emu3": Wrapper(project=join.nothing, sections=("vq_config",), causal_is_text=True),
    "shieldgemma2": Wrapper(project=join.gemma3, tied_by="either"),
    "paligemma": Wrapper(project=join.paligemma),
    "llama4": Wrapper(project=join.llama4, causal_is_text=True, tied_by="text"),
    "mllama": Wrapper(project=join.mllama, causal_is_text=True, tied_by="nobody"),
    "qwen2_vl": Wrapper(project=merge.qwen2_merger, tied_by="either"),
    "qwen2_5_vl": Wrapper(project=merge.qwen2_merger, tied_by="either"),
    "qwen3_vl": QWEN3,
    "qwen3_vl_moe": QWEN3,
    "qwen3_5": Wrapper(project=merge.qwen3_merger, causal_is_text=True),
    "qwen3_5_moe": Wrapper(project=merge.qwen3_merger, causal_is_text=True),
    "qwen4_exp": Wrapper(project=merge.qwen3_merger, causal_is_text=True),
    "exaone4_5": Wrapper(project=merge.qwen2_merger),
    "glm4v": Wrapper(project=merge.glm4v, tied_by="either"),
    "glm4v_moe": Wrapper(project=merge.glm4v, tied_by="either"),
    "glm46v": Wrapper(project=merge.glm4v),
    "glmga": Wrapper(project=merge.glm4v),
    "glm_ocr": Wrapper(project=merge.glm4v, tied_by="either"),
    "glmasr": Wrapper(project=listen.glm_asr, sections=("audio_config",)),
    "qwen3_asr": Wrapper(project=listen.qwen3_asr, sections=("audio_config",)),
    "qwen2_5_omni_thinker": Wrapper(project=merge.qwen2_merger, sections=("vision_config", "audio_config")),
    "qwen3_omni_moe_thinker": Wrapper(project=merge.qwen3_merger, sections=("vision_config", "audio_config")),
    "hyperclovax_vision_v2": Wrapper(project=merge.hyperclovax),
    "lfm3_vl": Wrapper(project=merge.lfm3),
    "qianfan_ocr": Wrapper(project=merge.internvl),
    "pp_chart2table": Wrapper(project=join.got_ocr2),
    "aria": Wrapper(project=join.aria),
    "llava": Wrapper(project=join.llava, tied_by="either"),
    "llava_next": Wrapper(project=join.llava_next),
    "llava_next_video": Wrapper(project=join.llava_video, tied_by="either"),
    "llava_onevision": Wrapper(project=join.llava_next, tied_by="either"),
    "video_llava": Wrapper(project=join.llava, sections=("vision_config", "vision_config")),
    "vipllava": Wrapper(project=join.vip_llava),
    "mistral3": Wrapper(project=merge.mistral3),
    "ministral3": Wrapper(project=merge.mistral3, tied_by="text"),
    "lighton_ocr": Wrapper(project=merge.mistral3),
    "internvl": Wrapper(project=merge.internvl),
    "aya_vision": Wrapper(project=merge.aya_vision),
    "cohere2_vision": Wrapper(project=merge.cohere2_vision),
    "lfm2_vl": Wrapper(project=merge.lfm2),
    "idefics2": Wrapper(project=join.idefics2),
    "idefics3": Wrapper(project=merge.idefics3),
    "smolvlm": Wrapper(project=merge.idefics3),
    "ovis2": Wrapper(project=join.ovis2),
    "kimi_k25": Wrapper(project=merge.kimi),
    "minimax_m3_vl": Wrapper(project=merge.minimax_m3, tied_by="either"),
    "got_ocr2": Wrapper(project=join.got_ocr2),
    "fuyu": Wrapper(project=join.fuyu, sections=()),
    "paddleocr_vl": Wrapper(project=merge.paddle_ocr),
    "deepseek_vl": Wrapper(project=join.deepseek_vl),
    "video_llama_3": Wrapper(project=join.video_llama3, tied_by="either"),
    "qwen2_audio": Wrapper(project=listen.audio_linear, sections=("audio_config",), tied_by="nobody"),
    "voxtral": Wrapper(project=listen.voxtral, sections=("audio_config",), tied_by="nobody"),
    "moss_transcribe_diarize": Wrapper(project=listen.moss, sections=("audio_config",)),
}
TEXT_AS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "qwen2_vl_text": ("qwen2", {}),
    "qwen2_5_vl_text": ("qwen2", {}),
    "qwen3_vl_text": ("qwen3", {}),
    "qwen3_vl_moe_text": ("qwen3_moe", {}),
    "emu3_text_model": ("llama", {}),
    "qwen2_5_omni_text": ("qwen2", {}),
    "qwen3_omni_moe_text": ("qwen3_moe", {}),
    "glm_ocr_text": ("glm4", {"attention_bias": False}),
    "glm4v_text": ("glm4", {"attention_bias": True}),
    "glm4v_moe_text": ("glm4_moe", {"use_qk_norm": False}),
    "paddleocr_vl_text": ("ernie4_5", {}),
}
"""Text models whose layers are another type's; their own class defaults stay, and what the code fixes."""
FLAT = {"qwen2_vl": "qwen2", "qwen2_5_vl": "qwen2"}
"""Types whose first published files hold the text model's keys beside the tower's section."""
COMPLETED = frozenset({"voxtral"})
"""Types that complete a section that is there with what they would put in its place."""


def build(config: Config) -> Architecture:
    """Return the text model with its towers and projector."""
    if config.model_type in TEXT_ONLY:
        return text_alone(config)
    wrapper = WRAPPERS[config.model_type]
    named = published_class(config)
    whole = not wrapper.causal_is_text or bool(named and not named.endswith("ForCausalLM"))
    text = build_section(text_section(config, wrapper, whole=whole))
    names = [section.removesuffix("_config") for section in wrapper.sections]
    if not whole:
        config.ignore(*wrapper.sections)
        remark = f'text model alone: the {" and ".join(names)} tower counts where "architectures" names the whole class'
        return replace(text, model_type=config.model_type, assumptions=(*text.assumptions, remark))
    there = [
        (section, name)
        for section, name in zip(wrapper.sections, names, strict=True)
        if not wrapper.optional or config.get(section) is not None
    ]
    towers = [encoder(part(config, section), name) for section, name in there]
    projector = relabelled(wrapper.project(config, text.hidden_size), part="projector")
    return replace(text, model_type=config.model_type, towers=(*towers, Tower(name="projector", tensors=projector)))


def text_alone(config: Config) -> Architecture:
    """Return the text model, with the other sections of the configuration named as not counted."""
    text = build_section(text_section(config, Wrapper(project=join.nothing), whole=True))
    sections = class_defaults()[config.model_type]["sub_configs"]
    config.ignore(*sections, *(config.values if "text_config" in config.values else ()))  # of parts not counted
    names = [section.removesuffix("_config") for section in sections if section != "text_config"]
    reason = f"of {config.model_type} only the text model is known"
    towers = [Tower(name=name, not_counted=reason) for name in dict.fromkeys((*names, "projector"))]
    return replace(text, model_type=config.model_type, towers=tuple(towers))


@functools.cache
def absent_sections() -> dict[str, dict[str, dict[str, Any]]]:
    """Return what a wrapper's class puts where a section is absent (``init_kwargs`` of transformers' sub-configs)."""
    sections: dict[str, dict[str, dict[str, Any]]] = json.loads(read_text("llm/families/absent_sections.json"))
    return sections


def part(config: Config, name: str, changes: Mapping[str, Any] | None = None) -> Config:
    """Return a section; an absent one is what the wrapper's class would build."""
    given = config.get(name)
    completed = given is None or config.model_type in COMPLETED
    absent = absent_sections().get(config.model_type, {}).get(name, {}) if completed else {}
    added = {key: value for key, value in absent.items() if key not in (given or {})}
    return config.section(name, changes={**added, **(changes or {})})


def text_section(config: Config, wrapper: Wrapper, *, whole: bool) -> Config:
    """Return the text model's configuration, with embeddings tied as the whole model says."""
    flat = wrapper.flat_text or (FLAT.get(config.model_type) if "text_config" not in config.values else None)
    if flat and (wrapper.flat_text or "hidden_size" in config.values):
        return config.seen_as(flat)
    config.ignore(*(key for key in config.values if key.endswith(("_token_id", "_token_index"))))
    text = part(config, "text_config")
    config.ignore("hidden_size", "vocab_size", "projection_dim", "vision_feature_layer", "projector_hidden_act")
    text.model_type, fixed = TEXT_AS.get(text.model_type, (text.model_type, {}))
    tied = is_tied(config, text, wrapper, whole=whole)
    text.values = {**text.values, **fixed, **dict.fromkeys(tie_keys(text), tied)}
    return text


def tie_keys(text: Config) -> tuple[str, ...]:
    """Return the keys that say whether a text model's head is its embedding; the first one given decides."""
    older = ("tie_embedding",) if text.model_type.startswith("lfm") else ()
    return (*older, "tie_word_embeddings")


def is_tied(config: Config, text: Config, wrapper: Wrapper, *, whole: bool) -> bool:
    """Return whether the head is the embedding.

    A published file that leaves the question to the class means its text model's answer: transformers 5.23 assumes a
    tie there, and drops it when it meets the checkpoint's own head.
    """
    own = text.flag(*tie_keys(text))
    if wrapper.tied_by in ("text", "nobody") or (wrapper.tied_by != "either" and not whole):
        return own and wrapper.tied_by != "nobody"
    tied = config.flag("tie_word_embeddings")
    if tied and "tie_word_embeddings" not in config.values and published_class(config):
        return own
    return tied or (own and wrapper.tied_by == "either")
