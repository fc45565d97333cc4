"""ServingPlan and Load: how a model is served and what is asked of it. Immutable, already valid.

Field names and words are those of the measured cases, so that a case, a scenario file and the flags of the command line
are the same thing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from sizeup.errors import UserError

LoadKind = Literal["burst", "closed", "open"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingLayout:
    """How GPUs divide the work: ``gpus = tp x pp x dp``.

    ``dp`` > 1 is data-parallel attention for a mixture whose experts span the group (``ep`` or ``moe_tp`` beyond tp),
    else whole replicas. Experts are divided over ``ep`` ranks, each of them over ``moe_tp``.
    """

    tp: int = 1
    pp: int = 1
    ep: int = 1
    dp: int = 1
    moe_tp: int | None = None

    def __post_init__(self) -> None:
        for name in ("tp", "pp", "ep", "dp"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, not {getattr(self, name)}")

    @property
    def gpus(self) -> int:
        """GPUs of the whole deployment."""
        return self.tp * self.pp * self.dp

    @property
    def expert_ranks(self) -> int:
        """Ranks over which the routed experts of a layer are divided, by expert or inside each."""
        return self.ep * self.expert_tensor_ranks

    @property
    def expert_tensor_ranks(self) -> int:
        """Ranks that share one expert."""
        if self.moe_tp is not None:
            return self.moe_tp
        return max(1, self.tp // self.ep) if self.ep > 1 else self.tp

    @property
    def attention_dp(self) -> bool:
        """Whether data parallelism is of attention only: the experts span more ranks than one replica has."""
        return self.dp > 1 and self.expert_ranks > self.tp


DraftMethod = Literal["mtp", "ngram", "model"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafting:
    """Speculative decoding: ``tokens`` are drafted for every sequence and verified in one step.

    Drafts come from the model's own prediction module (mtp), from text seen before (ngram) or from a smaller ``model``.
    ``acceptance`` is the chance that one drafted token is kept, given that those before it were.
    """

    method: DraftMethod = "mtp"
    tokens: int = 1
    acceptance: float = 0.7
    model: str = ""

    def __post_init__(self) -> None:
        if self.tokens < 1 or not 0 <= self.acceptance <= 1:
            raise UserError("a draft has at least 1 token, and an acceptance from 0 to 1")

    @property
    def tokens_per_step(self) -> float:
        """Tokens kept in a step on average: 1 + a + a^2 + ... for every drafted one.

        Source: [leviathan2023] equation 1
        """
        return sum(self.acceptance**place for place in range(self.tokens + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingPlan:
    """One way to serve a model on a machine.

    None means the engine's default for this version and card. ``weight_format`` "" is the checkpoint's own.
    ``offload_layers`` and ``offload_experts`` are layers (whole, or only their experts) in host memory (llama.cpp),
    which is read at ``host_bytes_per_second`` and reached over ``host_link_bytes_per_second`` per card.
    """

    engine: str = "vllm"
    engine_version: str = ""
    weight_format: str = ""
    kv_dtype: str = ""
    layout: ServingLayout = field(default_factory=ServingLayout)
    max_model_len: int | None = None
    max_batched_tokens: int | None = None
    max_num_seqs: int | None = None
    gpu_memory_utilization: float | None = None
    eager: bool = False
    flash_attention: bool | None = None
    offload_layers: int = 0
    offload_experts: int = 0
    host_bytes_per_second: float | None = None
    host_link_bytes_per_second: float | None = None
    drafting: Drafting | None = None
    assumptions: tuple[str, ...] = ()


class Arrival(NamedTuple):
    """One request of a trace: when it arrives [s], and its tokens."""

    seconds: float
    input: float
    output: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is asked: lengths of one request, and how requests come.

    burst: ``concurrency`` requests together, once. closed: ``concurrency`` always in flight. open: ``rate`` a second.
    ``prefix_cached`` is the share of every prompt that is already in the cache. ``arrivals`` are an open load one by
    one, in order; rate and lengths are then their means.
    """

    input_tokens: int
    output_tokens: int
    kind: LoadKind = "closed"
    concurrency: int = 1
    rate: float | None = None
    prefix_cached: float = 0.0
    arrivals: tuple[Arrival, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if self.input_tokens < 1 or self.output_tokens < 1 or self.concurrency < 1:
            raise UserError("input, output and concurrency are at least 1")
        if (self.kind == "open") != (self.rate is not None):
            raise UserError("an open load has a rate of requests per second, and no other load has one")
        if self.rate is not None and self.rate <= 0:
            raise UserError("the rate is above 0 requests per second")

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence at its end."""
        if self.arrivals:
            return round(max(one.input + one.output for one in self.arrivals))
        return self.input_tokens + self.output_tokens
