"""The controls of each job as HTML: the usual ones laid out by hand, every other flag behind "more settings"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sizeup.scenario import Kind
from sizeup.web.html import Child, Markup, tag
from sizeup.web.jobs import Job

TOKEN_STEPS = tuple(str(2**power) for power in range(9, 21))
COUNT_STEPS = ("1", "2", "4", "8", "16", "32", "64", "128", "256", "512", "1024", "2048", "4096")
GPU_STEPS = COUNT_STEPS
FORMATS = ("bf16", "fp8", "awq-int4", "gptq-int4", "nf4-dq", "mxfp4", "nvfp4", "q8_0", "q6_k", "q5_k_m", "q4_k_m",
           "q3_k_m", "q2_k")  # fmt: skip
CACHE_DTYPES = ("bf16", "fp8", "fp16", "int8", "q8_0", "q4_0")
ENGINES = ("vllm", "sglang", "trtllm", "llamacpp")
FRAMEWORKS = ("generic", "megatron", "nemo", "torchtitan", "hf", "hf-deepspeed", "litgpt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """One control: ``name`` is the flag; ``shape`` how it looks; an empty value is left to the program."""

    name: str
    label: str
    shape: Literal["text", "slider", "choice", "segments", "number"] = "text"
    options: tuple[str, ...] = ()
    placeholder: str = "automatic"
    hint: str = ""


_METHODS = ("pretrain", "full", "lora", "qlora")
MAIN: Mapping[str, tuple[Control, ...]] = {
    "model": (
        Control(name="format", label="Weight format", shape="choice", options=FORMATS, placeholder="as stored"),
        Control(name="context", label="Context, tokens", shape="slider", options=TOKEN_STEPS, placeholder="8192"),
        Control(name="sequences", label="Sequences at once", shape="slider", options=COUNT_STEPS, placeholder="1"),
    ),
    "train": (
        Control(name="gpus", label="GPUs", shape="slider", options=GPU_STEPS, placeholder="1"),
        Control(name="method", label="Method", shape="segments", options=_METHODS),
        Control(name="tokens", label="Tokens of the run", placeholder="300B, 2T", hint="gives days and dollars"),
        Control(name="sequence_length", label="Sequence length", shape="slider", options=TOKEN_STEPS),
        Control(name="global_batch", label="Global batch, sequences", shape="slider", options=COUNT_STEPS),
    ),
    "serve": (
        Control(name="gpus", label="GPUs", shape="slider", options=GPU_STEPS, placeholder="the fewest"),
        Control(name="input", label="Prompt, tokens", shape="slider", options=TOKEN_STEPS, placeholder="2048"),
        Control(name="output", label="Answer, tokens", shape="slider", options=TOKEN_STEPS, placeholder="256"),
        Control(name="concurrency", label="Requests in flight", shape="slider", options=COUNT_STEPS, placeholder="16"),
        Control(name="format", label="Weight format", shape="choice", options=FORMATS, placeholder="the checkpoint's"),
        Control(name="engine", label="Engine", shape="choice", options=ENGINES),
        Control(name="ttft", label="TTFT target, ms", shape="number", placeholder="none"),
        Control(name="tpot", label="TPOT target, ms", shape="number", placeholder="none"),
    ),
    "envelope": (
        Control(name="gpus", label="GPUs", shape="slider", options=GPU_STEPS, placeholder="none"),
        Control(name="tokens", label="Training tokens", placeholder="20 per parameter"),
        Control(name="mfu", label="Share of the peak", shape="slider", placeholder="1",
                options=tuple(f"{n / 20:g}" for n in range(1, 21))),
    ),
}  # fmt: skip
"""The controls that each job shows first; model and hardware stand above them."""

OTHERWISE: Mapping[str, Control] = {
    "cache_dtype": Control(name="cache_dtype", label="Cache format", shape="choice", options=CACHE_DTYPES,
                           placeholder="the model's"),
    "framework": Control(name="framework", label="Framework", shape="choice", options=FRAMEWORKS),
}  # fmt: skip
"""Flags behind "more settings" that need more than their kind says."""


def form(job: Job, helps: Mapping[str, str], *, hidden: bool) -> Markup:
    """Return the form of a job; ``helps`` are the help lines of its flags."""
    main = MAIN[job.name]
    shown = {control.name for control in main} | {"model", "gpu"}
    rest = [_for(name, kind) for name, kind in job.kinds.items() if name not in shown]
    fields = [_field(job, control, helps) for control in main]
    more = tag(
        "details", tag("summary", "More settings"),
        tag("div", [_field(job, control, helps) for control in rest], class_="fields more"),
    ) if rest else None  # fmt: skip
    return tag(
        "form", tag("div", fields, class_="fields"), more, id=f"form-{job.name}", data_job=job.name, hidden=hidden,
        aria_label=f"{job.title}: settings", novalidate=True,
    )  # fmt: skip


def _for(name: str, kind: Kind) -> Control:
    if name in OTHERWISE:
        return OTHERWISE[name]
    label = name.replace("_", " ").capitalize()
    label = label.upper() if len(name) <= 3 else label
    if isinstance(kind, tuple):
        return Control(name=name, label=label, shape="choice", options=kind)
    if kind == "flag":
        return Control(name=name, label=label, shape="choice", options=("true", "false"))
    return Control(name=name, label=label, shape="number" if kind in ("number", "share", "factor") else "text")


def _field(job: Job, control: Control, helps: Mapping[str, str]) -> Markup:
    identity = f"{job.name}-{control.name}"
    hint = control.hint or helps.get(control.name, "")
    described = f"{identity}-hint" if hint else None
    shared: dict[str, Any] = {"id": identity, "name": control.name, "aria_describedby": described}
    note = tag("span", hint, id=described, class_="hint") if hint else None
    if control.shape == "segments":
        return _segments(job, control)
    label = tag("label", control.label, for_=identity)
    if control.shape == "choice":
        body: Child = _select(control, shared)
    elif control.shape == "slider":
        body = _slider(control, shared)
    else:
        body = _input(control, shared)
    return tag("div", label, body, note, class_=f"field {control.shape}")


def _input(control: Control, shared: Mapping[str, Any]) -> Markup:
    mode = "decimal" if control.shape == "number" else "text"
    return tag("input", type="text", inputmode=mode, autocomplete="off", spellcheck="false",
               placeholder=control.placeholder, **shared)  # fmt: skip


def _select(control: Control, shared: Mapping[str, Any]) -> Markup:
    options = [tag("option", control.placeholder, value=""), *(tag("option", o, value=o) for o in control.options)]
    return tag("select", options, **shared)


def _slider(control: Control, shared: Mapping[str, Any]) -> Markup:
    steps: Sequence[str] = control.options
    start = steps.index(control.placeholder) if control.placeholder in steps else 0
    drawn = tag(
        "input", type="range", min=0, max=len(steps) - 1, step=1, value=start, data_steps=",".join(steps),
        data_for=shared["id"], data_start=start, aria_label=f"{control.label}, slider",
    )  # fmt: skip
    return tag("div", drawn, _input(control, shared), class_="pair")


def _segments(job: Job, control: Control) -> Markup:
    choices = [
        tag("label", tag("input", type="radio", name=control.name, value=option, checked=index == 0),
            tag("span", option))
        for index, option in enumerate(control.options)
    ]  # fmt: skip
    return tag("fieldset", tag("legend", control.label), tag("div", choices, class_="segments"), class_="field")
