"""Seconds of the operators of one micro-batch on one rank, the whole depth of the model, at measured efficiencies."""

from __future__ import annotations

from sizeup.physics.kernels import matmul_seconds, occupancy, prefill_attention_seconds, roofline_seconds
from sizeup.physics.numeric import Column, ceil_div, maximum, minimum, where
from sizeup.physics.training_inputs import Hardware, StepPlan
from sizeup.physics.training_work import Product, StepWork


def _product_seconds(m: Column, n: Column, k: Column, hardware: Hardware, *, eight_bit: bool, written: float) -> Column:
    width = 1.0 if eight_bit else 2.0
    return matmul_seconds(
        m=m, n=n, k=k, bandwidth=hardware.bandwidth, weight_bytes_per_value=width, input_bytes_per_value=width,
        output_bytes_per_value=written, peak=hardware.peak if eight_bit else hardware.wide_peak,
        curve=hardware.gemm if eight_bit else hardware.wide_gemm,
    )  # fmt: skip


def product_times(product: Product, tokens: Column, plan: StepPlan, hardware: Hardware) -> tuple[Column, Column]:
    """Return the forward and backward seconds of one linear layer on one tensor-parallel rank.

    Backward is the gradient of the input and, unless frozen, the gradient of the weights, added to what is there.
    """
    n = product.out_features / plan.tp if product.split == "column" else product.out_features
    k = product.in_features / plan.tp if product.split == "row" else product.in_features
    eight_bit = plan.eight_bit and product.split != "none"
    forward = _product_seconds(tokens, n, k, hardware, eight_bit=eight_bit, written=2)
    backward = _product_seconds(tokens, k, n, hardware, eight_bit=eight_bit, written=2)
    if plan.frozen:
        return forward, backward
    # the sum of gradients is read and written
    return forward, backward + _product_seconds(
        n, k, tokens, hardware, eight_bit=eight_bit, written=2 * plan.gradient_bytes
    )


def attention_times(work: StepWork, plan: StepPlan, hardware: Hardware) -> tuple[Column, Column]:
    """Return the forward and backward seconds of all mixers on one rank.

    Fused attention runs two products forward and five backward ([flashattention2] section 3.2).
    """
    forward: Column = 0.0
    backward: Column = 0.0
    attended = plan.sequence if plan.attended is None else plan.attended
    for mixing in work.mixings:
        mixer, count = mixing.mixer, mixing.count
        if mixer.kind == "convolution" or not mixer.heads:
            continue
        # recurrent layers are trained in chunks: attention inside a chunk, states between chunks
        chunk = 256
        window = chunk if mixer.kind == "recurrent" else mixer.window
        if mixer.top_k_tokens is not None:
            window = mixer.top_k_tokens * mixer.stride
        heads = maximum(1, mixer.heads / plan.tp)
        kv_heads = maximum(1, (mixer.kv_heads or mixer.heads) / plan.tp)
        seconds = prefill_attention_seconds(
            batch=plan.micro_batch * plan.sequence / attended, sequence=attended, heads=heads, kv_heads=kv_heads,
            key_dim=mixer.key_dim, value_dim=mixer.value_dim, peak=hardware.wide_peak, bandwidth=hardware.bandwidth,
            curve=hardware.attention, window=window, causal=mixer.causal,
        )  # fmt: skip
        # a ring over context ranks runs one kernel for each half of each neighbour's keys
        pieces = count * 2 * (plan.cp - 1) * hardware.attention.floor_seconds
        forward = forward + count * seconds / plan.cp + pieces
        backward = backward + count * seconds / plan.cp * 5 / 2 + pieces
    return forward, backward


ALIGNED = 8
"""16-bit products run on tensor cores where their dimensions are multiples of this ([nvidia_matmul])."""


def eager_attention_times(work: StepWork, plan: StepPlan, hardware: Hardware) -> tuple[Column, Column]:
    """Return the seconds of attention that writes its scores: two full products forward, four backward, and softmax.

    Softmax and dropout read and write each 16-bit score twice with one byte of mask: 9 bytes forward, 11 backward.
    """
    forward: Column = 0.0
    backward: Column = 0.0
    forward_bytes, backward_bytes = 9, 11
    for mixing in work.mixings:
        mixer, count = mixing.mixer, mixing.count
        if mixer.kind != "attention":
            continue
        rows = plan.micro_batch * plan.sequence * maximum(1, mixer.heads / plan.tp) / plan.cp
        products = _score_seconds(rows, mixer.key_dim, mixer.value_dim, plan, hardware)
        scores = rows * plan.sequence
        move = hardware.bandwidth * hardware.streaming.bandwidth
        forward = forward + count * (products + forward_bytes * scores / move)
        backward = backward + count * (2 * products + backward_bytes * scores / move)
    return forward, backward


def _score_seconds(rows: Column, key_dim: int, value_dim: int, plan: StepPlan, hardware: Hardware) -> Column:
    """Return the seconds of the two products with scores; odd head dimensions run without tensor cores.

    Source: [nvidia_matmul] section 2.2
    """
    if key_dim % ALIGNED or value_dim % ALIGNED:
        return 2 * rows * plan.sequence * (key_dim + value_dim) / hardware.plain_rate
    score = _product_seconds(rows, plan.sequence, key_dim, hardware, eight_bit=False, written=2)
    return score + _product_seconds(rows, value_dim, plan.sequence, hardware, eight_bit=False, written=2)


