"""Which files a walk leaves out: default names, .gitignore files, globs of the user.
Patterns are matched by pathspec; only the order of their files is ours."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pathspec import GitIgnoreSpec

from adampatch.errors import AdampatchError

# Directories that hold no code of the project, whatever .gitignore says. A PATH argument may name one,
# or lie in one: names are only looked at below the argument.
DEFAULT_EXCLUDES = frozenset(
    {
        ".adampatch",
        ".eggs",
        ".git",
        ".hg",
        ".ipynb_checkpoints",
        ".mypy_cache",
        ".nox",
        ".pytest_cache",
        ".ruff_cache",
        ".svn",
        ".tox",
        ".venv",
        "__pycache__",
        "build",
        "dist",
        "node_modules",
        "site-packages",
        "venv",
    }
)

_ENVIRONMENTS = frozenset({".nox", ".tox", ".venv", "venv"})


@dataclass(frozen=True)
class Layer:
    """Patterns, and the directory (with a trailing separator) that they are relative to."""

    base: str
    lines: tuple[str, ...]

    def verdict(self, path: str, is_directory: bool) -> bool | None:
        """True: left out; False: taken back in by a "!" pattern; None: not mentioned."""
        if not path.startswith(self.base):
            return None
        relative = path[len(self.base) :].replace(os.sep, "/")
        if _spec(self.lines).check_file(relative + "/" if is_directory else relative).include is None:
            return None
        # Something matches. Which line decides is asked line by line: see `_names`.
        for line in reversed(self.lines):
            if _names(line, relative, is_directory):
                return not line.startswith("!")
        return None


@functools.lru_cache(maxsize=4096)
def _spec(lines: tuple[str, ...]) -> GitIgnoreSpec:
    return GitIgnoreSpec.from_lines(lines)


def _names(line: str, relative: str, is_directory: bool) -> bool:
    """Whether a pattern names that path itself, as git means it.

    To pathspec a pattern also matches all that is below what it names, "a/**" matches "a/", and a "*"
    outweighs later lines. To git it does not: git asks for each directory on the way down and lets the last
    line win, and so do we. It matters where "!" is used.
    """
    pattern = line.removeprefix("!")
    if not _spec((pattern,)).check_file(relative + "/" if is_directory else relative).include:
        return False
    floating = pattern.startswith("**/") or "/" not in pattern.rstrip("/")
    ending = "/" if is_directory else ""
    if pattern.endswith("/**"):
        return bool(_spec((pattern,)).check_file(relative).include)
    while pattern.startswith("**/"):
        pattern = pattern[len("**/") :]
    components, path = pattern.strip("/").split("/"), relative.split("/")
    depth = len(components)
    if "**" in components:
        # "a/**/b" names whatever is called b below a, and that it is below a is known.
        last = components[-1] + ("/" if pattern.endswith("/") else "")
        return bool(_spec((last,)).check_file(path[-1] + ending).include)
    if depth > len(path) or (depth < len(path) and not floating):
        return False
    anchored = "/" + pattern.removeprefix("/")
    return bool(_spec((anchored,)).check_file("/".join(path[-depth:]) + ending).include)


def ignored(layers: Sequence[Layer], path: str, is_directory: bool) -> bool:
    """What git does: the deepest .gitignore that mentions the path decides."""
    for layer in reversed(layers):
        verdict = layer.verdict(path, is_directory)
        if verdict is not None:
            return verdict
    return False


def gitignore_layer(directory: Path) -> Layer | None:
    """The .gitignore of one directory; as git does, unreadable files and malformed lines are passed over."""
    try:
        text = (directory / ".gitignore").read_bytes().decode("utf-8", "surrogateescape")
    except OSError:
        return None
    return _layer(directory, text.removeprefix("\ufeff").split("\n"))


def layers_above(directory: Path, top: Path) -> list[Layer]:
    """The .gitignore files from `top` down to the parent of `directory`.

    Empty where they leave out `directory` itself: it was named, so what they say of it does not count.
    """
    above = [parent for parent in reversed(directory.parents) if parent == top or top in parent.parents]
    layers: list[Layer] = []
    for parent, child in zip(above, [*above, directory][1:], strict=True):
        layer = gitignore_layer(parent)
        if layer is not None:
            layers.append(layer)
        if ignored(layers, str(child), True):
            return []
    return layers


def glob_layer(base: Path, globs: Iterable[str], where: str | Path) -> Layer:
    """The user's own globs. Raises `AdampatchError`, at `where`, for one that is no glob."""
    cleaned = []
    for glob in globs:
        glob = glob.removeprefix("./")
        if not _is_pattern(glob):
            raise AdampatchError(where, f'"{glob}" is not a glob; write it as in .gitignore, e.g. "gen/**"')
        cleaned.append(glob)
    return _layer(base, cleaned)


def default_excludes(argument: Path) -> frozenset[str]:
    """The directory names left out below a PATH argument."""
    if _ENVIRONMENTS.intersection(argument.parts) or (argument / "pyvenv.cfg").exists():
        # Who names a virtual environment means the packages in it.
        return DEFAULT_EXCLUDES - {"site-packages"}
    return DEFAULT_EXCLUDES


def git_top(directory: Path) -> Path | None:
    """The nearest directory, upwards, that holds `.git`."""
    for candidate in (directory, *directory.parents):
        if (candidate / ".git").exists():
            return candidate
    return None


def with_separator(directory: Path) -> str:
    text = str(directory)
    return text if text.endswith(os.sep) else text + os.sep


def _layer(directory: Path, lines: Iterable[str]) -> Layer:
    stripped = (line if line.endswith("\\ ") else line.rstrip() for line in lines)
    return Layer(with_separator(directory), tuple(line for line in stripped if _is_pattern(line)))


def _is_pattern(line: str) -> bool:
    """False for malformed lines, and for blank ones and comments."""
    try:
        spec = GitIgnoreSpec.from_lines([line])
    except ValueError:
        return False
    return any(pattern.include is not None for pattern in spec.patterns)
