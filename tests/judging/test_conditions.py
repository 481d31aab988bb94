"""The conditions of a side, in words: by what a model's card and the protocol say."""

from dataclasses import replace
from typing import Any

import pytest
from hidden_torch import require_torch

from perpixel.judging.conditions import Conditions

DATA = "0123456789abcdef"
PROTOCOL = {"data": DATA, "split": "val", "scales": [0.5, 1.0]}


@pytest.fixture
def card() -> Any:
    require_torch()
    from perpixel.weights.model_file import ModelCard

    recipe = {"data": "street", "train_split": "train", "weights": "auto", "starts_from": None, "crop": [64, 96]}
    return ModelCard("fcn8s", {}, {}, recipe, 1.0, 9, {}, "trained on others", "")


def conditions(card: Any, **rules: Any) -> Conditions:
    from perpixel.weights.model_file import Model

    return Conditions.of(Model(None, None, card, ""), PROTOCOL, rules)  # type: ignore[arg-type]


def test_of_files_nobody_knows() -> None:
    found = Conditions.of("masks", PROTOCOL, {})
    assert vars(found) == {
        "data": "01234567", "split": "val", "trained_on": "not known", "pre_training": "not known", "sizes": "not known",
        "predicts": "files", "judged_at": "the size of the truth",
    }  # fmt: skip


def test_of_a_run(card: Any) -> None:
    found = conditions(card)
    assert (found.trained_on, found.pre_training, found.predicts) == ("street train", "ImageNet", "the whole picture")
    assert found.sizes == "crops of 64 x 96 in training; scale 0.5, 1"


@pytest.mark.parametrize(
    ("arguments", "more", "words"),
    [
        ({"width": 0.25}, {}, "none"),
        ({}, {"weights": "none"}, "none"),
        ({"backbone": "alexnet"}, {}, "none"),
        ({}, {"starts_from": "runs/fcn16s"}, "runs/fcn16s"),
    ],
)
def test_pre_training(card: Any, arguments: dict[str, Any], more: dict[str, Any], words: str) -> None:
    assert conditions(replace(card, arguments=arguments, recipe=card.recipe | more)).pre_training == words


def test_pictures_that_trained_or_chose_the_weights_are_told(card: Any) -> None:
    assert conditions(replace(card, trained_on=DATA)).trained_on == "street train: the pictures that are judged"
    chosen = conditions(replace(card, score={"data": DATA})).trained_on
    assert chosen == "street train; weights chosen by the pictures that are judged"


def test_ways_to_predict(card: Any) -> None:
    found = conditions(card, window="473 x 473", crf={"name": "deeplab", "steps": 10}, scales=[1])
    assert found.predicts == "window: 473 x 473; crf: deeplab"
