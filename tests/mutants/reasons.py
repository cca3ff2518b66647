"""Why a mechanical mutant may live.

EQUIVALENT: no program can tell. STOCK: no stock class of this environment comes there, another
generation's does (and its `verify --python` kills it) or a user's, whose tests are named. SPOKEN: it
decides whether something is said, not a number. OPEN: `verify` does not look there.
"""

from __future__ import annotations

from dataclasses import dataclass

EQUIVALENT, STOCK, SPOKEN, OPEN = "equivalent", "stock", "spoken", "open"


@dataclass(frozen=True)
class Reason:
    """``function``, ``old``, ``new``: where and what the change is, None for whatever there is."""

    module: str
    function: str | None
    old: str | None
    kind: str
    why: str
    new: str | None = None

    def holds(self, module: str, key: list[str | int]) -> bool:
        function, old, new, _ = key
        return (
            self.module == module
            and self.function in (None, function)
            and self.old in (None, old)
            and self.new in (None, new)
        )
