"""The jobs of the page: which flags each takes and how it is answered, by the functions that the command line calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from sizeup.errors import UserError
from sizeup.render.layout import plain
from sizeup.scenario import Kind
from sizeup.web.view import View

if TYPE_CHECKING:
    from sizeup.render.charts import Chart

Values = Mapping[str, Any]
Pictures: TypeAlias = "Callable[[Any, str, int], Sequence[Chart]]"

MODEL_KINDS: Mapping[str, Kind] = {
    "model": "text", "gpu": "text", "format": "text", "context": "tokens", "sequences": "count", "cache_dtype": "text",
}  # fmt: skip
ENVELOPE_KINDS: Mapping[str, Kind] = {
    "model": "text", "gpu": "text", "gpus": "count", "tokens": "amount", "mfu": "share",
}  # fmt: skip
LOCAL = ("trace",)
"""Flags that name files of the machine that answers: the command line's alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """An answered question: the object that the command prints as JSON, its text, and what the page shows."""

    answer: Any
    data: Any
    text: str
    view: View


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job; ``kinds`` are its flags, ``scenario`` says whether the command reads them from a file.

    ``pictures`` are drawn of an answer in a theme, so many pixels wide; ``more_pictures`` take several answers and
    come later.
    """

    name: str
    title: str
    question: str
    kinds: Mapping[str, Kind]
    solve: Callable[[Values], Outcome]
    pictures: Pictures
    more_pictures: Pictures | None = None
    scenario: bool = False


def _text(lines: list[str]) -> str:
    return plain("\n".join(lines))


def _model(values: Values) -> Outcome:
    from sizeup.card import size_card
    from sizeup.machine import parse_machine
    from sizeup.render.card_json import card_dict
    from sizeup.render.card_text import card_lines
    from sizeup.sizing import model
    from sizeup.web.size_view import size_view

    wanted: dict[str, Any] = {key: values.get(key) for key in ("format", "context", "cache_dtype")}
    cluster = parse_machine(values["gpu"]) if values.get("gpu") else None
    card = size_card(model(needed(values, "model")), sequences=values.get("sequences", 1), cluster=cluster, **wanted)
    data = [card_dict(values["model"], card)]
    return Outcome(answer=card, data=data, text=_text(card_lines(card)), view=size_view(card))


def _train(values: Values) -> Outcome:
    from sizeup.render.train_json import answer_dict
    from sizeup.render.train_text import answer_lines
    from sizeup.training.scenario import answer_of
    from sizeup.web.train_view import train_view

    answer = answer_of(values)
    text = _text(answer_lines(answer, values))
    return Outcome(answer=answer, data=answer_dict(answer), text=text, view=train_view(answer))


def _serve(values: Values) -> Outcome:
    from sizeup.render.serve_json import answer_dict
    from sizeup.render.serve_text import answer_lines
    from sizeup.serving.scenario import answer_of
    from sizeup.web.serve_view import serve_view

    answer = answer_of(values)
    text = _text(answer_lines(answer, values))
    return Outcome(answer=answer, data=answer_dict(answer), text=text, view=serve_view(answer))


def _envelope(values: Values) -> Outcome:
    from sizeup.envelope import DOCUMENT_GPU
    from sizeup.envelope_model import envelope_of
    from sizeup.render.envelope_text import model_lines
    from sizeup.sizing import model
    from sizeup.web.envelope_view import envelope_view

    found = envelope_of(
        model(needed(values, "model")), gpu=values.get("gpu", DOCUMENT_GPU), gpus=values.get("gpus"),
        tokens=values.get("tokens"), utilization=values.get("mfu", 1.0),
    )  # fmt: skip
    return Outcome(answer=found, data=found.to_dict(), text=_text(model_lines(found)), view=envelope_view(found))


def _model_pictures(card: Any, theme: str, width: int) -> Sequence[Chart]:
    from sizeup.render.charts import model_charts

    return model_charts(card, theme=theme, width=width)


def _train_pictures(answer: Any, theme: str, width: int) -> Sequence[Chart]:
    from sizeup.render.charts import train_charts

    return train_charts(answer, theme=theme, width=width)


def _scaling_pictures(answer: Any, theme: str, width: int) -> Sequence[Chart]:
    from sizeup.render.charts import train_charts
    from sizeup.training.sweeps import gpu_offers

    if not answer.totals:
        return ()
    every = train_charts(answer, offers=gpu_offers(answer), theme=theme, width=width)
    return [chart for chart in every if chart.name.endswith("-against-gpus")]


def _serve_pictures(answer: Any, theme: str, width: int) -> Sequence[Chart]:
    from sizeup.render.charts import serve_charts

    return serve_charts(answer, theme=theme, width=width)


def _envelope_pictures(found: Any, theme: str, width: int) -> Sequence[Chart]:
    from sizeup.card import size_card
    from sizeup.render.charts import envelope_charts
    from sizeup.sizing import model

    return envelope_charts(found, size_card(model(found.spec)), theme=theme, width=width)


def needed(values: Values, key: str) -> str:
    """Return the flag, or say that it is missing.

    Raises:
        UserError: it is missing.
    """
    if not values.get(key):
        raise UserError(f"{key} is missing", hint="pick a model, paste a config.json or type a size like 70b")
    return str(values[key])


def jobs() -> dict[str, Job]:
    """Return every job by its name, which is the command's."""
    from sizeup.serving.flags import KINDS as SERVING
    from sizeup.training.flags import KINDS as TRAINING

    serving = {key: kind for key, kind in SERVING.items() if key not in LOCAL}
    made = (
        Job(name="model", title="Size", question="How big is it, and what holds it?", kinds=MODEL_KINDS,
            solve=_model, pictures=_model_pictures),
        Job(name="train", title="Train", question="Does training fit, how long, how much?", kinds=TRAINING,
            solve=_train, pictures=_train_pictures, more_pictures=_scaling_pictures, scenario=True),
        Job(name="serve", title="Serve", question="How many users, how fast, at what price?", kinds=serving,
            solve=_serve, pictures=_serve_pictures, scenario=True),
        Job(name="envelope", title="Envelope", question="What do the quick rules say?", kinds=ENVELOPE_KINDS,
            solve=_envelope, pictures=_envelope_pictures),
    )  # fmt: skip
    return {job.name: job for job in made}
