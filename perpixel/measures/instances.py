"""AP and AR of instances by the rules of COCO's challenge (cocodataset.org, Detection Evaluation; Lin et al., ECCV 2014), by
masks, by boxes, or by the borders of masks (Boundary AP: Cheng et al., CVPR 2021, dilation 0.02 of the diagonal).

    truth = read_annotations(Path("annotations/instances_val2017.json"))
    ranking = Ranking(truth, read_results(Path("results.json"), truth), "mask")
    ranking.figures["AP"]                    # mean over IoU 0.50, 0.55 .. 0.95, 101 recalls, and categories

    truth = truth_of([sample.instances for sample in samples], dataset.classes.names)      # the same for objects in memory
    Ranking(truth, results_of([prediction.instances for prediction in predictions]))

Proposals of objects without a class are judged `agnostic`, by the first `most` of a picture: AR at 1,000 is COCO's AR with
useCats = 0 and maxDets = 1000.

Masks are read and intersected as run lengths (`runs`), matched (`matching`) and counted (`outcomes`) by perpixel; the figures are
those of pycocotools to the last digit."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from perpixel.classes import BACKGROUND_NAME
from perpixel.datasets.coco_annotations import (
    Annotated,
    Annotations,
    ListedPicture,
    box_of,
    known_category,
    number,
    parsed,
    read_annotations,
    runs_of,
    whole,
)
from perpixel.datasets.coco_json import Box, ResultEntry, box_array, quick, rle_runs, sound_boxes
from perpixel.errors import DataError, UsageError, did_you_mean
from perpixel.files import read_bytes
from perpixel.masks.rle import compress, encode_part, shown
from perpixel.measures.measure import Better, Figures, FiguresOf, Measure, Needs, Pairs, Summary, Table, columns, percent
from perpixel.sample import Crop, Instances, Prediction, Sample
from perpixel.version import VERSION

if TYPE_CHECKING:  # modules with compiled code take 0.4 s to load
    from perpixel.classes import ClassTable
    from perpixel.datasets import Dataset
    from perpixel.masks.runs import Runs
    from perpixel.measures.matching import Entries, Shapes

KINDS = ("mask", "box", "boundary")
FIGURES = (
    "AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR_1", "AR_10", "AR_100", "AR_small", "AR_medium", "AR_large",
)  # fmt: skip
LARGEST_SCORE = 1e9
ALL = "all objects"  # the name of the one category where classes do not matter


class Result(msgspec.Struct, frozen=True, gc=False):
    """A predicted object: ids of its picture and category, `score`, and a box, or a mask as COCO's compressed string."""

    picture: int
    category: int
    score: float
    box: Box | None = None
    counts: str | None = None


def read_results(path: Path, truth: Annotations) -> list[Result]:
    """A results file as COCO's server takes it: a list of image_id, category_id, score, and bbox or segmentation.

    Raises DataError, one sentence with the file and the entry, for any other content, and for a picture that `truth` does not
    have."""
    data = read_bytes(path)
    entries = quick(data, list[ResultEntry])
    known = None if entries is None else _sound(entries, truth)
    if known is not None:
        return known
    content = parsed(path, data)
    if not isinstance(content, list):
        raise DataError(f"{path}: holds {shown(content)}, not a list of results.")
    results = []
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
                counts = compress(runs_of(entry["segmentation"], picture.height, picture.width))
            except ValueError as error:
                raise DataError(f"{where}: {error}") from None
        if box is None and counts is None:
            raise DataError(f"{where}: has neither bbox nor segmentation; add one of them.")
        results.append(Result(picture.id, category, score, box, counts))
    return results


