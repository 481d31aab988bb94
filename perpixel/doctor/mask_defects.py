"""Defects of a mask file: it holds colours, stretched or smoothed values, JPEG values, or a photo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.classes import ClassTable
from perpixel.doctor.defects import Problem, problem
from perpixel.images import Header, read_stored

MANY_COLOURS = 256  # a mask in colours has fewer
BETWEEN = 0.8  # a mask counts as interpolated when this share of its unknown pixels lies between two classes
SHOWN = 8  # unknown values, or rows of a proposed table
# A mask counts as smoothed by the changes of value along its rows. At some changes a single pixel has a value between its left
# and right neighbour. In resized or smoothed masks that is so at most borders: at least at a fifth of the changes in CamVid's
# masks, by every method; in sound masks never at more than 0.03. STEPS is the least share of such changes, FEW_STEPS their least
# number, and BETWEEN_OF_SINGLE the least share of them among all changes with a single pixel.
STEPS, BETWEEN_OF_SINGLE, FEW_STEPS = 0.15, 0.8, 30
GREY = 2  # the greatest difference between the channels of a grey picture that was saved with loss
SPECKLES = 0.05  # a mask counts as speckled above this share of pixels that differ from all four neighbours


def coloured(path: Path, header: Header, classes: ClassTable) -> list[Problem]:
    """The defect of a mask that has several channels, or was saved with loss."""
    stored = read_stored(path)
    lossy = header.lossy
    if lossy and (grey := _grey(stored)) is not None:
        clause = f"is a {lossy} of {len(np.unique(grey))} grey values, whose compression changes mask values"
        return [problem("JPEG mask", path, clause, pixel=(0, 0), value=grey[0, 0])]
    if stored.ndim == 3 and stored.shape[2] in (2, 4) and not lossy:
        return [_alpha(path, stored)]
    if (stored == stored[..., :1]).all() and not lossy:
        return [problem("three equal channels", path, "stores its grey values three times", value=stored[0, 0, 0], pixel=(0, 0))]
    packed = packed_colours(stored)
    colours, firsts, counts = np.unique(packed, return_index=True, return_counts=True)
    if len(colours) > MANY_COLOURS or lossy:
        known = {_pack(colour): name for name, colour in zip(classes.names, classes.colours, strict=True)}
        matches_table = lossy and (len(classes) > 1 and _nearness(stored, np.array([*known]), path) < 32)
        kind = "JPEG mask" if matches_table else "photo as mask"
        format_name = f"a {lossy or 'picture'}"
        return [problem(kind, path, f"is {format_name} of {len(colours)} colours", count=stored.shape[0] * stored.shape[1])]
    table = zip((*classes.names, "void"), (*classes.colours, classes.void_colour), strict=True)
    names = {_pack(colour): name for name, colour in table}
    unknown_colours = [i for i, colour in enumerate(colours) if int(colour) not in names]
    if not unknown_colours:
        clause = f"holds {len(colours)} colours of the class table in place of values"
        return [problem("palette expanded", path, clause, pixel=_place(firsts[0], packed), value=_colour(colours[0]))]
    rows = "; ".join(
        f"{value},{names.get(int(colour), f'class_{value}')},{','.join(map(str, _colour(colour)))}"
        for value, colour in list(enumerate(colours))[:SHOWN]
    )
    more = f" and {len(colours) - SHOWN} more" if len(colours) > SHOWN else ""
    clause = f"holds {len(colours)} colours, {_colour(colours[unknown_colours[0]])} first of those that no class has"
    first = firsts[unknown_colours[0]]
    return [
        problem("colour-coded mask", path, clause, f"write values for the colours, such as id,name,r,g,b: {rows}{more}",
                pixel=_place(first, packed), value=_colour(colours[unknown_colours[0]]), count=int(counts[unknown_colours[0]])),
    ]  # fmt: skip


def unknown_values(path: Path, mask: NDArray[Any], classes: ClassTable) -> list[Problem]:
    """The defects of a mask (H, W) of whole values, of which some are in no class."""
    unknown = classes.unknown_values(mask)
    value, row, column, count = unknown[0]
    place: dict[str, Any] = {"pixel": (row, column), "value": value, "count": count}
    present = set(np.unique(mask).tolist())
    table_values = {value for values in classes.values for value in values}
    if present <= {0, 255} and 1 in table_values:
        clause = f"holds 0 and 255 ({count} pixels, the first at row {row}, column {column}), the table 0 and 1"
        return [problem("0/255 mask", path, clause, **place)]
    factor = int(np.gcd.reduce(sorted(present)))
    if factor > 1 and len(present) > 1 and {value // factor for value in present} <= table_values | {*classes.void_values}:
        clause = f"holds {value} at row {row}, column {column}; all values are those of the table times {factor}"
        return [problem("scaled mask", path, clause, f"divide them by {factor}", **place)]
    from scipy import ndimage  # only now: it takes a quarter of a second to load

    between = np.isin(mask, [value for value, *_ in unknown])
    low, high = (filter_of(mask, size=3)[between] for filter_of in (ndimage.minimum_filter, ndimage.maximum_filter))
    inside = (low < mask[between]) & (mask[between] < high)
    total = int(between.sum())
    if (
        len(unknown) > 2 and inside.sum() >= BETWEEN * total and 2 * total < mask.size
    ):  # noise would cover more than half of the mask
        clause = (
            f"holds {len(unknown)} values of no class, {value} at row {row}, column {column} first, between those around them"
        )
        return [problem("interpolated mask", path, f"{clause} ({total} pixels)", pixel=(row, column), value=value, count=total)]
    problems = [
        problem("unknown value", path, f"value {value} at row {row}, column {column} ({count} pixels) is in no class",
                pixel=(row, column), value=value, count=count)
        for value, row, column, count in unknown[:SHOWN]
    ]  # fmt: skip
    if len(unknown) > SHOWN:
        rest = sum(count for *_, count in unknown[SHOWN:])
        clause = f"{len(unknown) - SHOWN} more values ({rest} pixels) are in no class"
        problems.append(problem("unknown value", path, clause, count=rest))
    return problems


def known_values(path: Path, mask: NDArray[Any], classes: ClassTable) -> list[Problem]:
    """The defects of a mask (H, W) whose values are all in the class table."""
    return _smoothed(path, mask) + _wide(path, mask, classes)


def of_labels(path: Path, labels: NDArray[Any], counts: NDArray[np.int64], classes: ClassTable) -> list[Problem]:
    """The defects of class ids (H, W) that a person should look at. `counts` (void + 1,) has the number of pixels of each id."""
    total, void = labels.size, int(counts[classes.void])
    if void == total:
        value = classes.void_values[0] if classes.void_values else classes.void
        return [problem("all void", path, "has no pixel that is judged", pixel=(0, 0), value=value, count=total)]
    if len(classes) > 1 and classes.names[0] == "background" and counts[0] == total:
        return [problem("nothing but background", path, "shows background alone", pixel=(0, 0), value=0, count=total)]
    inner = labels[1:-1, 1:-1]
    speckles = np.ones(inner.shape, np.bool_)
    for other in (labels[:-2, 1:-1], labels[2:, 1:-1], labels[1:-1, :-2], labels[1:-1, 2:]):
        speckles &= inner != other
    count = int(np.count_nonzero(speckles))
    if count > SPECKLES * total and min(labels.shape) >= 16:
        row, column = (int(index) + 1 for index in np.argwhere(speckles)[0])
        clause = f"{count} of {total} pixels are unlike their four neighbours, the first at row {row}, column {column}"
        return [problem("speckled mask", path, clause, pixel=(row, column), value=labels[row, column], count=count)]
    return []


def of_objects(path: Path, numbers: NDArray[Any], labels: NDArray[Any] | None, classes: ClassTable) -> list[Problem]:
    """The defects of a map of object numbers (H, W), where 0 is no object. `labels` (H, W) are the class ids of the mask, if
    any."""
    present = np.unique(numbers[numbers != 0])
    problems = []
    if len(present) == 1:
        from scipy import ndimage

        pieces, count = ndimage.label(numbers != 0)
        if count > 4:
            row, column = (int(index) for index in np.argwhere(pieces == 2)[0])
            clause = f"gives {count} pieces apart the one number {present[0]}, a second at row {row}, column {column}"
            problems.append(problem("objects share a number", path, clause, pixel=(row, column), value=present[0], count=count))
    if labels is None or labels.shape != numbers.shape or not len(present):
        return problems
    values = classes.void + 1
    places = np.searchsorted(present, numbers[numbers != 0])
    votes = np.bincount(places * values + labels[numbers != 0], minlength=len(present) * values).reshape(len(present), values)
    for number, vote in zip(present.tolist(), votes, strict=True):
        judged = int(vote[: len(classes)].sum())
        if judged and vote[: len(classes)].max() >= 0.5 * judged:
            continue
        row, column = divmod(int(np.argmax(numbers == number)), numbers.shape[1])
        place: dict[str, Any] = {"pixel": (row, column), "value": number, "count": int(vote.sum())}
        if not judged:
            problems.append(
                problem("object on void", path, f"object {number} at row {row}, column {column} is all void", **place)
            )
        else:
            clause = f"object {number} at row {row}, column {column} has no class on half of its {judged} judged pixels"
            problems.append(problem("object of several classes", path, clause, **place))
    return problems


def _smoothed(path: Path, mask: NDArray[Any]) -> list[Problem]:
    rise, fall = mask[:, 1:] > mask[:, :-1], mask[:, 1:] < mask[:, :-1]
    between = (rise[:, 1:] & rise[:, :-1]) | (fall[:, 1:] & fall[:, :-1])
    num_between, changes = int(np.count_nonzero(between)), int(np.count_nonzero(rise)) + int(np.count_nonzero(fall))
    if (
        num_between < FEW_STEPS or num_between < STEPS * changes or 2 * num_between > mask.size
    ):  # a gradient is no smoothed border
        return []
    peaks = int(np.count_nonzero((rise[:, 1:] & fall[:, :-1]) | (fall[:, 1:] & rise[:, :-1])))
    if num_between < BETWEEN_OF_SINGLE * (
        num_between + peaks
    ):  # in noise and thin lines, as many single pixels are higher or lower than both neighbours
        return []
    row, column = divmod(int(np.argmax(between)), between.shape[1])
    left, value, right = mask[row, column : column + 3].tolist()
    clause = (
        f"has {value} between {left} and {right} at row {row}, column {column + 1}, and so at {num_between} of {changes} changes"
    )
    return [problem("smoothed mask", path, clause, pixel=(row, column + 1), value=value, count=num_between)]


def _wide(path: Path, mask: NDArray[Any], classes: ClassTable) -> list[Problem]:
    largest = max(max(values) for values in (*classes.values, classes.void_values) if values)
    if mask.dtype != np.uint16 or largest > 255:
        return []
    return [problem("16-bit mask", path, f"has 16 bits per pixel for values up to {int(mask.max())}")]


def _alpha(path: Path, stored: NDArray[Any]) -> Problem:
    alpha, rest = stored[..., -1], stored[..., :-1]
    values = np.unique(alpha)
    if len(values) == 1:
        clause = f"has an alpha channel that is {values[0]} everywhere"
    else:
        colours_text = "the colours are all alike" if not (rest != rest[0, 0]).any() else "the colours differ too"
        row, column = (int(index) for index in np.argwhere(alpha != alpha[0, 0])[0])
        clause = f"has {len(values)} values of alpha, {alpha[row, column]} at row {row}, column {column}; {colours_text}"
        return problem("alpha mask", path, clause, pixel=(row, column), value=alpha[row, column])
    return problem("alpha mask", path, clause, pixel=(0, 0), value=values[0], count=alpha.size)


def _nearness(stored: NDArray[Any], colours: NDArray[np.int64], path: Path) -> float:
    """The mean distance of a sample of pixels to the nearest of the packed colours, in RGB values."""
    pixels = stored[::8, ::8, :3].reshape(-1, 1, 3).astype(np.int64)
    table = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], 1)[None]
    return float(np.sqrt(((pixels - table) ** 2).sum(2).min(1)).mean())


def _grey(stored: NDArray[Any]) -> NDArray[Any] | None:
    """The grey values (H, W) of a picture whose colour channels are nearly equal. None for another picture."""
    if stored.ndim == 2:
        return stored
    colours = stored[..., : 1 if stored.shape[2] == 2 else 3]
    near = (colours.max(2) - colours.min(2) <= GREY).all()
    return colours[..., 0] if near else None


def packed_colours(stored: NDArray[Any]) -> NDArray[np.uint32]:
    """Colours (H, W, 3 or more) as numbers (H, W), red in the highest bits. That saves memory: a large picture would otherwise
    need eight times its size."""
    red, green, blue = (stored[..., band].astype(np.uint32) for band in range(3))
    return red << np.uint32(16) | green << np.uint32(8) | blue


def _pack(colour: tuple[int, int, int]) -> int:
    return colour[0] << 16 | colour[1] << 8 | colour[2]


def _colour(packed: Any) -> tuple[int, int, int]:
    return int(packed) >> 16, int(packed) >> 8 & 255, int(packed) & 255


def _place(index: Any, picture: NDArray[Any]) -> tuple[int, int]:
    row, column = divmod(int(index), picture.shape[1])
    return row, column
