"""The one door for bytes: pictures and masks in, masks and pictures out. Nothing else in perpixel decodes or encodes them.

A picture becomes uint8 RGB, turned as its EXIF tag says. A mask is never converted: what is stored comes out, to the last
pixel. Sizes are `(height, width)` and are checked in the header before anything is decoded. A file of several pages, as TIFF may
be, is read one page at a time, counted from 0."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from perpixel.classes import ClassTable
from perpixel.errors import DataError
from perpixel.files import require_plain, write_whole

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"})
MASK_SUFFIXES = frozenset({".png", ".tif", ".tiff", ".bmp"})
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")
MAX_PIXELS = 2**28
BYTES_NAME = "picture in memory"  # how errors call a picture that came as bytes

# Pillow only warns between its limit and twice its limit; `_opened` refuses at MAX_PIXELS, before decoding.
Image.MAX_IMAGE_PIXELS = None

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

Source = Path | str | bytes


def read_image(source: Source, page: int = 0) -> NDArray[np.uint8]:
    """A picture as uint8 RGB (H, W, 3): grey is repeated, alpha dropped, 16 bits become the upper 8, CMYK is converted,
    palettes are looked up and the EXIF orientation is applied.

    `source` is a path or the file's bytes. Raises DataError when it is missing, damaged, too large or no picture, or has no
    such page."""
    with _opened(source, page) as image:
        return image_of(image, _name(source))


def image_of(image: Image.Image, name: str) -> NDArray[np.uint8]:
    """What `read_image` makes of a picture of Pillow, which errors call `name`."""
    orientation = _orientation(image)
    turned = image.transpose(_TURNS[orientation]) if orientation in _TURNS else image
    if turned.mode.startswith("I;16"):
        grey = (np.asarray(turned).astype(np.uint32) + 128) // 257
        return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
    if turned.mode in ("I", "F"):
        raise DataError(f"{name}: holds {turned.mode}-mode values (32 bits); save it with 8 or 16 bits per channel.")
    if turned.mode == "P" and "transparency" in turned.info:
        turned = turned.convert("RGBA")
    return np.array(turned if turned.mode == "RGB" else turned.convert("RGB"))


def read_labels(source: Source, page: int = 0) -> NDArray[Any]:
    """The values stored in a mask, uint8 or uint16 (H, W): palette indices, grey values, or 16-bit values.

    EXIF tags are not applied (TIFF's own orientation is).
    Raises DataError when the file is missing, damaged, too large, lossy or coloured, or has no such page."""
    with _opened(source, page) as image:
        if image.format in ("JPEG", "MPO"):
            raise DataError(f"{_name(source)}: is a JPEG, whose compression changes mask values; save masks as PNG.")
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
            raise DataError(f"{_name(source)}: holds values outside 0..65535; renumber the mask.")
        return values.astype(np.uint16)
    raise DataError(f"{_name(source)}: is a {mode} picture; a mask holds one value per pixel (grey, palette or 16-bit PNG).")


def read_labels_fast(source: Source) -> NDArray[Any]:
    """As `read_labels`, five times as fast for large masks in PNG, at the price of half a second in the beginning: for whole
    sets of street scenes, not for one mask."""
    from perpixel.png import read_png_labels  # only now: numba takes that time to load

    values = read_png_labels(source, MAX_PIXELS)
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
    `pages`, and whether it has transparency."""

    format: str
    mode: str
    size: tuple[int, int]
    orientation: int
    pages: int
    transparent: bool


def read_header(source: Source, turn: bool = True) -> Header:
    """Without `turn` each file counts as upright, as masks do: a PNG may have its tag behind its pixels, and all of it is read.

    Raises DataError when the file is missing, too large or no picture."""
    with _opened(source) as image:
        width, height = image.size
        transparent = image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info
        pages = int(getattr(image, "n_frames", 1))
        orientation = int(_orientation(image)) if turn else 1
        return Header(str(image.format), image.mode, (height, width), orientation, pages, transparent)


def read_stored(source: Source) -> NDArray[Any]:
    """Pixels as they are stored, (H, W) or (H, W, channels): what a file that is no mask holds in place of one.

    Raises DataError as `read_labels` does for a file that cannot be read."""
    with _opened(source) as image:
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
    return BYTES_NAME if isinstance(source, bytes) else str(source)


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
        raise DataError(f"{_name(source)}: is no PNG, JPEG, WEBP, TIFF or BMP picture; convert it to one.") from error
    except MemoryError as error:
        raise DataError(f"{_name(source)}: is too large for the memory of this machine; cut it into tiles.") from error
    except Exception as error:  # of damaged files the decoders raise nearly everything
        reason = str(error) or type(error).__name__
        raise DataError(f"{_name(source)}: cannot be read ({reason}); the file is damaged or cut short.") from error


def _require_size(image: Image.Image, source: Source) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise DataError(f"{_name(source)}: {height}x{width} pixels are more than {MAX_PIXELS}; cut it into tiles.")


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
