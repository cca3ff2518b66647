"""A verification in a file, carried from one machine to another: its cases, their numbers and verdicts.

What was drawn from a seed is carried as numbers, so that another NumPy trains on the same bits.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from adampatch.errors import AdampatchError
from adampatch.verify.cases import Case, Optimizer, numbers
from adampatch.verify.formats import Array
from adampatch.verify.judge import Verdict

_SCHEMA = "adampatch/verify-cases/1"


@dataclass(frozen=True)
class Carried:
    """What a file holds: rows as they were judged, by id the numbers of their cases, and where."""

    rows: list[tuple[Case, Verdict]]
    numbers: Mapping[str, Mapping[str, Array]]
    environment: dict[str, Any]

    def on(self, devices: list[str]) -> list[Case]:
        """The cases, on each of some devices; a device's name ends the id where it is no CPU."""
        plain = [case for case, _ in self.rows if case.device == "CPU:0"]
        return [_on(case, device) for device in devices for case in plain]

    def numbers_of(self, case: Case) -> Mapping[str, Array]:
        """Of a case of ``on``."""
        return self.numbers[case.id.removesuffix(f"/{case.device}")]


def _on(case: Case, device: str) -> Case:
    if device == "CPU:0":
        return case
    alike = case.bitwise and device.startswith("CPU")  # what a GPU contracts is its own choice
    return replace(case, device=device, id=f"{case.id}/{device}", bitwise=alike)


def export(path: Path, rows: list[tuple[Case, Verdict]], environment: dict[str, Any]) -> None:
    """Writes cases and verdicts to a file. Raises AdampatchError where it cannot be written."""
    kept = [(case, verdict) for case, verdict in rows if case.device == "CPU:0"]
    document = {
        "schema": _SCHEMA,
        "environment": environment,
        "rows": [{"case": asdict(case), "verdict": asdict(verdict)} for case, verdict in kept],
    }
    arrays = {"document": np.frombuffer(json.dumps(document).encode(), np.uint8)}
    for k, (case, _) in enumerate(kept):
        arrays |= {f"{k}/{name}": array for name, array in numbers(case).items()}
    try:
        with path.open("wb") as stream:
            np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
    except OSError as error:
        raise AdampatchError(path, f"cannot be written ({error.strerror}); name another file") from error


def replay(path: Path) -> Carried:
    """What ``export`` wrote. Raises AdampatchError for any other file."""
    try:
        if path.is_file() and not zipfile.is_zipfile(path):
            raise ValueError("it is no npz file")
        with np.load(path, allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
        document = json.loads(arrays.pop("document").tobytes())
        if document.get("schema") != _SCHEMA:
            raise ValueError(f"its schema is {document.get('schema')!r}, not {_SCHEMA!r}")
        rows = [(_case(row["case"]), Verdict(**row["verdict"])) for row in document["rows"]]
        by_id: dict[str, dict[str, Array]] = {case.id: {} for case, _ in rows}
        for name, array in arrays.items():
            k, _, rest = name.partition("/")
            by_id[rows[int(k)][0].id][rest] = array
        return Carried(rows, by_id, document["environment"])
    except OSError as error:
        raise AdampatchError(
            path, f"cannot be read ({error.strerror or error}); name a file of --export"
        ) from error
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
        EOFError,
        zipfile.BadZipFile,
    ) as error:
        raise AdampatchError(
            path, f"was not written by verify --export ({error}); export it again"
        ) from error


def _case(document: dict[str, Any]) -> Case:
    """A case from JSON, where tuples have become lists."""
    known = {field.name for field in fields(Case)}
    given = {name: value for name, value in document.items() if name in known}
    given["optimizer"] = Optimizer(**given["optimizer"])
    given["shapes"] = tuple(tuple(shape) for shape in given["shapes"])
    for name in ("bounds", "rates"):
        given[name] = None if given[name] is None else tuple(given[name])
    given["outside"], given["forms"] = (tuple(given.get(name, ())) for name in ("outside", "forms"))
    return Case(**given)
