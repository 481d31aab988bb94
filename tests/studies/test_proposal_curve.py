"""proposal-curve: one pass over each picture gives the scores of `evaluate` for each number of boxes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import make_folder, say_every_class

import perpixel
from perpixel.classes import ClassTable
from perpixel.cli import main
from perpixel.datasets import Dataset
from perpixel.errors import UnknownName, UsageError
from perpixel.images import read_image
from perpixel.prediction.inference import Inference
from perpixel.studies.proposal_curve import JSON, PICTURE, proposal_curve, write_curve
from perpixel.weights.model_file import Model, ModelCard, save_model

ARGUMENTS = {"convolutions": "same", "width": 0.05}


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(3)
    classes = ClassTable.of(["ground", "box", "disc"])
    card = ModelCard("unet", ARGUMENTS, classes.to_json(), {}, 1.0, 0, {}, "", "")
    return Model(say_every_class(perpixel.build("unet", 3, **ARGUMENTS).eval()), classes, card, "digest")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return perpixel.open_dataset(make_folder(tmp_path_factory.mktemp("data"), train=1, val=2), split="val")


@pytest.mark.parametrize("merge", ["max", "sum"])
def test_each_point_is_what_evaluate_finds(model: Model, data: Dataset, merge: str) -> None:
    scores_by_boxes = proposal_curve(model, data, (9, 1, 4, 4), "sliding", merge)
    assert list(scores_by_boxes) == [1, 4, 9]
    for boxes, scores in scores_by_boxes.items():
        expected = perpixel.evaluate(model, data, inference=Inference(boxes, "sliding", merge))
        assert np.abs(scores.totals.counts - expected.totals.counts).sum() <= 2  # batches of other sizes round otherwise
        assert scores.protocol == expected.protocol
    assert len({scores.totals.counts.tobytes() for scores in scores_by_boxes.values()}) == 3
    assert len({scores.protocol_hash for scores in scores_by_boxes.values()}) == 3


def test_more_boxes_than_there_are_is_all_of_them(model: Model, data: Dataset) -> None:
    few = proposal_curve(model, data, (1,), "sliding", "released")[1]
    many = proposal_curve(model, data, (1, 2000), "sliding", "released")[2000]
    assert few.totals.counts.tolist() == many.totals.counts.tolist()  # none is large enough: all is the first class
    assert not few.totals.counts[:, 1:].any()


def test_json_and_a_picture_of_the_curve(model: Model, data: Dataset, tmp_path: Path) -> None:
    scores_by_boxes = proposal_curve(model, data, (1, 3), "sliding", "sum")
    rows = write_curve(tmp_path / "deep" / "curve", scores_by_boxes)
    assert json.loads((tmp_path / "deep" / "curve" / JSON).read_text()) == rows
    assert [row["boxes"] for row in rows] == [1, 3]
    assert [row["mIoU"] for row in rows] == [scores.mean_iou for scores in scores_by_boxes.values()]
    assert rows[1]["protocol"]["window"].startswith("3 boxes by sliding")
    assert read_image(tmp_path / "deep" / "curve" / PICTURE).shape == (300, 920, 3)


@pytest.mark.parametrize("counts", [(), (0, 5), (-1,)], ids=str)
def test_a_curve_is_over_boxes(model: Model, data: Dataset, counts: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="a curve is over boxes; give whole numbers of at least 1"):
        proposal_curve(model, data, counts, "sliding")


def test_names_are_checked(model: Model, data: Dataset) -> None:
    with pytest.raises(UnknownName, match="no merge 'summ'; did you mean 'sum'"):
        proposal_curve(model, data, (1,), "sliding", "summ")


def test_the_command(model: Model, data: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_folder(tmp_path / "data", train=1, val=1)
    (tmp_path / "run").mkdir()
    save_model(tmp_path / "run", model.network.state_dict(), model.card)
    places = ["--data", str(folder), "--out", str(tmp_path / "out"), "--device", "cpu"]
    arguments = ["proposal-curve", str(tmp_path / "run"), *places, "--counts", "1", "2", "--proposals-by", "sliding"]
    main(arguments)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["boxes", "1", "2"]
    main([*arguments, "--json"])
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "out" / JSON).read_text())
    with pytest.raises(SystemExit) as left:
        main([*arguments, "--merge", "maxx"])
    assert left.value.code == 2
    assert "no merge 'maxx'" in capsys.readouterr().err
