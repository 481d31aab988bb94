"""The splits of a training, with the ranges of their bands: of values as files store them those that become 0 and 1.

A band without a range in `bands.csv` has the 1st and the 99th percentile of the training split: of all its values that are data
where they are at most `MOST`, else of an equal share of each picture, every k-th value. So a change of one picture changes the
ranges little, and the same files have the same ranges."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perpixel.bands import Bands, range_of
from perpixel.datasets import Dataset, HasBands, Stored, bands_of, of_bands, open_dataset
from perpixel.errors import DataError, UsageError
from perpixel.training.recipe import Recipe

MOST = 1 << 22  # values of a band that are looked at, of all pictures together
_known: dict[tuple[Bands, tuple[tuple[str, int, int], ...]], Bands] = {}  # the last: a plan and its training ask alike


def splits_of(recipe: Recipe) -> tuple[Dataset, Dataset]:
    """The split that is trained on, and the split that is judged on; both with the bands that the recipe chooses, and with their
    ranges.

    Raises the errors of `open_dataset`, UsageError for bands that the data set does not have."""
    try:
        training, validation = (
            of_bands(open_dataset(recipe.data, root=recipe.root, split=split), recipe.bands, recipe.band_ranges)
            for split in (recipe.train_split, recipe.val_split)
        )
    except OSError as error:
        if error.errno not in (errno.ENAMETOOLONG, errno.ELOOP):
            raise
        raise UsageError(f"data = {recipe.data[:100]!r}: {error.strerror}; name a data set or a folder.") from error
    bands = bands_of(training)
    if bands is not None and not bands.complete and isinstance(training, HasBands) and isinstance(validation, HasBands):
        bands = _percentiles(training, bands)
        training, validation = training.with_bands(bands), validation.with_bands(bands)
    return training, validation


def _state(dataset: HasBands) -> tuple[tuple[str, int, int], ...]:
    """Names, sizes and times of the files, by which a further call in this process knows that they are the same."""
    files = dataset.files() if isinstance(dataset, Stored) else []
    return tuple((str(path), *_size_and_time(path)) for path in files)


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:  # reading it says why
        return 0, 0
    return stat.st_size, stat.st_mtime_ns


def _percentiles(dataset: HasBands, bands: Bands) -> Bands:
    """The bands with a range for each. A picture that cannot be read is left to the check; raises DataError where none can."""
    key = bands, _state(dataset)
    if key in _known:
        return _known[key]
    share, failure = max(1, MOST // len(dataset)), None
    values: list[list[NDArray[np.generic]]] = [[] for _ in bands.names]
    for index in range(len(dataset)):
        try:
            image = dataset.image(index)
        except DataError as error:
            failure = failure or error
            continue
        flat = image.reshape(-1, len(bands))[:: -(-image.shape[0] * image.shape[1] // share)]
        absent = bands.missing(flat[:, None])
        for band, of_band in enumerate(values):
            of_band.append(flat[:, band] if absent is None else flat[:, band][~absent[:, 0, band]])
    if failure is not None and not values[0]:
        raise failure
    ranges = [limits or range_of(np.concatenate(of_band)) for limits, of_band in zip(bands.ranges, values, strict=True)]
    _known.clear()
    _known[key] = replace(bands, ranges=tuple(ranges))
    return _known[key]
