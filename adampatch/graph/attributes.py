"""AttrValue and TensorProto: what is in an attribute, and attributes to write."""

from __future__ import annotations

import struct
from typing import Any, List, Optional

import numpy as np

from adampatch.graph import wire
from adampatch.graph.wire import Message

#: numbers of DataType
FLOAT, DOUBLE, INT32, STRING, INT64, BOOL, BFLOAT16, HALF, RESOURCE = 1, 2, 3, 7, 9, 10, 14, 19, 20
#: DataType of a reference: that of the value and this
REFERENCE = 100
_NUMPY = {
    FLOAT: "<f4",
    DOUBLE: "<f8",
    INT32: "<i4",
    INT64: "<i8",
    BOOL: "?",
    HALF: "<f2",
    17: "<u2",
    4: "u1",
    5: "<i2",
    6: "i1",
}
#: the field of TensorProto that holds the values of a type, where they are not in tensor_content
_VALUES = {
    FLOAT: 5,
    DOUBLE: 6,
    INT32: 7,
    INT64: 10,
    BOOL: 11,
    HALF: 13,
    BFLOAT16: 13,
    17: 7,
    4: 7,
    5: 7,
    6: 7,
}
NAMES = {FLOAT: "float32", DOUBLE: "float64", HALF: "float16", BFLOAT16: "bfloat16", BOOL: "bool"}
FLOATING = (FLOAT, DOUBLE, HALF, BFLOAT16)


def dtype(number: int) -> bytes:
    return wire.number(6, number)


def boolean(value: bool) -> bytes:
    return wire.number(5, int(value))


def integer(value: int) -> bytes:
    return wire.number(3, value)


def types(numbers: List[int]) -> bytes:
    """A list of types."""
    return wire.message(1, wire.field(6, wire.BYTES, b"".join(wire.varint(n) for n in numbers)))


def read_dtype(value: Optional[bytes]) -> int:
    """The DataType of an attribute, a reference's as that of its value; 0 where there is none."""
    number = Message(value).integer(6) if value else 0
    return number - REFERENCE if number > REFERENCE else number


def read_types(value: Optional[bytes]) -> List[int]:
    return Message(Message(value or b"").one(1) or b"").integers(6)


def read_boolean(value: Optional[bytes]) -> bool:
    return bool(value) and bool(Message(value or b"").integer(5))


def read_string(value: Optional[bytes]) -> str:
    return Message(value or b"").string(2)


def read_strings(value: Optional[bytes]) -> List[str]:
    inner = Message(value or b"").one(1)
    return [s.decode("utf-8", "replace") for s in Message(inner or b"").all(2)]


def read_functions(value: bytes) -> List[str]:
    """The names of the functions in an attribute."""
    held = Message(value)
    single, many = held.one(10), held.one(1)
    found = [single] if single is not None else Message(many or b"").all(9)
    return [Message(raw).string(1) for raw in found]


def scalar(value: float, number: int) -> bytes:
    """The attribute `value` of a Const: one number of a floating type, rounded once."""
    values: bytes
    if number == FLOAT:
        with np.errstate(over="ignore"):  # what is too large is infinite, and bounds nothing
            values = wire.field(5, wire.BYTES, np.float32(value).tobytes())
    elif number == DOUBLE:
        values = wire.field(6, wire.BYTES, struct.pack("<d", value))
    elif number == HALF:
        with np.errstate(over="ignore"):
            half = np.float16(value)
        values = wire.field(13, wire.BYTES, wire.varint(int(half.view(np.uint16))))
    elif number == BFLOAT16:
        values = wire.field(13, wire.BYTES, wire.varint(_bfloat16(value)))
    elif number in (INT32, INT64):
        values = wire.field(_VALUES[number], wire.BYTES, wire.varint(int(value)))
    else:
        raise ValueError(f"no number of type {number}")
    return wire.message(8, wire.number(1, number), wire.message(2), values)


def vector(values: List[int], number: int = INT32) -> bytes:
    """The attribute `value` of a Const that holds a list of integers."""
    shape = wire.message(2, wire.message(2, wire.number(1, len(values))))
    content = np.asarray(values, _NUMPY[number]).tobytes()
    return wire.message(8, wire.number(1, number), shape, wire.field(4, wire.BYTES, content))


def _bfloat16(value: float) -> int:
    # To the nearest, ties to even, straight from the double: through float32 would round twice.
    single = np.float32(value)
    bits = int(single.view(np.uint32))
    low, kept = bits & 0xFFFF, bits >> 16
    exact = float(single)
    if low > 0x8000 or (low == 0x8000 and (abs(value) > abs(exact) or (value == exact and kept & 1))):
        kept += 1
    return kept


def read_scalar(value: Optional[bytes]) -> Any:
    """The number in the attribute `value` of a Const; None where it holds no single number."""
    tensor = Message(value or b"").one(8)
    if tensor is None:
        return None
    held = Message(tensor)
    number = held.integer(1)
    shape = Message(held.one(2) or b"")
    if number not in _VALUES or any(Message(dim).integer(1) != 1 for dim in shape.all(2)):
        return None
    content = held.one(4)
    if content:
        if number == BFLOAT16:
            return _shortest(np.array([int.from_bytes(content[:2], "little") << 16], "<u4").view("<f4")[0])
        array = np.frombuffer(content, _NUMPY[number])
        return _shortest(array[0]) if array.size == 1 else None
    return _from_values(held, number)


def _from_values(held: Message, number: int) -> Any:
    place = _VALUES[number]
    raw = [entry for entry in held.fields if entry[0] == place]
    if not raw:
        return _shortest(np.zeros([], _NUMPY.get(number, "<f4"))[()])
    if number in (FLOAT, DOUBLE):
        data = raw[0][2]
        assert isinstance(data, bytes)
        array = np.frombuffer(data, _NUMPY[number])
        return _shortest(array[0]) if array.size else None
    values = held.integers(place)
    if number == HALF:
        return _shortest(np.array([values[0]], "<u2").view("<f2")[0])
    if number == BFLOAT16:
        return _shortest(np.array([values[0] << 16], "<u4").view("<f4")[0])
    return bool(values[0]) if number == BOOL else values[0]


def _shortest(value: Any) -> Any:
    """A NumPy number as Python's, a float as the shortest decimal that rounds to it."""
    if isinstance(value, np.floating):
        return float(str(value))
    return value.item()
