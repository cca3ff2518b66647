"""What happens to a tree while a command is at work on it: a disk fills up, files change, others come along.

Every file is wholly old or wholly new, what was not written is named, and `revert` brings all back.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from running import PATCHED, USE, WarmCommand, run_process, snapshot, temporaries

# Full disks.


def test_a_full_disk_at_any_moment_damages_nothing(command: WarmCommand, root: Path) -> None:
    (root / "pkg").mkdir()
    (root / "pkg" / "__init__.py").touch()
    (root / "pkg" / "a.py").write_bytes(USE)
    before = snapshot(root)
    measured = command.start("apply", root)
    assert measured.end().code == 0
    patched, total = snapshot(root), len(measured.moments())
    assert command("revert", root).code == 0
    codes = set()
    for moment in range(1, total + 1):
        done = command("apply", root, "--format", "json", moment=moment, action="full")
        codes.add(done.code)
        # Past the last file there is only a directory to be synced, which needs no room.
        assert done.code in (1, 2) or moment > total - 3, (moment, done)
        assert "internal error" not in done.err and "Traceback" not in done.err
        now = snapshot(root)
        for name in (b"healthy.py", b"pkg/a.py"):
            assert now[name] in (before[name], patched[name])
        if done.code == 2:
            assert (done.out, now) == ("", before)
            assert "No space left on device" in done.err
        else:
            written = [n for n in ("healthy.py", "pkg/a.py") if now[n.encode()] == patched[n.encode()]]
            assert [n for n in done.document["changed"] if not n.endswith("_adampatch.py")] == written
            assert {n for n in ("healthy.py", "pkg/a.py") if n in done.skipped()}.isdisjoint(written)
        assert temporaries(root) == []
        assert command("revert", root).code == 0
        assert snapshot(root) == before
    assert {1, 2} <= codes


def test_a_file_that_there_is_no_room_for_stops_no_other(command: WarmCommand, root: Path) -> None:
    """A limit on the size of files: the large one can be kept, not rewritten, as that makes it larger."""
    large = USE + b"# " + b"x" * 100_000 + b"\n"
    (root / "large.py").write_bytes(large)
    before = snapshot(root)
    done = command("apply", root, "--format", "json", file_size=len(large) + 10)
    assert done.code == 1
    assert done.document["changed"] == ["_adampatch.py", "healthy.py"]
    assert done.skipped() == {
        "large.py": "cannot be replaced (File too large); make room for it and run again"
    }
    assert (root / "large.py").read_bytes() == large
    assert temporaries(root) == []
    assert command("apply", root).code == 0
    assert command("revert", root).code == 0
    assert snapshot(root) == before


# Other people at work on the tree.


def moments_of_apply(command: WarmCommand, root: Path) -> int:
    running = command.start("apply", root)
    assert running.end().code == 0
    assert command("revert", root).code == 0
    return len(running.moments())


@pytest.mark.parametrize("what", ["removed", "edited", "made a directory"])
def test_files_that_change_while_apply_is_at_work(command: WarmCommand, root: Path, what: str) -> None:
    (root / "other.py").write_bytes(USE)
    before = snapshot(root)
    seen, lost = set(), 0
    for moment in range(1, moments_of_apply(command, root) + 1, 2):
        running = command.start("apply", root, "--format", "json", moment=moment, action="stop")
        running.until_stopped()
        path = root / "healthy.py"
        late = path.read_bytes() != USE
        if what == "edited":
            path.write_bytes(b"edited = 1\n")
        else:
            path.unlink()
            if what == "made a directory":
                path.mkdir()
        os.kill(running.pid, signal.SIGCONT)
        done = running.end()
        assert "internal error" not in done.err
        assert (root / "other.py").read_bytes() == PATCHED
        if late:
            assert done.code == 0
        elif done.code == 1:
            assert "healthy.py" in done.skipped()
            assert "healthy.py" not in done.document["changed"]
        seen.add((late, done.code))
        if what == "edited":
            lost += path.read_bytes() != b"edited = 1\n"
        # What came in between is the user's to keep or to throw away.
        if path.is_dir():
            path.rmdir()
        back = command("revert", root, "--force")
        assert "internal error" not in back.err
        path.write_bytes(USE)
        assert snapshot(root) == before, moment
    assert {(False, 1), (True, 0)} <= seen
    # Nothing can be done about an edit between the last look and the replacement itself.
    assert lost <= 1


@pytest.mark.parametrize("second", ["apply", "revert"])
def test_two_commands_at_once_keep_out_of_each_others_way(
    command: WarmCommand, root: Path, second: str
) -> None:
    (root / "other.py").write_bytes(USE)
    before = snapshot(root)
    total = moments_of_apply(command, root)
    codes = set()
    for moment in range(1, total + 1, 3):
        running = command.start("apply", root, moment=moment, action="stop")
        running.until_stopped()
        other = command(second, root)
        assert "internal error" not in other.err
        if other.code == 2:
            assert other.err == (
                f"error: {root}/.adampatch: another adampatch is at work here; "
                "wait until it is done and run again\n"
            )
        codes.add(other.code)
        os.kill(running.pid, signal.SIGCONT)
        done = running.end()
        assert "internal error" not in done.err
        if other.code == 2:
            assert done.code == 0
            assert (root / "healthy.py").read_bytes() == (root / "other.py").read_bytes() == PATCHED
        assert command("revert", root).code == 0
        assert snapshot(root) == before
    assert 2 in codes


def test_many_processes_at_once(root: Path) -> None:
    """True processes, started together, each applying and then reverting: in the end all is back."""
    for number in range(6):
        (root / f"f{number}.py").write_bytes(USE)
    before = snapshot(root)
    loop = (
        "import sys\nfrom adampatch.cli import main\n"
        "for word in ['apply', 'revert'] * 6:\n"
        "    try:\n        main([word, sys.argv[1], '-q'])\n"
        "    except SystemExit as done:\n        assert done.code in (0, 1, 2), done.code\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", loop, str(root)], stderr=subprocess.PIPE, text=True, env=environment
        )
        for _ in range(3)
    ]
    for process in processes:
        _, said = process.communicate()
        assert process.returncode == 0, said
        assert "internal error" not in said and "Traceback" not in said
    assert run_process("revert", root).code == 0
    assert snapshot(root) == before
