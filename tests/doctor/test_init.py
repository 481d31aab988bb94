"""init: folders of any shape become data sets that open and pass `check`."""

import csv
import os
import shutil
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from fakes import make_folder, make_instances, make_labelme
from PIL import Image

from perpixel.datasets import open_dataset, pairing_masks
from perpixel.datasets.folder import chosen_for_val
from perpixel.doctor.check import check
from perpixel.doctor.init import init, propose, write
from perpixel.errors import DataError, ResourceError
from perpixel.images import write_labels

MASK = [[0, 1, 2] * 4] * 9  # so large that a picture of noise has more colours than a mask has values


def put(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, np.uint8)).save(path)


def put_picture(path, seed, size=(9, 12)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)).save(path)


def fill(root, pictures, masks, names="abcdef", values=MASK):
    """Puts one picture and one mask for each name; `pictures` and `masks` are paths with a star for the name."""
    for name in names:
        put_picture(root / pictures.replace("*", name), zlib.crc32(os.fsencode(pictures.replace("*", name))))
        put(root / masks.replace("*", name), values)


def rows(root):
    with (root / "pairs.csv").open(newline="") as file:
        return [tuple(row) for row in csv.reader(file)][1:]


def files(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def assert_sound(root):
    assert check(root).errors == ()
    assert len(open_dataset(root, split="train")) >= 1


def mentions(sentences, words):
    return any(words in sentence for sentence in sentences)


def test_the_standard_shape_needs_no_list(tmp_path):
    fill(tmp_path, "images/train/*.jpg", "masks/train/*.png", "abc")
    fill(tmp_path, "images/val/*.jpg", "masks/val/*.png", "de")
    proposal = init(tmp_path)
    assert not (tmp_path / "pairs.csv").exists()
    assert proposal.classes.names == ("background", "class_1", "class_2")
    assert mentions(proposal.decided, "train: 3, val: 2 pictures")
    assert_sound(tmp_path)


def test_the_flat_standard_shape_keeps_its_own_fifth(tmp_path):
    fill(tmp_path, "images/*.jpg", "masks/*.png")
    proposal = init(tmp_path)
    assert not proposal.listed
    assert {pair.name for pair in proposal.pairs if pair.split == "val"} == chosen_for_val(list("abcdef"))
    assert_sound(tmp_path)


@pytest.mark.parametrize(
    ("pictures", "masks"),
    [
        ("img/*.jpg", "label/*.png"),
        ("JPEGImages/*.jpg", "SegmentationClass/*.png"),
        ("photos/*.png", "ground_truth/*.png"),
        ("data/Images/*.png", "data/Labels/*_mask.png"),
        ("pictures/img_*.jpg", "annotations/mask_*.png"),
        ("original_images/*.jpg", "label_images_semantic/*.png"),
        ("*.jpg", "*.png"),
        ("*.png", "*_mask.png"),
        ("*.png", "*-mask.png"),
        ("*.png", "*_L.png"),
        ("images/*.jpg", "images/*_labelIds.png"),
        ("*/image.png", "*/mask.png"),
        ("raw/*_leftImg8bit.png", "gtFine/*_gtFine_labelIds.png"),
        ("2021/scan*.tif", "by_anna/scan*.tif"),
    ],
)
def test_many_shapes_are_understood(tmp_path, pictures, masks):
    fill(tmp_path, pictures, masks)
    before = files(tmp_path)
    init(tmp_path)
    assert {(image, mask) for image, mask, _ in rows(tmp_path)} == {
        (pictures.replace("*", name), masks.replace("*", name)) for name in "abcdef"}  # fmt: skip
    assert {image.rsplit(".", 1)[0] for image, _, split in rows(tmp_path) if split == "val"} == chosen_for_val(
        [image.rsplit(".", 1)[0] for image, _, _ in rows(tmp_path)])  # fmt: skip
    assert_sound(tmp_path)
    after = files(tmp_path)
    assert after.keys() - before.keys() == {"classes.csv", "pairs.csv"}
    assert all(after[name] == before[name] for name in before)


@pytest.mark.parametrize(
    ("pictures", "masks"),
    [
        ("images/{}/*.jpg", "labels/{}/*.png"),
        ("{}/img/*.jpg", "{}/gt/*.png"),
        ("{}/*.jpg", "{}annot/*.png"),
        ("{}_images/*.jpg", "{}_masks/*.png"),
        ("{}/*.png", "{}/*_seg.png"),
        ("images/{}/*.jpg", "masks_all/{}_*.png"),
    ],
)
@pytest.mark.parametrize(
    ("training", "validation"), [("train", "val"), ("training", "validation"), ("train", "valid"), ("train", "dev")]
)
def test_splits_of_folders_are_kept(tmp_path, pictures, masks, training, validation):
    if "{}_*" in masks:
        pictures = pictures.replace("*", "{}_*")
    for split, names in ((training, "abc"), (validation, "ab")):
        fill(tmp_path, pictures.replace("{}", split), masks.replace("{}", split), names)
    init(tmp_path)
    kept = {(image, split) for image, _, split in rows(tmp_path)}
    assert kept == {
        (pictures.replace("{}", folder).replace("*", name), split)
        for folder, split, names in ((training, "train", "abc"), (validation, "val", "ab"))
        for name in names
    }
    assert all(image.split("/")[-1][:-4] in mask for image, mask, _ in rows(tmp_path))
    assert_sound(tmp_path)


def test_without_val_a_fifth_of_train_becomes_val(tmp_path):
    fill(tmp_path, "train/img/*.jpg", "train/gt/*.png")
    fill(tmp_path, "test/img/*.jpg", "test/gt/*.png", "xy")
    splits = [pair.split for pair in init(tmp_path).pairs]
    assert splits == ["train"] * 5 + ["val"] + ["test"] * 2
    assert_sound(tmp_path)


def test_instances_and_overlays_are_not_taken_for_masks(tmp_path):
    fill(tmp_path, "JPEGImages/*.jpg", "SegmentationClass/*.png")
    fill(tmp_path, "JPEGImages/*.jpg", "SegmentationObject/*.png", values=np.zeros((9, 12)))
    proposal = init(tmp_path)
    assert {pair.mask.parent.name for pair in proposal.pairs} == {"SegmentationClass"}
    assert mentions(proposal.undecided, "6 files that seem to be instances or overlays are left aside: SegmentationObject/a.png")


def test_a_folder_of_instances_is_a_data_set_of_objects(tmp_path):
    make_instances(tmp_path, train=3, val=2)
    put_picture(tmp_path / "images/val/more.png", 0)
    proposal = init(tmp_path)
    assert (proposal.classes.names, proposal.listed, len(proposal.pairs)) == (("background", "object"), False, 5)
    assert mentions(proposal.decided, "instances/ numbers the objects of 5 pictures, so no pairs.csv is needed.")
    assert mentions(proposal.undecided, "1 pictures without a file in instances/ are left out: images/val/more.png.")
    assert open_dataset(tmp_path).classes == proposal.classes


def test_instances_beside_masks_are_used(tmp_path):
    make_folder(tmp_path, train=2, val=2)
    (tmp_path / "classes.csv").unlink()
    shutil.copytree(tmp_path / "masks", tmp_path / "instances")
    proposal = init(tmp_path)
    assert mentions(proposal.decided, "instances/ numbers the objects of 4 pictures beside masks/, so no pairs.csv is needed.")
    assert proposal.classes.values == ((0,), (1,), (2,))
    assert open_dataset(tmp_path).sample(0).instances is not None


def classes_of(root, *masks, names=None):
    for i, mask in enumerate(masks * 2):
        put_picture(root / f"images/{i}.png", i, np.shape(mask))
        put(root / f"masks/{i}.png", mask)
    if names:
        (root / "classes.txt").write_text("\n".join(names) + "\n")
    return propose(root)


def test_0_and_255_are_background_and_foreground(tmp_path):
    proposal = classes_of(tmp_path, [[0, 255, 255], [0, 0, 0]])
    assert proposal.classes.names == ("background", "foreground")
    assert proposal.classes.values == ((0,), (255,))
    assert proposal.classes.void_values == ()
    assert mentions(proposal.undecided, "255 is taken for the class foreground, because the only other value is 0")
    assert mentions(proposal.decided, "the masks hold 2 values: 0 (66.7 %), 255 (33.3 %)")
    write(proposal)
    assert_sound(tmp_path)


def test_255_beside_small_values_is_void(tmp_path):
    proposal = classes_of(tmp_path, [[0, 1, 2], [2, 255, 255]])
    assert proposal.classes.names == ("background", "class_1", "class_2")
    assert proposal.classes.void_values == (255,)
    assert mentions(proposal.undecided, "255 is taken for void")
    assert mentions(proposal.undecided, "class_1, class_2 are placeholders")
    write(proposal)
    assert_sound(tmp_path)


def test_255_of_evenly_spread_greys_is_a_class(tmp_path):
    proposal = classes_of(tmp_path, [[0, 128, 255], [0, 128, 255]])
    assert proposal.classes.names == ("background", "class_128", "class_255")
    assert proposal.classes.void_values == ()


def test_without_0_there_is_no_background(tmp_path):
    assert classes_of(tmp_path, [[1, 2, 7], [1, 1, 1]]).classes.names == ("class_1", "class_2", "class_7")


def test_names_come_from_a_file_in_the_order_of_the_values(tmp_path):
    proposal = classes_of(tmp_path, [[3, 8, 20], [3, 3, 255]], names=["sky", "road", "car"])
    assert dict(zip(proposal.classes.names, proposal.classes.values, strict=True)) == {"sky": (3,), "road": (8,), "car": (20,)}
    assert proposal.classes.void_values == (255,)
    assert not mentions(proposal.undecided, "placeholder")


def test_names_of_a_file_that_occur_in_no_mask_are_left_out(tmp_path):
    proposal = classes_of(tmp_path, [[0, 1, 3], [0, 0, 0]], names=["sky", "road", "bus", "car"])
    assert proposal.classes.names == ("sky", "road", "car")
    assert mentions(proposal.undecided, "bus of classes.txt occur in no mask")


def test_a_file_of_names_that_does_not_fit_is_not_used(tmp_path):
    proposal = classes_of(tmp_path, [[0, 1, 9], [0, 0, 0]], names=["sky", "road"])
    assert proposal.classes.names == ("background", "class_1", "class_9")
    assert mentions(proposal.undecided, "classes.txt has 2 names for 3 values")


def test_the_colours_of_palette_masks_are_kept(tmp_path):
    for i in range(2):
        put_picture(tmp_path / f"images/{i}.png", i)
        path = tmp_path / f"masks/{i}.png"
        path.parent.mkdir(exist_ok=True)
        mask = Image.fromarray(np.array(MASK, np.uint8))
        mask.putpalette([1, 2, 3, 200, 0, 0, 0, 0, 90])
        mask.save(path)
    proposal = propose(tmp_path)
    assert proposal.classes.colours == ((1, 2, 3), (200, 0, 0), (0, 0, 90))
    assert mentions(proposal.decided, "the colours are those of the masks' palette")


def test_grey_masks_get_the_colours_of_voc(tmp_path):
    table = classes_of(tmp_path, MASK).classes
    assert table.colours == ((0, 0, 0), (128, 0, 0), (0, 128, 0))
    assert table.void_colour == (224, 224, 192)


def test_masks_of_the_proposed_table_read_like_the_old_ones(tmp_path):
    proposal = classes_of(tmp_path, [[0, 1, 2], [2, 255, 255]])
    write(proposal)
    labels = open_dataset(tmp_path, split="train").sample(0).labels
    write_labels(tmp_path, "masks/0.png", labels, proposal.classes)
    assert_sound(tmp_path)


def test_many_values_look_like_numbers_of_objects(tmp_path):
    for i in range(2):
        put_picture(tmp_path / f"images/{i}.png", i)
        (tmp_path / "masks").mkdir(exist_ok=True)
        Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30)).save(tmp_path / f"masks/{i}.png")
    assert mentions(propose(tmp_path).undecided, "600 values look like numbers of objects")


