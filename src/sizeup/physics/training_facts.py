"""Facts of a model under one training recipe, computed once, so that layouts can be columns afterwards.

The recipe (framework, precision, optimizer, recomputation, adapters) decides which tensors live and in which dtype;
the layout only divides them. Everything here is a plain number.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from itertools import accumulate

from sizeup.llm.architecture import ROW_USES, VOCABULARY_USES, Architecture, Layer, Tensor
from sizeup.physics.activations import WEIGHT_ONLY, Shares, backward_bytes, kept_bytes, layer_tensors
from sizeup.plan.case_words import targets_of
from sizeup.plan.frameworks import Framework, framework
from sizeup.plan.optimizers import Optimizer, optimizer
from sizeup.plan.training import TARGETS, Adapter, TrainingPlan

DTYPE_BYTES = {"fp32": 4.0, "fp16": 2.0, "bf16": 2.0, "fp8": 2.0, "mxfp8": 2.0, "nvfp4": 2.0, "none": 2.0}
"""Bytes of a stored number; 8-bit and 4-bit recipes still store 16-bit weights."""

EIGHT_BIT = frozenset({"fp8", "mxfp8", "nvfp4"})

BASE_BYTES = {"nf4": 4.5 / 8, "nf4-dq": 4.127 / 8, "gptq-int4": 4.25 / 8, "int8": 1.0}
"""Bytes per frozen weight with its scales: NF4 one fp32 scale per 64, again quantized in "dq" ([qlora] section 3);
GPTQ one fp16 scale and zero per 128; int8 one scale per row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Weights by what divides them: nothing, tensor parallelism, or expert parallelism."""

    replicated: float = 0
    tensor: float = 0
    expert: float = 0

    def __add__(self, other: Weights) -> Weights:
        return Weights(
            replicated=self.replicated + other.replicated,
            tensor=self.tensor + other.tensor,
            expert=self.expert + other.expert,
        )

    @property
    def total(self) -> float:
        """All weights."""
        return self.replicated + self.tensor + self.expert


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFacts:
    """One layer: its weights, what it keeps, what it keeps when nothing is recomputed, what its backward needs."""

    weights: Weights
    matrices: float
    rows_and_columns: float
    adapter: float
    kept: Shares
    whole: Shares
    backward: Shares
    widest_linear: float
    mlp_linears: Weights


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingFacts:
    """A model under a recipe. ``before[i]`` sums are of the layers before layer i, so a stage is a difference.

    Attributes:
        predictions, last_layer: multi-token-prediction layers that are trained, each like the last layer of the model.
        resident_bytes, master_bytes, state_bytes, gradient_bytes: per trained weight; the master and the states are
            what ZeRO-1 divides.
        frozen_bytes: per weight of a frozen base; 0 when everything is trained.
        logit_peak_bytes, logit_kept_bytes: per logit, at the loss and while layers run backward.
    """

    framework: Framework
    optimizer: Optimizer
    layers: int
    hidden_size: int
    vocabulary: int
    embedding: float
    head: float
    prediction: Weights
    predictions: int
    last_layer: Shares
    tied: bool
    distinct: tuple[LayerFacts, ...]
    replicated_before: tuple[float, ...]
    tensor_before: tuple[float, ...]
    expert_before: tuple[float, ...]
    adapter_before: tuple[float, ...]
    kept_before: tuple[tuple[float, ...], ...]
    offloaded: Shares
    compute_bytes: float
    resident_bytes: float
    master_bytes: float
    state_bytes: float
    gradient_bytes: float
    trains_all: bool
    frozen_bytes: float
    frozen_table_bytes: float
    adapter_bytes: float
    adapter_gradient_bytes: float
    recomputes: bool
    logit_peak_bytes: float
    logit_backward_bytes: float
    logit_kept_bytes: float
    temporary_bytes: float
    step_gradient_bytes: float
    head_bytes: float
    eight_bit_copies: float
    quantized: bool
    merged_copies: float


def training_facts(architecture: Architecture, plan: TrainingPlan) -> TrainingFacts:
    """Return the facts of ``architecture`` under the recipe of ``plan`` (its layout is not looked at).

    Raises:
        UserError: unknown framework or optimizer.
    """
    used, updates = framework(plan.framework), optimizer(plan.optimizer)
    facts = {id(layer): _layer_facts(layer, architecture, plan, used) for layer, _ in architecture.distinct_layers()}
    in_order = [facts[id(layer)] for layer in architecture.layers]
    kept = [_kept_of(f, plan, index) for index, f in enumerate(in_order)]
    # prediction layers share the embedding and the head of the model ([deepseek_v3] section 2.2)
    own = [t for t in architecture.multi_token_prediction if t.use not in VOCABULARY_USES]
    prediction = _weights(tuple(own) if used.trains_prediction else ())
    embedding = float(sum(t.elements for t in architecture.embedding))
    head = float(sum(t.elements for t in architecture.head))
    return TrainingFacts(
        framework=used,
        optimizer=updates,
        layers=len(in_order),
        hidden_size=architecture.hidden_size,
        vocabulary=architecture.vocabulary_size,
        embedding=embedding,
        head=head,
        prediction=prediction,
        predictions=max(1, round(prediction.total / in_order[-1].weights.total)) if prediction.total else 0,
        last_layer=in_order[-1].kept,
        tied=architecture.tied_embeddings,
        distinct=tuple(facts.values()),
        replicated_before=_before([f.weights.replicated for f in in_order]),
        tensor_before=_before([f.weights.tensor for f in in_order]),
        expert_before=_before([f.weights.expert for f in in_order]),
        adapter_before=_before(_adapter_weights(in_order, plan.adapter)),
        kept_before=tuple(_before([shares.values()[k] for shares in kept]) for k in range(len(Shares().values()))),
        offloaded=sum((f.kept for f in in_order[: plan.cpu_offload_layers]), Shares()),
        recomputes=plan.recompute != "none" or bool(plan.recompute_layers),
        trains_all=plan.adapter is None,
        quantized=plan.adapter is not None and plan.adapter.base_quant is not None,
        # DoRA takes the norm of weight + adapter: their sum, and the adapter's product before it
        merged_copies=2.0 if plan.adapter is not None and plan.adapter.dora else 0.0,
        **_recipe_bytes(in_order, plan, _with_caps(used, architecture), updates, embedding + head),
    )


def _before(values: list[float]) -> tuple[float, ...]:
    return (0.0, *accumulate(values))


def _kept_of(facts: LayerFacts, plan: TrainingPlan, index: int) -> Shares:
    """Return what layer ``index`` keeps on the GPU; offloaded layers keep it on the host."""
    if index < plan.cpu_offload_layers:
        return Shares()
    if plan.recompute_layers is None:
        return facts.kept
    return facts.kept if index < plan.recompute_layers else facts.whole


_REPLICATED = frozenset({"router", "query_down", "latent_down"})
"""Matrices that every tensor-parallel rank holds whole."""


def _is_divided(tensor: Tensor) -> bool:
    """Whether tensor parallelism divides it: matrices and tables by a dimension, biases with the outputs."""
    if tensor.kind == "bias":
        return tensor.use not in ROW_USES | VOCABULARY_USES | _REPLICATED | {"norm"}
    return tensor.kind in ("linear", "embedding", "conv") and tensor.use not in _REPLICATED


def _weights(tensors: tuple[Tensor, ...]) -> Weights:
    """Return weights by what divides them.

    Source: [megatron] section 3, [korthikanti2022] section 4.2
    """
    found = Weights()
    for tensor in tensors:
        # prediction layers name their experts by their copies
        if tensor.part == "experts" or (tensor.part == "mtp" and tensor.copies > 1):
            found = found + Weights(expert=tensor.elements)
        elif _is_divided(tensor):
            found = found + Weights(tensor=tensor.elements)
        else:
            found = found + Weights(replicated=tensor.elements)
    return found


def _kept_each(architecture: Architecture, plan: TrainingPlan, used: Framework) -> tuple[dict[str, float], ...]:
    """Return the bytes per element of every tensor kept where nothing is recomputed, and where the plan recomputes."""
    kept_by = functools.partial(
        used.kept,
        attention=plan.attention,
        compiled=bool(plan.compile),
        eight_bit=plan.precision.compute_dtype in EIGHT_BIT,
    )
    whole = _scaled(kept_by(selective=False), plan, used)
    chosen = dict(whole)
    if plan.recompute in ("selective", "per-op"):
        per_op = plan.recompute == "per-op"
        chosen = _scaled(kept_by(selective=not per_op, per_op=per_op), plan, used)
    if architecture.model_type in used.composed_activations:
        for kept in (whole, chosen):
            kept["gate_up"] = kept.get("gate_up", 0) + (used.composed_bytes if kept.get("gate_up") else 0)
    if architecture.model_type in used.fp32_norms:
        full_precision = 4
        for kept in (whole, chosen):
            kept["norm_normalized"] = full_precision if kept.get("norm_normalized") else 0
    return whole, chosen


def kept_tensors(architecture: Architecture, plan: TrainingPlan) -> dict[str, tuple[float, Shares]]:
    """Return what one layer of the most common kind keeps, by tensor: bytes per element, and elements per token.

    Adapters' inputs are not among them. Under full recomputation it is what a layer makes again.

    Raises:
        UserError: unknown framework.
    """
    used = framework(plan.framework)
    layer, _ = max(architecture.distinct_layers(), key=lambda item: item[1])
    whole, chosen = _kept_each(architecture, plan, used)
    each = whole if plan.recompute == "full" else chosen
    tensors = _tensors(layer, architecture, plan, used)
    return {name: (each[name], shares) for name, shares in tensors.items() if each.get(name) and any(shares.values())}


def _layer_facts(layer: Layer, architecture: Architecture, plan: TrainingPlan, used: Framework) -> LayerFacts:
    tensors = _tensors(layer, architecture, plan, used)
    whole, chosen = _kept_each(architecture, plan, used)
    adapters = _adapter_shares(layer, plan, used)
    value_bytes = _compute_bytes(plan)
    full = kept_bytes(tensors, {"block_input": value_bytes})
    everything = kept_bytes(tensors, whole) + adapters
    recomputed = plan.recompute == "full" or plan.recompute_layers is not None
    linears = [t for t in layer.tensors if t.kind == "linear"]
    return LayerFacts(
        weights=_weights(layer.tensors),
        matrices=sum(t.elements for t in linears),
        rows_and_columns=sum(t.copies * sum(t.shape[-2:]) for t in linears),
        adapter=sum(_adapter_of(t, plan.adapter) for t in linears),
        kept=full if recomputed else kept_bytes(tensors, chosen) + adapters,
        whole=everything,
        backward=backward_bytes(tensors, value_bytes=value_bytes, score_bytes=2 * whole.get("scores", 0)),
        widest_linear=max((t.shape[-1] * t.shape[-2] for t in linears), default=0),
        mlp_linears=_weights(tuple(t for t in linears if t.part in ("mlp", "shared_experts", "experts"))),
    )


def _tensors(layer: Layer, architecture: Architecture, plan: TrainingPlan, used: Framework) -> dict[str, Shares]:
    """Return what the framework may keep of ``layer``, in elements per token."""
    tensors = layer_tensors(layer, hidden_size=architecture.hidden_size, expands_kv=used.expands_kv)
    fused = sum(t.shape[0] for t in layer.tensors if t.use == "qkv" and t.kind == "linear")
    if used.views_fused_qkv and fused:
        tensors["value"] = Shares(tensor=fused)
    if used.keeps_gathered_inputs:
        tensors["linear_input"] = Shares(whole=tensors["linear_input"].sequence)
    for name in [name for name in tensors if name.startswith("expert_")]:
        tensors[name] = tensors[name] * plan.expert_load
    return tensors


def _compute_bytes(plan: TrainingPlan) -> float:
    return DTYPE_BYTES[plan.precision.compute_dtype]


def _scaled(bytes_kept: dict[str, float], plan: TrainingPlan, used: Framework) -> dict[str, float]:
    """Drop what frozen weights do not need; fp32 training keeps 4 bytes where a mixed one keeps 2."""
    adapter = plan.adapter
    frozen = adapter is not None and not (adapter.base_quant and used.keeps_inputs_of_quantized)
    kept = {k: v for k, v in bytes_kept.items() if k not in WEIGHT_ONLY} if frozen else bytes_kept
    if plan.precision.compute_dtype == "fp32":
        half = 2
        return {k: 4 if v == half else v for k, v in kept.items()}
    return kept


def _adapter_of(tensor: Tensor, adapter: Adapter | None) -> float:
    """Return the adapter weights of one linear layer: rank x (inputs + outputs), and DoRA's magnitude of each output.

    Source: [lora] section 4.1, [dora] section 4
    """
    if adapter is None or tensor.use not in targets_of(adapter.targets, TARGETS) or tensor.part == "experts":
        return 0.0
    return float(adapter.rank * (tensor.shape[-1] + tensor.shape[-2]) + adapter.dora * tensor.shape[-2])


def _adapter_weights(in_order: list[LayerFacts], adapter: Adapter | None) -> list[float]:
    """Return adapter weights by layer; a stated total is shared out in proportion."""
    own = [f.adapter for f in in_order]
    if adapter is None or adapter.trainable_parameters is None:
        return own
    whole = sum(own)
    return [adapter.trainable_parameters * (f / whole if whole else 1 / len(own)) for f in own]


def _adapter_shares(layer: Layer, plan: TrainingPlan, used: Framework) -> Shares:
    """Return what adapters keep: the input of each (shared by modules that read the same tensor) and its rank outputs.

    An fp32 adapter on a 16-bit base keeps its own fp32 copy of the input, one for each module.
    """
    adapter = plan.adapter
    if adapter is None:
        return Shares()
    targets = targets_of(adapter.targets, TARGETS)
    hit = [t for t in layer.tensors if t.kind == "linear" and t.use in targets and t.part != "experts"]
    copies = used.fp32_adapters and plan.precision.master_weights == "fp32"
    value_bytes = 4 if copies else _compute_bytes(plan)
    inputs = [t.shape[-1] for t in hit]
    if not copies:
        first = {("down" if t.use == "down" else t.part + str(t.use == "output")): t.shape[-1] for t in hit}
        inputs = list(first.values())
    outputs = sum(t.shape[-2] for t in hit if t.use != "qkv") + sum(
        _targeted(t, targets) for t in hit if t.use == "qkv"
    )
    kept = value_bytes * (sum(inputs) + adapter.rank * len(hit)) + used.adapter_mask_bytes * sum(inputs)
    # DoRA's magnitudes multiply the outputs of the frozen product and of the adapter, which both stay
    scaled = 2 * _compute_bytes(plan) * adapter.dora
    return Shares(sequence=kept + (used.adapter_output_bytes + scaled) * outputs)


def _targeted(tensor: Tensor, targets: frozenset[str]) -> float:
    """Return the outputs of a fused query-key-value product that have adapters: all, or queries and values."""
    # the key is one third of the outputs where queries and keys have equally many heads
    return tensor.shape[-2] if "key" in targets else tensor.shape[-2] * 2 / 3


def _head_bytes(used: Framework, plan: TrainingPlan) -> float:
    """Return what the final norm and the head keep for each number of the stream [bytes]."""
    kept = used.kept(attention=plan.attention, compiled=False, eight_bit=False, selective=False)
    return max(kept.get("norm_upcast", 0) + kept.get("norm_normalized", 0), kept.get("norm_input", 0)) + _compute_bytes(
        plan
    )


def _with_caps(used: Framework, architecture: Architecture) -> Framework:
    """Return the framework with what capped logits keep, for a model that caps them."""
    if architecture.model_type not in used.capped_logits:
        return used
    return replace(used, logit_bytes={k: v + used.capped_bytes for k, v in used.logit_bytes.items()})


def _recipe_bytes(
    in_order: list[LayerFacts], plan: TrainingPlan, used: Framework, updates: Optimizer, tables: float
) -> dict[str, float]:
    """Return every bytes-per-weight and bytes-per-logit number of the recipe."""
    precision, value_bytes = plan.precision, _compute_bytes(plan)
    master = "fp32" if precision.master_weights == "fp32" else "bf16"
    mixed = used.storage == "mixed"
    has_copy = mixed and master == "fp32"
    matrices = sum(f.matrices for f in in_order)
    everything = sum(f.weights.total for f in in_order) + tables
    share = matrices / everything
    state = share * updates.bytes_per_parameter(dtype=master, matrix=True)
    state += (1 - share) * updates.bytes_per_parameter(dtype=master, matrix=False)
    if updates.factored:
        # one fp32 number for each row and each column
        state += 4 * sum(f.rows_and_columns for f in in_order) / everything
    trained = 4.0 if master == "fp32" else 2.0
    adapter = plan.adapter
    quant = adapter.base_quant if adapter else None
    plain = plan.loss == "plain"
    logits = used.logit_bytes[plan.loss]
    if plain and plan.layout.tp > 1 and used.parallel_logit_bytes is not None:
        logits = used.parallel_logit_bytes
    low = precision.grad_dtype != "fp32"
    return {
        "compute_bytes": value_bytes,
        "resident_bytes": value_bytes if mixed else trained,
        "master_bytes": 4.0 if has_copy else 0.0,
        "state_bytes": state,
        "gradient_bytes": DTYPE_BYTES[precision.grad_dtype] + (0.0 if low else used.second_gradient_bytes),
        "step_gradient_bytes": used.step_gradient_bytes if low else 0.0,
        "head_bytes": _head_bytes(used, plan),
        "frozen_bytes": 0.0 if adapter is None else (BASE_BYTES[quant] if quant else value_bytes),
        "frozen_table_bytes": 0.0 if adapter is None else value_bytes,
        "adapter_bytes": 0.0 if adapter is None else trained,
        "adapter_gradient_bytes": 0.0 if adapter is None else trained,
        "logit_peak_bytes": logits,
        "logit_backward_bytes": logits if used.logit_backward is None else min(logits, used.logit_backward),
        "logit_kept_bytes": used.logit_kept if plain else 0.0,
        "temporary_bytes": used.temporary_copies * trained,
        "eight_bit_copies": used.eight_bit_copies if plan.precision.compute_dtype in EIGHT_BIT else 0.0,
    }
