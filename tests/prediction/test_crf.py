"""The CRF against mean field by brute force over all pairs of pixels, against the authors' code, and by its rules."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from places import SHARED

from perpixel.errors import DataError, UsageError
from perpixel.prediction.crf.refine import refine
from perpixel.prediction.crf.settings import CRF, CRFS

CAMVID = SHARED / "camvid"
COLOURS = np.array([[200, 60, 50], [70, 160, 60], [50, 70, 190], [210, 200, 120], [90, 90, 100]])


def noisy(labels, classes, random, certainty=1.5):
    """Probabilities that are right more often than not: softmax of noise with `certainty` more for the true class."""
    scores = random.normal(size=(classes, *labels.shape)) + certainty * (labels == np.arange(classes)[:, None, None])
    powers = np.exp(scores)
    return (powers / powers.sum(0)).astype(np.float32)


def blocks(height=24, width=28, classes=5, seed=0, grain=6):
    """A picture of coloured blocks with noise, and probabilities of their classes."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    labels = (x // 9 + y // 8) % min(classes, 5)
    image = (COLOURS[labels] + random.normal(0, grain, (height, width, 3))).clip(0, 255).astype(np.uint8)
    return image, noisy(labels, classes, random)


def normalised_kernel(features):
    """(n, n) exp(-|f_i - f_j|^2 / 2), divided by the roots of the sums of its rows and columns."""
    kernel = np.exp(-0.5 * ((features[:, None] - features) ** 2).sum(-1))
    sums = kernel.sum(1)
    return kernel / np.sqrt(sums[:, None] * sums)


def brute_force(image, probabilities, crf):
    """Mean field over all pairs, in float64."""
    classes, height, width = probabilities.shape
    places = np.stack(np.indices((height, width)), -1).reshape(-1, 2)
    colours = np.concatenate([places / crf.bilateral_xy_sd, image.reshape(-1, 3) / crf.bilateral_rgb_sd], 1)
    pairwise = crf.gaussian_weight * normalised_kernel(places / crf.gaussian_sd)
    pairwise += crf.bilateral_weight * normalised_kernel(colours)
    unary = np.log(probabilities.reshape(classes, -1).astype(np.float64))
    q = np.exp(unary)
    for _ in range(crf.iterations):
        energy = unary + q @ pairwise
        q = np.exp(energy - energy.max(0))
        q /= q.sum(0)
    return q.reshape(probabilities.shape)


def authors(image, probabilities, crf):
    """The authors' C++ code by way of pydensecrf2."""
    densecrf = pytest.importorskip("pydensecrf.densecrf", reason="pydensecrf2, which has the authors' code, is not installed")
    classes, height, width = probabilities.shape
    field = densecrf.DenseCRF2D(width, height, classes)
    field.setUnaryEnergy(np.ascontiguousarray(-np.log(probabilities.reshape(classes, -1))))
    field.addPairwiseGaussian(sxy=crf.gaussian_sd, compat=crf.gaussian_weight)
    sds = {"sxy": crf.bilateral_xy_sd, "srgb": crf.bilateral_rgb_sd}
    field.addPairwiseBilateral(**sds, rgbim=image.copy(), compat=crf.bilateral_weight)
    return np.array(field.inference(crf.iterations)).reshape(probabilities.shape)


def apart(one, other):
    """(mean difference of marginals, share of pixels with another label)."""
    return abs(one - other).mean(), (one.argmax(0) != other.argmax(0)).mean()


def test_parameters_are_those_of_the_papers():
    assert CRFS["deconvnet"] == CRF(gaussian_sd=3, gaussian_weight=3, bilateral_xy_sd=20, bilateral_rgb_sd=3, bilateral_weight=5)
    assert CRFS["deeplab"] == CRF(gaussian_sd=3, gaussian_weight=3, bilateral_xy_sd=50, bilateral_rgb_sd=3, bilateral_weight=5)
    assert {crf.iterations for crf in CRFS.values()} == {10}


@pytest.mark.parametrize("name", CRFS)
@pytest.mark.parametrize("grain", [0, 2, 6])
def test_marginals_are_those_of_brute_force(name, grain):
    image, probabilities = blocks(grain=grain)
    exact = brute_force(image, probabilities, CRFS[name])
    assert apart(exact, probabilities)[1] > 0.2  # it does something
    difference, labels = apart(exact, refine(image, probabilities, CRFS[name]))
    assert difference < 2e-3
    assert labels < 0.01


def test_the_gaussian_alone_is_exact_but_for_its_cut_tails():
    image, probabilities = blocks()
    crf = replace(CRFS["deconvnet"], bilateral_weight=0)
    assert refine(image, probabilities, crf) == pytest.approx(brute_force(image, probabilities, crf), abs=1e-3)
    assert apart(brute_force(image, probabilities, crf), refine(image, probabilities, crf))[0] < 1e-4


