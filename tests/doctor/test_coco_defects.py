"""Annotations in COCO's form: each single defect is reported with its place, and hostile files end in sentences."""

import copy
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from places import SHARED

from perpixel.doctor import coco_defects
from perpixel.doctor.check import check
from perpixel.doctor.coco_defects import of_file
from perpixel.doctor.defects import KINDS
from perpixel.errors import DataError
from perpixel.masks import rle

COCO = SHARED / "coco/annotations/instances_train2017.json"
MASK = np.zeros((20, 30), bool)
MASK[2:6, 3:9] = True
SOUND: dict[str, Any] = {
    "images": [{"id": 7, "file_name": "a.png", "height": 20, "width": 30}],
    "categories": [{"id": 1, "name": "cell"}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 1, "iscrowd": 0, "bbox": [3, 2, 6, 4], "area": 24,
         "segmentation": [[3, 2, 9, 2, 9, 6, 3, 6]]},
        {"id": 2, "image_id": 7, "category_id": 1, "iscrowd": 1, "bbox": [3, 2, 6, 4], "area": 24,
         "segmentation": {"size": [20, 30], "counts": rle.runs(MASK)}},
        {"id": 3, "image_id": 7, "category_id": 1, "iscrowd": 0, "bbox": [3, 2, 6, 4], "area": 24,
         "segmentation": {"size": [20, 30], "counts": rle.encode(MASK)}},
    ],
}  # fmt: skip


def put(root: Path, content: Any) -> Path:
    (root / "annotations").mkdir(exist_ok=True)
    (root / "small").mkdir(exist_ok=True)
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(root / "small/a.png")
    path = root / "annotations/instances_small.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def first(**fields: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda content: content["annotations"][0].update(fields)


def polygon(*values: float) -> Callable[[dict[str, Any]], Any]:
    return first(segmentation=[list(values)])


def runs(counts: Any, size: Any = (20, 30)) -> Callable[[dict[str, Any]], Any]:
    return lambda content: content["annotations"][1]["segmentation"].update(counts=counts, size=list(size))


# A name, the kind of defect, and its maker.
MAKERS: dict[str, tuple[str, Callable[[dict[str, Any]], Any]]] = {
    "a list is missing": ("not JSON", lambda content: content.pop("categories")),
    "a list is an object": ("not JSON", lambda content: content.update(images={})),
    "no name": ("missing field", lambda content: content["images"].append({"id": 8, "height": 1, "width": 1})),
    "an entry is a number": ("missing field", lambda content: content["categories"].append(3)),
    "no id": ("missing id", lambda content: content["annotations"][0].pop("id")),
    "a word for an id": ("missing id", first(id="one")),
    "one id twice": ("doubled id", first(id=2)),
    "another category": ("unknown category", first(category_id=9)),
    "another picture": ("unknown picture", first(image_id=70)),
    "a picture that is not there": (
        "missing picture", lambda content: content["images"].append({"id": 8, "file_name": "b.png", "height": 1, "width": 1})),
    "a name that leaves the folder": ("missing picture", lambda content: content["images"][0].update(file_name="../../a.png")),
    "another size": (
        "other size", lambda content: content["images"].append({"id": 8, "file_name": "a.png", "height": 9, "width": 9})),
    "a size that is none": (
        "other size", lambda content: content["images"].append({"id": 8, "file_name": "a.png", "height": 2**31, "width": 9})),
    "nan": ("no number", polygon(3, 2, 9, 2, math.nan, 6, 3, 6)),
    "far away": ("no number", polygon(3, 2, 1e15, 2, 9, 6, 3, 6)),
    "a word in a box": ("no number", first(bbox=[3, 2, "6", 4])),
    "three numbers for a box": ("no number", first(bbox=[3, 2, 6])),
    "two points": ("broken polygon", polygon(3, 2, 9, 2)),
    "an odd number": ("broken polygon", polygon(3, 2, 9, 2, 9, 6, 3)),
    "a number for a polygon": ("broken polygon", first(segmentation=7)),
    "a line": ("empty polygon", lambda content: content["annotations"][0]["segmentation"].append([3, 2, 9, 2, 3, 2])),
    "beyond the border": (
        "outside the picture", first(segmentation=[[25, 2, 35, 2, 35, 6, 25, 6]], bbox=[25, 2, 10, 4], area=40)),
    "short runs": ("broken RLE", runs([10, 20])),
    "negative runs": ("broken RLE", runs([-5, 605])),
    "cut string": ("broken RLE", runs("f")),
    "size of another picture": ("broken RLE", runs([10, 590], (30, 20))),
    "huge size": ("broken RLE", runs([10, 590], (2**31, 2**31))),
    "a crowd of polygons": ("crowd without RLE", first(iscrowd=1)),
    "a box alone": ("no segmentation", first(segmentation=[])),
    "no width": ("empty box", first(bbox=[3, 2, 0, 4])),
    "a box elsewhere": ("box beside mask", first(bbox=[13, 12, 6, 4])),
    "another area": ("area differs", first(area=500)),
}  # fmt: skip


