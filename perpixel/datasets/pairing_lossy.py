"""Masks that were saved with loss, as JPEG or lossy WEBP: which colours they had, and which of them each pixel had, for `init`.

Compression keeps areas of one colour, and changes pixels near borders. So the colours of a mask are those of its plateaus, tiles
of 4x4 equal pixels, and each pixel becomes the nearest of them. That is done only where it is certain enough:

    two colours, at least 64 apart       the nearer; between, farther than a quarter of their distance from both, lies at most a
                                         tenth of the pixels of a file
    several colours, at least 32 apart   the nearest; every pixel is nearer to it than half the least distance of two colours, and
                                         no colour is found at borders of two others whose mixture it is

Distances are root mean squares over red, green and blue, so that those of greys are the differences of their values. In nuclei
and membranes in black and white, at most 4.2 % of the pixels of a file lie between at JPEG quality 10, and none at 75; at 75,
none becomes the wrong class. In CamVid's masks in SegNet's colours every pixel is certain at quality 95 with full colour
resolution. With halved colour resolution, which is usual, 2 to 6 % of the pixels of a file are not certain at any quality, and a
third of these would become a wrong class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.errors import DataError

TILE = 4  # pixels on each side of a plateau; the blocks of JPEG and WEBP have a multiple of it
RADIUS = 10.0  # colours of plateaus so near each other are one, which compression changed
DRIFT = 4.0  # so near a known colour, a plateau is of this colour
LEAST_SHARE = 1e-4  # of the plateaus that a colour must have
TWO_APART, SEVERAL_APART = 64.0, 32.0  # the least distance of colours that can be told apart
MOST_BETWEEN = 0.1  # of the pixels of a file, farther than a quarter of the least distance from each colour
MOST_MIXED = 0.02  # of the changes along rows, where a colour stands between two others whose mixture it is
FEW_MIXED = 8  # fewer such places are not enough to refuse
# The share of plateaus of a colour beside their most frequent value. JPEG writes the same value for the same colour; at
# most 1 % differ. In lossy WEBP a third may differ. More than that are values near each other, such as 0, 1 and 2.
UNLIKE = {"JPEG": 0.05}
UNLIKE_ELSE = 0.5
BLACK, WHITE = 0, 0xFFFFFF


def plateaus(packed: NDArray[np.uint32]) -> Counter[int]:
    """The number of tiles of one colour, by packed colour. `packed` are the packed colours (H, W) of a mask."""
    height, width = (side - side % TILE for side in packed.shape)
    tiles = packed[:height, :width].reshape(height // TILE, TILE, width // TILE, TILE)
    even = (tiles == tiles[:, :1, :, :1]).all((1, 3))
    colours, counts = np.unique(tiles[:, 0, :, 0][even], return_counts=True)
    return Counter(dict(zip(colours.tolist(), counts.tolist(), strict=True)))


def levels(counts: Mapping[int, int], lossy: str) -> dict[int, int]:
    """The colours of masks, with the number of their plateaus, by packed colour. `counts` has those of all plateaus.

    Raises DataError, without a file, where there are no plateaus, or where colours lie too near each other."""
    left = Counter(counts)
    found: dict[int, int] = {}
    for colour, count in left.most_common():
        if colour not in left:
            continue
        near = [other for other in left if _distance(colour, other) <= RADIUS]
        own = sum(left.pop(other) for other in near)
        if own - count > UNLIKE.get(lossy, UNLIKE_ELSE) * own and own - count > 1:
            other = max((other for other in near if other != colour), key=lambda one: counts[one])
            raise DataError(f"{shown(colour)} and {shown(other)} are too near each other to be told apart after {lossy}")
        found[colour] = own
    total = sum(found.values())
    kept = {colour: count for colour, count in found.items() if count >= LEAST_SHARE * total}
    if not kept:
        raise DataError(f"no area of {TILE}x{TILE} pixels has one colour, as a mask has after {lossy}")
    _require_apart(list(kept), lossy)
    return kept


def _require_apart(colours: Sequence[int], lossy: str) -> None:
    for one, other in combinations(colours, 2):
        least = TWO_APART if len(colours) == 2 else SEVERAL_APART
        if _distance(one, other) < least:
            clause = f"{shown(one)} and {shown(other)} are {_distance(one, other):.0f} apart"
            raise DataError(f"{clause}, and {least:.0f} is the least that can be told apart after {lossy}")


def restored(
    found: Iterable[int], tables: Iterable[tuple[Sequence[int], bool]], lossy: str, of_greys: bool
) -> tuple[int, ...]:
    """The colours as they were before compression. Each of `tables` has packed colours, and whether it is of this folder: then
    all of them may occur. The first in which all colours of `found` are is taken; else black and white are made exact.

    One colour alone, black or white, gets the other if all masks are `of_greys`: lines may be too thin for plateaus."""
    colours = sorted(found)
    for table, own in tables:
        nearest = [min(table, key=lambda entry: _distance(entry, colour), default=-1) for colour in colours]
        near = all(entry >= 0 and _distance(entry, colour) <= DRIFT for entry, colour in zip(nearest, colours, strict=True))
        if near and len(set(nearest)) == len(colours):
            exact = tuple(sorted(set(table))) if own else tuple(sorted(nearest))
            _require_apart(exact, lossy)
            break
    else:
        exact = tuple(next((end for end in (BLACK, WHITE) if _distance(end, colour) <= DRIFT), colour) for colour in colours)
    return (BLACK, WHITE) if exact in ((BLACK,), (WHITE,)) and of_greys else exact


def to_nearest(packed: NDArray[np.uint32], known: Sequence[int], path: Path, lossy: str) -> tuple[NDArray[np.uint32], int]:
    """The nearest of the `known` colours for each pixel (H, W), packed, and the number of pixels that lie between.

    Raises DataError, with pixel and value, where the colours are not certain."""
    colours, places = np.unique(packed, return_inverse=True)
    places = places.reshape(packed.shape)
    table, points = _rgb(np.array(known, np.uint32)), _rgb(colours)
    apart = min((_distance(one, other) for one, other in combinations(known, 2)), default=2 * RADIUS)
    distances = np.stack([np.sqrt(((points - entry) ** 2).sum(1)) for entry in table])
    nearest = distances.argmin(0)
    least = distances.min(0)
    away = _from_segment(points, table[0], table[1]) if len(known) == 2 else least
    if (away >= apart / 2).any():
        clause = f"is nearer to none of {_list(known)} than half their least distance ({apart / 2:.0f})"
        if len(known) == 1:
            clause = f"is not {shown(known[0])}, the only colour that has areas of {TILE}x{TILE} pixels"
        raise _refused(path, lossy, packed, (away >= apart / 2)[places], clause)
    between = (least > apart / 4)[places]
    count = int(np.count_nonzero(between))
    if count > MOST_BETWEEN * packed.size:
        clause = f"lies between {_list(known)}, as {100 * count / packed.size:.0f} % of the pixels do"
        raise _refused(path, lossy, packed, between, clause)
    labels = nearest[places]
    if len(known) > 2:
        mixed, changes = _mixed(labels, table, apart)
        number = int(np.count_nonzero(mixed))
        if number > max(FEW_MIXED, MOST_MIXED * changes):
            clause = f"lies between two colours whose mixture it is, and so at {number} of {changes} changes along rows"
            raise _refused(path, lossy, packed, mixed, clause)
    return np.array(known, np.uint32)[labels], count


def _mixed(labels: NDArray[np.intp], table: NDArray[np.float64], apart: float) -> tuple[NDArray[np.bool_], int]:
    """Where a single pixel of a row has a colour that lies between those of its neighbours, (H, W), and the number of changes."""
    count = len(table)
    is_mixture = np.zeros((count, count, count), np.bool_)
    for one, other in combinations(range(count), 2):
        near = _from_segment(table, table[one], table[other]) < apart / 2
        near[[one, other]] = False
        is_mixture[one, :, other] = is_mixture[other, :, one] = near
    found = np.zeros(labels.shape, np.bool_)
    found[:, 1:-1] = is_mixture[labels[:, :-2], labels[:, 1:-1], labels[:, 2:]]
    return found, int(np.count_nonzero(labels[:, 1:] != labels[:, :-1]))


def _refused(path: Path, lossy: str, packed: NDArray[np.uint32], where: NDArray[np.bool_], clause: str) -> DataError:
    row, column = divmod(int(where.argmax()), packed.shape[1])
    value = shown(int(packed[row, column]))
    return DataError(f"{path}: is a {lossy} in which {value} at row {row}, column {column} {clause}; save masks as PNG.")


def _from_segment(points: NDArray[np.float64], start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.float64]:
    """The distance of points (n, 3) to the line from `start` to `end`."""
    along = np.clip((points - start) @ (end - start) / max(float(((end - start) ** 2).sum()), 1e-9), 0, 1)
    distances: NDArray[np.float64] = np.sqrt(((points - start - along[:, None] * (end - start)) ** 2).sum(1))
    return distances


def _distance(one: int, other: int) -> float:
    return float(np.sqrt(sum(((one >> shift & 255) - (other >> shift & 255)) ** 2 for shift in (0, 8, 16)) / 3))


def _rgb(packed: NDArray[np.uint32]) -> NDArray[np.float64]:
    """Red, green and blue (n, 3), scaled so that their Euclidean distance is `_distance`."""
    scaled: NDArray[np.float64] = np.stack([packed >> 16, packed >> 8 & 255, packed & 255], 1) / np.sqrt(3)
    return scaled


def is_grey_mask(packed: NDArray[np.uint32]) -> bool:
    return bool((packed == (packed & np.uint32(255)) * np.uint32(0x010101)).all())


def is_grey(colour: int) -> bool:
    return colour == (colour & 255) * 0x010101


def shown(colour: int) -> str:
    """A packed colour in words: the value of a grey, else red, green and blue."""
    return str(colour & 255) if is_grey(colour) else str((colour >> 16, colour >> 8 & 255, colour & 255))


def _list(colours: Sequence[int]) -> str:
    return f"{', '.join(map(shown, colours[:4]))}{f' and {len(colours) - 4} more' if len(colours) > 4 else ''}"


def packed_pixels(stored: NDArray[Any]) -> NDArray[np.uint32]:
    """The packed colours (H, W) of grey values (H, W) or channels (H, W, 1 to 4), without alpha. Greys whose channels differ by 2
    at most count as grey, if all pixels of the mask do."""
    if stored.ndim == 2:
        return stored.astype(np.uint32) * np.uint32(0x010101)
    colours = stored[..., :3] if stored.shape[2] > 2 else np.repeat(stored[..., :1], 3, 2)
    if (colours.max(2) - colours.min(2) <= 2).all():
        return colours[..., 1].astype(np.uint32) * np.uint32(0x010101)
    red, green, blue = (colours[..., band].astype(np.uint32) for band in range(3))
    return red << np.uint32(16) | green << np.uint32(8) | blue
