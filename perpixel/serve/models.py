"""The models that are served: their names, what each can answer, and how all are loaded again while requests go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.errors import UsageError, did_you_mean, failure_of
from perpixel.files import MODEL_FILE
from perpixel.formats import coco
from perpixel.formats.exchange import Content, Notices, shapes_of
from perpixel.prediction.bulk import encoded
from perpixel.prediction.inference import Inference, Predictor
from perpixel.prediction.instances import INSTANCES
from perpixel.sample import Prediction
from perpixel.weights.model_file import Model, refuse_bands

FORMS = {"mask": "image/png", "overlay": "image/png", "coco": "application/json", "scores": "application/octet-stream",
         INSTANCES: "application/json"}  # fmt: skip
FOLDERS = {"mask": "masks", "overlay": "overlays", "scores": "scores", INSTANCES: INSTANCES}  # of `perpixel predict`
Load = Callable[[str], Model]


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A model under its name. `with_scores` is its predictor where probabilities are asked for; None where it gives none."""

    name: str
    predictor: Predictor
    with_scores: Predictor | None

    @property
    def forms(self) -> list[str]:
        """The forms in which it answers, names of `FORMS`."""
        has = {"scores": self.with_scores is not None, INSTANCES: "instances" in self.predictor.provides}
        return [form for form in FORMS if has.get(form, True)]

    def begin(self, image: NDArray[np.uint8], form: str) -> Callable[[], Prediction]:
        """Runs the network on a picture; calling the result makes the prediction, on any thread."""
        predictor = self.with_scores if form == "scores" else self.predictor
        assert predictor is not None
        return predictor.begin(image)

    def to_json(self) -> dict[str, Any]:
        """What a client must know: its classes with the values and colours that masks have, and its forms."""
        model = self.predictor.model
        classes = model.classes
        return {
            "name": self.name,
            "network": model.card.title,
            "weights": self.predictor.weights,
            "forms": self.forms,
            "classes": [
                {"name": name, "value": values[0], "colour": f"#{bytes(colour).hex()}"}
                for name, values, colour in zip(classes.names, classes.values, classes.colours, strict=True)
            ],
            "void": classes.void_values[0] if classes.void_values else classes.void,
        }


def encode_answer(prediction: Prediction, image: NDArray[np.uint8], form: str, file_name: str) -> bytes:
    """The answer in one form: the bytes of the file that `perpixel predict` writes.

    COCO JSON, which `predict` does not write, is that of `perpixel convert`; it calls the picture `file_name`. Each object is an
    annotation; where a model finds none, each connected piece of a class is, except of background."""
    if form != "coco":
        return encoded(FOLDERS[form], prediction, image)
    content = Content(image, prediction.labels, prediction.instances)
    shapes = shapes_of(content, prediction.classes, coco.HOLDS, Notices(), file_name)
    size = image.shape[0], image.shape[1]
    return coco.encode([coco.entries_of(shapes, file_name, size, prediction.classes)], prediction.classes)


def names_of(runs: Sequence[str]) -> dict[str, str]:
    """The name of each run -> the run: the last part of its path, or all of it where two last parts are the same.

    Raises UsageError for a run that is given twice."""
    lasts = [_last_part(run) for run in runs]
    names = [last if lasts.count(last) == 1 else run for last, run in zip(lasts, runs, strict=True)]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{name}: is given twice; name each run once.")
    return dict(zip(names, runs, strict=True))


def _last_part(run: str) -> str:
    path = Path(run).absolute()
    return path.parent.name if path.name == MODEL_FILE else path.name


class Models:
    """The served models by name. `load` opens a run; `reload` opens all runs again."""

    def __init__(self, runs: Sequence[str], load: Load, inference: Inference) -> None:
        self._runs, self._load, self._inference = names_of(runs), load, inference
        self._served: Mapping[str, ServedModel] = {name: self._open(name) for name in self._runs}

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._served.values())

    def __len__(self) -> int:
        return len(self._runs)

    def named(self, name: str | None) -> ServedModel:
        """The model of a name; the first without a name. Raises UnknownName."""
        if name is None:
            return next(iter(self._served.values()))
        if name not in self._served:
            raise did_you_mean("model", name, self._served)
        return self._served[name]

    def reload(self) -> list[str]:
        """Loads every run again. A request that has begun keeps its model. A run that cannot be loaded keeps its former model.

        Returns the sentences of those that failed."""
        served, failures = dict(self._served), []
        for name in self._runs:
            try:
                served[name] = self._open(name)
            except Exception as error:  # whatever it is, the service goes on
                reason = failure_of(self._runs[name], error) or f"perpixel failed ({type(error).__name__}: {error})."
                failures.append(f"{name}: the former model stays, because {reason}")
        self._served = served
        return failures

    def _open(self, name: str) -> ServedModel:
        """A model that has predicted once: then what it compiles is ready, and it works."""
        model = self._load(self._runs[name])
        refuse_bands(model, "serve")
        predictor = self._inference.predictor(model)
        predictor(np.zeros((64, 64, 3), np.uint8))
        has_scores = "scores" in predictor.provides
        return ServedModel(name, predictor, self._inference.predictor(model, scores=True) if has_scores else None)
