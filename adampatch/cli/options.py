"""Options that several commands share, and how they print."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def common(function: F) -> F:
    """``-q``, ``-v`` and ``--debug``."""
    function = click.option("--debug", is_flag=True, help="Show the traceback of an error.")(function)
    function = click.option("-v", "--verbose", count=True, help="Say more.")(function)
    return click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")(function)


def report_format(function: F) -> F:
    """``--format text|json``."""
    return click.option(
        "--format",
        "style",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="How to print the report.",
    )(function)


def paths(function: F) -> F:
    """``PATH...`` and ``--exclude``."""
    function = click.option(
        "--exclude", multiple=True, metavar="GLOB", help="Leave out files, as in .gitignore; repeatable."
    )(function)
    return click.argument("paths", nargs=-1, required=True, metavar="PATH...")(function)


def print_json(document: dict[str, Any]) -> None:
    # A file name that is no UTF-8 holds lone surrogates: `main` has the stream write them as JSON does.
    unicode = sys.stdout.encoding.lower().replace("-", "") == "utf8"
    click.echo(json.dumps(document, indent=1, ensure_ascii=not unicode))


def note(text: str) -> None:
    """A word to the user that is no part of the report."""
    click.echo(text, err=True)


def plural(count: int, noun: str, many: str | None = None) -> str:
    """``1 site``, ``2 sites``."""
    return f"{count} {noun if count == 1 else many or noun + 's'}"


def styled(text: str, **style: Any) -> str:
    """Colour on a terminal only; NO_COLOR is respected."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return click.style(text, **style)
