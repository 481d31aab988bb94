"""By what a training judges val: the names of measures and figures, which value is the better one, what is refused."""

import json
import math
from pathlib import Path

import pytest
from fake_networks import Blobs, BlobsAndPixels
from fakes import make_folder, make_instances

import perpixel
from perpixel.datasets import open_dataset
from perpixel.errors import UnknownName, UsageError
from perpixel.measures.calibration import Calibration
from perpixel.measures.instances import AveragePrecision
from perpixel.measures.objects import Objects
from perpixel.measures.pixels import Pixels
from perpixel.measures.surfaces import Surfaces
from perpixel.training.criterion import Criterion, criterion_of
from perpixel.training.recipe import Recipe
from perpixel.training.run import HISTORY
from perpixel.training.train import train
from perpixel.weights import model_file


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_instances(tmp_path / "data")


def small(data: Path, **changes: object) -> Recipe:
    settings = {"data": str(data), "network": "unet", "convolutions": "same", "norm": "batch", "width": 0.05, "batch": 4,
                "steps": 4, "validations": 1, "device": "cpu"}  # fmt: skip
    return Recipe(**{**settings, **changes})


def unet() -> perpixel.networks.Network:
    return perpixel.build("unet", 2, convolutions="same", width=0.02)


@pytest.mark.parametrize(
    ("network", "settings", "measure", "figure"),
    [
        (unet, {}, Pixels(), "mIoU"),
        (BlobsAndPixels, {}, Pixels(), "mIoU"),
        (Blobs, {}, AveragePrecision("mask"), "AP"),
        (Blobs, {"measure": "pixels"}, Pixels(), "mIoU"),
        (Blobs, {"measure": "instances=boundary", "figure": "AR_10"}, AveragePrecision("boundary"), "AR_10"),
        (unet, {"measure": "objects=object"}, Objects("object"), "SEG"),
        (unet, {"measure": "calibration"}, Calibration(), "Brier"),
        (unet, {"figure": "mean_dice"}, Pixels(), "mean_dice"),
    ],
)
def test_a_recipe_names_measure_and_figure(
    data: Path, network: type, settings: dict[str, str], measure: object, figure: str
) -> None:
    assert criterion_of(Recipe(data=str(data), **settings), network(), open_dataset(data)) == Criterion(measure, figure)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"measure": "objects"}, "measure = 'objects': judges one class; name it, as in objects=object"),
        ({"measure": "objects=cell"}, "no class 'cell'"),
        ({"measure": "cityscapes"}, "the benchmark of Cityscapes judges Cityscapes alone"),
        ({"measure": "instances"}, "measure = 'instances': predicts no instances; unet needs another measure"),
        ({"measure": "panoptic"}, "measure = 'panoptic': predicts no segments; unet needs another measure"),
        ({"figure": "mIou"}, "no figure of pixels that chooses weights 'mIou'; did you mean 'mIoU'"),
        ({"measure": "objects=object", "figure": "true_objects"}, "no figure of objects that chooses weights 'true_objects'"),
        ({"measure": "instances=masks"}, "no kind of average precision 'masks'; did you mean 'mask'"),
    ],
)
def test_what_cannot_judge_is_refused_before_the_folder_is_touched(
    data: Path, tmp_path: Path, settings: dict[str, str], says: str
) -> None:
    with pytest.raises((UsageError, UnknownName)) as caught:
        train(small(data, **settings), tmp_path / "run")
    assert says in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_truth_that_cannot_be_judged_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"measure = 'objects': cannot judge val \(p00: has no instances"):
        train(small(make_folder(tmp_path / "data"), measure="objects=box"), tmp_path / "run", say=lambda _: None)
    assert not (tmp_path / "run/last").exists()


def test_some_figures_are_better_when_they_are_larger_others_when_smaller() -> None:
    for criterion, worse, better in (
        (Criterion(Pixels(), "mIoU"), 0.5, 0.6),
        (Criterion(Surfaces(), "hausdorff95"), 12.0, 3.0),
        (Criterion(Calibration(), "ECE"), 0.2, 0.1),
    ):
        assert criterion.improves(worse, None)
        assert criterion.improves(better, worse)
        assert not criterion.improves(worse, better)
        assert not criterion.improves(worse, worse)
        assert not criterion.improves(math.nan, worse)
        assert not criterion.improves(math.nan, None)


def test_figures_are_told_as_people_see_them() -> None:
    assert Criterion(Pixels(), "mIoU").text(0.5432) == "mIoU 54.3"
    assert Criterion(Surfaces(), "hausdorff95").text(3.14159) == "hausdorff95 3.14"
    assert Criterion(Pixels(), "mIoU").text(math.nan) == "mIoU nan"


def test_curves_show_figures_of_one_unit_and_direction() -> None:
    assert Criterion(Pixels(), "mIoU").drawn == ["mIoU", "pixel_accuracy"]
    assert Criterion(AveragePrecision(), "AP").drawn == ["AP", "AP50"]
    assert Criterion(Surfaces(), "surface_dice").drawn == ["surface_dice"]
    assert Criterion(Surfaces(), "hausdorff95").drawn == ["hausdorff95", "surface_distance"]
    assert Criterion(Objects("cell"), "splits").drawn == ["splits", "merges"]


@pytest.mark.parametrize(("measure", "figure"), [("surfaces", "hausdorff95"), ("calibration", "ECE"), ("objects=object", "SEG")])
def test_the_kept_weights_are_the_best_by_the_figure(data: Path, tmp_path: Path, measure: str, figure: str) -> None:
    out, messages = tmp_path / "run", []
    recipe = small(data, steps=12, validations=6, lr=3e-2, measure=measure, figure=figure)
    scores = train(recipe, out, say=lambda _: None, progress=lambda *seen: messages.append(seen[2]))
    judged = [entry for line in (out / HISTORY).read_text().splitlines() if figure in (entry := json.loads(line))]
    values = [entry[figure] for entry in judged]
    best = max(values) if figure == "SEG" else min(values)
    assert len(set(values)) > 1
    card = model_file.load(out).card
    assert card.score[figure] == best
    assert card.score["measure"] == measure.partition("=")[0]
    assert card.step == judged[values.index(best)]["step"]
    assert scores is not None
    assert scores.figures[figure] == pytest.approx(best, rel=1e-6)
    assert f"val {figure} " in messages[-1]
