"""AP and AR of instances as COCO's challenge has them (cocodataset.org, Detection Evaluation; Lin et al., ECCV 2014), by masks,
by boxes, or by the borders of masks (Boundary AP: Cheng et al., CVPR 2021, dilation 0.02 of the diagonal).

    truth = read_annotations(Path("annotations/instances_val2017.json"))
    ranking = Ranking(truth, read_results(Path("results.json"), truth), "mask")
    ranking.figures["AP"]                    # mean over IoU 0.50, 0.55 .. 0.95, 101 recalls, and categories

    truth = truth_of([sample.instances for sample in samples], dataset.classes.names)      # the same of values in memory
    Ranking(truth, results_of([prediction.instances for prediction in predictions]))

Proposals of objects whose class nobody asks for are judged `agnostic`, by the first `most` of a picture: AR at 1,000 is COCO's
with useCats = 0 and maxDets 1000.

Masks are drawn, read and intersected as run lengths (`runs`), matched (`matching`) and counted (`outcomes`) here; the figures are
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

from perpixel.datasets.coco_annotations import (
    Annotated,
    Annotations,
    Picture,
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
from perpixel.masks.rle import compress, encode, shown
from perpixel.measures.measure import Better, Figures, FiguresOf, Measure, Needs, Pairs, Summary, Table, columns, percent
from perpixel.sample import Instances, Prediction, Sample
from perpixel.version import VERSION

if TYPE_CHECKING:  # what is compiled takes 0.4 s to load
    from perpixel.classes import ClassTable
    from perpixel.datasets import Dataset
    from perpixel.masks.runs import Runs
    from perpixel.measures.matching import Entries, Shapes

KINDS = ("mask", "box", "boundary")
FIGURES = (
    "AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR_1", "AR_10", "AR_100", "AR_small", "AR_medium", "AR_large",
)  # fmt: skip
LARGEST_SCORE = 1e9
ALL = "all objects"  # the one category of what is judged class-agnostic


class Result(msgspec.Struct, frozen=True, gc=False):
    """An object that was found: ids of its picture and category, `score`, and a box, or a mask as COCO's compressed string."""

    picture: int
    category: int
    score: float
    box: Box | None = None
    counts: str | None = None


def read_results(path: Path, truth: Annotations) -> list[Result]:
    """A results file as COCO's server takes it: a list of image_id, category_id, score, and bbox or segmentation.

    Raises DataError, one sentence with the file and the entry, for whatever is not so, or is of no picture of `truth`."""
    data = read_bytes(path)
    entries = quick(data, list[ResultEntry])
    known = None if entries is None else _sound(entries, truth)
    if known is not None:
        return known
    content = parsed(path, data)
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
                counts = compress(runs_of(entry["segmentation"], picture.height, picture.width))
            except ValueError as error:
                raise DataError(f"{where}: {error}") from None
        if box is None and counts is None:
            raise DataError(f"{where}: has neither bbox nor segmentation; add what was found.")
        found.append(Result(picture.id, category, score, box, counts))
    return found


def _sound(entries: Sequence[ResultEntry], truth: Annotations) -> list[Result] | None:
    """The results; none where one is not sound."""
    scores = np.array([one.score for one in entries], np.float64)
    if not (
        {one.image_id for one in entries} <= truth.pictures.keys()
        and {one.category_id for one in entries} <= truth.categories.keys()
        and (np.abs(scores) <= LARGEST_SCORE).all()
        and sound_boxes(entries)
        and all(one.bbox is not None or one.segmentation is not None for one in entries)
    ):
        return None
    pictures = [truth.pictures[one.image_id] for one in entries if one.segmentation is not None]
    masks = [one.segmentation for one in entries if one.segmentation is not None]
    counts: Iterator[str] = iter(())
    if masks:
        from perpixel.masks.runs import write

        found = rle_runs(masks, _sizes(pictures))
        if found is None:
            return None
        counts = iter(write(found))
    return [Result(one.image_id, one.category_id, one.score, one.bbox, None if one.segmentation is None else next(counts))
            for one in entries]  # fmt: skip


