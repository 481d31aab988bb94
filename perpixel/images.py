"""Reading and writing of pictures and masks. No other module of perpixel decodes or encodes their files.

A picture becomes uint8 RGB, turned as its EXIF tag says. A mask is never converted: the values come out as they are stored.
Sizes are `(height, width)`. The header's size is checked before pixels are decoded. A file of several pages, such as a TIFF
stack, is read one page at a time. Pages are counted from 0."""

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
from perpixel.codecs import tiff, tiff_bands, unread
from perpixel.codecs.encode_png import encode_png
from perpixel.errors import DataError, PerpixelError, printable
from perpixel.files import read_bytes, require_plain, write_whole
from perpixel.limits import MAX_PIXELS

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif"})
MASK_SUFFIXES = frozenset({".png", ".tif", ".tiff", ".bmp", ".gif"})
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")
BYTES_NAME = "picture in memory"  # the name that errors give to a picture passed as bytes

# Pillow only warns between its limit and twice its limit; `_opened` refuses at MAX_PIXELS, before decoding.
Image.MAX_IMAGE_PIXELS = None
warnings.filterwarnings("ignore", category=UserWarning, module="PIL")  # on damaged tags: Pillow's warning names no file

# Pillow stretches grey values of 2 and 4 bits to 0..255 by these factors. The modes that end in "I" store white as zero, which
# TIFF allows and Pillow inverts.
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
_AS_BANDS = frozenset({"L", "LA", "RGB", "RGBA", "I;16", "I;16B", "I;16L", "I;16N"})  # modes whose values are those stored
_ALPHA_MODES = frozenset({"LA", "PA", "RGBA", "La", "RGBa"})

PictureFile = Path | str | bytes  # the path of a picture or mask, or the bytes of its file


class NotRead(DataError):
    """A file of a kind or size that perpixel does not read. The file itself may be sound."""


class TooLarge(NotRead):
    """A picture of more pixels than perpixel reads."""


def read_image(source: PictureFile, page: int = 0, turn: bool = True) -> NDArray[np.uint8]:
    """A picture as uint8 RGB (H, W, 3).

    Grey is repeated three times, alpha is left out, 16 bits become the upper 8, CMYK is converted and palette indices become
    their colours. The EXIF orientation is applied if `turn` is true. `dropped` lists the content that is lost this way.
    Raises DataError when the file is missing, damaged, too large or no picture, or has no such page."""
    with _opened(source, page) as image:
        _require_checksum(image, source)
        return image_of(image, _name(source), turn, _tiff_of(source) if image.mode in ("I", "F") else None)


def image_of(image: Image.Image, name: str, turn: bool = True, kind: tiff.Tiff | None = None) -> NDArray[np.uint8]:
    """The array that `read_image` makes of Pillow's `image`.

    Errors call the picture `name`, and describe a TIFF by its `kind`."""
    orientation = _orientation(image) if turn else 1
    turned = image.transpose(_TURNS[orientation]) if orientation in _TURNS else image
    if turned.mode.startswith("I;16"):
        grey = (np.asarray(turned).astype(np.uint32) + 128) // 257
        return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
    if turned.mode in ("I", "F"):
        shown_kind = kind or f"picture of {turned.mode}-mode values (32 bits)"
        raise NotRead(f"{name}: is a {shown_kind}, which is not read; save it with 8 or 16 bits per channel.")
    if turned.mode == "P" and "transparency" in turned.info:
        turned = turned.convert("RGBA")
    return np.array(turned if turned.mode == "RGB" else turned.convert("RGB"))


