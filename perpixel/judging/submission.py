"""submission: predictions as the servers of PASCAL VOC, Cityscapes and COCO take them, checked before they are packed.

    VOC          results/VOC2012/Segmentation/comp6_test_cls/NAME.png in a .tar.gz: palette indices, VOC's colours
                 (VOC2012 development kit, section 9.2.2; comp5 where nothing but VOC's own data was trained on)
    Cityscapes   CITY_SEQUENCE_FRAME_labelIds.png in a .zip: label ids, not train ids
                 (cityscapesScripts, evalPixelLevelSemanticLabeling.py takes any name that begins so)
                 of objects CITY_SEQUENCE_FRAME.txt, a line "masks/MASK.png LABEL_ID SCORE" for each, and these binary masks
                 (evalInstanceLevelSemanticLabeling.py; it passes over labels that have no instances)
    COCO         detections_TESTSET_NAME_results.zip with the JSON of that name: objects, of a results file or of what
                 `perpixel predict` left in instances/
                 stuff_TESTSET_NAME_results.zip: run lengths of each class, of masks of coco_stuff92
                 panoptic_TESTSET_NAME_results.zip: a panoptic JSON and its folder of PNGs, as `perpixel predict` leaves them too
                 (cocodataset.org, Upload and Results Format; TESTSET is test-dev2017, test2017 or val2017)
                 A name that ends in .json gets the JSON alone, which `perpixel evaluate` and COCO's own code read.

Nothing is written where a file of a picture is missing, is there twice or too many, has another size than its picture, or a value
or class that the data set does not have; nor where no object was found in any picture.
What the servers themselves check beyond this is not published and was not tried."""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from perpixel.datasets import Dataset
from perpixel.datasets.cityscapes import Cityscapes
from perpixel.datasets.coco import OFFICIAL, Coco, panoptic_ids, require_listed
from perpixel.datasets.coco_annotations import read_panoptic
from perpixel.datasets.voc import Voc2012
from perpixel.errors import DataError, UsageError, did_you_mean
from perpixel.files import write_whole
from perpixel.images import encode_image, encode_labels
from perpixel.judging.sound_predictions import Problem, sound_masks, sound_objects
from perpixel.masks.rle import encode, encode_part
from perpixel.measures.instances import read_results
from perpixel.prediction.instances import INSTANCES
from perpixel.prediction.panoptic import PANOPTIC

COMPETITIONS = ("comp5", "comp6")  # VOC: its own data alone, or any


def submission(
    predictions: Path, dataset: Dataset, out: Path, competition: str | None = None, boxes: bool = False
) -> list[Problem]:
    """Packs what `perpixel predict` left in the folder `predictions`, or of COCO a JSON of results, for `dataset`.

    Returns what is wrong, in which case nothing is written.

    Of Cityscapes objects are packed where the folder has any, and masks where it has none, or is `masks/` itself. `boxes` gives
    the boxes of COCO's objects instead of their masks. Raises UsageError for a data set without a server, an `out` of another
    suffix, a competition where there is none, or `boxes` of what has none."""
    if boxes and not (isinstance(dataset, Coco) and dataset.view == "coco" and predictions.is_dir()):
        raise UsageError("--boxes belongs to objects that were predicted for coco; leave it out.")
    if competition is not None and not isinstance(dataset, Voc2012):
        raise UsageError("--competition belongs to VOC; leave it out.")
    if isinstance(dataset, Coco):
        return _coco(predictions, dataset, out, boxes)
    pack, suffix, place = _server(dataset, competition)
    if not out.name.endswith(suffix):
        raise UsageError(f"{out}: the server takes a {suffix} file; name it so.")
    if out.exists():
        raise UsageError(f"{out}: exists already; take it away, or choose another name.")
    problems: list[Problem] = []
    if packs_objects(predictions, dataset):
        data = pack(_instances_of_cityscapes(predictions, dataset, problems))
    else:
        data = pack((place(dataset.name(index)), encode_labels(labels, dataset.classes))
                    for index, labels in sound_masks(predictions, dataset, problems))  # fmt: skip
    if not problems:
        write_whole(out.parent, out.name, data)
    return problems


def packs_objects(predictions: Path, dataset: Dataset) -> bool:
    """Whether the objects of a folder are what is submitted, and not its masks."""
    taken = isinstance(dataset, Cityscapes) or (isinstance(dataset, Coco) and dataset.view == "coco")
    return taken and (predictions.name == INSTANCES or (predictions / INSTANCES).is_dir())


OF_COCO = {"coco": "detections", "coco_stuff92": "stuff", "coco_panoptic": "panoptic"}  # view: how its results are called


