"""The one exception that a user's bad input raises; the command line prints it and exits 2.
Add a subclass where a caller has to tell one kind from another; never print here."""

from __future__ import annotations

import os


class AdampatchError(Exception):
    """Input that adampatch cannot work with.

    `where` is a path, a "path:line", or None; `what` says what is wrong and what to do about it.
    `str()` is "WHERE: WHAT", one line, without a trailing full stop.
    """

    def __init__(self, where: str | os.PathLike[str] | None, what: str) -> None:
        super().__init__(where, what)
        self.where: str | None = None if where is None else os.fspath(where)
        self.what: str = what

    def __str__(self) -> str:
        return self.what if self.where is None else f"{self.where}: {self.what}"


def internal_error(error: Exception) -> str:
    """What a report says of a file that a bug of ours stopped."""
    return f"internal error ({type(error).__name__}: {error}); please report it"
