"""Mixtures with ordinary attention that came after the first ones: Granite, Hunyuan, Aria, EXAONE, Cohere and others.

Source: transformers 5.23, ``modeling_<type>.py`` and ``configuration_<type>.py`` of every type named here.
"""

from __future__ import annotations

from sizeup.llm.architecture import Architecture
from sizeup.llm.config import Config
from sizeup.llm.families.dense_traits import GEMMA_NORMS, Traits
from sizeup.llm.families.experts import Experts
from sizeup.llm.families.moe import build_with
from sizeup.llm.families.moe_traits import Mixture

GRANITE_EXPERTS = Experts(
    width="intermediate_size",
    prefix="block_sparse_moe",
    router="router",
    fused=True,
    dense_fused=True,
    shared="shared_intermediate_size",
    shared_path="shared_mlp",
)
KOLIBRI_NORMS = ("input_layernorm", "post_attention_layernorm", "post_self_attn_layernorm", "post_mlp_layernorm")
HUNYUAN_IGNORED = (
    "num_shared_expert", "moe_intermediate_size", "moe_layer_num_skipped", "use_mixed_mlp_moe", "cla_share_factor",
    "attention_head_dim", "use_qk_norm", "class_num", "num_media_embeds", "moe_drop_tokens", "use_rotary_pos_emb",
    "org_vocab_size", "dense_list", "max_image_size", "anyres_pooling_size", "vit_patch", "vit_token",
    "vit_input_resolution",
)  # fmt: skip
"""Hunyuan-A13B: its class knows one shared expert, as wide as a routed one, and norms of query and key."""

LATER: dict[str, Mixture] = {
    "granitemoe": Mixture(experts=GRANITE_EXPERTS),
    "granitemoeshared": Mixture(experts=GRANITE_EXPERTS),
    "granitemoe_swa": Mixture(decoder=Traits(sinks=True, windows="full_first", pattern=4), experts=GRANITE_EXPERTS),
    "hunyuan_v1_moe": Mixture(
        decoder=Traits(qk_norm="head", qk_norm_names=("query_layernorm", "key_layernorm")),
        experts=Experts(
            width="intermediate_size", shared="width", shared_name="shared_mlp", router="gate.wg", fused=True
        ),
        ignored=HUNYUAN_IGNORED,
    ),
    "aria_text": Mixture(
        experts=Experts(width="intermediate_size", shared="count", bias="mlp_bias", router="router", fused=True)
    ),
    "exaone_moe": Mixture(
        decoder=Traits(bias=False, qk_norm="head", windows="full_last", pattern=4),
        experts=Experts(layers="listed", shared="count"),
        prediction=False,
        ignored=("is_moe_layer",),
    ),
    "cohere2_moe": Mixture(
        decoder=Traits(norms=("input_layernorm",), windows="full_last_after_dense"),
        experts=Experts(
            layers="listed",
            width="intermediate_size",
            dense_width="prefix_dense_intermediate_size",
            shared="count",
        ),
    ),
    "hy_v3": Mixture(
        decoder=Traits(qk_norm="head"),
        experts=Experts(layers="listed", shared="count", shared_anyway="intermediate_size", bias="mlp_bias"),
        prediction=False,
        defaults={"first_k_dense_replace": 1},
    ),
    "flint": Mixture(
        decoder=Traits(qk_norm="head", sinks=True, windows="full_second_and_ends", pattern=4),
        experts=Experts(layers="late_stepped", shared="shared_expert_intermediate_size", shared_name="shared_expert"),
    ),
    "kolibri1": Mixture(
        decoder=Traits(bias=False, norms=KOLIBRI_NORMS, qk_norm="head", windows="full_last", pattern=5),
        experts=Experts(shared="shared_expert_intermediate_size"),
    ),
    "laguna": Mixture(
        decoder=Traits(windows="none"),
        experts=Experts(
            layers="listed",
            shared="shared_expert_intermediate_size",
            score_bias="gate.e_score_correction_bias",
        ),
        attention="step",
        defaults={"first_k_dense_replace": 1},
    ),
    "mellum": Mixture(
        decoder=Traits(qk_norm="head", windows="none"),
        experts=Experts(layers="listed"),
        prediction=False,
        predicted=("sliding_attention", "sparse"),
    ),
    "beam": Mixture(
        decoder=Traits(norms=GEMMA_NORMS, qk_norm="head", windows="full_last_and_end", pattern=6),
        experts=Experts(layers="listed"),
        attention="biased_gate",
        defaults={"first_k_dense_replace": 3},
    ),
}
"""Every later mixture with ordinary attention."""


def build(config: Config) -> Architecture:
    """Return a mixture of experts with the traits of its model type."""
    return build_with(config, LATER[config.model_type])
