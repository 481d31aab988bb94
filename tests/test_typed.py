"""A user's script that names the public things has their types: `py.typed` keeps its word."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

pytestmark = pytest.mark.slow  # mypy reads torch
SCRIPT = """
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import perpixel


def largest(prediction: perpixel.Prediction) -> str:
    areas: dict[str, int] = {name: len(polygons) for name, polygons in prediction.polygons().items()}
    annotations: list[dict[str, object]] = prediction.to_coco(polygons=True)
    return max(areas, key=areas.__getitem__) if annotations else ""


perpixel.train("street", out="runs/street", minutes=5)
model = perpixel.load(Path("runs/street"))
one: perpixel.Prediction = perpixel.predict(model, "street.jpg", inference=perpixel.Inference(average="flips"))
many: list[perpixel.Prediction] = perpixel.predict(model, [b"", np.zeros((4, 5, 3), np.uint8), Path("street.jpg")])
print(largest(one), [largest(each) for each in many])
dataset = perpixel.open_dataset("scenes", split="val")
sample: perpixel.Sample = dataset.sample(0)
classes: perpixel.ClassTable = dataset.classes
objects: perpixel.Instances | None = sample.instances
image: NDArray[np.uint8] = sample.image
scores: perpixel.Scores = perpixel.evaluate(model, dataset)
print(scores.mean_iou, scores.protocol_hash.upper(), classes.names[0].upper(), objects, image.shape)
comparison: perpixel.Comparison = perpixel.compare([model, "masks"], dataset)
confusion = perpixel.ConfusionMatrix(len(classes), classes.void)
print(comparison.main.upper(), confusion.mean_iou() + 1, perpixel.build("unet", 3).training)
"""
WRONG = "\nperpixel.predict(model, 3)\nlength: int = scores.protocol_hash\nperpixel.evalute(model, dataset)\n"


@pytest.mark.parametrize(("text", "wrong"), [(SCRIPT, ()), (SCRIPT + WRONG, ("call-overload", "assignment", "attr-defined"))])
def test_a_users_script_passes_mypy_strict_unless_it_is_wrong(tmp_path: Path, text: str, wrong: tuple[str, ...]) -> None:
    pytest.importorskip("mypy")
    (tmp_path / "script.py").write_text(text)
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--config-file=", "script.py"]
    done = subprocess.run(
        [*command, "--cache-dir", str(tmp_path.parent / "mypy")], cwd=tmp_path, env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    errors = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert [line.rpartition("[")[2].rstrip("]") for line in errors] == [*wrong], done.stdout
    assert (ROOT / "perpixel/py.typed").is_file()