def read_bands(source: PictureFile) -> NDArray[Any]:
    """A picture with all bands as they are stored, (H, W, N): grey is one band, and alpha is a band like the others.

    Numbers keep their type, so that 16 bits stay 16 bits. Of a TIFF whose pages are of one band, one size and one type, each page
    is a band. Where a TIFF says which value means no data, as GDAL does, such pixels become NaN in float. Orientation is applied.
    Raises DataError as `read_image` does, and for a file whose bands cannot be read as they are, such as a palette;
    ResourceError for a TIFF where tifffile is not installed."""
    if not isinstance(source, bytes):
        require_plain(source)
    with _reading(source):
        with closing(_file(source)) as file:
            if file.read(4) in tiff.SIGNATURES:
                kind = tiff.read_tiff(file)
                file.seek(0)
                return tiff_bands.read(file, _name(source), kind)
        with _opened(source) as image:
            _require_checksum(image, source)
            if image.mode not in _AS_BANDS or (image.mode in ("RGB", "RGBA", "LA") and ";16" in _raw_mode(image)):
                deep = "picture of several channels of 16 bits" if ";16" in _raw_mode(image) else f"{image.mode} picture"
                raise NotRead(f"{_name(source)}: is a {deep}, whose bands are not read as they are; save it as TIFF.")
            orientation = _orientation(image)
            turned = image.transpose(_TURNS[orientation]) if orientation in _TURNS else image
            pixels = np.array(turned)
            return pixels[..., None] if pixels.ndim == 2 else pixels


def unread_pages(source: Path | str) -> int:
    """How many further pictures a TIFF holds that `read_bands` leaves out: those of the size of the first."""
    with _reading(source), closing(_file(source)) as file:
        return tiff_bands.unread_pages(file)


def resampled(
    pixels: NDArray[Any], size: tuple[int, int], how: Image.Resampling, box: tuple[float, float, float, float] | None = None
) -> NDArray[Any]:
    """Pixels at `size` = (height, width), or a `box` of them (left, upper, right, lower). uint8 RGB as a picture, other values
    (H, W, N) band by band, as floats."""
    if pixels.ndim == 3 and pixels.dtype != np.uint8:
        planes = [
            np.asarray(Image.fromarray(np.ascontiguousarray(pixels[..., band])).resize(size[::-1], how, box))
            for band in range(pixels.shape[2])
        ]
        return np.stack(planes, axis=2)
    return np.asarray(Image.fromarray(pixels).resize(size[::-1], how, box))


def read_labels(source: PictureFile, page: int = 0) -> NDArray[Any]:
    """The values stored in a mask, uint8 or uint16 (H, W): palette indices, grey values, or 16-bit values.

    EXIF tags are not applied (TIFF's own orientation is).
    Raises DataError when the file is missing, damaged, too large, lossy or coloured, or has no such page."""
    with _opened(source, page) as image:
        return _labels_of(image, source)


def _labels_of(image: Image.Image, source: PictureFile) -> NDArray[Any]:
    """The array of `read_labels`. Raises its errors."""
    if lossy := _lossy(image, source):
        raise NotRead(f"{_name(source)}: is a {lossy}, whose compression changes mask values; save masks as PNG.")
    _require_checksum(image, source)
    mode, raw_mode = image.mode, _raw_mode(image)
    if mode not in ("1", "L", "P") and not mode.startswith("I"):
        raise NotRead(
            f"{_name(source)}: is a {mode} picture; a mask holds one value per pixel (grey, palette or 16-bit PNG)."
        )
    values = np.array(image)
    if mode in ("1", "L") and raw_mode.endswith("I"):
        values = ~values
    if mode == "1":
        return values.astype(np.uint8)
    if mode in ("L", "P"):
        return values // _GREY_STRETCH[raw_mode] if raw_mode in _GREY_STRETCH else values
    if values.min() < 0 or values.max() > 65535:
        raise NotRead(f"{_name(source)}: holds values outside 0..65535; renumber the mask.")
    return values.astype(np.uint16)


@dataclass(frozen=True)
class AnyMask:
    """What a mask file stores, of one channel or of several."""

    pixels: NDArray[Any]  # the values of `read_labels` (H, W), or channels (H, W, 2 to 4): grey or RGB, then alpha
    palette: NDArray[np.uint8] | None  # the colours (n, 3) of the values
    white: int  # the greatest value that one channel could hold: 1 where the file has one bit
    lossy: str = ""  # the name of a compression that changed the values; empty where there is none


