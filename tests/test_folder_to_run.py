"""perpixel.train: a folder, a data set or a recipe becomes a run, as by the command, with a page."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes import make_folder
from hidden_torch import require_torch

import perpixel
from perpixel.errors import Interrupted, UnknownName, UsageError

SMALL = {"network": "unet", "convolutions": "same", "norm": "batch", "width": 0.05, "batch": 2, "device": "cpu", "validations": 2}
FLAGS = ["--network", "unet", "--convolutions", "same", "--norm", "batch", "--width", "0.05", "--batch", "2", "--device", "cpu",
         "--validations", "2"]  # fmt: skip


@pytest.fixture(autouse=True)
def with_torch() -> None:
    require_torch()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "street", train=4, val=2)


def quiet(_: str) -> None: ...


def weights(run: Path) -> bytes:
    return (run / "model.safetensors").read_bytes()


def test_it_does_what_the_command_does(data: Path, tmp_path: Path, command) -> None:
    scores = perpixel.train(data, tmp_path / "here", steps=4, say=quiet, **SMALL)
    code, _, err = command("train", data, *FLAGS, "--steps", "4", "--out", tmp_path / "there")
    assert code == 0, err
    assert weights(tmp_path / "here") == weights(tmp_path / "there")
    assert scores is not None
    assert scores.mean_iou == perpixel.evaluate(perpixel.load(tmp_path / "there"), perpixel.open_dataset(data)).mean_iou


def test_it_takes_a_recipe_and_a_name(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(f'data = "{data}"\nnetwork = "unet"\nwidth = 0.05\nsteps = 1\ndevice = "cpu"\n')
    assert perpixel.train("mine.toml", say=quiet) is not None
    assert (tmp_path / "runs/mine/scores.json").is_file()
    with pytest.raises(UnknownName, match="no network 'unett'"):
        perpixel.train("scenes", network="unett", say=quiet)
    with pytest.raises(UsageError, match="strete: is no folder, no data set and no recipe"):
        perpixel.train("strete", say=quiet)
    for more in ({"minutes": 3}, {"steps": 3}):
        with pytest.raises(UsageError, match=r"--quick and --\w+ are two lengths"):
            perpixel.train(data, quick=True, say=quiet, **more)


def pressing_at(step: int) -> Callable[[str], Callable[..., None]]:
    """Lines of progress, of which that of steps presses Ctrl-C at a step."""

    def line(things: str) -> Callable[..., None]:
        def progress(done: int, *_: object) -> None:
            if things.endswith("step") and done == step:
                os.kill(os.getpid(), 15)

        return progress

    return line


def test_a_planned_training_that_was_stopped_ends_with_the_same_bytes(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the machine is faster when it goes on, for which a new plan would have more steps."""
    from perpixel import folder_to_run
    from perpixel.training import plan
    from perpixel.training.step_time import Pace

    monkeypatch.setattr(plan, "trunk_is_there", lambda: False)
    monkeypatch.setattr(plan, "pace_of", lambda *_: Pace(12.0, 0.01))
    given = {"width": 0.05, "device": "cpu", "minutes": 1.0, "batch": 2}
    # The time that is spent is part of the plan, so it is held still.
    monkeypatch.setattr(plan.Stopwatch, "spent", 0.0)
    whole = folder_to_run.run(str(data), None, given, out=tmp_path / "whole", say=quiet).run
    with pytest.raises(Interrupted, match="the same command continues"):
        folder_to_run.run(str(data), None, given, out=tmp_path / "stopped", say=quiet, progress=pressing_at(1))
    page = (tmp_path / "stopped/report.html").read_text()
    assert re.search(r"Unfinished: step 2 of \d", page)
    monkeypatch.setattr(plan, "pace_of", lambda *_: Pace(1.0, 0.01))
    messages: list[str] = []
    stopped = folder_to_run.run(str(data), None, given, out=tmp_path / "stopped", say=messages.append).run
    assert any("continues after step 2 of" in message for message in messages)
    assert weights(stopped) == weights(whole)
    assert (stopped / "recipe.toml").read_bytes() == (whole / "recipe.toml").read_bytes()
    assert (stopped / "history.jsonl").read_bytes() == (whole / "history.jsonl").read_bytes()


def test_the_page_shows_curves_classes_pictures_plan_and_what_comes_next(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from perpixel.training import plan
    from perpixel.training.train import train

    monkeypatch.setattr(plan, "trunk_is_there", lambda: False)
    run = tmp_path / "a run"
    perpixel.train(data, run, steps=4, width=0.05, batch=2, validations=2, device="cpu", say=quiet)
    page = (run / "report.html").read_text()
    assert "Done: 4 steps" in page
    assert len(re.findall("<polyline", page)) == 3  # a loss and two figures
    for text in ("ground", "box", "disc", "nine in ten pictures hold it", f"perpixel predict &#39;{run}&#39; PICTURES"):
        assert text in page, text
    assert page.count("data:image/jpeg") == 6  # picture, truth and prediction of two pictures
    assert page.count("data:image/png") == 2
    assert not re.search(r"(src|href)=.?(https?:)?//", page)
    recipe = perpixel.training.recipe.merge(run / "recipe.toml", {}, {})[0]
    train(recipe, tmp_path / "without", say=quiet)
    assert weights(run) == weights(tmp_path / "without")