def test_the_names_of_parameters_are_there_without_waiting_for_numba():
    """`--help` lists them."""
    code = "import sys, perpixel.prediction.crf.settings; sys.exit('numba' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_two_pixels_by_hand():
    """Equal colours: k = exp(-1/2) between them, n = 1 + k; one iteration adds (q_i + k q_j) / n to each log probability."""
    probabilities = np.array([[[0.9, 0.4]], [[0.1, 0.6]]], np.float32)
    k = np.exp(-0.5)
    powers = probabilities * np.exp((probabilities + k * probabilities[:, :, ::-1]) / (1 + k))
    result = refine(np.zeros((1, 2, 3), np.uint8), probabilities, CRF(1, 1, 1, 1, 0, iterations=1))
    assert result == pytest.approx(powers / powers.sum(0), abs=1e-6)


def test_a_pixel_whose_colour_is_alone_only_confirms_itself():
    """Between colours that are far apart the normalised kernel is 1 from a pixel to itself and 0 else."""
    probabilities = np.array([[[0.7, 0.4]], [[0.3, 0.6]]], np.float32)
    image = np.array([[[0, 0, 0], [255, 255, 255]]], np.uint8)
    powers = probabilities * np.exp(2 * probabilities)
    assert refine(image, probabilities, CRF(1, 0, 5, 3, 2, iterations=1)) == pytest.approx(powers / powers.sum(0), abs=1e-5)


@given(
    seed=st.integers(0, 2**32 - 1), classes=st.integers(2, 40), shape=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    colours=st.integers(1, 256),
)  # fmt: skip
def test_marginals_sum_to_1(seed, classes, shape, colours):
    random = np.random.default_rng(seed)
    image = random.integers(0, colours, (*shape, 3)).astype(np.uint8)
    probabilities = random.dirichlet(np.full(classes, 0.3), shape).transpose(2, 0, 1).astype(np.float32)
    result = refine(image, probabilities, CRFS["deconvnet"])
    assert result.dtype == np.float32
    assert result.shape == probabilities.shape
    assert (result >= 0).all()
    assert result.sum(0) == pytest.approx(np.ones(shape), abs=1e-5)


@given(seed=st.integers(0, 2**32 - 1))
def test_without_weights_or_iterations_the_input_comes_back(seed):
    image, probabilities = blocks(9, 13, 7, seed)
    for crf in (CRF(3, 0, 20, 3, 0), replace(CRFS["deeplab"], iterations=0)):
        assert refine(image, probabilities, crf) == pytest.approx(probabilities, abs=1e-6)


@given(seed=st.integers(0, 2**32 - 1))
def test_renaming_the_classes_renames_the_marginals(seed):
    image, probabilities = blocks(12, 10, 9, seed)
    names = np.random.default_rng(seed).permutation(9)
    renamed = refine(image, probabilities[names], CRFS["deconvnet"])
    assert renamed == pytest.approx(refine(image, probabilities, CRFS["deconvnet"])[names], abs=1e-4)


@pytest.mark.parametrize("axis", [1, 2])
def test_a_mirrored_picture_has_mirrored_marginals(axis):
    image, probabilities = blocks()
    mirrored = refine(np.flip(image, axis - 1), np.flip(probabilities, axis), CRFS["deconvnet"])
    difference, labels = apart(np.flip(mirrored, axis), refine(image, probabilities, CRFS["deconvnet"]))
    assert difference < 2e-3
    assert labels < 0.01


@given(shape=st.sampled_from([(1, 1), (1, 9), (9, 1), (5, 7)]), classes=st.sampled_from([1, 2, 8, 9, 24, 33, 255]))
def test_any_size_and_number_of_classes(shape, classes):
    image = np.full((*shape, 3), 77, np.uint8)
    probabilities = np.random.default_rng(classes).dirichlet(np.ones(classes), shape).transpose(2, 0, 1).astype(np.float32)
    result, exact = refine(image, probabilities, CRFS["deeplab"]), brute_force(image, probabilities, CRFS["deeplab"])
    assert result.shape == exact.shape
    assert apart(exact, result)[0] < 1e-2


def test_a_lone_wrong_pixel_takes_the_class_around_it():
    probabilities = np.full((2, 11, 11), 0.1, np.float32)
    probabilities[0] = 0.9
    probabilities[:, 5, 5] = 0.3, 0.7
    assert (refine(np.full((11, 11, 3), 50, np.uint8), probabilities, CRFS["deconvnet"]).argmax(0) == 0).all()


def test_probabilities_of_0_are_allowed():
    image, probabilities = blocks(8, 9)
    certain = (probabilities == probabilities.max(0)).astype(np.float32)
    result = refine(image, certain, CRFS["deconvnet"])
    assert np.isfinite(result).all()
    assert result.sum(0) == pytest.approx(np.ones((8, 9)), abs=1e-5)
    assert refine(image, 0 * certain, CRFS["deconvnet"]) == pytest.approx(0.2, abs=1e-6)  # nothing known, nothing to learn


