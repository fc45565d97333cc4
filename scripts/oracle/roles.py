"""Which keys of a configuration play which role, and which values they may be drawn from."""

from __future__ import annotations

import re
from typing import Any

ROLES: dict[str, str] = {
    "heads": r"(num_|n_|decoder_|encoder_|num_decoder_|num_encoder_)?(attention_)?heads?|n_head|n_heads|num_heads",
    "hidden": r"hidden_size|n_embd|d_model|emb_dim|hidden_dim|dim|embed_dim",
    "kv": r"num_key_value_heads|num_kv_heads|num_global_key_value_heads|swa_num_key_value_heads",
    "head_dim": r"head_dim|kv_channels|attention_head_dim|global_head_dim|swa_head_dim|dim_head|swa_v_head_dim",
    "layers": r"num_hidden_layers|n_layers?|num_layers|decoder_layers|encoder_layers|num_decoder_layers"
    r"|num_encoder_layers|depth",
    "inter": r"intermediate_size|ffn_dim|n_inner|decoder_ffn_dim|encoder_ffn_dim|ffn_hidden_size|dff|dim_ff"
    r"|intermediate_size_mlp|dense_intermediate_size|d_inner|prefix_dense_intermediate_size|mlp_dim",
    "moe_inter": r"moe_intermediate_size|expert_ffn_hidden_size|moe_ffn_hidden_size",
    "shared_inter": r"shared_expert_intermediate_size|shared_intermediate_size|moe_shared_expert_intermediate_size"
    r"|shared_experts_intermediate_size|moe_latent_size",
    "vocab": r"vocab_size|n_tokens|vocab_size_per_layer_input|decoder_vocab_size",
    "experts": r"num_experts|n_routed_experts|num_local_experts|moe_num_experts",
    "top_k": r"num_experts_per_tok(en)?|moe_topk|moe_top_k|moe_k|top_k_experts",
    "linear_keys": r"linear_num_key_heads",
    "linear_values": r"linear_num_value_heads",
    "expand": r"expand|mamba_expand",
    "mamba_dim": r"mamba_d_head|mamba_head_dim",
    "mamba_heads": r"mamba_n_heads|mamba_num_heads",
    "mamba_groups": r"mamba_n_groups|mamba_ngroups|n_groups",
    "window": r"sliding_window|sliding_window_size|attention_chunk_size|attention_window_size|local_attention"
    r"|window_size|local_window_size",
}

CHOICES: dict[str, list[Any]] = {
    r"linear_(key|value)_head_dim|linear_head_dim": [8, 16, 24],
    r"linear_num_heads": [2, 4],
    r"linear_conv_kernel_dim|conv_kernel(_size)?|mamba_d_conv|conv1d_width": [2, 3, 4, 5],
    r"short_conv_kernel_size|ple_conv_kernel_size": [2, 3, 4, 5],
    r"conv_L_cache": [2, 3, 5],
    r"mamba_d_state|ssm_state_size|state_size": [8, 16, 32],
    r"chunk_size|mamba_chunk_size": [16, 32],
    r"q_lora_rank": [16, 24, 48],
    r"kv_lora_rank": [16, 24, 32],
    r"o_lora_rank|gated_norm_rank|laurel_rank|adapter_rank|hc_lowrank": [4, 8, 16],
    r"qk_nope_head_dim": [8, 16, 24],
    r"qk_rope_head_dim": [8, 16],
    r"v_head_dim": [8, 16, 24, 32],
    r"index_head_dim": [16, 32],
    r"index_n_heads": [2, 4],
    r"index_topk|index_topk_blocks": [4, 16],
    r"n_shared_experts|num_shared_experts|moe_num_shared_experts": [0, 1, 2, 3],
    r"first_k_dense_replace|num_dense_layers": [0, 1, 2],
    r"decoder_sparse_step|moe_layer_interval|interleave_moe_layer_step|moe_layer_freq|no_rope_layer_interval": [
        1,
        2,
        3,
    ],
    r"num_nextn_predict_layers|num_mtp_layers": [0, 1, 2],
    r"sliding_window_pattern|global_attn_every_n_layers|layer_group_size|full_attention_interval": [1, 2, 3, 4],
    r"attn_layer_period|expert_layer_period": [2, 3, 4],
    r"attn_layer_offset|expert_layer_offset": [0, 1],
    r"hidden_size_per_layer_input": [8, 16],
    r"max_window_layers": [0, 1, 2],
    r"num_kv_shared_layers": [0, 1, 2],
    r"altup_num_inputs": [2, 3, 4],
    r"hc_mult|hc_count": [2, 3, 4],
    r"zero_expert_num": [2, 4],
    r"router_hidden_size": [8, 16, 24],
    r"type_vocab_size": [1, 2, 3],
    r"max_position_embeddings|n_positions|max_seq_len|context_length|max_target_positions|n_ctx": [1024, 1280, 2048],
    r"rotary_dim": [4, 8],
    r"embedding_size|word_embed_proj_dim|lru_width": [],
    r"moe_layer_start_index": [0, 1, 2],
    r"block_multiple_of|ffn_round_up_to_multiple_of": [32, 64],
    r"block_ffn_dim_multiplier": [1.0, 1.5],
    r"intermediate_multiple_size|expansion_ratio": [2, 3, 4],
    r"num_buckets|position_bias_num_buckets": [16, 32],
    r"prompt_(length|types)|segment_types|prompt_mid_dim": [8, 32],
    r"(in|out)put_embedding_size|(pronunciation|shape)_embed_dim": [16, 32, 48],
    r"(pronunciation|shape)_vocab_size|encoder_hash_byte_group_vocab": [300, 500],
    r"encoder_hash_byte_group_nb_functions|adapter_reduction_factor": [1, 2],
    r"cca_time[01]|num_ln_in_parallel_attn|num_codebooks": [1, 2],
    r"d_rel": [8, 16],
    r"rel_extent": [64, 128],
    r"n_layers_per_attn_res_block|n_langs|task_type_vocab_size|[HL]_cycles": [1, 2, 3],
    r"index_block_size": [16, 32],
    r"o_groups": [1, 2],
    r"expert_intermediate_size|swa_intermediate_size": [16, 48],
    r"num_hash_layers|dense_mlp_idx|prefix_dense_sliding_window_pattern|ngram": [1, 2],
    r"mem_len": [32, 128],
    r"qk_dim_factor": [0.5, 1.0],
    r"num_mem_blocks": [1, 2],
    r"pad_token_id": [0],
    r"bos_token_id|eos_token_id|decoder_start_token_id|sep_token_id|cls_token_id": [1],
}

