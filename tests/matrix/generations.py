"""The TensorFlow generations of the matrix, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Generation:
    """One row: pinned ``requirements``, the Pythons that can run it in order of preference,
    and the test files that speak of it. ``tool``: whether adampatch itself is installed
    there."""

    name: str
    pythons: tuple[str, ...]
    requirements: tuple[str, ...]
    tests: tuple[str, ...]


#: what is tested on every generation: the v1 family
_V1 = ("tests/runtime", "-k", "v1")
_ALL = ("tests/runtime", "tests/test_forks.py")

GENERATIONS = (
    Generation(
        "TF 2.21, Keras 3.15",
        ("3.11", "3.12", "3.13"),
        ("tensorflow==2.21.0", "keras==3.15.1"),
        _ALL,
    ),
    Generation(
        "TF 2.15.1",
        ("3.11", "3.10"),
        ("tensorflow-cpu==2.15.1", "keras==2.15.0", "numpy==1.26.4"),
        _V1,
    ),
)