def _sound(entries: Sequence[ResultEntry], truth: Annotations) -> list[Result] | None:
    """The results; None where one of them is not sound."""
    scores = np.array([entry.score for entry in entries], np.float64)
    if not (
        {entry.image_id for entry in entries} <= truth.pictures.keys()
        and {entry.category_id for entry in entries} <= truth.categories.keys()
        and (np.abs(scores) <= LARGEST_SCORE).all()
        and sound_boxes(entries)
        and all(entry.bbox is not None or entry.segmentation is not None for entry in entries)
    ):
        return None
    pictures = [truth.pictures[entry.image_id] for entry in entries if entry.segmentation is not None]
    masks = [entry.segmentation for entry in entries if entry.segmentation is not None]
    counts: Iterator[str] = iter(())
    if masks:
        from perpixel.masks.runs import write

        runs = rle_runs(masks, _sizes(pictures))
        if runs is None:
            return None
        counts = iter(write(runs))
    return [
        Result(
            entry.image_id, entry.category_id, entry.score, entry.bbox, None if entry.segmentation is None else next(counts)
        )
        for entry in entries
    ]  # fmt: skip


class Ranking(Sequence[Any]):
    """The matches of `results` with the objects of `truth` by `kind`: mask, box or boundary, and the figures that they make.

    `agnostic`: all categories are one. `most`: results of a category in a picture that count. Pictures and categories are in the
    order of their ids. As a sequence it takes the place of the rows of its pictures. Raises DataError where a result or an object
    of the truth has no mask, or no box, to judge by; UnknownName for another kind; UsageError for a `most` below 11."""

    def __init__(
        self, truth: Annotations, results: Sequence[Result], kind: str = "mask", agnostic: bool = False, most: int = 100
    ) -> None:
        measure = AveragePrecision(kind, agnostic, most)
        from perpixel.measures.matching import match
        from perpixel.measures.outcomes import Outcomes

        self.pictures = len(truth.pictures)
        objects, digest = _objects(truth, kind)
        predicted = _results(truth, results, kind)
        if agnostic:
            objects, predicted = _of_one_category(objects), _of_one_category(predicted)
        self.matches = match(objects, predicted, self.pictures, most)
        self.categories = [ALL] if agnostic else [truth.categories[id] for id in sorted(truth.categories)]
        self.protocol: dict[str, Any] = {
            "perpixel": VERSION, "data": digest, "pictures": self.pictures, **measure.protocol(),
        }  # fmt: skip
        figures, by_category = Outcomes([self.matches], self.pictures, len(self.categories)).official()
        self.figures = measure.named(figures)
        self.by_category = dict(zip(self.categories, by_category, strict=True))

    def __len__(self) -> int:
        return self.pictures

    def __getitem__(self, place: Any) -> Any:
        raise TypeError("the pictures of a ranking are judged together")


@dataclass(frozen=True)
class InstancePair:
    """The true and the predicted objects of a picture."""

    truth: Instances
    predicted: Instances


