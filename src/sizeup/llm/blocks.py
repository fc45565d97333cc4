"""Building blocks that families put together: linear layers, norms, attention, latent attention, MLPs, experts.

Every function returns a :class:`Block` (or a tuple of tensors) with exact shapes. ``bias`` adds one number per
output feature. Names are module paths inside the layer as the checkpoint spells them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sizeup.errors import UserError
from sizeup.llm.architecture import Block, Cache, Kind, Mixer, Part, Tensor, TokenCache, Use


def linear(
    name: str,
    *,
    use: Use,
    part: Part,
    out: int,
    into: int,
    bias: bool = False,
    copies: int = 1,
    active: int | None = None,
) -> tuple[Tensor, ...]:
    """Return a linear layer of ``into`` inputs and ``out`` outputs, with its bias where it has one."""
    weight = Tensor(name=name, use=use, part=part, kind="linear", shape=(out, into), copies=copies, active=active)
    if not bias:
        return (weight,)
    return (weight, Tensor(name=name, use=use, part=part, kind="bias", shape=(out,), copies=copies, active=active))


def norm(name: str, size: int, *, bias: bool = False, part: Part = "norms", copies: int = 1) -> tuple[Tensor, ...]:
    """Return a normalisation's scale, and its shift where it has one (LayerNorm)."""
    scale = Tensor(name=name, use="norm", part=part, kind="norm", shape=(size,), copies=copies)
    if not bias:
        return (scale,)
    return (scale, Tensor(name=name, use="norm", part=part, kind="bias", shape=(size,), copies=copies))


def table(
    name: str, rows: int, columns: int, *, use: Use = "embedding", part: Part = "embedding"
) -> tuple[Tensor, ...]:
    """Return a lookup table: token or position embeddings."""
    return (Tensor(name=name, use=use, part=part, kind="embedding", shape=(rows, columns)),)


def vector(
    name: str, *shape: int, part: Part, kind: Kind = "vector", copies: int = 1, use: Use = "other"
) -> tuple[Tensor, ...]:
    """Return a parameter that is neither a matrix product nor a norm (decays, gates, sinks, convolutions)."""
    return (Tensor(name=name, use=use, part=part, kind=kind, shape=shape, copies=copies),)


def head(hidden: int, vocabulary: int, *, tied: bool, bias: bool = False, name: str = "lm_head") -> tuple[Tensor, ...]:
    """Return the language-model head; a tied head owns nothing but a possible bias."""
    whole = linear(name, use="head", part="head", out=vocabulary, into=hidden, bias=bias)
    return tuple(t for t in whole if t.kind == "bias") if tied else whole


def norms(*names: str, size: int, bias: bool = False) -> Block:
    """Return several norms of one size."""
    return Block(tuple(t for name in names for t in norm(name, size, bias=bias)))


def check_divides(what: str, whole: int, by: int) -> None:
    """Refuse a layout whose heads or groups do not divide."""
    if by <= 0 or whole % by:
        raise UserError(f"{what}: {by} does not divide {whole}")


def attention(
    *,
    hidden: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    value_dim: int | None = None,
    bias: bool = False,
    output_bias: bool | None = None,
    qk_norm: str | None = None,
    qk_norm_bias: bool = False,
    window: int | None = None,
    chunk: bool = False,
    cache: bool = True,
    gated: bool = False,
    prefix: str = "self_attn",
    names: tuple[str, str, str, str] = ("q_proj", "k_proj", "v_proj", "o_proj"),
    norm_names: tuple[str, str] = ("q_norm", "k_norm"),
) -> Block:
    """Return grouped-query attention with separate query, key, value and output projections.

    ``bias`` is for query, key and value; ``output_bias`` defaults to the same. ``qk_norm`` is ``"head"`` (one scale
    per head dimension) or ``"hidden"`` (one per projected feature). ``gated`` doubles the query projection with an
    output gate (Qwen3-Next). ``cache`` False is for layers that read another layer's cache.
    """
    value_dim = value_dim or head_dim
    output_bias = bias if output_bias is None else output_bias
    q, k, v, o = (f"{prefix}.{name}" for name in names)
    q_out = heads * head_dim
    tensors = (
        *linear(q, use="query", part="attention", out=q_out * (2 if gated else 1), into=hidden, bias=bias),
        *linear(k, use="key", part="attention", out=kv_heads * head_dim, into=hidden, bias=bias),
        *linear(v, use="value", part="attention", out=kv_heads * value_dim, into=hidden, bias=bias),
        *linear(o, use="output", part="attention", out=hidden, into=heads * value_dim, bias=output_bias),
    )
    if qk_norm:
        per_head = qk_norm == "head"
        q_size, k_size = (head_dim, head_dim) if per_head else (q_out, kv_heads * head_dim)
        tensors += norm(f"{prefix}.{norm_names[0]}", q_size, bias=qk_norm_bias)
        tensors += norm(f"{prefix}.{norm_names[1]}", k_size, bias=qk_norm_bias)
    return Block(tensors, *token_mixing(heads, kv_heads, head_dim, value_dim, window=window, chunk=chunk, cache=cache))


