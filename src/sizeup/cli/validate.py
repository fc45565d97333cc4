"""``sizeup validate``: every measured case beside its prediction, summed up by quantity and group."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click


@click.command()
@click.option("--cases", "files", type=click.Path(path_type=Path), multiple=True, metavar="FILE.csv",
              help="A table of measured cases; the shipped ones by default. Can be repeated.")  # fmt: skip
@click.option("--in-sample", is_flag=True, help="Use coefficients fitted on all groups (default: without its own).")
@click.option("--json", "as_json", is_flag=True, help="Print every case and the summary as JSON.")
def validate(files: tuple[Path, ...], in_sample: bool, as_json: bool) -> int:
    """Predict measured cases, each with coefficients learned without its own group, and print the errors."""
    from sizeup.evidence.cases import read_cases, shipped_cases
    from sizeup.evidence.validate import summarise
    from sizeup.evidence.validate import validate as run
    from sizeup.render.validate_text import record_dict, summary_dict, summary_lines

    cases = [case for path in files for case in read_cases(path)]
    if not files:
        cases = [*shipped_cases("training"), *shipped_cases("serving")]
    records = run(cases, leave_out=not in_sample)
    summary = summarise(records)
    if as_json:
        data: dict[str, Any] = {
            "cases": [record_dict(record) for record in records],
            "summary": [summary_dict(row) for row in summary],
        }
        click.echo(json.dumps(data, allow_nan=False))
    else:
        click.echo("\n".join(summary_lines(summary, records, in_sample=in_sample)))
    return 0
