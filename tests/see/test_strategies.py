"""Distribution strategies: the bits of stock, and the numbers of a single device, logged once."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from logs import rows
from scripts import environment

pytestmark = [pytest.mark.tensorflow, pytest.mark.matrix]
SCRIPT = Path(__file__).parent / "target" / "strategies.py"
RUN = ("-m", "adampatch", "run", "--log", "log", "--every", "5")


def started(folder, command, how, library, **more):
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, *command, str(SCRIPT), how, library],
        cwd=folder,
        env=environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def bits(processes):
    """What all of the processes print, which has to be the same."""
    found = set()
    for process in processes:
        out, error = process.communicate(timeout=300)
        assert process.returncode == 0, error
        found.add(out.split()[-1])
    (only,) = found
    return only


def trained(folder, command, how, library):
    """The bits of one training."""
    if how != "workers":
        return bits([started(folder, command, how, library)])
    addresses = []
    for _ in range(2):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            addresses.append(f"localhost:{free.getsockname()[1]}")
    cluster = {"worker": addresses}
    return bits(
        [
            started(
                folder / str(index),
                command,
                how,
                library,
                TF_CONFIG=json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}}),
            )
            for index in range(2)
        ]
    )


def numbers(log):
    """{(step, variable, metric): value} without alerts."""
    return {(row["step"], row["variable"], row["metric"]): row["value"] for row in rows(log)}


@pytest.mark.parametrize("library", ["keras", "tf_keras", "legacy"])
@pytest.mark.parametrize("how", ["workers", "servers"])
def test_a_strategy_trains_to_stock_s_bits_and_logs_the_numbers_of_one_device(tmp_path, how, library):
    (tmp_path / "stock").mkdir()
    stock = trained(tmp_path / "stock", (), how, library)
    assert trained(tmp_path, RUN, how, library) == stock
    alone = trained(tmp_path / "alone", RUN, "single", library)
    expected = numbers(tmp_path / "alone" / "log")
    assert {step for step, _, _ in expected} == {1, 6, 11}
    if how == "workers":
        assert alone == stock  # the same gradients, halved and summed
        assert not list((tmp_path / "1" / "log").iterdir())
        assert numbers(tmp_path / "0" / "log") == expected
    else:
        # a coordinator calls concrete functions: the last sample is seen at exit
        found = numbers(tmp_path / "log")
        assert {step for step, _, _ in found} == {11}
        assert found == {key: value for key, value in expected.items() if key[0] == 11}
