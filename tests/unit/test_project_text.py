"""Reading source and writing it back: every byte of a file that is not changed must survive."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adampatch.errors import AdampatchError
from adampatch.project.text import SourceText, Unreadable

ENCODINGS = [
    "utf-8",
    "latin-1",
    "iso-8859-15",
    "cp1252",
    "koi8-r",
    "shift_jis",
    "gb18030",
    "utf-8-unix",
    "ascii",
]
NEWLINES = ["\n", "\r\n", "\r"]


SAMPLE = "ab #'\"\\~\t\x0b\x0c\x1c\x85\u2028éßøжЯ€Š漢字ｱ表\uffff😀"


def text_of(encoding: str) -> st.SearchStrategy[str]:
    """Any text of characters that the encoding has (a strategy over whole codecs takes a second to build)."""
    codec = "utf-8" if encoding == "utf-8-unix" else encoding
    known = [character for character in SAMPLE if character.encode(codec, "ignore")]
    return st.text(st.sampled_from(known), max_size=12)


@given(st.data(), st.sampled_from(ENCODINGS), st.sampled_from(["\n", "\r\n", "\r", "mixed"]), st.booleans())
def test_round_trip(data: st.DataObject, encoding: str, newline: str, last: bool) -> None:
    lines = [f"# -*- coding: {encoding} -*-", *data.draw(st.lists(text_of(encoding), max_size=6))]
    ends = [data.draw(st.sampled_from(NEWLINES)) if newline == "mixed" else newline for _ in lines]
    if not last:
        ends[-1] = ""
    codec = "utf-8" if encoding == "utf-8-unix" else encoding
    raw = "".join(line + end for line, end in zip(lines, ends, strict=True)).encode(codec)
    try:
        source = SourceText.from_bytes(raw)
    except Unreadable as error:
        # The codec itself gives other bytes back (Shift JIS has such pairs): refused, never damaged.
        assert "byte for byte" in error.reason or encoding == "shift_jis"
        return
    assert source.encode(source.text) == raw
    if not source.mixed:
        assert "\r" not in source.text


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60), st.booleans())
def test_any_utf8_text_round_trips(text: str, bom: bool) -> None:
    raw = (codecs.BOM_UTF8 if bom else b"") + ("x = 1\n\n" + text).encode()
    source = SourceText.from_bytes(raw)
    assert source.bom is bom
    assert source.encode(source.text) == raw


@given(st.binary(max_size=80))
def test_any_bytes_round_trip_or_are_unreadable(raw: bytes) -> None:
    try:
        source = SourceText.from_bytes(raw)
    except Unreadable:
        return
    assert source.encode(source.text) == raw


@pytest.mark.parametrize(
    ("raw", "text", "newline", "mixed"),
    [
        (b"", "", "\n", False),
        (b"x", "x", "\n", False),
        (b"a\nb\n", "a\nb\n", "\n", False),
        (b"a\r\nb", "a\nb", "\r\n", False),
        (b"a\rb\r", "a\nb\n", "\r", False),
        (b"a\r\nb\r\nc\n", "a\r\nb\r\nc\n", "\r\n", True),
        (b"\x0cimport a\n\x0c\n", "\x0cimport a\n\x0c\n", "\n", False),
        ("s = '\u2028 \x85 \x0b'\r\n".encode(), "s = '\u2028 \x85 \x0b'\n", "\r\n", False),
    ],
)
def test_newlines(raw: bytes, text: str, newline: str, mixed: bool) -> None:
    source = SourceText.from_bytes(raw)
    assert (source.text, source.newline, source.mixed) == (text, newline, mixed)


def test_new_lines_end_as_the_file_does() -> None:
    source = SourceText.from_bytes(codecs.BOM_UTF8 + b"a\r\nb\r\n")
    assert source.encode("a\nnew\nb\n") == codecs.BOM_UTF8 + b"a\r\nnew\r\nb\r\n"


@pytest.mark.parametrize(
    ("raw", "encoding", "text"),
    [
        (b"# coding: latin-1 \xe9\n", "iso-8859-1", "# coding: latin-1 é\n"),
        (b"# \xe9\n# coding=latin-1\n", "iso-8859-1", "# é\n# coding=latin-1\n"),
        (b"#!/x\r# coding: cp1252\r\x80", "cp1252", "#!/x\n# coding: cp1252\n€"),
        (b"\r\r# coding: latin-1\r", "utf-8", "\n\n# coding: latin-1\n"),
        (b"x = 1\n# coding: latin-1\n", "utf-8", "x = 1\n# coding: latin-1\n"),
        (codecs.BOM_UTF8 + b"# coding: utf8\n", "utf8", "# coding: utf8\n"),
    ],
)
def test_cookies(raw: bytes, encoding: str, text: str) -> None:
    source = SourceText.from_bytes(raw)
    assert (source.encoding, source.text) == (encoding, text)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"a\nb\0\n", "f.py:2: holds a NUL byte, so it is not Python source; left alone"),
        (
            b"a\r\rb = '\xe9'\r",
            "f.py:3: byte 0xe9 is not utf-8; save the file as UTF-8 or declare its encoding in a coding "
            "comment on line 1",
        ),
        (
            b"#!/x\n# coding: klingon\n",
            'f.py:2: the coding comment names an unknown encoding "klingon"; declare one that Python has',
        ),
        (
            codecs.BOM_UTF8 + b"# coding: latin-1\n",
            'f.py:1: the coding comment says "latin-1" but the file has a UTF-8 BOM; remove one of them',
        ),
    ],
)
def test_unreadable(raw: bytes, message: str) -> None:
    with pytest.raises(Unreadable) as caught:
        SourceText.from_bytes(raw, "f.py")
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "codec", ["hex", "rot13", "punycode", "utf-16", "utf-7", "undefined", "unicode_escape"]
)
def test_odd_codecs_are_unreadable_or_exact(codec: str) -> None:
    raw = f"# coding: {codec}\nx = 'a+b\\u1234'\n".encode()
    try:
        source = SourceText.from_bytes(raw)
    except Unreadable:
        return
    assert source.encode(source.text) == raw


def test_missing_file(tmp_path) -> None:
    with pytest.raises(Unreadable, match=r"cannot be read \(No such file or directory\)"):
        SourceText.read(tmp_path / "no.py")


def test_text_that_the_encoding_cannot_write() -> None:
    source = SourceText.from_bytes(b"# coding: latin-1\n")
    with pytest.raises(AdampatchError, match=r"the new text holds '€', which iso-8859-1 lacks"):
        source.encode("€")
