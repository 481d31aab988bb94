"""Boxes: where they may lie, that they are the same everywhere, that they find objects, and how they are enlarged."""

import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from places import SHARED

from perpixel.datasets.scenes import Scenes
from perpixel.errors import ResourceError, UnknownName
from perpixel.images import read_image
from perpixel.masks.boxes import enlarge, overlaps
from perpixel.prediction.proposals import METHODS, edge_map, propose
from perpixel.training.recipe import PROPOSALS

COCO = SHARED / "coco"
NEEDS_OPENCV = ("edge_boxes", "selective_search")


@pytest.fixture(params=METHODS)
def method(request):
    if request.param in NEEDS_OPENCV:
        pytest.importorskip("cv2", reason="OpenCV, which makes these proposals, is not installed")
    return request.param


@pytest.fixture
def opencv():
    return pytest.importorskip("cv2", reason="OpenCV, which makes these proposals, is not installed")


def scene(number=0):
    return Scenes("val").sample(number)


def digest(boxes):
    return hashlib.sha256(np.ascontiguousarray(boxes).tobytes()).hexdigest()


boxes_of_any_kind = arrays(
    np.float64, st.tuples(st.integers(0, 9), st.just(4)), elements=st.floats(-999, 999, allow_nan=False, width=32)
).map(lambda found: np.concatenate([found[:, :2], found[:, :2] + np.abs(found[:, 2:]) + 1], axis=1))


class TestEnlarge:
    def test_a_box_of_ten_by_twenty_gains_a_tenth_of_its_side_each_way(self):
        assert enlarge(np.array([[0.0, 10.0, 10.0, 30.0]]), 1.2).tolist() == [[-1.0, 8.0, 11.0, 32.0]]

    @given(boxes=boxes_of_any_kind, factor=st.floats(0.1, 9))
    def test_the_middle_stays_and_both_sides_grow_alike(self, boxes, factor):
        larger = enlarge(boxes, factor)
        assert np.allclose(larger[:, :2] + larger[:, 2:], boxes[:, :2] + boxes[:, 2:])
        assert np.allclose(larger[:, 2:] - larger[:, :2], factor * (boxes[:, 2:] - boxes[:, :2]))


class TestOverlaps:
    def test_by_hand(self):
        whole, left, far = [0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 2.0], [9.0, 9.0, 10.0, 10.0]
        shifted = [0.0, 1.0, 4.0, 5.0]  # shares 12 of 20 with whole, 4 of 20 with left
        found = overlaps(np.array([whole, left]), np.array([whole, shifted, far]))
        assert found.tolist() == [[1.0, 12 / 20, 0.0], [0.5, 4 / 20, 0.0]]

    @given(boxes=boxes_of_any_kind, others=boxes_of_any_kind)
    def test_it_is_a_share_and_the_same_from_both_sides(self, boxes, others):
        found = overlaps(boxes, others)
        assert ((found >= 0) & (found <= 1)).all()
        assert np.allclose(found, overlaps(others, boxes).T)
        assert np.allclose(np.diag(overlaps(boxes, boxes)), 1)


class TestPropose:
    @pytest.mark.parametrize("size", [(1, 1), (2, 3), (1, 90), (24, 32), (70, 50)])
    @pytest.mark.parametrize("plain", [False, True])
    def test_boxes_lie_in_the_picture_and_are_different(self, method, size, plain):
        image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8) * (not plain)
        boxes = propose(image.astype(np.uint8), method)
        assert boxes.dtype == np.float64
        assert boxes.shape == (len(boxes), 4)
        assert len(np.unique(boxes, axis=0)) == len(boxes)
        assert ((boxes[:, :2] >= 0) & (boxes[:, :2] < boxes[:, 2:]) & (boxes[:, 2:] <= size)).all()

    def test_fewer_are_the_first_of_many_or_at_least_no_more(self, method):
        image = scene().image
        assert len(propose(image, method, 7)) == 7
        if method != "edge_boxes":  # which stops as soon as it has enough
            assert np.array_equal(propose(image, method, 7), propose(image, method)[:7])

    def test_the_recipe_knows_the_methods(self):
        assert tuple(METHODS) == PROPOSALS

    def test_another_method_is_not_known(self):
        with pytest.raises(UnknownName, match="no method of proposals 'edge_box'; did you mean 'edge_boxes'"):
            propose(scene().image, "edge_box")

    @pytest.mark.parametrize("method", NEEDS_OPENCV)
    def test_without_opencv_the_error_says_what_to_install(self, method, monkeypatch):
        monkeypatch.setitem(sys.modules, "cv2", None)
        with pytest.raises(ResourceError, match=r'OpenCV .*pip install "perpixel\[proposals\]"'):
            propose(scene().image, method)

    def test_windows_come_by_area_and_the_whole_picture_first(self):
        boxes = propose(scene().image, "sliding")
        assert boxes[0].tolist() == [0, 0, 128, 160]
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        assert (np.diff(areas) < 1e-5).all()

    def test_windows_of_a_size_cover_the_picture(self):
        """Side 0.6 from the whole: three by three places at stride half a side, rounded up."""
        boxes = propose(np.zeros((100, 200, 3), np.uint8), "sliding")
        own = boxes[np.isclose(boxes[:, 2] - boxes[:, 0], 60) & np.isclose(boxes[:, 3] - boxes[:, 1], 120)]
        assert sorted(set(own[:, 0].tolist())) == pytest.approx([0, 20, 40])
        assert sorted(set(own[:, 1].tolist())) == pytest.approx([0, 40, 80])
        assert len(own) == 9


