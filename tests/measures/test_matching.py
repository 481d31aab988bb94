"""Matching: IoU of runs as that of pixels, and all twelve figures as COCO's own code has them, to the last digit."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from test_average_precision import ORACLE, draw, put

from perpixel.datasets.coco_annotations import read_annotations
from perpixel.judging.average_precision import average_precision, read_results
from perpixel.masks import rle, runs
from perpixel.measures.matching import AREAS, FALSE, HIT, IGNORED, Entries, _iou, by_boxes, by_masks, match

# pycocotools has not followed NumPy 2 in its __array__.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
pairs = hnp.array_shapes(min_dims=2, max_dims=2, max_side=20).flatmap(
    lambda shape: st.tuples(hnp.arrays(bool, shape), hnp.arrays(bool, shape))
)


@given(pairs, st.booleans())
def test_iou_of_runs_is_that_of_pixels(pair: tuple[np.ndarray, np.ndarray], crowd: bool) -> None:
    result, one = (by_masks(runs.joined([np.array(rle.runs(mask))]), np.array([len(mask)]))[0] for mask in pair)
    shared, union = np.logical_and(*pair).sum(), pair[0].sum() if crowd else np.logical_or(*pair).sum()
    assert _iou(result, 0, one, 0, crowd) == (shared / union if shared else 0)


def entries(boxes: list[list[float]], last: list[float]) -> Entries:
    sides = np.array(boxes, np.float64).reshape(-1, 4)
    zeros = np.zeros(len(sides), np.int64)
    return Entries(zeros, zeros, sides[:, 2] * sides[:, 3], by_boxes(sides), np.array(last, np.float64))


def test_by_hand_a_crowd_an_object_of_another_area_and_results_of_one() -> None:
    """An object of 10 x 10, a crowd of 50 x 50; the object's box twice, one in the crowd, one that is nowhere, a large one."""
    objects = entries([[0, 0, 10, 10], [50, 50, 50, 50]], [0, 1])
    results = entries(
        [[0, 0, 10, 10], [60, 60, 9, 9], [60, 70, 9, 9], [0, 0, 10, 10], [200, 0, 9, 9], [0, 200, 99, 99]],
        [0.9, 0.8, 0.7, 0.6, 0.5, 0.4],
    )
    found = match(objects, results, 1)
    assert found.objects[:, 0].tolist() == [1, 1, 0, 0]
    every, small, _, large = found.outcomes[:, 0].tolist()
    assert every == [HIT, IGNORED, IGNORED, FALSE, FALSE, FALSE]
    assert small == [HIT, IGNORED, IGNORED, FALSE, FALSE, IGNORED]  # the last is of another area and takes nothing
    assert large == [IGNORED, IGNORED, IGNORED, IGNORED, IGNORED, FALSE]
    assert AREAS[1].tolist() == [0, 1024]


def test_of_a_category_in_a_picture_the_first_hundred_results_count_and_equal_scores_keep_their_order() -> None:
    objects = entries([[0, 0, 10, 10]], [0])
    results = entries([[50, 50, 10, 10]] * 100 + [[0, 0, 10, 10]], [0.5] * 101)
    assert (match(objects, results, 1).outcomes[0, 0] == FALSE).tolist() == [True] * 100
    results.scores[100] = 0.6
    assert match(objects, results, 1).outcomes[0, 0].tolist() == [HIT] + [FALSE] * 99


def official(truth: Path, results: Path, kind: str) -> list[float]:
    coco, evaluation = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")
    with contextlib.redirect_stdout(io.StringIO()):
        loaded = coco.COCO(str(truth))
        oracle = evaluation.COCOeval(loaded, loaded.loadRes(str(results)), {"mask": "segm", "box": "bbox"}[kind])
        oracle.evaluate()
        oracle.accumulate()
        oracle.summarize()
    return oracle.stats.tolist()


def figures(truth: Path, results: Path, kind: str) -> list[float]:
    read = read_annotations(truth)
    return np.nan_to_num([*average_precision(read, read_results(results, read), kind).figures.values()], nan=-1).tolist()


@pytest.mark.parametrize("kind", ["mask", "box"])
@pytest.mark.parametrize("seed", range(8))
def test_figures_are_those_of_pycocotools_to_the_last_digit(tmp_path: Path, seed: int, kind: str) -> None:
    """Odd seeds have scores of which many are equal, and more than a hundred results of a category in a picture."""
    truth, results = draw(seed, pictures=12, height=150, width=200)
    rng = np.random.default_rng(seed)
    if seed % 2:
        results = [{**one, "score": round(4 * one["score"]) / 4} for one in results * 40]
    rng.shuffle(results)
    for one in truth["annotations"]:  # large and medium objects, and outlines
        if rng.random() < 0.5 and not one["iscrowd"]:
            x, y, w, h = one["bbox"]
            w, h = w * int(rng.integers(1, 9)), h * int(rng.integers(1, 9))
            one |= {"segmentation": [[x, y, x + w, y, x + w, y + h * 0.7, x + w / 3, y + h]], "bbox": [x, y, w, h], "area": w * h}
    kept = "segmentation" if kind == "mask" else "bbox"
    results = [{key: value for key, value in one.items() if key in ("image_id", "category_id", "score", kept)} for one in results]
    files = put(tmp_path, truth, results)
    assert figures(*files, kind) == official(*files, kind)


@pytest.mark.parametrize("kind", ["mask", "box"])
def test_figures_of_real_objects_are_those_of_pycocotools_to_the_last_digit(kind: str) -> None:
    if not ORACLE.is_dir():
        pytest.skip("the oracle of COCO's code is not at ../shared/data.")
    files = ORACLE / "ground_truth.json", ORACLE / f"{kind}_results.json"
    assert figures(*files, kind) == official(*files, kind)


@pytest.mark.parametrize("kind", ["mask", "boundary"])
def test_results_as_plain_runs_polygons_or_long_strings_are_the_same_masks(tmp_path: Path, kind: str) -> None:
    truth, results = draw(5)
    expected = figures(*put(tmp_path, truth, results), kind)
    for change in (
        lambda counts: rle.read_runs(counts, 40, 60).tolist(),
        lambda counts: [*rle.read_runs(counts, 40, 60).tolist(), 0, 0],
        lambda counts: rle.compress([*rle.read_runs(counts, 40, 60).tolist(), 0, 0]),
    ):
        changed: list[dict[str, Any]] = json.loads(json.dumps(results))
        for one in changed:
            one["segmentation"]["counts"] = change(one["segmentation"]["counts"])
        assert figures(*put(tmp_path, truth, changed), kind) == expected
    for one in changed:
        x, y, w, h = one["bbox"]
        one["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    of_boxes = [{**one, "segmentation": {"size": [40, 60], "counts": rle.encode(box_mask(one["bbox"]))}} for one in results]
    assert figures(*put(tmp_path, truth, changed), kind) == figures(*put(tmp_path, truth, of_boxes), kind)


def box_mask(box: list[int]) -> np.ndarray:
    mask = np.zeros((40, 60), bool)
    mask[box[1] : box[1] + box[3], box[0] : box[0] + box[2]] = True
    return mask
