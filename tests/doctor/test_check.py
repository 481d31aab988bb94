"""check: a sound data set has no problem, and one pass names every fault and its place."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from fakes import make_coco, make_instances
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from places import SHARED

from perpixel.classes import ClassTable
from perpixel.datasets import DATASETS, fingerprint, open_dataset
from perpixel.doctor.check import _counts, _result_of, check
from perpixel.errors import DataError, UnknownName

CAMVID = SHARED / "camvid"
TABLE = "id,name,r,g,b\n0,road,128,64,128\n1,car,0,0,142\n255,void,0,0,0\n"
MASK = [[0, 1, 255], [0, 0, 1]]


def put(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, np.uint8)).save(path)


def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, (2, 3, 3))


@pytest.fixture
def root(tmp_path):
    """A sound folder: two pictures to train with, one to judge by."""
    (tmp_path / "classes.csv").write_text(TABLE)
    for i, name in enumerate(["train/a", "train/b", "val/c"]):
        put(tmp_path / f"images/{name}.png", picture(i))
        put(tmp_path / f"masks/{name}.png", MASK)
    return tmp_path


def listed(root, rows):
    with (root / "pairs.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "mask", "split"), *rows])


def only_problem(root):
    (problem,) = check(root).problems
    return problem


class TestInstances:
    @pytest.fixture
    def cells(self, tmp_path):
        return make_instances(tmp_path, train=2, val=1)

    def test_a_sound_folder_of_instances(self, cells):
        report = check(cells)
        assert (report.problems, report.pictures) == ((), {"train": 2, "val": 1})
        objects = sum((open_dataset(cells, split="train").sample(index).labels == 1).sum() for index in range(2))
        assert report.class_pixels["train"] == [2 * 24 * 32 - objects, objects, 0]

    def test_what_is_wrong_with_one_is_reported(self, cells):
        put(cells / "instances/train/c00.png", [[0, 3]])
        (problem,) = check(cells).problems
        assert (problem.kind, Path(problem.file).name) == ("size mismatch", "c00.png")
        (cells / "instances/train/c01.png").unlink()
        assert [problem.message for problem in check(cells).errors if problem.kind == "unpaired"] == [
            f"{cells}/images/train/c01.png: has no mask of the same name; add it to instances/ or take the picture out."
        ]

    def test_beside_masks_both_are_looked_at(self, root):
        for name in ("train/a", "train/b", "val/c"):
            put(root / f"instances/{name}.png", [[0, 1, 1], [0, 0, 2]])
        assert check(root).problems == ()
        (root / "instances/train/a.png").write_bytes(b"no picture")
        problem = only_problem(root)
        assert (problem.kind, problem.file) == ("unreadable", str(root / "instances/train/a.png"))


def test_a_sound_folder_has_no_problem(root):
    report = check(root)
    assert report.problems == report.errors == ()
    assert report.pictures == {"train": 2, "val": 1}
    assert report.class_pixels == {"train": [6, 4, 2], "val": [3, 2, 1]}
    assert report.fingerprints == {split: fingerprint(open_dataset(root, split=split)) for split in ("train", "val")}


def test_a_name_is_checked_like_a_folder(monkeypatch, root):
    class Two:
        """Two samples of the folder under a name."""

        def __init__(self, split):
            self.folder = open_dataset(root, split=split)

        def __getattr__(self, name):
            return getattr(self.folder, name)

        def __len__(self):
            return len(self.folder)

    monkeypatch.setitem(DATASETS, "two", Two)
    assert check("two") == check(root)


def test_the_report_is_json(root):
    put(root / "images/val/c.png", picture(0))
    report = json.loads(json.dumps(check(root).to_json()))
    assert report["problems"][0]["kind"] == "leak"
    assert report["pictures"] == {"train": 2, "val": 1}


def test_progress_is_reported_for_every_pair(root):
    calls = []
    check(root, lambda done, every: calls.append((done, every)))
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_pictures_and_masks_without_a_partner(root):
    put(root / "images/train/p.png", picture(9))
    put(root / "masks/val/m.png", MASK)
    first, second = check(root).errors
    assert (first.kind, first.file) == ("unpaired", str(root / "images/train/p.png"))
    assert "has no mask of the same name" in first.message
    assert (second.kind, second.file) == ("unpaired", str(root / "masks/val/m.png"))
    assert "has no picture of the same name" in second.message


def test_when_nothing_pairs_the_lonely_files_are_still_listed(tmp_path):
    (tmp_path / "classes.csv").write_text(TABLE)
    put(tmp_path / "images/a.png", picture(0))
    put(tmp_path / "masks/b.png", MASK)
    report = check(tmp_path)
    assert [Path(problem.file).name for problem in report.errors] == ["a.png", "b.png"]
    assert report.pictures == report.class_pixels == report.fingerprints == {}


def test_two_pictures_of_one_name(root):
    put(root / "images/train/a.bmp", picture(9))
    problem = only_problem(root)
    assert problem.kind == "doubly paired"
    assert "a.bmp: has the same name as a.png; keep one" in problem.message


def test_sizes_that_differ(root):
    put(root / "masks/val/c.png", [[0, 1]])
    report = check(root)
    (problem,) = report.problems
    assert (problem.kind, problem.file) == ("size mismatch", str(root / "masks/val/c.png"))
    assert "is 1x2, its picture is 2x3 (height x width)" in problem.message
    assert set(report.fingerprints) == {"train"}


def test_every_unknown_value_is_reported_with_its_first_pixel_and_count(root):
    put(root / "masks/train/a.png", [[0, 7, 7], [9, 7, 1]])
    put(root / "masks/val/c.png", [[0, 1, 7], [0, 0, 0]])
    report = check(root)
    assert [(problem.kind, Path(problem.file).name) for problem in report.problems] == [
        ("unknown value", "a.png"), ("unknown value", "a.png"), ("unknown value", "c.png")]  # fmt: skip
    first, second, third = (problem.message for problem in report.problems)
    assert "value 7 at row 0, column 1 (3 pixels) is in no class" in first
    assert "value 9 at row 1, column 0 (1 pixels) is in no class" in second
    assert "value 7 at row 0, column 2 (1 pixels) is in no class" in third
    assert report.class_pixels == {"train": [1 + 3, 1 + 2, 1], "val": [4, 1, 0]}
    assert report.fingerprints == {}


@pytest.mark.parametrize("file", ["images/train/a.png", "masks/train/a.png"])
@pytest.mark.parametrize(("kind", "stop"), [("empty file", 0), ("damaged", 43), ("unreadable", None)])
def test_broken_files_are_reported_and_the_rest_go_on(root, file, kind, stop):
    (root / file).write_bytes(b"hello" if stop is None else (root / file).read_bytes()[:stop])
    report = check(root)
    (problem,) = report.problems
    assert (problem.kind, problem.file) == (kind, str(root / file))
    assert report.pictures == {"train": 2, "val": 1}
    assert set(report.fingerprints) == {"val"}


@given(arrays.arrays(np.uint16, st.tuples(st.integers(0, 6), st.integers(1, 6)), elements=st.sampled_from([0, 1, 7, 65535])))
def test_pixels_are_counted_as_numpy_counts_them(mask):
    for view in (mask, mask[:, ::2], mask.T):
        assert _counts(view, 65536).tolist() == np.bincount(view.ravel(), minlength=65536).tolist()


def test_little_is_kept_of_a_picture():
    """A set may have a hundred thousand of them, and a table thousands of classes."""
    classes = ClassTable.of([f"c{i}" for i in range(300)])
    result = _result_of("a", "a", [], "a", np.zeros((20, 20, 3), np.uint8), np.zeros((20, 20), np.uint16), classes)
    digests = result.picture_digest, result.labels_digest, result.mask_digest
    assert [len(digest) for digest in digests] == [32, 32, 32]


def test_a_mask_of_no_known_value_has_no_pixel_of_a_class(root):
    put(root / "masks" / "train" / "a.png", [[77] * 3] * 2)
    report = check(root)
    assert [defect.kind for defect in report.errors] == ["unknown value"]
    assert report.class_pixels["train"] == [3, 2, 1]  # b's


def test_a_class_that_never_occurs_is_reported_and_may_be_trained_with(root):
    (root / "classes.csv").write_text(TABLE + "3,bus,0,0,70\n")
    problem = only_problem(root)
    assert (problem.kind, problem.severity, problem.file) == ("empty class", "warning", str(root / "classes.csv"))
    assert "class 'bus' has no pixel in any mask" in problem.message


@pytest.mark.parametrize(
    ("without", "words"), [(["val/c"], "in train but not in val"), (["train/a", "train/b"], "in val but not in train")]
)
def test_a_class_of_one_split_only_is_a_warning(root, without, words):
    for name in without:
        put(root / f"masks/{name}.png", np.zeros((2, 3)))
    problem = only_problem(root)
    assert (problem.kind, problem.severity) == ("class in one split", "warning")
    assert f"class 'car' is {words}" in problem.message


def test_a_picture_in_two_splits_is_a_leak_even_in_another_format(root):
    (root / "images/val/c.png").unlink()
    put(root / "images/val/c.bmp", picture(1))
    problem = only_problem(root)
    assert (problem.kind, problem.severity, problem.file) == ("leak", "error", str(root / "images/val/c.bmp"))
    assert f"is in val and shows the same pixels as {root / 'images/train/b.png'} in train" in problem.message


def test_equal_bytes_of_another_shape_are_no_leak(root):
    put(root / "images/val/c.png", picture(1).reshape(3, 2, 3))
    put(root / "masks/val/c.png", np.reshape(MASK, (3, 2)))
    assert check(root).problems == ()


def test_a_picture_twice_in_one_split_is_a_warning(root):
    put(root / "images/train/b.png", picture(0))
    problem = only_problem(root)
    assert (problem.kind, problem.severity) == ("duplicate", "warning")
    assert "both in train" in problem.message


def test_a_list_with_missing_double_and_forgotten_files(root):
    put(root / "images/extra.png", picture(5))
    listed(root, [
        ("images/train/a.png", "masks/train/a.png", "train"),
        ("images/train/b.png", "masks/train/a.png", "train"),
        ("images/val/c.png", "masks/val/none.png", "val"),
    ])  # fmt: skip
    report = check(root)
    assert [problem.kind for problem in report.errors] == ["doubly paired", "unpaired"]
    assert [Path(problem.file).name for problem in report.errors] == ["a.png", "none.png"]
    assert "in more than one row of pairs.csv (with a.png, b.png)" in report.errors[0].message
    assert "is listed in pairs.csv, but there is no such file" in report.errors[1].message
    warnings = [problem for problem in report.problems if problem.severity == "warning"]
    assert {Path(problem.file).name for problem in warnings if problem.kind == "unused files"} == {"images", "train", "val"}
    assert "1 files here are not listed in pairs.csv and are not used (extra.png)" in warnings[0].message


def test_a_folder_that_is_no_split_is_a_warning(root):
    put(root / "images/validation/d.png", picture(7))
    problem = only_problem(root)
    assert (problem.kind, problem.severity, problem.file) == ("unused files", "warning", str(root / "images/validation"))
    assert "belong to no split (train, val, test)" in problem.message


def test_all_faults_are_reported_at_once(root):
    (root / "masks/train/a.png").write_bytes(b"")
    put(root / "masks/train/b.png", [[0, 1]])
    put(root / "masks/val/c.png", [[0, 1, 9], [0, 0, 0]])
    assert {problem.kind for problem in check(root).problems} == {"empty file", "size mismatch", "unknown value"}


def test_sixteen_bit_tables(tmp_path):
    names = [f"{i},c{i}" for i in range(300)]
    (tmp_path / "classes.csv").write_text("\n".join(["id,name", *names]) + "\n")
    for i, split in enumerate(("train", "val")):
        put(tmp_path / f"images/{split}/a.png", np.random.default_rng(i).integers(0, 256, (1, 300, 3)))
        (tmp_path / f"masks/{split}").mkdir(parents=True)
        Image.fromarray(np.arange(300, dtype=np.uint16)[None, :: 1 - 2 * i]).save(tmp_path / f"masks/{split}/a.png")
    report = check(tmp_path)
    assert report.problems == ()
    assert report.class_pixels["val"] == [1] * 300 + [0]


def test_where_there_is_nothing_to_check(tmp_path):
    with pytest.raises(DataError, match="there is no such folder"):
        check(tmp_path / "none")
    with pytest.raises(DataError, match=r"has no classes\.csv"):
        check(tmp_path)
    with pytest.raises(UnknownName, match="did you mean 'scenes'"):
        check("scnes")
    (tmp_path / "classes.csv").write_text(TABLE)
    with pytest.raises(DataError, match="holds no pictures and masks"):
        check(tmp_path)
    (tmp_path / "classes.csv").write_text("nonsense\n")
    with pytest.raises(DataError, match="the first line must be"):
        check(tmp_path)


@pytest.mark.thorough
@pytest.mark.skipif(not CAMVID.is_dir(), reason="the CamVid pictures are not at ../shared/data/camvid.")
def test_camvid_is_sound():
    report = check(CAMVID)
    assert report.problems == ()
    assert report.pictures == {"train": 367, "val": 101}
    assert sum(report.class_pixels["val"]) == 101 * 360 * 480
    assert report.fingerprints["val"] == fingerprint(open_dataset(CAMVID, split="val"))


class TestPublishedSets:
    def test_a_part_of_one_is_sound_and_what_is_there_is_looked_at(self, tmp_path: Path) -> None:
        make_coco(tmp_path)
        shutil.rmtree(tmp_path / "val2017")
        report = check("coco", root=tmp_path)
        assert report.pictures == {"train": 4}
        assert report.errors == ()
        assert "coco: has no val here, so it can be trained on alone; download it, or take this part for what it is." in {
            problem.message for problem in report.problems
        }

    def test_pictures_of_a_file_of_annotations_are_counted(self, tmp_path: Path) -> None:
        make_coco(tmp_path)
        assert check(tmp_path / "annotations" / "instances_val2017.json").pictures == {"instances_val2017": 4}


class TestManyProblemsOfOneKind:
    def test_the_command_shows_their_number_and_three_and_the_page_and_json_all(self, root, tmp_path, command):
        for number in range(20):
            put(root / f"images/train/p{number:02}.png", picture(10 + number))
            put(root / f"masks/train/p{number:02}.png", [[0, 1, 7], [0, 0, 1]])
        code, out, _ = command("check", root, "--report", tmp_path / "page.html")
        assert code == 3
        lines = out.splitlines()
        assert lines[0] == "error: unknown value, 20 times, such as"
        assert [line.split("masks/train/")[1][:7] for line in lines[1:4]] == ["p00.png", "p01.png", "p02.png"]
        assert lines[4] == "  and 17 more, which --json and --report list"
        messages = [problem["message"] for problem in json.loads(command("check", root, "--json")[1])["problems"]]
        page = (tmp_path / "page.html").read_text()
        assert sum("is in no class" in message for message in messages) == 20
        assert all(Path(message.split(": ")[0]).name in page for message in messages)

    def test_the_repair_shows_their_number_and_three_and_the_plan_all(self, root, tmp_path_factory, command):
        for number in range(20):
            put(root / f"images/train/p{number:02}.png", picture(10 + number))
            put(root / f"masks/train/p{number:02}.png", np.dstack([MASK] * 3))
        out = tmp_path_factory.mktemp("fixed") / "copy"
        printed = command("check", root, "--fix", out)[1]
        assert printed.count("p0") == 3
        assert "  and 17 more: three equal channels: one channel kept" in printed
        with (out / "plan.csv").open(newline="") as file:
            assert len(list(csv.DictReader(file))) == 20
