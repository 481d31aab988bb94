"""A picture's file -> the bands that a model takes. Nothing is left out in silence: a picture of other bands than the model's is
refused, or the user names which of its bands the model takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.bands import Bands, count_of, places_of
from perpixel.errors import DataError, UsageError
from perpixel.images import BYTES_NAME, PictureFile, read_bands, read_header, read_image


def read_picture(
    source: PictureFile, bands: Bands | None, words: Sequence[str] | None = None, where: str | None = None
) -> NDArray[Any]:
    """The picture as a model takes it: uint8 RGB (H, W, 3) without `bands`, else with these (H, W, N), as the file stores them.

    `words` name which of the picture's bands these are, in the order of the model: by number from 1, or by a name that the data
    set of the model gave its bands, if the picture has as many. Without `words` a picture has all bands of the data set that the
    model learned from, or those of the model alone. `where` is its name in errors.
    Raises DataError where the picture has other bands, UsageError for words that name none, and the errors of reading."""
    name = where or (BYTES_NAME if isinstance(source, bytes) else str(source))
    takes = "RGB" if bands is None else str(bands)
    number = 3 if bands is None else len(bands)
    order = " ".join(map(str, range(1, number + 1)))
    remedy = f"name those that it takes, in its order, such as --bands {order}"
    if words is not None and len(words) != number:
        raise UsageError(f"bands = {' '.join(words)}: are {len(words)}, and the model takes {takes}; {remedy}.")
    if words is None and bands is None:
        header = read_header(source, turn=False)
        if header.unread and header.bands > 3:
            raise DataError(f"{name}: has {count_of(header.bands)}, and the model was trained on RGB; {remedy}.")
        return read_image(source)
    pixels = read_bands(source)
    count = pixels.shape[2]
    if words is not None:
        names = bands.stored if bands is not None and len(bands.stored) == count else ()
        try:
            places = places_of(words, names, count)
        except UsageError as error:
            raise UsageError(f"{name}: {error}") from None
    elif bands is not None and count == len(bands.stored):
        places = bands.places
    elif count == number:
        places = tuple(range(number))
    else:
        remedy = remedy if count > number else "it needs all of them"
        raise DataError(f"{name}: has {count_of(count)}, and the model was trained on {takes}; {remedy}.")
    chosen = np.ascontiguousarray(pixels[..., list(places)])
    if bands is None and chosen.dtype != np.uint8:
        raise DataError(f"{name}: stores {chosen.dtype}, and the model was trained on RGB of 8 bits; scale it to 8 bits.")
    return chosen
