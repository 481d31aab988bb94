"""Objects as masks or as one map of numbers; targets; and predictions as other tools and notebooks take them."""

import io
import subprocess
import sys

import numpy as np
import pytest
from hidden_torch import HAS_TORCH
from PIL import Image

from perpixel.classes import ClassTable
from perpixel.datasets import open_dataset, with_objects
from perpixel.errors import ResourceError, UsageError
from perpixel.sample import Crop, Instances, InstanceTargets, PanopticMap, Prediction, Sample, Segment, Targets

if HAS_TORCH:
    import torch

NUMBERS = np.array([[0, 1, 1], [2, 2, 0]], np.uint16)
MASKS = np.array([[[0, 1, 1], [0, 0, 0]], [[0, 0, 0], [1, 1, 0]]], bool)


def test_numbers_become_masks():
    objects = Instances.of_numbers(NUMBERS, np.array([5, 7]))
    assert objects.masks.dtype == bool
    assert (objects.masks == MASKS).all()
    assert (objects.class_ids.tolist(), objects.scores) == ([5, 7], None)


def test_masks_become_numbers():
    objects = Instances(MASKS, np.array([5, 7]), np.array([0.5, 1], np.float32))
    assert objects.numbers.dtype == np.int32
    assert (objects.numbers == NUMBERS).all()
    assert objects.scores.tolist() == [0.5, 1]


def test_an_object_without_a_pixel_keeps_its_place():
    objects = Instances.of_numbers(np.array([[0, 3]]), np.array([1, 1, 1]))
    assert objects.masks.sum((1, 2)).tolist() == [0, 0, 1]


def test_a_picture_without_objects():
    objects = Instances.of_numbers(np.zeros((2, 3), np.int32), np.zeros(0, np.int64))
    assert objects.masks.shape == (0, 2, 3)
    assert not Instances(objects.masks, objects.class_ids).numbers.any()


def test_of_objects_that_overlap_the_last_is_shown():
    assert Instances(np.ones((2, 1, 2), bool), np.array([0, 1])).numbers.tolist() == [[2, 2]]


def test_the_size_is_known_in_every_form():
    crops = [Crop.of(mask) for mask in MASKS]
    forms = (
        Instances(MASKS, np.array([5, 7])),
        Instances.of_numbers(NUMBERS, np.array([5, 7])),
        Instances.of_crops(crops, (2, 3), np.array([5, 7]), np.zeros(2, bool), np.array([0.5, 1], np.float32)),
    )
    assert [objects.size for objects in forms] == [(2, 3)] * 3
    assert forms[2].scores.tolist() == [0.5, 1]


def test_the_highest_score_is_drawn_last():
    scores = np.array([0.5, 0.9, 0.1, 0.5], np.float32)
    assert Instances(np.zeros((4, 1, 1), bool), np.zeros(4, int), scores).by_score == [2, 0, 3, 1]
    assert Instances(np.zeros((3, 1, 1), bool), np.zeros(3, int)).by_score == [0, 1, 2]


@pytest.mark.needs_torch
def test_targets_go_to_a_device_with_all_that_they_hold():
    objects = InstanceTargets(torch.zeros(2, 4), torch.zeros(3, 4, dtype=torch.int32), torch.arange(2), torch.ones(2) > 0)
    moved = Targets(torch.zeros(1, 3, 4, dtype=torch.int64), torch.ones(1, 3, 4), (objects,)).to(torch.device("meta"))
    tensors = [moved.labels, moved.weights, *vars(moved.instances[0]).values()]
    assert [tensor.device.type for tensor in tensors] == ["meta"] * 6
    bare = Targets(torch.zeros(1, 3, 4, dtype=torch.int64)).to(torch.device("meta"))
    assert (bare.labels.device.type, bare.weights, bare.instances) == ("meta", None, None)


def test_this_module_needs_no_torch():
    """Masks and results files are judged without it."""
    script = "import sys; sys.modules['torch'] = None; import perpixel.sample"
    subprocess.run([sys.executable, "-c", script], check=True)


TABLE = ClassTable(("background", "cell", "nucleus"), ((0, 0, 0), (200, 0, 0), (0, 0, 200)), ((0,), (1,), (2,)))
SPLIT = np.array([[1, 1, 1, 0], [1, 2, 1, 255], [1, 1, 1, 2]], np.uint8)  # a cell with a nucleus, void, and a second nucleus
CROSSING = np.zeros((2, 3, 4), bool)
CROSSING[0, :2], CROSSING[1, 1:, 1:3] = True, True


def of_objects(scores=(0.5, 0.75), crowd=None):
    objects = Instances(CROSSING, np.array([2, 1]), None if scores is None else np.array(scores, np.float32), crowd)
    return Prediction(SPLIT, TABLE, instances=objects)


def of_segments():
    ids = np.array([[7, 7, 0, 0], [7, 7, 9, 9], [0, 0, 9, 9]], np.int32)
    segments = (Segment(7, 1), Segment(9, 2, crowd=True), Segment(3, 0))
    return Prediction(SPLIT, TABLE, instances=of_objects().instances, panoptic=PanopticMap(ids, segments, frozenset({1})))


