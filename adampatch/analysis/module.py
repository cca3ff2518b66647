"""One parsed file: syntax tree, source segments, imports and top-level definitions."""

from __future__ import annotations

import ast
import contextlib
import copy
import gc
import io
import itertools
import tokenize
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import gast


def syntax_tree(text: str) -> ast.Module:
    """The tree that ``ast`` makes. Raises SyntaxError (also for NUL bytes and over-nested code)."""
    with _parsing():
        return ast.parse(text)


@contextlib.contextmanager
def _parsing() -> Iterator[None]:
    """Every way in which parsing fails is a SyntaxError, and a user's invalid escapes warn nobody."""
    collecting = gc.isenabled()
    gc.disable()  # it goes through all the nodes again and again, and finds none to free
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ValueError as error:
        raise SyntaxError(str(error)) from error
    except (RecursionError, MemoryError) as error:
        raise SyntaxError("the code is nested too deeply to be followed") from error
    finally:
        if collecting:
            gc.enable()


@dataclass
class Module:
    """A file as analysis sees it. ``tree`` is a gast tree; ``imports`` maps each name that
    the module binds by import to the dotted paths it may stand for (several when the import
    is in branches); ``package`` is the dotted package for relative imports ('' if none)."""

    path: str
    text: str
    tree: Any
    package: str = ""
    imports: dict[str, tuple[str, ...]] = field(default_factory=dict)
    #: imported names that come from a framework through other modules of the project -> its paths
    behind: dict[str, tuple[str, ...]] = field(default_factory=dict)
    functions: dict[str, Any] = field(default_factory=dict)
    classes: dict[str, Any] = field(default_factory=dict)
    assigned: dict[str, Any] = field(default_factory=dict)
    ambiguous: set[str] = field(default_factory=set)
    #: ambiguous names that nothing but assignments bind -> what each of these assigns
    alternatives: dict[str, list[Any]] = field(default_factory=dict)
    #: what a dotted path is in the project's other modules: a definition and its module
    elsewhere: Callable[[str], tuple[Any, Module] | None] = field(default=lambda path: None, repr=False)

    @classmethod
    def parse(cls, text: str, path: str = "<string>", package: str = "") -> Module:
        """Raises SyntaxError (also for NUL bytes and over-nested code)."""
        with _parsing():
            tree = gast.ast_to_gast(ast.parse(text))
        module = cls(path, text, tree, package)
        module._collect(tree.body)
        return module

    def __post_init__(self) -> None:
        # newline="" splits where Python's tokenizer does: not at form feeds or U+2028
        self._lines = list(io.StringIO(self.text, newline=""))
        self._bytes = [line.encode("utf-8") for line in self._lines]
        self._starts = [0, *itertools.accumulate(len(line) for line in self._lines)]

    # ------------------------------------------------------------- definitions

    def _collect(self, body: list[Any]) -> None:
        """Top-level definitions. A name that is bound in more than one way (a class defined
        twice, a flag set twice or through ``global``) is none of them: nothing is known of it.
        """
        bound: dict[str, int] = {}
        values: dict[str, list[Any]] = {}
        for node in _top_level(body):
            if isinstance(node, (gast.Import, gast.ImportFrom)):
                for name, target in import_bindings(node, self.package):
                    known = self.imports.get(name, ())
                    if target not in known:
                        self.imports[name] = (*known, target)
                    bound.setdefault(name, 0)
                continue
            if isinstance(node, gast.FunctionDef):
                self.functions[node.name] = node
            elif isinstance(node, gast.ClassDef):
                self.classes[node.name] = node
            elif (
                isinstance(node, gast.Assign)
                and len(node.targets) == 1
                and isinstance(node.targets[0], gast.Name)
            ):
                self.assigned[node.targets[0].id] = node.value
                values.setdefault(node.targets[0].id, []).append(node.value)
            for name in _bound_names(node):
                bound[name] = bound.get(name, 0) + (2 if name in self.imports else 1)
        for node in gast.walk(self.tree):
            if isinstance(node, gast.Global):
                bound.update((name, 2) for name in node.names)
        for name, count in bound.items():
            if count > 1:
                self.ambiguous.add(name)
                if len(values.get(name, ())) == count:
                    self.alternatives[name] = values[name]
                for table in (self.imports, self.functions, self.assigned):
                    table.pop(name, None)

    def bound(self) -> set[str]:
        """The names whose meaning is known."""
        return {*self.imports, *self.functions, *self.classes, *self.assigned}

    def within(self, node: Any) -> Module:
        """The module as seen from a class: imports of the functions around it included."""
        if node.col_offset == 0:
            return self
        around = [
            f
            for f in gast.walk(self.tree)
            if isinstance(f, gast.FunctionDef) and f.lineno <= node.lineno <= f.end_lineno
        ]
        found = {
            name: (path,)
            for function in around
            for statement in function.body
            if isinstance(statement, (gast.Import, gast.ImportFrom))
            for name, path in import_bindings(statement, self.package)
        }
        if not found:
            return self
        scoped = copy.copy(self)
        scoped.imports = {**self.imports, **found}
        scoped.behind = {name: paths for name, paths in self.behind.items() if name not in found}
        return scoped

    def dotted(self, node: Any) -> tuple[str, ...]:
        """The dotted paths a module-level expression like ``tf.keras.Adam`` may stand for;
        empty when its root is not imported."""
        parts: list[str] = []
        while isinstance(node, gast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, gast.Name):
            return ()
        return tuple(canonical(".".join([root, *reversed(parts)])) for root in self.origins(node.id))

    def origins(self, name: str) -> tuple[str, ...]:
        """The dotted paths that an imported name may stand for; empty for any other name."""
        return self.behind.get(name) or self.imports.get(name, ())

    def values(self, name: str) -> list[Any]:
        """What a name of the module is assigned, on each of the ways there are; empty for a name
        that something else binds too."""
        return [self.assigned[name]] if name in self.assigned else self.alternatives.get(name, [])

    # ---------------------------------------------------------------- positions

    def segment(self, node: Any) -> str:
        """The source text of a node, as written."""
        start, end = self.span(node)
        return self.text[start:end]

    def span(self, node: Any) -> tuple[int, int]:
        """(start, end) offsets of a node in ``text``, in code points."""
        return self.offset(node.lineno, node.col_offset), self.offset(node.end_lineno, node.end_col_offset)

    def normal_text(self, node: Any) -> str:
        """The text of an expression on one line, spelled as ``ast.unparse`` does."""
        return normalised(self.segment(node))

    def in_its_quotes(self, expression: str) -> str:
        """A text spelled as ``ast.unparse`` does, with the quotes that this module's strings have."""
        if "'" not in expression or self.text.count("'") >= self.text.count('"'):
            return expression
        pieces, at, inside = [], 0, 0
        for token in tokenize.generate_tokens(io.StringIO(expression).readline):
            name = tokenize.tok_name[token.type]
            inside += (name == "FSTRING_START") - (name == "FSTRING_END")
            plain = name == "STRING" and token.string[0] == "'" and not set(token.string[1:-1]) & set("'\"\\")
            if plain and not inside:
                pieces += [expression[at : token.start[1]], f'"{token.string[1:-1]}"']
                at = token.end[1]
        return "".join([*pieces, expression[at:]])

    def offset(self, line: int, column: int) -> int:
        """The offset in code points of a (1-based line, UTF-8 byte column) position."""
        return self._starts[line - 1] + len(self._bytes[line - 1][:column].decode("utf-8"))

    def column(self, line: int, column: int) -> int:
        """A UTF-8 byte column as a column in code points."""
        return len(self._bytes[line - 1][:column].decode("utf-8"))

    def line_text(self, line: int) -> str:
        """A line without its newline."""
        return self._lines[line - 1].rstrip("\r\n") if line <= len(self._lines) else ""


