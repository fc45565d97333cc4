"""Which layers of a model are mixtures of experts: as listed, or by the rule of the configuration class.

Source: ``__post_init__`` of the configuration classes and the decoder layers of transformers 5.23.
"""

from __future__ import annotations

from collections.abc import Callable

from sizeup.errors import UserError
from sizeup.llm.config import Config

EXPERT_KEYS = ("n_routed_experts", "num_experts", "num_local_experts", "moe_num_experts")
"""The number of routed experts, under every name that configurations use."""

MLP_KINDS = {"dense": False, "sparse": True, "moe": True, "hash_moe": True}
"""Values of ``mlp_layer_types`` and whether they are mixtures."""


def sparse_layers(config: Config, rule: str, layers: int) -> list[bool]:
    """Return for each layer whether it is a mixture of experts.

    ``rule``: "all"; "listed" (``mlp_layer_types``, else after the first dense layers); "after_dense"; "if_any" (that,
    if there are experts); "stepped" (Qwen); "late_stepped" (Flint); "interleaved" (Llama 4); "ranged" (ERNIE);
    "enumerated" (Step).
    """
    sparse = RULES[rule](config, layers)
    return [sparse(index) for index in range(layers)]


Sparse = Callable[[int], bool]


def _all(config: Config, layers: int) -> Sparse:
    return lambda index: True


def _listed(config: Config, layers: int) -> Sparse:
    listed = listed_kinds(config, layers)
    fallback = _after_dense(config, layers)
    return (lambda index: listed[index]) if listed is not None else fallback


def listed_kinds(config: Config, layers: int) -> list[bool] | None:
    """Return ``mlp_layer_types`` as mixtures or not, or None where the configuration has none.

    Raises:
        UserError: a list of the wrong length, or a kind that is not known.
    """
    kinds = config.sequence("mlp_layer_types")
    if kinds is None:
        return None
    unknown = [kind for kind in kinds if kind not in MLP_KINDS]
    if len(kinds) != layers or unknown:
        what = f"names {unknown[0]!r}" if unknown else f"names {len(kinds)} layers, the model has {layers}"
        raise UserError(f'{config.where}: "mlp_layer_types" {what}')
    return [MLP_KINDS[kind] for kind in kinds]


def _after_dense(config: Config, layers: int) -> Sparse:
    """The first layers are dense; a frequency thins out the mixtures after them, or a list names them."""
    first = config.optional_integer("first_k_dense_replace", "num_dense_layers", default=0) or 0
    frequency = config.get("moe_layer_freq")
    if isinstance(frequency, list):
        if len(frequency) < layers:
            raise UserError(f'{config.where}: "moe_layer_freq" has {len(frequency)} entries for {layers} layers')
        return lambda index: index >= first and bool(frequency[index])
    step = config.optional_integer("moe_layer_freq", default=1, minimum=1) or 1
    return lambda index: index >= first and index % step == 0


def _if_any(config: Config, layers: int) -> Sparse:
    """DeepSeek's first code: a model without routed experts is dense."""
    after_dense = _after_dense(config, layers)
    return after_dense if config.optional_integer(*EXPERT_KEYS) else lambda index: False


def _stepped(config: Config, layers: int) -> Sparse:
    """Qwen: every ``decoder_sparse_step``-th layer, except ``mlp_only_layers``."""
    dense = config.sequence("mlp_only_layers") or []
    step = config.integer("decoder_sparse_step", default=1)
    experts = config.optional_integer(*EXPERT_KEYS) or 0
    return lambda index: experts > 0 and index not in dense and (index + 1) % step == 0


def _late_stepped(config: Config, layers: int) -> Sparse:
    """Flint: as Qwen, but its first two layers are dense unless ``mlp_only_layers`` is given."""
    named = config.sequence("mlp_only_layers")
    stepped = _stepped(config, layers)
    return lambda index: stepped(index) and (named is not None or index not in (0, 1))


def _interleaved(config: Config, layers: int) -> Sparse:
    """Llama 4: ``moe_layers``, or every ``interleave_moe_layer_step``-th."""
    step = config.integer("interleave_moe_layer_step", default=1, minimum=0)
    listed = config.sequence("moe_layers")
    if listed is not None:
        return lambda index: index in listed
    return lambda index: step > 0 and (index + 1) % step == 0


def _ranged(config: Config, layers: int) -> Sparse:
    """ERNIE: from a first to a last layer, every ``moe_layer_interval``-th."""
    first = config.optional_integer("moe_layer_start_index") or 0
    last = config.optional_integer("moe_layer_end_index", minimum=-1)
    end = layers - 1 if last in (None, -1) else last
    step = config.integer("moe_layer_interval", default=1)
    return lambda index: (index + 1) % step == 0 and first <= index <= (end or 0)


def _enumerated(config: Config, layers: int) -> Sparse:
    """Step: ``mlp_layer_types``, or ``moe_layers_enum`` ("4,5,6"), or all but the first three layers."""
    kinds = config.sequence("mlp_layer_types")
    named = config.get("moe_layers_enum")
    first = config.optional_integer("first_k_dense_replace", default=3) or 0
    if kinds is not None:
        return lambda index: MLP_KINDS.get(str(kinds[index]), False)
    if named is None:
        return lambda index: index >= first
    items = named.split(",") if isinstance(named, str) else named
    chosen = {int(item) for item in items if str(item).strip()}
    return lambda index: index in chosen


RULES: dict[str, Callable[[Config, int], Sparse]] = {
    "all": _all,
    "listed": _listed,
    "after_dense": _after_dense,
    "if_any": _if_any,
    "stepped": _stepped,
    "late_stepped": _late_stepped,
    "interleaved": _interleaved,
    "ranged": _ranged,
    "enumerated": _enumerated,
}