def read_any_mask(source: PictureFile) -> AnyMask:
    """A mask as it is stored, in one channel or in several. Raises DataError as `read_labels` does, but for masks that are
    coloured, or were saved with loss. Of the latter `pixels` are grey values or channels of 8 bits."""
    with _opened(source) as image:
        if (lossy := _lossy(image, source)) and image.mode in ("L", "LA", "RGB", "RGBA", "CMYK", "YCbCr"):
            stored = image.convert("RGB") if image.mode in ("CMYK", "YCbCr") else image
            return AnyMask(np.array(stored), None, 255, lossy)
        if image.mode in ("LA", "RGB", "RGBA", "PA"):
            _require_checksum(image, source)
            return AnyMask(np.array(image.convert("RGBA") if image.mode == "PA" else image), None, 255)
        values = _labels_of(image, source)
        palette = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3) if image.mode == "P" else None
        return AnyMask(values, palette, {"1": 1, "L": 255, "P": 255}.get(image.mode, 65535))


def read_labels_fast(source: PictureFile) -> NDArray[Any]:
    """The same values as `read_labels`, five times as fast for large PNG masks.

    The first call takes half a second more, so this is for whole data sets and not for one mask."""
    from perpixel.codecs.png import read_png_labels  # imported here, because numba takes that half second to load

    try:
        values = read_png_labels(source, MAX_PIXELS)
    except MemoryError:
        values = None  # Pillow may need less memory; if not, `read_labels` raises the error
    return read_labels(source) if values is None else values


def read_size(source: PictureFile, turn: bool = True) -> tuple[int, int]:
    """`(height, width)` without converting pixels: with `turn` the size of `read_image`, without it that of `read_labels`."""
    with _opened(source) as image:
        width, height = image.size
        turned = turn and _orientation(image) in _QUARTER_TURNS
    return (width, height) if turned else (height, width)


def read_size_of_bands(source: PictureFile) -> tuple[int, int]:
    """`(height, width)` of `read_bands`, without its pixels."""
    try:
        return read_size(source)
    except NotRead:
        with closing(_file(source)) as file:
            size = tiff.read_size(file)
        if size is None:
            raise
        return size


@dataclass(frozen=True)
class Header:
    """The properties of a picture file that its header states."""

    format: str  # such as "PNG"
    mode: str  # Pillow's
    size: tuple[int, int]  # as stored, before any turn
    orientation: int  # the EXIF tag; 1 is upright
    pages: int
    transparent: bool  # alpha may make pixels transparent
    bands: int
    unread: int  # how many of `bands` are not read
    bits: int  # of each band
    lossy: str  # the name of a compression that changes values; empty where there is none


def read_header(source: PictureFile, turn: bool = True) -> Header:
    """The header of a picture file.

    Without `turn` each file counts as upright, as masks do. That is faster, because a PNG may have its EXIF tag behind its
    pixels. Raises DataError when the file is missing, too large or no picture."""
    with _opened(source) as image:
        width, height = image.size
        bits = 16 if image.mode.startswith("I;16") or ";16" in _raw_mode(image) else 8
        bands, unread, alpha = _bands(image)
        pages = _pages(image)
        orientation = int(_orientation(image)) if turn else 1
        lossy = _lossy(image, source)
        return Header(str(image.format), image.mode, (height, width), orientation, pages, alpha, bands, unread, bits, lossy)


@dataclass(frozen=True)
class Dropped:
    """Content of a picture file that `read_image` leaves out, such as alpha. Without a place in the picture, the last three are
    None."""

    kind: str  # a key of `defects.KINDS`
    clause: str  # continues a sentence that begins with the file's name
    pixel: tuple[int, int] | None = None  # row and column of the first pixel
    value: int | None = None  # the value of that pixel
    count: int | None = None  # the number of pixels


