"""Matching: COCO's rule as it reads in plain Python, IoU of runs as that of pixels, and all twelve figures as COCO's own code has
them, to the last digit."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from measures.test_instances import ORACLE, draw, put

from perpixel.datasets.coco_annotations import read_annotations
from perpixel.masks import rle, runs
from perpixel.measures import matching
from perpixel.measures.instances import Ranking, read_results
from perpixel.measures.matching import AREAS, FALSE, HIT, IGNORED, IOUS, Entries, Shapes, by_boxes, by_masks, match

# pycocotools has not followed NumPy 2 in its __array__.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
pairs = hnp.array_shapes(min_dims=2, max_dims=2, max_side=20).flatmap(
    lambda shape: st.tuples(hnp.arrays(bool, shape), hnp.arrays(bool, shape))
)


@given(pairs, st.booleans())
def test_iou_of_runs_is_that_of_pixels(pair: tuple[np.ndarray, np.ndarray], crowd: bool) -> None:
    result, one = (by_masks(runs.joined([np.array(rle.runs(mask))]), np.array([len(mask)])) for mask in pair)
    shared, union = np.logical_and(*pair).sum(), pair[0].sum() if crowd else np.logical_or(*pair).sum()
    near = [*matching._near(single(one, float(crowd)), single(result, 1.0), np.zeros(1), np.zeros(1))]
    assert [ious.tolist() for _, _, ious in near] == [[shared / union] if 2 * shared >= union > 0 else []]


def single(shapes: Shapes, last: float) -> Entries:
    return Entries(np.zeros(1, np.int64), np.zeros(1, np.int64), shapes.areas, shapes, np.array([last]))


@settings(max_examples=100)
@given(
    st.integers(0, 12), st.integers(0, 24), st.integers(0), st.sampled_from(["box", "large box", "mask"]),
    st.sampled_from([1, 5, matching.AT_ONCE]),
)  # fmt: skip
def test_outcomes_are_those_of_the_rule_in_plain_python(
    num_objects: int, num_results: int, seed: int, kind: str, at_once: int
) -> None:
    """Crowds, equal scores, equal IoUs, cells without objects or results, areas on the borders; in one part, or in many."""
    rng = np.random.default_rng(seed)
    scale = 3 if kind == "large box" else 1
    num_pictures = int(rng.integers(1, 4))

    def drawn(count: int, *lasts: list[Any]) -> list[Any]:
        """Category and picture, left, top, width and height, and of the other lists an item each."""
        return [
            ((int(rng.integers(2)), int(rng.integers(num_pictures))), (*(scale * rng.choice([0, 4, 8], 2)).tolist(),
             *(scale * rng.choice([0, 24, 28, 32, 32, 36], 2)).tolist()), *(last[int(rng.integers(len(last)))] for last in lasts))
            for _ in range(count)
        ]  # fmt: skip

    objects = drawn(num_objects, [500.0, 1024.0, 1024.5, 9216.0, 9216.5, 1e11], [False, False, False, True])
    results = drawn(num_results, [0.2, 0.5, 0.9])

    def entries_of(ones: list[Any], own_areas: list[float], last: list[float]) -> Entries:
        sides = np.array([box for _, box, *_ in ones], np.float64).reshape(-1, 4)
        of_cells = np.array([cell for cell, *_ in ones], np.int64).reshape(-1, 2)
        shapes = rectangles(sides.astype(int)) if kind == "mask" else by_boxes(sides)
        return Entries(of_cells[:, 1], of_cells[:, 0], np.array(own_areas, np.float64), shapes, np.array(last, np.float64))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(matching, "AT_ONCE", at_once)
        matches = match(
            entries_of(objects, [area for _, _, area, _ in objects], [crowd for *_, crowd in objects]),
            entries_of(results, [box[2] * box[3] for _, box, _ in results], [score for *_, score in results]),
            3,
        )
    ranked = sorted(results, key=lambda one: (one[0], -one[2]))
    assert [*zip(matches.categories.tolist(), matches.pictures.tolist(), strict=True)] == [cell for cell, *_ in ranked]
    assert matches.scores.tolist() == [score for *_, score in ranked]
    true_cells = sorted({cell for cell, *_ in objects})
    assert [*zip(matches.cell_categories.tolist(), matches.cell_pictures.tolist(), strict=True)] == true_cells
    for place, (least, most) in enumerate(AREAS.tolist()):
        counted = {cell: sum(one[0] == cell and not one[3] and least <= one[2] <= most for one in objects) for cell in true_cells}
        assert matches.objects[place].tolist() == [counted[cell] for cell in true_cells]
        for level, threshold in enumerate(IOUS.tolist()):
            expected = []
            for cell in sorted({cell for cell, *_ in results}):
                mine, others = ([one for one in ones if one[0] == cell] for ones in (objects, ranked))
                expected += outcomes_of_cell(mine, others, threshold, least, most)
            assert matches.outcomes[place, level].tolist() == expected


def outcomes_of_cell(objects: list[Any], results: list[Any], threshold: float, least: float, most: float) -> list[int]:
    """Of results in order of their scores. An object or result of another area than `least` to `most` does not count."""
    uncounted = [crowd or not least <= area <= most for _, _, area, crowd in objects]
    order = [place for place, left in enumerate(uncounted) if not left] + [place for place, left in enumerate(uncounted) if left]
    taken, outcomes = set(), []
    for _, box, _ in results:
        best, least_iou = None, min(threshold, 1 - 1e-10)
        for place in order:
            _, other, _, crowd = objects[place]
            if place in taken and not crowd:
                continue
            if best is not None and not uncounted[best] and uncounted[place]:
                break
            if iou(box, other, crowd) >= least_iou:
                best, least_iou = place, iou(box, other, crowd)
        if best is None:
            outcomes.append(FALSE if least <= box[2] * box[3] <= most else IGNORED)
        else:
            taken.add(best)
            outcomes.append(IGNORED if uncounted[best] else HIT)
    return outcomes


def iou(box: tuple[int, ...], other: tuple[int, ...], crowd: bool) -> float:
    wide, high = (max(0, min(box[i] + box[i + 2], other[i] + other[i + 2]) - max(box[i], other[i])) for i in range(2))
    shared, area = wide * high, box[2] * box[3]
    return shared / (area if crowd else area + other[2] * other[3] - shared) if shared else 0.0


def rectangles(sides: np.ndarray) -> Shapes:
    """As masks in pictures of 48 x 48."""
    masks = np.zeros((len(sides), 48, 48), bool)
    for mask, (x, y, w, h) in zip(masks, sides.tolist(), strict=True):
        mask[y : y + h, x : x + w] = True
    return by_masks(runs.joined([np.array(rle.runs(mask)) for mask in masks]), np.full(len(masks), 48))


def entries(boxes: list[list[float]], last: list[float]) -> Entries:
    sides = np.array(boxes, np.float64).reshape(-1, 4)
    zeros = np.zeros(len(sides), np.int64)
    return Entries(zeros, zeros, sides[:, 2] * sides[:, 3], by_boxes(sides), np.array(last, np.float64))


def test_boxes_whose_area_is_0_in_64_bits_match_as_in_cocos_code() -> None:
    """Its quotient 0 / 0 is below no IoU; a box without a width meets nothing."""
    for width, outcome in ((1e-200, HIT), (0, FALSE)):
        box = [0, 0, width, 1e-200]
        assert (match(entries([box], [0]), entries([box], [0.5]), 1).outcomes[:2] == outcome).all()


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
    return np.nan_to_num([*Ranking(read, read_results(results, read), kind).figures.values()], nan=-1).tolist()


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
