"""``make matrix``: every feature on every TensorFlow generation, and the table of it.

A generation whose interpreter is not found is reported as missing, never as passed. Exit 1 if anything
failed, or if with ``--require`` one of tier 1 was missing; 2 for bad usage.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from environments import ENVIRONMENTS, ROOT, Missing, made
from features import FEATURES, cell, not_offered
from generations import GENERATIONS, Generation

_BEGIN, _END = "<!-- matrix -->", "<!-- end of matrix -->"


def run(generation: Generation, features: list[str]) -> dict[str, str] | str:
    """{feature: cell} of one generation, or why there is none."""
    try:
        made(generation)
    except Missing as error:
        return f"missing: {error}"
    except subprocess.CalledProcessError as error:
        return f"FAILED: {' '.join(error.cmd[:5])} ... ended with {error.returncode}"
    with tempfile.TemporaryDirectory() as folder:
        outcomes = Path(folder) / "outcomes.json"
        words = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", "-m", "matrix"]
        words += ["--row", generation.name, "--outcomes", str(outcomes)]
        words += ["--features", ",".join(features), "tests/matrix"]
        done = subprocess.run(
            words,
            cwd=ROOT,
            env={**os.environ, "ADAMPATCH_ENVS": str(ENVIRONMENTS)},
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            print(done.stdout[-8000:], done.stderr[-2000:], file=sys.stderr)
        if not outcomes.exists():
            return f"FAILED: pytest ended with {done.returncode}"
        found = json.loads(outcomes.read_text())
    print(re.sub(r"=+", "", done.stdout.strip().rpartition("\n")[2]), file=sys.stderr, flush=True)
    return {
        feature: "not offered" if not_offered(generation, feature) else cell(found.get(feature, {}))
        for feature in features
    }


def table(rows: dict[str, dict[str, str] | str], features: list[str]) -> str:
    """The outcomes as Markdown."""
    lines = ["| | " + " | ".join(features) + " |", "|---" * (len(features) + 1) + "|"]
    for name, outcome in rows.items():
        cells = [outcome] + [""] * (len(features) - 1) if isinstance(outcome, str) else outcome.values()
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write(path: Path, text: str) -> None:
    """Puts the table between its marks in a document."""
    found = path.read_text(encoding="utf-8")
    before, _, rest = found.partition(_BEGIN)
    _, mark, after = rest.partition(_END)
    if not mark:
        raise SystemExit(f"error: {path} has no lines {_BEGIN} and {_END}")
    path.write_text(f"{before}{_BEGIN}\n{text}\n{_END}{after}", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--require", action="store_true", help="a generation of tier 1 has to be there")
    parser.add_argument("--tier", type=int, choices=(1, 2), default=2, help="1: only tier 1")
    parser.add_argument("--only", help="only this generation, by name")
    parser.add_argument("--features", help="only these, separated by commas: " + ", ".join(FEATURES))
    parser.add_argument("--minutes", type=float, help="begin none of tier 2 later than this")
    parser.add_argument("--write", type=Path, help="a Markdown file to put the table into, between its marks")
    options = parser.parse_args()
    chosen = [g for g in GENERATIONS if g.tier <= options.tier and options.only in (None, g.name)]
    if not chosen:
        parser.error(f"no such generation: {options.only}; there are {[g.name for g in GENERATIONS]}")
    features = options.features.split(",") if options.features else list(FEATURES)
    if not set(features) <= set(FEATURES):
        parser.error(f"no such feature in {options.features}; there are {list(FEATURES)}")
    begun = time.monotonic()
    rows: dict[str, dict[str, str] | str] = {}
    for generation in chosen:
        passed = (time.monotonic() - begun) / 60
        if generation.tier > 1 and options.minutes is not None and passed > options.minutes:
            rows[generation.name] = f"not begun after {passed:.0f} minutes"
            continue
        print(f"{generation.name} ...", file=sys.stderr, flush=True)
        rows[generation.name] = run(generation, features)
    print(table(rows, features))
    if options.write:
        write(options.write, table(rows, features))
    failed = any("FAILED" in str(outcome) for outcome in rows.values())
    first = [g.name for g in chosen if g.tier == 1]
    absent = any(str(rows[name]).startswith("missing") for name in first)
    silent = [  # a feature that is offered and of which nothing was asked is a hole of the matrix
        f"{name}: {feature}"
        for name, outcome in rows.items()
        if not isinstance(outcome, str)
        for feature, found in outcome.items()
        if found == "-"
    ]
    if silent:
        print("error: nothing was asked of " + ", ".join(silent), file=sys.stderr)
    return 1 if failed or silent or (absent and options.require) else 0


if __name__ == "__main__":
    sys.exit(main())
