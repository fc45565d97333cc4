"""The back-of-the-envelope rules applied to any model, with what its exact sizes say beside each."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sizeup.envelope import DOCUMENT_GPU, FP32_BYTES, document, training_bytes_per_parameter
from sizeup.errors import UserError
from sizeup.machine import Gpu, find_gpu
from sizeup.physics import rules
from sizeup.sizing import Model
from sizeup.units import GB, format_count, format_gib


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEnvelope:
    """The document's rules applied to one model, with first-principles remarks beside each.

    GPU counts take the label's GB, as the document does, and what the driver gives (``_driver``); work is 6ND with
    all parameters, and with those that are active for a token (``active_``). An encoder-decoder of text is counted as
    GPT-3's Table D.1 counts T5: 3ND, since a token passes through half of it ([gpt3]).
    """

    name: str
    spec: str
    parameters: int
    gpu: Gpu
    store_bytes: int
    train_bytes: int
    inference_gpus: int
    training_gpus: int
    lora_gpus: int
    inference_gpus_driver: int
    training_gpus_driver: int
    lora_gpus_driver: int
    tokens: float
    tokens_note: str
    flops_per_parameter_per_token: int
    flops: float
    petaflop_s_days: float
    gpu_days: float
    active_parameters: int
    active_petaflop_s_days: float
    active_gpu_days: float
    gpus: int | None
    utilization: float
    dtype: str
    peak_flops_per_second: float
    exact_store: str
    exact_train: str
    exact_lora: str
    remarks: tuple[str, ...]

    @property
    def rule(self) -> str:
        """Name of the rule that the work follows: 6ND, or 3ND."""
        return f"{self.flops_per_parameter_per_token}ND"

    @property
    def pretraining_days(self) -> float | None:
        """Days on ``gpus`` GPUs, where a count was given."""
        return self.gpu_days / self.gpus if self.gpus else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        data = {key: value for key, value in asdict(self).items() if key != "gpu"}
        return {**data, "gpu": self.gpu.key, "pretraining_days": self.pretraining_days}


def envelope_of(
    model: Model,
    *,
    gpu: str = DOCUMENT_GPU,
    gpus: int | None = None,
    tokens: float | None = None,
    utilization: float = 1.0,
) -> ModelEnvelope:
    """Return the document's rules applied to ``model`` on ``gpu``.

    ``tokens`` defaults to Chinchilla's 20 per parameter, ``utilization`` to the document's full efficiency.

    Raises:
        UserError: unknown GPU, or one without a 16-bit peak.
    """
    card = find_gpu(gpu)
    dtype = next((d for d in ("bf16", "fp16", "fp32") if card.peak_flops_per_second.get(d)), None)
    if dtype is None:
        raise UserError(f"the peak FLOP/s of {card.name} are not known", hint="name another GPU: sizeup gpus")
    if tokens is not None and tokens <= 0:
        raise UserError("training takes at least one token")
    if not 0 < utilization <= 1:
        raise UserError("the share of the peak (--mfu) must be above 0 and at most 1")
    peak = card.peak_flops_per_second[dtype]
    n = model.parameters
    train = int(training_bytes_per_parameter().value)
    work_tokens = tokens if tokens is not None else rules.chinchilla_tokens(n)
    return ModelEnvelope(
        name=model.name,
        spec=model.provenance.spec or model.name,
        parameters=n,
        gpu=card,
        store_bytes=FP32_BYTES * n,
        train_bytes=train * n,
        **_gpu_counts(n, train, card),
        tokens=work_tokens,
        tokens_note="given" if tokens is not None else "Chinchilla: 20 per parameter",
        **_work(model, work_tokens, peak * utilization),
        gpus=gpus,
        utilization=utilization,
        dtype=dtype,
        peak_flops_per_second=peak,
        **_first_principles(model),
    )


def _gpu_counts(parameters: int, train: int, card: Gpu) -> dict[str, Any]:
    """Return the cards that hold the weights, the training and LoRA, by the label's GB and by what a program gets."""
    widths = {"inference_gpus": FP32_BYTES, "training_gpus": train, "lora_gpus": 2 * FP32_BYTES}
    memories = {"": card.label_gb * GB, "_driver": card.memory_bytes}
    return {
        f"{key}{suffix}": rules.gpus_for_bytes(width * parameters, gpu_bytes=memory)
        for suffix, memory in memories.items()
        for key, width in widths.items()
    }


def _work(model: Model, tokens: float, flops_per_second: float) -> dict[str, Any]:
    """Return the work of pre-training by 6ND and the GPU-days that it takes, with all and with active parameters."""
    each = _flops_per_parameter(model)
    found: dict[str, Any] = {"active_parameters": model.active_parameters, "flops_per_parameter_per_token": each}
    for prefix, count in (("", model.parameters), ("active_", model.active_parameters)):
        flops = rules.training_flops(parameters=count, tokens=tokens, flops_per_parameter_per_token=each)
        found[f"{prefix}flops"] = flops
        found[f"{prefix}petaflop_s_days"] = rules.petaflop_s_days(flops)
        found[f"{prefix}gpu_days"] = rules.gpu_days(flops, peak_flops_per_second=flops_per_second, utilization=1)
    del found["active_flops"]
    return found


def _flops_per_parameter(model: Model) -> int:
    """Return FLOP per parameter and token of training: 6, or 3 where a token passes through half of the model."""
    towers = model.architecture.towers if model.architecture else ()
    return 3 if any(tower.of_text for tower in towers) else 6


def _first_principles(model: Model) -> dict[str, Any]:
    """Return what the exact sizes say beside each rule."""
    store = model.weight_bytes()
    full = model.training_states("full")
    remarks = [
        "GPU counts must also divide heads, layers and machines",
        *document()["remarks"]["training"],
    ]
    exact_lora = "needs the architecture"
    if model.has_layers and model.stored is None:
        lora_states = model.training_states("lora")
        trainable = model.lora_parameters(rank=16)
        exact_lora = f"{format_gib(lora_states.value)}, {format_count(trainable)} trainable at rank 16"
    return {
        "exact_store": f"{format_gib(store.value)} as stored ({model.default_format})",
        "exact_train": f"{format_gib(full.value)} of states, 16 B each",
        "exact_lora": exact_lora,
        "remarks": tuple(remarks),
    }
