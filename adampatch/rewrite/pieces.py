"""A text cut into pieces: the logical lines of its top-level statements, as ``ast`` places them.

Only the pieces that change are parsed with libcst and printed again. All else is spliced in as it
is, so that what libcst would not print as it was (or not in time) is in nobody's way.
"""

from __future__ import annotations

import bisect
import io
import re
import tokenize
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from functools import cached_property
from typing import Any

from adampatch.analysis.module import syntax_tree
from adampatch.rewrite.edits import RUNTIME_NAME

# A lone CR ends a line too; str.splitlines also splits at form feeds and U+2028, Python does not.
_ENDING = r"(?:\r\n|\r(?!\n)|\n)"
NEWLINE = re.compile(_ENDING)
_BETWEEN = re.compile(rf"(?:[ \t\f]*(?:#[^\r\n]*)?{_ENDING})*[ \t\f]*")
#: from the end of a statement to the end of its logical line; no match where another one follows
_REST = re.compile(rf"(?:[ \t\f;]|\\{_ENDING})*(?:#[^\r\n]*)?(?:{_ENDING}|\Z)")


class Kind(Enum):
    """What the places of imports depend on. A RUNTIME import is that of the runtime, and alone."""

    IMPORT = auto()
    FUTURE = auto()
    RUNTIME = auto()
    STRING = auto()
    BLOCK = auto()
    OTHER = auto()


@dataclass(frozen=True)
class Piece:
    """Whole statements that share logical lines: ``text[start:end]``, with the last newline and
    without what indents the first line (a form feed may). ``line`` (from 1) and ``column`` (in code
    points, from 0) of ``start``; ``kinds`` of the statements."""

    start: int
    end: int
    line: int
    column: int
    kinds: tuple[Kind, ...]


class Layout:
    """Where the top-level statements of a text are, and how it is laid out."""

    def __init__(self, text: str, tree: Any = None) -> None:
        """``tree``: of ``ast`` or gast, where it is known. Raises SyntaxError, also for code that is
        nested too deeply."""
        self.text = text
        self._starts = [0, *(ending.end() for ending in NEWLINE.finditer(text))]
        self.pieces: list[Piece] = []
        kinds: list[Kind] = []
        start = end = 0
        for statement in (syntax_tree(text) if tree is None else tree).body:
            if not kinds:
                between = _BETWEEN.match(text, end)
                start = between.end() if between else end
            kinds.append(_kind(statement))
            rest = _REST.match(text, self._end_of(statement))
            if rest is not None:
                end = rest.end()
                self.pieces.append(self._piece(start, end, kinds))
                kinds = []
        self._piece_starts = [piece.start for piece in self.pieces]

    @cached_property
    def newline(self) -> str:
        """The first newline, as which libcst writes new ones."""
        found = NEWLINE.search(self.text)
        return found.group() if found else "\n"

    @cached_property
    def indent(self) -> str:
        """The first indentation, with which libcst indents new lines."""
        for piece in self.pieces:
            if Kind.BLOCK in piece.kinds:
                source = NEWLINE.sub("\n", self.text[piece.start : piece.end])
                for token in tokenize.generate_tokens(io.StringIO(source).readline):
                    if token.type == tokenize.INDENT:
                        return token.string.rpartition("\f")[2] or "    "
        return "    "

    def offset(self, line: int, column: int) -> int:
        """The offset of a line (from 1) and column (in code points)."""
        return self._starts[line - 1] + column

    def index_at(self, offset: int) -> int | None:
        """The index of the piece that an offset is in."""
        index = bisect.bisect_right(self._piece_starts, offset) - 1
        return index if index >= 0 and offset < self.pieces[index].end else None

    def joined(self, first: int, last: int) -> Piece:
        """Neighbouring pieces, and what is between them, as one."""
        kinds = [kind for piece in self.pieces[first : last + 1] for kind in piece.kinds]
        return self._piece(self.pieces[first].start, self.pieces[last].end, kinds)

    def spliced(self, changes: Iterable[tuple[int, int, str]]) -> str:
        """The text with (start, end, new text) put in; the changes do not overlap."""
        parts, at = [], 0
        for start, end, new in sorted(changes):
            parts += [self.text[at:start], new]
            at = end
        return "".join([*parts, self.text[at:]])

    def _piece(self, start: int, end: int, kinds: Iterable[Kind]) -> Piece:
        line = bisect.bisect_right(self._starts, start)
        return Piece(start, end, line, start - self._starts[line - 1], tuple(kinds))

    def _end_of(self, statement: Any) -> int:
        """The offset of the end of a statement, whose column is in UTF-8 bytes."""
        line: int = statement.end_lineno
        column: int = statement.end_col_offset
        start = self._starts[line - 1]
        before = self.text[start : start + column]
        if before.isascii():
            return start + column
        return start + len(before.encode()[:column].decode())


def _kind(statement: Any) -> Kind:
    name = type(statement).__name__  # ast's classes and gast's are not the same
    if name in ("Import", "ImportFrom"):
        module = getattr(statement, "module", None)
        if module is None and [alias.name for alias in statement.names] == [RUNTIME_NAME]:
            return Kind.RUNTIME
        return Kind.FUTURE if module == "__future__" else Kind.IMPORT
    if name == "Expr" and isinstance(getattr(statement.value, "value", None), (str, bytes)):
        return Kind.STRING
    return Kind.BLOCK if hasattr(statement, "body") or hasattr(statement, "cases") else Kind.OTHER
