"""``adampatch graph scan|apply``."""

from __future__ import annotations

import sys
from typing import Any

import click

from adampatch.cli import options
from adampatch.cli.options import plural, styled

_COLOURS = {"patchable": "green", "patched": "green", "already": "yellow", "refused": "red"}


@click.group("graph")
def command() -> None:
    """Finds and patches the updates of saved graphs: GraphDef, MetaGraphDef, SavedModel.

    \b
    adampatch graph apply model.meta patched.meta --rules ceiling
    """


@command.command("scan")
@click.argument("source", metavar="IN")
@click.option("--exit-code", is_flag=True, help="Exit with 1 if anything is refused.")
@options.report_format
@options.common
def scan(source: str, exit_code: bool, style: str, quiet: bool, verbose: int, debug: bool) -> None:
    """Lists the updates of the Adam family in a graph: what they are to which variable.

    IN is a .pb or .pbtxt file (GraphDef), a .meta file (MetaGraphDef) or the directory of a SavedModel.
    Needs no TensorFlow.

    \b
    adampatch graph scan model.meta
    """
    from adampatch.graph import files, report
    from adampatch.graph.session import scanned

    document, _ = files.read(files.located(source))
    rows = scanned(document)
    result = report.document("scan", document, rows, [])
    _show(result, style, quiet, verbose)
    sys.exit(1 if exit_code and result["summary"]["refused"] else 0)


@command.command("apply")
@click.argument("source", metavar="IN")
@click.argument("out", metavar="[OUT]", required=False)
@click.option("--in-place", is_flag=True, help="Replace IN; the original is kept for `adampatch revert`.")
@click.option("--rules", "rules_name", metavar="FILE|PRESET", help="Build these rules in.")
@click.option("--outputs", is_flag=True, help="Signatures of a SavedModel give the rates: adampatch_rate.")
@click.option(
    "--python",
    "executable",
    metavar="EXE",
    help="Have the TensorFlow of this Python load the result before it is written.",
)
@options.report_format
@options.common
def apply(
    source: str,
    out: str | None,
    in_place: bool,
    rules_name: str | None,
    outputs: bool,
    executable: str | None,
    style: str,
    quiet: bool,
    verbose: int,
    debug: bool,
) -> None:
    """Patches the updates in a graph: their rates can be fetched, and are bounded by rules.

    Without a rule the graph trains to the same bits. The last node of an update keeps its name; what a
    Session can fetch is called NODE/adampatch/rate, .../alpha, .../update and .../clamped and is in the
    collections adampatch/rate, ... of a meta graph. Needs no TensorFlow.

    \b
    adampatch graph apply model.meta patched.meta --rules ceiling
    """
    from adampatch.graph import checking, files, report
    from adampatch.graph.session import patched

    if (out is None) == (not in_place):
        raise click.UsageError("give OUT, or --in-place to replace the original; not both")
    place = files.located(source)
    document, before = files.read(place)
    if outputs and document.kind != "SavedModel":
        raise click.UsageError(f"--outputs is for SavedModels, and {source} is a {document.kind}")
    rows, changed = patched(document, None if rules_name is None else _rules(rules_name), outputs)
    after = document.serialized() if changed else before
    if executable is not None:
        checking.check(place, document, after, executable)
    if in_place:
        if changed:
            files.write_in_place(place, before, after)
        written = [source] if changed else []
    else:
        assert out is not None
        files.write_copy(place, out, after)
        written = [out]
    result = report.document("apply", document, rows, written)
    _show(result, style, quiet, verbose)
    if style == "text" and not quiet:
        _next(result, out or source)
    sys.exit(1 if result["summary"]["refused"] else 0)


def _rules(name: str) -> Any:
    from adampatch.graph.rules import Rules as GraphRules
    from adampatch.ruleset import Rules

    return GraphRules(Rules.load(name).normal_form(), name)


def _show(result: dict[str, Any], style: str, quiet: bool, verbose: int) -> None:
    if style == "json":
        options.print_json(result)
        return
    if quiet:
        return
    for site in result["sites"]:
        place = f"{site['function']}: " if site["function"] else ""
        status = styled(site["status"], fg=_COLOURS[site["status"]])
        click.echo(f"{status}  {place}{site['node']}  {site['op']} of {', '.join(site['variables'])}")
        if site["reason"]:
            click.echo(f"    {site['reason']}")
        if site["rate"] != "?":
            decay = f", decay {site['decay']}" if site["decay"] else ""
            click.echo(f"    rate {site['rate']}, direction {site['direction']}{decay}")
        if verbose and site["tensors"]:
            click.echo(f"    fetch {site['tensors']['rate']}")
    summary = result["summary"]
    counts = ", ".join(f"{summary[s]} {s}" for s in _COLOURS if summary[s])
    nodes = sum(graph["nodes"] for graph in result["graphs"])
    click.echo(
        f"{result['path']}: {result['format']}, {plural(nodes, 'node')}, "
        f"{plural(summary['sites'], 'update')} of the Adam family" + (f": {counts}." if counts else ".")
    )


def _next(result: dict[str, Any], out: str) -> None:
    if not result["summary"]["patched"]:
        click.echo("Nothing was patched.")
        return
    bounded = sum(bool(site["rules"]) for site in result["sites"])
    click.echo(
        f"Patched {plural(result['summary']['patched'], 'update')}, {bounded} of them under rules; "
        f"{out} is written."
    )
    fetched = next((site["tensors"]["rate"] for site in result["sites"] if site["tensors"]), None)
    if fetched:
        click.echo(f"Fetch the rates beside the train op: sess.run([train_op, {fetched!r}])")
