"""What is wrong with a file before its pixels are looked at, and with the pixels of a picture."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from perpixel.defects import Problem, problem
from perpixel.errors import DataError, printable
from perpixel.images import Header, read_alpha, read_header, read_image

SUFFIXES_OF = {
    "PNG": (".png",), "JPEG": (".jpg", ".jpeg"), "MPO": (".jpg", ".jpeg"), "WEBP": (".webp",), "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp",),
}  # fmt: skip
SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"II*\0", b"MM\0*", b"BM")
PNG, PNG_END, TAIL = SIGNATURES[0], b"IEND\xaeB`\x82", 4096  # bytes from the end in which to look for it: some append theirs
MIRRORED, TURNED = (2, 3, 4), (5, 6, 7, 8)  # EXIF orientations that keep the size, and that swap height and width
THUMBNAIL = 16


def header_of(path: Path, problems: list[Problem], turn: bool = True) -> Header | None:
    """The header as `read_header` has it; without one, what is wrong is added to `problems`, as is a suffix of another format."""
    try:
        header = read_header(path, turn)
    except DataError as error:
        problems.append(_broken(path, error))
        return None
    suffixes = SUFFIXES_OF.get(header.format, ())
    if path.suffix.lower() not in suffixes:
        said = f"is a {header.format} file with the extension {path.suffix}"
        problems.append(problem("wrong extension", path, said, f"rename it to {path.stem}{suffixes[0]}" if suffixes else None))
    return header


def read(reader: Callable[[Path], NDArray[Any]], path: Path, problems: list[Problem]) -> NDArray[Any] | None:
    """The pixels; without them, or where the file does not end as it should, what is wrong is added to `problems`."""
    try:
        pixels = reader(path)
    except DataError as error:
        problems.append(_broken(path, error))
        return None
    if not _has_end(path):
        problems.append(problem("cut short", path, "has all its pixels, but not the end of a PNG"))
    return pixels


def picture(path: Path, problems: list[Problem]) -> tuple[NDArray[np.uint8] | None, Header | None]:
    """The picture as networks see it, and its header; adds what is wrong with it to `problems`."""
    header = header_of(path, problems)
    if header is None:
        return None, None
    if header.pages > 1:
        problems.append(problem("several pages", path, f"holds {header.pages} pictures, of which the first is read"))
    if header.mode.startswith("I;16"):
        problems.append(problem("16-bit picture", path, "has 16 bits per pixel, of which networks see the upper 8"))
    if header.mode == "CMYK":
        problems.append(problem("CMYK picture", path, "has printing colours (CMYK)"))
    image = read(read_image, path, problems)
    if image is None:
        return None, header
    if header.transparent:
        problems += _transparent(path)
    if _is_plain(image):
        value = tuple(int(one) for one in image[0, 0])
        count = image.shape[0] * image.shape[1]
        problems.append(problem("one colour", path, f"every pixel is {value}", pixel=(0, 0), value=value, count=count))
    return image, header


def _is_plain(image: NDArray[np.uint8]) -> bool:
    """Whether all pixels are equal; a few tell it of nearly every picture that it is not so."""
    return not np.any(image[::32, ::32] != image[0, 0]) and not np.any(image != image[0, 0])


def is_grey(image: NDArray[np.uint8]) -> bool:
    """Whether the three channels are equal, on every fourth row and column."""
    some = image[::4, ::4]
    return bool((some[..., 0] == some[..., 1]).all() and (some[..., 0] == some[..., 2]).all())


def thumbnail(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey means over a grid of 16 x 16, uint8: what is alike of two pictures that were saved or scaled anew."""
    grey = Image.fromarray(image).convert("L")
    return np.asarray(grey.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX))


def _has_end(path: Path) -> bool:
    """False for a PNG alone: Pillow takes one as whole once it has all pixels, and finds the other formats' ends missing."""
    with path.open("rb") as file:
        if file.read(len(PNG)) != PNG:
            return True
        file.seek(-min(TAIL, os.path.getsize(path)), os.SEEK_END)
        return PNG_END in file.read()


def _transparent(path: Path) -> list[Problem]:
    alpha = read_alpha(path)
    clear = np.argwhere(alpha < 255)
    if not len(clear):
        return []
    row, column = (int(one) for one in clear[0])
    said = f"is transparent at row {row}, column {column} ({len(clear)} pixels, alpha {alpha[row, column]})"
    return [problem("transparent picture", path, said, pixel=(row, column), value=alpha[row, column], count=len(clear))]


def _broken(path: Path, error: DataError) -> Problem:
    """Which kind of unreadable file it is."""
    message = str(error).replace(str(path), printable(path))
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError:
        return Problem("unreadable", "error", printable(path), message)
    if not start:
        return problem("empty file", path, "has 0 bytes")
    whole = "32 bits" in message or "more than" in message  # refused, not broken
    kind = "damaged" if start.startswith(SIGNATURES) and not whole else "unreadable"
    return Problem(kind, "error", printable(path), message)
