"""How each dense decoder differs from Llama's block: biases, norms, query-key norms, MLP, sliding layers.

Source: transformers 5.23, ``modeling_<type>.py`` and ``configuration_<type>.py`` of every type named here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Switch = bool | str
"""Fixed by the code, or the name of the key that decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """Differences from Llama.

    Attributes:
        bias, output_bias: of query, key and value, and of the output projection (None: as ``bias``).
        fused_qkv: query, key and value are one projection.
        own_head_dim: ``head_dim`` may differ from hidden size / heads; False where the code computes it.
        own_kv_heads: ``num_key_value_heads`` may differ from the query heads; False where the code does not read it.
        strict_heads: the configuration class refuses a hidden size that the heads do not divide.
        qk_norm: norms of query and key: per head (``head_dim`` or hidden size divided by heads), over all heads, or
            none; ``qk_norm_if`` is the key that decides.
        square_output: the output projection is hidden x hidden whatever the heads are.
        sub_norm, mlp_sub_norm: a norm before the output projection or before the down projection (BitNet).
        lambdas: four learned vectors per layer (differential attention).
        sinks: one learned attention sink per head (granite_swa).
        mlp, mlp_names: gated (three matrices), fused (gate and up as one), plain (two), or a mixture of experts.
        norms, norm_bias, norm_scale: the layer's norms; shifted (LayerNorm) or without any weight (OLMo).
        ends: what the checkpoint calls the embedding and the head.
        activation_key, activation: the key of the activation, and the class's own where that one has weights.
        norms_if, extra_norms: more norms where a key says so; ``norms_unless``: only the first norm where it says so.
        windows: rule for layers without ``layer_types``, see ``windows_by_rule``; ``pattern`` is its period.
    """

    bias: Switch = "attention_bias"
    output_bias: Switch | None = None
    fused_qkv: str = ""
    attention_prefix: str = "self_attn"
    attention_names: tuple[str, str, str, str] = ("q_proj", "k_proj", "v_proj", "o_proj")
    own_head_dim: bool = True
    own_kv_heads: bool = True
    strict_heads: bool = False
    qk_norm: Literal["head", "divided", "hidden"] | None = None
    qk_norm_if: str = ""
    qk_norm_bias: bool = False
    qk_norm_names: tuple[str, str] = ("q_norm", "k_norm")
    sub_norm: str = ""
    square_output: bool = False
    sinks: bool = False
    lambdas: bool = False
    mlp: Literal["gated", "fused", "plain", "mixture"] = "gated"
    mlp_bias: Switch = False
    mlp_names: tuple[str, ...] = ()
    mlp_sub_norm: str = ""
    activation_key: str = "hidden_act"
    activation: str = ""
    norms: tuple[str, ...] = ("input_layernorm", "post_attention_layernorm")
    norms_if: str = ""
    extra_norms: tuple[str, ...] = ()
    norms_unless: str = ""
    norm_bias: bool = False
    norm_scale: bool = True
    final_norm: str = "norm"
    ends: tuple[str, str] = ("embed_tokens", "lm_head")
    head_bias: bool = False
    windows: str = "every"
    pattern: int = 0


LLAMA = Traits(mlp_bias="mlp_bias", strict_heads=True)
MISTRAL = Traits(bias=False)
GEMMA_NORMS = (
    "input_layernorm",
    "post_attention_layernorm",
    "pre_feedforward_layernorm",
    "post_feedforward_layernorm",
)
POST_NORMS = ("post_attention_layernorm", "post_feedforward_layernorm")
UP_DOWN = ("up_proj", "down_proj")