def dropped(source: PictureFile, header: Header | None = None) -> tuple[Dropped, ...]:
    """The content that `read_image` leaves out: further pages, further bands, the lower 8 of 16 bits, and alpha.

    f"{file}: {left_out.clause}." reports it. The header is read unless it is given. The pixels are read only where the file has
    16 bits or alpha. Raises DataError as `read_image` does."""
    header = header or read_header(source, turn=False)
    left_out = []
    if header.pages > 1:
        left_out.append(Dropped("several pages", f"holds {header.pages} pictures, of which the first is read"))
    if header.unread:
        read = header.bands - header.unread
        first = f"first {read} are" if read > 1 else "first is"
        clause = f"has {header.bands} bands, of which the {first} read"
        left_out.append(Dropped("further bands", clause))
    if header.bits == 16:
        clause = f"has 16 bits per pixel, of which networks see the upper 8: {_greatest(source, header)}"
        left_out.append(Dropped("16-bit picture", clause))
    if header.transparent:
        alpha = read_alpha(source)
        clear = np.flatnonzero(alpha < 255)
        if len(clear):
            row, column = divmod(int(clear[0]), alpha.shape[1])
            value = int(alpha[row, column])
            clause = f"is transparent at row {row}, column {column} ({len(clear)} pixels, alpha {value}), and alpha is not read"
            left_out.append(Dropped("transparent picture", clause, (row, column), value, len(clear)))
    return tuple(left_out)


def _greatest(source: PictureFile, header: Header) -> str:
    """A clause that says how dark a 16-bit picture becomes. A picture of 12 bits in 16 is nearly black."""
    seen = int(read_image(source).max())
    stored = f" {int(read_stored(source).max())} of 65535" if header.mode.startswith("I;16") else ""
    dark = ", nearly black" if seen < 32 else ""
    return f"its greatest value{stored} becomes {seen} of 255{dark}"


def _bands(image: Image.Image) -> tuple[int, int, bool]:
    """The number of bands, the number of bands that are not read, and whether there is alpha."""
    alpha = image.mode in _ALPHA_MODES or "transparency" in image.info
    bands = len(image.getbands())
    if image.format != "TIFF":
        return bands, 0, alpha
    tags = image.tag_v2  # type: ignore[attr-defined]  # of TIFF alone
    bands, extra = int(tags.get(tiff.BANDS, 1)), tags.get(tiff.EXTRA_BANDS, ())
    alphas = sum(kind != 0 for kind in (extra if isinstance(extra, tuple) else (extra,)))
    colours = tiff.COLOURS.get(image.mode, 1 if image.mode.startswith("I") else 3)
    return bands, max(0, bands - colours - alphas), alpha and alphas > 0


def _lossy(image: Image.Image, source: PictureFile) -> str:
    """The name of the file's format or compression if it changes values, else an empty string."""
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
    """Whether the first picture lies in a chunk `VP8 `, which is lossy. A chunk `VP8L` is lossless.

    In an animation the chunk lies in the first frame."""
    place, end = 12, file.seek(0, io.SEEK_END)
    while place + 8 <= end:
        file.seek(place)
        kind, length = file.read(4), int.from_bytes(file.read(4), "little")
        if kind in (b"VP8 ", b"VP8L"):
            return kind == b"VP8 "
        place += 8 + (16 if kind == b"ANMF" else length + length % 2)  # a frame holds 16 bytes of its own, then chunks
    return False


def read_stored(source: PictureFile) -> NDArray[Any]:
    """Pixels as they are stored, (H, W) or (H, W, channels). It also reads files that `read_labels` refuses as masks.

    Raises DataError, as `read_labels` does, for a file that cannot be read."""
    with _opened(source) as image:
        _require_checksum(image, source)
        return np.array(image)


def read_alpha(source: PictureFile) -> NDArray[np.uint8]:
    """How opaque each pixel is, (H, W), 0..255. 255 is opaque; a file without transparency has only opaque pixels."""
    with _opened(source) as image:
        return np.array(image.convert("RGBA").getchannel("A"))


