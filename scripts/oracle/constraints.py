"""What the configurations of one model type must obey, beyond what its keys say one by one."""

from __future__ import annotations

import math
from collections.abc import Callable

from oracle.common import Json
from oracle.draw import Draw, draw_list

Fix = Callable[[Json, Json, Draw], None]

DIMENSIONS: dict[str, dict[str, str]] = {
    "mamba2": {"num_heads": "mamba_heads", "head_dim": "mamba_dim", "n_groups": "mamba_groups"},
    "hunyuan_v1_dense": {"head_dim": "head_dim"},
    "hunyuan_v1_moe": {"head_dim": "head_dim"},
    "ministral": {"head_dim": "head_dim"},
    "helium": {"head_dim": "base"},
    "nemotron": {"num_key_value_heads": "kv"},
}
"""Keys that are always given, and the drawn dimension that they must agree with."""

PATTERNS: dict[str, list[str]] = {
    "minimax_m3_vl_text": ["full_attention", "minimax_m3_sparse"],
    "granitemoehybrid": ["linear_attention", "full_attention"],
    "lfm2_moe": ["conv", "full_attention"],
}
"""Kinds of layers to mix, where the class has no pattern of its own or cannot run without attention."""


def fix_gpt_neo(values: Json, dims: Json, rng: Draw) -> None:
    """The attention pattern spells out every layer."""
    first, second = rng.randint(1, 3), rng.randint(1, 2)
    values["attention_types"] = [[["global", "local"], first], [["local"], second]]
    values["num_layers"] = 2 * first + second


def fix_doge(values: Json, dims: Json, rng: Draw) -> None:
    """A token chooses among the half keys, of which there are the root of the experts."""
    if "num_experts_per_tok" in values:
        values["num_experts_per_tok"] = min(values["num_experts_per_tok"], math.isqrt(values.get("num_experts", 4)))


def fix_falcon_h1(values: Json, dims: Json, rng: Draw) -> None:
    """The state space width is the one of its heads."""
    heads = rng.choice([4, 8, 12])
    free = rng.random() < 0.6
    values["mamba_n_heads"] = heads if free else dims["mamba_heads"]
    values["mamba_d_head"] = dims["mamba_dim"]
    values["mamba_d_ssm"] = heads * dims["mamba_dim"] if free else None
    values["mamba_n_groups"] = rng.choice([1, 2]) if free else dims["mamba_groups"]


def fix_dbrx(values: Json, dims: Json, rng: Draw) -> None:
    """Attention and feed-forward settings live in nested tables."""
    values["tie_word_embeddings"] = False
    values["attn_config"] = {"kv_n_heads": dims["kv"], "rope_theta": 10000.0, "clip_qkv": rng.choice([8.0, None])}
    values["ffn_config"] = {
        "ffn_hidden_size": dims["inter"],
        "moe_num_experts": dims["experts"],
        "moe_top_k": dims["top_k"],
        "hidden_size": dims["hidden"],
    }


def fix_mpt(values: Json, dims: Json, rng: Draw) -> None:
    """Attention settings live in a nested table."""
    values["n_heads"] = rng.choice([2, 4, 8])
    values["d_model"] = values["n_heads"] * dims["base"]
    if rng.random() < 0.6:
        values["attn_config"] = {"alibi": True, "clip_qkv": rng.choice([8.0, None]), "qk_ln": rng.random() < 0.5}


def fix_rope_by_kind(values: Json, dims: Json, rng: Draw) -> None:
    """The rotary settings are keyed by the kind of layer."""
    rope = {"rope_type": "default", "rope_theta": 10000.0}
    values["rope_parameters"] = {"full_attention": dict(rope), "sliding_attention": dict(rope)}
    values["layer_types"] = draw_list(["full_attention", "sliding_attention"], dims["layers"], rng)


def fix_gemma3n(values: Json, dims: Json, rng: Draw) -> None:
    """The feed-forward size may differ by layer."""
    sizes = [rng.choice([48, 64, 96]) for _ in range(values.get("num_hidden_layers", 35))]
    values["intermediate_size"] = rng.spread("intermediate_size", [dims["inter"], sizes])


def fix_longcat(values: Json, dims: Json, rng: Draw) -> None:
    """The rotary part is the head size."""
    values["head_dim"] = values["qk_rope_head_dim"] = rng.choice([8, 16])


