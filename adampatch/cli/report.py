"""``adampatch report``."""

from __future__ import annotations

from pathlib import Path

import click

from adampatch.cli import options
from adampatch.cli.options import plural


@click.command("report")
@click.argument("directory", metavar="LOGDIR", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    "target",
    metavar="OUT.html",
    type=click.Path(path_type=Path),
    help="The page to write; report.html in LOGDIR by default.",
)
@options.common
def command(directory: Path, target: Path | None, quiet: bool, verbose: int, debug: bool) -> None:
    """Makes one page of plots of what was logged: no scripts, nothing from elsewhere.

    \b
    adampatch report runs/a -o a.html
    """
    from adampatch.errors import AdampatchError
    from adampatch.report.page import as_html
    from adampatch.report.reading import read_log

    logs = read_log(directory)
    target = target or (directory if directory.is_dir() else directory.parent) / "report.html"
    if target.is_dir() or not target.absolute().parent.is_dir():
        raise AdampatchError(target, "cannot be written; name a file in a directory that is there")
    try:
        target.write_text(as_html(logs, f"adampatch: {directory}"), "utf-8", "backslashreplace")
    except OSError as error:
        raise AdampatchError(target, f"cannot be written ({error.strerror}); name another file") from error
    if not quiet:
        variables = sum(len(log.variables) for log in logs)
        click.echo(f"{target}: {plural(len(logs), 'optimizer')}, {plural(variables, 'variable')}")
