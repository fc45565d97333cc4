"""The card of a model as text: 80 columns, the verdict first, what to ask next last."""

from __future__ import annotations

from sizeup.card import ENVELOPE_STORE_BYTES, ENVELOPE_TRAIN_BYTES, Card, Placement, Verdict
from sizeup.catalog.lookup import TRUST
from sizeup.holding import USABLE_SHARE, gpus_used
from sizeup.llm.architecture import Architecture, StateCache, TokenCache
from sizeup.llm.cache import growth_per_token
from sizeup.llm.formats import IN_ANOTHER_FILE
from sizeup.machine import Instance
from sizeup.physics import states
from sizeup.render.layout import (
    UNVERIFIED,
    WIDTH,
    bad,
    bar,
    dim,
    good,
    number,
    offers,
    remark,
    strong,
    table,
    visible,
    wrap,
)
from sizeup.sizing import Model
from sizeup.units import format_count, format_gib

LONGER_CONTEXT = 32768
"""What is offered next: a context of 32k, or all that the model has."""


def card_lines(card: Card) -> list[str]:
    """Return the lines of the card."""
    lines = _title(card.model)
    lines += _parts(card.model)
    lines += ["", *(_verdicts(card) if card.cluster else _placements(card))]
    if card.model.has_layers:
        lines += ["", *_cache(card)]
    if not card.cluster:
        lines += ["", *_states(card), *_envelope(card.model)]
    lines += _remarks(card)
    lines += ["", *_next(card)]
    return lines


def _title(model: Model) -> list[str]:
    exact = f"{model.parameters:,} parameters"
    active = f", {format_count(model.active_parameters)} active" if model.active_parameters != model.parameters else ""
    lines = [f"{strong(model.name)}   {number(exact)}{active}"]
    if visible(lines[0]) > WIDTH:
        lines = [strong(model.name), f"  {number(exact)}{active}"]
    if model.architecture and model.has_layers:
        lines += wrap(describe(model.architecture))
    if not model.provenance.verified:
        what = TRUST.get(model.provenance.trust, model.provenance.trust)
        lines += remark(f"configuration not verified: {what}", mark="! ")
    return lines


def describe(architecture: Architecture) -> str:
    """Return the architecture in one line: layers by kind, heads, experts, width, vocabulary, context."""
    kinds: dict[str, int] = {}
    for layer in architecture.layers:
        kinds[layer.kind] = kinds.get(layer.kind, 0) + 1
    layers = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in kinds.items())
    pieces = [f"{architecture.model_type}: {len(architecture.layers)} layers ({layers})"]
    if len(kinds) == 1 and "full_attention" in kinds:
        pieces = [f"{architecture.model_type}: {len(architecture.layers)} layers"]
    mixers = [m for layer, _ in architecture.distinct_layers() for m in layer.mixers if m.kind == "attention"]
    if mixers:
        first = mixers[0]
        latent = f"latent of {first.latent_dim}" if first.latent_dim else f"{first.kv_heads} KV heads"
        pieces.append(f"{first.heads} heads over {latent}")
    experts = [t for layer, _ in architecture.distinct_layers() for t in layer.tensors if t.part == "experts"]
    if experts:
        pieces.append(f"{experts[0].copies} experts, {experts[0].active} active")
    pieces.append(f"hidden {architecture.hidden_size:,}, vocabulary {architecture.vocabulary_size:,}")
    if architecture.max_positions:
        pieces.append(f"context {architecture.max_positions:,}")
    return ", ".join(pieces)


def _parts(model: Model) -> list[str]:
    tree = model.parameters_by_part
    if not tree.parts:
        return []
    rows = [
        [part.name, f"{part.value:,}", f"{part.value / tree.value:6.1%}", dim(bar(part.value / tree.value))]
        for part in sorted(tree.parts, key=lambda part: -part.value)
    ]
    return ["", *table(rows, align="<>><")]


def _placements(card: Card) -> list[str]:
    cached = card.placements[0].cache is not None
    head = ["stored as", "weights", *([_cache_head(card)] if cached else []), "one GPU", "H100", "cheapest per hour"]
    align = "<>><><" if cached else "<><><"
    for width in (18, 12, 8):
        lines = table([_placement(p, cached, width) for p in card.placements], head=head, align=align)
        if max(visible(line) for line in lines) <= WIDTH:
            break
    return lines


def _placement(placement: Placement, cached: bool, width: int) -> list[str]:
    gpu = placement.smallest_gpu
    return [
        placement.format,
        number(format_gib(placement.weights.value)),
        *([format_gib(placement.cache.value) if placement.cache else ""] if cached else []),
        short(gpu.name, width=width) if gpu else dim("none"),
        str(placement.common_gpus or dim("-")),
        _instance(placement.instance),
    ]


