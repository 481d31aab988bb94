"""Masks as COCO's run lengths: runs of 0 and 1 in turn, 0 first, down the columns. They are numbers, or a compressed string.

    encode(mask)                            # 'f3d0l4R2m1nMTNX2...'
    decode("f3d0l4R2m1nMTNX2...", 480, 640)     # bool (H, W)

In the string, each run from the fourth on is its difference to the run two before it. A number is written in groups of 5 bits,
from the lowest up. The character of a group is 48 + the group, and + 32 where more groups follow. The highest bit of the last
group is the sign (cocoapi, common/maskApi.c). All code here is NumPy, so that no value of a stranger's file reaches other native
code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.limits import MAX_PIXELS

Counts = str | bytes | Sequence[int]
MAX_SIDE = 65535
GROUPS = 6  # most groups of 5 bits: 30 bits hold the difference of any two runs of MAX_PIXELS or fewer


def decode(counts: Counts, height: int, width: int) -> NDArray[np.bool_]:
    """The mask, bool (H, W), of compressed or plain run lengths. Raises ValueError, one sentence, where `read_runs` does."""
    return dense(read_runs(counts, height, width), height, width)


def dense(lengths: NDArray[np.int64], height: int, width: int) -> NDArray[np.bool_]:
    """The mask, bool (H, W), of run lengths from `read_runs`."""
    mask: NDArray[np.bool_] = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(width, height).T
    return mask


def columns(lengths: NDArray[np.int64], height: int) -> tuple[NDArray[np.bool_], int]:
    """The part (H, w) of a mask from its first to its last column with pixels, and the number of that first column."""
    ends = np.cumsum(lengths)
    starts, stops = ends[:-1:2], ends[1::2]
    sizes = stops - starts[: len(stops)]
    starts, stops = starts[: len(stops)][sizes > 0], stops[sizes > 0]
    if not len(starts):
        return np.zeros((height, 0), np.bool_), 0
    first, last = int(starts[0]) // height, int(stops[-1] - 1) // height
    turns = np.zeros((last - first + 1) * height + 1, np.int8)
    turns[starts - first * height] = 1  # set before the line below, because a run may begin where another ends
    turns[stops - first * height] -= 1
    mask: NDArray[np.bool_] = np.cumsum(turns[:-1], dtype=np.int8).view(np.bool_).reshape(-1, height).T
    return mask, first


def without_empty(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """The run lengths of the same mask, where only the first run may be 0 pixels long."""
    if lengths[1:].all():
        return lengths
    turns, times = np.unique(np.cumsum(lengths)[:-1], return_counts=True)
    ends = np.append(turns[(times % 2 == 1) & (turns < lengths.sum())], lengths.sum())
    return np.diff(ends, prepend=0)


def encode(mask: NDArray[Any]) -> str:
    """The compressed string of a mask (H, W), equal to the string of COCO's own encoder."""
    return compress(_runs(mask))


def encode_part(pixels: NDArray[np.bool_], top: int, left: int, size: tuple[int, int]) -> str:
    """The string of `encode` for a mask of `size` that has `pixels` (h, w) from `top`, `left` on and is empty elsewhere, without
    making that mask."""
    height, width = size
    turns = np.diff(np.pad(pixels.astype(np.int8), ((1, 1), (0, 0))), axis=0).T  # (w, h + 1): 1 where a run begins, -1 behind it
    column, row = np.nonzero(turns)
    ends = (left + column) * height + top + row
    return compress(without_empty(np.diff(np.concatenate([[0], ends, [height * width]]))))


def runs(mask: NDArray[Any]) -> list[int]:
    """The plain run lengths of a mask (H, W). The first run has the value 0, and may be 0 pixels long."""
    lengths: list[int] = _runs(mask).tolist()
    return lengths


def read_runs(counts: Counts, height: int, width: int) -> NDArray[np.int64]:
    """The run lengths, int64 (N,), of a mask of this size.

    Raises ValueError, one sentence, for a size that `require_size` refuses, for anything but a list of whole numbers or a
    compressed string, for a negative run, and for runs whose sum is not height * width."""
    require_size(height, width)
    lengths = _decompress(counts) if isinstance(counts, str | bytes) else _listed(counts)
    if len(lengths) and lengths.min() < 0:
        place = int(np.argmax(lengths < 0))
        raise ValueError(f"run {place} of the RLE is {lengths[place]} pixels long; runs are 0 or longer.")
    if len(lengths) and lengths.max() > height * width:
        raise ValueError(f"a run of the RLE is {lengths.max()} pixels long, more than the {height}x{width} picture has.")
    total = int(lengths.sum())
    if total != height * width:
        raise ValueError(f"the runs of the RLE sum to {total} pixels, but {height}x{width} are {height * width}.")
    return lengths