@dataclass(frozen=True)
class AveragePrecision(Measure[InstancePair]):
    """COCO's twelve figures by `kind`: mask, box or boundary.

    `agnostic` judges all categories as one. `most` results of a category in a picture count; the last AR is named after it.
    Raises UnknownName for another kind, UsageError for a `most` below 11, since AR_10 is a figure too."""

    kind: str = "mask"
    agnostic: bool = False
    most: int = 100

    name: ClassVar[str] = "instances"
    entry: ClassVar[str] = "instances"
    rules: ClassVar[Mapping[str, str]] = {
        "AP": "mean over IoU 0.50, 0.55 .. 0.95, 101 points of recall and categories that the truth has; 100 objects a picture",
        "AR_N": "greatest recall with N objects a picture, mean over the same",
        "small_medium_large": "by the truth's area: below 32 x 32 pixels, to 96 x 96, above",
        "crowd": "what lies in a crowd counts nowhere",
    }
    needs: ClassVar[Needs] = "instances"
    better: ClassVar[Mapping[str, Better]] = dict.fromkeys(FIGURES, "larger")
    at_once: ClassVar[int | None] = 1
    enough: ClassVar[int] = 100

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise did_you_mean("kind of average precision", self.kind, KINDS)
        if self.most <= 10:
            raise UsageError(f"most = {self.most}: must be 11 or more, since AR_1 and AR_10 are figures too.")

    def settings(self) -> dict[str, Any]:
        """The kind; and settings that differ from COCO's own, in words."""
        settings: dict[str, Any] = {"kind": self.kind}
        if self.agnostic:
            settings["agnostic"] = "all categories are one"
        if self.most != AveragePrecision.most:
            settings["most"] = f"{self.most} objects a picture, in place of {AveragePrecision.most}"
        return settings

    def named(self, figures: Sequence[float]) -> dict[str, float]:
        """The twelve figures by their names."""
        names = [f"AR_{self.most}" if name == f"AR_{AveragePrecision.most}" else name for name in FIGURES]
        return dict(zip(names, figures, strict=True))

    def truth(self, dataset: Dataset) -> Dataset:
        from perpixel.datasets import with_objects

        return with_objects(dataset)

    def files(self, results: Path, truth: Path) -> Pairs[InstancePair]:
        annotations = read_annotations(truth)
        ranking = Ranking(annotations, read_results(results, annotations), self.kind, self.agnostic, self.most)
        names = [picture.file_name for picture in annotations.pictures.values()]
        return Pairs(names, ranking.categories, lambda _: ranking.protocol, _no_picture, _no_picture, rows=ranking)

    def refuse(self, truth: Sample, classes: ClassTable) -> None:
        if truth.instances is None:
            raise DataError(f"{truth.name}: has no instances to judge by; add them, or judge its pixels.")

    def count(self, truth: Sample, predicted: Prediction) -> tuple[InstancePair, bytes]:
        self.refuse(truth, predicted.classes)
        assert truth.instances is not None
        if predicted.instances is None:
            raise DataError(f"{truth.name}: no objects are predicted; judge a network that detects, or a results file.")
        held = truth.instances
        digest = hashlib.sha256(f"{truth.name}\0{held.class_ids.tolist()}\0{held.crowd.tolist()}".encode())
        digest.update(json.dumps([_string(held.crop(index)) for index in range(len(held.class_ids))]).encode())
        return InstancePair(_small(held), _small(predicted.instances)), digest.digest()

    def figures(self, *sides: Sequence[InstancePair]) -> FiguresOf:
        from perpixel.measures.outcomes import Outcomes

        rankings = [self.ranking(side) for side in sides]
        outcomes = Outcomes([ranking.matches for ranking in rankings], rankings[0].pictures, len(rankings[0].categories))
        return lambda weights: Figures(
            columns(self.named(outcomes.figures(held)) for held in weights)
        )

    def summary(self, rows: Sequence[InstancePair], classes: Sequence[str], names: Sequence[str]) -> Summary:
        ranking = self.ranking(rows, classes)
        figures = ranking.figures
        never = _never_objects(() if isinstance(rows, Ranking) else classes)
        by_category = {name: ap for name, ap in ranking.by_category.items() if name.lower() not in never or not math.isnan(ap)}
        ranked = sorted(by_category.items(), key=lambda item: (math.isnan(item[1]), item[1]))
        tables: list[Table | str] = [
            Table(("", ""), [(name, percent(value)) for name, value in figures.items()]),
            "",
            Table(("category", "AP"), [(name, percent(value)) for name, value in ranked]),
        ]
        return Summary(figures, {"by_category": by_category}, tables, "", ranking)

    def ranking(self, rows: Sequence[InstancePair], classes: Sequence[str] = ()) -> Ranking:
        """The matches of all pictures; without `classes` their names are their numbers."""
        if isinstance(rows, Ranking):
            return rows
        every = [pair.truth.class_ids for pair in rows] + [pair.predicted.class_ids for pair in rows]
        names = classes or [str(i) for i in range(1 + max((int(ids.max()) for ids in every if len(ids)), default=0))]
        return Ranking(
            truth_of([pair.truth for pair in rows], names), results_of([pair.predicted for pair in rows]),
            self.kind, self.agnostic, self.most,
        )  # fmt: skip


