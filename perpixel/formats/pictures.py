"""Pictures of annotations: found below a folder by what a file calls them, named, measured and copied."""

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
from perpixel.datasets.pairing import MASK_WORDS, OTHER_WORDS, PICTURE_WORDS, SPLIT_WORDS
from perpixel.errors import DataError, printable
from perpixel.files import read_bytes, write_whole
from perpixel.formats.exchange import Told, unkept
from perpixel.images import PICTURE_SUFFIXES, read_header, read_image, read_size, write_image
from perpixel.masks.rle import shown

SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "MPO": ".jpg", "WEBP": ".webp", "TIFF": ".tif", "BMP": ".bmp"}


@contextmanager
def together() -> Iterator[list[Path]]:
    """Takes the files of one picture as they are written: where one cannot be, those before it are removed."""
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
    told: Told,
    written: list[Path],
    place: str | None = None,
    png: bool = False,
) -> Path:
    """Copies the picture `name` below `folder` as `place`, or as its name, with its suffix, byte for byte; as PNG where it has
    no file, is turned by a tag, or `png` says so. Returns the copy, and adds it to `written`."""
    place = place or name
    if isinstance(picture, np.ndarray):
        written.append(write_image(folder, f"{place}.png", picture))
        return written[-1]
    header, pixels = read_header(picture), read_image(picture)  # a damaged one is told here, and not copied
    if header.orientation != 1 or (png and header.format != "PNG"):
        told.add("turned" if header.orientation != 1 else "png", name)
        written.append(write_image(folder, f"{place}.png", pixels))
    elif isinstance(picture, bytes):
        written.append(write_whole(folder, place + SUFFIXES[header.format], picture, durable=False))
    else:
        written.append(write_whole(folder, place + picture.suffix.lower(), read_bytes(picture), durable=False))
    return written[-1]


def require_picture_size(picture: Path | bytes, size: tuple[int, int], where: str) -> None:
    """Raises DataError where a picture, upright, has not the (height, width) that `where` says."""
    found = read_size(picture)
    if found != size:
        which = "in it" if isinstance(picture, bytes) else printable(picture)
        said = f"{size[0]}x{size[1]}, the picture {which} is {found[0]}x{found[1]} (height x width)"
        turned = "; its rotation tag turns it" if found == size[::-1] and read_size(picture, turn=False) == size else ""
        raise DataError(f"{where}: says {said}{turned}; correct one of the two.")


class Pictures:
    """The pictures below a folder, found by what annotations call them: what a file says never leads out of that folder."""

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
        """The picture that ends as `reference` does: by its name, else by its name with another suffix.

        Of several the one that shares more folders is taken, then that of the `split`, then one among pictures rather than among
        masks, then one whose folder holds the others. Raises DataError for none or several."""
        parts = parts_of(reference, where)
        found = self._named.get(parts[-1]) or self._stems.get(Path(parts[-1]).stem)
        if not found:
            raise DataError(f"{where}: there is no picture {reference[:200]!r} below {self.folder}; put it there, or "
                            f"name its folder with --pictures.")  # fmt: skip
        ranks = {path: self._rank(path, parts, split) for path in found}
        best = sorted((path for path in found if ranks[path] == max(ranks.values())), key=lambda path: len(path.parts))
        first = best[0].parts[: -ranks[best[0]][0]]  # the folder from which on the reference leads to it
        for other in best[1:]:
            if other.parts[: len(first)] != first or len(other.parts) == len(best[0].parts):
                places = f"{printable(best[0])} or {printable(other)}"
                raise DataError(f"{where}: {reference[:200]!r} may be {places}; name the folder of the pictures with "
                                f"--pictures, or keep one of the two.")  # fmt: skip
        return best[0]

    def _rank(self, path: Path, parts: Sequence[str], split: str) -> tuple[int, bool, int]:
        folders = path.relative_to(self.folder).parts[:-1]
        words = {word for part in folders for word in re.split(r"[_\-. ]+", part.lower())}
        among = bool(words & PICTURE_WORDS) - bool(words & (MASK_WORDS | OTHER_WORDS))
        return _shared(path, parts), any(split_of_folder(part) == split for part in folders), among


def _shared(path: Path, parts: Sequence[str]) -> int:
    """How many names at the end of a path and of `parts` are alike."""
    pairs = zip(reversed(path.parts), reversed(parts), strict=False)
    alike = (unicodedata.normalize("NFC", a) == b for a, b in pairs)
    return next((count for count, same in enumerate(alike) if not same), min(len(path.parts), len(parts)))


def json_or_none(path: Path) -> Any:
    """What a JSON file holds, to see whose it is; nothing where it cannot be read."""
    try:
        return read_json(path)
    except DataError:
        return None


def parts_of(reference: Any, where: str) -> list[str]:
    """The names of a relative path, whatever its slashes; what leads up or to a root is left out. Raises DataError for none, and
    for what is no text."""
    if not isinstance(reference, str):
        raise DataError(f"{where}: the name of the picture is {shown(reference)}, not a text; correct it.")
    parts = [part for part in re.split(r"[/\\]", reference) if part not in ("", ".", "..") and not part.endswith(":")]
    reason = unkept(reference)
    if not parts or reason:
        said = f"is no name of a picture{reason and ', as it '}{reason}"
        raise DataError(f"{where}: {reference[:80]!r} {said}; correct it.")
    return [unicodedata.normalize("NFC", part) for part in parts]


def bare(parts: Sequence[str]) -> list[str]:
    """The names of a path, the last without its suffix."""
    return [*parts[:-1], PurePosixPath(parts[-1]).stem]


def named(parts: Sequence[str], split: str = "") -> tuple[str, str]:
    """The name of a picture whose path has no suffix any more, and its split: the one given, or its first folder, which is then
    left out."""
    first = split_of_folder(parts[0]) if len(parts) > 1 else ""
    own = split or first
    return "/".join(parts[1:] if first and first == own else parts), own


def split_of_folder(name: str) -> str:
    """`val` of `valid` and `Validation2017`, but nothing of `train station`."""
    return SPLIT_WORDS.get(name.lower().strip("0123456789-_ "), "")


def split_in(name: str) -> str:
    """`train` of a file `instances_train2017`; empty where there is none."""
    words = re.split(r"[^a-z]+", name.lower())
    return next((SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS), "")
