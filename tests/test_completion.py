"""What a shell offers at the Tab key, asked of bash itself, and the scripts for the others."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from places import python_path

from perpixel.cli import VERBS
from perpixel.commands.completion import networks
from perpixel.datasets import DATASETS, ON_DISK

SCRIPTS = {
    "bash": ".local/share/bash-completion/completions/perpixel", "zsh": ".zsh/completions/_cyclopts_perpixel",
    "fish": ".config/fish/completions/perpixel.fish",
}  # fmt: skip
ASK = """
source "$HOME/.local/share/bash-completion/completions/perpixel"
COMP_WORDS=(perpixel "$@"); COMP_CWORD=$#; COMP_LINE="${COMP_WORDS[*]}"; COMP_POINT=${#COMP_LINE}
_perpixel perpixel "${COMP_WORDS[$#]}" "${COMP_WORDS[$#-1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""
Asked = Callable[..., list[str]]
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the command `perpixel` and the scripts of all shells."""
    root = tmp_path_factory.mktemp("home")
    (root / "bin").mkdir()
    (root / "bin/perpixel").write_text(f'#!/bin/sh\nexec {sys.executable} -m perpixel "$@"\n')
    (root / "bin/perpixel").chmod(0o755)
    for shell in SCRIPTS:
        subprocess.run(["perpixel", "--install-completion", "--shell", shell], env=environment(root), check=True)
    return root


def environment(home: Path) -> dict[str, str]:
    path = os.pathsep.join([str(home / "bin"), os.environ.get("PATH", "")])
    return {"HOME": str(home), "PATH": path, "PYTHONPATH": python_path()}


@pytest.fixture
def ask(home: Path, tmp_path: Path) -> Asked:
    """What bash offers in place of the last word, in a folder with a run, a folder and a file."""
    if shutil.which("bash") is None:
        pytest.skip("there is no bash.")
    for file in ("runs/mine/recipe.toml", "pictures/a.jpg", "apart.png"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()

    def asked(*words: str) -> list[str]:
        command = ["bash", "-c", ASK, "bash", *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment(home), capture_output=True, text=True, check=True)
        assert done.stderr == ""
        return done.stdout.split()

    return asked


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["ev"], ["evaluate"]),
        (["train", "--patie"], ["--patience"]),
        (["train", "--network", "fcn8s"], ["fcn8s", "fcn8s_atonce"]),
        (["train", "--recipe", "encnet_v"], ["encnet_voc2012"]),
        (["evaluate", "runs/mine", "--data", "camvid"], ["camvid32", "camvid11"]),
        (["check", "pict"], ["pictures/"]),
        (["download", "voc"], ["voc2012"]),
        (["evaluate", ""], ["runs/mine", "apart.png", "pictures/", "runs/"]),
        (["predict", "runs/mine", "--ensemble", "runs/"], ["runs/mine"]),
        (["predict", "runs/mine", "pictures/"], ["pictures/a.jpg"]),
        (["predict", "runs/mine", "--crf", ""], []),
        (["train", "--network", "none"], []),
    ],
)
def test_bash_completes_verbs_flags_networks_data_sets_recipes_and_runs(ask: Asked, words: list[str], offered: list[str]) -> None:
    assert ask(*words) == offered


def test_every_shell_has_a_script_with_all_verbs_that_asks_for_names(home: Path) -> None:
    for file in SCRIPTS.values():
        script = (home / file).read_text()
        assert "__complete" in script
        assert [verb for verb in VERBS if verb not in script] == []


def test_a_shell_that_is_not_known_is_asked_for(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cyclopts.completion.detect.detect_shell", lambda: "powershell")
    code, out, err = command("--install-completion")
    assert (code, out, "give --shell bash, zsh or fish" in err) == (2, "", True)
    assert command("--install-completion", "--shell", "bsh")[0] == 2


@pytest.mark.needs_torch
def test_the_networks_are_those_of_the_table() -> None:
    from perpixel.networks import NETWORKS

    assert sorted(networks("")) == sorted(NETWORKS)


def test_names_of_data_sets_are_those_of_the_table(ask: Asked) -> None:
    assert [*ask("upper-bound", "")[:-2]] == [*DATASETS, *ON_DISK]
