"""The command line for tests, warm or as a process of its own, and the tree that it works on."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("ADAMPATCH_")}
PYTHON_PATH = os.pathsep.join([str(HERE.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
ENVIRONMENT["PYTHONPATH"] = PYTHON_PATH

USE = b'import keras\n\nmodel = keras.Model()\nmodel.compile(optimizer="adam", loss="mse")\n'
PATCHED = USE.replace(b"import keras\n", b"import keras\n\nimport _adampatch\n").replace(
    b'"adam"', b'_adampatch.patched("adam")'
)


@dataclass
class Done:
    """How a command ended. ``code``: its exit code, or minus the signal that ended it."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        document = json.loads(self.out)
        assert isinstance(document, dict)
        return document

    def skipped(self) -> dict[str, str]:
        return {item["path"]: item["reason"] for item in self.document["files"]["skipped"]}


@dataclass
class Running:
    """A command that was started in a warm child."""

    pid: int
    server: WarmCommand
    out: Path
    err: Path
    counter: Path

    def until_stopped(self) -> None:
        """Waits until it stops at its moment."""
        status = self.server.wait(self.pid)
        assert os.WIFSTOPPED(status), (status, self.out.read_text(), self.err.read_text())

    def end(self) -> Done:
        status = self.server.wait(self.pid)
        assert not os.WIFSTOPPED(status)
        text = [path.read_bytes().decode("utf-8") for path in (self.out, self.err)]
        return Done(os.waitstatus_to_exitcode(status), *text)

    def moments(self) -> list[tuple[str, str]]:
        """(call, path) of all there were, where no moment was asked for."""
        return [(event, path) for event, path in map(str.split, self.counter.read_text().splitlines())]


class WarmCommand:
    """``adampatch`` in children of one process that has everything imported: see warm.py."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.number = 0
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "warm.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
        )
        assert self._answer() == "ready"

    def start(
        self,
        *arguments: object,
        cwd: Path | None = None,
        moment: int | None = None,
        action: str = "kill",
        file_size: int | None = None,
        ordinary_user: bool = False,
    ) -> Running:
        self.number += 1
        out, err, counter = (self.folder / f"{self.number}.{name}" for name in ("out", "err", "count"))
        for path in (out, err):
            path.touch()  # a kill may come before the child opens them
        request = {
            "arguments": [str(argument) for argument in arguments],
            "cwd": str(cwd or self.folder),
            "out": str(out),
            "err": str(err),
            "counter": str(counter),
            "moment": moment,
            "action": action,
            "file_size": file_size,
            "ordinary_user": ordinary_user,
        }
        return Running(int(self._ask(request)), self, out, err, counter)

    def __call__(self, *arguments: object, **settings: Any) -> Done:
        return self.start(*arguments, **settings).end()

    def wait(self, pid: int) -> int:
        return int(self._ask({"wait": pid}))

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _ask(self, request: dict[str, Any]) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


def start_process(*arguments: object, encoding: str = "utf-8") -> subprocess.Popen[str]:
    """``python -m adampatch`` as a user starts it; ``encoding``: of its standard streams."""
    return subprocess.Popen(
        [sys.executable, "-m", "adampatch", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding=encoding,
        errors="backslashreplace",  # click takes a stream that says ASCII for one of UTF-8
        env={**ENVIRONMENT, "PYTHONIOENCODING": encoding},
    )


def run_process(*arguments: object, encoding: str = "utf-8") -> Done:
    with start_process(*arguments, encoding=encoding) as process:
        out, err = process.communicate()
    return Done(process.returncode, out, err)


def snapshot(root: Path) -> dict[bytes, tuple[int, object]]:
    """Path below the root -> (type and permission bits, bytes or link target) of all that is there."""
    found: dict[bytes, tuple[int, object]] = {}
    pending = [os.fsencode(root)]
    while pending:
        directory = pending.pop()
        for entry in os.scandir(directory):
            mode = entry.stat(follow_symlinks=False).st_mode
            content: object = None
            if stat.S_ISREG(mode):
                with open(entry.path, "rb") as file:
                    content = file.read()
            elif stat.S_ISLNK(mode):
                content = os.readlink(entry.path)
            elif stat.S_ISDIR(mode):
                pending.append(entry.path)
            found[os.path.relpath(entry.path, os.fsencode(root))] = (mode, content)
    return found


def temporaries(root: Path) -> list[bytes]:
    """Files that a killed command left half made."""
    return [path for path in snapshot(root) if path.endswith(b".adampatch-tmp")]
