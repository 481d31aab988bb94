"""AP and AR are those of COCO's own code: the published figures, and pycocotools on drawn objects; what is wrong is told."""

import contextlib
import copy
import io
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import make_coco
from hypothesis import given, settings
from hypothesis import strategies as st
from places import SHARED

from perpixel.classes import ClassTable
from perpixel.cli import main
from perpixel.datasets.coco_annotations import read_annotations
from perpixel.errors import DataError, UnknownName, UsageError
from perpixel.judging.evaluate import evaluate
from perpixel.judging.intervals import Samples
from perpixel.masks import rle
from perpixel.measures import instances as module
from perpixel.measures.instances import FIGURES, AveragePrecision, Ranking, Result, read_results, results_of, truth_of
from perpixel.sample import Instances

# pycocotools has not followed NumPy 2 in its __array__.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
ORACLE = SHARED / "oracles/coco_average_precision"


def draw(seed: int, pictures: int = 4, height: int = 40, width: int = 60) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Rectangles of two categories, some crowds, and results that are near them, or nowhere."""
    rng = np.random.default_rng(seed)
    truth: dict[str, Any] = {"images": [], "annotations": [], "categories": [{"id": 3, "name": "a"}, {"id": 7, "name": "b"}]}
    results = []
    for picture in range(1, pictures + 1):
        truth["images"].append({"id": picture, "file_name": f"{picture}.png", "height": height, "width": width})
        for _ in range(int(rng.integers(0, 5))):
            top, left = int(rng.integers(0, 25)), int(rng.integers(0, 40))
            high, wide = int(rng.integers(3, 15)), int(rng.integers(3, 20))
            mask = np.zeros((height, width), bool)
            mask[top : top + high, left : left + wide] = True
            category = int(rng.choice([3, 7]))
            crowd = int(rng.random() < 0.2)
            truth["annotations"].append({
                "id": len(truth["annotations"]) + 1, "image_id": picture, "category_id": category, "iscrowd": crowd,
                "segmentation": {"size": [height, width], "counts": rle.runs(mask) if crowd else rle.encode(mask)},
                "bbox": [left, top, wide, high], "area": int(mask.sum()),
            })  # fmt: skip
            moved = np.roll(mask, tuple(rng.integers(-2, 3, 2)), (0, 1))
            rows, columns = np.flatnonzero(moved.any(1)), np.flatnonzero(moved.any(0))
            box = [int(columns[0]), int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1]
            for found in (category, int(rng.choice([3, 7]))):
                results.append({
                    "image_id": picture, "category_id": found, "score": float(rng.random()), "bbox": box,
                    "segmentation": {"size": [height, width], "counts": rle.encode(moved)},
                })  # fmt: skip
    return truth, results


def put(root: Path, truth: Any, results: Any) -> tuple[Path, Path]:
    paths = root / "truth.json", root / "results.json"
    for path, content in zip(paths, (truth, results), strict=True):
        path.write_text(json.dumps(content))
    return paths


def judged(root: Path, truth: Any, results: Any, kind: str = "mask", **how: Any) -> dict[str, float]:
    first, second = put(root, truth, results)
    read = read_annotations(first)
    return Ranking(read, read_results(second, read), kind, **how).figures


@pytest.mark.parametrize("kind", ["mask", "box"])
def test_the_published_figures(kind: str) -> None:
    if not ORACLE.is_dir():
        pytest.skip("the oracle of COCO's code is not at ../shared/data.")
    truth = read_annotations(ORACLE / "ground_truth.json")
    found = Ranking(truth, read_results(ORACLE / f"{kind}_results.json", truth), kind).figures
    expected = json.loads((ORACLE / "expected.json").read_text())[kind]
    assert {name: round(value, 3) for name, value in found.items()} == expected


@pytest.mark.parametrize("kind", ["mask", "box"])
@pytest.mark.parametrize("seed", range(6))
def test_pycocotools_gives_the_same(tmp_path: Path, seed: int, kind: str) -> None:
    coco, evaluation = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")
    truth, results = draw(seed)
    kept = "segmentation" if kind == "mask" else "bbox"
    results = [{key: value for key, value in one.items() if key in ("image_id", "category_id", "score", kept)} for one in results]
    first, second = put(tmp_path, truth, results)
    with contextlib.redirect_stdout(io.StringIO()):
        loaded = coco.COCO(str(first))
        oracle = evaluation.COCOeval(loaded, loaded.loadRes(str(second)), {"mask": "segm", "box": "bbox"}[kind])
        oracle.evaluate()
        oracle.accumulate()
        oracle.summarize()
    found = judged(tmp_path, truth, results, kind)
    assert [-1 if math.isnan(value) else value for value in found.values()] == pytest.approx(oracle.stats.tolist(), abs=1e-9)


def many(seed: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Three hundred results in each of two pictures, as proposals are: near an object or nowhere, many with equal scores."""
    truth, near = draw(seed, pictures=2)
    rng = np.random.default_rng(seed)
    results = []
    for picture in (1, 2):
        for place in range(300):
            high, wide = (int(side) for side in rng.integers(3, 20, 2))
            top, left = int(rng.integers(0, 40 - high)), int(rng.integers(0, 60 - wide))
            mask = np.zeros((40, 60), bool)
            mask[top : top + high, left : left + wide] = True
            results.append({
                "image_id": picture, "category_id": 3 + 4 * (place % 2), "score": float(rng.integers(0, 20) / 20),
                "bbox": [left, top, wide, high], "segmentation": {"size": [40, 60], "counts": rle.encode(mask)},
            })  # fmt: skip
    return truth, [*results, *({**one, "score": 0.0} for one in near)]