def test_files_that_are_left_out_are_reported(tmp_path):
    fill(tmp_path, "img/*.jpg", "gt/*.png")
    for name in "uvwxyz":
        put_picture(tmp_path / f"img/{name}.jpg", 0)
    put(tmp_path / "gt/alone.png", MASK)
    proposal = propose(tmp_path)
    assert mentions(proposal.undecided, "6 pictures without a mask are left out: img/u.jpg, img/v.jpg, img/w.jpg and 3 more")
    assert mentions(proposal.undecided, "1 masks without a picture are left out: gt/alone.png")
    assert len(proposal.pairs) == 6


def test_sizes_that_differ_and_broken_masks_are_reported(tmp_path):
    fill(tmp_path, "img/*.jpg", "gt/*.png")
    put(tmp_path / "gt/a.png", [[0, 1, 2]])
    (tmp_path / "gt/b.png").write_bytes(b"")
    (tmp_path / "img/c.jpg").write_bytes(b"")
    proposal = propose(tmp_path)
    assert mentions(proposal.undecided, "1 pictures cannot be read; the first:")
    assert mentions(proposal.undecided, "1 masks differ from their picture in size: gt/a.png")
    assert mentions(proposal.undecided, "1 masks cannot be read; the first:")


def test_colour_masks_get_a_table_and_the_repair_is_proposed(tmp_path):
    fill(tmp_path, "img/*.png", "gt/*.png", values=[[[0, 0, 0], [130, 0, 0], [0, 0, 0]] * 4] * 9)
    proposal = init(tmp_path)
    assert proposal.repair == "6 masks write 2 colours in place of values"
    colours = "(0, 0, 0) (66.7 %), (130, 0, 0) (33.3 %); each becomes one value."
    assert mentions(proposal.decided, f"the masks hold 2 colours: {colours}")
    assert (tmp_path / "classes.csv").read_text() == "id,name,r,g,b\n0,background,0,0,0\n1,class_1,130,0,0\n"