def test_sound_annotations_have_no_defect(tmp_path: Path) -> None:
    assert of_file(put(tmp_path, SOUND)) == ([], len(SOUND["images"]))
    assert check(tmp_path / "annotations/instances_small.json").problems == ()


@pytest.mark.parametrize("name", MAKERS)
def test_a_defect_is_found_and_nothing_else(tmp_path: Path, name: str) -> None:
    kind, make = MAKERS[name]
    content = copy.deepcopy(SOUND)
    make(content)
    problems, _ = of_file(put(tmp_path, content))
    assert {problem.kind for problem in problems} == {kind}, problems
    assert problems[0].severity == KINDS[kind].severity
    assert problems[0].message.endswith(".")


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, '{"images": ' + "[" * 5000 + "]" * 5000 + "}", "\0"])
def test_what_is_no_json_of_this_form(tmp_path: Path, text: str) -> None:
    (problem,), _ = of_file(put(tmp_path, text))
    assert problem.kind == "not JSON"


def test_a_defect_of_every_entry_is_reported_in_a_few_lines(tmp_path: Path) -> None:
    content = copy.deepcopy(SOUND)
    content["annotations"] = [{**content["annotations"][0], "id": i, "category_id": 5} for i in range(50)]
    problems, _ = of_file(put(tmp_path, content))
    assert len(problems) == 6
    assert "45 more of this kind (unknown category)" in problems[-1].message


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        check(tmp_path / "none.json")


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_what_is_no_file_of_annotations(tmp_path: Path, kind: str) -> None:
    (os.mkfifo if kind == "pipe" else os.mkdir)(tmp_path / "none.json")
    with pytest.raises(DataError, match=f"is a {kind}, not a file"):
        check(tmp_path / "none.json")


@pytest.mark.parametrize("name", ["\ud800.png", "x" * 300 + ".png", "a\nb.png"])
def test_a_picture_that_cannot_be_there(tmp_path: Path, name: str) -> None:
    content = copy.deepcopy(SOUND)
    content["images"][0]["file_name"] = name
    (tmp_path / "images").mkdir()
    problems = [
        problem for problem in of_file(put(tmp_path, content), tmp_path / "images")[0] if problem.kind == "missing picture"
    ]
    assert problems
    assert all(problem.message.isprintable() for problem in problems)


def test_a_pipe_in_place_of_a_picture(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    os.mkfifo(tmp_path / "images" / SOUND["images"][0]["file_name"])
    problems = of_file(put(tmp_path, SOUND), tmp_path / "images")[0]
    assert "is a pipe, not a file" in problems[0].message


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=3), inner, max_size=3), max_leaves=12,
)  # fmt: skip
PLACES = (
    "id", "image_id", "category_id", "iscrowd", "bbox", "area", "segmentation", "counts", "size", "height", "width", "file_name",
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(PLACES), ANYTHING, min_size=1, max_size=4))
def test_whatever_stands_there_ends_in_sentences(tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]) -> None:
    content = copy.deepcopy(SOUND)
    for place, value in values.items():
        if place in ("counts", "size"):
            content["annotations"][1]["segmentation"][place] = value
        else:
            content["images" if place in ("height", "width", "file_name") else "annotations"][0][place] = value
    for problem in of_file(put(tmp_path_factory.mktemp("hostile"), content))[0]:
        assert problem.kind in KINDS
        assert problem.message.endswith(".")


@pytest.mark.parametrize("name", MAKERS)
def test_the_careful_reader_finds_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    content = copy.deepcopy(SOUND)
    MAKERS[name][1](content)
    path = put(tmp_path, content)
    quickly = of_file(path)
    monkeypatch.setattr(coco_defects, "quick", lambda data, form: None)
    assert of_file(path) == quickly


def test_a_number_of_thousands_of_digits_is_reported(tmp_path: Path) -> None:
    (problem,), _ = of_file(put(tmp_path, json.dumps(SOUND).replace("[3, 2, 9,", f"[3, {'9' * 5000}, 9,")))
    assert problem.kind == "not JSON"
    assert "Exceeds the limit" in problem.message


def test_the_real_annotations_have_no_defect() -> None:
    if not COCO.is_file():
        pytest.skip("the annotations of COCO are not at ../shared/data.")
    assert of_file(COCO) == ([], 100)
