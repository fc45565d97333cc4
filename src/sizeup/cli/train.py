"""``sizeup train``: memory, time, plan and price of pre-training and fine-tuning."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from sizeup.cli.model import Tokens
from sizeup.errors import UserError, nearest_names
from sizeup.units import parse_count

METHODS = ("pretrain", "full", "lora", "qlora")
SHARDINGS = ("none", "zero1", "zero2", "zero3", "fsdp", "hsdp")
LAYOUT = ("tp", "pp", "vpp", "cp", "ep", "dp", "micro_batch", "sharding", "recompute")
COMPARED_BATCH = 2048
"""Sequences per step where numbers of cards are compared and nobody says (a power of two, so that they divide it)."""
SCENARIO_KEYS = (
    "model", "gpu", "gpus", "method", "framework", "sequence_length", "global_batch", "tokens", *LAYOUT,
    "dtype", "master_weights", "optimizer", "attention", "loss", "compile", "rank", "base_quant", "offload_optimizer",
    "largest", "within_days", "budget",
)  # fmt: skip
"""Every key of a scenario file, each the twin of a flag."""


class Count(click.ParamType[int]):
    """A count such as 300B, 2T or 15000000."""

    name = "count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number; a bad one ends the program with exit code 2."""
        if isinstance(value, int):
            return value
        try:
            return parse_count(value)
        except UserError as error:
            self.fail(str(error), param, ctx)


