"""GGUF headers: real files written by the gguf package read back to the byte, caches from metadata, hostile ones."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sizeup.errors import UserError
from sizeup.llm.architecture import StateCache, TokenCache
from sizeup.llm.cache import cache_size
from sizeup.llm.gguf import LongArray, read_gguf
from sizeup.llm.gguf_mixtures import GGML_TYPES
from sizeup.llm.headers import StoredWeights

gguf = pytest.importorskip("gguf")
np = pytest.importorskip("numpy")


def zeros(*shape: int) -> Any:
    return np.zeros(shape, dtype=np.float16)


def write(path: Path, arch: str, keys: dict[str, Any], tensors: dict[str, Any], **raw: str) -> Path:
    """Write a file with the official writer; ``raw`` names the type of a tensor given as bytes."""
    writer = gguf.GGUFWriter(path, arch)
    for key, value in keys.items():
        name = key if key.startswith(("general.", "tokenizer.")) else f"{arch}.{key}"
        if isinstance(value, list):
            writer.add_array(name, value)
        elif isinstance(value, bool):
            writer.add_bool(name, value)
        else:
            writer.add_uint32(name, value)
    for name, tensor in tensors.items():
        kind = getattr(gguf.GGMLQuantizationType, raw[name]) if name in raw else None
        writer.add_tensor(name, tensor, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


KEYS = {
    "block_count": 2, "embedding_length": 64, "attention.head_count": 4, "attention.head_count_kv": 2,
    "context_length": 4096,
}  # fmt: skip


def layer(index: int, kv: int = 32, **more: Any) -> dict[str, Any]:
    tensors = {
        "attn_q.weight": zeros(64, 64), "attn_k.weight": zeros(kv, 64), "attn_v.weight": zeros(kv, 64),
        "attn_output.weight": zeros(64, 64), "attn_norm.weight": np.zeros(64, dtype=np.float32),
        "ffn_up.weight": zeros(128, 64), "ffn_down.weight": zeros(64, 128), **more,
    }  # fmt: skip
    return {f"blk.{index}.{name}": tensor for name, tensor in tensors.items()}


def model(path: Path, arch: str = "llama", keys: dict[str, Any] | None = None, count: int = 2) -> StoredWeights:
    tensors = {"token_embd.weight": zeros(100, 64), "output.weight": zeros(100, 64)}
    for index in range(count):
        tensors |= layer(index)
    return read_gguf(write(path, arch, KEYS | {"block_count": count} | (keys or {}), tensors))


def test_a_file_of_the_official_writer_is_read_to_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    found = model(path)
    numbers = 2 * (2 * 64 * 64 + 2 * 32 * 64 + 64 + 2 * 128 * 64) + 2 * 100 * 64
    assert found.parameters == numbers
    assert found.parameters_exact
    assert found.tensor_bytes == 2 * numbers + 2 * 2 * 64
    assert found.file_bytes == path.stat().st_size
    assert found.architecture is not None
    assert len(found.architecture.layers) == 2
    assert found.architecture.layers[0] is found.architecture.layers[1]
    assert not found.architecture.tied_embeddings
    assert found.architecture.vocabulary_size == 100
    assert sum(t.elements * n for t, n in found.architecture.counted_tensors()) == numbers


def test_the_cache_follows_heads_and_dimensions(tmp_path: Path) -> None:
    found = model(tmp_path / "tiny.gguf").architecture
    assert found is not None
    assert cache_size(found, tokens=10).value == 2 * 10 * 2 * (16 + 16) * 2


def test_every_ggml_type_has_the_sizes_of_the_gguf_package() -> None:
    for kind, (block, size) in gguf.GGML_QUANT_SIZES.items():
        assert GGML_TYPES[kind.name] == (block, size)


@pytest.mark.parametrize("kind", ["Q4_0", "Q8_0", "Q4_K", "Q6_K", "IQ2_XXS", "MXFP4", "TQ1_0"])
def test_quantized_tensors_count_their_weights_and_their_bytes(tmp_path: Path, kind: str) -> None:
    block, size = GGML_TYPES[kind]
    data = np.zeros((6, 512 // block * size), dtype=np.uint8)
    path = write(tmp_path / "q.gguf", "llama", {}, {"a.weight": data}, **{"a.weight": kind})
    found = read_gguf(path)
    assert (found.parameters, found.tensor_bytes) == (6 * 512, data.size)
    assert dict(found.bytes_by_dtype) == {kind: data.size}


def caches(found: StoredWeights) -> list[Any]:
    assert found.architecture is not None
    return [layer.caches for layer in found.architecture.layers]


def test_windows_follow_the_pattern_of_the_type_or_of_the_file(tmp_path: Path) -> None:
    keys = {"attention.sliding_window": 512, "attention.key_length": 32, "attention.value_length": 32}
    gemma = caches(model(tmp_path / "g.gguf", "gemma3", keys, count=6))
    assert [kept[0].window for kept in gemma] == [512] * 5 + [None]
    assert gemma[0][0].key_dim == 32
    oss = caches(model(tmp_path / "o.gguf", "gpt-oss", keys, count=4))
    assert [kept[0].window for kept in oss] == [512, None, 512, None]
    given_pattern = {**keys, "attention.sliding_window_pattern": [False, True, True]}
    listed = caches(model(tmp_path / "l.gguf", "gemma3", given_pattern, count=3))
    assert [kept[0].window for kept in listed] == [None, 512, 512]
    llama = caches(model(tmp_path / "m.gguf", "llama", keys))
    assert [kept[0].window for kept in llama] == [None, None]


def test_per_layer_key_value_heads_are_followed(tmp_path: Path) -> None:
    found = caches(model(tmp_path / "d.gguf", "deci", {"attention.head_count_kv": [2, 0, 1]}, count=3))
    assert [[kept.heads for kept in own] for own in found] == [[2], [], [1]]


def test_latent_attention_caches_the_latent(tmp_path: Path) -> None:
    keys = {
        **KEYS, "attention.kv_lora_rank": 24, "rope.dimension_count": 8, "attention.key_length_mla": 24,
        "attention.value_length_mla": 16, "attention.head_count_kv": 1, "expert_count": 8, "expert_used_count": 2,
    }  # fmt: skip
    tensors: dict[str, Any] = {"token_embd.weight": zeros(100, 64)}
    for index in range(2):
        own = {"attn_kv_a_mqa.weight": zeros(32, 64), "ffn_up_exps.weight": zeros(8, 48, 64)}
        tensors |= {f"blk.{index}.{name}": tensor for name, tensor in own.items()}
    found = read_gguf(write(tmp_path / "ds.gguf", "deepseek2", keys, tensors))
    kept = caches(found)[0][0]
    assert (kept.name, kept.key_dim, kept.value_dim, kept.heads) == ("latent", 24, 8, 1)
    assert found.architecture is not None
    routed = next(t for t in found.architecture.layers[0].tensors if t.part == "experts")
    assert (routed.copies, routed.active, routed.shape, routed.use) == (8, 2, (48, 64), "up")
    assert found.architecture.tied_embeddings


def test_recurrent_layers_keep_states(tmp_path: Path) -> None:
    keys = {
        "block_count": 1, "embedding_length": 64, "ssm.inner_size": 128, "ssm.state_size": 16, "ssm.conv_kernel": 4,
        "attention.head_count": 0,
    }  # fmt: skip
    tensors = {"token_embd.weight": zeros(10, 64), "blk.0.ssm_in.weight": zeros(256, 64),
               "blk.0.ssm_conv1d.weight": zeros(128, 4), "blk.0.ssm_out.weight": zeros(64, 128)}  # fmt: skip
    (kept,) = caches(read_gguf(write(tmp_path / "m.gguf", "mamba", keys, tensors)))
    assert [cache.elements for cache in kept if isinstance(cache, StateCache)] == [128 * 4, 128 * 16]
    assert not any(isinstance(cache, TokenCache) for cache in kept)


def test_an_unknown_type_has_exact_weights_and_says_that_its_cache_is_not_known(tmp_path: Path) -> None:
    found = model(tmp_path / "u.gguf", "brandnew")
    assert found.architecture is not None
    assert found.parameters == sum(t.elements * n for t, n in found.architecture.counted_tensors())
    assert caches(found) == [(), ()]
    assert any("not known" in remark for remark in found.remarks)


def test_long_arrays_are_walked_over(tmp_path: Path) -> None:
    words = [f"word{i}" for i in range(5000)]
    found = model(tmp_path / "t.gguf", keys={"tokenizer.ggml.tokens": words, "tokenizer.ggml.scores": [1.0] * 5000})
    assert found.metadata["tokenizer.ggml.tokens"] == LongArray(5000)
    assert found.metadata["tokenizer.ggml.scores"] == LongArray(5000)


def test_split_files_are_added_up_when_they_are_all_there(tmp_path: Path) -> None:
    first = tmp_path / "m-00001-of-00002.gguf"
    second = tmp_path / "m-00002-of-00002.gguf"
    write(first, "llama", KEYS, {"token_embd.weight": zeros(100, 64), **layer(0)})
    alone = read_gguf(first)
    assert any("one of 2 split files" in remark for remark in alone.remarks)
    assert alone.architecture is None
    write(second, "llama", {}, layer(1))
    whole = read_gguf(second)
    assert whole.file_bytes == first.stat().st_size + second.stat().st_size
    assert whole.architecture is not None
    assert len(whole.architecture.layers) == 2


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def header(tensors: int = 0, keys: int = 0, version: int = 3, magic: bytes = b"GGUF") -> bytes:
    return magic + struct.pack("<IQQ", version, tensors, keys)


def described(name: bytes, dims: list[int], kind: int = 0, offset: int = 0) -> bytes:
    sizes = b"".join(struct.pack("<Q", d) for d in dims)
    return text(name) + struct.pack("<I", len(dims)) + sizes + struct.pack("<IQ", kind, offset)


def padded(raw: bytes, data: int) -> bytes:
    return raw + b"\0" * (-len(raw) % 32) + b"\0" * data


KEY = text(b"k") + struct.pack("<II", 4, 1)
HOSTILE: dict[str, bytes] = {
    "empty": b"", "magic": header(magic=b"GGML"), "version 1": header(version=1) + b"\0" * 8,
    "version 9": header(version=9) + b"\0" * 8, "cut": header(0, 1) + text(b"k") + struct.pack("<I", 10) + b"\0" * 3,
    "many keys": header(0, 2**63), "many tensors": header(2**40, 0), "more keys than bytes": header(0, 10) + KEY,
    "key twice": header(0, 2) + KEY + KEY, "key not UTF-8": header(0, 1) + text(b"\xff") + struct.pack("<II", 4, 1),
    "long key": header(0, 1) + struct.pack("<Q", 2**62) + b"k" * 64,
    "text not UTF-8": header(0, 1) + text(b"k") + struct.pack("<I", 8) + text(b"\xff\xfe"),
    "long text": header(0, 1) + text(b"k") + struct.pack("<IQ", 8, 2**50) + b"\0" * 32,
    "type 99": header(0, 1) + text(b"k") + struct.pack("<I", 99) + b"\0" * 32,
    "long array": header(0, 1) + text(b"k") + struct.pack("<IIQ", 9, 4, 2**61) + b"\0" * 32,
    "long array of texts": header(0, 1) + text(b"k") + struct.pack("<IIQ", 9, 8, 2**31) + b"\0" * 32,
    "arrays in arrays": header(0, 1) + text(b"k") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 400 + b"\0" * 64,
    "alignment 0": header(0, 1) + text(b"general.alignment") + struct.pack("<II", 4, 0),
    "alignment 33": header(0, 1) + text(b"general.alignment") + struct.pack("<II", 4, 33),
    "tensor twice": padded(header(2) + described(b"a", [8]) + described(b"a", [8], offset=32), 64),
    "overlap": padded(header(2) + described(b"a", [16]) + described(b"b", [16], offset=32), 128),
    "hole": padded(header(2) + described(b"a", [8]) + described(b"b", [8], offset=96), 256),
    "beyond the end": padded(header(1) + described(b"a", [2**20]), 64),
    "overflow": padded(header(1) + described(b"a", [2**63, 2**63]), 64),
    "no elements": padded(header(1) + described(b"a", [0, 8]), 64),
    "five dimensions": padded(header(1) + described(b"a", [1] * 5), 64),
    "billions of dimensions": padded(header(1) + text(b"a") + struct.pack("<I", 2**32 - 1), 64),
    "unknown type": padded(header(1) + described(b"a", [8], kind=77), 64),
    "half a block": padded(header(1) + described(b"a", [33, 2], kind=8), 256),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_headers_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(HOSTILE[name])
    with pytest.raises(UserError):
        read_gguf(path)


def keyed(pairs: dict[str, Callable[[], bytes]]) -> bytes:
    raw = header(1, len(pairs) + 1) + text(b"general.architecture") + struct.pack("<I", 8) + text(b"llama")
    raw += b"".join(text(key.encode()) + make() for key, make in pairs.items())
    return padded(raw + described(b"blk.7.attn_k.weight", [8, 8]), 256)


@pytest.mark.parametrize(
    "pairs",
    [
        {"llama.block_count": lambda: struct.pack("<II", 4, 2**32 - 1)},
        {"llama.block_count": lambda: struct.pack("<II", 4, 3)},
        {"llama.block_count": lambda: struct.pack("<Ii", 5, -3)},
        {"llama.block_count": lambda: struct.pack("<I", 8) + text(b"many")},
        {"llama.block_count": lambda: struct.pack("<II", 4, 8),
         "llama.attention.head_count": lambda: struct.pack("<IIQI", 9, 4, 1, 4)},
    ],
)  # fmt: skip
def test_metadata_that_contradict_the_tensors_are_refused(
    tmp_path: Path, pairs: dict[str, Callable[[], bytes]]
) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(keyed(pairs))
    with pytest.raises(UserError):
        read_gguf(path)


def test_a_big_endian_file_is_read(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "b.gguf", "llama", endianess=gguf.GGUFEndian.BIG)
    writer.add_tensor("a.weight", np.zeros((4, 8), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert read_gguf(tmp_path / "b.gguf").tensor_bytes == 128


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "whole.gguf"
    if not path.exists():
        model(path)
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, min(len(raw) - 1, 2500)))
        raw[at] = data.draw(st.integers(0, 255))
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(bytes(raw[: data.draw(st.integers(0, len(raw)))] if data.draw(st.booleans()) else raw))
    with contextlib.suppress(UserError):
        read_gguf(damaged)
