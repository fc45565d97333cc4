"""The models that run on given hardware, as text and as JSON."""

from __future__ import annotations

from typing import Any

from sizeup.plan.engines import engine as engine_named
from sizeup.render.layout import bad, dim, good, number, offers, remark, strong, table
from sizeup.serving.fitting import Fit, Fits, base_name
from sizeup.units import format_count, format_gib, significant


def fit_lines(fits: Fits, *, top: int) -> list[str]:
    """Return the list, the most capable first, with what was assumed and what to ask next."""
    where = f"{fits.gpus} x {fits.gpu.name}" if fits.gpus > 1 else fits.gpu.name
    title = engine_named(fits.engine).title
    answer = good(f"{len(fits.found)} models run") if fits.found else bad("no model runs")
    lines = [f"{answer}  on {strong(where)}, {format_gib(fits.gpu.memory_bytes * fits.gpus)}, with {title}", ""]
    head = ["model", "parameters", "best format", "per card", "context", "tok/s", "90 %"]
    lines += table([_row(fit) for fit in fits.found[:top]], head=head, align="<><>>>>")
    if len(fits.found) > top:
        lines.append(dim(f"  and {len(fits.found) - top} more: --top {len(fits.found)}"))
    lines += ["", *_remarks(fits)]
    return [*lines, "", *_next(fits)]


def _row(fit: Fit) -> list[str]:
    mark = ("" if fit.record.trust == "verified" else "!") + ("*" if fit.tokens_assumed else "")
    size = format_count(fit.parameters)
    if fit.active_parameters != fit.parameters:
        size += f" ({format_count(fit.active_parameters)})"
    return [
        shown_name(fit) + mark,
        size,
        fit.format,
        number(format_gib(_taken(fit))),
        f"{fit.context:,}",
        significant(fit.tokens_per_second),
        f"{significant(fit.band.low)}-{significant(fit.band.high)}" if fit.band else "-",
    ]


def shown_name(fit: Fit, *, width: int = 22) -> str:
    """Return the model's name, without its maker, words that change no size, and what does not fit in the column."""
    name = base_name(fit.record.short_name) if fit.engine == "llamacpp" else fit.record.short_name
    for word in ("Meta-", "-Instruct", "-hf"):
        name = name.replace(word, "")
    return name if len(name) <= width else name[: width - 2] + ".."


def _taken(fit: Fit) -> float:
    """Return what weights and a cache of the asked context take of the fullest card [bytes]."""
    return fit.memory.part("weights") + fit.cache_bytes


def _remarks(fits: Fits) -> list[str]:
    notes = [
        f"the best format is the nearest to the original that leaves room for {fits.context:,} tokens; per card are "
        "weights and that cache on the fullest one; (active parameters)",
        "speed is of one user with half of the context cached, with its 90 % band",
        "ranked by the loss that Hoffmann et al.'s law gives parameters and training tokens [chinchilla]",
        *fits.assumptions,
    ]
    if any(fit.record.trust != "verified" for fit in fits.found):
        notes.append("models marked ! have published sizes under another program's names")
    notes.append(
        f"{len(fits.too_large)} of {fits.tried} models do not fit in any format; conversions, fine-tunings and "
        "earlier versions of a size are not listed"
    )
    return [line for text in notes for line in remark(text)]


def _next(fits: Fits) -> list[str]:
    count = f"{fits.gpus}x" if fits.gpus > 1 else ""
    asks = [f"sizeup {fits.found[0].record.short_name} --gpu {count}{fits.gpu.key}"] if fits.found else []
    return offers([*asks, f"sizeup fit --gpu {2 * fits.gpus}x{fits.gpu.key}", "sizeup models"])


def fit_dict(fits: Fits) -> dict[str, Any]:
    """Return everything as plain data."""
    return {
        "gpu": fits.gpu.key,
        "gpus": fits.gpus,
        "engine": fits.engine,
        "context": fits.context,
        "models": [_model_dict(fit) for fit in fits.found],
        "too_large": list(fits.too_large),
        "assumptions": list(fits.assumptions),
        "definitions": {
            "tokens_per_second": "one user's decode speed with half of the context cached, with its 90 % band",
            "tokens_per_second_bound": "its upper bound: active weights and cache read once a token",
            "largest_context": "longest single sequence that fits",
            "max_concurrency": "sequences of the context that fit at once",
            "rank": "loss of the scaling law of Hoffmann et al., lower is better",
        },
    }


def _model_dict(fit: Fit) -> dict[str, Any]:
    return {
        "name": fit.record.name,
        "others": list(fit.others),
        "verified": fit.record.trust == "verified",
        "parameters": fit.parameters,
        "active_parameters": fit.active_parameters,
        "format": fit.format,
        "engine": fit.engine,
        "layout": {"tp": fit.layout.tp, "pp": fit.layout.pp},
        "memory": fit.memory.device.to_dict(),
        "largest_context": fit.context,
        "max_concurrency": fit.sequences,
        "tokens_per_second": round(fit.tokens_per_second, 3),
        "tokens_per_second_band": {"low": fit.band.low, "high": fit.band.high, "cases": fit.band.cases}
        if fit.band
        else None,
        "tokens_per_second_bound": round(fit.bound, 3),
        "loss": round(fit.loss, 4),
        "training_tokens_assumed": fit.tokens_assumed,
    }
