"""How a training judges val: the measure, and the figure of that measure by which the best weights are chosen."""

from __future__ import annotations

import math
from dataclasses import MISSING, dataclass, fields
from typing import Any

from perpixel.classes import ClassTable
from perpixel.datasets import Dataset
from perpixel.errors import DataError, UsageError, did_you_mean
from perpixel.judging.answers import part_of, refuse_network
from perpixel.measures import DEFAULT, class_of, named
from perpixel.measures.measure import Measure, decimals_of, shown
from perpixel.networks import Network, gives_labels, labels_pixels
from perpixel.training.recipe import Recipe

OF_OBJECTS = "instances"  # the measure of a network that finds objects and labels no pixels, unless the recipe names another
DRAWN = 2  # figures in the curves of a run


@dataclass(frozen=True)
class Criterion:
    """A measure, and the name of its figure that chooses the weights."""

    measure: Measure[Any]
    figure: str

    def improves(self, value: float, best: float | None) -> bool:
        """Whether `value` is better than `best`, which is None before the first validation; nan is never better."""
        if math.isnan(value):
            return False
        return best is None or (value < best if self.measure.better[self.figure] == "smaller" else value > best)

    def text(self, value: float) -> str:
        """The figure as people see it: "mIoU 54.3"."""
        return f"{self.figure} {shown(self.measure, self.figure, value)}"

    @property
    def drawn(self) -> list[str]:
        """The figures in the curves: the figure that chooses, and the next figure with the same direction and unit."""
        measure, kind = self.measure, self._kind(self.figure)
        others = [name for name in measure.better if name != self.figure and self._kind(name) == kind]
        return [self.figure, *others][:DRAWN]

    def _kind(self, figure: str) -> tuple[str, int | None]:
        return self.measure.better[figure], decimals_of(self.measure, figure)


def criterion_of(recipe: Recipe, network: Network, validation: Dataset) -> Criterion:
    """The criterion of a recipe. A recipe without a measure gets the mean IoU of pixels, or mask AP where the network only finds
    objects.

    Raises UsageError for a measure that cannot judge the predictions of this network, or these data; UnknownName for a name that
    does not exist."""
    text = recipe.measure or usual_measure(network)
    name, arguments = named(text)
    kind = class_of(name)
    missing = [item.name for item in fields(kind) if item.default is MISSING and item.name not in arguments]
    if missing:
        raise UsageError(f"measure = {text!r}: judges one class; name it, as in {name}={validation.classes.names[-1]}.")
    measure = kind(**arguments)
    refuse_network(network, measure, f"measure = {text!r}", f"{recipe.network} needs another measure")
    if part_of(measure) == "labels" and not labels_pixels(network):
        _refuse_without_background(recipe, validation.classes)
    measure.truth(validation)
    figure = recipe.figure or next(iter(measure.better))
    if figure not in measure.better:
        raise did_you_mean(f"figure of {name} that chooses weights", figure, measure.better)
    return Criterion(measure, figure)


def usual_measure(network: Network) -> str:
    """The measure that judges a network where none is named."""
    return DEFAULT if labels_pixels(network) or gives_labels(network) else OF_OBJECTS


def _refuse_without_background(recipe: Recipe, classes: ClassTable) -> None:
    if classes.background is None:
        raise UsageError(
            f"data = {recipe.data!r}: no class is called background, to which the pixels outside of the objects of "
            f"{recipe.network} could belong, so {recipe.measure} cannot judge val; leave measure out, and {OF_OBJECTS} does."
        )


def refuse_truth(criterion: Criterion, validation: Dataset) -> None:
    """Raises UsageError where the first picture of val cannot be judged, before training begins.

    Pictures without objects are not refused here: `batches` refuses them when it reads objects to learn from."""
    measure = criterion.measure
    if measure.needs == "instances":
        return
    try:
        measure.refuse(measure.truth(validation).sample(0), validation.classes)
    except DataError as error:
        raise UsageError(f"measure = {measure.name!r}: cannot judge val ({error}) Choose another measure.") from error
