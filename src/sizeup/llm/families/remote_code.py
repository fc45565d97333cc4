"""Types whose code lives beside the checkpoint, not in transformers: their keys in Llama's words, and their traits.

Each function names the configuration file on the Hugging Face Hub that its key names and defaults come from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from sizeup.errors import UserError
from sizeup.llm.architecture import Architecture
from sizeup.llm.blocks import attention, gated_mlp, linear, norms
from sizeup.llm.config import Config, class_defaults
from sizeup.llm.families.common import attention_dims
from sizeup.llm.families.dense import build_with
from sizeup.llm.families.dense_traits import LLAMA, TRAITS, Traits

Translation = tuple[dict[str, Any], Traits]


def build(config: Config) -> Architecture:
    """Return a dense decoder from a configuration with names of its own."""
    if config.model_type == "mimo":
        return _mimo(config)
    values, traits = TYPES[config.model_type](config)
    return build_with(Config(values, model_type=config.model_type, where=config.where), traits)


def sizes(config: Config, defaults: Mapping[str, Any], names: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return Llama's size keys, read under the configuration's own ``names``; absent ones from ``defaults``."""
    values: dict[str, Any] = {}
    for key, default in defaults.items():
        own = (names or {}).get(key, key)
        value = config.flag(own, default=default) if isinstance(default, bool) else config.optional_integer(own)
        values[key] = default if value is None else value
    return values


def _qwen(config: Config) -> Translation:
    """Qwen 1: ``configuration_qwen.py`` of Qwen/Qwen-7B; ``intermediate_size`` counts gate and up together."""
    values = sizes(
        config,
        {"vocab_size": 151936, "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
         "intermediate_size": 22016, "head_dim": 128, "max_position_embeddings": 8192, "tie_word_embeddings": False},
        {"head_dim": "kv_channels"},
    )  # fmt: skip
    values["intermediate_size"] //= 2
    bias = not config.flag("no_bias", default=True)
    config.ignore("attn_dropout_prob", "emb_dropout_prob", "bf16", "fp16", "fp32", "onnx_safe")
    config.ignore("use_dynamic_ntk", "use_logn_attn")
    return values, Traits(
        bias=True,
        output_bias=bias,
        fused_qkv="c_attn",
        attention_prefix="attn",
        attention_names=("", "", "", "c_proj"),
        mlp_bias=bias,
        mlp_names=("w2", "w1", "c_proj"),
        norms=("ln_1", "ln_2"),
        final_norm="ln_f",
        ends=("wte", "lm_head"),
    )


def _internlm(config: Config) -> Translation:
    """InternLM 1: ``configuration_internlm.py`` of internlm/internlm-7b."""
    values = sizes(
        config,
        {"vocab_size": 103168, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
         "num_attention_heads": 32, "max_position_embeddings": 2048, "tie_word_embeddings": False},
    )  # fmt: skip
    return values, Traits(bias=config.flag("bias", default=True))


def _internlm2(config: Config) -> Translation:
    """InternLM 2: ``configuration_internlm2.py`` of internlm/internlm2-7b."""
    values = sizes(
        config,
        {"vocab_size": 103168, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
         "num_attention_heads": 32, "num_key_value_heads": None, "max_position_embeddings": 2048,
         "tie_word_embeddings": False},
    )  # fmt: skip
    return values, Traits(
        bias=config.flag("bias", default=True),
        fused_qkv="wqkv",
        attention_prefix="attention",
        attention_names=("", "", "", "wo"),
        mlp_names=("w1", "w3", "w2"),
        norms=("attention_norm", "ffn_norm"),
        ends=("tok_embeddings", "output"),
    )


