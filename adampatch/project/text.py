"""Source files as text and back, byte for byte: encoding, BOM and newlines.
Only reading and encoding live here; nothing here writes a file or parses Python."""

from __future__ import annotations

import codecs
import os
import re
from dataclasses import dataclass
from pathlib import Path

from adampatch.errors import AdampatchError

_NEWLINE = re.compile(rb"\r\n|\r|\n")
# PEP 263; `tokenize.detect_encoding` is not used because it takes a lone CR for part of the line and
# rejects a Latin-1 cookie line that itself holds a Latin-1 character, both of which Python accepts.
_COOKIE = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
# The longer ones first: UTF-32's starts as UTF-16's does.
_WIDE = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_BLANK = re.compile(rb"^[ \t\f]*(?:#|$)")


class Unreadable(AdampatchError):
    """A file that cannot be taken as Python source; it is reported and left alone."""

    @property
    def reason(self) -> str:
        return self.what


@dataclass(frozen=True)
class SourceText:
    """One source file, decoded so that `encode(text)` gives back the very bytes that were read.

    text: without the BOM. Where every line ends alike, lines end in "\\n" here and `newline` says how
        they end on disk; where they do not (`mixed`), the text keeps each ending as it is.
    newline: "\\n", "\\r\\n" or "\\r", the most frequent one.
    """

    path: Path
    data: bytes
    text: str
    encoding: str
    bom: bool
    newline: str
    mixed: bool

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> SourceText:
        """Reads a file. Raises `Unreadable` where it cannot be opened, or as `from_bytes` does."""
        path = Path(path)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise Unreadable(
                path, f"cannot be read ({error.strerror}); check that it is a readable file"
            ) from error
        return cls.from_bytes(data, path)

    @classmethod
    def from_bytes(cls, data: bytes, path: str | os.PathLike[str] = "<bytes>") -> SourceText:
        """Decodes `data`; `path` is only for messages.

        Raises `Unreadable`, with the line where there is one: NUL bytes, an unknown coding cookie, bytes
        that are not of the encoding, or an encoding that would not give the same bytes back.
        """
        path = Path(path)
        for start, name in _WIDE:
            if data.startswith(start):
                raise Unreadable(path, f"is {name}, which Python does not read; save it as UTF-8")
        nul = data.find(b"\0")
        if nul >= 0:
            raise Unreadable(_at(path, data, nul), "holds a NUL byte, so it is not Python source; left alone")
        bom = data.startswith(codecs.BOM_UTF8)
        body = data[len(codecs.BOM_UTF8) :] if bom else data
        encoding = _encoding(path, body, bom)
        try:
            exact = body.decode(encoding)
            same = exact.encode(encoding) == body
        except UnicodeDecodeError as error:
            # `start` counts in what the codec saw, which for every codec met so far is `body`.
            raise Unreadable(
                _at(path, body, error.start),
                f"byte 0x{body[error.start]:02x} is not {encoding}; save the file as UTF-8 or declare "
                "its encoding in a coding comment on line 1",
            ) from error
        except (UnicodeError, LookupError) as error:
            raise Unreadable(
                path, f"cannot be read as {encoding} ({error}); declare a text encoding such as utf-8"
            ) from error
        if not same:
            raise Unreadable(
                path,
                f"would not be written back byte for byte in its encoding {encoding}; save it as UTF-8",
            )
        text, newline, mixed = normalise(exact)
        return cls(path, data, text, encoding, bom, newline, mixed)

    def place(self, line: int) -> tuple[int | None, int]:
        """(None, line): where a line of `text` is; a notebook has a cell there."""
        return None, line

    def encode(self, new_text: str) -> bytes:
        """The bytes of `new_text` with this file's BOM, encoding and newlines.

        Raises `AdampatchError` where a character does not exist in the file's encoding.
        """
        if not self.mixed and self.newline != "\n":
            new_text = new_text.replace("\n", self.newline)
        try:
            body = new_text.encode(self.encoding)
        except UnicodeEncodeError as error:
            character = new_text[error.start]
            raise AdampatchError(
                self.path,
                f"the new text holds {character!r}, which {self.encoding} lacks; save the file as UTF-8",
            ) from error
        return codecs.BOM_UTF8 + body if self.bom else body


def normalise(exact: str) -> tuple[str, str, bool]:
    """(text, newline, mixed) of a decoded file."""
    crlf = exact.count("\r\n")
    counts = {"\n": exact.count("\n") - crlf, "\r\n": crlf, "\r": exact.count("\r") - crlf}
    present = [newline for newline, count in counts.items() if count]
    if not present:
        return exact, "\n", False
    newline = max(present, key=lambda candidate: counts[candidate])
    if len(present) > 1:
        return exact, newline, True
    return exact.replace(newline, "\n"), newline, False


def _encoding(path: Path, body: bytes, bom: bool) -> str:
    """The encoding that Python would use, as the name of a codec that exists."""
    for number, line in enumerate(_NEWLINE.split(body, maxsplit=2)[:2], start=1):
        found = _COOKIE.match(line)
        if found:
            given = found.group(1).decode("ascii", "replace")
            name = _canonical(given)
            where = f"{path}:{number}"
            try:
                codec = codecs.lookup(name)
            except (LookupError, ValueError) as error:
                raise Unreadable(
                    where,
                    f'the coding comment names an unknown encoding "{given}"; declare one that Python has',
                ) from error
            if bom and codec.name != "utf-8":
                raise Unreadable(
                    where,
                    f'the coding comment says "{given}" but the file has a UTF-8 BOM; remove one of them',
                )
            return name
        if not _BLANK.match(line):
            break
    return "utf-8"


def _canonical(name: str) -> str:
    """Python's own short list of aliases (Emacs writes "utf-8-unix", which is no codec's name)."""
    start = name[:12].lower().replace("_", "-")
    if start == "utf-8" or start.startswith("utf-8-"):
        return "utf-8"
    for latin in ("latin-1", "iso-8859-1", "iso-latin-1"):
        if start == latin or start.startswith(latin + "-"):
            return "iso-8859-1"
    return name


def _at(path: Path, data: bytes, offset: int) -> str:
    return f"{path}:{len(_NEWLINE.findall(data, 0, offset)) + 1}"
