"""Scripts run in processes of their own, as a user runs them."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def environment(**more):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ADAMPATCH_")}
    kept.update(
        PYTHONPATH=str(ROOT),
        CUDA_VISIBLE_DEVICES="-1",
        TF_CPP_MIN_LOG_LEVEL="3",
        KERAS_BACKEND="tensorflow",
    )
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    kept.update(more)
    return kept


def python(*arguments, cwd, **more):
    """The finished process of `python ARGUMENTS...`."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=600,
    )


def adampatch(*arguments, cwd, **more):
    """The finished process of `adampatch ARGUMENTS...`."""
    return python("-m", "adampatch", *arguments, cwd=cwd, **more)


def contents(tree):
    """{path: bytes} of a tree."""
    return {str(p.relative_to(tree)): p.read_bytes() for p in sorted(tree.rglob("*")) if p.is_file()}
