"""What predictions cost: parameters and multiply-adds by hand, time and memory as far as they can be foreseen."""

from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import make_model

import perpixel
from perpixel.classes import ClassTable
from perpixel.machines.memory import peak_of
from perpixel.networks.papers import size_of
from perpixel.prediction.cost import costs_of, speeds_of
from perpixel.prediction.inference import Inference
from perpixel.sample import Sample
from perpixel.training.run import RUN, minutes_of, write_facts
from perpixel.weights.model_file import Model

CLASSES = ClassTable.of(["a", "b", "c"])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("run")
    make_model(folder, CLASSES)
    return perpixel.load(folder)


def test_parameters_and_multiply_adds_are_those_of_the_network(model) -> None:
    image = np.zeros((24, 40, 3), np.uint8)
    (cost,) = costs_of({"a": Inference().predictor(model)}, image, {"a": 2.5}, {}).values()
    assert cost.parameters == sum(parameter.numel() for parameter in model.network.parameters())
    assert (cost.parameters, cost.multiply_adds) == size_of("unet", 3, (24, 40), **model.card.arguments)
    assert (cost.size, cost.minutes, cost.speed) == ((24, 40), 2.5, None)


def test_all_are_timed_on_all_pictures_in_turn(model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two warm-ups of each, then to and fro; memory last, on the largest picture."""
    calls: list[tuple[str, int]] = []
    made = {name: Inference().predictor(model) for name in "ab"}
    names = {id(predictor): name for name, predictor in made.items()}
    begin = type(made["a"]).__call__

    def noted(self, image: np.ndarray) -> perpixel.Prediction:
        calls.append((names[id(self)], len(image)))
        return begin(self, image)

    monkeypatch.setattr(type(made["a"]), "__call__", noted)
    samples = [Sample(str(side), np.zeros((side, side, 3), np.uint8)) for side in (16, 32, 24)]
    found = speeds_of(made, samples)
    in_turn = [("a", 16), ("b", 16), ("b", 32), ("a", 32), ("a", 24), ("b", 24)]
    assert calls[:10] == [("a", 16), ("a", 16), ("b", 16), ("b", 16), *in_turn]
    assert {side for _, side in calls[10:]} <= {32}
    assert all(0 < one.p50 <= one.p95 and one.num_pictures == 3 for one in found.values())


def test_the_peak_of_a_call_is_what_it_takes() -> None:
    peaks = [peak_of(lambda count=count: torch.ones(count << 18).sum()) for count in (64, 128)]  # of a megabyte each
    if None in peaks:
        pytest.skip("this system does not count the peak of a process.")
    assert 60 << 20 < peaks[0] < 90 << 20
    assert 120 << 20 < peaks[1] < 180 << 20


class TestMinutes:
    def put(self, folder: Path, *seconds: float | None) -> Path:
        write_facts(folder, RUN, {"sessions": [{"seconds": one} for one in seconds]})
        return folder

    def test_sessions_and_stages_add_up(self, tmp_path: Path) -> None:
        run = self.put(tmp_path / "run", 30, 60)
        self.put(run / "stages/one", 150)
        assert minutes_of(run) == minutes_of(run / "model.safetensors") == 4

    def test_a_killed_session_or_nothing_noted_is_not_known(self, tmp_path: Path) -> None:
        assert minutes_of(self.put(tmp_path / "run", 30, None)) is None
        assert minutes_of(tmp_path) is None
        (tmp_path / "run" / RUN).write_text("{}")
        assert minutes_of(tmp_path / "run") is None
