"""Readers of ``quantization_config``, one per ``quant_method`` that has one layout for all its modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sizeup.errors import UserError
from sizeup.llm.architecture import Architecture
from sizeup.llm.formats import format_named
from sizeup.llm.layouts import Layout
from sizeup.llm.module_names import ModuleMatcher
from sizeup.llm.stored_base import (
    BLOCKS_ONLY,
    LINEAR_ROLES,
    WITH_HEAD,
    Group,
    Settings,
    StoredFormat,
    group_tile,
    listed_modules,
    section,
    whole_number,
)
from sizeup.llm.stored_groups import algorithm_groups


def _named_layout(name: str, **changes: Any) -> Layout:
    return replace(format_named(name).layout, **changes) if changes else format_named(name).layout


def _packed(bits: int, allowed: Sequence[int]) -> int:
    if bits not in allowed:
        raise UserError(f"quantization_config: {bits}-bit weights are not known here", hint=f"known: {list(allowed)}")
    return bits


_NEVER_FP8 = ("eh_proj", "weights_proj")
"""Matrices that DeepSeek's FP8 checkpoints keep in bf16 without saying so: into the extra prediction layer, and the
indexer's head weights."""


def fp8(settings: Settings, architecture: Architecture) -> StoredFormat:
    """Return the storage that a ``fp8`` config describes."""
    block = settings.get("weight_block_size")
    overrides = algorithm_groups(settings)
    # Beside ``quantized_layers``, ``ignore`` names what was not quantized further: it stays FP8.
    also = () if overrides else ("ignore",)
    kept = ModuleMatcher([*listed_modules(settings, "modules_to_not_convert", "ignored_layers", *also), *_NEVER_FP8])
    if settings.get("expert_dtype") == "fp4":
        overrides = (*overrides, Group(_named_layout("mxfp4"), ModuleMatcher(["mlp.experts"])))
    if block is None:
        static = settings.get("activation_scheme") == "static"
        layout, name = _named_layout("fp8", tensor_bytes=4 if static else 0), "fp8"
    else:
        if not (isinstance(block, Sequence) and len(block) == 2 and all(isinstance(b, int) and b > 0 for b in block)):
            raise UserError('quantization_config: "weight_block_size" must be two positive numbers')
        one_byte = settings.get("scale_fmt") == "ue8m0" and architecture.model_type.startswith("deepseek_v4")
        layout = _named_layout("fp8-block", tile=tuple(block), scale_bits=8 if one_byte else 32)
        name = "fp8-block"
    return StoredFormat(
        name=name, method="fp8", groups=(*overrides, Group(layout)), roles=BLOCKS_ONLY, kept=kept,
        sources=("deepseek_v3",),
    )  # fmt: skip


def fbgemm(settings: Settings, architecture: Architecture) -> StoredFormat:
    """Return the storage that a ``fbgemm`` config describes."""
    kept = ModuleMatcher(listed_modules(settings, "modules_to_not_convert"))
    layout = _named_layout("fp8-channel", tensor_bytes=0)
    return StoredFormat(
        name="fp8-channel", method="fbgemm_fp8", groups=(Group(layout),), roles=BLOCKS_ONLY, kept=kept,
        sources=("transformers",),
    )  # fmt: skip


def gptq(settings: Settings, architecture: Architecture) -> StoredFormat:
    """Return the storage that a ``gptq`` config describes."""
    bits = _packed(whole_number(settings, "bits", 4), (2, 3, 4, 8))
    base = _named_layout(
        "gptq-int4", tile=group_tile(whole_number(settings, "group_size", 128)), bits=bits, zero_bits=bits
    )
    groups, kept = [], []
    for pattern, change in section(settings, "dynamic").items():
        if str(pattern).startswith("-:"):
            kept.append("re:" + str(pattern)[2:])
            continue
        own = change if isinstance(change, Mapping) else {}
        width = _packed(whole_number(own, "bits", bits), (2, 3, 4, 8))
        tile = group_tile(whole_number(own, "group_size", base.tile[1] or -1))
        name = str(pattern).removeprefix("+:")
        groups.append(Group(replace(base, bits=width, zero_bits=width, tile=tile), ModuleMatcher(["re:" + name])))
    inside = [name for names in listed_modules(settings, "modules_in_block_to_quantize") for name in _flat(names)]
    groups.append(Group(base, ModuleMatcher(inside) if inside else None))
    roles = WITH_HEAD if settings.get("lm_head") else LINEAR_ROLES
    return StoredFormat(
        name=f"gptq-int{bits}", method="gptq", groups=tuple(groups), roles=roles, sources=("gptq", "autogptq"),
        kept=ModuleMatcher([*kept, *listed_modules(settings, "modules_to_not_convert")]),
    )  # fmt: skip


def _flat(names: Any) -> list[Any]:
    return list(names) if isinstance(names, list | tuple) else [names]


