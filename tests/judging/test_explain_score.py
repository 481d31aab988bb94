"""What other packages make of the same predictions: by hand, by the packages themselves where they are installed, and always."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hidden_torch import HAS_TORCH
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from perpixel.classes import ClassTable
from perpixel.cli import main
from perpixel.errors import DataError, UsageError
from perpixel.judging.conventions import CONVENTIONS, PictureCounts, Totals
from perpixel.judging.explain_score import Explanation, explain, explain_score, open_truth
from perpixel.judging.sizes import bilinear, nearest, read_size
from perpixel.measures.confusion_matrix import ConfusionMatrix

if HAS_TORCH:
    import torch

approx = pytest.approx
V = 255
TRUTH = [[[0, 0, 0, 0], [0, 0, 1, 1], [1, 1, V, V]], [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]]
PREDICTED = [[[0, 0, 0, 1], [0, 0, 1, 1], [1, 2, 2, 0]], [[0, 0, 0, 0], [0, 0, 0, 0], [0, 2, 0, 0]]]
KEYS = ["left_out", "empty_is_zero", "empty_is_one", "truth_only", "plain", "micro", "torchmetrics", "monai"]

Pair = tuple[np.ndarray, np.ndarray]


def explained(pairs: list[Pair], num_classes: int) -> Explanation:
    pictures = [PictureCounts.of(f"p{i}", *pair, num_classes, V) for i, pair in enumerate(pairs)]
    return explain(pictures, ClassTable.of([f"c{i}" for i in range(num_classes)]))


def scores(pairs: list[Pair], num_classes: int) -> dict[str, float]:
    return {row.convention.key: row.score for row in explained(pairs, num_classes).rows}


def toy() -> list[Pair]:
    return [(np.array(truth, np.uint8), np.array(found, np.uint8)) for truth, found in zip(TRUTH, PREDICTED, strict=True)]


@st.composite
def pictures(draw: st.DrawFn, void: bool = True) -> tuple[list[Pair], int]:
    """One to four pictures of 3 x 4 pixels with up to five classes, of which some may be in neither; one pixel is judged."""
    num_classes = draw(st.integers(2, 5))
    held = draw(st.lists(st.integers(0, num_classes - 1), min_size=1, max_size=num_classes, unique=True))
    true = st.lists(st.sampled_from([*held, V] if void else held), min_size=12, max_size=12)
    found = st.lists(st.integers(0, num_classes - 1), min_size=12, max_size=12)
    pairs = draw(st.lists(st.tuples(true, found), min_size=1, max_size=4))
    pairs[0][0][0] = held[0]
    return [tuple(np.array(one, np.uint8).reshape(3, 4) for one in pair) for pair in pairs], num_classes


class TestToyCase:
    """Hits, truth, predicted: a 15 17 16, b 3 5 4, c 0 0 2, d nowhere."""

    def test_scores(self) -> None:
        found = scores(toy(), 4)
        assert list(found) == KEYS
        assert [f"{100 * score:.1f}" for score in found.values()] == [
            "44.4", "33.3", "58.3", "66.7", "nan", "69.2", "37.8", "56.7",
        ]  # fmt: skip

    def test_scores_as_fractions(self) -> None:
        a, b = 15 / 18, 3 / 6
        first, second = (5 / 6, 3 / 5), (10 / 12, 0)
        expected = [
            (a + b) / 3, (a + b) / 4, (a + b + 1) / 4, (a + b) / 2, math.nan, 18 / 26,
            (sum(first) + sum(second)) / 6, (sum(first) / 2 + sum(second) / 2) / 2,
        ]  # fmt: skip
        assert list(scores(toy(), 4).values()) == approx(expected, nan_ok=True)

    def test_reasons(self) -> None:
        rows = {row.convention.key: row for row in explained(toy(), 4).rows}
        assert rows["left_out"].reasons == ()
        (zero,), (one,), (only,) = (rows[key].reasons for key in ("empty_is_zero", "empty_is_one", "truth_only"))
        assert (zero.class_name, zero.effect) == ("c3", approx(-1 / 9))
        assert (one.class_name, one.effect) == ("c3", approx(5 / 36))
        assert (only.class_name, only.effect) == ("c2", approx(2 / 9))
        assert [reason.class_name for reason in rows["plain"].reasons] == ["c3"]
        assert math.isnan(rows["plain"].reasons[0].effect)
        worst = rows["torchmetrics"].reasons[0]
        assert (worst.class_name, worst.picture, worst.effect) == ("c1", "p1", approx((0 - 1 / 2) / 2 / 3))

    def test_void_that_counts_as_wrong(self) -> None:
        rows = {row.convention.key: row.with_void for row in explained(toy(), 4).rows}
        assert [key for key, score in rows.items() if score is not None] == ["empty_is_one", "micro", "torchmetrics", "monai"]
        assert rows["micro"] == approx(18 / 28)
        assert rows["monai"] == approx(((5 / 7 + 3 / 5) / 2 + (10 / 12) / 2) / 2)


class TestRelations:
    @given(pictures())
    def test_effects_add_up_to_the_difference(self, drawn: tuple[list[Pair], int]) -> None:
        rows = explained(*drawn).rows
        for row in rows[1:]:
            if not math.isnan(row.score):
                assert sum(reason.effect for reason in row.reasons) == approx(row.score - rows[0].score, abs=1e-12)

    @given(pictures(), st.randoms(use_true_random=False))
    def test_the_order_of_pictures_changes_nothing(self, drawn: tuple[list[Pair], int], random: object) -> None:
        pairs, num_classes = drawn
        shuffled = list(pairs)
        random.shuffle(shuffled)  # type: ignore[attr-defined]
        assert scores(shuffled, num_classes) == approx(scores(pairs, num_classes), nan_ok=True)

    @given(pictures())
    def test_ours_is_the_confusion_matrix(self, drawn: tuple[list[Pair], int]) -> None:
        matrix = ConfusionMatrix(drawn[1])
        for pair in drawn[0]:
            matrix.add(*pair)
        assert scores(*drawn)["left_out"] == approx(matrix.mean_iou())

    @given(pictures())
    def test_where_no_class_is_empty_five_agree_unless_one_is_only_predicted(self, drawn: tuple[list[Pair], int]) -> None:
        found, totals = scores(*drawn), explained(*drawn).totals
        zero, out, one = found["empty_is_zero"], found["left_out"], found["empty_is_one"]
        assert zero <= out + 1e-12
        assert out <= one + 1e-12
        assert out <= found["truth_only"] + 1e-12
        if totals.union.all():
            assert zero == out == one == found["plain"]
        else:
            assert math.isnan(found["plain"])
        if totals.truth.all():
            assert found["truth_only"] == out

    @given(pictures(void=False))
    def test_micro_follows_from_pixel_accuracy(self, drawn: tuple[list[Pair], int]) -> None:
        accuracy = np.mean([pair[0] == pair[1] for pair in drawn[0]])
        assert scores(*drawn)["micro"] == approx(accuracy / (2 - accuracy))

    @given(pictures())
    def test_copies_of_one_picture_score_as_the_picture(self, drawn: tuple[list[Pair], int]) -> None:
        pairs, num_classes = drawn
        assert scores(pairs[:1] * 3, num_classes) == approx(scores(pairs[:1], num_classes), nan_ok=True)


@pytest.mark.needs_torch
class TestThePackagesThemselves:
    @given(pictures())
    def test_segmentation_models_pytorch(self, drawn: tuple[list[Pair], int]) -> None:
        metrics = pytest.importorskip("segmentation_models_pytorch").metrics
        pairs, num_classes = drawn
        truth, found = (torch.from_numpy(np.stack(ones)).long() for ones in zip(*pairs, strict=True))
        for ignored, counted in ((V, False), (None, True)):
            stats = metrics.get_stats(found, truth, "multiclass", num_classes=num_classes, ignore_index=ignored)
            rows = {row.convention.key: row for row in explained(*drawn).rows}
            for key, reduction in (("empty_is_one", "macro"), ("micro", "micro")):
                score = rows[key].with_void if counted and rows[key].with_void is not None else rows[key].score
                assert score == approx(float(metrics.iou_score(*stats, reduction=reduction)), abs=1e-6)

    @given(pictures())
    def test_torchmetrics(self, drawn: tuple[list[Pair], int]) -> None:
        torchmetrics = pytest.importorskip("torchmetrics")
        segmentation = pytest.importorskip("torchmetrics.segmentation")
        pairs, num_classes = drawn
        metric = segmentation.MeanIoU(num_classes=num_classes, input_format="one-hot")
        micro = torchmetrics.JaccardIndex("multiclass", num_classes=num_classes, average="micro", ignore_index=V)
        for pair in pairs:
            truth, found = (one[None] for one in one_hot(pair, num_classes))
            metric.update(found, truth)
            micro.update(*(torch.from_numpy(one).long()[None] for one in pair[::-1]))
        ours = scores(*drawn)
        assert ours["torchmetrics"] == approx(float(metric.compute()), abs=1e-6)
        assert ours["micro"] == approx(float(micro.compute()), abs=1e-6)

    @given(pictures())
    def test_monai(self, drawn: tuple[list[Pair], int]) -> None:
        metrics = pytest.importorskip("monai.metrics")
        pairs, num_classes = drawn
        metric = metrics.MeanIoU(ignore_index=V)
        for pair in pairs:
            truth = one_hot(pair, num_classes)[0][None]
            found = torch.nn.functional.one_hot(torch.from_numpy(pair[1]).long(), num_classes).movedim(-1, 0)[None]
            metric(found.float(), truth.float())
        assert scores(*drawn)["monai"] == approx(float(metric.aggregate()), abs=1e-6)

    @given(pictures())
    def test_ultralytics(self, drawn: tuple[list[Pair], int]) -> None:
        metrics = pytest.importorskip("ultralytics.utils.metrics")
        pairs, num_classes = drawn
        judge = metrics.SemanticMetrics({i: str(i) for i in range(num_classes)})
        judge.update_stats(*(torch.from_numpy(np.stack(ones)).int() for ones in list(zip(*pairs, strict=True))[::-1]))
        judge.process()
        assert scores(*drawn)["truth_only"] == approx(judge.miou, abs=1e-6)


def one_hot(pair: Pair, num_classes: int) -> "list[torch.Tensor]":
    """Truth and prediction as bool (C, H, W), both blank where truth is void."""
    judged = torch.from_numpy(pair[0] != V)
    classes = torch.arange(num_classes)[:, None, None]
    return [(torch.from_numpy(one)[None] == classes) & judged for one in pair]


class TestSizes:
    """Two rows of four pixels, of which the prediction has one column of c1 too few."""

    pair = np.array([[0, 0, 1, 1]] * 2, np.uint8), np.array([[0, 0, 0, 1]] * 2, np.uint8)

    def test_labels_by_hand(self) -> None:
        """To 1 x 2: the nearest are columns 1 and 3 of row 1. Bilinear, columns 2 and 3 weigh the same: c0 has the lower id."""
        truth, predicted = self.pair
        assert (nearest(truth, (1, 2)).tolist(), nearest(predicted, (1, 2)).tolist()) == ([[0, 1]], [[0, 1]])
        assert (bilinear(truth, (1, 2)).tolist(), bilinear(predicted, (1, 2)).tolist()) == ([[0, 1]], [[0, 0]])
        assert bilinear(np.array([[0, 4]], np.uint8), (1, 4)).tolist() == [[0, 0, 4, 4]]  # a quarter of the way, three quarters
        assert bilinear(truth, (2, 4)).tolist() == nearest(truth, (2, 4)).tolist() == truth.tolist()

    def test_scores_by_hand(self, tmp_path: Path) -> None:
        """(4 / 6 + 2 / 4) / 2; nearest 1; bilinear (1 / 2 + 0) / 2, over classes alone 1 / 3."""
        for kind, labels in zip(("truth", "found"), self.pair, strict=True):
            (tmp_path / kind).mkdir()
            Image.fromarray(labels).save(tmp_path / kind / "p.png")
        truth, _ = open_truth(tmp_path / "truth", classes="2")
        found = explain_score(tmp_path / "found", truth, sizes=[read_size("1x2"), read_size("longer=2")])
        assert found.rows[0].score == approx(7 / 12)
        assert [(one.size, one.resize) for one in found.resized] == [
            ("1 x 2", "nearest"), ("1 x 2", "bilinear"), ("longer side 2", "nearest"), ("longer side 2", "bilinear"),
        ]  # fmt: skip
        scores = dict(zip(KEYS, zip(*(one.scores for one in found.resized), strict=True), strict=True))
        assert scores["left_out"] == approx((1, 1 / 4, 1, 1 / 4))
        assert scores["micro"] == approx((1, 1 / 3, 1, 1 / 3))

    def test_sizes_in_words(self) -> None:
        assert read_size("512x1024").of((3, 4)) == (512, 1024)
        assert read_size("longer=640").of((480, 960)) == (320, 640)
        assert read_size("shorter=520").of((360, 480)) == (520, 693)

    @pytest.mark.parametrize("text", ["640", "0x5", "longer=0", "tall=3", "3x", "99999999x99999999"])
    def test_other_words_are_refused(self, text: str) -> None:
        with pytest.raises(UsageError, match=f"--judged-at {text}: give height and width as 512x1024"):
            read_size(text)

    def test_a_prediction_of_void_reaches_no_judged_pixel(self, tmp_path: Path) -> None:
        """Void of the prediction lies in that of the truth; resized it may lie beyond, and counts nowhere."""
        for kind, labels in (("truth", [[V, V, 1, 1, 1]]), ("found", [[V, V, 1, 1, 0]])):
            (tmp_path / kind).mkdir()
            Image.fromarray(np.array(labels, np.uint8)).save(tmp_path / kind / "p.png")
        truth, _ = open_truth(tmp_path / "truth", classes="2")
        assert len(explain_score(tmp_path / "found", truth, sizes=[read_size("1x2"), read_size("3x3")]).resized) == 4

    @pytest.mark.needs_torch
    @given(st.integers(0, 10**6), st.tuples(*[st.integers(1, 9)] * 4))
    def test_torch_resizes_alike(self, seed: int, sides: tuple[int, int, int, int]) -> None:
        labels = np.random.default_rng(seed).integers(0, 4, sides[:2]).astype(np.uint8)
        maps = torch.nn.functional.one_hot(torch.from_numpy(labels).long(), 4).movedim(-1, 0)[None].double()
        blended = torch.nn.functional.interpolate(maps, sides[2:], mode="bilinear", align_corners=False)[0].numpy()
        ours = bilinear(labels, sides[2:])
        assert np.take_along_axis(blended, ours[None].astype(np.int64), 0)[0] == approx(blended.max(0))
        exact = torch.nn.functional.interpolate(maps, sides[2:], mode="nearest-exact")[0].argmax(0).numpy()
        assert (nearest(labels, sides[2:]) == exact).all()


class TestTruth:
    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        for kind, arrays in (("truth", TRUTH), ("found", PREDICTED)):
            (tmp_path / kind).mkdir()
            for number, values in enumerate(arrays):
                Image.fromarray(np.array(values, np.uint8)).save(tmp_path / kind / f"p{number}.png")
        return tmp_path

    def test_a_table_beside_the_masks_and_void_untold(self, place: Path) -> None:
        (place / "classes.csv").write_text("id,name\n0,a\n1,b\n2,c\n3,d\n")
        truth, _ = open_truth(place / "truth")
        assert explain_score(place / "found", truth).rows[5].score == approx(18 / 26)

    def test_what_predict_wrote_is_found_and_tiff_is_read(self, place: Path) -> None:
        (place / "found").rename(place / "masks")
        first = place / "masks" / "p0.png"
        Image.open(first).save(first.with_suffix(".tif"))
        first.unlink()
        assert explain_score(place, open_truth(place / "truth", classes="4")[0]).rows[5].score == approx(18 / 26)

    def test_without_a_table_it_is_asked_for(self, place: Path) -> None:
        with pytest.raises(DataError, match=r"truth: has no classes\.csv.*--classes"):
            open_truth(place / "truth")
        with pytest.raises(UsageError, match="from 1 to 65535"):
            open_truth(place / "truth", classes="0")

    def test_a_data_set_and_all_of_one_without_splits(self, place: Path) -> None:
        (place / "data" / "images").mkdir(parents=True)
        (place / "truth").rename(place / "data" / "masks")
        for number in range(2):
            Image.fromarray(np.zeros((3, 4, 3), np.uint8)).save(place / "data" / "images" / f"p{number}.png")
        (place / "data" / "classes.csv").write_text("id,name\n0,a\n1,b\n2,c\n3,d\n255,void\n")
        assert len(open_truth(place / "data")[0]) == 2
        assert len(open_truth(place / "data", split="val")[0]) == 1

    def test_command(self, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
        main(["explain-score", str(place / "found"), str(place / "truth"), "--classes", "4"])
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines[1:9]] == ["44.4", "33.3", "58.3", "66.7", "nan", "69.2", "37.8", "56.7"]
        assert "  3 is in neither truth nor prediction: counts as 1 (+13.9)" in lines
        assert "void: 2 of 24 pixels" in lines
        main(["explain-score", str(place / "found"), str(place / "truth"), "--classes", "4", "--json"])
        report = json.loads(capsys.readouterr().out)
        assert [row["key"] for row in report["conventions"]] == KEYS == [one.key for one in CONVENTIONS]
        assert report["conventions"][4]["mIoU"] is None
        assert report["pictures"][1]["classes"]["1"] == {"hits": 0, "truth": 1, "predicted": 0}

    def test_a_size_is_a_column_and_in_json(self, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
        words = ["explain-score", str(place / "found"), str(place / "truth"), "--classes", "4", "--judged-at", "6x8", "longer=2"]
        main(words)
        assert "6 x 8, nearest" in capsys.readouterr().out
        main([*words, "--json"])
        first, *others = json.loads(capsys.readouterr().out)["judged_at"]
        assert (first["size"], first["resize"], len(others)) == ("6 x 8", "nearest", 3)
        assert first["mIoU"]["micro"] == approx(18 / 26)  # each pixel four times
        with pytest.raises(SystemExit) as left:
            main([*words[:-2], "640"])
        assert left.value.code == 2

    def test_void_where_truth_has_a_class_is_refused(self) -> None:
        with pytest.raises(DataError, match=r"^p0: prediction: value 255 at \(0, 0\)"):
            PictureCounts.of("p0", np.zeros((1, 1), np.uint8), np.full((1, 1), V, np.uint8), 2, V)

    def test_totals_of_nothing_judged_have_no_score(self) -> None:
        blank = PictureCounts.of("p0", np.full((1, 1), V, np.uint8), np.zeros((1, 1), np.uint8), 2, V)
        assert math.isnan(CONVENTIONS[0].score(Totals.of([blank], 2), [blank]))
