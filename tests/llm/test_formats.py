"""Weight formats: published bits per weight, padding, what stays in 16 bits, and checkpoints as they are stored."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sizeup.errors import UserError
from sizeup.llm import families
from sizeup.llm.architecture import Architecture, layer_of
from sizeup.llm.blocks import attention, gated_mlp, head, latent_attention, mixture, norm, norms, table, vector
from sizeup.llm.formats import (
    bits_per_weight,
    format_named,
    weight_bytes,
    weight_formats,
)
from sizeup.llm.gguf_mixtures import MIXTURES, mixture_bytes, tensor_types
from sizeup.llm.layouts import Layout
from sizeup.llm.parameters import count_parameters
from sizeup.llm.stored import stored_format_name, stored_weight_bytes
from sizeup.llm.stored_formats import stored_format


def llama(**changes: Any) -> Architecture:
    config = {
        "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "torch_dtype": "bfloat16",
        "tie_word_embeddings": False,
    }  # fmt: skip
    return families.build(config | changes)


LLAMA_8B = llama()
LLAMA_70B = llama(hidden_size=8192, intermediate_size=28672, num_hidden_layers=80, num_attention_heads=64)
TINY = llama(hidden_size=64, intermediate_size=192, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             vocab_size=1000)  # fmt: skip
LLAMA_2_7B = llama(intermediate_size=11008, num_key_value_heads=32, vocab_size=32000)
LLAMA_2_13B = llama(hidden_size=5120, intermediate_size=13824, num_hidden_layers=40, num_attention_heads=40,
                    num_key_value_heads=40, vocab_size=32000)  # fmt: skip
CODE_34B = llama(hidden_size=8192, intermediate_size=22016, num_hidden_layers=48, num_attention_heads=64,
                 vocab_size=32000)  # fmt: skip


def gpt_oss(layers: int, experts: int) -> Architecture:
    block = layer_of("layer", (
        norms("input_layernorm", "post_attention_layernorm", size=2880),
        attention(hidden=2880, heads=64, kv_heads=8, head_dim=64, bias=True),
        mixture(hidden=2880, experts=experts, top_k=4, intermediate=2880, router_bias=True, expert_bias=True,
                router="router"),
    ))  # fmt: skip
    sinks = vector("self_attn.sinks", 64, part="attention")
    block = replace(block, tensors=block.tensors + sinks)
    return Architecture(
        model_type="gpt_oss", hidden_size=2880, vocabulary_size=201088, layers=(block,) * layers,
        embedding=table("embed_tokens", 201088, 2880), head=(*norm("norm", 2880), *head(2880, 201088, tied=False)),
        dtype="bfloat16",
        quantization={"quant_method": "mxfp4", "modules_to_not_convert": [
            "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]},
    )  # fmt: skip


def deepseek_v3() -> Architecture:
    latent = latent_attention(
        hidden=7168, heads=128, q_rank=1536, kv_rank=512, nope_dim=128, rope_dim=64, value_dim=128
    )
    both = norms("input_layernorm", "post_attention_layernorm", size=7168)
    dense = layer_of("dense", (both, latent, gated_mlp(hidden=7168, intermediate=18432)))
    routed = mixture(hidden=7168, experts=256, top_k=8, intermediate=2048, shared_intermediate=2048)
    sparse = layer_of("sparse", (both, latent, routed))
    return Architecture(
        model_type="deepseek_v3", hidden_size=7168, vocabulary_size=129280, layers=(dense,) * 3 + (sparse,) * 58,
        embedding=table("embed_tokens", 129280, 7168), head=(*norm("norm", 7168), *head(7168, 129280, tied=False)),
        dtype="bfloat16",
        quantization={"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "dynamic"},
    )  # fmt: skip


PUBLISHED_BITS = {
    "iq1_s": 2.0042, "iq1_m": 2.1460, "iq2_xxs": 2.3824, "iq2_xs": 2.5882, "iq2_s": 2.7403, "iq2_m": 2.9294,
    "iq3_xxs": 3.2548, "iq3_xs": 3.4977, "iq3_s": 3.6606, "iq3_m": 3.7628, "iq4_xs": 4.4597, "iq4_nl": 4.6818,
    "q2_k_s": 2.9697, "q2_k": 3.1593, "q3_k_s": 3.6429, "q3_k_l": 4.2979, "q4_k_s": 4.6672, "q4_k_m": 4.8944,
    "q5_k_s": 5.5704, "q5_k_m": 5.7036, "q6_k": 6.5633, "q8_0": 8.5008, "f16": 16.0005,
}  # fmt: skip


@pytest.mark.parametrize(("name", "published"), PUBLISHED_BITS.items())
def test_llama_cpp_publishes_these_bits_per_weight_for_llama_31_8b(name: str, published: float) -> None:
    size = sum(mixture_bytes(LLAMA_8B, name).values())
    assert round(size * 8 / count_parameters(LLAMA_8B), 4) == published


@pytest.mark.parametrize("name", MIXTURES)
def test_typical_bits_of_a_mixture_are_those_of_llama_31_8b(name: str) -> None:
    size = sum(mixture_bytes(LLAMA_8B, name).values())
    assert round(size * 8 / count_parameters(LLAMA_8B), 4) == MIXTURES[name].typical_bits


FILES_70B = {
    "q8_0": 74.98, "q6_k": 57.89, "q5_k_m": 49.95, "q5_k_s": 48.66, "q4_k_m": 42.52, "q4_k_s": 40.35, "q4_0": 40.12,
    "iq4_xs": 37.90, "q3_k_l": 37.14, "q3_k_m": 34.27, "iq3_m": 31.94, "q3_k_s": 30.91,
}  # fmt: skip


@pytest.mark.parametrize(("name", "gigabytes"), FILES_70B.items())
def test_published_llama_31_70b_files_are_these_tensors_and_8_mb_of_tokenizer(name: str, gigabytes: float) -> None:
    """Sizes from the model card of bartowski/Meta-Llama-3.1-70B-Instruct-GGUF, made with an importance matrix."""
    tensors = sum(mixture_bytes(LLAMA_70B, name, imatrix=True).values()) / 1e9
    assert gigabytes - 0.015 <= tensors <= gigabytes + 0.006


def test_q4_k_m_of_llama_31_8b_is_4_9_gb() -> None:
    assert weight_bytes(LLAMA_8B, "gguf:Q4_K_M").value / 1e9 == pytest.approx(4.9, abs=0.05)


def test_rows_that_are_not_whole_superblocks_fall_back() -> None:
    """Qwen2.5-72B: ffn_down rows of 29568 are 115.5 superblocks, so Q4_K becomes Q5_0 and Q6_K becomes Q8_0."""
    qwen = llama(model_type="qwen2", hidden_size=8192, intermediate_size=29568, num_hidden_layers=80,
                 num_attention_heads=64, vocab_size=152064)  # fmt: skip
    types = {ggml for placed, ggml in tensor_types(qwen, "q4_k_m") if placed.category == "down"}
    assert types == {"Q5_0", "Q8_0"}
    assert sum(mixture_bytes(qwen, "q4_k_m").values()) / 1e9 == pytest.approx(47.42, abs=0.015)


def test_tied_embeddings_take_the_type_of_the_output() -> None:
    tied = llama(tie_word_embeddings=True)
    types = {p.category: ggml for p, ggml in tensor_types(tied, "q4_k_m") if p.category in ("token", "output")}
    assert types == {"token": "Q6_K"}


def test_eight_experts_keep_their_keys_and_values_in_q8_0() -> None:
    block = layer_of("moe", (
        norms("a", "b", size=4096), attention(hidden=4096, heads=32, kv_heads=8, head_dim=128),
        mixture(hidden=4096, experts=8, top_k=2, intermediate=14336),
    ))  # fmt: skip
    mixtral = replace(LLAMA_8B, layers=(block,) * 32, vocabulary_size=32000,
                      embedding=table("embed_tokens", 32000, 4096),
                      head=(*norm("norm", 4096), *head(4096, 32000, tied=False)))  # fmt: skip
    types = {p.category: ggml for p, ggml in tensor_types(mixtral, "q4_k_m") if p.layer == 5}
    assert (types["key"], types["value"], types["attention_output"]) == ("Q8_0", "Q8_0", "Q5_K")
    assert types["other"] == "F32"


def test_llama_cpp_mxfp4_keeps_everything_but_experts_in_q8_0() -> None:
    """ggml-org/gpt-oss-20b-GGUF is 12.1 GB."""
    size = weight_bytes(gpt_oss(24, 32), "gguf-mxfp4").value
    assert size / 1e9 == pytest.approx(12.1, abs=0.05)


def test_gpt_oss_20b_in_mxfp4_is_13_76_gb() -> None:
    model = gpt_oss(24, 32)
    assert count_parameters(model) == 20_914_757_184
    assert stored_weight_bytes(model).value == 13_761_264_768
    assert weight_bytes(model, "mxfp4").value == 13_761_264_768


def test_gpt_oss_120b_in_mxfp4_is_65_2_gb() -> None:
    model = gpt_oss(36, 128)
    assert count_parameters(model) == 116_829_156_672
    assert stored_weight_bytes(model).value == 65_248_815_744


def test_deepseek_v3_blocks_round_up_and_the_router_stays() -> None:
    model = deepseek_v3()
    assert count_parameters(model) == 671_026_404_352
    stored = stored_weight_bytes(model)
    assert stored_format_name(model) == "fp8-block"
    scales = -(-576 // 128) * 56 * 4 * 61
    names = {part.name: part.value for part in stored.walk()}
    assert names["router: 16-bit"] == 58 * 256 * 7168 * 2
    assert names["attention: scales and zero points"] > scales
    assert stored.value == pytest.approx(672.9e9, rel=2e-3)


MEASURED_NF4_SAVINGS_GB = [(LLAMA_2_7B, 0.31), (LLAMA_2_13B, 0.60), (CODE_34B, 1.57)]


@pytest.mark.parametrize(("model", "gigabytes"), MEASURED_NF4_SAVINGS_GB)
def test_double_quantization_saves_what_litgpt_measured(model: Architecture, gigabytes: float) -> None:
    """LitGPT 0.x resource tables (A100-40GB): it replaces every linear layer, the head included."""
    sizes = []
    for name in ("nf4", "nf4-dq"):
        known = format_named(name)
        sizes.append(weight_bytes(model, replace(known, quantizes=known.quantizes | {"head"})).value)
    assert (sizes[0] - sizes[1]) / 1e9 == pytest.approx(gigabytes, abs=0.01)


def test_mlx_4_bit_quantizes_embeddings_and_head_too() -> None:
    assert bits_per_weight(LLAMA_8B, "mlx-4bit") == pytest.approx(4.5, abs=1e-3)


NOMINAL_BITS = {
    "fp32": 32, "bf16": 16, "fp8": 8, "nf4": 4.5, "nf4-dq": 4.126953125, "fp4": 4.5, "gptq-int4": 4.15625,
    "gptq-int4-g64": 4.3125, "gptq-int4-g32": 4.625, "awq-int4": 4.15625, "w4a16": 4.125, "hqq": 4.5, "mlx-4bit": 4.5,
    "mlx-8bit": 8.5, "mxfp4": 4.25, "mxfp6": 6.25, "mxfp8": 8.25, "nvfp4": 4.5, "fp8-block": 8 + 32 / 16384,
}  # fmt: skip


@pytest.mark.parametrize(("name", "bits"), NOMINAL_BITS.items())
def test_bits_of_one_number_of_a_large_matrix(name: str, bits: float) -> None:
    assert format_named(name).bits_per_weight == bits


def test_gptq_stores_packed_words_scales_zeros_and_the_group_index() -> None:
    out, into = 4096, 14336
    layout = format_named("gptq-int4").layout
    qweight, scales, zeros, g_idx = into // 8 * out * 4, 112 * out * 2, 112 * (out // 8) * 4, into * 4
    assert layout.matrix_bytes((out, into)) == (qweight, scales + zeros + g_idx)


def test_groups_and_blocks_that_do_not_divide_round_up() -> None:
    assert format_named("gptq-int4").layout.matrix_bytes((8, 130)) == (17 * 8 * 4, 2 * 8 * 2 + 2 * 4 + 130 * 4)
    assert format_named("fp8-block").layout.matrix_bytes((129, 129)) == (129 * 129, 4 * 4)
    assert format_named("nf4").layout.matrix_bytes((3, 43)) == (65, 3 * 4 + 64)
    assert format_named("nvfp4").layout.matrix_bytes((2, 17)) == (18, 2 * 2 + 8)


@pytest.mark.parametrize("name", weight_formats())
def test_every_format_has_a_tree_whose_parts_sum_and_a_source(name: str) -> None:
    tree = weight_bytes(LLAMA_8B, name)
    assert isinstance(tree.value, int)
    assert tree.sources
    assert tree.value == sum(part.value for part in tree.parts)
    full = weight_bytes(LLAMA_8B, "fp32").value
    assert 0 < tree.value <= full


@given(st.integers(1, 600), st.integers(1, 600))
def test_bytes_never_rise_with_the_group_size(out: int, into: int) -> None:
    for name in ("gptq-int4", "w4a16", "mlx-4bit"):
        sizes = [sum(format_named(f"{name}-g{g}").layout.matrix_bytes((out, into))) for g in (32, 64, 128)]
        assert sizes == sorted(sizes, reverse=True)


@given(st.integers(1, 400), st.integers(1, 400))
def test_a_matrix_never_takes_less_than_its_bits(out: int, into: int) -> None:
    for known in weight_formats().values():
        if not known.is_gguf:
            assert sum(known.layout.matrix_bytes((out, into))) * 8 >= out * into * known.layout.bits


def test_what_stays_in_16_bits_is_named() -> None:
    remarks = " ".join(weight_bytes(LLAMA_8B, "awq-int4").assumptions)
    assert "kept in 16 bits: embeddings" in remarks
    assert "head" in remarks


@pytest.mark.parametrize(
    ("alias", "name"),
    [("bfloat16", "bf16"), ("float16", "fp16"), ("GGUF:Q4_K_M", "q4_k_m"), ("q4_K_M", "q4_k_m"), ("Q8_0", "q8_0"),
     ("gptq", "gptq-int4"), ("AWQ-INT4-g128", "awq-int4"), ("LLM.int8", "int8"), ("f16", "fp16"),
     ("gguf:f16", "gguf-f16"), ("gguf:IQ2_XXS", "iq2_xxs"), ("gptq-int4-g64", "gptq-int4-g64")],
)  # fmt: skip
def test_aliases(alias: str, name: str) -> None:
    assert format_named(alias).name == name


@pytest.mark.parametrize(
    ("name", "near"), [("q4", "q4_k_m"), ("int4", "awq-int4"), ("q4_k_x", "q4_k_s"), ("fp9", "fp8")]
)
def test_unknown_and_ambiguous_names_are_refused_with_the_nearest(name: str, near: str) -> None:
    with pytest.raises(UserError) as caught:
        format_named(name)
    assert near in caught.value.nearest


def stored(config: dict[str, Any], model: Architecture = TINY) -> int:
    value = stored_weight_bytes(replace(model, quantization=config)).value
    assert isinstance(value, int)
    return value


def tiny_linear_bytes(layout: Layout, *, head_too: bool = False) -> int:
    """Return the bytes of the tiny Llama with every linear layer of the blocks in ``layout``."""
    total = 0
    for tensor, count in TINY.counted_tensors():
        inside = tensor.kind == "linear" and (head_too or tensor.part != "head")
        used = layout if inside else Layout(bits=16)
        total += sum(used.matrix_bytes(tensor.shape)) * count
    return total


GROUP = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 32}


@pytest.mark.parametrize(
    ("config", "layout"),
    [
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, Layout(bits=8, tile=(128, 128), scale_bits=32)),
        ({"quant_method": "fp8", "activation_scheme": "static"},
         Layout(bits=8, tile=(0, 0), scale_bits=32, tensor_bytes=4)),
        ({"quant_method": "gptq", "bits": 4, "group_size": 32}, format_named("gptq-int4-g32").layout),
        ({"quant_method": "awq", "bits": 4, "group_size": 64}, format_named("awq-int4-g64").layout),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, format_named("int8").layout),
        ({"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True},
         format_named("nf4-dq").layout),
        ({"quant_method": "eetq"}, Layout(bits=8, tile=(1, 0), scale_bits=16)),
        ({"quant_method": "fbgemm_fp8"}, Layout(bits=8, tile=(1, 0), scale_bits=32)),
        ({"quant_method": "hqq", "quant_config": {"weight_quant_params": {"nbits": 4, "group_size": 64}}},
         format_named("hqq-int4").layout),
        ({"quant_method": "torchao", "quant_type": "int4_weight_only", "quant_type_kwargs": {"group_size": 32}},
         Layout(bits=4, tile=(1, 32), scale_bits=16, zero_bits=16)),
        ({"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "fp8_e4m3", "qscheme": "per_tensor"}},
          "exclude": ["lm_head"]}, Layout(bits=8, tile=(0, 0), scale_bits=32)),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4", "exclude_modules": ["lm_head"]},
         format_named("nvfp4").layout),
        ({"quant_algo": "FP8", "ignore": ["lm_head"], "producer": {"name": "modelopt"},
          "config_groups": {"group_0": {"weights": {"num_bits": 8, "type": "float"}}}},
         Layout(bits=8, tile=(0, 0), scale_bits=32, tensor_bytes=4)),
        ({"quant_method": "compressed-tensors", "format": "pack-quantized", "ignore": ["lm_head"],
          "config_groups": {"group_0": {"targets": ["Linear"], "weights": GROUP}}}, format_named("w4a16-g32").layout),
        ({"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized", "ignore": ["re:.*lm_head.*"],
          "config_groups": {"g": {"targets": ["Linear"], "input_activations": {"num_bits": 4},
                                  "weights": {"num_bits": 4, "type": "float", "group_size": 16}}}},
         format_named("nvfp4").layout),
        ({"quant_method": "compressed-tensors", "format": "float-quantized", "ignore": ["lm_head"],
          "config_groups": {"g": {"targets": ["Linear"],
                                  "weights": {"num_bits": 8, "type": "float", "strategy": "channel"}}}},
         Layout(bits=8, tile=(1, 0), scale_bits=16)),
    ],
)  # fmt: skip
def test_a_quantization_config_is_sized_as_it_is_stored(config: dict[str, Any], layout: Layout) -> None:
    assert stored(config) == tiny_linear_bytes(layout)


def test_compressed_tensors_quantizes_a_head_that_is_not_ignored() -> None:
    config = {
        "quant_method": "compressed-tensors", "format": "pack-quantized",
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": GROUP}},
    }  # fmt: skip
    assert stored(config) == tiny_linear_bytes(format_named("w4a16-g32").layout, head_too=True)


@pytest.mark.parametrize(
    ("pattern", "kept"),
    [
        ("model.layers.0.mlp.up_proj", 1), ("model.layers.1*", 7), ("model.layers.*.self_attn", 8), ("up_proj", 2),
        ("re:.*self_attn.*", 8), ("*.mlp.*", 6), ("language_model.model.layers.0.self_attn*", 4), ("mlp", 6),
        ("model.layers.11.mlp", 0), ("re:.*mlp\\.(gate|up)_proj.*", 4), ("p_proj", 0),
    ],
)  # fmt: skip
def test_modules_left_alone_are_matched_by_name_prefix_glob_and_regular_expression(pattern: str, kept: int) -> None:
    config = {"quant_method": "fp8", "modules_to_not_convert": [pattern], "weight_block_size": [128, 128]}
    found = stored_format(replace(TINY, quantization=config))
    assert found is not None
    left = [
        name
        for index, layer in enumerate(TINY.layers)
        for tensor in layer.tensors
        if tensor.kind == "linear" and found.layout_of(tensor, name := f"model.layers.{index}.{tensor.name}").bits == 16
    ]
    assert len(left) == kept


def test_groups_with_their_own_targets_come_before_the_rest() -> None:
    config = {
        "quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "ignore": ["lm_head"],
        "quantized_layers": {
            "model.layers.0.self_attn.q_proj": {"quant_algo": "FP8"},
            "model.layers.0.mlp.up_proj": {"quant_algo": "NVFP4", "group_size": 16},
        },
    }  # fmt: skip
    found = stored_format(replace(TINY, quantization=config))
    assert found is not None
    bits = {
        t.name: found.layout_of(t, f"model.layers.0.{t.name}").bits
        for t in TINY.layers[0].tensors
        if t.kind == "linear"
    }
    assert (bits["self_attn.q_proj"], bits["mlp.up_proj"], bits["mlp.down_proj"]) == (8, 4, 16)


@pytest.mark.parametrize(
    "config",
    [
        {"quant_method": "mystery"}, {"bits": 4}, {"quant_method": "gptq", "bits": "four"},
        {"quant_method": "gptq", "bits": 7}, {"quant_method": "fp8", "weight_block_size": [0, 128]},
        {"quant_method": "fp8", "weight_block_size": "128"}, {"quant_method": "fp8", "modules_to_not_convert": 3},
        {"quant_method": "fp8", "modules_to_not_convert": [{"a": 1}]}, {"quant_method": "bitsandbytes"},
        {"quant_method": "compressed-tensors", "config_groups": []},
        {"quant_method": "compressed-tensors", "config_groups": {"g": {}}},
        {"quant_method": "compressed-tensors", "format": "marlin-24", "config_groups": {"g": {"weights": GROUP}}},
        {"quant_method": "compressed-tensors", "ignore": ["re:(a+)+$"], "format": "pack-quantized",
         "config_groups": {"g": {"weights": GROUP}}},
        {"quant_method": "modelopt", "quant_algo": "NEW"}, {"quant_method": "torchao", "quant_type": "uint1"},
        {"quant_method": "fp8", "modules_to_not_convert": ["re:["]},
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        stored(config)


def test_fp4_experts_in_an_fp8_checkpoint() -> None:
    """DeepSeek-V4 says ``expert_dtype`` beside its FP8 config: experts take 4.25 bits, the rest 8."""
    model = deepseek_v3()
    plain = stored_weight_bytes(model).value
    four = stored_weight_bytes(replace(model, quantization={**(model.quantization or {}), "expert_dtype": "fp4"})).value
    experts = 58 * 256 * 3 * 2048 * 7168
    assert plain - four == experts * (8 + 32 / 16384 - 4.25) / 8


def test_an_unknown_method_is_named() -> None:
    with pytest.raises(UserError, match="mystery"):
        stored({"quant_method": "mystery"})


def test_without_quantization_a_checkpoint_has_its_dtype() -> None:
    assert stored_weight_bytes(LLAMA_8B).value == 16_060_522_496
    assert stored_format_name(LLAMA_8B) == "bf16"
    assert stored_weight_bytes(replace(LLAMA_8B, dtype="float32")).value == 32_121_044_992


def test_a_gguf_of_an_encoder_decoder_holds_its_encoder_too() -> None:
    model = families.build({"model_type": "t5"})
    assert weight_bytes(model, "gguf-f16").value == pytest.approx(2 * count_parameters(model), rel=0.001)
    assert not any("mmproj" in text for text in weight_bytes(model, "q8_0").assumptions)


def test_a_gguf_of_a_multimodal_model_says_what_it_leaves_out() -> None:
    model = families.build({"model_type": "qwen3_vl"})
    towers = sum(tower.elements for tower in model.towers)
    assert weight_bytes(model, "gguf-f16").value == pytest.approx(2 * (count_parameters(model) - towers), rel=0.001)
    assert any("mmproj" in text for text in weight_bytes(model, "q8_0").assumptions)


def test_a_format_for_experts_takes_the_linear_layers_of_a_model_without_any() -> None:
    dense = weight_bytes(LLAMA_8B, "mxfp4")
    assert dense.value == weight_bytes(LLAMA_8B, "mxfp4-all").value
    assert "routers" not in str(dense.assumptions)
    mixed = families.build({"model_type": "gpt_oss"})
    assert (
        weight_bytes(mixed, "mxfp4-all").value < weight_bytes(mixed, "mxfp4").value < weight_bytes(mixed, "bf16").value
    )
