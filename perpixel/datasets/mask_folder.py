"""A folder of masks as truth, without pictures, to judge other masks with the same names.

    FOLDER/NAME.png        one value per pixel, decoded by a class table; folders below are part of the name"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from perpixel.classes import ClassTable
from perpixel.datasets.dataset import InNotebook
from perpixel.datasets.folder import files_below
from perpixel.errors import DataError
from perpixel.images import MASK_SUFFIXES, read_labels
from perpixel.sample import Sample

VOID = 255  # the value of void, for tables that name none


class MaskFolder(InNotebook):
    """The masks below `folder` as samples with a black picture. `split` is only a name. A table without void gets 255 for it.

    Raises DataError for a folder without masks, and for two masks with the same name."""

    def __init__(self, folder: Path, classes: ClassTable, split: str = "all") -> None:
        self.folder, self.split, self.splits = folder, split, (split,)
        lacks_void = not classes.void_values and VOID not in {value for values in classes.values for value in values}
        self.classes = replace(classes, void_values=(VOID,)) if lacks_void else classes
        masks_by_name = files_below(folder, MASK_SUFFIXES)
        for name, paths in masks_by_name.items():
            if len(paths) > 1:
                raise DataError(f"{paths[0]} and {paths[1].name} are two masks of {name}; keep one of them.")
        self.masks = [(name, paths[0]) for name, paths in sorted(masks_by_name.items())]
        if not self.masks:
            raise DataError(f"{folder}: holds no masks (PNG, TIFF, BMP or GIF); name the folder that does.")

    def __len__(self) -> int:
        return len(self.masks)

    def name(self, index: int) -> str:
        return self.masks[index][0]

    def truth_file(self, index: int) -> Path:
        return self.masks[index][1]

    def sample(self, index: int) -> Sample:
        """Raises DataError naming the file when it cannot be read, or holds a value that is in no class."""
        name, path = self.masks[index]
        labels = self.classes.decode(read_labels(path), str(path))
        black = np.broadcast_to(np.uint8(0), (*labels.shape, 3))
        return Sample(name, black, labels)

    def files(self) -> list[Path]:
        return [path for _, path in self.masks]
