"""From a row of measured training cases to a TrainingPlan; every empty cell that had to be filled is an assumption."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sizeup.plan.case_words import tidy
from sizeup.plan.frameworks import Framework, framework, is_framework
from sizeup.plan.training import TARGETS, Adapter, Layout, Precision, TrainingPlan

USUAL_SEQUENCE = 4096
"""Tokens of a sequence where a case does not say (assumption)."""


class _Reader:
    """Cells of a row, with a note for each one that was empty."""

    def __init__(self, row: Mapping[str, str]) -> None:
        self.row, notes = tidy(row)
        self.assumed: list[str] = list(notes)

    def word(self, name: str, default: str, why: str = "") -> str:
        value = self.row.get(name, "")
        if value:
            return value
        self.assumed.append(f"{name}: {default}{' (' + why + ')' if why else ''}")
        return default

    def usual(self, used: Framework, name: str, otherwise: str) -> str:
        """Return what recipes of the framework usually set; those of Megatron changed in 2022."""
        early = used.name == "megatron" and "0" < self.row.get("year", "") < "2022"
        return otherwise if early else used.assumes.get(name, otherwise)

    def number(self, name: str, default: int, *, silent: bool = False) -> int:
        value = self.row.get(name, "")
        if value:
            return int(value)
        if not silent:
            self.assumed.append(f"{name}: {default}")
        return default


def framework_of(cells: _Reader) -> Framework:
    """Return the framework of a case; one without a record is taken as the generic one, and that is noted."""
    name = cells.row.get("framework", "").lower()
    if name and is_framework(name):
        return framework(name)
    cells.assumed.append(f"framework: generic ({name} has no record)" if name else "framework: generic")
    return framework("generic")


def own_name(row: Mapping[str, str], used: Framework) -> str:
    """Return the framework as the case names it: programs that share what they keep may differ in what they overlap."""
    name = row.get("framework", "").lower()
    return name if is_framework(name) else used.name


def training_plan(row: Mapping[str, str], *, matrices: Mapping[str, int] | None = None) -> TrainingPlan:
    """Return the plan of a measured case.

    ``matrices`` is inputs plus outputs of all linear layers by use, to tell LoRA targets from a trainable count.

    Raises:
        UserError: a cell holds what cannot be: a count that is none, an unknown kind of training.
    """
    cells = _Reader(row)
    used = framework_of(cells)
    method: Any = cells.word("kind", "pretrain")
    layout = _layout(cells, used)
    micro_batch = cells.number("micro_batch", 1)
    fields: dict[str, Any] = {
        "sequence_length": cells.number("seq_len", USUAL_SEQUENCE),
        "micro_batch": micro_batch,
        "global_batch": cells.number("global_batch", micro_batch * layout.dp),
        "optimizer": cells.word("optimizer", "adamw"),
        "attention": cells.word("attention", used.attention, f"the default of {used.name}"),
        "loss": _loss(cells, used),
        "compile": cells.row.get("compile") == "yes",
        "precision": _precision(cells, used.name, adapter=method in ("lora", "qlora")),
        "adapter": _adapter(cells, matrices or {}) if method in ("lora", "qlora") else None,
        "cpu_offload_layers": cells.number("cpu_offload_layers", 0, silent=True),
    }
    layers = cells.row.get("recompute_layers")
    fields["recompute"] = "none" if layers else cells.word("recompute", cells.usual(used, "recompute", "none"))
    fields["recompute_layers"] = int(layers) if layers else None
    return TrainingPlan(
        method=method,
        framework=own_name(cells.row, used),
        framework_version=cells.row.get("framework_version", ""),
        layout=layout,
        cp_comm=cells.row.get("cp_comm", ""),
        async_tp=_overlaps_tensor(cells, used, layout),
        assumptions=tuple(cells.assumed),
        **fields,
    )


def _overlaps_tensor(cells: _Reader, used: Framework, layout: Layout) -> bool:
    """Return whether tensor-parallel exchanges run beside products: Megatron's do since 2024 on several nodes."""
    stated = cells.row.get("async_tp", "")
    if stated or layout.tp == 1 or used.name != "megatron":
        return stated == "yes"
    several = layout.gpus > cells.number("gpus_per_node", 8, silent=True)
    if several and layout.sequence_parallel and cells.row.get("year", "2024") >= "2024":
        cells.assumed.append("async_tp: yes (Megatron on several nodes)")
        return True
    return False


def _loss(cells: _Reader, used: Framework) -> str:
    """Return the loss; torchtitan compiles it with the model from 2025 on."""
    compiled = used.name == "torchtitan" and cells.row.get("compile") == "yes" and cells.row.get("year", "") >= "2025"
    return cells.word("loss", "fused" if compiled else used.loss, f"the default of {used.name}")


def _layout(cells: _Reader, used: Framework) -> Layout:
    tp, pp, cp = (cells.number(name, 1) for name in ("tp", "pp", "cp"))
    gpus = cells.number("n_gpus", tp * pp * cp * cells.number("dp", 1, silent=True))
    ep = cells.number("ep", 1, silent=True)
    dp = cells.number("dp", max(1, gpus // (tp * pp * cp)))
    if tp * pp * cp * dp != gpus:
        cells.assumed.append(f"n_gpus: {tp * pp * cp * dp} (tp x pp x cp x dp, not {gpus})")
    sequence = cells.word("sequence_parallel", cells.usual(used, "sequence_parallel", "no")) if tp > 1 else "no"
    group = cells.row.get("shard_group", "")
    sharding: Any = cells.word("sharding", cells.usual(used, "sharding", "none") if dp * cp > 1 else "none")
    shard = int(group) if group.isdigit() and int(group) else None
    if sharding == "hsdp" and shard is None:
        shard = cells.number("gpus_per_node", 8)
        cells.assumed.append(f"shard_group: {shard} (one node)")
    return Layout(
        tp=tp, pp=pp, vpp=cells.number("vpp", 1, silent=True), cp=cp, ep=ep,
        etp=cells.number("etp", tp if ep == 1 else 1, silent=True), dp=dp, sharding=sharding, shard_group=shard,
        sequence_parallel=sequence == "yes",
    )  # fmt: skip


def _precision(cells: _Reader, used: str, *, adapter: bool) -> Precision:
    compute: Any = cells.word("compute_dtype", "bf16")
    master: Any = cells.word("master_weights", "fp32")
    half = "fp16" if compute == "fp16" else "bf16"
    usual = {"internevo": half, "megatron-deepspeed": half, "hf-deepspeed": half}.get(
        used, "fp32" if master == "fp32" else half
    )
    gradients: Any = cells.word("grad_dtype", usual)
    return Precision(compute_dtype=compute, master_weights=master, grad_dtype=gradients)


def _targets(cells: _Reader, rank: int, trainable: str, matrices: Mapping[str, int]) -> str:
    """Return the targets, or those whose adapters at this rank have exactly the stated number of parameters."""
    if not cells.row.get("lora_targets") and trainable:
        for word, uses in TARGETS.items():
            if rank * sum(matrices.get(use, 0) for use in uses) == int(trainable):
                return cells.word("lora_targets", word, "from the number of trainable parameters")
    return cells.word("lora_targets", "all-linear")


def _adapter(cells: _Reader, matrices: Mapping[str, int]) -> Adapter:
    trainable = cells.row.get("trainable_params", "")
    rank = cells.number("lora_rank", 16)
    quant: Any = cells.row.get("base_quant") or None
    return Adapter(
        rank=rank,
        targets=_targets(cells, rank, trainable, matrices),
        base_quant=quant,
        trainable_parameters=int(trainable) if trainable else None,
    )
