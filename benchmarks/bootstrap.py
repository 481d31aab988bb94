"""How long the figures of AP take for a bootstrap sample of as many pictures as val2017 has: ours, from results that are ranked
once, against COCO's own code and faster-coco-eval, which rank the results of each sample.

    python benchmarks/bootstrap.py      # of the set that coco.py draws; needs pycocotools and faster-coco-eval

All get the same sample. Figures may differ where scores are equal, as copies of a picture stand side by side in our ranking."""

import contextlib
import io
import tempfile
from pathlib import Path

import numpy as np
from coco import write_set
from faster_coco_eval import COCO as FastCOCO
from faster_coco_eval import COCOeval_faster
from measure import alternately, machine, median, report
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from perpixel.datasets.coco_annotations import read_annotations
from perpixel.measures.instances import Ranking, read_results
from perpixel.measures.outcomes import Outcomes

PICTURES = 5000
ROUNDS = 5


def main() -> None:
    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(io.StringIO()):
        folder = Path(name)
        write_set(folder, PICTURES)
        files = folder / "truth.json", folder / "mask.json"
        truth = read_annotations(files[0])
        ranking = Ranking(truth, read_results(files[1], truth), "mask")
        official, fast = COCO(str(files[0])), FastCOCO(str(files[0]))
        peer = COCOeval(official, official.loadRes(str(files[1])), "segm")
        native = COCOeval_faster(fast, fast.loadRes(str(files[1])), "segm", separate_eval=True)
        for one in (peer, native):
            one.evaluate()
    outcomes = Outcomes([ranking.matches], PICTURES, len(ranking.categories))
    weights = np.random.default_rng(0).multinomial(PICTURES, np.full(PICTURES, 1 / PICTURES))
    sample = np.repeat(np.arange(PICTURES), weights)
    by_place = np.array(peer.evalImgs, object).reshape(-1, PICTURES)
    by_place_too = np.array(native._evalImgs_cpp, object).reshape(-1, PICTURES)

    def ours() -> list[float]:
        return outcomes.figures(weights)

    def faster_coco_eval() -> list[float]:
        native._evalImgs_cpp = by_place_too[:, sample].ravel().tolist()
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
        "results": len(ranking.matches.scores),
        "seconds a sample": seconds,
        "ratios": {name: value / seconds["ours"] for name, value in seconds.items()},
        "greatest difference": {one.__name__: float(np.abs(np.subtract(ours(), one())).max())
                                for one in (faster_coco_eval, pycocotools)},
    }  # fmt: skip
    report("bootstrap", result)


if __name__ == "__main__":
    main()
