"""Panoptic quality by numbers that can be worked out by hand."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from fakes import make_coco
from hypothesis import given
from hypothesis import strategies as st
from places import SHARED

from perpixel.cli import main
from perpixel.datasets.coco import panoptic_ids
from perpixel.datasets.coco_annotations import Segment, read_panoptic
from perpixel.errors import DataError
from perpixel.measures.panoptic import Quality, QualityCounts, mean_quality

REAL = SHARED / "coco/annotations"


def quality(truth: list[list[int]], true: list[Segment], found: list[list[int]], segments: list[Segment]) -> dict[int, Quality]:
    counts = QualityCounts()
    counts.add(np.array(truth), true, np.array(found), segments)
    return counts.quality()


def test_one_match_of_three_quarters() -> None:
    """Four true pixels, three of them found: IoU 3 / 4."""
    found = quality([[1, 1, 1, 1, 2]], [Segment(1, 7, False), Segment(2, 8, False)],
                    [[5, 5, 5, 6, 6]], [Segment(5, 7, False), Segment(6, 8, False)])  # fmt: skip
    assert found[7] == Quality(0.75, 0.75, 1.0, 1, 0, 0)
    assert found[8].rq == 0  # IoU 1 / 2 is no match: one wrong, one missed
    assert (found[8].wrong, found[8].missed) == (1, 1)
    assert mean_quality(found.values()) == (0.375, 0.375, 0.5)


def test_two_matches_and_one_wrong() -> None:
    """RQ = 2 / (2 + 1 / 2), SQ = (1 + 2 / 3) / 2."""
    found = quality([[1, 1, 2, 2, 2, 3]], [Segment(1, 7, False), Segment(2, 7, False), Segment(3, 9, False)],
                    [[1, 1, 2, 2, 4, 4]], [Segment(1, 7, False), Segment(2, 7, False), Segment(4, 7, False)])  # fmt: skip
    assert found[7].rq == pytest.approx(2 / 2.5)
    assert found[7].sq == pytest.approx((1 + 2 / 3) / 2)
    assert found[7].pq == pytest.approx((1 + 2 / 3) / 2.5)
    assert found[9] == Quality(0.0, pytest.approx(float("nan"), nan_ok=True), 0.0, 0, 0, 1)


def test_void_leaves_the_union() -> None:
    """The found segment has two pixels on void: IoU is 2 / 2, not 2 / 4."""
    assert quality([[1, 1, 0, 0]], [Segment(1, 7, False)], [[1, 1, 1, 1]], [Segment(1, 7, False)])[7].pq == 1


def test_a_segment_on_void_and_a_crowd_is_neither_right_nor_wrong() -> None:
    truth = [Segment(1, 7, True), Segment(2, 8, False)]
    assert quality([[1, 1, 0, 2]], truth, [[3, 3, 3, 4]], [Segment(3, 7, False), Segment(4, 8, False)]) == {
        8: Quality(1.0, 1.0, 1.0, 1, 0, 0)}  # fmt: skip
    wrong = quality([[1, 1, 0, 2]], truth, [[3, 3, 3, 4]], [Segment(3, 9, False), Segment(4, 8, False)])
    assert (wrong[9].wrong, wrong[9].pq) == (1, 0)  # a crowd of another category


def test_half_on_void_still_counts() -> None:
    assert quality([[0, 1]], [Segment(1, 7, False)], [[2, 2]], [Segment(2, 9, False)])[9].wrong == 1


@given(st.lists(st.lists(st.integers(0, 4), min_size=6, max_size=6), min_size=2, max_size=5))
def test_truth_itself_is_perfect(rows: list[list[int]]) -> None:
    ids = np.array(rows)
    segments = [Segment(int(id), int(id) % 2, False) for id in np.unique(ids) if id]
    for one in quality(rows, segments, rows, segments).values():
        assert (one.pq, one.wrong, one.missed) == (1, 0, 0)


def test_what_does_not_fit_is_told() -> None:
    with pytest.raises(DataError, match="true map shows segment 1, which is not listed"):
        quality([[1]], [], [[0]], [])
    with pytest.raises(DataError, match="found map does not show segment 2, which is listed"):
        quality([[0]], [], [[0]], [Segment(2, 7, False)])
    with pytest.raises(DataError, match="make them equal"):
        quality([[0]], [], [[0, 0]], [])


@given(st.integers(0, 2**32), st.lists(st.integers(0, 3), min_size=4, max_size=4))
def test_vectors_add_up_to_the_counts_of_all_pictures(seed: int, weights: list[int]) -> None:
    rng, every, total = np.random.default_rng(seed), QualityCounts(), np.zeros(12)
    for weight in weights:
        truth, found = rng.integers(0, 4, (2, 3, 8)) // rng.integers(1, 3, (2, 1, 1))
        segments = [[Segment(id, int(rng.integers(7, 10)), bool(rng.random() < 0.2)) for id in np.unique(ids[ids > 0]).tolist()]
                    for ids in (truth, found)]  # fmt: skip
        one = QualityCounts()
        one.add(truth, segments[0], found, segments[1])
        total += weight * one.vector([7, 8, 9])
        for _ in range(weight):
            every.add(truth, segments[0], found, segments[1])
    names = {7: "a", 8: "b", 9: "c"}
    summed, wanted = QualityCounts.of(total, [7, 8, 9]).quality(names), every.quality(names)
    assert {name: vars(one) for name, one in summed.items()} == {
        name: pytest.approx(vars(one), nan_ok=True) for name, one in wanted.items()
    }


def test_the_command_on_maps_of_coco(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = make_coco(tmp_path) / "annotations/panoptic_val2017.json"
    results = tmp_path / "mine.json"
    results.write_text(json.dumps({"annotations": json.loads(truth.read_text())["annotations"]}))
    shutil.copytree(truth.with_suffix(""), results.with_suffix(""))
    command = ["evaluate", str(results), "--data", str(truth), "--panoptic"]
    main([*command, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["figures"] == {"PQ": 1, "SQ": 1, "RQ": 1}
    assert found["protocol"]["pictures"] == 4
    assert "bootstrap" not in found
    main([*command, "--bootstrap", "20", "--json"])
    assert json.loads(capsys.readouterr().out)["bootstrap"]["figures"]["PQ"]["low"] == 1
    main([*command, "--bootstrap", "20"])
    out = capsys.readouterr().out
    assert "PQ 100.0, SQ 100.0, RQ 100.0; 4 pictures" in out
    assert "95 % intervals, 20 halves of 4 pictures, seed 0:" in out
    bad = sorted(results.with_suffix("").iterdir())[0]
    bad.write_bytes(bad.read_bytes()[:50])  # one damaged map never stops the others
    with pytest.raises(SystemExit) as left:
        main([*command, "--json"])
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert (left.value.code, found["figures"]["PQ"], found["protocol"]["pictures"]) == (3, 1, 3)
    assert len(found["protocol"]["left_out"]) == 1
    assert f"{bad}: cannot be read" in told.err
    assert "1 of 4 pictures cannot be judged" in told.err
    results.write_text(json.dumps({"annotations": []}))
    with pytest.raises(SystemExit) as left:
        main(command)
    assert left.value.code == 3
    assert "has no result for 4 pictures" in capsys.readouterr().err


def test_real_maps_against_themselves_and_turned() -> None:
    if not REAL.is_dir():
        pytest.skip("the annotations of COCO are not at ../shared/data.")
    panoptic = read_panoptic(REAL / "panoptic_train2017.json")
    same, turned = QualityCounts(), QualityCounts()
    for name, segments in [*panoptic.maps.values()][:10]:
        ids = panoptic_ids(REAL / "panoptic_train2017" / name)
        same.add(ids, segments, ids, segments)
        turned.add(ids, segments, ids[:, ::-1], segments)
    assert mean_quality(same.quality(panoptic.categories).values()) == (1, 1, 1)
    assert mean_quality(turned.quality(panoptic.categories).values())[0] < 0.6
