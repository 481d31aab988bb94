"""From a network's coarse scores to the labels of all pixels: perpixel against torch, and against torch slab by slab.

    python benchmarks/labels.py                                     # 1024x2048, 19 and 150 classes
    python benchmarks/labels.py --size 16384 16384 --runs 1         # torch is left out where memory is too small for it

torch interpolates the scores of all classes to all pixels and takes the argmax. Toolboxes for medical volumes do this for a slab
at a time, here of 64 rows. Scores are those of a street-like picture at stride 8. The peak is what a process of its own needs
beyond its scores: the labels, 1 byte a pixel, are in it."""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from measure import alternately, machine, median, report
from torch.nn import functional as F

from perpixel.prediction.score_maps import Scores

STRIDE, SLAB = 8, 64
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def scores_of(size: tuple[int, int], classes: int) -> np.ndarray:
    """(h, w, C) float32: large regions of a class each, with noise, so that some cells lie between classes."""
    rng = np.random.default_rng(0)
    height, width = (-(-side // STRIDE) for side in size)
    regions = np.kron(rng.integers(0, classes, (-(-height // 16), -(-width // 16))), np.ones((16, 16), np.int64))[:height, :width]
    scores = rng.standard_normal((height, width, classes), np.float32)
    np.put_along_axis(scores, regions[..., None], 6 + np.take_along_axis(scores, regions[..., None], 2), 2)
    return scores


def contestants(scores: np.ndarray, size: tuple[int, int]) -> dict[str, Callable[[], np.ndarray]]:
    tensor = torch.from_numpy(scores).movedim(2, 0)[None].contiguous()

    def ours() -> np.ndarray:
        return Scores(scores, STRIDE, 0.5 / STRIDE - 0.5, size).labels(size)

    def whole() -> np.ndarray:
        logits = F.interpolate(tensor, size, mode="bilinear", align_corners=False)
        return logits.argmax(1)[0].to(torch.uint8).numpy()

    def slabs() -> np.ndarray:
        """Each slab from its rows of scores and one more on both sides, so that its values are those of the whole."""
        labels, cells = np.empty(size, np.uint8), SLAB // STRIDE
        for top in range(0, size[0], SLAB):
            first = top // STRIDE
            before, after = min(1, first), min(1, max(0, tensor.shape[2] - first - cells))
            part = tensor[:, :, first - before : first + cells + after]
            logits = F.interpolate(part, (part.shape[2] * STRIDE, size[1]), mode="bilinear", align_corners=False)
            rows = min(SLAB, size[0] - top)
            labels[top : top + rows] = logits[0, :, before * STRIDE : before * STRIDE + rows].argmax(0).to(torch.uint8).numpy()
        return labels

    return {"ours": ours, "torch": whole, "slabs": slabs}


def peak_of(name: str, size: tuple[int, int], classes: int) -> int:
    """Bytes that a call needs beyond what its process held before, after a small call that loads its code."""
    contestants(scores_of((64, 64), classes), (64, 64))[name]()
    call = contestants(scores_of(size, classes), size)[name]
    CLEAR.write_text("5")
    before = resident("VmRSS")
    call()
    return resident("VmHWM") - before


def resident(field: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field))
    return 1024 * int(line.split()[1])


def memory() -> int:
    """Bytes that are free for a program."""
    return 1024 * int(next(line for line in Path("/proc/meminfo").read_text().splitlines() if "MemAvailable" in line).split()[1])


def compared(size: tuple[int, int], classes: int, runs: int) -> dict[str, object]:
    scores = scores_of(size, classes)
    calls = contestants(scores, size)
    needed = 4 * classes * size[0] * size[1]
    result: dict[str, object] = {"full-size scores, MB": needed / 1e6}
    if 1.5 * needed > memory():
        del calls["torch"]
        result["torch"] = f"needs {needed / 1e9:.0f} GB and is left out"
    expected = calls["slabs"]()
    differing = {name: float((call() != expected).mean()) for name, call in calls.items()}
    assert max(differing.values()) < 1e-4, differing  # ties
    seconds = alternately(runs, **calls)
    for name in calls:
        command = [sys.executable, __file__, "--peak", name, "--size", *map(str, size), "--classes", str(classes)]
        peak = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        result[name] = {"ms": 1e3 * median(seconds[name]), "peak MB": peak / 1e6, "labels apart": differing[name]}
        if name != "ours":
            own = result["ours"]
            assert isinstance(own, dict)
            result[f"times faster than {name}"] = median(seconds[name]) / median(seconds["ours"])
            result[f"share of the memory of {name}"] = own["peak MB"] / (peak / 1e6)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, nargs=2, default=[1024, 2048])
    parser.add_argument("--classes", type=int, nargs="+", default=[19, 150])
    parser.add_argument("--runs", type=int, default=11)
    parser.add_argument("--peak", help="Print the peak of one contestant alone.")
    arguments = parser.parse_args()
    size = (arguments.size[0], arguments.size[1])
    if arguments.peak:
        print(peak_of(arguments.peak, size, arguments.classes[0]))
        return
    results: dict[str, object] = {"machine": machine("numpy", "numba", "torch"), "threads": torch.get_num_threads()}
    for classes in arguments.classes:
        results[f"{size[0]}x{size[1]}, {classes} classes"] = compared(size, classes, arguments.runs)
    report("labels" if size == (1024, 2048) else f"labels_{size[0]}x{size[1]}", json.loads(json.dumps(results)))


if __name__ == "__main__":
    main()
