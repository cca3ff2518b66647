"""The `.adampatch/` directory: what was changed in a project, and the originals.
This file knows its layout and how to read and write it; `changes` and `revert` decide what goes in."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from adampatch.errors import AdampatchError
from adampatch.project.atomic import replace_file, sweep_temporaries, sync_directory

DIRECTORY = ".adampatch"
SCHEMA_NAME = "adampatch/manifest/"
SCHEMA = 1
EMISSION = 1


@dataclass
class FileEntry:
    """One changed file. Hashes are sha256 in hex.

    before: of the original, which is kept in `original/`.
    after: of what the last `apply` wrote.
    earlier: of what `apply` wrote before that, for a run that was killed before it wrote `after`.
    edited: the file had been edited between two runs, so `after` holds the user's edits too, and putting
        the original back would lose them.
    reverted: of what a `revert` was about to write in its place, or None.
    mode: permission bits of the original.
    """

    before: str
    after: str
    earlier: list[str] = field(default_factory=list)
    edited: bool = False
    reverted: str | None = None
    mode: int = 0o644
    sites: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class RuntimeEntry:
    """One `_adampatch.py` that we wrote; `before` is the hash of a file that stood there, or None."""

    after: str
    earlier: list[str] = field(default_factory=list)
    before: str | None = None
    mode: int = 0o644


@dataclass
class Manifest:
    """What `.adampatch/manifest.json` of `root` says; keys are paths from the root with "/"."""

    root: Path
    version: str
    emission: int = EMISSION
    files: dict[str, FileEntry] = field(default_factory=dict)
    runtime: dict[str, RuntimeEntry] = field(default_factory=dict)

    @classmethod
    def load(cls, root: str | os.PathLike[str]) -> Manifest | None:
        """Reads the manifest of `root`; None where there is none.

        Raises `AdampatchError`, saying what to do, where it is damaged or of a newer adampatch.
        """
        root = Path(root)
        path = root / DIRECTORY / "manifest.json"
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise AdampatchError(path, f"cannot be read ({error.strerror}); make it readable") from error
        try:
            document = json.loads(data)
        except ValueError as error:
            line = getattr(error, "lineno", None)
            raise _damaged(f"{path}:{line}" if line else path, f"is not valid JSON ({error})") from error
        schema = document.get("schema") if isinstance(document, dict) else None
        if not isinstance(schema, str) or not schema.startswith(SCHEMA_NAME):
            raise _damaged(path, "is not an adampatch manifest")
        if schema != f"{SCHEMA_NAME}{SCHEMA}":
            raise AdampatchError(path, f"was written by a newer adampatch ({schema}); upgrade adampatch")
        try:
            return _from_document(root, document)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _damaged(path, f"does not hold what it should ({error!r})") from error

    def save(self) -> None:
        """Writes the manifest atomically and waits until it is on the disk."""
        document = {
            "schema": f"{SCHEMA_NAME}{SCHEMA}",
            "adampatch": self.version,
            "emission": self.emission,
            "runtime_modules": [
                {
                    "path": relative,
                    "sha256": entry.after,
                    "sha256_earlier": entry.earlier,
                    "sha256_before": entry.before,
                    "mode": f"{entry.mode:04o}",
                }
                for relative, entry in sorted(self.runtime.items())
            ],
            "files": {
                relative: {
                    "sha256_before": entry.before,
                    "sha256_after": entry.after,
                    "sha256_earlier": entry.earlier,
                    "sha256_reverted": entry.reverted,
                    "edited": entry.edited,
                    "mode": f"{entry.mode:04o}",
                    "sites": entry.sites,
                }
                for relative, entry in sorted(self.files.items())
            },
        }
        text = json.dumps(document, indent=1) + "\n"
        replace_file(self.root / DIRECTORY / "manifest.json", text.encode("ascii"))

    def target(self, relative: str) -> Path:
        return self.root.joinpath(*PurePosixPath(relative).parts)

    def original(self, relative: str) -> Path:
        """Where the original of a file is kept."""
        return (self.root / DIRECTORY / "original").joinpath(*PurePosixPath(relative).parts)

    def keep_original(self, relative: str, data: bytes) -> None:
        path = self.original(relative)
        make_directories(path.parent)
        replace_file(path, data)

    def sweep(self) -> None:
        """Removes the temporary files that killed commands left beside the files and in `.adampatch/`."""
        known = (self.target(relative) for relative in (*self.files, *self.runtime))
        # Where a file is a link, its temporary file is made beside what it leads to.
        beside = {os.path.dirname(os.path.realpath(path)) for path in known}
        for directory in sorted(beside | {path for path, _, _ in os.walk(self.root / DIRECTORY)}):
            sweep_temporaries(Path(directory))


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def check_relative(relative: str) -> str:
    """`relative`, if it is a path that stays below the root. Raises `ValueError` otherwise.

    A manifest is a file that anybody can edit: it must not make us write somewhere else.
    """
    parts = PurePosixPath(relative).parts
    if not parts or relative.startswith("/") or ".." in parts or DIRECTORY in parts or "\0" in relative:
        raise ValueError(f"{relative!r} is not a path below the root")
    if os.name == "nt" and (":" in relative or "\\" in relative):
        raise ValueError(f"{relative!r} is not a path below the root")
    return relative


def make_directories(path: Path) -> None:
    """Raises `AdampatchError` where a directory cannot be made."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AdampatchError(
            path, f"cannot be made ({error.strerror}); make its parent directory writable and run again"
        ) from error


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """Makes `.adampatch/` where needed and keeps other adampatch processes out of it.

    The lock goes with the process, so a kill leaves none behind. Where the system has no such locks, or
    the file system refuses them, there is none. Raises `AdampatchError` where another process holds it.
    """
    directory = root / DIRECTORY
    descriptor = _open_locked(directory)
    try:
        ignore = directory / ".gitignore"
        if not ignore.exists():
            try:
                replace_file(ignore, b"*\n")
            except AdampatchError:
                with contextlib.suppress(OSError):
                    directory.rmdir()
                raise
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _open_locked(directory: Path) -> int | None:
    """A descriptor that holds the lock on `directory`, which is made; None where there are no locks."""
    try:
        import fcntl
    except ImportError:
        make_directories(directory)
        return None
    while True:
        make_directories(directory)
        try:
            descriptor = os.open(directory, os.O_RDONLY)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise AdampatchError(
                directory, f"cannot be opened ({error.strerror}); make it readable"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise AdampatchError(
                directory, "another adampatch is at work here; wait until it is done and run again"
            ) from error
        except OSError:
            return descriptor
        # A revert that ended meanwhile took the directory along: a lock on that keeps nobody out.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(directory)):
                return descriptor
        os.close(descriptor)


def remove_directory(root: Path) -> None:
    """Removes `.adampatch/`, the manifest first: what is left by a kill then reads as nothing to revert."""
    directory = root / DIRECTORY
    try:
        (directory / "manifest.json").unlink(missing_ok=True)
        sync_directory(directory)
        shutil.rmtree(directory)
    except OSError as error:
        raise AdampatchError(directory, f"cannot be removed ({error.strerror}); remove it by hand") from error
    sync_directory(root)


def _from_document(root: Path, document: dict[str, Any]) -> Manifest:
    manifest = Manifest(root, str(document["adampatch"]), int(document["emission"]))
    for relative, data in document["files"].items():
        manifest.files[check_relative(relative)] = FileEntry(
            before=_hash(data["sha256_before"]),
            after=_hash(data["sha256_after"]),
            earlier=[_hash(value) for value in data.get("sha256_earlier", ())],
            edited=bool(data.get("edited", False)),
            reverted=None if data.get("sha256_reverted") is None else _hash(data["sha256_reverted"]),
            mode=int(data.get("mode", "0644"), 8) & 0o7777,
            sites=list(data.get("sites", ())),
        )
    for data in document["runtime_modules"]:
        manifest.runtime[check_relative(data["path"])] = RuntimeEntry(
            after=_hash(data["sha256"]),
            earlier=[_hash(value) for value in data.get("sha256_earlier", ())],
            before=None if data.get("sha256_before") is None else _hash(data["sha256_before"]),
            mode=int(data.get("mode", "0644"), 8) & 0o7777,
        )
    return manifest


def _hash(value: object) -> str:
    if not isinstance(value, str) or len(value) != 64:
        raise ValueError(f"{value!r} is not a sha256")
    return value


def _damaged(where: str | Path, what: str) -> AdampatchError:
    return AdampatchError(
        where,
        f"{what}; the originals are in {DIRECTORY}/original, copy them back, then remove {DIRECTORY}",
    )
