"""A picture -> its mask. Files of many pictures: see `bulk`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from perpixel.errors import DataError, PerpixelError, UsageError
from perpixel.images import image_of
from perpixel.prediction.inference import PLAIN, Inference
from perpixel.prediction.pictures import read_picture
from perpixel.sample import Prediction
from perpixel.weights.model_file import Model

AnyPicture = str | Path | bytes | NDArray[np.uint8] | NDArray[np.floating[Any]] | Image.Image | torch.Tensor


@overload
def predict(model: Model, picture: AnyPicture, scores: bool = False, inference: Inference | None = None) -> Prediction: ...
@overload
def predict(
    model: Model, picture: list[Any] | tuple[Any, ...], scores: bool = False, inference: Inference | None = None
) -> list[Prediction]: ...
def predict(
    model: Model,
    picture: AnyPicture | list[Any] | tuple[Any, ...],
    scores: bool = False,
    inference: Inference | None = None,
) -> Prediction | list[Prediction]:
    """Class ids for every pixel of `picture`; for a list of pictures, a list. `scores` adds probabilities (C, H, W). Without
    `inference` the network is run once on the whole picture.

    A picture is a file, its bytes, a picture of Pillow, or an array of NumPy or torch: RGB, uint8 or float in [0, 1], (H, W, 3)
    or (3, H, W). Where both ends of the shape are 3, NumPy's array is (H, W, 3) and torch's is (3, H, W). For a model of other
    bands it is a file, its bytes, or an array (H, W, N) of them as files store them. Raises DataError when the picture cannot be
    read, UsageError for a value that is no picture, and for an `inference` that does not fit the model; of a list with the place
    of the picture, from 0."""
    predictor = (inference or PLAIN).predictor(model, scores)

    def predicted(pixels: NDArray[Any]) -> Prediction:
        return replace(predictor(pixels), image=model.shown(pixels))

    if not isinstance(picture, (list, tuple)):
        return predicted(_pixels(picture, model))
    predictions = []
    for place, each in enumerate(picture):
        try:
            pixels = _pixels(each, model)
        except PerpixelError as error:
            raise type(error)(f"picture[{place}]: {error}") from error
        predictions.append(predicted(pixels))
    return predictions


def _pixels(picture: Any, model: Model) -> NDArray[Any]:
    """Any kind of picture as uint8 RGB (H, W, 3), or with the bands of the model. Raises what `predict` does."""
    bands = model.bands
    if isinstance(picture, (str, Path, bytes)):
        return read_picture(picture, bands)
    if bands is not None:
        if isinstance(picture, np.ndarray) and picture.ndim == 3 and picture.dtype.kind in "uif" and picture.size:
            return picture if picture.shape[2] == len(bands) else bands.taken(picture, "the picture")
        raise UsageError(f"a picture is a path, bytes or an array (height, width, {len(bands)}) of {bands}; convert it.")
    if isinstance(picture, Image.Image):
        try:
            return image_of(picture, "the picture")
        except (OSError, ValueError, SyntaxError) as error:  # Pillow reads the pixels now; the file may be damaged
            raise DataError(f"the picture: cannot be read ({error}); the file is damaged or cut short.") from error
    if isinstance(picture, torch.Tensor):
        values = picture.detach().cpu()
        return _of_array((values.float() if values.is_floating_point() else values).numpy(), str(values.dtype), True)
    if isinstance(picture, np.ndarray):
        return _of_array(picture, str(picture.dtype), False)
    raise UsageError(
        f"a picture is a path, bytes, a picture of Pillow, an array or a tensor, or a list of them, not a "
        f"{type(picture).__name__}; convert it."
    )


def _of_array(values: NDArray[Any], dtype: str, first: bool) -> NDArray[np.uint8]:
    """The pixels of an array; `first` says whether colours come first where the shape does not say it."""
    ends = {True: values.shape[0], False: values.shape[-1]} if values.ndim == 3 and values.size else {}
    places = [colours_first for colours_first in (first, not first) if ends.get(colours_first) == 3]
    if not places or (values.dtype != np.uint8 and values.dtype.kind != "f"):
        raise UsageError(
            f"a picture as an array is RGB, uint8 or float in [0, 1], (height, width, 3) or (3, height, width), not {dtype} "
            f"{values.shape}; convert it, and give several pictures as a list."
        )
    if values.dtype.kind == "f":
        low, high = float(values.min()), float(values.max())
        if not (low >= 0 and high <= 1):  # nan is neither
            raise UsageError(
                f"a picture as an array of floats is in [0, 1], not {low:g} to {high:g}; divide by 255, or undo a normalisation."
            )
        values = np.rint(values * 255).astype(np.uint8)
    return np.ascontiguousarray(values.transpose(1, 2, 0) if places[0] else values)
