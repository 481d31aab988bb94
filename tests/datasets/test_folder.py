"""A person's own folder: its three shapes, and the pairs in them."""

import json

import numpy as np
import pytest
from fakes import make_folder, make_model
from PIL import Image
from places import SHARED
from scipy import ndimage

from perpixel.datasets import fingerprint, open_dataset
from perpixel.datasets.folder import Folder, chosen_for_val, list_folder
from perpixel.doctor.check import check
from perpixel.errors import DataError, UnknownName, UsageError

NUCLEI = SHARED / "nuclei"
TABLE = "id,name,r,g,b\n0,road,128,64,128\n1,car,0,0,142\n255,void,0,0,0\n"


def put(path, values):
    """Writes a mask (two dimensions) or a picture (three)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, np.uint8)).save(path)


def put_pair(root, image, mask, shade=0, values=((0, 1, 255),)):
    put(root / image, np.full((*np.shape(values), 3), shade))
    put(root / mask, values)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "classes.csv").write_text(TABLE)
    return tmp_path


def test_split_folders(root):
    put_pair(root, "images/train/a.jpg", "masks/train/a.png")
    put_pair(root, "images/val/b.png", "masks/val/b.png", shade=50)
    train = Folder(root, "train")
    assert (train.splits, len(train), train.name(0)) == (("train", "val"), 1, "a")
    sample = Folder(root, "val").sample(0)
    assert sample.image.tolist() == [[[50, 50, 50]] * 3]
    assert sample.labels.tolist() == [[0, 1, 255]]


def test_a_flat_folder_gives_a_fifth_to_val(root):
    for i in range(10):
        put_pair(root, f"images/{i}.png", f"masks/{i}.png")
    train, val = Folder(root, "train"), Folder(root, "val")
    assert (len(train), len(val)) == (8, 2)
    assert {train.name(i) for i in range(8)} | {val.name(i) for i in range(2)} == {str(i) for i in range(10)}


def test_the_fifth_is_the_same_everywhere_and_moves_little():
    names = [f"{i:03}" for i in range(100)]
    chosen = chosen_for_val(names)
    assert len(chosen) == 20
    assert chosen == chosen_for_val(names[::-1])
    assert len(chosen - chosen_for_val([*names, "one more"])) <= 1
    assert [len(chosen_for_val(names[:n])) for n in (0, 1, 2, 9, 10)] == [0, 0, 1, 1, 2]


def test_listed_pairs_may_lie_anywhere(root):
    put_pair(root, "x/one.png", "y/eins.png")
    put_pair(root, "x/two.png", "zwei.png")
    (root / "pairs.csv").write_text("image,mask,split\nx/two.png,zwei.png,val\nx/one.png,y/eins.png,train\n")
    assert [(pair.name, pair.mask.name, pair.split) for pair in list_folder(root).pairs] == [
        ("x/one", "eins.png", "train"), ("x/two", "zwei.png", "val")]  # fmt: skip


def test_subfolders_are_part_of_the_name(root):
    put_pair(root, "images/train/berlin/1.png", "masks/train/berlin/1.png")
    put_pair(root, "images/train/bonn/1.png", "masks/train/bonn/1.png")
    train = Folder(root)
    assert [train.name(0), train.name(1)] == ["berlin/1", "bonn/1"]


def test_links_to_folders_are_followed_and_circles_end(root, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    put_pair(elsewhere, "images/1.png", "masks/1.png")
    for kind in ("images", "masks"):
        (root / f"{kind}/train").mkdir(parents=True)
        (root / f"{kind}/train/berlin").symlink_to(elsewhere / kind, target_is_directory=True)
        (elsewhere / kind / "circle").symlink_to(root / kind, target_is_directory=True)
    assert [pair.name for pair in list_folder(root).pairs] == ["berlin/1"]


def test_files_without_a_partner_and_hidden_files_are_no_pairs(root):
    put_pair(root, "images/a.png", "masks/a.png")
    put(root / "images/b.png", np.zeros((1, 1, 3)))
    put(root / "masks/c.png", [[0]])
    put_pair(root, "images/.hidden.png", "masks/.hidden.png")
    listing = list_folder(root)
    assert [pair.name for pair in listing.pairs] == ["a"]
    assert listing.lonely_images == (root / "images/b.png",)
    assert listing.lonely_masks == (root / "masks/c.png",)


def test_two_files_of_one_name_are_reported(root):
    put_pair(root, "images/a.jpg", "masks/a.png")
    put(root / "images/a.png", np.zeros((1, 3, 3)))
    assert list_folder(root).doubles == ((root / "images/a.jpg", root / "images/a.png"),)


def test_a_split_that_has_only_masks_is_listed(root):
    put_pair(root, "images/train/a.png", "masks/train/a.png")
    put(root / "masks/val/b.png", [[0]])
    assert list_folder(root).lonely_masks == (root / "masks/val/b.png",)


def test_a_mask_of_another_size_is_refused(root):
    put(root / "images/train/a.png", np.zeros((2, 3, 3)))
    put(root / "masks/train/a.png", [[0, 1]])
    with pytest.raises(DataError, match=r"a\.png: is 1x2, its picture a\.png is 2x3 \(height x width\)"):
        Folder(root).sample(0)


def test_a_folder_that_is_no_data_set_says_what_is_missing(tmp_path):
    with pytest.raises(DataError, match="there is no such folder"):
        Folder(tmp_path / "none")
    with pytest.raises(DataError, match=r"has no classes\.csv; `perpixel init"):
        Folder(tmp_path)
    (tmp_path / "classes.csv").write_text(TABLE)
    with pytest.raises(DataError, match="no picture has a mask of the same name"):
        Folder(tmp_path)
    put_pair(tmp_path, "images/train/a.png", "masks/train/a.png")
    with pytest.raises(UnknownName, match=r"no split of .* 'trian'; did you mean 'train'"):
        Folder(tmp_path, "trian")


class TestInstances:
    """Numbers of objects instead of masks, or beside them."""

    NUMBERS = ((7, 7, 300, 300), (0, 7, 300, 0), (0, 0, 0, 5))

    def put(self, root, name="train/a", numbers=NUMBERS):
        put(root / f"images/{name}.png", np.zeros((*np.shape(numbers), 3)))
        (root / f"instances/{name}.png").parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(numbers, np.uint16)).save(root / f"instances/{name}.png")

    def test_labels_are_objects_with_borders_where_they_touch(self, tmp_path):
        self.put(tmp_path)
        dataset = Folder(tmp_path)
        sample = dataset.sample(0)
        assert dataset.classes.names == ("background", "object")
        assert sample.labels.tolist() == [[1, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]]  # 5 touches 300 at a corner
        assert sample.instances.numbers.tolist() == [[2, 2, 3, 3], [0, 2, 3, 0], [0, 0, 0, 1]]
        assert sample.instances.class_ids.tolist() == [1, 1, 1]
        assert dataset.files() == [tmp_path / "images/train/a.png", tmp_path / "instances/train/a.png"]

    def test_the_table_names_background_and_object(self, tmp_path):
        (tmp_path / "classes.csv").write_text("id,name\n1,nucleus\n0,nothing\n")
        self.put(tmp_path)
        sample = Folder(tmp_path).sample(0)
        assert Folder(tmp_path).classes.names == ("nucleus", "nothing")
        assert sample.labels[0].tolist() == [0, 1, 1, 0]
        assert sample.instances.class_ids.tolist() == [0, 0, 0]

    def test_a_table_without_objects_is_reported(self, tmp_path):
        (tmp_path / "classes.csv").write_text("id,name\n0,nothing\n7,nucleus\n")
        self.put(tmp_path)
        with pytest.raises(DataError, match=r"instances/train/a\.png: value 1 at row 0, column 0 \(2 pixels\) is in no class"):
            Folder(tmp_path).sample(0)

    def test_beside_masks_they_are_objects_of_the_class_they_mostly_show(self, root):
        put(root / "masks/train/a.png", [[0, 1, 255], [0, 1, 255], [1, 1, 0]])
        self.put(root, numbers=[[4, 4, 4], [4, 8, 8], [8, 8, 0]])
        sample = Folder(root).sample(0)
        assert sample.labels.tolist() == [[0, 1, 255], [0, 1, 255], [1, 1, 0]]  # nothing is drawn
        assert sample.instances.class_ids.tolist() == [0, 1]

    def test_a_picture_without_objects_is_background(self, tmp_path):
        self.put(tmp_path, numbers=np.zeros((2, 3)))
        sample = Folder(tmp_path).sample(0)
        assert not sample.labels.any()
        assert sample.instances.masks.shape == (0, 2, 3)

    def test_a_picture_that_is_all_one_object(self, tmp_path):
        self.put(tmp_path, numbers=np.full((2, 3), 9))
        sample = Folder(tmp_path).sample(0)
        assert sample.labels.all()
        assert sample.instances.masks.tolist() == [[[True] * 3] * 2]

    def test_every_picture_needs_both_where_both_are(self, root):
        self.put(root, "a")
        put(root / "masks/a.png", np.zeros((3, 4)))
        put_pair(root, "images/b.png", "masks/b.png")
        listing = list_folder(root)
        assert [pair.name for pair in listing.pairs] == ["a"]
        assert listing.lonely_images == (root / "images/b.png",)

    def test_one_of_another_size_is_refused(self, tmp_path):
        self.put(tmp_path)
        put(tmp_path / "images/train/a.png", np.zeros((2, 4, 3)))
        with pytest.raises(DataError, match=r"instances/train/a\.png: is 3x4, its picture a\.png is 2x4"):
            Folder(tmp_path).sample(0)

    @pytest.mark.skipif(not NUCLEI.is_dir(), reason="needs ../shared/data/nuclei")
    def test_nuclei_are_apart_in_the_labels_and_whole_in_the_instances(self):
        dataset = open_dataset(NUCLEI, split="val")
        assert (len(open_dataset(NUCLEI, split="train")), len(dataset)) == (210, 60)
        for index in range(0, 60, 6):
            sample = dataset.sample(index)
            numbers = sample.instances.numbers
            regions, count = ndimage.label(sample.labels, np.ones((3, 3)))
            assert all(len(np.unique(numbers[regions == region])) == 1 for region in range(1, count + 1))
            assert len(sample.instances.class_ids) == numbers.max() == len(np.unique(numbers[numbers > 0]))


class TestFolds:
    def test_flat_folders_have_them_besides_their_own_splits(self, root):
        for i in range(7):
            put_pair(root, f"images/{i}.png", f"masks/{i}.png", shade=i)
        fold, rest = Folder(root, "fold2of3"), Folder(root, "rest2of3")
        assert [fold.name(i) for i in range(len(fold))] == ["1", "4"]
        assert [rest.name(i) for i in range(len(rest))] == ["0", "2", "3", "5", "6"]
        assert (fold.split, fold.splits) == ("fold2of3", ("train", "val"))
        report = check(root, splits=("rest2of3", "fold2of3"))
        assert report.pictures == {"rest2of3": 5, "fold2of3": 2}
        assert report.fingerprints == {split: fingerprint(Folder(root, split)) for split in ("rest2of3", "fold2of3")}
        assert check(root).pictures == {"train": 6, "val": 1}

    def test_a_fold_that_there_is_not(self, root):
        put_pair(root, "images/a.png", "masks/a.png")
        put_pair(root, "images/b.png", "masks/b.png")
        with pytest.raises(UsageError, match="2 pictures make 2 to 2 folds, not 3"):
            Folder(root, "fold1of3")

    def test_folders_with_splits_have_none(self, root):
        put_pair(root, "images/train/a.png", "masks/train/a.png")
        with pytest.raises(UnknownName, match=r"no split of .* 'fold1of2'"):
            Folder(root, "fold1of2")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("picture,mask\n", "the first line must be `image,mask,split`"),
        ("image,mask,split\na.png,b.png,valid\n", "line 2: split 'valid' is none of train, val, test"),
        ("image,mask,split\na.png,,train\n", "line 2: image or mask is empty"),
        ("image,mask,split\na.png\n", "line 2: split ''"),
    ],
)
def test_a_malformed_list_is_refused_with_its_line(root, text, words):
    (root / "pairs.csv").write_text(text)
    with pytest.raises(DataError, match=words):
        Folder(root)


def test_a_list_that_is_not_utf8_is_refused(root):
    (root / "pairs.csv").write_bytes(b"image,mask,split\nstra\xdfe.png,b.png,train\n")
    with pytest.raises(DataError, match=r"pairs\.csv: is not UTF-8 text"):
        Folder(root)


def test_a_folder_is_opened_by_path_or_name_with_a_slash(root, monkeypatch):
    put_pair(root, "images/train/a.png", "masks/train/a.png")
    monkeypatch.chdir(root.parent)
    for name in (root, str(root), f"./{root.name}", root.name):
        assert len(open_dataset(name, split="train")) == 1
    with pytest.raises(UnknownName, match="no data set or folder 'scene'; did you mean 'scenes'"):
        open_dataset("scene")


def test_the_fingerprint_changes_with_a_pixel_of_a_mask_only(root):
    put_pair(root, "images/train/a.png", "masks/train/a.png")
    before = fingerprint(Folder(root))
    put_pair(root, "images/train/a.png", "masks/train/a.png", shade=9)
    assert fingerprint(Folder(root)) == before
    put(root / "masks/train/a.png", [[0, 0, 255]])
    assert fingerprint(Folder(root)) != before


class TestAll:
    """The split of all pictures, to judge on or to predict."""

    def test_it_has_the_pictures_of_every_split_and_each_name_once(self, tmp_path):
        make_folder(tmp_path, train=3, val=2)
        names = [open_dataset(tmp_path, split="all").name(index) for index in range(5)]
        assert names == ["train/p00", "train/p01", "p02", "val/p00", "val/p01"]

    def test_predict_writes_the_names_that_evaluate_judges(self, tmp_path, command):
        root = make_folder(tmp_path / "data", train=3, val=2)
        make_model(tmp_path / "run", open_dataset(root).classes)
        code, _, err = command("predict", tmp_path / "run", root, "--split", "all", "--out", tmp_path / "out", "--device", "cpu")
        assert (code, "5 predicted" in err) == (0, True), err
        assert (tmp_path / "out/masks/val/p00.png").exists()
        judged = ("evaluate", tmp_path / "out/masks", "--data", root, "--split", "all", "--json")
        code, out, err = command(*judged)
        assert code == 0, err
        assert np.sum(json.loads(out)["confusion"]) == 5 * 24 * 31
        code, out, _ = command("evaluate", tmp_path / "run", "--data", root, "--split", "all", "--json", "--device", "cpu")
        assert (code, np.sum(json.loads(out)["confusion"])) == (0, 5 * 24 * 31)

    def test_predict_needs_one_folder_for_a_split(self, tmp_path, command):
        root = make_folder(tmp_path / "data", train=2, val=1)
        make_model(tmp_path / "run", open_dataset(root).classes)
        code, _, err = command("predict", tmp_path / "run", root / "images/val/p00.jpg", "--split", "all", "--device", "cpu")
        assert (code, "belongs to one folder of a data set" in err) == (2, True)
        code, _, err = command("predict", tmp_path / "run", root, "--split", "vall", "--device", "cpu")
        assert (code, "no split of" in err) == (2, True)
