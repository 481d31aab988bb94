"""submission: predictions as the servers of PASCAL VOC, Cityscapes and COCO take them, checked before they are packed.

    VOC          results/VOC2012/Segmentation/comp6_test_cls/NAME.png in a .tar.gz: palette indices, VOC's colours
                 (VOC2012 development kit, section 9.2.2; comp5 where nothing but VOC's own data was trained on)
    Cityscapes   CITY_SEQUENCE_FRAME_labelIds.png in a .zip: label ids, not train ids
                 (cityscapesScripts, evalPixelLevelSemanticLabeling.py takes any name that begins so)
    COCO         detections_TESTSET_NAME_results.zip with the JSON of that name: objects, of a results file
                 stuff_TESTSET_NAME_results.zip: run lengths of each class, of masks of coco_stuff92
                 panoptic_TESTSET_NAME_results.zip: a panoptic JSON and its folder of PNGs
                 (cocodataset.org, Upload and Results Format; TESTSET is test-dev2017, test2017 or val2017)

Nothing is written where a mask is missing, is there twice or too many, has another size than its picture, or a value of no class.
What the servers themselves check beyond this is not published and was not tried."""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.classes import refuse_void
from perpixel.datasets import Dataset
from perpixel.datasets.cityscapes import Cityscapes, train_ids
from perpixel.datasets.coco import OFFICIAL, Coco, panoptic_ids, require_listed
from perpixel.datasets.coco_annotations import read_panoptic
from perpixel.datasets.folder import files_below
from perpixel.datasets.voc import Voc2012
from perpixel.errors import DataError, UsageError, did_you_mean, printable
from perpixel.files import write_whole
from perpixel.images import MASK_SUFFIXES, encode_labels, read_labels
from perpixel.masks.rle import encode
from perpixel.measures.instances import read_results

COMPETITIONS = ("comp5", "comp6")  # VOC: its own data alone, or any


@dataclass(frozen=True)
class Problem:
    """What is wrong with one mask, or one picture's lack of it."""

    name: str
    message: str


def submission(masks: Path, dataset: Dataset, out: Path, competition: str | None = None) -> list[Problem]:
    """Packs the masks below `masks`, or of COCO a JSON of results, for `dataset`; returns what is wrong, in which case nothing is
    written.

    Raises UsageError for a data set without a server, an `out` of another suffix, or a competition where there is none."""
    if isinstance(dataset, Coco):
        return _coco(masks, dataset, out)
    pack, suffix, place = _server(dataset, competition)
    if not out.name.endswith(suffix):
        raise UsageError(f"{out}: the server takes a {suffix} file; name it so.")
    if out.exists():
        raise UsageError(f"{out}: is there already; take it away, or choose another name.")
    problems: list[Problem] = []
    data = pack((place(dataset.name(index)), encode_labels(labels, dataset.classes))
                for index, labels in _sound(masks, dataset, problems))  # fmt: skip
    if not problems:
        write_whole(out.parent, out.name, data)
    return problems


def _sound(masks: Path, dataset: Dataset, problems: list[Problem]) -> Iterator[tuple[int, NDArray[Any]]]:
    """The class ids (H, W) of each picture that has one sound mask, with its place; what is wrong with the others is added."""
    names = [dataset.name(index) for index in range(len(dataset))]
    found, strange = _matched(masks, names, isinstance(dataset, Cityscapes))
    for name, path in strange:
        problems.append(Problem(name, f"{printable(path)}: belongs to no picture of {dataset.split}; take it out."))
    for index, (name, paths) in enumerate(zip(names, found, strict=True)):
        if len(paths) != 1:
            said = "has no mask; predict it" if not paths else f"has the masks {', '.join(map(printable, paths))}; keep one"
            problems.append(Problem(name, f"{name}: {said}."))
            continue
        try:
            labels = _labels(paths[0], dataset, dataset.sample(index).image.shape[:2])
        except DataError as error:
            problems.append(Problem(name, str(error)))
            continue
        yield index, labels


def _labels(path: Path, dataset: Dataset, size: tuple[int, ...]) -> NDArray[Any]:
    """The class ids of a mask of that size without void. Raises DataError for another."""
    mask = read_labels(path)
    try:
        labels = dataset.classes.decode(mask, str(path))
        refuse_void(mask, labels == dataset.classes.void, str(path))
    except DataError as error:
        raise (train_ids(mask, path) if isinstance(dataset, Cityscapes) else None) or error from None
    if labels.shape != size:
        sizes = f"{labels.shape[0]}x{labels.shape[1]}, its picture {size[0]}x{size[1]} (height x width)"
        raise DataError(f"{path}: is {sizes}; predict at the picture's own size.")
    return labels


def _matched(masks: Path, names: list[str], prefix: bool) -> tuple[list[list[Path]], list[tuple[str, Path]]]:
    """The mask files of each name, and those of none. `prefix`: a file's name begins with the picture's."""
    below = masks / "masks" if (masks / "masks").is_dir() else masks  # as predict leaves them
    if not below.is_dir():
        raise DataError(f"{below}: there is no such folder; name the one that holds the predicted masks.")
    files = [path for paths in files_below(below, MASK_SUFFIXES).values() for path in paths]
    places = {name: index for index, name in enumerate(names)}
    found: list[list[Path]] = [[] for _ in names]
    strange = []
    for path in files:
        known = "_".join(path.stem.split("_")[:3]) if prefix else path.stem
        if known in places:
            found[places[known]].append(path)
        else:
            strange.append((path.stem, path))
    return found, strange


