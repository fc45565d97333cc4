"""The same question elsewhere: as a command line, as Python, as a scenario file, as Markdown."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from sizeup.scenario import Kind, scenario_text
from sizeup.web.view import View


def command_line(job: str, values: Mapping[str, Any]) -> str:
    """Return the command that answers the same.

    >>> command_line("train", {"model": "llama-3.1-8b", "gpu": "h100", "sequence_length": 4096, "compile": True})
    'sizeup train llama-3.1-8b --gpu h100 --sequence-length 4096 --compile'
    """
    words = ["sizeup"] if job == "model" else ["sizeup", job]
    words += [str(values["model"])] if values.get("model") else []
    for key, value in values.items():
        if key == "model" or value is None or value is False:
            continue
        words.append("--" + key.replace("_", "-"))
        words += [] if value is True else [str(value)]
    return shlex.join(words)


def python_call(job: str, values: Mapping[str, Any]) -> str:
    """Return the Python that answers the same.

    >>> print(python_call("train", {"model": "llama-3.1-8b", "gpu": "h100", "gpus": 8}))
    import sizeup
    <BLANKLINE>
    answer = sizeup.train("llama-3.1-8b", gpu="h100", gpus=8)
    print(answer.fits)
    """
    rest = {key: value for key, value in values.items() if key != "model"}
    model = _literal(values.get("model", ""))
    if job == "model":
        machine = rest.pop("gpu", None)
        loaded = [f"sizeup.model({model})", *_keywords(rest)]
        loaded += [f"cluster=sizeup.parse_machine({_literal(machine)})"] if machine else []
        lines = [f"card = sizeup.size_card({', '.join(loaded)})", "print(card.model.parameters, card.fits)"]
    elif job == "envelope":
        rest["utilization"] = rest.pop("mfu", None)
        loaded = [f"sizeup.model({model})", *_keywords(rest)]
        lines = [f"rules = sizeup.envelope_of({', '.join(loaded)})", "print(rules.petaflop_s_days)"]
    else:
        lines = [f"answer = sizeup.{job}({', '.join([model, *_keywords(rest)])})", "print(answer.fits)"]
    return "\n".join(["import sizeup", "", *lines])


def _literal(value: Any) -> str:
    text = repr(value)
    return f'"{value}"' if isinstance(value, str) and text == f"'{value}'" else text


def _keywords(values: Mapping[str, Any]) -> list[str]:
    return [f"{key}={_literal(value)}" for key, value in values.items() if value is not None]


def scenario_file(values: Mapping[str, Any], kinds: Mapping[str, Kind]) -> str:
    """Return the scenario file with the same flags."""
    return scenario_text(values, kinds)


def markdown(view: View, command: str, text: str) -> str:
    """Return the answer to paste into an issue or a document."""
    lines = [f"**{view.verdict}**: {view.headline}", ""]
    if view.figures:
        lines += ["| | | |", "|---|---|---|"]
        lines += [f"| {f.label} | {f.text} | {f.band or f.note} |" for f in view.figures]
    fence = "`" * 3
    return "\n".join([*lines, "", f"{fence}\n$ {command}\n{text}\n{fence}", ""])