def _never_objects(classes: Sequence[str]) -> set[str]:
    """Background, and the names of the classes of a published set whose objects it does not tell apart."""
    if not classes:
        return {BACKGROUND_NAME}
    from perpixel.datasets import THINGS

    return {BACKGROUND_NAME, *({*classes} - {*THINGS.get(tuple(classes), classes)})}


def _no_picture(*_: Any) -> Any:
    raise AssertionError("the pictures of a results file are ranked together")


def _small(instances: Instances) -> Instances:
    """The same objects, with masks as crops, which need less memory."""
    crops = [instances.crop(index) for index in range(len(instances.class_ids))]
    size = crops[0].size if crops else (1, 1)
    kept = Instances.of_crops(crops, size, instances.class_ids, instances.crowd)
    kept.scores = instances.scores
    return kept


def truth_of(instances: Sequence[Instances], classes: Sequence[str]) -> Annotations:
    """The true objects of pictures 0, 1 .. as annotations. Categories are class ids; areas and boxes are those of the masks."""
    pictures, objects = {}, {}
    for id, held in enumerate(instances):
        pictures[id] = picture = ListedPicture(id, str(id), *held.size)
        objects[id] = [
            Annotated(place, picture, int(class_id), json.dumps({"size": crop.size, "counts": _string(crop)}).encode(),
                      float(crop.pixels.sum()), _box(crop), bool(crowd))
            for place, (crop, class_id, crowd) in enumerate(zip(_each_crop(held), held.class_ids, held.crowd, strict=True))
        ]  # fmt: skip
    return Annotations(Path("truth"), pictures, dict(enumerate(classes)), objects)


def results_of(instances: Sequence[Instances]) -> list[Result]:
    """The predicted objects of the pictures of `truth_of`. Raises DataError for a picture whose objects have no scores, or a
    score that is not finite."""
    results = []
    for id, objects in enumerate(instances):
        if objects.scores is None or not np.isfinite(objects.scores).all():
            problem = "no scores" if objects.scores is None else "a score that is not finite"
            raise DataError(f"picture {id}: its objects have {problem}; AP ranks objects by their scores.")
        for crop, class_id, score in zip(_each_crop(objects), objects.class_ids, objects.scores, strict=True):
            results.append(Result(id, int(class_id), float(score), _box(crop), _string(crop)))
    return results


def _each_crop(objects: Instances) -> Iterator[Crop]:
    """The objects one by one, without masks of the size of the picture: those of 10,000 would fill the memory."""
    return (objects.crop(index) for index in range(len(objects.class_ids)))


def _string(crop: Crop) -> str:
    return encode_part(crop.pixels, crop.top, crop.left, crop.size)


def _of_one_category(entries: Entries) -> Entries:
    """The entries as one category, in the order of their former categories, as COCO's useCats = 0 has them."""
    ordered = entries.at(np.argsort(entries.categories, kind="stable"))
    return replace(ordered, categories=np.zeros_like(ordered.categories))


def _box(crop: Crop) -> Box:
    """Left, top, width and height of the pixels of an object; zeros for one without pixels."""
    return float(crop.left), float(crop.top), float(crop.shape[1]), float(crop.shape[0])


def _objects(truth: Annotations, kind: str) -> tuple[Entries, str]:
    """The objects of the truth, and their digest. Areas are those of the file, as in the official code, or else those of the
    shapes."""
    from perpixel.measures.matching import Entries, by_boxes

    objects = [object_ for of_picture in truth.objects.values() for object_ in of_picture]
    parts: list[list[str]] = []
    if kind == "box":
        for object_ in objects:
            if object_.box is None:
                raise DataError(f"{truth.path}, annotation {object_.id}: has no bbox to judge by; add it.")
        shapes = by_boxes(box_array(object_.box for object_ in objects if object_.box is not None))
    else:
        from perpixel.masks.runs import write

        sizes = _sizes(object_.picture for object_ in objects)
        masks = truth.runs(objects)
        shapes, bands = _masks(masks, sizes, kind)
        parts = [write(runs) for runs in (masks, bands) if runs is not None]
        del masks, bands  # `shapes` has its own arrays
    areas = [area if object_.area is None else object_.area for object_, area in zip(objects, shapes.areas.tolist(), strict=True)]
    pictures, categories = _places(truth)
    entries = Entries(
        np.array([pictures[object_.picture.id] for object_ in objects], np.int64),
        np.array([categories[object_.category] for object_ in objects], np.int64),
        np.array(areas, np.float64), shapes, np.array([object_.crowd for object_ in objects], np.float64),
    )  # fmt: skip
    return entries, _digest(objects, areas, *parts)


