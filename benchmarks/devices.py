"""What an update costs on one device, in milliseconds and bytes per second, beside what others take there.

    python -m benchmarks.devices [--device GPU:0] [--elements 10000000 1000000000] [--json F] [--markdown F]

Each step waits until the device has done its work. Peers run on the same kind of device where they can.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Several libraries share the device: none may take all of its memory at once.
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

from benchmarks import peers
from benchmarks.pairs import Step, Timed, side_by_side
from benchmarks.stepping import STOCK, ceiling, patched

#: {row: {variant: makes a step of that many elements on a device, None where a peer is missing}}
Rows = dict[str, dict[str, Callable[[], Step | None]]]


def rows(device: str, elements: int) -> Rows:
    """The work on one variable, each family beside its own stock."""
    import keras
    import tensorflow as tf
    import tf_keras

    adam, v1 = keras.optimizers.Adam, tf.compat.v1.train.AdamOptimizer
    v2 = tf_keras.optimizers.legacy.Adam
    kind = "cuda" if device.upper().startswith("GPU") else "cpu"

    def on(run: Callable[..., Step], make: Any) -> Callable[[], Step]:
        def made() -> Step:
            with tf.device(device):
                return _awaited(run(make, [elements]), device)

        return made

    def copies() -> Step:
        with tf.device(device):
            return _awaited(memory(elements), device)

    return {
        "V2 fused Adam": {
            STOCK: on(peers.older, v2),
            "emit=off, no rule": on(peers.older, patched(v2)),
            "ceiling": on(peers.older, patched(v2, ceiling())),
            "stats, every 100": on(peers.older, patched(v2, None, "stats", 100)),
            "optax, jit": lambda: peers.optax([elements], device=kind),
            "torch, fused": lambda: peers.torch([elements], device=kind),
            "memory moved": copies,
        },
        "Keras 3 Adam": {
            STOCK: on(peers.keras3, adam),
            "ceiling": on(peers.keras3, patched(adam, ceiling())),
            "stats, every 100": on(peers.keras3, patched(adam, None, "stats", 100)),
        },
        "V1 fused Adam": {
            STOCK: on(peers.older, v1),
            "ceiling": on(peers.older, patched(v1, ceiling())),
            "stats, every 100": on(peers.older, patched(v1, None, "stats", 100)),
        },
    }


def memory(elements: int) -> Step:
    """Moves as many bytes on the current device as a step has to, half of them read, half written."""
    import tensorflow as tf

    size = elements * peers.FLOOR_BYTES // 2 // 4
    source, target = tf.Variable(tf.ones([size])), tf.Variable(tf.zeros([size]))

    @tf.function
    def run() -> None:
        target.assign(source.read_value())

    return lambda: run() and None


def _awaited(step: Step, device: str) -> Step:
    """The step, until the device has done it."""
    import tensorflow as tf

    with tf.device(device):
        last = tf.Variable(0.0)

    def awaited() -> None:
        step()
        # A device does what it is given in order: when this value is on the host, the step is done.
        with tf.device(device):
            last.assign_add(1.0)
        last.numpy()

    return awaited


def measured(device: str, elements: int, rounds: int) -> dict[str, dict[str, Timed | None]]:
    """{row: {variant: Timed, None of a missing peer}}; rows one after the other, for their memory's sake."""
    found: dict[str, dict[str, Timed | None]] = {}
    for name, variants in rows(device, elements).items():
        made = {variant: make() for variant, make in variants.items()}
        steps = {variant: step for variant, step in made.items() if step is not None}
        times = side_by_side(steps, STOCK, rounds)
        found[name] = {variant: times.get(variant) for variant in variants}
    return found


def table(found: dict[str, dict[str, Timed | None]], elements: int) -> str:
    """Markdown: milliseconds, ratio to stock, and the bytes per second if only the necessary were moved."""
    moved = peers.FLOOR_BYTES * elements
    lines = [
        f"### {elements / 1e6:g} million elements, float32",
        "",
        "| work | variant | ms | of stock | GB/s |",
        "|---|---|---|---|---|",
    ]
    for row, times in found.items():
        for variant, timed in times.items():
            if timed is None:
                lines.append(f"| {row} | {variant} | not to be had here | | |")
                continue
            speed = moved / timed.seconds / 1e9
            lines.append(
                f"| {row} | {variant} | {timed.seconds * 1e3:.3f} | {timed.ratio:.2f} | {speed:.0f} |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", default="GPU:0")
    parser.add_argument("--elements", type=int, nargs="+", default=[10_000_000, 1_000_000_000])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    import keras
    import tensorflow as tf

    from adampatch.verify.worker import accelerators

    names = [device.name.split("device:")[-1] for device in tf.config.list_logical_devices()]
    if options.device.upper() not in names:
        sys.exit(f"error: TensorFlow sees no {options.device}, only {', '.join(names)}")
    about = {"TensorFlow": tf.__version__, "Keras": keras.__version__, **accelerators.described(tf)}
    words = ", ".join(f"{name} {value}" for name, value in about.items())
    text = f"## Time of one update on {options.device}\n\n{words}.\n"
    figures: dict[str, Any] = {"device": options.device, "about": about, "elements": {}}
    for elements in options.elements:
        found = measured(options.device, elements, options.rounds)
        text += "\n" + table(found, elements)
        figures["elements"][elements] = {
            row: {variant: asdict(timed) if timed else None for variant, timed in times.items()}
            for row, times in found.items()
        }
    print(text)
    for path, content in ((options.markdown, text), (options.json, json.dumps(figures, indent=1) + "\n")):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
