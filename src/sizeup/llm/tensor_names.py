"""What a stored tensor is, told by its name: which part of the model, and whether it holds weights or scales."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import NamedTuple

from sizeup.llm.architecture import Part


class Entry(NamedTuple):
    """One tensor of a file as its header describes it."""

    dtype: str
    shape: tuple[int, ...]
    size: int

    @property
    def elements(self) -> int:
        """Numbers as stored (a packed word counts once)."""
        count = 1
        for length in self.shape:
            count *= length
        return count


_PARTS: tuple[tuple[Part, re.Pattern[str]], ...] = (
    ("projector", re.compile(r"projector|multi_modal|(^|\.)mm[._]|merger|connector")),
    ("tower", re.compile(r"vision|visual|audio_tower|audio_encoder|image|vit\.|(^|\.)v\.blk|(^|\.)a\.blk|patch_embed")),
    ("mtp", re.compile(r"(^|\.)mtp\.|nextn|eh_proj|enorm|hnorm|shared_head")),
    ("indexer", re.compile(r"indexer")),
    ("norms", re.compile(r"norm|(^|\.)ln_|layer_?norm|\.ln\d?\.")),
    ("router", re.compile(r"router|ffn_gate_inp|exp_probs|(mlp|moe|ffn|feed_forward)\.gate\.|expert_gate|\.gate\.w")),
    ("shared_experts", re.compile(r"shared_expert|_shexp|shared_mlp")),
    ("experts", re.compile(r"experts|_exps")),
    ("head", re.compile(r"lm_head|embed_out|^output\.|^head\.")),
    ("embedding", re.compile(r"embed|(^|\.)wte|(^|\.)wpe|token_embd|position_embd|word_embeddings")),
    ("ssm", re.compile(r"mamba|ssm|linear_attn|mixer|time_mix|conv|recurrent|rg_lru")),
    ("attention", re.compile(r"attn|attention|(^|\.)[qkvo]_proj|query_key_value")),
    ("mlp", re.compile(r"mlp|ffn|feed_forward|fc\d|dense_|gate_proj|up_proj|down_proj|gate_up_proj")),
)  # fmt: skip


_NUMBER = re.compile(r"\d+")


def part_named(name: str) -> Part:
    """Return the part of the model that a tensor's name points to, "other" where it tells nothing.

    >>> part_named("model.layers.0.self_attn.q_proj.weight"), part_named("blk.3.ffn_down_exps.weight")
    ('attention', 'experts')
    """
    return _part_of(_NUMBER.sub("0", name))


@functools.lru_cache(maxsize=4096)
def _part_of(name: str) -> Part:
    """Layers and experts have the same names but for their numbers, so few names are looked at."""
    for part, pattern in _PARTS:
        if pattern.search(name):
            return part
    return "other"


_SCALES = (
    "weight_scale", "weight_scale_inv", "weight_scale_2", "weight_global_scale", "weight_zero_point", "weight_g_idx",
    "weight_shape", "weight_format", "input_scale", "input_global_scale", "input_scale_ub", "input_zero_point",
    "activation_scale", "pre_quant_scale", "k_scale", "v_scale", "q_scale", "prob_scale", "SCB",
    "weight.absmax", "weight.quant_map", "weight.nested_absmax", "weight.nested_quant_map", "kv_scale",
    "k_proj.output_scale", "v_proj.output_scale", "weight_scales", "rotary_emb.inv_freq", "attn.masked_bias",
    "scale_inv",
)  # fmt: skip
_SCALE_END = tuple(f".{name}" for name in _SCALES) + tuple(f"_{name}" for name in ("scale_inv", "weight_scale"))


class Count(NamedTuple):
    """Parameters that a tensor stands for, and why that is not simply its elements."""

    parameters: int
    remark: str = ""


def _is_scale(name: str, tensors: Mapping[str, Entry]) -> bool:
    if name.endswith(_SCALE_END) or ".weight.quant_state." in name or name in _SCALES:
        return True
    stem, _, last = name.rpartition(".")
    if last in ("qzeros", "g_idx"):
        return f"{stem}.qweight" in tensors
    if last == "scales":
        return f"{stem}.qweight" in tensors or _is_mlx(tensors.get(f"{stem}.weight"))
    if last == "biases":
        return f"{stem}.scales" in tensors
    return name.endswith("_scales") and name.removesuffix("_scales") + "_blocks" in tensors


def _is_mlx(entry: Entry | None) -> bool:
    return entry is not None and entry.dtype == "U32"


def _qweight(stem: str, entry: Entry, tensors: Mapping[str, Entry]) -> Count:
    """GPTQ packs along the inputs, AWQ along the outputs; the scales tell the outputs, the index the inputs."""
    scales, index = tensors.get(f"{stem}.scales"), tensors.get(f"{stem}.g_idx")
    if scales is None or len(scales.shape) != 2 or len(entry.shape) != 2:
        return Count(entry.elements * 8, "packed int32 weights without scales are taken as 4-bit")
    outputs = scales.shape[1]
    if index is not None and index.elements:
        return Count(index.elements * outputs)
    if entry.shape[1] != outputs:
        return Count(entry.shape[0] * outputs)
    zeros = tensors.get(f"{stem}.qzeros")
    if zeros is not None and len(zeros.shape) == 2 and zeros.shape[1] and outputs % zeros.shape[1] == 0:
        return Count(entry.elements * (outputs // zeros.shape[1]))
    return Count(entry.elements * 8, "packed int32 weights without zero points are taken as 4-bit")


def _mlx(stem: str, entry: Entry, tensors: Mapping[str, Entry]) -> Count:
    """MLX writes groups of 64 unless told otherwise; its config.json says, the header does not."""
    scales = tensors[f"{stem}.scales"]
    return Count(scales.elements * 64, "MLX weights are taken to have groups of 64")


def logical_parameters(name: str, tensors: Mapping[str, Entry]) -> Count:
    """Return the parameters that tensor ``name`` stands for: 0 for scales, more than its elements when packed."""
    entry = tensors[name]
    if _is_scale(name, tensors):
        return Count(0)
    stem, _, last = name.rpartition(".")
    if last == "qweight":
        return _qweight(stem, entry, tensors)
    if last == "weight_packed":
        if entry.dtype == "I32":
            return Count(entry.elements * 8, "weights packed in int32 are taken as 4-bit")
        return Count(entry.elements * 2)
    if name.endswith("_blocks") and entry.dtype == "U8":
        return Count(entry.elements * 2)
    if last == "weight" and entry.dtype == "U32" and f"{stem}.scales" in tensors:
        return _mlx(stem, entry, tensors)
    if entry.dtype == "U8" and (f"{name}.absmax" in tensors or f"{stem}.weight_scale" in tensors):
        return Count(entry.elements * 2)
    if entry.dtype == "I8" and f"{stem}.scale" in tensors and tensors[f"{stem}.scale"].dtype == "F8_E8M0":
        return Count(entry.elements * 2, "int8 weights with E8M0 scales hold two 4-bit numbers a byte")
    return Count(entry.elements)
