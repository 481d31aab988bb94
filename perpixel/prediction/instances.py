"""The objects that a network finds in a picture: the label map that they draw, and the file that keeps them.

    out/instances/NAME.json
    {"size": [480, 640],
     "objects": [{"class": "cell", "score": 0.93, "bbox": [10.0, 20.0, 31.0, 27.0],
                  "segmentation": {"size": [480, 640], "counts": "f3d0l4R2m1n..."}, "iscrowd": 0}]}

`size` is (height, width). `bbox` is left, top, width and height in pixels, `segmentation` the compressed run lengths of COCO's
results. A class is given by its name, since only the data set knows the category ids of COCO."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.classes import ClassTable
from perpixel.errors import DataError, printable
from perpixel.files import read_bytes
from perpixel.masks import rle
from perpixel.sample import Crop, Instances

INSTANCES = "instances"  # the folder of these files
DAMAGE = (ValueError, KeyError, TypeError, RecursionError)  # errors that reading a damaged file raises


def labels_of(objects: Instances, classes: ClassTable) -> NDArray[Any]:
    """The labels (H, W) that objects draw; a pixel of several objects gets the class of the object with the highest score.

    Pixels without an object are background, or void where no class is called background."""
    background = classes.background
    labels = np.full(objects.size, classes.void if background is None else background, classes.dtype)
    for index in objects.by_score:
        crop = objects.crop(index)
        labels[crop.box][crop.pixels] = objects.class_ids[index]
    return labels


def encode_instances(objects: Instances, classes: ClassTable) -> bytes:
    """The objects of one picture as JSON (see the top of this file); the score of an object without a score is null."""
    size = list(objects.size)
    entries = []
    for index, class_id in enumerate(objects.class_ids):
        crop = objects.crop(index)
        entries.append({
            "class": classes.names[class_id],
            "score": None if objects.scores is None else float(objects.scores[index]),
            "bbox": [float(side) for side in (crop.left, crop.top, crop.shape[1], crop.shape[0])],
            "segmentation": {"size": size, "counts": rle.encode_part(crop.pixels, crop.top, crop.left, crop.size)},
            "iscrowd": int(objects.crowd[index]),
        })  # fmt: skip
    return json.dumps({"size": size, "objects": entries}).encode()


def read_instances(path: Path, classes: ClassTable) -> Instances:
    """The objects that `encode_instances` wrote.

    Raises DataError for a file that cannot be read, is damaged, or names a class that is not in the table."""
    data = read_bytes(path)
    try:
        content = json.loads(data)
        height, width = content["size"]
        rle.require_size(height, width)
        crops, class_ids, scores, crowd = list[Crop](), list[int](), list[float | None](), list[bool]()
        for entry in content["objects"]:
            if entry["class"] not in classes.names:
                raise DataError(
                    f"{printable(path)}: has an object of the class {str(entry['class'])[:100]!r}, which the data set does not "
                    "have; predict with a model of its classes."
                )
            if entry["segmentation"]["size"] != [height, width]:
                raise ValueError("a mask has another size than the picture")
            if entry["iscrowd"] not in (0, 1):
                raise ValueError("iscrowd is 0 or 1")
            crops.append(Crop.of(rle.decode(entry["segmentation"]["counts"], height, width)))
            class_ids.append(classes.names.index(entry["class"]))
            scores.append(_score(entry["score"]))
            crowd.append(bool(entry["iscrowd"]))
    except DAMAGE as error:
        reason = printable(str(error)).rstrip(".") or type(error).__name__
        raise DataError(f"{printable(path)}: is no file of predicted objects ({reason}); predict it again.") from error
    if len({score is None for score in scores}) > 1:
        raise DataError(f"{printable(path)}: some of its objects have a score and some have none; predict it again.")
    known = None if None in scores else np.array(scores, np.float32)
    return Instances.of_crops(crops, (height, width), np.array(class_ids, np.int64), np.array(crowd, np.bool_), known)


def _score(score: Any) -> float | None:
    if score is not None and (isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1):
        raise ValueError(f"the score {str(score)[:100]} is not in 0..1")
    return score
