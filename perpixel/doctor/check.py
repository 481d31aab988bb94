"""check: is this data set sound? Every file is read once, and everything wrong with it is told at once.

    report = check("street")        # a folder, or the name of a data set
    report.errors                   # () when it can be trained on

What can be wrong stands in `defects.KINDS`. What is found in one file comes from `picture_defects` and `mask_defects`, what is
found between files from `set_defects`, and in annotations from `coco_defects`."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from zlib_ng import zlib_ng

from perpixel.classes import ClassTable
from perpixel.datasets import DATASETS, ON_DISK, Dataset, judged_splits, label_digest, open_dataset
from perpixel.datasets.folder import SPLITS, Pair, folder_classes, list_folder, values_of
from perpixel.doctor import coco_defects, mask_defects, picture_defects, set_defects
from perpixel.doctor.defects import Problem, failed, problem
from perpixel.doctor.set_defects import Look
from perpixel.errors import DataError, printable
from perpixel.files import require_folder
from perpixel.images import Header, read_labels
from perpixel.machines.memory import keep_freed_memory
from perpixel.sample import Sample

THREADS = 2
COLOURED = ("RGB", "RGBA", "LA", "PA", "CMYK", "La", "RGBa", "YCbCr", "RGBX", "LAB")


@dataclass(frozen=True)
class Report:
    """`class_pixels` counts pixels by split and class, void last; `pictures` counts the pairs that are listed, `sizes` the
    pictures of each height and width.

    `fingerprints` are those of `perpixel.datasets.fingerprint`, for splits where every sample can be read."""

    problems: tuple[Problem, ...]
    class_pixels: dict[str, list[int]]
    pictures: dict[str, int]
    fingerprints: dict[str, str]
    sizes: dict[str, int]

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.severity == "error")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def check(
    data: str | Path,
    progress: Callable[[int, int], None] | None = None,
    root: str | Path | None = None,
    splits: Sequence[str] | None = None,
) -> Report:
    """Looks at every sample of a folder, or of the `judged_splits` of a data set's name; or at a JSON file of annotations in
    COCO's form and its pictures. `progress` gets (done, all).

    Raises DataError or UnknownName where there is nothing to look at: no such folder, no class table, no files."""
    keep_freed_memory()
    problems: list[Problem] = []
    jobs: list[tuple[str, Callable[[], Look]]]  # split, what to do
    name = str(data)
    if name.endswith(".json"):
        found, count = coco_defects.of_file(Path(name))
        return Report(tuple(found), {}, {Path(name).stem: count}, {}, {})
    if name in DATASETS or name in ON_DISK:
        opened = judged_splits(name, root, splits)
        classes, table = next(iter(opened.values())).classes, name
        if splits is None and name in ON_DISK:
            problems += set_defects.of_splits(name, ON_DISK[name].judged, opened)
        jobs = [(split, partial(_look_at_sample, one, i)) for split, one in opened.items() for i in range(len(one))]
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
        looked_at = SPLITS if splits is None or {*splits} <= {*SPLITS} else splits  # folds, or all there is
        jobs = [(split, partial(_look_at_pair, pair, classes)) for split in looked_at for pair in listing.of(split)]
        problems += set_defects.of_table(classes, table)

    looks: list[tuple[str, Look]] = []
    with ThreadPoolExecutor(THREADS) as pool:  # a worker drops its picture before it takes the next
        try:
            for (split, _), look in zip(jobs, pool.map(lambda job: job[1](), jobs), strict=True):
                looks.append((split, look))
                if progress:
                    progress(len(looks), len(jobs))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return _report(problems, looks, classes, table, name in ON_DISK, splits is not None)


def _report(
    problems: list[Problem], looks: list[tuple[str, Look]], classes: ClassTable, table: str, published: bool, chosen: bool
) -> Report:
    problems += [problem for _, look in looks for problem in look.problems]
    class_pixels: dict[str, list[int]] = {}
    pictures: dict[str, int] = {}
    sizes: dict[str, int] = defaultdict(int)
    digests: dict[str, list[bytes | None]] = defaultdict(list)
    for split, look in looks:
        pictures[split] = pictures.get(split, 0) + 1
        before = class_pixels.setdefault(split, [0] * (len(classes) + 1))
        class_pixels[split] = [a + b for a, b in zip(before, look.pixels or [0] * len(before), strict=True)]
        digests[split].append(look.labels_digest)
        if look.size is not None:
            sizes[f"{look.size[0]}x{look.size[1]}"] += 1
    problems = set_defects.of_folders(problems, table)
    problems += set_defects.of_pictures(looks, published, overlap=published and chosen)
    if any(look.pixels is not None for _, look in looks):
        problems += set_defects.of_empty_masks(looks, classes)
        problems += set_defects.of_classes(class_pixels, classes, table)
        problems += set_defects.of_one_class(problems, class_pixels, classes, table)
    fingerprints = {
        split: hashlib.sha256(b"".join(one for one in ones if one)).hexdigest() for split, ones in digests.items() if all(ones)
    }
    return Report(tuple(problems), class_pixels, pictures, fingerprints, dict(sizes))


def _look_at_pair(pair: Pair, classes: ClassTable) -> Look:
    """What is found in a pair, whatever it is that its files raise."""
    try:
        return _look_at_files(pair, classes)
    except Exception as error:
        return Look(printable(pair.image), (failed(pair.image, error),))


def _look_at_files(pair: Pair, classes: ClassTable) -> Look:
    problems: list[Problem] = []
    image = header = None
    if _there(pair.image, problems):
        image, header = picture_defects.picture(pair.image, problems)
    truths = [_truth(path, problems, classes) for path in pair.truths]
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
            problems += mask_defects.strange_values(where, mask, classes)
            unknown = [value for value, *_ in classes.unknown_values(mask)]
            labels = classes.decode(mask[~np.isin(mask, unknown)])  # the other pixels still count
    if pair.instances is not None and truths[-1] is not None:
        beside = labels if pair.mask is not None and labels is not None and labels.ndim == 2 else None
        problems += mask_defects.of_objects(pair.instances, truths[-1], beside, classes)
    return _look(printable(pair.image), where, problems, pair.name, image, labels, classes)


def _look_at_sample(dataset: Dataset, index: int) -> Look:
    name = printable(f"{dataset.split}/{dataset.name(index)}")
    try:
        sample = dataset.sample(index)
        if sample.labels is None:
            raise DataError(f"{name}: has no labels; add its mask.")
        problems = _size_mismatch(name, sample.image, sample.labels)
        look = _look(name, name, problems, sample.name, sample.image, sample.labels, dataset.classes)
    except Exception as error:
        return Look(name, (failed(name, error),))
    # Published sets have pictures without objects, which is no news to anyone.
    return replace(look, problems=tuple(one for one in look.problems if one.kind != "nothing but background"))


def _look(
    file: str,
    mask: Path | str,
    problems: list[Problem],
    name: str,
    image: NDArray[np.uint8] | None,
    labels: NDArray[Any] | None,
    classes: ClassTable,
) -> Look:
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
    return Look(
        file, tuple(problems), pixels, picture_digest, labels_digest, mask_digest,
        None if image is None else (image.shape[0], image.shape[1]),
        None if image is None else picture_defects.is_grey(image),
        thumbnail,
    )  # fmt: skip


def _counts(labels: NDArray[Any], values: int) -> NDArray[np.int64]:
    """How many pixels each of 0..values - 1 has: the lengths of its runs, of which a label map has few."""
    flat = labels.ravel()
    first = np.ones(flat.size, np.bool_)
    first[1:] = flat[1:] != flat[:-1]
    starts = np.flatnonzero(first)
    return np.bincount(flat[starts], np.diff(starts, append=flat.size), values).astype(np.int64)


def _digest(pixels: NDArray[Any], known: NDArray[Any]) -> bytes:
    """What tells `pixels` from others, by what is known of them and a CRC-32; SHA-256 of all of them takes ten times as long."""
    checksum = zlib_ng.crc32(np.ascontiguousarray(pixels).data.cast("B"))
    return hashlib.sha256(f"{pixels.shape}{checksum}".encode() + known.tobytes()).digest()


def _there(path: Path, problems: list[Problem]) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        said = "is listed in pairs.csv, but there is no such file"
        problems.append(problem("unpaired", path, said, "add it or take its row out"))
        return False
    except OSError:  # a long name, a folder without permission: reading says which
        pass
    return True


def _truth(path: Path, problems: list[Problem], classes: ClassTable) -> NDArray[Any] | None:
    """What a mask or a map of instances stores; none with what is wrong instead."""
    if not _there(path, problems):
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
        problems += [one for one in picture_defects.left_out(path, header) if one.kind in ("several pages", "further bands")]
    return mask


def _size_mismatch(
    file: Path | str, image: NDArray[Any], mask: NDArray[Any], picture: Path | None = None, header: Header | None = None
) -> list[Problem]:
    (height, width), (high, wide) = image.shape[:2], mask.shape
    turned = header.orientation if header is not None else 1
    if picture is not None and (high, wide) == (width, height) != (height, width) and turned in picture_defects.TURNED:
        said = f"is {height}x{width} as its rotation tag ({turned}) says, but its mask is {high}x{wide} (height x width)"
        return [problem("rotated picture", picture, said)]
    if (height, width) != (high, wide):
        return [problem("size mismatch", file, f"is {high}x{wide}, its picture is {height}x{width} (height x width)")]
    if picture is not None and turned != 1:
        said = f"has the rotation tag {turned}, and a mask of its size; whether the mask is turned too, no one can say"
        return [problem("mirrored picture", picture, said)]
    return []
