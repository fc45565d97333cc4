"""``sizeup serve``: memory, capacity, latency, throughput, price and flags of inference."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from sizeup.cli.model import Tokens


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
@click.option(
    "--save-scenario", type=click.Path(path_type=Path), metavar="FILE", help="Write the flags to a TOML file."
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@click.option("--why", is_flag=True, help="Explain every number: formula, numbers put in, source.")
def serve(
    model_spec: str | None, scenario: Path | None, save_scenario: Path | None, as_json: bool, why: bool, **flags: Any
) -> int:
    """How many users does MODEL serve on these GPUs, how fast, for how much? Without a layout, the best is found."""
    from sizeup.render.serve_json import answer_dict
    from sizeup.render.serve_text import answer_lines
    from sizeup.render.why import explain
    from sizeup.scenario import checked, read_scenario, write_scenario
    from sizeup.serving.scenario import KINDS, answer_of

    given = checked({"model": model_spec, **flags}, KINDS)
    values = {**(read_scenario(scenario, KINDS) if scenario else {}), **given}
    if save_scenario:
        write_scenario(save_scenario, values, KINDS)
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
