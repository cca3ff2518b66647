"""The text of `_adampatch.py`: the project's rules over the installed run time, or, standalone,
over a copy of the whole run time made from its own modules."""

from __future__ import annotations

import ast
import hashlib
import pprint
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from adampatch import __version__
from adampatch.errors import AdampatchError
from adampatch.project import stock

_MARK = "What patched code calls; written by adampatch"
_NAMES = (
    "step", "fused", "observed", "patched", "where",
    "effective_rates", "snapshot", "update_rules", "v1", "keras",
)  # fmt: skip
_NO_RULES: dict[str, Any] = {"version": 1, "observe": {}, "runtime": {}, "rules": []}
_RUNTIME = Path(__file__).parents[1] / "runtime"
_STANDALONE = "STANDALONE"

# In the order in which their top levels need one another.
SECTIONS = (
    "lazy", "worlds", "normal_form", "settings", "matching", "methods", "stock_table", "stock_edits",
    "saver_restore", "rule_state", "records", "wrappers", "gradients", "moments", "measures", "bounding",
    "summing", "kernels", "fetching", "reading", "sinks", "alerts", "graph_reads", "graph_tensors",
    "sessions", "draining", "monitoring", "sampling", "programs", "proofs", "islands", "stepping", "fusing",
    "observing", "patching", "binding",
)  # fmt: skip


@dataclass(frozen=True)
class Wish:
    """What an apply says of its runtime modules; None keeps what is there.

    rules: the normal form; standalone: whether to write the whole run time; executable: the
    interpreter whose stock optimizers to bring edits for.
    """

    rules: Mapping[str, Any] | None = None
    standalone: bool | None = None
    executable: str | None = None


def runtime_module(path: Path, wish: Wish) -> bytes:
    """The text of the module at ``path``, which need not be there.

    Raises AdampatchError when a file there is not ours or its rules cannot be read.
    """
    existing = _read(path)
    rules, standalone = wish.rules, wish.standalone
    if existing is not None:
        if _MARK not in existing:
            raise AdampatchError(path, "is not adampatch's, and stands where its module has to go; rename it")
        if rules is None:
            rules = _assigned(path, existing, "RULES", dict)
        if standalone is None:
            standalone = is_standalone(existing)
    rules = dict(rules or _NO_RULES)
    if not standalone:
        return "\n".join(_over_installed(rules)).encode()
    table = stock.shipped()
    if existing is not None and is_standalone(existing):
        # A target named by an earlier --python is still a target.
        table.update(
            stock.Table(
                _assigned(path, existing, "EDITS", dict),
                set(_assigned(path, existing, "PLAIN", tuple)),
                _assigned(path, existing, "REFUSED", dict),
            )
        )
    if wish.executable is not None:
        table.update(_installed(wish.executable))
    return "\n".join(_whole(rules, table)).encode()


def is_standalone(text: bytes | str) -> bool:
    """Whether a module of ours is the whole run time."""
    mark = f"\n{_STANDALONE} = "
    return mark in text if isinstance(text, str) else mark.encode() in text


@cache
def _installed(executable: str) -> stock.Table:
    return stock.table_for(executable)


def _read(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8", "replace")
    except FileNotFoundError:
        return None


def _assigned(path: Path, text: str, name: str, kind: type) -> Any:
    """The plain data that a module of ours assigns to ``name``."""
    try:
        for node in ast.parse(text).body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == name:
                value = ast.literal_eval(node.value)
                if isinstance(value, kind):
                    return value
    except (SyntaxError, ValueError):
        pass
    raise AdampatchError(path, f"was edited and its {name} cannot be read; give --rules, or remove the file")


def _header() -> Iterator[str]:
    yield f'"""{_MARK} {__version__}. Commit it with the code.'
    yield ""
    yield "`adampatch apply --rules FILE` writes it again with other rules, `adampatch revert`"
    yield 'removes it. ADAMPATCH_RULES=FILE replaces these rules for one run.\n"""'


def _rules(rules: Mapping[str, Any]) -> str:
    return f"RULES = {pprint.pformat(rules, indent=1, width=100, sort_dicts=False)}"


def _names() -> Iterator[str]:
    return (f"{name} = _bound.{name}" for name in _NAMES)


def _over_installed(rules: Mapping[str, Any]) -> Iterator[str]:
    yield from _header()
    yield from ("", "from adampatch.runtime import bind", "", _rules(rules), "")
    yield "_bound = bind(RULES, __name__)"
    yield from (*_names(), "")


# ------------------------------------------------------------------------ standalone


def _whole(rules: Mapping[str, Any], table: stock.Table) -> Iterator[str]:
    sections = [
        _section(name, stock.rendered(table)) if name == "stock_table" else _installed_section(name)
        for name in SECTIONS
    ]
    imports = set[str]().union(*(found for found, _ in sections))
    body = "\n\n".join(section for _, section in sections)
    identity = hashlib.sha256(body.encode()).hexdigest()[:16]
    yield from _header()
    yield "# This is the whole run time: it needs the standard library, NumPy and TensorFlow, nothing else."
    yield "# Generated from adampatch/runtime (Apache License 2.0); edit the rules, never the code."
    yield "# ruff: noqa\n# flake8: noqa\n# pylint: skip-file\n# mypy: ignore-errors\n# fmt: off\n"
    yield from sorted(imports)
    yield from ("", _rules(rules), "", f'{_STANDALONE} = "{__version__}"', "")
    yield "# Each section below was a module; all of them are this one."
    yield " = ".join((*SECTIONS, "sys.modules[__name__]"))
    yield from ("", "", body, "", "")
    yield "# Copies of one run time in one process share what they know of optimizers."
    yield f'_shared = sys.modules.setdefault("_adampatch_{identity}", sys.modules[__name__])'
    yield "_bound = _shared.bind(RULES, __name__)"
    yield from (*_names(), "")


@cache
def _installed_section(name: str) -> tuple[set[str], str]:
    return _section(name, (_RUNTIME / f"{name}.py").read_text("utf-8"))


def _section(name: str, text: str) -> tuple[set[str], str]:
    """(imports of a module of the run time, its text without them, headed by its docstring)."""
    tree = ast.parse(text)
    lines = text.split("\n")
    imports: set[str] = set()
    gone: set[int] = set()
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            gone.update(range(node.lineno, (node.end_lineno or 0) + 1))
            if not (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("adampatch.")):
                imports.add(ast.unparse(node))
        elif node is tree.body[0]:  # the docstring
            gone.update(range(node.lineno, (node.end_lineno or 0) + 1))
    kept = "\n".join(line for number, line in enumerate(lines, 1) if number not in gone).strip("\n")
    words = (ast.get_docstring(tree) or "").split("\n")
    comment = "\n".join(f"# {line}".rstrip() for line in words)
    return imports, f"# ---- {name} {'-' * (90 - len(name))}\n{comment}\n\n{kept}\n"
