"""One confusion matrix per judgement, the table and the sentences made from it, and the protocol that it was made by."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import CLASSES_CSV, make_cityscapes, make_folder, make_instances
from hidden_torch import HAS_TORCH, require_torch
from PIL import Image

import perpixel
from perpixel.cli import main
from perpixel.datasets import fingerprint, open_dataset
from perpixel.errors import DataError, UsageError
from perpixel.images import write_labels
from perpixel.judging.evaluate import evaluate, judge
from perpixel.judging.scores import Scores
from perpixel.measures.boundary_iou import BoundaryIou
from perpixel.measures.calibration import Calibration
from perpixel.measures.confusion_matrix import ConfusionMatrix
from perpixel.measures.pixels import ClassScore, Pixels, summary_of
from perpixel.measures.surfaces import Surfaces
from perpixel.sample import Sample
from perpixel.training.recipe import Recipe

if HAS_TORCH:
    from perpixel.prediction.bulk import find_pictures, predict_all
    from perpixel.training.train import train
    from perpixel.weights.model_file import Model, load

approx = pytest.approx
FIGURES = ["mIoU", "pixel_accuracy", "mean_accuracy", "fwIoU", "mean_dice"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_torch()
    out = tmp_path_factory.mktemp("trained") / "run"
    recipe = Recipe(data=str(data), network="unet", convolutions="same", norm="batch", width=0.1, dropout=0.0, lr=1e-2, batch=4,
                    steps=40, validations=1, device="cpu")  # fmt: skip
    train(recipe, out, say=lambda _: None)
    return out


@pytest.fixture(scope="module")
def model(run: Path) -> Model:
    return load(run)


@pytest.fixture(scope="module")
def masks(model: Model, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the model predicts for the pictures of val."""
    out = tmp_path_factory.mktemp("predicted")
    sources = find_pictures([str(data / "images" / "val")])
    assert [outcome.status for outcome in predict_all(model, sources, out, overlays=False)] == ["done"] * 4
    return out / "masks"


