"""Reports of a verification as files: JSON, Markdown, JUnit XML and one self-contained HTML page."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from html import escape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from adampatch.errors import AdampatchError
from adampatch.verify.judge import ERROR, GREEN, INCONCLUSIVE, NOT_RUN, PASS_BITWISE

Document = dict[str, Any]


def as_json(document: Document) -> str:
    return json.dumps(document, indent=1) + "\n"


# ------------------------------------------------------------------------ Markdown


def as_markdown(document: Document) -> str:
    """Summary, what is not green, one line for each optimizer, what was not verified."""
    lines = ["# adampatch verify", "", _headline(document), ""]
    failed = [row for row in document["cases"] if row["verdict"] not in (*GREEN, NOT_RUN)]
    if failed:
        lines += ["## Not green", "", *_table(("case", "verdict", "why"), map(_failure, failed)), ""]
    lines += ["## Optimizers", ""]
    lines += _table(("optimizer", "cases", "green", "to the bit", "error / bound"), _optimizers(document))
    if document["not_verified"]:
        rows = [(item["what"], item["reason"]) for item in document["not_verified"]]
        lines += ["", "## Not verified", "", *_table(("what", "reason"), rows)]
    return "\n".join(lines) + "\n"


def _headline(document: Document) -> str:
    summary, versions = document["summary"], document["environment"].get("versions", {})
    shown = ", ".join(f"{name} {version}" for name, version in versions.items())
    reached = "".join(f", {share:.0%} of {what}" for what, share in summary["coverage"].items())
    gpus = document["environment"].get("accelerators", {})
    shown = "; ".join([shown, *(f"{name} {words}" for name, words in gpus.items())])
    return f"{summary['planned']} cases, {summary['green']} green{reached}. {shown}."


def _failure(row: dict[str, Any]) -> tuple[str, ...]:
    return row["id"], row["verdict"], _why(row)


def _why(row: dict[str, Any]) -> str:
    if row["first_divergence"]:
        return ", ".join(f"{key} {value}" for key, value in row["first_divergence"].items())
    return row["reason"] or ""


def _optimizers(document: Document) -> list[tuple[str, ...]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in document["cases"]:
        if row["verdict"] != NOT_RUN:
            found.setdefault(row["optimizer"], []).append(row)
    return [
        (
            name,
            str(len(rows)),
            str(sum(row["verdict"] in GREEN for row in rows)),
            str(sum(row["verdict"] == PASS_BITWISE for row in rows)),
            _number(max((r["max_error_over_bound"] for r in rows), key=_size)),
        )
        for name, rows in found.items()
    ]


def _size(value: Any) -> float:
    return float(value)  # the words "inf" and "nan" too


def _number(value: Any) -> str:
    return f"{_size(value):.2f}" if _size(value) else "-"  # nothing had a bound


def _table(head: tuple[str, ...], rows: Any) -> list[str]:
    def line(cells: tuple[str, ...]) -> str:
        # nothing of a cell may end it, or the row
        return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"

    return [line(head), "|" + "---|" * len(head), *(line(row) for row in rows)]


# ------------------------------------------------------------------------ JUnit


def as_junit(document: Document) -> str:
    """One test suite; a case is a test, its optimizer the class. Inconclusive and not run: skipped."""
    cases = document["cases"]
    verdicts = [row["verdict"] for row in cases]
    skipped = sum(verdict in (NOT_RUN, INCONCLUSIVE) for verdict in verdicts)
    errors = verdicts.count(ERROR)
    green = sum(verdict in GREEN for verdict in verdicts)
    suite = ElementTree.Element(
        "testsuite",
        name="adampatch verify",
        tests=str(len(cases)),
        failures=str(len(cases) - green - skipped - errors),
        errors=str(errors),
        skipped=str(skipped),
    )
    for row in cases:
        case = ElementTree.SubElement(suite, "testcase", classname=row["optimizer"], name=row["id"])
        if row["verdict"] in GREEN:
            continue
        kind = {ERROR: "error", NOT_RUN: "skipped", INCONCLUSIVE: "skipped"}.get(row["verdict"], "failure")
        found = ElementTree.SubElement(case, kind, message=_printable(row["reason"] or row["verdict"]))
        found.text = _printable(_why(row))
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, "unicode") + "\n"


def _printable(text: str) -> str:
    """Without the control characters that XML has no way to write."""
    return "".join(c for c in text if c in "\n\t" or c.isprintable())


# ------------------------------------------------------------------------ HTML

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 70em; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0 } td, th { border: 1px solid #ccc; padding: .25em .6em }
th { background: #f4f4f4; text-align: left } td.number { text-align: right } .map td { text-align: center }
code { font-size: 90% } .wrong { background: #f5b7b1 } .open { background: #f9e79f } .none { color: #999 }
"""


