"""Checkpoints whose quantization is described by groups of modules: compressed-tensors, ModelOpt, Quark.

Sources: [compressed_tensors] (vllm-project/compressed-tensors), [modelopt] (NVIDIA ModelOpt), [quark] (AMD Quark).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sizeup.errors import UserError
from sizeup.llm.architecture import Architecture
from sizeup.llm.layouts import Layout
from sizeup.llm.module_names import ModuleMatcher
from sizeup.llm.stored_base import (
    LIST_LIMIT,
    WITH_HEAD,
    Group,
    Settings,
    StoredFormat,
    group_tile,
    listed_modules,
    section,
    whole_number,
)

_ANY_LINEAR = frozenset({"Linear", "linear"})
_NVFP4 = Layout(bits=4, tile=(1, 16), scale_bits=8)
_MX = {4: "mxfp4-all", 6: "mxfp6", 8: "mxfp8"}


def _refuse(what: str) -> UserError:
    return UserError(
        f"quantization_config: {what} is not known here", hint="read the sizes from the weight files' headers"
    )


def _packed_integers(weights: Settings) -> Layout:
    bits = whole_number(weights, "num_bits", 4)
    if bits not in (2, 4, 8):
        raise _refuse(f"pack-quantized with {bits} bits")
    asymmetric = weights.get("symmetric") is False
    return Layout(
        bits=bits, word_bits=32, tile=_weight_tile(weights), scale_bits=16, zero_bits=bits if asymmetric else 0,
        zero_word_bits=32 if asymmetric else 0, tensor_bytes=16,
        index_bits=32 if weights.get("actorder") in ("group", True) else 0,
    )  # fmt: skip


def _weight_tile(weights: Settings) -> tuple[int, int]:
    """Return the tile of a scale under compressed-tensors' strategies."""
    strategy = weights.get("strategy") or ("group" if weights.get("group_size") else "tensor")
    if strategy in ("group", "tensor_group"):
        return group_tile(whole_number(weights, "group_size", 128))
    if strategy == "channel":
        return (1, 0)
    if strategy == "tensor":
        return (0, 0)
    block = weights.get("block_structure")
    if strategy == "block" and isinstance(block, list) and len(block) == 2 and all(type(b) is int for b in block):
        return (max(block[0], 1), max(block[1], 1))
    raise _refuse(f'strategy "{str(strategy)[:40]}"')


def _compressed_layout(form: str, group: Settings) -> tuple[str, Layout]:
    """Return (format name, layout) of one group of a compressed-tensors config."""
    weights = section(group, "weights")
    inputs = section(group, "input_activations")
    bits, kind = whole_number(weights, "num_bits", 8), str(weights.get("type", "int"))
    static_input = bool(inputs) and not inputs.get("dynamic", True)
    if form == "nvfp4-pack-quantized" or (kind == "float" and bits == 4 and weights.get("group_size") == 16):
        return "nvfp4", replace(_NVFP4, tensor_bytes=8 if inputs else 4)
    if form.startswith("mxfp") or weights.get("scale_dtype") == "torch.uint8":
        return _MX.get(bits, "mxfp8"), Layout(bits=bits, tile=(1, 32), scale_bits=8)
    if form == "pack-quantized":
        return "w4a16", _packed_integers(weights)
    if form in ("float-quantized", "int-quantized", "naive-quantized", "dense", "") and bits == 8:
        tile = _weight_tile(weights)
        name = "w8a8" if kind == "int" else {(0, 0): "fp8", (1, 0): "fp8-channel"}.get(tile, "fp8-block")
        zero = 8 if weights.get("symmetric") is False else 0
        return name, Layout(bits=8, tile=tile, scale_bits=16, zero_bits=zero, tensor_bytes=2 if static_input else 0)
    raise _refuse(f'compressed-tensors format "{form[:40]}" with {bits}-bit {kind[:20]}')


def _config_groups(settings: Settings) -> list[tuple[Settings, list[Any]]]:
    groups = section(settings, "config_groups")
    if not groups or len(groups) > 1000:
        raise UserError('quantization_config: "config_groups" must be a mapping of groups')
    found = []
    for name in groups:
        group = section(groups, name)
        if not section(group, "weights"):
            raise UserError(f'quantization_config: group "{str(name)[:40]}" says nothing of weights')
        found.append((group, listed_modules(group, "targets")))
    return found


