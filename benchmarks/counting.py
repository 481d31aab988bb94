"""Confusion counts of a 1024x2048 pair of 19 classes: perpixel against numpy.bincount.

    python benchmarks/counting.py"""

import numpy as np
from measure import alternately, machine, median, report

from perpixel import ConfusionMatrix

CLASSES, SIZE = 19, (1024, 2048)


def bincount(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """The usual way: one index per judged pixel, counted."""
    judged = truth < CLASSES
    cells = CLASSES * truth[judged].astype(np.int64) + predicted[judged]
    return np.bincount(cells, minlength=CLASSES**2).reshape(CLASSES, CLASSES)


def pairs() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """A street-like pair (large regions, moved by some pixels, a void strip), and one of independent pixels."""
    rng = np.random.default_rng(0)
    cells = np.kron(rng.integers(0, CLASSES, (16, 32)), np.ones((64, 64), np.int64)).astype(np.uint8)
    regions, moved = cells.copy(), np.roll(cells, (3, 5), (0, 1))
    regions[:40] = 255
    noise = rng.integers(0, CLASSES, SIZE).astype(np.uint8)
    return {"regions": (regions, moved), "noise": (noise, rng.permutation(noise))}


def main() -> None:
    results: dict[str, object] = {"machine": machine("numpy", "numba")}
    for name, (truth, predicted) in pairs().items():
        def ours(truth: np.ndarray = truth, predicted: np.ndarray = predicted) -> np.ndarray:
            matrix = ConfusionMatrix(CLASSES)
            matrix.add(truth, predicted)
            return matrix.counts

        def peer(truth: np.ndarray = truth, predicted: np.ndarray = predicted) -> np.ndarray:
            return bincount(truth, predicted)

        assert (ours() == peer()).all()
        seconds = alternately(21, ours=ours, peer=peer)
        ratio = median(seconds["peer"]) / median(seconds["ours"])
        results[name] = {
            "ours_ms": 1e3 * median(seconds["ours"]), "numpy_ms": 1e3 * median(seconds["peer"]), "times faster": ratio,
            "limit": f"{truth.nbytes * 2 / 1e6:.1f} MB read: {truth.nbytes * 2 / median(seconds['ours']) / 1e9:.1f} GB/s",
        }  # fmt: skip
    report("counting", results)


if __name__ == "__main__":
    main()
