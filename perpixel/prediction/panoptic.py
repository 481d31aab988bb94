"""A panoptic map from the labels of one network and the objects of another, as in Panoptic FPN (Kirillov et al., CVPR 2019,
arXiv:1901.02446; the rule is that of Kirillov et al., Panoptic Segmentation, CVPR 2019, section 7).

1. Objects of a score below `objects_score` are left out. The others take their pixels, the highest score first.
2. An object is left out where more than `objects_overlap` of its pixels were taken before; else it has those that are free.
3. A class that is no thing has the free pixels of its label, if these are `stuff_area` or more.
4. All other pixels are void, also those that are labelled as a thing and belong to no object.

The numbers are those of the authors' panopticapi, combine_semantic_and_instance_predictions.py. It came after the paper, and adds
the least area of stuff; detectron2 has the same three.

    out/panoptic.json             COCO's form: images, annotations with segments_info, categories with isthing
    out/panoptic/NAME.png         id = R + 256 G + 65536 B, 0 is void; the first segment of a class has the colour of the class"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.classes import ClassTable, Colour
from perpixel.errors import UsageError
from perpixel.sample import Instances, PanopticMap, Prediction, Segment

PANOPTIC = "panoptic"  # the folder of the maps, and the name of their JSON
MERGING = {"objects_score": 0.5, "objects_overlap": 0.5, "stuff_area": 64 * 64}
RULE = (
    "objects from the highest score down, each the free pixels of its mask unless more than the overlap is taken; then stuff; "
    "the rest is void"
)
STEP = 37 + 256 * 23 + 65536 * 53  # between the ids of two segments of one class; odd, so that it comes to every id
NAMED = 5  # classes in a sentence


def merged(
    labels: NDArray[Any],
    objects: Instances,
    classes: ClassTable,
    things: frozenset[int],
    objects_score: float = MERGING["objects_score"],
    objects_overlap: float = MERGING["objects_overlap"],
    stuff_area: float = MERGING["stuff_area"],
) -> PanopticMap:
    """The map of a picture from class ids (H, W) and objects with scores. `things` are class ids; objects of other classes are
    left out. Segments are numbered from 1: objects in the order of their scores, then stuff by class."""
    ids, segments = np.zeros(labels.shape, np.int32), list[Segment]()
    scores = np.ones(len(objects.class_ids)) if objects.scores is None else objects.scores
    for index in np.argsort(-scores, kind="stable").tolist():
        class_id, crop = int(objects.class_ids[index]), objects.crop(index)
        if scores[index] < objects_score or class_id not in things:
            continue
        part, pixels = ids[crop.box], crop.pixels
        free = pixels & (part == 0)
        area, left = int(pixels.sum()), int(free.sum())
        if not left or area - left > objects_overlap * area:
            continue
        segments.append(Segment(len(segments) + 1, class_id))
        part[free] = len(segments)
    stuff = np.where(ids == 0, labels, classes.void)
    counts = np.bincount(stuff.ravel(), minlength=len(classes))[: len(classes)]
    numbers = np.zeros(classes.void + 1, np.int32)
    for class_id in np.flatnonzero(counts).tolist():
        if class_id not in things and counts[class_id] >= stuff_area:
            segments.append(Segment(len(segments) + 1, class_id))
            numbers[class_id] = len(segments)
    return PanopticMap(ids + numbers[stuff], tuple(segments), things)


def joined(labelled: Prediction, objects: Instances, things: frozenset[int], **merging: float) -> Prediction:
    """The prediction with the objects of another network, and the map that both make."""
    panoptic = merged(labelled.labels, objects, labelled.classes, things, **merging)
    return replace(labelled, instances=objects, panoptic=panoptic)


def in_classes(objects: Instances, to_class: Mapping[int, int]) -> Instances:
    """The objects whose class ids `to_class` has, with the class ids that it gives them."""
    kept = [index for index, class_id in enumerate(objects.class_ids.tolist()) if class_id in to_class]
    class_ids = np.array([to_class[int(objects.class_ids[index])] for index in kept], np.int64)
    scores = None if objects.scores is None else objects.scores[kept]
    return Instances.of_crops([objects.crop(index) for index in kept], objects.size, class_ids, objects.crowd[kept], scores)


def fitted(objects: ClassTable, classes: ClassTable, named: Sequence[str] | None = None) -> dict[int, int]:
    """The things of a network of objects with the table `objects`: its class ids, each with that of `classes`, the semantic
    network's table. They are the classes `named`, or those of `datasets.things_in`.

    Raises UsageError for a class of objects that the semantic network does not know, and for a table whose things are unknown;
    UnknownName for a name that the network of objects does not know."""
    if named is None:
        from perpixel.datasets import things_in  # only now: it takes a while to load, which results files need not wait for

        ids = things_in(objects)
        if ids is None:
            raise UsageError(
                f"objects_by: none of its classes is called background, so nobody knows which of {_few(objects.names)} are "
                "objects; name these with things, as in --things car,person."
            )
        things = sorted(ids)
    else:
        things = sorted({objects.id_of(name) for name in named})
        if not things:
            raise UsageError("things: names no class; name those whose objects are told apart, or leave it out.")
    unknown = [objects.names[id] for id in things if objects.names[id] not in classes.names]
    if unknown:
        raise UsageError(
            f"objects_by: finds {_few(unknown)}, which the semantic network does not know; it knows {_few(classes.names)}. Join "
            "networks of the same data set, or name with things the classes that both know."
        )
    return {id: classes.id_of(objects.names[id]) for id in things}


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"


def drawn(panoptic_map: PanopticMap, classes: ClassTable) -> tuple[NDArray[Any], Instances]:
    """The class ids (H, W) of a map, void where there is no segment, and its objects, for an overlay."""
    of_each = np.array([classes.void, *(segment.category for segment in panoptic_map.segments)], classes.dtype)
    is_object = np.array([False, *(segment.category in panoptic_map.things for segment in panoptic_map.segments)])
    places = _places(panoptic_map)
    objects = Instances.of_numbers(np.where(is_object, np.cumsum(is_object), 0)[places], of_each[is_object].astype(np.int64))
    return of_each[places], objects


def coloured(panoptic_map: PanopticMap, classes: ClassTable) -> tuple[NDArray[np.uint8], tuple[Segment, ...]]:
    """The picture (H, W, 3) of a map, in which colours are ids, and the segments with these ids."""
    latest = {segment.category: _id(classes.colours[segment.category]) for segment in panoptic_map.segments}
    taken, segments = {0}, list[Segment]()
    for segment in panoptic_map.segments:
        id = latest[segment.category]
        while id in taken:
            id = (id + STEP) % 2**24
        latest[segment.category] = id
        taken.add(id)
        segments.append(Segment(id, segment.category, segment.crowd))
    ids = np.array([0, *(segment.id for segment in segments)])
    colours = np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1).astype(np.uint8)
    return colours[_places(panoptic_map)], tuple(segments)


def _places(panoptic_map: PanopticMap) -> NDArray[np.intp]:
    """At each pixel (H, W) the place of its segment among all, from 1; 0 where there is none."""
    ids = np.array([0, *(segment.id for segment in panoptic_map.segments)])
    order = np.argsort(ids)
    places: NDArray[np.intp] = order[np.searchsorted(ids, panoptic_map.ids, sorter=order)]
    return places


def _id(colour: Colour) -> int:
    red, green, blue = colour
    return red + 256 * green + 65536 * blue


def entry_of(file_name: str, size: tuple[int, int], segments: Iterable[Segment], classes: ClassTable) -> dict[str, Any]:
    """The entry of a picture's map in the journal, for `results`. A category is the value of its class on disk, as in COCO's and
    Cityscapes' own files."""
    listed = [
        {"id": segment.id, "category_id": classes.values[segment.category][0], "iscrowd": int(segment.crowd)}
        for segment in segments
    ]
    return {"picture": file_name, "size": list(size), "segments_info": listed}


