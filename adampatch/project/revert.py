"""Taking back what `changes` wrote: first a plan, by hash, that only reads; then the writing.
A revert that is killed can be run again; keep every step of it repeatable."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from adampatch.errors import AdampatchError
from adampatch.project.atomic import replace_file, sync_directory
from adampatch.project.manifest import (
    DIRECTORY,
    FileEntry,
    Manifest,
    RuntimeEntry,
    digest,
    locked,
    make_directories,
    remove_directory,
)

Unpatch = Callable[[str, bytes], "bytes | None"]

_NO_ORIGINAL = f"its original in {DIRECTORY}/original is missing or damaged; restore it from version control"
_DELETED = "was deleted since it was patched; --force brings the original back"
_EDITED = "was edited since it was patched; --force restores the original over the edits"
_EDITED_RUNTIME = "was edited since adampatch wrote it; --force removes it"


class NothingToRevert(AdampatchError):
    """No patched project at the path: for a script that reverts twice, no error."""


@dataclass(frozen=True)
class RevertReport:
    """Relative paths with "/", sorted.

    restored: put back byte for byte; unpatched: edited since, our calls taken out; refused: (path,
    reason), left as they are; removed_runtime: modules of ours that were removed, or put back to what
    stood there before; kept_runtime: modules left because a refused file may still import them.
    """

    restored: list[str] = field(default_factory=list)
    unpatched: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    removed_runtime: list[str] = field(default_factory=list)
    kept_runtime: list[str] = field(default_factory=list)


def find_root(path: str | os.PathLike[str]) -> Path:
    """The directory that holds `.adampatch/`: `path` itself or the nearest one above it.

    Raises `NothingToRevert` where there is none, and `AdampatchError` where `path` does not exist.
    """
    start = Path(os.path.abspath(path))
    for candidate in (start, *start.parents):
        if (candidate / DIRECTORY).is_dir():
            return candidate
    if not start.exists():
        raise AdampatchError(path, "does not exist; name the directory that was patched")
    raise NothingToRevert(
        path, f"nothing to revert: there is no {DIRECTORY} here or above; name the patched directory"
    )


def revert(root: str | os.PathLike[str], force: bool = False, unpatch: Unpatch | None = None) -> RevertReport:
    """Restores the files that `write_changes` changed below `root`, and removes what it added.

    unpatch: takes the relative path and the bytes of a file that was edited since and gives the bytes
        without our calls, or None where that fails; bytes without our calls must come back as they are.
    force: restore the original over edits and bring deleted files back.

    `.adampatch/` goes when all is back; otherwise it keeps what is still needed.
    Raises `NothingToRevert`, and `AdampatchError` where the manifest cannot be read.
    """
    root = Path(os.path.abspath(root))
    if not (root / DIRECTORY).is_dir():
        raise NothingToRevert(
            root, f"nothing to revert: there is no {DIRECTORY} here; name the patched directory"
        )
    with locked(root):
        manifest = Manifest.load(root)
        if manifest is None:
            # An apply that was killed before it touched anything, or a revert that was all but done.
            remove_directory(root)
            return RevertReport()
        report = _Revert(manifest, force, unpatch).run()
        if not report.refused:
            remove_directory(root)
        return report


class _Revert:
    def __init__(self, manifest: Manifest, force: bool, unpatch: Unpatch | None) -> None:
        self.manifest = manifest
        self.force = force
        self.unpatch = unpatch
        self.report = RevertReport()

    def run(self) -> RevertReport:
        plan = {
            relative: step
            for relative, entry in sorted(self.manifest.files.items())
            if (step := self._plan(relative, entry)) is not None
        }
        if any(entry.reverted is not None for entry in self.manifest.files.values()):
            # So that a second revert after a kill knows an un-patched file from an edited one.
            self.manifest.save()
        for relative, (content, is_original) in plan.items():
            self._write(relative, content, is_original)
        refused = {relative for relative, _ in self.report.refused}
        if any(self.manifest.target(relative).exists() for relative in refused):
            self.report.kept_runtime.extend(sorted(self.manifest.runtime))
        else:
            for relative, runtime in sorted(self.manifest.runtime.items()):
                self._remove_runtime(relative, runtime)
        self._tidy()
        return self.report

    def _plan(self, relative: str, entry: FileEntry) -> tuple[bytes, bool] | None:
        """(what to write, whether it is the original); None where nothing is to be written."""
        try:
            disk = _read(self.manifest.target(relative))
        except OSError as error:
            self._refuse(relative, f"cannot be read ({error.strerror}); make it a readable file")
            return None
        if disk is None:
            if not self.force:
                self._refuse(relative, _DELETED)
                return None
        else:
            now = digest(disk)
            if now == entry.before or (now == entry.reverted and not self.force):
                return None
            exact = now in entry.earlier or (now == entry.after and not entry.edited)
            if not exact and not self.force:
                return self._plan_unpatched(relative, entry, disk, _EDITED)
        original = self._original(relative, entry.before)
        if original is not None:
            return original, True
        if disk is None:
            self._refuse(relative, _NO_ORIGINAL)
            return None
        return self._plan_unpatched(relative, entry, disk, _NO_ORIGINAL)

    def _plan_unpatched(
        self, relative: str, entry: FileEntry, disk: bytes, reason: str
    ) -> tuple[bytes, bool] | None:
        stock = None if self.unpatch is None else self.unpatch(relative, disk)
        if stock is None:
            self._refuse(relative, reason)
            return None
        if stock == disk:
            return None
        entry.reverted = digest(stock)
        return stock, False

    def _write(self, relative: str, content: bytes, is_original: bool) -> None:
        target = self.manifest.target(relative)
        try:
            make_directories(target.parent)
            replace_file(target, content, self.manifest.files[relative].mode)
        except AdampatchError as error:
            self._refuse(relative, error.what)
        else:
            (self.report.restored if is_original else self.report.unpatched).append(relative)

    def _remove_runtime(self, relative: str, entry: RuntimeEntry) -> None:
        target = self.manifest.target(relative)
        try:
            disk = _read(target)
            if disk is None or digest(disk) == entry.before:
                return
            if digest(disk) not in (entry.after, *entry.earlier) and not self.force:
                self._refuse(relative, _EDITED_RUNTIME)
                return
            if entry.before is None:
                target.unlink()
                sync_directory(target.parent)
            else:
                original = self._original(relative, entry.before)
                if original is None:
                    self._refuse(relative, _NO_ORIGINAL)
                    return
                replace_file(target, original)
        except AdampatchError as error:
            self._refuse(relative, error.what)
        except OSError as error:
            self._refuse(relative, f"cannot be removed ({error.strerror}); make its directory writable")
        else:
            self.report.removed_runtime.append(relative)

    def _tidy(self) -> None:
        """Temporary files of killed runs, and what the manifest need no longer know."""
        self.manifest.sweep()
        if not self.report.refused:
            return
        known = [*self.manifest.files, *self.manifest.runtime]
        keep = {relative for relative, _ in self.report.refused} | set(self.report.kept_runtime)
        self.manifest.files = {name: entry for name, entry in self.manifest.files.items() if name in keep}
        self.manifest.runtime = {name: entry for name, entry in self.manifest.runtime.items() if name in keep}
        self.manifest.save()
        for relative in known:
            if relative not in keep:
                self.manifest.original(relative).unlink(missing_ok=True)

    def _original(self, relative: str, sha256: str) -> bytes | None:
        try:
            data = _read(self.manifest.original(relative))
        except OSError:
            return None
        return data if data is not None and digest(data) == sha256 else None

    def _refuse(self, relative: str, reason: str) -> None:
        self.report.refused.append((relative, reason))


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
