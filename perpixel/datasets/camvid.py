"""CamVid: 701 frames of drives through Cambridge, 720x960 (Brostow et al., ECCV 2008), in two views of its 32 colours.

    ROOT/701_StillsRaw_full/NAME.png          NAME is DRIVE_FRAME, for example 0016E5_07959
    ROOT/LabeledApproved_full/NAME_L.png      the colours of `LABELS`, which are those of label_colors.txt

ROOT may lie below the given folder, as camvid/ or CamVid/. The views:

    camvid32    every label of the table but Void, which is void
    camvid11    the 11 classes of SegNet (Badrinarayanan et al., 2017) in its order. The labels are grouped as in MathWorks'
                example, which names SegNet as its source. They were not compared with SegNet's own masks, which are 360x480

The splits are SegNet's, and follow from the names (`split_of`): train 367, val 101, test 233, and trainval, which is train and
val. All of val is seven seconds of a drive, and the rest of that drive is in train. So scores on val are too high."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perpixel.classes import ClassTable
from perpixel.datasets.dataset import InNotebook
from perpixel.datasets.folder import require_same_size
from perpixel.errors import DataError, did_you_mean
from perpixel.files import files_in
from perpixel.images import read_image
from perpixel.sample import Sample

LABELS = (  # name, colour, class of camvid11
    ("Animal", (64, 128, 64), "pedestrian"),
    ("Archway", (192, 0, 128), "building"),
    ("Bicyclist", (0, 128, 192), "bicyclist"),
    ("Bridge", (0, 128, 64), "building"),
    ("Building", (128, 0, 0), "building"),
    ("Car", (64, 0, 128), "car"),
    ("CartLuggagePram", (64, 0, 192), "pedestrian"),
    ("Child", (192, 128, 64), "pedestrian"),
    ("Column_Pole", (192, 192, 128), "pole"),
    ("Fence", (64, 64, 128), "fence"),
    ("LaneMkgsDriv", (128, 0, 192), "road"),
    ("LaneMkgsNonDriv", (192, 0, 64), "road"),
    ("Misc_Text", (128, 128, 64), "sign_symbol"),
    ("MotorcycleScooter", (192, 0, 192), "bicyclist"),
    ("OtherMoving", (128, 64, 64), "car"),
    ("ParkingBlock", (64, 192, 128), "pavement"),
    ("Pedestrian", (64, 64, 0), "pedestrian"),
    ("Road", (128, 64, 128), "road"),
    ("RoadShoulder", (128, 128, 192), "pavement"),
    ("Sidewalk", (0, 0, 192), "pavement"),
    ("SignSymbol", (192, 128, 128), "sign_symbol"),
    ("Sky", (128, 128, 128), "sky"),
    ("SUVPickupTruck", (64, 128, 192), "car"),
    ("TrafficCone", (0, 0, 64), "pole"),
    ("TrafficLight", (0, 64, 64), "sign_symbol"),
    ("Train", (192, 64, 128), "car"),
    ("Tree", (128, 128, 0), "tree"),
    ("Truck_Bus", (192, 128, 192), "car"),
    ("Tunnel", (64, 0, 64), "building"),
    ("VegetationMisc", (192, 192, 0), "tree"),
    ("Void", (0, 0, 0), ""),
    ("Wall", (64, 192, 0), "building"),
)
VOID = next(place for place, (name, _, _) in enumerate(LABELS) if name == "Void")
OF_SEGNET = {  # SegNet's classes, in the colours of its masks
    "sky": (128, 128, 128), "building": (128, 0, 0), "pole": (192, 192, 128), "road": (128, 64, 128), "pavement": (60, 40, 222),
    "tree": (128, 128, 0), "sign_symbol": (192, 128, 128), "fence": (64, 64, 128), "car": (64, 0, 128),
    "pedestrian": (64, 64, 0), "bicyclist": (0, 128, 192),
}  # fmt: skip
SHOWN = [place for place in range(len(LABELS)) if place != VOID]
VIEWS = {  # in the masks that we write, the value of a label is its place in the table
    "camvid32": ClassTable(
        tuple(LABELS[place][0] for place in SHOWN),
        tuple(LABELS[place][1] for place in SHOWN),
        tuple((place,) for place in SHOWN),
        void_values=(VOID,),
    ),
    "camvid11": ClassTable(
        tuple(OF_SEGNET),
        tuple(OF_SEGNET.values()),
        tuple(tuple(place for place, (_, _, name) in enumerate(LABELS) if name == group) for group in OF_SEGNET),
        void_values=(VOID,),
    ),
}
COLOURS = np.array([colour for _, colour, _ in LABELS], np.uint8)
PLACES = np.zeros(64, np.uint8)  # the place of each label in the table, by the upper two bits of red, green and blue
PLACES[(COLOURS >> 6) @ np.array([16, 4, 1], np.uint8)] = range(len(LABELS))
PICTURES = {"train": 367, "val": 101, "trainval": 468, "test": 233}
PICTURE_FOLDER, LABEL_FOLDER = "701_StillsRaw_full", "LabeledApproved_full"
LAST_OF_TRAIN, VAL = 8520, range(7959, 8160)  # frames of the drives 0001TP and 0016E5


class Camvid(InNotebook):
    """One split of CamVid below `root`, in one of the `VIEWS`.

    Raises DataError naming the folder that is missing or a picture of no drive, UnknownName for another split or view."""

    splits = tuple(PICTURES)

    def __init__(self, root: Path | str, split: str = "train", view: str = "camvid32") -> None:
        if view not in VIEWS:
            raise did_you_mean("view of CamVid", view, VIEWS)
        if split not in PICTURES:
            raise did_you_mean(f"split of {view}", split, PICTURES)
        self.folder, self.split, self.classes = _find(root), split, VIEWS[view]
        source_splits = ("train", "val") if split == "trainval" else (split,)
        pictures = [path for path in files_in(self.folder / PICTURE_FOLDER) if path.suffix == ".png"]
        self.names = [path.stem for path in pictures if split_of(path) in source_splits]

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        return self.names[index]

    def sample(self, index: int) -> Sample:
        """Raises DataError naming the file that is missing, damaged, of another colour, or does not fit its picture."""
        picture, mask = self._paths(self.names[index])
        image = read_image(picture)
        labels = self.classes.decode(places_of(read_image(mask), mask), str(mask))
        require_same_size(image, labels, picture, mask)
        return Sample(self.names[index], image, labels)

    def files(self) -> list[Path]:
        """The files that define the content of the split."""
        return [path for name in self.names for path in self._paths(name)]

    def _paths(self, name: str) -> tuple[Path, Path]:
        return self.folder / PICTURE_FOLDER / f"{name}.png", self.folder / LABEL_FOLDER / f"{name}_L.png"


def split_of(picture: Path) -> str:
    """train, val or test, by the drive and the frame in a picture's name. Raises DataError for another name."""
    parts = re.fullmatch(r"(0001TP|0006R0|0016E5|Seq05VD)_f?(\d+)", picture.stem)
    if parts is None:
        raise DataError(f"{picture}: is of no drive of CamVid (0001TP, 0006R0, 0016E5, Seq05VD); take it out of the folder.")
    drive, frame = parts[1], int(parts[2])
    if drive == "0016E5" and frame in VAL:
        return "val"
    return "test" if drive == "Seq05VD" or (drive == "0001TP" and frame > LAST_OF_TRAIN) else "train"


