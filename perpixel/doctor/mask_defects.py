"""What a file is that should be a mask and is none: colours, a stretched or smoothed mask, a JPEG, a photo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.classes import ClassTable
from perpixel.doctor.defects import Problem, problem
from perpixel.images import Header, read_stored

MANY_COLOURS = 256  # a mask in colours has fewer
BETWEEN = 0.8  # the share of unknown pixels between two classes, from which on a mask counts as interpolated
SHOWN = 8  # unknown values, or rows of a proposed table
# Of the places along rows where values change: those with a single pixel between two others, which a mask that was resized or
# smoothed has nearly everywhere (a fifth at least of CamVid's, however it was done; never more than 0.03 of a sound one), and of
# those with a single pixel, the share that lies between.
STEPS, BETWEEN_OF_SINGLE, FEW_STEPS = 0.15, 0.8, 30
GREY = 2  # by how much the channels of a grey picture may differ, where it was saved with loss
SPECKLES = 0.05  # the share of pixels unlike all four neighbours


def coloured(path: Path, header: Header, classes: ClassTable) -> list[Problem]:
    """What is wrong with a mask that has several channels, or was saved with loss."""
    stored = read_stored(path)
    lossy = header.lossy
    if lossy and (grey := _grey(stored)) is not None:
        said = f"is a {lossy} of {len(np.unique(grey))} grey values, whose compression changes mask values"
        return [problem("JPEG mask", path, said, pixel=(0, 0), value=grey[0, 0])]
    if stored.ndim == 3 and stored.shape[2] in (2, 4) and not lossy:
        return [_alpha(path, stored)]
    if (stored == stored[..., :1]).all() and not lossy:
        return [problem("three equal channels", path, "stores its grey values three times", value=stored[0, 0, 0], pixel=(0, 0))]
    packed = packed_colours(stored)
    colours, firsts, counts = np.unique(packed, return_index=True, return_counts=True)
    if len(colours) > MANY_COLOURS or lossy:
        known = {_pack(colour): name for name, colour in zip(classes.names, classes.colours, strict=True)}
        near = lossy and (len(classes) > 1 and _nearness(stored, np.array([*known]), path) < 32)
        kind = "JPEG mask" if near else "photo as mask"
        what = f"a {lossy or 'picture'}"
        return [problem(kind, path, f"is {what} of {len(colours)} colours", count=stored.shape[0] * stored.shape[1])]
    table = zip((*classes.names, "void"), (*classes.colours, classes.void_colour), strict=True)
    names = {_pack(colour): name for name, colour in table}
    strange = [i for i, colour in enumerate(colours) if int(colour) not in names]
    if not strange:
        said = f"holds {len(colours)} colours of the class table in place of values"
        return [problem("palette expanded", path, said, pixel=_place(firsts[0], packed), value=_colour(colours[0]))]
    rows = "; ".join(
        f"{value},{names.get(int(colour), f'class_{value}')},{','.join(map(str, _colour(colour)))}"
        for value, colour in list(enumerate(colours))[:SHOWN]
    )
    more = f" and {len(colours) - SHOWN} more" if len(colours) > SHOWN else ""
    said = f"holds {len(colours)} colours, {_colour(colours[strange[0]])} first of those that no class has"
    first = firsts[strange[0]]
    return [
        problem("colour-coded mask", path, said, f"write values for the colours, such as id,name,r,g,b: {rows}{more}",
                pixel=_place(first, packed), value=_colour(colours[strange[0]]), count=int(counts[strange[0]])),
    ]  # fmt: skip


def strange_values(path: Path, mask: NDArray[Any], classes: ClassTable) -> list[Problem]:
    """What is wrong with a mask (H, W) of whole values, of which some are in no class."""
    unknown = classes.unknown_values(mask)
    value, row, column, count = unknown[0]
    at: dict[str, Any] = {"pixel": (row, column), "value": value, "count": count}
    present = set(np.unique(mask).tolist())
    known = {value for values in classes.values for value in values}
    if present <= {0, 255} and 1 in known:
        said = f"holds 0 and 255 ({count} pixels, the first at row {row}, column {column}), the table 0 and 1"
        return [problem("0/255 mask", path, said, **at)]
    factor = int(np.gcd.reduce(sorted(present)))
    if factor > 1 and len(present) > 1 and {value // factor for value in present} <= known | {*classes.void_values}:
        said = f"holds {value} at row {row}, column {column}; all values are those of the table times {factor}"
        return [problem("scaled mask", path, said, f"divide them by {factor}", **at)]
    from scipy import ndimage  # only now: it takes a quarter of a second to load

    between = np.isin(mask, [value for value, *_ in unknown])
    low, high = (found(mask, size=3)[between] for found in (ndimage.minimum_filter, ndimage.maximum_filter))
    inside = (low < mask[between]) & (mask[between] < high)
    total = int(between.sum())
    if len(unknown) > 2 and inside.sum() >= BETWEEN * total and 2 * total < mask.size:  # noise is everywhere
        said = f"holds {len(unknown)} values of no class, {value} at row {row}, column {column} first, between those around them"
        return [problem("interpolated mask", path, f"{said} ({total} pixels)", pixel=(row, column), value=value, count=total)]
    problems = [
        problem("unknown value", path, f"value {value} at row {row}, column {column} ({count} pixels) is in no class",
                pixel=(row, column), value=value, count=count)
        for value, row, column, count in unknown[:SHOWN]
    ]  # fmt: skip
    if len(unknown) > SHOWN:
        rest = sum(count for *_, count in unknown[SHOWN:])
        said = f"{len(unknown) - SHOWN} more values ({rest} pixels) are in no class"
        problems.append(problem("unknown value", path, said, count=rest))
    return problems


def known_values(path: Path, mask: NDArray[Any], classes: ClassTable) -> list[Problem]:
    """What is wrong with a mask (H, W) of which all values are in the table."""
    return _smoothed(path, mask) + _wide(path, mask, classes)


def of_labels(path: Path, labels: NDArray[Any], counts: NDArray[np.int64], classes: ClassTable) -> list[Problem]:
    """What a person should look at in class ids (H, W), whose pixels by id are `counts` (void + 1,)."""
    total, void = labels.size, int(counts[classes.void])
    if void == total:
        value = classes.void_values[0] if classes.void_values else classes.void
        return [problem("all void", path, "has no pixel that is judged", pixel=(0, 0), value=value, count=total)]
    if len(classes) > 1 and classes.names[0] == "background" and counts[0] == total:
        return [problem("nothing but background", path, "shows background alone", pixel=(0, 0), value=0, count=total)]
    inner = labels[1:-1, 1:-1]
    alone = np.ones(inner.shape, np.bool_)
    for other in (labels[:-2, 1:-1], labels[2:, 1:-1], labels[1:-1, :-2], labels[1:-1, 2:]):
        alone &= inner != other
    found = int(np.count_nonzero(alone))
    if found > SPECKLES * total and min(labels.shape) >= 16:
        row, column = (int(one) + 1 for one in np.argwhere(alone)[0])
        said = f"{found} of {total} pixels are unlike their four neighbours, the first at row {row}, column {column}"
        return [problem("speckled mask", path, said, pixel=(row, column), value=labels[row, column], count=found)]
    return []


def of_objects(path: Path, numbers: NDArray[Any], labels: NDArray[Any] | None, classes: ClassTable) -> list[Problem]:
    """What is wrong with numbers of objects (H, W), 0 where there is none, and with what `labels` (H, W) of a mask say there."""
    present = np.unique(numbers[numbers != 0])
    problems = []
    if len(present) == 1:
        from scipy import ndimage

        pieces, count = ndimage.label(numbers != 0)
        if count > 4:
            row, column = (int(one) for one in np.argwhere(pieces == 2)[0])
            said = f"gives {count} pieces apart the one number {present[0]}, a second at row {row}, column {column}"
            problems.append(problem("objects share a number", path, said, pixel=(row, column), value=present[0], count=count))
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
        at: dict[str, Any] = {"pixel": (row, column), "value": number, "count": int(vote.sum())}
        if not judged:
            problems.append(problem("object on void", path, f"object {number} at row {row}, column {column} is all void", **at))
        else:
            said = f"object {number} at row {row}, column {column} has no class on half of its {judged} judged pixels"
            problems.append(problem("object of several classes", path, said, **at))
    return problems


def _smoothed(path: Path, mask: NDArray[Any]) -> list[Problem]:
    rise, fall = mask[:, 1:] > mask[:, :-1], mask[:, 1:] < mask[:, :-1]
    between = (rise[:, 1:] & rise[:, :-1]) | (fall[:, 1:] & fall[:, :-1])
    found, changes = int(np.count_nonzero(between)), int(np.count_nonzero(rise)) + int(np.count_nonzero(fall))
    if found < FEW_STEPS or found < STEPS * changes or 2 * found > mask.size:  # a gradient is no smoothed border
        return []
    peaks = int(np.count_nonzero((rise[:, 1:] & fall[:, :-1]) | (fall[:, 1:] & rise[:, :-1])))
    if found < BETWEEN_OF_SINGLE * (found + peaks):  # noise and thin lines lie beside both neighbours as often as between them
        return []
    row, column = divmod(int(np.argmax(between)), between.shape[1])
    left, value, right = mask[row, column : column + 3].tolist()
    said = f"has {value} between {left} and {right} at row {row}, column {column + 1}, and so at {found} of {changes} changes"
    return [problem("smoothed mask", path, said, pixel=(row, column + 1), value=value, count=found)]


def _wide(path: Path, mask: NDArray[Any], classes: ClassTable) -> list[Problem]:
    largest = max(max(values) for values in (*classes.values, classes.void_values) if values)
    if mask.dtype != np.uint16 or largest > 255:
        return []
    return [problem("16-bit mask", path, f"has 16 bits per pixel for values up to {int(mask.max())}")]


def _alpha(path: Path, stored: NDArray[Any]) -> Problem:
    alpha, rest = stored[..., -1], stored[..., :-1]
    values = np.unique(alpha)
    if len(values) == 1:
        said = f"has an alpha channel that is {values[0]} everywhere"
    else:
        held = "the colours are all alike" if not (rest != rest[0, 0]).any() else "the colours differ too"
        row, column = (int(one) for one in np.argwhere(alpha != alpha[0, 0])[0])
        said = f"has {len(values)} values of alpha, {alpha[row, column]} at row {row}, column {column}; {held}"
        return problem("alpha mask", path, said, pixel=(row, column), value=alpha[row, column])
    return problem("alpha mask", path, said, pixel=(0, 0), value=values[0], count=alpha.size)


def _nearness(stored: NDArray[Any], colours: NDArray[np.int64], path: Path) -> float:
    """The mean distance of some pixels (RGB) to the nearest of packed colours."""
    some = stored[::8, ::8, :3].reshape(-1, 1, 3).astype(np.int64)
    table = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], 1)[None]
    return float(np.sqrt(((some - table) ** 2).sum(2).min(1)).mean())


def _grey(stored: NDArray[Any]) -> NDArray[Any] | None:
    """The grey values (H, W) of a picture whose channels are nearly equal, alpha aside; none of another."""
    if stored.ndim == 2:
        return stored
    colours = stored[..., : 1 if stored.shape[2] == 2 else 3]
    near = (colours.max(2) - colours.min(2) <= GREY).all()
    return colours[..., 0] if near else None


def packed_colours(stored: NDArray[Any]) -> NDArray[np.uint32]:
    """Colours (H, W, 3 or more) as one number each; a large picture would need eight times its memory otherwise."""
    red, green, blue = (stored[..., band].astype(np.uint32) for band in range(3))
    return red << np.uint32(16) | green << np.uint32(8) | blue


def _pack(colour: tuple[int, int, int]) -> int:
    return colour[0] << 16 | colour[1] << 8 | colour[2]


def _colour(packed: Any) -> tuple[int, int, int]:
    return int(packed) >> 16, int(packed) >> 8 & 255, int(packed) & 255


def _place(index: Any, picture: NDArray[Any]) -> tuple[int, int]:
    row, column = divmod(int(index), picture.shape[1])
    return row, column