def fused_attention(
    *,
    hidden: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    bias: bool = False,
    output_bias: bool | None = None,
    window: int | None = None,
    prefix: str = "attn",
    names: tuple[str, str] = ("qkv_proj", "o_proj"),
) -> Block:
    """Return grouped-query attention whose query, key and value are one projection."""
    output_bias = bias if output_bias is None else output_bias
    qkv, output = (f"{prefix}.{name}" for name in names)
    tensors = (
        *linear(qkv, use="qkv", part="attention", out=(heads + 2 * kv_heads) * head_dim, into=hidden, bias=bias),
        *linear(output, use="output", part="attention", out=hidden, into=heads * head_dim, bias=output_bias),
    )
    return Block(tensors, *token_mixing(heads, kv_heads, head_dim, head_dim, window=window))


def token_mixing(
    heads: int,
    kv_heads: int,
    key_dim: int,
    value_dim: int,
    *,
    window: int | None = None,
    chunk: bool = False,
    cache: bool = True,
) -> tuple[tuple[Mixer, ...], tuple[Cache, ...]]:
    """Return the mixer and the key-value cache of ordinary attention."""
    mixer = Mixer(kind="attention", heads=heads, kv_heads=kv_heads, key_dim=key_dim, value_dim=value_dim, window=window)
    kept = TokenCache(heads=kv_heads, key_dim=key_dim, value_dim=value_dim, window=window, chunk=chunk)
    return (mixer,), ((kept,) if cache else ())


def latent_attention(
    *,
    hidden: int,
    heads: int,
    q_rank: int | None,
    kv_rank: int,
    nope_dim: int,
    rope_dim: int,
    value_dim: int,
    bias: bool = False,
    window: int | None = None,
    top_k_tokens: int | None = None,
    prefix: str = "self_attn",
) -> Block:
    """Return multi-head latent attention (DeepSeek-V2, arXiv 2405.04434): one cached latent per token."""
    key_dim = nope_dim + rope_dim
    tensors: tuple[Tensor, ...] = ()
    if q_rank:
        tensors += linear(f"{prefix}.q_a_proj", use="query_down", part="attention", out=q_rank, into=hidden, bias=bias)
        tensors += norm(f"{prefix}.q_a_layernorm", q_rank)
        tensors += linear(f"{prefix}.q_b_proj", use="query_up", part="attention", out=heads * key_dim, into=q_rank)
    else:
        tensors += linear(f"{prefix}.q_proj", use="query", part="attention", out=heads * key_dim, into=hidden)
    tensors += (
        *linear(
            f"{prefix}.kv_a_proj_with_mqa",
            use="latent_down",
            part="attention",
            out=kv_rank + rope_dim,
            into=hidden,
            bias=bias,
        ),
        *norm(f"{prefix}.kv_a_layernorm", kv_rank),
        *linear(
            f"{prefix}.kv_b_proj", use="latent_up", part="attention", out=heads * (nope_dim + value_dim), into=kv_rank
        ),
        *linear(f"{prefix}.o_proj", use="output", part="attention", out=hidden, into=heads * value_dim, bias=bias),
    )
    mixer = Mixer(
        kind="attention", heads=heads, kv_heads=heads, key_dim=key_dim, value_dim=value_dim, window=window,
        latent_dim=kv_rank + rope_dim, top_k_tokens=top_k_tokens,
    )  # fmt: skip
    kept = TokenCache(name="latent", heads=1, key_dim=kv_rank, value_dim=rope_dim, window=window)
    return Block(tensors, (mixer,), (kept,))


