"""``sizeup model``: size any model, from a name, a file or a number."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import click

from sizeup.cli import report
from sizeup.cli.pictures import Pictures, picture_options
from sizeup.errors import UserError
from sizeup.units import parse_tokens

if TYPE_CHECKING:
    from sizeup.card import Card


class Tokens(click.ParamType[int]):
    """A number of tokens such as 8192, 8k or 1m."""

    name = "tokens"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number; a bad one ends the program with exit code 2."""
        if isinstance(value, int):
            return value
        try:
            count = parse_tokens(value)
        except UserError as error:
            self.fail(str(error), param, ctx)
        if count < 1:
            self.fail("must be at least 1", param, ctx)
        return count


@click.command()
@click.argument("specs", nargs=-1, required=True, metavar="SPEC...")
@click.option("--format", "format_name", metavar="F", help="Weight format: bf16, fp8, nf4-dq, q4_k_m, ...")
@click.option("--context", type=Tokens(), metavar="N", help="Tokens in each sequence's cache (8k by default).")
@click.option("--sequences", type=click.IntRange(min=1), default=1, help="Sequences kept at once.")
@click.option("--cache-dtype", metavar="D", help="Number format of the cache (default: the model's).")
@click.option(
    "--engine",
    default="transformers",
    show_default=True,
    metavar="E",
    help="Whose cache rule to use: transformers, vllm, sglang, llama.cpp, tensorrt-llm; vllm==0.10 for a version.",
)
@click.option("--gpu", "machine", metavar="G", help="Hardware for a verdict: rtx-4090, 8xh100, p5.48xlarge.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, one object for each SPEC.")
@click.option("--why", is_flag=True, help="Explain every number: formula, numbers put in, source.")
@picture_options
def model(
    specs: tuple[str, ...],
    format_name: str | None,
    context: int | None,
    sequences: int,
    cache_dtype: str | None,
    engine: str,
    machine: str | None,
    as_json: bool,
    why: bool,
    pictures: Pictures,
) -> int:
    """Size each SPEC: a catalog name, a Hub id, a config.json, a weight file, or a bare size like 70b."""
    from sizeup.machine import parse_machine

    if engine != "transformers":
        from sizeup.engine_cache import cache_engine

        cache_engine(engine)  # a name that is none is said once, not for every SPEC
    if pictures.report and len(specs) > 1:
        raise UserError("a report is of one model", hint="ask for one SPEC, or draw several with --plot")
    cluster = parse_machine(machine) if machine is not None else None
    wanted = {
        "format": format_name, "context": context, "sequences": sequences, "cache_dtype": cache_dtype, "engine": engine,
    }  # fmt: skip
    answers = [_answer(spec, cluster=cluster, **wanted) for spec in specs]
    if as_json:
        _print_json(specs, answers)
    else:
        _print_text(answers, why=why)
    cards = [answer for answer in answers if not isinstance(answer, UserError)]
    if pictures.wanted and cards:
        _draw(cards, pictures)
    return exit_code(answers)


def _answer(spec: str, **wanted: Any) -> Card | UserError:
    """Return the card of one SPEC, or why there is none: the others are answered in any case."""
    from sizeup.card import size_card
    from sizeup.sizing import model as load

    try:
        return size_card(load(spec), **wanted)
    except UserError as error:
        return _or_a_gpu(spec, error)
    except Exception as error:
        if os.environ.get("SIZEUP_TRACEBACK"):
            raise
        return UserError(
            f"{spec[:200]}: {type(error).__name__}: {str(error)[:200]}",
            hint="this is a defect of sizeup; please report it (SIZEUP_TRACEBACK=1 shows where)",
        )


def _or_a_gpu(spec: str, error: UserError) -> UserError:
    """Return the error, or one that names the GPUs that an unknown SPEC looks like."""
    from sizeup.errors import nearest_names
    from sizeup.machine import gpu_names

    if error.nearest or "catalog" not in error.message:
        return error
    names = gpu_names()
    if spec.lower() in names:
        return UserError(f"{spec} is a GPU, not a model", hint=f"sizeup MODEL --gpu {spec}, or sizeup gpus {spec}")
    near = nearest_names(spec, names)
    return UserError(f'no model or GPU is called "{spec}"', nearest=near) if near else error


def exit_code(answers: list[Any]) -> int:
    """Return 2 if anything could not be answered, 1 if something does not fit, else 0."""
    if any(isinstance(answer, UserError) for answer in answers):
        return 2
    return 1 if any(answer.fits is False for answer in answers) else 0


def _print_json(specs: tuple[str, ...], answers: list[Any]) -> None:
    from sizeup.render.card_json import card_dict, error_dict

    objects = [
        error_dict(spec, answer) if isinstance(answer, UserError) else card_dict(spec, answer)
        for spec, answer in zip(specs, answers, strict=True)
    ]
    click.echo(json.dumps(objects, indent=2, allow_nan=False))


def _print_text(answers: list[Any], *, why: bool) -> None:
    from sizeup.render.card_text import card_lines
    from sizeup.render.why import explain

    for index, answer in enumerate(answers):
        if index:
            click.echo()
        if isinstance(answer, UserError):
            report(answer)
            continue
        lines = card_lines(answer)
        if why:
            lines += ["", *explain(*answer.explained())]
        click.echo("\n".join(lines))


def _draw(cards: list[Card], pictures: Pictures) -> None:
    from sizeup.render.charts import model_charts
    from sizeup.web.size_view import size_view

    pictures.write(
        lambda theme: [chart for card in cards for chart in model_charts(card, theme=theme)],
        lambda: size_view(cards[0]),
        cards[0].explained,
        title=", ".join(card.model.name for card in cards),
    )
