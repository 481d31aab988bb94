"""Judging 1024x2048 pictures as Cityscapes' benchmark does: perpixel and evalPixelLevelSemanticLabeling.py of cityscapesScripts.

    python benchmarks/cityscapes.py PYTHON

PYTHON is one in whose environment cityscapesScripts is installed (it wants numpy<2.4); it runs beside this one and is asked for
one judgement at a time. It is measured as it comes from the package index, in Python and NumPy, and, where its module
addToConfusionMatrix was built from its repository, with that. `arrays` are pictures in memory: what counting and scoring costs,
on one thread each. `files` are PNGs, as a user has them: one thread each, and ours on two, as it does by itself."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from measure import alternately, machine, median, report
from PIL import Image

from perpixel.datasets.cityscapes import Cityscapes
from perpixel.judging import answers
from perpixel.judging.evaluate import evaluate
from perpixel.measures.cityscapes import CityscapesCounts, CityscapesIou, count_picture

SIZE, PICTURES, RUNS = (1024, 2048), 6, 9
# Reads lines `kind python|cython` and answers each with the figures, after judging all pictures once.
PEER = """
import glob, json, sys, warnings
warnings.simplefilter("ignore")
import numpy as np
import cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling as official
from PIL import Image

class Stored:
    def __init__(self, values):
        self.values, self.size = values, values.shape[::-1]
    def __array__(self, dtype=None, copy=None):
        return self.values

class Memory:
    files = {name: Stored(np.array(Image.open(name))) for name in glob.glob("**/*Ids.png", recursive=True) + glob.glob("pred/*")}
    open = staticmethod(files.__getitem__)

official.args.JSONOutput, official.args.quiet = False, True
truths, masks = sorted(glob.glob("gtFine/val/*/*labelIds.png")), sorted(glob.glob("pred/*"))
print(json.dumps({"cython": official.CSUPPORT, "numpy": np.__version__}), flush=True)
for line in sys.stdin:
    kind, cython = line.split()
    official.Image = Memory if kind == "arrays" else Image
    official.CSUPPORT = cython == "cython"
    print(json.dumps(official.evaluateImgLists(masks, truths, official.args)), flush=True)
"""


def draw_street(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Label ids, instance ids and a prediction: large regions, void at the edges, 40 objects, one a group; a tenth is wrong."""
    cells = rng.choice([4, 7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23], (16, 32))
    truth = np.kron(cells, np.ones((64, 64), int))
    truth[:40], truth[-60:] = 3, 1
    instances = truth.copy()
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    for number in range(40):
        label, radius = rng.integers(24, 34), rng.integers(8, 90)
        row, column = rng.integers(100, SIZE[0] - 100), rng.integers(0, SIZE[1])
        inside = ((rows - row) / radius) ** 2 + ((columns - column) / (1.5 * radius)) ** 2 < 1
        truth[inside], instances[inside] = label, label if number == 7 else 1000 * label + number
    predicted = np.roll(truth, (2, 3), (0, 1))
    wrong = np.kron(rng.random((64, 128)) < 0.1, np.ones((16, 16), bool))
    predicted[wrong] = rng.integers(0, 34, wrong.sum())
    return truth.astype(np.uint8), instances.astype(np.uint16), predicted.astype(np.uint8)


def put_set(root: Path, streets: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
    """A val split, whose pictures are empty files, for nobody reads them, and masks in pred/."""
    folders = [root / "gtFine/val/ulm", root / "leftImg8bit/val/ulm", root / "pred"]
    for folder in folders:
        folder.mkdir(parents=True)
    for number, arrays in enumerate(streets):
        name = f"ulm_{number:06}_000019"
        (folders[1] / f"{name}_leftImg8bit.png").touch()
        truths = [folders[0] / f"{name}_gtFine_{kind}.png" for kind in ("labelIds", "instanceIds")]
        for path, values in zip([*truths, folders[2] / f"{name}.png"], arrays, strict=True):
            Image.fromarray(values).save(path)


def count(streets: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> CityscapesCounts:
    counts = CityscapesCounts()
    for street in streets:
        counts.add(count_picture(*street))
    counts.classes(), counts.categories()
    return counts


def judge(root: Path, threads: int) -> CityscapesCounts:
    answers.THREADS = threads
    return evaluate(root / "pred", Cityscapes(root, "val"), CityscapesIou()).totals


def same(counts: CityscapesCounts, theirs: dict) -> bool:
    """Whether every count and every figure is equal, to the last digit; nan is equal to nan."""
    pairs = []
    for kind, found in (("class", counts.classes()), ("category", counts.categories())):
        for name, one in found.items():
            pairs += [(one.iou, theirs[f"{kind}Scores"][name]), (one.iiou, theirs[f"{kind}InstScores"][name])]
    return counts.confusion.tolist() == theirs["confMatrix"] and all(a == b or (a != a and b != b) for a, b in pairs)


def main() -> None:
    rng = np.random.default_rng(0)
    streets = [draw_street(rng) for _ in range(PICTURES)]
    with tempfile.TemporaryDirectory() as folder:
        put_set(Path(folder), streets)
        bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
        with subprocess.Popen([sys.argv[1], "-c", PEER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=bare,
                              cwd=folder) as peer:  # fmt: skip
            has = json.loads(peer.stdout.readline())

            def theirs(kind: str, cython: str) -> Callable[[], dict]:
                def call() -> dict:
                    peer.stdin.write(f"{kind} {cython}\n")
                    peer.stdin.flush()
                    return json.loads(peer.stdout.readline())

                return call

            ours: dict[str, dict[str, Callable[[], CityscapesCounts]]] = {
                "arrays": {"ours": lambda: count(streets)},
                "files": {"ours": lambda: judge(Path(folder), 1), "ours on two threads": lambda: judge(Path(folder), 2)},
            }
            results: dict[str, object] = {
                "machine": machine("numpy", "numba", "zlib-ng"), "peer": {"cityscapesScripts": "2.3.0", **has},
                "pictures": f"{PICTURES} drawn streets of {SIZE[0]}x{SIZE[1]} with 39 objects each; times are of one picture",
            }  # fmt: skip
            for kind, calls in ours.items():
                peers = {name: theirs(kind, name) for name in ("python", "cython") if name == "python" or has["cython"]}
                assert all(same(call(), peers[name]()) for call in calls.values() for name in peers)
                seconds = {name: median(times) / PICTURES for name, times in alternately(RUNS, **calls, **peers).items()}
                results[kind] = {
                    **{f"{name} ms": 1e3 * value for name, value in seconds.items()},
                    **{f"{one} times faster than {other}": seconds[other] / seconds[one] for one in calls for other in peers},
                }
            peer.stdin.close()
    report("cityscapes", results)


if __name__ == "__main__":
    main()
