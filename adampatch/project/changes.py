"""Writing a set of changed files so that a kill at any moment can be reverted.
Originals and manifest first, then the files, one atomic replacement each; keep that order."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adampatch.errors import AdampatchError
from adampatch.project.atomic import replace_file, sync_directory
from adampatch.project.manifest import (
    DIRECTORY,
    EMISSION,
    FileEntry,
    Manifest,
    RuntimeEntry,
    check_relative,
    digest,
    locked,
    remove_directory,
)


@dataclass(frozen=True)
class Change:
    """A file to rewrite: `before` as it was read, `after` as it shall be; `relative` uses "/".

    runtime: the module of ours that `after` imports, among the runtime files; "" where it imports none.
    """

    relative: str
    before: bytes
    after: bytes
    sites: list[dict[str, Any]] = field(default_factory=list)
    runtime: str = ""


@dataclass(frozen=True)
class RuntimeFile:
    """A module of ours that patched code imports, such as `_adampatch.py`."""

    relative: str
    data: bytes


@dataclass(frozen=True)
class WriteReport:
    """Relative paths that were written, in order; `failed`: (relative path, reason), left as they were."""

    changed: list[str]
    runtime: list[str]
    failed: list[tuple[str, str]]


def write_changes(
    root: str | os.PathLike[str],
    changes: Sequence[Change],
    runtime_files: Sequence[RuntimeFile],
    version: str,
) -> WriteReport:
    """Writes `changes` and `runtime_files` below `root`; where nothing differs it touches nothing.

    A file keeps the original of the first run that changed it. The runtime files are written before the
    files that import them. A file that cannot be written, whose runtime file cannot be, or that is no longer
    what `before` says, is left alone and named in `failed`; it does not stop the others.

    Raises `AdampatchError`, before any of `changes` is written, where the manifest cannot be read or
    written, or another adampatch is at work.
    """
    root = Path(os.path.abspath(root))
    changes = [change for change in changes if change.before != change.after]
    for path in [change.relative for change in changes] + [file.relative for file in runtime_files]:
        check_relative(path)
    fresh = Manifest(root, version)
    if not changes and all(_read(fresh.target(file.relative)) == file.data for file in runtime_files):
        _sweep(root)
        return WriteReport([], [], [])
    with locked(root):
        known = Manifest.load(root)
        manifest = known or fresh
        manifest.version, manifest.emission = version, EMISSION
        old = {*manifest.files, *manifest.runtime}
        writing = _Writing(manifest)
        try:
            wanted = {change.runtime for change in changes}
            changes = [change for change in changes if writing.recorded(change)]
            unneeded = wanted - {change.runtime for change in changes}
            runtime_files = [
                file
                for file in runtime_files
                if (file.relative not in unneeded or manifest.target(file.relative).exists())
                and writing.recorded_runtime(file)
            ]
            # The names of the kept originals reach the disk before the manifest that speaks of them.
            _sync_originals(manifest)
            manifest.save()
        except AdampatchError:
            if known is None:
                with contextlib.suppress(AdampatchError):
                    remove_directory(root)
            raise
        manifest.sweep()
        for file in runtime_files:
            writing.write_runtime(file)
        for change in changes:
            writing.write(change)
        _forget(manifest, {path for path, _ in writing.report.failed} - old)
    return writing.report


def _sweep(root: Path) -> None:
    """Removes what a killed command left half made, if nobody else is at work and it can be told."""
    if (root / DIRECTORY).is_dir():
        with contextlib.suppress(AdampatchError), locked(root):
            manifest = Manifest.load(root)
            if manifest is not None:
                manifest.sweep()


class _Writing:
    """The manifest and the report of one run; what fails is named in the report and stops nothing."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.report = WriteReport([], [], [])

    def recorded(self, change: Change) -> bool:
        """Whether the manifest, and the original beside it, now speak of the change."""
        try:
            self._check_as_read(change)
            _record(self.manifest, change)
        except AdampatchError as error:
            self._fail(change.relative, error)
            return False
        return True

    def recorded_runtime(self, file: RuntimeFile) -> bool:
        """The same for a module of ours; False also for one that is there already."""
        try:
            before = _read(self.manifest.target(file.relative))
            if before == file.data:
                return False
            _record_runtime(self.manifest, file, before)
        except AdampatchError as error:
            self._fail(file.relative, error)
            return False
        return True

    def write_runtime(self, file: RuntimeFile) -> None:
        try:
            replace_file(self.manifest.target(file.relative), file.data)
        except AdampatchError as error:
            self._fail(file.relative, error)
        else:
            self.report.runtime.append(file.relative)

    def write(self, change: Change) -> None:
        try:
            if change.runtime in dict(self.report.failed):
                raise AdampatchError(None, f"imports {change.runtime}, which could not be written")
            # Once more: there may be minutes between the first file of a large project and its last.
            replace_file(
                self.manifest.target(change.relative),
                change.after,
                last_look=lambda: self._check_as_read(change),
            )
        except AdampatchError as error:
            self._fail(change.relative, error)
        else:
            self.report.changed.append(change.relative)

    def _check_as_read(self, change: Change) -> None:
        now = _read(self.manifest.target(change.relative))
        if now is None:
            raise AdampatchError(None, "went away while adampatch was at work; run again if it is back")
        if now != change.before:
            raise AdampatchError(None, "was changed while adampatch was at work; run again")

    def _fail(self, relative: str, error: AdampatchError) -> None:
        self.report.failed.append((relative, error.what))