def with_loss(root, values, **options):
    for number in range(5):
        put_picture(root / f"img/{number}.png", 0, (48, 64))
        (root / "gt").mkdir(exist_ok=True)
        Image.fromarray(np.asarray(values, np.uint8)).save(root / f"gt/{number}.jpg", **options)


SQUARES = np.zeros((48, 64), np.uint8)
SQUARES[3:21, 5:27], SQUARES[20:37, 33:58] = 1, 2


class TestMasksSavedWithLoss:
    """What is not certain is refused, with pixel and value; see raw_folders.py for what is."""

    @pytest.mark.parametrize(
        ("values", "options", "words"),
        [
            (SQUARES, {}, "0 and 1 are too near each other to be told apart after JPEG"),
            (SQUARES * 30, {}, "0 and 30 are 30 apart, and 32 is the least that can be told apart after JPEG"),
            (np.tile(np.arange(64) * 4, (48, 1)), {}, "no area of 4x4 pixels has one colour"),
            (np.array([[0, 0, 0], [200, 30, 60], [10, 180, 90]])[SQUARES], {}, r"in which \(.*\) at row \d+, column \d+ is"),
            (np.where(SQUARES == 2, np.arange(64) * 2, SQUARES * 255), {}, r"lies between 0, 255, as 1\d % of"),
            (np.random.default_rng(0).integers(0, 256, (48, 64, 3)), {}, "whose compression changes mask values: no area"),
        ],
    )
    def test_what_is_not_certain(self, tmp_path, values, options, words):
        with_loss(tmp_path, values, **options)
        with pytest.raises(DataError, match=words):
            propose(tmp_path)

    def test_a_photo_among_them_is_one_bad_file(self, tmp_path):
        with_loss(tmp_path, (SQUARES > 0) * 255)
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64), np.uint8)).save(tmp_path / "gt/3.jpg")
        proposal = propose(tmp_path)
        assert mentions(proposal.undecided, f"1 masks cannot be read; the first: {tmp_path}/gt/3.jpg: is a JPEG")
        assert mentions(proposal.decided, "4 masks were saved with loss (4 JPEG): each pixel becomes the nearest of 0, 255; ")
        assert proposal.classes.values == ((0,), (255,))

    def test_colours_are_restored_by_a_file_of_names(self, tmp_path):
        with_loss(tmp_path, np.array([[0, 0, 0], [200, 30, 60], [10, 180, 90]])[SQUARES], quality=95, subsampling=0)
        (tmp_path / "class_dict.csv").write_text("name,r,g,b\nmeadow,0,0,0\nhouse,200,30,60\npond,10,180,90\n")
        assert propose(tmp_path).classes.names == ("meadow", "house", "pond")


