"""The kind of pixels in a TIFF file, and the place of its pixels on the earth, read from the tags of its first directory.

Pillow opens only some kinds of TIFF, and its error does not name the kind. The tags follow TIFF 6.0, sections 2 and 8, and OGC's
GeoTIFF 1.1, section 7. BigTIFF has offsets of 64 bits."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
BITS, COMPRESSION, BANDS, EXTRA_BANDS, NUMBERS = 258, 259, 277, 338, 339  # tags; EXTRA_BANDS tells alpha from other bands
SIGNED, FLOATS = 2, 3  # values of NUMBERS
KIND_OF_PAGE, WIDTH, HEIGHT, ORIENTATION = 254, 256, 257, 274
NO_PICTURE = 1 | 4  # bits of KIND_OF_PAGE: a smaller copy of another page, and a mask of transparency
PIXEL_SCALE, TIE_POINTS, TRANSFORMATION, GEO_KEYS, NODATA, RPC = 33550, 33922, 34264, 34735, 42113, 50844  # of rasters
RASTER_TAGS = frozenset({PIXEL_SCALE, TIE_POINTS, TRANSFORMATION, GEO_KEYS, NODATA, RPC})
_RASTER_TYPE, _GEOGRAPHIC, _PROJECTED = 1025, 2048, 3072  # keys in GEO_KEYS: point or area, and EPSG codes
_POINT, _OWN_CRS = 2, 32767  # values of keys: coordinates are of the pixels' centres; a CRS without a code
COLOURS = {"1": 1, "L": 1, "P": 1, "LA": 1, "PA": 1, "La": 1, "CMYK": 4}  # bands that are read, by Pillow's mode; else 1 or 3
_TYPES = {1: "B", 2: "s", 3: "H", 4: "I", 12: "d", 16: "Q"}  # struct's letter for each type that is read; s is text
_MOST = 512  # values that are read of one tag
_MOST_BITS = 64  # per band
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
    tags = read_tags(file)
    if not tags:
        return None
    picture = Tiff(*(tags.get(tag, (1,))[0] for tag in (BANDS, BITS, NUMBERS, COMPRESSION)))
    return picture if 0 < picture.bands < 65536 and 0 < picture.bits <= _MOST_BITS else None


@dataclass(frozen=True)
class Georeference:
    """The place of a raster on the earth. The pixel at `column` and `row` has its upper left corner at

        x = transform[0] * column + transform[1] * row + transform[2]
        y = transform[3] * column + transform[4] * row + transform[5]

    `transform` is None where the file has none, or control points in its place. `epsg` is the code of the CRS, None where it has
    no code."""

    transform: tuple[float, ...] | None
    epsg: int | None

    def __str__(self) -> str:
        crs = "a CRS without a code" if self.epsg is None else f"EPSG:{self.epsg}"
        if self.transform is None:
            return f"{crs}, no transform"
        a, b, x, d, e, y = self.transform
        return f"{crs}, pixels of {a:g} x {e:g}{f' turned by {b:g}, {d:g}' if b or d else ''} from {x:.9g}, {y:.9g}"

    def differs(self, other: Georeference) -> bool:
        """Whether both state a transform, or a code, and not the same. Less than a hundredth of a pixel is no difference."""
        if None not in (self.epsg, other.epsg) and self.epsg != other.epsg:
            return True
        if self.transform is None or other.transform is None:
            return False
        pixel = max(abs(self.transform[place]) for place in (0, 1, 3, 4))
        offsets = [abs(self.transform[place] - other.transform[place]) for place in (2, 5)]
        # A pixel side may differ by so little that it moves the last of 100,000 pixels by a tenth of a pixel.
        sides = [abs(self.transform[place] - other.transform[place]) for place in (0, 1, 3, 4)]
        return max(offsets) > pixel / 100 or max(sides) > pixel / 1e6


def read_georeference(file: BinaryIO) -> Georeference | None:
    """The georeference of the first picture in a file. None where the file is no TIFF, or has none."""
    tags = read_tags(file)
    if not tags.keys() & (RASTER_TAGS - {NODATA}):
        return None
    keys = tags.get(GEO_KEYS, ())
    named = {keys[place]: keys[place + 3] for place in range(4, len(keys) - 3, 4) if keys[place + 1] == 0}
    codes = [int(named[key]) for key in (_PROJECTED, _GEOGRAPHIC) if 0 < named.get(key, 0) < _OWN_CRS]
    return Georeference(_transform(tags, named.get(_RASTER_TYPE) == _POINT), codes[0] if codes else None)


def read_no_data(file: BinaryIO) -> int | None:
    """The whole number that a file declares as the value of pixels without data (GDAL's tag). None where there is none."""
    text = read_tags(file).get(NODATA, (b"",))[0]
    try:
        value = float(text.rstrip(b"\0 ").decode("ascii"))
        return int(value) if value == int(value) else None
    except (AttributeError, ValueError, OverflowError):
        return None


def _transform(tags: dict[int, tuple[Any, ...]], of_centres: bool) -> tuple[float, ...] | None:
    matrix, scale, ties = (tags.get(tag, ()) for tag in (TRANSFORMATION, PIXEL_SCALE, TIE_POINTS))
    if len(matrix) == 16:
        a, b, x, d, e, y = (float(matrix[place]) for place in (0, 1, 3, 4, 5, 7))
    elif len(scale) >= 2 and len(ties) == 6:
        a, b, d, e = float(scale[0]), 0.0, 0.0, -float(scale[1])
        x, y = ties[3] - ties[0] * a, ties[4] - ties[1] * e
    else:
        return None
    return (a, b, x - (a + b) / 2, d, e, y - (d + e) / 2) if of_centres else (a, b, x, d, e, y)


def read_tags(file: BinaryIO) -> dict[int, tuple[Any, ...]]:
    """The values of each tag of the first directory, by the number of the tag; empty where the file is no TIFF, or is damaged.

    The value of a tag that holds text is its bytes, at most 512 of them."""
    try:
        return _tags(file)
    except (struct.error, ValueError, OverflowError, OSError, MemoryError):
        return {}


def read_size(file: BinaryIO) -> tuple[int, int] | None:
    """Height and width of the first picture, as its orientation turns it. None where the file is no sound TIFF."""
    tags = read_tags(file)
    try:
        height, width, orientation = tags[HEIGHT][0], tags[WIDTH][0], tags.get(ORIENTATION, (1,))[0]
    except (KeyError, IndexError):
        return None
    return (width, height) if orientation > 4 else (height, width)


def _tags(file: BinaryIO) -> dict[int, tuple[Any, ...]]:
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
    tags: dict[int, tuple[Any, ...]] = {}
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
