"""Equal tuning: as many trials for each network, on a part of train; and the record that the review uses."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from perpixel.datasets import scenes
from perpixel.errors import UsageError
from perpixel.studies import entries, tuning
from perpixel.studies.entries import ENTRIES, RATES, Entry
from perpixel.training.not_finite import NotFinite
from perpixel.weights import model_file

ALONE = {
    "fcn8s": Entry("fcn8s", {"width": 0.05, "padding": 1}),
    "pspnet": Entry(
        "pspnet", {"backbone": "resnet50", "width": 0.0625}, choices=({"auxiliary": 0.2}, {"auxiliary": 0.8})
    ),
}


def silent(what: str) -> Callable[[int, int, str], None]:
    return lambda done, total, text: None


@pytest.fixture(autouse=True)
def few_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"batch": 2, "device": "cpu", "crop": (32, 32)}.items():
        monkeypatch.setitem(entries.PROTOCOL, name, value)
    for split, ends in {"fit": (0, 4), "tune": (4, 6)}.items():
        monkeypatch.setitem(scenes.CUT, split, ends)


def test_each_network_has_as_many_trials_and_the_best_is_chosen(tmp_path: Path) -> None:
    path = tuning.tune(tmp_path, (), 0, lambda _: None, silent, ALONE, steps=1)
    record = json.loads(path.read_text())
    assert {name: len(trials) for name, trials in record["trials"].items()} == dict.fromkeys(ALONE, len(RATES) + 2)
    for name, trials in record["trials"].items():
        best = max(trials, key=lambda trial: trial["mIoU"])
        assert record["chosen"][name] == best["settings"]
        assert [trial["settings"] for trial in trials[: len(RATES)]] == [dict(rate) for rate in RATES]
    first, second = (trial["settings"] for trial in record["trials"]["pspnet"][-2:])
    assert (first["auxiliary"], second["auxiliary"]) == (0.2, 0.8)
    assert model_file.load(tmp_path / "trials/pspnet/4").card.recipe["val_split"] == "tune"
    before = path.read_bytes()
    assert tuning.tune(tmp_path, (), 0, lambda _: None, silent, ALONE, steps=1).read_bytes() == before


def test_a_learning_rate_that_is_too_large_counts_as_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def burst(recipe: object, *_: object, **__: object) -> None:
        raise NotFinite("weights became infinite")

    monkeypatch.setattr(tuning, "train", burst)
    trial = tuning.tried(tmp_path, "fcn8s", ALONE["fcn8s"], 0, RATES[0], 0, 1, lambda _: None, silent)
    assert (trial["mIoU"], trial["failed"]) == (0.0, "weights became infinite")


def test_a_name_that_no_network_has_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'fcn8s'"):
        tuning.tune(tmp_path, ("fcn8",), 0, lambda _: None, silent)


def test_the_record_in_the_tree_has_every_network_and_its_best_trial() -> None:
    record = json.loads(entries.TUNED.read_text())
    assert record["chosen"].keys() == record["trials"].keys() == ENTRIES.keys()
    for name, trials in record["trials"].items():
        assert len(trials) == len(RATES) + 2
        assert record["chosen"][name] == max(trials, key=lambda trial: trial["mIoU"])["settings"]