def awq(settings: Settings, architecture: Architecture) -> StoredFormat:
    """Return the storage that a ``awq`` config describes."""
    bits = _packed(whole_number(settings, "bits", whole_number(settings, "w_bit", 4)), (4, 8))
    group = whole_number(settings, "group_size", whole_number(settings, "q_group_size", 128))
    zero = bits if settings.get("zero_point", True) else 0
    layout = _named_layout(
        "awq-int4", tile=group_tile(group), bits=bits, zero_bits=zero, zero_word_bits=32 if zero else 0
    )
    return StoredFormat(
        name=f"awq-int{bits}", method="awq", groups=(Group(layout),), sources=("awq",),
        kept=ModuleMatcher(listed_modules(settings, "modules_to_not_convert")),
    )  # fmt: skip


def bitsandbytes(settings: Settings, architecture: Architecture) -> StoredFormat:
    """Return the storage that a ``bitsandbytes`` config describes."""

    def on(key: str) -> bool:
        return bool(settings.get(key) or settings.get(f"_{key}"))

    if on("load_in_4bit"):
        kind = str(settings.get("bnb_4bit_quant_type", "fp4"))
        if kind not in ("nf4", "fp4"):
            raise UserError(
                f'quantization_config: bnb_4bit_quant_type "{kind[:40]}" is not known', nearest=("nf4", "fp4")
            )
        name = f"{kind}-dq" if settings.get("bnb_4bit_use_double_quant") else kind
    elif on("load_in_8bit"):
        name = "int8"
    else:
        raise UserError("quantization_config: bitsandbytes without load_in_4bit or load_in_8bit")
    skipped = ModuleMatcher(listed_modules(settings, "llm_int8_skip_modules"))
    return StoredFormat(
        name=name, method="bitsandbytes", groups=(Group(_named_layout(name)),), kept=skipped,
        sources=("bitsandbytes",), remarks=("the JSON of bitsandbytes' quant_state is not counted",),
    )  # fmt: skip


def mxfp4(settings: Settings, architecture: Architecture) -> StoredFormat:
    """Return the storage that a ``mxfp4`` config describes."""
    return StoredFormat(
        name="mxfp4", method="mxfp4", groups=(Group(_named_layout("mxfp4")),), roles=frozenset({"experts"}),
        kept=ModuleMatcher(listed_modules(settings, "modules_to_not_convert")), sources=("mx_spec", "gpt_oss"),
    )  # fmt: skip


def hqq(settings: Settings, architecture: Architecture) -> StoredFormat:
    """Return the storage that a ``hqq`` config describes."""
    own = section(section(settings, "quant_config"), "weight_quant_params")
    bits = _packed(whole_number(own or settings, "nbits", 4), (1, 2, 3, 4, 8))
    group = whole_number(own or settings, "group_size", 64)
    # HQQ packs ten 3-bit numbers into one 32-bit word, which is 3.2 bits each; the other widths fill their bytes.
    if bits == 3:
        raise UserError("quantization_config: 3-bit HQQ is not known here")
    layout = _named_layout("hqq-int4", bits=bits, tile=group_tile(group))
    return StoredFormat(
        name=f"hqq-int{bits}", method="hqq", groups=(Group(layout),), sources=("hqq",),
        kept=ModuleMatcher(listed_modules(settings, "skip_modules") or ["lm_head"]),
    )  # fmt: skip


def eetq(settings: Settings, architecture: Architecture) -> StoredFormat:
    """Return the storage that a ``eetq`` config describes."""
    return StoredFormat(
        name="w8a8", method="eetq", groups=(Group(Layout(bits=8, tile=(1, 0), scale_bits=16)),), sources=("eetq",),
        kept=ModuleMatcher(listed_modules(settings, "modules_to_not_convert")),
    )  # fmt: skip


_TORCHAO = {
    "int4weightonly": ("w4a16", Layout(bits=4, tile=(1, 128), scale_bits=16, zero_bits=16)),
    "int8weightonly": ("w8a8", Layout(bits=8, tile=(1, 0), scale_bits=16)),
    "int8dynamicactivationint8weight": ("w8a8", Layout(bits=8, tile=(1, 0), scale_bits=16)),
    "float8weightonly": ("fp8-channel", Layout(bits=8, tile=(1, 0), scale_bits=32)),
    "float8dynamicactivationfloat8weight": ("fp8-channel", Layout(bits=8, tile=(1, 0), scale_bits=32)),
}


def torchao(settings: Settings, architecture: Architecture) -> StoredFormat:
    """Return the storage that a ``torchao`` config describes."""
    kind: Any = settings.get("quant_type", "")
    data: Settings = section(settings, "quant_type_kwargs")
    if isinstance(kind, Mapping):
        chosen = section(kind, "default")
        kind, data = chosen.get("_type", ""), section(chosen, "_data")
    key = "".join(c for c in str(kind).lower() if c.isalnum()).removesuffix("config")
    if key not in _TORCHAO:
        raise UserError(f'quantization_config: torchao "{str(kind)[:60]}" is not known', nearest=tuple(_TORCHAO))
    name, layout = _TORCHAO[key]
    if layout.bits == 4:
        layout = replace(layout, tile=group_tile(whole_number(data, "group_size", 128)))
    kept = ModuleMatcher(listed_modules(settings, "modules_to_not_convert") or ["lm_head"])
    return StoredFormat(name=name, method="torchao", groups=(Group(layout),), kept=kept, sources=("torchao",))
