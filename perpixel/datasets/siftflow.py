"""SIFT Flow: outdoor scenes of 256x256 pixels with two labellings (Liu et al., CVPR 2009; Tighe and Lazebnik, ECCV 2010).

    ROOT/Images/spatial_envelope_256x256_static_8outdoorcategories/NAME.jpg
    ROOT/SemanticLabels/spatial_envelope_256x256_static_8outdoorcategories/NAME.mat    `S`: 1..33 as in `SEMANTIC`, 0 void
    ROOT/GeoLabels/spatial_envelope_256x256_static_8outdoorcategories/NAME.mat         `S`: 1..3 as in `GEOMETRIC`, -1 void
    ROOT/{trainval,test}.txt       the lists of the FCN authors' repository, data/sift-flow

ROOT may lie below the given folder, as sift-flow/ or SiftFlowDataset/. The views are `siftflow`, with 33 semantic classes, and
`siftflow_geometric`, with three classes of geometry. Names, values and void are those of the authors' data/sift-flow/classes.txt
and siftflow_layers.py.

Papers count 2,488 + 200 pictures. The list has 2,486, without highway_bost181 and street_urb506, which have no labels. No
picture of `test` shows a cow, a desert or the moon, so FCN's mean is over 30 classes. Our mean is too, unless a network predicts
one of the three."""

from __future__ import annotations

import os
from pathlib import Path

from perpixel.classes import ClassTable, distinct_colours
from perpixel.datasets.dataset import InNotebook
from perpixel.datasets.folder import require_same_size
from perpixel.datasets.voc import read_list, read_mat
from perpixel.errors import DataError, did_you_mean
from perpixel.images import read_image
from perpixel.sample import Sample

SEMANTIC = (  # the values 1, 2, ... of the files
    "awning", "balcony", "bird", "boat", "bridge", "building", "bus", "car", "cow", "crosswalk", "desert", "door", "fence",
    "field", "grass", "moon", "mountain", "person", "plant", "pole", "river", "road", "rock", "sand", "sea", "sidewalk", "sign",
    "sky", "staircase", "streetlight", "sun", "tree", "window")  # fmt: skip
GEOMETRIC = ("sky", "horizontal", "vertical")
VOID, UNLABELLED = 0, -1  # the void of SemanticLabels, and of GeoLabels, which `read_mat` reads as 0
ALBUM = "spatial_envelope_256x256_static_8outdoorcategories"
FOLDERS = {"siftflow": "SemanticLabels", "siftflow_geometric": "GeoLabels"}
VIEWS = {
    view: ClassTable(
        names, tuple(distinct_colours(len(names))), tuple((value,) for value in range(1, 1 + len(names))), void_values=(VOID,)
    )
    for view, names in (("siftflow", SEMANTIC), ("siftflow_geometric", GEOMETRIC))
}
PICTURES = {"trainval": 2486, "test": 200}


class SiftFlow(InNotebook):
    """One split, `trainval` or `test`, of SIFT Flow below `root`, in one of the `VIEWS`.

    Raises DataError naming the folder or file that is missing, UnknownName for another split or view."""

    splits = tuple(PICTURES)

    def __init__(self, root: Path | str, split: str = "trainval", view: str = "siftflow") -> None:
        if view not in VIEWS:
            raise did_you_mean("view of SIFT Flow", view, VIEWS)
        if split not in PICTURES:
            raise did_you_mean(f"split of {view}", split, PICTURES)
        self.folder, self.split, self.classes = _find(root, FOLDERS[view]), split, VIEWS[view]
        self._labels = self.folder / FOLDERS[view] / ALBUM
        self.names = read_list(self._list)

    @property
    def _list(self) -> Path:
        return self.folder / f"{self.split}.txt"

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        return self.names[index]

    def sample(self, index: int) -> Sample:
        """Raises DataError naming the file that is missing, damaged, or does not fit its picture."""
        picture, mask = self._paths(self.names[index])
        image, labels = read_image(picture), self.classes.decode(read_mat(mask, "S", void=UNLABELLED), str(mask))
        require_same_size(image, labels, picture, mask)
        return Sample(self.names[index], image, labels)

    def files(self) -> list[Path]:
        """The files that define the content of the split."""
        return [self._list, *(path for name in self.names for path in self._paths(name))]

    def _paths(self, name: str) -> tuple[Path, Path]:
        return self.folder / "Images" / ALBUM / f"{name}.jpg", self._labels / f"{name}.mat"


def _find(root: Path | str, labels: str) -> Path:
    above = Path(os.path.abspath(root))
    for folder in (above / "sift-flow", above / "SiftFlowDataset", above):
        if (folder / "Images" / ALBUM).is_dir() and (folder / labels / ALBUM).is_dir():
            return folder
    raise DataError(f"{root}: holds no Images/{ALBUM}/ and {labels}/{ALBUM}/; unpack SiftFlowDataset.zip there.")
