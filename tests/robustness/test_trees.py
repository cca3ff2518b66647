"""What lies in a tree besides plain files: links, pipes, permissions; copies of it, and later edits in it.

The healthy parts are patched, the rest is named or left alone, and `revert` brings every byte and mode back.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path

import pytest
from running import PATCHED, USE, Done, WarmCommand, snapshot


def goes_there_and_back(
    command: WarmCommand, root: Path, *changed: str, code: int = 0, ordinary_user: bool = False
) -> Done:
    """Applies twice and reverts; only ``changed`` may differ in between, nothing may afterwards."""
    before = snapshot(root.parent)
    done = command("apply", root, "--format", "json", ordinary_user=ordinary_user)
    assert (done.code, done.err if code == 0 else "") == (code, "")
    assert sorted(done.document["changed"]) == sorted(["_adampatch.py", *changed])
    after = snapshot(root)
    differing = {
        os.fsdecode(path)
        for path, entry in after.items()
        if snapshot_entry(before, root, path) != entry and not path.startswith(b".adampatch")
    }
    assert differing == {"_adampatch.py", *changed}
    for path in changed:
        mode, _ = snapshot_entry(before, root, os.fsencode(path))
        assert after[os.fsencode(path)][0] == mode
        assert stat.S_ISREG(mode)
    again = command("apply", root, "--format", "json", ordinary_user=ordinary_user)
    assert (again.code, again.document["changed"]) == (code, [])
    assert snapshot(root) == after
    back = command("revert", root, ordinary_user=ordinary_user)
    assert (back.code, back.err) == (0, "")
    assert snapshot(root.parent) == before
    return done


def snapshot_entry(before: dict[bytes, tuple[int, object]], root: Path, path: bytes) -> tuple[int, object]:
    return before.get(os.fsencode(root.name) + b"/" + path, (0, None))


# Links and things that are no files.


def test_a_link_to_a_file_of_the_tree_stays_a_link(command: WarmCommand, root: Path) -> None:
    (root / "link.py").symlink_to("healthy.py")
    (root / "absolute.py").symlink_to(root / "healthy.py")
    goes_there_and_back(command, root, "healthy.py")


def test_a_link_to_an_excluded_file_is_patched_where_it_leads(command: WarmCommand, root: Path) -> None:
    (root / "build").mkdir()
    (root / "build" / "real.py").write_bytes(USE)
    (root / "link.py").symlink_to("build/real.py")
    before = snapshot(root)
    done = command("apply", root, "--format", "json")
    assert (done.code, sorted(done.document["changed"])) == (0, ["_adampatch.py", "healthy.py", "link.py"])
    assert snapshot(root)[b"link.py"] == before[b"link.py"]
    assert (root / "build/real.py").read_bytes() == PATCHED
    assert command("revert", root).code == 0
    assert snapshot(root) == before


def test_a_link_out_of_the_tree_is_named_and_its_target_left_alone(command: WarmCommand, root: Path) -> None:
    (root.parent / "outside.py").write_bytes(USE)
    (root / "link.py").symlink_to("../outside.py")
    done = goes_there_and_back(command, root, "healthy.py")
    assert done.skipped() == {"link.py": "is a symbolic link that leaves the root; name its target itself"}


def test_linked_directories_and_loops_are_not_followed(command: WarmCommand, root: Path) -> None:
    (root.parent / "elsewhere").mkdir()
    (root.parent / "elsewhere" / "x.py").write_bytes(USE)
    (root / "linked").symlink_to("../elsewhere")
    (root / "self").symlink_to(".")
    (root / "sub").mkdir()
    (root / "sub" / "up").symlink_to("..")
    (root / "round.py").symlink_to("round.py")
    (root / "dangling.py").symlink_to("nowhere.py")
    assert goes_there_and_back(command, root, "healthy.py").document["files"]["seen"] == 1


def test_pipes_sockets_and_directories_named_like_modules(command: WarmCommand, root: Path) -> None:
    os.mkfifo(root / "pipe.py")
    (root / "link_to_pipe.py").symlink_to("pipe.py")
    (root / "zero.py").symlink_to("/dev/zero")
    (root / "adam.py").mkdir()
    here = os.getcwd()
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(root)  # the names of sockets are short
        server.bind("socket.py")
        os.chdir(here)
        goes_there_and_back(command, root, "healthy.py")


def test_every_name_of_a_hard_linked_file_is_patched_and_comes_back(command: WarmCommand, root: Path) -> None:
    os.link(root / "healthy.py", root / "second.py")
    goes_there_and_back(command, root, "healthy.py", "second.py")


def test_a_hard_link_outside_of_the_tree_keeps_its_bytes(command: WarmCommand, root: Path) -> None:
    os.link(root / "healthy.py", root.parent / "backup.py")
    assert command("apply", root).code == 0
    assert (root.parent / "backup.py").read_bytes() == USE
    assert command("revert", root).code == 0
    assert (root / "healthy.py").read_bytes() == (root.parent / "backup.py").read_bytes() == USE


def test_empty_files_are_left_alone(command: WarmCommand, root: Path) -> None:
    (root / "adam.py").touch()
    (root / "__init__.py").touch()
    before = snapshot(root)
    assert command("apply", root).code == 0
    assert snapshot(root)[b"adam.py"] == before[b"adam.py"]
    assert command("revert", root).code == 0
    assert snapshot(root) == before


# Permissions. Root may do anything, so the commands give that up.


@pytest.mark.parametrize("mode", [0o751, 0o600, 0o444, 0o400, 0o777, 0o640])
def test_the_mode_of_a_file_is_kept(command: WarmCommand, root: Path, mode: int) -> None:
    (root / "odd.py").write_bytes(USE)
    (root / "odd.py").chmod(mode)
    goes_there_and_back(command, root, "healthy.py", "odd.py", ordinary_user=True)


@pytest.mark.parametrize("mode", [0o000, 0o333])
def test_an_unreadable_file_is_named(command: WarmCommand, root: Path, mode: int) -> None:
    (root / "odd.py").write_bytes(USE)
    (root / "odd.py").chmod(mode)
    done = goes_there_and_back(command, root, "healthy.py", code=1, ordinary_user=True)
    assert done.skipped() == {"odd.py": "cannot be read (Permission denied)"}


def test_an_unreadable_directory_is_named(command: WarmCommand, root: Path) -> None:
    (root / "odd").mkdir()
    (root / "odd" / "x.py").write_bytes(USE)
    (root / "odd").chmod(0o000)
    done = goes_there_and_back(command, root, "healthy.py", code=1, ordinary_user=True)
    assert done.skipped() == {"odd": "cannot be listed (Permission denied)"}
    assert command("scan", root, "--exit-code", ordinary_user=True).code == 1


@pytest.mark.parametrize("package", [False, True])
def test_a_read_only_directory_stops_only_its_own_files(
    command: WarmCommand, root: Path, package: bool
) -> None:
    """In a package the runtime module lies in the directory itself, beside a script as well."""
    odd = root / "pkg" / "odd" if package else root / "odd"
    odd.mkdir(parents=True)
    if package:
        (root / "pkg" / "__init__.py").touch()
        (root / "pkg" / "fine.py").write_bytes(USE)
        (odd / "__init__.py").touch()
    (odd / "x.py").write_bytes(USE)
    odd.chmod(0o555)
    before, untouched = snapshot(root), snapshot(odd)
    done = command("apply", root, "--format", "json", ordinary_user=True)
    assert done.code == 1
    (use,) = [use for use in done.document["uses"] if use["path"].endswith("/x.py")]
    assert use["status"] == "refused"
    assert use["reason"].startswith("AP235: ")
    assert os.path.relpath(odd / "x.py", root) in done.skipped()
    assert "Permission denied" in " ".join(done.skipped().values())
    assert (root / "healthy.py").read_bytes() == PATCHED
    expected = ["_adampatch.py", "healthy.py", *(["pkg/_adampatch.py", "pkg/fine.py"] if package else [])]
    assert done.document["changed"] == expected
    assert snapshot(odd) == untouched
    assert command("revert", root, ordinary_user=True).code == 0
    assert snapshot(root) == before


def test_no_file_imports_a_module_that_could_not_be_written(command: WarmCommand, root: Path) -> None:
    sub = root / "pkg" / "sub"
    sub.mkdir(parents=True)
    (root / "pkg" / "__init__.py").touch()
    (sub / "__init__.py").touch()
    (sub / "x.py").write_bytes(USE)
    (root / "pkg").chmod(0o555)
    before = snapshot(root)
    done = command("apply", root, "--format", "json", ordinary_user=True)
    assert (done.code, done.document["changed"]) == (1, ["_adampatch.py", "healthy.py"])
    assert done.skipped()["pkg/sub/x.py"] == "imports pkg/_adampatch.py, which could not be written"
    assert (sub / "x.py").read_bytes() == USE
    assert command("revert", root, ordinary_user=True).code == 0
    assert snapshot(root) == before


def test_a_read_only_root_is_left_as_it_is(command: WarmCommand, root: Path) -> None:
    root.chmod(0o555)
    before = snapshot(root)
    done = command("apply", root, ordinary_user=True)
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        f"error: {root}/.adampatch: cannot be made (Permission denied); "
        "make its parent directory writable and run again\n"
    )
    assert snapshot(root) == before
    root.chmod(0o755)


# Copies.


def test_a_copy_of_an_odd_tree_never_reaches_back(command: WarmCommand, root: Path, tmp_path: Path) -> None:
    (root / "build").mkdir()
    (root / "build" / "real.py").write_bytes(USE)
    (root / "link.py").symlink_to(root / "build" / "real.py")
    (root / "dangling.py").symlink_to("nowhere.py")
    (root / "read_only.py").write_bytes(USE)
    (root / "read_only.py").chmod(0o444)
    os.mkfifo(root / "pipe.py")
    (root / "secret.txt").touch()
    (root / "secret.txt").chmod(0o000)
    before = snapshot(root)
    copy = tmp_path / "copy"
    done = command("apply", root, "--out", copy, "--format", "json", ordinary_user=True)
    assert snapshot(root) == before
    assert done.code == 1
    assert done.skipped() == {
        "secret.txt": f"cannot be copied ([Errno {errno.EACCES}] Permission denied: '{root / 'secret.txt'}')"
    }
    assert sorted(os.listdir(copy)) == [
        "_adampatch.py",
        "dangling.py",
        "healthy.py",
        "link.py",
        "read_only.py",
    ]
    for name in ("healthy.py", "link.py", "read_only.py"):
        assert (copy / name).read_bytes() == PATCHED
        assert not (copy / name).is_symlink()
    assert stat.S_IMODE((copy / "read_only.py").stat().st_mode) == 0o444


# Edits made after the patch, that a revert has to live with.


@pytest.mark.parametrize(
    "extra",
    [
        "x = " + "(" * 3000 + "1" + ")" * 3000 + "\n",
        "x = " + "not " * 20_000 + "1\n",
        "x = " + " + ".join(["1"] * 5000) + "\n",
        "x = (\n",
        "\0",
    ],
    ids=["parentheses", "nots", "sum", "syntax error", "NUL"],
)
def test_edits_that_cannot_be_parsed_are_refused_by_name(
    command: WarmCommand, root: Path, extra: str
) -> None:
    (root / "other.py").write_bytes(USE)
    assert command("apply", root).code == 0
    with (root / "healthy.py").open("a") as file:
        file.write(extra)
    edited = snapshot(root)[b"healthy.py"]
    done = command("revert", root)
    assert (done.code, done.out) == (1, "Restored 1 file byte for byte, removed 0 runtime modules.\n")
    assert done.err == (
        "error: healthy.py: was edited since it was patched; --force restores the original over the edits\n"
    )
    assert snapshot(root)[b"healthy.py"] == edited
    assert (root / "other.py").read_bytes() == USE
    assert command("revert", root, "--force").code == 0
    assert sorted(snapshot(root)) == [b"healthy.py", b"other.py"]
    assert (root / "healthy.py").read_bytes() == USE


def test_a_patched_file_that_was_replaced_by_another_is_left_alone(command: WarmCommand, root: Path) -> None:
    assert command("apply", root).code == 0
    (root / "healthy.py").write_bytes(b"\x0cprint 'mine'  \n")
    assert command("revert", root).code == 0
    assert {name: content for name, (_, content) in snapshot(root).items()} == {
        b"healthy.py": b"\x0cprint 'mine'  \n"
    }
