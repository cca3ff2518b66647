"""The edits of one class by method: what patched(cls) does to a class that is imported already.

Edits are (start, end, replacement) in the dedented text of a method, and add to it only: they
hold none of the text around them.
"""

from __future__ import annotations

import ast
import difflib
import io
import re
from typing import Any, TypeAlias

from adampatch.analysis.classes import ClassReport
from adampatch.analysis.module import Module, syntax_tree
from adampatch.rewrite.edits import plan
from adampatch.rewrite.source import rewritten
from adampatch.runtime.methods import digest, edited, method_text

Edits: TypeAlias = tuple[tuple[int, int, str], ...]

_TOKEN = re.compile(r"\w+|\s+|[^\w\s]")


def edits_by_method(module: Module, report: ClassReport) -> dict[str, tuple[str, Edits]]:
    """{method: (digest of its text, edits)} of the methods of a class that hold update sites.

    Raises GuardFailed where the rewriting of the module cannot be trusted.
    """
    names = {name for site in report.sites if (name := _enclosing_method(report.node, site.node))}
    if not names:
        return {}
    index = _index(module, report)
    before = _texts(module.text, report.name, index)
    after = _texts(rewritten(module.text, plan(module, [report], [], "")), report.name, index)
    found = {}
    for name in sorted(names):
        edits = difference(before[name], after[name])
        if edited(before[name], edits) != after[name]:
            raise AssertionError(f"the edits of {report.name}.{name} do not give its new text")
        found[name] = (digest(before[name]), edits)
    return found


def method_texts(module: Module, report: ClassReport) -> dict[str, str]:
    """{name: text as `runtime.methods` counts in it} of all methods in the class's body."""
    return _texts(module.text, report.name, _index(module, report))


def _enclosing_method(class_node: Any, node: Any) -> str | None:
    for function in class_node.body:
        if hasattr(function, "name") and function.lineno <= node.lineno <= function.end_lineno:
            return str(function.name)
    return None


def _index(module: Module, report: ClassReport) -> int:
    """Which of the classes of its name a class is: the same before and after edits."""
    same = _classes(module.text, report.name)
    return next(i for i, n in enumerate(same) if n.lineno == report.node.lineno)


def _texts(text: str, cls: str, index: int) -> dict[str, str]:
    """{method: its text}; of several definitions the last is the one that counts."""
    # As Python reads a file: every newline is "\n", and a form feed ends no line.
    lines = list(io.StringIO(text, newline=None))
    found = {}
    for node in _classes(text, cls)[index].body:
        if isinstance(node, ast.FunctionDef):
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            found[node.name] = method_text(lines[first - 1 : node.end_lineno])
    return found


def _classes(text: str, name: str) -> list[ast.ClassDef]:
    return [n for n in ast.walk(syntax_tree(text)) if isinstance(n, ast.ClassDef) and n.name == name]


def difference(old: str, new: str) -> Edits:
    """Edits token by token, so that they hold what was added and nothing of what was there."""
    a, b = _TOKEN.findall(old), _TOKEN.findall(new)
    starts = [0]
    for token in a:
        starts.append(starts[-1] + len(token))
    matcher = difflib.SequenceMatcher(None, a, b, autojunk=False)
    return tuple(
        (starts[i], starts[j], "".join(b[k:m])) for tag, i, j, k, m in matcher.get_opcodes() if tag != "equal"
    )
