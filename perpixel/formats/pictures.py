"""The pictures that annotations name: finding them below a folder, naming them, checking their size, and copying them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.datasets.coco_annotations import read_json
from perpixel.datasets.folder import files_below
from perpixel.datasets.pairing_names import MASK_WORDS, OTHER_WORDS, PICTURE_WORDS, SPLIT_WORDS
from perpixel.errors import DataError, printable
from perpixel.files import read_bytes, write_whole
from perpixel.formats.exchange import Notices, reason_refused
from perpixel.images import PICTURE_SUFFIXES, read_header, read_image, read_size, write_image
from perpixel.masks.rle import shown

SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "MPO": ".jpg", "WEBP": ".webp", "TIFF": ".tif", "BMP": ".bmp", "GIF": ".gif"}


@contextmanager
def all_or_none() -> Iterator[list[Path]]:
    """Yields a list for the written files of one picture. If an error ends the block, the files of the list are removed."""
    written: list[Path] = []
    try:
        yield written
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise


def put_picture(
    picture: Path | bytes | NDArray[np.uint8],
    folder: Path,
    name: str,
    notices: Notices,
    written: list[Path],
    target: str | None = None,
    png: bool = False,
) -> Path:
    """Copies the picture `name` below `folder`, byte for byte, to `target`, a path without suffix; by default to its name.

    The copy is a PNG instead where the picture has no file, has a rotation tag, or `png` is true. Returns the path of the copy,
    and adds it to `written`."""
    target = target or name
    if isinstance(picture, np.ndarray):
        written.append(write_image(folder, f"{target}.png", picture))
        return written[-1]
    header, pixels = read_header(picture), read_image(picture)  # raises for a damaged picture, before it is copied
    if header.orientation != 1 or (png and header.format != "PNG"):
        notices.add("turned" if header.orientation != 1 else "png", name)
        written.append(write_image(folder, f"{target}.png", pixels))
    elif isinstance(picture, bytes):
        written.append(write_whole(folder, target + SUFFIXES[header.format], picture, durable=False))
    else:
        written.append(write_whole(folder, target + picture.suffix.lower(), read_bytes(picture), durable=False))
    return written[-1]


def require_picture_size(picture: Path | bytes, size: tuple[int, int], where: str) -> None:
    """Raises DataError where the upright picture does not have this `size` (height, width). `where` names the annotation."""
    actual = read_size(picture)
    if actual != size:
        place = "in it" if isinstance(picture, bytes) else printable(picture)
        message = f"{size[0]}x{size[1]}, the picture {place} is {actual[0]}x{actual[1]} (height x width)"
        turned = "; its rotation tag turns it" if actual == size[::-1] and read_size(picture, turn=False) == size else ""
        raise DataError(f"{where}: says {message}{turned}; correct one of the two.")


class PictureFinder:
    """Finds the pictures below a folder by the names that annotations give. No name leads out of the folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._named: dict[str, list[Path]] = {}
        self._stems: dict[str, list[Path]] = {}
        for paths in files_below(folder, PICTURE_SUFFIXES).values():
            for path in paths:
                name = unicodedata.normalize("NFC", path.name)
                self._named.setdefault(name, []).append(path)
                self._stems.setdefault(Path(name).stem, []).append(path)

    def find(self, reference: str, where: str, split: str = "") -> Path:
        """The picture that `reference` names: by its file name, else by the same name with another suffix.

        Of several pictures with the name, the first of these rules decides: the path shares more folder names with `reference`;
        a folder is called like the `split`; folders are called like pictures and not like masks; the folder holds the others.
        Raises DataError where no picture or several pictures fit."""
        parts = path_parts(reference, where)
        candidates = self._named.get(parts[-1]) or self._stems.get(Path(parts[-1]).stem)
        if not candidates:
            raise DataError(f"{where}: there is no picture {reference[:200]!r} below {self.folder}; put it there, or "
                            f"name its folder with --pictures.")  # fmt: skip
        ranks = {path: self._rank(path, parts, split) for path in candidates}
        nearest = sorted((path for path in candidates if ranks[path] == max(ranks.values())), key=lambda path: len(path.parts))
        first = nearest[0].parts[: -ranks[nearest[0]][0]]  # the folder below which `reference` is its path
        for other in nearest[1:]:
            if other.parts[: len(first)] != first or len(other.parts) == len(nearest[0].parts):
                paths = f"{printable(nearest[0])} or {printable(other)}"
                raise DataError(f"{where}: {reference[:200]!r} may be {paths}; name the folder of the pictures with "
                                f"--pictures, or keep one of the two.")  # fmt: skip
        return nearest[0]

    def _rank(self, path: Path, parts: Sequence[str], split: str) -> tuple[int, bool, int]:
        folders = path.relative_to(self.folder).parts[:-1]
        words = {word for part in folders for word in re.split(r"[_\-. ]+", part.lower())}
        likely_pictures = bool(words & PICTURE_WORDS) - bool(words & (MASK_WORDS | OTHER_WORDS))
        return _shared(path, parts), any(split_of_folder(part) == split for part in folders), likely_pictures


def _shared(path: Path, parts: Sequence[str]) -> int:
    """The number of equal names at the ends of a path and of `parts`."""
    pairs = zip(reversed(path.parts), reversed(parts), strict=False)
    equal = (unicodedata.normalize("NFC", a) == b for a, b in pairs)
    return next((count for count, is_equal in enumerate(equal) if not is_equal), min(len(path.parts), len(parts)))


def read_json_or_none(path: Path) -> Any:
    """The content of a JSON file, to see whose format it is. None where it cannot be read."""
    try:
        return read_json(path)
    except DataError:
        return None


def path_parts(reference: Any, where: str) -> list[str]:
    """The folder and file names of a relative path, with slashes or backslashes. Parts that lead up or to a root are left out.

    Raises DataError for a value that is no text, and where no name is left."""
    if not isinstance(reference, str):
        raise DataError(f"{where}: the name of the picture is {shown(reference)}, not a text; correct it.")
    parts = [part for part in re.split(r"[/\\]", reference) if part not in ("", ".", "..") and not part.endswith(":")]
    reason = reason_refused(reference)
    if not parts or reason:
        clause = f"is no name of a picture{reason and ', as it '}{reason}"
        raise DataError(f"{where}: {reference[:80]!r} {clause}; correct it.")
    return [unicodedata.normalize("NFC", part) for part in parts]


def without_suffix(parts: Sequence[str]) -> list[str]:
    """The names of a path, the last name without its suffix."""
    return [*parts[:-1], PurePosixPath(parts[-1]).stem]


def name_and_split(parts: Sequence[str], split: str = "") -> tuple[str, str]:
    """The name of a picture, and its split. `parts` are the names of its path without suffix.

    Without a `split`, a first folder that is called like a split gives it. The name leaves out a first folder that equals the
    split."""
    first = split_of_folder(parts[0]) if len(parts) > 1 else ""
    own_split = split or first
    return "/".join(parts[1:] if first and first == own_split else parts), own_split


def split_of_folder(name: str) -> str:
    """The split that a folder's name means: `val` for `valid` and `Validation2017`. Empty for `train station`."""
    return SPLIT_WORDS.get(name.lower().strip("0123456789-_ "), "")


def split_of_name(name: str) -> str:
    """The split that a name contains: `train` for a file `instances_train2017`. Empty where there is none."""
    words = re.split(r"[^a-z]+", name.lower())
    return next((SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS), "")
