"""What is judged: a model, a folder of masks, or a results file, as pairs of truth and prediction, a picture each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from perpixel.errors import DataError, UsageError
from perpixel.judging.protocol import protocol
from perpixel.measures.measure import Measure, Pairs, WithoutPictures
from perpixel.sample import Prediction, Sample

if TYPE_CHECKING:  # masks are judged without torch, results files also without what reads data sets
    from perpixel.datasets import Dataset
    from perpixel.networks import Network
    from perpixel.prediction.inference import Inference, Predictor
    from perpixel.weights.model_file import Model

Row = TypeVar("Row")
NAMES = {"scores": "probabilities"}  # of parts of a prediction, in sentences
RESULTS = "judge a results file by its annotation file"
ADVICE = {"instances": RESULTS, "segments": f"name a network of objects with --objects-by, or {RESULTS}"}  # by needs
THREADS = 2  # masks that are read and counted at the same time


def pairs_of(
    model_or_predictions: Model | str | Path,
    data: Dataset | str | Path,
    measure: Measure[Row],
    inference: Inference | None = None,
) -> Pairs[Row]:
    """The pictures of `data` as `measure` judges them. `data` is a data set; or an annotation file, for results files.

    Raises UsageError where the classes of a model are not those of the data set, for an `inference` that does not fit it, and
    for what the measure cannot judge."""
    if isinstance(data, str | Path):
        if not isinstance(model_or_predictions, str | Path):
            raise UsageError(f"{data}: an annotation file judges a results file; judge a model on a data set.")
        if inference is not None:
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in inference.given)
            raise UsageError(f"{model_or_predictions}: results are judged as they are; give {flags} with a model.")
        return measure.files(Path(model_or_predictions), Path(data))
    truth = measure.truth(data)
    if isinstance(model_or_predictions, str | Path):
        return _of_masks(Path(model_or_predictions), data, truth, measure, inference)
    from perpixel.prediction.inference import seen_at

    model = model_or_predictions
    if inference is not None and inference.objects_by is not None and measure.needs not in ADVICE:
        raise UsageError(f"objects_by: changes nothing that {measure.name} judges; give --panoptic or --instances too.")
    predictor = predictor_of(model, data, inference, _with_scores(measure))
    advice = ADVICE.get(measure.needs, "judge another")
    refuse_network(model.network, measure, model.card.title, advice, predictor.provides)
    described = partial(protocol, data, weights=predictor.weights, scale=seen_at(model), rules=predictor.rules)
    return _pairs(truth, measure, described, truth.sample, _counting(measure, predictor.of, data), rules=predictor.rules)


def pairs_in_training(network: Network, data: Dataset, measure: Measure[Row], scale: float) -> Pairs[Row]:
    """The pictures of `data` as `measure` judges a network in training, which sees them at `scale`; without a protocol."""
    from perpixel.prediction.inference import whole_picture
    from perpixel.prediction.kept_scores import KeptScores

    truth, scores = measure.truth(data), KeptScores() if _with_scores(measure) else None

    def predicted(sample: Sample) -> Prediction:
        image = sample.image if sample.bands is None else sample.bands.scaled(sample.image)[0]
        return whole_picture(network, data.classes, image, scale, scores)()

    return _pairs(truth, measure, lambda _: {}, truth.sample, _counting(measure, predicted, data))


def _with_scores(measure: Measure[Any]) -> bool:
    return measure.needs in ("scores", "scores or labels")


def refuse_network(
    network: Network, measure: Measure[Any], title: str, advice: str, provided: frozenset[str] | None = None
) -> None:
    """Raises UsageError, with title and advice, where a network does not predict what the measure judges.

    `provided` are the parts of its predictions, where another network adds some."""
    from perpixel.networks import gives_labels, pixel_network
    from perpixel.prediction.inference import provides

    part = part_of(measure)
    if part not in (provides(network) if provided is None else provided):
        raise UsageError(f"{title}: predicts no {NAMES.get(part, part)}; {advice}.")
    if _with_scores(measure) and not gives_labels(network):
        pixel_network(network, "scores")


def _counting(
    measure: Measure[Row], predicted: Callable[[Sample], Prediction], data: Dataset
) -> Callable[[int, Sample], tuple[Row, bytes]]:
    """Counts a picture by what is `predicted` for it."""

    def count(_: int, sample: Sample) -> tuple[Row, bytes]:
        measure.refuse(sample, data.classes)
        prediction = predicted(sample)
        if measure.needs == "label ids":
            prediction = replace(prediction, labels=data.classes.encode(prediction.labels))
        return measure.count(sample, prediction)

    return count


def predictor_of(model: Model, dataset: Dataset, inference: Inference | None = None, scores: bool = False) -> Predictor:
    """The model with its way to predict. `scores` asks for probabilities too. Raises UsageError as `pairs_of` does."""
    from perpixel.prediction.inference import PLAIN

    refuse_other_classes(model, dataset)
    refuse_other_bands(model, dataset)
    return (inference or PLAIN).predictor(model, scores)


def answers(
    model_or_masks: Model | str | Path, dataset: Dataset, inference: Inference | None = None
) -> Callable[[Sample], Prediction]:
    """What is judged, as a function from a sample to its labels. Raises what `pairs_of` does."""
    if isinstance(model_or_masks, str | Path):
        from perpixel.judging.stored_masks import masks_of

        _refuse_inference(model_or_masks, inference, "masks are judged as they are")
        return masks_of(Path(model_or_masks), dataset)
    return predictor_of(model_or_masks, dataset, inference).of


def part_of(measure: Measure[Any]) -> str:
    """The part of a prediction without which the measure cannot judge."""
    return "labels" if measure.needs in ("label ids", "scores or labels") else measure.needs


def refuse_other_classes(model: Model, dataset: Dataset) -> None:
    """Raises UsageError when the classes of the model are not those of the data set."""
    if model.classes.names != dataset.classes.names:
        raise UsageError(
            f"the model knows the classes {', '.join(model.classes.names)}; the data set has "
            f"{', '.join(dataset.classes.names)}; judge it on a set with the same classes."
        )


def refuse_other_bands(model: Model, dataset: Dataset) -> None:
    """Raises UsageError when the pictures of the data set do not have the bands that the model takes."""
    from perpixel.datasets import bands_of

    takes, has = model.bands, bands_of(dataset)
    if takes is not None and has is not None:
        takes.refuse(has.names, "the data set")
    elif takes is not None or has is not None:
        of_model, of_data = ("RGB" if each is None else str(each) for each in (takes, has))
        raise UsageError(f"the model was trained on {of_model}, and the data set has {of_data}; judge it on the same bands.")


def _of_masks(
    folder: Path, data: Dataset, truth: Dataset, measure: Measure[Row], inference: Inference | None
) -> Pairs[Row]:
    from perpixel.prediction.instances import INSTANCES
    from perpixel.prediction.panoptic import PANOPTIC

    part = part_of(measure)
    if part == "scores":
        raise UsageError(f"{folder}: masks of classes hold no {NAMES[part]}; judge a model.")
    files = {"instances": INSTANCES, "segments": f"{PANOPTIC}.json"}  # that hold these parts
    if part in files and not (folder / files[part]).exists():
        raise UsageError(f"{folder}: masks of classes hold no {part}; {RESULTS}.")
    _refuse_inference(folder, inference, "masks are judged as they are")
    from perpixel.judging.stored_masks import label_ids_of, maps_of, masks_of, objects_of

    answer = {"label ids": label_ids_of, "instances": objects_of, "segments": maps_of}.get(measure.needs, masks_of)(folder, data)
    read = truth.without_picture if isinstance(truth, WithoutPictures) else truth.sample

    def count(_: int, sample: Sample) -> tuple[Row, bytes]:
        measure.refuse(sample, data.classes)
        return measure.count(sample, answer(sample))

    described = partial(protocol, data, weights="masks", scale=1.0)
    return _pairs(truth, measure, described, read, count, threads=THREADS, masks=folder)


def _pairs(
    truth: Dataset,
    measure: Measure[Row],
    described: Callable[[Sequence[bytes]], dict[str, Any]],
    read: Callable[[int], Sample],
    count: Callable[[int, Sample], tuple[Row, bytes]],
    **more: Any,
) -> Pairs[Row]:
    if not len(truth):
        raise DataError(f"the split {truth.split} holds no picture to judge; name another split.")
    names, classes = [truth.name(index) for index in range(len(truth))], list(truth.classes.names)
    return Pairs(names, classes, lambda digests: {**described(digests), **measure.protocol()}, read, count, **more)


def _refuse_inference(judged: str | Path, inference: Inference | None, reason: str) -> None:
    if inference is not None and not inference.plain:
        raise UsageError(f"{judged}: {reason}; give {', '.join(inference.given)} with a model.")
