"""How long AP and AR of a results file take, from files to figures in a process of its own, on a drawn set as large as val2017:
by masks and by boxes, ours against pycocotools, faster-coco-eval and hotcoco, where a Python has them.

    python benchmarks/coco.py [--peers PYTHON] [--pictures 5000]

All read the same files; the greatest difference of their twelve figures from ours is reported. What is large is imported by the
process that draws the set: the memory of a process counts as that of the ones it starts."""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from measure import alternately, machine, median, report

ROUNDS = 5
SIZES = ((480, 640), (427, 640), (640, 480), (375, 500))
PEERS = {
    "pycocotools": "from pycocotools.coco import COCO\nfrom pycocotools.cocoeval import COCOeval",
    "faster_coco_eval": "from faster_coco_eval import COCO, COCOeval_faster as COCOeval",
    "hotcoco": "from hotcoco import COCO, COCOeval",
}
PEER = """
import contextlib, json, os, sys
{imports}
with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
    truth = COCO(sys.argv[1])
    judge = COCOeval(truth, truth.loadRes(sys.argv[2]), sys.argv[3])
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
print(json.dumps([float(value) for value in judge.stats[:12]]))
"""


def outlines(rng: Any, height: int, width: int) -> list[list[float]]:
    """An object, and results near it: stars of 6 to 120 corners, x, y, x, y ..., most of them 20 to 100 pixels wide."""
    import numpy as np

    size = math.exp(rng.normal(3.1, 1))
    corners = int(np.clip(rng.poisson(12 + size / 3), 6, 120))
    angles, phase = np.sort(rng.random(corners)) * 2 * np.pi, rng.random() * 6
    middle, radii = rng.random(2) * (width, height), size * rng.uniform(0.5, 1.5, 2)
    found = []
    for number in range(1 + int(rng.choice([0, 1, 1, 1, 2]))):
        shift, scale = (rng.normal(0, 0.08 * size, 2), rng.uniform(0.85, 1.15)) if number else (0, 1)
        radius = scale * (1 + 0.25 * np.sin(3 * angles + phase) + 0.05 * rng.normal(size=corners))
        points = middle + shift + radii * np.stack([np.cos(angles), np.sin(angles)], 1) * radius[:, None]
        found.append(np.clip(points, 0, (width, height)).round(2).ravel().tolist())
    return found


def box_of(outline: list[float]) -> list[float]:
    x, y = outline[::2], outline[1::2]
    return [round(value, 2) for value in (min(x), min(y), max(x) - min(x), max(y) - min(y))]


def write_set(folder: Path, pictures: int) -> None:
    """Writes truth.json, mask.json and box.json."""
    import numpy as np

    from perpixel.masks.polygon_runs import draw
    from perpixel.masks.runs import write

    rng = np.random.default_rng(0)
    images, objects, results, sizes = [], [], [], []
    for id in range(1, pictures + 1):
        height, width = SIZES[int(rng.integers(len(SIZES)))]
        images.append({"id": id, "file_name": f"{id:012d}.jpg", "height": height, "width": width})
        among = rng.integers(1, 81, 3)
        for _ in range(int(rng.poisson(7.34))):
            category, (outline, *others) = int(rng.choice(among)), outlines(rng, height, width)
            crowd = rng.random() < 0.012
            objects.append({"id": len(objects) + 1, "image_id": id, "category_id": category, "iscrowd": int(crowd),
                            "segmentation": [outline], "bbox": box_of(outline)})  # fmt: skip
            sizes.append((height, width))
            for other in others:
                seen = category if rng.random() < 0.9 else int(rng.integers(1, 81))
                results.append(({"image_id": id, "category_id": seen, "score": round(rng.random(), 3)}, other, (height, width)))
    true, found = (draw([[one] for one in ones], *np.array(of, np.int64).T.copy()) for ones, of in (
        ([one["segmentation"][0] for one in objects], sizes),
        ([one for _, one, _ in results], [size for _, _, size in results]),
    ))  # fmt: skip
    for one, lengths, size in zip(objects, true.each(), sizes, strict=True):
        one["area"] = float(lengths[1::2].sum())
        if one["iscrowd"]:
            one["segmentation"] = {"size": list(size), "counts": lengths.tolist()}
    categories = [{"id": id, "name": f"category {id}"} for id in range(1, 81)]
    content = {
        "truth": {"images": images, "annotations": objects, "categories": categories},
        "mask": [{**one, "segmentation": {"size": list(size), "counts": counts}}
                 for (one, _, size), counts in zip(results, write(found), strict=True)],
        "box": [{**one, "bbox": box_of(outline)} for one, outline, _ in results],
    }  # fmt: skip
    for name, value in content.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    print(len(objects), len(results))


def run(last: dict[str, Any], *command: str) -> None:
    """Runs a command; what it printed and its peak memory, in MB, are kept in `last`."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        last["printed"] = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    last["megabytes"] = used.ru_maxrss / 1024


def judged(folder: Path, kind: str, peers: str) -> dict[str, Any]:
    truth, results = str(folder / "truth.json"), str(folder / f"{kind}.json")
    last: dict[str, dict[str, Any]] = {"ours": {}}
    calls: dict[str, Callable[[], object]] = {
        "ours": partial(run, last["ours"], sys.executable, "-m", "perpixel", "evaluate", results, "--data", truth,
                        "--instances", kind, "--json"),
    }  # fmt: skip
    for name, imports in PEERS.items():
        if subprocess.run([peers, "-c", imports], capture_output=True).returncode == 0:
            last[name] = {}
            kind_there = {"mask": "segm", "box": "bbox"}[kind]
            calls[name] = partial(run, last[name], peers, "-c", PEER.format(imports=imports), truth, results, kind_there)
    seconds = {name: median(times) for name, times in alternately(ROUNDS, **calls).items()}
    ours = [*json.loads(last["ours"]["printed"])["figures"].values()]
    return {
        "seconds": seconds,
        "ratios": {name: value / seconds["ours"] for name, value in seconds.items()},
        "megabytes": {name: round(one["megabytes"]) for name, one in last.items()},
        "AP": ours[0],
        "greatest difference": {name: max(abs(a - b) for a, b in zip(ours, json.loads(one["printed"]), strict=True))
                                for name, one in last.items() if name != "ours"},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", default=sys.executable, help="the Python that has the peers")
    parser.add_argument("--pictures", type=int, default=5000)
    parser.add_argument("--draw", type=Path, help="write the set into this folder, and no more")
    given = parser.parse_args()
    if given.draw:
        return write_set(given.draw, given.pictures)
    with tempfile.TemporaryDirectory() as name:
        folder, drawing = Path(name), [sys.executable, __file__, "--pictures", str(given.pictures), "--draw", name]
        objects, results = map(int, subprocess.run(drawing, check=True, capture_output=True).stdout.split())
        report("coco", {
            "machine": machine("pycocotools", "faster-coco-eval", "hotcoco", "numba", "msgspec"),
            "pictures": given.pictures, "objects": objects, "results": results,
            "file bytes": {path.stem: path.stat().st_size for path in sorted(folder.iterdir())},
            **{kind: judged(folder, kind, given.peers) for kind in ("mask", "box")},
        })  # fmt: skip


if __name__ == "__main__":
    main()
