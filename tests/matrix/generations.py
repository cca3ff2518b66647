"""The TensorFlow generations of the matrix, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Generation:
    """One row: pinned ``requirements``, the Pythons that can run it in order of preference,
    and what pytest is asked to run there. Families that a generation does not have are not
    asked for, rather than skipped."""

    name: str
    environment: str
    pythons: tuple[str, ...]
    requirements: tuple[str, ...]
    tests: tuple[str, ...]


_V1 = ("tests/runtime/test_runtime_graphs.py", "tests/runtime/test_runtime_kernels.py")

GENERATIONS = (
    Generation(
        "TF 2.21, Keras 3.15",
        "installed-tf221",
        ("3.11", "3.12", "3.13"),
        ("tensorflow==2.21.0", "keras==3.15.1", "tf_keras==2.21.0"),
        (
            *("tests/runtime", "--ignore", "tests/runtime/test_runtime_addons.py"),
            *("tests/test_forks.py", "tests/test_forks_tf_keras.py", "tests/test_uses.py"),
        ),
    ),
    Generation(
        "TF 2.15.1, TF Addons 0.23 (V1, wrappers)",
        "installed-tf215",
        ("3.11", "3.10"),
        ("tensorflow-cpu==2.15.1", "keras==2.15.0", "tensorflow-addons==0.23.0", "numpy==1.26.4"),
        (*_V1, "tests/runtime/test_runtime_addons.py", "tests/runtime/test_verify_command.py"),
    ),
)
