"""The arrows of docs/architecture.md, and the boundary of the target side."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import adampatch

PACKAGE = Path(adampatch.__file__).parent
#: package -> the packages of ours it may import (itself always)
ARROWS = {
    "algebra": set(),
    "analysis": {"algebra"},
    "rewrite": {"analysis", "algebra", "runtime"},
    "ruleset": {"errors"},
    "project": {"rewrite", "analysis", "runtime", "errors", ""},
    "verify": {"project", "errors", ""},
    "cli": {"project", "ruleset", "verify", "codes", "errors", ""},
    "runtime": set(),
}
#: what the target side may reach in functions, when it is asked to
LAZY = {"runtime": {"rewrite", "ruleset"}, "verify": {"runtime"}}
TARGET_SIDE = [
    *sorted((PACKAGE / "runtime").glob("**/*.py")),
    *sorted((PACKAGE / "verify" / "worker").glob("**/*.py")),
    *(PACKAGE / n for n in ("__init__.py", "v1.py", "optimizers.py")),
]
TARGET_ROOTS = {"adampatch", "numpy", "tensorflow", "keras", "tf_keras"}


def imports(path: Path, *, lazy: bool) -> set[str]:
    """Dotted names that a file imports: at import time, or inside of functions."""
    found: set[str] = set()

    def visit(node: ast.AST, inside: bool) -> None:
        inside = inside or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        if inside == lazy and isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        if inside == lazy and isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names if node.module == "adampatch")
        for child in ast.iter_child_nodes(node):
            visit(child, inside)

    visit(ast.parse(path.read_text()), False)
    return found


def ours(names: set[str]) -> set[str]:
    parts = {n.split(".")[1] if "." in n else "" for n in names if n.split(".")[0] == "adampatch"}
    return {p for p in parts if not p.startswith("__")}


@pytest.mark.parametrize("package", ARROWS)
def test_arrows_point_down(package: str) -> None:
    files = sorted((PACKAGE / package).glob("**/*.py"))
    assert files
    for path in files:
        allowed = ARROWS[package] | {package}
        assert ours(imports(path, lazy=False)) <= allowed, path
        assert ours(imports(path, lazy=True)) <= allowed | LAZY.get(package, set()), path


@pytest.mark.parametrize("path", TARGET_SIDE, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_the_target_side_parses_on_python_3_7(path: Path) -> None:
    ast.parse(path.read_text(), feature_version=(3, 7))


@pytest.mark.parametrize("path", TARGET_SIDE, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_the_target_side_needs_only_tensorflow_and_numpy(path: Path) -> None:
    roots = {n.split(".")[0] for n in imports(path, lazy=False) | imports(path, lazy=True)}
    assert roots <= TARGET_ROOTS | set(sys.stdlib_module_names), path


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("**/*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_the_tool_side_never_imports_tensorflow(path: Path) -> None:
    if path in TARGET_SIDE:
        return
    roots = {n.split(".")[0] for n in imports(path, lazy=False) | imports(path, lazy=True)}
    assert not roots & {"tensorflow", "keras", "tf_keras"}, path


def test_algebra_is_pure() -> None:
    for path in (PACKAGE / "algebra").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("print", "open", "input"), path


def test_importing_adampatch_imports_neither_tensorflow_nor_libcst() -> None:
    code = (
        "import sys, adampatch, adampatch.runtime\n"
        "bad = {'tensorflow', 'keras', 'libcst', 'gast'} & set(sys.modules)\n"
        "sys.exit(str(bad) if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_scan_works_where_tensorflow_is_not_to_be_had(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        "import keras\nraise SystemExit('imported')\nkeras.optimizers.Adam()\n"
    )
    code = (
        "import sys\n"
        "for name in ('tensorflow', 'keras'): sys.modules[name] = None\n"
        "from adampatch.cli import main; main(['scan', sys.argv[1], '--format', 'json'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, text=True
    )
    assert '"resolved": "keras.optimizers.Adam"' in done.stdout
