"""From PATH arguments to the list of files to look at, in a fixed order.
Names and links only: what a file holds is looked at solely to keep silent about files without Adam."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from adampatch.errors import AdampatchError
from adampatch.project.ignoring import (
    Layer,
    default_excludes,
    git_top,
    gitignore_layer,
    glob_layer,
    ignored,
    layers_above,
    with_separator,
)
from adampatch.project.prefilter import mentions_adam
from adampatch.project.settings import Settings

PYTHON_SUFFIXES = (".py", ".pyw")
NOTEBOOK_SUFFIX = ".ipynb"
LINK_REASON = "is a symbolic link that leaves the root; name its target itself"


@dataclass(frozen=True)
class Source:
    """A Python file or a notebook: its absolute path, and its path from the root with "/"."""

    path: Path
    relative: str

    @property
    def is_notebook(self) -> bool:
        return self.relative.endswith(NOTEBOOK_SUFFIX)


@dataclass(frozen=True)
class Skipped:
    """Something that was left alone although it may matter; `path` is relative to the root, with "/".

    unreadable: it holds, or may hold, Adam code that could not be read.
    """

    path: str
    reason: str
    unreadable: bool = False


@dataclass(frozen=True)
class Discovery:
    """root: absolute; sources and skipped: sorted by relative path, each file once."""

    root: Path
    sources: list[Source]
    skipped: list[Skipped]
    settings: Settings


def discover(paths: Sequence[str | os.PathLike[str]], exclude: Sequence[str] = ()) -> Discovery:
    """Finds the Python files and notebooks below `paths`.

    A file given by name is always taken. Below a directory, what .gitignore files (up to the top of the
    git work tree), `exclude` (globs relative to the root), `[tool.adampatch] exclude` and the default
    names leave out is left out, and symbolic links to directories are not followed.

    Raises `AdampatchError` for a path that does not exist or is no Python file, a glob that is none, or
    settings that cannot be read.
    """
    arguments = [Path(os.path.abspath(path)) for path in paths]
    for given, argument in zip(paths, arguments, strict=True):
        try:
            _check_argument(given, argument)
        except OSError as error:
            raise AdampatchError(
                given, f"cannot be looked at ({error.strerror}); make the directories above it readable"
            ) from error
    if not arguments:
        raise AdampatchError(None, "no PATH was given; name a file or a directory")
    root = Path(os.path.commonpath([path if path.is_dir() else path.parent for path in arguments]))
    top = git_top(root)
    settings = Settings.load(root, top)
    excludes = [
        glob_layer(root, exclude, "--exclude"),
        glob_layer(settings.base, settings.exclude, settings.base / "pyproject.toml"),
    ]
    search = _Search(root, os.path.realpath(root), excludes)
    for argument in arguments:
        if argument.is_dir():
            search.walk(argument, top or root)
        else:
            search.take(str(argument), argument.is_symlink())
    return search.result(settings)


def _check_argument(given: str | os.PathLike[str], path: Path) -> None:
    if path.is_dir():
        try:
            os.scandir(path).close()
        except OSError as error:
            raise AdampatchError(given, f"cannot be listed ({error.strerror}); make it readable") from error
    elif not path.exists():
        raise AdampatchError(given, "does not exist; name a Python file or a directory")
    elif not path.is_file():
        raise AdampatchError(given, "is not a regular file; name a Python file or a directory")
    elif path.suffix not in (*PYTHON_SUFFIXES, NOTEBOOK_SUFFIX) and not _is_script(path):
        raise AdampatchError(given, "is not a Python file; name a .py or .ipynb file, or a directory")


def _is_script(path: Path) -> bool:
    if path.suffix:
        return False
    try:
        with path.open("rb") as file:
            first = file.readline(200)
    except OSError:
        return False
    return first.startswith(b"#!") and b"python" in first


@dataclass
class _Search:
    root: Path
    real_root: str
    excludes: list[Layer]
    # relative path -> file, links kept apart: a link to a file that is found anyway is left alone
    files: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def walk(self, argument: Path, top: Path) -> None:
        names = default_excludes(argument)
        pending: list[tuple[Path, list[Layer]]] = [(argument, layers_above(argument, top))]
        while pending:
            directory, layers = pending.pop()
            own = gitignore_layer(directory)
            layers = layers if own is None else [*layers, own]
            try:
                with os.scandir(directory) as scan:
                    entries = list(scan)
            except OSError as error:
                self.skipped[self._relative(str(directory))] = f"cannot be listed ({error.strerror})"
                continue
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if entry.name in names or self._left_out(layers, entry.path, True):
                        continue
                    # A virtual environment under any name.
                    if not os.path.exists(os.path.join(entry.path, "pyvenv.cfg")):
                        pending.append((Path(entry.path), layers))
                elif (
                    entry.name.endswith((*PYTHON_SUFFIXES, NOTEBOOK_SUFFIX))
                    and _is_file(entry)
                    and not self._left_out(layers, entry.path, False)
                ):
                    self.take(entry.path, entry.is_symlink())

    def take(self, path: str, is_link: bool) -> None:
        relative = self._relative(path)
        if not is_link:
            self.files[relative] = path
        elif not os.path.realpath(path).startswith(with_separator(Path(self.real_root))):
            if _mentions_adam(path):
                self.skipped[relative] = LINK_REASON
        else:
            self.links[relative] = path

    def result(self, settings: Settings) -> Discovery:
        taken = {os.path.realpath(path): relative for relative, path in self.files.items()}
        for relative, path in sorted(self.links.items()):
            real = os.path.realpath(path)
            if real not in taken:
                taken[real] = relative
                self.files[relative] = path
        return Discovery(
            self.root,
            [Source(Path(path), relative) for relative, path in sorted(self.files.items())],
            [
                Skipped(relative, reason, reason != LINK_REASON)
                for relative, reason in sorted(self.skipped.items())
            ],
            settings,
        )

    def _left_out(self, layers: list[Layer], path: str, is_directory: bool) -> bool:
        if any(layer.verdict(path, is_directory) for layer in self.excludes):
            return True
        return ignored(layers, path, is_directory)

    def _relative(self, path: str) -> str:
        return os.path.relpath(path, self.root).replace(os.sep, "/")


def _is_file(entry: os.DirEntry[str]) -> bool:
    """False for pipes and sockets, links to directories and dangling links."""
    try:
        return entry.is_file()
    except OSError:  # a link to itself
        return False


def _mentions_adam(path: str) -> bool:
    try:
        return mentions_adam(Path(path).read_bytes())
    except OSError:
        return True
