"""The whole story on one example: scan it, patch it, see and bound its rates, take the patch back.

    python examples/demo.py                              # examples/keras3_fit, in ./.demo
    python examples/demo.py tf1_session --folder /tmp/story

Works on a copy. Exits 1 with the command and its output as soon as a step fails, and also where a
promise does not hold: the patch without a rule changes no bit, the ceiling binds and is never
passed, `revert` restores every byte.
"""

import argparse
import hashlib
import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

EXAMPLES = Path(__file__).resolve().parent
MARKER = ".adampatch-demo"  # a folder that holds it was made here and may be wiped
SAMPLE_EVERY = 10

KERAS3_CEILING = """\
# The script asks for a learning rate of 0.001. What stock Adam uses, after its 430 updates, over the
# active weights of digits/hidden/kernel: p05 0.05, p50 0.14, p95 18, greatest 1200. Most great ones
# belong to the 16 pixels at the edge that are blank in nine images of ten, or to hidden units that
# hardly ever fire: v is tiny there. A ceiling of 1.0, a thousand times the learning rate, stops a
# quarter of that kernel's active weights and leaves the median alone.
version = 1

[[rule]]
id = "ceiling"
quantity = "rate"
max = 1.0
"""

TF1_CEILING = """\
# The script asks for a learning rate of 0.01. What stock Adam uses, after its 400 updates: p50 8 and
# p95 14 on user_embedding, but p50 25, p95 90 and at most 8000 on item_embedding, where the rows of
# unpopular items have hardly ever had a gradient; in the first updates, 1000 and more on both.
# A ceiling of 100, ten thousand times the learning rate, holds nearly all of both tables at first,
# and in the end only the items' long tail. The dense layer is not matched.
version = 1

[[rule]]
id = "ceiling"
match = ["*_embedding"]
quantity = "rate"
max = 100.0
"""


@dataclass(frozen=True)
class Story:
    title: str
    rules: str
    ceiling: float


STORIES = {
    "keras3_fit": Story('optimizer="adam" on digits', KERAS3_CEILING, 1.0),
    "tf1_session": Story("AdamOptimizer(1e-2) on embeddings", TF1_CEILING, 100.0),
}

terminal = Console()
console = terminal if terminal.is_terminal else Console(width=100)


class Failure(Exception):
    """A step that failed; the message is what to print."""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("example", nargs="?", choices=sorted(STORIES), default="keras3_fit")
    parser.add_argument("--folder", type=Path, default=Path(".demo"), help="wiped at the start (.demo)")
    args = parser.parse_args()

    missing = [name for name in ("adampatch", "tensorflow", "sklearn", "matplotlib") if not installed(name)]
    if missing:
        parser.exit(
            2,
            f"error: this Python has no {', '.join(missing)}; "
            "run `make demo`, or `pip install -e '.[tensorflow,demo]'`\n",
        )
    sys.stdout.reconfigure(errors="replace")
    try:
        tell(args.example, args.folder)
    except Failure as failure:
        console.print(Text(f"\n{failure}", style="bold red"), soft_wrap=True)
        return 1
    return 0


def installed(package):
    return importlib.util.find_spec(package) is not None