def _coco(source: Path, dataset: Coco, out: Path, boxes: bool) -> list[Problem]:
    """Packs results of COCO under the name that the server wants, or leaves their JSON."""
    if dataset.view not in OF_COCO:
        raise UsageError(f"{dataset.view}: COCO's server takes {', '.join(OF_COCO)}; name one of them with --data.")
    kind, test = OF_COCO[dataset.view], OFFICIAL[dataset.split][1]
    alone = out.suffix == ".json" and kind != "panoptic"
    if not alone and not re.fullmatch(rf"{kind}_{test}_[\w.-]+_results\.zip", out.name):
        raise UsageError(f"{out}: the server takes {kind}_{test}_NAME_results.zip, NAME being your own; name it so.")
    if out.exists():
        raise UsageError(f"{out}: exists already; take it away, or choose another name.")
    if kind == "panoptic" and source.is_dir():
        source = source / f"{PANOPTIC}.json"  # as predict leaves it
    objects = packs_objects(source, dataset)
    if source.is_dir() != (kind == "stuff" or objects):
        wanted = {"stuff": "a folder of masks", "panoptic": "a JSON of results",
                  "detections": f"a JSON of results, or a folder with {INSTANCES}/ as `perpixel predict` leaves it"}  # fmt: skip
        raise UsageError(f"{source}: {dataset.view} is submitted from {wanted[kind]}; name that.")
    problems: list[Problem] = []
    if objects:
        packed = _results_of_objects(source, dataset, out.stem, problems, boxes)
    else:
        packed = {"detections": _detections, "stuff": _stuff, "panoptic": _panoptic}[kind](source, dataset, out.stem, problems)
    data = next(packed, ("", b""))[1] if alone else _zip(packed)
    if not problems:
        write_whole(out.parent, out.name, data)
    return problems


def _results_of_objects(
    source: Path, dataset: Coco, stem: str, problems: list[Problem], boxes: bool
) -> Iterator[tuple[str, bytes]]:
    """The results of files of objects: masks, or boxes in their place. COCO's own code takes the area of a result that has both
    from its box, which moves AP by area."""
    categories = {class_id: category for category, class_id in dataset.class_ids.items()}
    listed = []
    for index, objects in sound_objects(source, dataset, problems):
        others = [dataset.classes.names[id] for id in objects.class_ids if id not in categories]
        if others:
            problems.append(Problem(dataset.name(index), f"{dataset.name(index)}: has an object of {others[0]}, which is no "
                                    "category of COCO; take it out."))  # fmt: skip
            continue
        for place, class_id in enumerate(objects.class_ids.tolist()):
            assert objects.scores is not None
            crop = objects.crop(place)
            entry: dict[str, Any] = {"image_id": dataset.listed[index].id, "category_id": categories[class_id]}
            if boxes:
                entry["bbox"] = [float(side) for side in (crop.left, crop.top, crop.shape[1], crop.shape[0])]
            else:
                counts = encode_part(crop.pixels, crop.top, crop.left, crop.size)
                entry["segmentation"] = {"size": list(objects.size), "counts": counts}
            listed.append({**entry, "score": float(objects.scores[place])})
    yield f"{stem}.json", json.dumps(listed).encode()


def _instances_of_cityscapes(folder: Path, dataset: Dataset, problems: list[Problem]) -> Iterator[tuple[str, bytes]]:
    """The list of each picture's objects, and their masks."""
    for index, objects in sound_objects(folder, dataset, problems):
        name, lines = dataset.name(index), []
        for place, class_id in enumerate(objects.class_ids.tolist()):
            assert objects.scores is not None
            mask = f"masks/{name}_{place:04d}.png"
            lines.append(f"{mask} {dataset.classes.values[class_id][0]} {float(objects.scores[place])!r}\n")
            yield mask, encode_image(Image.fromarray(objects.mask(place)), ".png")
        yield f"{name}.txt", "".join(lines).encode()


def _detections(source: Path, dataset: Coco, stem: str, problems: list[Problem]) -> Iterator[tuple[str, bytes]]:
    try:
        results = read_results(source, dataset.truth)
        if len({result.counts is None for result in results}) != 1:
            message = "some results have masks and others boxes alone; give all the same" if results else "holds no result"
            raise DataError(f"{source}: {message}.")
    except DataError as error:
        problems.append(Problem(source.name, str(error)))
        return
    listed = []
    for result in results:
        picture = dataset.truth.pictures[result.picture]
        entry: dict[str, Any] = {"image_id": result.picture, "category_id": result.category, "score": result.score}
        if result.box is not None:
            entry["bbox"] = list(result.box)
        if result.counts is not None:
            entry["segmentation"] = {"size": [picture.height, picture.width], "counts": result.counts}
        listed.append(entry)
    yield f"{stem}.json", json.dumps(listed).encode()


def _stuff(source: Path, dataset: Coco, stem: str, problems: list[Problem]) -> Iterator[tuple[str, bytes]]:
    listed = []
    for index, labels in sound_masks(source, dataset, problems):
        for id in np.unique(labels).tolist():
            segmentation = {"size": list(labels.shape), "counts": encode(labels == id)}
            category = dataset.classes.values[id][0]
            picture = int(dataset.name(index)) if dataset.split == "val" else dataset.listed[index].id  # val's names are ids
            listed.append({"image_id": picture, "category_id": category, "segmentation": segmentation})
    yield f"{stem}.json", json.dumps(listed).encode()


def _panoptic(source: Path, dataset: Coco, stem: str, problems: list[Problem]) -> Iterator[tuple[str, bytes]]:
    listed = []
    try:
        panoptic = read_panoptic(source, dataset.panoptic)
    except DataError as error:
        problems.append(Problem(source.name, str(error)))
        return
    for picture in dataset.listed:
        if picture.id not in panoptic.maps:
            problems.append(Problem(picture.file_name, f"{source}: has no result for {picture.file_name}; predict it."))
            continue
        name, segments = panoptic.maps[picture.id]
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
        of_picture = [{"id": segment.id, "category_id": segment.category} for segment in segments]
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
