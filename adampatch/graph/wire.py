"""The wire format of protocol buffers: fields in, fields out, what is not known kept as it is.

A message is its list of fields in the order in which they stand, so that writing back what was
read gives the same bytes, whatever version of TensorFlow wrote them.
"""

from __future__ import annotations

import struct
from typing import Iterator, List, Optional, Tuple, Union

Value = Union[int, bytes]
#: (number, wire type, value): an int for VARINT, the bytes themselves for all others
Field = Tuple[int, int, Value]

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class Malformed(ValueError):
    """The bytes are no message; the words say why."""


def read_varint(data: bytes, at: int) -> Tuple[int, int]:
    """(value, where the next byte is). Raises Malformed."""
    result = shift = 0
    try:
        while True:
            byte = data[at]
            at += 1
            result |= (byte & 0x7F) << shift
            if byte < 0x80:
                return result, at
            shift += 7
            if shift > 63:
                raise Malformed("a number of more than 64 bits")
    except IndexError:
        raise Malformed("the data end in the middle of a number") from None


def varint(value: int) -> bytes:
    """A number as the format writes it; negative ones take ten bytes."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def signed(value: int) -> int:
    """A VARINT as the int64 that it stands for."""
    return value - (1 << 64) if value >= 1 << 63 else value


def fields(data: bytes) -> Iterator[Field]:
    """The fields of a message, in order. Raises Malformed."""
    at, end = 0, len(data)
    while at < end:
        tag, at = read_varint(data, at)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise Malformed("a field without a number")
        if wire == VARINT:
            value, at = read_varint(data, at)
            yield number, wire, value
            continue
        if wire == BYTES:
            size, at = read_varint(data, at)
        elif wire in (FIXED32, FIXED64):
            size = 4 if wire == FIXED32 else 8
        else:
            raise Malformed(f"a field of wire type {wire}")
        if at + size > end:
            raise Malformed("the data end in the middle of a field")
        yield number, wire, data[at : at + size]
        at += size


def field(number: int, wire: int, value: Value) -> bytes:
    """One field as bytes."""
    tag = varint(number << 3 | wire)
    if wire == VARINT:
        assert isinstance(value, int)
        return tag + varint(value)
    assert isinstance(value, (bytes, bytearray))
    return tag + (varint(len(value)) if wire == BYTES else b"") + value


def text(number: int, value: str) -> bytes:
    """A field that holds a string."""
    return field(number, BYTES, value.encode("utf-8"))


def number(number: int, value: int) -> bytes:
    """A field that holds an integer, a bool or an enum."""
    return field(number, VARINT, value)


def message(number: int, *parts: bytes) -> bytes:
    """A field that holds a message made of the given fields."""
    return field(number, BYTES, b"".join(parts))


def float32(number: int, value: float) -> bytes:
    return field(number, FIXED32, struct.pack("<f", value))


class Message:
    """A message that can be changed: its fields, in order."""

    __slots__ = ("fields",)

    def __init__(self, data: bytes = b"") -> None:
        self.fields: List[Field] = list(fields(data))

    def serialized(self) -> bytes:
        return b"".join([field(*entry) for entry in self.fields])

    def all(self, number: int) -> List[bytes]:
        """The values of a repeated field of strings or messages."""
        return [value for n, wire, value in self.fields if n == number and isinstance(value, bytes)]

    def one(self, number: int) -> Optional[bytes]:
        """The value of a field of a string or message; None where there is none. The last counts."""
        found = self.all(number)
        return found[-1] if found else None

    def string(self, number: int) -> str:
        return (self.one(number) or b"").decode("utf-8", "surrogateescape")

    def integer(self, number: int) -> int:
        """The value of an integer field, 0 where there is none."""
        found = 0
        for n, _wire, value in self.fields:
            if n == number and isinstance(value, int):
                found = value
        return signed(found)

    def integers(self, number: int) -> List[int]:
        """The values of a repeated integer field, packed or not."""
        found: List[int] = []
        for n, _wire, value in self.fields:
            if n != number:
                continue
            if isinstance(value, int):
                found.append(signed(value))
                continue
            at = 0
            while at < len(value):
                item, at = read_varint(value, at)
                found.append(signed(item))
        return found

    def add(self, number: int, value: Value) -> None:
        """Adds a string, message or integer behind the last field of that number."""
        wire = VARINT if isinstance(value, int) else BYTES
        places = [i for i, entry in enumerate(self.fields) if entry[0] == number]
        self.fields.insert(places[-1] + 1 if places else len(self.fields), (number, wire, value))

    def put(self, number: int, value: Value) -> None:
        """Sets a field that is not repeated."""
        wire = VARINT if isinstance(value, int) else BYTES
        for i, entry in enumerate(self.fields):
            if entry[0] == number:
                self.fields[i] = (number, wire, value)
                return
        self.fields.append((number, wire, value))

    def replace_all(self, number: int, values: List[bytes]) -> None:
        """Sets a repeated field, where it stood."""
        places = [i for i, entry in enumerate(self.fields) if entry[0] == number]
        first = places[0] if places else len(self.fields)
        kept_before = [e for e in self.fields[:first] if e[0] != number]
        kept_after = [e for e in self.fields[first:] if e[0] != number]
        self.fields = kept_before + [(number, BYTES, value) for value in values] + kept_after


def entries(message: Message, number: int) -> List[Tuple[bytes, bytes]]:
    """(key, value) of a map field whose keys are strings."""
    found = []
    for raw in message.all(number):
        entry = Message(raw)
        found.append((entry.one(1) or b"", entry.one(2) or b""))
    return found


def entry(key: Union[str, bytes], value: bytes) -> bytes:
    """One entry of a map field whose keys are strings."""
    key = key.encode("utf-8") if isinstance(key, str) else key
    return field(1, BYTES, key) + field(2, BYTES, value)
