"""Model: what the package knows about one LLM, with every size as an Estimate. The core of ``sizeup model``."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sizeup.errors import UserError
from sizeup.estimate import Estimate, leaf, total
from sizeup.llm import cache as caches
from sizeup.llm import parameters as counts
from sizeup.llm.architecture import Architecture
from sizeup.physics import rules, states

if TYPE_CHECKING:
    from sizeup.llm.headers import StoredWeights

STORED_FLOATS = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
LINEAR_USES = frozenset(
    {
        "query", "key", "value", "qkv", "output", "gate", "up", "gate_up", "down",
        "query_down", "query_up", "latent_down", "latent_up", "ssm_in", "ssm_out",
    }
)  # fmt: skip
"""What ``all-linear`` means for LoRA: every matrix of the layers, not the head, the router or the embeddings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where a model's description came from and how far it is to be trusted.

    ``spec`` is what the user typed; ``trust`` is the catalog's mark, "" for the user's own files.
    """

    kind: str
    spec: str = ""
    where: str = ""
    source: str = ""
    trust: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def verified(self) -> bool:
        """Whether the description is a published configuration or the user's own."""
        return self.trust in ("", "verified")


@dataclass(frozen=True, kw_only=True)
class Model:
    """One LLM, described by an architecture, by the headers of its weight files, or by a bare parameter count.

    >>> import sizeup
    >>> llama = sizeup.model("llama-3.1-8b")
    >>> llama.parameters
    8030261248
    >>> llama.weight_bytes("bf16").value
    16060522496
    >>> llama.cache_bytes(tokens=32768).value / 2**30
    4.0
    """

    name: str
    provenance: Provenance
    architecture: Architecture | None = None
    described: bool = False
    stored: StoredWeights | None = None
    bare_parameters: int | None = None

    @functools.cached_property
    def parameters(self) -> int:
        """Exact parameters, tied weights once."""
        if self.described and self.architecture is not None:
            return counts.count_parameters(self.architecture)
        if self.stored is not None:
            return self.stored.parameters
        assert self.bare_parameters is not None
        return self.bare_parameters

    @functools.cached_property
    def active_parameters(self) -> int:
        """Parameters that one token passes through; all of them where only files or a size are known."""
        if self.architecture is None or not self.described:
            return self.parameters
        return counts.count_active_parameters(self.architecture)

    @functools.cached_property
    def parameters_by_part(self) -> Estimate:
        """Parameters as a tree by part."""
        if self.architecture is not None and self.described:
            return counts.parameters(self.architecture)
        if self.stored is not None and self.stored.parameters_by_part:
            parts = [
                leaf(counts.PART_NAMES[part], count, "parameters", formula="counted in the headers")
                for part, count in self.stored.parameters_by_part.items()
            ]
            return total("parameters", parts, unit="parameters", assumptions=self._size_remarks())
        return leaf("parameters", self.parameters, "parameters", assumptions=self._size_remarks())

    @functools.cached_property
    def default_format(self) -> str:
        """The format that the checkpoint is stored in, by its configuration."""
        from sizeup.llm.stored import stored_format_name

        if self.stored is not None:
            return "as stored"
        return stored_format_name(self.architecture) if self.architecture else "fp32"

    @property
    def compute_dtype(self) -> str:
        """The 16- or 32-bit dtype that caches follow unless told otherwise, as ``transformers`` loads the model.

        The configuration's; where it names none, that of its weight files, else float32. A GGUF's cache is 16-bit.
        """
        if self.architecture is None or not self.described:
            return "bf16"
        dtype = self.architecture.dtype
        if self.stored is not None and not self.architecture.dtype_stated:
            sizes = {kind: size for kind, size in self.stored.bytes_by_dtype.items() if kind in STORED_FLOATS}
            dtype = STORED_FLOATS[max(sizes, key=lambda kind: sizes[kind])] if sizes else dtype
        return caches.cache_dtype(dtype) if dtype in caches.CACHE_DTYPE_ALIASES else "bf16"

    def weight_bytes(self, format: str | None = None) -> Estimate:
        """Return the exact bytes of the weights in ``format`` (default: as the checkpoint stores them).

        Raises:
            UserError: unknown format, or a format that cannot be derived from what is known.
        """
        from sizeup.llm import formats
        from sizeup.llm.stored import stored_weight_bytes

        if self.stored is not None and format is None:
            return self.stored.estimate()
        if self.architecture is not None and self.architecture.layers:
            if format is None:
                return stored_weight_bytes(self.architecture)
            return formats.weight_bytes(self.architecture, format)
        return self._bare_weight_bytes(format or "fp32")

    def _bare_weight_bytes(self, format: str) -> Estimate:
        from sizeup.llm.formats import format_named

        bits = format_named(format).bits_per_weight
        size = math.ceil(self.parameters * bits / 8)
        return leaf(
            "weights", size, "bytes", formula="parameters x bits / 8",
            inputs={"parameters": self.parameters, "bits": bits}, sources=("azad2024",),
            assumptions=("only the size is known: every weight is taken to be in this format",),
        )  # fmt: skip

    def cache_bytes(
        self, *, tokens: int, sequences: int = 1, dtype: str | None = None, engine: str = "transformers",
        batched_tokens: int | None = None,
    ) -> Estimate:  # fmt: skip
        """Return the exact cache of ``sequences`` sequences of ``tokens`` tokens [bytes] under the engine's rule.

        ``engine`` is ``transformers``, which keeps what it needs, or one that sets aside pages: ``vllm``, ``sglang``,
        ``llama.cpp``, ``tensorrt-llm``; a version may follow (``vllm==0.10``). ``batched_tokens`` is the most that the
        engine computes at once (default: its own), which counts where windows have pages of their own.

        >>> import sizeup
        >>> gemma = sizeup.model("gemma-3-27b")
        >>> [round(gemma.cache_bytes(tokens=32768, engine=e).value / 2**30, 2) for e in ("transformers", "vllm")]
        [2.91, 3.91]

        Raises:
            UserError: the architecture is unknown, or the engine or dtype is; no tokens or no sequences.
        """
        if tokens < 1 or sequences < 1:
            raise UserError(f"a cache of {sequences} sequences of {tokens} tokens", hint="both are 1 or more")
        layers, kept_in = self._layers("the cache"), self.compute_dtype if dtype is None else dtype
        if engine == "transformers":
            return caches.cache_size(layers, tokens=tokens, sequences=sequences, dtype=kept_in)
        from sizeup.engine_cache import cache_rules, engine_cache_size

        rules = cache_rules(engine, batched_tokens)
        return engine_cache_size(layers, rules=rules, tokens=tokens, sequences=sequences, dtype=kept_in)

    def lora_parameters(self, *, rank: int, targets: frozenset[str] = LINEAR_USES) -> int:
        """Return the trainable parameters of LoRA of ``rank`` on the matrices whose use is in ``targets``."""
        return sum(
            rules.lora_parameters(out_features=t.shape[0], in_features=t.shape[1], rank=rank) * t.copies * count
            for layer, count in self._layers("LoRA").distinct_layers()
            for t in layer.tensors
            if t.kind == "linear" and t.use in targets
        )

    def training_states(self, method: str, *, rank: int = 16) -> Estimate:
        """Return weights, gradients and optimizer states before activations [bytes]: full, lora or qlora."""
        if method == "full":
            return leaf(
                "full fine-tuning states", states.full_state_bytes(self.parameters), "bytes",
                formula="parameters x (2 + 2 + 12)", inputs={"parameters": self.parameters}, sources=("zero",),
                assumptions=("Adam, bf16 weights and gradients, fp32 master weights and moments",),
            )  # fmt: skip
        frozen = self.weight_bytes("nf4-dq" if method == "qlora" else "bf16")
        trainable = self.lora_parameters(rank=rank)
        adapters = leaf(
            "adapter states", states.adapter_state_bytes(trainable), "bytes",
            formula="trainable x (2 + 2 + 12)", inputs={"trainable": trainable, "rank": rank}, sources=("lora", "zero"),
        )  # fmt: skip
        base = leaf("frozen weights", frozen.value, "bytes", formula=frozen.formula, sources=frozen.sources)
        note = f"LoRA of rank {rank} on every linear layer of the blocks"
        return total(f"{method} states", (base, adapters), unit="bytes", assumptions=(note,))

    def _layers(self, what: str) -> Architecture:
        if self.architecture is None or not self.architecture.layers:
            known = "its files are" if self.stored else "a size is"
            raise UserError(
                f"{what} of {self.name} needs its architecture; only {known} known",
                hint="name a catalog model or give its config.json",
            )
        return self.architecture

    @property
    def multi_token_prediction_parameters(self) -> int:
        """Parameters of extra prediction layers in the checkpoint, not part of ``parameters``."""
        return counts.count_multi_token_prediction(self.architecture) if self.architecture else 0

    @property
    def has_layers(self) -> bool:
        """Whether the architecture is known, so that caches and adapters can be computed."""
        return self.architecture is not None and bool(self.architecture.layers)

    def _size_remarks(self) -> tuple[str, ...]:
        if self.stored is not None:
            return ("counted from the headers of the weight files",)
        return ("a bare size: nothing but the parameter count is known",)


def model(spec: str) -> Model:
    """Return the model that ``spec`` names: catalog name, Hub id, config, weight-file header or a size like ``70b``.

    Raises:
        UserError: unknown, unreadable or impossible; the message says which.
    """
    from sizeup.llm.families import build
    from sizeup.llm.load import load_spec

    loaded = load_spec(spec)
    architecture = loaded.stored.architecture if loaded.stored is not None else None
    if loaded.config is not None:
        architecture = build(loaded.config, where=loaded.name)
    if architecture is not None and not architecture.dtype_stated and loaded.trust not in ("", "verified"):
        remark = "its re-keyed configuration lost the dtype; taken as bf16"
        architecture = replace(
            architecture, dtype="bfloat16", dtype_stated=True, assumptions=(*architecture.assumptions, remark)
        )
    return Model(
        name=loaded.name,
        provenance=Provenance(
            kind=loaded.kind,
            spec=spec,
            where=loaded.where,
            source=loaded.source,
            trust=loaded.trust,
            remarks=loaded.remarks,
        ),
        architecture=architecture,
        described=loaded.config is not None,
        stored=loaded.stored,
        bare_parameters=loaded.bare_parameters,
    )


__all__ = ["Model", "Provenance", "model"]
