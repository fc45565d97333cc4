"""``sizeup train``: memory, time, plan and price of pre-training and fine-tuning."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sizeup.cli.options import asked, scenario_options
from sizeup.cli.pictures import Pictures, picture_options
from sizeup.training.flags import FLAGS, KINDS

if TYPE_CHECKING:
    from sizeup.training.answer import TrainingAnswer


@click.command()
@scenario_options(FLAGS)
@picture_options
def train(
    model_spec: str | None,
    scenario: Path | None,
    save_scenario: Path | None,
    as_json: bool,
    why: bool,
    pictures: Pictures,
    **flags: Any,
) -> int:
    """Does training MODEL fit, with which plan, how long and for how much? Without a layout, the best is found."""
    from sizeup.render.train_json import answer_dict
    from sizeup.render.train_text import answer_lines
    from sizeup.render.why import explain
    from sizeup.training.scenario import answer_of

    values = asked({"model": model_spec, **flags}, KINDS, scenario=scenario, save=save_scenario)
    answer = answer_of(values)
    if as_json:
        click.echo(json.dumps(answer_dict(answer), indent=2, allow_nan=False))
    else:
        lines = answer_lines(answer, values)
        if why:
            lines += ["", *explain(*answer.explained())]
        click.echo("\n".join(lines))
    if pictures.wanted:
        _draw(answer, pictures)
    return 0 if answer.fits and not answer.unmet else 1


def _draw(answer: TrainingAnswer, pictures: Pictures) -> None:
    from sizeup.render.charts import train_charts
    from sizeup.training.sweeps import gpu_offers
    from sizeup.web.train_view import train_view

    offers = gpu_offers(answer)
    pictures.write(
        lambda theme: train_charts(answer, offers=offers, theme=theme), lambda: train_view(answer), answer.explained,
        title=f"Training {answer.name}",
    )  # fmt: skip