def test_json_of_supervisely_without_masks_is_named_with_what_to_do(tmp_path):
    put_picture(tmp_path / "ds0/img/a.jpg", 0)
    (tmp_path / "ds0/ann").mkdir()
    (tmp_path / "ds0/ann/a.jpg.json").write_text('{"objects": [{"classTitle": "car"}]}')
    with pytest.raises(DataError, match=r"1 files are JSON of Supervisely \(ds0/ann/a.jpg.json\), which is not read; export it"):
        propose(tmp_path)


def test_pixels_of_several_classes_are_counted_and_the_smaller_class_has_them(tmp_path):
    for name in "abcde":
        put_picture(tmp_path / f"images/{name}.jpg", 0, (48, 64))
        for title, shown in (("car", SQUARES == 2), ("road", SQUARES > 0 if name < "c" else SQUARES == 1)):
            (tmp_path / f"masks/{title}").mkdir(parents=True, exist_ok=True)
            Image.fromarray(shown.astype(np.uint8) * 255).save(tmp_path / f"masks/{title}/{name}.png")
    proposal = propose(tmp_path)
    assert proposal.classes.names == ("background", "car", "road")
    sentence = "850 pixels of 2 pictures lie in the masks of several classes: the class of fewer pixels has them"
    assert mentions(proposal.undecided, sentence)


