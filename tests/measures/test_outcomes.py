"""Weighted AP and AR: as sums along a ranking in plain Python, and what weights must mean."""

from bisect import bisect_left
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from measures.test_instances import draw, put

from perpixel.datasets.coco_annotations import read_annotations
from perpixel.judging.evaluate import evaluate
from perpixel.measures.instances import AveragePrecision, Ranking, read_results
from perpixel.measures.matching import AREAS, FALSE, HIT, IGNORED, IOUS, Matches
from perpixel.measures.outcomes import RECALLS, Outcomes

PICTURES, CATEGORIES = 3, 3


def ranking_of(root: Path, truth: Any, results: Any) -> Ranking:
    annotations, written = put(root, truth, results)
    read = read_annotations(annotations)
    return Ranking(read, read_results(written, read), "box")


def figures_of_weights(*rankings: Ranking) -> Callable[[Any], dict[str, float]]:
    """The figures where the pictures count so often with the results of the first ranking, so often with those of the second."""
    figures = AveragePrecision("box").figures(*rankings)
    return lambda weights: {name: float(values[0]) for name, values in figures(np.asarray(weights)[None]).overall.items()}


def tied(seed: int, pictures: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Results of which many have equal scores."""
    truth, results = draw(seed, pictures)
    return truth, [{**one, "score": round(4 * one["score"]) / 4} for one in results]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.integers(0, 50), st.integers(1, 6), st.integers(2, 5), st.data())
def test_weights_count_pictures(tmp_path: Path, seed: int, pictures: int, times: int, data: st.DataObject) -> None:
    """All as often is as once, and what counts never is as if it were not there, in whatever order equal scores come."""
    truth, results = tied(seed, pictures)
    ranking = ranking_of(tmp_path, truth, results)
    figures_of = figures_of_weights(ranking)
    once = figures_of(np.ones(pictures, int))
    assert once == pytest.approx(ranking.figures, nan_ok=True, rel=0, abs=1e-12)
    weights = np.array(data.draw(st.lists(st.integers(0, 1), min_size=pictures, max_size=pictures)))
    assert figures_of(times * weights) == pytest.approx(figures_of(weights), nan_ok=True, rel=0, abs=1e-12)
    if weights.any():
        kept = {place + 1 for place in np.flatnonzero(weights).tolist()}
        part = {name: [one for one in truth[name] if one.get("image_id", one["id"]) in kept]
                for name in ("images", "annotations")}  # fmt: skip
        fewer = ranking_of(tmp_path, {**truth, **part}, [one for one in results if one["image_id"] in kept])
        assert figures_of(weights) == pytest.approx(fewer.figures, nan_ok=True, rel=0, abs=1e-12)


def test_two_lists_of_results_side_by_side(tmp_path: Path) -> None:
    """Whose results count in a picture is whose weight is 1; the truth of that picture counts once."""
    truth, results = tied(3, 6)
    others = [{**one, "score": 1 - one["score"]} for one in results]
    first, second = (ranking_of(tmp_path, truth, ones) for ones in (results, others))
    figures_of = figures_of_weights(first, second)
    turned = np.array([0, 1, 1, 0, 1, 0])
    mixed = [one for place, whose in enumerate(turned) for one in (others if whose else results) if one["image_id"] == place + 1]
    expected = ranking_of(tmp_path, truth, mixed).figures
    assert figures_of(np.concatenate([1 - turned, turned])) == pytest.approx(expected, nan_ok=True, rel=0, abs=1e-12)


def test_by_hand(tmp_path: Path) -> None:
    """One object in each of two pictures, found at 0.9 and 0.3, and something that is none at 0.6 in the second."""
    truth = {"images": [{"id": i, "file_name": f"{i}.png", "height": 50, "width": 50} for i in (1, 2)],
             "categories": [{"id": 1, "name": "a"}],
             "annotations": [{"id": i, "image_id": i, "category_id": 1, "iscrowd": 0, "bbox": [5, 5, 20, 20], "area": 400,
                              "segmentation": [[5, 5, 25, 5, 25, 25, 5, 25]]} for i in (1, 2)]}  # fmt: skip
    results = [{"image_id": i, "category_id": 1, "bbox": box, "score": score}
               for i, box, score in ((1, [5, 5, 20, 20], 0.9), (2, [30, 30, 9, 9], 0.6), (2, [5, 5, 20, 20], 0.3))]  # fmt: skip
    figures_of = figures_of_weights(ranking_of(tmp_path, truth, results))
    # Ranked hit, false, hit: precision 1 to recall 1/2 (51 of 101 points), 2/3 beyond; with one result a picture, recall 1/2.
    assert (figures_of(np.array([1, 1]))["AP"], figures_of(np.array([1, 1]))["AR_1"]) == pytest.approx(
        ((51 + 50 * 2 / 3) / 101, 1 / 2)
    )
    # The first picture three times: recall 3/4 at precision 1 (76 points), then 4/5 (25 points).
    assert (figures_of(np.array([3, 1]))["AP"], figures_of(np.array([3, 1]))["AR_1"]) == pytest.approx(
        ((76 + 25 * 4 / 5) / 101, 3 / 4)
    )
    assert figures_of(np.array([0, 2]))["AP"] == pytest.approx(1 / 2)
    assert np.isnan(figures_of(np.array([0, 0]))["AP"])
    assert np.isnan(figures_of(np.array([1, 1]))["AP_large"])


def test_nothing_found(tmp_path: Path) -> None:
    annotations, results = put(tmp_path, draw(2)[0], [])
    scores = evaluate(results, annotations, AveragePrecision("box"), bootstrap=3)
    assert scores.intervals is not None
    interval = scores.intervals.figures["AP"]
    assert (scores.figures["AP"], interval.low, interval.high) == (0, 0, 0)


def drawn(rng: np.random.Generator, results: int) -> Matches:
    """Outcomes by chance, for many equal scores. The first category has objects that no result takes, the second has none of them
    and no large objects, and the third no results."""
    cells = np.sort(rng.integers(0, 2 * PICTURES, results))
    categories, pictures = cells // PICTURES, cells % PICTURES
    scores = rng.choice([0.2, 0.5, 0.9], results)
    outcomes = rng.choice([IGNORED, HIT, HIT, FALSE], (len(AREAS), len(IOUS), results)).astype(np.uint8)
    outcomes[-1][:, categories == 1] = FALSE
    places = np.arange(results) - np.searchsorted(cells, cells)
    of_cells = np.arange(CATEGORIES * PICTURES)
    objects = np.array([(outcomes[:, :, cells == cell] == HIT).sum(2).max(1) for cell in of_cells]).T
    objects[:, of_cells // PICTURES != 1] += rng.integers(0, 3, (len(AREAS), 2 * PICTURES))
    ranked = scores[np.lexsort((-scores, cells))]
    return Matches(outcomes, categories, pictures, places, ranked, objects, of_cells // PICTURES, of_cells % PICTURES)


def plain_curve(lists: list[Matches], weights: np.ndarray, category: int, area: int, iou: int) -> list[Any] | None:
    """Precision at the points of recall, and the recall of all results, of the first and of the first ten of a picture; none
    without objects."""
    wanted, ranking = 0, []
    for number, one in enumerate(lists):
        of_list = weights[number * PICTURES : (number + 1) * PICTURES].tolist()
        for its, picture, count in zip(one.cell_categories, one.cell_pictures, one.objects[area], strict=True):
            wanted += int(its == category) * of_list[picture] * int(count)
        for its, picture, place, score, outcome in zip(
            one.categories, one.pictures, one.places, one.scores, one.outcomes[area, iou], strict=True
        ):
            ranking += [(-score, picture, place, int(outcome))] * of_list[picture] * int(its == category)
    if not wanted:
        return None
    precisions, recalls, true, false, early = [], [], 0, 0, {1: 0, 10: 0}
    for _, _, place, outcome in sorted(ranking, key=lambda one: one[:3]):
        true, false = true + (outcome == HIT), false + (outcome == FALSE)
        for most in early:
            early[most] += bool(outcome == HIT and place < most)
        precisions.append(true / max(true + false, 1))
        recalls.append(true / wanted)
    at_recalls = [max(precisions[bisect_left(recalls, recall) :], default=0) for recall in RECALLS.tolist()]
    return [at_recalls, true / wanted, early[1] / wanted, early[10] / wanted]


@settings(max_examples=20)
@given(st.integers(0, 80), st.integers(1, 2), st.integers(0))
def test_figures_are_those_of_plain_sums_along_the_ranking(results: int, num_lists: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    lists = [drawn(rng, results) for _ in range(num_lists)]
    weights = rng.integers(0, 4, num_lists * PICTURES)
    kinds = [(0, range(10)), (0, [0]), (0, [5]), (1, range(10)), (2, range(10)), (3, range(10))]
    expected = []
    for what, asked in ((0, kinds), (2, kinds[:1]), (3, kinds[:1]), (1, [kinds[0], *kinds[3:]])):
        for area, ious in asked:
            curves = (plain_curve(lists, weights, category, area, iou) for category in range(CATEGORIES) for iou in ious)
            values = [np.mean(curve[what]) for curve in curves if curve is not None]
            expected.append(np.mean(values) if values else np.nan)
    outcomes = Outcomes(lists, PICTURES, CATEGORIES)
    assert outcomes.figures(weights) == pytest.approx(expected, nan_ok=True, rel=0, abs=1e-12)


def test_a_sample_with_every_picture_once_has_the_official_figures() -> None:
    outcomes = Outcomes([drawn(np.random.default_rng(1), 60)], PICTURES, CATEGORIES)
    figures, by_category = outcomes.official()
    assert outcomes.figures(np.ones(PICTURES, int)) == figures
    assert np.mean(by_category) == pytest.approx(figures[0])


def test_pictures_count_whole_times() -> None:
    outcomes = Outcomes([drawn(np.random.default_rng(0), 9)], PICTURES, CATEGORIES)
    with pytest.raises(TypeError):
        outcomes.figures(np.full(PICTURES, 0.5))
