"""check: is this data set sound? Every file is read once, and everything wrong with it is told at once.

    report = check("street")        # a folder, or the name of a data set
    report.errors                   # () when it can be trained on

Errors make scores wrong or training impossible; warnings are for a person to look at."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from perpixel.classes import ClassTable
from perpixel.datasets import DATASETS, ON_DISK, Dataset, judged_splits, label_digest, open_dataset
from perpixel.datasets.folder import SPLITS, Listing, Pair, files_below, folder_classes, list_folder, truth_folders, values_of
from perpixel.errors import DataError
from perpixel.images import PICTURE_SUFFIXES, read_image, read_labels
from perpixel.sample import Sample

THREADS = 2
Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Problem:
    """`kind` is one of: unpaired, doubly paired, size mismatch, unknown value, unreadable, empty class, leak, duplicate."""

    kind: str
    severity: Severity
    file: str
    message: str


@dataclass(frozen=True)
class Report:
    """`class_pixels` counts pixels by split and class, void last; `pictures` counts the pairs that are listed.

    `fingerprints` are those of `perpixel.datasets.fingerprint`, for splits where every sample can be read."""

    problems: tuple[Problem, ...]
    class_pixels: dict[str, list[int]]
    pictures: dict[str, int]
    fingerprints: dict[str, str]

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.severity == "error")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class _Look:
    """What is kept of one sample. Without `labels_digest` the sample cannot be used; without `pixels` its mask was not read."""

    file: str
    problems: tuple[Problem, ...]
    pixels: list[int] | None
    picture_digest: bytes | None
    labels_digest: bytes | None


def check(
    data: str | Path,
    progress: Callable[[int, int], None] | None = None,
    root: str | Path | None = None,
    splits: Sequence[str] | None = None,
) -> Report:
    """Looks at every sample of a folder, or of the `judged_splits` of a data set's name; `progress` gets (done, all).

    Raises DataError or UnknownName where there is nothing to look at: no such folder, no class table, no files."""
    problems: list[Problem] = []
    jobs: list[tuple[str, Callable[[], _Look]]]  # split, what to do
    name = str(data)
    if name in DATASETS or name in ON_DISK:
        opened = judged_splits(name, root, splits)
        classes, table = next(iter(opened.values())).classes, name
        jobs = [(split, partial(_look_at_sample, one, i)) for split, one in opened.items() for i in range(len(one))]
    else:
        root = Path(data)
        if not root.is_dir():
            open_dataset(data)  # raises: no such name, no such folder
        classes, table = folder_classes(root), str(root / "classes.csv")
        listing = list_folder(root)
        problems += _problems_of_listing(root, listing)
        if not listing.pairs and not problems:
            raise DataError(f"{root}: holds no pictures and masks; put them into images/ and masks/.")
        looked_at = SPLITS if splits is None or {*splits} <= {*SPLITS} else splits  # folds, or all there is
        jobs = [(split, partial(_look_at_pair, pair, classes)) for split in looked_at for pair in listing.of(split)]

    looks: list[tuple[str, _Look]] = []
    with ThreadPoolExecutor(THREADS) as pool:  # a worker drops its picture before it takes the next
        try:
            for (split, _), look in zip(jobs, pool.map(lambda job: job[1](), jobs), strict=True):
                looks.append((split, look))
                if progress:
                    progress(len(looks), len(jobs))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return _report(problems, looks, classes, table, "warning" if name in ON_DISK else "error")


def _report(
    problems: list[Problem], looks: list[tuple[str, _Look]], classes: ClassTable, table: str, leak: Severity
) -> Report:
    problems += [problem for _, look in looks for problem in look.problems]
    class_pixels: dict[str, list[int]] = {}
    pictures: dict[str, int] = {}
    digests: dict[str, list[bytes | None]] = defaultdict(list)
    for split, look in looks:
        pictures[split] = pictures.get(split, 0) + 1
        before = class_pixels.setdefault(split, [0] * (len(classes) + 1))
        class_pixels[split] = [a + b for a, b in zip(before, look.pixels or [0] * len(before), strict=True)]
        digests[split].append(look.labels_digest)
    problems += _same_pictures(looks, leak)
    if any(look.pixels is not None for _, look in looks):
        problems += _empty_classes(class_pixels, classes, table)
    fingerprints = {
        split: hashlib.sha256(b"".join(one for one in ones if one)).hexdigest() for split, ones in digests.items() if all(ones)
    }
    return Report(tuple(problems), class_pixels, pictures, fingerprints)


def _look_at_pair(pair: Pair, classes: ClassTable) -> _Look:
    problems: list[Problem] = []
    image = _read(read_image, pair.image, problems)
    truths = [_read(read_labels, path, problems) for path in pair.truths]
    for path, truth in zip(pair.truths, truths, strict=True):
        problems += [] if image is None or truth is None else _size_mismatch(path, image, truth)
    where, mask = pair.truths[0], truths[0]
    mask = values_of(mask) if pair.mask is None and mask is not None else mask
    labels = None
    if mask is not None:
        unknown = classes.unknown_values(mask)
        for value, row, column, count in unknown:
            said = f"value {value} at row {row}, column {column} ({count} pixels) is in no class"
            problems.append(_error("unknown value", where, f"{said}; add it to classes.csv or correct the mask."))
        known = ~np.isin(mask, [value for value, *_ in unknown]) if unknown else ...
        labels = classes.decode(mask[known], str(where))  # the other pixels still count
    return _look(str(pair.image), tuple(problems), pair.name, image, labels, classes)


def _look_at_sample(dataset: Dataset, index: int) -> _Look:
    name = f"{dataset.split}/{dataset.name(index)}"
    try:
        sample = dataset.sample(index)
        if sample.labels is None:
            raise DataError(f"{name}: has no labels; add its mask.")
    except DataError as error:
        return _Look(name, (Problem("unreadable", "error", name, str(error)),), None, None, None)
    problems = _size_mismatch(name, sample.image, sample.labels)
    return _look(name, tuple(problems), sample.name, sample.image, sample.labels, dataset.classes)


def _look(
    file: str,
    problems: tuple[Problem, ...],
    name: str,
    image: NDArray[np.uint8] | None,
    labels: NDArray[Any] | None,
    classes: ClassTable,
) -> _Look:
    pixels = picture_digest = labels_digest = None
    if labels is not None:
        counts = np.bincount(labels.ravel(), minlength=classes.void + 1).tolist()
        pixels = [*counts[: len(classes)], counts[classes.void]]
    if image is not None:
        pixels_of_picture = hashlib.sha256(f"{image.shape}\0".encode())
        pixels_of_picture.update(np.ascontiguousarray(image).data)
        picture_digest = pixels_of_picture.digest()
    if image is not None and labels is not None and not problems:
        labels_digest = label_digest(Sample(name, image, labels))
    return _Look(file, problems, pixels, picture_digest, labels_digest)


def _problems_of_listing(root: Path, listing: Listing) -> list[Problem]:
    listed = (root / "pairs.csv").is_file()
    folders = " and ".join(f"{kind}/" for kind in truth_folders(root))
    problems = [_error("unpaired", path, f"has no mask of the same name; add it to {folders} or take the picture out.")
                for path in listing.lonely_images]  # fmt: skip
    problems += [_error("unpaired", path, "has no picture of the same name; add it to images/ or take the mask out.")
                 for path in listing.lonely_masks]  # fmt: skip
    for first, *others in listing.doubles:
        names = ", ".join(dict.fromkeys(other.name for other in others))
        said = f"is in more than one row of pairs.csv (with {names})" if listed else f"has the same name as {names}"
        problems.append(_error("doubly paired", first, f"{said}; keep one."))
    known = {path for pair in listing.pairs for path in (pair.image, *pair.truths)}
    known |= {path for paths in (listing.lonely_images, listing.lonely_masks, *listing.doubles) for path in paths}
    left: dict[Path, list[str]] = defaultdict(list)
    for folder in [root] if listed else [root / "images", *(root / kind for kind in truth_folders(root))]:
        for path in sorted(path for paths in files_below(folder, PICTURE_SUFFIXES).values() for path in paths):
            if path not in known:
                left[path.parent].append(path.name)
    reason = "are not listed in pairs.csv" if listed else f"belong to no split ({', '.join(SPLITS)})"
    for folder, files in left.items():
        some = ", ".join(files[:3]) + (", ..." if len(files) > 3 else "")
        said = f"{folder}: {len(files)} files here {reason} and are not used ({some}); add them or leave them out."
        problems.append(Problem("unpaired", "warning", str(folder), said))
    return problems


def _same_pictures(looks: list[tuple[str, _Look]], leak: Severity) -> list[Problem]:
    """A leak: equal pixels in two splits, an error unless the splits are published ones. Twice in one split is a warning."""
    problems = []
    seen: dict[bytes, dict[str, str]] = defaultdict(dict)  # digest -> split -> first file
    for split, look in looks:
        if look.picture_digest is None:
            continue
        earlier = seen[look.picture_digest]
        for other, file in earlier.items():
            if other == split:
                said = f"{look.file}: shows the same pixels as {file}, both in {split}; keep one unless it shall count twice."
                problems.append(Problem("duplicate", "warning", look.file, said))
            else:
                said = f"is in {split} and shows the same pixels as {file} in {other}; take it out of one of the two."
                problems.append(Problem("leak", leak, look.file, f"{look.file}: {said}"))
        earlier.setdefault(split, look.file)
    return problems


def _empty_classes(class_pixels: dict[str, list[int]], classes: ClassTable, table: str) -> list[Problem]:
    problems = []
    for class_id, name in enumerate(classes.names):
        present = {split: pixels[class_id] > 0 for split, pixels in class_pixels.items()}
        if not any(present.values()):
            said = f"class {name!r} has no pixel in any mask; take its row out or add masks that show it."
            problems.append(_error("empty class", table, said))
        elif present.get("train", True) != present.get("val", True):
            here, there = ("train", "val") if present.get("train", True) else ("val", "train")
            said = f"{table}: class {name!r} is in {here} but not in {there}; move a picture that shows it to {there}."
            problems.append(Problem("empty class", "warning", table, said))
    return problems


def _size_mismatch(file: Path | str, image: NDArray[Any], mask: NDArray[Any]) -> list[Problem]:
    (height, width), (high, wide) = image.shape[:2], mask.shape
    said = f"is {high}x{wide}, its picture is {height}x{width} (height x width); give both the same size."
    return [] if (height, width) == (high, wide) else [_error("size mismatch", file, said)]


def _read(reader: Callable[[Path], NDArray[Any]], path: Path, problems: list[Problem]) -> NDArray[Any] | None:
    try:
        return reader(path)
    except DataError as error:
        if path.exists():
            problems.append(Problem("unreadable", "error", str(path), str(error)))
        else:
            said = "is listed in pairs.csv, but there is no such file; add it or take its row out."
            problems.append(_error("unpaired", path, said))
    return None


def _error(kind: str, file: Path | str, said: str) -> Problem:
    return Problem(kind, "error", str(file), f"{file}: {said}")
