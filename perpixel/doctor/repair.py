"""check --fix: writes a repaired copy of a folder. The folder itself never changes.

    plan = plan_repair(root, check(root))          # the steps: a file, its kind of defect, and the repair
    done = repair(root, plan, Path("street-fixed"))  # a whole copy or none: images/, masks/, instances/, classes.csv, plan.csv

Only certain repairs are made: of values and tags that were written in another way, and of names. Values that compression or
interpolation has changed cannot be computed again, so such a mask is copied unchanged and the plan says so. A pair that cannot be
used is left out. A picture of `train` that is also in another split is left out too. All other files are copied unchanged, and a
person decides."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from perpixel.bands import FILE
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
    """A step of the repair, for a file or a class."""

    file: str  # or the name of a class
    kind: str  # of the defect
    action: str  # in words: left out, renamed, how pixels are written anew, or why they are not


def require_new(out: Path) -> None:
    """Raises UsageError where `out` exists already. Call it first, so that nobody waits minutes for the check."""
    if os.path.lexists(out):
        raise UsageError(f"{out}: exists already; name a new folder.")


def plan_repair(root: Path, report: Report) -> list[Step]:
    """The steps, in the order of the report's problems. A problem that only a person can decide has no step."""
    steps = []
    train = {printable(pair.image) for pair in list_folder(Path(root)).pairs if pair.split == "train"}
    for defect in report.problems:
        if defect.kind in UNUSABLE:
            steps.append(Step(defect.file, defect.kind, LEFT_OUT))
        elif defect.kind in LEAKS:
            file = defect.other if defect.other in train and defect.file not in train else defect.file
            steps.append(Step(file, defect.kind, LEFT_OUT))
        elif defect.kind == "rotated picture":
            steps.append(Step(defect.file, defect.kind, "written as its pixels lie, without the tag"))
        elif defect.kind == "wrong extension":
            steps.append(Step(defect.file, defect.kind, "renamed"))
        elif defect.kind in MENDED:
            steps.append(Step(defect.file, defect.kind, MENDED[defect.kind][0]))
        elif defect.kind in LOST:
            steps.append(
                Step(defect.file, defect.kind, f"{AS_IT_IS}: lost values cannot be restored for certain; export it again")
            )
        elif defect.kind == "empty class" and not any(other.kind in LOST or other.kind in MENDED for other in report.problems):
            steps.append(Step(str(defect.value), defect.kind, "class left out of classes.csv"))
    return steps


@dataclass(frozen=True)
class Repaired:
    """The number of pairs in the copy, and the steps. A step that could not be done says why."""

    pairs: int
    steps: tuple[Step, ...]


def repair(root: Path, steps: Sequence[Step], out: Path) -> Repaired:
    """Writes the copy, whole or not at all. Raises UsageError where `out` exists already.

    A pair whose files cannot be read or written is left out. A mask without a certain repair is copied unchanged."""
    root, out = Path(root), Path(out)
    classes, pairs = folder_classes(root), list_folder(root).pairs
    by_file: dict[str, list[Step]] = {}
    for step in steps:
        by_file.setdefault(step.file, []).append(step)
    done, names = {step: step for step in steps}, set[tuple[str, str]]()
    with new_folder(out) as partial:
        menders = _menders([pair.mask for pair in pairs if pair.mask], by_file, classes)
        for pair in pairs:
            steps_of_pair = [step for path in (pair.image, *pair.truths) for step in by_file.get(printable(path), ())]
            if any(step.action == LEFT_OUT for step in steps_of_pair):
                continue
            try:
                if (pair.split, pair.name) in names:
                    raise DataError(f"{pair.image}: another picture has its name; rename one.")
                done |= _copy(pair, partial, steps_of_pair, menders)
            except Exception as error:
                message = failure_of(pair.image, error)
                if message is None:
                    raise
                step = Step(printable(pair.image), "failed", f"{LEFT_OUT}: {printable(message)}")
                done[step] = step
                continue
            names.add((pair.split, pair.name))
        _table_without(classes, {step.file for step in steps if step.kind == "empty class"}).write_csv(partial / "classes.csv")
        if os.path.isfile(root / FILE):
            write_whole(partial, FILE, read_bytes(root / FILE))
        rows = [(step.file, step.kind, step.action) for step in done.values()]
        write_whole(partial, PLAN, to_csv(("file", "kind", "action"), rows))
    return Repaired(len(names), tuple(done.values()))


def _copy(pair: Pair, out: Path, steps: Sequence[Step], menders: Mapping[str, Mender]) -> dict[Step, Step]:
    """Writes the repaired files of a pair below `out`: all or none. Returns each planned step with the step that was done."""
    done = {step: step for step in steps}
    written = []
    try:
        for kind, path in (("images", pair.image), ("masks", pair.mask), ("instances", pair.instances)):
            if path is not None:
                suffix, data = _repaired_file(path, kind, done, menders)
                written.append(write_whole(out, f"{kind}/{pair.split}/{pair.name}{suffix}", data, durable=False))
    except BaseException:
        for path in written:
            path.unlink()
        raise
    return done


def _repaired_file(path: Path, kind: str, done: dict[Step, Step], menders: Mapping[str, Mender]) -> tuple[str, bytes]:
    """The suffix and the bytes of a file after its steps. Replaces a step in `done` that has no certain repair."""
    steps = {step.kind: step for step in done if step.file == printable(path)}
    mended_kind = next((name for name in MENDED if name in steps), None)
    if mended_kind is not None:
        try:
            if kind != "masks":
                raise DataError(f"{path}: holds numbers of objects, which the class table does not know.")
            return ".png", menders[mended_kind](path)
        except DataError as error:
            done[steps[mended_kind]] = replace(steps[mended_kind], action=f"{AS_IT_IS}: {error}")
    elif "rotated picture" in steps:
        return ".png", encode_image(Image.fromarray(read_image(path, turn=False)), ".png")
    renamed = "wrong extension" in steps
    suffixes = SUFFIXES_OF.get(read_header(path, turn=False).format, (path.suffix,)) if renamed else (path.suffix,)
    return suffixes[0], read_bytes(path)


