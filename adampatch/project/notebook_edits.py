"""Edits in a notebook, made and taken out again: each cell is rewritten on its own, and the import goes
where every patched cell finds it when the cells run in order."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from dataclasses import replace

from adampatch.project.notebook import Cell, Notebook
from adampatch.rewrite.edits import RUNTIME_NAME, Edit, Plan
from adampatch.rewrite.source import GuardFailed, rewritten, unpatched


def rewritten_notebook(notebook: Notebook, plan: Plan) -> bytes:
    """The notebook's bytes with the plan's edits, which are placed in `notebook.text`. Raises GuardFailed
    as `rewritten` does, the cell named."""
    edits: dict[int, list[Edit]] = {}
    for edit in plan.edits:
        cell = notebook.cell_at(edit.start[0])
        edits.setdefault(cell.number, []).append(_within(cell, edit))
    importing = _importing(notebook, edits)
    sources: dict[int, str] = {}
    for cell in notebook.cells:
        line = plan.import_line if cell.number in importing else ""
        if cell.number in edits or line:
            own = Plan(plan.module, tuple(edits.get(cell.number, ())), line)
            with _named(cell):
                sources[cell.number] = _restored(cell, rewritten(cell.code.text, own))
    return notebook.encode(sources)


def unpatched_notebook(notebook: Notebook) -> bytes:
    """The notebook's bytes without our calls and imports. Raises GuardFailed where a cell does not parse or
    has them in a magic."""
    sources: dict[int, str] = {}
    for cell in notebook.cells:
        if RUNTIME_NAME not in cell.text or cell.code.language is not None:
            continue
        with _named(cell):
            if cell.code.error is not None:
                raise GuardFailed(f"does not parse: {cell.code.error.msg}")
            if any(RUNTIME_NAME in line for line in cell.code.hidden.values()):
                raise GuardFailed("has our calls in a magic")
            sources[cell.number] = _restored(cell, unpatched(cell.code.text))
    return notebook.encode(sources)


def _within(cell: Cell, edit: Edit) -> Edit:
    def moved(position: tuple[int, int]) -> tuple[int, int]:
        return position[0] - cell.start + 1, position[1]

    return replace(edit, start=moved(edit.start), end=moved(edit.end))


def _importing(notebook: Notebook, edited: Collection[int]) -> set[int]:
    """The cells that get the import: the first one with imports, else the first one that is edited. What
    %%timeit binds no other cell sees, so such a cell may need one of its own."""
    cells = [cell for cell in notebook.cells if cell.code.is_python]
    found: set[int] = set()
    bound = False
    for cell in cells:
        own = RUNTIME_NAME in cell.code.imports
        if cell.number in edited and not bound and not own:
            before = (c for c in cells if c.number <= cell.number and c.code.shared and c.code.imports)
            home = next(before, cell)
            found.add(home.number)
            bound = home.code.shared
        bound = bound or (own and cell.code.shared)
    return found


@contextlib.contextmanager
def _named(cell: Cell) -> Iterator[None]:
    try:
        yield
    except GuardFailed as error:
        raise GuardFailed(f"cell {cell.number}: {error.why}") from error


def _restored(cell: Cell, text: str) -> str:
    written = cell.code.restored(text)
    if written is None:
        raise GuardFailed("a line with a magic would not come out as it was")
    return written
