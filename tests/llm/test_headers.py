"""Safetensors headers: real files written by the official library read back to the byte, hostile ones refused."""

from __future__ import annotations

import contextlib
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sizeup.errors import UserError
from sizeup.llm.headers import read_safetensors, read_safetensors_index
from sizeup.llm.tensor_names import part_named

torch = pytest.importorskip("torch")
save_file = pytest.importorskip("safetensors.torch").save_file


def write(path: Path, header: Any, data: bytes = b"", *, length: int | None = None) -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + data)
    return path


def entry(dtype: str, shape: list[Any], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def zeros(dtype: Any, *shape: int) -> Any:
    return torch.zeros(shape, dtype=dtype)


def test_a_file_of_the_official_library_is_read_to_the_byte(tmp_path: Path) -> None:
    tensors = {
        "model.embed_tokens.weight": zeros(torch.bfloat16, 100, 16),
        "model.layers.0.self_attn.q_proj.weight": zeros(torch.bfloat16, 16, 16),
        "model.layers.0.mlp.experts.0.up_proj.weight": zeros(torch.float8_e4m3fn, 32, 16),
        "model.layers.0.mlp.experts.0.up_proj.weight_scale_inv": zeros(torch.float32, 1, 1),
        "model.norm.weight": zeros(torch.float32, 16),
        "lm_head.weight": zeros(torch.bfloat16, 100, 16),
    }
    path = tmp_path / "model.safetensors"
    save_file(tensors, path, metadata={"format": "pt"})
    found = read_safetensors(path)
    assert found.tensor_bytes == sum(t.numel() * t.element_size() for t in tensors.values())
    assert found.file_bytes == path.stat().st_size
    assert found.parameters == sum(t.numel() for n, t in tensors.items() if "scale" not in n)
    assert found.parameters_exact
    assert found.bytes_by_dtype == {"BF16": 2 * (3200 + 256), "F32": 68, "F8_E4M3": 512}
    assert found.parameters_by_part["head"] == 1600
    assert found.metadata == {"format": "pt"}
    assert found.estimate().value == found.tensor_bytes


def test_packed_weights_are_counted_as_the_weights_that_they_stand_for(tmp_path: Path) -> None:
    out, into = 64, 256
    tensors = {
        "a.qweight": zeros(torch.int32, into // 8, out), "a.qzeros": zeros(torch.int32, 2, out // 8),
        "a.scales": zeros(torch.float16, 2, out), "a.g_idx": zeros(torch.int32, into),
        "b.qweight": zeros(torch.int32, into, out // 8), "b.qzeros": zeros(torch.int32, 2, out // 8),
        "b.scales": zeros(torch.float16, 2, out),
        "c.weight": zeros(torch.uint8, out * into // 2, 1), "c.weight.absmax": zeros(torch.float32, 256),
        "c.weight.quant_map": zeros(torch.float32, 16),
        "c.weight.quant_state.bitsandbytes__nf4": zeros(torch.uint8, 90),
        "d.mlp.experts.gate_up_proj_blocks": zeros(torch.uint8, 4, 64, 2, 16),
        "d.mlp.experts.gate_up_proj_scales": zeros(torch.uint8, 4, 64, 2),
        "e.weight_packed": zeros(torch.int32, out, into // 8), "e.weight_scale": zeros(torch.bfloat16, out, 2),
        "e.weight_shape": zeros(torch.int64, 2),
        "f.weight": zeros(torch.uint8, out, into // 2), "f.weight_scale": zeros(torch.uint8, out, into // 16),
        "f.weight_scale_2": zeros(torch.float32), "f.input_scale": zeros(torch.float32),
        "g.weight": zeros(torch.int8, out, into), "g.SCB": zeros(torch.float32, out),
        "g.weight_format": zeros(torch.uint8),
        "h.qweight": zeros(torch.int32, into // 4, out), "h.qzeros": zeros(torch.int32, 2, out // 4),
        "h.scales": zeros(torch.float16, 2, out),
    }  # fmt: skip
    path = tmp_path / "packed.safetensors"
    save_file(tensors, path)
    found = read_safetensors(path)
    assert found.parameters == 7 * out * into + 4 * 64 * 64
    assert found.tensor_bytes == sum(t.numel() * t.element_size() for t in tensors.values())
    assert any("taken as 4-bit" in remark for remark in found.remarks)


@pytest.mark.parametrize(
    ("name", "part"),
    [("model.layers.0.mlp.gate.weight", "router"),
     ("model.layers.0.mlp.shared_experts.up_proj.weight", "shared_experts"),
     ("model.layers.3.input_layernorm.weight", "norms"), ("transformer.wte.weight", "embedding"),
     ("model.layers.0.linear_attn.in_proj_qkvz.weight", "ssm"), ("visual.blocks.0.attn.qkv.weight", "tower"),
     ("multi_modal_projector.linear.weight", "projector"), ("output.weight", "head"), ("what", "other"),
     ("model.layers.0.self_attn.indexer.wk.weight", "indexer"), ("blk.0.ffn_gate_inp.weight", "router")],
)  # fmt: skip
def test_parts_are_told_by_names(name: str, part: str) -> None:
    assert part_named(name) == part


def test_an_index_with_its_shards_is_their_sum(tmp_path: Path) -> None:
    save_file({"a.weight": zeros(torch.float32, 4, 4)}, tmp_path / "m-00001-of-00002.safetensors")
    save_file({"b.weight": zeros(torch.float16, 4, 4)}, tmp_path / "m-00002-of-00002.safetensors")
    shards = {"a.weight": "m-00001-of-00002.safetensors", "b.weight": "m-00002-of-00002.safetensors"}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 96}, "weight_map": shards}))
    found = read_safetensors_index(index)
    assert (found.parameters, found.tensor_bytes) == (32, 96)
    assert found.file_bytes == sum((tmp_path / shard).stat().st_size for shard in shards.values())
    index.write_text(json.dumps({"weight_map": {"a.weight": "m-00002-of-00002.safetensors"}}))
    with pytest.raises(UserError):
        read_safetensors_index(index)


def test_an_index_without_its_shards_knows_only_the_bytes(tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 96}, "weight_map": {"a": "m.safetensors"}}))
    found = read_safetensors_index(index)
    assert (found.parameters, found.parameters_exact, found.tensor_bytes) == (0, False, 96)
    assert found.estimate().value == 96


