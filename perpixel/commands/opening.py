"""Opens the models, data sets and files that a command line names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perpixel.errors import UsageError, without_torch
from perpixel.files import EXPORTED, MODEL_FILE
from perpixel.terminal import say

if TYPE_CHECKING:
    from perpixel.measures.measure import Measure
    from perpixel.prediction.cost import Cost

# The data set of COCO whose annotation file judges a results file, by what the measure needs.
VIEWS = {"instances": "coco", "segments": "coco_panoptic"}
LOOKED_AT = 1000  # pictures whose size is read for a budget


@dataclass(frozen=True)
class Judged:
    """Predictions, and the data that judge them; `named` is the name of the data in messages."""

    predictions: Any  # a model, or the path of a folder of masks, of a results file, or of rows that shards counted
    data: Any  # a data set, or the path of an annotation file; None for rows
    named: str

    @property
    def by_files(self) -> bool:
        return isinstance(self.data, Path)

    def place(self) -> str:
        if self.data is None:
            return f"by {self.named}"
        return f"by {self.named}" if self.by_files else f"on {self.named}, {self.data.split}"

    def title(self, measure: Measure[Any]) -> str:
        if self.by_files:
            kind = f"{vars(measure)['kind']} AP" if "kind" in vars(measure) else "panoptic quality"
            return f"{kind} {self.place()}"
        return f"{'masks' if isinstance(self.predictions, Path) else self.predictions.card.title} {self.place()}"


def open_judged(
    run: Path, measure: Measure[Any], data: str | None, root: str | None, split: str | None, device: str
) -> Judged:
    """A model or a folder of masks with the data set that judges it, or a results file with its annotation file."""
    if judged_by_files(measure, run):
        file = annotation_file(data, root, split, measure)
        return Judged(run, file, str(file))
    model = open_model(run, device)
    dataset, named = open_data(run, model, data, root, split)
    return Judged(run if model is None else model, dataset, named)


def open_sides(
    paths: Sequence[Path],
    measure: Measure[Any],
    data: str | None,
    root: str | None,
    split: str | None,
    device: str,
    ways: Sequence[dict[str, Any]],
) -> list[Judged]:
    """What is compared: models, each by its own data set where none is named, masks by that of the first model, or results files
    by one annotation file; and rows that shards counted, which need no data. `ways` are the flags of each that say how to
    predict.

    Raises UsageError for results files beside anything else, and for flags with what is judged as it is."""
    from perpixel.judging.stored_rows import holds_rows

    counted = [path for path in paths if holds_rows(path)]
    others = [path for path in paths if path not in counted]
    for path, way in zip(paths, ways, strict=True):
        if path in counted:
            refuse_ways(path, "rows", way)
    ways_of_others = [way for path, way in zip(paths, ways, strict=True) if path not in counted]
    opened = iter(_open_sides(others, measure, data, root, split, device, ways_of_others) if others else ())
    return [Judged(path, None, "the rows that shards counted") if path in counted else next(opened) for path in paths]


def _open_sides(
    paths: Sequence[Path],
    measure: Measure[Any],
    data: str | None,
    root: str | None,
    split: str | None,
    device: str,
    ways: Sequence[dict[str, Any]],
) -> list[Judged]:
    files = [path for path in paths if judged_by_files(measure, path)]
    if files and len(files) < len(paths):
        other = next(path for path in paths if path not in files)
        raise UsageError(
            f"{files[0]}: is judged by an annotation file, and {other} on a data set; name results files alone, or none."
        )
    if files:
        refuse_ways(paths[0], "results", {name: value for way in ways for name, value in way.items()})
        file = annotation_file(data, root, split, measure)
        return [Judged(path, file, str(file)) for path in paths]
    models = [open_model(path, device) for path in paths]
    for path, model, way in zip(paths, models, ways, strict=True):
        if model is None:
            refuse_ways(path, "masks", way)
    if not data and not any(models):
        raise UsageError("folders of masks do not say which data set they are for; name it with --data.")
    sets = [
        None if model is None and not data else open_data(path, model, data, root, split)
        for path, model in zip(paths, models, strict=True)
    ]
    first = next(each for each in sets if each is not None)
    return [
        Judged(path if model is None else model, *(each or first))
        for path, model, each in zip(paths, models, sets, strict=True)
    ]


def costs(
    names: Sequence[str], paths: Sequence[Path], sides: Sequence[Judged], ways: Sequence[dict[str, Any]], timing: int
) -> dict[str, Cost]:
    """The costs of the models among what is compared, by the names of the sides, timed on so many pictures; of masks nothing."""
    models = {place: side for place, side in enumerate(sides) if not isinstance(side.predictions, Path)}
    if not models:
        return {}
    from perpixel.prediction.cost import costs_of, speeds_of
    from perpixel.prediction.inference import PLAIN
    from perpixel.terminal import Progress
    from perpixel.training.run import minutes_of

    data = next(iter(models.values())).data
    predictors = {
        names[place]: (inference_of(ways[place]) or PLAIN).predictor(side.predictions) for place, side in models.items()
    }
    minutes = {names[place]: minutes_of(paths[place]) for place in models}
    samples = [data.sample(index) for index in range(min(max(1, timing), len(data)))]
    speeds = speeds_of(predictors, samples, Progress("timed")) if timing else {}
    return costs_of(predictors, samples[0].image, minutes, speeds)


def judged_by_files(measure: Measure[Any], run: Path) -> bool:
    """Whether `run` is a results file, which an annotation file judges: for measures of objects and segments, where `run` is
    neither a model nor a folder of predicted objects or panoptic maps."""
    from perpixel.prediction.instances import INSTANCES
    from perpixel.prediction.panoptic import PANOPTIC

    left = {"instances": INSTANCES, "segments": f"{PANOPTIC}.json"}  # by `perpixel predict`
    return measure.needs in VIEWS and not (run / left[measure.needs]).exists() and not _holds_model(run)


def open_model(run: Path, device: str) -> Any:
    """The model of a run folder or model file; None for a folder without a model, which holds masks."""
    if run.is_dir() and not _holds_model(run):
        return None
    try:
        return load_on(run, device)
    except ModuleNotFoundError as error:
        raise without_torch(error, f"{run}: is no folder of masks, so it is taken for a model, and a model") or error from None


def validated_by(model: Any) -> tuple[Measure[Any], str]:
    """The measure that chose the weights of a model, and why it judges; no reason where it is that of pixels."""
    from perpixel.measures import DEFAULT, class_of, named
    from perpixel.training.criterion import usual_measure

    trained = model.card.recipe.get("measure")
    name, arguments = named(trained or usual_measure(model.network))
    reason = f"judged by {trained}, as in its training" if trained else "finds objects alone, so mask AP judges it"
    return class_of(name)(**arguments), "" if name == DEFAULT else reason


def _holds_model(run: Path) -> bool:
    return (run / MODEL_FILE).exists() or run.suffix.lower() in (Path(MODEL_FILE).suffix, *EXPORTED)


def given(flags: Any, prefix: str = "") -> dict[str, Any]:
    """The flags that the user gave, by name without `prefix`."""
    return {name.removeprefix(prefix): value for name, value in vars(flags).items() if value is not None}


def refuse_ways(path: Path, kind: str, given: dict[str, Any]) -> None:
    """Raises UsageError for flags of prediction where masks or results (`kind`) are judged; called before torch is imported."""
    if given:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise UsageError(f"{path}: {kind} are judged as they are; give {flags} with a model.")


def inference_of(given: dict[str, Any]) -> Any:
    """The Inference of these flags; None without any flag, for the network on the whole picture."""
    if not given:
        return None
    from perpixel.prediction.inference import Inference

    return Inference(**given)


def load_on(run: Path | str, device: str, engine: str | None = None) -> Any:
    """The model on a device; an exported file in an engine."""
    from perpixel.machines import device as machine
    from perpixel.training.run import unfinished
    from perpixel.weights.model_file import load

    model = load(run, engine=None if engine == "auto" else engine)
    if (far := unfinished(run)) and not model.card.unfinished:  # which `load` tells
        say(f"{run}: unfinished, {far}.")
    model.network.to(machine.choose(device))
    return model


def in_engine(
    model: Any, run: str | None, engine: str | None, pictures: Sequence[Any], bands: Sequence[str] | None = None
) -> Any:
    """The model of `run` in an engine that the user names; "auto" measures on the first picture that can be read."""
    from perpixel.networks import gives_labels

    if engine is None or gives_labels(model.network):
        return model
    from perpixel.prediction import engines

    image = _first_readable(pictures if engine == engines.AUTO else (), model, bands)
    return engines.in_engine(model, engine, image, _folder_of(run))


def within_budget(
    budget: str, model: Any, run: str | None, engine: str | None, pictures: Sequence[Any], inference: Any, scores: Any,
    bands: Sequence[str] | None = None,
) -> tuple[Any, Any]:  # fmt: skip
    """The model of `run`, and an inference, with which the largest of the first pictures takes at most `budget`. Frames of
    videos, and pictures at addresses, are measured where there are no others."""
    from perpixel.errors import PerpixelError
    from perpixel.images import read_size_of_bands
    from perpixel.prediction import budget as budgets
    from perpixel.prediction.engines import AUTO
    from perpixel.prediction.stores import is_address

    seconds, areas = budgets.seconds_of(budget), dict[int, int]()
    for place, picture in enumerate(pictures[:LOOKED_AT]):
        if picture.is_video or is_address(picture.path):
            continue
        try:
            height, width = read_size_of_bands(picture.path)
            areas[place] = height * width
        except PerpixelError:
            continue
    largest = [pictures[place] for place in sorted(areas, key=lambda place: areas[place], reverse=True)]
    if len(pictures) > LOOKED_AT:
        say(f"of {len(pictures)} pictures the largest of the first {LOOKED_AT} stands for all.")
    image = _first_readable([*largest, *(pictures if not largest else ())], model, bands)
    return budgets.within(seconds, model, image, inference, scores, engine or AUTO, _folder_of(run))


def _first_readable(pictures: Sequence[Any], model: Any, bands: Sequence[str] | None) -> Any:
    """The first picture, or frame of a video, that can be read; an empty one of 360x480 where none can (standard input)."""
    import numpy as np

    from perpixel.errors import PerpixelError
    from perpixel.prediction.pictures import read_picture
    from perpixel.prediction.stores import is_address, read_at
    from perpixel.prediction.videos import frames_of

    for picture in pictures:
        try:
            if picture.is_video:
                return next(frames_of(picture.path))[0]
            return read_picture(read_at(picture.path) if is_address(picture.path) else picture.path, model.bands, bands)
        except PerpixelError:
            continue
    return np.zeros((360, 480, 3 if model.bands is None else len(model.bands)), np.uint8)


def _folder_of(run: str | None) -> Path | None:
    """The folder of a run or of a model file."""
    place = None if run is None else Path(run)
    return None if place is None or not place.exists() else place if place.is_dir() else place.parent


def open_data(run: Path, model: Any, data: str | None, root: str | None, split: str | None) -> tuple[Any, str]:
    """The data set that the user names, or else that of the model's training; and its name."""
    from perpixel.datasets import open_dataset

    if model is not None:
        from perpixel.training.run import data_of

        trained = model.card.recipe
        place, its_root = data_of(run, trained)
        root = root or its_root
        if data is None and place is not None:  # the recipe's val_split belongs to the recipe's data set
            return open_dataset(place, root=root, split=split or trained.get("val_split") or "val"), trained["data"]
    if data is None:
        raise UsageError(f"{run}: does not say which data set it is for; name the data set to judge by with --data.")
    return open_dataset(data, root=root, split=split or "val"), data


def annotation_file(data: str | None, root: str | None, split: str | None, measure: Measure[Any]) -> Path:
    """The annotation file: COCO's for the name of its data set, or the file that `data` names."""
    view = VIEWS[measure.needs]
    if data == view:
        from perpixel.datasets.coco import Coco

        if root is None:
            raise UsageError(f"--data {view} needs the folder that holds it, with --root or PERPIXEL_ROOT.")
        return Path(Coco(root, split or "val", view).annotations)
    if data is None or not data.endswith(".json"):
        raise UsageError(
            f"--{measure.name} judges a results file by an annotation file; name with --data "
            f"{view}, or the file, as annotations/{measure.name}_val2017.json."
        )
    if split is not None:
        raise UsageError(f"{data}: is one split by itself; leave --split out, or name the file of {split}.")
    return Path(data)
