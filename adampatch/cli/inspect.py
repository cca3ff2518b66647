"""``adampatch inspect``."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adampatch.cli import options

if TYPE_CHECKING:
    from adampatch.ruleset.model import Rule


@click.command("inspect")
@click.argument("checkpoint", metavar="CHECKPOINT", type=click.Path(path_type=Path))
@click.option("--rules", metavar="FILE|PRESET", help="Say what these rules would clamp.")
@click.option("--learning-rate", type=float, help="Of the last update; the saved one, else 0.001.")
@click.option("--beta-1", type=float, help="0.9 where the checkpoint does not say it.")
@click.option("--beta-2", type=float, help="0.999 where the checkpoint does not say it.")
@click.option("--epsilon", type=float, help="1e-7, or 1e-8 of a tf.train optimizer.")
@click.option("--python", "executable", metavar="EXE", help="The interpreter that has TensorFlow.")
@options.report_format
@options.common
def command(
    checkpoint: Path,
    rules: str | None,
    learning_rate: float | None,
    beta_1: float | None,
    beta_2: float | None,
    epsilon: float | None,
    executable: str | None,
    style: str,
    quiet: bool,
    verbose: int,
    debug: bool,
) -> None:
    """Shows alpha and the rates that saved moments give, by Adam's formula, and what rules would clamp.

    CHECKPOINT is a TensorFlow checkpoint (prefix or directory), a .keras, .weights.h5 or .h5 file.

    \b
    adampatch inspect model.keras --rules ceiling
    """
    from adampatch.checkpoint.rates import inspected
    from adampatch.checkpoint.slots import read
    from adampatch.errors import AdampatchError

    named = {"learning_rate": learning_rate, "beta_1": beta_1, "beta_2": beta_2, "epsilon": epsilon}
    given = {name: value for name, value in named.items() if value is not None}
    for name, value in given.items():
        if not math.isfinite(value) or value < 0 or (name.startswith("beta") and value >= 1):
            option = "--" + name.replace("_", "-")
            raise AdampatchError(option, f"{value} is out of range; betas are below 1, nothing below 0")
    loaded: tuple[Rule, ...] = ()
    if rules is not None:
        from adampatch.ruleset import Rules

        loaded = Rules.load(rules).rules
    document = inspected(str(checkpoint), read(checkpoint, executable or sys.executable), given, loaded)
    if style == "json":
        options.print_json(document)
    elif not quiet:
        _print(document)


def _print(document: dict[str, Any]) -> None:
    values = document["hyperparameters"]
    step = "an unknown update" if document["step"] is None else f"update {document['step']}"
    click.echo(f"{document['optimizer'] or 'Adam'}, {step}: alpha {document['alpha']:.6g}")
    click.echo("  " + ", ".join(f"{name} {value:g}" for name, value in values.items()))
    if document["assumed"]:
        click.echo(f"  assumed, since the checkpoint does not say: {', '.join(document['assumed'])}")
    if document["step"] is None:
        click.echo("  without the step, alpha is the learning rate: no bias correction")
    if document["rules_not_judged"]:
        click.echo(f"  rules that only a training can tell of: {', '.join(document['rules_not_judged'])}")
    rows = [("variable", "rate p05", "p50", "p95", "active", "clamped")]
    for name, numbers in document["variables"].items():
        rates = [_number(numbers[f"rate_{part}_active"]) for part in ("p05", "p50", "p95")]
        clamped = ", ".join(
            f"{rule} {found['clamped_frac_active']:.1%}" for rule, found in numbers["rules"].items()
        )
        rows.append((name, *rates, f"{numbers['active_frac']:.0%}", clamped or "-"))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:-1], widths[1:-1], strict=True))]
        click.echo("  ".join([*cells, row[-1]]).rstrip())


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
