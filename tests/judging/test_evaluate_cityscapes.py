"""evaluate --cityscapes: IoU and iIoU as evalPixelLevelSemanticLabeling.py of cityscapesScripts prints them, to the last."""

import json
import math
import os
import re
import subprocess
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fakes import draw_cityscapes, make_cityscapes, put_picture
from hidden_torch import HAS_TORCH
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from perpixel.cli import main
from perpixel.datasets import open_dataset
from perpixel.datasets.cityscapes import VIEWS, Cityscapes, are_train_ids
from perpixel.datasets.cityscapes_labels import DRAWN
from perpixel.doctor.check import check
from perpixel.errors import DataError, UsageError
from perpixel.judging.answers import THREADS
from perpixel.judging.evaluate import evaluate
from perpixel.judging.intervals import Samples
from perpixel.judging.scores import Scores
from perpixel.judging.submission import submission
from perpixel.measures.cityscapes import CATEGORIES, MEAN_SIZES, CityscapesCounts, CityscapesIou, count_picture, mean
from perpixel.measures.pixels import Pixels
from perpixel.training.recipe import Recipe

if HAS_TORCH:
    from perpixel.training.train import train

approx = pytest.approx

# A Python in whose environment cityscapesScripts is installed; it wants numpy<2.4.
SCRIPTS = os.environ.get("CITYSCAPES_SCRIPTS_PYTHON")
needs_scripts = pytest.mark.skipif(SCRIPTS is None, reason="CITYSCAPES_SCRIPTS_PYTHON names no Python with cityscapesScripts.")

# Three pictures: label ids, instance ids, predicted label ids. They have objects of one pixel and of four, a group (26 in the
# last row), labels that are not evaluated in truth and prediction, an absent class that is predicted, a picture where nothing is
# judged, a group alone, and instance ids that disagree with the labels.
PICTURES = [
    (
        [[7, 7, 7, 7, 8, 8, 11, 11], [7, 7, 26, 26, 26, 8, 11, 11], [7, 7, 26, 26, 26, 24, 24, 23],
         [9, 9, 33, 33, 29, 24, 24, 23], [1, 1, 33, 26, 29, 21, 21, 23]],
        [[7, 7, 7, 7, 8, 8, 11, 11], [7, 7, 26000, 26001, 26001, 8, 11, 11], [7, 7, 26000, 26001, 26001, 24000, 24001, 23],
         [9, 9, 33000, 33000, 29000, 24001, 24001, 23], [1, 1, 33000, 26, 29000, 21, 21, 23]],
        [[7, 7, 8, 7, 8, 8, 11, 12], [7, 9, 26, 27, 26, 8, 12, 11], [7, 7, 26, 26, 28, 24, 25, 23],
         [7, 9, 33, 32, 26, 24, 26, 23], [26, 7, 33, 26, 29, 21, 22, 0]],
    ),
    (
        [[0, 1, 2, 3], [4, 5, 6, 9], [10, 14, 15, 30]],
        [[0, 1, 2, 3], [4, 5, 6, 9], [10, 14, 15, 30000]],
        [[26, 26, 24, 7], [23, 33, 31, 7], [7, 11, 11, 30]],
    ),
    ([[25, 25, 24], [17, 31, 31]], [[25, 25, 24007], [17, 31002, 31002]], [[24, 25, 24], [17, 29, 7]]),
]  # fmt: skip
# What the script, version 2.3.0, printed for them.
PRINTED = """
road          : 0.667      nan
sidewalk      : 0.750      nan
building      : 0.500      nan
wall          : 0.000      nan
fence         :   nan      nan
pole          : 1.000      nan
traffic light :   nan      nan
traffic sign  :   nan      nan
vegetation    : 0.500      nan
terrain       : 0.000      nan
sky           : 0.667      nan
person        : 0.500    0.778
rider         : 0.333    0.000
car           : 0.625    0.750
truck         : 0.000    0.000
bus           : 0.000    0.000
train         : 0.000    0.000
motorcycle    : 0.000    0.000
bicycle       : 0.667    0.667
Score Average : 0.388    0.274
flat          : 0.833      nan
construction  : 1.000      nan
object        : 1.000      nan
nature        : 1.000      nan
sky           : 0.667      nan
human         : 0.857    0.889
vehicle       : 0.769    0.655
Score Average : 0.875    0.772
"""
# What it wrote to its JSON file for them, where that is no fraction of small numbers.
WRITTEN = {
    "person": 0.7777029081382099, "car": 0.7499706905775304, "human": 0.8888888888888888, "vehicle": 0.6546289686659182,
    "averageScoreClasses": 0.3880208333333333, "averageScoreInstClasses": 0.27429253317280083,
    "averageScoreCategories": 0.8751962323390894, "averageScoreInstCategories": 0.7717589287774036,
}  # fmt: skip


