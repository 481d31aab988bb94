"""check: tests whether a data set is sound. Every file is read once, and all its defects are reported together.

    report = check("street")        # a folder, or the name of a data set
    report.errors                   # () when it can be trained on

The kinds of defect stand in `defects.KINDS`. `picture_defects` and `mask_defects` find those of single files, `set_defects` those
between files, and `coco_defects` those of annotations."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from zlib_ng import zlib_ng

from perpixel.bands import FILE, Bands
from perpixel.classes import ClassTable
from perpixel.datasets import DATASETS, ON_DISK, Dataset, judged_splits, label_digest, open_dataset, with_objects
from perpixel.datasets.folder import SPLITS, Pair, folder_bands, folder_classes, list_folder, objects_of, values_of
from perpixel.doctor import band_defects, coco_defects, mask_defects, picture_defects, set_defects, unlearned
from perpixel.doctor.band_defects import BandValues
from perpixel.doctor.defects import Problem, failed, problem
from perpixel.doctor.set_defects import SampleResult
from perpixel.errors import DataError, UsageError, printable
from perpixel.files import require_folder
from perpixel.images import Header, read_labels
from perpixel.machines.memory import keep_freed_memory
from perpixel.sample import Sample
from perpixel.shards import Shard, ShardFile, plain, read_shards, typed

KIND = "checked"  # of shards
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
    if str(data).endswith(".json"):
        problems_in_file, count = coco_defects.of_file(Path(data))
        return Report(tuple(problems_in_file), {}, {Path(data).stem: count}, {}, {})
    planned = _planned(data, root, splits, objects)
    results = [*_checked([job for _, job in planned.jobs], progress)]
    return _report(planned, [(split, result) for (split, _), result in zip(planned.jobs, results, strict=True)])


@dataclass(frozen=True)
class _Planned:
    """What is to be checked: the defects that are known before a sample is read, the class table and where it stands, and of each
    sample the split and the function that checks it; by `names` as `split\0name`."""

    problems: tuple[Problem, ...]
    classes: ClassTable
    table: str
    published: bool
    chosen: bool  # splits are chosen
    jobs: Sequence[tuple[str, Callable[[], SampleResult]]] = ()
    names: Sequence[str] = ()
    bands: Bands | None = None


def _planned(data: str | Path, root: str | Path | None, splits: Sequence[str] | None, objects: bool) -> _Planned:
    keep_freed_memory()
    name = str(data)
    if name in DATASETS or name in ON_DISK:
        datasets = judged_splits(name, root, splits)
        classes = next(iter(datasets.values())).classes
        problems = set_defects.of_splits(name, ON_DISK[name].judged, datasets) if splits is None and name in ON_DISK else []
        if objects:
            datasets = {split: with_objects(dataset) for split, dataset in datasets.items()}
        each = [(split, dataset, i) for split, dataset in datasets.items() for i in range(len(dataset))]
        return _Planned(
            tuple(problems), classes, name, name in ON_DISK, splits is not None,
            [(split, partial(_check_sample, dataset, i)) for split, dataset, i in each],
            [f"{split}\0{dataset.name(i)}" for split, dataset, i in each],
        )  # fmt: skip
    folder = Path(data)
    if not os.path.isdir(folder):
        open_dataset(data)  # raises: no such name, no such folder
    require_folder(folder, "allow it")
    classes, table, bands = folder_classes(folder), str(folder / "classes.csv"), folder_bands(folder)
    listing = list_folder(folder)
    problems = set_defects.of_listing(folder, listing)
    if not listing.pairs and not problems:
        raise DataError(f"{folder}: holds no pictures and masks; put them into images/ and masks/.")
    chosen_splits = SPLITS if splits is None or {*splits} <= {*SPLITS} else splits  # folds are checked alone, else all splits
    pairs = [(split, pair) for split in chosen_splits for pair in listing.of(split)]
    problems += set_defects.of_table(classes, table)
    return _Planned(
        tuple(problems), classes, table, False, splits is not None,
        [(split, partial(_check_pair, pair, classes, objects, bands)) for split, pair in pairs],
        [f"{split}\0{pair.name}" for split, pair in pairs], bands,
    )  # fmt: skip


def _checked(
    jobs: Sequence[Callable[[], SampleResult]], progress: Callable[[int, int], None] | None
) -> Iterator[SampleResult]:
    """The result of each job, in their order."""
    with ThreadPoolExecutor(THREADS) as pool:  # a worker drops its picture before it takes the next
        try:
            for done, result in enumerate(pool.map(lambda job: job(), jobs), start=1):
                yield result
                if progress:
                    progress(done, len(jobs))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


@dataclass(frozen=True)
class Checked:
    """What a shard did: samples that it checked now, samples that were checked before, and all problems of both."""

    done: int
    before: int
    problems: tuple[Problem, ...]
    samples: int  # of the whole set


def check_shard(
    data: str | Path, out: Path, shard: Shard, progress: Callable[[int, int], None] | None = None, root: str | Path | None = None
) -> Checked:
    """Checks the samples of a shard and keeps the results in `out`; what was kept before is not checked again.

    Raises the errors of `check`; UsageError for a JSON file, which is checked as a whole, and where `out` holds other work."""
    if str(data).endswith(".json"):
        raise UsageError(f"{data}: a file of annotations is checked as a whole, in one process; leave --shard out.")
    planned = _planned(data, root, None, False)
    head = {
        "problems": planned.problems, "classes": planned.classes.to_json(), "table": planned.table,
        "published": planned.published, "data": str(data),
        **({} if planned.bands is None else {"bands": planned.bands.to_json()}),
    }  # fmt: skip
    with ShardFile(out, KIND, shard, plain(head), planned.names) as file:
        before = [typed(file.done[place]["result"], SampleResult, str(file.path)) for place in sorted(file.done)]
        places, problems = file.open_places, [problem for result in before for problem in result.problems]
        for place, result in zip(places, _checked([planned.jobs[place][1] for place in places], progress), strict=True):
            file.add(place, {"result": plain(result)})
            problems += result.problems
    return Checked(len(places), len(before), tuple(problems), len(planned.names))


def merge_checked(folder: Path) -> tuple[str, Report]:
    """The name of the data set, and the report of all samples, which shards checked: that of one process. What no shard sees by
    itself is found here: copies in two shards, classes without a pixel.

    Raises the errors of `read_shards`."""
    merged = read_shards(folder, KIND)
    try:
        head = merged.head
        planned = _Planned(
            typed(head["problems"], tuple[Problem, ...], str(folder)), ClassTable.from_json(head["classes"]), str(head["table"]),
            bool(head["published"]), False, bands=Bands.from_json(head["bands"]) if "bands" in head else None,
        )  # fmt: skip
        data = str(head["data"])
    except KeyError as error:
        raise DataError(f"{folder}: its shards do not say what they checked ({error} is missing); check again.") from None
    results = [
        (name.partition("\0")[0], typed(content.get("result"), SampleResult, f"{folder}, {name}"))
        for name, content in zip(merged.names, merged.contents, strict=True)
    ]
    return data, _report(planned, results)


def _report(planned: _Planned, results: list[tuple[str, SampleResult]]) -> Report:
    classes, table, published = planned.classes, planned.table, planned.published
    problems = [*planned.problems, *(problem for _, result in results for problem in result.problems)]
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
    problems += set_defects.of_pictures(results, published, overlap=published and planned.chosen)
    if planned.bands is not None:
        problems += band_defects.of_set([(result.file, result.bands) for _, result in results], planned.bands, _bands_file(table))
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


def _bands_file(table: str) -> str:
    return str(Path(table).parent / FILE)


def _check_pair(pair: Pair, classes: ClassTable, objects: bool, bands: Bands | None) -> SampleResult:
    """Checks a pair of files. An error that they raise becomes a problem."""
    try:
        return _check_files(pair, classes, objects, bands)
    except Exception as error:
        return SampleResult(printable(pair.image), (failed(pair.image, error),))


def _check_files(pair: Pair, classes: ClassTable, objects: bool, bands: Bands | None) -> SampleResult:
    problems: list[Problem] = []
    image = header = pixels = None
    values: tuple[BandValues, ...] = ()
    if not _exists(pair.image, problems):
        pass
    elif bands is not None:
        pixels, values = band_defects.picture(pair.image, bands, problems)
        image = None if pixels is None else bands.shown(pixels)
    else:
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
    if pixels is not None and result.thumbnail is not None:
        result = replace(result, picture_digest=_digest(pixels, result.thumbnail), grey=None, bands=values)
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
