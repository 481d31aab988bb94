"""Checkpoints of TensorFlow (`NAME.index` beside `NAME.data-00000-of-00001`), read without TensorFlow as named arrays.

The index is a table in LevelDB's format. The data files hold the arrays, little-endian:

    index     blocks of (key, value), then the block that lists them, then 48 bytes: the place of that list, and a magic number
    block     entries whose keys share a beginning with the key before, places to restart, 1 byte (0: not compressed), CRC-32C
    ""        BundleHeaderProto   num_shards 1, endianness 2 (0: little)
    a name    BundleEntryProto    dtype 1, shape 2 (TensorShapeProto: dim 2, of which size 1), shard_id 3, offset 4, size 5,
                                  crc32c 6, slices 7

Field numbers are those of tensorflow/core/protobuf/tensor_bundle.proto. Files come from strangers. Names and sizes are limited,
every checksum is computed, and no array is larger than its part of the file."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perpixel.errors import DataError, UntrustedFile, printable
from perpixel.machines.compiled import compiled
from perpixel.weights.protobuf import BYTES, FIXED32, MOST_FIELDS, VARINT, fields, varint

MAGIC = 0xDB4775248B80FB57
FOOTER, TRAILER = 48, 5  # bytes behind the table, and behind each block
MASK = 0xA282EAD8  # of checksums that are stored beside their data
LARGEST_INDEX = 1 << 24  # bytes
MOST_ARRAYS, MOST_SHARDS, MOST_AXES, LONGEST_NAME = 20_000, 1000, 32, 300
LONGEST_SIDE = (1 << 31) - 1
TEXT = 7  # TensorFlow's numbers of types
TYPES = {1: "<f4", 2: "<f8", 3: "<i4", 4: "u1", 5: "<i2", 6: "i1", 9: "<i8", 17: "<u2", 19: "<f2"}


def read_checkpoint(path: str | Path) -> dict[str, NDArray[np.generic]]:
    """The arrays of a checkpoint by their names. They cannot be written to. Texts are left out. `path` is the `.index`.

    Raises DataError when a file is not there, UntrustedFile when a file is damaged, compressed, or holds an entry that is no
    array."""
    path = Path(path)
    if not os.path.isfile(path):
        raise DataError(f"{printable(path)}: there is no such file; name the .index of a checkpoint.")
    try:
        if path.stat().st_size > LARGEST_INDEX:
            raise ValueError(f"it has more than {LARGEST_INDEX >> 20} MiB")
        rows = list(_table(memoryview(path.read_bytes())))
        if not rows or rows[0][0] != "":
            raise ValueError("it has no header")
        shards = _shards(path, _header(rows[0][1]))
        budget = iter(range(MOST_FIELDS))
        left = sum(len(shard) for shard in shards)
        arrays = {}
        for name, value in rows[1:]:
            array = _array(name, value, shards, budget)
            if array is not None:
                left -= array.nbytes
                if left < 0:  # a part of a file would be read again and again
                    raise ValueError("its arrays claim more than the data files have")
                arrays[name] = array
    except (ValueError, struct.error) as error:
        raise UntrustedFile(f"{path}: is damaged or no checkpoint of TensorFlow ({error}); use another copy.") from error
    return arrays


def _shards(path: Path, count: int) -> list[memoryview]:
    """The data files, mapped into memory. Raises DataError for a file that is not there."""
    shards = []
    for number in range(count):
        part = path.with_name(f"{path.name.removesuffix('.index')}.data-{number:05d}-of-{count:05d}")
        if not os.path.isfile(part):
            raise DataError(f"{printable(part)}: there is no such file; keep it beside {printable(path.name)}.")
        with part.open("rb") as file:
            empty = os.fstat(file.fileno()).st_size == 0
            shards.append(memoryview(b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))
    return shards


def _table(data: memoryview) -> Iterator[tuple[str, memoryview]]:
    """The names and values of an index, sorted by name."""
    if len(data) < FOOTER or struct.unpack_from("<Q", data, len(data) - 8) != (MAGIC,):
        raise ValueError("its end is not that of a table")
    footer, at = data[len(data) - FOOTER :], 0
    _block(data, footer)  # its contents are not needed, but its checksum may tell of damage
    for _ in range(2):
        _, at = varint(footer, at)
    last, count, left = None, 0, len(data)
    for _, where in _entries(_block(data, footer[at:])):
        block = _block(data, where)
        left -= len(block)
        if left < 0:
            raise ValueError("its blocks claim more than it has")
        for key, value in _entries(block):
            if last is not None and key <= last:
                raise ValueError("its names are not in order")
            last, count = key, count + 1
            if count > MOST_ARRAYS:
                raise ValueError(f"it has more than {MOST_ARRAYS} arrays")
            name = key.decode()
            if not name.isprintable():
                raise ValueError(f"an array has the name {name!r}")
            yield name, value


def _block(data: memoryview, handle: memoryview) -> memoryview:
    """The block at a place (offset and size) of the table, without its trailer."""
    offset, at = varint(handle, 0)
    size, _ = varint(handle, at)
    if offset + size + TRAILER > len(data) - FOOTER:
        raise ValueError("a block lies outside of it")
    whole = data[offset : offset + size + 1]
    if whole[size] != 0:
        raise ValueError("it is compressed")
    if struct.unpack_from("<I", data, offset + size + 1) != (masked(checksum(whole)),):
        raise ValueError("a block does not have its checksum")
    return data[offset : offset + size]


def _entries(block: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """The keys and values of a block."""
    if len(block) < 4:
        raise ValueError("a block is too short")
    (restarts,) = struct.unpack_from("<I", block, len(block) - 4)
    end, at, key = len(block) - 4 * (restarts + 1), 0, b""
    if end < 0:
        raise ValueError("a block is too short")
    while at < end:
        shared, at = varint(block, at)
        added, at = varint(block, at)
        size, at = varint(block, at)
        if shared > len(key) or at + added + size > end:
            raise ValueError("an entry lies outside of its block")
        if shared + added > LONGEST_NAME:
            raise ValueError(f"an array has a name of {shared + added} bytes")
        key = key[:shared] + bytes(block[at : at + added])
        yield key, block[at + added : at + added + size]
        at += added + size


def _header(data: memoryview) -> int:
    """The number of data files."""
    header = {number: value for number, _, value in fields(data, iter(range(100)), {1: (VARINT,), 2: (VARINT,)})}
    if header.get(2, 0) != 0:
        raise ValueError("it is of a big-endian machine")
    if not 1 <= header.get(1, 0) <= MOST_SHARDS:
        raise ValueError(f"it has {header.get(1, 0)} data files")
    return int(header[1])


def _array(name: str, data: memoryview, shards: list[memoryview], budget: Iterator[int]) -> NDArray[np.generic] | None:
    """The array of an entry, or none for texts."""
    wanted = {number: (VARINT,) for number in (1, 3, 4, 5)} | {2: (BYTES,), 6: (FIXED32,), 7: (BYTES,)}
    entry = {number: value for number, _, value in fields(data, budget, wanted)}
    kind, shard, offset, size = (int(entry.get(number, 0)) for number in (1, 3, 4, 5))
    if kind == TEXT:
        return None
    if kind not in TYPES:
        raise ValueError(f"{name} has the type {kind}")
    if 7 in entry:
        raise ValueError(f"{name} is in slices")
    shape, dtype = shape_of(name, entry.get(2, memoryview(b"")), budget), np.dtype(TYPES[kind])
    if prod(shape) * dtype.itemsize != size:
        raise ValueError(f"{name} has {len(shape)} axes and {size} bytes, which do not fit")
    if shard >= len(shards) or offset + size > len(shards[shard]):
        raise ValueError(f"{name} lies outside of the data files")
    part = shards[shard][offset : offset + size]
    stored_checksum = entry.get(6)
    if stored_checksum is None or int(stored_checksum.view("<u4")[-1]) != masked(checksum(part)):
        raise ValueError(f"{name} does not have its checksum")
    array = np.frombuffer(part, dtype).reshape(shape)
    if dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{name} holds a number that is not finite")
    return array


def shape_of(name: str, data: memoryview, budget: Iterator[int]) -> tuple[int, ...]:
    """The sides of a TensorShapeProto. Raises ValueError for too many of them, and for one that is too long or below 0."""
    shape: list[int] = []
    for _, _, dim in fields(data, budget, {2: (BYTES,)}):
        sides = [value for _, _, value in fields(dim, budget, {1: (VARINT,)})]
        shape.append(sides[-1] if sides else 0)
        if shape[-1] > LONGEST_SIDE:  # a negative number is read as one of 64 bits
            raise ValueError(f"{name} has a side of {shape[-1]}")
        if len(shape) > MOST_AXES:
            raise ValueError(f"{name} has more than {MOST_AXES} axes")
    return tuple(shape)


def checksum(data: memoryview | bytes) -> int:
    """CRC-32C (Castagnoli) of the bytes."""
    return int(_crc32c(np.frombuffer(data, np.uint8), _TABLE))


def masked(crc: int) -> int:
    """A checksum in the form that LevelDB stores: rotated by 15 bits, plus a constant."""
    return ((crc >> 15 | crc << 17) + MASK) & 0xFFFFFFFF


def _table_of_crc() -> NDArray[np.uint32]:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ np.uint32(0x82F63B78), table >> 1).astype(np.uint32)
    return table


_TABLE = _table_of_crc()


@compiled()
def _crc32c(data: NDArray[np.uint8], table: NDArray[np.uint32]) -> np.uint32:
    crc = np.uint32(0xFFFFFFFF)
    for byte in data:
        crc = table[(crc ^ np.uint32(byte)) & np.uint32(0xFF)] ^ (crc >> np.uint32(8))
    return crc ^ np.uint32(0xFFFFFFFF)