def arrays(picture: tuple[list, list, list]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    truth, instances, predicted = picture
    return np.array(truth, np.uint8), np.array(instances, np.uint16), np.array(predicted, np.uint8)


def counts_of(pictures: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> CityscapesCounts:
    counts = CityscapesCounts()
    for picture in pictures:
        counts.add(count_picture(*picture))
    return counts


def put_set(root: Path, pictures: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Path:
    """The pictures as a val split of Cityscapes, and predictions below pred/."""
    for number, (truth, instances, predicted) in enumerate(pictures):
        name = f"ulm_{number:06}_000019"
        start = root / "gtFine/val/ulm" / f"{name}_gtFine"
        put_picture(root / "leftImg8bit/val/ulm" / f"{name}_leftImg8bit.png", np.zeros((*truth.shape, 3)))
        put_picture(Path(f"{start}_labelIds.png"), truth)
        Image.fromarray(instances).save(f"{start}_instanceIds.png")
        put_picture(root / "pred" / f"{name}_leftImg8bit_pred.png", predicted)
    return root


def as_printed(scores: Scores) -> list[str]:
    lines, figures = [], scores.figures
    for kind, found in (("classes", scores.totals.classes()), ("categories", scores.totals.categories())):
        rows = [(name, one.iou, one.iiou) for name, one in found.items()]
        rows.append(("Score Average", figures[f"IoU_{kind}"], figures[f"iIoU_{kind}"]))
        lines += [f"{name:<14}: {iou:>5.3f}    {iiou:>5.3f}" for name, iou, iiou in rows]
    return lines


def judged(root: Path) -> Scores:
    return evaluate(root / "pred", open_dataset("cityscapes", root=root, split="val"), CityscapesIou())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three pictures with their predictions."""
    return put_set(tmp_path_factory.mktemp("set"), [arrays(picture) for picture in PICTURES])


class TestFigures:
    def test_every_printed_digit_is_that_of_the_script(self, root: Path) -> None:
        assert as_printed(judged(root)) == PRINTED.strip().splitlines()

    def test_and_every_digit_of_its_json(self, root: Path) -> None:
        scores = judged(root)
        figures, classes, categories = scores.figures, scores.totals.classes(), scores.totals.categories()
        assert {
            **{name: classes[name].iiou for name in ("person", "car")},
            **{name: categories[name].iiou for name in ("human", "vehicle")},
            "averageScoreClasses": figures["IoU_classes"], "averageScoreInstClasses": figures["iIoU_classes"],
            "averageScoreCategories": figures["IoU_categories"], "averageScoreInstCategories": figures["iIoU_categories"],
        } == WRITTEN  # fmt: skip

    def test_an_object_weighs_as_much_as_the_mean_one_of_its_class(self) -> None:
        # Cars of 1 and 4 pixels, the small one missed: half of the weight, though a fifth of the pixels; no false alarm.
        truth, predicted = np.full((1, 5), 26, np.uint8), np.array([[26, 26, 26, 26, 0]], np.uint8)
        counts = counts_of([(truth, np.array([[26000] * 4 + [26001]], np.uint16), predicted)])
        assert (counts.classes()["car"].iou, counts.classes()["car"].iiou) == (4 / 5, 1 / 2)
        assert counts.weighted["car"] == (MEAN_SIZES["car"], MEAN_SIZES["car"])

    def test_a_caravan_taken_for_a_car_is_a_hit_of_no_category_but_no_false_alarm(self) -> None:
        truth = np.array([[29, 26]], np.uint8)
        counts = counts_of([(truth, truth.astype(np.uint16) * 1000, np.array([[26, 26]], np.uint8))])
        assert (counts.classes()["car"].iou, counts.categories()["vehicle"].iou, counts.categories()["vehicle"].iiou) == (1, 1, 1)

    def test_a_car_taken_for_a_caravan_is_a_miss_of_the_category_by_iou_and_a_hit_by_iiou(self) -> None:
        truth = np.array([[26, 26]], np.uint8)
        counts = counts_of([(truth, truth.astype(np.uint16) * 1000, np.array([[29, 26]], np.uint8))])
        assert (counts.categories()["vehicle"].iou, counts.categories()["vehicle"].iiou) == (1 / 2, 1)

    def test_a_road_taken_for_a_caravan_is_a_false_alarm_of_iiou_alone(self) -> None:
        truth, instances = np.array([[26, 7]], np.uint8), np.array([[26000, 7]], np.uint16)
        counts = counts_of([(truth, instances, np.array([[26, 29]], np.uint8))])
        vehicle = counts.categories()["vehicle"]
        assert (vehicle.iou, vehicle.iiou) == (1, MEAN_SIZES["car"] / (MEAN_SIZES["car"] + 1))

    def test_nothing_judged_is_nan_everywhere(self) -> None:
        void = np.zeros((2, 3), np.uint8)
        counts = counts_of([(void, void.astype(np.uint16), np.full((2, 3), 7, np.uint8))])
        for found in (counts.classes(), counts.categories()):
            assert all(math.isnan(one.iou) and math.isnan(one.iiou) for one in found.values())
            assert math.isnan(mean(one.iou for one in found.values()))

    def test_what_is_judged(self) -> None:
        counts = CityscapesCounts()
        assert [*counts.classes()] == [label.name for label in DRAWN if not label.ignored]
        assert [*counts.categories()] == [*CATEGORIES[1:]]

    ids = st.sampled_from(range(34))

    @given(st.lists(st.tuples(ids, st.integers(0, 3), ids), min_size=1, max_size=30))
    def test_figures_are_in_range_and_those_of_a_matrix(self, pixels: list[tuple[int, int, int]]) -> None:
        truth, number, predicted = (np.array(part)[None] for part in zip(*pixels, strict=True))
        instances = np.where((truth >= 24) & (number > 0), 1000 * truth + number, truth)
        counts = counts_of([(truth.astype(np.uint8), instances.astype(np.uint16), predicted.astype(np.uint8))])
        for found in (counts.classes(), counts.categories()):
            for one in found.values():
                assert math.isnan(one.iou) or 0 <= one.iou <= 1
                assert math.isnan(one.iiou) or 0 <= one.iiou <= 1
        judged = ~np.array([label.ignored for label in DRAWN])[truth]
        for label in DRAWN:
            if not label.ignored:
                own, said = (truth == label.id) & judged, (predicted == label.id) & judged
                union = (own | said).sum()
                assert counts.classes()[label.name].iou == approx((own & said).sum() / union if union else math.nan, nan_ok=True)

    @given(st.lists(st.tuples(ids, st.integers(0, 3)), min_size=1, max_size=30))
    def test_the_truth_itself_is_perfect(self, pixels: list[tuple[int, int]]) -> None:
        truth, number = (np.array(part)[None] for part in zip(*pixels, strict=True))
        instances = np.where((truth >= 24) & (number > 0), 1000 * truth + number, truth).astype(np.uint16)
        counts = counts_of([(truth.astype(np.uint8), instances, truth.astype(np.uint8))])
        figures = [value for found in (counts.classes(), counts.categories()) for one in found.values()
                   for value in (one.iou, one.iiou)]  # fmt: skip
        assert {value for value in figures if not math.isnan(value)} <= {1.0}


cells = st.tuples(st.sampled_from([7, 26, 24, 33]), st.integers(0, 2), st.sampled_from([7, 26, 24, 0]), st.integers(1, 40))


@given(st.lists(cells, min_size=1, max_size=12), st.integers(1, 9))
def test_runs_of_any_length_are_counted_as_their_pixels(runs: list[tuple[int, int, int, int]], width: int) -> None:
    truth, number, predicted = (np.repeat([run[i] for run in runs], [run[3] for run in runs]) for i in range(3))
    size = len(truth) // width * width
    instances = np.where((truth >= 24) & (number > 0), 1000 * truth + number, truth)
    pictures = [values[:size].reshape(-1, width) for values in (truth, instances, predicted)]
    counted = count_picture(pictures[0].astype(np.uint8), pictures[1].astype(np.uint16), pictures[2].astype(np.uint8))
    expected = np.zeros((34, 34), int)
    np.add.at(expected, (truth[:size], predicted[:size]), 1)
    assert counted.confusion.tolist() == expected.tolist()
    weights = {}
    for value in np.unique(instances[:size][instances[:size] > 1000]):
        own = instances[:size] == value
        name, weight = DRAWN[value // 1000].name, MEAN_SIZES[DRAWN[value // 1000].name] / own.sum()
        weights.setdefault(name, []).append((approx(weight * (own & (predicted[:size] == value // 1000)).sum()),
                                             approx(weight * (own & (predicted[:size] != value // 1000)).sum())))  # fmt: skip
    assert {name: [pair[1:] for pair in counted.objects if pair[0] == name] for name in weights} == weights
    both = np.stack([truth[:size], instances[:size]])
    changes = [k for k in range(size) if k == 0 or (both[:, k] != both[:, k - 1]).any()]
    assert counted.starts.tolist() == changes


def test_memory_does_not_grow_with_the_pictures(tmp_path: Path) -> None:
    mine = put_set(tmp_path, [arrays(picture) for picture in PICTURES])
    seen, most = [], 0

    class Many(Cityscapes):
        def __len__(self) -> int:
            return 100

        def name(self, index: int) -> str:
            return super().name(index % 3)

        def picture(self, index: int) -> Path:
            return super().picture(index % 3)

        def label_ids(self, index: int) -> np.ndarray:
            nonlocal most
            found = super().label_ids(index % 3)
            seen.append(weakref.ref(found))
            most = max(most, sum(one() is not None for one in [*seen]))
            return found

        def instance_ids(self, index: int) -> np.ndarray:
            return super().instance_ids(index % 3)

    counts = evaluate(mine / "pred", Many(mine, "val"), CityscapesIou()).totals
    assert counts.confusion.sum() == 33 * (40 + 12 + 6) + 40
    assert most <= THREADS


def draw_hostile(rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """One to three pictures: few labels or all, objects of any size, groups, and instance ids that disagree with the labels."""
    shown, said = (rng.choice(34, rng.integers(1, 34), replace=False) for _ in range(2))
    pictures = []
    for _ in range(rng.integers(1, 4)):
        height, width, side = rng.integers(1, 40), rng.integers(1, 60), rng.integers(1, 9)
        cells = np.ones((side, side), int)
        truth, number = (
            np.kron(rng.choice(values, (height // side + 1, width // side + 1)), cells)[:height, :width]
            for values in (shown, np.arange(6))
        )
        instances = np.where((truth >= 24) & (number > 0), 1000 * truth + number - 1, truth)
        odd = rng.choice([24000, 26003, 33999, 29001, 30000, 1001, 1000, 999, 4001], truth.shape)
        instances = np.where(rng.random(truth.shape) < rng.choice([0, 0.1]), odd, instances)
        predicted = np.where(rng.random(truth.shape) < rng.random(), truth, rng.choice(said, truth.shape))
        pictures.append((truth.astype(np.uint8), instances.astype(np.uint16), predicted.astype(np.uint8)))
    return pictures


@needs_scripts
def test_random_sets_are_judged_as_the_script_judges_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    roots = [put_set(tmp_path / f"{number:02}", draw_hostile(rng)) for number in range(25)]
    script = (
        "import json, sys, warnings; warnings.simplefilter('ignore')\n"
        "from pathlib import Path\n"
        "import cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling as official\n"
        "official.args.JSONOutput, official.args.quiet, found = False, True, {}\n"
        "for root in sorted(Path('.').iterdir()):\n"
        "    truths = sorted(map(str, root.glob('gtFine/val/ulm/*_labelIds.png')))\n"
        "    masks = sorted(map(str, root.glob('pred/*.png')))\n"
        "    found[root.name] = official.evaluateImgLists(masks, truths, official.args)\n"
        "json.dump(found, sys.stdout)"
    )
    bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([SCRIPTS, "-c", script], cwd=tmp_path, env=bare, capture_output=True, text=True, check=True)
    official = json.loads(done.stdout)
    for root in roots:
        scores, theirs = judged(root), official[root.name]
        assert scores.totals.confusion.tolist() == theirs["confMatrix"]
        pairs = [(scores.figures[ours], theirs[f"averageScore{name}"]) for ours, name in (
            ("IoU_classes", "Classes"), ("iIoU_classes", "InstClasses"), ("IoU_categories", "Categories"),
            ("iIoU_categories", "InstCategories"))]  # fmt: skip
        for found, name in ((scores.totals.classes(), "class"), (scores.totals.categories(), "category")):
            pairs += [(one.iou, theirs[f"{name}Scores"][key]) for key, one in found.items()]
            pairs += [(one.iiou, theirs[f"{name}InstScores"][key]) for key, one in found.items()]
        assert [pair for pair in pairs if pair[0] != pair[1] and not (math.isnan(pair[0]) and math.isnan(pair[1]))] == []


class TestRefused:
    @pytest.mark.parametrize(
        ("truth", "instances", "predicted", "words"),
        [
            ([[7, 7]], [[7, 7]], [[7, 255]], "prediction: value 255 at row 0, column 1 is no label; give masks of label ids"),
            ([[7, 7]], [[7, 7]], [[34, 7]], "prediction: value 34 at row 0, column 0 is no label"),
            ([[7, 34]], [[7, 7]], [[7, 7]], "truth: value 34 at row 0, column 1 is no label"),
            ([[7, 7]], [[7, 7]], [[7]], "truth has the shape"),
            ([[7, 7]], [[7]], [[7, 7]], "instance ids have the shape"),
            ([[7, 7]], [[7, 7001]], [[7, 7]], "the instance id 7001 is of label 7, road, which has no instances"),
            ([[7, 7]], [[7, 34000]], [[7, 7]], "the instance id 34000 is of label 34, unknown"),
        ],
    )
    def test_what_is_wrong_is_told(self, truth: list, instances: list, predicted: list, words: str) -> None:
        with pytest.raises(DataError, match=rf"^{words}"):
            count_picture(*arrays((truth, instances, predicted)))

    def test_fractions_are_no_label_ids(self) -> None:
        truth, instances, predicted = arrays(([[7, 7]], [[7, 7]], [[7, 7]]))
        with pytest.raises(DataError, match=r"^prediction: label ids are whole numbers; found an array of float64"):
            count_picture(truth, instances, predicted + 0.5)

    @pytest.mark.parametrize("value", [-1, 34, 255, 256, 65535])
    def test_no_value_of_any_type_passes_for_void(self, value: int) -> None:
        ids, wrong = np.full((1, 2), 7), np.array([[7, value]])
        for truth, predicted, what in ((wrong, ids, "truth"), (ids, wrong, "prediction")):
            with pytest.raises(DataError, match=rf"^{what}: value {value} at row 0, column 1 is no label"):
                count_picture(truth, ids, predicted)

    def test_a_mask_that_is_missing_or_there_twice_is_told(self, tmp_path: Path) -> None:
        mine = put_set(tmp_path, [arrays(picture) for picture in PICTURES])
        (mine / "pred" / "more").mkdir()
        mask = mine / "pred" / "ulm_000001_000019_leftImg8bit_pred.png"
        mask.rename(mine / "pred" / "more" / "ulm_000001_000019.png")  # anywhere below is found
        assert as_printed(judged(mine)) == PRINTED.strip().splitlines()
        put_picture(mask, arrays(PICTURES[1])[2])
        with pytest.raises(DataError, match=r"holds \S+ulm_000001_000019\S+ and \S+ for the picture ulm_000001_000019; keep one"):
            judged(mine)
        for path in (mask, mine / "pred" / "more" / "ulm_000001_000019.png"):
            path.unlink()
        with pytest.raises(DataError, match=r"pred: holds no mask ulm_000001_000019\*\.png; predict it first"):
            judged(mine)

    def test_the_picture_of_a_wrong_mask_is_named(self, tmp_path: Path) -> None:
        mine = put_set(tmp_path, [arrays(picture) for picture in PICTURES])
        put_picture(mine / "pred" / "ulm_000002_000019_leftImg8bit_pred.png", np.full((2, 3), 99))
        with pytest.raises(DataError, match=r"^ulm_000002_000019: prediction: value 99 at row 0, column 0 is no label"):
            judged(mine)

    @pytest.mark.parametrize("void", [True, False])
    @pytest.mark.parametrize("how", ["benchmark", "classes", "submission"])
    def test_train_ids_are_called_so(self, tmp_path: Path, void: bool, how: str) -> None:
        """Road, sky and a car, and void or none: 0, 10, 13 and 255, of which the file holds no 255 where there is none."""
        ids = np.array([[7, 23, 26], [7, 23, 0 if void else 26]])
        mine = put_set(tmp_path, [(ids, np.where(ids == 26, 26000, ids).astype(np.uint16), np.zeros((2, 3)))])
        mask = mine / "pred/ulm_000000_000019.png"
        (mine / "pred/ulm_000000_000019_leftImg8bit_pred.png").unlink()
        put_picture(mask, np.array([[0, 10, 13], [0, 10, 255 if void else 13]]))
        dataset = open_dataset("cityscapes", root=mine, split="val")
        words = r"holds trainIds \(0\.\.18\), not the label ids of labelIds\.png; write road as 7, not 0"
        if how == "submission":
            (problem,) = submission(mine / "pred", dataset, tmp_path / "mine.zip")
            assert re.search(words, problem.message)
            return
        with pytest.raises(DataError, match=words):
            evaluate(mine / "pred", dataset, CityscapesIou() if how == "benchmark" else Pixels())

    def test_a_truth_of_train_ids_is_called_so(self, tmp_path: Path) -> None:
        ids = np.array([[0, 10, 13], [0, 10, 255]])
        mine = put_set(tmp_path, [(ids, np.zeros((2, 3), np.uint16), ids)])
        (problem,) = check("cityscapes", root=mine).errors
        assert "ulm_000000_000019_gtFine_labelIds.png: holds trainIds" in problem.message

    def test_a_void_label_is_told_as_the_file_has_it(self, tmp_path: Path) -> None:
        ids = np.array([[7, 23, 26], [21, 21, 21]])
        mine = put_set(tmp_path, [(ids, np.where(ids == 26, 26000, ids).astype(np.uint16), np.zeros((2, 3)))])
        put_picture(mine / "pred/ulm_000000_000019.png", np.array([[7, 10, 26], [21, 21, 10]]))
        with pytest.raises(DataError, match=r"019\.png: is void at row 0, column 1 \(value 10, 2 pixels\)"):
            evaluate(mine / "pred", open_dataset("cityscapes", root=mine, split="val"))

    def test_label_ids_below_19_are_no_train_ids(self) -> None:
        """Road, sidewalk, building, and a few pixels of nothing."""
        assert not are_train_ids(np.bincount([7] * 50 + [8] * 20 + [11] * 20 + [0] * 10))
        assert not are_train_ids(np.bincount([255] * 10))

    def test_other_data_and_categories_are_refused(self, root: Path) -> None:
        with pytest.raises(UsageError, match="judges Cityscapes alone"):
            evaluate(root / "pred", open_dataset("scenes"), CityscapesIou())
        with pytest.raises(UsageError, match="cityscapes8 has categories for classes"):
            evaluate(root / "pred", open_dataset("cityscapes8", root=root), CityscapesIou())


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs `evaluate`; gives the exit code, stdout and stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        code = 0
        try:
            main(["evaluate", *(str(argument) for argument in arguments)])
        except SystemExit as left:
            code = left.code
        return code, *capsys.readouterr()

    return run


class TestCommand:
    def test_it_prints_the_digits_of_the_script(self, root: Path, told: Callable[..., tuple[int, str, str]]) -> None:
        code, out, err = told(root / "pred", "--data", "cityscapes", "--root", root, "--cityscapes")
        expected = [line.replace(":", "").replace("Score Average", "mean").split() for line in PRINTED.strip().splitlines()]
        tables = [line.split() for line in out.splitlines() if line and not line.startswith(("class", "categor", "split"))]
        assert (code, tables) == (0, expected)
        assert out.splitlines()[-1].startswith("split val, protocol ")
        assert "masks on cityscapes, val." in err

    def test_json_has_the_rules_in_the_protocol(self, root: Path, told: Callable[..., tuple[int, str, str]]) -> None:
        code, out, _ = told(root / "pred", "--data", "cityscapes30", "--root", root, "--cityscapes", "--json")
        found = json.loads(out)
        assert code == 0
        assert found["figures"]["iIoU_classes"] == WRITTEN["averageScoreInstClasses"]
        assert found["classes"]["fence"] == {"IoU": None, "iIoU": None}
        assert found["protocol"]["cityscapes"]["script"] == "evalPixelLevelSemanticLabeling.py of cityscapesScripts 2.3.0"
        assert len(found["protocol_hash"]) == 12

    def test_intervals_are_of_scores_of_the_pictures_that_were_drawn(
        self, root: Path, told: Callable[..., tuple[int, str, str]]
    ) -> None:
        place = (root / "pred", "--data", "cityscapes", "--root", root, "--cityscapes", "--bootstrap", 2, "--seed", 5)
        code, out, _ = told(*place, "--json")
        assert code == 0
        found = json.loads(out)["bootstrap"]
        pictures = [arrays(picture) for picture in PICTURES]
        samples = Samples.drawn(3, 2, 5)
        drawn = [counts_of([pictures[i] for i in np.flatnonzero(weights)]).figures() for weights in samples.weights]
        for name, sure in found["figures"].items():
            wanted = vars(samples.interval(np.array([one[name] for one in drawn]), "share"))
            assert sure.pop("doubt") == wanted.pop("doubt")
            assert {key: math.nan if value is None else value for key, value in sure.items()} == approx(wanted, nan_ok=True)
        assert "95 % intervals, 2 halves of 3 pictures, seed 5:" in told(*place)[1]

    def test_the_hash_knows_objects_and_not_the_masks(self, root: Path, tmp_path: Path) -> None:
        pictures = [arrays(picture) for picture in PICTURES]
        same = put_set(tmp_path / "same", [(truth, objects, truth) for truth, objects, _ in pictures])
        grouped = put_set(tmp_path / "grouped", [(truth, truth.astype(np.uint16), said) for truth, _, said in pictures])
        assert judged(same).protocol_hash == judged(root).protocol_hash != judged(grouped).protocol_hash

    def test_the_hash_is_the_same_where_the_truth_is_drawn_from_polygons(self, tmp_path: Path) -> None:
        data = make_cityscapes(tmp_path)
        dataset = Cityscapes(data, "train")
        for index in range(len(dataset)):
            put_picture(data / "pred" / f"{dataset.name(index)}.png", dataset.label_ids(index))
        stored = evaluate(data / "pred", dataset, CityscapesIou())
        for path in (data / "gtFine/train").glob("*/*Ids.png"):
            path.unlink()
        drawn = evaluate(data / "pred", dataset, CityscapesIou())
        assert (drawn.protocol_hash, drawn.figures) == (stored.protocol_hash, stored.figures)
        assert drawn.figures == {"IoU_classes": 1, "iIoU_classes": 1, "IoU_categories": 1, "iIoU_categories": 1}

    def test_two_judgements_are_refused(self, root: Path, told: Callable[..., tuple[int, str, str]]) -> None:
        code, _, err = told(root / "pred", "--data", "cityscapes", "--root", root, "--cityscapes", "--objects", "car")
        assert code == 2
        assert "--objects and --cityscapes are two judgements; give one of them." in err


@pytest.mark.needs_torch
@pytest.mark.parametrize("view", ["cityscapes", "cityscapes30"])
def test_a_model_is_judged_by_the_label_ids_of_its_classes(
    view: str, tmp_path: Path, told: Callable[..., tuple[int, str, str]]
) -> None:
    data = make_cityscapes(tmp_path / "data")
    recipe = Recipe(data=view, root=str(data), network="unet", norm="batch", convolutions="same", width=0.05, batch=2, steps=2,
                    validations=1, device="cpu")  # fmt: skip
    train(recipe, tmp_path / "run", say=lambda _: None)
    code, out, err = told(tmp_path / "run", "--cityscapes", "--json")
    assert code == 0, err
    found = json.loads(out)
    counts = np.array(found["confusion"])
    assert counts.sum() == 2 * 24 * 40
    _, ids, _, _ = draw_cityscapes("frankfurt_000000_000294")
    _, more, _, _ = draw_cityscapes("lindau_000001_000019")
    assert counts.sum(1).tolist() == np.bincount(np.concatenate([ids.ravel(), more.ravel()]), minlength=34).tolist()
    known = {value for (value,) in VIEWS[view].values}
    assert {*np.flatnonzero(counts.sum(0)).tolist()} <= known
    main(["predict", str(tmp_path / "run"), str(data / "leftImg8bit/val"), "--out", str(tmp_path / "out"), "--no-overlays"])
    code, out, err = told(tmp_path / "out", "--data", view, "--root", data, "--cityscapes", "--json")
    assert code == 0, err
    of_masks = json.loads(out)
    assert {kind: of_masks[kind] for kind in ("figures", "classes", "categories", "confusion")} == {
        kind: found[kind] for kind in ("figures", "classes", "categories", "confusion")}  # fmt: skip
