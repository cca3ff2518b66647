"""Rewriting a project on disk: plans per file, the runtime modules, the transaction.
What a rewrite is, is rewrite's; when and where files change, is said here."""

from __future__ import annotations

import difflib
import io
import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from adampatch import __version__
from adampatch.analysis.module import Module
from adampatch.analysis.sites import reason_text
from adampatch.errors import AdampatchError, internal_error
from adampatch.project.atomic import replace_file
from adampatch.project.changes import Change, RuntimeFile, write_changes
from adampatch.project.discovery import NOTEBOOK_SUFFIX
from adampatch.project.ignoring import default_excludes
from adampatch.project.manifest import make_directories
from adampatch.project.notebook import Notebook
from adampatch.project.notebook_edits import rewritten_notebook, unpatched_notebook
from adampatch.project.runtime_module import Wish, runtime_module
from adampatch.project.scan import FileScan, Scan, import_line, namespace_members
from adampatch.project.text import SourceText, Unreadable
from adampatch.rewrite.edits import RUNTIME_NAME, Plan, plan
from adampatch.rewrite.source import GuardFailed, rewritten, unpatched

_AS_IT_IS = Wish()


@dataclass
class Outcome:
    """What an apply would write, or wrote: changes of files, runtime modules, and the scan
    with the files that a guard refused marked. ``failed``: (path, reason) of files that
    could not be written; ``written``: those that were, None as long as nothing is."""

    scan: Scan
    changes: list[Change]
    runtime: list[RuntimeFile]
    failed: list[tuple[str, str]] = field(default_factory=list)
    written: list[str] | None = None

    @property
    def refused(self) -> int:
        """Sites, uses and files that stay unpatched against the user's wish."""
        return self.scan.refused + len(self.scan.unreadable) + len(self.failed)


def planned(scan: Scan, wish: Wish = _AS_IT_IS) -> Outcome:
    """All changes that patching the scanned project takes; nothing is written. Raises
    AdampatchError when a file that is not ours stands where the runtime module has to go."""
    changes: list[Change] = []
    modules: set[str] = set()
    members = namespace_members(scan.files)
    for file in scan.files:
        line, runtime = import_line(file, file.source.relative in members)
        if _has_ours(file):
            modules.add(runtime)
        try:
            edits = plan(file.module, file.classes, file.uses, line)
            if not edits.edits:
                continue
            after = _rewritten(file, edits)
        except GuardFailed as error:
            _refuse(file, error.why)
            continue
        except AdampatchError as error:
            _refuse(file, error.what)
            continue
        except Exception as error:  # a bug of ours stops this file, never the others
            _refuse(file, internal_error(error))
            continue
        modules.add(runtime)
        changes.append(Change(file.source.relative, file.text.data, after, _sites(file), runtime))
    files = [RuntimeFile(module, runtime_module(scan.root / module, wish)) for module in sorted(modules)]
    changed = [f for f in files if _bytes(scan.root / f.relative) != f.data]
    return Outcome(scan, changes, changed)


def write(outcome: Outcome) -> None:
    """Writes the planned changes in place, originals and manifest first."""
    report = write_changes(outcome.scan.root, outcome.changes, outcome.runtime, __version__)
    outcome.failed, outcome.written = report.failed, sorted([*report.changed, *report.runtime])
    reasons = dict(report.failed)
    for file in outcome.scan.files:
        if file.source.relative in reasons:
            _refuse(file, reasons[file.source.relative], "AP235")


def write_copy(outcome: Outcome, target: Path) -> None:
    """Writes a patched copy of the tree into ``target``, which must not exist or be empty."""
    root = outcome.scan.root
    target = target.resolve()
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise AdampatchError(target, "is there already; name a directory that does not exist or is empty")
    except OSError as error:
        raise AdampatchError(
            target, f"cannot be used ({error.strerror}); name a directory that can be written"
        ) from error
    if target.is_relative_to(root.resolve()):
        raise AdampatchError(target, f"lies inside {root}, which is what is copied; name one outside of it")
    try:
        shutil.copytree(root, target, symlinks=True, ignore=_not_copied(root), dirs_exist_ok=True)
    except shutil.Error as error:  # raised when all else has been copied
        for source, _, why in error.args[0]:
            outcome.failed.append((os.path.relpath(source, root), f"cannot be copied ({why})"))
    except OSError as error:
        raise AdampatchError(
            target, f"cannot be made ({error.strerror}); name a directory that can be written"
        ) from error
    for relative, data in (
        *((c.relative, c.after) for c in outcome.changes),
        *((f.relative, f.data) for f in outcome.runtime),
    ):
        path = target / relative
        # The copy of a link may still lead back into the tree, which is to stay as it is.
        path.unlink(missing_ok=True)
        make_directories(path.parent)
        replace_file(path, data, _mode(root / relative))


