"""A training in the pages of other programs: what is logged, nothing twice, and nothing that could reach the training."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perpixel.errors import DataError, UnknownName
from perpixel.training.loggers import destination_of, follow

Command = Callable[..., tuple[int, str, str]]
LOSS = {"step": 2, "lr": 0.5, "losses": {"cross_entropy": 1.5, "auxiliary": 0.25}}
VALIDATION = {"step": 2, "mIoU": 0.25, "pixel_accuracy": None}
LATER = {"step": 4, "lr": 0.25, "losses": {"cross_entropy": 1.0, "auxiliary": 0.125}}
VALUES = [
    (2, {"loss/cross_entropy": 1.5, "loss/auxiliary": 0.25, "lr": 0.5}), (2, {"val/mIoU": 0.25}),
    (4, {"loss/cross_entropy": 1.0, "loss/auxiliary": 0.125, "lr": 0.25}),
]  # fmt: skip
KEPT = (4, {"kept/mIoU": 0.75})


class Listed:
    """A destination that keeps what it is given."""

    def __init__(self) -> None:
        self.entries: list[tuple[int, dict[str, float]]] = []
        self.closed = 0

    def log(self, step: int, values: dict[str, float]) -> None:
        self.entries.append((step, values))

    def close(self) -> None:
        self.closed += 1


def put(run: Path, *entries: Any) -> None:
    (run / "history.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.toml").write_text('network = "unet"  # flag\nsteps = 4  # flag\n')
    put(run, LOSS, VALIDATION, LATER)
    (run / "scores.json").write_text('{"figures": {"mIoU": 0.75, "none": null}}')
    return run


def test_a_finished_run_is_logged_with_the_scores_of_its_kept_weights(run: Path) -> None:
    listed = Listed()
    assert follow(run, listed) == 3
    assert (listed.entries, listed.closed) == ([*VALUES, KEPT], 1)


def test_a_training_is_followed_until_its_scores_are_there(run: Path) -> None:
    (run / "scores.json").rename(run / "later.json")
    (run / "history.jsonl").unlink()
    listed = Listed()
    turns = iter([
        lambda: put(run, LOSS), lambda: put(run, LOSS, VALIDATION), lambda: put(run, LOSS),  # stopped, and went on from a state
        lambda: put(run, LOSS, VALIDATION), lambda: put(run, LOSS, VALIDATION, LATER),
        lambda: (run / "later.json").rename(run / "scores.json"),
    ])  # fmt: skip
    assert follow(run, listed, wait=lambda _: next(turns)()) == 3
    assert listed.entries == [*VALUES, KEPT]


def test_another_way_from_a_state_on_is_logged_from_there(run: Path) -> None:
    (run / "scores.json").unlink()
    listed, other = Listed(), {**LATER, "lr": 8.0}
    turns = iter([lambda: put(run, LOSS, VALIDATION, other), lambda: (run / "scores.json").write_text('{"figures": {}}')])
    follow(run, listed, wait=lambda _: next(turns)())
    assert [step for step, _ in listed.entries] == [2, 2, 4, 4, 4]
    assert listed.entries[3][1]["lr"] == 8.0


def test_once_does_not_wait(run: Path) -> None:
    (run / "scores.json").unlink()
    listed = Listed()
    assert follow(run, listed, once=True, wait=lambda _: pytest.fail("waited")) == 3
    assert listed.entries == VALUES


@pytest.mark.parametrize("line", ["[]", "{", '{"lr": 1}', '{"step": "two"}', '{"step": 1, "mIoU": []}', "[" * 100_000])
def test_a_damaged_history_is_told_with_its_line(run: Path, line: str) -> None:
    put(run, LOSS)
    with (run / "history.jsonl").open("a") as file:
        file.write(line)
    with pytest.raises(DataError, match=r"history\.jsonl, line 2: is no entry of a history"):
        follow(run, Listed())
    put(run, LOSS)
    (run / "scores.json").write_text(line)
    with pytest.raises(DataError, match=r"scores\.json: holds no scores"):
        follow(run, Listed())


def test_mistakes_are_told(run: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownName, match="did you mean 'tensorboard'"):
        destination_of("tensorbord", run, None)
    code, _, message = command("log", tmp_path / "none", "--to", "mlflow")
    assert (code, "none: is no run folder" in message) == (2, True)
    for package in ("tensorboard", "mlflow"):
        monkeypatch.setitem(sys.modules, package, None)
        code, _, message = command("log", run, "--to", package)
        assert (code, f"pip install {package} brings it" in message) == (5, True)


def test_it_waits_for_no_torch() -> None:
    script = "import sys; from perpixel.training import loggers; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_shows_each_value_once(run: Path, tmp_path: Path, command: Command) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for _ in range(2):
        assert command("log", run, "--to", "tensorboard", "--out", tmp_path / "logs")[0] == 0
    shown = EventAccumulator(str(tmp_path / "logs/run"))
    shown.Reload()
    values = {name: [(event.step, event.value) for event in shown.Scalars(name)] for name in shown.Tags()["scalars"]}
    assert values == {
        "loss/cross_entropy": [(2, 1.5), (4, 1.0)], "loss/auxiliary": [(2, 0.25), (4, 0.125)], "lr": [(2, 0.5), (4, 0.25)],
        "val/mIoU": [(2, 0.25)], "kept/mIoU": [(4, 0.75)],
    }  # fmt: skip


@pytest.mark.slow  # MLflow makes the tables of a new database one change after the other
@pytest.mark.filterwarnings("ignore")  # of its own packages
def test_mlflow_keeps_settings_and_each_value_once(run: Path, tmp_path: Path, command: Command) -> None:
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    for _ in range(2):
        assert command("log", run, "--to", "mlflow", "--out", tmp_path / "logs")[0] == 0
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'logs/mlflow.db'}")
    (kept,) = client.search_runs([client.get_experiment_by_name("perpixel").experiment_id])
    assert (kept.info.run_name, kept.info.status) == ("run", "FINISHED")
    assert kept.data.params == {"network": "unet", "steps": "4"}
    metrics = {name: client.get_metric_history(kept.info.run_id, name) for name in kept.data.metrics}
    assert {name: [(one.step, one.value) for one in entries] for name, entries in metrics.items()} == {
        "loss/cross_entropy": [(2, 1.5), (4, 1.0)], "loss/auxiliary": [(2, 0.25), (4, 0.125)], "lr": [(2, 0.5), (4, 0.25)],
        "val/mIoU": [(2, 0.25)], "kept/mIoU": [(4, 0.75)],
    }  # fmt: skip
