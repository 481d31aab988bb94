"""What masks of any origin write, and the values that they mean, for `init`.

A file writes values in one channel, in equal channels, or in alpha; or it writes colours. `Writing` reads the masks of a folder
in the one way that fits all of them: by values, or by colours where some file has colours, or where files count the same colours
in different orders. Nothing is guessed: each value or colour becomes one value, and a file of another content is refused. Masks
that were saved with loss are read by the colours that they had, `pairing_lossy`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.classes import Colour
from perpixel.datasets.pairing_lossy import BLACK, WHITE, is_grey, is_grey_mask, levels, packed_pixels, plateaus, to_nearest
from perpixel.errors import DataError, failure_of
from perpixel.images import AnyMask, read_any_mask

MANY_COLOURS = 256  # a picture of more colours is no mask
CLEAR = 1 << 24  # the packed colour of pixels that alpha makes invisible, where other pixels are opaque
AS_PNG = "save masks as PNG."
VALUES, EQUAL_CHANNELS, ALPHA, COLOURS = "values", "equal channels", "alpha", "colours"


@dataclass(frozen=True)
class MaskLook:
    """What a mask file holds, or the reason why it cannot be read."""

    writes: str = VALUES  # or EQUAL_CHANNELS, ALPHA, COLOURS
    values: Counter[int] = field(default_factory=Counter)  # pixels of each value; empty for colours
    colours: Counter[int] = field(default_factory=Counter)  # pixels of each packed colour, also of a palette and of greys
    palette: Mapping[int, int] | None = None  # the packed colour of each value that occurs
    size: tuple[int, int] | None = None  # (height, width)
    cannot: str = ""  # the reason, a sentence; empty where the mask can be read
    lossy: str = ""  # the compression that changed the values, such as JPEG
    between: int = 0  # pixels of a lossy mask that lie between its colours


def look_at_mask(path: Path, known: Sequence[int] = ()) -> MaskLook:
    """The content of a mask. An error of reading becomes the reason in `cannot`.

    A mask that was saved with loss is read by the packed colours `known`. Without them `colours` counts its plateaus."""
    try:
        mask = read_any_mask(path)
        between = 0
        if mask.lossy:
            pixels = _lossy_pixels(mask, path)
            size = (pixels.shape[0], pixels.shape[1])
            if not known:
                counts = plateaus(pixels)
                try:
                    levels(counts, mask.lossy)
                except DataError as error:
                    clause = f"is a {mask.lossy}, whose compression changes mask values: {error}"
                    raise DataError(f"{path}: {clause}; {AS_PNG}") from None
                writes = VALUES if is_grey_mask(pixels) else COLOURS
                return MaskLook(writes, colours=counts, size=size, lossy=mask.lossy)
            writes, pixels, between = _of_lossy(mask, path, known)
        else:
            writes, pixels = _plane(mask, path)
        counts = Counter(_counts(pixels))
        if len(counts) > MANY_COLOURS and writes == COLOURS:
            raise DataError(f"{path}: is a picture of {len(counts)} colours, no mask; put its mask there.")
        size = (pixels.shape[0], pixels.shape[1])
        if writes == COLOURS:
            return MaskLook(writes, colours=counts, size=size, lossy=mask.lossy, between=between)
        table = _colours_of_values(mask)
        palette = {value: int(table[value]) for value in counts if value < len(table)} if mask.palette is not None else None
        colours = Counter({int(table[value]): count for value, count in counts.items() if value < len(table)})
        return MaskLook(writes, counts, colours, palette, size, lossy=mask.lossy, between=between)
    except Exception as error:
        cannot = failure_of(path, error)
        if cannot is None:
            raise
        return MaskLook(cannot=cannot)


@dataclass(frozen=True)
class Writing:
    """How all masks of a folder write their values."""

    by_colour: Mapping[int, int] | None = None  # packed colour -> value; None where files hold the values themselves
    known: tuple[int, ...] = ()  # the packed colours that lossy masks had before compression

    def read(self, path: Path) -> NDArray[Any]:
        """The values (H, W), uint8 or uint16. Raises DataError for a mask that cannot be read, or has an unknown colour."""
        mask = read_any_mask(path)
        writes, pixels = _of_lossy(mask, path, self.known)[:2] if mask.lossy else _plane(mask, path)
        if self.by_colour is None:
            if writes == COLOURS:
                raise DataError(f"{path}: holds colours, where the other masks hold values; write one value per pixel.")
            return pixels
        table = _colours_of_values(mask)
        if writes != COLOURS and pixels.max() >= len(table):
            raise DataError(
                f"{path}: holds the value {pixels.max()}, where the other masks hold colours; write one value per pixel."
            )
        packed = pixels if writes == COLOURS else table[pixels]
        known = np.array(sorted(self.by_colour), np.uint32)
        places = np.minimum(np.searchsorted(known, packed), len(known) - 1)
        unknown = known[places] != packed
        if unknown.any():
            row, column = divmod(int(unknown.argmax()), packed.shape[1])
            clause = f"colour {unpacked(int(packed[row, column]))} at row {row}, column {column} is that of no class"
            raise DataError(f"{path}: {clause}; correct it, or add it to classes.csv.")
        values = np.array([self.by_colour[int(colour)] for colour in known])
        return values.astype(np.uint8 if values.max() <= 255 else np.uint16)[places]


def foreground(path: Path, known: Sequence[int] = (BLACK, WHITE)) -> NDArray[np.bool_] | None:
    """Where a mask of two values or colours is not black, zero or clear, boolean (H, W). None for a mask of more values, and for
    one that cannot be read. `known` as in `Writing`."""
    look = look_at_mask(path, known)
    if look.cannot or len(look.values or look.colours) > 2:
        return None
    if look.values:
        shown: NDArray[np.bool_] = Writing(known=tuple(known)).read(path) != 0
        return shown
    order = sorted(look.colours)
    values = {colour: 0 if colour in (0, CLEAR) else place for place, colour in enumerate(order, start=1)}
    shown = Writing(values, tuple(known)).read(path) != 0
    return shown


def write_colours(looks: Iterable[MaskLook]) -> bool:
    """Whether colours are what the masks of a folder mean: some file has them, or the same value has several colours.

    Palettes without meaning, as of numbers of objects, do not count: there are fewer values than colours."""
    readable = [look for look in looks if not look.cannot]
    if any(look.writes == COLOURS for look in readable):
        return True
    colours_of: dict[int, set[int]] = defaultdict(set)
    for look in readable:
        for value, colour in (look.palette or {}).items():
            colours_of[value].add(colour)
    all_colours = {colour for colours in colours_of.values() for colour in colours}
    return any(len(colours) > 1 for colours in colours_of.values()) and len(all_colours) <= len(colours_of)


def packed(colour: Colour) -> int:
    return colour[0] << 16 | colour[1] << 8 | colour[2]


def unpacked(colour: int) -> Colour:
    """The colour of a packed one. CLEAR becomes black."""
    return colour >> 16 & 255 if colour != CLEAR else 0, colour >> 8 & 255, colour & 255


def _lossy_pixels(mask: AnyMask, path: Path) -> NDArray[np.uint32]:
    """The packed colours (H, W) of a lossy mask. Raises DataError where alpha differs from pixel to pixel."""
    stored = mask.pixels
    if stored.ndim == 3 and stored.shape[2] in (2, 4) and (stored[..., -1] != stored[0, 0, -1]).any():
        raise DataError(f"{path}: is a {mask.lossy}, whose compression changes mask values, with alpha; {AS_PNG}")
    return packed_pixels(stored)


def _of_lossy(mask: AnyMask, path: Path, known: Sequence[int]) -> tuple[str, NDArray[Any], int]:
    """What a lossy mask wrote, its values or packed colours (H, W), and the number of pixels between the `known` colours.

    Raises DataError where pixels are not certain."""
    if not known:
        raise DataError(f"{path}: is a {mask.lossy}, whose compression changes mask values; {AS_PNG}")
    nearest, between = to_nearest(_lossy_pixels(mask, path), known, path, mask.lossy)
    if all(map(is_grey, known)):
        return VALUES, (nearest & 255).astype(np.uint8), between
    return COLOURS, nearest, between


def _plane(mask: AnyMask, path: Path) -> tuple[str, NDArray[Any]]:
    """What a mask writes, and its values or packed colours (H, W). Raises DataError where colours and alpha contradict."""
    stored = mask.pixels
    if stored.ndim == 2:
        return VALUES, stored
    rest, alpha = stored, None
    if stored.shape[2] in (2, 4):
        rest, alpha = stored[..., :-1], stored[..., -1]
        if (alpha == alpha[0, 0]).all():
            alpha = None
        elif (rest == rest[0, 0]).all():
            return ALPHA, alpha
    grey = (rest == rest[..., :1]).all()
    if grey and alpha is None:
        return EQUAL_CHANNELS, rest[..., 0]
    red, green, blue = (rest[..., min(band, rest.shape[2] - 1)].astype(np.uint32) for band in range(3))
    colours = red << np.uint32(16) | green << np.uint32(8) | blue
    if alpha is not None:
        between = (alpha != 0) & (alpha != 255)
        if between.any():
            row, column = divmod(int(between.argmax()), alpha.shape[1])
            clause = f"is half transparent at row {row}, column {column} (alpha {alpha[row, column]}), which is no class"
            raise DataError(f"{path}: {clause}; write one value per pixel.")
        colours[alpha == 0] = CLEAR
    return COLOURS, colours


def _colours_of_values(mask: AnyMask) -> NDArray[np.uint32]:
    """The packed colour of each value of a mask of one channel, or of equal ones: of its palette, else grey."""
    if mask.palette is not None:
        red, green, blue = mask.palette.astype(np.uint32).T
        return np.pad(red << np.uint32(16) | green << np.uint32(8) | blue, (0, 256 - len(red)))
    greys = np.arange(256, dtype=np.uint32) * (255 // mask.white if mask.white < 255 else 1)
    return greys * np.uint32(0x010101)


def _counts(pixels: NDArray[Any]) -> dict[int, int]:
    """The number of pixels of each value. It sums the lengths of runs, because a mask has few runs."""
    flat = pixels.ravel()
    first = np.ones(flat.size, np.bool_)
    first[1:] = flat[1:] != flat[:-1]
    starts = np.flatnonzero(first)
    lengths = np.diff(starts, append=flat.size)
    if pixels.dtype == np.uint32:
        values, places = np.unique(flat[starts], return_inverse=True)
        return dict(zip(values.tolist(), np.bincount(places, lengths).astype(int).tolist(), strict=True))
    counts = np.bincount(flat[starts], lengths)
    return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
