"""``make bench``: all benchmarks in one run, as Markdown tables and one JSON file.

Variants are interleaved round by round, so that a machine that slows down slows all of
them; what is printed is the median ratio to stock of the same round.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import graphs, monitoring
from benchmarks.pairs import side_by_side
from benchmarks.scanning import scan_speeds
from benchmarks.stepping import stepping


def scan_start(rounds: int) -> float:
    """``adampatch scan`` of one file, as a process, over the import of what it is made of; the contract
    allows three times."""

    def process(*words: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)

    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "train.py")
        script.write_text('import keras\n\nkeras.Model().compile(optimizer="adam")\n')
        variants = {
            "imports": process("-c", "import click, gast, libcst"),
            "scan": process("-m", "adampatch", "scan", str(script)),
        }
        return side_by_side(variants, "imports", rounds, 1.0)["scan"].ratio


def processor() -> str:
    """What the machine calls its processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=Path("build/bench.json"), help="where the figures go")
    parser.add_argument("--plot", type=Path, default=Path("build/growth.svg"), help="where the plot goes")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="few rounds, no growth")
    options = parser.parse_args()
    rounds = 5 if options.quick else options.rounds
    import keras
    import tensorflow as tf

    versions = f"TensorFlow {tf.__version__}, Keras {keras.__version__}"
    machine = f"{processor()}, {os.cpu_count()} cores, {versions}"
    options.plot.parent.mkdir(parents=True, exist_ok=True)
    print(f"# Time per update over stock's, median of {rounds} interleaved rounds ({machine})\n")
    steps = stepping(rounds, options.quick, plot=options.plot)
    watched = min(rounds, 5)
    costs = monitoring.costs(watched)
    print("\n" + monitoring.table(costs, watched))
    start = scan_start(min(rounds, 9))
    seen, speeds = scan_speeds(min(rounds, 3))
    slowest = min(speed for speed in speeds.values() if speed is not None)
    print(f"\n# Files per CPU second, imports not counted, and over the slowest (Keras, {seen} files)\n")
    print("| tool | files/s | ratio |\n|---|---|---|")
    for tool, speed in speeds.items():
        words = "stops with an error | " if speed is None else f"{speed:.0f} | {speed / slowest:.1f}"
        print(f"| {tool} | {words} |")
    print()
    print(f"scan of one file, as a process: {start:.2f} of `import click, gast, libcst` (at most 3)")
    print("\n`graph apply` of graphs that grow\n")
    growth = graphs.growth()
    print(graphs.table(growth))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    scan = {"files": seen, "files_per_cpu_second": speeds, "one_file_over_imports": start}
    figures = {"machine": machine, "steps": steps, "monitoring": costs, "scan": scan, "graphs": growth}
    options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
