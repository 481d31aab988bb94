"""The part of protobuf's wire format that files of weights use: numbered fields of a message, and numbers of variable length.

Files come from strangers. Fields that are not wanted are skipped by their length and never entered. Every field counts towards a
budget."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_FIELDS = 200_000  # ResNet-152 in Caffe has about 25,000; unpacked floats in a row count as one field
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types; no file of weights has groups, 3 and 4


def fields(data: memoryview, budget: Iterator[int], wanted: Mapping[int, tuple[int, ...]]) -> Iterator[tuple[int, int, Any]]:
    """The wanted fields of a message: (number, wire type, value); others are skipped.

    `wanted` gives the wire types that a field may have. A value is an int, the bytes, or for numbers of fixed width an array. It
    has all numbers in a row that have the same field number. Raises ValueError for bytes that are not in the wire format."""
    at, end = 0, len(data)
    while at < end:
        if next(budget, None) is None:
            raise ValueError(f"it has more than {MOST_FIELDS} fields")
        start = at
        tag, at = varint(data, at)
        number, wire = tag >> 3, tag & 7
        if not 1 <= number < 1 << 29:
            raise ValueError(f"no field has the number {number}")
        value: Any
        if wire == VARINT:
            value, at = varint(data, at)
        elif wire == BYTES:
            length, at = varint(data, at)
            if length > end - at:
                raise ValueError(f"it ends {length - (end - at)} bytes early")
            value, at = data[at : at + length], at + length
        elif wire in (FIXED32, FIXED64):
            value, at = _run(data, start, at, 4 if wire == FIXED32 else 8)
        else:
            raise ValueError(f"a field has the wire type {wire}")
        if number in wanted:
            if wire not in wanted[number]:
                raise ValueError(f"field {number} has the wire type {wire}")
            yield number, wire, value


def varint(data: memoryview, at: int) -> tuple[int, int]:
    """The unsigned number of 64 bits that starts at `at`, and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("it ends within a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> 64:
                break
            return value, at
    raise ValueError("a number has more than 64 bits")


def varints(data: memoryview, most: int) -> list[int]:
    """The numbers that fill `data`. Reading stops after `most` + 1 numbers."""
    values: list[int] = []
    at = 0
    while at < len(data) and len(values) <= most:
        value, at = varint(data, at)
        values.append(value)
    return values


def _run(data: memoryview, start: int, at: int, width: int) -> tuple[NDArray[Any], int]:
    """All numbers of `width` bytes in a row that the same tag precedes, and the place behind them.

    The first field starts at `start`, and its number at `at`."""
    tag, step = bytes(data[start:at]), at - start + width
    most = (len(data) - start) // step
    if most == 0:
        raise ValueError("it ends within a number")
    records = np.frombuffer(data, np.uint8, most * step, start).reshape(most, step)
    count, window = 1, 64  # looks at no more than twice the bytes that it takes; else many short rows would cost their square
    while count < most:
        differs = np.flatnonzero((records[count : count + window, : len(tag)] != list(tag)).any(axis=1))
        if differs.size:
            count += int(differs[0])
            break
        count, window = min(most, count + window), 2 * window
    numbers = np.ascontiguousarray(records[:count, len(tag) :]).view(f"<f{width}").ravel()
    return numbers, start + count * step
