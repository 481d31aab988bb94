"""How long the figures of AP take for a bootstrap sample of as many pictures as val2017 has: ours, from results that are ranked
once, against COCO's own code and faster-coco-eval, which rank the results of each sample.

    python benchmarks/bootstrap.py TRUTH.json RESULTS.json      # of a few pictures, which are repeated; needs pycocotools

All get the same sample. Figures may differ where scores are equal, as copies of a picture stand side by side in our ranking."""

import argparse
import contextlib
import io
from pathlib import Path

import numpy as np
from measure import alternately, machine, median, report
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from perpixel.annotations import read_annotations
from perpixel.average_precision import Ranking, read_results
from perpixel.outcomes import Outcomes

PICTURES = 5000
ROUNDS = 5


def official(truth: Path, results: Path) -> COCOeval:
    """COCO's own code with its matches of masks."""
    coco = COCO(str(truth))
    judge = COCOeval(coco, coco.loadRes(str(results)), "segm")
    judge.evaluate()
    return judge


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("truth", type=Path)
    parser.add_argument("results", type=Path)
    files = parser.parse_args()
    truth = read_annotations(files.truth)
    ranking = Ranking(truth, read_results(files.results, truth), "mask")
    with contextlib.redirect_stdout(io.StringIO()):
        peer = official(files.truth, files.results)
    few = len(truth.pictures)
    repeated = np.arange(PICTURES) % few
    weights = np.random.default_rng(0).multinomial(PICTURES, np.full(PICTURES, 1 / PICTURES))
    sample = np.repeat(repeated, weights)
    rules = ranking._judge.params
    outcomes = Outcomes(ranking.matches[:, :, repeated], PICTURES, rules.iouThrs, rules.recThrs)
    native = ranking._judge
    native._paramsEval.imgIds = [*range(1, PICTURES + 1)]
    peer._paramsEval.imgIds = peer.params.imgIds = [*range(1, PICTURES + 1)]
    by_place = np.array(peer.evalImgs, object).reshape(-1, few)

    def ours() -> list[float]:
        return outcomes.figures(weights)

    def faster_coco_eval() -> list[float]:
        native._evalImgs_cpp = ranking.matches[:, :, sample].ravel().tolist()
        native.accumulate()
        native.summarize()
        return [*native.stats[:12]]

    def pycocotools() -> list[float]:
        peer.evalImgs = by_place[:, sample].ravel().tolist()
        with contextlib.redirect_stdout(io.StringIO()):
            peer.accumulate()
            peer.summarize()
        return [*peer.stats]

    seconds = {name: median(times) for name, times in alternately(ROUNDS, ours=ours, faster_coco_eval=faster_coco_eval,
                                                                  pycocotools=pycocotools).items()}  # fmt: skip
    result = {
        "machine": machine("faster-coco-eval", "pycocotools", "numpy", "numba"),
        "pictures": PICTURES,
        "results": len(outcomes._columns),
        "seconds a sample": seconds,
        "ratios": {name: value / seconds["ours"] for name, value in seconds.items()},
        "greatest difference": {one.__name__: float(np.abs(np.subtract(ours(), one())).max())
                                for one in (faster_coco_eval, pycocotools)},
    }  # fmt: skip
    report("bootstrap", result)


if __name__ == "__main__":
    main()
