"""The fully connected CRF on 500x375 pixels of 21 classes, 10 iterations: perpixel on one thread and two, pydensecrf2 on its one.

    python benchmarks/crf.py [PICTURE ...]

Without pictures it takes a drawn street with the grain of a camera. The unary is made: noisy scores with more for one class in
each region. The time depends on the picture: much texture means many lattice points. Ours includes checking and the logarithm;
pydensecrf2 gets its energies ready-made."""

import sys
from pathlib import Path

import numpy as np
import pydensecrf.densecrf
from measure import alternately, machine, median, report
from PIL import Image

from perpixel import open_dataset
from perpixel.prediction.crf.refine import refine
from perpixel.prediction.crf.settings import CRF, CRFS

SIZE, CLASSES = (500, 375), 21
PARAMETERS = {**CRFS, "smooth (80, 13, 10)": CRF(3, 3, 80, 13, 10)}  # the last are those of pydensecrf's README


def pictures(paths: list[str]) -> dict[str, np.ndarray]:
    if paths:
        return {Path(path).name: np.asarray(Image.open(path).convert("RGB").resize(SIZE)) for path in paths}
    scene = np.asarray(Image.fromarray(open_dataset("scenes", split="val").sample(0).image).resize(SIZE))
    grain = np.random.default_rng(0).normal(0, 4, scene.shape)
    return {"drawn street": (scene + grain).clip(0, 255).astype(np.uint8)}


def made_probabilities(image: np.ndarray) -> np.ndarray:
    """(21, H, W) softmax of noise with 3 more for the class that the brightness, coarsely, stands for."""
    coarse = np.asarray(Image.fromarray(image).convert("L").resize((25, 19)).resize(SIZE, Image.Resampling.BICUBIC))
    scores = np.random.default_rng(0).normal(size=(CLASSES, *coarse.shape))
    scores += 3 * (coarse // 13 == np.arange(CLASSES)[:, None, None])
    powers = np.exp(scores)
    return (powers / powers.sum(0)).astype(np.float32)


def peer(image: np.ndarray, energies: np.ndarray, crf: CRF) -> np.ndarray:
    field = pydensecrf.densecrf.DenseCRF2D(*SIZE, CLASSES)
    field.setUnaryEnergy(energies)
    field.addPairwiseGaussian(sxy=crf.gaussian_sd, compat=crf.gaussian_weight)
    field.addPairwiseBilateral(sxy=crf.bilateral_xy_sd, srgb=crf.bilateral_rgb_sd, rgbim=image, compat=crf.bilateral_weight)
    return np.array(field.inference(crf.iterations)).reshape(CLASSES, *image.shape[:2])


def compare(image: np.ndarray, crf: CRF) -> dict[str, float]:
    image, probabilities = image.copy(), made_probabilities(image)
    energies = -np.log(probabilities.reshape(CLASSES, -1))
    ours, theirs = refine(image, probabilities, crf), peer(image, energies, crf)
    seconds = alternately(
        5,
        one=lambda: refine(image, probabilities, crf, threads=1),
        peer=lambda: peer(image, energies, crf),
        two=lambda: refine(image, probabilities, crf, threads=2),
    )
    one, two, other = (median(seconds[name]) for name in ("one", "two", "peer"))
    return {
        "one thread s": one, "two threads s": two, "pydensecrf2 s": other,
        "times faster": other / one, "times faster on two": other / two,
        "marginals apart": float(abs(ours - theirs).mean()), "labels apart": float((ours.argmax(0) != theirs.argmax(0)).mean()),
    }  # fmt: skip


def main() -> None:
    results: dict[str, object] = {"machine": machine("numpy", "numba", "pydensecrf2")}
    for name, image in pictures(sys.argv[1:]).items():
        results[name] = {parameters: compare(image, crf) for parameters, crf in PARAMETERS.items()}
    report("crf", results)


if __name__ == "__main__":
    main()
