"""The one door for bytes: pictures and masks in, masks and pictures out. Nothing else in perpixel decodes or encodes them.

A picture becomes uint8 RGB, turned as its EXIF tag says. A mask is never converted: what is stored comes out, to the last
pixel. Sizes are `(height, width)` and are checked in the header before anything is decoded. A file of several pages, as TIFF may
be, is read one page at a time, counted from 0."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError
from zlib_ng import zlib_ng

from perpixel.classes import ClassTable
from perpixel.codecs import tiff, unread
from perpixel.errors import DataError, printable
from perpixel.files import read_bytes, require_plain, write_whole
from perpixel.limits import MAX_PIXELS

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"})
MASK_SUFFIXES = frozenset({".png", ".tif", ".tiff", ".bmp"})
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")
BYTES_NAME = "picture in memory"  # how errors call a picture that came as bytes

# Pillow only warns between its limit and twice its limit; `_opened` refuses at MAX_PIXELS, before decoding.
Image.MAX_IMAGE_PIXELS = None
warnings.filterwarnings("ignore", category=UserWarning, module="PIL")  # of damaged tags: it would name Pillow's line and no file

# Files of 2 and 4 bits per grey pixel: Pillow stretches them to 0..255 by these factors, and inverts TIFF's white-is-zero ("I").
_GREY_STRETCH = {"L;2": 85, "L;4": 17, "L;2I": 85, "L;4I": 17}
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_QUARTER_TURNS = frozenset({5, 6, 7, 8})
_ALPHA_MODES = frozenset({"LA", "PA", "RGBA", "La", "RGBa"})

Source = Path | str | bytes


class NotRead(DataError):
    """A file that may well be whole, of a kind or size that is not read."""


def read_image(source: Source, page: int = 0, turn: bool = True) -> NDArray[np.uint8]:
    """A picture as uint8 RGB (H, W, 3): grey is repeated, alpha dropped, 16 bits become the upper 8, CMYK is converted,
    palettes are looked up and the EXIF orientation is applied, which without `turn` it is not. `dropped` says what is lost so.

    `source` is a path or the file's bytes. Raises DataError when it is missing, damaged, too large or no picture, or has no
    such page."""
    with _opened(source, page) as image:
        _require_checksum(image, source)
        return image_of(image, _name(source), turn, _tiff_of(source) if image.mode in ("I", "F") else None)


def image_of(image: Image.Image, name: str, turn: bool = True, kind: tiff.Tiff | None = None) -> NDArray[np.uint8]:
    """What `read_image` makes of a picture of Pillow, which errors call `name`, and by its `kind` where it is a TIFF."""
    orientation = _orientation(image) if turn else 1
    turned = image.transpose(_TURNS[orientation]) if orientation in _TURNS else image
    if turned.mode.startswith("I;16"):
        grey = (np.asarray(turned).astype(np.uint32) + 128) // 257
        return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
    if turned.mode in ("I", "F"):
        what = kind or f"picture of {turned.mode}-mode values (32 bits)"
        raise NotRead(f"{name}: is a {what}, which is not read; save it with 8 or 16 bits per channel.")
    if turned.mode == "P" and "transparency" in turned.info:
        turned = turned.convert("RGBA")
    return np.array(turned if turned.mode == "RGB" else turned.convert("RGB"))


def read_labels(source: Source, page: int = 0) -> NDArray[Any]:
    """The values stored in a mask, uint8 or uint16 (H, W): palette indices, grey values, or 16-bit values.

    EXIF tags are not applied (TIFF's own orientation is).
    Raises DataError when the file is missing, damaged, too large, lossy or coloured, or has no such page."""
    with _opened(source, page) as image:
        if lossy := _lossy(image, source):
            raise NotRead(f"{_name(source)}: is a {lossy}, whose compression changes mask values; save masks as PNG.")
        _require_checksum(image, source)
        mode, raw_mode = image.mode, _raw_mode(image)
        values = np.array(image)
        if mode in ("1", "L") and raw_mode.endswith("I"):
            values = ~values
        if mode == "1":
            return values.astype(np.uint8)
        if mode in ("L", "P"):
            return values // _GREY_STRETCH[raw_mode] if raw_mode in _GREY_STRETCH else values
        if mode.startswith("I"):
            if values.min() < 0 or values.max() > 65535:
                raise NotRead(f"{_name(source)}: holds values outside 0..65535; renumber the mask.")
            return values.astype(np.uint16)
        raise NotRead(
            f"{_name(source)}: is a {mode} picture; a mask holds one value per pixel (grey, palette or 16-bit PNG)."
        )


def read_labels_fast(source: Source) -> NDArray[Any]:
    """As `read_labels`, five times as fast for large masks in PNG, at the price of half a second in the beginning: for whole
    sets of street scenes, not for one mask."""
    from perpixel.codecs.png import read_png_labels  # only now: numba takes that time to load

    try:
        values = read_png_labels(source, MAX_PIXELS)
    except MemoryError:
        values = None  # Pillow may do with less, or it is told
    return read_labels(source) if values is None else values


def read_size(source: Source, turn: bool = True) -> tuple[int, int]:
    """`(height, width)` without converting pixels; with `turn` as `read_image` would return it, else as `read_labels` would."""
    with _opened(source) as image:
        width, height = image.size
        turned = turn and _orientation(image) in _QUARTER_TURNS
    return (width, height) if turned else (height, width)


@dataclass(frozen=True)
class Header:
    """What a file says of itself: `format` such as PNG, Pillow's `mode`, `size` as stored, EXIF `orientation` (1 is upright),
    `pages`, `bands` of which `unread` are not read, `bits` of each, whether alpha may make it `transparent`, and in `lossy` the
    compression that changes values, empty where none does."""

    format: str
    mode: str
    size: tuple[int, int]
    orientation: int
    pages: int
    transparent: bool
    bands: int
    unread: int
    bits: int
    lossy: str


def read_header(source: Source, turn: bool = True) -> Header:
    """Without `turn` each file counts as upright, as masks do: a PNG may have its tag behind its pixels, and all of it is read.

    Raises DataError when the file is missing, too large or no picture."""
    with _opened(source) as image:
        width, height = image.size
        bits = 16 if image.mode.startswith("I;16") or ";16" in _raw_mode(image) else 8
        bands, unread, alpha = _bands(image)
        pages = int(getattr(image, "n_frames", 1))
        orientation = int(_orientation(image)) if turn else 1
        lossy = _lossy(image, source)
        return Header(str(image.format), image.mode, (height, width), orientation, pages, alpha, bands, unread, bits, lossy)


@dataclass(frozen=True)
class Dropped:
    """What reading leaves out of a picture: the `kind` of `defects.KINDS`, and a clause that follows a file's name; and where
    they make sense the row and column of its first pixel, the `value` there, and how many pixels have it."""

    kind: str
    said: str
    pixel: tuple[int, int] | None = None
    value: int | None = None
    count: int | None = None


def dropped(source: Source, header: Header | None = None) -> tuple[Dropped, ...]:
    """What `read_image` leaves out, so that it can be told as f"{file}: {one.said}.": further pages, further bands, the lower
    8 of 16 bits, and alpha.

    It costs a look at the header, which is read unless given; the pixels are read only where 16 bits or alpha are to be told.
    Raises DataError as `read_image` does."""
    header = header or read_header(source, turn=False)
    found = []
    if header.pages > 1:
        found.append(Dropped("several pages", f"holds {header.pages} pictures, of which the first is read"))
    if header.unread:
        read = header.bands - header.unread
        said = f"has {header.bands} bands, of which the first{f' {read}' if read > 1 else ''} {'are' if read > 1 else 'is'} read"
        found.append(Dropped("further bands", said))
    if header.bits == 16:
        said = f"has 16 bits per pixel, of which networks see the upper 8: {_greatest(source, header)}"
        found.append(Dropped("16-bit picture", said))
    if header.transparent:
        alpha = read_alpha(source)
        clear = np.flatnonzero(alpha < 255)
        if len(clear):
            row, column = divmod(int(clear[0]), alpha.shape[1])
            value = int(alpha[row, column])
            said = f"is transparent at row {row}, column {column} ({len(clear)} pixels, alpha {value}), and alpha is not read"
            found.append(Dropped("transparent picture", said, (row, column), value, len(clear)))
    return tuple(found)


def _greatest(source: Source, header: Header) -> str:
    """How dark a picture of 16 bits becomes: one of 12 bits is nearly black."""
    seen = int(read_image(source).max())
    stored = f" {int(read_stored(source).max())} of 65535" if header.mode.startswith("I;16") else ""
    dark = ", nearly black" if seen < 32 else ""
    return f"its greatest value{stored} becomes {seen} of 255{dark}"


def _bands(image: Image.Image) -> tuple[int, int, bool]:
    """How many bands there are, how many of them are not read, and whether there is alpha."""
    alpha = image.mode in _ALPHA_MODES or "transparency" in image.info
    bands = len(image.getbands())
    if image.format != "TIFF":
        return bands, 0, alpha
    tags = image.tag_v2  # type: ignore[attr-defined]  # of TIFF alone
    bands, extra = int(tags.get(tiff.BANDS, 1)), tags.get(tiff.EXTRA_BANDS, ())
    alphas = sum(kind != 0 for kind in (extra if isinstance(extra, tuple) else (extra,)))
    colours = tiff.COLOURS.get(image.mode, 1 if image.mode.startswith("I") else 3)
    return bands, max(0, bands - colours - alphas), alpha and alphas > 0


def _lossy(image: Image.Image, source: Source) -> str:
    """What a format is called whose compression changes values; empty where it does not."""
    if image.format in ("JPEG", "MPO"):
        return "JPEG"
    if image.format == "TIFF":
        compression = int(image.tag_v2.get(tiff.COMPRESSION, 1))  # type: ignore[attr-defined]
        return f"TIFF compressed as {tiff.compression_name(compression)}" if compression in tiff.LOSSY else ""
    if image.format == "WEBP":
        with closing(_file(source)) as file:
            return "lossy WEBP" if _webp_is_lossy(file) else ""
    return ""


def _webp_is_lossy(file: BinaryIO) -> bool:
    """Whether the first picture lies in a chunk `VP8 `, which may be in the first frame of an animation; `VP8L` has no loss."""
    place, end = 12, file.seek(0, io.SEEK_END)
    while place + 8 <= end:
        file.seek(place)
        kind, length = file.read(4), int.from_bytes(file.read(4), "little")
        if kind in (b"VP8 ", b"VP8L"):
            return kind == b"VP8 "
        place += 8 + (16 if kind == b"ANMF" else length + length % 2)  # a frame has its rectangle first, then chunks
    return False


def read_stored(source: Source) -> NDArray[Any]:
    """Pixels as they are stored, (H, W) or (H, W, channels): what a file that is no mask holds in place of one.

    Raises DataError as `read_labels` does for a file that cannot be read."""
    with _opened(source) as image:
        _require_checksum(image, source)
        return np.array(image)


def read_alpha(source: Source) -> NDArray[np.uint8]:
    """How opaque each pixel is, (H, W): 255 is opaque, as all pixels of a file without transparency are."""
    with _opened(source) as image:
        return np.array(image.convert("RGBA").getchannel("A"))


def count_pages(source: Source) -> int:
    """How many pictures a file holds: the slices of a TIFF stack; 1 where the format has one alone."""
    with _opened(source) as image:
        return int(getattr(image, "n_frames", 1))


def read_palette(source: Source) -> NDArray[np.uint8] | None:
    """The colours (n, 3) of a palette picture by index; none for other pictures."""
    with _opened(source) as image:
        if image.mode != "P":
            return None
        image.load()
        return np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)


def write_image(folder: Path, name: str, image: NDArray[np.uint8]) -> Path:
    """Writes uint8 RGB (H, W, 3) or grey (H, W) as `folder / name`, which is returned, whole or not at all; the suffix of the
    name chooses the format."""
    return write_whole(folder, name, encode_image(Image.fromarray(image), Path(name).suffix))


def write_labels(folder: Path, name: str, labels: NDArray[Any], classes: ClassTable) -> Path:
    """Writes class ids (H, W) as the table's values on disk: a palette PNG in its colours, or 16-bit grey above 255."""
    return write_whole(folder, name, encode_labels(labels, classes))


def encode_labels(labels: NDArray[Any], classes: ClassTable) -> bytes:
    """The bytes of the PNG that `write_labels` writes."""
    values = classes.encode(labels)
    mask = Image.fromarray(values)
    if values.dtype == np.uint8:
        palette = np.zeros((256, 3), np.uint8)
        for colours, disk in zip(classes.colours, classes.values, strict=True):
            palette[list(disk)] = colours
        palette[list(classes.void_values)] = classes.void_colour
        mask.putpalette(palette.tobytes())
    return encode_image(mask, ".png")


def encode_image(image: Image.Image, suffix: str) -> bytes:
    """The bytes of `image` in the format of `suffix`. PNG is compressed lightly: level 1 takes a fifth of the default's time."""
    kinds: dict[str, tuple[str, dict[str, Any]]] = {
        ".png": ("PNG", {"compress_level": 1}),
        ".jpg": ("JPEG", {"quality": 92}),
        ".jpeg": ("JPEG", {"quality": 92}),
        ".webp": ("WEBP", {"lossless": True}),
        ".tif": ("TIFF", {"compression": "tiff_lzw"}),
        ".tiff": ("TIFF", {"compression": "tiff_lzw"}),
        ".bmp": ("BMP", {}),
    }
    if suffix.lower() not in kinds:
        raise DataError(f"no picture format has the suffix {suffix!r}; use one of {', '.join(sorted(kinds))}.")
    kind, options = kinds[suffix.lower()]
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _name(source: Source) -> str:
    return BYTES_NAME if isinstance(source, bytes) else printable(source)


def _file(source: Source) -> BinaryIO:
    return io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb")


def _tiff_of(source: Source) -> tiff.Tiff | None:
    with closing(_file(source)) as file:
        return tiff.read_tiff(file)


def _not_read(source: Source) -> NotRead | None:
    """What to say of a file by its first bytes, where those are of a kind that is not read; none where they are of none."""
    found = _tiff_of(source)
    if found is not None:
        said = f"is a {found}, which is not read; save it as PNG or TIFF of 1 or 3 bands of 8 bits, or 1 of 16"
        return NotRead(f"{_name(source)}: {said}.")
    with closing(_file(source)) as file:
        name = unread.by_start(file.read(512))
    said = f"is a {name} file, which is not read (it is no PNG, JPEG, WEBP, TIFF or BMP); save it as PNG"
    return None if name is None else NotRead(f"{_name(source)}: {said}.")


def _rare(source: Source) -> str:
    """What else may be the matter with a TIFF that cannot be decoded; empty of other files."""
    found = _tiff_of(source)
    if found is None or found.compression not in tiff.RARE:
        return ""
    return f", or compressed as {tiff.compression_name(found.compression)}, which is not read on every machine"


@contextmanager
def _opened(source: Source, page: int = 0) -> Iterator[Image.Image]:
    """The picture, with its header read. Whatever reading raises, here or in the block, is told as DataError."""
    if not isinstance(source, bytes):
        require_plain(source)  # a pipe may never end
    file: BinaryIO | str = io.BytesIO(source) if isinstance(source, bytes) else str(source)
    try:
        with Image.open(file, formats=FORMATS) as image:
            _require_size(image, source)
            if page:
                image.seek(page)
                _require_size(image, source)  # each page has its own
            yield image
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{_name(source)}: there is no such file.") from error
    except UnidentifiedImageError as error:
        no_picture = DataError(f"{_name(source)}: is no PNG, JPEG, WEBP, TIFF or BMP picture; convert it to one.")
        raise _not_read(source) or no_picture from error
    except MemoryError as error:
        raise NotRead(f"{_name(source)}: is too large for the memory of this machine; cut it into tiles.") from error
    except Exception as error:  # of damaged files the decoders raise nearly everything
        if isinstance(error, OSError) and error.errno is not None:  # of the system, not of the decoders
            raise DataError(f"{_name(source)}: cannot be read ({error.strerror}).") from error
        reason = str(error) or type(error).__name__
        what = f"the file is damaged or cut short{_rare(source)}"
        raise DataError(f"{_name(source)}: cannot be read ({reason}); {what}.") from error


def _require_size(image: Image.Image, source: Source) -> None:
    width, height = image.size
    if width * height <= 0:
        raise DataError(f"{_name(source)}: is {height}x{width} pixels, no picture; get it again.")
    if width * height > MAX_PIXELS:
        raise NotRead(f"{_name(source)}: {height}x{width} pixels are more than {MAX_PIXELS}; cut it into tiles.")


def _require_checksum(image: Image.Image, source: Source) -> None:
    """Raises DataError where the pixels of a PNG are not those that were written: Pillow does not look at their checksum."""
    if image.format != "PNG":
        return
    file = memoryview(source if isinstance(source, bytes) else read_bytes(source))
    place = 8  # behind the signature; a chunk has its length, its kind, what it holds, and the checksum of the last two
    while place + 12 <= len(file):
        kind, end = bytes(file[place + 4 : place + 8]), place + 12 + int.from_bytes(file[place : place + 4])
        checksum = int.from_bytes(file[end - 4 : end])
        if kind == b"IDAT" and end <= len(file) and zlib_ng.crc32(file[place + 4 : end - 4]) != checksum:
            raise DataError(f"{_name(source)}: the checksum of its pixels is wrong; the file is damaged, get it again.")
        place = end


def _orientation(image: Image.Image) -> Any:
    """The EXIF tag: 1 is upright. TIFF files have it too, and Pillow has already turned those."""
    return 1 if image.format == "TIFF" else image.getexif().get(ExifTags.Base.Orientation, 1)


def _raw_mode(image: Image.Image) -> str:
    """How grey lies in a PNG or TIFF file, as `L;4`; empty for other formats."""
    tiles = getattr(image, "tile", None)
    if image.format not in ("PNG", "TIFF") or not tiles:
        return ""
    arguments = tiles[0].args
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)
