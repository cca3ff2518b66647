"""``adampatch verify``."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from adampatch.cli import options
from adampatch.cli.options import plural, styled

_MEANING = {
    "FAIL": "patched and stock differ",
    "MODEL_INVALID": "stock is outside of its own bound: the reference is wrong, or TensorFlow changed",
    "INCONCLUSIVE": "shows nothing",
    "ERROR": "did not end",
}
#: whose versions are said before anything is imported
_PACKAGES = ("tensorflow", "tensorflow_cpu", "keras", "tf_keras", "tensorflow_addons")
_EXIT = {
    0: "Green: patched optimizers compute what stock does.",
    1: "Not green: a patched optimizer differs. Please report the first divergence above.",
    3: "Not verified: a device that was asked for is not there.",
    4: "Not green: stock itself breaks the reference; nothing is shown by its cases.",
    5: "Not green: a case ended with an error, or none was selected.",
    6: "Not green: too many cases show nothing.",
}


@click.command("verify")
@click.argument("path", required=False, metavar="[PATH]")
@click.option("--quick", is_flag=True, help="A few cases of each optimizer only.")
@click.option("--full", is_flag=True, help="Cover all triples of what cases differ in, not all pairs.")
@click.option(
    "--case", "pattern", metavar="GLOB", help="Only cases whose id matches, such as '*Nadam/*xla*'."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of gradients and start values.")
@click.option("--device", default="cpu", show_default=True, metavar="cpu,gpu,all", help="Where to run.")
@click.option("--require-gpu", is_flag=True, help="Exit with 3 where no GPU is visible.")
@click.option(
    "--max-inconclusive",
    type=click.FloatRange(0, 1),
    default=0.05,
    show_default=True,
    help="Share of cases that may show nothing.",
)
@click.option(
    "--python",
    "executable",
    metavar="EXE",
    help="The interpreter whose TensorFlow is meant (Python >= 3.7, TensorFlow >= 1.15); nothing of "
    "adampatch needs to be installed there.",
)
@click.option(
    "--rules",
    metavar="FILE|PRESET",
    help="Judge under these rules, each on every variable, in place of bounds of our own.",
)
@click.option(
    "--report",
    "reports",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write the report too; .json, .md, .xml (JUnit) or .html; repeatable.",
)
@click.option(
    "--export",
    metavar="FILE.npz",
    type=click.Path(path_type=Path),
    help="Write the cases with their numbers, to be replayed on another machine.",
)
@click.option(
    "--replay",
    metavar="FILE.npz",
    type=click.Path(path_type=Path),
    help="Run the cases of such a file; its verdicts come along in the report.",
)
@options.report_format
@options.common
def command(
    path: str | None,
    quick: bool,
    full: bool,
    pattern: str | None,
    seed: int,
    device: str,
    require_gpu: bool,
    max_inconclusive: float,
    executable: str | None,
    rules: str | None,
    reports: tuple[Path, ...],
    export: Path | None,
    replay: Path | None,
    style: str,
    quiet: bool,
    verbose: int,
    debug: bool,
) -> None:
    """Runs stock and patched optimizers side by side and judges every element.

    Takes every Adam-family optimizer of the TensorFlow and Keras of this Python, or of
    --python's. With PATH: the classes and uses of a project, which are imported and run; where
    it is patched, what is on disk against the originals, else a patched temporary copy. With the
    path of a graph (.pb, .pbtxt, .meta, or a SavedModel's directory): the updates in it.

    Without a rule patched and stock must agree to the bit; both, and what a rule clamps, must
    lie within a bound derived from the format's rounding.

    \b
    adampatch verify
    """
    from adampatch.project.interpreter import installed_versions
    from adampatch.verify import carrying, rendering, report
    from adampatch.verify.graph_subject import is_graph
    from adampatch.verify.graphs import verify_graph
    from adampatch.verify.projects import verify_project
    from adampatch.verify.session import Request, verify

    if path is not None and (export is not None or replay is not None):
        raise click.UsageError("--export and --replay carry stock optimizers, not a project; leave PATH out")
    for file in (*reports, *([export] if export is not None else [])):
        rendering.check(file, rendering.WRITERS if file in reports else (".npz",))
    devices = {name.strip().lower() for name in device.split(",")}
    unknown = sorted(name for name in devices if not re.fullmatch(r"all|(cpu|gpu)(:\d+)?", name))
    if unknown:
        raise click.UsageError(
            f"--device {', '.join(unknown)}: use cpu, gpu or all, or one such as gpu:1, with commas"
        )
    if quick and full:
        raise click.UsageError("--quick and --full exclude each other; give one of them")
    if seed < 0:
        raise click.UsageError("--seed is negative; use 0 or more")
    request = Request(
        quick=quick,
        full=full,
        seed=seed,
        pattern=pattern,
        devices=frozenset(devices),
        require_gpu=require_gpu,
        executable=executable or sys.executable,
        rules=() if rules is None else _rules(rules),
        replay=replay,
    )

    def announce(cases: list[Any], lanes: int) -> None:
        if not quiet:
            options.note(report.plan_in_words(cases, seed, lanes))

    if not quiet:
        packages = installed_versions(request.executable, _PACKAGES)
        options.note(report.outlook_in_words(request, packages, path, path is not None and is_graph(path)))
    with _progress(quiet) as progress:
        if path is None:
            result = verify(request, progress, announce)
        elif is_graph(path):
            result = verify_graph(path, request, progress, announce)
        else:
            result = verify_project(path, request, progress, announce)
    document = report.as_document(result)
    code = report.exit_code(result, max_inconclusive)
    for file in reports:
        rendering.write(file, document)
    if export is not None:
        carrying.export(export, result.rows, document["environment"])
    if style == "json":
        options.print_json(document)
    elif not quiet:
        _print(document, code, verbose)
    sys.exit(code)


def _rules(name: str) -> tuple[Any, ...]:
    """The rules of a file or preset, as verify takes them."""
    from adampatch.ruleset import Rules
    from adampatch.verify.cases import Rule

    return tuple(Rule.all_of(Rules.load(name).normal_form()["rules"]))


@contextmanager
def _progress(quiet: bool) -> Iterator[Any]:
    """Shows how far it is on stderr, on a terminal and after two seconds only."""
    if quiet or not sys.stderr.isatty():
        yield lambda done, total, name: None
        return
    from rich.console import Console
    from rich.progress import Progress

    started = time.monotonic()
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("TensorFlow ...", total=None, visible=False)

        def progress(done: int, total: int, name: str) -> None:
            visible = time.monotonic() - started > 2
            bar.update(task, completed=done, total=total, description=name, visible=visible)

        yield progress


def _print(document: dict[str, Any], code: int, verbose: int) -> None:
    """Failures first, then one line for each optimizer, then what was not verified."""
    from adampatch.verify.judge import GREEN, NOT_RUN

    for row in document["cases"]:
        if row["verdict"] not in (*GREEN, NOT_RUN):
            _print_failure(row)
    of_each: dict[str, list[dict[str, Any]]] = {}
    for row in document["cases"]:  # drawn cases come after the cores of all
        of_each.setdefault(row["optimizer"], []).append(row)
    for optimizer, rows in of_each.items():
        _print_optimizer(optimizer, rows, verbose)
    for item in document["not_verified"]:
        click.echo(f"{styled('not verified', fg='yellow')}  {item['what']}: {item['reason']}")
    versions = document["environment"]["versions"]
    shown = ", ".join(
        f"{name} {versions[name]}" for name in ("tensorflow", "keras", "tf_keras") if name in versions
    )
    summary = document["summary"]
    reached = "".join(f", {share:.0%} of {what}" for what, share in summary["coverage"].items())
    click.echo(f"{plural(summary['planned'], 'case')}, {summary['green']} green{reached}; {shown}.")
    click.echo(_EXIT[code])


def _print_failure(row: dict[str, Any]) -> None:
    click.echo(
        f"{styled(row['verdict'], fg='red')}  {row['id']}: {row['reason'] or _MEANING[row['verdict']]}"
    )
    if row["first_divergence"]:
        words = ", ".join(f"{key} {value}" for key, value in row["first_divergence"].items())
        click.echo(f"    first divergence: {words}")


def _print_optimizer(optimizer: str, rows: list[dict[str, Any]], verbose: int) -> None:
    from adampatch.verify.judge import GREEN, NOT_RUN, PASS_BITWISE

    ran = [row for row in rows if row["verdict"] != NOT_RUN]
    if not ran:
        return  # it stands under what was not verified
    green = sum(row["verdict"] in GREEN for row in ran)
    bitwise = sum(row["verdict"] == PASS_BITWISE for row in ran)
    worst = max((row["max_error_over_bound"] for row in ran if row["verdict"] in GREEN), default=0.0)
    counts = f"{green} of {plural(len(ran), 'case')} green, {bitwise} of them to the bit"
    colour = "green" if green == len(ran) else "red"
    near = f"; greatest error {worst:.2f} of its bound" if worst else ""  # else nothing had one
    click.echo(f"{styled(optimizer, fg=colour)}  {counts}{near}")
    if verbose:
        for row in rows:
            click.echo(f"    {row['verdict']:<13} {row['id']}  {row['max_error_over_bound']}")
