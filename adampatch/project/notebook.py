"""Jupyter notebooks: their code cells as one text, and new sources written into the file's own bytes.
Reading and encoding only; what of a cell is Python, `ipython` says."""

from __future__ import annotations

import bisect
import codecs
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adampatch.project.ipython import CellCode, cell_code
from adampatch.project.prefilter import mentions_adam
from adampatch.project.text import Unreadable, normalise

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()
# What one character may look like inside of a JSON string; a pair of surrogates is one character.
_UNIT = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\.|[^\\]", re.DOTALL
)
# Kernels that are not Python's, for notebooks that name the kernel and not its language.
_OTHER_KERNELS = re.compile(
    r"(ir|julia|octave|scala|bash|javascript|rust|gophernotes|\.net)\b", re.IGNORECASE
)


@dataclass(frozen=True)
class Cell:
    """One code cell.

    number: its place among all cells of the notebook, from 1.
    start: the line of `Notebook.text` on which it begins, from 1.
    text: its source, with "\\n" where every line ends alike, as in `SourceText`.
    newline, mixed: as in `SourceText`.
    span: of the value of "source" in `Notebook.json`.
    """

    number: int
    start: int
    text: str
    newline: str
    mixed: bool
    code: CellCode
    span: tuple[int, int]


@dataclass(frozen=True)
class Notebook:
    """One notebook: `encode({})` gives back the very bytes that were read.

    json: the file as text, without the BOM.
    cells: the code cells, in file order; none where the notebook is not Python's.
    text: the Python of all code cells as one module, for analysis; what is not Python is masked.
    """

    path: Path
    data: bytes
    json: str
    bom: bool
    cells: tuple[Cell, ...]
    text: str

    @classmethod
    def from_bytes(cls, data: bytes, path: str | Path = "<bytes>") -> Notebook:
        """Reads a notebook; `path` is only for messages. Raises `Unreadable` where it is no notebook, or of
        a format other than 4 with code that mentions Adam."""
        path = Path(path)
        bom = data.startswith(codecs.BOM_UTF8)
        body = data[len(codecs.BOM_UTF8) :] if bom else data
        try:
            text = body.decode("utf-8")
        except UnicodeDecodeError as error:
            line = body.count(b"\n", 0, error.start) + 1
            what = f"byte 0x{body[error.start]:02x} is not utf-8 (line {line}); save the notebook in Jupyter"
            raise Unreadable(path, what) from error
        document = _document(path, text)
        if not _is_supported(path, document) or not _is_python(document.get("metadata")):
            return cls(path, data, text, bom, (), "")
        cells = _code_cells(path, text)
        return cls(path, data, text, bom, tuple(cells), "".join(_block(cell) for cell in cells))

    @property
    def first_line(self) -> str:
        """The first line of the first code cell that is not blank, as written."""
        written = next((cell.text for cell in self.cells if cell.text.strip()), "")
        return written.split("\n", 1)[0]

    @property
    def code(self) -> bytes:
        """The code cells as written, without those of other languages."""
        written = "\n".join(cell.text for cell in self.cells if cell.code.language is None)
        return written.encode("utf-8", "replace")

    @property
    def unparsed(self) -> list[Cell]:
        """The cells that are no Python."""
        return [cell for cell in self.cells if cell.code.error is not None]

    def cell_at(self, line: int) -> Cell:
        """The code cell that a line of `text` is in."""
        return self.cells[bisect.bisect_right(self.cells, line, key=lambda cell: cell.start) - 1]

    def place(self, line: int) -> tuple[int | None, int]:
        """(cell's number, line in the cell) of a line of `text`."""
        cell = self.cell_at(line)
        return cell.number, line - cell.start + 1

    def encode(self, sources: Mapping[int, str]) -> bytes:
        """The bytes of the notebook with new sources, by cell number; all other bytes are as they were."""
        pieces: list[str] = []
        at = 0
        for cell in self.cells:
            if cell.number in sources and sources[cell.number] != cell.text:
                start, end = cell.span
                new = sources[cell.number]
                if not cell.mixed and cell.newline != "\n":
                    new = new.replace("\n", cell.newline)
                pieces += [self.json[at:start], _written(self.json[start:end], new)]
                at = end
        body = "".join([*pieces, self.json[at:]]).encode("utf-8")
        return codecs.BOM_UTF8 + body if self.bom else body


# ------------------------------------------------------------------------- reading


def _document(path: Path, text: str) -> dict[str, Any]:
    try:
        document, end = _DECODER.raw_decode(text, _skip(text, 0))
        if _skip(text, end) != len(text):
            raise json.JSONDecodeError("Extra data", text, end)
    except json.JSONDecodeError as error:
        what = f"is not valid JSON: {error.msg} (line {error.lineno}); repair it, or save it in Jupyter"
        raise Unreadable(path, what) from error
    except (ValueError, RecursionError) as error:  # a number too long, nested too deep
        raise Unreadable(path, f"cannot be read as JSON ({error}); save it in Jupyter") from error
    if not isinstance(document, dict):
        raise Unreadable(path, "is no notebook: its JSON is not an object; save it in Jupyter")
    return document


def _is_supported(path: Path, document: dict[str, Any]) -> bool:
    """False for a notebook of another format without code that mentions Adam."""
    version = document.get("nbformat", 4)
    if version == 4 and isinstance(document.get("cells"), list):
        return True
    if version == 4:
        raise Unreadable(path, 'is no notebook: it has no list of "cells"; save it in Jupyter')
    # Format 3 has its cells on worksheets.
    inputs = _inputs([document.get("worksheets"), document.get("cells")])
    if not any(mentions_adam(code.encode("utf-8", "replace")) for code in inputs):
        return False
    raise Unreadable(
        path,
        f"unsupported notebook format {version}; `jupyter nbconvert --to notebook --inplace` makes it 4",
    )


