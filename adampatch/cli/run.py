"""``adampatch run``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from adampatch.cli import options
from adampatch.cli.options import plural


@click.command("run", context_settings={"allow_interspersed_args": False})
@click.option("--rules", metavar="FILE|PRESET", help="Bounds to obey; a preset, or a TOML or JSON file.")
@click.option(
    "--log", metavar="DIR", type=click.Path(path_type=Path), help="Write the numbers there, for TensorBoard."
)
@click.option("--every", metavar="N", type=click.IntRange(min=1), help="Updates between samples (100).")
@click.option("-m", "as_module", is_flag=True, help="SCRIPT is the name of a module, as in python -m.")
@options.common
@click.argument("script", metavar="SCRIPT")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[ARGS]...")
def command(
    rules: str | None,
    log: Path | None,
    every: int | None,
    as_module: bool,
    script: str,
    arguments: tuple[str, ...],
    quiet: bool,
    verbose: int,
    debug: bool,
) -> None:
    """Runs a training script, unmodified, with its optimizers patched as they are imported.

    Files stay as they are; the exit code is the script's, its arguments follow it.

    \b
    adampatch run --log runs/a --every 10 train.py --epochs 3
    """
    from adampatch import importing
    from adampatch.errors import AdampatchError
    from adampatch.importing import children, program
    from adampatch.project.importing import Rewriter

    _settings(rules, log, every)
    try:
        todo = program.Program([script, *arguments], as_module)
        rewriter = Rewriter([todo.folder])
        installation = importing.install(rewriter=rewriter)
        children.follow(installation)
        try:
            code = todo.run(installation)
        finally:
            if not quiet:
                _summary(rewriter, verbose)
    except program.NotFound as error:
        raise AdampatchError(error.where, error.what) from None
    sys.exit(code)


def _settings(rules: str | None, log: Path | None, every: int | None) -> None:
    """Checks what was asked for, and puts it where the run time, here and in children, looks first."""
    from adampatch.errors import AdampatchError
    from adampatch.ruleset import Rules
    from adampatch.ruleset.load import path_for

    if rules is not None:
        Rules.load(rules)
        is_file = "/" in rules or rules.endswith((".toml", ".json"))
        os.environ["ADAMPATCH_RULES"] = str(path_for(rules).absolute()) if is_file else rules
    if every is not None:
        os.environ["ADAMPATCH_EVERY"] = str(every)
    if log is not None:
        try:
            log.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise AdampatchError(
                log, f"cannot be written ({error.strerror}); name a directory for the numbers"
            ) from error
        os.environ["ADAMPATCH_LOG"] = str(log.absolute())


def _summary(rewriter: Any, verbose: int) -> None:
    say = options.note
    sites = sum(rewriter.patched.values())
    modules = plural(len(rewriter.patched), "module")
    if sites:
        say(f"adampatch: patched {plural(sites, 'site')} in {modules}, in memory")
    for path, line, name, reason in rewriter.refused:
        say(f"adampatch: {path}:{line}: {name} stays as it is: {reason}")
    for path, why in rewriter.failed:
        say(f"adampatch: {path}: stays as it is: {why}")
