"""Training frameworks as data: what each keeps for the backward pass and how it stores weights and gradients.

Records are in ``frameworks.toml``; adding a framework is one record with its sources. ``like`` starts from another one.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from sizeup.errors import UserError, nearest_names
from sizeup.files import read_text

FRAMEWORKS_FILE = "plan/frameworks.toml"
_TABLES = ("kept", "eager", "fp8", "compiled", "selective", "compiled_selective", "per_op")
_MERGED = (*_TABLES, "assumes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Framework:
    """One training framework.

    Attributes:
        storage: "mixed" (16-bit copy and fp32 master) or "single" (one copy, in the master's dtype).
        gradients: "buffer" (allocated once) or "transient" (appear during the backward pass).
        attention: implementation used when none is asked for.
        logit_bytes: bytes per logit at the worst moment of the loss, by implementation.
        loss: implementation used when none is named.
        parallel_logit_bytes: bytes per logit of the plain loss where tensor parallelism divides the vocabulary.
        logit_kept: bytes per logit that stay while the layers run backward.
        logit_backward: bytes per logit while the head runs backward; None: as ``logit_bytes``.
        expands_kv: keys and values are repeated to all heads before attention.
        temporary_copies: copies of the updated weights that an optimizer step makes (foreach kernels).
        unit_gradient_bytes: bytes per weight of a gathered unit while its gradients are reduced.
        keeps_units_with_pipeline: gathered units of a pipeline stage stay gathered for the whole step.
        keeps_units_with_adapters: the same while adapters are trained, and whole units have gradients.
        keeps_gathered_inputs: under sequence parallelism the gathered inputs of products are kept.
        keeps_inputs_of_quantized: products with quantized frozen weights keep their input.
        adapter_output_bytes, adapter_mask_bytes: kept per output of an adapter, and per input for its dropout.
        second_gradient_bytes: 16-bit gradients that stay beside an fp32 buffer.
        assumes: what its usual recipes set, for a case that does not say (sharding, recompute, sequence_parallel).
        composed_activations, composed_bytes: model types whose activation function is made of several operations, and
            the bytes that those keep for each of its inputs.
        fp32_norms: model types whose norms keep their normalized input in fp32.
        capped_logits, capped_bytes: model types that cap their logits, and the bytes that this keeps for each.
        views_fused_qkv: the value is a view of the fused query-key-value product, which stays alive with it.
        weight_gradient_placeholders: empty 16-bit gradients beside the fp32 buffers that are really added to.
        trains_prediction: trains the multi-token-prediction layers of a model; others drop them.
        stage_buffers: a pipeline stage keeps its output of every micro-batch in flight.
        bucket_elements: gradients gathered in one reduction.
        step_gradient_bytes: bytes per updated weight of fp32 gradients made for the optimizer step.
        eight_bit_copies: bytes per weight of quantized copies kept beside the 16-bit one, under 8-bit products.
        fp32_adapters: adapters compute on an fp32 copy of their input.
    """

    name: str
    title: str
    sources: tuple[str, ...]
    storage: Literal["mixed", "single"]
    gradients: Literal["buffer", "transient"]
    attention: str
    logit_bytes: Mapping[str, float] = field(hash=False)
    loss: str = "plain"
    logit_kept: float = 0.0
    parallel_logit_bytes: float | None = None
    logit_backward: float | None = None
    expands_kv: bool = False
    temporary_copies: float = 0.0
    unit_gradient_bytes: float = 4.0
    keeps_units_with_pipeline: bool = False
    keeps_units_with_adapters: bool = False
    keeps_gathered_inputs: bool = False
    keeps_inputs_of_quantized: bool = False
    adapter_output_bytes: float = 0.0
    adapter_mask_bytes: float = 0.0
    second_gradient_bytes: float = 0.0
    weight_gradient_placeholders: bool = False
    trains_prediction: bool = False
    stage_buffers: bool = False
    bucket_elements: int = 0
    step_gradient_bytes: float = 0.0
    fp32_adapters: bool = False
    eight_bit_copies: float = 0.0
    composed_activations: tuple[str, ...] = ()
    composed_bytes: float = 0.0
    fp32_norms: tuple[str, ...] = ()
    capped_logits: tuple[str, ...] = ()
    capped_bytes: float = 0.0
    views_fused_qkv: bool = False
    assumes: Mapping[str, str] = field(default_factory=dict, hash=False)
    tables: Mapping[str, Mapping[str, float]] = field(default_factory=dict, hash=False)

    def kept(
        self, *, attention: str, compiled: bool, eight_bit: bool, selective: bool, per_op: bool = False
    ) -> dict[str, float]:
        """Return the bytes per element of every tensor kept for the backward pass."""
        # where selective recomputation already chooses single operations, both are the same
        selective = selective or (per_op and "per_op" not in self.tables)
        chosen = {"eager": attention == "eager", "compiled": compiled, "fp8": eight_bit, "selective": selective}
        chosen["per_op"] = per_op
        chosen["compiled_selective"] = compiled and selective
        found = dict(self.tables["kept"])
        for table, applies in chosen.items():
            if applies:
                found.update(self.tables.get(table, {}))
        return found


_RENAMED = {
    "nemo": "megatron", "megatron-core": "megatron", "megatron-bridge": "megatron", "megatron-lm": "megatron",
    "transformers": "hf-trainer", "trl": "hf-trainer", "peft": "hf", "accelerate": "hf", "axolotl": "hf-trainer",
    "llama-factory": "hf-trainer", "unsloth": "hf-trainer", "deepspeed": "hf-deepspeed",
    "gpt-neox": "megatron-deepspeed", "composer": "llm-foundry",
}  # fmt: skip
"""Other names of the same training code, and programs that wrap it."""


@functools.cache
def frameworks() -> dict[str, Framework]:
    """Return every framework by name."""
    records: dict[str, dict[str, Any]] = tomllib.loads(read_text(FRAMEWORKS_FILE))
    return {name: _framework(name, _inherited(name, records)) for name in records}


def _inherited(name: str, records: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    record = records[name]
    if "like" not in record:
        return record
    base = _inherited(record["like"], records)
    merged = {**base, **record}
    for table in _MERGED:
        if table in base or table in record:
            merged[table] = {**base.get(table, {}), **record.get(table, {})}
    return merged


def _framework(name: str, record: Mapping[str, Any]) -> Framework:
    known = {f.name for f in fields(Framework)} - {"name", "tables", "sources"}
    values = {key: value for key, value in record.items() if key in known}
    tables = {table: dict(record[table]) for table in _TABLES if table in record}
    return Framework(name=name, sources=tuple(record["sources"]), tables=tables, **values)


def is_framework(name: str) -> bool:
    """Return whether there is a record for ``name``."""
    return _RENAMED.get(name, name) in frameworks()


def framework(name: str) -> Framework:
    """Return the framework called ``name``.

    Raises:
        UserError: there is none; the message has the nearest names.
    """
    known = frameworks()
    found = known.get(_RENAMED.get(name, name))
    if found is None:
        nearest = nearest_names(name, known)
        raise UserError(f'no training framework is called "{name}"', nearest=nearest, hint=f"known: {', '.join(known)}")
    return found