@pytest.mark.parametrize("shard", ["../../etc/passwd", "/etc/passwd", "", 3, None, "..", "a\\b"])
def test_an_index_cannot_point_elsewhere(tmp_path: Path, shard: Any) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 96}, "weight_map": {"a": shard}}))
    with pytest.raises(UserError):
        read_safetensors_index(index)


HOSTILE: dict[str, tuple[Any, bytes]] = {
    "overlap": ({"a": entry("U8", [4], 0, 4), "b": entry("U8", [4], 2, 6)}, b"x" * 6),
    "hole": ({"a": entry("U8", [4], 0, 4), "b": entry("U8", [4], 8, 12)}, b"x" * 12),
    "beyond the end": ({"a": entry("U8", [400], 0, 400)}, b"x" * 6),
    "bytes of nobody": ({"a": entry("U8", [4], 0, 4)}, b"x" * 60),
    "not starting at 0": ({"a": entry("U8", [4], 2, 6)}, b"x" * 6),
    "wrong length": ({"a": entry("F32", [4], 0, 4)}, b"x" * 4),
    "backwards": ({"a": entry("U8", [0], 4, 0)}, b""),
    "negative": ({"a": entry("U8", [-4], 0, 4)}, b"x" * 4),
    "negative offsets": ({"a": entry("U8", [4], -4, 0)}, b""),
    "overflow": ({"a": entry("U8", [2**62, 2**62], 0, 4)}, b"x" * 4),
    "float": ({"a": entry("U8", [4.0], 0, 4)}, b"x" * 4),
    "true": ({"a": entry("U8", [True], 0, 1)}, b"x"),
    "dtype": ({"a": entry("Q7", [4], 0, 4)}, b"x" * 4),
    "dtype is a list": ({"a": {"dtype": [1], "shape": [4], "data_offsets": [0, 4]}}, b"x" * 4),
    "no shape": ({"a": {"dtype": "U8"}}, b""),
    "a number": ({"a": 3}, b""),
    "many dimensions": ({"a": entry("U8", [1] * 100, 0, 1)}, b"x"),
    "half a byte": ({"a": entry("F4", [3], 0, 1)}, b"x"),
    "metadata": ({"__metadata__": {"a": 3}}, b""),
    "a list": (b"[1, 2]", b""),
    "twice": (b'{"__metadata__":{},"__metadata__":{}}', b""),
    "tensor twice": (b"{" + b",".join([b'"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'] * 2) + b"}", b""),
    "field twice": (b'{"a":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}}', b""),
    "NaN": (b'{"a": NaN}', b""),
    "not UTF-8": (b'{"\xff\xfe": 1}', b""),
    "deep": (b"{" + b'"a":{' * 100_000, b""),
    "deep lists": (b'{"a":' + b"[" * 1_000_000, b""),
    "digits": (b'{"a":' + b"9" * 10_000 + b"}", b""),
    "cut": (b'{"a":{"dtype', b""),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_headers_are_refused(tmp_path: Path, name: str) -> None:
    header, data = HOSTILE[name]
    with pytest.raises(UserError):
        read_safetensors(write(tmp_path / "x.safetensors", header, data))


@pytest.mark.parametrize("length", [2**64 - 1, 2**40, 100_000_001, 50, 0, 1])
def test_absurd_header_lengths_are_refused_without_reading(tmp_path: Path, length: int) -> None:
    with pytest.raises(UserError):
        read_safetensors(write(tmp_path / "x.safetensors", b"{}", b"", length=length))


@pytest.mark.parametrize("raw", [b"", b"1234567", b"GGUF\x03\x00\x00\x00", b"\0" * 64])
def test_other_files_are_refused(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(raw)
    with pytest.raises(UserError):
        read_safetensors(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="gone"):
        read_safetensors(tmp_path / "gone.safetensors")


def test_a_truncated_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": zeros(torch.float32, 64)}, path)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(UserError, match="cut short"):
        read_safetensors(path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
tensor_like = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["U8", "F4", "x"]) | json_values,
        "shape": json_values,
        "data_offsets": st.lists(st.integers(-4, 9), max_size=3) | json_values,
    }
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(header=st.dictionaries(st.text(max_size=6), tensor_like | json_values, max_size=4), data=st.binary(max_size=12))
def test_any_header_is_read_or_refused(tmp_path: Path, header: Any, data: bytes) -> None:
    path = write(tmp_path / "fuzz.safetensors", header, data)
    with contextlib.suppress(UserError):
        assert read_safetensors(path).tensor_bytes == len(data)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=st.binary(max_size=64), keep=st.integers(0, 200))
def test_any_bytes_are_read_or_refused(tmp_path: Path, raw: bytes, keep: int) -> None:
    path = tmp_path / "fuzz.safetensors"
    whole = struct.pack("<Q", 60) + json.dumps({"a": entry("U8", [4], 0, 4)}).encode().ljust(60) + b"abcd"
    path.write_bytes(whole[:keep] + raw)
    with contextlib.suppress(UserError):
        read_safetensors(path)


def test_a_file_without_tensors_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "empty.safetensors"
    path.write_bytes((2).to_bytes(8, "little") + b"{}")
    with pytest.raises(UserError, match="no tensors"):
        read_safetensors(path)
