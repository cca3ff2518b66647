"""`[tool.adampatch]` in pyproject.toml: which file, which settings, and what is wrong with them.
A new setting is one line in SETTINGS and one field of `Settings`."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adampatch.errors import AdampatchError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# name -> what its value must be, in words
SETTINGS = {
    "exclude": 'a list of globs, such as ["generated/**"]',
    "tensorflow": 'a version in quotes, such as "2.10"',
    "verify": "a table: seconds, memory (in GiB), and tables arguments.CLASS of constructor arguments",
}
_VERIFY = ("seconds", "memory", "arguments")


@dataclass(frozen=True)
class Settings:
    """exclude: globs relative to `base`; tensorflow: the version the project runs on, or None;
    verify: what `verify` is told of the project, see SETTINGS.

    base: the directory of the pyproject.toml that was read, or the root where there is none.
    """

    base: Path
    exclude: tuple[str, ...] = ()
    tensorflow: str | None = None
    verify: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, root: Path, top: Path | None = None) -> Settings:
        """Reads the nearest pyproject.toml from `root` up to `top` (default: `root` alone).

        Raises `AdampatchError` with PATH:LINE where it is not TOML or a setting is not known or ill-typed.
        """
        for directory in (root, *root.parents):
            path = directory / "pyproject.toml"
            if path.is_file():
                return _parse(path)
            if top is None or directory == top:
                break
        return cls(root)


def _parse(path: Path) -> Settings:
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise AdampatchError(path, f"cannot be read ({error.strerror}); make it readable") from error
    except UnicodeDecodeError as error:
        raise AdampatchError(path, "is not UTF-8, which TOML must be; save it as UTF-8") from error
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"at line (\d+)", str(error))
        line = int(found.group(1)) if found else text.count("\n") + 1
        said = re.sub(r"\s*\(at [^)]*\)$", "", str(error))
        raise AdampatchError(
            f"{path}:{line}", f"is not valid TOML: {said}; correct it and run again"
        ) from error
    tool = document.get("tool")
    table = tool.get("adampatch", {}) if isinstance(tool, dict) else {}
    if not isinstance(table, dict):
        raise AdampatchError(
            _at(path, text, "adampatch"), "adampatch must be a table; write [tool.adampatch]"
        )
    for key in table:
        if key not in SETTINGS:
            near = difflib.get_close_matches(key, SETTINGS, 1)
            hint = f'did you mean "{near[0]}"?' if near else f"known are {', '.join(SETTINGS)}"
            raise AdampatchError(_at(path, text, key), f'unknown setting "{key}" in [tool.adampatch]; {hint}')
    exclude = table.get("exclude", [])
    if not isinstance(exclude, list) or not all(isinstance(glob, str) and glob for glob in exclude):
        raise AdampatchError(_at(path, text, "exclude"), f"exclude must be {SETTINGS['exclude']}")
    tensorflow = table.get("tensorflow")
    if tensorflow is not None and not (isinstance(tensorflow, str) and re.match(r"\d+(\.\d+)*$", tensorflow)):
        raise AdampatchError(_at(path, text, "tensorflow"), f"tensorflow must be {SETTINGS['tensorflow']}")
    verify = table.get("verify", {})
    if not _is_verify(verify):
        raise AdampatchError(_at(path, text, "verify"), f"verify must be {SETTINGS['verify']}")
    return Settings(path.parent, tuple(exclude), tensorflow, verify)


def _is_verify(table: Any) -> bool:
    if not isinstance(table, dict) or set(table) - set(_VERIFY):
        return False
    numbers = (table.get(name, 1) for name in ("seconds", "memory"))
    arguments = table.get("arguments", {})
    return (
        all(isinstance(n, (int, float)) and not isinstance(n, bool) and n > 0 for n in numbers)
        and isinstance(arguments, dict)
        and all(isinstance(given, dict) for given in arguments.values())
    )


def _at(path: Path, text: str, key: str) -> str:
    """PATH:LINE of `key` below [tool.adampatch], or just PATH where it is spelled some other way."""
    inside = False
    for number, line in enumerate(text.split("\n"), start=1):
        if re.match(r"\s*\[", line) and not re.match(r"\s*\[\s*tool\s*\.\s*adampatch\s*\]", line):
            inside = False
        elif re.match(r"\s*\[", line):
            inside = True
        elif inside and re.match(rf"""\s*["']?{re.escape(key)}["']?\s*[=.]""", line):
            return f"{path}:{number}"
    return str(path)
