"""Options that put an answer into a file: ``--plot`` for pictures, ``--report`` for one page with everything."""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sizeup.errors import UserError

if TYPE_CHECKING:
    from sizeup.estimate import Estimate
    from sizeup.render.charts import Chart
    from sizeup.web.view import View

PLOTS = (".svg", ".png", ".html")
REPORTS = (".html", ".htm")
MAKING = ("--plot", "--report", "--picture")
"""Options with a value that only say what is written, so that a reproduced command goes without them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """What the options ask for."""

    plot: Path | None = None
    names: tuple[str, ...] = ()
    dark: bool = False
    report: Path | None = None

    def __post_init__(self) -> None:
        for path, kinds, what in ((self.plot, PLOTS, "a picture"), (self.report, REPORTS, "a report")):
            if path is not None:
                check_path(path, kinds, what)
        if (self.names or self.dark) and not self.plot:
            raise UserError("--picture and --dark need --plot", hint="--plot memory.svg")

    @property
    def wanted(self) -> bool:
        """Whether anything is to be written."""
        return bool(self.plot or self.report)

    def write(
        self,
        charts: Callable[[str], Sequence[Chart]],
        view: Callable[[], View],
        estimates: Callable[[], Sequence[Estimate]],
        *,
        title: str,
    ) -> None:
        """Write what was asked for; ``charts`` takes the name of a theme.

        Raises:
            UserError: no such picture, or a file cannot be written.
        """
        if self.plot:
            self._write_plot(self.plot, charts, title)
        if self.report:
            from sizeup.web.report import report

            text = report(
                view(), charts("light"), estimates=estimates(), command=command_line(), made=date.today().isoformat()
            )
            write_file(self.report, text.encode())

    def _write_plot(self, path: Path, charts: Callable[[str], Sequence[Chart]], title: str) -> None:
        from sizeup.render import picture

        kind = path.suffix.lower()
        # a page follows its reader's light or dark, a file does not
        theme = "dark" if self.dark and kind != ".html" else "light"
        shown = picture.chosen(charts(theme), self.names)
        if kind == ".html":
            data = picture.page(shown, title=title).encode()
        else:
            data = picture.png(shown, theme=theme) if kind == ".png" else picture.sheet(shown, theme=theme).encode()
        write_file(path, data)


def picture_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options; it gets them as ``pictures``."""

    @functools.wraps(command)
    def wrapped(*, plot: Path | None, picture: tuple[str, ...], dark: bool, report: Path | None, **rest: Any) -> Any:
        return command(pictures=Pictures(plot=plot, names=picture, dark=dark, report=report), **rest)

    path = click.Path(path_type=Path)
    options = (
        click.option("--plot", type=path, metavar="FILE", help="Draw it: FILE.svg, FILE.png or FILE.html."),
        click.option("--picture", multiple=True, metavar="NAME", help="Only this picture: memory, step, ..."),
        click.option("--dark", is_flag=True, help="Pictures for a dark page."),
        click.option("--report", type=path, metavar="FILE.html", help="Everything on one page that prints well."),
    )
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped


def check_path(path: Path, kinds: Sequence[str], what: str) -> None:
    """Refuse a file that nothing could be written to, before any work is done.

    Raises:
        UserError: its ending is unknown, its folder does not exist, or it is a folder.
    """
    if path.suffix.lower() not in kinds:
        raise UserError(f'"{path.name}" does not say what kind of file {what} is', hint=f"end it in {', '.join(kinds)}")
    if path.is_dir():
        raise UserError(f"{path} is a folder")
    if not path.absolute().parent.is_dir():
        raise UserError(f"{path} cannot be written: there is no folder {path.absolute().parent}")


def write_file(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: under another name first.

    Raises:
        UserError: it cannot be written.
    """
    real = path.resolve()
    temporary = real.with_name(f".{real.name}.{os.getpid()}")
    try:
        temporary.write_bytes(data)
        temporary.replace(real)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from None
    click.echo(f"wrote {path}", err=True)


def command_line() -> str:
    """Return the command that was typed, without what only says where to write."""
    typed, words = iter(sys.argv[1:]), ["sizeup"]
    for word in typed:
        if word in MAKING:
            next(typed, None)
        elif word not in ("--dark", "--json") and not word.startswith(tuple(f"{name}=" for name in MAKING)):
            words.append(word)
    return shlex.join(words)
