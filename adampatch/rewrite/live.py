"""Methods of live classes rewritten: from the source of a loaded class to new functions.

Only methods that change are compiled, into functions over the live globals and the
original closure cells; nothing is written and no class body is run again.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import sys
import textwrap
from types import CellType, CodeType, FunctionType
from typing import Any

from adampatch.analysis.classes import ClassReport, Hierarchy, reports
from adampatch.analysis.module import Module
from adampatch.rewrite.edits import RUNTIME_NAME, plan
from adampatch.rewrite.source import GuardFailed, rewritten


class Refused(Exception):
    """A live class that must not be patched; ``code`` AP2xx and ``reason`` in words."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason


def rewritten_methods(owner: type, binding: Any) -> dict[str, FunctionType]:
    """The methods of ``owner`` (its own, not inherited ones) that hold update sites, with
    the sites wrapped; ``binding`` is what ``_adampatch`` means inside them.

    Empty when the class holds no site. Raises Refused when a site cannot be separated, there
    is no source, or the source is not what is running.
    """
    text, path = _source(owner)
    try:
        module = Module.parse(text, path, getattr(sys.modules.get(owner.__module__), "__package__", "") or "")
    except SyntaxError as error:
        raise Refused("AP231", f"the source of {owner.__name__} does not parse: {error.msg}") from error
    report = _report(module, owner)
    if report is None or not report.sites:
        return {}
    if report.status in ("refused", "partial"):
        code, _, words = (report.reason or "AP200: not separable").partition(": ")
        raise Refused(code, f"{owner.__name__}: {words}")
    if report.status == "already":
        return {}
    try:
        new = rewritten(text, plan(module, [report], [], ""))
    except GuardFailed as error:
        raise Refused("AP232", f"{owner.__name__}: {error.why}") from error
    names = {name for site in report.sites for name in [_enclosing_method(report.node, site.node)] if name}
    found: dict[str, FunctionType] = {}
    for name in sorted(names):
        live = _live_function(owner, name)
        _check_running(owner, live, text, path, name)
        found[name] = _compiled(owner, live, new, path, name, binding)
    return found


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


def _enclosing_method(class_node: Any, node: Any) -> str | None:
    for function in class_node.body:
        if hasattr(function, "name") and function.lineno <= node.lineno <= function.end_lineno:
            return str(function.name)
    return None


def _live_function(owner: type, name: str) -> FunctionType:
    live = vars(owner).get(name)
    if not isinstance(live, FunctionType) or hasattr(live, "__wrapped__"):
        raise Refused("AP233", f"{owner.__name__}.{name} is wrapped by a decorator")
    return live


def _check_running(owner: type, live: FunctionType, text: str, path: str, name: str) -> None:
    """The unedited text must compile to what is running: the file may have changed since.

    The whole file is compiled, since a call's bytecode depends on whether the module imports
    the name that it starts from.
    """
    running = live.__code__
    for code in _codes(compile(text, path, "exec", dont_inherit=True)):
        if (
            code.co_name == name
            and code.co_firstlineno == running.co_firstlineno
            and _same_code(code, running)
        ):
            return
    raise Refused("AP234", f"the source of {owner.__name__}.{name} is not what is running")


def _same_code(a: CodeType, b: CodeType) -> bool:
    if a.co_code != b.co_code or a.co_names != b.co_names or a.co_varnames != b.co_varnames:
        return False
    if len(a.co_consts) != len(b.co_consts):
        return False
    for x, y in zip(a.co_consts, b.co_consts, strict=True):
        if isinstance(x, CodeType) and isinstance(y, CodeType):
            if not _same_code(x, y):
                return False
        elif x != y:
            return False
    return True


def _compiled(owner: type, live: FunctionType, new: str, path: str, name: str, binding: Any) -> FunctionType:
    shown = f"<adampatch {path}>"
    linecache.cache[shown] = (len(new), None, new.splitlines(keepends=True), shown)
    code = _method_code(owner, live, new, shown, name)
    cells = dict(zip(live.__code__.co_freevars, live.__closure__ or (), strict=True))
    cells[RUNTIME_NAME] = CellType(binding)
    if "__class__" in code.co_freevars and "__class__" not in cells:
        cells["__class__"] = CellType(owner)
    closure = tuple(cells[free] for free in code.co_freevars)
    function = FunctionType(code, live.__globals__, live.__name__, live.__defaults__, closure)
    function.__kwdefaults__ = live.__kwdefaults__
    function.__qualname__ = live.__qualname__
    function.__doc__ = live.__doc__
    function.__annotations__ = dict(live.__annotations__)
    function.__dict__.update(live.__dict__)
    return function


def _method_code(owner: type, live: FunctionType, text: str, path: str, name: str) -> CodeType:
    """The code object of a method compiled from the edited text, inside a class of the same
    name (so that names are mangled alike), over the live function's free variables."""
    tree = ast.parse(text)
    candidates = [
        function
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and node.name == owner.__name__
        for function in node.body
        if isinstance(function, ast.FunctionDef) and function.name == name
    ]
    if len(candidates) > 1:  # edits never change what stands above the first site of a class
        candidates = [f for f in candidates if f.lineno == live.__code__.co_firstlineno]
    if len(candidates) != 1:
        raise Refused("AP234", f"{len(candidates)} definitions of {owner.__name__}.{name} in {path}")
    method = candidates[0]
    method.decorator_list = []
    free = [n for n in (*live.__code__.co_freevars, RUNTIME_NAME) if n != "__class__"]
    shell = ast.parse(
        textwrap.dedent(
            f"""
            def _outer({", ".join(dict.fromkeys(free))}):
                class {owner.__name__}:
                    pass
            """
        )
    )
    future = [n for n in tree.body if isinstance(n, ast.ImportFrom) and n.module == "__future__"]
    outer = shell.body[0]
    assert isinstance(outer, ast.FunctionDef) and isinstance(outer.body[0], ast.ClassDef)
    outer.body[0].body = [method]
    shell.body = [*future, outer]
    compiled = compile(ast.fix_missing_locations(shell), path, "exec", dont_inherit=True)
    for inner in _codes(compiled):
        if inner.co_name == name:
            return inner
    raise Refused("AP234", f"{owner.__name__}.{name} did not compile")


def _codes(code: CodeType) -> list[CodeType]:
    found: list[CodeType] = []
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found += [constant, *_codes(constant)]
    return found
