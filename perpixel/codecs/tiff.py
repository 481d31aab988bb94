"""What a TIFF file says of its pixels, read from the tags of its first directory: Pillow opens few of the kinds that there are,
and does not say which one it met. TIFF 6.0, sections 2 and 8; BigTIFF's offsets of 64 bits."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
BITS, COMPRESSION, BANDS, EXTRA_BANDS, NUMBERS = 258, 259, 277, 338, 339  # tags; EXTRA_BANDS says which are alpha
COLOURS = {"1": 1, "L": 1, "P": 1, "LA": 1, "PA": 1, "La": 1, "CMYK": 4}  # bands that are read, by Pillow's mode; else 1 or 3
_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}  # whole numbers
_MOST = 64  # values of a tag that are looked at, and a limit to bands of a file that is believed
_COMPRESSIONS = {
    6: "JPEG (old)", 7: "JPEG", 34676: "SGILog", 34677: "SGILog24", 34712: "JPEG 2000", 34887: "LERC", 34892: "lossy JPEG",
    34925: "LZMA", 34933: "PNG", 50000: "Zstandard", 50001: "WEBP", 50002: "JPEG XL", 52546: "JPEG XL",
}  # fmt: skip
LOSSY = frozenset({6, 7, 34676, 34677, 34892, 50001})  # or maybe, as WEBP
RARE = frozenset({6, 34676, 34677, 34925, 50000, 50001})  # read where Pillow was built so
_READ = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 32771, 32773, 32809, 32946, 34676, 34677, 34925, 50000, 50001})  # by Pillow


@dataclass(frozen=True)
class Tiff:
    """`bands` of `bits` each, float or signed where `numbers` says so; `compression` as the tag has it."""

    bands: int
    bits: int
    numbers: int
    compression: int

    def __str__(self) -> str:
        kind = {2: f"int{self.bits}", 3: f"float{self.bits}", 5: f"complex int{self.bits}", 6: f"complex{self.bits}"}
        values = kind.get(self.numbers, f"{self.bits} bits")
        packed = "" if self.compression in _READ else f", compressed as {compression_name(self.compression)}"
        return f"TIFF of {self.bands} band{'s' if self.bands > 1 else ''} of {values}{packed}"


def compression_name(compression: int) -> str:
    return _COMPRESSIONS.get(compression, f"kind {compression}")


def read_tiff(file: BinaryIO) -> Tiff | None:
    """The tags of the first picture of a file; none where it is no TIFF, or its directory is damaged."""
    try:
        tags = _tags(file)
    except (struct.error, ValueError, OverflowError, OSError, MemoryError):
        return None
    if not tags:
        return None
    found = Tiff(*(tags.get(tag, (1,))[0] for tag in (BANDS, BITS, NUMBERS, COMPRESSION)))
    return found if 0 < found.bands < 65536 and 0 < found.bits <= _MOST else None


def _tags(file: BinaryIO) -> dict[int, tuple[int, ...]]:
    """The values of the tags of whole numbers, by tag."""
    file.seek(0)
    start = file.read(16)
    if start[:4] not in SIGNATURES:
        return {}
    end, big = "<" if start[:1] == b"I" else ">", start[:4] in SIGNATURES[2:]
    (place,) = struct.unpack_from(end + ("Q" if big else "I"), start, 8 if big else 4)
    size, counted, offset = (20, "Q", "Q") if big else (12, "H", "I")
    file.seek(place)
    (count,) = struct.unpack(end + counted, file.read(struct.calcsize(end + counted)))
    entries = file.read(size * min(count, 4096))
    tags = {}
    for entry in (entries[i : i + size] for i in range(0, len(entries) - size + 1, size)):
        tag, kind, number = struct.unpack_from(f"{end}HH{offset}", entry)
        if kind not in _TYPES or not number:
            continue
        layout = f"{end}{min(number, _MOST)}{_TYPES[kind]}"
        data = entry[-struct.calcsize(end + offset) :]
        if struct.calcsize(f"{end}{_TYPES[kind]}") * number > len(data):
            file.seek(struct.unpack(end + offset, data)[0])
            data = file.read(struct.calcsize(layout))
        tags[tag] = struct.unpack_from(layout, data)
    return tags