def test_one_and_more_threads_give_the_same_bytes():
    image, probabilities = blocks(80, 90, 21)  # pictures that are much smaller are done by one
    first = refine(image, probabilities, CRFS["deconvnet"], threads=1).tobytes()
    assert all(refine(image, probabilities, CRFS["deconvnet"], threads).tobytes() == first for threads in (2, 3, None))


def test_the_input_is_left_as_it_was():
    image, probabilities = blocks(8, 9)
    image.flags.writeable = probabilities.flags.writeable = False
    kept = probabilities.copy()
    refine(image, probabilities, CRFS["deeplab"])
    assert (probabilities == kept).all()


@pytest.mark.parametrize(
    ("image", "probabilities", "sentence"),
    [
        (np.zeros((4, 5, 3), np.float32), np.ones((2, 4, 5)), r"uint8 \(H, W, 3\); found float32"),
        (np.zeros((4, 5), np.uint8), np.ones((2, 4, 5)), r"found uint8 \(4, 5\)"),
        (np.zeros((0, 5, 3), np.uint8), np.ones((2, 0, 5)), r"found uint8 \(0, 5, 3\)"),
        (np.zeros((4, 5, 3), np.uint8), np.ones((2, 5, 4)), r"picture is \(4, 5\), the probabilities \(2, 5, 4\)"),
        (np.zeros((4, 5, 3), np.uint8), np.ones((4, 5)), r"needs \(C, H, W\)"),
        (np.zeros((4, 5, 3), np.uint8), np.ones((0, 4, 5)), r"needs \(C, H, W\)"),
    ],
)  # fmt: skip
def test_shapes_that_do_not_fit_are_told(image, probabilities, sentence):
    with pytest.raises(DataError, match=sentence):
        refine(image, probabilities, CRFS["deeplab"])


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.1])
def test_a_probability_that_is_none_is_told_with_its_place(value):
    image, probabilities = blocks(8, 9)
    probabilities[3, 2, 1] = value
    with pytest.raises(DataError, match=r"at \(class, y, x\) = \(3, 2, 1\)"):
        refine(image, probabilities, CRFS["deeplab"])


@pytest.mark.parametrize(
    "changed",
    [{"gaussian_sd": 0}, {"bilateral_rgb_sd": -1}, {"bilateral_weight": np.nan}, {"gaussian_weight": -3}, {"iterations": 2.5},
     {"iterations": -1}],
)  # fmt: skip
def test_parameters_that_cannot_work_are_told(changed):
    with pytest.raises(UsageError, match=f"{next(iter(changed))} = "):
        replace(CRFS["deeplab"], **changed)


@pytest.mark.parametrize("fine", [{"bilateral_rgb_sd": 1e-5}, {"bilateral_rgb_sd": 3e-4}, {"bilateral_xy_sd": 1e-300}])
def test_deviations_too_small_for_the_lattice_are_told(fine):
    image, probabilities = blocks(40, 40)
    image[0, 0], image[0, 1] = 0, 255
    with pytest.raises(UsageError, match="use larger standard deviations"):
        refine(image, probabilities, replace(CRFS["deeplab"], **fine))


@pytest.mark.slow
@pytest.mark.parametrize("name", CRFS)
@pytest.mark.parametrize(
    ("height", "width", "classes", "grain", "seed"),
    [(40, 48, 5, 3, 1), (40, 48, 12, 6, 2), (33, 21, 2, 15, 3), (48, 40, 21, 40, 4)],
)
def test_brute_force_is_no_further_from_ours_than_from_the_authors_code(name, height, width, classes, grain, seed):
    image, probabilities = blocks(height, width, classes, seed, grain)
    exact = brute_force(image, probabilities, CRFS[name])
    ours, theirs = (apart(exact, result(image, probabilities, CRFS[name])) for result in (refine, authors))
    assert ours[0] <= theirs[0]
    assert ours[1] <= theirs[1]


@pytest.mark.slow
@pytest.mark.skipif(not CAMVID.is_dir(), reason="the CamVid pictures are not at ../shared/data/camvid.")
@pytest.mark.parametrize("name", CRFS)
def test_on_street_pictures_marginals_are_near_those_of_the_authors_code(name):
    random = np.random.default_rng(0)
    for path in sorted((CAMVID / "images/val").glob("*.jpg"))[::25]:
        image = np.asarray(Image.open(path))
        probabilities = noisy(np.asarray(Image.open(CAMVID / f"masks/val/{path.stem}.png")), 12, random)
        difference, labels = apart(authors(image, probabilities, CRFS[name]), refine(image, probabilities, CRFS[name]))
        assert difference < 2e-3
        assert labels < 0.01