def test_what_exists_is_never_overwritten(tmp_path):
    fill(tmp_path, "img/*.jpg", "gt/*.png")
    proposal = init(tmp_path)
    before = files(tmp_path)
    for again in (init, lambda _: write(proposal)):
        with pytest.raises(DataError, match=r"classes\.csv: exists already; edit it, or delete it first"):
            again(tmp_path)
    (tmp_path / "classes.csv").unlink()
    with pytest.raises(DataError, match=r"pairs\.csv: exists already"):
        write(proposal)
    init(tmp_path)
    assert files(tmp_path) == before


def test_a_list_that_exists_is_taken_as_it_is(tmp_path):
    fill(tmp_path, "img/*.jpg", "gt/*.png", "abc")
    (tmp_path / "pairs.csv").write_text("image,mask,split\nimg/a.jpg,gt/b.png,train\nimg/b.jpg,gt/a.png,val\n")
    proposal = init(tmp_path)
    assert [(pair.name, pair.mask.name, pair.split) for pair in proposal.pairs] == [
        ("img/a", "b.png", "train"), ("img/b", "a.png", "val")]  # fmt: skip
    assert mentions(proposal.decided, "2 pairs and their splits are taken from pairs.csv")


def test_links_to_folders_are_followed(tmp_path):
    fill(tmp_path, "disk/img/*.jpg", "disk/gt/*.png")
    (tmp_path / "data").mkdir()
    for name, target in (("photos", "img"), ("masks", "gt")):
        (tmp_path / "data" / name).symlink_to(tmp_path / "disk" / target, target_is_directory=True)
    init(tmp_path / "data")
    assert rows(tmp_path / "data")[0][:2] == ("photos/a.jpg", "masks/a.png")
    assert_sound(tmp_path / "data")


def test_a_list_may_name_files_outside_the_folder(tmp_path):
    fill(tmp_path, "img/*.jpg", "gt/*.png", "ab")
    put(tmp_path / "gt/a.png", [[0, 1]])
    (tmp_path / "data").mkdir()
    (tmp_path / "data/pairs.csv").write_text("image,mask,split\n../img/a.jpg,../gt/a.png,train\n../img/b.jpg,../gt/b.png,val\n")
    assert mentions(init(tmp_path / "data").undecided, "1 masks differ from their picture in size")


