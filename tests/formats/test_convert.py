"""convert: whole data sets from one format to another, on real pictures, read by other programs, and with mistyped commands."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from fakes import labels_by_name, make_coco, make_labelme, objects_by_name
from PIL import Image
from places import ROOT, SHARED, TESTS

from perpixel.classes import ClassTable
from perpixel.datasets.folder import Folder
from perpixel.errors import DataError
from perpixel.formats import FORMATS, format_of
from perpixel.formats.convert import convert
from perpixel.formats.exchange import Content, Notices
from perpixel.images import read_image
from perpixel.sample import Instances

SQUARE = {"label": "cat", "points": [[1, 1], [5, 1], [5, 5], [1, 5]], "shape_type": "polygon"}
REAL = SHARED / "coco"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve real pictures as COCO JSON: three with crowds, and nine with the most objects."""
    if not (REAL / "train2017").is_dir():
        pytest.skip("the pictures of COCO are not at ../shared/data.")
    folder = tmp_path_factory.mktemp("real")
    content = json.loads((REAL / "annotations" / "instances_train2017.json").read_text())
    numbers = Counter(entry["image_id"] for entry in content["annotations"])
    crowded = [entry["image_id"] for entry in content["annotations"] if entry["iscrowd"]]
    kept = {*crowded[:3], *(id for id, _ in numbers.most_common(9))}
    (folder / "annotations").mkdir()
    (folder / "images" / "train").mkdir(parents=True)
    content["images"] = [entry for entry in content["images"] if entry["id"] in kept]
    content["annotations"] = [entry for entry in content["annotations"] if entry["image_id"] in kept]
    (folder / "annotations" / "instances_train.json").write_text(json.dumps(content))
    for entry in content["images"]:
        shutil.copy(REAL / "train2017" / entry["file_name"], folder / "images" / "train")
    return folder


def contents(path: Path) -> dict[str, tuple[set[tuple[str, bytes, bool]], list[str]]]:
    """The objects and the labels of each picture, by its name."""
    annotated = FORMATS[format_of(path)].read(path, None)
    contents_by_name = {item.name: item.read() for item in annotated.items}
    return {
        name: (objects_by_name(content, annotated.classes), labels_by_name(content.labels, annotated.classes))
        for name, content in contents_by_name.items()
    }


@pytest.mark.thorough
class TestOnRealPictures:
    def test_a_chain_of_formats_gives_the_same_objects(self, real: Path, tmp_path: Path) -> None:
        before, folder = contents(real), real
        for format in ("labelme", "label-studio", "cvat", "coco"):
            report = convert(folder, tmp_path / format, format)
            assert report.failed == []
            assert report.told == []
            folder = tmp_path / format
            assert sum(report.pictures.values()) == len(before)
        assert contents(folder) == before
        for path in (real / "images" / "train").iterdir():
            assert (folder / "images" / "train" / path.name).read_bytes() == path.read_bytes()

    @pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools, under NumPy 2
    def test_pycocotools_sees_the_very_objects(self, real: Path, tmp_path: Path) -> None:
        from pycocotools.coco import COCO

        convert(real, tmp_path / "coco", "coco")
        theirs = COCO(str(tmp_path / "coco" / "annotations" / "instances_train.json"))
        names = {id: entry["name"] for id, entry in theirs.cats.items()}
        for picture in theirs.loadImgs(theirs.getImgIds()):
            annotated = theirs.loadAnns(theirs.getAnnIds(picture["id"]))
            objects = {
                (names[entry["category_id"]], theirs.annToMask(entry).astype(bool).tobytes(), bool(entry["iscrowd"]))
                for entry in annotated
            }
            assert objects == contents(real)[Path(picture["file_name"]).stem][0]

    @pytest.mark.needs_torch
    def test_torchvision_sees_voc(self, real: Path, tmp_path: Path) -> None:
        from torchvision.datasets import VOCSegmentation

        report = convert(real, tmp_path / "VOCdevkit" / "VOC2012", "voc")
        assert [sentence.split(":")[0] for sentence in report.told] == ["5 crowds keep their class and are no objects"]
        theirs = VOCSegmentation(str(tmp_path), image_set="train", transforms=None)
        annotated = FORMATS["voc"].read(tmp_path / "VOCdevkit" / "VOC2012", None)
        for (_, mask), item in zip(theirs, annotated.items, strict=True):
            assert np.array_equal(np.array(mask), item.read().labels)

    @pytest.mark.skipif(
        "LABEL_READERS_PYTHON" not in os.environ, reason="LABEL_READERS_PYTHON names no Python with other readers."
    )
    def test_the_readers_of_others_see_the_very_objects(self, real: Path, tmp_path: Path) -> None:
        (tmp_path / "truth").mkdir()
        annotated = FORMATS["coco"].read(real, None)
        for item in annotated.items:
            objects = item.read().instances
            assert objects is not None
            names = np.array([annotated.classes.names[id] for id in objects.class_ids], dtype=str)
            np.savez(tmp_path / "truth" / f"{item.name}.npz", masks=objects.masks, names=names, crowd=objects.crowd)
        for format in ("labelme", "label-studio", "cvat", "voc", "yolo"):
            convert(real, tmp_path / format, format)
        script = str(TESTS / "label_readers.py")
        bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        command = [os.environ["LABEL_READERS_PYTHON"], script, str(tmp_path)]
        done = subprocess.run(command, env=bare, capture_output=True, text=True, check=True, timeout=300)
        result = json.loads(done.stdout.splitlines()[-1])
        assert result["objects"] == {reader: [len(annotated.items)] * 2 for reader in result["objects"]}
        assert len(result["objects"]) == 5
        assert 0.8 < result["overlap"] <= 1


