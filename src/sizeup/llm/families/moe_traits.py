"""How each mixture-of-experts decoder with grouped-query attention is laid out.

Source: transformers 5.23, ``modeling_<type>.py`` and ``configuration_<type>.py`` of every type named here; ``deepseek``
from ``modeling_deepseek.py`` of deepseek-ai/deepseek-moe-16b-base, ``grok-1`` from ``model.py`` of xai-org/grok-1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from sizeup.llm.families.dense_traits import POST_NORMS, Switch, Traits
from sizeup.llm.families.experts import Experts


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """One model type: its attention and norms (as of a dense decoder), and its experts.

    Attributes:
        attention: variant of ``moe_attention``; ``kinds`` is the rule for layer kinds that are more than full or
            sliding (else ``decoder.windows`` decides).
        head_bias: of the language-model head.
        prediction: the checkpoint's prediction layers repeat the token table and head; ``predicted`` is their attention
            and MLP where the configuration does not list them ("" as the last layer's).
        defaults: what an absent key means where transformers' class does not name it, or has no class.
        ignored: keys of published configurations that name sizes but have no effect.
    """

    decoder: Traits = field(default_factory=Traits)
    experts: Experts = field(default_factory=Experts)
    attention: Literal["plain", "gated", "biased_gate", "two_heads", "step", "indexed"] = "plain"
    kinds: Literal["", "chunked", "mimo", "step", "minimax"] = ""
    head_bias: Switch = False
    prediction: bool = True
    predicted: tuple[str, str] = ("", "")
    defaults: dict[str, Any] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()


MIXTRAL_NAMES = ("w1", "w3", "w2")
DEEPSEEK_DEFAULTS = {
    "vocab_size": 102400,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "moe_intermediate_size": 1407,
    "num_hidden_layers": 30,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "n_shared_experts": None,
    "n_routed_experts": None,
    "num_experts_per_tok": None,
    "moe_layer_freq": 1,
    "first_k_dense_replace": 0,
    "max_position_embeddings": 2048,
    "attention_bias": False,
    "tie_word_embeddings": False,
}
"""``configuration_deepseek.py`` of deepseek-ai/deepseek-moe-16b-base."""

GROK_DEFAULTS = {
    "vocab_size": 131072,
    "hidden_size": 6144,
    "intermediate_size": 32768,
    "num_hidden_layers": 64,
    "num_attention_heads": 48,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
}
"""``run.py`` and ``model.py`` of xai-org/grok-1: the head is the token table."""

MINIMAX_IGNORED = (
    *("rotary_dim", "attn_type_list", "mlp_intermediate_size", "use_qk_norm", "use_routing_bias"),
    *("use_mtp", "num_mtp_modules", "mtp_transformer_layers"),
)
"""MiniMax-M2: all layers have full attention and norms; the published checkpoints hold no prediction layers."""

STEP_IGNORED = ("per_layer_config", "n_shared_experts", "use_moe_router_bias", "num_sliding_attention_heads")
"""Step: the head counts by layer stand in keys of their own; one shared expert, a bias that is a buffer."""

GROK_NORMS = ("pre_attn_norm", "post_attn_norm", "pre_moe_norm", "post_moe_norm")
AFMOE_NORMS = ("input_layernorm", "post_attention_layernorm", "pre_mlp_layernorm", "post_mlp_layernorm")

MIXTURES: dict[str, Mixture] = {
    "mixtral": Mixture(
        decoder=Traits(bias=False),
        experts=Experts(width="intermediate_size", prefix="block_sparse_moe", names=MIXTRAL_NAMES),
    ),
    "qwen3_moe": Mixture(decoder=Traits(qk_norm="head", windows="used"), experts=Experts(layers="stepped")),
    "qwen2_moe": Mixture(
        decoder=Traits(bias="qkv_bias", output_bias=False, windows="early"),
        experts=Experts(
            layers="stepped",
            shared="shared_expert_intermediate_size",
            shared_gate=True,
            shared_name="shared_expert",
        ),
    ),
    "gpt_oss": Mixture(
        decoder=Traits(sinks=True, windows="full_last", pattern=2),
        experts=Experts(width="intermediate_size", router="router", router_bias=True, expert_bias=True, fused=True),
    ),
    "glm4_moe": Mixture(
        decoder=Traits(output_bias=False, qk_norm="head", qk_norm_if="use_qk_norm"),
        experts=Experts(layers="after_dense", shared="count"),
    ),
    "olmoe": Mixture(decoder=Traits(qk_norm="hidden"), experts=Experts(width="intermediate_size")),
    "flex_olmo": Mixture(
        decoder=Traits(norms=POST_NORMS, qk_norm="hidden"), experts=Experts(width="intermediate_size")
    ),
    "phimoe": Mixture(
        decoder=Traits(norm_bias=True),
        experts=Experts(width="intermediate_size", prefix="block_sparse_moe", names=MIXTRAL_NAMES),
        head_bias="lm_head_bias",
    ),
    "minimax_m2": Mixture(
        decoder=Traits(bias=False, qk_norm="hidden"),
        experts=Experts(width="intermediate_size", prefix="block_sparse_moe", names=MIXTRAL_NAMES),
        ignored=MINIMAX_IGNORED,
    ),
    "minimax_m3_vl_text": Mixture(
        decoder=Traits(bias=False, qk_norm="head"),
        experts=Experts(
            layers="listed",
            width="intermediate_size",
            dense_width="dense_intermediate_size",
            shared="shared_intermediate_size",
            dense_fused=True,
        ),
        attention="indexed",
        kinds="minimax",
        ignored=(*MINIMAX_IGNORED, "n_shared_experts", "use_gemma_norm"),
    ),
    "ernie4_5_moe": Mixture(
        decoder=Traits(bias="use_bias"),
        experts=Experts(
            layers="ranged",
            shared="count",
            bias="use_bias",
            empty_shared=False,
            score_bias="gate.moe_statics.e_score_correction_bias",
        ),
        head_bias="use_bias",
    ),
    "dots1": Mixture(
        decoder=Traits(qk_norm="head", windows="from"), experts=Experts(layers="after_dense", shared="count")
    ),
    "llama4_text": Mixture(
        experts=Experts(
            layers="interleaved",
            width="intermediate_size",
            dense_width="intermediate_size_mlp",
            shared="width",
            fused=True,
            prefix="feed_forward",
            router="router",
            shared_name="shared_expert",
        ),
        kinds="chunked",
    ),
    "afmoe": Mixture(
        decoder=Traits(qk_norm="head", norms=AFMOE_NORMS, windows="global_every"),
        experts=Experts(layers="after_dense", shared="count", router="router.gate", score_bias="expert_bias"),
        attention="gated",
    ),
    "mimo_v2_flash": Mixture(
        experts=Experts(layers="listed"),
        attention="two_heads",
        kinds="mimo",
        defaults={"first_k_dense_replace": 1},
    ),
    "solar_open": Mixture(
        decoder=Traits(output_bias=False),
        experts=Experts(shared="count"),
        ignored=("intermediate_size",),  # no layer is dense
    ),
    "step3p5": Mixture(
        decoder=Traits(qk_norm="head"),
        experts=Experts(layers="enumerated", shared="share_expert_dim", bias="mlp_bias"),
        attention="step",
        kinds="step",
        prediction=False,
        predicted=("full_attention", "dense"),
        ignored=STEP_IGNORED,
    ),
    "deepseek": Mixture(
        experts=Experts(layers="if_any", shared="count"),
        defaults=DEEPSEEK_DEFAULTS,
    ),
    "grok-1": Mixture(
        decoder=Traits(bias=False, norms=GROK_NORMS),
        experts=Experts(width="intermediate_size", prefix="moe_block", names=("linear_v", "linear", "linear_1")),
        defaults=GROK_DEFAULTS,
    ),
}
"""Every mixture with ordinary attention."""
MIXTURES["minimax_m3"] = MIXTURES["minimax_m3_vl_text"]
"""MiniMax-M3 as its language-model file calls it: what transformers has inside of the wrapper."""
