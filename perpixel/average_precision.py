"""AP and AR of instances as COCO's challenge has them (cocodataset.org, Detection Evaluation; Lin et al., ECCV 2014), by masks,
by boxes, or by the borders of masks (Boundary AP: Cheng et al., CVPR 2021, dilation 0.02 of the diagonal).

    truth = read_annotations(Path("annotations/instances_val2017.json"))
    scores = average_precision(truth, read_results(Path("results.json"), truth), "mask")
    scores.figures["AP"]                     # mean over IoU 0.50, 0.55 .. 0.95, 101 recalls, and categories

    truth = truth_of([sample.instances for sample in samples], dataset.classes)      # the same of values in memory
    average_precision(truth, results_of([prediction.instances for prediction in predictions]))

The counting is faster-coco-eval's, which gives what pycocotools gives. It is native code that trusts its input, so all of a file
is checked before: what reaches it are masks that were decoded and encoded here, and finite numbers."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.annotations import (
    Annotated,
    Annotations,
    Box,
    Picture,
    box_of,
    known_category,
    mask_of,
    number,
    read_json,
    whole,
)
from perpixel.bootstrap import Intervals, of_figures, weights_of
from perpixel.boundary_iou import mask_band
from perpixel.classes import ClassTable
from perpixel.errors import DataError, did_you_mean
from perpixel.outcomes import Outcomes
from perpixel.protocol import hash_of
from perpixel.rle import decode, encode, shown
from perpixel.sample import Instances
from perpixel.version import VERSION

KINDS = {"mask": "segm", "box": "bbox", "boundary": "segm"}
FIGURES = (
    "AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR_1", "AR_10", "AR_100", "AR_small", "AR_medium", "AR_large",
)  # fmt: skip
RULES = {
    "AP": "mean over IoU 0.50, 0.55 .. 0.95, 101 points of recall and categories that the truth has; 100 objects a picture",
    "AR_N": "greatest recall with N objects a picture, mean over the same",
    "small_medium_large": "by the truth's area: below 32 x 32 pixels, to 96 x 96, above",
    "crowd": "what lies in a crowd counts nowhere",
}
LARGEST_SCORE = 1e9


@dataclass(frozen=True)
class Result:
    """An object that was found: ids of its picture and category, `score`, and a box, or a mask as COCO's compressed string."""

    picture: int
    category: int
    score: float
    box: Box | None = None
    counts: str | None = None


