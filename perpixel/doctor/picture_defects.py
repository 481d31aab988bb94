"""Defects of a picture file: of its header, and of its pixels."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from perpixel.codecs import tiff
from perpixel.doctor.defects import Problem, failed, problem
from perpixel.errors import DataError
from perpixel.files import require_plain
from perpixel.images import Header, NotRead, dropped, read_header, read_image

SUFFIXES_OF = {
    "PNG": (".png",), "JPEG": (".jpg", ".jpeg"), "MPO": (".jpg", ".jpeg"), "WEBP": (".webp",), "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp",), "GIF": (".gif",),
}  # fmt: skip
SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"BM", b"GIF8", *tiff.SIGNATURES)
PNG, PNG_END = SIGNATURES[0], b"IEND\xaeB`\x82"
TAIL = 4096  # bytes at the end of a file in which PNG_END is searched, because some programs append data
MIRRORED, TURNED = (2, 3, 4), (5, 6, 7, 8)  # EXIF orientations that keep the size, and that swap height and width
THUMBNAIL = 16


def header_of(path: Path, problems: list[Problem], turn: bool = True) -> Header | None:
    """The header of `read_header`, or None with the reason added to `problems`. A suffix of another format is added too."""
    try:
        header = read_header(path, turn)
    except DataError as error:
        problems.append(_broken(path, error))
        return None
    suffixes = SUFFIXES_OF.get(header.format, ())
    if path.suffix.lower() not in suffixes:
        clause = f"is a {header.format} file with the extension {path.suffix}"
        problems.append(problem("wrong extension", path, clause, f"rename it to {path.stem}{suffixes[0]}" if suffixes else None))
    return header


def read(reader: Callable[[Path], NDArray[Any]], path: Path, problems: list[Problem]) -> NDArray[Any] | None:
    """The pixels of `reader`, or None with the reason added to `problems`. A PNG without its end is added too."""
    try:
        pixels = reader(path)
    except DataError as error:
        problems.append(_broken(path, error))
        return None
    if not _has_end(path):
        problems.append(problem("cut short", path, "has all its pixels, but not the end of a PNG"))
    return pixels


def picture(path: Path, problems: list[Problem]) -> tuple[NDArray[np.uint8] | None, Header | None]:
    """The picture, uint8 RGB (H, W, 3), and its header. Adds its defects to `problems`. A part that cannot be read is None."""
    header = header_of(path, problems)
    if header is None:
        return None, None
    if header.mode == "CMYK":
        problems.append(problem("CMYK picture", path, "has printing colours (CMYK)"))
    image = read(read_image, path, problems)
    if image is None:
        return None, header
    problems += left_out(path, header)
    if _is_plain(image):
        value = tuple(int(channel) for channel in image[0, 0])
        count = image.shape[0] * image.shape[1]
        problems.append(problem("one colour", path, f"every pixel is {value}", pixel=(0, 0), value=value, count=count))
    return image, header


def _is_plain(image: NDArray[np.uint8]) -> bool:
    """Whether all pixels are equal. Of nearly every picture, a few pixels already show that they are not."""
    return not np.any(image[::32, ::32] != image[0, 0]) and not np.any(image != image[0, 0])


def is_grey(image: NDArray[np.uint8]) -> bool:
    """Whether the three channels are equal, on every fourth row and column."""
    pixels = image[::4, ::4]
    return bool((pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 0] == pixels[..., 2]).all())


def thumbnail(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey means over a grid, uint8 (16, 16). They hardly differ between a picture and its copy that was saved or scaled anew."""
    grey = Image.fromarray(image).convert("L")
    return np.asarray(grey.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX))


def _has_end(path: Path) -> bool:
    """False for a PNG without its end. Pillow accepts a PNG that has all its pixels; in other formats it notices a missing
    end."""
    with path.open("rb") as file:
        if file.read(len(PNG)) != PNG:
            return True
        file.seek(-min(TAIL, os.path.getsize(path)), os.SEEK_END)
        return PNG_END in file.read()


def left_out(path: Path, header: Header) -> list[Problem]:
    """A problem for each part of a picture that reading leaves out, such as alpha."""
    return [
        problem(part.kind, path, part.clause, pixel=part.pixel, value=part.value, count=part.count)
        for part in dropped(path, header)
    ]


def _broken(path: Path, error: DataError) -> Problem:
    """The problem of a file that cannot be read: it is empty, damaged, or of a kind that is not read."""
    try:
        require_plain(path)
        with path.open("rb") as file:
            start = file.read(8)
    except (DataError, OSError):
        return failed(path, error)
    if not start:
        return problem("empty file", path, "has 0 bytes")
    not_read = isinstance(error, NotRead) or not start.startswith(SIGNATURES)
    return failed(path, error, "unreadable" if not_read else "damaged")