class TestConvert:
    def test_a_folder_without_splits_gets_a_fifth_for_val_where_the_format_wants_splits(self, tmp_path: Path) -> None:
        make_labelme(tmp_path / "in", {f"p{number}": [SQUARE] for number in range(10)})
        assert convert(tmp_path / "in", tmp_path / "flat", "folder").pictures == {"": 10}
        assert convert(tmp_path / "in", tmp_path / "yolo", "yolo").pictures == {"train": 8, "val": 2}

    def test_a_picture_that_cannot_be_used_is_reported_and_the_rest_is_written(self, command, tmp_path: Path) -> None:
        square = {"label": "cat", "points": [[1, 1], [5, 1], [5, 5], [1, 5]], "shape_type": "polygon"}
        make_labelme(tmp_path / "in", {"good": [square], "bad": [{**square, "points": [[1, 1], [5, float("nan")], [5, 5]]}]})
        code, _, messages = command("convert", tmp_path / "in", tmp_path / "out")
        assert code == 3
        assert f"{tmp_path}/in/bad.json, shape 0: polygon 0 has the coordinate nan" in messages
        assert "1 pictures, read as labelme, 1 left out" in messages
        assert sorted(path.name for path in (tmp_path / "out" / "masks").iterdir()) == ["good.png"]
        assert Folder(tmp_path / "out", "train").classes.names == ("background", "cat")

    @pytest.mark.parametrize("outer", [".", "export"])
    def test_an_archive_is_unpacked_read_and_removed(self, command, tmp_path: Path, outer: str) -> None:
        square = {"label": "cat", "points": [[1, 1], [5, 1], [5, 5], [1, 5]]}
        make_labelme(tmp_path / "in", {"good": [square], "bad": [{**square, "points": 3}]})
        with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
            for path in (tmp_path / "in").iterdir():
                archive.write(path, f"{outer}/{path.name}" if outer != "." else path.name)
        shutil.rmtree(tmp_path / "in")
        code, _, messages = command("convert", tmp_path / "export.zip", tmp_path / "out")
        assert code == 3
        assert f"{tmp_path}/export.zip{'/export' if outer != '.' else ''}/bad.json, shape 0: points is 3" in messages
        assert sorted(path.name for path in tmp_path.iterdir()) == ["export.zip", "out"]
        with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
            archive.writestr("../evil.json", "{}")
        code, _, messages = command("convert", tmp_path / "evil.zip", tmp_path / "more")
        assert (code, "nothing was unpacked" in messages) == (4, True)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["evil.zip", "export.zip", "out"]

    @pytest.mark.parametrize("format", FORMATS)
    def test_names_with_dots_stay_as_they_are(self, tmp_path: Path, format: str) -> None:
        square = {"label": "person", "points": [[1, 1], [5, 1], [5, 5], [1, 5]]}
        names = {f"a_jpg.rf.{number}" for number in range(6)}
        make_labelme(tmp_path / "in", {name: [square] for name in names})
        convert(tmp_path / "in", tmp_path / "out", format)
        convert(tmp_path / "out", tmp_path / "back")
        stems = {path.stem for path in (tmp_path / "back" / "images").rglob("*.png")}
        assert stems == names if format != "cityscapes" else len(stems) == 6

    def test_a_damaged_picture_is_reported_and_leaves_nothing(self, command, tmp_path: Path) -> None:
        make_labelme(tmp_path / "in", {"a": [SQUARE], "b": [], "c": []})
        whole = (tmp_path / "in" / "b.png").read_bytes()
        (tmp_path / "in" / "b.png").write_bytes(whole[:50])
        code, _, messages = command("convert", tmp_path / "in", tmp_path / "out", "--to", "coco")
        assert code == 3
        assert f"{tmp_path}/in/b.png: cannot be read" in messages
        content = json.loads((tmp_path / "out" / "annotations" / "instances.json").read_text())
        assert [entry["file_name"] for entry in content["images"]] == ["a.png", "c.png"]
        assert sorted(path.name for path in (tmp_path / "out" / "images").iterdir()) == ["a.png", "c.png"]

    @pytest.mark.parametrize(("format", "most"), [("voc", 254), ("cityscapes", 1000)])
    def test_more_objects_than_a_format_numbers_are_reported_and_leave_nothing(
        self, tmp_path: Path, format: str, most: int
    ) -> None:
        """A picture that fails is in no list and no folder."""
        numbers = np.arange((most + 1) * 2).reshape(2, -1) % (most + 1) + 1
        numbers[1] = 0
        classes = ClassTable(("background", "person"), ((0, 0, 0), (9, 9, 9)), ((0,), (1,)))
        objects = Instances.of_numbers(numbers, np.ones(most + 1, np.int64))
        content = Content(np.zeros((*numbers.shape, 3), np.uint8), (numbers > 0).astype(np.uint8), objects)
        writer = FORMATS[format].writer(tmp_path, classes, Notices())
        with pytest.raises(DataError, match=f"has {most + 1} objects"):
            writer.add("a", "train", content, 1)
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
        writer.close([])
        assert not any("a" in path.read_text().split() for path in tmp_path.rglob("*.txt"))

    def test_a_folder_that_only_begins_like_a_split_is_none(self, tmp_path: Path) -> None:
        make_labelme(tmp_path / "in" / "train station", {"a": []})
        make_labelme(tmp_path / "in" / "Valid2017", {"b": []})
        items = FORMATS["labelme"].read(tmp_path / "in", None).items
        assert {(item.split, item.name) for item in items} == {("", "train station/a"), ("val", "b")}

    def test_nothing_appears_where_no_picture_can_be_used(self, command, tmp_path: Path) -> None:
        make_labelme(tmp_path / "in", {"bad": [{"label": "cat", "points": 3}]})
        code, _, messages = command("convert", tmp_path / "in", tmp_path / "out", "--to", "coco")
        assert code == 3
        assert "no picture could be used; the first:" in messages
        assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]

    @pytest.mark.parametrize(
        ("arguments", "code", "words"),
        [
            (["nowhere/there", "out"], 3, "nowhere/there: there is no such file or folder"),
            (["scens", "out"], 2, "no data set, file or folder 'scens'; did you mean 'scenes'"),
            (["scenes", "out", "--to", "cocoa"], 2, "no format 'cocoa'; did you mean 'coco'"),
            (["empty", "out"], 3, "empty: its files show none of the known formats; name the format with --from"),
            (["scenes", "empty"], 2, "empty: exists already; name a new folder"),
            (["in", "out", "--pictures", "nowhere"], 3, "nowhere: there is no such folder; name the one that holds the pictures"),
            (["scenes", "out", "--pictures", "in"], 2, "in: a data set that is read as scenes has its own pictures; leave"),
            (["in", "out", "--from", "folder", "--pictures", "in"], 2, "in: a data set that is read as folder has its own"),
            (["in", "out", "--splits", "vall"], 2, "no split of the source 'vall'"),
        ],
    )
    def test_what_cannot_be_converted_is_said(self, command, tmp_path, monkeypatch, arguments, code, words) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "empty").mkdir()
        make_labelme(tmp_path / "in", {"a": []})
        left, _, messages = command("convert", *arguments)
        assert left == code
        assert words in messages
        assert not (tmp_path / "out").exists()

    def test_a_turned_picture_is_written_upright(self, tmp_path: Path) -> None:
        make_labelme(tmp_path / "in", {"a": [SQUARE]})
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(np.arange(9 * 12 * 3, dtype=np.uint8).reshape(12, 9, 3)).save(tmp_path / "in" / "a.jpg", exif=exif)
        (tmp_path / "in" / "a.png").unlink()
        report = convert(tmp_path / "in", tmp_path / "out", "folder")
        assert report.told == [
            "1 pictures with a camera's rotation tag are written upright, as PNG (1 pictures, the first is a)."
        ]
        assert np.array_equal(read_image(tmp_path / "out" / "images" / "a.png"), read_image(tmp_path / "in" / "a.jpg"))

    def test_the_commands_of_the_document(self, command, tmp_path, monkeypatch) -> None:
        monkeypatch.chdir(tmp_path)
        square = {"label": "cat", "points": [[1, 1], [5, 1], [5, 5], [1, 5]]}
        make_labelme(tmp_path / "labelled", {"a": [square], "b": [square]})
        make_coco(tmp_path / "DATA")
        shutil.copy(tmp_path / "DATA" / "annotations" / "instances_val2017.json", tmp_path / "instances.json")
        shutil.copytree(tmp_path / "DATA" / "val2017", tmp_path / "JPEGS")
        document = (ROOT / "docs" / "formats.md").read_text()
        (block,) = re.findall(r"```sh\n(.*?)```", document, re.DOTALL)
        lines = [shlex.split(line, comments=True) for line in block.splitlines()]
        assert len(lines) == 4
        for words in lines:
            assert words[0] == "perpixel"
            assert command(*words[1:])[0] == 0
            assert Path(words[3]).is_dir()
