"""Corrected masks, kept as training pairs in the folder that `perpixel train --data` takes:

    FOLDER/images/NAME.jpg  FOLDER/masks/NAME.png  FOLDER/classes.csv

No file is replaced."""

from __future__ import annotations

from pathlib import Path

from perpixel.classes import ClassTable
from perpixel.errors import DataError, UsageError
from perpixel.formats.exchange import Notices
from perpixel.formats.pictures import all_or_none, put_picture
from perpixel.images import read_image, read_labels, write_labels

CLASSES = "classes.csv"


class Pairs:
    """Writes pairs of these `classes` into `folder`. Raises UsageError for a folder of other classes."""

    def __init__(self, folder: Path, classes: ClassTable) -> None:
        self.folder, self._classes = folder, classes
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder}: is a file; name a folder for corrected masks.")
        self.require_classes(classes)

    def require_classes(self, classes: ClassTable) -> None:
        """Raises UsageError where masks of `classes` cannot lie in the folder, since its masks have other classes."""
        place = self.folder / CLASSES
        kept = ClassTable.read_csv(place) if place.exists() else self._classes
        if (kept.names, kept.values) != (classes.names, classes.values):
            raise UsageError(
                f"{self.folder}: holds masks of the classes {', '.join(kept.names)}, and the model has "
                f"{', '.join(classes.names)}; name another folder, or serve a model of its classes."
            )

    def add(self, name: str, picture: bytes, mask: bytes, classes: ClassTable) -> str:
        """Writes a pair, both files or none, and returns its name: the stem of the file name `name`.

        `mask` is the file of a mask with the values of `classes`. Raises UsageError for the name of a pair that is there and for
        other classes than the folder's, DataError for a picture or mask that cannot be used."""
        self.require_classes(classes)
        stem = Path(name).stem.strip()
        if not stem or stem.startswith(".") or not stem.isprintable() or "/" in stem or "\\" in stem or len(stem.encode()) > 200:
            raise DataError(f"the name {name[:80]!r}: is no file name; give one such as street.jpg.")
        labels, size = classes.decode(read_labels(mask), "the mask"), read_image(picture).shape[:2]
        if labels.shape != size:
            raise DataError(f"the mask: is {labels.shape[0]}x{labels.shape[1]}, and the picture {size[0]}x{size[1]}; send both.")
        images, masks = self.folder / "images", self.folder / "masks"
        there = [path for folder in (images, masks) if folder.is_dir() for path in folder.iterdir() if path.stem == stem]
        if there:
            raise UsageError(f"the name {stem!r}: {there[0].name} is there already; give another name.")
        if not (self.folder / CLASSES).exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            classes.write_csv(self.folder / CLASSES)
        with all_or_none() as written:
            put_picture(picture, images, stem, Notices(), written)
            written.append(write_labels(masks, f"{stem}.png", labels, classes))
        return stem