def fix_nemotron_h(values: Json, dims: Json, rng: Draw) -> None:
    """The pattern is a list or a string, and the heads set the state space width."""
    letters = {"M": "linear_attention", "E": "moe", "*": "full_attention", "-": "mlp"}
    pattern = draw_list(["*", "-", "E", "M", "M"], dims["layers"], rng)
    pattern[rng.randrange(len(pattern))] = "*"
    if rng.random() < 0.5:
        values["hybrid_override_pattern"] = "".join(pattern)
        values.pop("layers_block_type", None)
    else:
        values["layers_block_type"] = [letters[letter] for letter in pattern]
    values["moe_latent_size"] = rng.choice([None, 16])
    values.update(mamba_num_heads=dims["mamba_heads"], mamba_head_dim=dims["mamba_dim"], n_groups=dims["mamba_groups"])


def fix_qwen4(values: Json, dims: Json, rng: Draw) -> None:
    """The sparse attention and the n-gram embeddings need all of their settings."""
    compress = rng.choice([2, 4])
    values.update(
        indexer_n_heads=rng.choice([2, 4]),
        indexer_kv_heads=1,
        indexer_head_dim=64,
        indexer_budget=4 * compress,
        indexer_compress_ratio=compress,
        head_dim=rng.choice([16, 32, 64]),
        eos_token_id=1,
    )
    kinds = draw_list(["indexed_attention", "linear_attention"], dims["layers"], rng)
    kinds[rng.randrange(len(kinds))] = "linear_attention"
    kinds.append("indexed_attention")
    values["layer_types"], values["num_hidden_layers"] = kinds, len(kinds)
    if rng.random() < 0.6:
        linear = [i + 1 for i, kind in enumerate(kinds) if kind == "linear_attention"]
        values["ple_layer_ids"] = sorted(rng.sample(linear, rng.randint(1, len(linear))))
        values.update(heads_per_ngram=rng.choice([2, 4]), ngram_size=rng.choice([2, 3]), ple_embed_dim=48)
        values.update(ngram_vocab_size_base=500, make_ngram_vocab_size_divisible_by=16, split_ngram_parts=4)


