"""`--budget`: the first way that fits is taken, from a table of made seconds; what was measured is remembered."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from fakes import draw_sample
from PIL import Image
from prediction.test_engines import CLASSES, Stretched

import perpixel
from perpixel.errors import ResourceError, UsageError
from perpixel.prediction import budget
from perpixel.prediction.budget import seconds_of, within
from perpixel.prediction.inference import Inference
from perpixel.weights.exported_file import ExportedNetwork
from perpixel.weights.model_file import Model, ModelCard, save_model

IMAGE = draw_sample(0, (48, 64))[0]


@pytest.fixture
def model() -> Model:
    card = ModelCard("fcn32s", {}, CLASSES.to_json(), {}, 1.0, 0, {}, "", "")
    return Model(Stretched().eval(), CLASSES, card, "3" * 64)


@pytest.fixture(autouse=True)
def four_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number that is set and read, so that no test waits for threads."""
    number = [4]
    monkeypatch.setattr(torch, "get_num_threads", lambda: number[0])
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: number.__setitem__(0, threads))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, float]]:
    """A picture takes 0.4 s by 1 thread at whole size; time is that by pixels and threads. Lists what was measured."""
    asked: list[tuple[int, float]] = []

    def made(calls: Mapping[str, Callable[[], object]]) -> dict[str, list[float]]:
        for call in calls.values():
            call()
            (predictor,) = call.__defaults__  # type: ignore[attr-defined]
        (share,) = predictor.inference.scales
        asked.append((torch.get_num_threads(), share))
        took = 0.4 * share**2 / torch.get_num_threads()
        return {name: [took / 2, took] for name in calls}

    monkeypatch.setattr(budget, "timed", made)
    return asked


def test_times_are_read() -> None:
    assert [seconds_of(text) for text in ("200ms", "200", "0.2s", " 200 ms ", ".2s")] == [0.2] * 5
    for text in ("", "0", "-5ms", "2 minutes", "200 msec", "1e3", "nan", "ms"):
        with pytest.raises(UsageError, match=r"must be a time above 0, such as 200ms or 0\.2s"):
            seconds_of(text)


@pytest.mark.parametrize(("seconds", "threads"), [(0.4, 1), (0.39, 2), (0.2, 2), (0.1, 4)])
def test_as_few_threads_as_fit_are_taken(model: Model, clock: list[tuple[int, float]], seconds: float, threads: int) -> None:
    said: list[str] = []
    theirs, inference = within(seconds, model, IMAGE, engine="torch", say=said.append)
    assert (torch.get_num_threads(), inference, theirs.network) == (threads, Inference(), model.network)
    words = f"whole size, {threads} thread{'s' * (threads > 1)}"
    assert said[-1] == f"budget {1000 * seconds:g} ms: torch {torch.__version__}, {words}, {400 / threads:.1f} ms."
    assert said[-2].startswith(
        f"measured for a picture of 48x64 on this machine: whole size, 4 threads: torch {torch.__version__} 100.0 ms"
    )


def test_a_smaller_size_is_taken_where_no_thread_helps_and_is_never_silent(
    model: Model, clock: list[tuple[int, float]], tmp_path: Path
) -> None:
    said: list[str] = []
    for _ in range(2):
        _, inference = within(0.05, model, IMAGE, engine="torch", beside=tmp_path, say=said.append)
        assert (torch.get_num_threads(), inference.scales) == (4, (0.5,))
        assert "0.5 of the size, 4 threads, 25.0 ms" in said[-2]
        assert said[-1].startswith("pictures are seen at 0.5 of the size that the score of this model is of, so labels differ")
        rules = inference.predictor(model).rules
        assert rules["scales"] == [0.5]
        assert clock == [(4, 1.0), (4, 0.75), (4, 0.5)], "the second time nothing is measured"
    inference = Inference(average="flips")
    within(0.05, model, IMAGE, inference, engine="torch", beside=tmp_path, say=said.append)
    assert len(clock) == 6, "with other settings a picture takes another time"


def test_what_fits_nothing_is_told_with_the_fastest(model: Model, clock: list[tuple[int, float]]) -> None:
    sentence = (
        r"budget = 1 ms: nothing is as fast for a picture of 48x64 on this machine; the fastest was torch \S+, "
        r"0\.25 of the size, 4 threads, 6\.2 ms; allow more time, or take a lighter network\."
    )
    with pytest.raises(ResourceError, match=sentence):
        within(0.001, model, IMAGE, engine="torch", say=lambda _: None)
    assert clock == [(4, 1.0), (4, 0.25)], "sizes between cannot fit"
    assert torch.get_num_threads() == 4


def test_what_does_not_go_together_is_refused(model: Model, clock: list[tuple[int, float]], command, tmp_path: Path) -> None:
    for settings in (Inference(scales=(0.5,)), Inference(base=32)):
        with pytest.raises(UsageError, match=r"budget: chooses the size at which pictures are seen; leave (scales|base) out"):
            within(1, model, IMAGE, settings)
    exported = ExportedNetwork(SimpleNamespace(title="an engine", outputs=("labels",)))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="budget: the size and the engine of an exported file are fixed; name the run"):
        within(1, replace(model, network=exported), IMAGE)
    boxes = Inference(window=16)
    assert within(1, model, IMAGE, boxes, engine="torch", say=lambda _: None)[1].window == 16
    assert command("predict", tmp_path, tmp_path, "--budget", "1s", "--shard", "0/2")[::2] == (
        2, "perpixel: --budget: each shard would measure for itself, and shards must run alike; name an engine and scales.\n",
    )  # fmt: skip


def test_the_verb_measures_the_largest_picture(command, tmp_path: Path) -> None:
    network = perpixel.build("unet", 3, convolutions="same", width=0.1)
    card = ModelCard("unet", {"convolutions": "same", "width": 0.1}, CLASSES.to_json(), {}, 1.0, 0, {}, "", "")
    save_model(tmp_path / "run", network.state_dict(), card)
    (tmp_path / "pictures").mkdir()
    for number, size in enumerate([(24, 32), (48, 40), (31, 33)]):
        Image.fromarray(draw_sample(number, size)[0]).save(tmp_path / f"pictures/{number}.jpg")
    (tmp_path / "pictures/3.jpg").write_bytes(b"no picture")
    words = ("predict", tmp_path / "run", tmp_path / "pictures", "--out", tmp_path / "out", "--engine", "torch", "--budget")
    code, _, err = command(*words, "60s")
    assert code == 3, "one picture is damaged"
    assert "measured for a picture of 48x40 on this machine: whole size, " in err
    assert "3 predicted, 0 done before, 1 failed" in err
    code, _, err = command(*words, "1 hour")
    assert (code, err.splitlines()[-1]) == (2, "perpixel: budget = '1 hour': must be a time above 0, such as 200ms or 0.2s.")
