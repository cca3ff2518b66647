"""Bad usage: exit code 2, one line that says what, where and what to do, and nothing on disk has changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from running import WarmCommand, run_process, snapshot, start_process

USE = b'import keras\nkeras.Model().compile(optimizer="adam")\n'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "train.py").write_bytes(USE)
    (tmp_path / "project" / "notes.txt").write_text("adam\n")
    (tmp_path / "project" / "locked").mkdir()
    (tmp_path / "project" / "locked" / "x.py").write_bytes(USE)
    (tmp_path / "project" / "secret.toml").touch()
    (tmp_path / "locked").mkdir()
    (tmp_path / "sealed").mkdir(0o555)
    (tmp_path / "project" / "full").mkdir()
    (tmp_path / "project" / "full" / "x").touch()
    (tmp_path / "project" / "bad.toml").write_text("version = 1\n[[rule]]\nmax = 'much'\n")
    os.mkfifo(tmp_path / "project" / "pipe.py")
    return tmp_path / "project"


BOTH = [
    ("nowhere.py", "error: nowhere.py: does not exist; name a Python file or a directory"),
    ("train.py nowhere", "error: nowhere: does not exist; name a Python file or a directory"),
    ("notes.txt", "error: notes.txt: is not a Python file; name a .py or .ipynb file, or a directory"),
    ("pipe.py", "error: pipe.py: is not a regular file; name a Python file or a directory"),
    ("locked", "error: locked: cannot be listed (Permission denied); make it readable"),
    (
        "locked/x.py",
        "error: locked/x.py: cannot be looked at (Permission denied); make the directories above it readable",
    ),
    ("", "error: Missing argument 'PATH...'; see `adampatch {} --help`"),
    (". --format yaml", "error: Invalid value for '--format': 'yaml' is not one of 'text', 'json'"),
    (". --fast", "error: No such option"),
    (". --exclude !", 'error: --exclude: "!" is not a glob; write it as in .gitignore, e.g. "gen/**"'),
]
USAGE = [
    (f"{name} {words}", message.format(name)) for words, message in BOTH for name in ("scan", "apply")
] + [
    ("apply . --rules none.toml", "error: none.toml: there is no such rules file; name one, or a preset"),
    ("apply . --rules bad.toml", "error: bad.toml:"),
    ("apply . --rules celing", "ceiling"),
    ("apply . --rules full/", "error: full: cannot be read (Is a directory); name a rules file"),
    ("apply . --rules secret.toml", "error: secret.toml: "),
    ("apply . --out copy", "/copy: lies inside "),
    ("apply . --out full", "/full: is there already; name a directory that does not exist or is empty"),
    ("apply . --out train.py", "/train.py: is there already; name a directory that does not exist"),
    (
        "apply . --out ../sealed/copy",
        "/copy: cannot be made (Permission denied); name a directory that can be",
    ),
    (
        "apply . --out ../locked/copy",
        "/copy: cannot be used (Permission denied); name a directory that can be written",
    ),
    ("revert nowhere", "error: nowhere: does not exist; name the directory that was patched"),
    ("revert", "error: Missing argument 'PATH'; see `adampatch revert --help`"),
]


@pytest.mark.parametrize(("arguments", "message"), USAGE)
def test_bad_usage(command: WarmCommand, root: Path, arguments: str, message: str) -> None:
    before = snapshot(root)
    closed = {
        path: path.stat().st_mode for path in (root / "locked", root / "secret.toml", root.parent / "locked")
    }
    for path in closed:
        path.chmod(0)
    done = command(*arguments.split(), cwd=root, ordinary_user=True)
    for path, mode in closed.items():
        path.chmod(mode)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert done.err.startswith("error: ")
    assert "internal error" not in done.err
    assert snapshot(root) == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tool.adampatch\n", ":1: is not valid TOML: "),
        (
            "[tool.adampatch]\nexclud = []\n",
            ':2: unknown setting "exclud" in [tool.adampatch]; did you mean "exclude"?',
        ),
        (
            '[tool.adampatch]\n\nexclude = "a"\n',
            ':3: exclude must be a list of globs, such as ["generated/**"]',
        ),
        (
            "[tool.adampatch]\ntensorflow = 2.10\n",
            ':2: tensorflow must be a version in quotes, such as "2.10"',
        ),
        ("[tool]\nadampatch = 1\n", ": adampatch must be a table; write [tool.adampatch]"),
        ("\udcff\n", ": is not UTF-8, which TOML must be; save it as UTF-8"),
        ('[tool.adampatch]\nexclude = ["!"]\n', '"!" is not a glob'),
    ],
)
def test_bad_settings(command: WarmCommand, root: Path, text: str, message: str) -> None:
    (root / "pyproject.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    before = snapshot(root)
    for name in ("scan", "apply"):
        done = command(name, root)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith(f"error: {root}/pyproject.toml")
        assert message in done.err
        assert "internal error" not in done.err
    assert snapshot(root) == before


def test_an_unreadable_manifest_stops_revert_and_apply(command: WarmCommand, root: Path) -> None:
    assert command("apply", root / "train.py").code == 0
    (root / ".adampatch" / "manifest.json").write_text("{")
    before = snapshot(root)
    done = command("revert", root)
    assert done.code == 2
    assert done.err.startswith(f"error: {root}/.adampatch/manifest.json:1: is not valid JSON")
    assert "copy them back" in done.err
    assert snapshot(root) == before


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_names_that_the_terminal_cannot_write(root: Path, encoding: str) -> None:
    """A process of its own, as Python takes the encoding of its streams when it starts."""
    with open(os.fsencode(root) + "/é漢😀".encode() + b"\xff.py", "wb") as file:
        file.write(USE)
    for words in (["scan"], ["scan", "--format", "json"], ["apply", "--diff"]):
        done = run_process(words[0], root, *words[1:], encoding=encoding)
        assert done.code == int("--diff" in words), done
        assert done.err == "" or "--diff" in words
        if "json" in words:
            assert {use["path"] for use in done.document["uses"]} == {
                "locked/x.py",
                "train.py",
                "é漢😀\udcff.py",
            }


def test_a_reader_that_goes_away_is_no_error_of_ours(root: Path) -> None:
    with start_process("scan", root) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.wait() in (0, 1)
        assert process.stderr.read() == ""