@pytest.mark.parametrize("kind", ["mask", "box"])
@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("most", [100, 200, 1000])
@pytest.mark.parametrize("seed", range(3))
def test_pycocotools_gives_the_same_of_any_number_of_results_and_without_categories(
    tmp_path: Path, seed: int, most: int, agnostic: bool, kind: str
) -> None:
    """useCats and maxDets of COCOeval. Its summary knows 100 results alone, so its curves are read as it reads them."""
    coco, evaluation = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")
    truth, results = many(seed)
    kept = "segmentation" if kind == "mask" else "bbox"
    results = [{key: value for key, value in one.items() if key in ("image_id", "category_id", "score", kept)} for one in results]
    first, second = put(tmp_path, truth, results)
    with contextlib.redirect_stdout(io.StringIO()):
        loaded = coco.COCO(str(first))
        oracle = evaluation.COCOeval(loaded, loaded.loadRes(str(second)), {"mask": "segm", "box": "bbox"}[kind])
        oracle.params.useCats, oracle.params.maxDets = int(not agnostic), [1, 10, most]
        oracle.evaluate()
        oracle.accumulate()
    precision, recall = oracle.eval["precision"], oracle.eval["recall"]  # -1 where there are no objects

    def mean(values: np.ndarray) -> float:
        return float(values[values > -1].mean()) if (values > -1).any() else math.nan

    expected = {
        "AP": mean(precision[..., 0, -1]), "AP50": mean(precision[0, ..., 0, -1]), "AP75": mean(precision[5, ..., 0, -1]),
        **{f"AP_{size}": mean(precision[..., place, -1]) for place, size in enumerate(("small", "medium", "large"), start=1)},
        **{f"AR_{number}": mean(recall[:, :, 0, place]) for place, number in enumerate((1, 10, most))},
        **{f"AR_{size}": mean(recall[:, :, place, -1]) for place, size in enumerate(("small", "medium", "large"), start=1)},
    }  # fmt: skip
    found = judged(tmp_path, truth, results, kind, agnostic=agnostic, most=most)
    assert list(found) == list(expected)
    assert found == pytest.approx(expected, abs=1e-9, nan_ok=True)
    if most == 1000:
        assert found["AR_1000"] > judged(tmp_path, truth, results, kind, agnostic=agnostic)["AR_100"]


def test_by_hand_a_class_that_is_wrong_counts_only_where_classes_do(tmp_path: Path) -> None:
    truth, _ = draw(1, pictures=1)
    mask = np.zeros((40, 60), bool)
    mask[5:15, 5:25] = True
    entry = {"image_id": 1, "category_id": 3, "iscrowd": 0, "bbox": [5, 5, 20, 10], "area": 200,
             "segmentation": {"size": [40, 60], "counts": rle.encode(mask)}}  # fmt: skip
    truth["annotations"] = [{**entry, "id": 1}]
    found = [{**entry, "category_id": 7, "score": 0.5}]
    assert judged(tmp_path, truth, found)["AR_100"] == 0
    assert judged(tmp_path, truth, found, agnostic=True)["AR_100"] == 1
    nowhere = {**found[0], "score": 0.9, "bbox": [40, 20, 9, 9]}
    nowhere["segmentation"] = {"size": [40, 60], "counts": rle.encode(np.roll(mask, 30, 1))}
    late = [*[nowhere] * 120, *found]  # at place 121
    assert judged(tmp_path, truth, late, agnostic=True)["AR_100"] == 0
    assert judged(tmp_path, truth, late, agnostic=True, most=1000)["AR_1000"] == 1


