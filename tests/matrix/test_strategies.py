"""Distribution strategies: the bits of stock, and the numbers of a single device, logged once."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from environments import ROOT
from generations import Generation
from standalone import Project, rows, together

pytestmark = [pytest.mark.tensorflow, pytest.mark.matrix, pytest.mark.feature("run")]

RUN = ("-m", "adampatch", "run", "--log", "log", "--every", "5")


def newest() -> list[object]:
    """The row of tier 1 that has all libraries of the target program."""
    found = rows(matrix=True)
    return [
        p for p in found if p.values[0].tier == 1 and {"keras3", "tf_keras"} <= set(p.values[0].optimizers)
    ]


def bits(row: Generation, folder: Path, command: tuple[str, ...], *words: str, **environ: str) -> str:
    """What the target program prints of the variables that it ends with."""
    done = Project.made(row, folder, "strategies").run(
        *command, "strategies.py", *words, PYTHONPATH=str(ROOT), KERAS_BACKEND="tensorflow", **environ
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout.split()[-1]


def trained(row: Generation, folder: Path, command: tuple[str, ...], how: str, library: str) -> str:
    """The bits of one training, which all of its processes agree about."""
    if how != "workers":
        return bits(row, folder, command, how, library)
    addresses = []
    for _ in range(2):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            addresses.append(f"localhost:{free.getsockname()[1]}")

    def worker(index: int) -> str:
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        return bits(row, folder / str(index), command, how, library, TF_CONFIG=json.dumps(task))

    (only,) = set(together(lambda: worker(0), lambda: worker(1)))
    return only


def lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (log / "adampatch.jsonl").read_text().splitlines()]


def numbers(log: Path) -> dict[tuple[int, str | None, str], float]:
    """{(step, variable, metric): value}."""
    return {(row["step"], row["variable"], row["metric"]): row["value"] for row in lines(log)}


@pytest.mark.parametrize("library", ["keras", "tf_keras", "legacy"])
@pytest.mark.parametrize("how", ["workers", "servers"])
@pytest.mark.parametrize("row", newest())
def test_a_strategy_trains_to_stocks_bits_and_logs_the_numbers_of_one_device(
    row: Generation, tmp_path: Path, how: str, library: str
) -> None:
    stock = trained(row, tmp_path / "stock", (), how, library)
    assert trained(row, tmp_path / "ours", RUN, how, library) == stock
    alone = trained(row, tmp_path / "alone", RUN, "single", library)
    expected = numbers(tmp_path / "alone" / "log")
    assert {step for step, _, _ in expected} == {1, 6, 11}
    if how == "workers":
        assert alone == stock  # the same gradients, halved and summed
        assert not list((tmp_path / "ours" / "1" / "log").iterdir())
        assert numbers(tmp_path / "ours" / "0" / "log") == expected
    else:
        # a coordinator calls concrete functions: the last sample is seen at exit
        found = numbers(tmp_path / "ours" / "log")
        assert {step for step, _, _ in found} == {11}
        assert found == {key: value for key, value in expected.items() if key[0] == 11}
