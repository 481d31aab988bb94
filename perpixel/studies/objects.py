"""How networks find the objects of a data set, those that label pixels by their connected regions too.

    found = [found_in(model, dataset, index, things) for index in range(len(dataset))]
    figures_of(found, dataset, things)["AP"]

A connected region of a class has the mean probability of its pixels as its score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from perpixel.datasets import Dataset, things_in, with_objects
from perpixel.masks.touching import components
from perpixel.measures.instances import Ranking, results_of, truth_of
from perpixel.measures.panoptic import PanopticQuality
from perpixel.networks import finds_objects
from perpixel.prediction.panoptic import joined
from perpixel.prediction.predict import predict
from perpixel.sample import Instances, Prediction
from perpixel.weights.model_file import Model

FIGURES = ("AP", "AP50", "AR", "PQ")


def found_in(model: Model, image: NDArray[np.uint8], things: frozenset[int]) -> Prediction:
    """The prediction of a model with its objects of the classes `things`."""
    if finds_objects(model.network):
        return predict(model, image)
    predicted = predict(model, image, scores=True)
    assert predicted.scores is not None, "scores were asked for"
    parts = [regions(predicted.labels, predicted.scores[class_id], class_id) for class_id in sorted(things)]
    crops = [part.crop(place) for part in parts for place in range(len(part.class_ids))]
    class_ids, scores = (np.concatenate([getattr(part, name) for part in parts]) for name in ("class_ids", "scores"))
    size = (predicted.labels.shape[0], predicted.labels.shape[1])
    objects = Instances.of_crops(crops, size, class_ids, np.zeros(len(crops), np.bool_), scores)
    return Prediction(predicted.labels, predicted.classes, None, objects)


def regions(labels: NDArray[np.integer], probabilities: NDArray[np.floating], class_id: int) -> Instances:
    """The connected regions of a class, each with the mean of its probabilities as score."""
    found = components(labels, class_id)
    count = len(found.class_ids) + 1
    sums = np.bincount(found.numbers.ravel(), probabilities.ravel(), count)[1:]
    areas = np.bincount(found.numbers.ravel(), minlength=count)[1:]
    crops = [found.crop(place) for place in range(count - 1)]
    return Instances.of_crops(crops, found.size, found.class_ids, found.crowd, (sums / areas).astype(np.float32))


def figures_of(predictions: Sequence[Prediction], dataset: Dataset, things: frozenset[int]) -> dict[str, float]:
    """AP, AP50 and AR of masks as COCO has them, and PQ of things: objects of a score of 0.5 or more, each with pixels of its
    own, as in `prediction.panoptic`."""
    view, measure = with_objects(dataset), PanopticQuality()
    truth, found = [], []
    for index, predicted in enumerate(predictions):
        true = view.sample(index).instances
        assert true is not None, "the data set has objects"
        assert predicted.instances is not None, "objects are found"
        truth.append(true)
        found.append(predicted.instances)
    ranking = Ranking(truth_of(truth, dataset.classes.names), results_of(found)).figures
    segments = measure.truth(dataset)
    rows = [
        measure.count(segments.sample(index), joined(predicted, objects, things))[0]
        for index, (predicted, objects) in enumerate(zip(predictions, found, strict=True))
    ]
    names = [dataset.name(index) for index in range(len(dataset))]
    quality = measure.summary(rows, dataset.classes.names, names).figures["PQ_things"]
    return {"AP": ranking["AP"], "AP50": ranking["AP50"], "AR": ranking["AR_100"], "PQ": quality}


def things_of(dataset: Dataset) -> frozenset[int]:
    """The classes whose objects are told apart; none where the data set has no objects, or does not say which they are."""
    first = with_objects(dataset).sample(0).instances
    return frozenset() if first is None else things_in(dataset.classes) or frozenset()
