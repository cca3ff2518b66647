"""Outlines of files, kept from one scan to the next: one file for each root, in the user's cache directory.
Whatever goes wrong with it costs time and nothing else."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import adampatch
from adampatch.analysis.module import Module
from adampatch.analysis.outline import ClassOutline, Import, Outline
from adampatch.errors import AdampatchError
from adampatch.project.atomic import replace_file

#: fewer files are read faster than a cache
_MIN_FILES = 16
#: roots that were not scanned for so long, and more roots than that, are forgotten
_MAX_AGE = 30 * 24 * 3600
_MAX_ROOTS = 200
_PREFIX = "outlines-"


def cache_directory() -> Path | None:
    """The user's cache directory for adampatch, as the platform has it; None where there is no home."""
    variable = "LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME"
    given = Path(os.environ.get(variable, ""))
    if given.is_absolute():  # the XDG specification: a relative path is invalid and to be ignored
        return given / "adampatch"
    try:
        home = Path.home()
    except RuntimeError:
        return None
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "adampatch"


@dataclass
class Outlines:
    """What is known of files by the sha256 of their text. An outline follows from the text alone,
    the Python that parses it and the code that reads it, and the last two are in ``made_by``: one
    that is found here is the one that would be made."""

    path: Path | None = None
    made_by: str = ""
    _kept: dict[str, Any] = field(default_factory=dict)
    _used: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, directory: Path | None, root: Path, files: int) -> Outlines:
        """The outlines of the last scan of a root; none without a directory, or for a few files."""
        if directory is None or files < _MIN_FILES:
            return cls()
        name = hashlib.sha256(os.fsencode(root)).hexdigest()[:24]
        found = cls(directory / f"{_PREFIX}{name}.json", _made_by())
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            digest, _, body = found.path.read_bytes().partition(b"\n")  # type: ignore[union-attr]
            if digest == _digest(body):
                document = json.loads(body)
                found._kept = document["outlines"] if document["made_by"] == found.made_by else {}
        return found

    def parse(self, text: str, path: str, package: str) -> Module:
        """The module of a text, as `Module.parse`."""
        if self.path is None:
            return Module.parse(text, path, package)
        key = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        plain = self._kept.get(key)
        module = Module.parse(text, path, package, None if plain is None else _outline(plain))
        self._used[key] = _plain(module.outline) if plain is None else plain
        return module

    def save(self) -> None:
        """Keeps the outlines that were used, if there are others than before."""
        if self.path is None or self._used.keys() == self._kept.keys():
            return
        document = {"made_by": self.made_by, "outlines": self._used}
        body = json.dumps(document, separators=(",", ":")).encode("ascii")
        with contextlib.suppress(OSError, AdampatchError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self.path, _digest(body) + b"\n" + body)
            _forget(self.path.parent)


def _made_by() -> str:
    """What makes outlines: this Python, this version, the text of the code (it may be a work tree)."""
    package = Path(adampatch.__file__).parent
    digest = hashlib.sha256(f"{sys.version} {adampatch.__version__}".encode())
    for path in sorted((*package.glob("analysis/*.py"), *package.glob("algebra/*.py"), Path(__file__))):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode("ascii")


def _forget(directory: Path) -> None:
    """Removes what nobody has asked for in a long time."""
    ages = sorted((time.time() - path.stat().st_mtime, path) for path in directory.glob(f"{_PREFIX}*.json"))
    for number, (age, path) in enumerate(ages):
        if age > _MAX_AGE or number >= _MAX_ROOTS:
            path.unlink(missing_ok=True)


# ---------------------------------------------------------------------- as plain data


def _plain(outline: Outline) -> list[Any]:
    values = {f.name: getattr(outline, f.name) for f in fields(Outline)}
    for name in ("imports", "inner"):
        values[name] = [[i.module, i.level, i.names] for i in values[name]]
    values["every_class"] = [[c.name, c.bases, c.updates] for c in values["every_class"]]
    return list(values.values())


def _outline(plain: list[Any]) -> Outline:
    values = dict(zip((f.name for f in fields(Outline)), plain, strict=True))
    for name in ("imports", "inner"):
        values[name] = tuple(Import(module, level, _pairs(names)) for module, level, names in values[name])
    values["every_class"] = tuple(ClassOutline(n, _pairs(bases), u) for n, bases, u in values["every_class"])
    for name in ("strings", "functions", "classes", "alternatives", "ambiguous", "called"):
        values[name] = tuple(values[name])
    for name in ("getters", "containers"):
        values[name] = _pairs(values[name])
    values["assigned"] = {name: tuple(chain) for name, chain in values["assigned"].items()}
    return Outline(**values)


def _pairs(lists: Iterable[Iterable[Any]]) -> tuple[Any, ...]:
    return tuple(tuple(inner) for inner in lists)