def short(name: str, *, width: int = 18) -> str:
    """Return a card's name without what tells it from no other of its size.

    >>> short("RTX PRO 6000 Blackwell Server")
    'RTX PRO 6000'
    """
    while len(name) > width and " " in name:
        name = name.rpartition(" ")[0]
    return name


def _instance(instance: Instance | None) -> str:
    if instance is None or instance.usd_per_hour is None:
        return dim("none priced")
    mark = UNVERIFIED if instance.unverified else ""
    return f"{instance.cloud} {instance.name.removeprefix('Standard_')}{mark} ${instance.usd_per_hour:,.2f}"


def _verdicts(card: Card) -> list[str]:
    assert card.cluster is not None
    first = card.verdicts[0]
    gpu = card.cluster.gpu
    answer = good("FITS") if first.fits else bad("DOES NOT FIT")
    need = int(first.weights.value) + int(first.cache.value if first.cache else 0)
    used = gpus_used(card.model, card.cluster)
    whole = format_gib(card.cluster.node.memory_bytes * used)
    many = f"{used} of {card.cluster.gpus}" if used < card.cluster.gpus else str(used)
    lines = [
        f"{answer}  {first.format} on {many} x {gpu.name}",
        f"  {number(format_gib(need))} of weights and cache; usable {format_gib(first.budget_bytes)}, "
        f"{USABLE_SHARE:.0%} of {whole}",
    ]
    head = ["stored as", "weights", _cache_head(card), "free", "", "max context", "sequences"]
    lines += ["", *table([_verdict(v) for v in card.verdicts], head=head, align="<>>><>>")]
    if card.changes:
        lines += ["", "  to make it fit, cheapest first:"]
        lines += [line for change in card.changes for line in wrap(f"- {change}", indent=4, hang=2)]
    return lines


def _verdict(verdict: Verdict) -> list[str]:
    free = format_gib(verdict.free_bytes) if verdict.fits else bad(f"-{format_gib(-verdict.free_bytes)}")
    return [
        verdict.format,
        number(format_gib(verdict.weights.value)),
        format_gib(verdict.cache.value) if verdict.cache else dim("unknown"),
        free,
        good("fits") if verdict.fits else bad("no"),
        f"{verdict.max_context:,}" if verdict.max_context else dim("-"),
        f"{verdict.max_sequences:,}" if verdict.max_sequences else dim("-"),
    ]


def _tokens(count: int) -> str:
    return f"{count // 1024}k" if count % 1024 == 0 else str(count)


def _cache_head(card: Card) -> str:
    many = f" x {card.sequences:,}" if card.sequences > 1 else ""
    return f"+ {_tokens(card.context)}{many}" if many else f"+ cache {_tokens(card.context)}"


def _cache(card: Card) -> list[str]:
    architecture, model = card.model.architecture, card.model
    assert architecture is not None
    caches = [(c, n) for layer, n in architecture.distinct_layers() for c in layer.caches]
    if not caches:
        return ["  cache   none: this model keeps nothing between tokens"]
    pieces = []
    growth = growth_per_token(architecture, dtype=card.cache_dtype)
    if growth:
        pieces.append(f"{number(format_gib(growth))} per token and sequence ({card.cache_dtype})")
    windows = sum(n for c, n in caches if isinstance(c, TokenCache) and c.window)
    if windows:
        pieces.append(f"{windows} layers stop at their window")
    state = sum(c.elements * n for c, n in caches if isinstance(c, StateCache))
    if state:
        pieces.append(f"{format_count(state)} numbers of state per sequence")
    if architecture.max_positions:
        full = model.cache_bytes(tokens=architecture.max_positions, dtype=card.cache_dtype, engine=card.engine)
        pieces.append(f"{format_gib(full.value)} at the full context of {architecture.max_positions:,}")
    return wrap("cache   " + "; ".join(pieces), hang=8)


def _states(card: Card) -> list[str]:
    labels = {"full fine-tuning states": "full", "lora states": "LoRA r16", "qlora states": "QLoRA r16 (NF4)"}
    pieces = [f"{labels.get(e.name, e.name)} {number(format_gib(e.value))}" for e in card.states]
    width = states.ADAM_MIXED_PRECISION_BYTES
    text = f"to fine-tune, before activations (Adam, {width} B per trained parameter):  {', '.join(pieces)}"
    return wrap(text, hang=8)


def _envelope(model: Model) -> list[str]:
    store, train = ENVELOPE_STORE_BYTES * model.parameters, ENVELOPE_TRAIN_BYTES * model.parameters
    text = (
        f"the envelope says {ENVELOPE_STORE_BYTES} B per parameter to store: {format_gib(store)}; "
        f"{ENVELOPE_TRAIN_BYTES} B to train: {format_gib(train)}"
    )
    why = "it stores fp32 and guesses 8 B of activations per parameter; what is above follows the model itself"
    return [*wrap(text, hang=8), *remark(why, indent=4)]


