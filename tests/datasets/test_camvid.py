"""CamVid: 32 colours, SegNet's 11 classes and splits, and colours that are of no label."""

import csv
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from fakes import CAMVID_PICTURES, draw_grid, make_camvid, put_picture
from places import SHARED

from perpixel.datasets import ON_DISK, open_dataset
from perpixel.datasets.camvid import COLOURS, LABELS, OF_SEGNET, PICTURES, VIEWS, VOID, Camvid, places_of, split_of
from perpixel.errors import DataError, UnknownName
from perpixel.images import read_image, read_labels

REAL = SHARED / "camvid"  # 11 classes, train and val
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="the CamVid pictures are not at ../shared/data/camvid.")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For tests that change nothing."""
    return make_camvid(tmp_path_factory.mktemp("camvid"))


@pytest.fixture
def mine(root: Path, tmp_path: Path) -> Path:
    """For tests that break something."""
    shutil.copytree(root, tmp_path / "data")
    return tmp_path / "data"


def group(name: str) -> set[str]:
    return {label for label, _, class_name in LABELS if class_name == name}


class TestTable:
    def test_it_is_label_colors_txt(self) -> None:
        names = [name for name, _, _ in LABELS]
        assert (len(names), names) == (32, sorted(names, key=str.lower))
        assert len({colour for _, colour, _ in LABELS}) == 32
        assert {*np.unique(COLOURS)} == {0, 64, 128, 192}
        assert {name: COLOURS[names.index(name)].tolist() for name in ("Animal", "Road", "Sidewalk", "Void", "Wall")} == {
            "Animal": [64, 128, 64], "Road": [128, 64, 128], "Sidewalk": [0, 0, 192], "Void": [0, 0, 0], "Wall": [64, 192, 0],
        }  # fmt: skip

    def test_the_views_have_31_labels_and_11_classes_and_the_same_void(self) -> None:
        assert [len(table) for table in VIEWS.values()] == [31, 11]
        assert {table.void_values for table in VIEWS.values()} == {(VOID,)}

    def test_the_groups_are_those_of_segnet(self) -> None:
        assert group("road") == {"Road", "LaneMkgsDriv", "LaneMkgsNonDriv"}
        assert group("pedestrian") == {"Pedestrian", "Child", "CartLuggagePram", "Animal"}
        assert group("car") == {"Car", "SUVPickupTruck", "Truck_Bus", "Train", "OtherMoving"}
        assert group("bicyclist") == {"Bicyclist", "MotorcycleScooter"}
        assert group("") == {"Void"}
        assert sum(len(group(name)) for name in OF_SEGNET) == 31

    def test_the_published_numbers(self) -> None:
        assert PICTURES["train"] + PICTURES["val"] == PICTURES["trainval"] == 701 - PICTURES["test"]
        assert ON_DISK["camvid11"].judged == ("train", "val")

    @needs_real
    def test_names_and_colours_of_the_11_are_those_of_the_set_itself(self) -> None:
        with (REAL / "classes.csv").open() as file:
            rows = [(row["name"], tuple(int(row[channel]) for channel in "rgb")) for row in csv.DictReader(file)]
        assert rows == [*OF_SEGNET.items(), ("void", (0, 0, 0))]


class TestSplits:
    def test_they_are_reported_from_drive_and_frame(self, root: Path) -> None:
        for split, names in CAMVID_PICTURES.items():
            assert Camvid(root, split).names == sorted(names)
        assert Camvid(root, "trainval").names == sorted(CAMVID_PICTURES["train"] + CAMVID_PICTURES["val"])

    @needs_real
    def test_they_are_the_lists_of_segnet(self) -> None:
        for split in ("train", "val"):
            assert Counter(map(split_of, (REAL / "images" / split).iterdir())) == {split: PICTURES[split]}

    def test_a_picture_of_no_drive_is_reported(self, mine: Path) -> None:
        put_picture(mine / "701_StillsRaw_full" / "holiday_01.png", np.zeros((24, 40, 3)))
        with pytest.raises(DataError, match=r"701_StillsRaw_full/holiday_01\.png: is of no drive of CamVid \(0001TP, "):
            Camvid(mine)

    def test_the_folder_may_be_named_or_given_itself(self, root: Path, tmp_path: Path) -> None:
        (tmp_path / "CamVid").symlink_to(root)
        assert len(Camvid(tmp_path, "val")) == len(Camvid(root, "val")) == 2

    def test_an_unknown_view_names_the_nearest(self, root: Path) -> None:
        with pytest.raises(UnknownName, match="no view of CamVid 'camvid12'; did you mean 'camvid"):
            Camvid(root, view="camvid12")


class TestSamples:
    @pytest.mark.parametrize("view", VIEWS)
    def test_colours_become_classes(self, root: Path, view: str) -> None:
        sample = open_dataset(view, root=root, split="val").sample(0)
        _, places, _ = draw_grid(sum(map(ord, "0016E5_07959")), range(32))
        places[:, -1] = VOID
        names = np.array([*VIEWS[view].names, *[""] * (255 - len(VIEWS[view])), "void"])[sample.labels]
        column = 0 if view == "camvid32" else 2
        expected = np.array([row[column] if place != VOID else "void" for place, row in enumerate(LABELS)])[places]
        assert (names == expected).all()

    @pytest.mark.parametrize("colour", [(1, 0, 0), (128, 128, 129), (255, 255, 255), (64, 64, 192)])
    def test_a_colour_of_no_label_is_reported(self, mine: Path, colour: tuple[int, int, int]) -> None:
        path = mine / "LabeledApproved_full" / "0016E5_07959_L.png"
        colours = read_image(path)
        colours[3, 5] = colours[20, 1] = colour
        put_picture(path, colours)
        colour_text = str(colour).replace("(", r"\(").replace(")", r"\)")
        with pytest.raises(DataError, match=rf"^{path}: the colour {colour_text} at row 3, column 5 \(2 pixels\) is of no label"):
            Camvid(mine, "val").sample(0)

    def test_every_colour_of_three_bytes_is_a_label_or_refused(self) -> None:
        rng = np.random.default_rng(0)
        colours = rng.choice([0, 1, 63, 64, 65, 127, 128, 129, 192, 255], (4000, 1, 3)).astype(np.uint8)
        known = {colour: place for place, (_, colour, _) in enumerate(LABELS)}
        for colour in colours[:, 0].tolist():
            if tuple(colour) in known:
                assert places_of(np.array([[colour]], np.uint8), Path("mask")).item() == known[tuple(colour)]
            else:
                with pytest.raises(DataError, match="is of no label"):
                    places_of(np.array([[colour]], np.uint8), Path("mask"))

    def test_missing_and_misfitting_masks_are_named(self, mine: Path) -> None:
        path = mine / "LabeledApproved_full" / "0016E5_07959_L.png"
        put_picture(path, read_image(path)[:, :39])
        with pytest.raises(DataError, match=rf"^{path}: is 24x39, its picture 0016E5_07959.png is 24x40"):
            Camvid(mine, "val").sample(0)
        path.unlink()
        with pytest.raises(DataError, match=rf"^{path}: there is no such file"):
            Camvid(mine, "val").sample(0)

    @needs_real
    def test_masks_of_the_11_classes_drawn_in_their_colours_read_back(self, tmp_path: Path) -> None:
        colours = np.zeros((256, 3), np.uint8)
        for class_id, (place, *_) in enumerate(VIEWS["camvid11"].values):
            colours[class_id] = COLOURS[place]
        names = ("0016E5_07959", "0016E5_08033", "0016E5_08159")
        for name in names:
            put_picture(tmp_path / "701_StillsRaw_full" / f"{name}.png", read_image(REAL / f"images/val/{name}.jpg"))
            put_picture(tmp_path / "LabeledApproved_full" / f"{name}_L.png", colours[read_labels(REAL / f"masks/val/{name}.png")])
        dataset = open_dataset("camvid11", root=tmp_path, split="val")
        for index, name in enumerate(names):
            values = read_labels(REAL / f"masks/val/{name}.png")
            assert np.array_equal(dataset.sample(index).labels, np.where(values == 11, 255, values))
