"""Options of a command from its table of flags."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from sizeup.errors import UserError
from sizeup.scenario import Flag, checked

Command = TypeVar("Command", bound=Callable[..., Any])


class FlagType(click.ParamType[Any]):
    """What a flag reads; a bad value ends the program with exit code 2."""

    def __init__(self, flag: Flag) -> None:
        self.flag = flag
        self.name = "choice" if isinstance(flag.kind, tuple) else flag.kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value."""
        name = str(param.name) if param else "value"
        try:
            return checked({name: value}, {name: self.flag.kind})[name]
        except UserError as error:
            self.fail(str(error), param, ctx)


def flag_options(flags: Mapping[str, Flag]) -> Callable[[Command], Command]:
    """Return the decorator that gives a command one option for each flag, in their order."""

    def decorate(command: Command) -> Command:
        for name, flag in reversed(list(flags.items())):
            command = _option(name, flag)(command)
        return command

    return decorate


def _option(name: str, flag: Flag) -> Callable[[Command], Command]:
    option = "--" + name.replace("_", "-")
    if flag.kind == "flag":
        return click.option(option, name, is_flag=True, default=None, help=flag.help)
    if isinstance(flag.kind, tuple):
        return click.option(option, name, type=click.Choice(flag.kind), help=flag.help)
    return click.option(option, name, type=FlagType(flag), metavar=flag.metavar or "N", help=flag.help)