def _grouped(layouts: list[tuple[Layout, list[Any]]]) -> tuple[Group, ...]:
    """Return groups, those with named targets first."""
    named, general = [], []
    for layout, targets in layouts:
        if not targets or _ANY_LINEAR & {t for t in targets if isinstance(t, str)}:
            general.append(Group(layout))
        else:
            named.append(Group(layout, ModuleMatcher(targets)))
    return (*named, *general)


def compressed_tensors(settings: Settings, architecture: Architecture) -> StoredFormat:
    """Return the storage that a compressed-tensors config describes; scales are in 16 bits, as it writes them."""
    form = str(settings.get("format", ""))
    sparsity = str(section(settings, "sparsity_config").get("format", "dense"))
    if sparsity != "dense":
        raise _refuse(f'sparsity format "{sparsity[:40]}"')
    layouts, names = [], []
    for group, targets in _config_groups(settings):
        name, layout = _compressed_layout(str(group.get("format") or form), group)
        layouts.append((layout, targets))
        names.append(name)
    return StoredFormat(
        name=names[0], method=f"compressed-tensors, {form or 'unnamed format'}", groups=_grouped(layouts),
        roles=WITH_HEAD, kept=ModuleMatcher(listed_modules(settings, "ignore")), sources=("compressed_tensors",),
    )  # fmt: skip


@functools.lru_cache(maxsize=64)
def algorithm_layout(algorithm: str, group_size: int) -> tuple[str, Layout]:
    """Return (format name, layout) of one of ModelOpt's algorithms.

    Raises:
        UserError: an algorithm that is not known.
    """
    group = group_size or 128
    known: dict[str, tuple[str, Layout]] = {
        "FP8": ("fp8", Layout(bits=8, tile=(0, 0), scale_bits=32, tensor_bytes=4)),
        "FP8_PER_CHANNEL_PER_TOKEN": ("fp8-channel", Layout(bits=8, tile=(1, 0), scale_bits=32)),
        "FP8_PB_WO": ("fp8-block", Layout(bits=8, tile=(group, group), scale_bits=32)),
        "NVFP4": ("nvfp4", replace(_NVFP4, tensor_bytes=8)),
        "W4A16_NVFP4": ("nvfp4", replace(_NVFP4, tensor_bytes=4)),
        "MXFP8": ("mxfp8", Layout(bits=8, tile=(1, 32), scale_bits=8)),
        "W4A8_MXFP4_FP8": ("mxfp4-all", Layout(bits=4, tile=(1, 32), scale_bits=8, tensor_bytes=4)),
        "MXFP4": ("mxfp4-all", Layout(bits=4, tile=(1, 32), scale_bits=8)),
        "W4A16_AWQ": ("awq-int4", Layout(bits=4, tile=(1, group), scale_bits=16, index_bits=16)),
        "INT8_SQ": ("w8a8", Layout(bits=8, tile=(1, 0), scale_bits=32, tensor_bytes=4)),
    }
    if algorithm.upper() not in known:
        raise _refuse(f'ModelOpt algorithm "{algorithm[:40]}"')
    return known[algorithm.upper()]


def algorithm_groups(settings: Settings) -> tuple[Group, ...]:
    """Return one group per algorithm of ModelOpt's ``quantized_layers`` (module -> algorithm)."""
    names: dict[Layout, list[Any]] = {}
    layers = section(settings, "quantized_layers")
    if len(layers) > LIST_LIMIT:
        raise UserError('quantization_config: "quantized_layers" is too long')
    for module, own in layers.items():
        record = own if isinstance(own, Mapping) else {}
        layout = algorithm_layout(str(record.get("quant_algo", "")), whole_number(record, "group_size", 0))[1]
        names.setdefault(layout, []).append(module)
    return tuple(Group(layout, ModuleMatcher(modules)) for layout, modules in names.items())


