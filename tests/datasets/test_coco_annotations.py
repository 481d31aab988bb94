"""Annotation files: what is read, and a sentence with file and entry for whatever is not as COCO says."""

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perpixel.datasets import coco_annotations
from perpixel.datasets.coco_annotations import Annotations, read_annotations, read_panoptic
from perpixel.errors import DataError
from perpixel.masks import rle
from perpixel.measures.instances import Ranking

SQUARE = np.zeros((8, 10), bool)
SQUARE[2:5, 3:7] = True
TRUTH: dict[str, Any] = {
    "images": [{"id": 9, "file_name": "a.jpg", "height": 8, "width": 10}],
    "categories": [{"id": 3, "name": "car"}, {"id": 4, "name": "cat"}],
    "annotations": [
        {"id": 1, "image_id": 9, "category_id": 3, "segmentation": [[3, 2, 7, 2, 7, 5, 3, 5]], "area": 12, "bbox": [3, 2, 4, 3]},
        {"id": 2, "image_id": 9, "category_id": 4, "segmentation": {"size": [8, 10], "counts": rle.runs(SQUARE)}, "iscrowd": 1},
        {"id": 3, "image_id": 9, "category_id": 3, "segmentation": {"size": [8, 10], "counts": rle.encode(SQUARE)}, "iscrowd": 0},
    ],
}
PANOPTIC: dict[str, Any] = {
    **TRUTH,
    "annotations": [{"image_id": 9, "file_name": "a.png", "segments_info": [{"id": 70000, "category_id": 3, "iscrowd": 0}]}],
}