OF_COCO = {"coco": "detections", "coco_stuff92": "stuff", "coco_panoptic": "panoptic"}  # view: how its results are called


def _coco(source: Path, dataset: Coco, out: Path) -> list[Problem]:
    """Packs results of COCO under the name that the server wants."""
    if dataset.view not in OF_COCO:
        raise UsageError(f"{dataset.view}: COCO's server takes {', '.join(OF_COCO)}; name one of them with --data.")
    kind, test = OF_COCO[dataset.view], OFFICIAL[dataset.split][1]
    if not re.fullmatch(rf"{kind}_{test}_[\w.-]+_results\.zip", out.name):
        raise UsageError(f"{out}: the server takes {kind}_{test}_NAME_results.zip, NAME being your own; name it so.")
    if out.exists():
        raise UsageError(f"{out}: is there already; take it away, or choose another name.")
    if source.is_dir() != (kind == "stuff"):
        wanted = "a folder of masks" if kind == "stuff" else "a JSON of results"
        raise UsageError(f"{source}: {dataset.view} is submitted from {wanted}; name that.")
    problems: list[Problem] = []
    packed = {"detections": _detections, "stuff": _stuff, "panoptic": _panoptic}[kind](source, dataset, out.stem, problems)
    data = _zip(packed)
    if not problems:
        write_whole(out.parent, out.name, data)
    return problems


def _detections(source: Path, dataset: Coco, stem: str, problems: list[Problem]) -> Iterator[tuple[str, bytes]]:
    try:
        found = read_results(source, dataset.truth)
        if len({one.counts is None for one in found}) != 1:
            said = "some results have masks and others boxes alone; give all the same" if found else "holds no result"
            raise DataError(f"{source}: {said}.")
    except DataError as error:
        problems.append(Problem(source.name, str(error)))
        return
    listed = []
    for one in found:
        picture = dataset.truth.pictures[one.picture]
        entry: dict[str, Any] = {"image_id": one.picture, "category_id": one.category, "score": one.score}
        if one.box is not None:
            entry["bbox"] = list(one.box)
        if one.counts is not None:
            entry["segmentation"] = {"size": [picture.height, picture.width], "counts": one.counts}
        listed.append(entry)
    yield f"{stem}.json", json.dumps(listed).encode()


def _stuff(source: Path, dataset: Coco, stem: str, problems: list[Problem]) -> Iterator[tuple[str, bytes]]:
    listed = []
    for index, labels in _sound(source, dataset, problems):
        for id in np.unique(labels).tolist():
            segmentation = {"size": list(labels.shape), "counts": encode(labels == id)}
            category = dataset.classes.values[id][0]
            picture = int(dataset.name(index)) if dataset.split == "val" else dataset.listed[index].id  # val's names are ids
            listed.append({"image_id": picture, "category_id": category, "segmentation": segmentation})
    yield f"{stem}.json", json.dumps(listed).encode()


def _panoptic(source: Path, dataset: Coco, stem: str, problems: list[Problem]) -> Iterator[tuple[str, bytes]]:
    listed = []
    try:
        found = read_panoptic(source, dataset.panoptic)
    except DataError as error:
        problems.append(Problem(source.name, str(error)))
        return
    for picture in dataset.listed:
        if picture.id not in found.maps:
            problems.append(Problem(picture.file_name, f"{source}: has no result for {picture.file_name}; predict it."))
            continue
        name, segments = found.maps[picture.id]
        path = source.with_suffix("") / name
        try:
            ids = panoptic_ids(path)
            if ids.shape != (picture.height, picture.width):
                sizes = f"{ids.shape[0]}x{ids.shape[1]}, its picture {picture.height}x{picture.width}"
                raise DataError(f"{path}: is {sizes} (height x width); predict at the picture's own size.")
            require_listed(np.unique(ids), segments, path, f"{source}, picture {picture.id}")
            data = path.read_bytes()
        except DataError as error:
            problems.append(Problem(picture.file_name, str(error)))
            continue
        of_picture = [{"id": one.id, "category_id": one.category} for one in segments]
        listed.append({"image_id": picture.id, "file_name": name, "segments_info": of_picture})
        yield f"{stem}/{name}", data
    yield f"{stem}.json", json.dumps({"annotations": listed}).encode()


Pack = Callable[[Iterator[tuple[str, bytes]]], bytes]


def _server(dataset: Dataset, competition: str | None) -> tuple[Pack, str, Callable[[str], str]]:
    """How files are packed for the server of a data set, the archive's suffix, and where in it a picture's mask lies."""
    if isinstance(dataset, Voc2012):
        chosen = competition or "comp6"
        if chosen not in COMPETITIONS:
            raise did_you_mean("competition", chosen, COMPETITIONS)
        return _tar, ".tar.gz", lambda name: f"results/VOC2012/Segmentation/{chosen}_{dataset.split}_cls/{name}.png"
    if competition is not None:
        raise UsageError("--competition belongs to VOC; leave it out.")
    if isinstance(dataset, Cityscapes) and all(len(values) == 1 for values in dataset.classes.values):
        return _zip, ".zip", lambda name: f"{name}_labelIds.png"
    raise UsageError("only PASCAL VOC 2012 and Cityscapes have a server for label maps; name one of them with --data.")


def _tar(files: Iterator[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    # No time is written, so that the same masks make the same bytes.
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as archive:
        for name, data in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def _zip(files: Iterator[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:  # PNG is compressed already
        for name, data in files:
            archive.writestr(zipfile.ZipInfo(name), data)
    return buffer.getvalue()
