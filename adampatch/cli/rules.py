"""``adampatch rules check|list|show``."""

from __future__ import annotations

import sys
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
@options.report_format
@options.common
def check(file: str, target: Path | None, style: str, quiet: bool, verbose: int, debug: bool) -> None:
    """Validates a rules file and says what each rule means; every error at once, as FILE:LINE.

    \b
    adampatch rules check my.toml --json my.json
    """
    from adampatch.project.atomic import replace_file
    from adampatch.ruleset import RuleErrors, Rules
    from adampatch.ruleset.wording import meaning

    try:
        rules = Rules.load(file)
    except RuleErrors as errors:
        if style == "json":
            found = [
                {"code": e.code, "line": e.line, "rule": e.rule_id, "message": e.what, "fix": e.fix}
                for e in errors.errors
            ]
            options.print_json({"schema": "adampatch/rules/1", "path": file, "valid": False, "errors": found})
            sys.exit(2)
        raise
    if target is not None:
        replace_file(target, rules.to_json().encode())
    said = [{"id": rule.id, "meaning": meaning(rule)} for rule in rules.rules]
    if style == "json":
        report = {"schema": "adampatch/rules/1", "path": file, "valid": True, "errors": [], "rules": said}
        options.print_json({**report, "normal_form": rules.normal_form()})
    elif not quiet:
        click.echo(f"{file}: {options.plural(len(said), 'rule')}, valid")
        for rule in said:
            click.echo(f"  {rule['id']}: {rule['meaning']}")


@command.command("list")
@options.report_format
@options.common
def list_(style: str, quiet: bool, verbose: int, debug: bool) -> None:
    """Lists the presets.

    \b
    adampatch rules list
    """
    from adampatch.ruleset.presets import list_presets

    presets = list_presets()
    if style == "json":
        listed = [{"name": p.name, "summary": p.summary, "path": str(p.path)} for p in presets]
        options.print_json({"schema": "adampatch/presets/1", "presets": listed})
        return
    for preset in presets:
        click.echo(f"{preset.name:<16}{preset.summary}")


@command.command("show")
@click.argument("name")
@options.report_format
@options.common
def show(name: str, style: str, quiet: bool, verbose: int, debug: bool) -> None:
    """Prints a preset, ready to be copied and edited.

    \b
    adampatch rules show ceiling > my.toml
    """
    from adampatch.ruleset import Rules
    from adampatch.ruleset.presets import find_preset

    preset = find_preset(name)
    if style == "json":
        said = {"name": preset.name, "summary": preset.summary, "path": str(preset.path)}
        form = Rules.load(preset.path).normal_form()
        options.print_json(
            {"schema": "adampatch/preset/1", **said, "text": preset.text(), "normal_form": form}
        )
    else:
        click.echo(preset.text(), nl=False)
