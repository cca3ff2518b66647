"""The TensorFlow generations of the matrix, as data: what each is made of, and what is asked of it there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

_V1 = "eager,function,reference,resource,branch"
_V2 = "eager,function,resource"
_KERAS2 = "eager,function"

_NEWEST = ("tensorflow==2.21.0", "keras==3.15.1", "tf_keras==2.21.0", "h5py==3.14.0")
_OLDEST = ("numpy==1.18.5", "protobuf==3.20.3", "h5py==2.10.0", "gast==0.2.2")


@dataclass(frozen=True)
class Generation:
    """One row of the matrix.

    Attributes:
        name: what the table says.
        environment: the folder of its environment; rows may share one. "" is the one that runs the tests.
        pythons: the versions that can run it, in order of preference.
        requirements: what pip installs there.
        optimizers: {module of `target/`, without "optimizers_": the modes its optimizers run in}.
        keras: the Kerases whose strings and models are tried.
        tier: 1 runs with every change, 2 where its interpreter is there.
        tool: whether adampatch itself is installed there (`apply` without --standalone, `run`).
        environ: set for everything that runs there.
        steps: updates of a training.
    """

    name: str
    environment: str = ""
    pythons: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    optimizers: Mapping[str, str] = field(default_factory=dict)
    keras: tuple[str, ...] = ()
    tier: int = 2
    tool: bool = False
    environ: Mapping[str, str] = field(default_factory=dict)
    steps: int = 50

    @property
    def asked(self) -> list[str]:
        """What the target programs are told to train."""
        return [f"optimizers_{name}:{modes}" for name, modes in self.optimizers.items()]


HERE = Generation(
    "TF 2.21 here",
    optimizers={"v1": "resource", "keras3": "function", "tf_keras_legacy": "function"},
    keras=("keras", "tf_keras"),
    steps=20,
)

GENERATIONS = (
    Generation(
        "TF 2.21, Keras 3.15, Python 3.11",
        "tf221",
        ("3.11",),
        _NEWEST,
        {"v1": _V1, "keras3": _KERAS2, "tf_keras": _KERAS2, "tf_keras_legacy": _V2},
        ("keras", "tf_keras"),
        tier=1,
        tool=True,
    ),
    Generation(
        "TF 2.15.1, TF Addons 0.23",
        "tf215",
        ("3.11", "3.10"),
        ("tensorflow-cpu==2.15.1", "keras==2.15.0", "tensorflow-addons==0.23.0", "numpy==1.26.4"),
        {"v1": _V1, "legacy": _V2, "keras2": _KERAS2, "addons": _KERAS2},
        ("tensorflow.keras",),
        tier=1,
        tool=True,
    ),
    Generation(
        "TF 2.21, TF_USE_LEGACY_KERAS=1",
        "tf221",
        ("3.11",),
        _NEWEST,
        {"keras2": _KERAS2, "legacy": _V2},
        ("tensorflow.keras",),
        tool=True,
        environ={"TF_USE_LEGACY_KERAS": "1"},
    ),
    Generation(
        "TF 2.21, Keras 3.15, Python 3.13",
        "tf221-py313",
        ("3.13",),
        _NEWEST,
        {"v1": _V1, "keras3": _KERAS2, "tf_keras": _KERAS2, "tf_keras_legacy": _V2},
        ("keras", "tf_keras"),
        tool=True,
    ),
    Generation(
        "TF 2.10.1",
        "tf210",
        ("3.10", "3.9", "3.8"),
        ("tensorflow-cpu==2.10.1", "keras==2.10.0", "numpy==1.23.5", "protobuf==3.19.6"),
        {"v1": _V1, "keras_v2": _V2, "legacy": "function", "experimental": _KERAS2},
        ("tensorflow.keras",),
    ),
    Generation(
        "TF 2.1.4",
        "tf21",
        ("3.7",),
        ("tensorflow==2.1.4", *_OLDEST),
        {"v1": _V1, "keras_v2": _V2},
        ("tensorflow.keras",),
    ),
    Generation(
        "TF 1.15.5",
        "tf115",
        ("3.7",),
        ("tensorflow==1.15.5", *_OLDEST),
        {"v1": "eager,reference,resource,branch", "contrib": "reference,resource", "keras_v2": _V2},
        ("tensorflow.keras",),
    ),
)
