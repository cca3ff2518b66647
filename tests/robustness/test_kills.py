"""kill -9 at any moment of `apply` and `revert`: every file is wholly old or wholly new, and both go on
from there.

Two ways: just before the n-th call that changes the file system, which hits every step of the writing, and
after a random time, which hits what lies between. Most are children of a warm process, some are true ones.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from running import USE, WarmCommand, run_process, snapshot, start_process, temporaries

FILES = 24
Tree = dict[bytes, tuple[int, object]]


class Project:
    """A tree of 60 files in its two whole states, to be copied and worked on."""

    def __init__(self, folder: Path, command: WarmCommand) -> None:
        self.command = command
        self.stock, self.patched, self.root = folder / "stock", folder / "patched", folder / "root"
        for number in range(FILES):
            package = self.stock / f"p{number % 4}" / "q"
            package.mkdir(parents=True, exist_ok=True)
            (package.parent / "__init__.py").touch()
            (package / "__init__.py").touch()
            path = (package.parent if number % 2 else package) / f"f{number}.py"
            path.write_bytes(USE + b"# %d\r\n" % number * (number % 3))
            path.chmod((0o644, 0o751, 0o444)[number % 3])
        shutil.copytree(self.stock, self.patched)
        assert command("apply", self.patched).code == 0
        self.before, self.after = snapshot(self.stock), snapshot(self.patched)
        self.moments = {word: self._measure(word)[0] for word in ("apply", "revert")}
        self.seconds = {word: self._measure(word)[1] for word in ("apply", "revert")}

    def fresh(self, word: str) -> Path:
        """The tree that a command starts from."""
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(self.stock if word == "apply" else self.patched, self.root)
        return self.root

    def _measure(self, word: str) -> tuple[int, float]:
        root = self.fresh(word)
        running = self.command.start(word, root)
        begin = time.monotonic()
        assert running.end().code == 0
        seconds = time.monotonic() - begin
        assert snapshot(root) == (self.after if word == "apply" else self.before)
        return len(running.moments()), seconds

    def check_every_file_is_whole(self) -> str:
        """Returns how far the writing got."""
        now = snapshot(self.root)
        written = 0
        for path, entry in self.before.items():
            assert now[path] in (entry, self.after[path]), path
            written += now[path] != entry
        for path in now.keys() - self.before.keys():
            known = path.startswith(b".adampatch") or path.endswith(b".adampatch-tmp")
            assert known or now[path] == self.after[path], path
        return "none" if not written else "all" if written == FILES else "some"

    def check_going_on(self, words: tuple[str, ...]) -> None:
        """What the next commands make of what a kill has left: whole trees, and nothing else in them."""
        for word in words:
            done = self.command(word, self.root)
            assert (done.code, done.err) in (
                (0, ""),
                (0, done.err if "nothing to revert" in done.err else ""),
            )
            assert temporaries(self.root) == []
            now = snapshot(self.root)
            if word == "revert":
                assert now == self.before
            else:
                assert without_records(now) == without_records(self.after)


def without_records(tree: Tree) -> Tree:
    return {path: entry for path, entry in tree.items() if not path.startswith(b".adampatch")}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, command: WarmCommand) -> Project:
    return Project(tmp_path_factory.mktemp("kills"), command)


def spread(total: int, count: int) -> list[int]:
    """``count`` moments from 1 to ``total``, the first and the last among them."""
    return sorted({1 + round(i * (total - 1) / (count - 1)) for i in range(count)})


@pytest.mark.parametrize("word", ["apply", "revert"])
def test_kills_at_the_calls_that_change_the_file_system(project: Project, word: str) -> None:
    where: Counter[str] = Counter()
    assert project.moments[word] > 150
    for number, moment in enumerate(spread(project.moments[word], 60)):
        project.fresh(word)
        done = project.command(word, project.root, moment=moment, action="kill")
        assert done.code == -signal.SIGKILL, moment
        where[project.check_every_file_is_whole()] += 1
        project.check_going_on(("revert",) if number % 3 else ("apply", "revert"))
    assert where["none"] > 2 and where["some"] > 15 and where["all"] > 0, where


@pytest.mark.parametrize("word", ["apply", "revert"])
def test_no_file_is_opened_for_writing_but_temporary_ones(project: Project, word: str) -> None:
    """Between opening a file and writing to it is a moment that no kill of a test can be sure to hit."""
    root = project.fresh(word)
    running = project.command.start(word, root)
    assert running.end().code == 0
    opened = [path for event, path in running.moments() if event == "open"]
    assert len(opened) >= FILES
    assert [path for path in opened if not path.endswith(".adampatch-tmp'")] == []


def test_a_killed_revert_leaves_nothing_for_an_apply_that_has_nothing_to_do(project: Project) -> None:
    left = 0
    for moment in range(1, 8):
        project.fresh("revert")
        project.command("revert", project.root, moment=moment, action="kill")
        left += len(temporaries(project.root))
        project.check_going_on(("apply",))
    assert left > 0


@pytest.mark.parametrize("word", ["apply", "revert"])
def test_kills_after_a_random_time(project: Project, word: str) -> None:
    chance = random.Random(11)
    seconds = project.seconds[word]
    kills = 0
    while kills < 30:
        project.fresh(word)
        running = project.command.start(word, project.root)
        time.sleep(seconds * chance.uniform(0.0, 1.0))
        os.kill(running.pid, signal.SIGKILL)
        if running.end().code == -signal.SIGKILL:
            kills += 1
        else:  # it was done before: the machine is faster than when it was measured
            seconds *= 0.9
        project.check_every_file_is_whole()
        project.check_going_on(("apply", "revert") if kills % 3 == 0 else ("revert",))


@pytest.mark.parametrize("word", ["apply", "revert"])
def test_kills_of_a_process_of_its_own(project: Project, word: str) -> None:
    chance = random.Random(13)
    project.fresh(word)
    begin = time.monotonic()
    assert run_process(word, project.root).code == 0
    seconds = time.monotonic() - begin
    kills = 0
    while kills < 12:
        project.fresh(word)
        with start_process(word, project.root) as process:
            # Most of the writing is in the second half; the first is Python's own start.
            time.sleep(seconds * chance.uniform(0.3, 1.0))
            process.kill()
            process.communicate()
        if process.returncode == -signal.SIGKILL:
            kills += 1
        else:
            seconds *= 0.9
        project.check_every_file_is_whole()
        project.check_going_on(("apply", "revert"))


def test_kills_one_after_the_other(project: Project) -> None:
    """Each command goes on from what the kill before it has left."""
    chance = random.Random(17)
    project.fresh("apply")
    for _ in range(16):
        word = chance.choice(("apply", "revert"))
        project.command(word, project.root, moment=chance.randrange(1, project.moments[word]), action="kill")
        project.check_every_file_is_whole()
    project.check_going_on(("apply", "revert"))
