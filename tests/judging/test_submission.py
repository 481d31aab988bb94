"""Submissions: masks as the servers take them, and nothing where one of them is not sound."""

import io
import json
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from fakes import make_cityscapes, make_coco, make_folder, make_voc
from PIL import Image
from pycocotools import mask as mask_api

from perpixel.cli import main
from perpixel.datasets import Dataset, open_dataset
from perpixel.errors import DataError, UnknownName, UsageError
from perpixel.images import write_labels
from perpixel.judging.submission import submission
from perpixel.masks.rle import runs


def predicted(dataset: Dataset, folder: Path, tail: str = "") -> Path:
    """Masks of one class that rises with the pictures, as predict leaves them."""
    (folder / "masks").mkdir(parents=True)
    for index in range(len(dataset)):
        image = dataset.sample(index).image
        labels = np.full(image.shape[:2], (index + 1) % len(dataset.classes), np.uint8)
        write_labels(folder / "masks", f"{dataset.name(index)}{tail}.png", labels, dataset.classes)
    return folder


def fill(path: Path, value: int) -> None:
    Image.fromarray(np.full(np.array(Image.open(path)).shape, value, np.uint8)).save(path)


@pytest.fixture
def voc(tmp_path: Path) -> Dataset:
    return open_dataset("voc2012", root=make_voc(tmp_path / "data"), split="test")


def test_voc_takes_a_tree_of_palette_masks(voc: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "mine.tar.gz"
    assert submission(predicted(voc, tmp_path / "found"), voc, out) == []
    with tarfile.open(out) as archive:
        names = archive.getnames()
        assert names == [f"results/VOC2012/Segmentation/comp6_test_cls/{voc.name(i)}.png" for i in range(len(voc))]
        file = archive.extractfile(names[0])
        assert file is not None
        mask = Image.open(io.BytesIO(file.read()))
    assert mask.mode == "P"
    assert (np.array(mask) == 1).all()
    palette = mask.getpalette()
    assert palette is not None
    assert palette[3:6] == [128, 0, 0]


def test_cityscapes_takes_label_ids(tmp_path: Path) -> None:
    dataset = open_dataset("cityscapes", root=make_cityscapes(tmp_path / "data"), split="test")
    out = tmp_path / "mine.zip"
    assert submission(predicted(dataset, tmp_path / "found", "_leftImg8bit"), dataset, out) == []
    with zipfile.ZipFile(out) as archive:
        assert archive.namelist() == [f"{dataset.name(i)}_labelIds.png" for i in range(len(dataset))]
        values = {int(np.array(Image.open(io.BytesIO(archive.read(name)))).max()) for name in archive.namelist()}
    assert values <= {7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33}
    assert 8 in values  # sidewalk, whose train id is 1


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda path: path.unlink(), "has no mask; predict it"),
        (lambda path: Image.fromarray(np.zeros((3, 4), np.uint8)).save(path), r"is 3x4, its picture \d+x\d+"),
        (lambda path: fill(path, 77), "value 77 at row 0"),
        (lambda path: fill(path, 255), r"is void at row 0, column 0 \(value 255, \d+ pixels\)"),
        (lambda path: path.write_bytes(b""), "is no PNG"),
        (lambda path: path.with_name("other.png").write_bytes(path.read_bytes()), "belongs to no picture of test"),
        (lambda path: path.with_suffix(".tif").write_bytes(path.read_bytes()), "has the masks"),
    ],
)
def test_one_mask_that_is_wrong_is_told_and_nothing_written(voc: Dataset, tmp_path: Path, wrong, said: str) -> None:
    folder, out = predicted(voc, tmp_path / "found"), tmp_path / "mine.tar.gz"
    wrong(folder / "masks" / f"{voc.name(0)}.png")
    (problem,) = submission(folder, voc, out)
    with pytest.raises(DataError, match=said):
        raise DataError(problem.message)
    assert not out.exists()


def test_what_cannot_be_submitted(voc: Dataset, tmp_path: Path) -> None:
    folder = predicted(voc, tmp_path / "found")
    with pytest.raises(UsageError, match=r"takes a \.tar\.gz file"):
        submission(folder, voc, tmp_path / "mine.zip")
    with pytest.raises(UnknownName, match="did you mean 'comp6'"):
        submission(folder, voc, tmp_path / "mine.tar.gz", "comp7")
    with pytest.raises(UsageError, match="only PASCAL VOC 2012 and Cityscapes have a server"):
        submission(folder, open_dataset(make_folder(tmp_path / "own")), tmp_path / "mine.zip")
    coco = open_dataset("coco", root=make_coco(tmp_path / "coco"), split="testdev")
    with pytest.raises(UsageError, match="--competition belongs to VOC; leave it out"):
        submission(folder, coco, tmp_path / "detections_test-dev2017_a_results.zip", "comp5")
    (tmp_path / "mine.tar.gz").write_bytes(b"old")
    with pytest.raises(UsageError, match="exists already"):
        submission(folder, voc, tmp_path / "mine.tar.gz")


