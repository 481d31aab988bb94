"""COCO: its tables, the label of a pixel of several objects, and real annotations that agree with each other."""

import json
from pathlib import Path

import numpy as np
import pytest
from fakes import make_coco
from places import SHARED

from perpixel.datasets import coco, open_dataset
from perpixel.datasets.coco import MERGED, PANOPTIC, STUFF, THINGS, UNMERGED, VIEWS
from perpixel.errors import DataError, UnknownName

REAL = SHARED / "coco"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_coco(tmp_path_factory.mktemp("coco"))


def test_the_published_numbers_of_classes() -> None:
    assert (len(THINGS), len(STUFF), len(UNMERGED), len(MERGED), len(PANOPTIC)) == (80, 91, 36, 17, 133)
    assert max(THINGS) == 90
    assert (min(STUFF), max(STUFF)) == (92, 182)
    assert {name: len(table) for name, table in VIEWS.items()} == {
        "coco": 81, "coco_voc21": 21, "coco_stuff171": 171, "coco_stuff92": 92, "coco_panoptic": 133}  # fmt: skip


def test_a_pixel_of_objects_of_two_classes_is_void(root: Path, tmp_path: Path) -> None:
    square = [[1, 1, 5, 1, 5, 5, 1, 5]]
    shifted = [[3, 1, 7, 1, 7, 5, 3, 5]]
    for name in ("train2017", "annotations"):
        (tmp_path / name).mkdir()
    (tmp_path / "train2017/1.jpg").write_bytes((root / "train2017/000000000001.jpg").read_bytes())
    entry = {"image_id": 1, "iscrowd": 0, "area": 16, "bbox": [1, 1, 4, 4]}
    content = {
        "images": [{"id": 1, "file_name": "1.jpg", "height": 52, "width": 56}],
        "categories": [{"id": 1, "name": "person"}, {"id": 3, "name": "car"}],
        "annotations": [
            {**entry, "id": 1, "category_id": 1, "segmentation": square},
            {**entry, "id": 2, "category_id": 3, "segmentation": shifted},
        ],
    }
    path = tmp_path / "annotations/instances_train2017.json"
    path.write_text(json.dumps(content))
    sample = coco.Coco(tmp_path, "train", instances=True).sample(0)
    row = [0, 1, 1, 255, 255, 3, 3, 0]
    assert sample.labels is not None
    assert sample.labels[2, :8].tolist() == row
    assert sample.instances is not None
    assert sample.instances.masks[:, 2, :8].sum(1).tolist() == [4, 4]
    for annotation in content["annotations"]:
        annotation["category_id"] = 1
    path.write_text(json.dumps(content))
    assert coco.Coco(tmp_path, "train").sample(0).labels[2, :8].tolist() == [0, 1, 1, 1, 1, 1, 1, 0]  # type: ignore[index]
    voc = coco.Coco(tmp_path, "train", view="coco_voc21").sample(0).labels
    assert voc is not None
    assert voc[2, :8].tolist() == [0, 15, 15, 255, 255, 15, 15, 0]


def test_crowds_are_said(root: Path) -> None:
    dataset = coco.Coco(root, "train", instances=True)
    crowds = [sample.instances.crowd.sum() for sample in map(dataset.sample, range(len(dataset))) if sample.instances]
    assert sum(crowds) > 0


def test_what_is_missing_is_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no train2017 and val2017 with annotations/instances_\*\.json"):
        coco.Coco(tmp_path)
    with pytest.raises(UnknownName, match="did you mean 'coco_panoptic'"):
        coco.Coco(root, view="coco_panoptics")
    with pytest.raises(UnknownName, match="did you mean 'train'"):
        coco.Coco(root, "trian")


@pytest.mark.thorough
def test_real_objects_and_panoptic_maps_agree_on_every_pixel() -> None:
    """Where neither label is void, both show the same thing, in all 100 pictures."""
    if not REAL.is_dir():
        pytest.skip("the pictures of COCO are not at ../shared/data.")
    objects, panoptic = (open_dataset(view, root=REAL, split="train") for view in ("coco", "coco_panoptic"))
    thing = np.full(256, 255)
    thing[0] = 254
    for class_id, name in enumerate(objects.classes.names[1:], start=1):
        thing[class_id] = panoptic.classes.names.index(name)
    stuff = np.arange(256)
    stuff[[i for i, name in enumerate(panoptic.classes.names) if name not in objects.classes.names]] = 254
    maps = {panoptic.name(index): index for index in range(len(panoptic))}
    judged = agreeing = 0
    for index in range(len(objects)):
        labels, panoptic_labels = objects.sample(index).labels, panoptic.sample(maps[objects.name(index)]).labels
        assert labels is not None
        assert panoptic_labels is not None
        both = (labels != 255) & (panoptic_labels != 255)
        judged += int(both.sum())
        agreeing += int((thing[labels] == stuff[panoptic_labels])[both].sum())
    assert judged > 20_000_000
    assert agreeing == judged


@pytest.mark.thorough
def test_real_objects_are_the_segments_of_things_of_their_panoptic_maps() -> None:
    """All 746 objects, crowds included: same class, same pixels, no object twice."""
    if not REAL.is_dir():
        pytest.skip("the pictures of COCO are not at ../shared/data.")
    objects, panoptic = (open_dataset(view, root=REAL, split="train").with_instances() for view in ("coco", "coco_panoptic"))
    count = crowds = 0
    for index in range(len(objects)):
        known = [
            sorted((dataset.classes.names[class_id], bool(crowd), mask.tobytes())
                   for class_id, crowd, mask in zip(instances.class_ids, instances.crowd, instances.masks, strict=True))
            for dataset in (objects, panoptic) for instances in [dataset.sample(index).instances]
        ]  # fmt: skip
        assert known[0] == known[1], objects.name(index)
        assert len(set(known[0])) == len(known[0])
        count += len(known[0])
        crowds += sum(crowd for _, crowd, _ in known[0])
    assert (count, crowds) == (746, 6)
