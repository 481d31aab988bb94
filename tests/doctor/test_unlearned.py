"""Objects that teach nothing are counted by the reason, and a training tells of them once."""

import json
from pathlib import Path

import numpy as np
import pytest
from fakes import make_coco, make_folder, put_picture

from perpixel.datasets import judged_splits
from perpixel.doctor.check import check
from perpixel.doctor.unlearned import of_objects, sentences
from perpixel.sample import Instances

BOX = np.zeros((4, 5), bool)
BOX[1:3, 1:4] = True
PIXEL = np.zeros((4, 5), bool)
PIXEL[2, 2] = True
NONE = np.zeros((4, 5), bool)


@pytest.mark.parametrize(
    ("masks", "class_ids", "crowd", "found"),
    [
        ([BOX, PIXEL], [1, 1], [0, 0], {}),  # the pixel lies on the box
        ([NONE, BOX], [1, 1], [0, 0], {"no area": 1}),
        ([PIXEL, BOX], [1, 1], [0, 0], {"covered": 1}),
        ([BOX, NONE], [1, 2], [1, 1], {"crowd": 2}),
        ([BOX, NONE], [0, 0], [0, 0], {"no area": 1, "background": 1}),
        ([], [], [], {}),
    ],
)
def test_what_an_object_teaches_nothing_for(
    masks: list[np.ndarray], class_ids: list[int], crowd: list[int], found: dict[str, int]
) -> None:
    objects = Instances(np.array(masks, bool).reshape(-1, 4, 5), np.array(class_ids, np.int64), crowd=np.array(crowd, bool))
    assert of_objects(objects, 0) == found
    assert "background" not in of_objects(objects, None)


def test_a_sentence_for_each_reason_names_the_first_picture() -> None:
    assert sentences([("a", {}), ("b", {"no area": 2, "crowd": 1}), ("c", {"no area": 1})]) == (
        "1 object in 1 picture stands for many objects and teaches nothing, first: b.",
        "3 objects in 2 pictures have no area and teach nothing, first: b.",
    )
    assert sentences([("a", {})]) == sentences([]) == ()


def with_a_thin_object(root: Path) -> Path:
    """COCO with an object beside its picture and a line without area, in the second and the third picture of train."""
    make_coco(root)
    path = root / "annotations/instances_train2017.json"
    content = json.loads(path.read_text())
    for place, (outline, box) in enumerate([([90, 5, 99, 5, 99, 9], [90, 5, 9, 4]), ([3, 3, 3, 9, 3, 3], [3, 3, 0, 6])], start=1):
        content["annotations"].append({
            "id": 9000 + place, "image_id": content["images"][place]["id"], "category_id": 1, "segmentation": [outline],
            "bbox": box, "area": 0, "iscrowd": 0,
        })  # fmt: skip
    path.write_text(json.dumps(content))
    return root


def test_of_coco_what_lies_outside_and_what_has_no_area(tmp_path: Path) -> None:
    root = with_a_thin_object(tmp_path)
    second = judged_splits("coco", root)["train"].name(1)
    report = check("coco", root=root, objects=True)
    assert f"2 objects in 2 pictures have no area and teach nothing, first: {second}." in report.unlearned["train"]
    assert not any("no area" in sentence for sentence in report.unlearned["val"])
    assert "unlearned" not in report.to_json()
    assert check("coco", root=root).unlearned == {"train": (), "val": ()}


def test_of_a_folder_the_objects_that_are_background_in_the_mask(tmp_path: Path) -> None:
    root = make_folder(tmp_path)
    table = (root / "classes.csv").read_text().replace("ground", "background")
    (root / "classes.csv").write_text(table)
    for path in sorted((root / "masks").rglob("*.png")):
        numbers = np.zeros((24, 32), np.uint8)
        if path.stem == "p01":
            numbers[:] = 1  # most of it is background
        put_picture(root / "instances" / path.parent.name / path.name, numbers)
    report = check(root, objects=True)
    assert report.unlearned["train"] == ("1 object in 1 picture is background in its mask and teaches nothing, first: p01.",)


@pytest.mark.needs_torch
def test_a_training_tells_of_them_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fake_networks import Blobs

    from perpixel.networks import NETWORKS
    from perpixel.training.recipe import Recipe
    from perpixel.training.train import train

    monkeypatch.setitem(NETWORKS, "blobs", Blobs)
    root = with_a_thin_object(tmp_path / "coco")
    recipe = Recipe(data="coco", root=str(root), network="blobs", steps=1, batch=1, crop=(16, 16), validations=1, device="cpu")
    for expected in (1, 0):  # the second finds the run done
        said: list[str] = []
        train(recipe, tmp_path / "run", say=said.append)
        assert sum("2 objects in 2 pictures have no area and teach nothing" in line for line in said) == expected
