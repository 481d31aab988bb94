"""Checkpoints as TensorFlow writes them: an index in LevelDB's format of tables, and data files. Written anew, with a checksum
bit by bit."""

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from caffe_files import message, number, varint
from numpy.typing import NDArray

TYPES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9, "float16": 19}
BYTE = [0] * 256
for value in range(256):
    rest = value
    for _ in range(8):
        rest = rest >> 1 ^ 0x82F63B78 * (rest & 1)
    BYTE[value] = rest


def masked(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = BYTE[(crc ^ byte) & 255] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def block(rows: list[tuple[bytes, bytes]], interval: int = 16) -> bytes:
    """A block whose keys share their beginnings, but for every sixteenth."""
    content, restarts, before = b"", [], b""
    for place, (key, value) in enumerate(rows):
        shared = 0
        if place % interval:
            while shared < min(len(key), len(before)) and key[shared] == before[shared]:
                shared += 1
        else:
            restarts.append(len(content))
        content += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    restarts = restarts or [0]
    return content + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def table(rows: list[tuple[bytes, bytes]], size: int = 40, compression: int = 0) -> bytes:
    """A table of blocks of `size` rows."""
    content, places = b"", []

    def put(body: bytes) -> bytes:
        nonlocal content
        place = varint(len(content)) + varint(len(body))
        whole = body + bytes([compression])
        content += whole + struct.pack("<I", masked(whole))
        return place

    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        places.append((part[-1][0], put(block(part))))
    handles = put(block([])) + put(block(places, 1))
    return content + handles.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


def header(shards: int = 1, big: bool = False) -> bytes:
    return number(1, shards) + (number(2, 1) if big else b"") + message(3, number(1, 1))


def entry(array: NDArray[np.generic], offset: int, shard: int = 0, kind: int | None = None, more: bytes = b"") -> bytes:
    shape = b"".join(message(2, number(1, side)) for side in array.shape)
    data = array.tobytes()
    fields = number(1, TYPES[array.dtype.name] if kind is None else kind) + message(2, shape)
    fields += (number(3, shard) if shard else b"") + (number(4, offset) if offset else b"") + number(5, len(data))
    return fields + b"\x35" + struct.pack("<I", masked(data)) + more


def write_checkpoint(path: Path, arrays: Mapping[str, NDArray[np.generic]], shards: int = 1) -> Path:
    """Writes `path`, a `.index`, and its data files, over which the arrays are spread; returns it."""
    parts = [b""] * shards
    rows = [(b"", header(shards))]
    for place, (name, array) in enumerate(sorted(arrays.items(), key=lambda item: item[0].encode())):
        shard = place % shards
        rows.append((name.encode(), entry(array, len(parts[shard]), shard)))
        parts[shard] += array.tobytes()
    path.write_bytes(table(rows))
    for shard, part in enumerate(parts):
        path.with_name(f"{path.stem}.data-{shard:05d}-of-{shards:05d}").write_bytes(part)
    return path


def tensor(array: NDArray[np.generic], kind: int | None = None, values: bytes | None = None) -> bytes:
    """A TensorProto, with the bytes of the array or other `values` (fields of the message)."""
    shape = b"".join(message(2, number(1, side)) for side in array.shape)
    content = message(4, array.tobytes()) if values is None else values
    return number(1, TYPES[array.dtype.name] if kind is None else kind) + message(2, shape) + content


def node(name: str, operation: str, inputs: tuple[str, ...] = (), **attributes: bytes) -> bytes:
    """A node of a graph; `attributes` are messages AttrValue."""
    parts = message(1, name.encode()) + message(2, operation.encode())
    parts += b"".join(message(3, source.encode()) for source in inputs)
    entries = (message(1, key.encode()) + message(2, value) for key, value in attributes.items())
    return message(1, parts + b"".join(message(5, entry) for entry in entries))


def constant(name: str, value: bytes, kind: int = 1) -> bytes:
    return node(name, "Const", dtype=number(6, kind), value=message(8, value))


def frozen_graph(arrays: Mapping[str, NDArray[np.generic]]) -> bytes:
    """A graph as freeze_graph leaves it: each variable a constant that an Identity reads, among nodes that hold no weights."""
    content = node("ImageTensor", "Placeholder", dtype=number(6, 4), shape=message(7, b""))
    content += constant("Shape/strided_slice/stack", tensor(np.array([1], np.int32)), 3)
    content += constant("words", number(1, 7) + message(8, b"a text"), 7)
    for name, array in arrays.items():
        content += constant(name, tensor(array), TYPES[array.dtype.name])
        content += node(f"{name}/read", "Identity", (name,), T=number(6, 1), _class=message(1, message(2, b"loc:@conv")))
    content += constant("sub_2/y", tensor(np.array(1, np.float32)))
    content += node("SemanticPredictions", "Slice", ("ArgMax", "Slice/begin"), T=number(6, 9))
    return content + message(4, number(1, 26)) + message(2, message(1, b""))  # versions and library