BOOLS = re.compile(
    r"^(tie_word_embeddings|attention_bias|mlp_bias|use_qk_norm|qk_layernorm|qkv_bias|use_qkv_bias|use_bias"
    r"|bias|use_prompt|is_moe|use_task_id|concat_input|block_auto_adjust_ff_dim"
    r"|multi_query|new_decoder_architecture|alibi|add_cross_attention|is_decoder|lm_head_bias|conv_bias"
    r"|use_conv_bias|mamba_conv_bias|mamba_proj_bias|mamba_rms_norm|projectors?_bias|parallel_attn"
    r"|use_parallel_residual|use_sliding_window|attention_k_eq_v|use_double_wide_mlp|enable_moe_block"
    r"|use_shared_attention_adapter|use_mem_rope|shared_expert_sink|attention_out_bias|norm_bias|decoder_bias"
    r"|learned_pos_emb|no_bias|gating|layernorm_embedding|do_layer_norm_before|use_learned_position_embeddings"
    r"|enable_bias|classifier_bias|add_bias_linear|use_attention_gate|layer_norm_elementwise_affine"
    r"|add_out_norm|use_expert_bias|use_long_context|scale_embedding|mup_enabled|pre_norm|use_post_norm"
    r"|use_sandwich_norm|adapter_layer_norm|_remove_final_layer_norm|share_encoder_decoder_embeddings"
    r"|rotary_value|enable_(shape|pronunciation)|adapter_reuse_layer_norm|ln_before_adapter|use_dsa"
    r"|axial_pos_embds|use_lang_emb|use_attention_bias|moe_apply_\w+|add_\w*bias\w*|use_\w*bias)$"
)

ATTENTION_KINDS = {
    "full_attention",
    "sliding_attention",
    "indexed_attention",
    "hybrid",
    "hybrid_sliding",
    "attention",
}

INDEX_LISTS = re.compile(r"mlp_only_layers|moe_layers|local_layer_ids|attn_layer_indices|full_attn_idxs")

CORE = re.compile(
    "|".join(
        [
            *(
                ROLES[r]
                for r in ("heads", "hidden", "kv", "layers", "inter", "vocab", "mamba_heads", "mamba_dim", "expand")
            ),
            r"pad_token_id|bos_token_id|eos_token_id|decoder_start_token_id|mamba_\w+|moe_inter\w+",
        ]
    )
)

OPTIONAL_LISTS = re.compile(
    INDEX_LISTS.pattern + r"|layer_types|mlp_layer_types|layers_block_type|indexer_types|\w+_layer_types|no_rope_layers"
)

TEXT_KEYS = re.compile(r".*(text|decoder|language|llm|global|thinker|talker|patcher|encoder_config).*")
