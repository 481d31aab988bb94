"""The fully connected CRF (Krähenbühl and Koltun, NIPS 2011): class probabilities sharpened along the edges of the picture.

    E(x) = sum_i -log p_i(x_i) + sum_{i<j} [x_i != x_j] (w1 k1(i, j) + w2 k2(i, j))         Potts' model, all pairs of pixels

k1 is a Gaussian of place, k2 (bilateral) a Gaussian of place and colour. Each is normalised symmetrically, k(i, j) / sqrt(n_i
n_j) with n_i = sum_j k(i, j), as in the authors' code; published weights hold for kernels normalised so. Marginals are computed
by mean field, k1 exactly, and k2 on the permutohedral lattice."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from perpixel.errors import DataError, UsageError
from perpixel.prediction.crf.settings import CRF, SMALLEST_PROBABILITY


def refine(
    image: NDArray[np.uint8], probabilities: NDArray[np.float32], crf: CRF, threads: int | None = None
) -> NDArray[np.float32]:
    """Marginals float32 (C, H, W) of the CRF for a picture uint8 (H, W, 3) and class probabilities (C, H, W) at its size.

    Probabilities need not sum to 1; marginals do. `threads`: all cores if None; the result is the same bytes for any number.
    Raises DataError for shapes that do not fit and for probabilities that are negative or not finite, and UsageError where
    standard deviations are so small that the picture does not fit into the lattice."""
    image, probabilities = np.asarray(image), np.asarray(probabilities)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise DataError(f"a picture for a CRF is uint8 (H, W, 3); found {image.dtype} {image.shape}.")
    if probabilities.ndim != 3 or probabilities.shape[1:] != image.shape[:2] or not len(probabilities):
        raise DataError(f"the picture is {image.shape[:2]}, the probabilities {probabilities.shape}; a CRF needs (C, H, W).")
    wrong = ~((probabilities >= 0) & (probabilities < np.inf))
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise DataError(f"probability {probabilities[place]} at (class, y, x) = {place}; a CRF needs numbers of 0 or more.")

    from perpixel.prediction.crf.mean_field import marginals  # imported here, because numba takes 0.4 s to load

    try:
        return marginals(image, np.log(np.maximum(probabilities, SMALLEST_PROBABILITY), dtype=np.float32), crf, threads)
    except OverflowError:
        raise UsageError(
            f"bilateral_xy_sd = {crf.bilateral_xy_sd}, bilateral_rgb_sd = {crf.bilateral_rgb_sd}: too small "
            f"for a picture of {image.shape[0]}x{image.shape[1]}; use larger standard deviations."
        ) from None
