"""Replacing one file so that a kill at any moment leaves it wholly old or wholly new.
Nothing else in the project may open a user's file for writing."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

from adampatch.errors import AdampatchError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

# Temporary files carry this ending so that those a kill left behind can be told and removed.
TEMPORARY_SUFFIX = ".adampatch-tmp"


def replace_file(
    path: str | os.PathLike[str],
    data: bytes,
    mode: int | None = None,
    last_look: Callable[[], object] | None = None,
) -> None:
    """Gives the file at `path` the content `data`, atomically, and waits until it is on the disk.

    Mode bits and, where the system allows it, owner and group are those of the file that was there; a
    new file gets `mode`, or what the umask says. A symbolic link stays and its target is replaced. A
    read-only file is replaced and stays read-only. Parent directories must exist. `last_look` is called when
    only the replacement itself is left to be done; what it raises leaves the file as it was.

    Raises `AdampatchError` where the directory cannot be written; the file is then as it was.
    """
    target = Path(os.path.realpath(path))
    try:
        before: os.stat_result | None = target.stat()
    except FileNotFoundError:
        before = None
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        # Names are short in characters and may be long in bytes: a file system takes 255 of these.
        descriptor, name = tempfile.mkstemp(TEMPORARY_SUFFIX, f".{target.name[:50]}.", target.parent)
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            _take_over(file.fileno(), name, before, mode)
            os.fsync(file.fileno())
        if last_look is not None:
            last_look()
        os.replace(name, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(name)
        if isinstance(error, OSError):
            raise _unwritable(path, error) from error
        raise
    sync_directory(target.parent)


def sync_directory(directory: Path) -> None:
    """Waits until the names in `directory` are on the disk; silent where a system cannot do that."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sweep_temporaries(directory: Path) -> None:
    """Removes what a killed `replace_file` left behind in `directory`."""
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in list(entries):
            if entry.name.startswith(".") and entry.name.endswith(TEMPORARY_SUFFIX):
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)


def _take_over(descriptor: int, name: str, before: os.stat_result | None, mode: int | None) -> None:
    if before is None:
        wanted = mode if mode is not None else 0o666 & ~_umask()
    else:
        wanted = stat.S_IMODE(before.st_mode)
        mine = os.fstat(descriptor)
        if hasattr(os, "fchown") and (mine.st_uid, mine.st_gid) != (before.st_uid, before.st_gid):
            try:
                os.fchown(descriptor, before.st_uid, before.st_gid)
            except OSError:
                # Only root gives files away; the group alone is often allowed.
                with contextlib.suppress(OSError):
                    os.fchown(descriptor, -1, before.st_gid)
    # After the owner: changing the owner clears the set-id bits.
    os.chmod(name, wanted)


def _umask() -> int:
    # There is no way to read it but to set it.
    current = os.umask(0o077)
    os.umask(current)
    return current


def _unwritable(path: str | os.PathLike[str], error: OSError) -> AdampatchError:
    remedy = "make room for it" if error.errno in _NO_ROOM else "make its directory writable"
    return AdampatchError(path, f"cannot be replaced ({error.strerror}); {remedy} and run again")
