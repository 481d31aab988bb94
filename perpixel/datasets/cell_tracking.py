"""Two sets of the Cell Tracking Challenge (Ulman et al., Nature Methods 2017), which U-Net uses: PhC-C2DH-U373, glioblastoma
cells by phase contrast, and DIC-C2DH-HeLa, HeLa cells by differential interference contrast.

    ROOT/PhC-C2DH-U373/01/tNNN.tif                      frames of the film 01; 02/ has the same shape
    ROOT/PhC-C2DH-U373/01_GT/SEG/man_segNNN.tif         16 bits: 0 background, 1, 2, ... one cell each; for some frames only
    ROOT/PhC-C2DH-U373/01_GT/TRA/man_trackNNN.tif       16 bits: a marker on every cell; for all frames

Frames without a file in SEG are not read. A marker outside of all cells of SEG belongs to a cell that was not segmented. Its
pixels are void, because they are not background. Files in TRA may be missing; then no pixel is void. The splits:

    train                    every frame with a segmentation, from both films: U-Net's training set
    01, 02                   the frames of one film: train on one film, judge on the other
    fold1of5, rest1of5 ...   a fold of `train` and its rest (`datasets.folds`); neighbouring frames of a film look alike

U-Net's paper counts 35 and 20 frames with a segmentation. The challenge's own test films have no public labels."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from perpixel.classes import ClassTable
from perpixel.datasets.dataset import InNotebook
from perpixel.datasets.folder import require_same_size
from perpixel.datasets.folds import split_folds
from perpixel.errors import DataError, did_you_mean
from perpixel.files import files_in
from perpixel.images import read_image, read_labels
from perpixel.sample import Instances, Sample

BACKGROUND, CELL = 0, 1
CLASSES = ClassTable(("background", "cell"), ((0, 0, 0), (0, 192, 96)), ((0,), (1,)))
FOLDERS = {"phc_u373": "PhC-C2DH-U373", "dic_hela": "DIC-C2DH-HeLa"}
PICTURES = {"phc_u373": {"train": 35}, "dic_hela": {"train": 20}}
FILMS = ("01", "02")
SPLITS = ("train", *FILMS, "fold1of5", "rest1of5")


class CellTracking(InNotebook):
    """One split of the set `name` below `root`. `splits` lists one fold of five, but folds of any number can be opened.

    Raises DataError naming the folder that is missing, UnknownName or UsageError for another set or split."""

    classes, splits = CLASSES, SPLITS

    def __init__(self, root: Path | str, split: str = "train", name: str = "phc_u373") -> None:
        if name not in FOLDERS:
            raise did_you_mean("set of the Cell Tracking Challenge", name, FOLDERS)
        self.folder, self.split = _find(root, FOLDERS[name]), split
        all_frames = [frame for film in FILMS for frame in _frames(self.folder, film)]
        folds = split_folds(len(all_frames), split)
        if folds is None and split not in SPLITS:
            raise did_you_mean(f"split of {name}", split, SPLITS)
        chosen = all_frames if folds is None else [all_frames[index] for index in folds]
        self.frames = [(film, number) for film, number in chosen if split not in FILMS or film == split]

    def __len__(self) -> int:
        return len(self.frames)

    def name(self, index: int) -> str:
        film, number = self.frames[index]
        return f"{film}/t{number}"

    def sample(self, index: int) -> Sample:
        """Raises DataError naming the file that is missing, damaged, or does not fit its picture."""
        picture, mask, track = self._paths(index)
        image, cells = read_image(picture), read_labels(mask)
        require_same_size(image, cells, picture, mask)
        labels = np.where(cells > 0, CELL, BACKGROUND).astype(self.classes.dtype)
        if track.is_file():
            markers = read_labels(track)
            require_same_size(image, markers, picture, track)
            segmented = np.unique(markers[cells > 0])
            labels[(markers > 0) & ~np.isin(markers, segmented)] = self.classes.void
        numbers = np.unique(cells[cells > 0])
        objects = Instances(cells == numbers[:, None, None], np.full(len(numbers), CELL, np.int64))
        return Sample(self.name(index), image, labels, objects)

    def files(self) -> list[Path]:
        """The files that define the content of the split."""
        paths = [path for index in range(len(self)) for path in self._paths(index)]
        return [path for path in paths if path.parent.name != "TRA" or path.is_file()]

    def _paths(self, index: int) -> tuple[Path, Path, Path]:
        film, number = self.frames[index]
        picture, truth = self.folder / film / f"t{number}.tif", self.folder / f"{film}_GT"
        return picture, truth / "SEG" / f"man_seg{number}.tif", truth / "TRA" / f"man_track{number}.tif"


def _frames(folder: Path, film: str) -> list[tuple[str, str]]:
    """The film and the digits of every segmented frame, in the order of time."""
    truth = folder / f"{film}_GT" / "SEG"
    numbers = [
        path.stem.removeprefix("man_seg") for path in files_in(truth) if path.match("man_seg*.tif")
    ]
    if not numbers:
        raise DataError(f"{truth}: holds no man_segNNN.tif; unpack the challenge's training archive there.")
    return [(film, number) for number in numbers]


def _find(root: Path | str, name: str) -> Path:
    above = Path(os.path.abspath(root))
    for folder in (above / name, above):
        if folder.name == name and all((folder / film).is_dir() and (folder / f"{film}_GT").is_dir() for film in FILMS):
            return folder
    raise DataError(f"{root}: holds no {name}/ with 01/, 01_GT/, 02/ and 02_GT/; unpack the challenge's training archive there.")
