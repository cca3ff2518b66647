"""The text form of graphs and meta graphs (.pbtxt): text to bytes and back.

Comments and spacing are not kept; everything else is.
"""

from __future__ import annotations

import re
import struct
from typing import Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from adampatch.graph import wire
from adampatch.graph.schema import ENUMS, MESSAGES, Field

_TOKEN = re.compile(
    rb"""(?P<space>[ \t\r\n\f\v]+|\#[^\n]*)
    |(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    |(?P<number>[-+]?(?:0[xX][0-9a-fA-F]+|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)[fF]?)
    |(?P<word>-?[A-Za-z_][A-Za-z0-9_]*)
    |(?P<mark>[{}<>\[\]:;,./])""",
    re.VERBOSE,
)
_ESCAPES = {
    b"n": 10,
    b"r": 13,
    b"t": 9,
    b"a": 7,
    b"b": 8,
    b"f": 12,
    b"v": 11,
    b"\\": 92,
    b"'": 39,
    b'"': 34,
    b"?": 63,
}
_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|(.))", re.DOTALL)
#: what a message that stands for itself may be nested in
_DEEPEST = 90


class NoText(ValueError):
    """The text is no message; ``line`` counts from 1."""

    def __init__(self, line: int, words: str) -> None:
        super().__init__(words)
        self.line, self.words = line, words


class _Token(NamedTuple):
    kind: str
    text: bytes
    at: int


def parse(text: bytes, message: str) -> bytes:
    """The wire form of a message in text form. Raises NoText."""
    parser = _Parser(text)
    return parser.message(message, b"", 0)


class _Parser:
    def __init__(self, text: bytes) -> None:
        self.text = text
        self._scan = 0
        self._ahead: Optional[_Token] = None

    def fail(self, words: str, at: Optional[int] = None) -> NoText:
        at = self._scan if at is None else at
        return NoText(self.text.count(b"\n", 0, at) + 1, words)

    def peek(self) -> Optional[_Token]:
        while self._ahead is None and self._scan < len(self.text):
            found = _TOKEN.match(self.text, self._scan)
            if found is None:
                raise self.fail(
                    "{!r} belongs to nothing".format(self.text[self._scan : self._scan + 1].decode("latin-1"))
                )
            self._scan = found.end()
            if found.lastgroup != "space":
                self._ahead = _Token(str(found.lastgroup), found.group(), found.start())
        return self._ahead

    def next(self) -> _Token:
        token = self.peek()
        if token is None:
            raise self.fail("the text ends too early")
        self._ahead = None
        return token

    def is_mark(self, *marks: bytes) -> bool:
        token = self.peek()
        return token is not None and token.kind == "mark" and token.text in marks

    def message(self, name: str, end: bytes, depth: int) -> bytes:
        if depth > _DEEPEST:
            raise self.fail("messages are nested too deeply")
        fields, parts = MESSAGES[name], []  # type: ignore[var-annotated]
        while True:
            if self.peek() is None:
                if end:
                    raise self.fail(f"a {name} is not closed")
                return b"".join(parts)
            if end and self.is_mark(end):
                self.next()
                return b"".join(parts)
            token = self.next()
            field = fields.get(token.text.decode("latin-1")) if token.kind == "word" else None
            if field is None:
                words = "{} is no field of a {} that adampatch knows".format(
                    token.text.decode("latin-1"), name
                )
                raise self.fail(words, token.at)
            parts.append(self.field(field, depth))
            if self.is_mark(b";", b","):
                self.next()

    def field(self, field: Field, depth: int) -> bytes:
        colon = self.is_mark(b":")
        if colon:
            self.next()
        if self.is_mark(b"["):
            self.next()
            parts = []
            while not self.is_mark(b"]"):
                parts.append(self.value(field, depth, True))
                if self.is_mark(b","):
                    self.next()
            self.next()
            return b"".join(parts)
        return self.value(field, depth, colon)

    def value(self, field: Field, depth: int, colon: bool) -> bytes:
        if field.kind[0].isupper():
            opening = self.next()
            if opening.text not in (b"{", b"<"):
                raise self.fail(f"{field.name} wants a message in braces", opening.at)
            inner = self.message(field.kind, b"}" if opening.text == b"{" else b">", depth + 1)
            return wire.field(field.number, wire.BYTES, inner)
        token = self.next()
        if not colon:
            raise self.fail(f"a colon is missing behind {field.name}", token.at)
        if field.kind in ("string", "bytes"):
            if token.kind != "string":
                raise self.fail(f"{field.name} wants a string", token.at)
            data = _unescaped(token.text)
            ahead = self.peek()
            while ahead is not None and ahead.kind == "string":
                data += _unescaped(self.next().text)
                ahead = self.peek()
            return wire.field(field.number, wire.BYTES, data)
        try:
            return _scalar(field, token)
        except (ValueError, OverflowError, struct.error):
            words = "{!r} is no value of {}".format(token.text.decode("latin-1"), field.name)
            raise self.fail(words, token.at) from None


