"""Every verb that writes is killed, and meets a full disk: what is there is whole, and the same command completes it."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import make_folder, make_model, make_voc
from PIL import Image
from places import TESTS
from torchvision.models.segmentation import lraspp_mobilenet_v3_large

import perpixel
from perpixel.classes import ClassTable
from perpixel.images import write_labels

LRASPP = "torchvision_lraspp_mobilenet_v3_large"
VERBS: dict[str, list[str]] = {
    "predict": ["predict", "run", "data/images/val", "--out", "masks", "--scores"],
    "predict --shard": ["predict", "run", "data/images/val", "--out", "masks", "--shard", "0/1"],
    "evaluate --shard": ["evaluate", "data/masks/val", "--data", "./data", "--out", "scores", "--shard", "0/1"],
    "check --fix": ["check", "./wide", "--fix", "fixed"],
    "check --report": ["check", "./data", "--report", "page.html"],
    "init": ["init", "raw"],
    "import": ["import", "weights.pth", "--network", LRASPP, "--out", "imported"],
    "submission": ["submission", "predicted", "--data", "voc2012", "--root", ".", "--split", "val", "--out", "comp6.tar.gz"],
    "convert an archive": ["convert", "set.tar", "converted"],
    "receptive-field": ["receptive-field", "run", "data/images/val/p00.jpg", "--out", "field.png"],
    **{f"convert to {to}": ["convert", "./data", "converted", "--to", to]
       for to in ("folder", "coco", "voc", "yolo", "labelme", "cvat", "label-studio")},
}  # fmt: skip
FOLDERS = {"check --fix": "fixed", **{verb: "converted" for verb in VERBS if verb.startswith("convert")}}  # whole or not there
SCRIPT = TESTS / "kill_verbs.py"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All that the command lines need."""
    root = tmp_path_factory.mktemp("kill") / "base"
    data = make_folder(root / "data", train=2, val=2)
    wide = make_folder(root / "wide", train=2, val=2)
    for mask in (wide / "masks").rglob("*.png"):
        Image.fromarray(np.array(Image.open(mask)).astype(np.uint16)).save(mask)
    shutil.copytree(data / "images/train", root / "raw/photos")
    shutil.copytree(data / "masks/train", root / "raw/labels")
    with tarfile.open(root / "set.tar", "w") as archive:
        archive.add(data, "set")
    make_model(root / "run", ClassTable.read_csv(data / "classes.csv"))
    torch.save(lraspp_mobilenet_v3_large(weights=None, weights_backbone=None).state_dict(), root / "weights.pth")
    voc = perpixel.open_dataset("voc2012", root=make_voc(root), split="val")
    for index in range(len(voc)):
        labels = np.zeros(voc.sample(index).image.shape[:2], np.uint8)
        write_labels(root / "predicted", f"{voc.name(index)}.png", labels, voc.classes)
    return root


def stopped(base: Path, step: int) -> dict[str, dict[str, list[int]]]:
    """The exit statuses of each verb at each point, and of the same command after it."""
    command = [sys.executable, str(SCRIPT), str(base), json.dumps(VERBS), str(step)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=6000, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    statuses: dict[str, dict[str, list[int]]] = json.loads(done.stdout.splitlines()[-1])
    return statuses


def tree(folder: Path) -> dict[str, bytes]:
    """The files of a folder by path, but for locks."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def assert_completed(base: Path, verb: str, statuses: dict[str, list[int]]) -> None:
    """What was stopped left nothing torn, and the same command made of it what an undisturbed one makes."""
    start = base.with_name(f"{base.name}-{verb.replace(' ', '-')}")
    log = Path(f"{start}-none.log").read_text()
    assert statuses.pop("none") == [0], log
    expected = tree(Path(f"{start}-none"))
    assert expected.keys() > tree(base).keys()
    assert len(statuses) >= 2
    for point, (first, second) in statuses.items():
        folder, log = Path(f"{start}-{point}"), Path(f"{start}-{point}.log").read_text()
        assert "Traceback" not in log, f"{point}: {log}"
        assert first in ((-9,) if point.startswith("kill") else (0, 5)), f"{point}: {first} {log}"
        half = {name: data for name, data in tree(Path(f"{folder}-half")).items() if ".partial" not in name}
        torn = [name for name, data in half.items() if expected.get(name) != data and not name.endswith(".jsonl")]
        assert torn == [], f"{point}: {torn} {log}"
        if verb in FOLDERS:
            made = {name for name in half if name.startswith(f"{FOLDERS[verb]}/")}
            assert made in (set(), {name for name in expected if name.startswith(f"{FOLDERS[verb]}/")}), f"{point}: {log}"
        found = tree(folder)
        differing = [name for name in expected.keys() | found.keys() if found.get(name) != expected.get(name)]
        assert differing == [], f"{point}: {differing} {log}"
        assert second == 0 or "exists already" in log, f"{point}: {second} {log}"


@pytest.fixture(scope="module")
def some(base: Path) -> dict[str, dict[str, list[int]]]:
    return stopped(base, 0)


@pytest.mark.parametrize("verb", VERBS)
def test_what_was_stopped_is_completed_by_the_same_command(
    base: Path, some: dict[str, dict[str, list[int]]], verb: str
) -> None:
    assert_completed(base, verb, dict(some[verb]))


@pytest.mark.slow
def test_stopped_at_every_touch_of_the_disk(base: Path, tmp_path: Path) -> None:
    everything = Path(shutil.copytree(base, tmp_path / "base", symlinks=True))
    for verb, statuses in stopped(everything, 1).items():
        print(f"{verb}: stopped {len(statuses) - 1} times")
        assert_completed(everything, verb, statuses)
