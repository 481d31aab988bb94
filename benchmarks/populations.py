"""Populations of judged pictures whose figures are known, for `interval_coverage.py`: the rows of many pictures, drawn once. A
figure of all of them is the truth that an interval must hold, and a data set of n pictures is n of them, drawn with replacement.

A picture has a difficulty, which moves the quality of all that is found in it. A class is in a picture with a chance of its own,
from 1 for the first class down to `rarest` for the last in equal ratios, and has a quality of its own."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.measures.boundary_iou import BoundaryIou
from perpixel.measures.instances import AveragePrecision
from perpixel.measures.matching import Entries, Matches, by_boxes, match
from perpixel.measures.measure import Figures, FiguresOf, Measure, columns
from perpixel.measures.outcomes import Outcomes
from perpixel.measures.panoptic import PanopticCounts, PanopticQuality
from perpixel.measures.pixels import PixelCounts, Pixels

PIXELS = 60_000  # of a picture


class Population:
    """Pictures judged by `measure`; `truth` has the figures of all, and `sample(places)` makes figures of those at `places`."""

    def __init__(self, measure: Measure[Any], sample: Callable[[NDArray[np.int64]], FiguresOf], pictures: int) -> None:
        self.measure, self.sample, self.pictures = measure, sample, pictures
        self.truth = sample(np.arange(pictures))(np.ones((1, pictures), np.int64))


def presence(rng: np.random.Generator, classes: int, rarest: float, pictures: int) -> NDArray[np.bool_]:
    """(pictures, classes): which classes a picture shows."""
    return rng.random((pictures, classes)) < np.geomspace(1, rarest, classes)


def sigmoid(values: Any) -> Any:
    return 1 / (1 + np.exp(-values))


def confusions(
    rng: np.random.Generator, classes: int, rarest: float, pictures: int, quality: float, pixels: int
) -> list[NDArray[np.int64]]:
    """A confusion matrix (C, C) of each picture as flat places and counts (2, K)."""
    shown, difficulty = presence(rng, classes, rarest, pictures), rng.normal(0, 0.7, pictures)
    qualities, sizes = rng.normal(quality, 0.8, classes), np.exp(rng.normal(0, 0.8, classes))
    found = []
    for picture in range(pictures):
        here = np.flatnonzero(shown[picture])
        areas = rng.gamma(0.8, sizes[here])
        areas = np.maximum(areas / areas.sum() * pixels, 1).astype(np.int64)
        hits = rng.binomial(areas, sigmoid(qualities[here] + difficulty[picture] + rng.normal(0, 0.8, len(here))))
        taken = np.where(rng.random(len(here)) < 0.7, rng.choice(here, len(here)), rng.integers(0, classes, len(here)))
        taken = np.where((taken == here) | (rng.random(len(here)) < 0.2), (here + 1) % classes, taken)
        places, counts = np.concatenate([here * classes + here, here * classes + taken]), np.concatenate([hits, areas - hits])
        found.append(np.stack([places[counts > 0], counts[counts > 0]]))
    return found


def pixels(rng: np.random.Generator, classes: int, rarest: float, pictures: int) -> Population:
    measure = Pixels()
    rows = [PixelCounts(classes, 255, places.astype(np.int32), counts)
            for places, counts in confusions(rng, classes, rarest, pictures, 2.0, PIXELS)]  # fmt: skip
    return Population(measure, lambda places: measure.figures([rows[place] for place in places.tolist()]), pictures)


def boundary(rng: np.random.Generator, classes: int, rarest: float, pictures: int) -> Population:
    measure, rows = BoundaryIou(), []
    for places, counts in confusions(rng, classes, rarest, pictures, 0.8, PIXELS // 8):
        (truth, predicted), row = np.divmod(places, classes), np.zeros((3, classes), np.int64)
        for part, which, held in ((0, truth, truth == predicted), (1, truth, ...), (2, predicted, ...)):
            np.add.at(row[part], which[held], counts[held])
        rows.append(row.ravel())
    return Population(measure, lambda places: measure.figures([rows[place] for place in places.tolist()]), pictures)


def panoptic(rng: np.random.Generator, classes: int, rarest: float, pictures: int) -> Population:
    shown, difficulty = presence(rng, classes, rarest, pictures), rng.normal(0, 0.7, (pictures, 1))
    quality = rng.normal(0.7, 0.8, classes) + difficulty
    segments = shown * (1 + rng.poisson(1.5, shown.shape))
    matched = rng.binomial(segments, sigmoid(quality))
    mean = 0.5 + 0.5 * sigmoid(quality + 0.5 + rng.normal(0, 0.4, shown.shape))
    iou = matched * np.clip(mean + rng.normal(0, 0.08, shown.shape) / np.sqrt(np.maximum(matched, 1)), 0.5, 1)
    wrong = rng.poisson(0.6 * segments * sigmoid(-quality)) + rng.poisson(0.02 * sigmoid(-quality))
    names = {place: str(place) for place in range(classes)}
    vectors = np.concatenate([iou, matched, wrong, segments - matched], 1)
    rows = [PanopticCounts(vector, names, None) for vector in vectors]
    measure = PanopticQuality()
    return Population(measure, lambda places: measure.figures([rows[place] for place in places.tolist()]), pictures)


def instances(rng: np.random.Generator, classes: int, rarest: float, pictures: int) -> Population:
    """Boxes, so that our own matching makes the rows."""
    shown = presence(rng, classes, rarest, pictures)
    difficulty, quality = rng.normal(0, 0.7, pictures), rng.normal(0.8, 0.7, classes)
    number = shown * (1 + rng.poisson(1.2, shown.shape))
    picture, category = (np.repeat(part, number.ravel()) for part in np.indices(shown.shape).reshape(2, -1))
    sides = np.exp(rng.normal(4, 0.9, (2, len(picture))))
    boxes = np.concatenate([rng.uniform(0, 2000, sides.shape), sides]).T
    ease = quality[category] + difficulty[picture] + rng.normal(0, 0.6, len(picture))
    seen = np.flatnonzero(rng.random(len(picture)) < sigmoid(1.2 + ease))
    apart = 0.16 * np.exp(-0.45 * ease[seen])[:, None] * rng.normal(0, 0.5, (len(seen), 4))
    found = boxes[seen] + apart * np.tile(boxes[seen, 2:], 2)
    found[:, 2:] = np.maximum(found[:, 2:], 1)
    score = sigmoid(0.8 + 0.7 * ease[seen] - 2 * np.abs(apart).mean(1) / 0.16 + rng.normal(0, 0.8, len(seen)))

    false = rng.poisson(0.35 * number * sigmoid(-difficulty[:, None])) + rng.poisson(0.04, shown.shape)
    false_picture, false_category = (np.repeat(part, false.ravel()) for part in np.indices(shown.shape).reshape(2, -1))
    sides = np.exp(rng.normal(3.8, 0.9, (2, len(false_picture))))
    nothing = np.concatenate([rng.uniform(0, 2000, sides.shape), sides]).T
    false_score = sigmoid(-0.9 + rng.normal(0, 1, len(nothing)))

    objects = Entries(picture, category, boxes[:, 2] * boxes[:, 3], by_boxes(boxes), np.zeros(len(boxes)))
    every = np.concatenate([found, nothing])
    results = Entries(
        np.concatenate([picture[seen], false_picture]), np.concatenate([category[seen], false_category]),
        every[:, 2] * every[:, 3], by_boxes(every), np.concatenate([score, false_score]),
    )  # fmt: skip
    matches, measure = match(objects, results, pictures), AveragePrecision("box")
    of_picture, of_cell = _places(matches.pictures, pictures), _places(matches.cell_pictures, pictures)

    def sample(places: NDArray[np.int64]) -> FiguresOf:
        outcomes = Outcomes([_part(matches, places, of_picture, of_cell)], len(places), classes)
        return lambda weights: Figures(columns(measure.named(outcomes.figures(held)) for held in weights))

    return Population(measure, sample, pictures)


def _places(pictures: NDArray[np.int64], number: int) -> list[NDArray[np.int64]]:
    """The places of each picture's entries."""
    order = np.argsort(pictures, kind="stable")
    return np.split(order, np.searchsorted(pictures[order], np.arange(1, number)))


def _part(
    matches: Matches, pictures: NDArray[np.int64], of_picture: Sequence[NDArray[np.int64]], of_cell: Sequence[NDArray[np.int64]]
) -> Matches:
    """The matches of some pictures, which count on from 0; one may stand there twice."""
    (places, new), cells = (
        (np.concatenate(part), np.repeat(np.arange(len(part)), [*map(len, part)]))
        for part in ([of[picture] for picture in pictures.tolist()] for of in (of_picture, of_cell))
    )
    order = np.lexsort((matches.places[places], -matches.scores[places], new, matches.categories[places]))
    places, new = places[order], new[order]
    return replace(
        matches, outcomes=matches.outcomes[:, :, places], categories=matches.categories[places], pictures=new,
        places=matches.places[places], scores=matches.scores[places], objects=matches.objects[:, cells[0]],
        cell_categories=matches.cell_categories[cells[0]], cell_pictures=cells[1],
    )  # fmt: skip


POPULATIONS = {"pixels": pixels, "boundary_iou": boundary, "panoptic": panoptic, "instances": instances}
