"""Model or masks + data set -> Scores: every figure from one confusion matrix, with the protocol that it was made by."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from perpixel.classes import ClassTable, refuse_void
from perpixel.datasets import Dataset, HasPictures, label_digest
from perpixel.datasets.cityscapes import Cityscapes, train_ids
from perpixel.errors import DataError, UsageError
from perpixel.files import in_either_form
from perpixel.images import read_labels
from perpixel.judging.intervals import Intervals, Replicates, class_counts, intervals, print_intervals
from perpixel.judging.protocol import Failed, hash_of, left_out, noting
from perpixel.machines.team import ALONE, Team
from perpixel.measures.confusion_matrix import ConfusionMatrix
from perpixel.networks import Network
from perpixel.prediction.inference import PLAIN, Inference, seen_at, whole_picture
from perpixel.sample import Prediction, Sample
from perpixel.terminal import percent, print_table, show
from perpixel.version import VERSION
from perpixel.weights.model_file import Model

T = TypeVar("T")
Progress = Callable[[int, int], None]
# How every score of perpixel is made; it is written into the protocol of each.
RULES = {
    "void": "pixels whose truth is void are not counted",
    "empty_class": "a class absent from truth and prediction is nan and leaves the mean",
    "resize": "judged at the size of the truth; scores interpolated bilinearly, then argmax",
    "window": "whole picture",
    "flips": "none",
}


@dataclass(frozen=True)
class ClassScore:
    """One row of the table. `why` says for an IoU of 0 or nan what happened instead."""

    name: str
    iou: float
    dice: float
    accuracy: float
    precision: float
    pixels: int
    why: str


@dataclass(frozen=True)
class Scores:
    """The judgement of one split: figures in 0..1 (nan where undefined), one row per class, the protocol, and if asked for the
    intervals of the figures and of each class's IoU (see `bootstrap`)."""

    confusion: ConfusionMatrix
    classes: ClassTable
    protocol: dict[str, Any]
    intervals: Intervals | None = None

    @property
    def mean_iou(self) -> float:
        return self.confusion.mean_iou()

    @property
    def figures(self) -> dict[str, float]:
        matrix = self.confusion
        return {
            "mIoU": matrix.mean_iou(),
            "pixel_accuracy": matrix.pixel_accuracy(),
            "mean_accuracy": matrix.mean_accuracy(),
            "fwIoU": matrix.frequency_weighted_iou(),
            "mean_dice": matrix.mean_dice(),
        }

    @property
    def protocol_hash(self) -> str:
        """See `hash_of`."""
        return hash_of(self.protocol)

    def rows(self) -> list[ClassScore]:
        """Worst class first; classes without an IoU last."""
        matrix = self.confusion
        iou, dice, accuracy, precision = matrix.iou(), matrix.dice(), matrix.accuracy(), matrix.precision()
        rows = [
            ClassScore(name, float(iou[i]), float(dice[i]), float(accuracy[i]), float(precision[i]),
                       int(matrix.counts[i].sum()), _why(matrix, i, self.classes.names))
            for i, name in enumerate(self.classes.names)
        ]  # fmt: skip
        return sorted(rows, key=lambda row: (math.isnan(row.iou), row.iou))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON: figures, rows, counts, protocol and its hash, and if there are any the intervals; nan is null."""
        told = {} if self.intervals is None else {"bootstrap": self.intervals.to_json()}
        return {
            "figures": {name: _finite(value) for name, value in self.figures.items()},
            "classes": [{key: _finite(value) for key, value in vars(row).items()} for row in self.rows()],
            "confusion": self.confusion.counts.tolist(),
            "protocol": self.protocol,
            "protocol_hash": self.protocol_hash,
            **told,
        }


def evaluate(
    model_or_predictions: Model | str | Path,
    dataset: Dataset,
    progress: Progress | None = None,
    inference: Inference = PLAIN,
    bootstrap: int = 0,
    seed: int = 0,
    team: Team = ALONE,
    failed: Failed = None,
) -> Scores:
    """Judges a model, or a folder of mask files named like the pictures, or its `masks/`, on every picture of `dataset`.

    `bootstrap` is the number of samples that intervals are made of, none with 0, and `seed` draws them. The processes of a `team`
    divide the pictures and all return what one process would. With a dictionary `failed` a picture that cannot be judged is
    noted there with its sentence, and the rest go on; the protocol then says which pictures are left out.
    Raises DataError when a mask is missing or of another size, UsageError when the classes are not those of the data set, and
    for an `inference` that does not fit the model."""
    answer, protocol_of = answers(model_or_predictions, dataset, inference)
    replicates = Replicates(len(dataset), 3 * len(dataset.classes), bootstrap, seed) if bootstrap else None
    mine = range(team.rank, len(dataset), team.world)
    matrix, digests = team.all_or_none(
        lambda: count(dataset, mine, lambda sample: answer(sample).labels, progress, replicates, failed)
    )
    if failed is not None:
        for noted in team.gather(failed):
            failed.update(noted)
    matrix.counts = np.asarray(team.sum(matrix.counts))
    found = None
    if replicates:
        replicates.sums = np.asarray(team.sum(replicates.sums))
        found = intervals(replicates, dataset.classes.names)
    return Scores(matrix, dataset.classes, protocol_of(team.in_turn(digests)) | left_out(failed, len(dataset), bootstrap), found)


def answers(
    model_or_predictions: Model | str | Path, dataset: Dataset, inference: Inference = PLAIN, scores: bool = False
) -> tuple[Callable[[Sample], Prediction], Callable[[Iterable[bytes]], dict[str, Any]]]:
    """What is judged, as a function from a sample to its prediction; and one from the samples' label digests to the protocol.

    `scores` asks for probabilities too, which masks do not have. Raises what `evaluate` does."""
    if isinstance(model_or_predictions, Model):
        model = model_or_predictions
        refuse_other_classes(model, dataset)
        predictor = inference.predictor(model, scores)
        described = partial(protocol, dataset, weights=predictor.weights, scale=seen_at(model), rules=predictor.rules)
        return lambda sample: predictor(sample.image), described
    folder = Path(model_or_predictions)
    if not inference.plain:
        raise UsageError(f"{folder}: masks are judged as they are; give {', '.join(inference.given)} with a model.")
    masks = partial(protocol, dataset, weights="masks", scale=1.0)
    files: dict[str, Path] = {}
    if isinstance(dataset, HasPictures):
        files = {dataset.name(index): dataset.picture(index) for index in range(len(dataset))}

    def mask(sample: Sample) -> Prediction:
        return Prediction(_mask(folder, sample, files.get(sample.name), dataset), dataset.classes)

    return mask, masks


def refuse_other_classes(model: Model, dataset: Dataset) -> None:
    """Raises UsageError when the classes of the model are not those of the data set."""
    if model.classes.names != dataset.classes.names:
        raise UsageError(
            f"the model knows the classes {', '.join(model.classes.names)}; the data set has "
            f"{', '.join(dataset.classes.names)}; judge it on a set with the same classes."
        )


def judge(network: Network, dataset: Dataset, indices: Sequence[int], scale: float) -> ConfusionMatrix:
    """The counts of some pictures of `dataset` by a network in training; leaves it in the mode in which it was."""
    training = network.training
    network.eval()
    try:
        matrix, _ = count(
            dataset, indices, lambda sample: whole_picture(network, dataset.classes, sample.image, scale)().labels, None
        )
    finally:
        network.train(training)
    return matrix


def count(
    dataset: Dataset,
    indices: Sequence[int],
    answer: Callable[[Sample], NDArray[Any]],
    progress: Progress | None,
    replicates: Replicates | None = None,
    failed: Failed = None,
) -> tuple[ConfusionMatrix, list[bytes]]:
    """The confusion matrix of `answer` over the pictures `indices`, and the label digest of each; feeds `replicates`.

    The digest of a picture in `failed` is empty."""
    matrix = ConfusionMatrix(len(dataset.classes), dataset.classes.void)
    digests = [b""] * len(indices)
    places = {index: place for place, index in enumerate(indices)}
    for index, sample in samples(dataset, indices, failed):
        with noting(sample.name, failed):
            digest = label_digest(sample)
            assert sample.labels is not None
            predicted = answer(sample)
            before = matrix.counts.copy() if replicates else matrix.counts
            try:
                matrix.add(sample.labels, predicted)
            except DataError as error:
                raise DataError(f"{sample.name}: {error}") from error
            if replicates:
                replicates.add(index, class_counts(matrix.counts - before))
            digests[places[index]] = digest
        if progress is not None:
            progress(places[index] + 1, len(indices))
    return matrix, digests


def samples(dataset: Dataset, indices: Sequence[int], failed: Failed = None) -> Iterator[tuple[int, Sample]]:
    """The pictures `indices` in turn, each with its index. The next is read while one is in use; memory holds two at a time.

    What cannot be read is noted in `failed`, as `noting` does, and left out."""
    with ThreadPoolExecutor(1) as reader:
        ahead = [reader.submit(dataset.sample, index) for index in indices[:1]]
        for done, index in enumerate(indices):
            sample = None
            with noting(dataset.name(index), failed):
                sample = ahead[0].result()
            ahead = [reader.submit(dataset.sample, after) for after in indices[done + 1 : done + 2]]
            if sample is not None:
                yield index, sample


def each(dataset: Dataset, judge: Callable[[Sample], T], failed: Failed) -> Iterator[T]:
    """What `judge` makes of every picture in turn; those that fail are noted in `failed`, as `noting` does."""
    for _, sample in samples(dataset, range(len(dataset)), failed):
        judged: list[T] = []
        with noting(sample.name, failed):
            judged.append(judge(sample))
        yield from judged


def protocol(
    dataset: Dataset, digests: Iterable[bytes], weights: str, scale: float | str, rules: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, Any]:
    """What must be equal for two scores to be compared, and the digest of the weights that earned this one.

    `rules` are those of an inference that is not plain."""
    data = hashlib.sha256()
    for digest in digests:
        data.update(digest)
    return {
        "data": data.hexdigest(),
        "split": dataset.split,
        "classes": list(dataset.classes.names),
        **RULES,
        "scales": [scale],
        "perpixel": VERSION,
        "weights": weights,
        **rules,
    }


def _mask(folder: Path, sample: Sample, picture: Path | None, dataset: Dataset) -> NDArray[Any]:
    """The mask that is called as the sample, or as the file of its picture, which may lie in a folder of its city, say."""
    kinds = (".png", ".tif", ".tiff", ".bmp")
    names = [sample.name, *([picture.stem, f"{picture.parent.name}/{picture.stem}"] if picture else [])]
    places = [place / f"{name}{kind}" for name in names for place in (folder, folder / "masks") for kind in kinds]
    path = next((found for place in places if (found := in_either_form(place)).exists()), places[0])
    if not path.exists():
        raise DataError(f"{path}: there is no mask for the picture {sample.name}; predict it first.")
    mask, classes = read_labels(path), dataset.classes
    assert sample.labels is not None
    if mask.shape != sample.labels.shape:
        raise DataError(f"{path}: is {mask.shape}, the truth {sample.labels.shape}; masks are judged at the truth's size.")
    try:
        labels = classes.decode(mask, str(path))
        refuse_void(mask, (labels == classes.void) & (sample.labels != classes.void), str(path))
    except DataError as error:
        raise (train_ids(mask, path) if isinstance(dataset, Cityscapes) else None) or error from None
    return labels


def _why(matrix: ConfusionMatrix, class_id: int, names: Sequence[str]) -> str:
    truth, predicted = int(matrix.counts[class_id].sum()), int(matrix.counts[:, class_id].sum())
    hits = int(matrix.counts[class_id, class_id])
    if 2000 * hits >= truth + predicted - hits > 0:  # an IoU that is not printed as 0.0
        return ""
    if not truth:
        return "absent from truth and prediction" if not predicted else f"absent from truth, predicted {predicted} times"
    other = int(np.argmax(matrix.counts[class_id]))
    taken = f"{100 * matrix.counts[class_id, other] / truth:.0f} % of it taken for {names[other]}"
    return f"never predicted; {taken}" if not predicted else f"confused: {taken}"


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def print_scores(scores: Scores) -> None:
    """A row per class, worst first, then the figures over all classes and the protocol's hash."""
    rows: list[tuple[str, ...]] = []
    for row in scores.rows():
        figures = (percent(value) for value in (row.iou, row.dice, row.accuracy, row.precision))
        rows.append((row.name, *figures, f"{row.pixels:,}", row.why))
    print_table(("class", "IoU", "Dice", "accuracy", "precision", "pixels", "why"), rows, right=range(1, 6))
    named = ", ".join(f"{name} {percent(value)}" for name, value in scores.figures.items())
    show(f"{named}; split {scores.protocol['split']}, protocol {scores.protocol_hash}")
    print_intervals(scores.intervals)