def tell(example, folder):
    began = time.monotonic()
    story = STORIES[example]

    heading("1", f"A fresh copy of examples/{example}")
    wipe(folder)
    copy = folder / example
    shutil.copytree(EXAMPLES / example, copy, ignore=shutil.ignore_patterns("__pycache__", ".adampatch"))
    before = fingerprint(copy)
    say(f"{copy}: {', '.join(name for name in before)}")

    heading("2", "Where does it use Adam? Nothing is imported or run")
    echo(adampatch("scan", copy))

    heading("3", "Train it as it is")
    stock = folder / "stock.npz"
    echo_tail(train(copy, stock))

    heading("4", "What would the patch change?")
    echo_diff(adampatch("apply", "--diff", copy, expect=1))
    if fingerprint(copy) != before:
        raise Failure("`adampatch apply --diff` changed files")

    heading("5", "Patch it, no rule yet, and train again: the rates come out, nothing else changes")
    echo(adampatch("apply", copy))
    observed = folder / "observed.npz"
    output, free_rates = train_and_collect(copy, observed)
    echo_tail(output)
    tell_bits(stock, observed)
    tell_rates("Effective learning rates, no rule", free_rates[-1])

    heading("6", "Bound the rate, and train again")
    rules = folder / "ceiling.toml"
    rules.write_text(story.rules, encoding="utf-8")
    echo(story.rules)
    patched = fingerprint(copy)
    echo(adampatch("apply", copy, "--rules", rules))
    tell_changed_files(patched, fingerprint(copy))
    output, bounded_rates = train_and_collect(copy, folder / "bounded.npz")
    echo_tail(output)
    tell_rates("Effective learning rates under the ceiling", bounded_rates[-1])
    tell_ceiling(story, bounded_rates)

    heading("7", "The rates over the whole training")
    plot = folder / "rates.png"
    draw_rates(plot, story, free_rates, bounded_rates)
    say(f"drawn: {plot}")

    heading("8", "Take it back")
    echo(adampatch("revert", copy))
    after = fingerprint(copy)
    if after != before:
        changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
        raise Failure(f"the tree is not what it was before `apply`: {', '.join(changed)}")
    fact(
        f"The tree is byte-identical again: {', '.join(before)} have the SHA-256 and mode "
        "that they had before `apply`, and nothing else is there."
    )
    say(f"\nDone in {time.monotonic() - began:.0f} s. Weights, rules, samples and the plot are in {folder}/.")


# Steps


def wipe(folder):
    """Make `folder` an empty one of ours; a folder with anything else in it is left alone."""
    if folder.exists():
        if any(folder.iterdir()) and not (folder / MARKER).exists():
            raise Failure(f"{folder} was not made by this demo; name another with --folder")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / MARKER).touch()


def fingerprint(tree):
    """{relative path: (SHA-256 of the bytes, mode)} of every file and folder below `tree`."""
    return {
        path.relative_to(tree).as_posix(): (sha256(path), path.stat().st_mode)
        for path in sorted(tree.rglob("*"))
    }


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def adampatch(*arguments, expect=0):
    shown = shlex.join(["adampatch", *map(str, arguments)])
    return run(shown, [sys.executable, "-m", "adampatch", *map(str, arguments)], expect=expect)


def train(copy, weights):
    arguments = ["train.py", "--weights", str(weights.resolve())]
    shown = shlex.join(["python", "train.py", "--weights", f"../{weights.name}"])
    return run(shown, [sys.executable, *arguments], cwd=copy)


def train_and_collect(copy, weights):
    """Train the patched script, unchanged, in a process that also collects its rates."""
    samples = weights.with_name(f"{weights.stem}-rates.json")
    collect = [EXAMPLES / "demo_collect.py", samples.resolve(), SAMPLE_EVERY]
    command = [sys.executable, *collect, "train.py", "--weights", weights.resolve()]
    environment = {"ADAMPATCH_EMIT": "stats", "ADAMPATCH_EVERY": str(SAMPLE_EVERY)}
    shown = shlex.join(["python", "train.py", "--weights", f"../{weights.name}"])
    setting = " ".join(f"{name}={value}" for name, value in environment.items())
    output = run(f"{setting} {shown}", [str(part) for part in command], cwd=copy, environment=environment)
    collected = json.loads(samples.read_text(encoding="utf-8"))
    if len(collected) < 2:
        raise Failure(f"{len(collected)} samples of the rates; expected one every {SAMPLE_EVERY} updates")
    return output, collected


def run(shown, command, cwd=None, environment=None, expect=0):
    """Print `shown`, run `command`, return its standard output; Failure on another exit code."""
    console.print(Text(f"$ {shown}", style="bold"), soft_wrap=True)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ADAMPATCH_")}
    settings = {
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "KERAS_BACKEND": "tensorflow",
        "CUDA_VISIBLE_DEVICES": "-1",  # bit for bit is the promise on CPUs
        "PYTHONDONTWRITEBYTECODE": "1",  # so that training leaves no __pycache__ in the copy
    }
    completed = subprocess.run(
        command,
        cwd=cwd,
        env={**inherited, **settings, **(environment or {})},
        capture_output=True,
        text=True,
        errors="replace",
    )
    if completed.returncode != expect:
        raise Failure(
            f"exit code {completed.returncode} where {expect} was expected, of\n{shlex.join(command)}\n"
            f"{completed.stdout}{completed.stderr}"
        )
    return completed.stdout