def fix_reformer(values: Json, dims: Json, rng: Draw) -> None:
    """Axial positions factor the length and the width."""
    values["is_decoder"] = True
    values["attn_layers"] = [rng.choice(["local", "lsh"]) for _ in range(dims["layers"])]
    values["max_position_embeddings"] = 1024
    values["axial_pos_shape"] = [32, 32]
    values["axial_pos_embds_dim"] = [dims["hidden"] // 4, dims["hidden"] - dims["hidden"] // 4]
    values["attention_head_size"] = rng.choice([8, 16, 32])
    values["feed_forward_size"] = dims["inter"]
    values["num_buckets"] = 8
    values["hash_seed"] = 0


def fix_dots3(values: Json, dims: Json, rng: Draw) -> None:
    """Sliding layers have dimensions of their own."""
    rope = rng.choice([8, 16])
    values.update(n_shared_experts=rng.choice([1, 2]), index_head_dim=32, qk_rope_head_dim=rope)
    values["head_dim"] = values.get("qk_nope_head_dim", 128) + rope
    values["num_key_value_heads"] = values["num_attention_heads"] = dims["heads"]
    nope, swa_rope = rng.choice([8, 24]), rng.choice([8, 16])
    values["swa_num_attention_heads"] = values["swa_num_key_value_heads"] = rng.choice([2, 4])
    values.update(swa_q_lora_rank=16, swa_kv_lora_rank=rng.choice([16, 32]), swa_v_head_dim=rng.choice([8, 16]))
    values.update(swa_qk_nope_head_dim=nope, swa_qk_rope_head_dim=swa_rope, swa_head_dim=nope + swa_rope)


def fix_bamba(values: Json, dims: Json, rng: Draw) -> None:
    """Without attention layers the class cannot run."""
    values["attn_layer_indices"] = sorted(rng.sample(range(dims["layers"]), rng.randint(1, dims["layers"] // 2)))


def fix_zamba(values: Json, dims: Json, rng: Draw) -> None:
    """The shared attention works on twice the hidden size."""
    for key in ("attention_hidden_size", "attention_head_dim"):
        values.pop(key, None)
    values["num_key_value_heads"] = dims["heads"]
    values["n_mamba_heads"] = rng.choice([1, 2])
    values["num_hidden_layers"] = max(dims["layers"], 4)
    if rng.random() < 0.5:
        kinds = draw_list(["hybrid", "linear_attention"], values["num_hidden_layers"], rng)
        values["layers_block_type"] = ["linear_attention", *kinds[:-2], "hybrid"]
    else:
        values.pop("layers_block_type", None)


def fix_zamba2(values: Json, dims: Json, rng: Draw) -> None:
    """The pattern has no rule to derive it from the number of layers."""
    count_of_layers = max(dims["layers"], 4)
    kinds = draw_list(["hybrid", "linear_attention"], count_of_layers, rng)
    values["layers_block_type"] = ["linear_attention", *kinds[:-2], "hybrid"]
    values["num_hidden_layers"] = count_of_layers
    values["n_mamba_heads"] = dims["mamba_heads"]
    values["mamba_ngroups"] = dims["mamba_groups"]
    values["num_key_value_heads"] = dims["heads"]
    values["use_long_context"] = False


def fix_xlstm(values: Json, dims: Json, rng: Draw) -> None:
    """Widths are rounded up to multiples of 64."""
    values["hidden_size"] = rng.choice([128, 256])
    values["num_heads"] = rng.choice([2, 4])
    for key in ("embedding_dim", "num_blocks"):
        values.pop(key, None)


def fix_xmod(values: Json, dims: Json, rng: Draw) -> None:
    """Every language has an adapter."""
    values["languages"] = ["en_XX", "fr_XX", "de_DE"][: rng.randint(1, 3)]
    values["default_language"] = "en_XX"


def fix_zaya(values: Json, dims: Json, rng: Draw) -> None:
    """One expert a token."""
    values["num_experts_per_tok"] = 1
    values["sliding_window"] = dims["window"]


def fix_deepseek_v4(values: Json, dims: Json, rng: Draw) -> None:
    """Shared key-value heads and compressed attention."""
    values["num_key_value_heads"] = 1
    values["head_dim"] = rng.choice([32, 64])
    values["index_head_dim"] = rng.choice([32, 64])
    kinds = ["compressed_sparse_attention", "heavily_compressed_attention", "sliding_attention"]
    values["layer_types"] = [rng.choice(kinds) for _ in range(dims["layers"])]
    if rng.random() < 0.7:
        values["compress_rates"] = {kinds[0]: rng.choice([2, 4]), kinds[1]: rng.choice([8, 16])}


def fix_recurrent_gemma(values: Json, dims: Json, rng: Draw) -> None:
    """The pattern repeats."""
    values["block_types"] = rng.choice(
        [["recurrent", "attention"], ["recurrent", "recurrent", "attention"], ["attention", "recurrent"]]
    )
    values["num_hidden_layers"] = max(dims["layers"], 3)


def fix_mllama_text(values: Json, dims: Json, rng: Draw) -> None:
    """Some layers attend to the image."""
    layers = max(dims["layers"], 3)
    values["num_hidden_layers"] = layers
    values["cross_attention_layers"] = sorted(rng.sample(range(1, layers), rng.randint(1, layers - 2)))


FIXES: dict[str, Fix] = {
    "gpt_neo": fix_gpt_neo,
    "doge": fix_doge,
    "falcon_h1": fix_falcon_h1,
    "dbrx": fix_dbrx,
    "mpt": fix_mpt,
    "cohere_compass_text": fix_rope_by_kind,
    "gemma3n_text": fix_gemma3n,
    "longcat_flash": fix_longcat,
    "nemotron_h": fix_nemotron_h,
    "qwen4_exp_text": fix_qwen4,
    "reformer": fix_reformer,
    "dots3_note_text": fix_dots3,
    "bamba": fix_bamba,
    "zamba": fix_zamba,
    "zamba2": fix_zamba2,
    "xlstm": fix_xlstm,
    "xmod": fix_xmod,
    "zaya": fix_zaya,
    "deepseek_v4": fix_deepseek_v4,
    "recurrent_gemma": fix_recurrent_gemma,
    "mllama_text_model": fix_mllama_text,
}
"""Everything that takes more than a table."""


def fix_type(model_type: str, values: Json, dims: Json, rng: Draw) -> None:
    """Apply what the type asks for to freshly drawn values."""
    values.update({key: dims[dimension] for key, dimension in DIMENSIONS.get(model_type, {}).items()})
    if model_type in PATTERNS:
        values["layer_types"] = draw_list(PATTERNS[model_type], dims["layers"], rng)
    if model_type in FIXES:
        FIXES[model_type](values, dims, rng)