def write(path: Path, values: list[list[int]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(values, np.uint8)).save(path)


def hand_made(root: Path, truths: list[list[list[int]]], csv: str = CLASSES_CSV) -> Path:
    """A folder whose val has the pictures p0, p1 ... with these masks."""
    for number, truth in enumerate(truths):
        write(root / "masks" / "val" / f"p{number}.png", truth)
        write(root / "images" / "val" / f"p{number}.png", truth)
    (root / "classes.csv").write_text(csv)
    return root


def scores_of(counts: list[list[int]], names: str) -> Scores:
    matrix = ConfusionMatrix(len(names))
    matrix.counts += np.array(counts)
    return Scores(Pixels(), summary_of(matrix, list(names)), {"split": "val", "weights": "none"}, 1)


def rows_of(scores: Scores) -> list[ClassScore]:
    return [ClassScore(**row) for row in scores.summary.details["classes"]]


def strictly(text: str) -> dict:
    """JSON without the NaN that Python's own reader would take."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


class TestHandWorked:
    """Truth and prediction of two pictures, void last: 11 pixels count.

        0 0 1    0 1 1      0 0 0    0 0 0
        1 2 v    1 0 2      1 1 0    1 1 0

    ground: 5 hits of 6, 1 from disc.  box: 4 hits of 4, 1 from ground.  disc: no hit of 1."""

    @pytest.fixture
    def scores(self, tmp_path: Path) -> Scores:
        root = hand_made(tmp_path / "data", [[[0, 0, 1], [1, 2, 255]], [[0, 0, 0], [1, 1, 0]]])
        write(tmp_path / "masks" / "p0.png", [[0, 1, 1], [1, 0, 2]])
        write(tmp_path / "masks" / "p1.png", [[0, 0, 0], [1, 1, 0]])
        return evaluate(tmp_path / "masks", open_dataset(root))

    def test_counts(self, scores: Scores) -> None:
        assert scores.totals.counts.tolist() == [[5, 1, 0], [0, 4, 0], [1, 0, 0]]

    def test_figures(self, scores: Scores) -> None:
        ground, box = 5 / 7, 4 / 5
        assert list(scores.figures) == FIGURES
        assert scores.mean_iou == scores.figures["mIoU"] == approx((ground + box + 0) / 3)
        assert scores.figures["pixel_accuracy"] == approx(9 / 11)
        assert scores.figures["mean_accuracy"] == approx((5 / 6 + 4 / 4 + 0) / 3)
        assert scores.figures["fwIoU"] == approx((6 * ground + 4 * box + 1 * 0) / 11)
        assert scores.figures["mean_dice"] == approx((10 / 12 + 8 / 9 + 0) / 3)

    def test_rows_come_worst_first(self, scores: Scores) -> None:
        disc, ground, box = rows_of(scores)
        assert (disc.name, ground.name, box.name) == ("disc", "ground", "box")
        assert (ground.iou, ground.dice, ground.accuracy, ground.precision) == approx((5 / 7, 10 / 12, 5 / 6, 5 / 6))
        assert (box.iou, box.dice, box.accuracy, box.precision) == approx((4 / 5, 8 / 9, 1, 4 / 5))
        assert (disc.iou, disc.accuracy, disc.pixels) == (0, 0, 1)
        assert disc.precision != disc.precision  # nothing was called disc where truth counts
        assert (ground.pixels, box.pixels) == (6, 4)

    def test_only_a_row_without_hits_says_why(self, scores: Scores) -> None:
        assert [row.why for row in rows_of(scores)] == ["never predicted; 100 % of it taken for ground", "", ""]


def voc_eval_seg(truths: list[np.ndarray], results: list[np.ndarray], num: int) -> tuple[float, float]:
    """Average accuracy and percentage of pixels of VOC's `VOCevalseg.m`, with num = nclasses + 1: background counts."""
    counts = np.zeros((num, num))
    for truth, result in zip(truths, results, strict=True):
        judged = truth < 255
        np.add.at(counts, (truth[judged], result[judged]), 1)
    accuracies = [100 * counts[j, j] / (counts[j].sum() + counts[:, j].sum() - counts[j, j]) for j in range(num)]
    return float(np.mean(accuracies)), float(100 * np.trace(counts) / counts.sum())


class TestVoc:
    """`VOCevalseg.m`: void is left out, the accuracy of a class is its IoU, background counts, and the mean is over all classes.

    There 0 / 0 of a class in neither is NaN, and so is the mean; ours leaves it out. In VOC's sets every class occurs."""

    def test_average_accuracy_is_the_mean_iou(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(1)
        truths, results = ([rng.integers(0, 3, (6, 7), np.uint8) for _ in range(2)] for _ in range(2))
        truths[0][:2] = 255
        root = hand_made(tmp_path / "data", [truth.tolist() for truth in truths])
        for number, result in enumerate(results):
            write(tmp_path / "masks" / f"p{number}.png", result.tolist())
        figures = evaluate(tmp_path / "masks", open_dataset(root)).figures
        average, percentage = voc_eval_seg(truths, results, 3)
        assert 100 * figures["mIoU"] == approx(average)
        assert 100 * figures["pixel_accuracy"] == approx(percentage)

    def test_by_hand(self) -> None:
        """Hits of unions: background 6 of 6 + 1 + 2, a 3 of 3 + 1 + 1, b 1 of 1 + 1; 10 of 13 pixels are right."""
        figures = scores_of([[6, 1, 0], [1, 3, 0], [1, 0, 1]], "0ab").figures
        assert figures["mIoU"] == approx((6 / 9 + 3 / 5 + 1 / 2) / 3)
        assert figures["pixel_accuracy"] == approx(10 / 13)
        assert figures["mean_accuracy"] == approx((6 / 7 + 3 / 4 + 1 / 2) / 3)


COUNTS = [  # rows are truth
    [6, 0, 3, 0, 2],  # a: found
    [0, 0, 0, 0, 0],  # b: nowhere
    [0, 0, 0, 0, 0],  # c: predicted only
    [3, 0, 0, 0, 1],  # d: never predicted
    [0, 0, 4, 0, 0],  # e: confused
]


class TestWhy:
    def test_sentences(self) -> None:
        why = {row.name: row.why for row in rows_of(scores_of(COUNTS, "abcde"))}
        assert why == {
            "a": "",
            "b": "absent from truth and prediction",
            "c": "absent from truth, predicted 7 times",
            "d": "never predicted; 75 % of it taken for a",
            "e": "confused: 100 % of it taken for c",
        }

    def test_classes_without_an_iou_come_last(self) -> None:
        assert [row.name for row in rows_of(scores_of(COUNTS, "abcde"))] == ["c", "d", "e", "a", "b"]

    def test_json_is_json(self) -> None:
        found = strictly(json.dumps(scores_of(COUNTS, "abcde").to_json()))
        assert set(found) == {"figures", "classes", "confusion", "protocol", "protocol_hash"}
        assert found["confusion"] == COUNTS
        assert found["classes"][-1] == {
            "name": "b", "iou": None, "dice": None, "accuracy": None, "precision": None, "pixels": 0,
            "why": "absent from truth and prediction",
        }  # fmt: skip
        assert found["figures"]["mIoU"] == approx((0 + 0 + 0 + 6 / 14) / 4)
        nothing = strictly(json.dumps(scores_of([[0]], "a").to_json()))
        assert nothing["figures"] == dict.fromkeys(FIGURES)


class TestModel:
    def test_a_model_and_its_masks_score_the_same(self, model: Model, masks: Path, data: Path) -> None:
        val = open_dataset(data)
        by_model, by_masks = evaluate(model, val), evaluate(masks, val)
        assert by_model.totals.counts.tolist() == by_masks.totals.counts.tolist()
        assert by_model.totals.counts.sum() == 4 * 24 * 31  # the last column is void
        assert by_model.figures == by_masks.figures
        assert by_model.mean_iou > 0.6
        assert by_model.protocol_hash == by_masks.protocol_hash
        assert (by_model.protocol["weights"], by_masks.protocol["weights"]) == (model.digest, "masks")

    def test_the_run_says_the_same(self, model: Model, run: Path, data: Path) -> None:
        assert json.loads((run / "scores.json").read_text()) == evaluate(model, open_dataset(data)).to_json()

    def test_progress_counts_pictures(self, model: Model, data: Path) -> None:
        output: list[tuple[int, int]] = []
        evaluate(model, open_dataset(data), progress=lambda done, total: output.append((done, total)))
        assert output == [(1, 4), (2, 4), (3, 4), (4, 4)]

    @pytest.mark.needs_torch
    @pytest.mark.parametrize("training", [True, False])
    def test_judging_in_training_leaves_the_mode_and_says_what_evaluate_does(
        self, data: Path, model: Model, training: bool
    ) -> None:
        val, network = open_dataset(data), model.ready().train(training)
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        for measure in (Pixels(), Surfaces(), Calibration()):
            summary = judge(network, val, measure, 1.0).summary
            assert network.training == training
            assert summary.to_json() == evaluate(model, val, measure).summary.to_json()
            network.train(training)
        assert all((tensor == before[name]).all() for name, tensor in network.state_dict().items())


class TestProtocol:
    def test_it_names_everything_that_must_be_equal(self, model: Model, data: Path) -> None:
        val = open_dataset(data)
        protocol = evaluate(model, val).protocol
        assert protocol["data"] == fingerprint(val)
        assert (protocol["split"], protocol["classes"], protocol["scales"]) == ("val", ["ground", "box", "disc"], [1.0])
        assert {"void", "empty_class", "resize", "window", "flips", "perpixel", "weights"} <= set(protocol)

    def test_two_models_on_one_split_may_be_compared(self, model: Model, data: Path) -> None:
        untrained = perpixel.build("unet", 3, width=0.02, convolutions="same").eval()
        val = open_dataset(data)
        one, other = evaluate(model, val), evaluate(replace(model, network=untrained, digest="another"), val)
        assert one.protocol != other.protocol
        assert one.protocol_hash == other.protocol_hash
        assert len(one.protocol_hash) == 12

    def test_another_split_other_data_or_another_scale_may_not(self, model: Model, data: Path, tmp_path: Path) -> None:
        other_data = make_folder(tmp_path / "data")
        mask = other_data / "masks" / "val" / "p03.png"
        values = np.array(Image.open(mask))
        values[0, 0] ^= 1
        Image.fromarray(values).save(mask)
        smaller = replace(model, card=replace(model.card, scale=0.5))
        val = open_dataset(data)
        hashes = {
            evaluate(model, val).protocol_hash,
            evaluate(model, open_dataset(data, split="train")).protocol_hash,
            evaluate(model, open_dataset(other_data)).protocol_hash,
            evaluate(smaller, val).protocol_hash,
        }
        assert len(hashes) == 4

    def test_equal_copies_of_the_data_are_the_same_data(self, model: Model, data: Path, tmp_path: Path) -> None:
        copy = open_dataset(make_folder(tmp_path / "copy"))
        assert evaluate(model, copy).protocol_hash == evaluate(model, open_dataset(data)).protocol_hash


class TestRefusals:
    @pytest.fixture
    def val(self, tmp_path: Path):
        return open_dataset(hand_made(tmp_path / "data", [[[0, 1], [2, 255]]]))

    @pytest.mark.parametrize("place", ["{name}", "{name}_leftImg8bit", "masks/{city}/{name}_leftImg8bit"])
    def test_masks_may_be_called_as_the_files_of_pictures(self, tmp_path: Path, place: str) -> None:
        dataset = open_dataset("cityscapes", root=make_cityscapes(tmp_path / "data"), split="val")
        for index in range(len(dataset)):
            name = dataset.name(index)
            path = tmp_path / "found" / f"{place.format(name=name, city=name.split('_')[0])}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            labels = dataset.sample(index).labels
            write_labels(path.parent, path.name, np.where(labels == dataset.classes.void, 0, labels), dataset.classes)
        assert evaluate(tmp_path / "found", dataset).totals.pixel_accuracy() == 1

    def test_no_mask(self, val, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"masks.p0\.png: there is no mask for the picture p0"):
            evaluate(tmp_path / "masks", val)

    @pytest.mark.parametrize("measure", [Pixels(), BoundaryIou()])
    def test_a_truth_without_labels_is_told_before_its_mask_is_asked_for(self, val, measure, tmp_path: Path) -> None:
        class Unlabelled:
            classes, split, splits, name = val.classes, "val", ("val",), val.name

            def __len__(self) -> int:
                return 1

            def sample(self, index: int) -> Sample:
                return replace(val.sample(index), labels=None)

        with pytest.raises(DataError, match="p0: has no labels to judge by; add its mask or choose another split"):
            evaluate(tmp_path / "masks", Unlabelled(), measure)

    def test_a_mask_of_another_size(self, val, tmp_path: Path) -> None:
        write(tmp_path / "masks" / "p0.png", [[0, 1, 1], [2, 0, 0]])
        with pytest.raises(DataError, match=r"masks.p0\.png: is \(2, 3\), the truth \(2, 2\)"):
            evaluate(tmp_path / "masks", val)

    def test_a_value_that_no_class_has(self, val, tmp_path: Path) -> None:
        write(tmp_path / "masks" / "p0.png", [[0, 1], [9, 0]])
        with pytest.raises(DataError, match=r"masks.p0\.png: value 9 at row 1, column 0"):
            evaluate(tmp_path / "masks", val)

    def test_void_where_truth_has_a_class(self, val, tmp_path: Path) -> None:
        write(tmp_path / "masks" / "p0.png", [[0, 255], [2, 0]])
        with pytest.raises(DataError, match=r"masks.p0\.png: is void at row 0, column 1 \(value 255, 1 pixels\)"):
            evaluate(tmp_path / "masks", val)

    def test_no_picture_as_a_mask(self, val, tmp_path: Path) -> None:
        (tmp_path / "masks").mkdir()
        (tmp_path / "masks" / "p0.png").write_bytes(b"words")
        with pytest.raises(DataError, match=r"masks.p0\.png: is no PNG"):
            evaluate(tmp_path / "masks", val)

    def test_other_classes(self, model: Model, tmp_path: Path) -> None:
        other = open_dataset(hand_made(tmp_path / "data", [[[0, 1]]], "id,name\n0,sea\n1,land\n"))
        with pytest.raises(UsageError, match="the model knows the classes ground, box, disc; the data set has sea, land"):
            evaluate(model, other)


class TestCommand:
    def test_json_alone_on_stdout(self, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
        main(["evaluate", str(run), "--json"])
        assert strictly(capsys.readouterr().out) == json.loads((run / "scores.json").read_text())

    def test_the_data_are_those_of_the_run_unless_others_are_named(
        self, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        other = make_folder(tmp_path / "other", val=2)
        main(["evaluate", str(run), "--json", "--data", str(other), "--split", "val"])
        assert np.sum(json.loads(capsys.readouterr().out)["confusion"]) == 2 * 24 * 31
        main(["evaluate", str(run), "--json", "--split", "train"])
        assert np.sum(json.loads(capsys.readouterr().out)["confusion"]) == 8 * 24 * 31

    def test_a_folder_of_masks(self, run: Path, masks: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
        main(["evaluate", str(masks), "--data", str(data), "--json"])
        ours, theirs = json.loads(capsys.readouterr().out), json.loads((run / "scores.json").read_text())
        assert ours.pop("protocol")["weights"] == "masks"
        theirs.pop("protocol")
        assert ours == theirs
        with pytest.raises(SystemExit) as left:
            main(["evaluate", str(masks)])
        assert left.value.code == 2
        assert "name the data set to judge" in capsys.readouterr().err

    def test_a_table_worst_first_with_the_protocol(self, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
        main(["evaluate", str(run)])
        lines = capsys.readouterr().out.splitlines()
        scores = json.loads((run / "scores.json").read_text())
        assert [line.split()[0] for line in lines] == ["class", *(row["name"] for row in scores["classes"]), "mIoU"]
        assert lines[1].split()[1] == f"{100 * scores['classes'][0]['iou']:.1f}"
        assert lines[-1].endswith(f"split val, protocol {scores['protocol_hash']}")

    def test_class_names_are_printed_as_they_are(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        csv = "id,name\n0,road [wet]\n1,[/sky]\n2,:car:\n"
        root = hand_made(tmp_path / "data", [[[0, 1, 2]]], csv)
        main(["evaluate", str(root / "masks" / "val"), "--data", str(root)])
        lines = capsys.readouterr().out.splitlines()[1:-1]
        assert [line.split("  ")[0] for line in lines] == ["road [wet]", "[/sky]", ":car:"]


class TestOneBadMaskNeverStopsTheOthers:
    """A missing, a cut and a foreign mask among sound ones: each is named, and the figures are those of the others."""

    MEASURES = (
        ("folder", []), ("folder", ["--boundary-iou"]), ("cells", ["--objects", "object"]),
        ("cells", ["--membranes", "background"]), ("cityscapes", ["--cityscapes"]), ("cityscapes", []),
    )  # fmt: skip

    def prepared(self, kind: str, root: Path) -> tuple[Path, list[str], list[Path]]:
        """Truth as masks of predictions, the flags that name the data, and the files of the masks."""
        if kind == "cityscapes":
            flags = ["--data", "cityscapes", "--root", str(make_cityscapes(root / "data"))]
            dataset = open_dataset("cityscapes", root=root / "data")
        else:
            make = make_folder if kind == "folder" else make_instances
            flags = ["--data", str(make(root / "data", train=1, val=5))]
            dataset = open_dataset(root / "data")
        files = []
        for index in range(len(dataset)):
            labels = dataset.sample(index).labels
            labels = np.where(labels == dataset.classes.void, 0, labels).astype(labels.dtype)
            name = dataset.name(index).rpartition("/")[2]
            files.append(write_labels(root / "masks", f"{name}.png", labels, dataset.classes))
        return root / "masks", flags, files

    @pytest.mark.parametrize(("kind", "measure"), MEASURES)
    def test_of_every_measure(self, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, measure: list[str]) -> None:
        masks, flags, files = self.prepared(kind, tmp_path)
        bad = files[: len(files) // 2]
        bad[0].write_bytes(bad[0].read_bytes()[:50])
        for file in bad[1:]:
            file.unlink()
        with pytest.raises(SystemExit) as left:
            main(["evaluate", str(masks), *flags, *measure, "--json"])
        output = capsys.readouterr()
        assert left.value.code == 3
        assert f"{len(bad)} of {len(files)} pictures cannot be judged; the figures are of the others alone" in output.err
        assert all(file.stem in output.err for file in bad)
        scores = strictly(output.out)
        assert [name.rpartition("/")[2] for name in scores["protocol"]["left_out"]] == [file.stem for file in bad]
        for path in [path for file in bad for path in (tmp_path / "data").rglob(f"{file.stem}*")]:
            path.unlink()
        main(["evaluate", str(masks), *flags, *measure, "--json"])
        assert scores["figures"] == strictly(capsys.readouterr().out)["figures"]

    def test_intervals_are_of_all_pictures_or_of_none(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        masks, flags, files = self.prepared("folder", tmp_path)
        files[0].unlink()
        with pytest.raises(SystemExit) as left:
            main(["evaluate", str(masks), *flags, "--bootstrap", "10"])
        assert left.value.code == 3
        assert "leave --bootstrap out" in capsys.readouterr().err

    def test_nothing_is_judged_where_every_mask_is_bad(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        masks, flags, files = self.prepared("folder", tmp_path)
        for file in files:
            file.write_bytes(b"")
        with pytest.raises(SystemExit) as left:
            main(["evaluate", str(masks), *flags])
        output = capsys.readouterr()
        assert (left.value.code, output.out) == (3, "")
        assert "4 more of 5 pictures cannot be judged." in output.err

    def test_a_truth_that_cannot_be_read_is_left_out_too(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        masks, flags, _ = self.prepared("folder", tmp_path)
        (tmp_path / "data/masks/val/p03.png").write_bytes(b"")
        with pytest.raises(SystemExit) as left:
            main(["evaluate", str(masks), *flags, "--json"])
        output = capsys.readouterr()
        assert left.value.code == 3
        assert strictly(output.out)["protocol"]["left_out"] == ["p03"]