def _menders(masks: Sequence[Path], by_file: Mapping[str, Sequence[Step]], classes: ClassTable) -> dict[str, Mender]:
    """For each kind of defect, the function that returns the bytes of the repaired file of a mask.

    All scaled masks have the same factor, which is found from all of them together."""
    scaled = [mask for mask in masks if any(step.kind == "scaled mask" for step in by_file.get(printable(mask), ()))]
    factor = _factor(scaled, classes)

    def mender(read: Callable[[Path, ClassTable, int | None], NDArray[Any]]) -> Mender:
        return lambda path: encode_labels(read(path, classes, factor), classes)

    return {kind: mender(read) for kind, (_, read) in MENDED.items()}


def _table_without(classes: ClassTable, names: set[str]) -> ClassTable:
    """The table without the classes of these printed names. The whole table where no class would be left."""
    kept = [i for i, name in enumerate(classes.names) if printable(name) not in names] or list(range(len(classes)))
    chosen = ([part[i] for i in kept] for part in (classes.names, classes.colours, classes.values))
    kept_names, colours, values = (tuple(part) for part in chosen)
    return ClassTable(kept_names, colours, values, classes.void_values, classes.void_colour)  # type: ignore[arg-type]


def _of_255(path: Path, classes: ClassTable, _: int | None) -> NDArray[Any]:
    table_values = {value for values in classes.values for value in values}
    if table_values != {0, 1}:
        raise DataError(f"{path}: 255 may be any of the values {sorted(table_values)[:8]}; write the one that is meant.")
    return classes.decode((read_labels(path) != 0).astype(np.uint8), str(path))


def _factor(masks: Sequence[Path], classes: ClassTable) -> int | None:
    """The only factor that makes all values of these masks values of the table.

    None where several factors fit, or where a mask cannot be read."""
    try:
        present = {int(value) for mask in masks for value in np.unique(read_labels(mask))}
    except DataError:
        return None
    table_values = {value for values in (*classes.values, classes.void_values) for value in values}
    common = int(np.gcd.reduce(sorted(present))) if present else 0
    matches = [factor for factor in range(2, common + 1)
               if common % factor == 0 and {value // factor for value in present} <= table_values]  # fmt: skip
    return matches[0] if len(matches) == 1 else None


def _of_scaled(path: Path, classes: ClassTable, factor: int | None) -> NDArray[Any]:
    if factor is None:
        raise DataError(f"{path}: several factors would make its values classes of the table; divide them by the right one.")
    return classes.decode(read_labels(path) // factor, str(path))


def _of_equal(path: Path, classes: ClassTable, _: int | None) -> NDArray[Any]:
    return _of_grey(read_stored(path), path, classes)


def _of_grey(stored: NDArray[Any], path: Path, classes: ClassTable) -> NDArray[Any]:
    """Class ids by the values of equal channels (H, W, channels). Raises DataError where the greys are colours of other
    classes."""
    labels = classes.decode(stored[..., 0], str(path))
    try:
        by_colour = _by_colour(np.repeat(stored[..., :1], 3, 2), path, classes)
    except DataError:
        return labels
    if (by_colour != labels).any():
        clause = "its greys are values of the table, and colours of other classes"
        raise DataError(f"{path}: {clause}; write the values that are meant.")
    return labels


def _of_colours(path: Path, classes: ClassTable, _: int | None) -> NDArray[Any]:
    """Class ids by the colours of the table, with that of void. Raises DataError for a colour that is not of exactly one
    class."""
    return _by_colour(read_stored(path), path, classes)


def _by_colour(stored: NDArray[Any], path: Path, classes: ClassTable) -> NDArray[Any]:
    colours = [*classes.colours, *([classes.void_colour] if classes.void_values else [])]
    ids = np.array([*range(len(classes)), classes.void])  # the last id is not used where void has no value
    packed = packed_colours(stored)
    table = packed_colours(np.array([colours], np.uint8))[0]
    present = np.unique(packed)
    for colour in present.tolist():
        matches = int((table == colour).sum())
        if matches != 1:
            clause = "is the colour of several classes" if matches else "is the colour of no class"
            raise DataError(
                f"{path}: {(colour >> 16, colour >> 8 & 255, colour & 255)} {clause}; write values instead of colours."
            )
    order = np.argsort(table)
    labels: NDArray[Any] = ids[order][np.searchsorted(table[order], packed)].astype(classes.dtype)
    return labels


def _of_alpha(path: Path, classes: ClassTable, _: int | None) -> NDArray[Any]:
    """Class ids by the colours where alpha is constant or colours differ; else by alpha, if it has more than clear and opaque."""
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


# kind of defect -> the repair in words, and the function that reads the class ids (H, W). It takes the path, the class table and
# the factor of scaled masks, and raises DataError where the repair is not certain.
MENDED: dict[str, tuple[str, Callable[[Path, ClassTable, int | None], NDArray[Any]]]] = {
    "0/255 mask": ("255 written as 1", _of_255),
    "scaled mask": ("values divided by their factor", _of_scaled),
    "three equal channels": ("one channel kept", _of_equal),
    "palette expanded": ("colours written as values", _of_colours),
    "alpha mask": ("alpha or colours written as values", _of_alpha),
    "16-bit mask": ("written with 8 bits", _of_values),
}