TRAITS: dict[str, Traits] = {
    "llama": LLAMA,
    "mistral": MISTRAL,
    "ministral": MISTRAL,
    "ministral3": MISTRAL,
    "qwen2": Traits(bias=True, output_bias=False, windows="late"),
    "qwen3": Traits(qk_norm="head", windows="late"),
    "gemma": Traits(),
    "gemma2": Traits(
        activation_key="hidden_activation", norms=GEMMA_NORMS, windows="full_last", pattern=2, strict_heads=True
    ),
    "gemma3_text": Traits(
        activation_key="hidden_activation",
        norms=GEMMA_NORMS,
        qk_norm="head",
        windows="full_last",
        pattern=6,
        strict_heads=True,
    ),
    "vaultgemma": Traits(
        activation_key="hidden_activation",
        norms=("input_layernorm", "pre_feedforward_layernorm"),
        windows="full_last",
        pattern=2,
        strict_heads=True,
    ),
    "phi": Traits(
        bias=True,
        attention_names=("q_proj", "k_proj", "v_proj", "dense"),
        qk_norm="divided",
        qk_norm_if="qk_layernorm",
        qk_norm_bias=True,
        qk_norm_names=("q_layernorm", "k_layernorm"),
        mlp="plain",
        mlp_bias=True,
        mlp_names=("fc1", "fc2"),
        norms=("input_layernorm",),
        norm_bias=True,
        final_norm="final_layernorm",
        head_bias=True,
    ),
    "phi3": Traits(bias=False, fused_qkv="qkv_proj", mlp="fused"),
    "olmo": Traits(norm_scale=False),
    "olmo2": Traits(norms=POST_NORMS, qk_norm="hidden"),
    "olmo3": Traits(norms=POST_NORMS, qk_norm="hidden", windows="full_last", pattern=4),
    "cohere": Traits(norms=("input_layernorm",), qk_norm="hidden", qk_norm_if="use_qk_norm"),
    "cohere2": Traits(norms=("input_layernorm",), windows="full_last", pattern=4),
    "cohere_compass_text": Traits(norms=("input_layernorm",), windows="none"),
    "glm": Traits(output_bias=False, mlp="fused"),
    "glm4": Traits(
        output_bias=False,
        mlp="fused",
        norms=("input_layernorm", "post_attention_layernorm", "post_self_attn_layernorm", "post_mlp_layernorm"),
    ),
    "granite": Traits(mlp_bias="mlp_bias"),
    "granite_swa": Traits(mlp_bias="mlp_bias", sinks=True, windows="full_first", pattern=4),
    "starcoder2": Traits(
        bias="use_bias", mlp="plain", mlp_bias="use_bias", mlp_names=("c_fc", "c_proj"), norm_bias=True
    ),
    "stablelm": Traits(
        bias="use_qkv_bias",
        output_bias=False,
        own_head_dim=False,
        strict_heads=True,
        qk_norm="hidden",
        qk_norm_if="qk_layernorm",
        qk_norm_names=("q_layernorm", "k_layernorm"),
        norm_bias=True,
        norms_unless="use_parallel_residual",
    ),
    "nemotron": Traits(mlp="plain", mlp_bias="mlp_bias", mlp_names=UP_DOWN, norm_bias=True),
    "smollm3": Traits(mlp_bias="mlp_bias", windows="no_rope"),
    "exaone4": Traits(bias=False, qk_norm="head", norms=POST_NORMS, windows="full_last", pattern=4),
    "ernie4_5": Traits(bias="use_bias", mlp_bias="use_bias"),
    "seed_oss": Traits(output_bias="attention_out_bias", mlp_bias="mlp_bias"),
    "hunyuan_v1_dense": Traits(qk_norm="head", qk_norm_names=("query_layernorm", "key_layernorm")),
    "helium": Traits(output_bias=False, square_output=True, mlp_bias="mlp_bias"),
    "internlm3": LLAMA,
    "iquestcoder": LLAMA,
    "apertus": Traits(
        qk_norm="head",
        mlp="plain",
        mlp_names=UP_DOWN,
        activation="xielu",
        norms=("attention_layernorm", "feedforward_layernorm"),
    ),
    "arcee": Traits(mlp="plain", mlp_bias="mlp_bias", mlp_names=UP_DOWN, strict_heads=True),
    "bitnet": Traits(sub_norm="attn_sub_norm", mlp_sub_norm="ffn_sub_norm"),
    "cwm": Traits(bias=False, mlp_bias="mlp_bias", windows="full_first", pattern=4, strict_heads=True),
    "diffllama": Traits(lambdas=True),
    "hyperclovax": Traits(
        mlp_bias="mlp_bias", norms_if="use_post_norm", extra_norms=("post_norm1", "post_norm2"), strict_heads=True
    ),
    "jais2": Traits(mlp="plain", mlp_bias="mlp_bias", mlp_names=UP_DOWN, norm_bias=True, strict_heads=True),
    "nanochat": Traits(mlp="plain", mlp_names=("fc1", "fc2"), norm_scale=False),
    "persimmon": Traits(
        bias=True,
        fused_qkv="query_key_value",
        attention_names=("", "", "", "dense"),
        own_head_dim=False,
        own_kv_heads=False,
        strict_heads=True,
        qk_norm="head",
        qk_norm_if="qk_layernorm",
        qk_norm_bias=True,
        qk_norm_names=("q_layernorm", "k_layernorm"),
        mlp="plain",
        mlp_bias=True,
        mlp_names=("dense_h_to_4h", "dense_4h_to_h"),
        norm_bias=True,
        final_norm="final_layernorm",
    ),
}
"""Every dense decoder type, most of them one line."""
