"""A stranger's folder becomes a data set by `perpixel init FOLDER --fix COPY`: every pixel, every split, no file changed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from datasets.test_datasets import FOLDERS, MAKERS
from doctor.raw_folders import (
    CHOSEN,
    FLAGS,
    RAW,
    SIZE,
    Truth,
    fill,
    masks_and_yolo,
    of,
    panoptic,
    save,
    several_sets,
    text_lists,
    voc_lists,
    yolo,
)

from perpixel.datasets import ON_DISK, open_dataset
from perpixel.doctor.check import check
from perpixel.doctor.init import init, propose
from perpixel.doctor.known_sets import ready_set
from perpixel.errors import DataError
from perpixel.formats.convert import convert
from perpixel.images import read_labels

Command = Callable[..., tuple[int, str, str]]


def files(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def assert_shows(folder: Path, truth: Truth) -> None:
    """Each picture of `truth` is in its split, with a class for each of its ids and void for its void."""
    class_of: dict[int, int] = {}
    shown: dict[str, str] = {}
    for split in open_dataset(folder, split="all").splits:
        dataset = open_dataset(folder, split=split)
        for index in range(len(dataset)):
            name = dataset.name(index)
            (path,) = [
                path for path in truth if f"/{Path(path).with_suffix('').as_posix()}".endswith(f"/{name}") and path not in shown
            ]
            given_split, labels = truth[path]
            assert given_split in (None, split), f"{path} is in {split}"
            sample = dataset.sample(index).labels
            assert sample is not None
            assert sample.shape == labels.shape
            for value in np.unique(labels).tolist():
                (found,) = np.unique(sample[labels == value]).tolist()
                assert class_of.setdefault(value, found) == found
            shown[path] = split
    assert shown.keys() == truth.keys()
    assert len(set(class_of.values())) == len(class_of)
    assert {value for value, found in class_of.items() if found == 255} <= {255}
    assert class_of.get(255, 255) == 255


@pytest.mark.parametrize("shape", [*RAW, *CHOSEN])
def test_the_copy_shows_every_pixel_and_the_folder_is_untouched(tmp_path: Path, command: Command, shape: str) -> None:
    truth = {**RAW, **CHOSEN}[shape](tmp_path / "raw")
    before = files(tmp_path / "raw")
    code, out, err = command("init", tmp_path / "raw", "--fix", tmp_path / "copy", *FLAGS.get(shape, ()))
    assert code == 0, out + err
    assert files(tmp_path / "raw") == before
    assert_shows(tmp_path / "copy", truth)
    assert check(tmp_path / "copy").errors == ()


@pytest.mark.parametrize("shape", RAW)
def test_a_table_of_classes_is_left_in_every_folder(tmp_path: Path, command: Command, shape: str) -> None:
    RAW[shape](tmp_path)
    before = files(tmp_path)
    code, out, err = command("init", tmp_path)
    assert code == 0, out + err
    after = files(tmp_path)
    assert "classes.csv" in after
    assert after.keys() - before.keys() <= {"classes.csv", "pairs.csv"}
    assert before.items() <= after.items()
    assert ready_set(tmp_path) is None


# One of each kind of hand work; for the others the way behind `init` is the same, and they are slow together.
FIRST = {
    "lists of VOC", "table of pairs", "_training and _manual1", "few colours", "GIF", "clear and opaque",
    "a folder for each picture and its objects",
}  # fmt: skip


@pytest.mark.parametrize("shape", [shape if shape in FIRST else pytest.param(shape, marks=pytest.mark.slow) for shape in RAW])
def test_from_a_raw_folder_to_a_mask(tmp_path: Path, command: Command, shape: str) -> None:
    """By two commands: train on the folder, predict."""
    truth = RAW[shape](tmp_path / "raw")
    before = files(tmp_path / "raw")
    tiny = ["--network", "unet", "--convolutions", "same", "--width", "0.05", "--crop", "16", "16", "--batch", "1"]
    words = ("train", tmp_path / "raw", *tiny, "--steps", "2", "--device", "cpu", "--out", tmp_path / "run")
    code, out, err = command(*words)
    assert code == 0, out + err
    after = files(tmp_path / "raw")
    assert after.keys() - before.keys() <= {"classes.csv", "pairs.csv"}
    assert before.items() <= after.items()
    code, _, err = command(*words)
    assert code == 0, err
    assert "copied" not in err  # the same copy is taken again
    picture = tmp_path / "raw" / next(iter(truth))
    assert command("predict", tmp_path / "run", picture, "--out", tmp_path / "out", "--device", "cpu")[0] == 0
    (mask,) = (tmp_path / "out/masks").glob("*.png")
    data = tmp_path / ("raw-set" if (tmp_path / "raw-set").exists() else "raw")
    table = open_dataset(data, split="all").classes.values
    assert {*np.unique(read_labels(mask)).tolist()} <= {value for of_class in table for value in of_class}


class TestTrainingOnAFolder:
    TINY = (
        "--network",
        "unet",
        "--convolutions",
        "same",
        "--width",
        "0.05",
        "--crop",
        "16",
        "16",
        "--batch",
        "1",
        "--steps",
        "1",
    )

    def test_a_copy_of_other_files_is_not_taken(self, tmp_path: Path, command: Command) -> None:
        RAW["few colours"](tmp_path / "raw")
        words = ("train", tmp_path / "raw", *self.TINY, "--device", "cpu", "--out", tmp_path / "run")
        assert command(*words)[0] == 0
        (tmp_path / "raw/gt/f.png").write_bytes((tmp_path / "raw/gt/e.png").read_bytes())
        code, _, err = command(*words)
        assert (code, "was not made of" in err) == (2, True), err

    def test_after_init_wrote_its_tables_masks_in_colours_are_still_written_as_values(
        self, tmp_path: Path, command: Command
    ) -> None:
        RAW["few colours"](tmp_path / "raw")
        assert command("init", tmp_path / "raw")[0] == 0
        code, _, err = command("train", tmp_path / "raw", *self.TINY, "--device", "cpu", "--out", tmp_path / "run")
        assert code == 0, err
        assert "written as values" in err
        assert (tmp_path / "raw-set/classes.csv").read_bytes() == (tmp_path / "raw/classes.csv").read_bytes()

    def test_the_reader_of_a_known_set_is_named(self, tmp_path: Path, command: Command) -> None:
        maker = MAKERS["camvid32"]
        assert maker is not None
        code, _, err = command("train", maker(tmp_path / "data"), *self.TINY, "--out", tmp_path / "run")
        assert (code, "`perpixel train --data camvid32 --root" in err) == (3, True), err

    def test_annotations_are_written_as_masks(self, tmp_path: Path, command: Command) -> None:
        yolo(tmp_path / "raw")
        code, _, err = command("train", tmp_path / "raw", *self.TINY, "--device", "cpu", "--out", tmp_path / "run")
        assert code == 0, err
        assert (tmp_path / "raw-set/classes.csv").exists()

    def test_two_data_sets_are_refused(self, tmp_path: Path, command: Command) -> None:
        code, _, err = command("train", tmp_path, "--data", "scenes", *self.TINY)
        assert (code, "are two data sets; name one of them" in err) == (2, True)


class TestWhatIsShown:
    def test_a_rule_with_three_examples(self, tmp_path: Path) -> None:
        of("a/*.jpg", "b/*_zxcv.png")(tmp_path)
        sentence = "6 pictures in a/ have their masks in b/ (NAME_zxcv): a.jpg with a_zxcv.png, b.jpg with b_zxcv.png, c.jpg with"
        decided = propose(tmp_path).decided
        assert decided[0] == "6 .jpg files, 6 .png files: read."
        assert decided[1].startswith(sentence)

    def test_the_lists_that_are_used_and_what_they_leave_out(self, tmp_path: Path) -> None:
        fill(tmp_path, "JPEGImages/*.jpg", "SegmentationClass/*.png", "abcdefxyz")
        voc_lists(tmp_path)
        with (tmp_path / "ImageSets/Segmentation/val.txt").open("a") as file:
            file.write("nowhere\na\n")
        proposal = propose(tmp_path)
        lists = ", ".join(f"ImageSets/Segmentation/{split}.txt" for split in ("train", "val", "test"))
        assert f"the splits are those of {lists}: train 2, val 2, test 2." in proposal.decided
        left_out = "JPEGImages/x.jpg, JPEGImages/y.jpg, JPEGImages/z.jpg."
        assert f"3 pictures with a mask are in no list and are left out: {left_out}" in proposal.undecided
        assert "1 lines of the lists name no picture that is there: nowhere." in proposal.undecided
        assert any(sentence.startswith("1 pictures are in the lists of several splits") for sentence in proposal.undecided)

    def test_without_a_list_of_train_the_other_pictures_are_train(self, tmp_path: Path) -> None:
        fill(tmp_path, "img/*.jpg", "gt/*.png")
        (tmp_path / "val.txt").write_text("a\nb\n")
        splits = {pair.image.stem: pair.split for pair in propose(tmp_path).pairs}
        assert splits == {"a": "val", "b": "val", "c": "train", "d": "train", "e": "train", "f": "train"}

    def test_lists_of_pictures_without_masks_are_not_used(self, tmp_path: Path) -> None:
        fill(tmp_path, "img/*.jpg", "gt/*.png")
        save(tmp_path / "new/u.jpg", np.zeros((*SIZE, 3)))
        (tmp_path / "train.txt").write_text("u\n")
        proposal = propose(tmp_path)
        assert len(proposal.pairs) == 6
        assert "train.txt name no picture that has a mask, and are not used." in proposal.undecided

    @pytest.mark.parametrize("line", ["please read me", "the pictures were taken in May\nby Anna"])
    def test_other_text_is_no_list(self, tmp_path: Path, line: str) -> None:
        fill(tmp_path, "img/*.jpg", "gt/*.png")
        (tmp_path / "train_readme.txt").write_text(line)
        assert not any("the splits are those" in sentence for sentence in propose(tmp_path).decided)


class TestTwoCandidates:
    """Both are named, and the flag that decides; with the flag it goes on (see FLAGS above)."""

    @pytest.mark.parametrize(
        ("shape", "names", "flags"),
        [
            ("two graders", ("images/Image_aL_1stHO.png", "images/Image_aL_2ndHO.png"), ("_1stHO", "_2ndHO")),
            ("fields of view", ("1st_manual/01_manual1.gif", "mask/01_test_mask.gif"), ("1st_manual", "mask")),
        ],
    )
    def test_of_masks(self, tmp_path: Path, command: Command, shape: str, names: tuple[str, str], flags: tuple[str, str]) -> None:
        CHOSEN[shape](tmp_path)
        code, _, err = command("init", tmp_path)
        assert code == 3
        assert all(name in err for name in names)
        assert all(f"`--masks {flag}`" in err for flag in flags)
        assert not (tmp_path / "classes.csv").exists()

    def test_of_lists(self, tmp_path: Path, command: Command) -> None:
        fill(tmp_path, "img/*.jpg", "gt/*.png")
        text_lists("splits/first/{}")(tmp_path)
        text_lists("splits/second/{}")(tmp_path)
        lists = tmp_path / "splits/second"
        (lists / "val.txt").rename(lists / "x.txt")
        (lists / "test.txt").rename(lists / "val.txt")
        (lists / "x.txt").rename(lists / "test.txt")
        code, _, err = command("init", tmp_path)
        assert code == 3
        assert "put 3 pictures into different splits" in err
        assert "`--lists splits/first` or `--lists splits/second`" in err
        assert command("init", tmp_path, "--lists", "splits/second")[0] == 0
        assert len(open_dataset(tmp_path, split="val")) == 2

    def test_of_pictures(self, tmp_path: Path, command: Command) -> None:
        fill(tmp_path, "plain/*.jpg", "gt/*.png")
        fill(tmp_path, "sharpened/*.jpg", "gt/*.png")
        code, _, err = command("init", tmp_path)
        assert (code, "`--pictures plain` or `--pictures sharpened`" in err) == (3, True), err
        assert command("init", tmp_path, "--pictures", "plain")[0] == 0
        assert open_dataset(tmp_path, split="train").name(0).startswith("plain/")


class TestSetsThatAreKnown:
    @pytest.mark.parametrize("name", [name for name in MAKERS if name in ON_DISK and not name.startswith(("coco_", "context"))])
    def test_the_reader_is_named_with_the_command_and_nothing_is_written(
        self, tmp_path: Path, command: Command, name: str
    ) -> None:
        maker = MAKERS[name]
        assert maker is not None
        root = maker(tmp_path / "data")
        before = files(root)
        code, out, err = command("init", root)
        assert (code, files(root)) == (0, before)
        assert "Its reader is ready, so nothing is written." in out
        ready = ready_set(root)
        assert ready is not None
        assert name in ready.views
        assert f"perpixel train --data {ready.name} --root {root}" in err

    def test_fix_writes_them_as_a_folder(self, tmp_path: Path, command: Command) -> None:
        maker = MAKERS["camvid32"]
        assert maker is not None
        code, _, err = command("init", maker(tmp_path / "data"), "--fix", tmp_path / "copy")
        assert code == 0, err
        assert len(open_dataset(tmp_path / "copy", split="train")) == 5

    @pytest.mark.parametrize("name", sorted(FOLDERS))
    def test_own_folders_are_none(self, tmp_path: Path, name: str) -> None:
        maker = MAKERS[name]
        assert maker is not None
        assert ready_set(maker(tmp_path)) is None

    def test_panoptic_maps_are_no_masks(self, tmp_path: Path) -> None:
        panoptic(tmp_path)
        with pytest.raises(DataError, match=r"panoptic_train2017\.json: says what the colours .* --data coco_panoptic --root"):
            propose(tmp_path)

    def test_annotations_are_converted_by_fix(self, tmp_path: Path, command: Command) -> None:
        truth = yolo(tmp_path / "raw")
        assert "holds YOLO polygons, no masks; `perpixel convert" in command("init", tmp_path / "raw")[2]
        assert command("init", tmp_path / "raw", "--fix", tmp_path / "copy")[0] == 0
        assert_shows(tmp_path / "copy", truth)

    def test_classes_of_yolo_without_names_are_numbered(self, tmp_path: Path, command: Command) -> None:
        truth = yolo(tmp_path / "raw", named=False)
        code, out, err = command("init", tmp_path / "raw", "--fix", tmp_path / "copy")
        assert (code, "no data.yaml and no classes.txt name the classes: they are class_0 to class_0." in out) == (0, True), err
        assert open_dataset(tmp_path / "copy").classes.names[1:] == ("class_0",)
        assert_shows(tmp_path / "copy", truth)

    def test_masks_win_over_yolo_and_it_is_told(self, tmp_path: Path) -> None:
        truth = masks_and_yolo(tmp_path)
        proposal = init(tmp_path)
        assert any("there are files of YOLO polygons too, which are not used" in sentence for sentence in proposal.undecided)
        assert_shows(tmp_path, truth)

    def test_a_file_of_names_is_no_yolo(self, tmp_path: Path) -> None:
        fill(tmp_path, "img/*.jpg", "gt/*.png")
        (tmp_path / "classes.txt").write_text("sky\nroad\ncar\n")
        assert not any("YOLO" in sentence for sentence in propose(tmp_path).undecided)


class TestSeveralSets:
    def test_they_are_listed_and_asked_for(self, tmp_path: Path) -> None:
        several_sets(tmp_path)
        words = (
            r"holds 3 data sets \(birds: 6 pictures, 6 masks; cells: .*; roads: .*\); name one, such as `perpixel init .*birds`"
        )
        with pytest.raises(DataError, match=words):
            propose(tmp_path)
        assert len(propose(tmp_path / "cells").pairs) == 6
        assert len(propose(tmp_path, together=True).pairs) == 18

    def test_they_are_seen_below_a_folder_and_beside_another_set(self, tmp_path: Path) -> None:
        several_sets(tmp_path / "data/all")
        with pytest.raises(DataError, match="holds 3 data sets"):
            propose(tmp_path)
        yolo(tmp_path / "outlines")
        with pytest.raises(DataError, match=r"holds 4 data sets .*outlines: YOLO polygons"):
            propose(tmp_path)

    @pytest.mark.parametrize("place", ["patient_{}", "town{}/2021", "{}"])
    def test_numbered_parts_are_one_set(self, tmp_path: Path, place: str) -> None:
        for number in range(1, 4):
            fill(tmp_path, f"{place.format(number)}/img/*.png", f"{place.format(number)}/gt/*.png", "ab")
        assert len(propose(tmp_path).pairs) == 6

    def test_towns_with_the_same_classes_are_one_set(self, tmp_path: Path) -> None:
        for town in ("ulm", "bonn", "trier"):
            fill(tmp_path, f"{town}/img/*.png", f"{town}/gt/*.png", "ab")
        assert len(propose(tmp_path).pairs) == 6

    def test_sets_of_one_shape_with_other_classes_are_several(self, tmp_path: Path) -> None:
        fill(tmp_path, "cats/images/*.png", "cats/masks/*.png")
        fill(tmp_path, "cells/images/*.png", "cells/masks/*.png", classes=2, write=lambda labels: labels * 255)
        with pytest.raises(DataError, match="holds 2 data sets"):
            propose(tmp_path)


class TestConvertAndInitAgree:
    def tables(self, root: Path, out: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
        assert convert(root, out, origin="voc").format == "voc"
        return open_dataset(out, split="train").classes.names, propose(root).classes.names

    def test_the_values_of_the_masks_beat_the_names_of_voc(self, tmp_path: Path) -> None:
        RAW["lists of VOC"](tmp_path / "raw")
        assert set(self.tables(tmp_path / "raw", tmp_path / "out")) == {("background", "class_1", "class_2")}

    def test_a_value_that_voc_does_not_have(self, tmp_path: Path) -> None:
        fill(tmp_path / "raw", "JPEGImages/*.jpg", "SegmentationClass/*.png", write=lambda labels: labels * 40)
        text_lists("ImageSets/Segmentation/{}")(tmp_path / "raw")
        assert set(self.tables(tmp_path / "raw", tmp_path / "out")) == {("background", "class_40", "class_80")}

    def test_pictures_of_voc_have_its_names(self, tmp_path: Path) -> None:
        names = [f"2007_00000{number}" for number in range(6)]
        fill(tmp_path / "raw", "JPEGImages/*.jpg", "SegmentationClass/*.png", names)
        by_convert, by_init = self.tables(tmp_path / "raw", tmp_path / "out")
        assert by_convert[:3] == by_init == ("background", "aeroplane", "bicycle")

    def test_a_table_in_the_folder(self, tmp_path: Path) -> None:
        RAW["lists of VOC"](tmp_path / "raw")
        (tmp_path / "raw/labelmap.txt").write_text(
            "# label:color_rgb:parts:actions\nsky:0,0,0::\nroad:128,0,0::\ncar:0,128,0::\n"
        )
        assert set(self.tables(tmp_path / "raw", tmp_path / "out")) == {("sky", "road", "car")}


class TestClasses:
    @pytest.mark.parametrize(
        ("shape", "names", "values"),
        [
            ("colours of CamVid", ("sky", "road", "tree", "car"), ((0,), (3,), (5,), (8,))),
            ("colours with a table", ("meadow", "house", "pond"), ((0,), (1,), (2,))),
            ("void borders in colours", ("background", "class_1", "class_2"), ((0,), (1,), (2,))),
            ("Roboflow", ("background", "road", "car"), ((0,), (1,), (2,))),
            ("masks of CVAT", ("background", "road", "car"), ((0,), (1,), (2,))),
            ("a mask for each class, behind the name", ("background", "car", "road"), ((0,), (1,), (2,))),
            ("two greys in JPEG", ("class_40", "class_160"), ((40,), (160,))),
            ("void borders in grey", ("background", "foreground"), ((0,), (255,))),
            ("0 and 1, or 0 and 255", ("background", "foreground"), ((0,), (1, 255))),
            ("black and white in RGB", ("background", "foreground"), ((0,), (255,))),
            ("a palette for each file", ("background", "class_1", "class_2"), ((0,), (1,), (2,))),
        ],
    )
    def test_their_names_and_values(
        self, tmp_path: Path, shape: str, names: tuple[str, ...], values: tuple[tuple[int, ...], ...]
    ) -> None:
        RAW[shape](tmp_path)
        proposal = propose(tmp_path)
        assert (proposal.classes.names, proposal.classes.values) == (names, values)

    @pytest.mark.parametrize(
        ("name", "lines"),
        [
            ("class_dict.csv", ["name, r, g, b", "void, 0, 0, 0", "house, 200, 30, 60", "still pond, 10, 180, 90"]),
            ("label_colors.txt", ["0 0 0\tvoid", "200 30 60\thouse", "10 180 90\tstill pond"]),
            ("labelmap.txt", ["# label:color_rgb:parts:actions", "void:0,0,0::", "house:200,30,60::", "still pond:10,180,90::"]),
            ("my-colormap.txt", ["0 void 0 0 0", "1 house 200 30 60", "2 still pond 10 180 90"]),
            ("anything.csv", ["id;class;r;g;b", "7;void;0;0;0", "8;house;200;30;60", "9;still pond;10;180;90"]),
        ],
    )
    def test_a_file_of_names_and_colours(self, tmp_path: Path, name: str, lines: list[str]) -> None:
        RAW["few colours"](tmp_path)
        (tmp_path / name).write_text("\n".join(lines) + "\n")
        table = propose(tmp_path).classes
        assert dict(zip(table.names, table.colours, strict=True)) == {"house": (200, 30, 60), "still pond": (10, 180, 90)}
        assert table.void_values == (0,)

    def test_names_that_were_edited_are_those_of_the_copy(self, tmp_path: Path, command: Command) -> None:
        truth = RAW["few colours"](tmp_path / "raw")
        assert command("init", tmp_path / "raw")[0] == 0
        table = tmp_path / "raw/classes.csv"
        table.write_text(table.read_text().replace("class_1", "pond"))
        assert command("init", tmp_path / "raw", "--fix", tmp_path / "copy")[0] == 0
        assert open_dataset(tmp_path / "copy").classes.names == ("background", "pond", "class_2")
        assert_shows(tmp_path / "copy", truth)

    def test_colours_are_counted(self, tmp_path: Path) -> None:
        for name in "ab":
            save(tmp_path / f"img/{name}.png", np.random.default_rng(ord(name)).integers(0, 256, (*SIZE, 3)))
            save(tmp_path / f"gt/{name}.png", np.array([[[0, 0, 0], [0, 0, 0], [9, 8, 7], [1, 2, 3]] * 8] * 24))
        sentence = "the masks hold 3 colours: (0, 0, 0) (50 %), (1, 2, 3) (25 %), (9, 8, 7) (25 %); each becomes one value."
        assert sentence in propose(tmp_path).decided

    def test_half_transparent_pixels_are_no_class(self, tmp_path: Path) -> None:
        fill(tmp_path, "img/*.jpg", "gt/*.png", write=lambda labels: np.dstack([labels, labels * 3, labels, labels * 90]))
        with pytest.raises(DataError, match=r"no mask can be read; .*half transparent at row \d+, column \d+ \(alpha (90|180)\)"):
            propose(tmp_path)


def test_a_pair_that_cannot_be_written_is_left_out_and_reported(tmp_path: Path, command: Command) -> None:
    truth = RAW["few colours"](tmp_path / "raw")
    (tmp_path / "raw/gt/a.png").write_bytes(b"")
    code, _, err = command("init", tmp_path / "raw", "--fix", tmp_path / "copy")
    assert code == 3
    assert "5 pairs of 6" in err
    assert "a.png: " in err
    del truth["img/a.jpg"]
    assert_shows(tmp_path / "copy", truth)


def test_a_copy_that_is_there_is_not_touched(tmp_path: Path, command: Command) -> None:
    RAW["few colours"](tmp_path / "raw")
    (tmp_path / "copy").mkdir()
    code, _, err = command("init", tmp_path / "raw", "--fix", tmp_path / "copy")
    assert (code, "exists already; name a new folder" in err) == (2, True)
    assert files(tmp_path / "copy") == {}