def _results(truth: Annotations, results: Sequence[Result], kind: str) -> Entries:
    from perpixel.measures.matching import Entries, by_boxes

    for place, result in enumerate(results):
        if (result.box if kind == "box" else result.counts) is None:
            part = "box" if kind == "box" else "mask"
            raise DataError(f"result {place}: has no {part} to judge by {kind}; judge by the other.")
    if kind == "box":
        shapes = by_boxes(box_array(result.box for result in results if result.box is not None))
    else:
        from perpixel.masks.runs import read

        sizes = _sizes(truth.pictures[result.picture] for result in results)
        masks = read([str(result.counts) for result in results], sizes.prod(1))
        if isinstance(masks, int):
            raise DataError(f"result {masks}: its counts are no mask of its picture, as `rle.encode` writes them.")
        shapes, _ = _masks(masks, sizes, kind)
    pictures, categories = _places(truth)
    return Entries(
        np.array([pictures[result.picture] for result in results], np.int64),
        np.array([categories[result.category] for result in results], np.int64),
        shapes.areas, shapes, np.array([result.score for result in results], np.float64),
    )  # fmt: skip


def _places(truth: Annotations) -> tuple[dict[int, int], dict[int, int]]:
    """The place of each picture and each category in the order of ids, by id. This order decides between equal scores."""
    pictures, categories = ({id: place for place, id in enumerate(sorted(ids))} for ids in (truth.pictures, truth.categories))
    return pictures, categories


def _sizes(pictures: Iterable[ListedPicture]) -> NDArray[np.int64]:
    return np.array([(picture.height, picture.width) for picture in pictures], np.int64).reshape(-1, 2)


def _masks(masks: Runs, sizes: NDArray[np.int64], kind: str) -> tuple[Shapes, Runs | None]:
    """The shapes of masks in pictures of `sizes` (N, 2), heights and widths; by boundary also their bands."""
    from perpixel.measures.matching import by_masks

    heights, widths = np.ascontiguousarray(sizes.T)
    bands = None
    if kind == "boundary":
        from perpixel.masks import runs
        from perpixel.measures.boundary_iou import width_of

        depths = {size: width_of(size) for size in set(zip(heights.tolist(), widths.tolist(), strict=True))}
        bands = runs.bands(masks, heights, widths, np.array([depths[tuple(size)] for size in sizes.tolist()], np.int64))
    return by_masks(masks, heights, bands), bands


def _digest(objects: Sequence[Annotated], areas: Sequence[float], masks: Sequence[str] = (), bands: Sequence[str] = ()) -> str:
    """The SHA-256 of all values of the truth's objects that decide a judgement."""
    digest = hashlib.sha256()
    for place, object_ in enumerate(objects):
        band = mask = ""
        if masks:
            size = f"{{'size': [{object_.picture.height}, {object_.picture.width}], 'counts': "
            band = f"('band', {size}{bands[place]!r}}}), " if bands else ""
            mask = f", ('segmentation', {size}{masks[place]!r}}})"
        left, top, width, height = object_.box or (0.0, 0.0, 0.0, 0.0)
        digest.update(
            f"[('area', {areas[place]!r}), {band}('bbox', [{left!r}, {top!r}, {width!r}, {height!r}]), "
            f"('category_id', {object_.category}), ('id', {place + 1}), ('image_id', {object_.picture.id}), "
            f"('iscrowd', {object_.crowd:d}){mask}]".encode()
        )
    return digest.hexdigest()
