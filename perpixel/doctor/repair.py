"""check --fix: a repaired copy of a folder; the folder itself is never touched.

    plan = plan_repair(root, check(root))          # what would be done to which file, and why
    done = repair(root, plan, Path("street-fixed"))  # a whole copy or none: images/, masks/, instances/, classes.csv, plan.csv

Only what can be put right for certain is: values and tags that were written in another way, and names. A mask whose values were
lost, by compression or by interpolation, cannot be computed from what is left: it is copied as it is, and the plan says so. A
pair that cannot be used is left out, as is a picture of `train` that is in another split too. All else is copied as it is, for a
person to decide."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from perpixel.classes import ClassTable
from perpixel.datasets.folder import Pair, folder_classes, list_folder
from perpixel.doctor.check import Report
from perpixel.doctor.mask_defects import packed_colours
from perpixel.doctor.picture_defects import SUFFIXES_OF
from perpixel.errors import DataError, UsageError, failure_of, printable
from perpixel.files import new_folder, read_bytes, write_whole
from perpixel.images import encode_image, encode_labels, read_header, read_image, read_labels, read_stored
from perpixel.tables import to_csv

PLAN = "plan.csv"
UNUSABLE = frozenset(
    {"empty file", "damaged", "unreadable", "size mismatch", "photo as mask", "unpaired", "all void", "duplicate"}
)
LEAKS = frozenset({"leak", "near leak"})
LOST = frozenset({"JPEG mask", "interpolated mask", "smoothed mask"})
LEFT_OUT = "left out, with its partner"
AS_IT_IS = "copied as it is"
Mender = Callable[[Path], bytes]


@dataclass(frozen=True)
class Step:
    """What is done to a file, or to a class by its name: left out, renamed, how pixels are written anew, or why they are not."""

    file: str
    kind: str
    action: str


def require_new(out: Path) -> None:
    """Raises UsageError where `out` is there already, so that it is told before minutes of checking."""
    if os.path.lexists(out):
        raise UsageError(f"{out}: is there already; name a folder that is not.")


def plan_repair(root: Path, report: Report) -> list[Step]:
    """The steps, in the order of the report's problems; none for a problem that only a person can decide."""
    steps = []
    train = {printable(pair.image) for pair in list_folder(Path(root)).pairs if pair.split == "train"}
    for one in report.problems:
        if one.kind in UNUSABLE:
            steps.append(Step(one.file, one.kind, LEFT_OUT))
        elif one.kind in LEAKS:
            file = one.other if one.other in train and one.file not in train else one.file
            steps.append(Step(file, one.kind, LEFT_OUT))
        elif one.kind == "rotated picture":
            steps.append(Step(one.file, one.kind, "written as its pixels lie, without the tag"))
        elif one.kind == "wrong extension":
            steps.append(Step(one.file, one.kind, "renamed"))
        elif one.kind in MENDED:
            steps.append(Step(one.file, one.kind, MENDED[one.kind][0]))
        elif one.kind in LOST:
            steps.append(Step(one.file, one.kind, f"{AS_IT_IS}: lost values cannot be restored for certain; export it again"))
        elif one.kind == "empty class" and not any(other.kind in LOST or other.kind in MENDED for other in report.problems):
            steps.append(Step(str(one.value), one.kind, "class left out of classes.csv"))
    return steps


@dataclass(frozen=True)
class Repaired:
    """How many pairs the copy has, and the steps as they were done: one that could not be done says why."""

    pairs: int
    steps: tuple[Step, ...]


