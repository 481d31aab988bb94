"""Paths that the system refuses, at every argument of every verb that takes a path: one sentence, an exit code, no traceback."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import make_folder, make_model

from perpixel.classes import ClassTable

# PATH is what is tried; the other words make a command that works.
READS = [
    ["train", "--data", "PATH", "--network", "unet"],
    ["train", "--data", "./data", "--network", "unet", "--starts-from", "PATH", "--out", "new"],
    ["train", "--recipe", "PATH"],
    ["evaluate", "PATH", "--data", "./data"],
    ["evaluate", "run", "--data", "PATH"],
    ["evaluate", "run", "--data", "coco", "--root", "PATH"],
    ["evaluate", "PATH", "--data", "truth.json", "--instances", "mask"],
    ["evaluate", "results.json", "--data", "PATH.json", "--instances", "mask"],
    ["explain-score", "PATH", "./data"],
    ["explain-score", "masks", "PATH"],
    ["explain-score", "masks", "masks", "--classes", "PATH"],
    ["compare", "PATH", "run", "--data", "./data"],
    ["merge", "PATH"],
    ["compare", "run", "PATH", "--data", "./data"],
    ["predict", "PATH", "data/images/val/p00.jpg"],
    ["predict", "run", "PATH"],
    ["predict", "run", "PATH.png"],
    ["check", "PATH"],
    ["check", "PATH.json"],
    ["convert", "PATH", "new"],
    ["convert", "PATH.zip", "new"],
    ["convert", "PATH", "new", "--from", "coco"],
    ["convert", "./data", "new", "--pictures", "PATH"],
    ["submission", "PATH", "--data", "voc2012", "--root", "PATH", "--out", "new.tar.gz"],
    ["upper-bound", "PATH"],
    ["proposal-curve", "PATH", "--data", "./data"],
    ["receptive-field", "PATH", "data/images/val/p00.jpg"],
    ["receptive-field", "run", "PATH"],
    ["claims", "fcn-pool4", "--data", "PATH", "--out", "new"],
    ["init", "PATH"],
    ["download", "camvid", "--root", "PATH", "--check"],
    ["import", "PATH", "--network", "unet"],
    ["import", "PATH.caffemodel", "--network", "fcn8s"],
    ["import", "PATH.index", "--network", "deeplabv3plus"],
    ["import", "PATH.pth", "--network", "torchvision_fcn_resnet50"],
]
WRITES = [
    ["train", "--data", "./data", "--network", "unet", "--width", "0.05", "--steps", "1", "--out", "PATH"],
    ["predict", "run", "data/images/val/p00.jpg", "--out", "PATH"],
    ["check", "./data", "--fix", "PATH"],
    ["check", "./data", "--report", "PATH"],
    ["convert", "./data", "PATH"],
    ["convert", "./data", "PATH", "--shard", "0/1"],
    ["evaluate", "masks", "--data", "./data", "--shard", "0/1", "--out", "PATH"],
    ["predict", "run", "data/images/val/p00.jpg", "--shard", "0/1", "--out", "PATH"],
    ["check", "./data", "--shard", "0/1", "--out", "PATH"],
    ["receptive-field", "run", "data/images/val/p00.jpg", "--out", "PATH.png"],
    ["proposal-curve", "run", "--data", "./data", "--counts", "1", "--proposals-by", "sliding", "--out", "PATH"],
    ["claims", "fcn-pool4", "--data", "./data", "--seeds", "1", "--steps", "1", "--out", "PATH"],
]
LONG = "가" * 100  # 300 bytes: longer than any file system takes


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("place")
    make_folder(root / "data", train=2, val=2)
    (root / "masks").symlink_to(root / "data/masks/val")
    make_model(root / "run", ClassTable.read_csv(root / "data/classes.csv"))
    (root / "truth.json").write_text('{"images": [], "annotations": [], "categories": []}')
    (root / "results.json").write_text("[]")
    for suffix in ("", ".png", ".json", ".zip", ".pth", ".caffemodel", ".index"):
        (root / f"loop{suffix}").symlink_to(f"loop{suffix}")
        os.mkfifo(root / f"pipe{suffix}")
        (root / f"file{suffix}").write_text("words")
        (root / f"folder{suffix}").mkdir()
    return root


@pytest.fixture(autouse=True)
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In the place, and with an end for what waits for a pipe."""
    monkeypatch.chdir(place)

    def waited(*_: object) -> None:
        raise AssertionError("waits for a pipe that nobody writes")

    before = signal.signal(signal.SIGALRM, waited)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def told(command, line: list[str], path: str) -> tuple[int, str]:
    code, _, err = command(*(word.replace("PATH", path) for word in line))
    assert "Traceback" not in err
    last = err.splitlines()[-1] if err else ""
    assert last.endswith((".", "`")), err
    return code, last


@pytest.mark.parametrize("path", [LONG, f"{LONG}/below", "loop", "loop/below", "nowhere/below", "file/below", "pipe", "folder"])
@pytest.mark.parametrize("line", READS, ids=" ".join)
def test_what_is_read(command, line: list[str], path: str) -> None:
    code, sentence = told(command, line, path)
    assert code in (2, 3, 4), sentence


@pytest.mark.parametrize("path", [LONG, f"{LONG}/below", "loop", "loop/below", "file", "file/below", "pipe", "pipe/below"])
@pytest.mark.parametrize("line", WRITES, ids=" ".join)
def test_what_is_written(command, line: list[str], path: str, place: Path) -> None:
    before = sorted(found for found in place.rglob("*"))
    code, sentence = told(command, line, path)
    if path == "file" and any(word in line for word in ("--report", "PATH.png")):  # a file may be written anew
        assert code == 0
        for name in ("file", "file.png"):
            (place / name).write_text("words")
        return
    assert code == 2, sentence
    assert sorted(found for found in place.rglob("*")) == before