class TestSame:
    def test_in_a_second_call_and_beside_others(self, method):
        images = [scene(number).image for number in range(3)]
        alone = [digest(propose(image, method)) for image in images]
        with ThreadPoolExecutor(3) as pool:
            together = list(pool.map(lambda image: digest(propose(image, method)), images * 2))
        assert together == alone * 2

    def test_in_another_process_with_other_threads(self, opencv):
        here = {method: digest(propose(scene().image, method)) for method in METHODS}
        code = (
            "import cv2, hashlib, json; cv2.setNumThreads(2); from perpixel.prediction.proposals import *;"
            "from perpixel.datasets.scenes import Scenes; image = Scenes('val').sample(0).image; import ctypes;"
            "ctypes.CDLL(None).srand(7);"  # OpenCV's selective search draws from the C library
            "found = {m: np.ascontiguousarray(propose(image, m)).tobytes() for m in METHODS};"
            "print(json.dumps({m: hashlib.sha256(found[m]).hexdigest() for m in METHODS}))"
        )
        environment = {**os.environ, "OMP_NUM_THREADS": "2"}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment, timeout=120
        )
        assert json.loads(done.stdout) == here


class TestEdges:
    def test_a_step_is_one_line_whose_normal_crosses_it(self, opencv):
        """Black and white halves, the border between columns 19 and 20; then the same turned, and along the diagonal."""
        image = np.zeros((40, 40, 3), np.uint8)
        image[:, 20:] = 255
        strength, normal = edge_map(image)
        assert set(np.nonzero(strength)[1].tolist()) <= {19, 20}
        assert ((strength > 0).sum(axis=1) == 1).all()
        assert strength.max() == 1
        inside = strength[5:-5] > 0
        assert np.allclose(np.cos(2 * normal[5:-5][inside]), 1, atol=1e-3)  # 0 or pi
        turned, normal = edge_map(np.ascontiguousarray(image.transpose(1, 0, 2)))
        assert np.allclose(np.cos(2 * normal[:, 5:-5][turned[:, 5:-5] > 0]), -1, atol=1e-3)  # pi / 2
        rows, columns = np.indices((40, 40))
        diagonal, normal = edge_map(np.repeat(np.where(columns > rows, 255, 0).astype(np.uint8)[..., None], 3, axis=2))
        middle = normal[10:30, 10:30][diagonal[10:30, 10:30] > 0.5]
        assert np.allclose(middle, 3 * np.pi / 4, atol=0.05)  # of (1, -1), as y points down

    def test_edges_of_equal_grey_are_seen_by_their_colour(self, opencv):
        image = np.full((30, 30, 3), (150, 100, 100), np.uint8)
        image[:, 15:] = (94, 124, 100)
        strength, _ = edge_map(image)
        assert np.nonzero(strength.sum(axis=0) > 5)[0].tolist() in ([14], [15])

    def test_a_plain_picture_has_none(self, opencv):
        strength, normal = edge_map(np.full((9, 12, 3), 77, np.uint8))
        assert not strength.any()
        assert np.isfinite(normal).all()


class TestRecall:
    def test_the_one_thing_in_a_picture_is_among_the_first(self, method):
        """A red box on grey noise, a quarter of the picture's side large."""
        image = np.clip(np.random.default_rng(0).normal(90, 6, (120, 160, 3)), 0, 255).astype(np.uint8)
        truth = np.array([[30.0, 60.0, 80.0, 110.0]])
        image[30:80, 60:110] = (200, 40, 40)
        first = 300 if method == "sliding" else 10
        assert overlaps(propose(image, method)[:first], truth).max() > (0.5 if method == "sliding" else 0.7)

    def test_boxes_reach_all_four_sides(self, method):
        """OpenCV's edge boxes start at (1, 1) and end a pixel early."""
        boxes = propose(scene().image, method)
        assert (*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0)) == (0, 0, 128, 160)

    @pytest.mark.skipif(not COCO.is_dir(), reason="the COCO pictures are not at ../shared/data/coco.")
    def test_large_objects_of_photographs_are_found(self, opencv):
        """By edge boxes: 8 of 10 of more than 96x96 pixels, of which about 95 in 100 are found in all 100 pictures."""
        annotations = json.loads((COCO / "annotations/instances_train2017.json").read_text())
        names = {entry["id"]: entry["file_name"] for entry in annotations["images"]}
        large = [one for one in annotations["annotations"] if not one["iscrowd"] and one["area"] > 96**2][::25][:10]
        hits = 0
        for one in large:
            x, y, width, height = one["bbox"]
            boxes = propose(read_image(COCO / "train2017" / names[one["image_id"]]), "edge_boxes")
            hits += overlaps(boxes, np.array([[y, x, y + height, x + width]])).max() >= 0.5
        assert hits >= 8, hits