@dataclass(frozen=True)
class InstanceScores:
    """`figures` are the twelve of `FIGURES` in 0..1, nan where the truth has no such object; `by_category` is AP of each; and if
    asked for the intervals of the figures."""

    figures: dict[str, float]
    by_category: dict[str, float]
    protocol: dict[str, Any]
    intervals: Intervals | None = None

    @property
    def protocol_hash(self) -> str:
        return hash_of(self.protocol)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; nan is null."""
        return {
            "figures": {name: _plain(value) for name, value in self.figures.items()},
            "by_category": {name: _plain(value) for name, value in self.by_category.items()},
            "protocol": self.protocol,
            "protocol_hash": self.protocol_hash,
            **({} if self.intervals is None else {"bootstrap": self.intervals.to_json()}),
        }


def read_results(path: Path, truth: Annotations) -> list[Result]:
    """A results file as COCO's server takes it: a list of image_id, category_id, score, and bbox or segmentation.

    Raises DataError, one sentence with the file and the entry, for whatever is not so, or is of no picture of `truth`."""
    content = read_json(path)
    if not isinstance(content, list):
        raise DataError(f"{path}: holds {shown(content)}, not a list of results.")
    found = []
    for place, entry in enumerate(content):
        where = f"{path}, result {place}"
        if not isinstance(entry, dict):
            raise DataError(f"{where}: is {shown(entry)}, not an object with image_id, category_id and score.")
        picture = truth.pictures.get(whole(entry, "image_id", where))
        if picture is None:
            raise DataError(f"{where}: image_id {shown(entry['image_id'])} is no picture of {truth.path}; correct it.")
        category, score = known_category(entry, truth.categories, where), number(entry, "score", where)
        if abs(score) > LARGEST_SCORE:
            raise DataError(f"{where}: score {score:g} is beyond {LARGEST_SCORE:g}; scores order objects, scale them.")
        box = None if entry.get("bbox") is None else box_of(entry, where)
        counts = None
        if entry.get("segmentation") is not None:
            try:
                counts = encode(mask_of(entry["segmentation"], picture.height, picture.width))
            except ValueError as error:
                raise DataError(f"{where}: {error}") from None
        if box is None and counts is None:
            raise DataError(f"{where}: has neither bbox nor segmentation; add what was found.")
        found.append(Result(picture.id, category, score, box, counts))
    return found


class Ranking:
    """The matches of `results` with the objects of `truth` by `kind`: mask, box or boundary, and the figures that they make.

    `matches` (categories, ranges of area, N), in the order of ids, are faster-coco-eval's. Raises what `average_precision`
    does."""

    def __init__(self, truth: Annotations, results: list[Result], kind: str = "mask") -> None:
        if kind not in KINDS:
            raise did_you_mean("kind of average precision", kind, KINDS)
        # Ids of a file may be any numbers; native code gets 1, 2 .. in the same order, which decides between equal scores.
        picture_ids = {id: place for place, id in enumerate(sorted(truth.pictures), start=1)}
        category_ids = {id: place for place, id in enumerate(sorted(truth.categories), start=1)}
        images = [{"id": picture_ids[one.id], "height": one.height, "width": one.width} for one in truth.pictures.values()]
        categories = [{"id": category_ids[id], "name": name} for id, name in truth.categories.items()]
        digest = hashlib.sha256()
        objects: list[dict[str, Any]] = []
        for ones in truth.objects.values():
            for one in ones:
                entry = {"id": len(objects) + 1, "image_id": one.picture.id, "category_id": one.category,
                         "iscrowd": int(one.crowd), **_shape(truth, one, kind)}  # fmt: skip
                digest.update(repr(sorted(entry.items())).encode())
                objects.append(entry | {"image_id": picture_ids[one.picture.id], "category_id": category_ids[one.category]})
        found = []
        for place, result in enumerate(results):
            if (result.box if kind == "box" else result.counts) is None:
                what = "box" if kind == "box" else "mask"
                raise DataError(f"result {place}: has no {what} to judge by {kind}; judge by the other.")
            found.append({"id": place + 1, "image_id": picture_ids[result.picture],
                          "category_id": category_ids[result.category], "score": result.score, "iscrowd": 0,
                          **_found(truth, result, kind)})  # fmt: skip
        self._judge = _judge(images, categories, objects, found, kind)
        shape = (len(categories), len(self._judge.params.areaRng), len(images))
        self.matches: NDArray[Any] = np.array(self._judge._evalImgs_cpp, object).reshape(shape)
        self.categories = [truth.categories[id] for id in sorted(truth.categories)]
        self.protocol: dict[str, Any] = {
            "perpixel": VERSION, "data": digest.hexdigest(), "pictures": len(images), "instances": {"kind": kind, **RULES},
        }  # fmt: skip

        self._judge.accumulate()
        self._judge.summarize()
        self.figures = _by_name(self._judge.stats[:12])

    def by_category(self) -> dict[str, float]:
        """AP of each category."""
        precision = np.asarray(self._judge.eval["precision"])[:, :, :, 0, -1]  # (IoU, recall, category), all areas, 100 objects
        return {name: _mean(precision[:, :, place]) for place, name in enumerate(self.categories)}


def weighted_figures(*rankings: Ranking) -> Callable[[NDArray[Any]], dict[str, float]]:
    """A function of weights (N * rankings,): the figures where the N pictures count so often with the results of the first
    ranking, so often with those of the second ..."""
    rules, pictures = rankings[0]._judge.params, rankings[0].matches.shape[2]
    outcomes = Outcomes(np.concatenate([one.matches for one in rankings], 2), pictures, rules.iouThrs, rules.recThrs)
    for place, one in enumerate(rankings):  # the layout of those matches is nobody's promise
        again = outcomes.figures(np.repeat(np.arange(len(rankings)) == place, pictures))
        assert np.allclose(again, [*one.figures.values()], rtol=0, atol=1e-9, equal_nan=True), (again, one.figures)
    return lambda weights: _by_name(outcomes.figures(weights))


def _judge(
    images: list[dict[str, Any]], categories: list[dict[str, Any]], objects: list[dict[str, Any]], found: list[dict[str, Any]],
    kind: str,
) -> Any:  # fmt: skip
    """faster-coco-eval's, with every picture and category matched."""
    from faster_coco_eval import COCO, COCOeval_faster, mask

    class Judge(COCOeval_faster):  # type: ignore[misc]
        """As it is, but with the lower IoU of masks and bands by boundary. It could cut bands itself; but where d is half a
        pixel over a whole one it rounds unlike the authors' code (405 x 540), and in pictures of few rows it cuts wrong ones."""

        def computeIoU(self, imgId: int, catId: int) -> Any:
            masks = super().computeIoU(imgId, catId)
            if kind != "boundary" or not len(masks):
                return masks
            true, seen = (of.get_instances([imgId], [catId], True)[0][0] for of in (self.gt_dataset, self.dt_dataset))
            order = np.argsort([-one["score"] for one in seen], kind="stable")[: self.params.maxDets[-1]]
            crowd = np.array([one["iscrowd"] for one in true], np.bool_)
            bands = mask.iou([seen[i]["band"] for i in order], [one["band"] for one in true], crowd.astype(int).tolist())
            return np.where(crowd, masks, np.minimum(masks, bands))

    loaded = []
    for entries in (objects, found):
        coco = COCO()
        coco.dataset = {"images": images, "categories": categories, "annotations": entries}
        coco.createIndex()
        loaded.append(coco)
    judge = Judge(*loaded, iouType=KINDS[kind], separate_eval=True)
    judge.evaluate()
    return judge