def _inputs(value: Any) -> Iterator[str]:
    """The texts of code cells in other formats, wherever they are."""
    if isinstance(value, list):
        for item in value:
            yield from _inputs(item)
    elif isinstance(value, dict) and value.get("cell_type") == "code":
        for text in (value.get("input"), value.get("source")):
            yield "".join(map(str, text)) if isinstance(text, list) else str(text)
    elif isinstance(value, dict):
        yield from _inputs(value.get("cells"))


def _is_python(metadata: object) -> bool:
    tables = metadata if isinstance(metadata, dict) else {}
    kernel, language = (
        table if isinstance(table, dict) else {}
        for table in (tables.get("kernelspec"), tables.get("language_info"))
    )
    name = language.get("name") or kernel.get("language")
    if isinstance(name, str):
        return name.lower().startswith(("python", "ipython"))
    return _OTHER_KERNELS.match(str(kernel.get("name", ""))) is None


def _code_cells(path: Path, text: str) -> list[Cell]:
    start, _ = dict(_members(text, _skip(text, 0)))["cells"]
    found: list[tuple[int, str, tuple[int, int]]] = []
    for number, (value, at, _) in enumerate(_elements(text, start), start=1):
        if not isinstance(value, dict) or value.get("cell_type") != "code":
            continue
        source = value.get("source")
        lines = [source] if isinstance(source, str) else source
        if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
            raise Unreadable(path, f"is no notebook: cell {number} has no source; save it in Jupyter")
        found.append((number, "".join(lines), dict(_members(text, at))["source"]))
    mark = "_ipython_line_"
    while any(mark in source for _, source, _ in found):
        mark += "_"
    cells: list[Cell] = []
    first = 1
    for number, source, span in found:
        cell = Cell(number, first, *normalise(source), cell_code(normalise(source)[0], mark), span)
        cells.append(cell)
        first += len(_lines(_block(cell)))
    return cells


def _block(cell: Cell) -> str:
    """A cell's part of the notebook's text: whole lines, at least one."""
    if not cell.code.is_python:
        return "\n" * max(1, len(_lines(cell.text)))
    return cell.code.flow if cell.code.flow.endswith(("\n", "\r")) else cell.code.flow + "\n"


def _lines(text: str) -> list[str]:
    return list(io.StringIO(text, newline=""))


# Where the values are in JSON that is known to be valid.


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _members(text: str, at: int) -> Iterator[tuple[str, tuple[int, int]]]:
    """(key, span of the value) of the object that begins at `at`."""
    at = _skip(text, at + 1)
    while text[at] != "}":
        key, at = _DECODER.raw_decode(text, at)
        start = _skip(text, _skip(text, at) + 1)
        _, end = _DECODER.raw_decode(text, start)
        yield key, (start, end)
        at = _next(text, end)


def _elements(text: str, at: int) -> Iterator[tuple[Any, int, int]]:
    """(value, start, end) of the elements of the array that begins at `at`."""
    at = _skip(text, at + 1)
    while text[at] != "]":
        value, end = _DECODER.raw_decode(text, at)
        yield value, at, end
        at = _next(text, end)


def _next(text: str, at: int) -> int:
    at = _skip(text, at)
    return _skip(text, at + 1) if text[at] == "," else at


# ------------------------------------------------------------------------- writing


def _written(old: str, new: str) -> str:
    """A source as JSON, in the style of the one that it replaces: a string or an array of lines, laid out
    alike; lines that were there are spelled as they were, and so is each character."""
    if old.startswith('"'):
        lines = _spelled_lines(old[1:-1])
        return f'"{"".join(_spelled(new.splitlines(keepends=True), lines))}"'
    elements = list(_elements(old, 0))
    lines = [(value, old[start + 1 : end - 1]) for value, start, end in elements]
    spelled = [f'"{line}"' for line in _spelled(new.splitlines(keepends=True), lines)]
    if not elements or not spelled:
        return f"[{', '.join(spelled)}]"
    opening, closing = old[: elements[0][1]], old[elements[-1][2] :]
    between = old[elements[0][2] : elements[1][1]] if len(elements) > 1 else "," + opening[1:]
    return opening + between.join(spelled) + closing


def _spelled_lines(raw: str) -> list[tuple[str, str]]:
    """(line, the same as the inside of JSON strings) of the inside of one JSON string."""
    found: list[tuple[str, str]] = []
    units = [(_character(unit), unit) for unit in _UNIT.findall(raw)]
    text = "".join(character for character, _ in units)
    at = 0
    for line in text.splitlines(keepends=True):
        found.append((line, "".join(unit for _, unit in units[at : at + len(line)])))
        at += len(line)
    return found


def _spelled(lines: list[str], known: list[tuple[str, str]]) -> list[str]:
    as_before = dict(reversed(known))
    characters: dict[str, str] = {}
    for _, raw in known:
        for unit in dict.fromkeys(_UNIT.findall(raw)):
            characters.setdefault(_character(unit), unit)
    return [
        as_before[line]
        if line in as_before
        else "".join(characters.get(c) or json.dumps(c)[1:-1] for c in line)
        for line in lines
    ]


def _character(unit: str) -> str:
    character = json.loads(f'"{unit}"')
    assert isinstance(character, str)
    return character