def _forget(manifest: Manifest, paths: set[str]) -> None:
    """Takes files that were recorded but not written out of the manifest again.

    Where that is not possible they stay in it: a revert finds them as they were.
    """
    if not paths:
        return
    for relative in paths:
        manifest.files.pop(relative, None)
        manifest.runtime.pop(relative, None)
    with contextlib.suppress(AdampatchError):
        if not manifest.files and not manifest.runtime:
            remove_directory(manifest.root)
            return
        manifest.save()
        for relative in paths:
            with contextlib.suppress(OSError):
                manifest.original(relative).unlink()


def _record(manifest: Manifest, change: Change) -> None:
    before, after = digest(change.before), digest(change.after)
    entry = manifest.files.get(change.relative)
    if entry is None:
        manifest.keep_original(change.relative, change.before)
        mode = _permissions(manifest.target(change.relative))
        manifest.files[change.relative] = FileEntry(before, after, mode=mode, sites=list(change.sites))
        return
    # Only a text that goes straight back to the original may be named in `earlier`.
    if not entry.edited and entry.after not in entry.earlier:
        entry.earlier.append(entry.after)
    entry.edited = before not in (entry.before, *entry.earlier)
    entry.after, entry.reverted, entry.sites = after, None, list(change.sites)


def _record_runtime(manifest: Manifest, file: RuntimeFile, before: bytes | None) -> None:
    after = digest(file.data)
    entry = manifest.runtime.get(file.relative)
    if entry is not None:
        if entry.after not in entry.earlier:
            entry.earlier.append(entry.after)
        entry.after = after
        return
    entry = RuntimeEntry(after)
    if before is not None:
        # Patched by somebody else (the module is committed with the project), or simply the user's own.
        manifest.keep_original(file.relative, before)
        entry.before = digest(before)
        entry.mode = _permissions(manifest.target(file.relative))
    manifest.runtime[file.relative] = entry


def _sync_originals(manifest: Manifest) -> None:
    parents = {manifest.original(relative).parent for relative in (*manifest.files, *manifest.runtime)}
    for parent in sorted(parents | {manifest.original("x").parent, manifest.original("x").parent.parent}):
        if parent.is_dir():
            sync_directory(parent)


def _permissions(path: Path) -> int:
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise AdampatchError(path, f"cannot be looked at ({error.strerror})") from error


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise AdampatchError(path, f"cannot be read ({error.strerror}); make it readable") from error