class Ranking(Sequence[Any]):
    """The matches of `results` with the objects of `truth` by `kind`: mask, box or boundary, and the figures that they make.

    `agnostic`: all categories are one. `most`: results of a category in a picture that count. Pictures and categories are in the
    order of their ids. As a sequence it stands for the rows of its pictures. Raises DataError where a result has no mask, or no
    box, or the truth has none, and UnknownName for another kind, UsageError for a `most` below 11."""

    def __init__(
        self, truth: Annotations, results: Sequence[Result], kind: str = "mask", agnostic: bool = False, most: int = 100
    ) -> None:
        measure = AveragePrecision(kind, agnostic, most)
        from perpixel.measures.matching import match
        from perpixel.measures.outcomes import Outcomes

        self.pictures = len(truth.pictures)
        objects, digest = _objects(truth, kind)
        found = _results(truth, results, kind)
        if agnostic:
            objects, found = _of_one_category(objects), _of_one_category(found)
        self.matches = match(objects, found, self.pictures, most)
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
            raise UsageError(f"most = {self.most}: must be 11 or more, since AR_1 and AR_10 are told too.")

    def settings(self) -> dict[str, Any]:
        """What is not COCO's own way is told in words beside it."""
        told: dict[str, Any] = {"kind": self.kind}
        if self.agnostic:
            told["agnostic"] = "all categories are one"
        if self.most != AveragePrecision.most:
            told["most"] = f"{self.most} objects a picture, in place of {AveragePrecision.most}"
        return told

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
            raise DataError(f"{truth.name}: has no instances to judge by; add them, or judge without --instances.")

    def count(self, truth: Sample, predicted: Prediction) -> tuple[InstancePair, bytes]:
        self.refuse(truth, predicted.classes)
        assert truth.instances is not None
        if predicted.instances is None:
            raise DataError(f"{truth.name}: no objects are predicted; judge a network that detects, or a results file.")
        held = truth.instances
        digest = hashlib.sha256(f"{truth.name}\0{held.class_ids.tolist()}\0{held.crowd.tolist()}".encode())
        digest.update(json.dumps([encode(mask) for mask in held.masks]).encode())
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
        figures, by_category = ranking.figures, ranking.by_category
        ranked = sorted(by_category.items(), key=lambda item: (math.isnan(item[1]), item[1]))
        tables: list[Table | str] = [
            Table(("", ""), [(name, percent(value)) for name, value in figures.items()]),
            "",
            Table(("category", "AP"), [(name, percent(value)) for name, value in ranked]),
        ]
        return Summary(figures, {"by_category": by_category}, tables, "", ranking)

    def ranking(self, rows: Sequence[InstancePair], classes: Sequence[str] = ()) -> Ranking:
        """The matches of all pictures; without `classes` the numbers of classes name them."""
        if isinstance(rows, Ranking):
            return rows
        every = [pair.truth.class_ids for pair in rows] + [pair.predicted.class_ids for pair in rows]
        names = classes or [str(i) for i in range(1 + max((int(ids.max()) for ids in every if len(ids)), default=0))]
        return Ranking(
            truth_of([pair.truth for pair in rows], names), results_of([pair.predicted for pair in rows]),
            self.kind, self.agnostic, self.most,
        )  # fmt: skip


def _no_picture(*_: Any) -> Any:
    raise AssertionError("pictures of files are ranked together")


def _small(instances: Instances) -> Instances:
    """The same objects as crops, which take little memory."""
    crops = [instances.crop(index) for index in range(len(instances.class_ids))]
    size = crops[0].size if crops else (1, 1)
    kept = Instances.of_crops(crops, size, instances.class_ids, instances.crowd)
    kept.scores = instances.scores
    return kept


def truth_of(instances: Sequence[Instances], classes: Sequence[str]) -> Annotations:
    """The true objects of pictures 0, 1 .. as annotations, whose categories are class ids; areas and boxes are the masks'."""
    pictures, objects = {}, {}
    for id, ones in enumerate(instances):
        pictures[id] = picture = Picture(id, str(id), *ones.size)
        objects[id] = [
            Annotated(place, picture, int(class_id), json.dumps({"size": mask.shape, "counts": encode(mask)}).encode(),
                      float(mask.sum()), _box(mask), bool(crowd))
            for place, (mask, class_id, crowd) in enumerate(zip(_each_mask(ones), ones.class_ids, ones.crowd, strict=True))
        ]  # fmt: skip
    return Annotations(Path("truth"), pictures, dict(enumerate(classes)), objects)


def results_of(instances: Sequence[Instances]) -> list[Result]:
    """The objects that were found in the pictures of `truth_of`. Raises DataError for a picture whose objects have no scores, or
    one that is not finite."""
    found = []
    for id, ones in enumerate(instances):
        if ones.scores is None or not np.isfinite(ones.scores).all():
            what = "no scores" if ones.scores is None else "a score that is not finite"
            raise DataError(f"picture {id}: its objects have {what}; AP ranks objects by their scores.")
        for mask, class_id, score in zip(_each_mask(ones), ones.class_ids, ones.scores, strict=True):
            found.append(Result(id, int(class_id), float(score), _box(mask), encode(mask)))
    return found