def places_of(colours: NDArray[np.uint8], path: Path) -> NDArray[np.uint8]:
    """Colours (H, W, 3) -> places in `LABELS` (H, W).

    Raises DataError for a colour that is not in the table. It names the first such colour, its pixel (row, column) and its
    count."""
    quarters = (colours >> 6).astype(np.uint8)  # every channel of the table is 0, 64, 128 or 192
    places: NDArray[np.uint8] = PLACES[16 * quarters[..., 0] + 4 * quarters[..., 1] + quarters[..., 2]]
    unknown = (COLOURS[places] != colours).any(-1)
    if unknown.any():
        row, column = (int(i) for i in np.argwhere(unknown)[0])
        count = int((colours == colours[row, column]).all(-1).sum())
        colour = tuple(colours[row, column].tolist())
        message = f"the colour {colour} at row {row}, column {column} ({count} pixels) is of no label of CamVid"
        raise DataError(f"{path}: {message}; take the file from LabeledApproved_full.zip again.")
    return places


def _find(root: Path | str) -> Path:
    above = Path(os.path.abspath(root))
    for folder in (above / "camvid", above / "CamVid", above):
        if (folder / PICTURE_FOLDER).is_dir() and (folder / LABEL_FOLDER).is_dir():
            return folder
    raise DataError(f"{root}: holds no {PICTURE_FOLDER}/ and {LABEL_FOLDER}/; unpack CamVid's archives into such folders there.")