def grouped_seconds(rows: Column, n: Column, k: Column, groups: Column, plan: StepPlan, hardware: Hardware) -> Column:
    """Return the time of ``groups`` products of (rows x k) by (k x n) in one kernel, tiles of all groups side by side.

    Each group rounds its rows up to whole tiles of 128.
    """
    tile = 128
    width = 1.0 if plan.eight_bit else 2.0
    curve = hardware.gemm if plan.eight_bit else hardware.wide_gemm
    padded = ceil_div(rows, tile) * tile
    busy = occupancy(groups * padded / tile * ceil_div(n, tile), k, fill=curve.fill) * k / (k + curve.depth)
    moved = groups * (n * k * width + rows * k * width + 2 * rows * n)
    return roofline_seconds(
        flops=2 * groups * padded * n * k, moved_bytes=moved, bandwidth=hardware.bandwidth, curve=curve, busy=busy,
        peak=hardware.peak if plan.eight_bit else hardware.wide_peak,
    )  # fmt: skip


def expert_times(work: StepWork, tokens: Column, plan: StepPlan, hardware: Hardware) -> tuple[Column, Column]:
    """Return the forward and backward seconds of the routed experts on one rank, routing being even.

    The ``tp`` ranks of a group split their tokens; ``ep x etp`` ranks pool theirs and share the experts.
    """
    forward: Column = 0.0
    for group in work.experts:
        local = group.experts / plan.ep
        rows = tokens * plan.ep * plan.etp / plan.tp * group.top_k / group.experts * plan.expert_load
        inner = group.intermediate / plan.etp
        wide = grouped_seconds(rows, (group.matrices - 1) * inner, group.hidden, local, plan, hardware)
        down = grouped_seconds(rows, group.hidden, inner, local, plan, hardware)
        forward = forward + group.count * (wide + down)
    return forward, (1 if plan.frozen else 2) * forward


def cast_bytes(work: StepWork, tokens: Column, plan: StepPlan) -> tuple[Column, Column]:
    """Return the bytes that casting to 8 bits moves: 2 read, 1 written straight and 1 transposed for each value."""
    if not plan.eight_bit:
        return 0.0, 0.0
    inputs: Column = 0.0
    outputs: Column = 0.0
    weights: Column = 0.0
    for p in work.products:
        n = p.out_features / plan.tp if p.split == "column" else p.out_features
        k = p.in_features / plan.tp if p.split == "row" else p.in_features
        inputs, outputs, weights = inputs + p.count * k, outputs + p.count * n, weights + p.count * n * k
    for e in work.experts:
        each = (e.hidden + e.intermediate / plan.etp) * e.top_k * e.count
        inputs, outputs = inputs + each, outputs + each
        weights = weights + e.matrices * e.hidden * e.intermediate / plan.etp * e.experts / plan.ep * e.count
    bytes_per_value = 4
    # weights are cast once for all micro-batches of a step
    forward = bytes_per_value * (tokens * inputs + weights / plan.micro_batches)
    return forward, bytes_per_value * tokens * outputs


def adapter_seconds(work: StepWork, tokens: Column, plan: StepPlan, hardware: Hardware) -> Column:
    """Return the seconds of all adapters forward: in x rank, then rank x out."""
    seconds: Column = 0.0
    for p in work.products:
        down = _product_seconds(
            tokens, plan.adapter_rank, p.in_features / plan.tp, hardware, eight_bit=False, written=2
        )
        up = _product_seconds(tokens, p.out_features / plan.tp, plan.adapter_rank, hardware, eight_bit=False, written=4)
        seconds = seconds + p.count * (down + up)
    return seconds


def head_times(work: StepWork, tokens: Column, plan: StepPlan, hardware: Hardware) -> tuple[Column, Column]:
    """Return the seconds of the head's three products, and of the loss over its logits.

    A plain loss moves about 24 bytes per logit: cast to fp32 (2 + 4), log-softmax (4 + 4), its gradient (4 + 4) and
    the cast back (4 + 2, less what is fused); a fused one reads and writes the 16-bit logits twice.
    """
    n = work.vocabulary / plan.tp
    forward = _product_seconds(tokens, n, work.hidden, hardware, eight_bit=False, written=2)
    backward = _product_seconds(tokens, work.hidden, n, hardware, eight_bit=False, written=2)
    if not plan.frozen:
        backward = backward + _product_seconds(n, work.hidden, tokens, hardware, eight_bit=False, written=8)
    plain, fused = 24, 8
    moved = tokens * n * (fused if plan.fused_loss else plain)
    move = hardware.bandwidth * hardware.streaming.bandwidth
    return work.heads * (forward + backward), work.heads * moved / move


def rank_parameters(work: StepWork, plan: StepPlan) -> tuple[Column, Column]:
    """Return the dense and the expert parameters of one rank, with its share of embedding and head."""
    ends = work.vocabulary_parameters / plan.tp / minimum(plan.pp, 2)
    return work.dense_parameters / plan.tp / plan.pp + ends, work.expert_parameters / plan.ep / plan.etp / plan.pp


def optimizer_seconds(work: StepWork, plan: StepPlan, move: float) -> Column:
    """Return the seconds of the optimizer step: every state read and written once."""
    dense, expert = rank_parameters(work, plan)
    expert_shards = where(plan.shards > 1, maximum(1, plan.shards * plan.tp / (plan.ep * plan.etp)), 1)
    return plan.optimizer_bytes * plan.trained_share * (dense / plan.shards + expert / expert_shards) / move
