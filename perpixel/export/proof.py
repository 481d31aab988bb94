"""The proof of an export: the engine's labels are torch's, on drawn pictures of six sizes and on the pictures of a data set, and
so are the figures of its measure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from perpixel.datasets import Dataset
from perpixel.judging.answers import refuse_other_classes
from perpixel.measures import DEFAULT, class_of, named
from perpixel.measures.measure import Measure, Summary, shown
from perpixel.prediction.equal_labels import BATCHES, SIZES, Comparison, compare_sizes
from perpixel.sample import Prediction
from perpixel.weights.exported_file import ExportedNetwork
from perpixel.weights.model_file import Model

OF_LABELS = ("labels", "label ids", "scores or labels")  # what a measure needs that an exported file gives


@dataclass
class Proof:
    """What was compared. `torch` and `engine` are the results of a measure on `pictures` of a data set, where there was one."""

    measure: Measure[Any]
    comparison: Comparison = field(default_factory=Comparison)
    torch: Summary | None = None
    engine: Summary | None = None
    pictures: int = 0
    classes: Sequence[str] = ()

    def to_json(self, engine: str) -> dict[str, Any]:
        """For the card of a file."""
        found = self.comparison
        values = {"engine": engine, "sizes": SIZES, "batches": BATCHES, "pixels": found.pixels, "ties": found.ties}
        if self.engine is None:
            return values
        figure = next(iter(self.measure.better))
        return {**values, "pictures": self.pictures, "figure": figure, "value": self.engine.figures[figure]}

    @property
    def figures(self) -> str:
        """The main figure in torch and in the engine, in words."""
        if self.torch is None or self.engine is None:
            return ""
        name = next(iter(self.measure.better))
        values = [shown(self.measure, name, summary.figures[name]) for summary in (self.torch, self.engine)]
        return f"{name} {values[0]} in torch, {values[1]} in the engine, on {self.pictures} pictures"

    @property
    def loss(self) -> float:
        """The points of mean IoU that the engine has less than torch, where pixels were judged."""
        assert self.torch is not None
        assert self.engine is not None
        ours, theirs = (float(summary.totals.mean_iou()) for summary in (self.torch, self.engine))
        return 100 * (ours - theirs)

    @property
    def losses(self) -> str:
        """The IoU of each class in torch and in the engine, in words, the greatest loss first."""
        assert self.torch is not None
        assert self.engine is not None
        each = zip(self.classes, self.torch.totals.iou(), self.engine.totals.iou(), strict=True)
        known = sorted(((name, ours, theirs) for name, ours, theirs in each if ours == ours), key=lambda one: one[2] - one[1])
        return ", ".join(f"{name} {100 * ours:.1f} to {100 * theirs:.1f}" for name, ours, theirs in known)


def prove(
    model: Model,
    network: ExportedNetwork,
    data: Dataset | None = None,
    most_pictures: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    by_pixels: bool = False,
) -> Proof:
    """Compares an exported network with its model, on drawn pictures and on the first pictures of `data`, which are judged by the
    measure of the training, or `by_pixels`."""
    proof = Proof(measure=class_of(DEFAULT)() if by_pixels else measure_of(model))
    compare_sizes(model, lambda pictures: network.batch(pictures)[0], proof.comparison)
    if data is not None:
        judge_both(model, network, data, most_pictures, progress, proof)
    return proof


def judge_both(
    model: Model,
    network: ExportedNetwork,
    data: Dataset,
    most_pictures: int | None,
    progress: Callable[[int, int], None] | None,
    proof: Proof,
) -> None:
    """Judges both by the measure of the training, or by pixels where that needs more than labels, and compares their labels.

    Raises UsageError for a data set with other classes."""
    refuse_other_classes(model, data)
    measure = proof.measure
    truth = measure.truth(data)
    count = len(truth) if most_pictures is None else min(len(truth), most_pictures)
    rows: tuple[list[Any], list[Any]] = [], []
    for index in range(count):
        sample = truth.sample(index)
        measure.refuse(sample, data.classes)
        theirs = network.labels(sample.image)[0]
        ours = proof.comparison.add(model, truth.name(index), sample.image, theirs)
        for side, labels in zip(rows, (ours, theirs), strict=True):
            encoded = data.classes.encode(labels) if measure.needs == "label ids" else labels
            side.append(measure.count(sample, Prediction(encoded, data.classes))[0])
        if progress is not None:
            progress(index + 1, count)
    names = [truth.name(index) for index in range(count)]
    proof.classes = classes = list(truth.classes.names)
    proof.pictures = count
    proof.torch, proof.engine = (measure.summary(side, classes, names) for side in rows)


def measure_of(model: Model) -> Measure[Any]:
    """The measure of a model's training, if it judges labels; else that of pixels."""
    name, arguments = named(model.card.recipe.get("measure") or DEFAULT)
    kind = class_of(name)
    measure: Measure[Any] = kind(**arguments) if kind.needs in OF_LABELS else class_of(DEFAULT)()
    return measure
