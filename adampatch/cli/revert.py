"""``adampatch revert``."""

from __future__ import annotations

import sys

import click

from adampatch.cli import options
from adampatch.cli.options import plural


@click.command("revert")
@click.argument("path", metavar="PATH")
@click.option("--force", is_flag=True, help="Restore originals over edits made since.")
@options.report_format
@options.common
def command(path: str, force: bool, style: str, quiet: bool, verbose: int, debug: bool) -> None:
    """Restores every file byte for byte.

    A file edited since it was patched has our calls taken out and keeps the edits; where that
    fails it is refused by name.

    \b
    adampatch revert .
    """
    from adampatch.project.apply import without_ours
    from adampatch.project.revert import NothingToRevert, RevertReport, find_root, revert

    try:
        report = revert(find_root(path), force=force, unpatch=without_ours)
    except NothingToRevert as error:
        options.note(str(error))
        report = RevertReport()
    if style == "json":
        options.print_json(
            {
                "schema": "adampatch/revert/1",
                "restored": report.restored,
                "unpatched": report.unpatched,
                "refused": [{"path": p, "reason": r} for p, r in report.refused],
                "removed_runtime": report.removed_runtime,
                "kept_runtime": report.kept_runtime,
            }
        )
    else:
        for refused, reason in report.refused:
            options.note(f"error: {refused}: {reason}")
        if not quiet:
            for name in report.unpatched:
                click.echo(f"{name}: edited since; our calls were taken out, the edits kept")
            back = plural(len(report.restored), "file")
            removed = plural(len(report.removed_runtime), "runtime module")
            click.echo(f"Restored {back} byte for byte, removed {removed}.")
    sys.exit(1 if report.refused else 0)
