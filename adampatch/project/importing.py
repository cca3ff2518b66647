"""Modules of a project rewritten in memory as they are imported, for `run` and `install`.

What a rewrite is, is rewrite's; here is which files are looked into for one module, and that every
statement stays on the line where it was.
"""

from __future__ import annotations

import ast
import os
import sysconfig
import threading
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import CodeType
from typing import TypeGuard

from adampatch.analysis.module import Module, imported_paths, syntax_tree
from adampatch.errors import AdampatchError
from adampatch.project.discovery import Discovery, Source
from adampatch.project.ignoring import git_top, glob_layer
from adampatch.project.prefilter import mentions_adam
from adampatch.project.scan import FileScan, Scan, look_into, package_at
from adampatch.project.settings import Settings
from adampatch.project.text import SourceText, Unreadable
from adampatch.rewrite.edits import RUNTIME_NAME, Edit, Plan, plan
from adampatch.rewrite.methods import difference
from adampatch.rewrite.source import GuardFailed, rewritten


@dataclass(frozen=True)
class Rewritten:
    """A module as it is to run: its text, and the code of that text, its classes marked."""

    text: str
    code: CodeType


class Rewriter:
    """Rewrites modules on their way to being imported.

    ``roots``: folders whose modules are the project's, environments in them left out.
    ``patched``: {path: sites}; ``refused``: (path, line, class, reason); ``failed``: (path, why).
    """

    def __init__(self, roots: Iterable[str] = ()) -> None:
        self.roots = tuple(os.path.abspath(root) for root in roots)
        self.patched: dict[str, int] = {}
        self.refused: list[tuple[str, int, str, str]] = []
        self.failed: list[tuple[str, str]] = []
        self._lock = threading.RLock()
        self._scans: dict[tuple[Path, frozenset[Path]], Scan] = {}
        self._reached: dict[Path, list[Path]] = {}  # of each file that was read: what its imports execute
        paths = sysconfig.get_paths()
        self._installed = tuple({paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")})

    def is_of_project(self, path: str) -> bool:
        """Whether a file lies below a root, and in no environment."""
        path = os.path.abspath(path)
        if "site-packages" in path.split(os.sep) or any(_is_below(path, f) for f in self._installed):
            return False
        return any(_is_below(path, root) for root in self.roots)

    def rewritten(self, path: str) -> Rewritten | None:
        """The module at ``path`` as it is to run; None where it is to run as it is. Never raises
        for what a file holds: Python says it better."""
        try:
            with self._lock:
                return self._rewritten(Path(os.path.abspath(path)))
        except GuardFailed as error:
            self.failed.append((path, error.why))
        except AdampatchError as error:
            self.failed.append((path, error.what))
        except Exception as error:  # a bug of ours stops no training
            self.failed.append((path, f"internal error ({type(error).__name__}: {error}); please report it"))
        return None

    def _rewritten(self, path: Path) -> Rewritten | None:
        try:
            data = path.read_bytes()
            if b"class" not in data or not mentions_adam(data):
                return None
            text = SourceText.from_bytes(data, path)
            top = _import_root(path)
            module = Module.parse(text.text, str(path), package_at(path.parent, top))
        except (OSError, Unreadable, SyntaxError):
            return None
        if not any(isinstance(node, ast.ClassDef) for node in ast.walk(syntax_tree(text.text))):
            return None
        settings = Settings.load(top, git_top(top))
        left_out = glob_layer(settings.base, settings.exclude, settings.base / "pyproject.toml")
        if left_out.verdict(str(path), False):
            return None
        self._reached[path] = _reached(module, top)
        file = self._looked_into(path, text.text, top, settings)
        if file is None:
            return None
        self._note(path, file)
        edits = [_lenient(edit) for edit in plan(file.module, file.classes, (), "").edits]
        if not edits:
            return None
        new, tree = in_place(file.module, edits)
        code = compile(tree, str(path), "exec", dont_inherit=True)
        self.patched[str(path)] = sum(edit.kind in ("step", "callee") for edit in edits)
        return Rewritten(new, code)

    def _looked_into(self, path: Path, text: str, top: Path, settings: Settings) -> FileScan | None:
        """What is found in a file, looked into together with all that its imports lead to."""
        for (root, paths), scan in self._scans.items():
            if root == top and path in paths:  # and so all that its imports lead to
                found = _of(scan, path)
                if found is None or found.text.text == text:
                    return found
        paths = frozenset(self._closure(path, top))
        sources = [Source(p, _relative(p, top)) for p in sorted(paths)]
        scan = self._scans[top, paths] = look_into(Discovery(top, sources, [], settings))
        return _of(scan, path)

    def _closure(self, first: Path, top: Path) -> set[Path]:
        """A file and all of its project that its imports lead to: its bases and what it calls are there."""
        found, todo = {first}, [first]
        while todo:
            for path in self._imported_by(todo.pop(), top):
                if path not in found:
                    found.add(path)
                    todo.append(path)
        return found

    def _imported_by(self, path: Path, top: Path) -> list[Path]:
        # Each file is read once for all modules: most of a project leads to most of it.
        if path not in self._reached:
            try:
                text = SourceText.read(path)
                module = Module.parse(text.text, str(path), package_at(path.parent, top))
                self._reached[path] = _reached(module, top)
            except (Unreadable, SyntaxError):
                self._reached[path] = []
        return self._reached[path]

    def _note(self, path: Path, file: FileScan) -> None:
        self.refused += [
            (str(path), found.line, found.name, found.reason or "")
            for found in file.classes
            if found.status in ("refused", "partial")
        ]


def in_place(module: Module, edits: Sequence[Edit]) -> tuple[str, ast.Module]:
    """(text, tree) of the module with its edits, every statement on the line where it was; where that
    cannot be, on the lines of the text as `apply` would write it.

    Raises GuardFailed where the rewriting cannot be trusted.
    """
    inside = tuple(edit for edit in edits if edit.kind != "observed")
    marked = {edit.start[0] for edit in edits if edit.kind == "observed"}
    edited = rewritten(module.text, Plan(module, inside, ""))
    text = _on_their_lines(module.text, edited)
    tree = _same_tree(text, edited)
    classes = [n for n in ast.walk(tree or ast.Module([], [])) if _starts_in(n, marked)]
    if tree is None or len(classes) != len(marked):
        text = rewritten(module.text, Plan(module, tuple(edits), ""))
        return text, syntax_tree(text)
    for node in classes:
        mark = ast.Attribute(ast.Name(RUNTIME_NAME, ast.Load()), "observed", ast.Load())
        for part in ast.walk(mark):  # an expression of no width where the class begins
            if isinstance(part, ast.expr):
                part.lineno = part.end_lineno = node.lineno
                part.col_offset = part.end_col_offset = node.col_offset
        node.decorator_list.insert(0, mark)
    return text, tree


def _starts_in(node: ast.AST, lines: Collection[int]) -> TypeGuard[ast.ClassDef]:
    return isinstance(node, ast.ClassDef) and node.lineno in lines


def _same_tree(text: str, other: str) -> ast.Module | None:
    """The tree of ``text`` where it is that of ``other`` too."""
    try:
        tree = syntax_tree(text)
    except SyntaxError:
        return None
    return tree if ast.dump(tree) == ast.dump(syntax_tree(other)) else None


def _on_their_lines(before: str, after: str) -> str:
    """``after`` with the line breaks of ``before`` and no other: our calls lie between parentheses,
    where a blank does as well."""
    pieces, position = [], 0
    for start, end, replacement in difference(before, after):
        breaks = "\n" * before[start:end].count("\n")
        pieces += [before[position:start], " ".join(replacement.split("\n")), breaks]
        position = end
    return "".join([*pieces, before[position:]])


def _lenient(edit: Edit) -> Edit:
    """A base class that turns out to be no optimizer that can be patched stays as it is."""
    return replace(edit, parts=(("strict", "False"),)) if edit.kind == "patched" else edit


# ------------------------------------------------------------------------ the files around


def _import_root(path: Path) -> Path:
    """The folder that a file's top-level package, or the file itself, is imported from."""
    folder = path.parent
    while (folder / "__init__.py").exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _of(scan: Scan, path: Path) -> FileScan | None:
    return next((file for file in scan.files if file.source.path == path), None)


def _reached(module: Module, top: Path) -> list[Path]:
    """The files below ``top`` that the imports of a module execute."""
    found = {
        path: None
        for statement in module.outline.every_import
        for dotted in imported_paths(statement, module.package)
        for path in _files(top, dotted)
    }
    return list(found)


def _files(top: Path, dotted: str) -> list[Path]:
    """The files below ``top`` that importing ``dotted`` executes."""
    parts = dotted.split(".")
    files = []
    for end in range(1, len(parts) + 1):
        if not all(part.isidentifier() for part in parts[:end]):
            break
        base = top.joinpath(*parts[:end])
        files += [p for p in (base / "__init__.py", base.with_suffix(".py")) if p.is_file()]
    return files


def _relative(path: Path, top: Path) -> str:
    return path.relative_to(top).as_posix()


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
