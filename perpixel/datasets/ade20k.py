"""ADE20K in the form of the scene parsing challenge of 2016: 150 classes of indoor and outdoor scenes (Zhou et al., CVPR 2017).

    ROOT/ADEChallengeData2016/images/{training,validation}/NAME.jpg         ADE_train_00000001, ADE_val_00000001 ...
    ROOT/ADEChallengeData2016/annotations/{training,validation}/NAME.png    1..150 as in `NAMES`; 0 is other objects, read as void

ROOT may be ADEChallengeData2016/ too. The splits are train (20,210 pictures) and val (2,000). The test pictures are in another
archive, and their labels are not public.

The name of a class is its first name in objectInfo150.txt. The challenge's score is the mean of pixel accuracy and mean IoU."""

from __future__ import annotations

import os
from pathlib import Path

from perpixel.classes import ClassTable, distinct_colours
from perpixel.datasets.dataset import InNotebook
from perpixel.datasets.folder import require_same_size
from perpixel.errors import DataError, did_you_mean
from perpixel.files import files_in
from perpixel.images import read_image, read_labels
from perpixel.sample import Sample

NAMES = (  # the values 1, 2, ... of the files
    "wall", "building", "sky", "floor", "tree", "ceiling", "road", "bed", "windowpane", "grass", "cabinet", "sidewalk", "person",
    "earth", "door", "table", "mountain", "plant", "curtain", "chair", "car", "water", "painting", "sofa", "shelf", "house",
    "sea", "mirror", "rug", "field", "armchair", "seat", "fence", "desk", "rock", "wardrobe", "lamp", "bathtub", "railing",
    "cushion", "base", "box", "column", "signboard", "chest of drawers", "counter", "sand", "sink", "skyscraper", "fireplace",
    "refrigerator", "grandstand", "path", "stairs", "runway", "case", "pool table", "pillow", "screen door", "stairway", "river",
    "bridge", "bookcase", "blind", "coffee table", "toilet", "flower", "book", "hill", "bench", "countertop", "stove", "palm",
    "kitchen island", "computer", "swivel chair", "boat", "bar", "arcade machine", "hovel", "bus", "towel", "light", "truck",
    "tower", "chandelier", "awning", "streetlight", "booth", "television", "airplane", "dirt track", "apparel", "pole", "land",
    "bannister", "escalator", "ottoman", "bottle", "buffet", "poster", "stage", "van", "ship", "fountain", "conveyer belt",
    "canopy", "washer", "plaything", "swimming pool", "stool", "barrel", "basket", "waterfall", "tent", "bag", "minibike",
    "cradle", "oven", "ball", "food", "step", "tank", "trade name", "microwave", "pot", "animal", "bicycle", "lake", "dishwasher",
    "screen", "blanket", "sculpture", "hood", "sconce", "vase", "traffic light", "tray", "ashcan", "fan", "pier", "crt screen",
    "plate", "monitor", "bulletin board", "shower", "radiator", "glass", "clock", "flag")  # fmt: skip
CLASSES = ClassTable(
    NAMES, tuple(distinct_colours(len(NAMES))), tuple((value,) for value in range(1, 1 + len(NAMES))), void_values=(0,)
)
PICTURES = {"train": 20210, "val": 2000}
FOLDERS = {"train": "training", "val": "validation"}
NAME = "ADEChallengeData2016"


class Ade20k(InNotebook):
    """One split of ADE20K below `root`.

    Raises DataError naming the folder that is missing or empty, UnknownName for another split."""

    classes, splits = CLASSES, tuple(PICTURES)

    def __init__(self, root: Path | str, split: str = "train") -> None:
        if split not in PICTURES:
            raise did_you_mean("split of ade20k", split, PICTURES)
        self.folder, self.split = _find(root), split
        self._pictures = self.folder / "images" / FOLDERS[split]
        self.names = [path.stem for path in files_in(self._pictures) if path.suffix == ".jpg"]
        if not self.names:
            raise DataError(f"{self._pictures}: holds no picture NAME.jpg; unpack {NAME}.zip again.")

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        return self.names[index]

    def sample(self, index: int) -> Sample:
        """Raises DataError naming the file that is missing, damaged, or does not fit its picture."""
        picture, mask = self._paths(self.names[index])
        image, labels = read_image(picture), self.classes.decode(read_labels(mask), str(mask))
        require_same_size(image, labels, picture, mask)
        return Sample(self.names[index], image, labels)

    def files(self) -> list[Path]:
        """The files that define the content of the split."""
        return [path for name in self.names for path in self._paths(name)]

    def _paths(self, name: str) -> tuple[Path, Path]:
        return self._pictures / f"{name}.jpg", self.folder / "annotations" / FOLDERS[self.split] / f"{name}.png"


def _find(root: Path | str) -> Path:
    above = Path(os.path.abspath(root))
    for folder in (above / NAME, above):
        if (folder / "images").is_dir() and (folder / "annotations").is_dir():
            return folder
    raise DataError(f"{root}: holds no {NAME}/ with images/ and annotations/; unpack {NAME}.zip there.")