def _scalar(field: Field, token: _Token) -> bytes:
    said = token.text.decode("latin-1")
    if field.kind == "bool":
        known = {"true": 1, "True": 1, "t": 1, "1": 1, "false": 0, "False": 0, "f": 0, "0": 0}
        if said not in known:
            raise ValueError
        return wire.number(field.number, known[said])
    if field.kind.startswith("enum "):
        names = ENUMS[field.kind[5:]]
        return wire.number(field.number, names[said] if said in names else int(said, 0))
    if field.kind in ("float", "double"):
        value = float(said.rstrip("fF") if token.kind == "number" and "x" not in said else said)
        if field.kind == "float":
            with np.errstate(over="ignore"):
                return wire.field(field.number, wire.FIXED32, np.array(value, "<f4").tobytes())
        return wire.field(field.number, wire.FIXED64, struct.pack("<d", value))
    number = int(said, 8) if re.match(r"0[0-7]+$", said) else int(said, 0)
    if not -(1 << 63) <= number < 1 << 64:
        raise ValueError
    if field.kind == "fixed64":
        return wire.field(field.number, wire.FIXED64, struct.pack("<Q", number))
    return wire.number(field.number, number)


def _unescaped(token: bytes) -> bytes:
    def one(found) -> bytes:  # type: ignore[no-untyped-def]
        octal, hexadecimal, other = found.groups()
        if octal:
            return bytes([int(octal, 8) & 255])
        if hexadecimal:
            return bytes([int(hexadecimal, 16)])
        return bytes([_ESCAPES[other]]) if other in _ESCAPES else bytes(other)

    return _ESCAPE.sub(one, token[1:-1])


def printed(data: bytes, message: str) -> str:
    """The text form of a message. Raises Malformed, and NoText where it holds what the text form of
    adampatch has no name for."""
    out: List[str] = []
    _print(data, message, "", out)
    return "\n".join(out) + ("\n" if out else "")


def _print(data: bytes, message: str, indent: str, out: List[str]) -> None:
    names = _by_number(message)
    for number, kind, value in wire.fields(data):
        field = names.get(number)
        if field is None:
            raise NoText(0, f"it holds field {number} of a {message}, which only the binary form can")
        if field.kind[0].isupper():
            assert isinstance(value, bytes)
            out.append(f"{indent}{field.name} {{")
            _print(value, field.kind, indent + "  ", out)
            out.append(indent + "}")
        elif field.kind in ("string", "bytes"):
            assert isinstance(value, bytes)
            out.append(f'{indent}{field.name}: "{_escaped(value)}"')
        else:
            out += [f"{indent}{field.name}: {each}" for each in _numbers(field, kind, value)]


_KNOWN: Dict[str, Dict[int, Field]] = {}


def _by_number(message: str) -> Dict[int, Field]:
    if message not in _KNOWN:
        _KNOWN[message] = {field.number: field for field in MESSAGES[message].values()}
    return _KNOWN[message]


def _numbers(field: Field, kind: int, value: wire.Value) -> List[str]:
    """The values of a number's field, of a packed one all."""
    if field.kind in ("float", "double", "fixed64"):
        code, size = {"float": ("<f4", 4), "double": ("<f8", 8), "fixed64": ("<u8", 8)}[field.kind]
        assert isinstance(value, bytes)
        if len(value) % size:
            raise wire.Malformed("a packed field of a broken length")
        return [str(item) for item in np.frombuffer(value, code)]
    values: List[int] = []
    if isinstance(value, int):
        values.append(value)
    else:
        at = 0
        while at < len(value):
            item, at = wire.read_varint(value, at)
            values.append(item)
    return [_number(field, item) for item in values]


def _number(field: Field, value: int) -> str:
    if field.kind == "bool":
        return "true" if value else "false"
    if field.kind == "uint":
        return str(value)
    if field.kind.startswith("enum "):
        return _ENUM_NAMES[field.kind[5:]].get(value, str(wire.signed(value)))
    return str(wire.signed(value))


_ENUM_NAMES = {enum: {number: name for name, number in names.items()} for enum, names in ENUMS.items()}
_PLAIN = {34: '\\"', 92: "\\\\", 10: "\\n", 13: "\\r", 9: "\\t", 39: "\\'"}


def _escaped(value: bytes) -> str:
    return "".join(_PLAIN[c] if c in _PLAIN else chr(c) if 32 <= c < 127 else f"\\{c:03o}" for c in value)


def first_field(text: bytes) -> Tuple[str, int]:
    """(name of the first field, its line): what tells a graph from a meta graph. Raises NoText."""
    parser = _Parser(text)
    token = parser.peek()
    if token is None:
        raise NoText(1, "the file is empty")
    return token.text.decode("latin-1"), parser.text.count(b"\n", 0, token.at) + 1