def _group_algorithm(group: Settings) -> tuple[str, int]:
    """Return ModelOpt's name for what a group of ``config_groups`` describes."""
    weights = section(group, "weights")
    bits, size = whole_number(weights, "num_bits", 8), whole_number(weights, "group_size", 0)
    if weights.get("type") == "float":
        if bits == 4:
            algorithm = {16: "NVFP4", 32: "MXFP4"}.get(size, "?")
            return (
                "W4A16_NVFP4" if algorithm == "NVFP4" and not section(group, "input_activations") else algorithm
            ), size
        return ("MXFP8" if size == 32 else "FP8"), size
    return ("INT8_SQ" if bits == 8 else "W4A16_AWQ"), size


def _commonest(layers: Settings) -> str:
    """Return the format that most of the modules have."""
    names = [str(own.get("quant_algo", "")) for own in layers.values() if isinstance(own, Mapping)]
    return algorithm_layout(max(sorted(set(names)), key=names.count), 0)[0]


def modelopt(settings: Settings, architecture: Architecture) -> StoredFormat:
    """Return the storage that a ModelOpt config describes: one algorithm, groups, or an algorithm per module."""
    inner = section(settings, "quantization") or settings
    kept = ModuleMatcher(listed_modules(inner, "ignore", "exclude_modules"))
    algorithm, size = str(inner.get("quant_algo") or ""), whole_number(inner, "group_size", 0)
    if section(inner, "quantized_layers"):
        groups, name = algorithm_groups(inner), _commonest(section(inner, "quantized_layers"))
    elif section(inner, "config_groups"):
        layouts = []
        for group, targets in _config_groups(inner):
            name, layout = algorithm_layout(*_group_algorithm(group))
            layouts.append((layout, targets))
        groups = _grouped(layouts)
    else:
        name, layout = algorithm_layout(algorithm, size)
        groups = (Group(layout),)
    return StoredFormat(
        name=name, method=f"modelopt {algorithm}".strip(), groups=groups, roles=WITH_HEAD, kept=kept,
        sources=("modelopt",), remarks=("scales of a quantized cache are not counted (some bytes per layer)",),
    )  # fmt: skip


def _quark_layout(weight: Settings) -> tuple[str, Layout]:
    kind, scheme = str(weight.get("dtype", "")), str(weight.get("qscheme", ""))
    size = whole_number(weight, "group_size", 0)
    if kind in ("fp4", "mxfp4") and size == 32:
        return "mxfp4-all", Layout(bits=4, tile=(1, 32), scale_bits=8)
    if kind in ("fp8_e4m3", "int8"):
        tile = {"per_tensor": (0, 0), "per_channel": (1, 0)}.get(scheme)
        if tile:
            name = "w8a8" if kind == "int8" else {(0, 0): "fp8", (1, 0): "fp8-channel"}[tile]
            return name, Layout(bits=8, tile=tile, scale_bits=32)
    if kind in ("int4", "uint4") and scheme == "per_group":
        zero = 4 if kind == "uint4" else 0
        return "awq-int4", Layout(bits=4, word_bits=32, tile=group_tile(size), scale_bits=16, zero_bits=zero)
    raise _refuse(f'Quark dtype "{kind[:20]}" with "{scheme[:20]}"')


def quark(settings: Settings, architecture: Architecture) -> StoredFormat:
    """Return the storage that an AMD Quark config describes."""
    glob = section(settings, "global_quant_config")
    weight = glob.get("weight")
    if isinstance(weight, list) or not isinstance(weight, Mapping):
        raise _refuse("a Quark config with several quantizers")
    name, layout = _quark_layout(weight)
    groups = []
    for pattern, own in section(settings, "layer_quant_config").items():
        inner = own.get("weight") if isinstance(own, Mapping) else None
        if isinstance(inner, Mapping):
            groups.append(Group(_quark_layout(inner)[1], ModuleMatcher([pattern])))
    return StoredFormat(
        name=name, method="quark", groups=(*groups, Group(layout)), roles=WITH_HEAD,
        kept=ModuleMatcher(listed_modules(settings, "exclude")), sources=("quark",),
    )  # fmt: skip
