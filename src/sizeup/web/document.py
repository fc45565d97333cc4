"""The page itself: one HTML document with its forms and the answer to a first question already in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from sizeup import __version__
from sizeup.files import read_text
from sizeup.units import format_count, format_dollars, format_gb
from sizeup.web.bridge import Bridge
from sizeup.web.forms import form
from sizeup.web.html import Markup, tag
from sizeup.web.jobs import Job, jobs

Engine = Literal["local", "browser"]

FIRST_JOB = "model"
FIRST_FLAGS: Mapping[str, Mapping[str, str]] = {
    "model": {"model": "llama-3.1-8b", "gpu": "rtx-4090"},
    "train": {"model": "llama-3.1-8b", "gpu": "h100", "gpus": "8", "method": "full", "tokens": "1B"},
    "serve": {"model": "llama-3.1-8b", "gpu": "h100"},
    "envelope": {"model": "llama-3.1-8b", "gpu": "h100"},
}
"""What each job asks before anyone says otherwise."""

POLICY = (
    "default-src 'none'; script-src 'self'{wasm}; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "worker-src 'self'; base-uri 'none'; form-action 'none'"
)


def policy(engine: Engine) -> str:
    """Return the content security policy: nothing but the page's own files; WebAssembly where Python runs in it."""
    return POLICY.format(wasm=" 'wasm-unsafe-eval'" if engine == "browser" else "")


def catalog() -> dict[str, Any]:
    """Return what the pickers offer: models with their size, cards with their memory, instances with dated prices."""
    from sizeup.catalog.lookup import list_models
    from sizeup.machine import list_gpus, list_instances

    models = [[r.name, format_count(r.parameters) if r.parameters else "", list(r.aliases)] for r in list_models()]
    cards = [
        [row.gpu.key, f"{row.gpu.name}, {format_gb(row.gpu.label_gb * 1e9)}", list(row.gpu.aliases)]
        for row in list_gpus(sort="memory")
    ]
    rented = [
        [i.name, f"{i.gpus} × {i.gpu_key}, {i.cloud}, {format_dollars(i.usd_per_hour or 0)}/h ({i.date})", []]
        for i in list_instances(priced_only=True, sort="price")
    ]
    return {"models": models, "machines": [*cards, *rented]}


def helps(job: Job) -> dict[str, str]:
    """Return the help line of each flag of a job, where the command's table has one."""
    from sizeup.serving.flags import FLAGS as SERVING
    from sizeup.training.flags import FLAGS as TRAINING

    table = {"train": TRAINING, "serve": SERVING}.get(job.name, {})
    return {name: flag.help for name, flag in table.items()}


def document(engine: Engine) -> str:
    """Return the whole HTML document."""
    known = jobs()
    first = Bridge().answer({"job": FIRST_JOB, "flags": FIRST_FLAGS[FIRST_JOB]})
    facts = {
        "engine": engine, "version": __version__, "first": {"job": FIRST_JOB, "flags": FIRST_FLAGS},
        "copies": first["copies"], "text": first["text"],
    }  # fmt: skip
    tabs = [
        tag("a", tag("span", job.title), href=f"#{job.name}", data_job=job.name, title=job.question,
            aria_current="page" if job.name == FIRST_JOB else None)
        for job in known.values()
    ]  # fmt: skip
    forms = [form(job, helps(job), hidden=job.name != FIRST_JOB) for job in known.values()]
    meta = tag("meta", http_equiv="Content-Security-Policy", content=policy(engine)) if engine == "browser" else ""
    parts = {
        "policy": meta, "tabs": Markup("".join(tabs)), "forms": Markup("".join(forms)),
        "answer": first["html"], "facts": data(facts), "catalog": data(catalog()), "version": __version__,
    }  # fmt: skip
    text = read_text("web/page/index.html")
    for name, part in parts.items():
        text = text.replace(f"<!--{name}-->", part)
    return text


def data(value: Any) -> str:
    """Return JSON that may stand inside a script element."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