def gated_mlp(
    *,
    hidden: int,
    intermediate: int,
    bias: bool = False,
    prefix: str = "mlp",
    part: Part = "mlp",
    copies: int = 1,
    active: int | None = None,
    names: tuple[str, str, str] = ("gate_proj", "up_proj", "down_proj"),
) -> Block:
    """Return a SwiGLU-style MLP: gate and up projections multiplied, then down."""
    gate, up, down = (f"{prefix}.{name}" for name in names)
    many = {"part": part, "bias": bias, "copies": copies, "active": active}
    return Block(
        (
            *linear(gate, use="gate", out=intermediate, into=hidden, **many),  # type: ignore[arg-type]
            *linear(up, use="up", out=intermediate, into=hidden, **many),  # type: ignore[arg-type]
            *linear(down, use="down", out=hidden, into=intermediate, **many),  # type: ignore[arg-type]
        )
    )


def fused_mlp(
    *,
    hidden: int,
    intermediate: int,
    bias: bool = False,
    prefix: str = "mlp",
    part: Part = "mlp",
    copies: int = 1,
    active: int | None = None,
    names: tuple[str, str] = ("gate_up_proj", "down_proj"),
) -> Block:
    """Return a SwiGLU-style MLP whose gate and up projections are one matrix."""
    gate_up, down = (f"{prefix}.{name}" for name in names)
    many = {"part": part, "bias": bias, "copies": copies, "active": active}
    return Block(
        (
            *linear(gate_up, use="gate_up", out=2 * intermediate, into=hidden, **many),  # type: ignore[arg-type]
            *linear(down, use="down", out=hidden, into=intermediate, **many),  # type: ignore[arg-type]
        )
    )


def plain_mlp(
    *,
    hidden: int,
    intermediate: int,
    bias: bool = False,
    prefix: str = "mlp",
    part: Part = "mlp",
    copies: int = 1,
    active: int | None = None,
    names: tuple[str, str] = ("up_proj", "down_proj"),
) -> Block:
    """Return a two-matrix MLP without a gate."""
    up, down = (f"{prefix}.{name}" for name in names)
    many = {"part": part, "bias": bias, "copies": copies, "active": active}
    return Block(
        (
            *linear(up, use="up", out=intermediate, into=hidden, **many),  # type: ignore[arg-type]
            *linear(down, use="down", out=hidden, into=intermediate, **many),  # type: ignore[arg-type]
        )
    )


def mixture(
    *,
    hidden: int,
    experts: int,
    top_k: int,
    intermediate: int,
    shared_intermediate: int = 0,
    shared_gate: bool = False,
    shared_bias: bool = False,
    router_bias: bool = False,
    expert_bias: bool = False,
    gated: bool = True,
    fused: bool = False,
    prefix: str = "mlp",
    router: str = "gate",
    shared: str = "shared_experts",
    names: tuple[str, ...] | None = None,
) -> Block:
    """Return a mixture of experts: router, routed experts (``top_k`` of them active), optional shared expert.

    ``shared_intermediate`` is the total width of the shared experts; ``shared_gate`` adds Qwen's one-row gate.
    Experts are ``gated``, with gate and up as one matrix where ``fused``; ``names`` are the expert's matrices.
    """
    if not 1 <= top_k <= experts:
        raise UserError(f"a token cannot use {top_k} of {experts} experts")
    many: dict[str, Any] = {"hidden": hidden, "intermediate": intermediate, "prefix": f"{prefix}.experts"}
    many |= {"part": "experts", "copies": experts, "active": top_k, "bias": expert_bias}
    many |= {"names": names} if names else {}
    make: Callable[..., Block] = (fused_mlp if fused else gated_mlp) if gated else plain_mlp
    block = Block(linear(f"{prefix}.{router}", use="router", part="router", out=experts, into=hidden, bias=router_bias))
    block += make(**many)
    if shared_intermediate:
        wide = {"hidden": hidden, "intermediate": shared_intermediate, "bias": shared_bias}
        block += make(**wide, prefix=f"{prefix}.{shared}", part="shared_experts")
    if shared_gate:
        block += Block(linear(f"{prefix}.shared_expert_gate", use="router", part="shared_experts", out=1, into=hidden))
    return block
