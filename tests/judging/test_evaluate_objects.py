"""evaluate --objects and --membranes: from a model or masks to figures, their rules in the protocol, and what people see."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import draw_cells, make_cell_tracking, make_isbi2012
from hidden_torch import HAS_TORCH, require_torch
from PIL import Image

from perpixel.classes import ClassTable
from perpixel.cli import main
from perpixel.datasets import open_dataset
from perpixel.errors import DataError, UnknownName, UsageError
from perpixel.judging.answers import pairs_of
from perpixel.judging.evaluate import counted, evaluate
from perpixel.masks.components import components, of_class
from perpixel.measures.membranes import Membranes, figures, sweep
from perpixel.measures.objects import Objects, overlaps, seg
from perpixel.sample import Instances, Sample
from perpixel.training.recipe import Recipe

if HAS_TORCH:
    from perpixel.prediction.predict import predict
    from perpixel.training.train import train
    from perpixel.weights.model_file import load, save_model

approx = pytest.approx


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ISBI 2012 and the cell tracking sets, drawn."""
    return make_cell_tracking(make_isbi2012(tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="module")
def run(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_torch()
    """Trained for a moment on `rest1of5`: it knows bright from dark, and membranes it misses."""
    out = tmp_path_factory.mktemp("trained") / "run"
    recipe = Recipe(data="isbi2012", root=str(root), train_split="rest1of5", val_split="fold1of5", network="unet", norm="batch",
                    convolutions="same", width=0.05, dropout=0.0, lr=1e-2, batch=4, steps=12, validations=1,
                    device="cpu")  # fmt: skip
    train(recipe, out, say=lambda _: None)
    return out


def put_masks(folder: Path, of: Callable[[np.ndarray], np.ndarray]) -> Path:
    """Masks for the slices 00 and 05, those of `fold1of5`, by `of` from the numbers of the cells."""
    folder.mkdir(parents=True)
    for page in (0, 5):
        Image.fromarray(np.where(of(draw_cells(page)[1]), 255, 0).astype(np.uint8)).save(folder / f"{page:02}.png")
    return folder


@pytest.fixture
def run_evaluate(capsys: pytest.CaptureFixture[str], root: Path) -> Callable[..., tuple[int, str, str]]:
    """Runs `evaluate` on the slices; gives the exit code, stdout and stderr."""

    def run(folder: Path, *arguments: object) -> tuple[int, str, str]:
        code = 0
        place = ["--data", "isbi2012", "--root", root, "--split", "fold1of5"]
        try:
            main([str(argument) for argument in ("evaluate", folder, *place, *arguments)])
        except SystemExit as left:
            code = left.code
        out, err = capsys.readouterr()
        return code, out, err

    return run


class TestObjects:
    def test_masks_of_the_truth_are_perfect(self, root, tmp_path) -> None:
        masks = put_masks(tmp_path / "masks", lambda numbers: numbers > 0)
        scores = evaluate(masks, open_dataset("isbi2012", root=root, split="fold1of5"), Objects("inside"))
        assert scores.figures == {
            "SEG": 1, "AP": 1, "AP50": 1, "AP75": 1, "true_objects": 5, "predicted_objects": 5, "splits": 0, "merges": 0,
        }  # fmt: skip

    def test_a_dropped_and_a_split_cell_cost_what_they_should(self, root, tmp_path) -> None:
        def changed(numbers: np.ndarray) -> np.ndarray:
            kept = (numbers > 0) & (numbers != 4)  # one of five objects is dropped
            kept[:, 14] &= numbers[:, 14] != 5  # another, columns 10 to 17, falls into 24 and 18 of 48 pixels
            return kept

        masks = put_masks(tmp_path / "masks", changed)
        scores = evaluate(masks, open_dataset("isbi2012", root=root, split="fold1of5"), Objects("inside"))
        assert scores.figures == approx({
            "SEG": 3 / 5, "AP": 3 / 7, "AP50": 3 / 7, "AP75": 3 / 7, "true_objects": 5, "predicted_objects": 5, "splits": 2,
            "merges": 0,
        })  # fmt: skip

    def test_rules_change_what_is_an_object_and_stand_in_the_protocol(self, root, tmp_path) -> None:
        masks = put_masks(tmp_path / "masks", lambda numbers: numbers > 0)
        dataset = open_dataset("isbi2012", root=root, split="fold1of5")
        plain = evaluate(masks, dataset, Objects("inside"))
        corners = evaluate(masks, dataset, Objects("inside", connectivity=8))  # 1 and 2 are one, 3 touches it by a corner
        large = evaluate(masks, dataset, Objects("inside", minimum_area=49))
        assert [scores.figures["predicted_objects"] for scores in (plain, corners, large)] == [5, 4, 1]
        assert corners.figures["merges"] == 2
        rules = large.protocol["objects"]
        assert (rules["class"], rules["connectivity"], rules["minimum_area"], rules["fill_holes"]) == ("inside", 4, 49, False)
        assert len({scores.protocol_hash for scores in (plain, corners, large)}) == 3
        assert plain.protocol_hash == evaluate(masks, dataset, Objects("inside")).protocol_hash

    def test_a_model_is_judged_by_what_it_predicts(self, root, run) -> None:
        model, dataset = load(run), open_dataset("isbi2012", root=root, split="fold1of5")
        scores = evaluate(model, dataset, Objects("inside"))
        expected = []
        for index in range(len(dataset)):
            sample = dataset.sample(index)
            found = components(predict(model, sample.image).labels, 1)
            expected += seg(overlaps(of_class(sample.instances, 1), found)).tolist()
        assert scores.figures["SEG"] == approx(np.mean(expected))
        assert scores.protocol["weights"] == model.digest

    def test_a_cell_that_was_not_segmented_is_not_judged_where_it_is_known(self, root, tmp_path) -> None:
        # The marker of cell 6 is void: a prediction of the marker alone is no mistake, one of the whole cell is.
        dataset = open_dataset("phc_u373", root=root, split="02")
        for name, shown in (("marker", None), ("cell", 6)):
            for index in range(len(dataset)):
                film, frame = dataset.name(index).split("/t")
                cells = draw_cells(10 * int(film) + int(frame))[1]
                mask = (cells > 0) & (cells != 6)
                mask |= cells == shown if shown else dataset.sample(index).labels == dataset.classes.void
                path = tmp_path / name / f"{dataset.name(index)}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask.astype(np.uint8)).save(path)
        marker, cell = (evaluate(tmp_path / name, dataset, Objects("cell")).figures for name in ("marker", "cell"))
        assert cell["predicted_objects"] - marker["predicted_objects"] == 1
        assert cell["AP"] < marker["AP"]
        assert cell["SEG"] == marker["SEG"]

    def test_mistakes(self, root, tmp_path, run) -> None:
        dataset = open_dataset("isbi2012", root=root, split="fold1of5")
        with pytest.raises(UnknownName, match="no class 'insid'; did you mean 'inside'"):
            evaluate(tmp_path, dataset, Objects("insid"))
        with pytest.raises(DataError, match=r"00\.png: there is no mask for the picture 00"):
            evaluate(tmp_path, dataset, Objects("inside"))
        with pytest.raises(UsageError, match="connectivity = 5"):
            evaluate(tmp_path, dataset, Objects("inside", connectivity=5))


def test_a_crowd_is_not_judged(tmp_path) -> None:
    class One:
        """One picture with a cell and a crowd of cells; both are predicted, the crowd as two."""

        classes, split, splits = ClassTable.of(["background", "cell"]), "val", ("val",)
        masks = np.zeros((2, 12, 12), bool)
        masks[0, 1:4, 1:4] = masks[1, 6:11, 1:11] = True

        def __len__(self) -> int:
            return 1

        def name(self, index: int) -> str:
            return "a"

        def sample(self, index: int) -> Sample:
            objects = Instances(self.masks, np.array([1, 1]), crowd=np.array([False, True]))
            return Sample("a", np.zeros((12, 12, 3), np.uint8), self.masks.any(0).astype(np.uint8), objects)

    found = One.masks.any(0)
    found[6:11, 5] = False
    Image.fromarray(found.astype(np.uint8)).save(tmp_path / "a.png")
    scores = evaluate(tmp_path, One(), Objects("cell")).figures
    assert (scores["true_objects"], scores["predicted_objects"], scores["SEG"], scores["splits"]) == (1, 1, 1, 0)


def test_a_picture_without_instances_is_told(tmp_path) -> None:
    dataset = open_dataset("scenes")

    class Labelled:  # the same pictures with labels alone
        classes, split, splits = dataset.classes, "val", ("val",)
        name, __len__ = dataset.name, lambda self: 1

        def sample(self, index):
            sample = dataset.sample(index)
            return type(sample)(sample.name, sample.image, sample.labels)

    with pytest.raises(DataError, match="has no instances to judge objects by; add them, or judge without --objects"):
        evaluate(tmp_path, Labelled(), Objects("car"))


class TestMembranes:
    def test_a_model_is_judged_by_its_probabilities(self, root, run) -> None:
        model, dataset = load(run), open_dataset("isbi2012", root=root, split="fold1of5")
        scores = evaluate(model, dataset, Membranes("membrane", [0.2, 0.5]))
        sweeps = []
        for index in range(len(dataset)):
            sample = dataset.sample(index)
            inside = 1 - predict(model, sample.image, scores=True).scores[0]
            sweeps.append(sweep(sample.labels == 1, inside, [0.2, 0.5]))
        best = figures(sweeps, [0.2, 0.5])
        assert scores.totals == best
        assert scores.figures == {name: measured.value for name, measured in best.items()}
        assert scores.figures["pixel_error"] > 0
        assert scores.protocol["membranes"]["thresholds"] == [0.2, 0.5]
        assert [row["name"] for row in scores.to_json()["pictures"]] == ["00", "05"]

    def test_masks_are_the_same_at_every_threshold(self, root, tmp_path) -> None:
        masks = put_masks(tmp_path / "masks", lambda numbers: numbers > 0)
        dataset = open_dataset("isbi2012", root=root, split="fold1of5")
        assert [*evaluate(masks, dataset, Membranes("membrane")).figures.values()] == approx([0, 0, 0, 0, 1, 1])
        sweeps, _ = counted(pairs_of(masks, dataset, Membranes("membrane")))
        assert len(sweeps) == 2
        assert all((one.pixels == one.pixels[0]).all() and len(one.pixels) == 10 for one in sweeps)

    def test_void_has_no_rule_here(self, root, tmp_path) -> None:
        with pytest.raises(DataError, match="t001: has void pixels, for which these measures have no rule"):
            evaluate(tmp_path, open_dataset("phc_u373", root=root, split="01"), Membranes("background"))


class TestCommand:
    def test_the_table_of_objects(self, run_evaluate, tmp_path) -> None:
        masks = put_masks(tmp_path / "masks", lambda numbers: numbers > 0)
        code, out, _ = run_evaluate(masks, "--objects", "inside", "--minimum-area", 49, "--fill-holes", "--connectivity", 8)
        lines = out.splitlines()
        assert code == 0
        # One object of 144 pixels is left, of a true one of 96 and one of 48: (2/3 + 1/3) / 5, and a hit up to an IoU of 0.65.
        assert [line.split()[-1] for line in lines[1:5]] == ["20.0", "8.0", "20.0", "0.0"]
        assert [" ".join(line.split()) for line in lines[5:9]] == [
            "true objects a picture 5.0", "predicted objects a picture 1.0", "true objects that are split 0",
            "objects that merge true ones 2",
        ]  # fmt: skip
        assert lines[9].startswith("2 pictures, connectivity 8, 49 pixels or more, holes filled; split fold1of5, protocol ")

    def test_the_table_of_membranes(self, run_evaluate, run) -> None:
        code, out, _ = run_evaluate(run, "--membranes", "membrane", "--thresholds", 0.3, 0.6)
        lines = [line.split() for line in out.splitlines()]
        assert code == 0
        assert [line[0] for line in lines[1:7]] == [
            "pixel_error", "rand_error", "warping_error", "topology_error", "v_rand", "v_info"]  # fmt: skip
        assert all(line[2] in ("0.3", "0.6") for line in lines[1:7])
        assert lines[7][:6] == ["2", "pictures,", "best", "of", "2", "thresholds;"]

    @pytest.mark.parametrize("arguments", [("--objects", "inside"), ("--membranes", "membrane")])
    def test_json_has_figures_pictures_and_protocol(self, run_evaluate, run, arguments) -> None:
        code, out, _ = run_evaluate(run, *arguments, "--json")
        found = json.loads(out, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
        assert code == 0
        assert list(found) == ["figures", "pictures", "protocol", "protocol_hash"]
        assert [row["name"] for row in found["pictures"]] == ["00", "05"]
        assert found["protocol"]["split"] == "fold1of5"
        assert found["protocol"][arguments[0].removeprefix("--")]["class"] == arguments[1]

    @pytest.mark.parametrize(
        ("arguments", "part"),
        [
            (["--objects", "inside", "--membranes", "membrane"], "--objects and --membranes are two judgements"),
            (["--minimum-area", "5"], "--minimum-area belongs to --objects; name its class, or leave it out."),
            (["--membranes", "membrane", "--fill-holes"], "--fill-holes belongs to --objects"),
            (["--objects", "inside", "--thresholds", "0.5"], "--thresholds belongs to --membranes"),
            (["--objects", "inside", "--connectivity", "6"], "connectivity = 6: pixels of an object share edges (4)"),
            (["--membranes", "membrane", "--thresholds", "1"], "thresholds [1.0]: give at least one, each from 0 to below 1."),
            (["--membranes", "membran"], "no class 'membran'; did you mean 'membrane'?"),
        ],
    )
    def test_one_sentence_for_a_mistake(self, run_evaluate, tmp_path, arguments, part) -> None:
        code, out, err = run_evaluate(tmp_path, *arguments)
        assert (code, out) == (2, "")
        assert part in err
        assert len(err.splitlines()) == 1


@pytest.mark.parametrize("measure", [[], ["--objects", "inside"], ["--membranes", "membrane"], ["--boundary-iou"]])
def test_models_with_data_of_their_own_are_compared_on_no_other(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], measure: list[str]
) -> None:
    model, other = load(run), tmp_path / "other"
    other.mkdir()
    save_model(other, model.network.state_dict(), replace(model.card, recipe=model.card.recipe | {"val_split": "rest1of5"}))
    with pytest.raises(SystemExit) as left:
        main(["compare", str(run), str(other), *measure, "--samples", "9"])
    assert left.value.code == 2
    assert "in 'split': fold1of5 and rest1of5" in capsys.readouterr().err
    main(["compare", str(run), str(other), *measure, "--samples", "9", "--split", "fold1of5"])
    assert "+0.0" in capsys.readouterr().out


def test_nan_is_null_in_json(root, tmp_path) -> None:
    dataset = open_dataset("isbi2012", root=root, split="fold1of5")
    masks = put_masks(tmp_path / "masks", lambda numbers: numbers > 0)
    scores = evaluate(masks, dataset, Objects("membrane"))  # no instance is of this class
    assert math.isnan(scores.figures["SEG"])
    assert scores.to_json()["figures"]["SEG"] is None
    assert scores.to_json()["figures"]["AP"] == 0
