"""``adampatch rules check|list|show``."""

from __future__ import annotations

from pathlib import Path

import click

from adampatch.cli import options


@click.group("rules")
def command() -> None:
    """Validates, lists and explains rules.

    \b
    adampatch rules check my.toml
    """


@command.command("check")
@click.argument("file", metavar="FILE")
@click.option(
    "--json", "target", metavar="OUT", type=click.Path(path_type=Path), help="Write the normal form here."
)
@options.common
def check(file: str, target: Path | None, quiet: bool, verbose: int, debug: bool) -> None:
    """Validates a rules file; every error at once, as FILE:LINE.

    \b
    adampatch rules check my.toml --json my.json
    """
    from adampatch.project.atomic import replace_file
    from adampatch.ruleset import Rules

    rules = Rules.load(file)
    if target is not None:
        replace_file(target, rules.to_json().encode())
    if not quiet:
        click.echo(f"{file}: {options.plural(len(rules.rules), 'rule')}, valid")


@command.command("list")
@options.common
def list_(quiet: bool, verbose: int, debug: bool) -> None:
    """Lists the presets.

    \b
    adampatch rules list
    """
    from adampatch.ruleset.presets import list_presets

    for preset in list_presets():
        click.echo(f"{preset.name:<16}{preset.summary}")


@command.command("show")
@click.argument("name")
@options.common
def show(name: str, quiet: bool, verbose: int, debug: bool) -> None:
    """Prints a preset, ready to be copied and edited.

    \b
    adampatch rules show ceiling > my.toml
    """
    from adampatch.ruleset.presets import find_preset

    click.echo(find_preset(name).text(), nl=False)