def _chatglm(config: Config) -> Translation:
    """ChatGLM 2 and 3, GLM-4-9B: ``configuration_chatglm.py`` of THUDM/chatglm3-6b."""
    if config.present("inner_hidden_size", "position_encoding_2d"):
        return _chatglm1(config)
    if config.optional_integer("pre_seq_len"):
        raise UserError(f'{config.where}: "pre_seq_len" (prefix tuning) is not counted; remove it')
    config.ignore("num_hidden_layers", "num_key_value_heads", "intermediate_size", "vocab_size")  # the code reads none
    config.ignore("apply_query_key_layer_scaling", "prefix_projection", "bias_dropout_fusion")
    values = sizes(
        config,
        {"vocab_size": 65024, "hidden_size": 4096, "intermediate_size": 13696, "num_hidden_layers": 28,
         "num_attention_heads": 32, "head_dim": 128, "max_position_embeddings": 2048, "num_key_value_heads": 1,
         "tie_word_embeddings": False},
        {"vocab_size": "padded_vocab_size", "intermediate_size": "ffn_hidden_size", "num_hidden_layers": "num_layers",
         "head_dim": "kv_channels", "max_position_embeddings": "seq_length",
         "num_key_value_heads": "multi_query_group_num"},
    )  # fmt: skip
    if not config.flag("multi_query_attention"):
        values["num_key_value_heads"] = values["num_attention_heads"]
    everywhere = config.flag("add_bias_linear")
    layer_norm = not config.flag("rmsnorm", default=True)
    return values, Traits(
        bias=everywhere or config.flag("add_qkv_bias"),
        output_bias=everywhere,
        fused_qkv="query_key_value",
        attention_prefix="self_attention",
        attention_names=("", "", "", "dense"),
        mlp="fused",
        mlp_bias=everywhere,
        mlp_names=("dense_h_to_4h", "dense_4h_to_h"),
        norm_bias=layer_norm,
        final_norm="final_layernorm" if config.flag("post_layer_norm", default=True) else "",
        ends=("embedding.word_embeddings", "output_layer"),
    )


def _chatglm1(config: Config) -> Translation:
    """ChatGLM 1: ``configuration_chatglm.py`` of THUDM/chatglm-6b; the head is tied."""
    config.ignore("position_encoding_2d", "prefix_projection")
    values = sizes(
        config,
        {"vocab_size": 130528, "hidden_size": 4096, "intermediate_size": 16384, "num_hidden_layers": 28,
         "num_attention_heads": 32, "max_position_embeddings": 2048, "tie_word_embeddings": True},
        {"intermediate_size": "inner_hidden_size", "num_hidden_layers": "num_layers",
         "max_position_embeddings": "max_sequence_length"},
    )  # fmt: skip
    return values, Traits(
        bias=True,
        fused_qkv="query_key_value",
        attention_prefix="attention",
        attention_names=("", "", "", "dense"),
        mlp="plain",
        mlp_bias=True,
        mlp_names=("dense_h_to_4h", "dense_4h_to_h"),
        norm_bias=True,
        final_norm="final_layernorm",
        ends=("word_embeddings", "lm_head"),
    )


def _minicpm(config: Config) -> Translation:
    """MiniCPM 1, its mixture of experts, and MiniCPM 4: ``configuration_minicpm.py`` of openbmb/MiniCPM-2B-sft-bf16."""
    values = sizes(
        config,
        {"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
         "num_attention_heads": 32, "num_key_value_heads": None, "head_dim": None, "max_position_embeddings": 2048,
         "tie_word_embeddings": True, "attention_bias": False, "num_experts": 0, "num_experts_per_tok": 0},
    )  # fmt: skip
    config.ignore("scale_emb", "dim_model_base", "scale_depth", "sparse_config", "mup_denominator")
    return values, Traits(mlp="mixture" if values["num_experts"] else "gated")


def _orion(config: Config) -> Translation:
    """Orion: ``configuration_orion.py`` of OrionStarAI/Orion-14B-Base; Llama with shifted norms."""
    values = sizes(
        config,
        {"vocab_size": 84608, "hidden_size": 4096, "intermediate_size": 15360, "num_hidden_layers": 40,
         "num_attention_heads": 40, "num_key_value_heads": 40, "max_position_embeddings": 4096,
         "tie_word_embeddings": False, "attention_bias": False},
    )  # fmt: skip
    return values, Traits(norm_bias=True)


