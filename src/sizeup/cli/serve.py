"""``sizeup serve``: memory, capacity, latency, throughput, price and commands of inference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sizeup.cli.options import asked, scenario_options
from sizeup.cli.pictures import Pictures, picture_options
from sizeup.serving.flags import FLAGS, KINDS

if TYPE_CHECKING:
    from sizeup.serving.results import ServingAnswer


@click.command()
@scenario_options(FLAGS)
@picture_options
def serve(
    model_spec: str | None,
    scenario: Path | None,
    save_scenario: Path | None,
    as_json: bool,
    why: bool,
    pictures: Pictures,
    **flags: Any,
) -> int:
    """How many users does MODEL serve on these GPUs, how fast, for how much? Without a layout, the best is found."""
    from sizeup.render.serve_json import answer_dict
    from sizeup.render.serve_text import answer_lines
    from sizeup.render.why import explain
    from sizeup.serving.scenario import answer_of

    values = asked({"model": model_spec, **flags}, KINDS, scenario=scenario, save=save_scenario)
    answer = answer_of(values)
    if as_json:
        click.echo(json.dumps(answer_dict(answer), indent=2, allow_nan=False))
    else:
        lines = answer_lines(answer, values)
        if why:
            for estimate in answer.explained():
                lines += ["", *explain(estimate)]
        click.echo("\n".join(lines))
    if pictures.wanted:
        _draw(answer, pictures)
    return 0 if answer.answered else 1


def _draw(answer: ServingAnswer, pictures: Pictures) -> None:
    from sizeup.render.charts import serve_charts
    from sizeup.web.serve_view import serve_view

    pictures.write(
        lambda theme: serve_charts(answer, theme=theme), lambda: serve_view(answer), answer.explained,
        title=f"Serving {answer.name}",
    )  # fmt: skip