def test_the_command(voc: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = predicted(voc, tmp_path / "found"), tmp_path / "mine.tar.gz"
    command = ["submission", str(folder), "--data", "voc2012", "--root", str(tmp_path / "data"), "--out", str(out)]
    (folder / "masks" / f"{voc.name(0)}.png").rename(tmp_path / "kept.png")
    with pytest.raises(SystemExit) as left:
        main(command)
    assert left.value.code == 3
    assert "has no mask" in capsys.readouterr().out
    (tmp_path / "kept.png").rename(folder / "masks" / f"{voc.name(0)}.png")
    main(command)
    assert f"{out}: written" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools, under NumPy 2
class TestCoco:
    """Of test-dev2017: objects, stuff and panoptic maps."""

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        return make_coco(tmp_path / "data")

    def test_objects_are_taken_of_a_results_file(self, root: Path, tmp_path: Path) -> None:
        dataset = open_dataset("coco", root=root, split="testdev")
        picture = dataset.listed[0]
        mask = np.zeros((picture.height, picture.width), bool)
        mask[2:5, 3:7] = True
        found = [{"image_id": picture.id, "category_id": 17, "score": 0.5,
                  "segmentation": {"size": list(mask.shape), "counts": runs(mask)}}]  # fmt: skip
        source, out = tmp_path / "mine.json", tmp_path / "detections_test-dev2017_fcn8s_results.zip"
        source.write_text(json.dumps(found))
        assert submission(source, dataset, out) == []
        with zipfile.ZipFile(out) as archive:
            assert archive.namelist() == ["detections_test-dev2017_fcn8s_results.json"]
            (entry,) = json.loads(archive.read(archive.namelist()[0]))
        assert (entry["image_id"], entry["category_id"], entry["score"]) == (picture.id, 17, 0.5)
        assert np.array_equal(mask_api.decode(entry["segmentation"]), mask)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"category_id": 12}, "category_id 12 is no category"),
            ({"image_id": 10**6}, "image_id 1000000 is no picture"),
            ({"score": float("nan")}, "score is nan"),
            ({"segmentation": {"size": [1, 1], "counts": [1]}}, "the RLE is 1x1"),
            ({"segmentation": None}, "some results have masks and others boxes alone"),
        ],
    )
    def test_one_wrong_object_stops_all(self, root: Path, tmp_path: Path, change: dict, said: str) -> None:
        dataset = open_dataset("coco", root=root, split="testdev")
        picture = dataset.listed[0]
        empty = {"size": [picture.height, picture.width], "counts": [picture.height * picture.width]}
        good = {"image_id": picture.id, "category_id": 17, "score": 0.5, "bbox": [1, 1, 2, 2], "segmentation": empty}
        source, out = tmp_path / "mine.json", tmp_path / "detections_test-dev2017_a_results.zip"
        source.write_text(json.dumps([good, {**good, **change}]))
        (problem,) = submission(source, dataset, out)
        assert said in problem.message
        assert not out.exists()

    def test_stuff_is_taken_of_masks(self, root: Path, tmp_path: Path) -> None:
        dataset = open_dataset("coco_stuff92", root=root, split="testdev")
        out = tmp_path / "stuff_test-dev2017_mine_results.zip"
        assert submission(predicted(dataset, tmp_path / "found"), dataset, out) == []
        with zipfile.ZipFile(out) as archive:
            found = json.loads(archive.read("stuff_test-dev2017_mine_results.json"))
        assert [one["image_id"] for one in found] == [picture.id for picture in dataset.listed]
        assert [one["category_id"] for one in found] == [92 + (index + 1) % 92 for index in range(len(dataset))]
        assert all(mask_api.decode(one["segmentation"]).all() for one in found)
        (tmp_path / "found" / "masks" / f"{dataset.name(0)}.png").unlink()
        (problem,) = submission(tmp_path / "found", dataset, tmp_path / "stuff_test-dev2017_more_results.zip")
        assert "has no mask; predict it" in problem.message

    def test_panoptic_maps_go_with_their_json(self, root: Path, tmp_path: Path) -> None:
        dataset = open_dataset("coco_panoptic", root=root, split="val")
        truth = root / "annotations" / "panoptic_val2017.json"
        out = tmp_path / "panoptic_val2017_perfect_results.zip"
        assert submission(truth, dataset, out) == []
        with zipfile.ZipFile(out) as archive:
            listed = json.loads(archive.read("panoptic_val2017_perfect_results.json"))["annotations"]
            assert len(listed) == len(dataset)
            for one in listed:
                stored = archive.read(f"panoptic_val2017_perfect_results/{one['file_name']}")
                assert stored == (truth.with_suffix("") / one["file_name"]).read_bytes()
        content = json.loads(truth.read_text())
        content["annotations"][0]["segments_info"].pop()
        wrong = tmp_path / "wrong.json"
        wrong.write_text(json.dumps({"annotations": content["annotations"][:-1]}))
        shutil.copytree(truth.with_suffix(""), tmp_path / "wrong")
        problems = submission(wrong, dataset, tmp_path / "panoptic_val2017_wrong_results.zip")
        assert ["does not list" in problems[0].message, "has no result for" in problems[1].message] == [True, True]
        assert not (tmp_path / "panoptic_val2017_wrong_results.zip").exists()

    @pytest.mark.parametrize(
        ("view", "out", "source", "words"),
        [
            ("coco", "mine.zip", "a.json", "the server takes detections_test-dev2017_NAME_results.zip"),
            ("coco", "detections_test2017_a_results.zip", "a.json", "the server takes detections_test-dev2017_NAME"),
            ("coco", "detections_test-dev2017_a_results.zip", ".", "coco is submitted from a JSON of results, or a folder with"),
            ("coco_stuff92", "stuff_test-dev2017_a_results.zip", "a.json", "is submitted from a folder of masks; name that"),
            ("coco_voc21", "x.zip", ".", "COCO's server takes coco, coco_stuff92, coco_panoptic; name one of them"),
        ],
    )
    def test_other_names_and_sources_are_refused(self, root, tmp_path, view, out, source, words) -> None:
        (tmp_path / "a.json").write_text("[]")
        with pytest.raises(UsageError, match=words):
            submission(tmp_path / source, open_dataset(view, root=root, split="testdev"), tmp_path / out)