def put(folder: Path, content: Any) -> Path:
    path = folder / "truth.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def changed(content: dict[str, Any], place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """`content` with another value at a path of keys; without the key for ellipsis."""
    content = copy.deepcopy(content)
    inner: Any = content
    for key in place[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return content


def test_polygons_and_both_forms_of_rle_are_the_same_pixels(tmp_path: Path) -> None:
    truth = read_annotations(put(tmp_path, TRUTH))
    assert truth.categories == {3: "car", 4: "cat"}
    objects = truth.objects[9]
    assert [(one.id, one.category, one.crowd, one.area, one.box) for one in objects] == [
        (1, 3, False, 12.0, (3, 2, 4, 3)), (2, 4, True, None, None), (3, 3, False, None, None)]  # fmt: skip
    assert all(np.array_equal(truth.mask(one), SQUARE) for one in objects)


def test_panoptic_segments(tmp_path: Path) -> None:
    panoptic = read_panoptic(put(tmp_path, PANOPTIC))
    name, segments = panoptic.maps[9]
    assert (name, [(one.id, one.category, one.crowd) for one in segments]) == ("a.png", [(70000, 3, False)])


OBJECT = ("annotations", 0)
NESTED = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("images",), ..., "truth.json: images is None, not a list"),
        (("images", 0), 5, "truth.json: images holds 5 at place 0, not an object"),
        (("images", 0, "id"), "9", "picture at place 0: id is '9', not a whole number"),
        (("images", 0, "height"), 2**31, "picture 9: a side of 2147483648 pixels"),
        (("images", 0, "file_name"), "..", "picture 9: file_name is '..', not the name"),
        (("categories", 1, "id"), 3, "category 3: the id occurs twice"),
        (("categories", 1, "name"), 7, "category 4: name is 7, not a text"),
        ((*OBJECT, "id"), 2, "annotation 2: the id occurs twice"),
        ((*OBJECT, "id"), ..., "annotation at place 0: id is None"),
        ((*OBJECT, "id"), True, "annotation at place 0: id is True, not a whole number"),
        ((*OBJECT, "image_id"), 10, "annotation 1: image_id 10 is no picture of this file"),
        ((*OBJECT, "category_id"), 12, "annotation 1: category_id 12 is no category"),
        ((*OBJECT, "segmentation"), "x", "annotation 1: segmentation is 'x', not a list of polygons or an RLE"),
        ((*OBJECT, "area"), math.nan, "annotation 1: area is nan, not a finite number"),
        ((*OBJECT, "area"), -1, "annotation 1: area is -1.0; it is in pixels"),
        ((*OBJECT, "bbox"), [1, 2, 3], "annotation 1: bbox is a list, not a list of left, top, width, height"),
        ((*OBJECT, "bbox"), [1, 2, math.inf, 3], "annotation 1: a number of bbox is inf, not a finite number"),
        ((*OBJECT, "bbox"), [1, 2, -3, 3], "annotation 1: bbox has the sides -3.0 and 3.0"),
        ((*OBJECT, "iscrowd"), 2, "annotation 1: iscrowd is 2, not 0 or 1"),
    ],
)
def test_what_is_wrong_is_reported_with_its_place(tmp_path: Path, place: tuple[Any, ...], value: Any, message: str) -> None:
    with pytest.raises(DataError) as error:
        read_annotations(put(tmp_path, changed(TRUTH, place, value)))
    assert message in str(error.value)
    assert str(error.value).startswith(str(tmp_path / "truth.json"))


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([[3, 2, 7, 2, 7]], "annotation 1: polygon 0 has 5 values"),
        ([[3, 2, 1e15, 2, 7, 5]], "annotation 1: polygon 0 has the coordinate 1000000000000000.0"),
        ({"size": [8, 10], "counts": [40]}, "annotation 1: the runs of the RLE sum to 40 pixels"),
        ({"size": [10, 8], "counts": [80]}, "annotation 1: the RLE is 10x8, its picture 8x10"),
        ({"size": 8}, "annotation 1: an RLE needs size"),
    ],
)
def test_a_mask_that_cannot_be_read_is_reported_when_it_is_asked_for(tmp_path: Path, segmentation: Any, message: str) -> None:
    truth = read_annotations(put(tmp_path, changed(TRUTH, (*OBJECT, "segmentation"), segmentation)))
    with pytest.raises(DataError, match=f"truth.json, {message}"):
        truth.mask(truth.objects[9][0])


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ((*OBJECT, "image_id"), 5, "picture 5: is no picture of this file"),
        ((*OBJECT, "file_name"), "../", "picture 9: file_name is '../'"),
        ((*OBJECT, "segments_info"), {}, "picture 9: segments_info is a dict, not a list"),
        ((*OBJECT, "segments_info", 0, "category_id"), 5, "picture 9: category_id 5 is no category"),
        ((*OBJECT, "segments_info"), [{"id": 1, "category_id": 3}] * 2, "picture 9: two segments have one id"),
        (("annotations",), PANOPTIC["annotations"] * 2, "picture 9: has two panoptic maps"),
    ],
)
def test_what_is_wrong_with_panoptic_segments(tmp_path: Path, place: tuple[Any, ...], value: Any, message: str) -> None:
    with pytest.raises(DataError) as error:
        read_panoptic(put(tmp_path, changed(PANOPTIC, place, value)))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no JSON"), ("{", "is no JSON"), ("5", "holds 5, not an object"), (NESTED, "is nested too deep"),
        ('{"images": ' + NESTED + "}", "is nested too deep"), ("9" * 5000, "is no JSON"), ("[]", "holds a list, not an object"),
    ],
    ids=range(7),
)  # fmt: skip
def test_a_file_that_holds_something_else(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_annotations(put(tmp_path, text))
    with pytest.raises(DataError, match="there is no such file"):
        read_annotations(tmp_path / "nothing.json")


def places(content: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every path of keys to a value of a JSON document."""
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [place for key, value in inner for place in ((*above, key), *places(value, (*above, key)))]


values = st.just(...) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.sampled_from(["id", "size", "counts"]), inner, max_size=2),
    max_leaves=8,
)  # fmt: skip


@given(st.sampled_from(places(TRUTH)), values, st.sampled_from(["mask", "box", "boundary"]))
def test_any_change_ends_in_a_score_or_a_sentence(tmp_path_factory, place: tuple[Any, ...], value: Any, kind: str) -> None:
    path = put(tmp_path_factory.mktemp("changed"), changed(TRUTH, place, value))
    sentence = f"{path}."
    try:
        Ranking(read_annotations(path), [], kind)
    except DataError as error:
        sentence = str(error)
    assert sentence.startswith(str(path))
    assert sentence.endswith(".")


@given(st.sampled_from(places(PANOPTIC)), values)
def test_any_change_of_a_panoptic_file_ends_in_a_sentence(tmp_path_factory, place: tuple[Any, ...], value: Any) -> None:
    path = put(tmp_path_factory.mktemp("changed"), changed(PANOPTIC, place, value))
    sentence = f"{path}."
    try:
        read_panoptic(path)
    except DataError as error:
        sentence = str(error)
    assert sentence.startswith(str(path))
    assert sentence.endswith(".")


