"""Whether a TensorFlow takes a patched graph: it is loaded there, in a process of its own, before it is
written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from adampatch.errors import AdampatchError
from adampatch.graph import textformat
from adampatch.graph.documents import SAVED_MODEL, Document
from adampatch.graph.files import Source

_SECONDS = 600
_LOADER = Path(__file__).parent / "loader.py"


def check(source: Source, document: Document, data: bytes, executable: str) -> None:
    """Raises AdampatchError where the interpreter has no TensorFlow, or it does not load the graph."""
    from adampatch.project.interpreter import located

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "graph")
        if document.kind == SAVED_MODEL:
            shutil.copytree(source.path, path)
            path.joinpath(source.file.name).write_bytes(data)
        else:
            path.write_bytes(textformat.parse(data, document.kind) if document.text else data)
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        request = json.dumps({"path": str(path), "kind": document.kind})
        try:
            done = subprocess.run(
                [located(executable), str(_LOADER), request],
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                cwd=folder,
                env=environment,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise AdampatchError(executable, f"is no Python that starts ({error})") from error
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        last = (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]
        raise AdampatchError(executable, f"could not load the graph ({last}); give a Python with TensorFlow")
    answer = json.loads(lines[-1])
    if answer["error"]:
        raise AdampatchError(
            source.path,
            "is not loaded by TensorFlow {} when patched, and nothing was written: {}".format(
                answer["tensorflow"], answer["error"]
            ),
        )