def unwrapped(node: Any) -> Any:
    """``X`` for our own ``_adampatch.patched(X)``; any other node as it is."""
    if isinstance(node, gast.Call) and is_patched(node.func) and node.args:
        return node.args[0]
    return node


def is_patched(callee: Any) -> bool:
    """Whether a callee is our own ``patched``."""
    return (
        isinstance(callee, gast.Attribute)
        and callee.attr == "patched"
        and isinstance(callee.value, gast.Name)
        and callee.value.id in ("_adampatch", "adampatch")
    )


def normalised(expression: str) -> str:
    """An expression's text on one line, redundant parentheses and comments gone."""
    return ast.unparse(ast.parse(f"({expression}\n)", mode="eval"))


def _top_level(body: list[Any]) -> Iterator[Any]:
    """The statements that run when the module is imported, those in branches too."""
    for node in body:
        yield node
        if isinstance(node, (gast.If, gast.Try, gast.With, gast.For, gast.While)):
            for part in ("body", "orelse", "finalbody"):
                yield from _top_level(getattr(node, part, []) or [])
            for handler in getattr(node, "handlers", []) or []:
                yield from _top_level(handler.body)


def _bound_names(node: Any) -> Iterator[str]:
    """The names that one statement binds, not those that its blocks bind."""
    if isinstance(node, (gast.FunctionDef, gast.AsyncFunctionDef, gast.ClassDef)):
        yield node.name
        return
    targets = [*getattr(node, "targets", []), *[t for t in [getattr(node, "target", None)] if t is not None]]
    for item in getattr(node, "items", None) or []:
        if getattr(item, "optional_vars", None) is not None:
            targets.append(item.optional_vars)
    for target in targets:
        for inner in gast.walk(target):
            if isinstance(inner, gast.Name) and not isinstance(inner.ctx, gast.Load):
                yield inner.id


def imported_paths(node: Any, package: str = "") -> list[str]:
    """The dotted paths that an import statement says, of modules and of what is in them."""
    if isinstance(node, gast.Import):
        return [alias.name for alias in node.names]
    base = _base(node, package)
    return [base, *(f"{base}.{alias.name}" for alias in node.names if alias.name != "*")]


def import_bindings(node: Any, package: str = "") -> list[tuple[str, str]]:
    """(bound name, dotted path) for each name that an import statement binds."""
    found = []
    if isinstance(node, gast.Import):
        for alias in node.names:
            if alias.asname:
                found.append((alias.asname, canonical(alias.name)))
            else:
                root = alias.name.split(".")[0]
                found.append((root, root))
    else:
        base = _base(node, package)
        for alias in node.names:
            if alias.name != "*":
                found.append((alias.asname or alias.name, canonical(f"{base}.{alias.name}")))
    return found


def _base(node: Any, package: str) -> str:
    """The dotted path of the module that names are imported from."""
    base = node.module or ""
    if node.level:
        parts = package.split(".") if package else []
        parts = parts[: len(parts) - (node.level - 1)] if node.level > 1 else parts
        base = ".".join([*parts, base]).strip(".") if base else ".".join(parts)
        base = base or "."
    return base


_ALIASES = (
    ("tensorflow.compat.v2.", "tensorflow."),
    ("tensorflow_core.", "tensorflow."),
    ("tensorflow.python.keras.api.", "tensorflow.keras."),
    ("tensorflow.keras.api.", "tensorflow.keras."),
    ("keras.api.", "keras."),
)


def canonical(path: str) -> str:
    """A dotted path with the spellings of one module brought together."""
    for prefix, instead in _ALIASES:
        if path.startswith(prefix):
            path = instead + path[len(prefix) :]
    return path
