"""TrainingPlan: how a model is trained - layout, precision, optimizer, recomputation, framework. Immutable.

The field names and words are those of the measured cases, so that a case, a scenario file and the flags of the command
line are the same thing. A field may be a NumPy column of plans where :mod:`sizeup.training.search` builds many at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Method = Literal["pretrain", "full", "lora", "qlora"]
Sharding = Literal["none", "zero1", "zero2", "zero3", "fsdp", "hsdp"]
Recompute = Literal["none", "selective", "per-op", "full"]
Attention = Literal["flash", "sdpa", "eager"]
Loss = Literal["plain", "fused", "chunked"]
Dtype = Literal["fp32", "fp16", "bf16", "fp8", "mxfp8", "nvfp4"]


_ATTENTION_USES = frozenset(
    {"query", "key", "value", "qkv", "output", "query_up", "latent_up", "query_down", "latent_down"}
)
_MLP_USES = frozenset({"gate", "up", "gate_up", "down"})
TARGETS = {
    "qv": frozenset({"query", "value", "qkv"}),
    "qkv": frozenset({"query", "key", "value", "qkv"}),
    "attn": _ATTENTION_USES,
    "mlp": _MLP_USES,
    "all-linear": _ATTENTION_USES | _MLP_USES | {"ssm_in", "ssm_out"},
}
"""Which linear layers a word for LoRA targets names, by their use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How ranks divide the work: ``gpus = tp x pp x cp x dp``; experts over ``ep x etp`` inside that.

    ``vpp`` is pipeline chunks per rank (1: plain 1F1B). ``shard_group`` is over how many ranks sharded states are
    split (None: all data-parallel ranks, context-parallel ones included).
    """

    tp: int = 1
    pp: int = 1
    vpp: int = 1
    cp: int = 1
    ep: int = 1
    etp: int = 1
    dp: int = 1
    sharding: Sharding = "none"
    shard_group: int | None = None
    sequence_parallel: bool = False

    @property
    def gpus(self) -> int:
        """Ranks in the job."""
        return self.tp * self.pp * self.cp * self.dp


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """Number formats: of the large products, of the weights the optimizer updates, of the gradients.

    ``master_weights`` "none" or "bf16" means that there is no fp32 copy.
    """

    compute_dtype: Dtype = "bf16"
    master_weights: Literal["fp32", "bf16", "none"] = "fp32"
    grad_dtype: Literal["fp32", "bf16", "fp16"] = "fp32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """LoRA: rank, which matrices, storage format of the frozen base (None: the compute dtype), DoRA's magnitudes."""

    rank: int = 16
    targets: str = "all-linear"
    base_quant: Literal["nf4", "nf4-dq", "gptq-int4", "int8"] | None = None
    dora: bool = False
    trainable_parameters: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """One way to train a model on a cluster.

    ``schedule`` is a pipeline's (:mod:`sizeup.plan.pipelines`). ``cpu_offload_layers`` keep their activations on the
    host. ``mean_length`` is tokens of a sample: packed into full sequences, or padded to them. ``expert_load`` is what
    the busiest expert rank works on, over the mean: the capacity factor, or the imbalance of dropless experts.
    """

    method: Method = "pretrain"
    framework: str = "generic"
    framework_version: str = ""
    sequence_length: int = 2048
    micro_batch: int = 1
    global_batch: int = 1
    layout: Layout = field(default_factory=Layout)
    precision: Precision = field(default_factory=Precision)
    optimizer: str = "adamw"
    recompute: Recompute = "none"
    recompute_layers: int | None = None
    attention: Attention = "flash"
    compile: bool = False
    loss: Loss = "plain"
    adapter: Adapter | None = None
    cpu_offload_layers: int = 0
    offload_optimizer: bool = False
    offload_parameters: bool = False
    cp_comm: str = ""
    async_tp: bool = False
    schedule: str = "1f1b"
    packing: bool = False
    mean_length: int | None = None
    expert_load: float = 1.0
    assumptions: tuple[str, ...] = ()

    @property
    def micro_batches(self) -> int:
        """Micro-batches that one rank runs for each optimizer step."""
        return max(1, self.global_batch // (self.micro_batch * self.layout.dp))

    @property
    def filled(self) -> float:
        """Share of the positions that hold tokens: all where samples are packed or as long as a sequence."""
        if self.packing or self.mean_length is None:
            return 1.0
        return min(1.0, self.mean_length / self.sequence_length)

    @property
    def attended(self) -> int:
        """Tokens that attend to each other: a packed sample, else the sequence."""
        if self.packing and self.mean_length:
            return min(self.mean_length, self.sequence_length)
        return self.sequence_length