def test_what_is_not_cocos_own_way_stands_in_the_protocol() -> None:
    plain, proposals = AveragePrecision(), AveragePrecision("mask", agnostic=True, most=1000)
    assert plain.protocol() == {"instances": {"kind": "mask", **AveragePrecision.rules}}
    more = {"agnostic": "all categories are one", "most": "1000 objects a picture, in place of 100"}
    assert proposals.protocol() == {"instances": {"kind": "mask", **more, **AveragePrecision.rules}}


def test_fewer_than_eleven_results_are_refused() -> None:
    with pytest.raises(UsageError, match="most = 10: must be 11 or more"):
        AveragePrecision("mask", most=10)


@pytest.mark.parametrize(("height", "width"), [(40, 60), (45, 60)])
@pytest.mark.parametrize("seed", range(3))
def test_boundary_ap_is_that_of_bands_that_opencv_cuts(tmp_path: Path, seed: int, height: int, width: int) -> None:
    """pycocotools with the lower IoU of masks and bands, as the authors' code has it; 45 x 60 has a d of 1.5, which is 2."""
    cv2 = pytest.importorskip("cv2")
    coco, evaluation = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")
    native = pytest.importorskip("pycocotools.mask")

    def band(entry: dict[str, Any]) -> dict[str, Any]:
        mask = native.decode(entry["rle"] if "rle" in entry else entry["segmentation"])
        thin = cv2.erode(np.pad(mask, 1), np.ones((3, 3), np.uint8), iterations=max(1, round(0.02 * math.hypot(height, width))))
        return native.encode(np.asfortranarray(mask - thin[1:-1, 1:-1]))

    class Boundary(evaluation.COCOeval):
        def computeIoU(self, imgId: int, catId: int) -> Any:
            masks = super().computeIoU(imgId, catId)
            true, seen = self._gts[imgId, catId], self._dts[imgId, catId]
            if not len(masks):
                return masks
            seen = sorted(seen, key=lambda one: -one["score"])[: self.params.maxDets[-1]]
            crowd = [one["iscrowd"] for one in true]
            bands = native.iou([band(one) for one in seen], [band(one) for one in true], crowd)
            return np.where(np.array(crowd, bool), masks, np.minimum(masks, bands))

    truth, results = draw(seed, height=height, width=width)
    results = [{key: value for key, value in one.items() if key != "bbox"} for one in results]
    for one in truth["annotations"]:  # pycocotools decodes no plain runs
        one["segmentation"]["counts"] = rle.compress(rle.read_runs(one["segmentation"]["counts"], height, width))
    first, second = put(tmp_path, truth, results)
    with contextlib.redirect_stdout(io.StringIO()):
        loaded = coco.COCO(str(first))
        oracle = Boundary(loaded, loaded.loadRes(str(second)), "segm")
        oracle.evaluate()
        oracle.accumulate()
        oracle.summarize()
    found = judged(tmp_path, truth, results, "boundary")
    assert [-1 if math.isnan(value) else value for value in found.values()] == pytest.approx(oracle.stats.tolist(), abs=1e-9)
    assert found["AP"] < judged(tmp_path, truth, results, "mask")["AP"]


def test_by_hand_one_object_found_and_one_not(tmp_path: Path) -> None:
    """Recall 1/2 at precision 1: 51 of 101 points of recall, at every threshold."""
    truth, _ = draw(1, pictures=1)
    mask = np.zeros((40, 60), bool)
    mask[5:15, 5:25] = True
    entry = {"image_id": 1, "category_id": 3, "iscrowd": 0, "bbox": [5, 5, 20, 10], "area": 200,
             "segmentation": {"size": [40, 60], "counts": rle.encode(mask)}}  # fmt: skip
    other = {**entry, "id": 2, "segmentation": {"size": [40, 60], "counts": rle.encode(np.roll(mask, 30, 1))}}
    truth["annotations"] = [{**entry, "id": 1}, other]
    found = judged(tmp_path, truth, [{**entry, "score": 0.5}])
    assert found["AP"] == found["AP50"] == pytest.approx(51 / 101)
    assert found["AR_100"] == 0.5
    assert math.isnan(found["AP_large"])


