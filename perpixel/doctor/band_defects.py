"""Defects of pictures whose bands `bands.csv` names: of one file, and of all together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.bands import FILE, Bands, count_of
from perpixel.codecs import tiff
from perpixel.doctor import picture_defects
from perpixel.doctor.defects import Problem, problem
from perpixel.errors import DataError
from perpixel.images import read_bands, unread_pages

CLIPPED = 0.03  # share of the values of a band that may lie outside its range
DEEP = (10, 12, 14)  # bits that cameras and sensors write into 16


@dataclass(frozen=True)
class BandValues:
    """The values of a band in a picture that are data: their type, the least and the greatest, their number, and how many of them
    lie below and above the range of `bands.csv`."""

    kind: str
    low: float
    high: float
    count: int
    outside: int


def picture(path: Path, bands: Bands, problems: list[Problem]) -> tuple[NDArray[Any] | None, tuple[BandValues, ...]]:
    """The bands of a picture as they are stored (H, W, N), and their values; None where they cannot be read. Adds defects of the
    file to `problems`."""
    with path.open("rb") as file:
        stored = tiff.read_tiff(file)
        file.seek(0)
        is_tiff = file.read(4) in tiff.SIGNATURES
    if is_tiff:
        if path.suffix.lower() not in picture_defects.SUFFIXES_OF["TIFF"]:
            clause, repair = f"is a TIFF file with the extension {path.suffix}", f"rename it to {path.stem}.tif"
            problems.append(problem("wrong extension", path, clause, repair))
    elif picture_defects.header_of(path, problems) is None:
        return None, ()
    pixels = picture_defects.read(read_bands, path, problems)
    if pixels is None:
        return None, ()
    if is_tiff and (pages := unread_pages(path)):
        problems.append(problem("several pages", path, f"holds {1 + pages} pictures, of which the first is read"))
    try:
        bands.taken(pixels, str(path))
    except DataError:
        count = pixels.shape[2]
        clause = f"has {count_of(count)}, and {FILE} names {len(bands.stored)} ({', '.join(bands.stored)})"
        problems.append(problem("wrong bands", path, clause, value=count))
        return None, ()
    absent = bands.missing(pixels)
    if absent is not None:
        problems.append(_without_data(path, pixels, absent, bands))
    values = []
    for band, limits in enumerate(bands.ranges):
        plane = pixels[..., band]
        data = plane if absent is None else plane[~absent[..., band]]
        outside = 0 if limits is None else int(((data < limits[0]) | (data > limits[1])).sum())
        least, greatest = (float(data.min()), float(data.max())) if data.size else (0.0, 0.0)
        values.append(BandValues(_type(pixels, stored), least, greatest, int(data.size), outside))
    return pixels, tuple(values)


def _type(pixels: NDArray[Any], stored: tiff.Tiff | None) -> str:
    """The type that the file stores, such as uint16; pixels of whole numbers are floats where some have no data."""
    if stored is None or pixels.dtype.kind != "f" or stored.numbers == tiff.FLOATS:
        return str(pixels.dtype)
    return f"{'int' if stored.numbers == tiff.SIGNED else 'uint'}{stored.bits}"


def _without_data(path: Path, pixels: NDArray[Any], absent: NDArray[np.bool_], bands: Bands) -> Problem:
    where = absent.any(2)
    row, column = (int(place) for place in np.unravel_index(int(where.argmax()), where.shape))
    band = int(absent[row, column].argmax())
    count, value = int(where.sum()), pixels[row, column, band].item()
    share = f"{count} pixels, {100 * count / where.size:.2g} % of the picture"
    clause = f"has no data in band {bands.names[band]} at row {row}, column {column} ({value:g}; {share})"
    return problem("pixels without data", path, clause, pixel=(row, column), value=f"{value:g}", count=count)


def of_set(results: Sequence[tuple[str, tuple[BandValues, ...]]], bands: Bands, table: str) -> list[Problem]:
    """Defects that all pictures show together; `results` has the file and the values of each that can be used."""
    problems: list[Problem] = []
    for band, (name, limits) in enumerate(zip(bands.names, bands.ranges, strict=True)):
        values = [(file, of_file[band]) for file, of_file in results if of_file and of_file[band].count]
        if not values:
            continue
        plain = [(file, one) for file, one in values if one.low == one.high]
        if len(plain) == len(values) and len({one.low for _, one in values}) == 1:
            clause = f"band {name} is {values[0][1].low:g} in every pixel of {len(values)} pictures"
            problems.append(problem("constant band", table, clause, value=name, count=len(values)))
        else:
            problems += [problem("constant band", file, f"band {name} is {one.low:g} in every pixel", value=name)
                         for file, one in plain]  # fmt: skip
        kinds = sorted({one.kind for _, one in values})
        greatest = max(one.high for _, one in values)
        bits = next((bits for bits in DEEP if greatest < 1 << bits), 16)
        if kinds == ["uint16"] and bits < 16 and greatest >= 256 and limits is not None and limits[1] >= 2 << bits:
            clause = f"the range of band {name} ends at {limits[1]:g}, and {greatest:g} is the greatest value of all pictures"
            repair = f"they have {bits} bits in 16: end it at {(1 << bits) - 1}, or leave low and high empty"
            problems.append(problem("12 bits in 16", table, clause, repair, value=f"{greatest:g}"))
        outside, count = sum(one.outside for _, one in values), sum(one.count for _, one in values)
        if limits is not None and outside > CLIPPED * count:
            least = min(one.low for _, one in values)
            share, spread = f"{100 * outside / count:.2g} %", f"they are {least:g} to {greatest:g}"
            clause = f"{share} of the values of band {name} lie outside {limits[0]:g} to {limits[1]:g} ({spread})"
            problems.append(problem("clipped band", table, clause, value=name, count=outside))
    types = {file: of_file[0].kind for file, of_file in results if of_file}
    if len(names := sorted(set(types.values()))) > 1:
        rarest = min(names, key=list(types.values()).count)
        file = next(file for file, kind in types.items() if kind == rarest)
        count = list(types.values()).count(rarest)
        others = ", ".join(sorted({*names} - {rarest}))
        clause = f"stores {rarest}, as {count} of {len(types)} pictures; the others store {others}"
        problems.append(problem("mixed types", file, clause, value=rarest, count=count))
    return problems
