"""Which measured runs an answer is near to: how many like it, and the one most like it."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence

from sizeup.errors import UserError
from sizeup.evidence.cases import shipped_cases
from sizeup.machine import find_gpu
from sizeup.plan.serving import Load, ServingPlan
from sizeup.units import format_seconds, significant

Run = Mapping[str, str]

SPEEDS = ("tpot_ms", "output_tokens_per_second", "ttft_ms", "prefill_tokens_per_second")


@functools.cache
def _card(name: str) -> str:
    try:
        return find_gpu(name).key
    except UserError:
        return name


@functools.cache
def _runs() -> tuple[Run, ...]:
    """Return the measured cases that tell a speed."""
    rows = (case.row for case in shipped_cases("serving"))
    return tuple(row for row in rows if any(row.get(name) for name in SPEEDS))


def _plain(name: str) -> str:
    return name.replace("/", "--").lower()


def nearest_words(name: str, card: str, plan: ServingPlan, load: Load) -> str:
    """Return how many measured runs are like this answer, and the nearest of them, in one sentence.

    Like it: of this model on this card, else of this card with this engine, else of this engine.
    """
    engine = "llama.cpp" if plan.engine == "llamacpp" else plan.engine
    own = [row for row in _runs() if row["engine"] == engine]
    same_card = [row for row in own if _card(row["gpu"]) == card]
    # engines learn from one another: another engine's run of this model on this card is nearer than its own elsewhere
    model = [row for row in _runs() if _plain(row["model"]) == _plain(name) and _card(row["gpu"]) == card]
    for found, words in ((model, "of this model on this card"), (same_card, "of this engine on this card"),
                         (own, "of this engine on other cards")):  # fmt: skip
        if found:
            row = _nearest(found, engine, plan, load)
            other = "" if found is model else row["model"].rpartition("--")[2] + ", "
            return f"{len(found):,} measured runs {words}; nearest: {other}{_told(row)}"
    return "no measured run of this engine"


def _nearest(found: Sequence[Run], engine: str, plan: ServingPlan, load: Load) -> Run:
    asked = {"n_gpus": plan.layout.gpus, "input_tokens": load.input_tokens, "output_tokens": load.output_tokens,
             "concurrency": load.concurrency}  # fmt: skip

    def far(row: Run) -> float:
        distance = sum(abs(math.log(_number(row, key, value) / value)) for key, value in asked.items())
        return distance + (row["engine"] != engine) + (row["weight_format"] != plan.weight_format)

    return min(found, key=far)


def _number(row: Run, key: str, default: float) -> float:
    try:
        return float(row.get(key) or 0) or 10 * default
    except ValueError:
        return 10 * default


def _told(row: Run) -> str:
    lengths = f"{row.get('input_tokens') or '?'} in, {row.get('output_tokens') or '?'} out, "
    who = f"{row['engine']} {row.get('engine_version', '')}".strip()
    where = f"{who}, {row['weight_format']}, {row['n_gpus']} GPUs, {lengths}{row.get('concurrency') or '?'} at once"
    if row.get("tpot_ms"):
        return f"{where}: TPOT {format_seconds(float(row['tpot_ms']) / 1e3)}"
    for key, unit in (("output_tokens_per_second", "tok/s"), ("prefill_tokens_per_second", "prompt tok/s")):
        if row.get(key):
            return f"{where}: {significant(float(row[key]))} {unit}"
    return f"{where}: TTFT {format_seconds(float(row['ttft_ms']) / 1e3)}"
