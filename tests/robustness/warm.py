"""A warm command line: one process that has imported adampatch and forks for every command.

What runs in the child is ``adampatch.cli.main`` and nothing else of ours; a fork takes milliseconds where a
new interpreter takes half a second. The child can be told to do something at a moment, that is just before
the n-th call that changes the file system: to be killed, to stop, or to find the disk full from there on.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

#: Audit events of calls that change the file system; "open" is one when it opens for writing.
CHANGING = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.chown", "os.link", "os.symlink"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CAPABILITY_VERSION = 0x20080522


def act_at(moment: int | None, action: str, counter: Path) -> None:
    """Logs the moments of this process in ``counter`` if ``moment`` is None; else does ``action`` at the
    ``moment``-th, counted from 1, and "full" at every one after it as well, save removals: those succeed on a
    full disk."""
    seen = 0

    def passed(event: str, path: object = "") -> None:
        nonlocal seen
        seen += 1
        if moment is None:
            with counter.open("a") as log:
                print(event, repr(path), sep="\t", file=log)
        elif seen == moment and action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif seen == moment and action == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif seen >= moment and action == "full" and event not in ("os.remove", "os.rmdir", "os.chmod"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING
        if writes and (arguments[0] == str(counter) or isinstance(arguments[0], int)):
            return
        if writes or event in CHANGING:
            passed(event, arguments[0])

    sys.addaudithook(hook)
    # What a process has written outlives its kill: waiting for the disk would only take time.
    os.fsync = lambda descriptor: passed("os.fsync")


def obey_permissions() -> None:
    """Makes root an ordinary user as far as permission bits go; no change for who is one already."""
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    none_at_all = (ctypes.c_uint32 * 6)()
    if libc.capset(header, none_at_all) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def _child(request: dict[str, Any]) -> None:
    """Never returns."""
    code = 70
    try:
        for name, number in (("out", 1), ("err", 2)):
            descriptor = os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(descriptor, number)
        os.chdir(os.fsencode(request["cwd"]))
        if request["file_size"] is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_size"], request["file_size"]))
        act_at(request["moment"], request["action"], Path(request["counter"]))
        if request["ordinary_user"]:
            obey_permissions()
        from adampatch.cli import main

        try:
            main(request["arguments"])
        except SystemExit as done:
            code = done.code if isinstance(done.code, int) else 71
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _warm_up() -> None:
    """Imports all that a command imports when it is called."""
    from click.testing import CliRunner

    from adampatch.cli import cli

    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "train.py")
        script.write_text('import keras\nkeras.Model().compile(optimizer="adam")\n')
        for words in (["apply", "--format", "json"], ["scan"], ["revert"]):
            assert CliRunner().invoke(cli, [words[0], folder, *words[1:]]).exit_code == 0


def _serve() -> None:
    # Commands come in and answers go out on descriptors of their own; children get other ones.
    requests = os.fdopen(os.dup(0), "r")
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    _warm_up()
    print("ready", file=answers, flush=True)
    for line in requests:
        request = json.loads(line)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], os.WUNTRACED)
            print(status, file=answers, flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            _child(request)
        print(pid, file=answers, flush=True)


if __name__ == "__main__":
    _serve()
