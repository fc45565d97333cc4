"""The command line: parse, call, render. Commands load only when they run, so ``--help`` stays quick."""

from __future__ import annotations

import importlib
import sys

import click

from sizeup import __version__
from sizeup.errors import UserError

COMMANDS = {
    "model": ("sizeup.cli.model", "How big is it, what does it need, what holds it? (the default command)"),
    "train": ("sizeup.cli.train", "Does training fit, with which plan, how long, how much?"),
    "serve": ("sizeup.cli.serve", "Does it serve, how many users, how fast, for how much?"),
    "validate": ("sizeup.cli.validate", "Predict measured cases and compare, group by group."),
    "envelope": ("sizeup.cli.envelope", "The back-of-the-envelope rules, and where they are loose."),
    "fit": ("sizeup.cli.fit", "Which models run on this hardware, and how well?"),
    "web": ("sizeup.cli.web", "The same in the browser: pictures, sliders, links to share."),
    "gpus": ("sizeup.cli.catalog", "List and filter GPUs."),
    "instances": ("sizeup.cli.catalog", "List and filter cloud instances with their dated prices."),
    "models": ("sizeup.cli.catalog", "List and filter the models that have a name here."),
}
"""Each command: the module that holds it under its own name, and its line in the help."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called; an unknown first word is taken as a model."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the command names in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, importing its module."""
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(COMMANDS[cmd_name][0]), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put ``model`` in front when the first word is no command."""
        if args and args[0] not in COMMANDS and args[0] not in ("--help", "-h", "--version"):
            args = ["model", *args]
        return super().parse_args(ctx, args)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="A SPEC is a catalog name, a Hub id, a config.json or its folder, a .safetensors or .gguf file, or 70b.",
)
@click.version_option(__version__, prog_name="sizeup")
def cli() -> None:
    """Does this LLM fit, how many GPUs, how long, how much - with receipts.

    sizeup llama-3.1-8b is short for sizeup model llama-3.1-8b.
    """


def report(error: UserError) -> None:
    """Print an error the way every command does: what happened, then a hint."""
    click.echo(f"{click.style('error:', fg='red', bold=True)} {error.message}", err=True)
    if error.hint:
        click.echo(f"{click.style('hint:', fg='cyan', bold=True)}  {error.hint}", err=True)


def main() -> None:
    """Run the command line; exit 0 fits, 1 does not fit, 2 error."""
    try:
        code = cli.main(standalone_mode=False)
    except UserError as error:
        report(error)
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        report(UserError(f"cannot write: {error.strerror or error}"))
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)