def results(
    entries: Mapping[str, Mapping[str, Any]], classes: ClassTable, things: frozenset[int], rules: object
) -> dict[str, Any]:
    """The content of panoptic.json, from `entry_of` by the names of pictures. A picture has the id that its name is, where all
    names are numbers, as COCO's are; else they are counted from 1."""
    ids = {name: int(name) if name.isascii() and name.isdecimal() else 0 for name in entries}
    if len({*ids.values()} - {0}) < len(ids):
        ids = {name: place for place, name in enumerate(sorted(entries), start=1)}
    images, annotations = [], []
    for name in sorted(entries):
        entry = entries[name]
        height, width = entry["size"]
        images.append({"id": ids[name], "file_name": entry["picture"], "height": height, "width": width})
        annotations.append({"image_id": ids[name], "file_name": f"{name}.png", "segments_info": entry["segments_info"]})
    categories = [
        {"id": values[0], "name": name, "isthing": int(id in things), "color": list(colour)}
        for id, (name, values, colour) in enumerate(zip(classes.names, classes.values, classes.colours, strict=True))
    ]
    return {"info": rules, "images": images, "annotations": annotations, "categories": categories}


def named_after(name: str, path: str) -> str:
    """The file name of a picture in panoptic.json: that of its results, with the suffix of the picture's file."""
    return name + os.path.splitext(path)[1]


def refuse_merging(objects_score: float, objects_overlap: float, stuff_area: float) -> None:
    """Raises UsageError for numbers that `merged` cannot use."""
    for name, value in (("objects_score", objects_score), ("objects_overlap", objects_overlap)):
        if not 0 <= value <= 1:
            raise UsageError(f"{name} = {value:g}: is a share; give 0 to 1.")
    if stuff_area < 0:
        raise UsageError(f"stuff_area = {stuff_area}: is in pixels; give 0 (all stuff) or above.")
