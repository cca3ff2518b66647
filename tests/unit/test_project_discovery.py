"""Which files a PATH stands for: links, .gitignore files, default names, globs, settings."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adampatch.errors import AdampatchError
from adampatch.project.discovery import Skipped, discover
from adampatch.project.prefilter import mentions_adam


def tree(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("import adam\n")


def found(*paths: Path, exclude: tuple[str, ...] = ()) -> list[str]:
    return [source.relative for source in discover(paths, exclude).sources]


def test_default_names_are_left_out_and_order_is_fixed(tmp_path: Path) -> None:
    left_out = [".venv", "venv", "build", "dist", "site-packages", "__pycache__", ".git", "node_modules"]
    left_out += [".tox", ".adampatch", ".mypy_cache"]
    tree(tmp_path, *(f"pkg/{name}/a.py" for name in left_out), "b.py", "a/z.py", "a/b/c.py", "a.txt", "w.pyw")
    assert found(tmp_path) == ["a/b/c.py", "a/z.py", "b.py", "w.pyw"]


def test_a_virtual_environment_by_any_name(tmp_path: Path) -> None:
    tree(tmp_path, "env/lib/x.py", "a.py")
    (tmp_path / "env/pyvenv.cfg").write_text("")
    assert found(tmp_path) == ["a.py"]


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("build", ["x.py"]),
        ("build/x.py", ["x.py"]),
        (".venv", ["lib/site-packages/keras/adam.py"]),
        (".venv/lib/site-packages/keras", ["adam.py"]),
    ],
)
def test_what_is_named_is_taken(tmp_path: Path, argument: str, expected: list[str]) -> None:
    tree(tmp_path, "build/x.py", ".venv/lib/site-packages/keras/adam.py")
    (tmp_path / ".gitignore").write_text("build/\n.venv\n")
    (tmp_path / ".git").mkdir()
    assert found(tmp_path / argument) == expected


def test_root_and_several_paths(tmp_path: Path) -> None:
    tree(tmp_path, "a/x.py", "a/deep/y.py", "b/z.py")
    assert discover([tmp_path / "a" / "x.py"]).root == tmp_path / "a"
    several = discover([tmp_path / "b", tmp_path / "a/deep/y.py", tmp_path / "b/z.py"])
    assert several.root == tmp_path
    assert [source.relative for source in several.sources] == ["a/deep/y.py", "b/z.py"]
    assert several.sources[0].path == tmp_path / "a/deep/y.py"


def test_gitignore_of_parents_counts_up_to_the_git_top(tmp_path: Path) -> None:
    tree(tmp_path, "repo/src/gen/a.py", "repo/src/b.py", "repo/src/c_pb2.py", "repo/src/keep_pb2.py")
    (tmp_path / ".gitignore").write_text("b.py\n")  # above the top: not ours
    (tmp_path / "repo/.git").mkdir()
    (tmp_path / "repo/.gitignore").write_text("/src/gen\n*_pb2.py\n")
    (tmp_path / "repo/src/.gitignore").write_text("!keep_pb2.py\n")
    assert found(tmp_path / "repo/src") == ["b.py", "keep_pb2.py"]


def test_a_malformed_gitignore_line_is_passed_over(tmp_path: Path) -> None:
    tree(tmp_path, "a.py", "b.py")
    (tmp_path / ".gitignore").write_bytes(b"!\n\xff\r\nb.py\r\n")
    assert found(tmp_path) == ["a.py"]


PATTERNS = ["*.py", "a", "/a", "a/", "b/", "!b/", "!a.py", "a/*", "**/b", "a/**", "!*.py", "b/**/a.py"]
PATTERNS += ["[ab].py", "#a", "!a/b", "!a", "/b/*", "!/b/", "!*/", "*", "**/a/", "!**/b/a", "**", "?", "!b"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(PATTERNS), max_size=4), st.lists(st.sampled_from(PATTERNS), max_size=3))
def test_gitignore_is_what_git_says(tmp_path: Path, outer: list[str], inner: list[str]) -> None:
    names = ["a.py", "b.py", "a/a.py", "a/b/a.py", "b/a.py", "b/b/b.py", "b/a/a.py"]
    tree(tmp_path, *names)
    if not (tmp_path / ".git").exists():
        subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / ".gitignore").write_text("\n".join(outer) + "\n")
    (tmp_path / "b/.gitignore").write_text("\n".join(inner) + "\n")
    listed = subprocess.run(
        ["git", "ls-files", "--others", "--exclude-standard", "*.py"],
        cwd=tmp_path, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert found(tmp_path) == sorted(listed.stdout.split())


def test_exclude_globs(tmp_path: Path) -> None:
    tree(tmp_path, "a.py", "gen/b.py", "x/gen/c.py", "x/d_test.py")
    assert found(tmp_path, exclude=("/gen", "*_test.py")) == ["a.py", "x/gen/c.py"]
    assert found(tmp_path, exclude=("gen/",)) == ["a.py", "x/d_test.py"]
    assert found(tmp_path, exclude=("./x/**",)) == ["a.py", "gen/b.py"]
    assert found(tmp_path / "a.py", exclude=("a.py",)) == ["a.py"]
    with pytest.raises(AdampatchError) as caught:
        found(tmp_path, exclude=("!",))
    assert str(caught.value) == '--exclude: "!" is not a glob; write it as in .gitignore, e.g. "gen/**"'


def test_links(tmp_path: Path) -> None:
    root = tmp_path / "root"
    tree(tmp_path, "outside/o.py", "root/real.py", "root/pkg/p.py")
    (tmp_path / "outside/quiet.py").write_text("x = 1\n")
    os.symlink("real.py", root / "again.py")
    os.symlink("pkg", root / "linked")
    os.symlink(tmp_path / "outside/o.py", root / "o.py")
    os.symlink(tmp_path / "outside/quiet.py", root / "quiet.py")
    os.symlink("nowhere", root / ".#lock.py")
    os.symlink("loop.py", root / "loop.py")
    os.mkfifo(root / "pipe.py")
    (root / "dir.py").mkdir()
    result = discover([root])
    assert [source.relative for source in result.sources] == ["pkg/p.py", "real.py"]
    assert result.skipped == [
        Skipped("o.py", "is a symbolic link that leaves the root; name its target itself")
    ]


def test_link_to_a_file_of_the_root_that_is_not_found_otherwise(tmp_path: Path) -> None:
    tree(tmp_path, "real.txt")
    os.symlink("real.txt", tmp_path / "a.py")
    assert found(tmp_path) == ["a.py"]


def test_notebooks_are_sources_but_their_checkpoints_are_not(tmp_path: Path) -> None:
    tree(tmp_path, "a.py", "b.ipynb", ".ipynb_checkpoints/b-checkpoint.ipynb")
    assert [(source.relative, source.is_notebook) for source in discover([tmp_path]).sources] == [
        ("a.py", False),
        ("b.ipynb", True),
    ]


def test_paths_that_cannot_be_used(tmp_path: Path) -> None:
    tree(tmp_path, "model.pb", "script")
    for name, message in [
        ("no.py", "does not exist; name a Python file or a directory"),
        ("model.pb", "is not a Python file; name a .py or .ipynb file, or a directory"),
        ("script", "is not a Python file; name a .py or .ipynb file, or a directory"),
    ]:
        with pytest.raises(AdampatchError) as caught:
            discover([tmp_path / name])
        assert str(caught.value) == f"{tmp_path / name}: {message}"
    with pytest.raises(AdampatchError, match="no PATH was given"):
        discover([])
    (tmp_path / "script").write_text("#!/usr/bin/env python3\n")
    assert found(tmp_path / "script") == ["script"]


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff.py")
    (tmp_path / name).write_text("adam")
    assert found(tmp_path) == [name]


def test_settings(tmp_path: Path) -> None:
    tree(tmp_path, "gen/a.py", "src/b.py", "src/gen/c.py")
    (tmp_path / "pyproject.toml").write_text('[tool.adampatch]\nexclude = ["/gen"]\ntensorflow = "2.10"\n')
    result = discover([tmp_path])
    assert [source.relative for source in result.sources] == ["src/b.py", "src/gen/c.py"]
    assert result.settings.tensorflow == "2.10"
    # Below a git top the nearest pyproject.toml counts, and its globs are relative to it.
    (tmp_path / ".git").mkdir()
    (tmp_path / "pyproject.toml").write_text('[tool.adampatch]\nexclude = ["/src/gen"]\n')
    assert found(tmp_path / "src") == ["b.py"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tool]\nx = = 1\n", ":2: is not valid TOML: Invalid value; correct it and run again"),
        (
            '[tool.adampatch]\n\nexclude = "a"\n',
            ':3: exclude must be a list of globs, such as ["generated/**"]',
        ),
        (
            "[tool.adampatch]\nexclude = [1]\n",
            ':2: exclude must be a list of globs, such as ["generated/**"]',
        ),
        (
            '[tool.adampatch]\nexlude = ["a"]\n',
            ':2: unknown setting "exlude" in [tool.adampatch]; did you mean "exclude"?',
        ),
        (
            "[tool.adampatch]\nzzz = 1\n",
            ':2: unknown setting "zzz" in [tool.adampatch]; known are exclude, tensorflow, verify',
        ),
        (
            "[tool.adampatch]\ntensorflow = 2.10\n",
            ':2: tensorflow must be a version in quotes, such as "2.10"',
        ),
        ("[tool]\nadampatch = 1\n", ": adampatch must be a table; write [tool.adampatch]"),
    ],
)
def test_settings_that_are_wrong(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(AdampatchError) as caught:
        discover([tmp_path])
    assert str(caught.value) == f"{tmp_path / 'pyproject.toml'}{message}"


@pytest.mark.parametrize(
    "text",
    [
        "tf.keras.optimizers.Adam(1e-3)",
        "compile('ADAM')",
        "class Lamb(Optimizer): pass",
        "LAMB",
        "AMSGrad",
        "def update_step(self, g, w): pass",
        "def _resource_apply_dense(self): pass",
        "def _apply_dense(self): pass",
        "def apply_gradients(self): pass",
        "def get_updates(self): pass",
        "from x import Yogi",
        "AdEMAMix()",
        "m = beta_1 * m",
        "optimizers.get(name)",
        "training_ops.f",
        "class B(base.Optimizer): pass",
        "AdaBelief",
    ],
)
def test_prefilter_lets_through(text: str) -> None:
    assert mentions_adam(text.encode())


@pytest.mark.parametrize("text", ["", "x = lambda: 1", "import os\nprint('A da m')", "LAMBDA = 1"])
def test_prefilter_leaves_out(text: str) -> None:
    assert not mentions_adam(text.encode())


def test_prefilter_extra_names() -> None:
    assert mentions_adam(b"class X(MyBase): pass", frozenset({b"MyBase"}))
    assert not mentions_adam(b"class X(mybase): pass", frozenset({b"MyBase"}))
