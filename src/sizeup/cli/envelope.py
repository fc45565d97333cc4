"""``sizeup envelope``: the rules of thumb, as the document states them or applied to a model."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from sizeup.cli.pictures import Pictures, picture_options
from sizeup.units import parse_count

if TYPE_CHECKING:
    from sizeup.envelope_model import ModelEnvelope
    from sizeup.sizing import Model
    from sizeup.web.view import View


@click.command()
@click.argument("spec", required=False, metavar="[MODEL]")
@click.option(
    "--gpu", metavar="G", help="GPU for the unit, the counts and the time (default: the document's V100 32 GB)."
)
@click.option("--gpus", type=click.IntRange(min=1), help="How many GPUs pre-train it: gives days.")
@click.option("--tokens", metavar="T", help="Training tokens, such as 2T (default: 20 per parameter).")
@click.option(
    "--mfu", type=click.FloatRange(min=0, max=1, min_open=True), help="Share of the peak reached (default 1)."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@picture_options
def envelope(
    spec: str | None,
    gpu: str | None,
    gpus: int | None,
    tokens: str | None,
    mfu: float | None,
    as_json: bool,
    pictures: Pictures,
) -> int:
    """Print every statement of the envelope, or apply its rules to MODEL."""
    from sizeup import envelope as rules
    from sizeup.machine import find_gpu
    from sizeup.render import envelope_text
    from sizeup.sizing import model

    if spec is None:
        if gpus or tokens is not None or mfu:
            raise click.UsageError("--gpus, --tokens and --mfu need a MODEL")
        if pictures.report:
            raise click.UsageError("--report needs a MODEL")
        key = find_gpu(gpu).key if gpu is not None else ""
        answer = rules.envelope()
        lines = [json.dumps(answer.to_dict(), indent=2)] if as_json else envelope_text.envelope_lines(answer, gpu=key)
        click.echo("\n".join(lines))
        if pictures.wanted:
            _draw(None, None, pictures)
        return 0
    from sizeup.envelope_model import envelope_of

    known = model(spec)
    applied = envelope_of(
        known,
        gpu=rules.DOCUMENT_GPU if gpu is None else gpu,
        gpus=gpus,
        tokens=None if tokens is None else parse_count(tokens),
        utilization=mfu if mfu is not None else 1.0,
    )
    lines = [json.dumps(applied.to_dict(), indent=2)] if as_json else envelope_text.model_lines(applied)
    click.echo("\n".join(lines))
    if pictures.wanted:
        _draw(applied, known, pictures)
    return 0


def _draw(applied: ModelEnvelope | None, known: Model | None, pictures: Pictures) -> None:
    from sizeup.card import size_card
    from sizeup.render.charts import envelope_charts
    from sizeup.web.envelope_view import envelope_view

    card = size_card(known) if known else None

    def view() -> View:
        assert applied is not None
        return envelope_view(applied)

    pictures.write(
        lambda theme: envelope_charts(applied, card, theme=theme), view, lambda: card.explained() if card else (),
        title=f"The envelope: {applied.name}" if applied else "The envelope",
    )  # fmt: skip