def diff(outcome: Outcome) -> str:
    """The changes as one unified diff, new runtime modules included."""
    pieces: list[str] = []
    for change in outcome.changes:
        pieces += _diff(change.relative, change.before, change.after)
    for file in outcome.runtime:
        pieces += _diff(file.relative, _bytes(outcome.scan.root / file.relative) or b"", file.data)
    return "".join(pieces)


def without_ours(relative: str, data: bytes) -> bytes | None:
    """The bytes of a file edited since it was patched, our calls taken out; None when that
    fails. For ``revert``."""
    if RUNTIME_NAME.encode() not in data:
        return data
    try:
        # libcst brings the process down on what Module.parse refuses as nested too deeply
        if relative.endswith(NOTEBOOK_SUFFIX):
            notebook = Notebook.from_bytes(data, relative)
            Module.parse(notebook.text)
            return unpatched_notebook(notebook)
        text = SourceText.from_bytes(data)
        Module.parse(text.text)
        return text.encode(unpatched(text.text))
    except (Unreadable, GuardFailed, SyntaxError, RecursionError):
        return None


# ------------------------------------------------------------------------ the pieces


def _rewritten(file: FileScan, edits: Plan) -> bytes:
    if isinstance(file.text, Notebook):
        return rewritten_notebook(file.text, edits)
    if _imports_ours(file):
        edits = replace(edits, import_line="")
    return file.text.encode(rewritten(file.text.text, edits))


def _diff(relative: str, before: bytes, after: bytes) -> list[str]:
    old, new = (_lines(data) for data in (before, after))
    name = "/dev/null" if not before else f"a/{relative}"
    found = list(difflib.unified_diff(old, new, name, f"b/{relative}"))
    return [line if line.endswith("\n") else line + "\n\\ No newline at end of file\n" for line in found]


def _lines(data: bytes) -> list[str]:
    if not data:
        return []
    # str.splitlines would split at form feeds too
    return list(io.StringIO(SourceText.from_bytes(data).text, newline="\n"))


def _sites(file: FileScan) -> list[dict[str, Any]]:
    def place(line: int) -> dict[str, int]:
        cell, within = file.text.place(line)
        return {"line": within} if cell is None else {"cell": cell, "line": within}

    sites = [
        {"class": c.name, "method": s.method, **place(s.line), "kind": s.kind}
        for c in file.classes
        for s in c.sites
        if s.status == "patchable"
    ]
    return sites + [{"use": u.spelling, **place(u.line)} for u in file.uses if u.status == "patchable"]


def _not_copied(root: Path) -> Callable[[str, list[str]], set[str]]:
    """What a copy of the tree leaves out: default names, pipes, sockets and devices."""
    names = default_excludes(root)

    def ignore(directory: str, entries: list[str]) -> set[str]:
        modes = {entry: os.lstat(os.path.join(directory, entry)).st_mode for entry in entries}
        ordinary = (stat.S_ISREG, stat.S_ISDIR, stat.S_ISLNK)
        return {e for e, mode in modes.items() if e in names or not any(kind(mode) for kind in ordinary)}

    return ignore


def _mode(path: Path) -> int | None:
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return None


def _refuse(file: FileScan, why: str, code: str = "AP232") -> None:
    """Marks all that was to be patched in a file as refused: the file is left alone."""

    def refusal(line: int) -> dict[str, Any]:
        return {"status": "refused", "reason": reason_text(code, why, line)}

    file.classes = [
        replace(
            c,
            sites=tuple(replace(s, **refusal(s.line)) if s.status == "patchable" else s for s in c.sites),
            **(refusal(c.line) if c.status in ("patchable", "partial", "inherited") else {}),
        )
        for c in file.classes
    ]
    file.uses = [replace(u, **refusal(u.line)) if u.status == "patchable" else u for u in file.uses]


def _has_ours(file: FileScan) -> bool:
    return any(
        c.status == "already" or any(s.status == "already" for s in c.sites) for c in file.classes
    ) or any(u.status == "already" for u in file.uses)


def _imports_ours(file: FileScan) -> bool:
    return "_adampatch" in file.module.imports


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
