"""``sizeup serve``: memory, capacity, latency, throughput, price and flags of inference."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from sizeup.cli.model import Tokens
from sizeup.errors import UserError, nearest_names
from sizeup.units import parse_tokens

LAYOUT = ("tp", "pp", "ep", "dp")
SCENARIO_KEYS = (
    "model", "gpu", "gpus", "engine", "engine_version", "format", "cache_dtype", *LAYOUT, "input", "output",
    "concurrency", "rate", "burst", "trace", "ttft", "tpot", "max_model_len", "memory_utilization",
    "max_batched_tokens", "max_num_seqs", "prefix_cached", "tokens_per_step",
)  # fmt: skip
"""Every key of a scenario file, each the twin of a flag."""

DEFAULT_INPUT, DEFAULT_OUTPUT, DEFAULT_CONCURRENCY = 2048, 256, 16
"""The load where none is given; stated in the answer."""


def _axis(name: str, text: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    return click.option(f"--{name}", type=click.IntRange(min=1), metavar="N", help=text)


@click.command()
@click.argument("model_spec", metavar="MODEL", required=False)
@click.option("--gpu", metavar="G", help="Card or cloud instance: h100, rtx-4090, p5.48xlarge, 8xh200.")
@click.option("--gpus", type=click.IntRange(min=1), metavar="N", help="Number of cards; the fewest without it.")
@click.option("--engine", metavar="E", help="vllm (default), sglang, trtllm, llama.cpp (default for GGUF).")
@click.option("--engine-version", metavar="V", help="Version of the engine.")
@click.option("--format", metavar="F", help="Weight format: bf16, fp8, awq-int4, q4_k_m, ... (the checkpoint's).")
@click.option("--cache-dtype", metavar="D", help="Cache format: bf16, fp8, q8_0, ...")
@_axis("tp", "Tensor parallelism.")
@_axis("pp", "Pipeline parallelism.")
@_axis("ep", "Expert parallelism.")
@_axis("dp", "Replicas, or data-parallel attention with --ep beyond --tp.")
@click.option("--input", type=Tokens(), metavar="N", help="Prompt tokens (2,048).")
@click.option("--output", type=Tokens(), metavar="N", help="New tokens (256).")
@_axis("concurrency", "Closed loop: requests in flight (16).")
@click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True), metavar="R", help="Open loop: requests/s, Poisson."
)
@_axis("burst", "Requests that arrive together.")
@click.option("--trace", type=click.Path(path_type=Path), metavar="FILE", help="CSV: arrival_seconds,input,output.")
@click.option("--ttft", type=click.FloatRange(min=0, min_open=True), metavar="MS", help="Target: mean TTFT.")
@click.option("--tpot", type=click.FloatRange(min=0, min_open=True), metavar="MS", help="Target: mean TPOT.")
@click.option("--max-model-len", type=Tokens(), metavar="N", help="Longest sequence the engine accepts.")
@click.option("--memory-utilization", type=click.FloatRange(0, 1, min_open=True), metavar="X", help="Share of memory.")
@_axis("max-batched-tokens", "Most tokens of a step.")
@_axis("max-num-seqs", "Most sequences of a step.")
@click.option("--prefix-cached", type=click.FloatRange(0, 1), metavar="X", help="Share of prompts in a prefix cache.")
@click.option("--tokens-per-step", type=click.FloatRange(1, 16), metavar="X", help="Accepted by speculative decoding.")
@click.option("--scenario", type=click.Path(path_type=Path), metavar="FILE", help="Read flags from a TOML file.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@click.option("--why", is_flag=True, help="Explain every number: formula, numbers put in, source.")
def serve(model_spec: str | None, scenario: Path | None, as_json: bool, why: bool, **flags: Any) -> int:
    """How many users does MODEL serve on these GPUs, how fast, for how much? Without a layout, the best is found."""
    from sizeup.render.serve_json import answer_dict
    from sizeup.render.serve_text import answer_lines
    from sizeup.render.why import explain

    given = {key: value for key, value in {"model": model_spec, **flags}.items() if value is not None}
    values = {**(read_scenario(scenario) if scenario else {}), **given}
    answer = answer_of(values)
    if as_json:
        click.echo(json.dumps(answer_dict(answer), indent=2, allow_nan=False))
    else:
        lines = answer_lines(answer, values)
        if why:
            for estimate in answer.explained():
                lines += ["", *explain(estimate)]
        click.echo("\n".join(lines))
    return 0 if answer.fits and (answer.meets_targets or not answer.targets.any) else 1


def read_scenario(path: Path) -> dict[str, Any]:
    """Return the flags of a scenario file.

    Raises:
        UserError: the file cannot be read, is no TOML, or has a key that is no flag.
    """
    import tomllib

    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    for key in values:
        if key not in SCENARIO_KEYS:
            raise UserError(f'{path}: no flag is called "{key}"', nearest=nearest_names(key, SCENARIO_KEYS))
    for key in ("input", "output", "max_model_len"):
        if isinstance(values.get(key), str):
            values[key] = parse_tokens(values[key])
    return values


def load_of(values: Mapping[str, Any]) -> tuple[Any, tuple[str, ...]]:
    """Return the load that flags describe, and what was assumed.

    Raises:
        UserError: more than one kind of load, or a trace that cannot be read.
    """
    from sizeup.plan.serving import Load

    kinds = [key for key in ("concurrency", "rate", "burst", "trace") if values.get(key) is not None]
    if len(kinds) > 1:
        raise UserError(f"one kind of load at a time, not {' and '.join(kinds)}")
    if values.get("trace") is not None:
        return read_trace(Path(values["trace"]))
    noted = []
    sizes = {"input": DEFAULT_INPUT, "output": DEFAULT_OUTPUT}
    for key, default in sizes.items():
        if values.get(key) is None:
            noted.append(f"{key}: {default:,} tokens, not given")
        sizes[key] = values.get(key) or default
    lengths: dict[str, Any] = {"input_tokens": sizes["input"], "output_tokens": sizes["output"]}
    if values.get("rate") is not None:
        return Load(**lengths, kind="open", rate=values["rate"]), tuple(noted)
    if values.get("burst") is not None:
        return Load(**lengths, kind="burst", concurrency=values["burst"]), tuple(noted)
    if values.get("concurrency") is None:
        noted.append(f"{DEFAULT_CONCURRENCY} requests in flight, not given")
    return Load(**lengths, concurrency=values.get("concurrency") or DEFAULT_CONCURRENCY), tuple(noted)


def read_trace(path: Path) -> tuple[Any, tuple[str, ...]]:
    """Return the open loop with the mean rate and lengths of a trace.

    Raises:
        UserError: the file cannot be read, or lacks a column.
    """
    import csv

    from sizeup.plan.serving import Load

    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        arrivals = [float(row["arrival_seconds"]) for row in rows]
        prompts, outputs = ([float(row[name]) for row in rows] for name in ("input", "output"))
    except (OSError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is no trace: {error}", hint="a CSV with the columns arrival_seconds,input,output"
        ) from None
    span = max(arrivals, default=0) - min(arrivals, default=0)
    if len(rows) < 2 or span <= 0:
        raise UserError(f"{path} needs at least two requests at different times")
    rate = (len(rows) - 1) / span
    mean_in, mean_out = round(sum(prompts) / len(rows)), round(sum(outputs) / len(rows))
    note = f"trace of {len(rows):,} requests: its mean rate and lengths, arrivals taken as random"
    return Load(input_tokens=max(mean_in, 1), output_tokens=max(mean_out, 1), kind="open", rate=rate), (note,)


def plan_of(values: Mapping[str, Any], noted: tuple[str, ...]) -> Any:
    """Return the plan that flags describe.

    Raises:
        UserError: unknown format or engine.
    """
    from sizeup.llm.formats import format_named
    from sizeup.plan.engines import engine
    from sizeup.plan.serving import ServingLayout, ServingPlan

    gguf = bool(values.get("format")) and format_named(values["format"]).is_gguf
    name = engine(values.get("engine") or ("llama.cpp" if gguf else "vllm")).name
    tp, ep, dp = values.get("tp") or 1, values.get("ep") or 1, values.get("dp") or 1
    inside = max(1, tp * (dp if ep > tp else 1) // ep) if ep > 1 else None
    return ServingPlan(
        engine=name, engine_version=values.get("engine_version") or "", weight_format=values.get("format") or "",
        kv_dtype=values.get("cache_dtype") or "",
        layout=ServingLayout(tp=tp, pp=values.get("pp") or 1, ep=ep, dp=dp, moe_tp=inside),
        max_model_len=values.get("max_model_len"), max_batched_tokens=values.get("max_batched_tokens"),
        max_num_seqs=values.get("max_num_seqs"), gpu_memory_utilization=values.get("memory_utilization"),
        assumptions=noted,
    )  # fmt: skip


def answer_of(values: Mapping[str, Any]) -> Any:
    """Return the answer to a scenario.

    Raises:
        UserError: something needed is missing or unknown.
    """
    from sizeup.machine import parse_machine
    from sizeup.serving.answer import Targets
    from sizeup.serving.search import fewest, find
    from sizeup.sizing import model as load_model

    for needed, hint in (("model", "sizeup serve llama-3.1-8b --gpu h100"), ("gpu", "--gpu h100 --gpus 4")):
        if not values.get(needed):
            raise UserError(f"{needed} is missing", hint=hint)
    known = load_model(values["model"])
    if known.architecture is None or not known.has_layers:
        raise UserError(f"{known.name} has no layers to serve: a configuration is needed, not a size")
    load, noted = load_of(values)
    plan = plan_of(values, noted)
    if plan.max_model_len is None and plan.engine in ("llamacpp", "transformers"):
        plan = replace(plan, max_model_len=load.longest * load.concurrency, max_num_seqs=load.concurrency)
        plan = replace(plan, max_model_len=load.longest)
    targets = Targets(
        ttft_seconds=values["ttft"] / 1e3 if values.get("ttft") else None,
        tpot_seconds=values["tpot"] / 1e3 if values.get("tpot") else None,
    )
    extra = {"cached": values.get("prefix_cached") or 0.0, "tokens_per_step": values.get("tokens_per_step") or 1.0}
    fixed = any(values.get(axis) for axis in LAYOUT)
    machine = parse_machine(values["gpu"])
    count = values.get("gpus") or (plan.layout.gpus if fixed and machine.gpus == 1 else 0)
    if count:
        machine = parse_machine(f"{count}x{values['gpu']}")
    elif machine.gpus == 1 and machine.node.instance is None:
        return fewest(known.name, known.architecture, machine.gpu, plan, load, targets=targets, **extra)
    if fixed:
        plan = filled(plan, machine.gpus)
    return find(known.name, known.architecture, machine, plan, load, targets=targets, fixed=fixed, **extra)


def filled(plan: Any, gpus: int) -> Any:
    """Return the plan with replicas on the cards that its axes leave.

    Raises:
        UserError: the axes do not divide the cards.
    """
    used = plan.layout.gpus
    if gpus % used:
        raise UserError(f"tp x pp x dp = {used} does not divide {gpus} GPUs")
    return replace(plan, layout=replace(plan.layout, dp=plan.layout.dp * gpus // used)) if used != gpus else plan