def count_pages(source: PictureFile) -> int:
    """The number of pictures in a file, such as the slices of a TIFF stack. It is 1 for formats that hold one picture.

    Smaller copies of a picture, which rasters have, and masks of transparency are no further pictures."""
    with _opened(source) as image:
        return _pages(image)


def _pages(image: Image.Image) -> int:
    """The number of `count_pages`. The file is at its first page again afterwards."""
    frames = int(getattr(image, "n_frames", 1))
    if image.format != "TIFF" or frames == 1:
        return frames
    pages = 0
    for frame in range(frames):
        image.seek(frame)
        pages += not int(image.tag_v2.get(tiff.KIND_OF_PAGE, 0)) & tiff.NO_PICTURE  # type: ignore[attr-defined]
    image.seek(0)
    return max(1, pages)


def read_palette(source: PictureFile) -> NDArray[np.uint8] | None:
    """The colours (n, 3) of a palette picture, by index. None for other pictures."""
    with _opened(source) as image:
        if image.mode != "P":
            return None
        image.load()
        return np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)


def write_image(folder: Path, name: str, image: NDArray[np.uint8]) -> Path:
    """Writes uint8 RGB (H, W, 3) or grey (H, W) as `folder / name`, whole or not at all, and returns that path.

    The suffix of the name chooses the format."""
    return write_whole(folder, name, encode_image(Image.fromarray(image), Path(name).suffix))


def write_labels(folder: Path, name: str, labels: NDArray[Any], classes: ClassTable) -> Path:
    """Writes class ids (H, W) as the disk values of the table, and returns the path.

    The file is a PNG with the table's colours as palette, or 16-bit grey where a disk value is above 255."""
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
    return encode_image(mask, ".png", labels=True)


def encode_image(image: Image.Image, suffix: str, labels: bool = False) -> bytes:
    """The bytes of `image` in the format that `suffix` names. `labels` are compressed as `encode_png` says.

    Raises DataError for a suffix of no picture format."""
    pillow_formats: dict[str, tuple[str, dict[str, Any]]] = {
        ".png": ("PNG", {"compress_level": 1}),
        ".jpg": ("JPEG", {"quality": 92}),
        ".jpeg": ("JPEG", {"quality": 92}),
        ".webp": ("WEBP", {"lossless": True}),
        ".tif": ("TIFF", {"compression": "tiff_lzw"}),
        ".tiff": ("TIFF", {"compression": "tiff_lzw"}),
        ".bmp": ("BMP", {}),
    }
    if suffix.lower() not in pillow_formats:
        raise DataError(f"no picture format has the suffix {suffix!r}; use one of {', '.join(sorted(pillow_formats))}.")
    pillow_format, options = pillow_formats[suffix.lower()]
    if pillow_format == "PNG" and (encoded := encode_png(image, labels)) is not None:
        return encoded
    buffer = io.BytesIO()
    image.save(buffer, pillow_format, **options)
    return buffer.getvalue()


def _name(source: PictureFile) -> str:
    return BYTES_NAME if isinstance(source, bytes) else printable(source)


def _file(source: PictureFile) -> BinaryIO:
    return io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb")


def _tiff_of(source: PictureFile) -> tiff.Tiff | None:
    with closing(_file(source)) as file:
        return tiff.read_tiff(file)


def _not_read(source: PictureFile) -> NotRead | None:
    """The error for a file whose first bytes show a kind that is not read. None where they show no known kind."""
    tiff_kind = _tiff_of(source)
    if tiff_kind is not None:
        remedy = "save it as PNG or TIFF of 1 or 3 bands of 8 bits, or 1 of 16; of a picture, a bands.csv may name the bands"
        message = f"is a {tiff_kind}, which is not read; {remedy}"
        return NotRead(f"{_name(source)}: {message}.")
    with closing(_file(source)) as file:
        name = unread.by_start(file.read(512))
    message = f"is a {name} file, which is not read (it is no PNG, JPEG, WEBP, TIFF, BMP or GIF); save it as PNG"
    return None if name is None else NotRead(f"{_name(source)}: {message}.")


