"""The bands of pictures that are more than RGB, or other: their names, and which values become 0 and 1.

    DATA/bands.csv      name,low,high,nodata: a row for each band that the files store, in their order

`low` and `high` are the values that become 0 and 1; what lies outside becomes 0 or 1 too. Where both are empty they are the 1st
and the 99th percentile of the training split. `nodata`, often empty, is the value of pixels without data; NaN and infinity are
such values in any file. A band without data at a pixel is 0 to a network, and in training the label of the pixel is void."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.errors import DataError, UsageError, did_you_mean
from perpixel.tables import read_csv

FILE = "bands.csv"
LOW, HIGH = 1.0, 99.0  # percentiles
COLOURS = ("red", "green", "blue")


@dataclass(frozen=True)
class Bands:
    """The bands that a data set gives, or a model takes: those at `places` of the bands that files store, whose names are
    `stored`.

    `ranges` has (low, high) of each band, or none where the training split will decide; `nodata` a value or none."""

    stored: tuple[str, ...]
    places: tuple[int, ...]
    ranges: tuple[tuple[float, float] | None, ...]
    nodata: tuple[float | None, ...]

    def __post_init__(self) -> None:
        doubled = next((name for name in self.stored if self._same(name) > 1), None)
        if not self.stored or doubled is not None:
            what = "names no band" if doubled is None else f"names the band {doubled!r} twice"
            raise DataError(f"{FILE}: {what}; give each band a row and a name of its own.")
        if not self.places or not set(self.places) <= set(range(len(self.stored))) or len(set(self.places)) < len(self.places):
            raise DataError(f"bands: the places {list(self.places)} are not those of {len(self.stored)} bands.")
        if not len(self.ranges) == len(self.nodata) == len(self.places):
            raise DataError("bands: each needs a range and a value without data, or none.")
        for name, limits in zip(self.names, self.ranges, strict=True):
            if limits is not None and not -math.inf < limits[0] < limits[1] < math.inf:
                raise DataError(f"{FILE}: band {name}: low {limits[0]:g} must be less than high {limits[1]:g}; correct them.")

    def _same(self, name: str) -> int:
        return [other.casefold() for other in self.stored].count(name.casefold())

    def __len__(self) -> int:
        return len(self.places)

    def __str__(self) -> str:
        return f"{len(self)} {'band' if len(self) == 1 else 'bands'} ({', '.join(self.names)})"

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(self.stored[place] for place in self.places)

    @property
    def complete(self) -> bool:
        """Whether every band has its range."""
        return all(limits is not None for limits in self.ranges)

    @property
    def limits(self) -> tuple[tuple[float, float], ...]:
        """Low and high of each band; of `complete` bands."""
        return tuple(limits for limits in self.ranges if limits is not None)

    @property
    def flat_ranges(self) -> tuple[float, ...]:
        """Low and high of each band in turn; of `complete` bands."""
        return tuple(value for limits in self.limits for value in limits)

    def in_words(self) -> str:
        """Each band with its range, such as "red 312 to 2890"; of `complete` bands."""
        return ", ".join(f"{name} {low:.6g} to {high:.6g}" for name, (low, high) in zip(self.names, self.limits, strict=True))

    @classmethod
    def read_csv(cls, path: Path) -> Bands:
        """Reads `bands.csv`. Raises DataError, which names the file and the line."""
        names, ranges, nodata = [], list[tuple[float, float] | None](), list[float | None]()
        for line, row in read_csv(path, ("name",)):
            cells = {name: (row.get(name) or "").strip() for name in ("name", "low", "high", "nodata")}
            try:
                low, high, missing = (float(cells[name]) if cells[name] else None for name in ("low", "high", "nodata"))
            except ValueError as error:
                raise DataError(f"{path}, line {line}: {error}; low, high and nodata are numbers or empty.") from None
            if not cells["name"] or (low is None) != (high is None):
                lacking = "a name" if not cells["name"] else "low" if low is None else "high"
                raise DataError(f"{path}, line {line}: lacks {lacking}; give a name, and low and high or neither.")
            names.append(cells["name"])
            ranges.append(None if low is None or high is None else (low, high))
            nodata.append(missing)
        try:
            return cls(tuple(names), tuple(range(len(names))), tuple(ranges), tuple(nodata))
        except DataError as error:
            raise DataError(f"{path.parent}/{error}") from None

    def chosen(self, words: Sequence[str] | None, setting: str = "bands") -> Bands:
        """The bands that `words` name, in their order: by name, or by number from 1 among those that files store. All without
        words.

        Raises UsageError for a number that no band has or a band that is named twice, UnknownName for a name."""
        if words is None:
            return self
        places = places_of(words, self.stored, len(self.stored), setting)
        if not set(places) <= set(self.places):
            raise UsageError(f"{setting} = {' '.join(words)}: there are {', '.join(self.names)} alone; name some of these.")
        index = [self.places.index(place) for place in places]
        return replace(
            self, places=places, ranges=tuple(self.ranges[i] for i in index), nodata=tuple(self.nodata[i] for i in index)
        )

    def with_ranges(self, flat: Sequence[float], setting: str = "band_ranges") -> Bands:
        """The bands with these ranges, low and high of each in turn. Raises UsageError where they are not as many, or wrong."""
        if len(flat) != 2 * len(self):
            raise UsageError(f"{setting}: {len(flat)} numbers; {self} need {2 * len(self)}, low and high of each in turn.")
        try:
            return replace(self, ranges=tuple(zip(map(float, flat[::2]), map(float, flat[1::2]), strict=True)))
        except DataError as error:
            raise UsageError(f"{setting}: {str(error).removeprefix(f'{FILE}: ')}") from None

    def taken(self, pixels: NDArray[Any], where: str) -> NDArray[Any]:
        """Of the bands that a file stores (H, W, M) these, (H, W, N). Raises DataError where M is another number than it must."""
        count = pixels.shape[2]
        if count != len(self.stored):
            named = f"{count_of(len(self.stored))} ({', '.join(self.stored)})"
            raise DataError(f"{where}: has {count_of(count)}, and {FILE} names {named}; save those, or correct {FILE}.")
        return pixels if self.places == tuple(range(count)) else np.ascontiguousarray(pixels[..., list(self.places)])

    def refuse(self, names: Sequence[str], where: str) -> None:
        """Raises UsageError where a band of these is not among bands of these `names`."""
        known = {name.casefold() for name in names}
        lacking = [name for name in self.names if name.casefold() not in known]
        if lacking:
            raise UsageError(
                f"{where}: has {count_of(len(names))} ({', '.join(names)}), and the model takes {self}; {lacking[0]} is not "
                f"among them; give a band one name in every {FILE}, or train a model with these."
            )

    def missing(self, pixels: NDArray[Any]) -> NDArray[np.bool_] | None:
        """Where a band of pixels (H, W, N) has no data, bool (H, W, N); None where none lacks any."""
        absent = ~np.isfinite(pixels) if pixels.dtype.kind == "f" else None
        for band, value in enumerate(self.nodata):
            if value is not None and not math.isnan(value):
                equal = pixels[..., band] == value
                if equal.any():
                    absent = np.zeros(pixels.shape, np.bool_) if absent is None else absent
                    absent[..., band] |= equal
        return absent if absent is not None and absent.any() else None

    def with_nan(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """The pixels (H, W, N) with NaN where a band has no data; of floats where there is such a pixel."""
        absent = self.missing(pixels)
        if absent is None:
            return pixels
        pixels = pixels.astype(np.result_type(pixels.dtype, np.float32))
        pixels[absent] = np.nan
        return pixels

    def scaled(self, pixels: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
        """What a network sees of pixels (H, W, N) as they are stored: float32 in [0, 1], and (H, W) where a band has no data."""
        absent = self.missing(pixels)
        seen, precise = np.empty(pixels.shape, np.float32), np.result_type(pixels.dtype, np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            for band, limits in enumerate(self.ranges):
                assert limits is not None, "ranges are decided before pictures are seen"
                low, high = limits
                seen[..., band] = (pixels[..., band].astype(precise, copy=False) - low) * (1 / (high - low))
        np.clip(seen, 0, 1, out=seen)
        if absent is None:
            return seen, None
        seen[absent] = 0
        return seen, np.asarray(absent.any(2))

    def shown(self, pixels: NDArray[Any]) -> NDArray[np.uint8]:
        """A picture for people, uint8 RGB (H, W, 3): the bands named red, green and blue; without these the first three; of one
        or two bands the first, as grey. A band without a range is stretched from the 1st to the 99th percentile of the
        picture."""
        known = [name.casefold() for name in self.names]
        by_name = [known.index(colour) for colour in COLOURS if colour in known]
        places = by_name if len(by_name) == 3 else [0, 1, 2] if len(known) > 2 else [0, 0, 0]
        planes = {}
        for place in set(places):
            plane = pixels[..., place : place + 1]
            one = Bands(("shown",), (0,), (self.ranges[place],), (self.nodata[place],))
            if not one.complete:
                one = replace(one, ranges=(spread_of(plane, one),))
            planes[place] = np.rint(one.scaled(plane)[0][..., 0] * 255).astype(np.uint8)
        return np.stack([planes[place] for place in places], axis=2)

    def to_json(self) -> dict[str, Any]:
        return {
            "stored": list(self.stored), "places": list(self.places), "nodata": list(self.nodata),
            "ranges": [None if limits is None else list(limits) for limits in self.ranges],
        }  # fmt: skip

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Bands:
        """The inverse of `to_json`. Raises DataError for JSON of another form."""
        try:
            return cls(
                tuple(str(name) for name in content["stored"]),
                tuple(int(place) for place in content["places"]),
                tuple(None if limits is None else (float(limits[0]), float(limits[1])) for limits in content["ranges"]),
                tuple(None if value is None else float(value) for value in content["nodata"]),
            )
        except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
            raise DataError(f"bands: {error!r} is missing or malformed; store them with to_json().") from error


def count_of(count: int) -> str:
    return f"{count} band" if count == 1 else f"{count} bands"


def places_of(words: Sequence[str], names: Sequence[str], count: int, setting: str = "bands") -> tuple[int, ...]:
    """The places, from 0, of the bands that `words` name among `count` bands: by number from 1, or by one of `names`, which may
    be unknown, and are then empty. Commas divide words, as spaces do.

    Raises UsageError for a number that no band has, for a band that is named twice and for no words; UnknownName for a name."""
    words = [part for word in words for part in word.split(",") if part]
    known = [name.casefold() for name in names]
    places: list[int] = []
    for word in words:
        is_number = word.isascii() and word.isdigit()
        number = int(word) if is_number and len(word) < 10 else 0
        if word.casefold() in known:
            places.append(known.index(word.casefold()))
        elif 1 <= number <= count:
            places.append(number - 1)
        elif is_number:
            raise UsageError(f"{setting} = {' '.join(words)}: there is no band {word}; the {count_of(count)} are 1 to {count}.")
        elif not names:
            raise UsageError(f"{setting} = {' '.join(words)}: nothing names the {count_of(count)}; give numbers, 1 to {count}.")
        else:
            raise did_you_mean("band", word, names)
    if not places or len(set(places)) < len(places):
        raise UsageError(f"{setting} = {' '.join(words)}: must name bands, each once.")
    return tuple(places)


def spread_of(plane: NDArray[Any], one: Bands) -> tuple[float, float]:
    """The 1st and the 99th percentile of the values of one band (H, W, 1) that are data; of equal values a range around them."""
    absent = one.missing(plane)
    return range_of(plane[~absent] if absent is not None else plane)


def range_of(values: NDArray[Any]) -> tuple[float, float]:
    """The 1st and the 99th percentile. Equal ones, or no values at all, make a range of 1 above the lower one."""
    if not values.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(values, (LOW, HIGH)))
    return (low, high) if high > low else (low, low + 1.0)
