"""Decodes masks in PNG three to eight times as fast as Pillow. A label map has few compressed bytes, and long runs of one value.

It reads masks only: one value of 8 or 16 bits per pixel, grey or an index into a palette. For any other PNG, and for a file
with a wrong checksum, it returns None. `images` then asks Pillow, whose error says what is wrong. The format is W3C PNG (third
edition): section 5 has the chunks, section 9 the filters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from zlib_ng import zlib_ng

from perpixel.errors import DataError
from perpixel.files import read_bytes
from perpixel.machines.compiled import compiled

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_GREY, _PALETTE = 0, 3
_WORD = 8  # bytes. Each row begins with a word of zeros, because filters look to the left, and is padded to whole words


def read_png_labels(source: Path | str | bytes, max_pixels: int) -> NDArray[Any] | None:
    """The stored values of a mask, uint8 or uint16 (H, W). None where only Pillow can read the file, or say what is wrong."""
    chunks = _chunks(source)
    if chunks is None:
        return None
    header, compressed = chunks
    width, height, depth = int.from_bytes(header[:4]), int.from_bytes(header[4:8]), header[8]
    plain = (depth, header[9]) in ((8, _GREY), (16, _GREY), (8, _PALETTE)) and not any(header[10:])  # not interlaced
    if not plain or not 0 < width * height <= max_pixels:
        return None
    step = depth // 8
    stride = width * step
    size = height * (1 + stride)
    inflate = zlib_ng.decompressobj()
    try:
        raw = inflate.decompress(compressed, size + 1)
    except zlib_ng.error:  # type: ignore[misc]  # the stub declares an exception where the class of exceptions belongs
        return None
    if len(raw) != size or not inflate.eof:
        return None
    lines = np.frombuffer(raw, np.uint8).reshape(height, 1 + stride)
    rows = np.empty((1 + height, _WORD + -(-stride // _WORD) * _WORD), np.uint8)
    rows[0], rows[:, :_WORD], rows[:, _WORD + stride :] = 0, 0, 0
    rows[1:, _WORD : _WORD + stride] = lines[:, 1:]
    if not _unfilter(lines[:, 0], rows, rows.view(np.uint64), step):
        return None
    values = rows[1:, _WORD : _WORD + stride]
    return np.ascontiguousarray(values) if step == 1 else values.view(">u2").astype(np.uint16)


def _chunks(source: Path | str | bytes) -> tuple[bytes, bytes] | None:
    """The content of the header and the compressed pixels.

    None where the file is no whole PNG of one picture, or has a wrong checksum."""
    try:
        file = memoryview(source if isinstance(source, bytes) else read_bytes(source))
    except DataError:
        return None
    if file[: len(_SIGNATURE)] != _SIGNATURE:
        return None
    header, data, place, kind = b"", list[memoryview](), len(_SIGNATURE), b""
    while kind != b"IEND":
        length = int.from_bytes(file[place : place + 4])
        kind, content, end = bytes(file[place + 4 : place + 8]), file[place + 8 : place + 8 + length], place + 12 + length
        if end > len(file) or zlib_ng.crc32(content, zlib_ng.crc32(kind)) != int.from_bytes(file[end - 4 : end]):
            return None
        if (kind == b"IHDR") != (not header) or kind == b"acTL" or not (kind in _CRITICAL or kind[:1].islower()):
            return None
        if kind == b"IHDR":
            header = bytes(content)
        elif kind == b"IDAT":
            data.append(content)
        place = end
    return (header, b"".join(data)) if len(header) == 13 else None


@compiled()
def _unfilter(kinds: Any, rows: Any, words: Any, step: Any) -> Any:
    """Undoes the filters of section 9 in place, row by row from the top. False where the kind of a filter is unknown.

    `rows` are the bytes, and `words` are the same bytes in words of eight. In a label map nearly all filtered words are 0. With
    filter 4 such a word equals the word above if the pixel before equals the pixel above that pixel."""
    for y in range(len(kinds)):
        kind = kinds[y]
        row, above = rows[y + 1], rows[y]
        if kind == 1:
            word, even, odd = words[y + 1], np.uint8(0), np.uint8(0)  # the two bytes before; equal if a pixel has one byte
            for x in range(8, len(row), 8):
                blank = word[x >> 3] == 0
                for k in range(x, x + 8, 2):
                    if not blank:
                        even = row[k] + (even if step == 2 else odd)
                        odd = row[k + 1] + (odd if step == 2 else even)
                    row[k], row[k + 1] = even, odd
                if step == 1:
                    even = odd
        elif kind == 2:
            for x in range(len(row)):
                row[x] += above[x]
        elif kind == 3:
            for x in range(8, len(row)):
                row[x] += np.uint8((np.int32(row[x - step]) + np.int32(above[x])) >> 1)
        elif kind == 4:
            word, word_above = words[y + 1], words[y]
            for w in range(1, len(word)):
                x = 8 * w
                if word[w] == 0 and row[x - 1] == above[x - 1] and row[x - step] == above[x - step]:
                    word[w] = word_above[w]
                    continue
                for k in range(x, x + 8):
                    a, b, c = np.int32(row[k - step]), np.int32(above[k]), np.int32(above[k - step])
                    pa, pb, pc = abs(b - c), abs(a - c), abs(a + b - 2 * c)
                    row[k] += np.uint8(a if pa <= pb and pa <= pc else (b if pb <= pc else c))
        elif kind != 0:
            return False
    return True