def repair(root: Path, steps: Sequence[Step], out: Path) -> Repaired:
    """Writes the copy, whole or not at all. Raises UsageError where `out` is there already.

    A pair whose files cannot be read or written is left out; a mask that cannot be mended for certain is copied as it is."""
    root, out = Path(root), Path(out)
    classes, pairs = folder_classes(root), list_folder(root).pairs
    by_file: dict[str, list[Step]] = {}
    for step in steps:
        by_file.setdefault(step.file, []).append(step)
    done, names = {step: step for step in steps}, set[tuple[str, str]]()
    with new_folder(out) as partial:
        menders = _menders([pair.mask for pair in pairs if pair.mask], by_file, classes)
        for pair in pairs:
            mine = [step for path in (pair.image, *pair.truths) for step in by_file.get(printable(path), ())]
            if any(step.action == LEFT_OUT for step in mine):
                continue
            try:
                if (pair.split, pair.name) in names:
                    raise DataError(f"{pair.image}: another picture has its name; rename one.")
                done |= _copy(pair, partial, mine, menders)
            except Exception as error:
                message = failure_of(pair.image, error)
                if message is None:
                    raise
                step = Step(printable(pair.image), "failed", f"{LEFT_OUT}: {printable(message)}")
                done[step] = step
                continue
            names.add((pair.split, pair.name))
        _without(classes, {step.file for step in steps if step.kind == "empty class"}).write_csv(partial / "classes.csv")
        rows = [(step.file, step.kind, step.action) for step in done.values()]
        write_whole(partial, PLAN, to_csv(("file", "kind", "action"), rows))
    return Repaired(len(names), tuple(done.values()))


def _copy(pair: Pair, out: Path, steps: Sequence[Step], menders: Mapping[str, Mender]) -> dict[Step, Step]:
    """Writes the files of a pair, mended by the steps, below `out`: all or none. Returns each step as it was done."""
    done = {step: step for step in steps}
    written = []
    try:
        for kind, path in (("images", pair.image), ("masks", pair.mask), ("instances", pair.instances)):
            if path is not None:
                suffix, data = _copied(path, kind, done, menders)
                written.append(write_whole(out, f"{kind}/{pair.split}/{pair.name}{suffix}", data, durable=False))
    except BaseException:
        for path in written:
            path.unlink()
        raise
    return done


def _copied(path: Path, kind: str, done: dict[Step, Step], menders: Mapping[str, Mender]) -> tuple[str, bytes]:
    """The suffix and the bytes of the file, mended by its steps; notes in `done` one that could not be done for certain."""
    steps = {step.kind: step for step in done if step.file == printable(path)}
    mended = next((name for name in MENDED if name in steps), None)
    if mended is not None:
        try:
            if kind != "masks":
                raise DataError(f"{path}: holds numbers of objects, which the class table does not know.")
            return ".png", menders[mended](path)
        except DataError as error:
            done[steps[mended]] = replace(steps[mended], action=f"{AS_IT_IS}: {error}")
    elif "rotated picture" in steps:
        return ".png", encode_image(Image.fromarray(read_image(path, turn=False)), ".png")
    renamed = "wrong extension" in steps
    suffixes = SUFFIXES_OF.get(read_header(path, turn=False).format, (path.suffix,)) if renamed else (path.suffix,)
    return suffixes[0], read_bytes(path)


def _menders(masks: Sequence[Path], by_file: Mapping[str, Sequence[Step]], classes: ClassTable) -> dict[str, Mender]:
    """kind -> the bytes of a mask's mended file. Scaled masks have one factor in common, which all of them together tell."""
    scaled = [mask for mask in masks if any(step.kind == "scaled mask" for step in by_file.get(printable(mask), ()))]
    factor = _factor(scaled, classes)

    def mender(read: Callable[[Path, ClassTable, int | None], NDArray[Any]]) -> Mender:
        return lambda path: encode_labels(read(path, classes, factor), classes)

    return {kind: mender(read) for kind, (_, read) in MENDED.items()}


def _without(classes: ClassTable, names: set[str]) -> ClassTable:
    """The table without the classes of these names, as they are printed; whole where it would have none."""
    kept = [i for i, name in enumerate(classes.names) if printable(name) not in names] or list(range(len(classes)))
    chosen = ([part[i] for i in kept] for part in (classes.names, classes.colours, classes.values))
    names_, colours, values = (tuple(part) for part in chosen)
    return ClassTable(names_, colours, values, classes.void_values, classes.void_colour)  # type: ignore[arg-type]


def _of_255(path: Path, classes: ClassTable, _: int | None) -> NDArray[Any]:
    known = {value for values in classes.values for value in values}
    if known != {0, 1}:
        raise DataError(f"{path}: 255 may be any of the values {sorted(known)[:8]}; write the one that is meant.")
    return classes.decode((read_labels(path) != 0).astype(np.uint8), str(path))


