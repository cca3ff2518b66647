"""The command line: one module per command, read when it is called. Printing only."""

from __future__ import annotations

import importlib
import io
import os
import sys

import click

from adampatch import __version__
from adampatch.errors import AdampatchError

#: command -> module of this package that defines ``command``
COMMANDS = {
    "scan": "scan",
    "apply": "apply",
    "revert": "revert",
    "run": "run",
    "report": "report",
    "graph": "graph",
    "inspect": "inspect",
    "rules": "rules",
    "verify": "verify",
    "explain": "explain",
}


class _Commands(click.Group):
    """Loads a command's module when it is asked for: start-up stays fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"adampatch.cli.{COMMANDS[name]}")
        command = module.command
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="adampatch")
def cli() -> None:
    """Shows and bounds the learning rate that Adam really uses, in TensorFlow code.

    \b
    adampatch scan train.py                  what optimizers are there
    adampatch apply . --rules ceiling        patch them in place, with a bound
    adampatch verify                         prove that patched and stock agree
    adampatch revert .                       take it back, byte for byte
    """


def main(arguments: list[str] | None = None) -> None:
    """The entry point. Bad input ends with ``error: ...`` and exit code 2, without a
    traceback unless ``--debug`` is among the arguments."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # as stderr does: a name that the terminal cannot write is escaped and stops nothing
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = cli.main(args=given, prog_name="adampatch", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f"; see `{context.command_path} --help`" if context is not None else ""
        click.echo(f"error: {error.format_message().rstrip('.')}{hint}", err=True)
        sys.exit(2)
    except BrokenPipeError:
        # the reader of a pipe went away: that is its right, and no error of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except AdampatchError as error:
        if "--debug" in given:
            raise
        for line in str(error).splitlines():
            click.echo(f"error: {line}", err=True)
        sys.exit(2)
    except Exception as error:
        if "--debug" in given:
            raise
        click.echo(
            f"error: internal error ({type(error).__name__}: {error}); nothing more was written. "
            "Run again with --debug and report the traceback",
            err=True,
        )
        sys.exit(2)