def draw_rates(path, story, free_rates, bounded_rates):
    from demo_plot import draw

    draw(
        path,
        title=f"{story.title}: the learning rate that Adam really uses",
        trainings={"no rule": free_rates, f"rate ≤ {story.ceiling:g}": bounded_rates},
        ceiling=story.ceiling,
        bounded=bounded_variables(bounded_rates),
        variables=list(bounded_rates[-1]["variables"])[:4],
    )


# What is said


def heading(number, text):
    console.print()
    console.rule(Text(f"{number}  {text}", style="bold cyan"), align="left", style="cyan")


def say(text):
    console.print(Text(text), soft_wrap=True)


def fact(text):
    console.print(Text(f"✓ {text}", style="bold green"), soft_wrap=True)


def echo(output):
    console.print(Text(output.rstrip()), soft_wrap=True)


def echo_tail(output, lines=2):
    say("\n".join(["...", *output.rstrip().splitlines()[-lines:]]))


def echo_diff(diff):
    styles = {"+": "green", "-": "red", "@": "cyan"}
    for line in diff.rstrip().splitlines():
        console.print(Text(line, style=styles.get(line[:1], "")), soft_wrap=True)


def tell_bits(stock_path, patched_path):
    with np.load(stock_path) as stock, np.load(patched_path) as patched:
        names = sorted({*stock.files, *patched.files})
        differing = [
            name
            for name in names
            if name not in stock.files
            or name not in patched.files
            or stock[name].dtype != patched[name].dtype
            or stock[name].shape != patched[name].shape
            or stock[name].tobytes() != patched[name].tobytes()
        ]
        elements = sum(stock[name].size for name in stock.files)
    if differing:
        raise Failure(f"without a rule these differ from the stock training's: {', '.join(differing)}")
    fact(
        f"Measured: {len(names)} arrays, {elements:,} elements (weights and the optimizer's state) "
        "are bit for bit those of the stock training, with observation on."
    )


def tell_rates(title, snapshot):
    table = Table(title=f"{title}, update {snapshot['step']}", title_justify="left", title_style="bold")
    table.add_column("variable", no_wrap=True)
    for name in ("elements", "p05", "p50", "p95", "max", "clamped"):
        table.add_column(name, justify="right", no_wrap=True)
    for path, variable in snapshot["variables"].items():
        active = round(variable["elements"] * variable["active_frac"])
        for label, count, suffix in (
            (path, f"{active:,} active", "_active"),
            ("", f"{variable['elements']:,} in all", ""),
        ):
            rates = [format_rate(variable[f"rate_{name}{suffix}"]) for name in ("p05", "p50", "p95", "max")]
            clamped = variable[f"clamped_frac{suffix}"] or 0.0
            style = "" if suffix else "dim"
            table.add_row(label, count, *rates, f"{clamped:.1%}" if clamped else "-", style=style)
        table.add_section()
    console.print(table)
    say(f"alpha, the bias-corrected learning rate: {format_rate(snapshot['alpha'])}")


def format_rate(rate):
    return "-" if rate is None or rate != rate else f"{rate:.3g}"


def tell_changed_files(before, after):
    changed = sorted(
        name
        for name in {*before, *after}
        if before.get(name) != after.get(name) and Path(name).parts[0] != ".adampatch"
    )
    if changed != ["_adampatch.py"]:
        raise Failure(f"the rules live in _adampatch.py; changed: {', '.join(changed) or 'no file'}")
    fact("Only _adampatch.py changed: it holds the rules.")


def bounded_variables(samples):
    """The paths of the variables of which the rule clamped an element in some sample."""
    return {
        path
        for sample in samples
        for path, variable in sample["variables"].items()
        if variable["clamped_frac"]
    }


def tell_ceiling(story, samples):
    bounded = bounded_variables(samples)
    if not bounded:
        raise Failure("the ceiling never bound")
    greatest = max(sample["variables"][path]["rate_max"] for sample in samples for path in bounded)
    if greatest > story.ceiling:
        raise Failure(f"a rate of {greatest!r} passed the ceiling of {story.ceiling!r}")
    fact(
        f"Measured: the ceiling bound in {len(bounded)} variables, and in none of {len(samples)} samples "
        f"is a rate of theirs above it (greatest {greatest:g})."
    )


if __name__ == "__main__":
    sys.exit(main())