def test_a_folder_that_cannot_be_written_to_is_reported(tmp_path, monkeypatch):
    fill(tmp_path, "img/*.jpg", "gt/*.png", "ab")
    proposal = propose(tmp_path)

    def fail(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("perpixel.doctor.init.write_whole", fail)
    with pytest.raises(ResourceError, match=r"cannot be written to \(Read-only file system\)"):
        write(proposal)


def test_propose_writes_nothing(tmp_path):
    fill(tmp_path, "img/*.jpg", "gt/*.png")
    before = files(tmp_path)
    assert propose(tmp_path) == propose(tmp_path)
    assert files(tmp_path) == before


def test_where_there_is_nothing_to_pair(tmp_path):
    with pytest.raises(DataError, match="there is no such folder"):
        init(tmp_path / "none")
    with pytest.raises(DataError, match="found no pictures or masks; put pictures into images/"):
        init(tmp_path)
    put_picture(tmp_path / "images/a.jpg", 0)
    with pytest.raises(DataError, match="found 1 pictures and no masks"):
        init(tmp_path)
    put(tmp_path / "masks/b.png", MASK)
    with pytest.raises(DataError, match=r"no picture and mask share a name \(such as images/a\.jpg and masks/b\.png\)"):
        init(tmp_path)


def test_annotations_of_a_tool_are_named_and_what_makes_a_data_set_of_them(tmp_path: Path) -> None:
    make_labelme(tmp_path / "labelled", {"a": []})
    with pytest.raises(DataError, match="holds labelme JSON, no masks; `perpixel convert "):
        propose(tmp_path / "labelled")


class TestMasksNamedAfterFiles:
    """NAME.jpg.png is the mask of NAME.jpg."""

    @pytest.mark.parametrize(
        ("pictures", "masks"),
        [
            ("img/*.jpg", "gt/*.jpg.png"),
            ("img/*.jpg", "masks_machine/*.jpg.png"),
            ("img/*.JPG", "gt/*.JPG.png"),
            ("*.jpg", "*.jpg_mask.png"),
            ("img/*.png", "gt/*.png.png"),
        ],
    )
    def test_they_are_paired(self, tmp_path, pictures, masks):
        fill(tmp_path, pictures, masks)
        init(tmp_path)
        assert {(image, mask) for image, mask, _ in rows(tmp_path)} == {
            (pictures.replace("*", name), masks.replace("*", name)) for name in "abcdef"}  # fmt: skip
        assert_sound(tmp_path)

    def test_two_pictures_of_one_name_have_each_their_own(self, tmp_path):
        for suffix in ("jpg", "png"):
            fill(tmp_path, f"img/*.{suffix}", f"gt/*.{suffix}.png", "abc")
        init(tmp_path)
        assert {(image, mask) for image, mask, _ in rows(tmp_path)} == {
            (f"img/{name}.{suffix}", f"gt/{name}.{suffix}.png") for name in "abc" for suffix in ("jpg", "png")}  # fmt: skip

    def test_the_standard_shape_needs_no_list(self, tmp_path):
        fill(tmp_path, "images/*.jpg", "masks/*.jpg.png")
        assert not init(tmp_path).listed
        assert_sound(tmp_path)
        assert open_dataset(tmp_path, split="train").name(0) in "abcdef"


class TestNames:
    @pytest.mark.parametrize(("pictures", "masks"), [("images/*.jpg", "masks/*.png"), ("img/*.jpg", "gt/*_mask.png")])
    def test_the_two_unicode_forms_of_a_name_are_a_pair(self, tmp_path, pictures, masks):
        fill(tmp_path, pictures, masks, ["a", "b"])
        put_picture(tmp_path / pictures.replace("*", "\u00e9t\u00e9"), 5)
        put(tmp_path / masks.replace("*", "e\u0301te\u0301"), MASK)
        assert len(init(tmp_path).pairs) == 3
        assert_sound(tmp_path)

    def test_hidden_files_and_what_archives_add_are_left_out(self, tmp_path):
        fill(tmp_path, "img/*.jpg", "gt/*.png")
        fill(tmp_path, "img/.ipynb_checkpoints/*-checkpoint.jpg", "gt/.ipynb_checkpoints/*-checkpoint.png")
        fill(tmp_path, "__MACOSX/img/._*.jpg", "__MACOSX/gt/._*.png")
        assert len(init(tmp_path).pairs) == 6

    @pytest.mark.skipif(sys.platform != "linux", reason="names that are no UTF-8 are possible on Linux alone.")
    def test_a_name_that_is_no_utf8_is_left_out_of_a_list_and_reported(self, tmp_path):
        fill(tmp_path, "img/*.jpg", "gt/*.png", ["a", "b", os.fsdecode(b"\xff")])
        proposal = init(tmp_path)
        assert len(proposal.pairs) == 2
        sentence = "2 files have names that are not UTF-8 and are left out (gt/\\xff.png, img/\\xff.jpg); rename them."
        assert mentions(proposal.undecided, sentence)
        assert_sound(tmp_path)

    @pytest.mark.skipif(sys.platform != "linux", reason="names that are no UTF-8 are possible on Linux alone.")
    def test_no_character_of_a_name_is_obeyed(self, tmp_path):
        fill(tmp_path, "img/*.jpg", "gt/*.png", ["a", "b", "c\x1b[2J"])
        put_picture(tmp_path / "img/d\nplease look: all is well.jpg", 0)
        (tmp_path / "classes.txt").write_text("sea\nland\x1b[31m\nsky\n")
        proposal = init(tmp_path)
        assert all(sentence.isprintable() for sentence in (*proposal.decided, *proposal.undecided))


class TestWhatCannotBeRead:
    def test_formats_that_are_not_read_are_named_and_counted(self, tmp_path):
        for name in "abc":
            put_picture(tmp_path / f"images/{name}.jpg", 0)
            (tmp_path / "masks").mkdir(exist_ok=True)
            (tmp_path / f"masks/{name}.jp2").write_bytes(b"")
        with pytest.raises(DataError, match=r"3 JPEG 2000 files are not read \(masks/a.jp2, .*c.jp2\); save them"):
            propose(tmp_path)
        fill(tmp_path, "images/*.jpg", "masks/*.png", "xyz")
        (tmp_path / "scan.nii.gz").write_bytes(b"")
        proposal = propose(tmp_path)
        assert mentions(proposal.undecided, "3 JPEG 2000 files are not read")
        assert mentions(proposal.undecided, "1 NIfTI files are not read (scan.nii.gz)")

    def test_a_pipe_is_one_bad_file_among_many(self, tmp_path):
        fill(tmp_path, "img/*.jpg", "gt/*.png")
        for path in (tmp_path / "img/a.jpg", tmp_path / "gt/b.png", tmp_path / "classes.txt"):
            path.unlink(missing_ok=True)
            os.mkfifo(path)
        proposal = propose(tmp_path)
        assert mentions(proposal.undecided, "1 masks cannot be read; the first:")
        assert mentions(proposal.undecided, "1 pictures cannot be read; the first:")
        assert len(proposal.pairs) == 6

    def test_links_that_lead_nowhere_and_folders_that_are_closed_are_reported(self, tmp_path, monkeypatch):
        fill(tmp_path, "img/*.jpg", "gt/*.png")
        (tmp_path / "img/z.jpg").symlink_to("nowhere.jpg")
        (tmp_path / "img/secret").mkdir()
        real = os.scandir

        def scandir(path):
            if str(path).endswith("secret"):
                raise PermissionError(13, "Permission denied", str(path))
            return real(path)

        monkeypatch.setattr(os, "scandir", scandir)
        proposal = propose(tmp_path)
        assert mentions(proposal.undecided, "1 folders cannot be read (img/secret); allow it.")
        assert mentions(proposal.undecided, "1 links lead nowhere (img/z.jpg); take them out, or put their files there.")
        assert len(proposal.pairs) == 6

    def test_a_mask_too_large_for_memory_is_one_bad_file_among_many(self, tmp_path, monkeypatch):
        fill(tmp_path, "img/*.jpg", "gt/*.png")
        real = pairing_masks.read_any_mask

        def full(path):
            if path == tmp_path / "gt/b.png":
                raise MemoryError
            return real(path)

        monkeypatch.setattr(pairing_masks, "read_any_mask", full)
        assert mentions(propose(tmp_path).undecided, f"1 masks cannot be read; the first: {tmp_path}/gt/b.png: needs more memory")

    @pytest.mark.parametrize(
        ("make", "words"),
        [
            (lambda path: path.write_text("x"), "there is no such folder, but a file of this name; name the folder"),
            (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
            (os.mkfifo, "there is no such folder, but a file of this name; name the folder"),
        ],
    )
    def test_what_is_no_folder_is_reported_in_a_sentence(self, tmp_path, make, words):
        make(tmp_path / "set")
        with pytest.raises(DataError, match=words):
            init(tmp_path / "set")
        with pytest.raises(DataError, match=r"cannot be read \(File name too long\)"):
            init(tmp_path / ("x" * 300))

    @pytest.mark.parametrize("name", ["classes.csv", "pairs.csv"])
    def test_a_folder_in_place_of_a_table(self, tmp_path, name):
        fill(tmp_path, "img/*.jpg", "gt/*.png")
        (tmp_path / name).mkdir()
        with pytest.raises(DataError, match=rf"{name}: (exists already|is a folder, not a file)"):
            init(tmp_path)


def test_a_folder_of_test_alone_is_a_test_set_whole(tmp_path):
    fill(tmp_path, "test/img/*.jpg", "test/gt/*.png")
    proposal = propose(tmp_path)
    assert {pair.split for pair in proposal.pairs} == {"test"}
    assert not mentions(proposal.decided, "val is a fifth")
    assert mentions(proposal.undecided, "all pictures are a test set, whole: judge a model on it with --split test")
    assert not mentions(proposal.undecided, "there is no val split")
    write(proposal)
    assert len(open_dataset(tmp_path, split="all")) == 6