def average_precision(
    truth: Annotations,
    results: list[Result],
    kind: str = "mask",
    bootstrap: int = 0,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> InstanceScores:
    """The twelve figures by `kind`: mask, box or boundary.

    `bootstrap` is the number of samples of pictures that intervals are made of, none with 0; see `bootstrap`. `progress` is told
    how many are scored.

    Raises DataError where a result has no mask, or no box, or the truth has none, and UnknownName for another kind."""
    ranking = Ranking(truth, results, kind)
    sure = None
    if bootstrap:
        drawn, figures_of = [], weighted_figures(ranking)
        for weights in weights_of(len(truth.pictures), bootstrap, seed):
            drawn.append(figures_of(weights))
            if progress is not None:
                progress(len(drawn), bootstrap)
        sure = of_figures(drawn, len(truth.pictures), seed)
    return InstanceScores(ranking.figures, ranking.by_category(), ranking.protocol, sure)


def truth_of(instances: Sequence[Instances], classes: ClassTable) -> Annotations:
    """The true objects of pictures 0, 1 .. as annotations, whose categories are class ids; areas and boxes are the masks'."""
    pictures, objects = {}, {}
    for id, ones in enumerate(instances):
        pictures[id] = picture = Picture(id, str(id), *ones.masks.shape[1:])
        objects[id] = [
            Annotated(place, picture, int(class_id), {"size": list(mask.shape), "counts": encode(mask)}, float(mask.sum()),
                      _box(mask), bool(crowd))
            for place, (mask, class_id, crowd) in enumerate(zip(ones.masks, ones.class_ids, ones.crowd, strict=True))
        ]  # fmt: skip
    return Annotations(Path("truth"), pictures, dict(enumerate(classes.names)), objects)


def results_of(instances: Sequence[Instances]) -> list[Result]:
    """The objects that were found in the pictures of `truth_of`. Raises DataError for a picture whose objects have no scores, or
    one that is not finite."""
    found = []
    for id, ones in enumerate(instances):
        if ones.scores is None or not np.isfinite(ones.scores).all():
            what = "no scores" if ones.scores is None else "a score that is not finite"
            raise DataError(f"picture {id}: its objects have {what}; AP ranks objects by their scores.")
        for mask, class_id, score in zip(ones.masks, ones.class_ids, ones.scores, strict=True):
            found.append(Result(id, int(class_id), float(score), _box(mask), encode(mask)))
    return found


def _box(mask: NDArray[np.bool_]) -> Box:
    """Left, top, width and height of the pixels of a mask (H, W); zeros for an empty one."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return 0.0, 0.0, 0.0, 0.0
    return float(columns[0]), float(rows[0]), float(np.ptp(columns)) + 1, float(np.ptp(rows)) + 1


def _shape(truth: Annotations, one: Any, kind: str) -> dict[str, Any]:
    """The mask or box of an object of the truth, and its area: the file's, as the official code takes it, or else its own."""
    if kind == "box":
        if one.box is None:
            raise DataError(f"{truth.path}, annotation {one.id}: has no bbox to judge by; add it.")
        return {"bbox": list(one.box), "area": one.area if one.area is not None else one.box[2] * one.box[3]}
    mask = truth.mask(one)
    shape = {**_masks(mask, kind), "bbox": list(one.box or (0.0, 0.0, 0.0, 0.0))}
    return {**shape, "area": one.area if one.area is not None else float(mask.sum())}


def _masks(mask: NDArray[np.bool_], kind: str) -> dict[str, Any]:
    """A mask, and by boundary its band, as native code takes them."""
    masks = {"segmentation": mask, "band": mask_band(mask)} if kind == "boundary" else {"segmentation": mask}
    return {name: {"size": list(mask.shape), "counts": encode(one)} for name, one in masks.items()}


def _found(truth: Annotations, result: Result, kind: str) -> dict[str, Any]:
    if kind == "box":
        assert result.box is not None
        return {"bbox": list(result.box), "area": result.box[2] * result.box[3]}
    assert result.counts is not None
    picture = truth.pictures[result.picture]
    mask = decode(result.counts, picture.height, picture.width)
    return {**_masks(mask, kind), "bbox": [0.0, 0.0, 0.0, 0.0], "area": float(mask.sum())}


def _by_name(values: Any) -> dict[str, float]:
    return {name: math.nan if value < 0 else float(value) for name, value in zip(FIGURES, values, strict=True)}


def _mean(values: Any) -> float:
    known = values[values > -1]
    return float(known.mean()) if known.size else math.nan


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value