def compress(lengths: Sequence[int] | NDArray[np.int64]) -> str:
    """The compressed string of plain run lengths. Each run is 0 .. `MAX_PIXELS` pixels long."""
    plain = np.asarray(lengths, np.int64)
    remaining = plain.copy()
    remaining[3:] -= plain[1:-2]
    characters = np.zeros((len(remaining), GROUPS), np.uint8)
    written = np.zeros((len(remaining), GROUPS), np.bool_)
    unfinished = np.ones(len(remaining), np.bool_)
    for group in range(GROUPS):
        bits = remaining & 0x1F
        remaining >>= 5
        written[:, group] = unfinished
        unfinished = unfinished & (remaining != np.where(bits & 0x10, -1, 0))
        characters[:, group] = 48 + bits + 32 * unfinished
    return characters[written].tobytes().decode("ascii")


def require_size(height: int, width: int) -> None:
    """Raises ValueError unless both sides are whole numbers 1..65535 and the picture has 2^28 pixels or fewer."""
    for side in (height, width):
        if isinstance(side, bool) or not isinstance(side, int | np.integer) or not 1 <= side <= MAX_SIDE:
            raise ValueError(f"a side of {shown(side)} pixels is no whole number 1..{MAX_SIDE}; give the size of the picture.")
    if int(height) * int(width) > MAX_PIXELS:
        raise ValueError(f"{height}x{width} pixels are more than {MAX_PIXELS}; cut the picture into tiles.")


def _runs(mask: NDArray[Any]) -> NDArray[np.int64]:
    if mask.ndim != 2:
        raise ValueError(f"a mask has two dimensions, not the shape {mask.shape}.")
    require_size(*mask.shape)
    flat = np.ravel(mask.T.astype(np.bool_, copy=False))
    turns = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    first = [0, 0] if flat[0] else [0]
    return np.diff(np.concatenate([first, turns, [flat.size]]))


def _decompress(counts: str | bytes) -> NDArray[np.int64]:
    try:
        raw = counts.encode("ascii") if isinstance(counts, str) else counts
    except UnicodeEncodeError as error:
        raise ValueError(f"the compressed RLE holds {counts[error.start]!r}; its characters are '0' to 'o'.") from None
    characters = np.frombuffer(raw, np.uint8).astype(np.int64) - 48
    invalid = (characters < 0) | (characters > 63)
    if invalid.any():
        character = chr(raw[int(np.argmax(invalid))])
        raise ValueError(
            f"the compressed RLE holds {character!r} at place {int(np.argmax(invalid))}; its characters are '0' to 'o'."
        )
    last = characters < 32
    if len(last) and not last[-1]:
        raise ValueError("the compressed RLE ends in the middle of a number; it is cut short.")
    ends = np.flatnonzero(last)
    starts = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends
    if len(ends) and (ends - starts).max() >= GROUPS:
        place = int(starts[np.argmax(ends - starts)])
        raise ValueError(f"a number of the compressed RLE, at place {place}, is longer than {GROUPS} characters.")
    places = np.arange(len(characters)) - np.repeat(starts, ends - starts + 1)
    lengths = np.add.reduceat((characters & 0x1F) << 5 * places, starts) if len(starts) else starts
    negative = (characters[ends] & 0x10) > 0
    lengths[negative] -= 1 << 5 * (ends - starts + 1)[negative]
    for parity in (1, 2):  # each later run is a difference to the run two before it; the first run is not
        lengths[parity::2] = np.cumsum(lengths[parity::2])
    return lengths


def _listed(counts: Sequence[int]) -> NDArray[np.int64]:
    if not isinstance(counts, list | tuple | np.ndarray):
        raise ValueError(f"run lengths are a list or a string, not {shown(counts)}.")
    for place, length in enumerate(counts):
        if isinstance(length, bool) or not isinstance(length, int | np.integer):
            raise ValueError(f"run {place} of the RLE is {shown(length)}, not a whole number.")
        if not -MAX_PIXELS <= length <= MAX_PIXELS:
            raise ValueError(f"run {place} of the RLE is {shown(length)} pixels long; a picture has 0..{MAX_PIXELS}.")
    return np.array(counts, np.int64)


def shown(value: Any) -> str:
    """A value of a hostile file in at most 40 characters. A list shows only its type, because printing may recurse without
    end."""
    if isinstance(value, int | float | str | bool | np.generic | None):
        text = repr(value) if not isinstance(value, int) or abs(value) < 10**18 else "a number beyond 10^18"
        return text if len(text) <= 40 else f"{text[:37]}..."
    return f"a {type(value).__name__}"
