"""Options of a command from its table of flags."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from sizeup.errors import UserError
from sizeup.scenario import Flag, checked, read_scenario, write_scenario

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


def scenario_options(flags: Mapping[str, Flag]) -> Callable[[Command], Command]:
    """Return the decorator for a command that answers a scenario: MODEL, its flags, scenario files, how to print."""
    file = click.Path(path_type=Path)
    stack: tuple[Callable[[Command], Command], ...] = (
        click.argument("model_spec", metavar="MODEL", required=False),
        flag_options({name: flag for name, flag in flags.items() if name != "model"}),
        click.option("--scenario", type=file, metavar="FILE", help="Read flags from a TOML file."),
        click.option("--save-scenario", type=file, metavar="FILE", help="Write the flags to a TOML file."),
        click.option("--json", "as_json", is_flag=True, help="Print a JSON object."),
        click.option("--why", is_flag=True, help="Explain every number: formula, numbers put in, source."),
    )

    def decorate(command: Command) -> Command:
        for option in reversed(stack):
            command = option(command)
        return command

    return decorate


def asked(
    given: Mapping[str, Any], kinds: Mapping[str, Any], *, scenario: Path | None, save: Path | None
) -> dict[str, Any]:
    """Return the flags given over those of a scenario file, written to ``save`` where that is named.

    Raises:
        UserError: a wrong value, or a file that cannot be read or written.
    """
    known = checked(given, kinds)
    values = {**(read_scenario(scenario, kinds) if scenario else {}), **known}
    if save:
        write_scenario(save, values, kinds)
    return values


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
