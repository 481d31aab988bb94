"""check --fix: a repaired copy of a folder; the folder itself is never touched.

    plan = plan_repair(root, check(root))      # what would be done to which file, and why
    repair(root, plan, Path("street-fixed"))   # writes plan.csv first, then images/, masks/, instances/, classes.csv

What can be put right without a person is: values and tags that were written in another way, and names. A pair that cannot be used
is left out, as is a picture of `train` that is in another split too. All else is copied as it is, for a person to decide."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from perpixel.check import Report
from perpixel.classes import ClassTable
from perpixel.datasets.folder import folder_classes, list_folder
from perpixel.errors import UsageError, printable
from perpixel.files import read_bytes, write_whole
from perpixel.images import read_header, read_labels, read_stored, write_image, write_labels
from perpixel.picture_defects import SUFFIXES_OF
from perpixel.tables import to_csv

PLAN = "plan.csv"
UNUSABLE = frozenset(
    {"empty file", "damaged", "unreadable", "size mismatch", "photo as mask", "unpaired", "all void", "duplicate"}
)
LEAKS = frozenset({"leak", "near leak"})
LEFT_OUT = "left out, with its partner"


@dataclass(frozen=True)
class Step:
    """What is done to a file, or to a class by its name: left out, renamed, or how pixels are written anew."""

    file: str
    kind: str
    action: str


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
        elif one.kind == "empty class" and not any(other.kind in MENDED for other in report.problems):
            steps.append(Step(str(one.value), one.kind, "class left out of classes.csv"))
    return steps


def repair(root: Path, steps: Sequence[Step], out: Path) -> int:
    """Writes the plan, then the copy; returns how many pairs it has. Raises UsageError where `out` is there already."""
    root, out = Path(root), Path(out)
    if out.exists():
        raise UsageError(f"{out}: is there already; name a folder that is not.")
    write_whole(out, PLAN, to_csv(("file", "kind", "action"), [(step.file, step.kind, step.action) for step in steps]))
    classes = folder_classes(root)
    by_file: dict[str, list[Step]] = {}
    for step in steps:
        by_file.setdefault(step.file, []).append(step)
    _without(classes, {step.file for step in steps if step.kind == "empty class"}).write_csv(out / "classes.csv")
    count = 0
    for pair in list_folder(root).pairs:
        files = {"images": pair.image, **({"masks": pair.mask} if pair.mask else {}),
                 **({"instances": pair.instances} if pair.instances else {})}  # fmt: skip
        if any(step.action == LEFT_OUT for path in files.values() for step in by_file.get(printable(path), ())):
            continue
        for kind, path in files.items():
            _copy(path, out / kind / pair.split, pair.name, by_file.get(printable(path), []), classes)
        count += 1
    return count


def _copy(path: Path, folder: Path, name: str, steps: Sequence[Step], classes: ClassTable) -> None:
    """The file, mended by the steps, below `folder` as `name` with the suffix that fits."""
    kinds = {step.kind for step in steps}
    mended = next((kind for kind in MENDED if kind in kinds), None)
    if mended is not None:
        labels = MENDED[mended][1](path, classes)
        write_labels(folder, f"{name}.png", labels, classes)
    elif "rotated picture" in kinds:
        stored = read_stored(path)
        write_image(folder, f"{name}.png", np.ascontiguousarray(stored[..., :3]) if stored.ndim == 3 else stored)
    else:
        renamed = "wrong extension" in kinds
        suffixes = SUFFIXES_OF.get(read_header(path, turn=False).format, (path.suffix,)) if renamed else (path.suffix,)
        write_whole(folder, name + suffixes[0], read_bytes(path), durable=False)


def _without(classes: ClassTable, names: set[str]) -> ClassTable:
    """The table without the classes of these names; whole where it would have none."""
    kept = [i for i, name in enumerate(classes.names) if name not in names] or list(range(len(classes)))
    chosen = ([part[i] for i in kept] for part in (classes.names, classes.colours, classes.values))
    names_, colours, values = (tuple(part) for part in chosen)
    return ClassTable(names_, colours, values, classes.void_values, classes.void_colour)  # type: ignore[arg-type]


def _of_255(path: Path, classes: ClassTable) -> NDArray[Any]:
    return classes.decode((read_labels(path) != 0).astype(np.uint8))


def _of_scaled(path: Path, classes: ClassTable) -> NDArray[Any]:
    mask = read_labels(path)
    return classes.decode(mask // np.gcd.reduce(np.unique(mask)))


def _of_equal(path: Path, classes: ClassTable) -> NDArray[Any]:
    return _nearest_known(read_stored(path)[..., 0], classes)


def _of_colours(path: Path, classes: ClassTable) -> NDArray[Any]:
    """Class ids by the nearest colour of the table, void's included."""
    stored = read_stored(path)
    if stored.ndim == 2:
        values = np.array([value for values in (*classes.values, classes.void_values) for value in values])
        nearest = np.abs(np.arange(65536)[:, None] - values).argmin(1)
        return classes.decode(values[nearest[stored]])
    labels = np.empty(stored.shape[:2], classes.dtype)
    palette = classes.palette.astype(np.int32)
    ids = np.array([*range(len(classes)), classes.void])
    for row, pixels in enumerate(stored[..., :3].astype(np.int32)):
        labels[row] = ids[((pixels[:, None] - palette) ** 2).sum(2).argmin(1)]
    return labels


def _of_alpha(path: Path, classes: ClassTable) -> NDArray[Any]:
    """Alpha where the colours are all alike, else the colours."""
    stored = read_stored(path)
    colours = stored[..., :-1]
    if not (colours != colours[0, 0]).any():
        return _nearest_known(stored[..., -1], classes)
    return _nearest_known(colours[..., 0], classes) if colours.shape[2] == 1 else _of_colours(path, classes)


def _of_values(path: Path, classes: ClassTable) -> NDArray[Any]:
    return _nearest_known(read_labels(path), classes)


def _nearest_known(mask: NDArray[Any], classes: ClassTable) -> NDArray[Any]:
    """Class ids of a mask (H, W) whose pixels of no class take the class of the nearest pixel that has one."""
    unknown = np.isin(mask, [value for value, *_ in classes.unknown_values(mask)])
    if unknown.any() and not unknown.all():
        rows, columns = ndimage.distance_transform_edt(unknown, return_distances=False, return_indices=True)
        mask = mask[rows, columns]
    return classes.decode(mask)


# kind -> what is done, and how the class ids (H, W) are read
MENDED: dict[str, tuple[str, Callable[[Path, ClassTable], NDArray[Any]]]] = {
    "0/255 mask": ("255 written as 1", _of_255),
    "scaled mask": ("values divided by their factor", _of_scaled),
    "three equal channels": ("one channel kept", _of_equal),
    "palette expanded": ("colours written as values", _of_colours),
    "JPEG mask": ("each pixel written as the nearest class of the table", _of_colours),
    "alpha mask": ("alpha or colours written as values", _of_alpha),
    "interpolated mask": ("pixels of no class written as the nearest class", _of_values),
    "16-bit mask": ("written with 8 bits", _of_values),
}
