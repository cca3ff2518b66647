"""Writing a set of changed files so that a kill at any moment can be reverted.
Originals and manifest first, then the files, one atomic replacement each; keep that order."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adampatch.errors import AdampatchError
from adampatch.project.atomic import replace_file, sync_directory
from adampatch.project.manifest import (
    EMISSION,
    FileEntry,
    Manifest,
    RuntimeEntry,
    check_relative,
    digest,
    locked,
)


@dataclass(frozen=True)
class Change:
    """A file to rewrite: `before` as it was read, `after` as it shall be; `relative` uses "/"."""

    relative: str
    before: bytes
    after: bytes
    sites: list[dict[str, Any]] = field(default_factory=list)


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
    files that import them. A file that cannot be written, or is no longer what `before` says, is left
    alone and named in `failed`; it does not stop the others.

    Raises `AdampatchError`, before any of `changes` is written, where the manifest cannot be read or
    written, another adampatch is at work, or a runtime file cannot be written.
    """
    root = Path(os.path.abspath(root))
    changes = [change for change in changes if change.before != change.after]
    for path in [change.relative for change in changes] + [file.relative for file in runtime_files]:
        check_relative(path)
    fresh = Manifest(root, version)
    runtime_before = {file.relative: _read(fresh.target(file.relative)) for file in runtime_files}
    runtime_files = [file for file in runtime_files if runtime_before[file.relative] != file.data]
    if not changes and not runtime_files:
        return WriteReport([], [], [])
    report = WriteReport([], [], [])
    with locked(root):
        manifest = Manifest.load(root) or fresh
        manifest.version, manifest.emission = version, EMISSION
        changes = [change for change in changes if _still_as_read(manifest, change, report)]
        for change in changes:
            _record(manifest, change)
        for file in runtime_files:
            _record_runtime(manifest, file, runtime_before[file.relative])
        # The names of the kept originals reach the disk before the manifest that speaks of them.
        _sync_originals(manifest)
        manifest.save()
        for file in runtime_files:
            replace_file(manifest.target(file.relative), file.data)
            report.runtime.append(file.relative)
        for change in changes:
            try:
                replace_file(manifest.target(change.relative), change.after)
            except AdampatchError as error:
                report.failed.append((change.relative, error.what))
            else:
                report.changed.append(change.relative)
    return report


def _still_as_read(manifest: Manifest, change: Change, report: WriteReport) -> bool:
    try:
        same = _read(manifest.target(change.relative)) == change.before
    except AdampatchError as error:
        report.failed.append((change.relative, error.what))
        return False
    if not same:
        report.failed.append((change.relative, "was changed while adampatch was at work; run again"))
    return same


def _record(manifest: Manifest, change: Change) -> None:
    before, after = digest(change.before), digest(change.after)
    entry = manifest.files.get(change.relative)
    if entry is None:
        manifest.keep_original(change.relative, change.before)
        mode = manifest.target(change.relative).stat().st_mode & 0o7777
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
        entry.mode = manifest.target(file.relative).stat().st_mode & 0o7777
    manifest.runtime[file.relative] = entry


def _sync_originals(manifest: Manifest) -> None:
    parents = {manifest.original(relative).parent for relative in (*manifest.files, *manifest.runtime)}
    for parent in sorted(parents | {manifest.original("x").parent, manifest.original("x").parent.parent}):
        if parent.is_dir():
            sync_directory(parent)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise AdampatchError(path, f"cannot be read ({error.strerror}); make it readable") from error
