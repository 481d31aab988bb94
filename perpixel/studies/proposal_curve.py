"""proposal-curve: the mean IU by the number of merged boxes, as in DeconvNet's figure.

    curve = proposal_curve(model, open_dataset("street"), counts=(1, 10, 50))     # curve[50].mean_iou

Boxes are merged one after the other, so one pass over a picture gives the labels for every number of boxes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel import draw
from perpixel.datasets import Dataset
from perpixel.errors import UsageError
from perpixel.files import write_whole
from perpixel.images import write_image
from perpixel.judging.answers import refuse_other_classes
from perpixel.judging.evaluate import Progress, confusion, pixels
from perpixel.judging.protocol import protocol
from perpixel.judging.scores import Scores
from perpixel.measures.confusion_matrix import ConfusionMatrix
from perpixel.measures.pixels import summary_of
from perpixel.networks import pixel_network
from perpixel.prediction.by_boxes import chosen, merges
from perpixel.prediction.inference import Inference, seen_at
from perpixel.prediction.symmetries import ALL
from perpixel.sample import Sample
from perpixel.weights.model_file import Model

COUNTS = (1, 5, 10, 20, 50, 100)
JSON, PICTURE = "proposal-curve.json", "proposal-curve.png"


def proposal_curve(
    model: Model, dataset: Dataset, counts: Sequence[int] = COUNTS, proposals_by: str = "edge_boxes", merge: str = "max",
    progress: Progress | None = None,
) -> dict[int, Scores]:
    """The scores of `evaluate` for each number of boxes, in rising order.

    Raises UsageError for no number or a number below 1, and the errors of `Inference` and `evaluate`."""
    if not counts or min(counts) < 1:
        raise UsageError(f"counts {list(counts)}: a curve is over boxes; give whole numbers of at least 1.")
    counts = sorted(set(counts))
    rules = {boxes: Inference(boxes, proposals_by, merge).predictor(model).rules for boxes in counts}
    refuse_other_classes(model, dataset)
    network, classes = pixel_network(model.network, "proposal-curve"), len(dataset.classes)
    matrices = {boxes: ConfusionMatrix(classes, dataset.classes.void) for boxes in counts}

    def answer(sample: Sample) -> NDArray[Any]:
        assert sample.labels is not None
        boxes = chosen(sample.image, proposals_by, merge)
        for number, merged in merges(network, classes, sample.image, boxes, counts, merge, ALL[:1]):
            labels: NDArray[Any] = merged.argmax(0).numpy().astype(dataset.classes.dtype)
            matrices[number].add(sample.labels, labels)
        return labels

    _, digests = confusion(dataset, range(len(dataset)), answer, progress)
    return {
        boxes: Scores(
            pixels(),
            summary_of(matrix, dataset.classes.names),
            protocol(dataset, digests, model.digest, seen_at(model), rules[boxes]),
            len(dataset),
        )
        for boxes, matrix in matrices.items()
    }


def write_curve(out: Path, scores_by_boxes: Mapping[int, Scores]) -> list[dict[str, Any]]:
    """Writes the figures for each number of boxes as JSON, and the curve as a picture. Returns the content of the JSON."""
    rows = [
        {"boxes": boxes, "mIoU": figures["mIoU"], "pixel_accuracy": figures["pixel_accuracy"], "protocol": scores["protocol"],
         "protocol_hash": scores["protocol_hash"]}
        for boxes, scores in ((boxes, scores.to_json()) for boxes, scores in scores_by_boxes.items())
        for figures in (scores["figures"],)
    ]  # fmt: skip
    write_whole(out, JSON, json.dumps(rows, indent=1).encode())
    lines = {
        "mIoU": [(boxes, scores.mean_iou) for boxes, scores in scores_by_boxes.items()],
        "pixel accuracy": [(boxes, scores.figures["pixel_accuracy"]) for boxes, scores in scores_by_boxes.items()],
    }
    panels = [draw.curves({name: line}, f"{name} by boxes") for name, line in lines.items()]
    write_image(out, PICTURE, np.concatenate(panels, axis=1))
    return rows