def _axis(name: str, text: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    return click.option(f"--{name}", type=click.IntRange(min=1), metavar="N", help=text)


@click.command()
@click.argument("model_spec", metavar="MODEL", required=False)
@click.option("--gpu", metavar="G", help="Card or cloud instance: h100, rtx-4090, p5.48xlarge, 8xa100.")
@click.option("--gpus", type=click.IntRange(min=1), metavar="N", help="Number of cards.")
@click.option("--method", type=click.Choice(METHODS), help="What is trained (pretrain by default).")
@click.option("--framework", metavar="F", help="megatron, nemo, torchtitan, hf, hf-deepspeed, litgpt, ...")
@click.option("--sequence-length", type=Tokens(), metavar="S", help="Tokens of one sequence.")
@click.option("--global-batch", type=click.IntRange(min=1), metavar="B", help="Sequences per optimizer step.")
@click.option("--tokens", type=Count(), metavar="T", help="Tokens of the whole run: 300B, 2T.")
@_axis("tp", "Tensor parallelism.")
@_axis("pp", "Pipeline parallelism.")
@_axis("vpp", "Pipeline chunks per rank.")
@_axis("cp", "Context parallelism.")
@_axis("ep", "Expert parallelism.")
@_axis("dp", "Data parallelism.")
@click.option("--sharding", type=click.Choice(SHARDINGS), help="What data-parallel ranks split.")
@_axis("micro-batch", "Sequences per rank and forward pass.")
@click.option("--recompute", type=click.Choice(("none", "selective", "full")), help="Activation recomputation.")
@click.option("--dtype", metavar="D", help="Products in bf16, fp16, fp8, mxfp8, nvfp4.")
@click.option("--master-weights", type=click.Choice(("fp32", "bf16", "none")), help="Copy the optimizer updates.")
@click.option("--optimizer", metavar="O", help="adamw, adamw8bit, adafactor, muon, lion, sgd, ...")
@click.option("--attention", type=click.Choice(("flash", "sdpa", "eager")), help="Attention implementation.")
@click.option("--loss", type=click.Choice(("plain", "fused", "chunked")), help="Cross-entropy implementation.")
@click.option("--compile", is_flag=True, default=None, help="torch.compile.")
@click.option("--rank", type=click.IntRange(min=1), metavar="R", help="LoRA rank.")
@click.option("--base-quant", type=click.Choice(("nf4", "nf4-dq", "gptq-int4", "int8")), help="Frozen weights.")
@click.option("--offload-optimizer", is_flag=True, default=None, help="Optimizer states in host memory.")
@click.option("--largest", type=click.Choice(("sequence", "micro-batch")), help="Also the largest one that fits.")
@click.option("--within-days", type=float, metavar="D", help="Fewest cards that finish --tokens in D days.")
@click.option("--budget", type=float, metavar="USD", help="Fewest cards that finish --tokens for this much.")
@click.option("--scenario", type=click.Path(path_type=Path), metavar="FILE", help="Read flags from a TOML file.")
@click.option(
    "--save-scenario", type=click.Path(path_type=Path), metavar="FILE", help="Write the flags to a TOML file."
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@click.option("--why", is_flag=True, help="Explain every number: formula, numbers put in, source.")
def train(
    model_spec: str | None, scenario: Path | None, save_scenario: Path | None, as_json: bool, why: bool, **flags: Any
) -> int:
    """Does training MODEL fit, with which plan, how long and for how much? Without a layout, the best is found."""
    from sizeup.render.train_json import answer_dict, extra_dict
    from sizeup.render.train_text import answer_lines
    from sizeup.render.why import explain

    given = {key: value for key, value in {"model": model_spec, **flags}.items() if value is not None}
    values = {**(read_scenario(scenario) if scenario else {}), **given}
    if save_scenario:
        write_scenario(save_scenario, values)
    answer, extra = answer_of(values)
    if as_json:
        click.echo(json.dumps({**answer_dict(answer), **extra_dict(extra)}, indent=2, allow_nan=False))
    else:
        lines = answer_lines(answer, values, extra)
        if why:
            for estimate in answer.explained():
                lines += ["", *explain(estimate)]
        click.echo("\n".join(lines))
    return 0 if answer.fits else 1


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
    if isinstance(values.get("tokens"), str):
        values["tokens"] = parse_count(values["tokens"])
    return values


def write_scenario(path: Path, values: Mapping[str, Any]) -> None:
    """Write flags as TOML, in the order of the help.

    Raises:
        UserError: the file cannot be written.
    """
    lines = [f"{key} = {json.dumps(values[key])}" for key in SCENARIO_KEYS if key in values]
    try:
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error}") from None


def answer_of(values: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the answer to a scenario, and the answers to questions asked backwards.

    Raises:
        UserError: something needed is missing or unknown, or no plan is valid.
    """
    from sizeup.machine import parse_machine
    from sizeup.sizing import model as load
    from sizeup.training.answer import FINE_TUNING, base_plan
    from sizeup.training.best import train as find

    backwards = values.get("within_days") is not None or values.get("budget") is not None
    if backwards and not values.get("tokens"):
        raise UserError("a deadline or a budget needs --tokens", hint="--tokens 1T")
    for needed, hint in (("model", "sizeup train llama-3.1-8b --gpu a100"), ("gpu", "--gpu h100 --gpus 64")):
        if not values.get(needed):
            raise UserError(f"{needed} is missing", hint=hint)
    count = f"{values['gpus']}x" if values.get("gpus") else ""
    cluster = parse_machine(f"{count}{values['gpu']}")
    known = load(values["model"])
    if known.architecture is None or not known.has_layers:
        raise UserError(f"{known.name} has no layers to train: a configuration is needed, not a size")
    method = values.get("method", "pretrain")
    base = base_plan(
        known.architecture, cluster, method=method, framework=values.get("framework"),
        sequence_length=values.get("sequence_length"), global_batch=values.get("global_batch"),
        options=options_of(values, method),
    )  # fmt: skip
    fixed = {key: values[key] for key in LAYOUT if values.get(key) is not None}
    free_batch = method in FINE_TUNING and not values.get("global_batch")
    extra: dict[str, Any] = {}
    if values.get("largest"):
        extra["largest"] = largest_of(values["largest"], known.architecture, base, cluster, fixed, free_batch)
    if backwards and not values.get("global_batch"):
        # the same batch for every number of cards, so that their times compare
        base = replace(base, global_batch=COMPARED_BATCH)
    if backwards:
        extra["offers"], cluster = offers_of(values, known, base, cluster, fixed)
    found = find(
        known.name, known.architecture, cluster, base, fixed=fixed, tokens=values.get("tokens"), free_batch=free_batch
    )
    return found, extra


def largest_of(what: str, architecture: Any, base: Any, cluster: Any, fixed: Any, free_batch: bool) -> dict[str, Any]:
    """Return the largest sequence or micro-batch that fits."""
    from sizeup.training.inverse import largest_micro_batch, largest_sequence

    free = {key: value for key, value in fixed.items() if key != "micro_batch"}
    if what == "micro-batch":
        return {"what": what, "value": largest_micro_batch(architecture, base, cluster, fixed=free)}
    return {"what": what, "value": largest_sequence(architecture, base, cluster, fixed=fixed, free_batch=free_batch)}


def offers_of(values: Mapping[str, Any], known: Any, base: Any, cluster: Any, fixed: Any) -> tuple[list[Any], Any]:
    """Return the Pareto front over numbers of cards, and the cluster with the fewest that meets the limits.

    Raises:
        UserError: no number of cards meets them.
    """
    from sizeup.machine import parse_machine
    from sizeup.training.inverse import fewest_gpus, offers, pareto

    counts = [2**power for power in range(15)]
    clusters = [parse_machine(f"{count}x{values['gpu']}") for count in counts]
    found = offers(known.name, known.architecture, base, clusters, tokens=values["tokens"], fixed=fixed)
    chosen = fewest_gpus(found, within_days=values.get("within_days"), budget_usd=values.get("budget"))
    if chosen is None:
        raise UserError(
            f"no number of {cluster.gpu.name} up to {counts[-1]:,} meets this deadline and budget",
            hint="allow more days or dollars, a larger global batch, or another card",
        )
    return pareto(found), chosen.answer.cluster


def options_of(values: Mapping[str, Any], method: str) -> dict[str, Any]:
    """Return the fields of the plan that flags name."""
    from sizeup.plan.frameworks import framework
    from sizeup.plan.optimizers import optimizer
    from sizeup.plan.training import Precision

    if values.get("framework"):
        framework(values["framework"])
    names = ("optimizer", "attention", "loss", "compile", "rank", "base_quant", "offload_optimizer")
    found = {name: values[name] for name in names if values.get(name) is not None}
    if "optimizer" in found:
        optimizer(found["optimizer"])
    if values.get("dtype") or values.get("master_weights"):
        dtype = values.get("dtype", "bf16")
        known = ("fp32", "fp16", "bf16", "fp8", "mxfp8", "nvfp4")
        if dtype not in known:
            raise UserError(f'no training precision is called "{dtype}"', nearest=nearest_names(dtype, known))
        single = "bf16" if method in ("lora", "qlora") else "fp32"
        master = values.get("master_weights", single)
        found["precision"] = Precision(
            compute_dtype=dtype, master_weights=master, grad_dtype="fp32" if master == "fp32" else "bf16"
        )
    return found