def as_html(document: Document) -> str:
    """A page of its own: summary, a map of dtype by mode, failures, optimizers, what is left out."""
    failed = [row for row in document["cases"] if row["verdict"] not in (*GREEN, NOT_RUN)]
    parts = [f"<h1>adampatch verify</h1><p>{escape(_headline(document))}</p>", _heat_map(document)]
    if failed:
        parts.append("<h2>Not green</h2>" + _html_table(("case", "verdict", "why"), map(_failure, failed)))
    head = ("optimizer", "cases", "green", "to the bit", "error / bound")
    parts.append("<h2>Optimizers</h2>" + _html_table(head, _optimizers(document)))
    if document["not_verified"]:
        rows = [(item["what"], item["reason"]) for item in document["not_verified"]]
        parts.append("<h2>Not verified</h2>" + _html_table(("what", "reason"), rows))
    head_ = f'<meta charset="utf-8"><title>adampatch verify</title><style>{_STYLE}</style>'
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head_}</head>\n<body>{"".join(parts)}</body></html>\n'


def _heat_map(document: Document) -> str:
    """Formats by modes: the greatest error over its bound, darker the nearer to 1; red where a case
    is not green, yellow where it shows nothing."""
    cells: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in document["cases"]:
        cells.setdefault((row["dtype"], row["mode"]), []).append(row)
    modes = [m for m in ("eager", "function", "xla", "graph") if any(mode == m for _, mode in cells)]
    lines = ["<tr><th></th>" + "".join(f"<th>{mode}</th>" for mode in modes) + "</tr>"]
    for dtype in ("float16", "bfloat16", "float32", "float64"):
        if any(name == dtype for name, _ in cells):
            row = "".join(_cell(cells.get((dtype, mode), [])) for mode in modes)
            lines.append(f"<tr><th>{dtype}</th>{row}</tr>")
    words = "<p>Greatest error over its bound, and how many cases are green.</p>"
    return f'<h2>Formats by modes</h2>{words}<table class="map">{"".join(lines)}</table>'


def _cell(rows: list[dict[str, Any]]) -> str:
    ran = [row for row in rows if row["verdict"] != NOT_RUN]
    if not ran:
        return '<td class="none">not run</td>' if rows else '<td class="none">-</td>'
    green = [row for row in ran if row["verdict"] in GREEN]
    worst = max((_size(row["max_error_over_bound"]) for row in green), default=0.0)
    words = f"{worst:.2f}<br><small>{len(green)} of {len(ran)}</small>"
    if any(row["verdict"] not in (*GREEN, INCONCLUSIVE) for row in ran):
        return f'<td class="wrong">{words}</td>'
    if len(green) < len(ran):
        return f'<td class="open">{words}</td>'
    shade = 95 - int(35 * min(worst, 1.0))
    return f'<td style="background: hsl(145, 45%, {shade}%)">{words}</td>'


def _html_table(head: tuple[str, ...], rows: Any) -> str:
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    lines = ("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{''.join(lines)}</table>"


# ------------------------------------------------------------------------ files

WRITERS: dict[str, Callable[[Document], str]] = {
    ".json": as_json,
    ".md": as_markdown,
    ".xml": as_junit,
    ".html": as_html,
}


def check(path: Path, endings: Iterable[str] = WRITERS) -> None:
    """Raises AdampatchError where nothing can be written to ``path``; nothing is written yet."""
    if path.suffix.lower() not in endings:
        raise AdampatchError(path, f"is no kind of file that is written; end it in {', '.join(endings)}")
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise AdampatchError(path, "cannot be written; name a file in a directory that is there")


def write(path: Path, document: Document) -> None:
    """Writes the report in the form that the name's ending says."""
    try:
        path.write_text(WRITERS[path.suffix.lower()](document), encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise AdampatchError(path, f"cannot be written ({error.strerror}); name another file") from error