def read_back(annotations):
    """What pycocotools makes of annotations: masks, boxes and areas."""
    coco = pytest.importorskip("pycocotools.coco").COCO()
    categories = [{"id": number, "name": str(number)} for number in {one["category_id"] for one in annotations}]
    coco.dataset = {"images": [{"id": 1, "height": 3, "width": 4}], "annotations": annotations, "categories": categories}
    coco.createIndex()
    return [coco.annToMask(one).astype(bool) for one in annotations]


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
@pytest.mark.parametrize("polygons", [False, True])
def test_annotations_are_the_same_masks_in_pycocotools(polygons, capsys):
    by_class, by_object, by_segment = (each.to_coco(polygons=polygons) for each in (
        Prediction(SPLIT, TABLE), of_objects(crowd=np.array([True, False])), of_segments()))  # fmt: skip
    assert np.array_equal(read_back(by_class), [SPLIT == 1, SPLIT == 2])
    assert np.array_equal(read_back(by_object), CROSSING)
    assert np.array_equal(read_back(by_segment), [of_segments().panoptic.ids == 7, of_segments().panoptic.ids == 9])
    capsys.readouterr()  # pycocotools tells what it does
    assert [one["category_id"] for one in (*by_class, *by_object, *by_segment)] == [2, 3, 3, 2, 2, 3]
    assert [(one["id"], one["image_id"], one["bbox"], one["area"], one["iscrowd"]) for one in by_object] == [
        (1, 1, [0, 0, 4, 2], 8, 1), (2, 1, [1, 1, 2, 2], 4, 0)]  # fmt: skip
    assert [one.get("score") for one in (*by_class, *by_object)] == [None, None, 0.5, 0.75]
    assert isinstance(by_object[0]["segmentation"], dict)  # a crowd has run lengths always
    assert isinstance(by_object[1]["segmentation"], list) == polygons


def test_categories_and_the_picture_may_have_other_ids():
    (first, second) = Prediction(SPLIT, TABLE).to_coco(7, category_ids={"cell": 40, "nucleus": 41})
    assert (first["category_id"], second["category_id"], first["image_id"]) == (40, 41, 7)
    with pytest.raises(UsageError, match="category_ids: has no id of the class 'nucleus'"):
        Prediction(SPLIT, TABLE).to_coco(category_ids={"cell": 40})


def test_polygons_have_their_holes_and_their_objects():
    outlines = Prediction(SPLIT, TABLE).polygons()
    assert list(outlines) == ["cell", "nucleus"]
    (cell,), nuclei = outlines["cell"], outlines["nucleus"]
    assert (cell.outer.tolist(), cell.object) == ([[0, 0], [3, 0], [3, 3], [0, 3]], None)
    assert [sorted(hole.tolist()) for hole in cell.holes] == [[[1, 1], [1, 2], [2, 1], [2, 2]]]
    assert [polygon.outer.tolist()[0] for polygon in nuclei] == [[1, 1], [3, 2]]
    assert [(name, [one.object for one in many]) for name, many in of_objects().polygons().items()] == [
        ("cell", [1]), ("nucleus", [0])]  # fmt: skip


def test_regions_of_nothing_are_none():
    empty = Prediction(np.zeros((3, 4), np.uint8), TABLE)
    without_pixel = Prediction(SPLIT, TABLE, instances=Instances(np.zeros((1, 3, 4), bool), np.array([1])))
    for prediction in (empty, without_pixel):
        assert (prediction.polygons(), prediction.to_coco()) == ({}, [])


def test_detections_of_supervision():
    pytest.importorskip("supervision", exc_type=ImportError)
    found = of_objects().to_supervision()
    assert np.array_equal(found.mask, CROSSING)
    assert found.xyxy.tolist() == [[0, 0, 3, 1], [1, 1, 2, 2]]
    assert (found.class_id.tolist(), found.confidence.tolist()) == ([2, 1], [0.5, 0.75])
    assert found.data["class_name"].tolist() == ["nucleus", "cell"]
    by_class = Prediction(SPLIT, TABLE).to_supervision()
    assert (len(by_class), by_class.confidence, by_class.mask.sum()) == (2, None, 10)
    assert len(Prediction(np.zeros((3, 4), np.uint8), TABLE).to_supervision()) == 0


def test_without_supervision_a_sentence_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ResourceError, match="needs supervision, which is not installed; pip install supervision brings it"):
        of_objects().to_supervision()


def pixels_of(png):
    return np.asarray(Image.open(io.BytesIO(png)))


def test_a_notebook_shows_the_overlay_or_the_classes_alone():
    image = np.full((3, 4, 3), 100, np.uint8)
    shown = pixels_of(Prediction(SPLIT, TABLE, image=image)._repr_png_())
    assert shown[0, 0].tolist() == [150, 50, 50]
    assert shown[1, 3].tolist() == [100, 100, 100]  # void
    assert len(shown) > 3  # the legend
    assert pixels_of(Prediction(SPLIT, TABLE)._repr_png_())[0, 0].tolist() == [200, 0, 0]


def test_a_notebook_shows_a_sample_beside_its_labels():
    sample = with_objects(open_dataset("scenes")).sample(0)
    bare, labelled = (pixels_of(one._repr_png_()) for one in (Sample("a", sample.image), sample))
    assert bare.shape[1] == sample.image.shape[1]
    assert labelled.shape[1] == 2 * sample.image.shape[1] + 4
    assert np.array_equal(labelled[18 : 18 + len(sample.image), : sample.image.shape[1]], sample.image)
    Sample("void", sample.image, np.full(sample.image.shape[:2], 65535, np.uint16))._repr_png_()
