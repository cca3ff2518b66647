"""The edits of live classes: from the source of a loaded class to the edits of its methods.

Runs in the user's process, where both sides are installed; imports nothing of the user's.
"""

from __future__ import annotations

import inspect
import linecache
import sys
from types import FunctionType

from adampatch.analysis.classes import ClassReport, Hierarchy, reports
from adampatch.analysis.module import Module
from adampatch.rewrite.methods import Edits, edits_by_method
from adampatch.rewrite.source import GuardFailed


class Refused(Exception):
    """A live class that must not be patched; ``code`` AP2xx and ``reason`` in words."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason


def method_edits(owner: type) -> dict[str, tuple[str, Edits]]:
    """{name: (digest of the text, edits)} of the methods of ``owner`` (its own, not inherited
    ones) that hold update sites; see `runtime.methods.remade`.

    Empty when the class holds no site. Raises Refused when a site cannot be separated or there
    is no source.
    """
    text, path = _source(owner)
    try:
        module = Module.parse(text, path, getattr(sys.modules.get(owner.__module__), "__package__", "") or "")
    except SyntaxError as error:
        raise Refused("AP231", f"the source of {owner.__name__} does not parse: {error.msg}") from error
    report = _report(module, owner)
    if report is None or not report.sites or report.status == "already":
        return {}
    if report.status in ("refused", "partial"):
        code, _, words = (report.reason or "AP200: not separable").partition(": ")
        raise Refused(code, f"{owner.__name__}: {words}")
    try:
        return edits_by_method(module, report)
    except GuardFailed as error:
        raise Refused("AP232", f"{owner.__name__}: {error.why}") from error


def _source(owner: type) -> tuple[str, str]:
    module = sys.modules.get(owner.__module__)
    try:
        path = inspect.getsourcefile(owner) or ""
        if module is not None and getattr(module, "__file__", None):
            lines, _ = inspect.findsource(module)
        else:
            lines = linecache.getlines(path)
    except (OSError, TypeError) as error:
        raise Refused("AP230", f"no source to be had for {owner.__module__}.{owner.__qualname__}") from error
    if not lines:
        raise Refused("AP230", f"no source to be had for {owner.__module__}.{owner.__qualname__}")
    return "".join(lines), path


def _report(module: Module, owner: type) -> ClassReport | None:
    """The report of the class with the owner's name; of several, the one that its methods'
    first lines fall into."""
    candidates = [r for r in reports(module, Hierarchy([module])) if r.name == owner.__name__]
    if len(candidates) > 1:
        lines = [f.__code__.co_firstlineno for f in vars(owner).values() if isinstance(f, FunctionType)]
        candidates = [r for r in candidates if any(r.node.lineno <= n <= r.node.end_lineno for n in lines)]
    return candidates[0] if candidates else None
