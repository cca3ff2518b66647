"""The environments of the matrix: interpreters found, virtual environments made once and kept."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from generations import Generation

ROOT = Path(__file__).resolve().parents[2]
#: Where they are; each in a folder of its own, as `Generation.environment` says.
ENVIRONMENTS = Path(os.environ.get("ADAMPATCH_ENVS") or ROOT / ".envs").absolute()


class Missing(Exception):
    """There is no interpreter for a generation."""


def interpreter(generation: Generation) -> Path:
    """The Python of a generation's environment, which need not be there."""
    return ENVIRONMENTS / generation.environment / "bin" / "python"


def made(generation: Generation) -> Path:
    """The Python of its environment, with TensorFlow installed, and adampatch where it can be.

    Raises Missing without an interpreter, CalledProcessError where pip fails.
    """
    folder, executable = ENVIRONMENTS / generation.environment, interpreter(generation)
    done = folder / ".complete"
    tool = ["pytest>=8", "--editable", str(ROOT)] if generation.tool else []
    wanted = "\n".join([*generation.requirements, *tool])
    if not done.exists() or done.read_text() != wanted:
        subprocess.run([_python(generation), "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(executable), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *generation.requirements], check=True)
        if tool:
            subprocess.run([*pip, *generation.requirements, *tool], check=True)
        done.write_text(wanted)
    return executable


def _python(generation: Generation) -> str:
    """An interpreter that starts and is of a version that the generation runs on."""
    for version in generation.pythons:
        pyenv = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
        for candidate in [shutil.which(f"python{version}"), *map(str, pyenv)]:
            check = f"import sys, venv; sys.exit('%d.%d' % sys.version_info[:2] != '{version}')"
            if candidate and subprocess.run([candidate, "-c", check], capture_output=True).returncode == 0:
                return candidate
    raise Missing(f"no Python {' or '.join(generation.pythons)}")