def _rare(source: PictureFile) -> str:
    """A further possible cause where a TIFF cannot be decoded: a rare compression. Empty for other files."""
    tiff_kind = _tiff_of(source)
    if tiff_kind is None or tiff_kind.compression not in tiff.RARE:
        return ""
    return f", or compressed as {tiff.compression_name(tiff_kind.compression)}, which is not read on every machine"


@contextmanager
def _opened(source: PictureFile, page: int = 0) -> Iterator[Image.Image]:
    """Yields Pillow's picture after reading the header. Each error of reading, here or in the block, becomes a DataError."""
    if not isinstance(source, bytes):
        require_plain(source)  # a pipe may never end
    file: BinaryIO | str = io.BytesIO(source) if isinstance(source, bytes) else str(source)
    with _reading(source), Image.open(file, formats=FORMATS) as image:
        _require_size(image, source)
        if page:
            image.seek(page)
            _require_size(image, source)  # each page has its own size
        yield image


@contextmanager
def _reading(source: PictureFile) -> Iterator[None]:
    """Each error of reading the file in the block becomes a DataError."""
    try:
        yield
    except PerpixelError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{_name(source)}: there is no such file.") from error
    except UnidentifiedImageError as error:
        no_picture = DataError(f"{_name(source)}: is no PNG, JPEG, WEBP, TIFF, BMP or GIF picture; convert it to one.")
        raise _not_read(source) or no_picture from error
    except MemoryError as error:
        raise NotRead(f"{_name(source)}: is too large for the memory of this machine; cut it into tiles.") from error
    except Exception as error:  # for damaged files the decoders raise nearly every kind of error
        if isinstance(error, OSError) and error.errno is not None:  # an error of the system, not of a decoder
            raise DataError(f"{_name(source)}: cannot be read ({error.strerror}).") from error
        reason = str(error) or type(error).__name__
        likely_cause = f"the file is damaged or cut short{_rare(source)}"
        raise DataError(f"{_name(source)}: cannot be read ({reason}); {likely_cause}.") from error


def _require_size(image: Image.Image, source: PictureFile) -> None:
    width, height = image.size
    if width * height <= 0:
        raise DataError(f"{_name(source)}: is {height}x{width} pixels, no picture; get it again.")
    if width * height > MAX_PIXELS:
        raise TooLarge(f"{_name(source)}: {height}x{width} pixels are more than {MAX_PIXELS}; cut it into tiles.")


def _require_checksum(image: Image.Image, source: PictureFile) -> None:
    """Raises DataError where the checksum of a PNG's pixels is wrong. Pillow does not check it."""
    if image.format != "PNG":
        return
    file = memoryview(source if isinstance(source, bytes) else read_bytes(source))
    place = 8  # behind the signature. A chunk has four parts: length, kind, content, and the checksum of kind and content
    while place + 12 <= len(file):
        kind, end = bytes(file[place + 4 : place + 8]), place + 12 + int.from_bytes(file[place : place + 4])
        checksum = int.from_bytes(file[end - 4 : end])
        if kind == b"IDAT" and end <= len(file) and zlib_ng.crc32(file[place + 4 : end - 4]) != checksum:
            raise DataError(f"{_name(source)}: the checksum of its pixels is wrong; the file is damaged, get it again.")
        place = end


def _orientation(image: Image.Image) -> Any:
    """The EXIF orientation: 1 is upright. It is 1 for every TIFF, because Pillow has already turned the picture."""
    return 1 if image.format == "TIFF" else image.getexif().get(ExifTags.Base.Orientation, 1)


def _raw_mode(image: Image.Image) -> str:
    """Pillow's name for the stored form of grey in a PNG or TIFF file, such as `L;4`. Empty for other formats."""
    tiles = getattr(image, "tile", None)
    if image.format not in ("PNG", "TIFF") or not tiles:
        return ""
    arguments = tiles[0].args
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)