def _factor(masks: Sequence[Path], classes: ClassTable) -> int | None:
    """The one factor by which all these masks are values of the table; none where several would do, or a mask cannot be read."""
    try:
        present = {int(value) for mask in masks for value in np.unique(read_labels(mask))}
    except DataError:
        return None
    known = {value for values in (*classes.values, classes.void_values) for value in values}
    common = int(np.gcd.reduce(sorted(present))) if present else 0
    fitting = [factor for factor in range(2, common + 1)
               if common % factor == 0 and {value // factor for value in present} <= known]  # fmt: skip
    return fitting[0] if len(fitting) == 1 else None


def _of_scaled(path: Path, classes: ClassTable, factor: int | None) -> NDArray[Any]:
    if factor is None:
        raise DataError(f"{path}: several factors would make its values classes of the table; divide them by the right one.")
    return classes.decode(read_labels(path) // factor, str(path))


def _of_equal(path: Path, classes: ClassTable, _: int | None) -> NDArray[Any]:
    return _of_grey(read_stored(path), path, classes)


def _of_grey(stored: NDArray[Any], path: Path, classes: ClassTable) -> NDArray[Any]:
    """Class ids by the values of equal channels (H, W, channels), which must not be other classes by their colours."""
    labels = classes.decode(stored[..., 0], str(path))
    try:
        by_colour = _by_colour(np.repeat(stored[..., :1], 3, 2), path, classes)
    except DataError:
        return labels
    if (by_colour != labels).any():
        said = "its greys are values of the table, and colours of other classes"
        raise DataError(f"{path}: {said}; write the values that are meant.")
    return labels


def _of_colours(path: Path, classes: ClassTable, _: int | None) -> NDArray[Any]:
    """Class ids by the colours of the table, void's included, each of which must stand for one class."""
    return _by_colour(read_stored(path), path, classes)


def _by_colour(stored: NDArray[Any], path: Path, classes: ClassTable) -> NDArray[Any]:
    colours = [*classes.colours, *([classes.void_colour] if classes.void_values else [])]
    ids = np.array([*range(len(classes)), classes.void])  # void is left over where it has no value
    packed = packed_colours(stored)
    table = packed_colours(np.array([colours], np.uint8))[0]
    present = np.unique(packed)
    for colour in present.tolist():
        fitting = int((table == colour).sum())
        if fitting != 1:
            said = "is the colour of several classes" if fitting else "is the colour of no class"
            raise DataError(f"{path}: {(colour >> 16, colour >> 8 & 255, colour & 255)} {said}; write values instead of colours.")
    order = np.argsort(table)
    labels: NDArray[Any] = ids[order][np.searchsorted(table[order], packed)].astype(classes.dtype)
    return labels


def _of_alpha(path: Path, classes: ClassTable, _: int | None) -> NDArray[Any]:
    """The colours where alpha is the same everywhere; alpha where the colours are, and it holds more than clear and opaque."""
    stored = read_stored(path)
    colours, alpha = stored[..., :-1], stored[..., -1]
    if not (alpha != alpha[0, 0]).any() or (colours != colours[0, 0]).any():
        if (colours == colours[..., :1]).all():
            return _of_grey(colours, path, classes)
        return _by_colour(colours, path, classes)
    if {*np.unique(alpha).tolist()} <= {0, 255}:
        raise DataError(f"{path}: its alpha is clear or opaque, which is no class; write one value per pixel.")
    return classes.decode(alpha, str(path))


def _of_values(path: Path, classes: ClassTable, _: int | None) -> NDArray[Any]:
    return classes.decode(read_labels(path), str(path))


# kind -> what is done, and how the class ids (H, W) are read, by the factor of scaled masks; DataError where that is not certain
MENDED: dict[str, tuple[str, Callable[[Path, ClassTable, int | None], NDArray[Any]]]] = {
    "0/255 mask": ("255 written as 1", _of_255),
    "scaled mask": ("values divided by their factor", _of_scaled),
    "three equal channels": ("one channel kept", _of_equal),
    "palette expanded": ("colours written as values", _of_colours),
    "alpha mask": ("alpha or colours written as values", _of_alpha),
    "16-bit mask": ("written with 8 bits", _of_values),
}
