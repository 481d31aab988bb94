"""A picture -> its mask. Files of many pictures: see `bulk`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from perpixel.errors import DataError, UsageError
from perpixel.images import image_of
from perpixel.prediction.inference import PLAIN, Inference
from perpixel.prediction.pictures import read_picture
from perpixel.sample import Prediction
from perpixel.weights.model_file import Model

AnyPicture = str | Path | bytes | NDArray[np.uint8] | Image.Image | torch.Tensor


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

    A picture is a file, its bytes, uint8 RGB (H, W, 3), a picture of Pillow, or a tensor as networks take it: (3, H, W), uint8 or
    float in [0, 1]. For a model of other bands it is a file, its bytes, or an array (H, W, N) of them as files store them. Raises
    DataError when the picture cannot be read, UsageError for a value that is no picture, and for an `inference` that does not fit
    the model."""
    predictor = (inference or PLAIN).predictor(model, scores)
    if isinstance(picture, (list, tuple)):
        return [predictor(_pixels(one, model)) for one in picture]
    return predictor(_pixels(picture, model))


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
        return _of_tensor(picture)
    if not isinstance(picture, np.ndarray):
        raise UsageError(
            f"a picture is a path, bytes, an array, a picture of Pillow or a tensor, or a list of them, not a "
            f"{type(picture).__name__}; convert it."
        )
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise UsageError(
            f"a picture is an array of uint8 RGB (height, width, 3), not {picture.dtype} {picture.shape}; convert it."
        )
    return picture


def _of_tensor(tensor: torch.Tensor) -> NDArray[np.uint8]:
    valid_type = tensor.dtype == torch.uint8 or tensor.is_floating_point()
    if tensor.ndim != 3 or tensor.shape[0] != 3 or not tensor.numel() or not valid_type:
        raise UsageError(
            f"a picture as a tensor is (3, height, width), uint8 or float in [0, 1], not {tensor.dtype} {tuple(tensor.shape)}; "
            "convert it, or give a list of pictures."
        )
    values = tensor.detach().cpu()
    if tensor.is_floating_point():
        low, high = values.min().item(), values.max().item()
        if not (low >= 0 and high <= 1):  # nan is neither
            raise UsageError(f"a picture as a tensor of floats is in [0, 1], not {low:g} to {high:g}; undo its normalisation.")
        values = (values * 255).round().to(torch.uint8)
    return np.ascontiguousarray(values.permute(1, 2, 0).numpy())