def test_boundary_ap_is_at_most_that_of_masks_and_one_where_all_is_right(tmp_path: Path) -> None:
    truth, results = draw(3)
    assert judged(tmp_path, truth, results, "boundary")["AP"] <= judged(tmp_path, truth, results)["AP"] + 1e-9
    plain = [one for one in truth["annotations"] if not one["iscrowd"]]
    right = [{**{key: one[key] for key in ("image_id", "category_id", "segmentation")}, "score": 1.0} for one in plain]
    assert judged(tmp_path, truth, right, "boundary")["AP"] == 1


@pytest.mark.parametrize("kind", ["mask", "box", "boundary"])
def test_values_in_memory_are_judged_as_files_are(tmp_path: Path, kind: str) -> None:
    truth, results = draw(4)
    for one in results:  # as instances keep them
        one["score"] = float(np.float32(one["score"]))
    classes, places = ClassTable.of(("a", "b")), {3: 0, 7: 1}

    def instances(entries: list[dict[str, Any]], picture: int) -> Instances:
        mine = [one for one in entries if one["image_id"] == picture]
        masks = [rle.decode(one["segmentation"]["counts"], 40, 60) for one in mine]
        return Instances(
            np.array(masks, bool).reshape(-1, 40, 60), np.array([places[one["category_id"]] for one in mine], np.int64),
            np.array([one.get("score", 0) for one in mine], np.float32), np.array([one.get("iscrowd", 0) for one in mine], bool),
        )  # fmt: skip

    pictures = range(1, 5)
    of_truth = truth_of([instances(truth["annotations"], picture) for picture in pictures], classes.names)
    found = Ranking(of_truth, results_of([instances(results, picture) for picture in pictures]), kind)
    assert found.figures == pytest.approx(judged(tmp_path, truth, results, kind), nan_ok=True)
    assert list(found.by_category) == ["a", "b"]


def test_who_judges_by_boxes_does_not_wait_for_what_masks_need(tmp_path: Path) -> None:
    """numba, and SciPy, which numba imports, take as long as all the rest, and torch twice as long."""
    truth, results = draw(2)
    for one in results:
        del one["segmentation"]
    paths = [str(path) for path in put(tmp_path, truth, results)]
    command = ["evaluate", paths[1], "--data", paths[0], "--instances", "box", "--json"]
    code = f"import sys; from perpixel.cli import main; main({command}); heavy = {{'torch', 'numba', 'scipy'}} & {{*sys.modules}}"
    done = subprocess.run([sys.executable, "-c", f"{code}; assert not heavy"], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert set(json.loads(done.stdout)["figures"]) == set(FIGURES)


def test_objects_without_a_score_cannot_be_ranked() -> None:
    masks, class_ids = np.zeros((1, 4, 5), bool), np.zeros(1, np.int64)
    with pytest.raises(DataError, match="picture 0: its objects have no scores"):
        results_of([Instances(masks, class_ids)])
    with pytest.raises(DataError, match="picture 0: its objects have a score that is not finite"):
        results_of([Instances(masks, class_ids, np.array([np.nan], np.float32))])
    empty = truth_of([Instances(masks, class_ids)], ["a"])
    assert Ranking(empty, results_of([Instances(masks, class_ids, np.ones(1, np.float32))])).figures["AP"] == 0


@pytest.mark.parametrize("kind", ["mask", "box", "boundary"])
@pytest.mark.parametrize(("picture", "category"), [(0, 0), (-5, -7), (2**63 - 1, -(2**63) + 1)])
def test_ids_may_be_any_numbers(tmp_path: Path, picture: int, category: int, kind: str) -> None:
    truth, _ = draw(1, pictures=1)
    one = {**truth["annotations"][0], "iscrowd": 0, "image_id": picture, "category_id": category}
    one["segmentation"] = {"size": [40, 60], "counts": rle.encode(np.eye(40, 60) > 0)}
    truth["images"][0]["id"] = picture
    truth |= {"annotations": [one], "categories": [{"id": category, "name": "a"}]}
    assert judged(tmp_path, truth, [{**one, "score": 0.5}], kind)["AP"] == pytest.approx(1)


def test_a_truth_without_pictures_or_objects_has_no_score(tmp_path: Path) -> None:
    nothing: dict[str, Any] = {"images": [], "annotations": [], "categories": []}
    for truth in (nothing, {**draw(1)[0], "annotations": []}):
        assert all(math.isnan(value) for value in judged(tmp_path, truth, []).values())


def test_nothing_found_is_zero(tmp_path: Path) -> None:
    assert judged(tmp_path, draw(1)[0], [])["AP"] == 0


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"image_id": 99}, "image_id 99 is no picture of"),
        ({"category_id": 99}, "category_id 99 is no category"),
        ({"score": math.nan}, "score is"),
        ({"score": 1e12}, r"score 1e\+12 is beyond"),
        ({"bbox": [0, 0, -1, 2]}, "bbox has the sides"),
        ({"segmentation": {"size": [40, 60], "counts": [5]}}, "sum to 5 pixels"),
        ({"segmentation": {"size": [2**31, 2**31], "counts": [5]}}, "its picture 40x60"),
        ({"segmentation": None, "bbox": None}, "has neither bbox nor segmentation"),
    ],
)
def test_a_result_that_is_wrong_is_told_with_its_place(tmp_path: Path, fields: dict[str, Any], said: str) -> None:
    truth, results = draw(1)
    with pytest.raises(DataError, match=f"results.json, result 0: .*{said}"):
        judged(tmp_path, truth, [{**results[0], **fields}])


