"""Scores in files: of chosen classes, as float32, float16 or uint8; the same numbers from every way to predict."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from coarse_networks import Coarse, model_of
from fakes import draw_sample, make_folder, make_model

from perpixel.classes import ClassTable
from perpixel.errors import DataError, UnknownName, UsageError
from perpixel.prediction.inference import PLAIN, Inference
from perpixel.prediction.kept_scores import NUMBERS, KeptScores
from perpixel.weights.exported_file import ExportedNetwork

CLASSES = ["ground", "box", "disc"]
NEAR = {"float32": 0, "float16": 2**-11, "uint8": 0.5 / 255 + 1e-7}  # by half of the last digit


@pytest.mark.parametrize("numbers", NUMBERS)
@pytest.mark.parametrize("inference", [PLAIN, Inference(average="mirror"), Inference(scales=(0.5, 1)), Inference(crf="deeplab")])
def test_numbers_are_those_of_all_scores(inference: Inference, numbers: str) -> None:
    torch.manual_seed(0)
    model, image = model_of(Coarse(3, 5, 4), 3), draw_sample(0, (29, 40))[0]
    table = model.classes
    chosen = (table.names[2], table.names[0])
    every = inference.predictor(model, scores=True)(image)
    kept = inference.predictor(model, KeptScores(numbers, chosen))(image)
    assert (kept.scores.dtype, kept.scores.shape) == (np.dtype(numbers), (2, 29, 40))
    values = kept.scores.astype(np.float64) / (255 if numbers == "uint8" else 1)
    np.testing.assert_allclose(values, every.scores[[2, 0]], rtol=0, atol=NEAR[numbers])
    np.testing.assert_array_equal(kept.labels, every.labels)


@pytest.mark.parametrize("numbers", NUMBERS)
def test_an_exported_file_keeps_what_is_asked_for(numbers: str) -> None:
    image = np.zeros((5, 7, 3), np.uint8)
    probabilities = torch.rand(3, 5, 7, generator=torch.Generator().manual_seed(0)).numpy()
    model = replace(model_of(Coarse(3, 5, 4), 3), network=ExportedNetwork(FakeEngine(probabilities)))
    kept = PLAIN.predictor(model, KeptScores(numbers, (model.classes.names[2],)))(image).scores
    assert (kept.dtype, kept.shape) == (np.dtype(numbers), (1, 5, 7))
    values = kept.astype(np.float64) / (255 if numbers == "uint8" else 1)
    np.testing.assert_allclose(values, probabilities[[2]], rtol=0, atol=NEAR[numbers])
    assert PLAIN.predictor(model, scores=True)(image).scores.shape == (3, 5, 7)


def test_labels_of_another_size_are_no_answer() -> None:
    model = replace(model_of(Coarse(3, 5, 4), 3), network=ExportedNetwork(FakeEngine(np.zeros((3, 5, 7), np.float32))))
    with pytest.raises(DataError, match=r"gives labels of the shape \(1, 5, 7\) for pictures of the shape \(1, 6, 7\)"):
        PLAIN.predictor(model)(np.zeros((6, 7, 3), np.uint8))


@dataclass
class FakeEngine:
    """An engine that gives these probabilities (C, H, W) for each picture."""

    probabilities: np.ndarray
    title: str = "Engine 1.0"
    outputs: tuple[str, ...] = ("labels", "scores")

    def run(self, *inputs: np.ndarray) -> list[np.ndarray]:
        return [self.probabilities.argmax(0)[None].astype(np.uint8), self.probabilities[None]]


def test_what_is_no_type_and_no_class_is_refused() -> None:
    with pytest.raises(UnknownName, match="no type of scores 'float61'; did you mean 'float16'"):
        KeptScores("float61")
    for classes in ((), ("box", "box")):
        with pytest.raises(UsageError, match="name one class or more, each once"):
            KeptScores(classes=classes)
    with pytest.raises(UnknownName, match="box"):
        KeptScores(classes=("boxx",)).ids(ClassTable.of(CLASSES))


def test_files_of_scores(command, tmp_path: Path) -> None:
    make_folder(tmp_path / "data", train=1, val=2)
    make_model(tmp_path / "run", ClassTable.of(CLASSES))
    words = ["predict", tmp_path / "run", tmp_path / "data/images/val", "--no-overlays"]
    assert command(*words, "--out", tmp_path / "all", "--scores")[0] == 0
    assert command(*words, "--out", tmp_path / "some", "--scores", "--scores-as", "uint8", "--scores-of", "disc,box")[0] == 0
    every, some = (np.load(tmp_path / folder / "scores/p00.npy") for folder in ("all", "some"))
    assert (every.dtype, some.dtype, some.shape) == (np.float32, np.uint8, (2, 24, 32))
    np.testing.assert_array_equal(some, np.rint(every[[2, 1]] * np.float32(255)))
    code, _, err = command(*words, "--out", tmp_path / "some", "--scores", "--scores-as", "float16")
    assert (code, "of another model or with other options" in err) == (2, True)
    for flags, sentence in (
        (["--scores-as", "uint8"], "--scores-as: belongs to --scores"),
        (["--scores-of", "box"], "--scores-of: belongs to --scores"),
        (["--scores", "--scores-of", "bocks"], "bocks"), (["--scores", "--scores-as", "int8"], "no type of scores 'int8'"),
    ):  # fmt: skip
        code, _, err = command(*words, "--out", tmp_path / "new", *flags)
        assert (code, sentence in err, err.count("\n")) == (2, True, 1), err
    assert not (tmp_path / "new").exists()
