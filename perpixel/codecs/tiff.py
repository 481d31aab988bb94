"""The kind of pixels in a TIFF file, read from the tags of its first directory.

Pillow opens only some kinds of TIFF, and its error does not name the kind. The tags follow TIFF 6.0, sections 2 and 8.
BigTIFF has offsets of 64 bits."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
BITS, COMPRESSION, BANDS, EXTRA_BANDS, NUMBERS = 258, 259, 277, 338, 339  # tags; EXTRA_BANDS tells alpha from other bands
SIGNED, FLOATS = 2, 3  # values of NUMBERS
COLOURS = {"1": 1, "L": 1, "P": 1, "LA": 1, "PA": 1, "La": 1, "CMYK": 4}  # bands that are read, by Pillow's mode; else 1 or 3
WIDTH, HEIGHT, ORIENTATION, NO_DATA = 256, 257, 274, 42113  # NO_DATA is GDAL's, a number as text
_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}  # struct's letter for each type of whole number that a tag may have
_MOST = 64  # values that are read of one tag, and the most bits per band that are plausible
_COMPRESSIONS = {
    6: "JPEG (old)", 7: "JPEG", 34676: "SGILog", 34677: "SGILog24", 34712: "JPEG 2000", 34887: "LERC", 34892: "lossy JPEG",
    34925: "LZMA", 34933: "PNG", 50000: "Zstandard", 50001: "WEBP", 50002: "JPEG XL", 52546: "JPEG XL",
}  # fmt: skip
LOSSY = frozenset({6, 7, 34676, 34677, 34892, 50001})  # compressions that change values; WEBP (50001) may change them
RARE = frozenset({6, 34676, 34677, 34925, 50000, 50001})  # compressions that only some builds of Pillow read
_READ = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 32771, 32773, 32809, 32946, 34676, 34677, 34925, 50000, 50001})  # Pillow reads these


@dataclass(frozen=True)
class Tiff:
    """The tags of a TIFF picture that say how its pixels are stored. As text it is the name of that kind, for an error."""

    bands: int
    bits: int  # of each band
    numbers: int  # the type of number: 2 is signed, 3 is float
    compression: int

    def __str__(self) -> str:
        kind = {2: f"int{self.bits}", 3: f"float{self.bits}", 5: f"complex int{self.bits}", 6: f"complex{self.bits}"}
        values = kind.get(self.numbers, f"{self.bits} bits")
        packed = "" if self.compression in _READ else f", compressed as {compression_name(self.compression)}"
        return f"TIFF of {self.bands} band{'s' if self.bands > 1 else ''} of {values}{packed}"


def compression_name(compression: int) -> str:
    return _COMPRESSIONS.get(compression, f"kind {compression}")


def read_tiff(file: BinaryIO) -> Tiff | None:
    """The kind of the first picture in a file. None where the file is no TIFF, or its directory is damaged."""
    try:
        tags = _tags(file)
    except (struct.error, ValueError, OverflowError, OSError, MemoryError):
        return None
    if not tags:
        return None
    picture = Tiff(*(tags.get(tag, (1,))[0] for tag in (BANDS, BITS, NUMBERS, COMPRESSION)))
    return picture if 0 < picture.bands < 65536 and 0 < picture.bits <= _MOST else None


def read_size(file: BinaryIO) -> tuple[int, int] | None:
    """Height and width of the first picture, as its orientation turns it. None where the file is no sound TIFF."""
    try:
        tags = _tags(file)
        height, width, orientation = tags[HEIGHT][0], tags[WIDTH][0], tags.get(ORIENTATION, (1,))[0]
    except (struct.error, ValueError, OverflowError, OSError, MemoryError, KeyError):
        return None
    return (width, height) if orientation > 4 else (height, width)


def _tags(file: BinaryIO) -> dict[int, tuple[int, ...]]:
    """The values of each tag that holds whole numbers, by the number of the tag."""
    file.seek(0)
    start = file.read(16)
    if start[:4] not in SIGNATURES:
        return {}
    byte_order, big = "<" if start[:1] == b"I" else ">", start[:4] in SIGNATURES[2:]
    (place,) = struct.unpack_from(byte_order + ("Q" if big else "I"), start, 8 if big else 4)
    size, count_type, offset_type = (20, "Q", "Q") if big else (12, "H", "I")
    file.seek(place)
    (count,) = struct.unpack(byte_order + count_type, file.read(struct.calcsize(byte_order + count_type)))
    entries = file.read(size * min(count, 4096))
    tags = {}
    for entry in (entries[i : i + size] for i in range(0, len(entries) - size + 1, size)):
        tag, kind, number = struct.unpack_from(f"{byte_order}HH{offset_type}", entry)
        if kind not in _TYPES or not number:
            continue
        layout = f"{byte_order}{min(number, _MOST)}{_TYPES[kind]}"
        data = entry[-struct.calcsize(byte_order + offset_type) :]
        if struct.calcsize(f"{byte_order}{_TYPES[kind]}") * number > len(data):
            file.seek(struct.unpack(byte_order + offset_type, data)[0])
            data = file.read(struct.calcsize(layout))
        tags[tag] = struct.unpack_from(layout, data)
    return tags
