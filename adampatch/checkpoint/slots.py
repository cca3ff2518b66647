"""From the arrays of a checkpoint to the moments of each variable, and the scalars of their optimizer."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from adampatch.checkpoint import worker
from adampatch.errors import AdampatchError
from adampatch.project.interpreter import located

Arrays = Mapping[str, Any]
_SECONDS = 300
_HDF5 = (".keras", ".h5", ".hdf5")
# In order: how a variable's name and a slot's are found in the name of a slot.
_NAMED = (
    re.compile(r"(?P<variable>.+)/\.OPTIMIZER_SLOT/.*?(?P<slot>m|v|vhat)$"),
    re.compile(r"(?:.*/)?[^/]+/(?P<slot>m|v|vhat)/(?P<variable>.+)$"),
    re.compile(r"(?:optimizer_weights/)?[^/]+/(?P<variable>.+)_(?P<slot>momentum|velocity|velocity_hat)$"),
    re.compile(r"(?:optimizer_weights/[^/]+/)?(?P<variable>.+)/(?:adam_)?(?P<slot>m|v|vhat)$"),
)
_SLOTS = {"momentum": "m", "velocity": "v", "velocity_hat": "vhat"}
_NUMBERED = re.compile(r"(?:.*/)?(?:vars|_variables)/(?P<number>\d+)$")
_COUNTERS = ("iter", "iterations", "_iterations", "iteration", "global_step")


@dataclass
class Slots:
    """``moments``: {variable: {"m", "v" and maybe "vhat": array}}; ``updates`` done, None where nothing
    says it; ``known``: hyper-parameters that the file says; ``family``: "v1" or "keras"."""

    moments: dict[str, dict[str, Any]] = field(default_factory=dict)
    updates: int | None = None
    powers: dict[str, float] = field(default_factory=dict)
    known: dict[str, float] = field(default_factory=dict)
    optimizer: str | None = None
    family: str = "keras"


def read(checkpoint: Path, executable: str) -> Slots:
    """The slots of a checkpoint file, prefix or directory; TensorFlow runs in a process of its own.

    Raises AdampatchError where there is none, or no moments of the Adam family are in it.
    """
    arrays, meta = _arrays(checkpoint, executable)
    slots = Slots()
    _configure(slots, meta["config"])
    named = {_plain(meta["names"].get(name) or name): array for name, array in arrays.items()}
    plain = {_plain(name): array for name, array in arrays.items()}
    for found in (_named(plain), _named(named), _suffixed(plain), _numbered(plain, slots)):
        slots.moments = {name: own for name, own in found.items() if {"m", "v"} <= own.keys()}
        if slots.moments:
            break
    if not slots.moments:
        raise AdampatchError(
            checkpoint, "holds no first and second moments; save the optimizer with the model, after training"
        )
    _scalars(slots, plain)
    for name, own in slots.moments.items():
        if (np.asarray(own["v"], np.float64) < 0).any():
            raise AdampatchError(
                checkpoint, f"{name}: what should be a second moment is negative; this is no Adam"
            )
    return slots


def _arrays(checkpoint: Path, executable: str) -> tuple[Arrays, dict[str, Any]]:
    there = checkpoint.exists() or checkpoint.with_name(checkpoint.name + ".index").exists()
    if not there:
        raise AdampatchError(checkpoint, "does not exist; name a checkpoint prefix, a .keras or an .h5 file")
    if checkpoint.name.endswith(_HDF5):
        try:
            arrays, meta = worker.from_hdf5(str(checkpoint))
            return arrays, meta
        except ImportError:
            pass  # h5py is where TensorFlow is
        except (OSError, KeyError, ValueError) as error:
            raise AdampatchError(checkpoint, f"cannot be read ({error}); is it whole?") from error
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "arrays.npz"
        command = [located(executable), worker.__file__, str(checkpoint.absolute()), str(out)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, cwd=folder)
        except (OSError, subprocess.SubprocessError) as error:
            raise AdampatchError(executable, f"is no Python that starts ({error}); give --python") from error
        if done.returncode != 0 or not out.exists():
            said = (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]
            hint = "; give --python an interpreter with TensorFlow" if "No module" in said else ""
            raise AdampatchError(checkpoint, f"cannot be read ({said}){hint}")
        with np.load(out) as saved:
            meta = _json(saved["meta"])
            return {name: saved[f"a{index}"] for index, name in enumerate(meta["order"])}, meta


def _json(array: Any) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(bytes(array).decode("utf-8"))
    return document


def _plain(name: str) -> str:
    return name.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE").removesuffix(":0")


def _named(arrays: Arrays) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name, array in arrays.items():
        match = next((m for pattern in _NAMED if (m := pattern.fullmatch(name))), None)
        if match is not None:
            slot = match["slot"]
            found.setdefault(match["variable"], {})[_SLOTS.get(slot, slot)] = array
    return found


def _suffixed(arrays: Arrays) -> dict[str, dict[str, Any]]:
    """TensorFlow 1: the slots of `w` are `w/Adam`, `w/Adam_1`, and `w/Adam_2` with AMSGrad."""
    found: dict[str, dict[str, Any]] = {}
    for name, array in arrays.items():
        variable, _, _ = name.rpartition("/")
        second = arrays.get(name + "_1")
        if second is None or variable not in arrays or np.shape(arrays[variable]) != np.shape(array):
            continue
        found[variable] = {"m": array, "v": second}
        if name + "_2" in arrays:
            found[variable]["vhat"] = arrays[name + "_2"]
    return found


def _numbered(arrays: Arrays, slots: Slots) -> dict[str, dict[str, Any]]:
    """Keras files number what an optimizer keeps: its counter, its learning rate, then pairs."""
    numbered: dict[str, dict[int, Any]] = {}
    for name, array in arrays.items():
        match = _NUMBERED.fullmatch(name)
        if match is not None and name.startswith("optimizer"):
            numbered.setdefault(name[: match.start("number")], {})[int(match["number"])] = array
    for own in numbered.values():
        scalars = [own[n] for n in sorted(own) if np.shape(own[n]) == ()][:2]
        rest = [own[n] for n in sorted(own)][len(scalars) :]
        for value in scalars:
            if np.asarray(value).dtype.kind in "iu":
                slots.updates = int(value)
            else:
                slots.known.setdefault("learning_rate", float(value))
        shapes = [np.shape(array) for array in rest]
        third = len(rest) // 3
        with_hats = (
            len(rest) % 3 == 0
            and shapes[0 : 2 * third : 2] == shapes[1 : 2 * third : 2] == shapes[2 * third :]
            and (len(rest) % 2 == 1 or shapes[2 * third :: 2] != shapes[2 * third + 1 :: 2])
        )
        pairs = rest[: 2 * third] if with_hats else rest
        hats = rest[2 * third :] if with_hats else []
        if len(pairs) % 2 or [np.shape(a) for a in pairs[::2]] != [np.shape(a) for a in pairs[1::2]]:
            continue
        found: dict[str, dict[str, Any]] = {}
        for index in range(len(pairs) // 2):
            shape = list(np.shape(pairs[2 * index]))
            found[f"variable {index} {shape}"] = {"m": pairs[2 * index], "v": pairs[2 * index + 1]}
            if hats:
                found[f"variable {index} {shape}"]["vhat"] = hats[index]
        return found
    return {}


def _scalars(slots: Slots, arrays: Arrays) -> None:
    for name, array in arrays.items():
        last = name.rpartition("/")[2]
        if np.size(array) != 1 or np.shape(array) not in ((), (1,)):
            continue
        value = float(np.reshape(array, []))
        if last in ("beta1_power", "beta2_power"):
            slots.family = "v1"
            slots.powers[last] = value
        elif last in _COUNTERS and slots.updates is None:
            slots.updates = int(value)
        elif last in ("learning_rate", "_learning_rate"):
            slots.known.setdefault("learning_rate", value)
        elif last in ("beta_1", "beta_2", "epsilon") and name.startswith("optimizer"):
            slots.known.setdefault(last, value)


def _configure(slots: Slots, config: Any) -> None:
    if not isinstance(config, dict):
        return
    slots.optimizer = str(config.get("class_name")).rpartition(">")[2]
    for name, value in (config.get("config") or {}).items():
        if name in ("learning_rate", "beta_1", "beta_2", "epsilon") and isinstance(value, (int, float)):
            slots.known[name] = float(value)
