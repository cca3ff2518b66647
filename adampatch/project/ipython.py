"""What of a notebook cell is Python: IPython's magics, shell escapes and help masked line by line.
A masked line is a statement that parses, on the same line; `restored` puts the written one back."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from dataclasses import dataclass, field

from adampatch.analysis.module import syntax_tree

# Cell magics whose body is Python for this kernel -> whether what the body binds is there afterwards
# (%%timeit compiles its body into a function). The body of any other is none of ours.
PYTHON_CELL_MAGICS = {"capture": True, "prun": True, "time": True, "timeit": False}

_CELL_MAGIC = re.compile(r"%%(\w*)")
# No Python statement begins with any of these.
_ESCAPED = re.compile(r"[ \t]*[%!?/,;]")
# Targets hold no parenthesis, so that there is no call in what is left of such a line.
_ASSIGNED = re.compile(r"([ \t]*[\w.*][\w.,* \t]*(?:\[[^\[\]()=]*\][\w.,* \t]*)*(?::[^=()]*)?=[ \t]*)[%!]")
_HELP = re.compile(r"[ \t]*(?:[\w.,* \t]+=[ \t]*)?%{0,2}[\w*](?:[\w*.]|\[-?\d+\])*\?{1,2}[ \t]*$")
_INDENT = re.compile(r"[ \t]*")


@dataclass(frozen=True)
class CellCode:
    """The Python of one cell.

    text: parses, and has a line for each line of the cell; "" where `language` or `error` is set.
    flow: `text` as the notebook's flow sees it: a `raise` ends its cell, the cells after it run all the same.
    hidden: {masked line: the line as written}, both without their newlines.
    imports: the modules that its top-level imports name.
    shared: whether names that the cell binds are there in the cells after it.
    language: the cell magic that takes the whole cell away from Python, or None.
    error: why the cell does not parse, or None.
    """

    text: str
    flow: str = ""
    hidden: dict[str, str] = field(default_factory=dict)
    imports: tuple[str, ...] = ()
    shared: bool = True
    language: str | None = None
    error: SyntaxError | None = None

    @property
    def is_python(self) -> bool:
        """Whether there is code to look at."""
        return self.language is None and self.error is None

    def restored(self, text: str) -> str | None:
        """`text`, an edited form of `self.text`, with the lines as written; None where one of them is
        lost or there twice."""
        if not self.hidden:
            return text
        lines, met = [], []
        for line in io.StringIO(text, newline=""):
            bare = line.rstrip("\r\n")
            if bare in self.hidden:
                met.append(bare)
                line = self.hidden[bare] + line[len(bare) :]
            lines.append(line)
        return "".join(lines) if met == list(self.hidden) else None


def cell_code(source: str, mark: str) -> CellCode:
    """The Python of a cell's source. `mark` begins the names that masked lines get; no cell may hold it."""
    lines = list(io.StringIO(source, newline=""))
    masking = _Masking(lines, mark)
    shared = True
    first = next((number for number, line in enumerate(lines) if line.strip()), len(lines))
    for number in range(first, len(lines)):
        magic = _CELL_MAGIC.match(lines[number])
        if magic is None:
            break
        if magic.group(1) not in PYTHON_CELL_MAGICS:
            return CellCode("", language=magic.group(1))
        shared = shared and PYTHON_CELL_MAGICS[magic.group(1)]
        masking.hide(number)
    tree, error = _parsed(masking.text())
    if error is not None:
        # Only now: a cell that is Python as it stands has nothing to mask.
        masking.hide_magics()
        tree, error = _parsed(masking.text())
    if tree is None:
        return CellCode("", shared=shared, error=error)
    text = masking.text()
    return CellCode(text, _flow(tree, text), masking.hidden, tuple(_imports(tree, mark)), shared)


class _Masking:
    def __init__(self, lines: list[str], mark: str) -> None:
        self.written = lines
        self.lines = list(lines)
        self.mark = mark
        self.hidden: dict[str, str] = {}

    def text(self) -> str:
        return "".join(self.lines)

    def hide_magics(self) -> None:
        for number in range(len(self.lines)):
            bare = self.lines[number].rstrip("\r\n")
            if self.lines[number] != self.written[number]:
                continue
            assigned = _ASSIGNED.match(bare)
            if not (assigned or _ESCAPED.match(bare) or _HELP.match(bare)):
                continue
            if not _is_whole("".join(self.lines[:number])):
                continue  # the line goes on with a string or a bracket from above
            self.hide(number, assigned.group(1) if assigned else None)

    def hide(self, number: int, target: str | None = None) -> None:
        """Masks a line and those that backslashes join to it. An import stands in for it: a statement that
        fits everywhere and after which another import may follow."""
        indent = _match(_INDENT, self.written[number])
        start = f"{indent}import " if target is None else target
        while True:
            bare = self.written[number].rstrip("\r\n")
            masked = f"{start}{self.mark}{number + 1}"
            self.hidden[masked] = bare
            self.lines[number] = masked + self.written[number][len(bare) :]
            number += 1
            if not bare.endswith("\\") or number == len(self.lines):
                return
            start = f"{indent}import "


def _match(pattern: re.Pattern[str], line: str) -> str:
    found = pattern.match(line)
    return found.group() if found else ""


def _is_whole(text: str) -> bool:
    """Whether the next line begins a statement: no string, bracket or backslash is open."""
    try:
        for _ in tokenize.generate_tokens(io.StringIO(text).readline):
            pass
    except (tokenize.TokenError, SyntaxError) as error:
        return isinstance(error, IndentationError)
    return True


def _parsed(text: str) -> tuple[ast.Module | None, SyntaxError | None]:
    try:
        return syntax_tree(text), None
    except SyntaxError as error:
        return None, error


def _flow(tree: ast.Module, text: str) -> str:
    """`text` with a `pass` for each statement that would end a module; all else stays where it is."""
    stops = [node for node in tree.body if isinstance(node, ast.Raise) and node.end_lineno == node.lineno]
    lines = list(io.StringIO(text, newline=""))
    for node in reversed(stops):  # so that the columns of those before it on its line still hold
        line = lines[node.lineno - 1].encode("utf-8")
        before, after = line[: node.col_offset].decode("utf-8"), line[node.end_col_offset :].decode("utf-8")
        width = len(line.decode("utf-8")) - len(before) - len(after)
        lines[node.lineno - 1] = before + "pass".ljust(width) + after
    return "".join(lines)


def _imports(tree: ast.Module, mark: str) -> list[str]:
    found: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if not alias.name.startswith(mark)]
        elif isinstance(node, ast.ImportFrom):
            found.append(node.module or ".")
    return found
