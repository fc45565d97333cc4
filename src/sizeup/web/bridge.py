"""The page's questions answered: plain data in, plain data out, the same on this machine and in the browser."""

from __future__ import annotations

import hashlib
import json
import os
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sizeup.errors import UserError
from sizeup.llm.content import LONGEST_HEAD_BYTES, HeadTooShortError, load_content
from sizeup.llm.load import Reach, within
from sizeup.llm.loaded import LoadedModel
from sizeup.scenario import checked
from sizeup.web.commands import command_line, markdown, python_call, scenario_file
from sizeup.web.html import tag
from sizeup.web.jobs import Job, Outcome, jobs
from sizeup.web.markup import Page, apply_button
from sizeup.web.why import why_html

if TYPE_CHECKING:
    from sizeup.render.charts import Chart

MOST_HELD, MOST_ANSWERS = 32, 16
LONGEST_NAME = 120
ON_THE_PAGE = ("memory", "parameters")
"""Pictures that the page shows in its own way, with numbers to press."""
Reply = dict[str, Any]


class Bridge:
    """Answers requests; keeps the files that were dropped on the page and the latest answers.

    ``hub`` says whether Hub ids may be looked up: the local server does as the command line does, a browser cannot.
    """

    def __init__(self, *, hub: bool = False) -> None:
        self.hub = hub
        self.held: OrderedDict[str, LoadedModel] = OrderedDict()
        self.answers: OrderedDict[str, tuple[Outcome, Page]] = OrderedDict()

    def answer(self, request: Mapping[str, Any]) -> Reply:
        """Return the reply to one request.

        ``ask`` is "answer", "why" (with ``number``), "charts" or "more-charts" (with ``theme`` and ``width``).
        ``job`` and ``flags`` are the command and its flags, as text or numbers. A reply has ``ok``; if it is false,
        ``error``, ``hint`` and ``html`` that says both.
        """
        try:
            return self._answer(request)
        except UserError as error:
            return error_reply(error)
        except Exception as error:
            if os.environ.get("SIZEUP_TRACEBACK"):
                raise
            return error_reply(UserError(
                f"{type(error).__name__}: {str(error)[:200]}", hint="this is a defect of sizeup; please report it"
            ))  # fmt: skip

    def hold(self, name: str, head: bytes, file_bytes: int) -> Reply:
        """Keep what a file's first bytes describe; the reply's ``model`` names it in later requests.

        ``more`` instead of ``model`` says that the header is longer than ``head``.
        """
        name = "".join(c for c in name if c.isprintable() and c not in "/\\")[-LONGEST_NAME:] or "file"
        try:
            if not 0 <= len(head) <= file_bytes or len(head) > LONGEST_HEAD_BYTES:
                raise UserError(f"{name}: {len(head):,} bytes of {file_bytes:,} are no head of a file")
            loaded = load_content(name, head, file_bytes=file_bytes)
        except HeadTooShortError:
            return {"ok": True, "more": True}
        except UserError as error:
            return error_reply(error)
        digest = hashlib.sha256(head + str(file_bytes).encode()).hexdigest()[:16]
        key = f"{name}#{digest}"
        self.held[key] = loaded
        while len(self.held) > MOST_HELD:
            self.held.popitem(last=False)
        return {"ok": True, "model": key}

    def _answer(self, request: Mapping[str, Any]) -> Reply:
        ask = request.get("ask", "answer")
        job = _job(request.get("job"))
        values = _values(job, request.get("flags"))
        outcome, page = self._outcome(job, values)
        if ask == "why":
            return {"ok": True, "html": _why(page, request.get("number"))}
        if ask in ("charts", "more-charts"):
            return {"ok": True, "charts": self._charts(job, outcome, request)}
        if ask != "answer":
            raise UserError(f'the page cannot ask "{str(ask)[:40]}"')
        return _reply(job, self._named(values), _typed(request["flags"]), outcome, page)

    def _outcome(self, job: Job, values: Mapping[str, Any]) -> tuple[Outcome, Page]:
        key = json.dumps([job.name, values], sort_keys=True)
        if key not in self.answers:
            with within(Reach(contents=self.held, paths=False, hub=self.hub)):
                outcome = job.solve(values)
            page = Page()
            page.view(outcome.view)
            self.answers[key] = outcome, page
            while len(self.answers) > MOST_ANSWERS:
                self.answers.popitem(last=False)
        self.answers.move_to_end(key)
        return self.answers[key]

    def _charts(self, job: Job, outcome: Outcome, request: Mapping[str, Any]) -> list[Reply]:
        draw = job.pictures if request["ask"] == "charts" else job.more_pictures
        if draw is None:
            return []
        theme, width = "dark" if request.get("theme") == "dark" else "light", request.get("width")
        width = min(max(width, 240), 2000) if isinstance(width, int) else 720
        with within(Reach(contents=self.held, paths=False, hub=self.hub)):
            charts = draw(outcome.answer, theme, width)
        return [_chart(chart) for chart in charts if chart.name not in ON_THE_PAGE]

    def _named(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values with the name of a file in the place of its key."""
        model = str(values.get("model", ""))
        return {**values, "model": model.partition("#")[0]} if model in self.held else dict(values)


def _job(name: object) -> Job:
    known = jobs()
    if not isinstance(name, str) or name not in known:
        raise UserError(f"no job is called {str(name)[:40]!r}", hint=f"jobs: {', '.join(known)}")
    return known[name]


def _values(job: Job, flags: object) -> dict[str, Any]:
    """Return the flags as values; a switch comes as text from a form."""
    if not isinstance(flags, Mapping):
        raise UserError("flags must be an object")
    given = {key: value for key, value in flags.items() if value is not None and value != ""}
    switches = {"true": True, "on": True, "false": False}
    for key, value in given.items():
        if job.kinds.get(key) == "flag" and isinstance(value, str):
            given[key] = switches.get(value, value)
    return checked(given, job.kinds)


def _typed(flags: Mapping[str, Any]) -> dict[str, str]:
    """Return the amounts as they were typed, 8k or 2T, which the command line reads too."""
    return {key: value for key, value in flags.items() if isinstance(value, str) and value[:1].isdigit()}


def _reply(job: Job, values: Mapping[str, Any], typed: Mapping[str, str], outcome: Outcome, page: Page) -> Reply:
    amounts = {key: typed[key] for key in values if job.kinds[key] in ("tokens", "amount") and key in typed}
    line = command_line(job.name, {**values, **amounts})
    text = json.dumps(outcome.data, indent=2, allow_nan=False)
    copies = {"Command line": line, "Python": python_call(job.name, values)}
    if job.scenario:
        copies["Scenario file"] = scenario_file(values, job.kinds)
    copies |= {"JSON": text, "Markdown": markdown(outcome.view, line, outcome.text)}
    return {
        "ok": True, "html": page.html, "summary": outcome.view.summary, "short": outcome.view.short,
        "title": outcome.view.headline, "state": outcome.view.state, "text": outcome.text, "copies": copies,
    }  # fmt: skip


def _chart(chart: Chart) -> Reply:
    """Return a picture on the page's ground, its title left to the page."""
    spec = {key: value for key, value in chart.spec.items() if key != "title"}
    config = {**spec.get("config", {}), "background": None, "padding": 2}
    spec.update(background=None, config=config)
    return {"name": chart.name, "title": chart.title, "description": chart.description, "spec": spec}


def _why(page: Page, number: object) -> str:
    if not isinstance(number, int) or not 0 <= number < len(page.whys):
        raise UserError("nothing to explain has this number")
    return why_html(page.whys[number])


def error_reply(error: UserError) -> Reply:
    """Return the reply that says what happened, with a hint and the nearest names to press."""
    hint = tag("p", tag("strong", "hint: "), error.hint, class_="hint") if error.hint else None
    nearest = [apply_button(name, {_flag_of(name): name}) for name in error.nearest]
    near = tag("p", nearest, class_="nearest") if nearest else None
    sign = tag("span", "!", class_="sign", aria_hidden="true")
    word = tag("p", sign, "That cannot be answered", class_="word")
    html = tag(
        "header", word, tag("h2", error.message, id="headline", tabindex="-1"), hint, near, class_="verdict error"
    )
    return {
        "ok": False, "error": error.message, "hint": error.hint, "nearest": list(error.nearest), "html": html,
        "summary": f"error: {error}", "title": "error", "state": "error",
    }  # fmt: skip


def _flag_of(name: str) -> str:
    from sizeup.catalog.loader import gpu_records
    from sizeup.machine import gpu_names
    from sizeup.machine.instances import instance_called

    return "gpu" if name in gpu_records() or name in gpu_names() or instance_called(name) else "model"
