"""check: tests whether a data set is sound. Every file is read once, and all its defects are reported together.

    report = check("street")        # a folder, or the name of a data set
    report.errors                   # () when it can be trained on

The kinds of defect stand in `defects.KINDS`. `picture_defects` and `mask_defects` find those of single files, `set_defects` those
between files, and `coco_defects` those of annotations."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from zlib_ng import zlib_ng

from perpixel.classes import ClassTable
from perpixel.datasets import DATASETS, ON_DISK, Dataset, judged_splits, label_digest, open_dataset, with_objects
from perpixel.datasets.folder import SPLITS, Pair, folder_classes, list_folder, objects_of, values_of
from perpixel.doctor import coco_defects, mask_defects, picture_defects, set_defects, unlearned
from perpixel.doctor.defects import Problem, failed, problem
from perpixel.doctor.set_defects import SampleResult
from perpixel.errors import DataError, printable
from perpixel.files import require_folder
from perpixel.images import Header, read_labels
from perpixel.machines.memory import keep_freed_memory
from perpixel.sample import Sample

THREADS = 2
COLOURED = ("RGB", "RGBA", "LA", "PA", "CMYK", "La", "RGBa", "YCbCr", "RGBX", "LAB")


@dataclass(frozen=True)
class Report:
    """The result of a check. Its fields are the keys of the JSON, but for the last."""

    problems: tuple[Problem, ...]
    class_pixels: dict[str, list[int]]  # pixels of each class by split; void is the last
    pictures: dict[str, int]  # number of listed pairs by split
    fingerprints: dict[str, str]  # by split, as `perpixel.datasets.fingerprint`; only splits of which every sample can be read
    sizes: dict[str, int]  # number of pictures by size, such as "480x640" (height x width)
    unlearned: dict[str, tuple[str, ...]] = field(default_factory=dict)  # by split, of objects that teach nothing

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.severity == "error")

    def to_json(self) -> dict[str, Any]:
        found = asdict(self)
        del found["unlearned"]  # what a training tells
        return found


def check(
    data: str | Path,
    progress: Callable[[int, int], None] | None = None,
    root: str | Path | None = None,
    splits: Sequence[str] | None = None,
    objects: bool = False,
) -> Report:
    """Checks every sample of `data`, and returns the report.

    `data` is a folder, the name of a data set, or a JSON file of annotations in COCO's form. Of a named data set the
    `judged_splits` are checked. `progress` gets the numbers of checked samples and of all samples. With `objects` those
    are counted that teach nothing.
    Raises DataError or UnknownName where there is nothing to check: no such folder, no class table, no files."""
    keep_freed_memory()
    problems: list[Problem] = []
    jobs: list[tuple[str, Callable[[], SampleResult]]]  # the split of a sample, and the function that checks it
    name = str(data)
    if name.endswith(".json"):
        problems_in_file, count = coco_defects.of_file(Path(name))
        return Report(tuple(problems_in_file), {}, {Path(name).stem: count}, {}, {})
    if name in DATASETS or name in ON_DISK:
        datasets = judged_splits(name, root, splits)
        classes, table = next(iter(datasets.values())).classes, name
        if splits is None and name in ON_DISK:
            problems += set_defects.of_splits(name, ON_DISK[name].judged, datasets)
        if objects:
            datasets = {split: with_objects(dataset) for split, dataset in datasets.items()}
        jobs = [(split, partial(_check_sample, dataset, i)) for split, dataset in datasets.items() for i in range(len(dataset))]
    else:
        root = Path(data)
        if not os.path.isdir(root):
            open_dataset(data)  # raises: no such name, no such folder
        require_folder(root, "allow it")
        classes, table = folder_classes(root), str(root / "classes.csv")
        listing = list_folder(root)
        problems += set_defects.of_listing(root, listing)
        if not listing.pairs and not problems:
            raise DataError(f"{root}: holds no pictures and masks; put them into images/ and masks/.")
        chosen_splits = SPLITS if splits is None or {*splits} <= {*SPLITS} else splits  # folds are checked alone, else all splits
        jobs = [(split, partial(_check_pair, pair, classes, objects)) for split in chosen_splits for pair in listing.of(split)]
        problems += set_defects.of_table(classes, table)

    results: list[tuple[str, SampleResult]] = []
    with ThreadPoolExecutor(THREADS) as pool:  # a worker drops its picture before it takes the next
        try:
            for (split, _), result in zip(jobs, pool.map(lambda job: job[1](), jobs), strict=True):
                results.append((split, result))
                if progress:
                    progress(len(results), len(jobs))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return _report(problems, results, classes, table, name in ON_DISK, splits is not None)


def _report(
    problems: list[Problem],
    results: list[tuple[str, SampleResult]],
    classes: ClassTable,
    table: str,
    published: bool,
    chosen: bool,
) -> Report:
    problems += [problem for _, result in results for problem in result.problems]
    class_pixels: dict[str, list[int]] = {}
    pictures: dict[str, int] = {}
    sizes: dict[str, int] = defaultdict(int)
    digests: dict[str, list[bytes | None]] = defaultdict(list)
    for split, result in results:
        pictures[split] = pictures.get(split, 0) + 1
        counts_before = class_pixels.setdefault(split, [0] * (len(classes) + 1))
        class_pixels[split] = [a + b for a, b in zip(counts_before, result.pixels or [0] * len(counts_before), strict=True)]
        digests[split].append(result.labels_digest)
        if result.size is not None:
            sizes[f"{result.size[0]}x{result.size[1]}"] += 1
    problems = set_defects.of_folders(problems, table)
    problems += set_defects.of_pictures(results, published, overlap=published and chosen)
    if any(result.pixels is not None for _, result in results):
        problems += set_defects.of_empty_masks(results, classes)
        problems += set_defects.of_classes(class_pixels, classes, table)
        problems += set_defects.of_one_class(problems, class_pixels, classes, table)
    fingerprints = {
        split: hashlib.sha256(b"".join(digest for digest in split_digests if digest)).hexdigest()
        for split, split_digests in digests.items()
        if all(split_digests)
    }
    without_lesson = {
        split: unlearned.sentences([result.unlearned for one, result in results if one == split and result.unlearned])
        for split in pictures
    }
    return Report(tuple(problems), class_pixels, pictures, fingerprints, dict(sizes), without_lesson)


def _check_pair(pair: Pair, classes: ClassTable, objects: bool) -> SampleResult:
    """Checks a pair of files. An error that they raise becomes a problem."""
    try:
        return _check_files(pair, classes, objects)
    except Exception as error:
        return SampleResult(printable(pair.image), (failed(pair.image, error),))


def _check_files(pair: Pair, classes: ClassTable, objects: bool) -> SampleResult:
    problems: list[Problem] = []
    image = header = None
    if _exists(pair.image, problems):
        image, header = picture_defects.picture(pair.image, problems)
    truths = [_read_truth(path, problems, classes) for path in pair.truths]
    for path, truth in zip(pair.truths, truths, strict=True):
        if image is not None and truth is not None:
            problems += _size_mismatch(path, image, truth, pair.image, header)
    where, mask = pair.truths[0], truths[0]
    mask = values_of(mask) if pair.mask is None and mask is not None else mask
    labels = None
    if mask is not None:
        try:
            labels = classes.decode(mask)
            problems += mask_defects.known_values(where, mask, classes)
        except DataError:
            problems += mask_defects.unknown_values(where, mask, classes)
            unknown = [value for value, *_ in classes.unknown_values(mask)]
            labels = classes.decode(mask[~np.isin(mask, unknown)])  # the other pixels still count
    if pair.instances is not None and truths[-1] is not None:
        labels_of_mask = labels if pair.mask is not None and labels is not None and labels.ndim == 2 else None
        problems += mask_defects.of_objects(pair.instances, truths[-1], labels_of_mask, classes)
    result = _result_of(printable(pair.image), where, problems, pair.name, image, labels, classes)
    if not objects or pair.instances is None or result.labels_digest is None or labels is None or truths[-1] is None:
        return result
    numbered = objects_of(truths[-1], labels, classes, drawn=pair.mask is None)
    return replace(result, unlearned=(pair.name, unlearned.of_objects(numbered, classes.background)))


def _check_sample(dataset: Dataset, index: int) -> SampleResult:
    name = printable(f"{dataset.split}/{dataset.name(index)}")
    try:
        sample = dataset.sample(index)
        if sample.labels is None:
            raise DataError(f"{name}: has no labels; add its mask.")
        problems = _size_mismatch(name, sample.image, sample.labels)
        result = _result_of(name, name, problems, sample.name, sample.image, sample.labels, dataset.classes)
    except Exception as error:
        return SampleResult(name, (failed(name, error),))
    # Published sets are known to have pictures without objects.
    problems = [defect for defect in result.problems if defect.kind != "nothing but background"]
    nothing = None
    if sample.instances is not None:
        nothing = sample.name, unlearned.of_objects(sample.instances, dataset.classes.background)
    return replace(result, problems=tuple(problems), unlearned=nothing)


def _result_of(
    file: str,
    mask: Path | str,
    problems: list[Problem],
    name: str,
    image: NDArray[np.uint8] | None,
    labels: NDArray[Any] | None,
    classes: ClassTable,
) -> SampleResult:
    pixels = picture_digest = labels_digest = mask_digest = thumbnail = None
    if labels is not None:
        counts = _counts(labels, classes.void + 1)
        pixels = [*counts[: len(classes)].tolist(), int(counts[classes.void])]
        if labels.ndim == 2:
            problems = problems + mask_defects.of_labels(Path(mask), labels, counts, classes)
            mask_digest = _digest(labels, counts)
    if image is not None:
        thumbnail = picture_defects.thumbnail(image)
        picture_digest = _digest(image, thumbnail)
    if image is not None and labels is not None and not any(problem.severity == "error" for problem in problems):
        labels_digest = label_digest(Sample(name, image, labels))
    return SampleResult(
        file, tuple(problems), pixels, picture_digest, labels_digest, mask_digest,
        None if image is None else (image.shape[0], image.shape[1]),
        None if image is None else picture_defects.is_grey(image),
        thumbnail,
    )  # fmt: skip


def _counts(labels: NDArray[Any], values: int) -> NDArray[np.int64]:
    """The number of pixels of each value 0..values - 1. It sums the lengths of runs, because a label map has few runs."""
    flat = labels.ravel()
    first = np.ones(flat.size, np.bool_)
    first[1:] = flat[1:] != flat[:-1]
    starts = np.flatnonzero(first)
    return np.bincount(flat[starts], np.diff(starts, append=flat.size), values).astype(np.int64)


def _digest(pixels: NDArray[Any], summary: NDArray[Any]) -> bytes:
    """A digest that differs for different `pixels`, from a CRC-32 of the pixels and a `summary` of them.

    SHA-256 of all pixels would take ten times as long."""
    checksum = zlib_ng.crc32(np.ascontiguousarray(pixels).data.cast("B"))
    return hashlib.sha256(f"{pixels.shape}{checksum}".encode() + summary.tobytes()).digest()


def _exists(path: Path, problems: list[Problem]) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        clause = "is listed in pairs.csv, but there is no such file"
        problems.append(problem("unpaired", path, clause, "add it or take its row out"))
        return False
    except OSError:  # a name that is too long, or a folder without permission: reading the file reports it
        pass
    return True


def _read_truth(path: Path, problems: list[Problem], classes: ClassTable) -> NDArray[Any] | None:
    """The stored values of a mask or of a map of instances. None where they cannot be used; then `problems` says why."""
    if not _exists(path, problems):
        return None
    header = picture_defects.header_of(path, problems, turn=False)
    if header is None:
        return None
    if header.lossy or header.mode in COLOURED:
        try:
            problems += mask_defects.coloured(path, header, classes)
        except DataError as error:
            problems.append(failed(path, error, "damaged"))
        return None
    mask = picture_defects.read(read_labels, path, problems)
    if mask is not None and (header.pages > 1 or header.unread):
        problems += [
            defect for defect in picture_defects.left_out(path, header) if defect.kind in ("several pages", "further bands")
        ]
    return mask


def _size_mismatch(
    file: Path | str, image: NDArray[Any], mask: NDArray[Any], picture: Path | None = None, header: Header | None = None
) -> list[Problem]:
    (height, width), (mask_height, mask_width) = image.shape[:2], mask.shape
    turned = header.orientation if header is not None else 1
    if (
        picture is not None
        and (mask_height, mask_width) == (width, height) != (height, width)
        and turned in picture_defects.TURNED
    ):
        sizes = f"is {height}x{width} as its rotation tag ({turned}) says, but its mask is {mask_height}x{mask_width}"
        clause = f"{sizes} (height x width)"
        return [problem("rotated picture", picture, clause)]
    if (height, width) != (mask_height, mask_width):
        return [
            problem("size mismatch", file, f"is {mask_height}x{mask_width}, its picture is {height}x{width} (height x width)")
        ]
    if picture is not None and turned != 1:
        clause = f"has the rotation tag {turned}, and a mask of its size; whether the mask is turned too, no one can say"
        return [problem("mirrored picture", picture, clause)]
    return []
