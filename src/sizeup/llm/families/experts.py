"""The MLPs of a mixture-of-experts model: routed and shared experts, and the dense layers between them.

Source: transformers 5.23, the sparse blocks of ``modeling_<type>.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

from sizeup.errors import UserError
from sizeup.llm.architecture import Block
from sizeup.llm.blocks import fused_mlp, gated_mlp, mixture, norm, vector
from sizeup.llm.config import Config
from sizeup.llm.families.dense import switched
from sizeup.llm.families.dense_traits import Switch
from sizeup.llm.families.moe_layers import EXPERT_KEYS

TOP_K_KEYS = ("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k", "moe_top_k", "top_k_experts")
SHARED_KEYS = ("n_shared_experts", "num_shared_experts", "moe_num_shared_experts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """How the MLPs of a mixture are laid out.

    Attributes:
        layers: rule of ``moe_layers`` for which layers are mixtures.
        width, dense_width: keys of the width of an expert, and of a dense layer.
        shared: "" none, "count" (number of shared experts x width), "width" (one as wide as a routed one), or the key
            of their width; ``shared_times_count`` multiplies that by their number; ``shared_anyway`` is the key of
            the width that "count" of none falls back to.
        bias: of dense and shared MLPs.
        score_bias: name of a routing bias that is a parameter (elsewhere it is a buffer, which is not counted).
        fused, dense_fused: gate and up are one matrix, in the experts or in dense and shared MLPs.
        empty_shared: none of the shared experts are a module of no width still, whose output bias is a parameter.
        after_norm: name of a norm behind the experts.
        prefix, router, shared_name, names: module names in the checkpoint; ``shared_path`` is for shared experts (of
            one matrix for gate and up) outside of ``prefix``.
    """

    layers: str = "all"
    width: str = "moe_intermediate_size"
    dense_width: str = "intermediate_size"
    shared: str = ""
    shared_times_count: bool = False
    shared_anyway: str = ""
    shared_gate: bool = False
    bias: Switch = False
    router_bias: bool = False
    expert_bias: bool = False
    score_bias: str = ""
    fused: bool = False
    dense_fused: bool = False
    empty_shared: bool = True
    after_norm: str = ""
    prefix: str = "mlp"
    router: str = "gate"
    shared_name: str = "shared_experts"
    shared_path: str = ""
    names: tuple[str, ...] | None = None


def top_k_of(config: Config, experts: int) -> int:
    """Return the routed experts that a token uses; all where the configuration does not say."""
    if isinstance(config.get(*TOP_K_KEYS), list):
        return experts  # listed by layer, see ``moe_places``
    return config.optional_integer(*TOP_K_KEYS, minimum=1) or experts


def remarks(config: Config) -> tuple[str, ...]:
    """Return what had to be assumed about the experts."""
    if config.get(*TOP_K_KEYS) is None:
        return (f'"{TOP_K_KEYS[0]}" is not given; every expert is taken as active',)
    return ()


def expert_count(config: Config) -> int:
    """Return the routed experts of a layer; the classes of two types let ``num_experts`` win."""
    winning = ("num_experts",) if config.model_type in ("deepseek_v32", "glm_moe_dsa") else ()
    return config.integer(*winning, *EXPERT_KEYS)


def shared_width(config: Config, traits: Experts) -> int:
    """Return the width of all shared experts together."""
    if not traits.shared:
        return 0
    count = config.optional_integer(*SHARED_KEYS, default=0) or 0
    if traits.shared == "count":
        if not count and traits.shared_anyway:
            return config.integer(traits.shared_anyway)
        return count * config.integer(traits.width)
    if traits.shared == "width":
        return config.integer(traits.width)
    width = config.optional_integer(traits.shared) or 0
    return width * count if traits.shared_times_count else width


def mixture_block(config: Config, traits: Experts, *, top_k: int | None = None) -> Block:
    """Return the router and the experts of one layer; ``top_k`` where the layer has its own.

    Raises:
        UserError: a token would use more experts than there are.
    """
    hidden, experts = config.integer("hidden_size"), expert_count(config)
    shared, bias = shared_width(config, traits), switched(config, traits.bias)
    top_k = top_k or top_k_of(config, experts)
    if top_k > experts:
        raise UserError(f'{config.where}: "{TOP_K_KEYS[0]}" = {top_k}, but a layer has {experts} experts')
    block = mixture(
        hidden=hidden,
        experts=experts,
        top_k=top_k,
        intermediate=config.integer(traits.width),
        shared_intermediate=0 if traits.dense_fused else shared,
        shared_gate=traits.shared_gate,
        shared_bias=bias,
        router_bias=traits.router_bias,
        expert_bias=traits.expert_bias,
        fused=traits.fused,
        prefix=traits.prefix,
        router=traits.router,
        shared=traits.shared_name,
        names=traits.names,
    )
    if traits.dense_fused and shared:
        name = traits.shared_path or f"{traits.prefix}.{traits.shared_name}"
        block += fused_mlp(hidden=hidden, intermediate=shared, bias=bias, prefix=name, part="shared_experts")
    extras = vector(f"{traits.prefix}.{traits.score_bias}", experts, part="router") if traits.score_bias else ()
    extras += norm(f"{traits.prefix}.{traits.after_norm}", hidden) if traits.after_norm else ()
    if traits.empty_shared and bias and not shared and traits.shared == "count" and config.get(*SHARED_KEYS) == 0:
        name = f"{traits.prefix}.{traits.shared_name}.down_proj"
        extras += vector(name, hidden, part="shared_experts", kind="bias", use="down")
    return block + Block(extras)


def dense_block(config: Config, traits: Experts) -> Block:
    """Return the MLP of a layer that is not a mixture."""
    make = fused_mlp if traits.dense_fused else gated_mlp
    return make(
        hidden=config.integer("hidden_size"),
        intermediate=config.optional_integer(traits.dense_width, minimum=1) or config.integer("intermediate_size"),
        bias=switched(config, traits.bias),
        prefix=traits.prefix if traits.prefix != "block_sparse_moe" else "mlp",
    )