def read_with_care(path: Path) -> Annotations:
    """As a file is read that is not sound in form."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(coco_annotations, "quick", lambda data, form: None)
        return read_annotations(path)


def seen(read: Any, path: Path) -> Any:
    """All that a reader finds in a file, or what it says."""
    try:
        found = read(path)
        objects = [(id, one.id, one.category, one.segmentation, one.area, one.box, one.crowd)
                   for id, ones in found.objects.items() for one in ones]  # fmt: skip
        return repr((found.pictures, found.categories, objects))
    except DataError as error:
        return str(error)


@given(st.sampled_from(places(TRUTH)), values)
def test_the_quick_reader_and_the_careful_one_find_the_same(tmp_path_factory, place: tuple[Any, ...], value: Any) -> None:
    path = put(tmp_path_factory.mktemp("both"), changed(TRUTH, place, value))
    assert seen(read_annotations, path) == seen(read_with_care, path)


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + json.dumps(TRUTH),
        json.dumps(TRUTH).replace('"id": 9,', '"id": 9, "score": NaN,'),
        json.dumps(TRUTH).replace('"id": 9,', '"id": 9, "score": 1e999,'),
        json.dumps(TRUTH).replace('"area": 12', '"area": 7, "area": 12'),
        json.dumps(TRUTH).replace('"iscrowd": 1', '"iscrowd": true'),
        json.dumps(TRUTH).replace('"id": 1,', '"id": 1, "caption": "\\ud800 ä 한",'),
        json.dumps(TRUTH).replace('"id"', '"\\u0069d"'),
        json.dumps(TRUTH).replace("[3, 2, 7, 2, 7, 5, 3, 5]", "[3.0, 2e0, 7, 2, 7, 50E-1, 3, 5]"),
        json.dumps(TRUTH, indent=2),
    ],
    ids=range(9),
)
def test_other_ways_to_write_the_same_are_read(tmp_path: Path, text: str) -> None:
    expected = seen(read_annotations, put(tmp_path, TRUTH))
    for read in (read_annotations, read_with_care):
        assert seen(read, put(tmp_path, text)).replace("3.0", "3").replace("5.0", "5").replace("2.0", "2") == expected.replace(
            "3.0", "3").replace("5.0", "5").replace("2.0", "2")  # fmt: skip


@pytest.mark.parametrize("key", ["license", "segmentation"])
def test_bytes_that_are_no_utf8_are_refused_wherever_they_stand(tmp_path: Path, key: str) -> None:
    text = json.dumps({**TRUTH, "annotations": [{**TRUTH["annotations"][0], key: "?"}]}).encode()
    for place in (0, 2**20 - len(text)):  # and where a part of what is looked at in turn begins
        path = tmp_path / "truth.json"
        path.write_bytes(b" " * max(place, 0) + text.replace(b'"?"', b'"\xed\xa0"'))
        with pytest.raises(DataError, match="is no JSON"):
            read_annotations(path)


def test_a_number_of_thousands_of_digits_is_refused_and_a_mask_of_many_numbers_is_not(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is no JSON \(ValueError: Exceeds the limit"):
        read_annotations(put(tmp_path, json.dumps(TRUTH).replace("[3, 2, 7,", f"[3, {'9' * 5000}, 7,")))
    truth = read_annotations(put(tmp_path, changed(TRUTH, (*OBJECT, "segmentation"), [[3, 2, 7, 2, 7, 5, 3, 5] * 1001])))
    assert np.array_equal(truth.mask(truth.objects[9][0]), SQUARE)


def test_masks_of_many_objects_are_those_of_each(tmp_path: Path) -> None:
    ones = [{**TRUTH["annotations"][i % 3], "id": i} for i in range(5000)]
    truth = read_annotations(put(tmp_path, {**TRUTH, "annotations": ones}))
    found = truth.runs(truth.objects[9]).each()
    assert len(found) == 5000
    assert all(one.tolist() == rle.runs(SQUARE) for one in found)
    ones[4321] = {**ones[0], "id": 4321, "segmentation": [[1, 2, 3]]}
    truth = read_annotations(put(tmp_path, {**TRUTH, "annotations": ones}))
    with pytest.raises(DataError, match=r"truth.json, annotation 4321: polygon 0 has 3 values"):
        truth.runs(truth.objects[9])