def _remarks(card: Card) -> list[str]:
    lines = [line for text in card_remarks(card) for line in remark(text)]
    return ["", *lines] if lines else []


def card_remarks(card: Card) -> list[str]:
    """Return what the card rests on: how it was read, what was assumed, what is not verified."""
    model = card.model
    noted = (*model.provenance.remarks, *model.parameters_by_part.assumptions, *card_assumptions(card), *card.left_out)
    found = list(dict.fromkeys(noted))
    if model.described and model.architecture and not model.architecture.dtype_stated and model.stored is None:
        found.append("the configuration names no dtype: float32, as transformers loads it")
    prices = sorted({p.instance.date for p in card.placements if p.instance})
    if prices:
        found.append(f"on-demand prices of {', '.join(prices)}; see sizeup instances")
    if card.placements or card.cluster:
        found.append(
            f"fits means weights + cache within {USABLE_SHARE:.0%} of the card (vLLM's default share); "
            "engines take more or less: sizeup serve"
        )
    return found + _machine_remarks(card)


def _machine_remarks(card: Card) -> list[str]:
    """Return what the hardware's part of the answer rests on: how names were read, what is unverified."""
    if card.cluster is None:
        doubtful = any(p.instance and p.instance.unverified for p in card.placements)
        return (
            [f"{UNVERIFIED} marks an instance whose cards or memory rest on no source that was read"]
            if doubtful
            else []
        )
    found = list(card.cluster.notes)
    if card.cluster.gpu.is_unverified("memory_bytes"):
        found.append(f"the memory of {card.cluster.gpu.name} is unverified")
    instance = card.cluster.node.instance
    if instance and instance.unverified:
        found.append(f"of {instance.name}, unverified: {', '.join(instance.unverified)}")
    return found + (_spread(card) if card.cluster.gpus > 1 else [])


def _spread(card: Card) -> list[str]:
    """Return how several GPUs share the model, and where an engine would keep the cache more than once."""
    assert card.cluster is not None
    found = ["several GPUs are taken as evenly loaded, weights and cache alike"]
    used = gpus_used(card.model, card.cluster)
    if used < card.cluster.gpus:
        found.append(
            f"{card.cluster.gpus} GPUs divide neither the heads nor the layers of this model, nor both; {used} do"
        )
    architecture = card.model.architecture
    if architecture is None:
        return found
    heads = [c.heads for layer, _ in architecture.distinct_layers() for c in layer.caches if isinstance(c, TokenCache)]
    if heads and min(heads) < card.cluster.gpus:
        kept = "1 head (a latent)" if min(heads) == 1 else f"{min(heads)} KV heads"
        found.append(
            f"tensor parallelism cannot divide a cache of {kept} further: it repeats it, unless requests are split"
        )
    return found


def card_assumptions(card: Card) -> list[str]:
    """Return what was assumed along the way, once each."""
    # where only the parameter count is known, the second row says what the others assume
    several: tuple[Placement | Verdict, ...] = (*card.placements, *card.verdicts)
    rows = several[: 1 if card.model.has_layers else 2]
    estimates = [e for row in rows for e in (row.weights, row.cache) if e is not None]
    found = [text for estimate in estimates for part in estimate.walk() for text in part.assumptions]
    return [*found, *(IN_ANOTHER_FILE for row in several if IN_ANOTHER_FILE in row.weights.assumptions)]


def _next(card: Card) -> list[str]:
    model, name = card.model, card.model.provenance.spec or card.model.name
    name = f"'{name}'" if " " in name else name
    longer = _longer_context(card)
    if card.cluster:
        count = f"{card.cluster.gpus}x" if card.cluster.gpus > 1 else ""
        ask = [f"--gpu {count}{card.cluster.gpu.key}{longer}", "--why"] if longer else ["--why"]
    else:
        ask = ["--gpu rtx-4090", *([longer.strip()] if longer else []), "--why"]
    more = [] if card.cluster or not model.parameters else [f"sizeup envelope {name}"]
    engine = f" --engine {card.engine}" if card.engine != "transformers" else ""
    return offers([f"sizeup {name} {words}{engine}" for words in ask] + more)


def _longer_context(card: Card) -> str:
    """Return the option for a longer context than the card's, or "" where there is none."""
    limit = card.model.architecture.max_positions if card.model.architecture else None
    longer = min(LONGER_CONTEXT, limit or LONGER_CONTEXT)
    return f" --context {_tokens(longer)}" if card.model.has_layers and longer > card.context else ""
