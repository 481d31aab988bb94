"""A run that was killed anywhere ends with the same bytes as one that was not."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from fakes import make_folder
from places import TESTS

from perpixel.errors import Interrupted, UntrustedFile, UsageError
from perpixel.files import MODEL_FILE
from perpixel.training import states
from perpixel.training.recipe import Recipe
from perpixel.training.run import HISTORY, unfinished
from perpixel.training.train import train
from perpixel.weights import model_file

# Everything that has a state: dropout, batch normalisation, momentum, average, jitter, partial sums of the history.
SETTINGS = {
    "network": "unet", "convolutions": "same", "norm": "batch", "width": 0.05, "dropout": 0.5, "crop": [16, 16],
    "crops": "objects", "scale_jitter": [0.7, 1.4], "colour": 0.5, "class_crops": 0.5, "flip_vertical": True, "rotate": 20.0,
    "elastic": 2.0, "steps": 6, "batch": 4, "accumulate": 2, "ema": 0.9, "optimiser": "adamw", "schedule": "one_cycle",
    "warm_up": 3, "clip": 1.0, "validations": 2, "log_every": 3, "save_every": 2, "loss": "cross_entropy+dice",
    "class_weights": "inverse_square_root", "device": "cpu", "statistics_batches": 2, "statistics_batch": 3,
}  # fmt: skip
KILL = TESTS / "kill.py"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def straight(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A run that nobody disturbed, and how often it touched the disk."""
    base = tmp_path_factory.mktemp("straight") / "run"
    touches = int(kill(data, base, "count").splitlines()[0])
    return base.with_name("run-count"), touches


def kill(data: Path, base: Path, *points: str) -> str:
    """What `kill.py` prints: a count of touches per finished training, then the exit statuses as JSON."""
    settings = json.dumps({**SETTINGS, "data": str(data)})
    command = [sys.executable, str(KILL), settings, str(base), *points]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # thousands of tiny kernels: threads would only wait for each other
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def finished_bytes(run: Path) -> dict[str, bytes]:
    """Everything that a finished run must agree on: weights, states (optimiser, average, sums) and history."""
    files = [run / MODEL_FILE, run / HISTORY, *sorted((run / states.STATES).rglob("*"))]
    return {str(path.relative_to(run)): path.read_bytes() for path in files if path.is_file()}


def assert_same_end(data: Path, base: Path, straight: Path, points: list[str]) -> None:
    statuses = json.loads(kill(data, base, *points).splitlines()[-1])
    expected = finished_bytes(straight)
    assert "last/step-000000006/network.safetensors" in expected
    for point in points:
        first, second = statuses[point]
        log = base.with_name(f"{base.name}-{point}.log")
        assert second == 0, f"{point}: did not continue: {log.read_text() if log.exists() else ''}"
        assert point.startswith("after") or first == -9, f"{point}: was not killed"
        found = finished_bytes(base.with_name(f"{base.name}-{point}"))
        assert found.keys() == expected.keys(), point
        assert [name for name in expected if found[name] != expected[name]] == [], point


def test_two_runs_of_one_recipe_are_equal_to_the_byte(data: Path, tmp_path: Path, straight: tuple[Path, int]) -> None:
    kill(data, tmp_path / "again", "none")
    assert finished_bytes(tmp_path / "again-none") == finished_bytes(straight[0])


