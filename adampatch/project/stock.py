"""The table of edits of stock optimizers, made from installed packages by reading them.

`python -m adampatch.project.stock ENVIRONMENT... WHEEL...` (`make stock`) writes the table that the
run time brings along; `apply --standalone --python EXE` adds the edits for what EXE has installed.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from adampatch.analysis.classes import ClassReport, Hierarchy, reports
from adampatch.analysis.module import Module
from adampatch.errors import AdampatchError
from adampatch.project.interpreter import site_packages
from adampatch.project.text import SourceText, Unreadable
from adampatch.rewrite.methods import Edits, edits_by_method, method_texts
from adampatch.rewrite.source import GuardFailed
from adampatch.runtime.methods import digest
from adampatch.runtime.stock_edits import UPDATE_METHODS

# Where stock optimizers lie below site-packages, in every generation.
_FILES = (
    "keras/optimizers.py",
    "keras/optimizers/**/*.py",
    "keras/optimizer_v1.py",
    "keras/optimizer_v2/*.py",
    "keras/src/optimizers/**/*.py",
    "tf_keras/src/optimizers/**/*.py",
    "tf_keras/optimizers/**/*.py",
    "tensorflow*/python/training/adam.py",
    "tensorflow*/python/keras/optimizers.py",
    "tensorflow*/python/keras/optimizer_v1.py",
    "tensorflow*/python/keras/optimizer_v2/*.py",
    "tensorflow_core/contrib/opt/python/training/*.py",
    "tensorflow_addons/optimizers/*.py",
)


@dataclass
class Table:
    """By the digest of a method's text: its edits; None for a method with nothing to edit; or
    why the class that it belongs to is refused. ``where``: in words, for readers."""

    edits: dict[str, Edits] = field(default_factory=dict)
    plain: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)
    where: dict[str, str] = field(default_factory=dict)

    def update(self, other: Table) -> None:
        """Adds the entries of ``other``; where both have one, they agree or this one's stays."""
        for key, found in other.edits.items():
            self.edits.setdefault(key, found)
        self.plain |= other.plain
        for key, reason in other.refused.items():
            self.refused.setdefault(key, reason)
        for key, words in other.where.items():
            self.where.setdefault(key, words)
        self.plain -= self.edits.keys() | self.refused.keys()
        for key in self.refused:
            self.edits.pop(key, None)


def table_of(site_packages: Path) -> Table:
    """The table of the stock optimizers below a site-packages directory."""
    table = Table()
    for path in sorted({path for pattern in _FILES for path in site_packages.glob(pattern)}):
        if path.name.endswith("_test.py"):
            continue
        relative = path.relative_to(site_packages).as_posix()
        table.update(table_of_file(path, relative.removesuffix(".py").replace("/", "."))[0])
    return table


def table_of_file(path: Path, module_name: str) -> tuple[Table, set[str]]:
    """(the table of the classes of one file, the names of those that are optimizers); empty where
    the file cannot be read."""
    table, names = Table(), set()
    with contextlib.suppress(Unreadable, OSError, SyntaxError):
        text = SourceText.from_bytes(path.read_bytes()).text
        module = Module.parse(text, module_name.replace(".", "/") + ".py", module_name.rpartition(".")[0])
        for report in reports(module, Hierarchy([module])):
            table.update(_of_class(module, report))
            names.add(report.name)
    return table, names


def _of_class(module: Module, report: ClassReport) -> Table:
    name = module.path.removesuffix(".py").replace("/", ".") + "." + report.name
    texts = method_texts(module, report)
    keys = {method: digest(text) for method, text in texts.items()}
    shared = [keys[method] for method in UPDATE_METHODS if method in keys]
    edits: dict[str, tuple[str, Edits]] = {}
    reason = report.reason if report.status in ("refused", "partial") else None
    if reason is None:
        try:
            edits = edits_by_method(module, report)
        except GuardFailed as error:
            reason = f"AP232: {error.why}"
    if edits.keys() - set(UPDATE_METHODS):
        return Table()  # the run time would not look for it there
    table = Table(where={key: f"{name}.{method}" for method, key in keys.items()})
    if reason is not None:
        table.refused = dict.fromkeys(shared, reason)
    else:
        table.edits = {key: found for key, found in edits.values()}
        table.plain = set(shared) - table.edits.keys()
    return table


def table_for(executable: str) -> Table:
    """The table of the stock optimizers that an interpreter has installed."""
    table = Table()
    for directory in site_packages(executable):
        table.update(table_of(directory))
    return table


def shipped() -> Table:
    """The table that the run time brings along."""
    from adampatch.runtime import stock_table

    return Table(dict(stock_table.EDITS), set(stock_table.PLAIN), dict(stock_table.REFUSED))


def rendered(table: Table) -> str:
    """The table as the text of a module, in the order of the digests."""
    return "".join(_lines(table))


def _lines(table: Table) -> Iterator[str]:
    yield '"""Edits of stock update methods by the sha256 of their text, see `stock_edits`.\n\n'
    yield "Generated by `make stock`; (start, end, replacement), offsets in the dedented text of a method."
    yield '\n"""\n\n'
    yield "EDITS = {\n"
    for key in sorted(table.edits):
        yield from _comment(table, key)
        yield f'    "{key}": (\n'
        yield from (f"        ({start}, {end}, {text!a}),\n" for start, end, text in table.edits[key])
        yield "    ),\n"
    yield "}\n\n# Update methods of stock classes in which there is nothing to edit.\nPLAIN = (\n"
    yield from (f'    "{key}",\n' for key in sorted(table.plain))
    yield ")\n\n# Update methods of stock classes that must not be patched.\nREFUSED = {\n"
    for key in sorted(table.refused):
        yield from _comment(table, key)
        yield f'    "{key}": {table.refused[key]!a},\n'
    yield "}\n"


def _comment(table: Table, key: str) -> Iterable[str]:
    return [f"    # {table.where[key]}\n"] if key in table.where else []


def _of_wheel(path: Path) -> Table:
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(path) as wheel:
        wheel.extractall(
            folder, [name for name in wheel.namelist() if "optimizer" in name or "/adam" in name]
        )
        return table_of(Path(folder))


def main(sources: list[str]) -> int:
    """Writes the table of the given environments' interpreters, and of wheels, into the run time."""
    table = Table()
    for source in map(Path, sources):
        try:
            found = (
                _of_wheel(source) if source.suffix == ".whl" else table_for(str(source / "bin" / "python"))
            )
        except AdampatchError as error:  # a smaller table would take stock classes from somebody
            print(f"error: {error}", file=sys.stderr)
            return 2
        new = len(found.edits.keys() - table.edits.keys())
        print(f"{source.name}: {len(found.edits)} methods with edits, {new} of them new")
        table.update(found)
    target = Path(__file__).parents[1] / "runtime" / "stock_table.py"
    target.write_text(rendered(table), encoding="utf-8")
    print(f"{target}: {len(table.edits)} methods with edits, {target.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
