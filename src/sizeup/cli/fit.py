"""``sizeup fit``: which catalog models run on this hardware."""

from __future__ import annotations

import json

import click

from sizeup.cli.model import Tokens


@click.command()
@click.option("--gpu", "machine", required=True, metavar="G", help="A card or several: rtx-4090, 2xh100, p5.48xlarge.")
@click.option(
    "--gpus", type=click.IntRange(min=1), default=None, metavar="N", help="How many cards (default: as --gpu says)."
)
@click.option("--context", type=Tokens(), metavar="N", help="Tokens that must fit (8k by default).")
@click.option("--engine", default="", metavar="E", help="vllm or llamacpp (default: what such cards usually run).")
@click.option("--top", type=click.IntRange(min=1), default=15, show_default=True, help="How many models to show.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: every model that runs, and those that do not.")
def fit(machine: str, gpus: int | None, context: int | None, engine: str, top: int, as_json: bool) -> int:
    """List the models that run on this hardware: best format, context, speed; the most capable first."""
    from sizeup.machine import parse_machine
    from sizeup.render.fit_text import fit_dict, fit_lines
    from sizeup.serving.fitting import CONTEXT, models_for

    cluster = parse_machine(machine)
    found = models_for(cluster.gpu, gpus=gpus or cluster.gpus, context=context or CONTEXT, engine=engine)
    if as_json:
        click.echo(json.dumps(fit_dict(found), indent=2, allow_nan=False))
    else:
        click.echo("\n".join(fit_lines(found, top=top)))
    return 0 if found.found else 1
