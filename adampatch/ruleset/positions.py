"""On which line each key of a TOML or JSON text stands: the parsers do not tell.
Only for texts that a parser has accepted; what cannot be told apart falls back to the enclosing line."""

from __future__ import annotations

import json
import re

Path = tuple["str | int", ...]

_TOML_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?""""{0,2}'
    r"|'''.*?''''{0,2}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|\#[^\n]*"
    r"|\n"
    r"|[\[\]{}]"
    r"|[^\"'\#\n\[\]{}]+",
    re.DOTALL,
)
_TOML_KEY = re.compile(r"""\s*(?:"((?:\\.|[^"\\])*)"|'([^']*)'|([A-Za-z0-9_-]+))\s*(\.?)""")
_JSON_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|[{}\[\]:,]|[^\s{}\[\]:,"]+|\s+')


class Positions:
    """path -> line from 1; a path is made of keys and, within arrays, indices from 0."""

    def __init__(self, first: int | None = None) -> None:
        self.first = first
        self.lines: dict[Path, int] = {}
        # JSON only: keys that are given twice, which Python's parser passes over in silence.
        self.duplicates: list[tuple[Path, int]] = []

    def line(self, *path: str | int) -> int | None:
        """The line of `path`, or of the nearest thing around it; None where there is no text."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return self.first

    @classmethod
    def of_toml(cls, text: str) -> Positions:
        positions = cls(1)
        prefix: Path = ()
        arrays: dict[Path, int] = {}
        for line, statement in _toml_statements(text.replace("\r\n", "\n")):
            is_header = statement.startswith("[")
            path: Path = () if is_header else prefix
            for part in _toml_key(statement.lstrip("[")):
                path = (*path, part)
                if path in arrays:
                    path = (*path, arrays[path])
            if statement.startswith("[["):
                # A header for the next element: not inside the one before.
                name = path[:-1] if path and isinstance(path[-1], int) else path
                arrays[name] = arrays.get(name, -1) + 1
                path = (*name, arrays[name])
            if is_header:
                prefix = path
            for length in range(1, len(path) + 1):
                positions.lines.setdefault(path[:length], line)
        return positions

    @classmethod
    def of_json(cls, text: str) -> Positions:
        positions = cls(1)
        # One (path, next index or None for an object, key or None) for each open bracket.
        stack: list[tuple[Path, int | None, str | None]] = []
        line = 1
        for token in _JSON_TOKEN.findall(text):
            if token in "{[" or not (token.isspace() or token in "}]:,"):
                path: Path = ()
                if stack:
                    base, index, key = stack[-1]
                    if index is not None:
                        path = (*base, index)
                        stack[-1] = (base, index + 1, None)
                    elif key is None:
                        key = json.loads(token)
                        path = (*base, str(key))
                        if path in positions.lines:
                            positions.duplicates.append((path, line))
                        positions.lines[path] = line
                        stack[-1] = (base, None, str(key))
                        continue
                    else:
                        path = (*base, key)
                        stack[-1] = (base, None, None)
                if path:
                    positions.lines.setdefault(path, line)
                if token in "{[":
                    stack.append((path, 0 if token == "[" else None, None))
            elif token in "}]":
                stack.pop()
            line += token.count("\n")
        return positions


def _toml_statements(text: str) -> list[tuple[int, str]]:
    """(line, text without comments) of each header and each assignment, which may span lines."""
    statements: list[tuple[int, str]] = []
    line, start, depth = 1, 1, 0
    parts: list[str] = []
    for token in (*_TOML_TOKEN.findall(text), "\n"):
        if token == "\n" and depth == 0:
            if parts:
                statements.append((start, "".join(parts).strip()))
            parts = []
        elif not token.startswith("#") and not (token.isspace() and not parts):
            if not parts:
                start = line
            parts.append(token)
            depth += (token in ("[", "{")) - (token in ("]", "}"))
        line += token.count("\n")
    return statements


def _toml_key(statement: str) -> list[str]:
    parts = []
    offset = 0
    while found := _TOML_KEY.match(statement, offset):
        basic, literal, bare, dot = found.groups()
        parts.append(basic or literal or bare or "")
        offset = found.end()
        if not dot:
            break
    return parts