def _each_mask(objects: Instances) -> Iterator[NDArray[np.bool_]]:
    """The mask of one object after the other: those of a thousand objects at once would fill the memory."""
    return (objects.mask(index) for index in range(len(objects.class_ids)))


def _of_one_category(entries: Entries) -> Entries:
    """The entries as COCO's useCats = 0 has them: of one category, in the order of the categories that they had."""
    ordered = entries.at(np.argsort(entries.categories, kind="stable"))
    return replace(ordered, categories=np.zeros_like(ordered.categories))


def _box(mask: NDArray[np.bool_]) -> Box:
    """Left, top, width and height of the pixels of a mask (H, W); zeros for an empty one."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return 0.0, 0.0, 0.0, 0.0
    return float(columns[0]), float(rows[0]), float(np.ptp(columns)) + 1, float(np.ptp(rows)) + 1


def _objects(truth: Annotations, kind: str) -> tuple[Entries, str]:
    """The objects of the truth, their areas the file's, as the official code takes them, or else their own; and a digest."""
    from perpixel.measures.matching import Entries, by_boxes

    objects = [one for ones in truth.objects.values() for one in ones]
    parts: list[list[str]] = []
    if kind == "box":
        for one in objects:
            if one.box is None:
                raise DataError(f"{truth.path}, annotation {one.id}: has no bbox to judge by; add it.")
        shapes = by_boxes(box_array(one.box for one in objects if one.box is not None))
    else:
        from perpixel.masks.runs import write

        sizes = _sizes(one.picture for one in objects)
        masks = truth.runs(objects)
        shapes, bands = _masks(masks, sizes, kind)
        parts = [write(runs) for runs in (masks, bands) if runs is not None]
        del masks, bands  # what is judged holds its own numbers
    areas = [area if one.area is None else one.area for one, area in zip(objects, shapes.areas.tolist(), strict=True)]
    pictures, categories = _places(truth)
    entries = Entries(
        np.array([pictures[one.picture.id] for one in objects], np.int64),
        np.array([categories[one.category] for one in objects], np.int64),
        np.array(areas, np.float64), shapes, np.array([one.crowd for one in objects], np.float64),
    )  # fmt: skip
    return entries, _digest(objects, areas, *parts)


def _results(truth: Annotations, results: Sequence[Result], kind: str) -> Entries:
    from perpixel.measures.matching import Entries, by_boxes

    for place, one in enumerate(results):
        if (one.box if kind == "box" else one.counts) is None:
            what = "box" if kind == "box" else "mask"
            raise DataError(f"result {place}: has no {what} to judge by {kind}; judge by the other.")
    if kind == "box":
        shapes = by_boxes(box_array(one.box for one in results if one.box is not None))
    else:
        from perpixel.masks.runs import read

        sizes = _sizes(truth.pictures[one.picture] for one in results)
        masks = read([str(one.counts) for one in results], sizes.prod(1))
        if isinstance(masks, int):
            raise DataError(f"result {masks}: its counts are no mask of its picture, as `rle.encode` writes them.")
        shapes, _ = _masks(masks, sizes, kind)
    pictures, categories = _places(truth)
    return Entries(
        np.array([pictures[one.picture] for one in results], np.int64),
        np.array([categories[one.category] for one in results], np.int64),
        shapes.areas, shapes, np.array([one.score for one in results], np.float64),
    )  # fmt: skip


def _places(truth: Annotations) -> tuple[dict[int, int], dict[int, int]]:
    """Of each picture and category by its id, in the order of ids, which decides between equal scores."""
    pictures, categories = ({id: place for place, id in enumerate(sorted(ids))} for ids in (truth.pictures, truth.categories))
    return pictures, categories


def _sizes(pictures: Iterable[Picture]) -> NDArray[np.int64]:
    return np.array([(one.height, one.width) for one in pictures], np.int64).reshape(-1, 2)


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
    """The SHA-256 of all that the truth's objects are judged by."""
    digest = hashlib.sha256()
    for place, one in enumerate(objects):
        band = mask = ""
        if masks:
            size = f"{{'size': [{one.picture.height}, {one.picture.width}], 'counts': "
            band = f"('band', {size}{bands[place]!r}}}), " if bands else ""
            mask = f", ('segmentation', {size}{masks[place]!r}}})"
        left, top, width, height = one.box or (0.0, 0.0, 0.0, 0.0)
        digest.update(
            f"[('area', {areas[place]!r}), {band}('bbox', [{left!r}, {top!r}, {width!r}, {height!r}]), "
            f"('category_id', {one.category}), ('id', {place + 1}), ('image_id', {one.picture.id}), "
            f"('iscrowd', {one.crowd:d}){mask}]".encode()
        )
    return digest.hexdigest()
