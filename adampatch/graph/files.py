"""Graph files on disk: what they are, read whole, written beside the original or, on demand, in its place."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NamedTuple, Tuple

from adampatch.errors import AdampatchError
from adampatch.graph import textformat
from adampatch.graph.documents import GRAPHDEF, LARGEST, METAGRAPH, SAVED_MODEL, Document

_SAVED = "saved_model.pb"
_SAVED_TEXT = "saved_model.pbtxt"
#: says what a SavedModel's graph is, by a hash that no longer holds once it is patched
_FINGERPRINT = "fingerprint.pb"


class Source(NamedTuple):
    """A graph as the user names it: ``path``; ``file``: the file that holds it."""

    path: Path
    file: Path
    kind: str
    text: bool


def located(path: str) -> Source:
    """Which file holds the graph at a path, and what it should be. Raises AdampatchError."""
    given = Path(path)
    if given.is_dir():
        if (given / _SAVED).is_file():
            return Source(given, given / _SAVED, SAVED_MODEL, False)
        if (given / _SAVED_TEXT).is_file():
            raise AdampatchError(
                given / _SAVED_TEXT, "is a SavedModel in text form, which is not read; save it in binary form"
            )
        raise AdampatchError(path, f"is no SavedModel: there is no {_SAVED} in it; name one, or a graph file")
    if not given.exists():
        raise AdampatchError(
            path, "does not exist; name a .pb, .pbtxt or .meta file or a SavedModel directory"
        )
    if not given.is_file():
        raise AdampatchError(path, "is no file")
    if given.name == _SAVED:
        return Source(given.parent, given, SAVED_MODEL, False)
    text = given.suffix in (".pbtxt", ".prototxt", ".txt")
    return Source(given, given, METAGRAPH if given.suffix == ".meta" else GRAPHDEF, text)


def read(source: Source) -> Tuple[Document, bytes]:
    """The document of a file, and its bytes. Raises AdampatchError."""
    try:
        size = source.file.stat().st_size
        if size > LARGEST:
            raise AdampatchError(
                source.file,
                f"has {size / (1 << 30):.1f} GiB, and nothing over 2 GiB can be read, by TensorFlow either; "
                "keep large constants outside of the graph",
            )
        data = source.file.read_bytes()
    except OSError as error:
        raise AdampatchError(source.file, f"cannot be read ({error.strerror}); make it readable") from error
    return parsed(source, data), data


def parsed(source: Source, data: bytes) -> Document:
    """The document that the bytes of a file are. Raises AdampatchError."""
    if not data:
        raise AdampatchError(source.file, "is empty; give a file as TensorFlow wrote it")
    where = os.fspath(source.file)
    kind, text = source.kind, source.text
    if kind == METAGRAPH:
        text = _is_text(data)
    if text:
        try:
            first, _ = textformat.first_field(data)
        except textformat.NoText as error:
            raise AdampatchError(
                f"{where}:{error.line}", f"is no graph in text form: {error.words}"
            ) from error
        if first in ("meta_info_def", "graph_def", "saver_def", "collection_def"):
            kind = METAGRAPH
    return Document(kind, data, text, where)


def _is_text(data: bytes) -> bool:
    """Whether a meta graph is in text form: the binary form begins with the byte 10 or 18."""
    return data[:1] not in (b"\x0a", b"\x12", b"\x1a", b"\x22", b"\x2a")


def write_copy(source: Source, out: str, data: bytes) -> Path:
    """Writes a patched graph to another place; a SavedModel with all that belongs to it. Returns the file.

    Raises AdampatchError, also where the place is that of the original.
    """
    from adampatch.project.atomic import replace_file

    target = Path(out)
    if target.exists() and os.path.realpath(target) in (
        os.path.realpath(source.path),
        os.path.realpath(source.file),
    ):
        raise AdampatchError(out, "is the original, which is kept; name another OUT, or say --in-place")
    if source.kind != SAVED_MODEL:
        if target.is_dir():
            target = target / source.file.name
        replace_file(target, data)
        return target
    if target.exists():
        raise AdampatchError(out, "is there already; remove it, or name another OUT")
    if os.path.realpath(target).startswith(os.path.realpath(source.path) + os.sep):
        raise AdampatchError(out, "is inside of the SavedModel itself; name another OUT")
    temporary = target.with_name(f".{target.name}.adampatch-tmp")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.copytree(source.path, temporary, ignore=shutil.ignore_patterns(_FINGERPRINT, ".adampatch"))
        replace_file(temporary / source.file.name, data)
        os.replace(temporary, target)
    except OSError as error:
        raise AdampatchError(out, f"cannot be written ({error}); make its directory writable") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target / source.file.name


def write_in_place(source: Source, before: bytes, after: bytes) -> None:
    """Writes a patched graph in the place of the original, which is kept for `adampatch revert`."""
    from adampatch import __version__
    from adampatch.project.changes import Change, write_changes

    root = source.file.parent
    report = write_changes(root, [Change(source.file.name, before, after)], [], __version__)
    for _, reason in report.failed:
        raise AdampatchError(source.file, reason)