def test_what_cannot_be_judged_so(tmp_path: Path) -> None:
    truth, results = draw(1)
    del results[0]["bbox"]
    with pytest.raises(DataError, match="result 0: has no box"):
        judged(tmp_path, truth, results, "box")
    with pytest.raises(UnknownName, match="did you mean 'mask'"):
        judged(tmp_path, truth, results, "masks")
    with pytest.raises(DataError, match="not a list of results"):
        judged(tmp_path, truth, {})


def test_counts_that_are_no_mask_are_told(tmp_path: Path) -> None:
    truth = read_annotations(put(tmp_path, draw(1)[0], [])[0])
    results = [Result(1, 3, 0.5, counts=rle.encode(np.zeros((40, 60), bool))), Result(1, 3, 0.5, counts="l1")]
    with pytest.raises(DataError, match="result 1: its counts are no mask of its picture"):
        Ranking(truth, results)


FIELDS = ["image_id", "category_id", "score", "bbox", "segmentation", "counts"]
ANYTHING = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5) | st.lists(
    st.floats() | st.integers(-(2**40), 2**40), max_size=8
)  # fmt: skip


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from(FIELDS), ANYTHING, min_size=1))
def test_hostile_results_end_in_a_sentence_or_a_score(tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]) -> None:
    truth, results = draw(1)
    one = copy.deepcopy(results[0])
    for key, value in values.items():
        if key == "counts" and isinstance(one["segmentation"], dict):
            one["segmentation"]["counts"] = value
        elif key != "counts":
            one[key] = value
    for kind in ("mask", "box"):
        with contextlib.suppress(DataError):  # a sentence; anything else fails
            assert set(judged(tmp_path_factory.mktemp("hostile"), truth, [one], kind)) == set(FIGURES)


@given(st.dictionaries(st.sampled_from(FIELDS), ANYTHING, min_size=1))
def test_the_quick_reader_of_results_and_the_careful_one_find_the_same(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]
) -> None:
    truth, results = draw(1)
    for key, value in values.items():
        if key == "counts":
            results[1]["segmentation"]["counts"] = value
        else:
            results[0][key] = value
    first, second = put(tmp_path_factory.mktemp("both"), truth, results)
    found = []
    for quick in (module.quick, lambda data, form: None):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(module, "quick", quick)
            try:
                found.append(repr(read_results(second, read_annotations(first))))
            except DataError as error:
                found.append(str(error))
    assert found[0] == found[1]


def stats_of_pycocotools(root: Path, truth: Any, results: Any, kind: str) -> dict[str, float]:
    coco, evaluation = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")
    kept = ("image_id", "category_id", "score", "segmentation" if kind == "mask" else "bbox")
    first, second = put(root, truth, [{key: one[key] for key in kept} for one in results])
    with contextlib.redirect_stdout(io.StringIO()):
        loaded = coco.COCO(str(first))
        oracle = evaluation.COCOeval(loaded, loaded.loadRes(str(second)), {"mask": "segm", "box": "bbox"}[kind])
        oracle.evaluate()
        oracle.accumulate()
        oracle.summarize()
    return {name: math.nan if value == -1 else value for name, value in zip(FIGURES, oracle.stats.tolist(), strict=True)}


