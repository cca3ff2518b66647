"""``make matrix``: the behavioural suite on each generation, one environment each.

An interpreter that is not found is reported as missing, never as passed. Exit 1 if
anything failed, or was missing with ``--require``.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from generations import GENERATIONS, Generation

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENTS = ROOT / ".envs"


def python_for(generation: Generation) -> str | None:
    """An interpreter that starts and is of a version that the generation runs on."""
    for version in generation.pythons:
        pyenv = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
        for candidate in [shutil.which(f"python{version}"), *map(str, pyenv)]:
            check = f"import sys, venv; sys.exit('%d.%d' % sys.version_info[:2] != '{version}')"
            if candidate and subprocess.run([candidate, "-c", check], capture_output=True).returncode == 0:
                return candidate
    return None


def environment(generation: Generation, python: str) -> Path:
    """Its Python, with TensorFlow, adampatch and pytest installed; made once and kept."""
    folder = ENVIRONMENTS / generation.environment
    done = folder / ".complete"
    wanted = "\n".join(generation.requirements)
    executable = folder / "bin" / "python"
    if not done.exists() or done.read_text() != wanted:
        subprocess.run([python, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(executable), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *generation.requirements, "pytest>=8", "pytest-xdist>=3"], check=True)
        subprocess.run([*pip, "--editable", str(ROOT)], check=True)
        done.write_text(wanted)
    return executable


def run(generation: Generation) -> str:
    """One row's outcome in words: what pytest counted, or why there is nothing to count."""
    python = python_for(generation)
    if python is None:
        return f"missing: no Python {' or '.join(generation.pythons)}"
    try:
        executable = environment(generation, python)
    except subprocess.CalledProcessError as error:
        return f"FAILED: {' '.join(error.cmd[:5])} ... ended with {error.returncode}"
    words = [str(executable), "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", *generation.tests]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    last = re.findall(r"\d+ [a-z]+(?:, \d+ [a-z]+)* in [\d.]+s", done.stdout)
    if done.returncode != 0:
        print(done.stdout[-6000:], done.stderr[-2000:], file=sys.stderr)
    return ("" if done.returncode == 0 else "FAILED: ") + (last[-1] if last else f"exit {done.returncode}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--require", action="store_true", help="a missing interpreter is a failure")
    options = parser.parse_args()
    rows = []
    for generation in GENERATIONS:
        print(f"{generation.name} ...", file=sys.stderr, flush=True)
        rows.append((generation.name, run(generation)))
    print("| generation | outcome |\n|---|---|")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    failed = any(outcome.startswith("FAILED") for _, outcome in rows)
    missing = any(outcome.startswith("missing") for _, outcome in rows)
    return 1 if failed or (missing and options.require) else 0


if __name__ == "__main__":
    sys.exit(main())