def test_killed_at_every_step_of_a_save(data: Path, tmp_path: Path, straight: tuple[Path, int]) -> None:
    """From the first state to the second, with the model file, the removal of old states and the history in between; and the
    end of the last save, after which there is no next one that would finish it."""
    touches = straight[1]
    points = [*range(touches // 3, 2 * touches // 3, 2), *range(5 * touches // 6, touches, 4)]
    assert_same_end(data, tmp_path / "op", straight[0], [f"op:{n}" for n in points])


@pytest.mark.slow
def test_killed_at_every_touch_of_the_disk(data: Path, tmp_path: Path, straight: tuple[Path, int]) -> None:
    assert_same_end(data, tmp_path / "op", straight[0], [f"op:{n}" for n in range(1, straight[1] + 1)])


def test_killed_at_random_instants(data: Path, tmp_path: Path, straight: tuple[Path, int]) -> None:
    instants = [random.Random(number).uniform(0.1, 2.5) for number in range(4)]
    assert_same_end(data, tmp_path / "at", straight[0], [f"after:{instant:.3f}" for instant in instants])


@pytest.mark.slow
def test_killed_at_many_random_instants(data: Path, tmp_path: Path, straight: tuple[Path, int]) -> None:
    instants = [random.Random(number).uniform(0.0, 3.0) for number in range(60)]
    assert_same_end(data, tmp_path / "at", straight[0], [f"after:{instant:.3f}" for instant in instants])


def recipe_for(data: Path) -> Recipe:
    settings = {key: tuple(value) if isinstance(value, list) else value for key, value in SETTINGS.items()}
    return Recipe(**{**settings, "data": str(data)})


@pytest.fixture(scope="module")
def straight_here(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The undisturbed end with this process's number of threads, on which the last bits depend."""
    out = tmp_path_factory.mktemp("here") / "run"
    train(recipe_for(data), out, say=lambda _: None)
    return finished_bytes(out)


class TestInProcess:
    """Interruptions and damage, without killing anything."""

    def stop_after(self, step: int):
        def progress(done: int, _total: int, _text: str) -> None:
            if done == step:
                os.kill(os.getpid(), 15)

        return progress

    def interrupted(self, data: Path, out: Path, step: int) -> None:
        with pytest.raises(Interrupted, match="the same command continues"):
            train(recipe_for(data), out, say=lambda _: None, progress=self.stop_after(step))

    def test_sigterm_saves_and_the_same_call_continues(self, data: Path, tmp_path: Path) -> None:
        whole, stopped, messages = tmp_path / "whole", tmp_path / "stopped", []
        train(recipe_for(data), whole, say=messages.append)
        self.interrupted(data, stopped, 3)
        scores = train(recipe_for(data), stopped, say=messages.append)
        assert "continues after step 4 of 6" in messages[-1]
        assert scores is not None
        assert (stopped / MODEL_FILE).read_bytes() == (whole / MODEL_FILE).read_bytes()
        assert (stopped / HISTORY).read_bytes() == (whole / HISTORY).read_bytes()

    def test_a_stop_before_the_first_validation_leaves_judged_weights(
        self, data: Path, tmp_path: Path, straight_here: dict[str, bytes]
    ) -> None:
        out = tmp_path / "run"
        with pytest.raises(Interrupted, match=r"stopped after step 2 of 6; .* works on what is there: mIoU .* on val so far"):
            train(recipe_for(data), out, say=lambda _: None, progress=self.stop_after(1))
        card = model_file.load(out, lambda _: None).card
        assert (card.step, card.score["split"]) == (2, "val")
        assert "mIoU" in card.score
        assert (out / "val.png").is_file()
        assert unfinished(out) == "step 2 of 6"
        train(recipe_for(data), out, say=lambda _: None)
        assert finished_bytes(out) == straight_here
        assert unfinished(out) == ""

    @pytest.mark.parametrize("harm", ["flip", "cut", "delete"])
    @pytest.mark.parametrize("name", ["network.safetensors", "average.safetensors", "state.json", "manifest.json"])
    def test_a_damaged_state_is_detected_and_the_one_before_is_used(
        self, data: Path, tmp_path: Path, straight_here: dict[str, bytes], harm: str, name: str
    ) -> None:
        out, messages = tmp_path / "run", []
        self.interrupted(data, out, 3)
        newest = max(states.state_folders(out))
        assert len(states.state_folders(out)) == 2
        spoil(newest / name, harm)
        train(recipe_for(data), out, say=messages.append)
        assert "is damaged" in messages[0]
        assert "continues after step" in messages[1]
        expected, found = straight_here, finished_bytes(out)
        assert found[MODEL_FILE] == expected[MODEL_FILE]
        assert found[HISTORY] == expected[HISTORY]

    def test_no_sound_state_is_an_error_that_says_so(self, data: Path, tmp_path: Path) -> None:
        self.interrupted(data, tmp_path / "run", 3)
        for state in states.state_folders(tmp_path / "run"):
            spoil(state / "network.safetensors", "flip")
        with pytest.raises(UntrustedFile, match="no state is sound"):
            train(recipe_for(data), tmp_path / "run", say=lambda _: None)

    def test_another_recipe_in_the_same_folder_is_refused(self, data: Path, tmp_path: Path) -> None:
        self.interrupted(data, tmp_path / "run", 2)
        other = Recipe(**{**recipe_for(data).to_json(), "lr": 0.5})
        with pytest.raises(UsageError, match=r"belongs to another run \(lr was 0.001 and is now 0.5\)"):
            train(other, tmp_path / "run", say=lambda _: None)

    def test_a_folder_with_other_things_is_refused(self, data: Path, tmp_path: Path) -> None:
        (tmp_path / "letters.txt").write_text("dear")
        with pytest.raises(UsageError, match="is not empty and no run folder"):
            train(recipe_for(data), tmp_path, say=lambda _: None)
        assert [path.name for path in tmp_path.iterdir()] == ["letters.txt"]


def spoil(path: Path, harm: str) -> None:
    data = bytearray(path.read_bytes())
    if harm == "delete":
        path.unlink()
        return
    if harm == "flip":
        data[len(data) // 2] ^= 1
    else:
        del data[len(data) // 2 :]
    path.write_bytes(data)