@pytest.mark.parametrize("kind", ["mask", "box", "boundary"])
def test_intervals_are_of_scores_of_the_pictures_that_were_drawn(tmp_path: Path, kind: str) -> None:
    """Each sample written as files of its own. Many scores are equal, within pictures and between them, and as COCO's own code
    judges the files, equal scores are in the order that it gives them."""
    truth, results = draw(6, pictures=8)
    results = [{**one, "score": round(3 * one["score"]) / 3} for one in results * 2]
    samples, expected = Samples.drawn(8, 3, seed=3), []
    for weights in samples.weights:
        kept = {place + 1 for place in np.flatnonzero(weights).tolist()}
        part = {**truth, "images": [one for one in truth["images"] if one["id"] in kept],
                "annotations": [one for one in truth["annotations"] if one["image_id"] in kept]}  # fmt: skip
        found = [one for one in results if one["image_id"] in kept]
        expected.append((judged if kind == "boundary" else stats_of_pycocotools)(tmp_path, part, found, kind))
    annotations, written = put(tmp_path, truth, results)
    scores = evaluate(written, annotations, AveragePrecision(kind), bootstrap=3, seed=3)
    assert scores.figures == pytest.approx(judged(tmp_path, truth, results, kind), nan_ok=True)  # as without
    assert scores.intervals is not None
    for name, sure in scores.intervals.figures.items():
        wanted, found = (dict(vars(one)) for one in (samples.interval(np.array([one[name] for one in expected]), "share"), sure))
        assert found.pop("doubt") == wanted.pop("doubt"), name
        assert found == pytest.approx(wanted, nan_ok=True), name


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth, results = put(tmp_path, *draw(2))
    main(["evaluate", str(results), "--data", str(truth), "--instances", "box", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert set(found["figures"]) == set(FIGURES)
    assert found["protocol"]["instances"]["kind"] == "box"
    main(["evaluate", str(results), "--data", str(truth), "--instances", "mask", "--agnostic", "--most", "1000", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert "AR_1000" in found["figures"]
    assert list(found["by_category"]) == ["all objects"]
    assert found["protocol"]["instances"]["agnostic"] == "all categories are one"
    main(["evaluate", str(results), "--data", str(truth), "--instances", "mask"])
    out = capsys.readouterr().out
    assert "AP_small" in out
    assert "intervals" not in out
    main(["evaluate", str(results), "--data", str(truth), "--instances", "mask", "--bootstrap", "20", "--seed", "4"])
    assert "95 % intervals, 20 halves of 4 pictures, seed 4:" in capsys.readouterr().out


def test_the_command_knows_coco_by_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The truth as results is perfect, by the objects of instances_val2017.json and by the panoptic maps."""
    root = make_coco(tmp_path / "coco")
    objects = json.loads((root / "annotations/instances_val2017.json").read_text())["annotations"]
    results = tmp_path / "results.json"
    results.write_text(json.dumps([{**one, "score": 1} for one in objects if not one["iscrowd"]]))
    main(["evaluate", str(results), "--data", "coco", "--root", str(root), "--instances", "mask", "--json"])
    assert json.loads(capsys.readouterr().out)["figures"]["AP"] == pytest.approx(1)
    panoptic = str(root / "annotations/panoptic_val2017.json")
    main(["evaluate", panoptic, "--data", "coco_panoptic", "--root", str(root), "--panoptic", "--json"])
    assert json.loads(capsys.readouterr().out)["figures"]["PQ"] == 1
    for arguments in (["--data", "coco"], ["--data", "voc2012", "--root", str(root)], []):
        with pytest.raises(SystemExit) as left:
            main(["evaluate", str(results), *arguments, "--instances", "mask"])
        assert left.value.code == 2
        assert "--data" in capsys.readouterr().err
    for verb, unused in (("evaluate", ["--split", "val"]), ("compare", ["--split", "val"]), ("evaluate", ["--crf", "deeplab"])):
        files = [str(results)] * (1 + (verb == "compare"))
        with pytest.raises(SystemExit) as left:
            main([verb, *files, "--data", str(root / "annotations/instances_val2017.json"), "--instances", "mask", *unused])
        assert left.value.code == 2
        assert unused[0] in capsys.readouterr().err
