"""``make bench``: all benchmarks in one run, as Markdown tables and one JSON file.

Variants are interleaved round by round, so that a machine that slows down slows all of
them; what is printed is the median ratio to stock of the same round.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import graphs, monitoring
from benchmarks.scanning import scan_speeds

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

CEILING = {
    "version": 1,
    "observe": {},
    "runtime": {},
    "rules": [
        {
            "id": "ceiling",
            "match": ["**"],
            "exclude": [],
            "optimizer": "*",
            "quantity": "rate",
            "min": None,
            "max": 0.004,
        }
    ],
}


def ratios(variants: dict[str, Callable[[], None]], rounds: int, repeats: int) -> dict[str, float]:
    """Median over the rounds of each variant's time over the first variant's."""
    for step in variants.values():
        step()
        step()
    first = next(iter(variants))
    found: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        times = {}
        for name, step in variants.items():
            begin = time.perf_counter()
            for _ in range(repeats):
                step()
            times[name] = time.perf_counter() - begin
        for name in variants:
            found[name].append(times[name] / times[first])
    return {name: statistics.median(values) for name, values in found.items()}


def keras3_steps(shapes: list[int], rounds: int, repeats: int) -> dict[str, float]:
    """One Keras 3 Adam update of all variables in a ``tf.function``, float32."""
    import keras
    import numpy as np
    import tensorflow as tf

    import adampatch

    def variant(optimizer: keras.optimizers.Optimizer) -> Callable[[], None]:
        random = np.random.default_rng(0)
        variables = [keras.Variable(random.normal(size=n).astype("float32")) for n in shapes]
        gradients = [tf.constant(random.normal(size=n).astype("float32")) for n in shapes]
        optimizer.build(variables)
        compiled = tf.function(lambda: optimizer.apply(gradients, variables))
        return lambda: compiled() and None

    stock = keras.optimizers.Adam
    return ratios(
        {
            "stock": variant(stock()),
            "emit=off": variant(adampatch.patched(stock, emit="off")()),
            "emit=stats, every 100": variant(adampatch.patched(stock, emit="stats")()),
            "ceiling, emit=off": variant(adampatch.patched(stock, rules=CEILING, emit="off")()),
        },
        rounds,
        repeats,
    )


def scan_start(rounds: int) -> dict[str, float]:
    """``adampatch scan`` of one file, as a process, over the import of what it is made of; the contract
    allows three times."""

    def process(*words: str) -> Callable[[], None]:
        return lambda: (
            subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL) and None
        )

    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "train.py")
        script.write_text('import keras\n\nkeras.Model().compile(optimizer="adam")\n')
        variants = {
            "imports": process("-c", "import click, gast, libcst"),
            "scan": process("-m", "adampatch", "scan", str(script)),
        }
        return ratios(variants, rounds, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=Path("build/bench.json"), help="where the figures go")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    import keras
    import tensorflow as tf

    start = scan_start(options.rounds)["scan"]
    seen, speeds = scan_speeds(min(options.rounds, 3))
    tables = {
        "Keras 3 Adam, 1 x 10M": keras3_steps([10_000_000], options.rounds, 3),
        "Keras 3 Adam, 200 x 10k": keras3_steps([10_000] * 200, options.rounds, 5),
    }
    watched = min(options.rounds, 5)
    costs = monitoring.costs(watched)
    versions = f"TensorFlow {tf.__version__}, Keras {keras.__version__}"
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {versions}"
    print(f"Time per update over stock's, median of {options.rounds} interleaved rounds ({machine})\n")
    names = list(next(iter(tables.values())))
    print("| work | " + " | ".join(names) + " |\n|---|" + "---|" * len(names))
    for work, row in tables.items():
        print(f"| {work} | " + " | ".join(f"{row[n]:.2f}" for n in names) + " |")
    print("\n" + monitoring.table(costs, watched))
    slowest = min(speed for speed in speeds.values() if speed is not None)
    print(f"\nFiles per CPU second, imports not counted, and over the slowest (Keras, {seen} files)\n")
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
    figures = {"machine": machine, "ratios": tables, "monitoring": costs, "scan": scan, "graphs": growth}
    options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
