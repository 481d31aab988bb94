"""Weights and standard deviations of the fully connected CRF, and the published values."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from perpixel.errors import UsageError

SMALLEST_PROBABILITY = 1e-20  # replaces smaller probabilities, so that a probability of 0 has a finite energy


@dataclass(frozen=True)
class CRF:
    """Weights and standard deviations of the two kernels, in pixels and in grey values of 0..255. Raises UsageError."""

    gaussian_sd: float
    gaussian_weight: float
    bilateral_xy_sd: float
    bilateral_rgb_sd: float
    bilateral_weight: float
    iterations: int = 10

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            low = "larger than 0" if field.name.endswith("_sd") else "0 or larger"
            if not np.isfinite(value) or value < 0 or (value == 0 and field.name.endswith("_sd")):
                raise UsageError(f"{field.name} = {value}: must be a number {low}.")
        if not isinstance(self.iterations, int):
            raise UsageError(f"iterations = {self.iterations}: must be a whole number.")


CRFS = {
    # Chen et al., ICLR 2015 and TPAMI 2017: the values of the authors' script, in the ranges that both papers searched.
    "deeplab": CRF(3, 3, 50, 3, 5),
    # The other networks of that script: v1 with fc6 of 4x4, with MSc, and LargeFOV trained with COCO.
    "deeplab_4x4": CRF(3, 3, 50, 10, 5),
    "deeplab_msc": CRF(3, 3, 95, 3, 3),
    "deeplab_coco": CRF(3, 3, 67, 3, 5),
    # Noh et al., ICCV 2015: the authors' inference code.
    "deconvnet": CRF(3, 3, 20, 3, 5),
}
