"""The arrows of docs/architecture.md, and the boundary of the target side."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest

import adampatch
from adampatch.project import runtime_module, stock

PACKAGE = Path(adampatch.__file__).parent
#: package -> the packages of ours it may import (itself always)
ARROWS = {
    "algebra": set(),
    "analysis": {"algebra"},
    "rewrite": {"analysis", "algebra", "runtime"},
    "ruleset": {"errors"},
    "codes": {"ruleset"},
    "graph": {"algebra", "runtime", "errors"},
    "project": {"rewrite", "analysis", "runtime", "errors", ""},
    "verify": {"project", "graph", "algebra", "ruleset", "errors", ""},
    "cli": {
        "project",
        "ruleset",
        "verify",
        "graph",
        "codes",
        "importing",
        "report",
        "checkpoint",
        "errors",
        "",
    },
    "checkpoint": {"project", "ruleset", "runtime", "errors"},
    "report": {"errors"},
    "importing": {"runtime"},
    "runtime": set(),
}
#: what may be reached in functions, when it is asked for
LAZY = {
    "runtime": {"rewrite", "ruleset"},
    "importing": {"project"},
    "verify": {"runtime"},
    "ruleset": {"runtime"},
    "graph": {"project", ""},
}
TARGET_SIDE = [
    *sorted((PACKAGE / "runtime").glob("**/*.py")),
    *sorted((PACKAGE / "importing").glob("**/*.py")),
    PACKAGE / "checkpoint" / "worker.py",
    *sorted((PACKAGE / "verify" / "worker").glob("**/*.py")),
    *sorted((PACKAGE / "graph").glob("*.py")),
    *sorted((PACKAGE / "algebra").glob("*.py")),
    PACKAGE / "errors.py",
    *(PACKAGE / n for n in ("__init__.py", "keras.py", "v1.py", "optimizers.py")),
]
TARGET_ROOTS = {"adampatch", "h5py", "numpy", "tensorflow", "keras", "tf_keras"}
#: modules of the standard library that Python 3.7 does not have
NEWER = {"graphlib", "tomllib", "zoneinfo"}


def imports(path: Path, *, lazy: bool) -> set[str]:
    """Dotted names that a file imports: at import time, or inside of functions."""
    return imports_of(path.read_text(), lazy=lazy)


def imports_of(text: str, *, lazy: bool) -> set[str]:
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

    visit(ast.parse(text), False)
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
    assert roots <= TARGET_ROOTS | set(sys.stdlib_module_names) - NEWER, path


@pytest.fixture(scope="module")
def standalone(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("project") / "_adampatch.py"
    return runtime_module.runtime_module(path, runtime_module.Wish(standalone=True)).decode()


def test_the_standalone_module_is_python_3_7_over_tensorflow_and_numpy(standalone: str) -> None:
    ast.parse(standalone, feature_version=(3, 7))
    roots = {n.split(".")[0] for n in imports_of(standalone, lazy=False)}
    assert roots <= {"numpy"} | set(sys.stdlib_module_names) - NEWER
    later = {n.split(".")[0] for n in imports_of(standalone, lazy=True)}
    assert later <= TARGET_ROOTS | set(sys.stdlib_module_names) - NEWER


def test_the_standalone_module_holds_every_module_of_the_run_time() -> None:
    files = {path.stem for path in (PACKAGE / "runtime").glob("*.py")}
    assert set(runtime_module.SECTIONS) == files - {"__init__"}


def top_level(text: str) -> list[str]:
    """The names that the statements of a module bind, imports left out; each once."""
    found: set[str] = set()
    for node in ast.parse(text).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif not isinstance(node, (ast.Import, ast.ImportFrom)):
            names = (n for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
            found.update(n.id for n in names)
    return sorted(found)


def test_modules_that_become_one_file_define_no_name_twice(standalone: str) -> None:
    # Each module's name is itself a name of that file, and so is what the file defines at its ends.
    named = [*runtime_module.SECTIONS, "RULES", "STANDALONE", "_shared", "_bound"]
    for section in runtime_module.SECTIONS:
        named += top_level((PACKAGE / "runtime" / f"{section}.py").read_text())
    assert [name for name, times in Counter(named).items() if times > 1] == []
    assert set(named) <= set(top_level(standalone))


def test_no_parameter_hides_a_section_that_its_function_uses() -> None:
    for section in runtime_module.SECTIONS:
        tree = ast.parse((PACKAGE / "runtime" / f"{section}.py").read_text())
        for function in (n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.Lambda))):
            arguments = {a.arg for a in ast.walk(function.args) if isinstance(a, ast.arg)}
            for use in ast.walk(function):
                if isinstance(use, ast.Attribute) and isinstance(use.value, ast.Name):
                    hidden = arguments & set(runtime_module.SECTIONS) & {use.value.id}
                    module = PACKAGE / "runtime" / f"{use.value.id}.py"
                    assert not hidden or use.attr not in top_level(module.read_text()), (section, use.lineno)


def test_the_shipped_table_is_that_of_the_installed_versions() -> None:
    if any(find_spec(name) is None for name in ("tensorflow", "keras", "tf_keras")):
        pytest.skip("TensorFlow, Keras or tf_keras is not installed")
    made, shipped = stock.table_for(sys.executable), stock.shipped()
    assert len(made.edits) > 20
    assert made.edits == {key: shipped.edits.get(key) for key in made.edits}
    assert made.refused == {key: shipped.refused.get(key) for key in made.refused}
    assert made.plain <= shipped.plain


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