def _phi_msft(config: Config) -> Translation:
    """Phi 1 and 1.5 in their first form: ``configuration_phi.py`` of microsoft/phi-1_5 (November 2023)."""
    values = sizes(
        config,
        {"vocab_size": 50304, "hidden_size": 1024, "intermediate_size": None, "num_hidden_layers": 20,
         "num_attention_heads": 16, "num_key_value_heads": None, "max_position_embeddings": 2048,
         "tie_word_embeddings": False, "pad_vocab_size_multiple": 64},
        {"hidden_size": "n_embd", "intermediate_size": "n_inner", "num_hidden_layers": "n_layer",
         "num_attention_heads": "n_head", "num_key_value_heads": "n_head_kv", "max_position_embeddings": "n_positions"},
    )  # fmt: skip
    config.ignore("rotary_dim", "fused_dense", "flash_rotary")
    values["intermediate_size"] = values["intermediate_size"] or 4 * values["hidden_size"]
    multiple = values.pop("pad_vocab_size_multiple")
    values["vocab_size"] = -(-values["vocab_size"] // multiple) * multiple
    return values, replace(
        TRAITS["phi"],
        qk_norm=None,
        fused_qkv="Wqkv",
        attention_prefix="mixer",
        attention_names=("", "", "", "out_proj"),
        norms=("ln",),
        final_norm="lm_head.ln",
        ends=("embd.wte", "lm_head.linear"),
    )


def _baichuan(config: Config) -> Translation:
    """Baichuan 1 and 2: ``configuration_baichuan.py`` of baichuan-inc/Baichuan2-7B-Base."""
    values = sizes(
        config,
        {"vocab_size": 125696, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
         "num_attention_heads": 32, "max_position_embeddings": 4096, "tie_word_embeddings": False},
        {"max_position_embeddings": "model_max_length"} if config.present("model_max_length") else {},
    )  # fmt: skip
    config.ignore("z_loss_weight")
    return values, Traits(bias=False, fused_qkv="W_pack")


def _exaone(config: Config) -> Translation:
    """EXAONE 3: ``configuration_exaone.py`` of LGAI-EXAONE/EXAONE-3.0-7.8B-Instruct."""
    values = sizes(
        config,
        {"vocab_size": 102400, "hidden_size": 2048, "intermediate_size": None, "num_hidden_layers": 32,
         "num_attention_heads": 32, "num_key_value_heads": None, "max_position_embeddings": 2048,
         "tie_word_embeddings": True},
        {"num_hidden_layers": "num_layers"},
    )  # fmt: skip
    values["intermediate_size"] = values["intermediate_size"] or 4 * values["hidden_size"]
    config.ignore("head_dim")  # the code divides hidden size by heads
    return values, Traits(
        bias=False,
        attention_prefix="attn.attention",
        attention_names=("q_proj", "k_proj", "v_proj", "out_proj"),
        mlp_names=("c_fc_0", "c_fc_1", "c_proj"),
        norms=("ln_1", "ln_2"),
        final_norm="ln_f",
        ends=("wte", "lm_head"),
    )


def _mimo(config: Config) -> Architecture:
    """MiMo: ``modeling_mimo.py`` of XiaomiMiMo/MiMo-7B-Base; Qwen 2 with layers that predict further tokens."""
    config.assume(class_defaults()["qwen2"]["defaults"])
    config.ignore("attention_bias")  # Qwen 2 always has them
    model = build_with(config, TRAITS["qwen2"])
    hidden, layers = model.hidden_size, config.optional_integer("num_nextn_predict_layers") or 0
    heads, kv_heads, head_dim = attention_dims(config)
    names = ("input_layernorm", "post_attention_layernorm", "token_layernorm", "hidden_layernorm", "final_layernorm")
    block = (
        norms(*names, size=hidden)
        + attention(hidden=hidden, heads=heads, kv_heads=kv_heads, head_dim=head_dim, bias=True, output_bias=False)
        + gated_mlp(hidden=hidden, intermediate=config.integer("intermediate_size"))
    )
    tensors = (*block.tensors, *linear("input_proj", use="other", part="mtp", out=hidden, into=2 * hidden))
    extra = tuple(replace(t, name=f"mtp_layers.{t.name}", part="mtp", copies=layers) for t in tensors if layers)
    return replace(model, multi_token_prediction=extra)


def _llama_like(config: Config) -> Translation:
    """Yi, XVERSE and Aquila before they were published as Llama: LlamaConfig's keys and defaults."""
    config.assume(class_defaults()["llama"]["defaults"])
    keys = ["vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"]
    values: dict[str, Any] = {key: config.integer(key) for key in keys}
    values["num_key_value_heads"] = config.optional_integer("num_key_value_heads")
    values["max_position_embeddings"] = config.optional_integer("max_position_embeddings")
    values |= {key: config.flag(key) for key in ("tie_word_embeddings", "attention_bias", "mlp_bias")}
    return values, LLAMA


TYPES: dict[str, Callable[[Config], Translation]] = {
    "qwen": _qwen,
    "internlm": _internlm,
    "internlm2": _internlm2,
    "chatglm": _chatglm,
    "minicpm": _minicpm,
    "orion": _orion,
    "phi-msft": _phi_msft,
    "baichuan": _baichuan,
    "exaone": _exaone,
    "Yi": _llama_like,
    "xverse": _llama_like,
    "aquila": _llama_like,
}
