"""What the worker's process finds of adampatch: its target side alone, in a folder of its own.

Nothing of ours needs to be installed where the worker runs, and what is installed there is not used.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import adampatch
from adampatch.project import stock
from adampatch.project.prefilter import FAMILY_WORDS

_PACKAGE = Path(adampatch.__file__).parent
_PARTS = ("__init__.py", "runtime", "verify/__init__.py", "verify/worker")


class Target:
    """The target side below ``folder``, which goes on the worker's PYTHONPATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._table = stock.shipped()
        for part in _PARTS:
            source, copy = _PACKAGE / part, folder / "adampatch" / part
            copy.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copyfile(source, copy)

    def learn(self, sources: Iterable[Mapping[str, Any]]) -> bool:
        """Adds the edits of stock classes that the table does not know; whether there was any to add.

        ``sources``: {"file", "module", "class", "frame", "digests"} of each as the worker names them.
        """
        known = self._size()
        tables: dict[str, tuple[stock.Table, set[str]]] = {}
        for source in sources:
            if source["file"] not in tables:
                tables[source["file"]] = _read(Path(source["file"]), source["module"])
            table, optimizers = tables[source["file"]]
            if source["frame"] and source["class"] not in optimizers:  # it was read, and has no update
                table.plain |= set(source["digests"])
            self._table.update(table)
        if self._size() == known:
            return False
        path = self.folder / "adampatch" / "runtime" / "stock_table.py"
        path.write_text(stock.rendered(self._table), encoding="utf-8")
        return True

    def _size(self) -> int:
        return len(self._table.edits) + len(self._table.plain) + len(self._table.refused)


def _read(path: Path, module: str) -> tuple[stock.Table, set[str]]:
    """The table of a file. One that says no word of the family and has no decay rates is not analysed."""
    try:
        text = path.read_bytes().lower()
    except OSError:
        return stock.Table(), set()
    if not any(word in text for word in (*FAMILY_WORDS, b"beta")):
        return stock.Table(), set()
    return stock.table_of_file(path, module)
