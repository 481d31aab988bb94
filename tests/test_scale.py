"""docs/scale.md: its commands run as they stand there, with the variables of schedulers, and make what one process makes."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from fakes import make_folder, make_model
from places import ROOT
from test_merge import put_masks, tree

from perpixel.classes import ClassTable
from perpixel.errors import DataError, Interrupted, UntrustedFile, UsageError

DOCUMENT = (ROOT / "docs/scale.md").read_text()
Command = Callable[..., tuple[int, str, str]]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the reader is."""
    make_folder(tmp_path / "data", train=2, val=5)
    (tmp_path / "pictures").symlink_to(tmp_path / "data/images/val")
    make_model(tmp_path / "runs/mine", ClassTable.of(["ground", "box", "disc"]))
    put_masks(tmp_path / "other", "data", tmp_path, 2)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def words_of(block: str) -> list[list[str]]:
    return [shlex.split(line, comments=True)[1:] for line in block.splitlines() if line.startswith("perpixel ")]


@pytest.mark.needs_torch
def test_the_commands_of_shards(here: Path, command: Command) -> None:
    predicting, others = blocks("sh")
    assert command("predict", "runs/mine", "pictures", "--out", "one")[0] == 0
    for words in words_of(predicting):
        code, _, err = command(*words)
        assert code == 0, err
    assert tree(here / "masks") == tree(here / "one")
    assert len(words_of(others)) == 10
    for words in words_of(others):
        words = ["4" if word == "1000" else word for word in words]
        code, _, err = command(*words, *(["--samples", "4"] if words[0] == "compare" else []))
        assert code == 0, err
    assert (here / "set/annotations/instances_val.json").is_file()


@pytest.mark.needs_torch
def test_the_job_of_kubernetes(here: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    job = yaml.safe_load(blocks("yaml")[0])["spec"]
    (container,) = job["template"]["spec"]["containers"]
    program, *words = container["command"]
    assert program == "perpixel"
    for index in range(job["completions"]):
        monkeypatch.setenv("JOB_COMPLETION_INDEX", str(index))
        assert command(*words)[0] == 0
    assert command("merge", words[-1])[0] == 0
    assert command("predict", "runs/mine", "pictures", "--out", "one")[0] == 0
    assert tree(here / words[-1]) == tree(here / "one")


def test_the_failure_policy_is_that_of_the_exit_codes() -> None:
    rules = yaml.safe_load(blocks("yaml")[0])["spec"]["podFailurePolicy"]["rules"]
    codes = {rule["action"]: rule["onExitCodes"]["values"] for rule in rules if "onExitCodes" in rule}
    assert codes == {
        "Ignore": [Interrupted.exit_code],
        "FailIndex": [UsageError.exit_code, DataError.exit_code, UntrustedFile.exit_code],
    }


@pytest.mark.needs_torch
def test_the_array_of_slurm(here: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    script = blocks("bash")[0]
    (line,) = re.findall(r"^srun perpixel (.*)$", script, re.MULTILINE)
    first, last = map(int, re.findall(r"--array=(\d+)-(\d+)", script)[0])
    assert f"[ $code -ne {Interrupted.exit_code} ]" in script
    for task in range(first, last + 1):
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", str(task))
        assert command(*shlex.split(line))[0] == 0
    assert command("merge", "masks")[0] == 0
    assert len([*Path("masks/masks").iterdir()]) == 5
