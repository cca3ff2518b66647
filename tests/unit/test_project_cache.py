"""What a scan keeps for the next one: it changes how long a scan takes, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from adampatch.analysis.module import Module
from adampatch.project import cache
from adampatch.project.scan import as_document, scan

FIXTURES = Path(__file__).parents[1] / "fixtures"
ADAM = "class Mine(Adam):\n    def f(self):\n        return 1\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    for number in range(20):
        (root / f"train{number}.py").write_text(f'model.compile("adam", {number})\n')
    (root / "names.py").write_text("from keras.optimizers import Adam\n")
    (root / "mine.py").write_text(f"from names import Adam\n\n\n{ADAM}")
    return root


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "adampatch"


def report(root: Path, directory: Path | None = None) -> str:
    return json.dumps(as_document(scan([str(root)], cache=directory)))


def entry(directory: Path) -> Path:
    (found,) = directory.iterdir()
    return found


def never(*_: object) -> object:
    raise AssertionError("an outline was made")


def test_a_second_scan_says_the_same_and_outlines_nothing(
    project: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = report(project)
    assert report(project, kept) == expected
    written = entry(kept).read_bytes()
    monkeypatch.setattr("adampatch.analysis.module.outline", never)
    assert report(project, kept) == expected
    assert entry(kept).read_bytes() == written


def test_a_changed_file_and_what_depends_on_it_are_seen(project: Path, kept: Path) -> None:
    before = report(project, kept)
    (project / "names.py").write_text("from keras.optimizers import SGD as Adam\n")
    after = report(project, kept)
    assert after != before
    assert after == report(project)
    (project / "names.py").write_text("from keras.optimizers import Adam\n")
    assert report(project, kept) == before


def test_an_outline_is_that_of_the_text_wherever_it_lies(project: Path, kept: Path) -> None:
    report(project, kept)
    package = project / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (project / "names.py").rename(package / "names.py")
    (package / "mine.py").write_text(f"from .names import Adam\n\n\n{ADAM}")
    assert report(project, kept) == report(project)


@pytest.mark.parametrize(
    "damaged",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: data.replace(b"keras.optimizers", b"keras.optimizerz"),
        lambda data: b"\xff" + data,
    ],
    ids=["empty", "cut", "changed", "no text"],
)
def test_a_damaged_cache_is_made_anew(project: Path, kept: Path, damaged: Callable[[bytes], bytes]) -> None:
    expected = report(project, kept)
    data = entry(kept).read_bytes()
    assert damaged(data) != data
    entry(kept).write_bytes(damaged(data))
    assert report(project, kept) == expected
    assert entry(kept).read_bytes() == data


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"made_by": "", "outlines": []}', b"1"])
def test_what_is_whole_and_no_cache_is_made_anew(project: Path, kept: Path, body: bytes) -> None:
    expected = report(project, kept)
    entry(kept).write_bytes(cache._digest(body) + b"\n" + body)
    assert report(project, kept) == expected


def test_what_other_code_made_is_not_believed(
    project: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = report(project, kept)
    _, _, body = entry(kept).read_bytes().partition(b"\n")
    document = json.loads(body)
    document["outlines"] = {key: None for key in document["outlines"]}
    document["made_by"] = "another version"
    body = json.dumps(document).encode()
    entry(kept).write_bytes(cache._digest(body) + b"\n" + body)
    assert report(project, kept) == expected


@pytest.mark.skipif(os.name == "nt", reason="no such files there")
@pytest.mark.parametrize("place", ["/proc/nothing", "/dev/null/adampatch"])
def test_a_cache_that_cannot_be_written_is_done_without(project: Path, place: str) -> None:
    assert report(project, Path(place)) == report(project)


def test_few_files_are_not_worth_a_cache(tmp_path: Path, kept: Path) -> None:
    (tmp_path / "train.py").write_text('model.compile("adam")\n')
    report(tmp_path, kept)
    assert not kept.exists()


def test_roots_that_nobody_scans_any_more_are_forgotten(project: Path, kept: Path) -> None:
    kept.mkdir(parents=True)
    old, new, other = (kept / name for name in ("outlines-old.json", "outlines-new.json", "notes.json"))
    for path in (old, new, other):
        path.write_text("")
    for path in (old, other):
        os.utime(path, (0, 0))
    report(project, kept)
    assert not old.exists()
    assert new.exists()
    assert other.exists()


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("**/before.py"))[::4], ids=lambda p: p.parent.name)
def test_outlines_come_back_as_they_were(path: Path) -> None:
    outline = Module.parse(path.read_text(encoding="utf-8")).outline
    assert cache._outline(json.loads(json.dumps(cache._plain(outline)))) == outline


def command(project: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "adampatch", "scan", "--format", "json", *options, str(project)]


def test_two_scans_at_once(project: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "LOCALAPPDATA": str(tmp_path)}
    for _ in range(2):
        both = [subprocess.Popen(command(project), env=environment, stdout=subprocess.PIPE) for _ in range(2)]
        first, second = (process.communicate()[0] for process in both)
        assert [process.returncode for process in both] == [0, 0]
        assert json.loads(first) == json.loads(report(project))
        assert first == second


@pytest.mark.skipif(sys.platform == "darwin", reason="the cache directory follows no variable there")
def test_no_cache_reads_and_keeps_nothing(project: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "LOCALAPPDATA": str(tmp_path)}
    words = command(project, "--no-cache")
    without = subprocess.run(words, env=environment, capture_output=True, check=True).stdout
    assert not (tmp_path / "adampatch").exists()
    words = command(project)
    assert subprocess.run(words, env=environment, capture_output=True, check=True).stdout == without
    assert entry(tmp_path / "adampatch").stat().st_size


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="these have no XDG directories")
def test_the_cache_directory_follows_the_xdg_specification(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache.cache_directory() == Path("/somewhere/adampatch")
    for ignored in ("", "relative/path"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert cache.cache_directory() == Path.home() / ".cache" / "adampatch"
